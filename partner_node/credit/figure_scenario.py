"""Entries of a table of scenarios: a node's own active lines, scored anew in each world (4.8).

A person stands with one line, the one that the counting rule would count: it is chosen before
anything is scored, for growth caps are filled person by person and a second line of somebody
would take the place of another. Caps come of the policy alone, so whoever is added or taken
away moves a grade's approvals by one at most. Nothing here leaves the node but in a noisy sum.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from consortium.credit.capacity import IncomeState
from consortium.credit.figure_forms import month_of
from consortium.credit.figures import Entry
from consortium.credit.outcomes import active_at
from consortium.credit.scenario import MEASURES, DsrBins, NodeRows, NodeRules, amounts_of
from consortium.credit.shock import GRADE_CUTS, grade_of
from consortium.credit.shock_tables import scenarios_of
from consortium.credit.terms import GRADES, MILLION, PURPOSES, Grade, Ppm, Segment
from consortium.credit.tiers import Rules, Terms
from consortium.figure import FigureSpec
from partner_node.credit.lines import History, LineMonth
from partner_node.credit.watch import dues_in, income_in

_WEEKS = 4
"""Whole weeks that every month has: a growth cap is of a week, a table of a month."""
_UNIT = 1 << 32
_NO_WEIGHT = DsrBins(edges=(), weights=(0.0,), missing=0.0)
"""Lines carry a PD and no attributes, so lost income moves the limit on dues alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One person, as its line stands at the month end. Private."""

    balance: int = field(repr=False)
    since: str = field(repr=False)
    pd: Ppm = field(repr=False)
    dues: int = field(repr=False)
    income: float = field(repr=False)
    """NaN where it may not be used."""
    amount: int = field(repr=False)
    offer: Terms | None = field(repr=False)


def scenario_entries(
    spec: FigureSpec, lines: Iterable[History], rules: Rules
) -> Iterator[Entry]:
    """One entry in each world for every person with an active line and a PD.

    Args:
        spec: Axes world and grade; its filters are the drivers.
        lines: Of this partner. Private.
        rules: In force at the month end.

    Raises:
        DataError, DomainError: a line that cannot be; its values are not told.
    """
    persons: dict[str, _Row] = {}
    for line in lines:
        row = _row(spec, line, rules)
        before = persons.get(line.person)
        if row is not None and (before is None or _rank(row) < _rank(before)):
            persons[line.person] = row
    rows = _rows_of(list(persons.values()))
    worlds = amounts_of(rows, scenarios_of(spec), _node_rules(rules))
    names = [one.name for one in spec.measures]
    scale = np.array([MILLION if name == "pd" else 1 for name in MEASURES])
    for world, amounts in enumerate(worlds):
        whole = np.rint(amounts * scale).astype(np.int64)[:, list(map(MEASURES.index, names))]
        for place, (person, row) in enumerate(persons.items()):
            yield Entry(
                person=person,
                cell=(world, int(rows.grade[place])),
                values=tuple(whole[place].tolist()),
                balance=row.balance,
                since=row.since,
            )


def _rank(row: _Row) -> tuple[int, str]:
    """The largest balance first, of equal ones the oldest (credit 2.1)."""
    return -row.balance, row.since


def _row(spec: FigureSpec, line: History, rules: Rules) -> _Row | None:
    """A line that a table of tiers would count; else None."""
    known = [one for one in line.months if month_of(one.end.on) <= spec.last]
    last = known[-1] if known else None
    pd = None if last is None else line.pd_at(last)
    if last is None or pd is None or month_of(last.end.on) != spec.last:
        return None
    if not active_at([one.end for one in known]):
        return None
    balance = max(0, last.end.balance)
    asked = balance if last.limit is None else last.limit
    offer = _offer(rules, line.segment, _grade(rules, pd), asked)
    return _Row(
        balance=balance,
        since=line.opened_on.isoformat(),
        pd=pd,
        dues=dues_in(last, rules.policy.rules),
        income=_income(known, rules),
        amount=asked if offer is None else min(asked, offer.limit),
        offer=offer,
    )


def _income(months: list[LineMonth], rules: Rules) -> float:
    income, state = income_in(months, rules.policy.rules)
    if income is None or state is not IncomeState.USABLE:
        return math.nan
    return sum(income.credits) / len(income.credits)


def _offer(rules: Rules, segment: Segment, grade: Grade, asked: int) -> Terms | None:
    """Terms of the largest product of the segment that reaches down to what is asked.

    A line says nothing of its purpose: the first counts for which the product is sold.
    """
    found = []
    for product in rules.catalogue.products:
        terms = (rules.terms(product, grade, purpose) for purpose in PURPOSES)
        offered = next((one for one in terms if one is not None), None)
        if product.segment is segment and offered is not None:
            found.append(offered)
    return max(found, key=lambda one: (one.least <= asked, one.least), default=None)


def _eta(pd: Ppm) -> float:
    """Log-odds of a PD, held inside 0 and 1."""
    share = min(max(pd, 1), MILLION - 1)
    return math.log(share / (MILLION - share))


def _rows_of(rows: list[_Row]) -> NodeRows:
    """Where nothing is offered, nothing is asked for and the least is out of reach."""
    offers = [one.offer for one in rows]
    return NodeRows(
        eta=np.array([_eta(one.pd) for one in rows], dtype=np.float64),
        grade=np.array([GRADES.index(grade_of(one.pd)) for one in rows], dtype=np.int64),
        dues=np.array([one.dues for one in rows], dtype=np.float64),
        income=np.array([one.income for one in rows], dtype=np.float64),
        amount=np.array([one.amount if one.offer else 0 for one in rows], dtype=np.float64),
        least=np.array([max(1, one.least) if one else 1 for one in offers], dtype=np.float64),
        price=np.array([one.price[1] / MILLION if one else 0 for one in offers], np.float64),
        months=np.array([one.tenor[1] if one else 1 for one in offers], dtype=np.int64),
        ead=np.array([one.balance for one in rows], dtype=np.float64),
    )


def _node_rules(rules: Rules) -> NodeRules:
    """What the policy decides by: the loosest cut of what is sold, for purposes are unknown."""
    policy = rules.policy
    cuts = [
        found[1]
        for product in rules.catalogue.products
        for purpose in product.purposes
        if (found := rules.cuts(product, purpose)) is not None
    ]
    return NodeRules(
        bins=_NO_WEIGHT,
        cut=max(cuts) / _UNIT if cuts else -math.inf,
        dsr_cap=policy.rules.dsr_cap / MILLION,
        growth={grade: _growth(rules, place) for place, grade in enumerate(GRADES)},
        lgd=policy.loss.lgd / MILLION,
    )


def _growth(rules: Rules, place: int) -> int:
    """Approvals of a grade of the table, of whose own grades the widest cap counts.

    Caps follow the table's grades, not the policy's: if one cap ran across two cells, a person
    less in one would be a person more in the other, and the noise is not made for that.
    """
    lows, highs = (0, *GRADE_CUTS), (*GRADE_CUTS, MILLION)
    first, last = (
        GRADES.index(_grade(rules, Ppm(pd))) for pd in (lows[place], highs[place] - 1)
    )
    return max(_month(rules, grade) for grade in GRADES[first : last + 1])


def _month(rules: Rules, grade: Grade) -> int:
    """Loans that a month's cap is sure to hold, all of the grade's largest limit."""
    cells = (one for one in rules.policy.cells if one.grade == grade and one.offered)
    largest = max((one.limit_max for one in cells), default=0)
    weekly = rules.policy.growth.weekly_exposure[GRADES.index(grade)]
    return _WEEKS * weekly // largest if largest else 0


def _grade(rules: Rules, pd: Ppm) -> Grade:
    """Of the partner's own policy."""
    return rules.grade(math.floor(_eta(pd) * _UNIT))
