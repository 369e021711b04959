"""Entries of the table of elasticities: grade by arm by outcome (credit 4.15, protocol 7.17).

Of persons who consented to CLOSURE_SIGNAL and IMPACT_STUDY and have an arm of a closure
inquiry in the period. A person counts with the active, open line that has the largest balance
and nothing past due at the last month end before the inquiry; so survivors are not compared
with strangers. Which cell it fills is ``consortium.credit.elasticity.study_cell``. Nothing
here leaves the node but in a noisy sum.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date

from consortium.credit.elasticity import Elsewhere, StudyLine, study_cell
from consortium.credit.figures import Entry
from consortium.credit.outcomes import LineStatus, Outcome, active_at, outcome_of, window_end
from consortium.credit.shock import grade_of
from consortium.errors import PersonError
from consortium.figure import FigureSpec
from partner_node.credit.lines import History, LineMonth
from partner_node.credit.storage_elsewhere import KeptBit

_ELSEWHERE = {0: Elsewhere.STAYS, 1: Elsewhere.WITHDRAWN}
"""Of an arm as the desk keeps it."""
_BAD = {Outcome.BAD: True, Outcome.GOOD: False}


def elasticity_entries(
    spec: FigureSpec,
    arms: Iterable[KeptBit],
    lines: Iterable[History],
    *,
    subject: Callable[[str], bytes],
    span: tuple[date, date],
) -> list[Entry]:
    """One entry a line that may count; the counting rule picks one of each person.

    While the table of lines has not told all twelve months after an inquiry, no outcome of it
    is known: who was bad already would stand in the rates without those who are not yet good.

    Args:
        spec: Axes grade, arm, outcome; its period is of the inquiries.
        arms: As the desk keeps them. Private.
        lines: Of this partner. Private.
        subject: Keyed hash of an identifier; PersonError.
        span: First day of the period, and the first day behind it.

    Raises:
        DataError, DomainError: a line that cannot be; its values are not told.
    """
    first, after = span
    listed = {one.subject: one for one in arms if first <= _day(one) < after}
    found: list[tuple[History, LineMonth, StudyLine]] = []
    newest = date.min
    for history in lines:
        newest = max(newest, history.months[-1].end.on)
        try:
            kept = listed.get(subject(history.person))
        except PersonError:
            continue
        if kept is not None:
            found += _line(kept, history)
    entries = []
    for history, month, line in found:
        over = window_end(month.end.on) <= newest
        labels = study_cell(line if over else replace(line, bad=None))
        if labels is not None:
            cell = zip(spec.axes, labels, strict=True)
            entries.append(
                Entry(
                    person=history.person,
                    cell=tuple(axis.cells.index(label) for axis, label in cell),
                    balance=month.end.balance,
                    since=history.opened_on.isoformat(),
                )
            )
    return entries


def _day(one: KeptBit) -> date:
    return date.min if one.arm_on is None else one.arm_on


def _line(kept: KeptBit, history: History) -> Iterator[tuple[History, LineMonth, StudyLine]]:
    """The line as it stood at the last month end before the inquiry, if it has a PD."""
    known = [month for month in history.months if month.end.on <= _day(kept)]
    pd = history.pd_at(known[-1]) if known else None
    if pd is None or kept.arm is None:
        return
    last = known[-1].end
    line = StudyLine(
        grade=grade_of(pd),
        is_open=last.status is LineStatus.OPEN,
        active=active_at([month.end for month in known]),
        dpd=last.dpd,
        elsewhere=_ELSEWHERE[kept.arm],
        bad=_BAD.get(outcome_of([history.ends], observed_on=last.on)),
    )
    yield history, known[-1], line
