"""An empirical audit in words and rows, for a terminal and for a page."""

from collections.abc import Iterator

from consortium.audit.result import AuditVerdict, EmpiricalAudit, Trial

REASONS = {
    "gdp": "the canaries stand out more than the claim allows (a)",
    "null_deviation": "noise on no data has another deviation than the claim implies (d)",
    "null_correlation": "noise of two rounds is not independent (d)",
}


def verdict_text(audit: EmpiricalAudit) -> str:
    """One sentence."""
    if audit.verdict is AuditVerdict.PASSED:
        again = " at the second trial" if len(audit.trials) > 1 else ""
        return f"epsilon {audit.epsilon} was not refuted{again}"
    why = "; ".join(REASONS[name] for name in audit.reasons)
    return f"epsilon {audit.epsilon} is refuted: {why}"


def settings_text(audit: EmpiricalAudit) -> str:
    """What was done."""
    count = "enough" if audit.for_release() else "too few"
    return (
        f"{audit.canaries:,} canaries ({count} for a release), {audit.rounds} rounds with and "
        f"{audit.null_rounds} without rows, {audit.partners} partners, {audit.noise_mode} "
        f"noise, {audit.width:,} coordinates, delta {audit.delta}"
    )


def rows_of(trial: Trial, audit: EmpiricalAudit) -> Iterator[tuple[str, str, str]]:
    """What was measured, the figure, and what it is held against."""
    claim = f"at most {audit.epsilon}"
    yield "(a) epsilon by separation, 99 %", trial.gdp, f"{claim}: gate"
    yield "(b) epsilon by a threshold, 95 %", trial.threshold, "printed"
    yield "(c) epsilon by one run's guesses, 95 %", trial.one_run, "printed"
    yield (
        "(d) deviation of noise on no data",
        trial.null_deviation,
        f"1 ± {trial.null_tolerance}: gate",
    )
    yield (
        "(d) largest correlation of two rounds",
        trial.null_correlation,
        f"at most {trial.correlation_tolerance}: gate",
    )
    yield "mislabelled rows found at .1 % false alarms", trial.record_rate, "0.0010 is chance"


def lines_of(audit: EmpiricalAudit) -> Iterator[str]:
    """All of it as text."""
    yield settings_text(audit)
    for number, trial in enumerate(audit.trials, 1):
        yield f"trial {number}, seed committed as {trial.seed[:16]}"
        for what, figure, against in rows_of(trial, audit):
            yield f"  {what:<46}{figure:>9}   {against}"
    yield f"code {audit.code}"
    yield f"audit {audit.digest}"
    yield f"verdict: {verdict_text(audit)}"
