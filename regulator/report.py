"""An audit as text and as JSON; ``page`` and ``paper`` are for people with more time.

The JSON's headings follow NIST SP 800-226: unit and epsilon on top, correctness and trust
below, the log at the base.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from consortium.ledger.facts import RunFacts
from consortium.ledger.findings import Check, Finding, Grade
from consortium.ledger.verify import Audit
from consortium.release import Outcome
from regulator.figures import headline, moment
from regulator.words import CHECKS

LANGUAGES = ("en", "zh")

MOST_INDICES = 12
"""Entries that one finding is shown with."""


def verdict(audit: Audit) -> str:
    """verified, warnings or failed."""
    return {Grade.ERROR: "failed", Grade.WARNING: "warnings"}.get(
        audit.worst or Grade.NOTE, "verified"
    )


def lines(audit: Audit) -> Iterable[str]:
    """The audit as text: what was read, what was found, the verdict last."""
    yield f"federation {audit.federation or 'unknown'}, manifest {audit.pinned}"
    by = ", ".join(audit.cosigned_by) or "nobody"
    yield f"log of {audit.entries} entries, head cosigned by {by} ({moment(audit.head_time)})"
    for run in audit.runs:
        yield f"run {run.run}: {attempts_of(run)}"
    for release in audit.releases:
        epsilons = headline(release)
        figures = ", ".join(f"{who} {epsilon}" for who, epsilon in epsilons.items())
        yield f"release {release.version[:16]}: epsilon recomputed: {figures or 'not possible'}"
    for one in together(audit.findings):
        yield f"{one.grade.value} {one.check.value} {one.name}: {one.text}{where(one)}"
    failed = {one.check for one in audit.findings if one.grade is Grade.ERROR}
    yield f"checks: {len(Check) - len(failed)} of {len(Check)} without an error"
    yield f"verdict: {verdict(audit)}"


def together(findings: Iterable[Finding]) -> list[Finding]:
    """One line for all that says the same of several entries, in the order of the first."""
    found: dict[Finding, list[int]] = {}
    for one in findings:
        found.setdefault(replace(one, entries=()), []).extend(one.entries)
    return [replace(one, entries=tuple(entries)) for one, entries in found.items()]


def document_of_audit(audit: Audit) -> dict[str, object]:
    """The audit as plain objects."""
    return {
        "type": "riskweave/audit/v1",
        "verdict": verdict(audit),
        "unit_and_epsilon": [_release(audit, number) for number in range(len(audit.releases))],
        "correctness": [_check(audit, check) for check in Check],
        "trust": {
            "pinned_manifest": audit.pinned,
            "federation": audit.federation,
            "head_cosigned_by": list(audit.cosigned_by),
            "head_time": audit.head_time,
            "not_proven": [
                {"name": one.name, "text": one.text, "entries": list(one.entries)}
                for one in audit.findings
                if one.grade is Grade.NOTE
            ],
        },
        "data_collection": {
            "entries": audit.entries,
            "by_type": dict(audit.counts),
            "runs": [_run(run) for run in audit.runs],
        },
    }


def _check(audit: Audit, check: Check) -> dict[str, object]:
    found = [one for one in audit.findings if one.check is check]
    return {
        "check": check.value,
        "title": CHECKS["en"][check],
        "result": result_of(found),
        "findings": [
            {
                "name": one.name,
                "grade": one.grade.value,
                "text": one.text,
                "entries": list(one.entries),
                "place": one.place,
            }
            for one in found
        ],
    }


def result_of(found: Sequence[Finding]) -> str:
    """passed, warnings or failed: the worst of some findings."""
    grades = {one.grade for one in found}
    if Grade.ERROR in grades:
        return "failed"
    return "warnings" if Grade.WARNING in grades else "passed"


def _release(audit: Audit, number: int) -> dict[str, object]:
    release = audit.releases[number]
    made = release.statement or {}
    return {
        "version": release.version,
        "run": release.run,
        "unit": made.get("unit", ""),
        "relation": made.get("relation", ""),
        "delta": made.get("delta", ""),
        "epsilon": made.get("headline", {}),
        "accountants": made.get("accountants", {}),
        "accepted": list(release.accepted),
        "refused": list(release.refused),
        "served": [] if release.served is None else [release.served],
    }


def _run(run: RunFacts) -> dict[str, object]:
    attempts = [closing.attempt for closing in run.closings]
    return {
        "run": run.run,
        "entry": run.proposed,
        "partners": sorted(run.commits),
        "sums": sum(one.outcome is Outcome.SUMMED for one in attempts),
        "aborted": sum(one.outcome is Outcome.ABORTED for one in attempts),
        "charged": sum(one.charged for one in attempts),
        "replayed": run.replayed,
        "outcome": run.closed[1].outcome if run.closed else "open",
    }


def attempts_of(run: RunFacts) -> str:
    """Sums, aborted attempts and replayed ones of a run."""
    made = Counter(closing.attempt.outcome for closing in run.closings)
    return f"{made[Outcome.SUMMED]} / {made[Outcome.ABORTED]} / {run.replayed}"


def where(one: Finding) -> str:
    """Entries and file of a finding, as the text report shows them."""
    shown = [str(index) for index in one.entries[:MOST_INDICES]]
    more = len(one.entries) - len(shown)
    parts = [*shown, f"and {more} more"] if more else shown
    places = [f"entries {', '.join(parts)}"] if parts else []
    places += [one.place] if one.place else []
    return f" [{'; '.join(places)}]" if places else ""
