"""Counselling after a closure: a budget, plans, follow-ups, and whether it helped (row 17).

Counselling is free: a case has no price, and no field that could hold one. Which plan is taken
is the borrower's and the lender's to agree. Money is whole minor units of one currency.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from consortium.credit.closures import COMPETING, Cause
from consortium.credit.debt_plans import Debt, Option, PlanRules, options_of
from consortium.credit.restart import HEAVY_DEBT, Tier
from consortium.credit.terms import MILLION, Grade, Ppm, half_up
from consortium.errors import DomainError

OFFER_DAYS = 5
FOLLOW_UP_DAYS = (30, 90, 180, 540)
MOST_CONTROLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What counselling starts from. Private."""

    cause: Cause
    tier: Tier | None
    dpd: int
    income: int | None
    """Net, monthly; None: not known."""
    household: int
    """Persons who live on it."""
    debts: tuple[Debt, ...]

    @property
    def dues(self) -> int:
        """All monthly dues."""
        return sum(debt.due for debt in self.debts)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a month leaves; below 0 is told as it is."""

    income: int
    living: int
    dues: int

    @property
    def left(self) -> int:
        """``income − living costs − dues``."""
        return self.income - self.living - self.dues


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One counselling case. It is free: no field of it holds a price."""

    case_ref: str
    """The partner's own; it never leaves."""
    opened_on: date
    offered_by: date
    budget: Budget | None
    """None: income is not known."""
    options: tuple[Option, ...]
    """All plans; none is hidden because it does not fit."""
    follow_up_on: tuple[date, ...]


def is_eligible(situation: Situation) -> bool:
    """Whether counselling must be offered.

    Closed by any lender cause and a debt service ratio of .40 or more or something past due;
    or tier C. Without a known income the ratio is taken as high: nobody is left out by it.
    """
    if situation.tier is Tier.C:
        return True
    if situation.cause in COMPETING:
        return False
    income = situation.income
    unknown = income is None or income <= 0
    heavy = unknown or situation.dues * MILLION >= HEAVY_DEBT * (income or 0)
    return heavy or situation.dpd > 0


def offer_by(closed_on: date) -> date:
    """Last day on which the offer of counselling is in time."""
    return closed_on + timedelta(days=OFFER_DAYS)


def open_case(
    case_ref: str, situation: Situation, rules: PlanRules, *, closed_on: date, today: date
) -> Case:
    """A case with its budget, all plans and the days of follow-up.

    Raises:
        DomainError: who is not eligible, or a household of nobody.
    """
    if not is_eligible(situation):
        raise DomainError("no closure with arrears or heavy debt, and not tier C")
    return Case(
        case_ref=case_ref,
        opened_on=today,
        offered_by=offer_by(closed_on),
        budget=budget_of(situation, rules),
        options=options_of(situation.debts, rules, spare=_spare(situation, rules)),
        follow_up_on=tuple(today + timedelta(days=days) for days in FOLLOW_UP_DAYS),
    )


def budget_of(situation: Situation, rules: PlanRules) -> Budget | None:
    """Income less living costs and dues; None if income is not known."""
    living = rules.living(situation.household)
    if situation.income is None or situation.income <= 0:
        return None
    return Budget(income=situation.income, living=living, dues=situation.dues)


def dsr_after(option: Option, income: int) -> Ppm:
    """The debt service ratio once a plan is taken, in its heaviest month."""
    if income <= 0:
        raise DomainError("without an income there is no ratio")
    return Ppm(half_up(option.required * MILLION, income))


def fits(option: Option, budget: Budget) -> bool:
    """Whether income covers living costs and what must be paid in the heaviest month."""
    return budget.income - budget.living >= option.required


def _spare(situation: Situation, rules: PlanRules) -> int:
    budget = budget_of(situation, rules)
    return 0 if budget is None else max(0, budget.left)


# --- did it help? -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a case and its controls share, at one partner."""

    grade: Grade
    cause: Cause
    dsr_band: int
    history_band: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A borrower 18 months later. Private."""

    ref: str
    traits: Traits
    counselled: bool
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Bad rates of cases and of their controls. Private: counts of one partner."""

    matched: int
    unmatched: int
    """Cases without any control: out of the comparison, and counted."""
    controls: int
    bad_cases: Fraction | None
    bad_controls: Fraction | None
    """Mean over cases of the rate among each one's controls."""

    @property
    def difference(self) -> Fraction | None:
        """Cases less controls; below 0 is better. None without a matched case."""
        if self.bad_cases is None or self.bad_controls is None:
            return None
        return self.bad_cases - self.bad_controls


def compare(followed: Sequence[Followed]) -> Comparison:
    """Compare the counselled with at most three controls each, every control once.

    Both are taken in the order of their references, so that the result is the same for all.
    """
    ordered = sorted(followed, key=lambda one: one.ref)
    pool: dict[Traits, list[Followed]] = {}
    for one in ordered:
        if not one.counselled:
            pool.setdefault(one.traits, []).append(one)
    cases = [one for one in ordered if one.counselled]
    groups = _matched(cases, pool)
    matched = len(groups)
    return Comparison(
        matched=matched,
        unmatched=len(cases) - matched,
        controls=sum(len(controls) for _, controls in groups),
        bad_cases=Fraction(sum(case.bad for case, _ in groups), matched) if groups else None,
        bad_controls=_mean_rate(groups),
    )


def _matched(
    cases: Sequence[Followed], pool: Mapping[Traits, list[Followed]]
) -> list[tuple[Followed, list[Followed]]]:
    """Controls go round by round, so that no case takes three while another gets none."""
    found: dict[str, list[Followed]] = {case.ref: [] for case in cases}
    for _ in range(MOST_CONTROLS):
        for case in cases:
            left = pool.get(case.traits)
            if left:
                found[case.ref].append(left.pop(0))
    return [(case, found[case.ref]) for case in cases if found[case.ref]]


def _mean_rate(groups: Sequence[tuple[Followed, list[Followed]]]) -> Fraction | None:
    if not groups:
        return None
    rates = [Fraction(sum(one.bad for one in some), len(some)) for _, some in groups]
    return sum(rates, Fraction(0)) / len(rates)
