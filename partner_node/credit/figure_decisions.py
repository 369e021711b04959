"""Entries of tables that are counted from the desk's decisions (protocol 13.11).

Through the door: every application that was decided within the period, once for a person and
week or month. A decision that an officer overturned counts as the officer made it. Nothing
here leaves the node, and persons are the keyed hashes that the desk keeps.
"""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from consortium.credit.facts import DecisionInput
from consortium.credit.figure_forms import NONE, day_after, first_day, month_of, week_of
from consortium.credit.figures import Entry
from consortium.credit.outcomes import Outcome, outcome_of
from consortium.credit.verdict import Override
from consortium.errors import ConfigurationError, DataError
from consortium.figure import FigureKind, FigureSpec
from consortium.scoring.scorecard import from_units, pd_of
from partner_node.credit.lines import History
from partner_node.credit.storage import CreditStore, decided_between
from partner_node.table import DataSource, open_table, quoted

GROUPS = "groups.toml"
"""In the directory of a node's rules; its one SELECT has ``person`` and ``group``."""
KINDS = frozenset({FigureKind.DEMAND, FigureKind.APPROVALS, FigureKind.FAIRNESS})

_APPROVE = "APPROVE"
_PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision as a table counts it. Private."""

    person: str = field(repr=False)
    on: date
    product: str
    amount: int
    grade: str
    outcome: str
    pd: int | None
    """In millionths; None: without a score."""


def decided(store: CreditStore, first: date, after: date) -> list[Decided]:
    """Decisions on days from ``first`` on and before ``after``, by the partner's calendar.

    Applications that named nobody are left out: nobody's budget would pay for them.
    """
    found = []
    with store.reading() as connection:
        for row in decided_between(connection, first, after):
            inputs = DecisionInput.from_bytes(row.input)
            if not row.subject or not first <= inputs.decided_on < after:
                continue
            outcome = row.outcome
            if row.override is not None:
                outcome = Override.from_bytes(row.override).after.value
            score = inputs.score
            found.append(
                Decided(
                    person=row.subject.hex(),
                    on=inputs.decided_on,
                    product=inputs.wish.product,
                    amount=inputs.wish.amount,
                    grade=row.grade,
                    outcome=outcome,
                    pd=None if score is None else round(_PPM * pd_of(from_units(score.eta))),
                )
            )
    return found


def decision_entries(spec: FigureSpec, decisions: Iterable[Decided]) -> Iterator[Entry]:
    """Of demand and approvals: of a person's in one week or month the largest amount."""
    once: dict[tuple[str, str], Decided] = {}
    for one in decisions:
        key = (one.person, _period(spec, one.on))
        known = once.get(key)
        if known is None or (one.amount, one.on) > (known.amount, known.on):
            once[key] = one
    for (person, period), one in once.items():
        cell = {
            "week": period,
            "month": period,
            "product": one.product,
            "grade": one.grade,
        }
        values = {
            "applied": 1,
            "approved": int(one.outcome == _APPROVE),
            "amount": one.amount,
        }
        yield from _entries(spec, cell, values, (person, one))


def fairness_entries(
    spec: FigureSpec,
    decisions: Iterable[Decided],
    groups: Mapping[str, str],
    outcomes: Mapping[str, str],
) -> Iterator[Entry]:
    """Entries of group by decision by outcome; ``groups`` and ``outcomes`` by person."""
    for one in decisions:
        group = groups.get(one.person)
        if group is None:
            continue
        outcome = outcomes.get(one.person, NONE)
        cell = {"group": group, "decision": one.outcome, "outcome": outcome}
        values = {"persons": 1, "expected": one.pd or 0}
        yield from _entries(spec, cell, values, (one.person, one))


def _entries(
    spec: FigureSpec,
    cell: Mapping[str, str],
    values: Mapping[str, int],
    whose: tuple[str, Decided],
) -> Iterator[Entry]:
    person, one = whose
    if any(cell[axis.name] not in axis.cells for axis in spec.axes):
        return
    yield Entry(
        person=person,
        cell=tuple(axis.cells.index(cell[axis.name]) for axis in spec.axes),
        values=tuple(values[measure.name] for measure in spec.measures),
        balance=one.amount,
        since=one.on.isoformat(),
    )


def _period(spec: FigureSpec, day: date) -> str:
    return week_of(day) if "W" in spec.first else month_of(day)


# --- groups and outcomes ----------------------------------------------------------------------


def groups_source(directory: Path) -> DataSource:
    """Where a node's groups are, by ``groups.toml`` in the directory of its rules.

    Raises:
        ConfigurationError: no such file, unknown keys, or no query in it.
    """
    path = directory / GROUPS
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: not there, or not readable as TOML") from error
    unknown = sorted(set(found) - {"query", "postgres"})
    if unknown or not isinstance(found.get("query"), str):
        raise ConfigurationError(f"{path}: expected query and, if need be, postgres")
    return DataSource(
        query=found["query"],
        person="person",
        label="group",
        directory=directory,
        memory_limit="1GB",
        threads=2,
        postgres=found.get("postgres"),
        origin=str(path),
    )


def groups_of(source: DataSource, subject: Callable[[str], bytes]) -> dict[str, str]:
    """Group of each person, by the keyed hash under which the desk keeps it.

    Raises:
        ConfigurationError: a column is missing. PersonError: an identifier is not of the form.
        DataError: one person in two groups.
    """
    found: dict[str, str] = {}
    with open_table(source) as table:
        columns = {name: f"CAST({quoted(name)} AS VARCHAR)" for name in ("person", "group")}
        if missing := sorted(set(columns) - set(table.types)):
            raise ConfigurationError(f"{source.origin}: no column {missing[0]!r}")
        with closing(table.batches(columns)) as batches:
            for batch in batches:
                for row in batch.to_pylist():
                    key = subject(row["person"]).hex()
                    if found.setdefault(key, row["group"]) != row["group"]:
                        raise DataError(f"{source.origin}: a person stands in two groups")
    return found


def outcomes_of(
    lines: Iterable[History], subject: Callable[[str], bytes], observed_on: date
) -> dict[str, str]:
    """GOOD or BAD of each person whose lines tell, by keyed hash (credit 2.1)."""
    months: dict[str, list[History]] = {}
    for line in lines:
        months.setdefault(line.person, []).append(line)
    found = {}
    for person, own in months.items():
        outcome = outcome_of([one.ends for one in own], observed_on=observed_on)
        if outcome in (Outcome.GOOD, Outcome.BAD):
            found[subject(person).hex()] = outcome.value
    return found


def span_of(spec: FigureSpec) -> tuple[date, date]:
    """First day of the period, and the first day behind it."""
    return first_day(spec.first), day_after(spec.last)
