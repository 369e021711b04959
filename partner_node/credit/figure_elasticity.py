"""Entries of the table of elasticities: grade by arm by outcome (credit 4.15, protocol 7.17).

Of persons who consented to CLOSURE_SIGNAL and IMPACT_STUDY and have an arm of a closure
inquiry in the period. A person counts with the active, open line that has the largest balance
and nothing past due at the last month end before the inquiry; so survivors are not compared
with strangers. Nothing here leaves the node but in a noisy sum.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from datetime import date

from consortium.credit.figures import Entry
from consortium.credit.outcomes import Outcome, active_at, outcome_of
from consortium.credit.terms import GRADES
from consortium.errors import PersonError
from consortium.figure import FigureSpec
from partner_node.credit.lines import History, LineMonth
from partner_node.credit.storage_elsewhere import KeptBit

GRADE_CUTS = (20_000, 50_000, 100_000, 200_000)
"""PD of twelve months in millionths from which on a person is G2 to G5 (credit 2.3)."""

_TOLD = (Outcome.GOOD, Outcome.BAD)
_NONE = "none"


def elasticity_entries(
    spec: FigureSpec,
    arms: Iterable[KeptBit],
    lines: Iterable[History],
    *,
    subject: Callable[[str], bytes],
    span: tuple[date, date],
) -> list[Entry]:
    """One entry a line that may count; the counting rule picks one of each person.

    Args:
        spec: Axes grade, arm, outcome.
        arms: As the desk keeps them. Private.
        lines: Of this partner. Private.
        subject: Keyed hash of an identifier; PersonError.
        span: First day of the period, and the first day behind it.

    Raises:
        DataError, DomainError: a line that cannot be; its values are not told.
    """
    first, after = span
    listed = {one.subject: one for one in arms if first <= _day(one) < after}
    found = []
    for history in lines:
        try:
            key = subject(history.person)
        except PersonError:
            continue
        kept = listed.get(key)
        if kept is not None and (entry := _entry(spec, kept, history)) is not None:
            found.append(entry)
    return found


def _day(one: KeptBit) -> date:
    return date.min if one.arm_on is None else one.arm_on


def _entry(spec: FigureSpec, kept: KeptBit, history: History) -> Entry | None:
    known = [month for month in history.months if month.end.on <= _day(kept)]
    if not known or known[-1].end.dpd or not active_at([month.end for month in known]):
        return None
    pd = _pd(history, known[-1])
    if pd is None or kept.arm is None:
        return None
    last = known[-1].end
    outcome = outcome_of([history.ends], observed_on=last.on)
    cell: Mapping[str, str] = {
        "grade": GRADES[bisect_right(GRADE_CUTS, pd)].value,
        "arm": str(kept.arm),
        "outcome": outcome.value if outcome in _TOLD else _NONE,
    }
    return Entry(
        person=history.person,
        cell=tuple(axis.cells.index(cell[axis.name]) for axis in spec.axes),
        balance=last.balance,
        since=history.opened_on.isoformat(),
    )


def _pd(history: History, month: LineMonth) -> int | None:
    return history.pd_origination if month.pd12 is None else month.pd12
