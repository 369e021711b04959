"""An audit for people and for machines: text, JSON, and one page in English or Chinese.

The JSON's headings follow NIST SP 800-226: unit and epsilon on top, correctness and trust
below, the log at the base. The page is one file, without script and without anything fetched.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from string import Template

from consortium.ledger.facts import RunFacts
from consortium.ledger.findings import Check, Finding, Grade
from consortium.ledger.verify import Audit
from consortium.release import Level, Outcome
from regulator.words import CHECKS, GRADES, LEVELS, TEXTS

LANGUAGES = ("en", "zh")

_MOST_INDICES = 12


def verdict(audit: Audit) -> str:
    """verified, warnings or failed."""
    return {Grade.ERROR: "failed", Grade.WARNING: "warnings"}.get(
        audit.worst or Grade.NOTE, "verified"
    )


def lines(audit: Audit) -> Iterable[str]:
    """The audit as text: what was read, what was found, the verdict last."""
    yield f"federation {audit.federation or 'unknown'}, manifest {audit.pinned}"
    by = ", ".join(audit.cosigned_by) or "nobody"
    yield f"log of {audit.entries} entries, head cosigned by {by} ({_day(audit.head_time)})"
    for run in audit.runs:
        yield f"run {run.run}: {_attempts(run)}"
    for release in audit.releases:
        epsilons = _headline(release.statement)
        figures = ", ".join(f"{who} {epsilon}" for who, epsilon in epsilons.items())
        yield f"release {release.version[:16]}: epsilon recomputed: {figures or 'not possible'}"
    for one in audit.findings:
        yield f"{one.grade.value} {one.check.value} {one.name}: {one.text}{_where(one)}"
    failed = {one.check for one in audit.findings if one.grade is Grade.ERROR}
    yield f"checks: {len(Check) - len(failed)} of {len(Check)} without an error"
    yield f"verdict: {verdict(audit)}"


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


def page(audit: Audit, language: str) -> str:
    """The report as one page; everything that is not ours is escaped."""
    words = TEXTS[language]
    made = verdict(audit)
    return Template(_PAGE).substitute(
        words,
        language="zh-Hans" if language == "zh" else "en",
        color={"failed": "#b3261e", "warnings": "#9a6700"}.get(made, "#1a7f37"),
        verdict=words[made],
        facts=_table(
            (words["fact"], words["value"]),
            [
                (words["federation"], audit.federation),
                (words["manifest"], audit.pinned),
                (words["entries"], audit.entries),
                (words["cosigned"], ", ".join(audit.cosigned_by) or "–"),
                (words["head_time"], _day(audit.head_time)),
            ],
        ),
        checks=_table(
            (words["number"], words["check"], words["result"], words["findings"]),
            [_check_row(audit, check, language) for check in Check],
        ),
        findings=_table(
            (words["grade"], words["number"], words["name"], words["text"], words["where"]),
            [_finding_row(one, language) for one in audit.findings],
        ),
        plot=_plot(audit, language),
        releases=_table(
            (words["version"], words["accepted"], words["refused"], words["served"]),
            [
                (
                    one.version[:16],
                    ", ".join(one.accepted) or "–",
                    ", ".join(one.refused) or "–",
                    "–" if one.served is None else one.served,
                )
                for one in audit.releases
            ],
        ),
        runs=_table(
            (words["run"], words["partners"], words["attempts"], words["replayed"]),
            [(run.run, len(run.commits), _attempts(run), run.replayed) for run in audit.runs],
        ),
        types=_table((words["type"], words["entries"]), audit.counts.items()),
    )


def _check(audit: Audit, check: Check) -> dict[str, object]:
    found = [one for one in audit.findings if one.check is check]
    return {
        "check": check.value,
        "title": CHECKS["en"][check],
        "result": _result(found),
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


def _result(found: Sequence[Finding]) -> str:
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


def _attempts(run: RunFacts) -> str:
    made = Counter(closing.attempt.outcome for closing in run.closings)
    return f"{made[Outcome.SUMMED]} / {made[Outcome.ABORTED]} / {run.replayed}"


def _headline(statement: Mapping[str, object] | None) -> dict[str, str]:
    """Person-level epsilon by who colludes, as recomputed."""
    found = (statement or {}).get("headline")
    levels = found.get("person_by_honest") if isinstance(found, dict) else None
    if not isinstance(levels, dict):
        return {}
    return {level.value: str(levels[level.value]) for level in Level if level.value in levels}


def _check_row(audit: Audit, check: Check, language: str) -> tuple[object, ...]:
    found = [one for one in audit.findings if one.check is check]
    return check.value, CHECKS[language][check], TEXTS[language][_result(found)], len(found)


def _finding_row(one: Finding, language: str) -> tuple[object, ...]:
    return (
        GRADES[language][one.grade],
        one.check.value,
        one.name,
        one.text,
        _where(one).strip(" []"),
    )


def _where(one: Finding) -> str:
    shown = [str(index) for index in one.entries[:_MOST_INDICES]]
    more = len(one.entries) - len(shown)
    parts = [*shown, f"and {more} more"] if more else shown
    places = [f"entries {', '.join(parts)}"] if parts else []
    places += [one.place] if one.place else []
    return f" [{'; '.join(places)}]" if places else ""


def _plot(audit: Audit, language: str) -> str:
    """Bars of the recomputed person-level epsilon, one group a release."""
    bars: list[tuple[str, float]] = []
    for release in audit.releases:
        bars += [
            (f"{release.version[:8]} {LEVELS[language][Level(level)]}", float(epsilon))
            for level, epsilon in _headline(release.statement).items()
        ]
    if not bars:
        return ""
    longest = max(value for _, value in bars) or 1.0
    rows = [
        f'<text x="0" y="{22 * i + 15}">{escape(name)}</text>'
        f'<rect x="300" y="{22 * i + 3}" width="{360 * value / longest:.0f}" height="15"/>'
        f'<text x="{306 + 360 * value / longest:.0f}" y="{22 * i + 15}">{value:.4f}</text>'
        for i, (name, value) in enumerate(bars)
    ]
    return f'<svg viewBox="0 0 760 {22 * len(bars) + 6}" role="img">{"".join(rows)}</svg>'


def _table(heads: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _day(seconds: int) -> str:
    if not seconds:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_PAGE = """<!DOCTYPE html>
<html lang="$language"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:16px/1.5 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;margin:2rem auto;
max-width:72rem;padding:0 1rem;color:#1f2328;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{border-bottom:1px solid #d0d7de;padding:.3rem .5rem;text-align:left;vertical-align:top;
overflow-wrap:anywhere}
.verdict{color:#fff;background:$color;padding:.6rem 1rem;border-radius:.4rem;font-size:1.2rem}
svg{max-width:760px;width:100%;font-size:12px}rect{fill:#3b6ea5}
@media print{body{margin:0}}
</style></head><body>
<h1>$title</h1><p class="verdict">$verdict</p><p>$about</p>
<h2>$h_facts</h2>$facts
<h2>$h_epsilon</h2>$plot$releases
<h2>$h_checks</h2>$checks
<h2>$h_findings</h2>$findings
<h2>$h_runs</h2><p>$runs_about</p>$runs
<h2>$h_log</h2>$types
</body></html>
"""
