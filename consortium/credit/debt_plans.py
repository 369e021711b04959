"""What can be done about debts: four plans, each with its schedule (row 17).

A plan is arithmetic, not advice: equal instalments rounded half up, the last payment absorbs
the rest. Money is whole minor units of one currency.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from consortium.credit.instalments import due_of
from consortium.credit.terms import MILLION, Ppm, half_up
from consortium.errors import DomainError

LONGEST_PLAN = 600

_YEAR = 12


class Plan(StrEnum):
    """What can be done about debts."""

    RESCHEDULE = "RESCHEDULE"
    """The same debts over a longer time."""
    CONSOLIDATE = "CONSOLIDATE"
    """One debt in place of all."""
    PAUSE_INTEREST = "PAUSE_INTEREST"
    """Some months without interest, then as before."""
    DEAREST_FIRST = "DEAREST_FIRST"
    """All dues, and what the budget leaves goes to the dearest debt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """One debt of the borrower. Private."""

    ref: str
    balance: int
    apr: Ppm
    months: int
    """Left to run."""

    def __post_init__(self) -> None:
        """Refuse what is no debt."""
        if self.balance <= 0 or self.apr < 0 or not 1 <= self.months <= LONGEST_PLAN:
            raise DomainError("a debt has a balance, a rate of at least 0, and months to run")

    @property
    def due(self) -> int:
        """Monthly, in equal instalments."""
        return due_of(self.balance, self.apr, self.months)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """The policy's: living costs, and how far a plan may go."""

    living_costs: tuple[int, ...]
    """By household size from 1 on; the last is for all larger ones."""
    longest_months: int
    consolidated_apr: Ppm
    pause_months: int

    def __post_init__(self) -> None:
        """Refuse rules that no plan follows from."""
        rising = list(accumulate(self.living_costs, max)) == list(self.living_costs)
        if not self.living_costs or self.living_costs[0] < 0 or not rising:
            raise DomainError("living costs are at least 0 and do not fall with the household")
        if not 1 <= self.longest_months <= LONGEST_PLAN or self.pause_months < 0:
            raise DomainError("a plan of no month, or a pause below 0")

    def living(self, household: int) -> int:
        """Living costs of so many persons."""
        if household < 1:
            raise DomainError("a household of nobody")
        return self.living_costs[min(household, len(self.living_costs)) - 1]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One month of a plan, all debts together."""

    month: int
    opening: int
    interest: int
    paid: int
    closing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A plan with its schedule and what it comes to."""

    plan: Plan
    rows: tuple[PlanRow, ...]
    required: int
    """What must be paid in the heaviest month; more is the borrower's choice."""
    interest: int
    """Of the whole plan."""


def options_of(debts: Sequence[Debt], rules: PlanRules, *, spare: int) -> tuple[Option, ...]:
    """All four plans for those who have debts; none for those who have not.

    Args:
        debts: All debts. Private.
        rules: The policy's.
        spare: What a month leaves after living costs and dues, at least 0.
    """
    if not debts:
        return ()
    as_now = [_Running(debt.balance, debt.apr, debt.months) for debt in debts]
    longer = [_Running(d.balance, d.apr, max(d.months, rules.longest_months)) for d in debts]
    total = sum(debt.balance for debt in debts)
    months = max(rules.longest_months, *(debt.months for debt in debts))
    one = [_Running(total, rules.consolidated_apr, months)]
    dues = sum(debt.due for debt in debts)
    dearest = _dearest_first(as_now, dues + max(0, spare))
    return (
        _option(Plan.RESCHEDULE, _level(longer, pause=0)),
        _option(Plan.CONSOLIDATE, _level(one, pause=0)),
        _option(Plan.PAUSE_INTEREST, _level(as_now, pause=rules.pause_months)),
        _option(Plan.DEAREST_FIRST, dearest, required=min(dues, dearest[0].paid)),
    )


def _option(plan: Plan, rows: tuple[PlanRow, ...], *, required: int | None = None) -> Option:
    heaviest = max(row.paid for row in rows)
    return Option(
        plan=plan,
        rows=rows,
        required=heaviest if required is None else required,
        interest=sum(row.interest for row in rows),
    )


@dataclass(frozen=True, slots=True)
class _Running:
    balance: int
    apr: Ppm
    months: int

    def interest(self) -> int:
        """Of one month, half up."""
        return half_up(self.balance * self.apr, _YEAR * MILLION)


def _level(debts: Sequence[_Running], *, pause: int) -> tuple[PlanRow, ...]:
    """Equal instalments of each debt; in the first ``pause`` months none bears interest.

    The instalment is worked out again after the pause, so the term stays as it is.
    """
    rows: list[PlanRow] = []
    running = list(debts)
    while running:
        paused = len(rows) < pause
        row, running = _month(len(rows) + 1, running, paused=paused)
        rows.append(row)
    return tuple(rows)


def _month(
    number: int, debts: Sequence[_Running], *, paused: bool
) -> tuple[PlanRow, list[_Running]]:
    opening = interest = paid = 0
    left: list[_Running] = []
    for debt in debts:
        charged = 0 if paused else debt.interest()
        due = due_of(debt.balance, Ppm(0) if paused else debt.apr, debt.months)
        payment = debt.balance + charged
        if debt.months > 1:
            payment = min(payment, due)
        after = debt.balance + charged - payment
        opening, interest, paid = opening + debt.balance, interest + charged, paid + payment
        if after > 0:
            left.append(_Running(after, debt.apr, debt.months - 1))
    return PlanRow(number, opening, interest, paid, opening + interest - paid), left


def _dearest_first(debts: Sequence[_Running], each_month: int) -> tuple[PlanRow, ...]:
    """The same sum each month: every debt's own due, and the rest to the dearest one."""
    dues = [due_of(debt.balance, debt.apr, debt.months) for debt in debts]
    order = sorted(range(len(debts)), key=lambda k: (-debts[k].apr, k))
    balances = [debt.balance for debt in debts]
    rows: list[PlanRow] = []
    while any(balances):
        opening = sum(balances)
        charged = [
            half_up(balance * debt.apr, _YEAR * MILLION)
            for balance, debt in zip(balances, debts, strict=True)
        ]
        owed = [balance + more for balance, more in zip(balances, charged, strict=True)]
        last = len(rows) + 1 >= max(debt.months for debt in debts)
        payments = owed if last else _payments(owed, dues, order, each_month)
        balances = [before - paid for before, paid in zip(owed, payments, strict=True)]
        rows.append(PlanRow(len(rows) + 1, opening, sum(charged), sum(payments), sum(balances)))
    return tuple(rows)


def _payments(
    owed: Sequence[int], dues: Sequence[int], order: Sequence[int], each_month: int
) -> list[int]:
    payments = [min(due, left) for due, left in zip(dues, owed, strict=True)]
    spare = max(0, each_month - sum(payments))
    for place in order:
        more = min(spare, owed[place] - payments[place])
        payments[place] += more
        spare -= more
    return payments
