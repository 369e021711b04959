"""Entries of tables that are counted from this partner's monthly lines (protocol 13.11).

One entry for each line that a table may count; which of a person's entries counts is the
counting rule's (``consortium.credit.figures``). Nothing here leaves the node.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta

from consortium.credit.closures import Standing, at_risk, first_event
from consortium.credit.figure_forms import NONE, day_after, first_day, month_of
from consortium.credit.figures import Entry
from consortium.credit.outcomes import ACTIVE_MONTHS, active_at, bucket_of
from consortium.credit.shock import TIER_OF, grade_of
from consortium.credit.terms import MILLION
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import PartnerId
from partner_node.credit.lines import History, LineMonth

Counter = Callable[[FigureSpec, History, PartnerId], Entry | None]


def line_entries(
    spec: FigureSpec, lines: Iterable[History], member: PartnerId
) -> Iterator[Entry]:
    """The entries of a table, one for each line of this member that is in it.

    Raises:
        DataError, DomainError: a line that cannot be; its values are not told.
    """
    count = COUNTERS[spec.kind]
    for line in lines:
        found = count(spec, line, member)
        if found is not None:
            yield found


def _entry(
    spec: FigureSpec, line: History, cell: Mapping[str, str], *values: int
) -> Entry | None:
    """An entry in the cell of these labels; None if the table has no such cell."""
    labels = {"segment": line.segment.value, **cell}
    places = []
    for axis in spec.axes:
        if labels[axis.name] not in axis.cells:
            return None
        places.append(axis.cells.index(labels[axis.name]))
    last = line.months[-1].end
    return Entry(
        person=line.person,
        cell=tuple(places),
        values=values,
        balance=last.balance,
        since=line.opened_on.isoformat(),
    )


def _vintage(spec: FigureSpec, line: History, _: PartnerId) -> Entry | None:
    """A line by the month of its opening and the age at which it was first so late."""
    late = int(spec.filter("late"))
    ages = next(axis for axis in spec.axes if axis.name == "age").cells
    opened = month_of(line.opened_on)
    for month in line.months:
        if month_of(month.end.on) > spec.last:
            break
        if month.end.worst_dpd >= late:
            age = str(_months_between(line.opened_on, month.end.on))
            return _entry(
                spec, line, {"opened": opened, "age": age if age in ages else NONE}, 1
            )
    return _entry(spec, line, {"opened": opened, "age": NONE}, 1)


def _months_between(opened: date, day: date) -> int:
    return (day.year - opened.year) * 12 + day.month - opened.month


def _roll(spec: FigureSpec, line: History, _: PartnerId) -> Entry | None:
    """A line by its state at the end of the first month and at the end of the last."""
    before, after = (_at(line, month) for month in (spec.first, spec.last))
    if before is None or after is None:
        return None
    states = {
        name: bucket_of(one.end.dpd, one.end.status, balance=one.end.balance).value
        for name, one in (("before", before), ("after", after))
    }
    return _entry(spec, line, states, 1)


def _at(line: History, month: str) -> LineMonth | None:
    return next((one for one in line.months if month_of(one.end.on) == month), None)


def _closure(spec: FigureSpec, line: History, _: PartnerId) -> Entry | None:
    """A line at risk before the period, by what ended that risk within it (credit 2.2)."""
    since, until = first_day(spec.first) - timedelta(days=1), day_after(spec.last)
    until -= timedelta(days=1)
    history = standings(line)
    before = [one for one in history if one.on <= since]
    if not before or not at_risk(before[-1]):
        return None
    event = first_event(history, since=since, until=until, withdrawn_on=None)
    return _entry(spec, line, {"cause": NONE if event is None else event.cause.value}, 1)


def standings(line: History) -> tuple[Standing, ...]:
    """How a line stood from each month end on, as the rules of closure read it."""
    found = []
    for place, month in enumerate(line.months):
        recent = line.months[max(0, place + 1 - ACTIVE_MONTHS) : place + 1]
        found.append(
            Standing(
                on=month.end.on,
                status=month.end.status,
                limit=month.limit or 0,
                dpd=month.end.dpd,
                active=any(one.end.debits > 0 or one.end.balance > 0 for one in recent),
                anomaly=month.anomaly,
            )
        )
    return tuple(found)


def _tier(spec: FigureSpec, line: History, member: PartnerId) -> Entry | None:
    """An active line by the tier of its PD, with what is owed.

    The same persons and the same PD as a count of common persons looks at (6.10), for an
    operator divides one by the other.
    """
    month = _at(line, spec.last)
    pd = None if month is None else line.pd_at(month)
    if month is None or pd is None:
        return None
    if not active_at([one.end for one in line.months if one.end.on <= month.end.on]):
        return None
    tier, exposure = TIER_OF[grade_of(pd)], max(month.end.balance, 0)
    amounts = {"exposure": exposure, "pd": min(pd, MILLION)}
    return _entry(spec, line, {"partner": member, "tier": tier}, 1, *_asked(spec, amounts))


def _concentration(spec: FigureSpec, line: History, _: PartnerId) -> Entry | None:
    month = _at(line, spec.last)
    if month is None or month.end.balance <= 0:
        return None
    return _entry(spec, line, {}, 1, *_asked(spec, {"balance": month.end.balance}))


def _asked(spec: FigureSpec, amounts: Mapping[str, int]) -> list[int]:
    """The amounts that the table has, in its order."""
    return [amounts[one.name] for one in spec.measures[1:]]


COUNTERS: Mapping[FigureKind, Counter] = {
    FigureKind.VINTAGES: _vintage,
    FigureKind.ROLL_RATES: _roll,
    FigureKind.CLOSURES: _closure,
    FigureKind.TIERS: _tier,
    FigureKind.CONCENTRATION: _concentration,
}
"""Kinds that are counted from lines."""
