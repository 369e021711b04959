"""The audit of contribution statements: each is computed again, from proven tables alone.

A statement follows from released tables, the plans of the models that they name and a day
(``consortium.credit.contribution_table``). All of these are in the log, so the auditor makes
the statement anew and compares its digest: one comparison covers every number in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from consortium.credit.contribution import FRESH_DAYS
from consortium.credit.contribution_table import Look, stated
from consortium.credit.figure_forms import VERSION_DIGITS
from consortium.credit.figures import NoisyTable
from consortium.errors import DomainError
from consortium.ids import Digest
from consortium.ledger.entries import Entry, ReleaseCandidate
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.governing import ContributionStated
from consortium.plan import TrainingPlan

_DAY = timedelta(days=1)


def look_of(
    table: NoisyTable, plan: TrainingPlan, models: Mapping[Digest, TrainingPlan]
) -> Look:
    """The look that a table of contributions is.

    Args:
        table: Released.
        plan: By which it was counted.
        models: Plan of every model that it may name.

    Raises:
        DomainError: it names a model that is not there.
    """
    by_digits = {version[:VERSION_DIGITS]: version for version in models}

    def named(digits: str) -> tuple[Digest, TrainingPlan]:
        version = by_digits.get(digits)
        if version is None:
            raise DomainError(f"contribution: no model {digits[:12]}")
        return version, models[version]

    return Look(
        table=table,
        judges=frozenset(plan.blocks[0].holders),
        whole=named(table.spec.filter("model")),
        without=tuple(named(digits) for digits in table.spec.axes[0].cells),
    )


@dataclass(frozen=True, slots=True)
class _Proven:
    """What a statement may rest on."""

    table: NoisyTable
    plan: TrainingPlan
    closed: int
    """Index of the entry that closed its run."""


def audit_contributions(
    timeline: Timeline,
    runs: Sequence[RunFacts],
    tables: Sequence[NoisyTable],
    findings: Findings,
) -> None:
    """Make every statement again from the tables that were proven before it."""
    by_run = {run.run: run for run in runs}
    proven = {
        table.release: _Proven(table, by_run[table.run].plan, closed[0])
        for table in tables
        if (closed := by_run[table.run].closed) is not None
    }
    models: dict[Digest, TrainingPlan] = {}
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if isinstance(body, ReleaseCandidate) and body.run in by_run:
            models[body.version] = by_run[body.run].plan
        if not isinstance(body, ContributionStated):
            continue
        if body.version not in models:
            text = f"a contribution to {body.version[:12]}, which is no version of this log"
            findings.error(Check.GOVERNING, "contribution.version", text, index)
            continue
        for name, text in _faults(timeline, (index, entry, body), proven, models):
            findings.error(Check.GOVERNING, name, text, index)


def _faults(
    timeline: Timeline,
    said: tuple[int, Entry, ContributionStated],
    proven: Mapping[Digest, _Proven],
    models: Mapping[Digest, TrainingPlan],
) -> Iterator[tuple[str, str]]:
    index, entry, body = said
    released = [*body.tables, *([] if body.hanging is None else [body.hanging])]
    rest = [proven.get(one) for one in released]
    known = [one for one in rest if one is not None and one.closed < index]
    if len(known) != len(rest):
        yield "contribution.tables", "a statement on tables that are not proven before it"
        return
    last = max(_day(timeline.entries[one.closed].at) for one in known)
    today = _day(entry.at)
    if abs(body.on - last) > _DAY or today - body.on > timedelta(days=FRESH_DAYS) + _DAY:
        yield "contribution.date", f"a statement of {body.on}, its tables are of {last}"
    hanging = known.pop().table if body.hanging is not None else None
    try:
        made = stated(
            [look_of(one.table, one.plan, models) for one in known],
            hanging,
            federation=timeline.force[index].federation,
            measured_on=body.on,
        )
    except DomainError as error:
        yield "contribution.figures", str(error)
        return
    if (made.version, made.digest) != (body.version, body.statement):
        yield "contribution.figures", "a statement that its tables do not lead to"


def _day(at: int) -> date:
    return datetime.fromtimestamp(at, tz=UTC).date()
