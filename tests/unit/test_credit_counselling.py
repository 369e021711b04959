import dataclasses
import typing
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

import numpy_financial as npf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.closures import Cause
from consortium.credit.counselling import (
    Budget,
    Case,
    Followed,
    Situation,
    Traits,
    budget_of,
    compare,
    dsr_after,
    fits,
    is_eligible,
    offer_by,
    open_case,
)
from consortium.credit.debt_plans import Debt, Option, Plan, PlanRules, options_of
from consortium.credit.restart import Tier
from consortium.credit.terms import Grade, Ppm
from consortium.errors import DomainError

RULES = PlanRules(
    living_costs=(200_000, 300_000, 360_000),
    longest_months=36,
    consolidated_apr=Ppm(80_000),
    pause_months=3,
)
CARD = Debt(ref="card", balance=1_200_000, apr=Ppm(180_000), months=12)
LOAN = Debt(ref="loan", balance=600_000, apr=Ppm(60_000), months=24)
SOME = Situation(
    cause=Cause.FREEZE,
    tier=None,
    dpd=0,
    income=500_000,
    household=1,
    debts=(CARD, LOAN),
)
TODAY = date(2026, 11, 2)


def kinds_within(kind: type) -> set[type]:
    """A dataclass and all that its fields can hold."""
    found, open_ = set(), [kind]
    while open_:
        one = open_.pop()
        if one in found:
            continue
        found.add(one)
        for hint in typing.get_type_hints(one).values():
            inner = [*typing.get_args(hint), hint]
            open_ += [k for k in inner if isinstance(k, type) and dataclasses.is_dataclass(k)]
    return found


def test_a_case_has_no_field_for_a_price() -> None:
    kinds = kinds_within(Case)
    assert {Case, Budget, Option} <= kinds
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    words = ("price", "fee", "charge", "cost", "apr", "tariff", "due_to")
    assert not {name for name in names if any(word in name for word in words)}


@pytest.mark.parametrize(
    ("changed", "eligible"),
    [
        ({"income": 300_000}, True),
        ({"income": 341_520}, True),
        ({"income": 341_521}, False),
        ({"income": 10**7, "dpd": 1}, True),
        ({"income": 10**7, "tier": Tier.C}, True),
        ({"income": 10**7, "tier": Tier.B}, False),
        ({"income": None}, True),
        ({"income": 0, "debts": ()}, True),
        ({"cause": Cause.PAID_OUT, "dpd": 9}, False),
        ({"cause": Cause.PAID_OUT, "tier": Tier.C}, True),
    ],
)
def test_counselling_is_offered_to_all_who_are_eligible(
    changed: dict[str, object], *, eligible: bool
) -> None:
    assert SOME.dues == 136_608
    assert is_eligible(replace(SOME, **changed)) is eligible


def test_budget_counts_living_costs_by_household() -> None:
    for household, living in ((1, 200_000), (2, 300_000), (3, 360_000), (9, 360_000)):
        budget = budget_of(replace(SOME, household=household), RULES)
        assert budget is not None
        assert budget.left == 500_000 - living - SOME.dues
    assert budget_of(replace(SOME, income=None), RULES) is None
    with pytest.raises(DomainError):
        budget_of(replace(SOME, household=0), RULES)


def test_case_has_all_plans_and_its_days() -> None:
    late = replace(SOME, dpd=5)
    case = open_case("c1", late, RULES, closed_on=TODAY - timedelta(days=2), today=TODAY)
    assert case.offered_by == offer_by(TODAY - timedelta(days=2)) == date(2026, 11, 5)
    assert [(day - TODAY).days for day in case.follow_up_on] == [30, 90, 180, 540]
    assert [option.plan for option in case.options] == list(Plan)
    assert case.budget == budget_of(late, RULES)
    with pytest.raises(DomainError):
        open_case("c2", replace(SOME, income=10**7), RULES, closed_on=TODAY, today=TODAY)


def plans(*debts: Debt, spare: int = 0) -> dict[Plan, Option]:
    return {one.plan: one for one in options_of(debts, RULES, spare=spare)}


def test_plans_of_one_debt_are_those_of_numpy_financial() -> None:
    found = plans(CARD)
    longer = -float(npf.pmt(0.18 / 12, 36, 1_200_000))
    assert found[Plan.RESCHEDULE].required == pytest.approx(longer, abs=40)
    cheaper = -float(npf.pmt(0.08 / 12, 36, 1_200_000))
    assert found[Plan.CONSOLIDATE].required == pytest.approx(cheaper, abs=40)
    paused = found[Plan.PAUSE_INTEREST]
    assert [row.interest for row in paused.rows[:3]] == [0, 0, 0]
    left = 1_200_000 * 9 // 12
    assert paused.required == pytest.approx(-float(npf.pmt(0.015, 9, left)), abs=20)
    alone = found[Plan.DEAREST_FIRST]
    assert len(alone.rows) == 12
    assert alone.required == CARD.due


def test_spare_money_goes_to_the_dearest_debt_and_saves_interest() -> None:
    slow, fast = (plans(CARD, LOAN, spare=s)[Plan.DEAREST_FIRST] for s in (0, 50_000))
    assert fast.interest < slow.interest
    assert len(fast.rows) < len(slow.rows)
    assert fast.rows[0].paid == SOME.dues + 50_000
    assert fast.required == SOME.dues
    cheap_first = [replace(CARD, apr=LOAN.apr), replace(LOAN, apr=CARD.apr)]
    assert plans(*cheap_first, spare=50_000)[Plan.DEAREST_FIRST].rows != fast.rows


def test_ratio_and_fit_are_those_of_what_must_be_paid() -> None:
    option = plans(CARD, LOAN, spare=50_000)[Plan.DEAREST_FIRST]
    assert dsr_after(option, 500_000) == round(SOME.dues * 2)
    budget = Budget(income=500_000, living=500_000 - SOME.dues, dues=0)
    assert fits(option, budget)
    assert not fits(option, replace(budget, living=budget.living + 1))
    with pytest.raises(DomainError):
        dsr_after(option, 0)


debts = st.builds(
    Debt,
    ref=st.just("d"),
    balance=st.integers(1, 10_000_000),
    apr=st.integers(0, 360_000).map(Ppm),
    months=st.integers(1, 60),
)


@given(st.lists(debts, min_size=1, max_size=4), st.integers(0, 500_000))
def test_every_plan_pays_all_that_is_owed(some: list[Debt], spare: int) -> None:
    options = options_of(some, RULES, spare=spare)
    assert len(options) == len(Plan)
    for option in options:
        rows = option.rows
        assert rows[0].opening == sum(debt.balance for debt in some)
        assert rows[-1].closing == 0
        assert all(a.closing == b.opening for a, b in pairwise(rows))
        assert all(r.opening + r.interest - r.paid == r.closing for r in rows)
        longest = max(RULES.longest_months, *(debt.months for debt in some))
        assert len(rows) <= longest
        assert min(min(row.paid, row.interest) for row in rows) >= 0


def test_without_debts_there_is_no_plan() -> None:
    assert options_of((), RULES, spare=5) == ()


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        (CARD, {"balance": 0}),
        (CARD, {"months": 0}),
        (CARD, {"apr": -1}),
        (RULES, {"living_costs": ()}),
        (RULES, {"living_costs": (2, 1)}),
        (RULES, {"longest_months": 0}),
        (RULES, {"pause_months": -1}),
    ],
)
def test_debts_and_rules_that_cannot_be_are_refused(
    value: Debt | PlanRules, wrong: dict[str, object]
) -> None:
    with pytest.raises(DomainError):
        replace(value, **wrong)


# --- did it help? -----------------------------------------------------------------------------

TRAITS = Traits(grade=Grade.G3, cause=Cause.FREEZE, dsr_band=2, history_band=1)


def person(ref: str, *, counselled: bool, bad: bool, traits: Traits = TRAITS) -> Followed:
    return Followed(ref=ref, traits=traits, counselled=counselled, bad=bad)


def test_cases_are_compared_with_three_controls_at_most_each_used_once() -> None:
    case = person("a", counselled=True, bad=False)
    controls = [person(f"x{k}", counselled=False, bad=k < 2) for k in range(5)]
    found = compare([*controls, case])
    assert (found.matched, found.unmatched, found.controls) == (1, 0, 3)
    assert found.difference == Fraction(-2, 3)
    two = compare([case, person("b", counselled=True, bad=True), *controls])
    assert (two.matched, two.controls) == (2, 5)
    assert two.bad_cases == Fraction(1, 2)


def test_case_without_a_control_is_out_and_counted() -> None:
    case = person("a", counselled=True, bad=True)
    for name, value in (
        ("grade", Grade.G4),
        ("cause", Cause.ARREARS),
        ("dsr_band", 3),
        ("history_band", 0),
    ):
        other = replace(TRAITS, **{name: value})
        found = compare([case, person("x", counselled=False, bad=False, traits=other)])
        assert (found.matched, found.unmatched) == (0, 1)
        assert found.difference is None


def test_comparison_does_not_depend_on_the_order_of_persons() -> None:
    people = [person(f"{k}", counselled=k % 3 == 0, bad=k % 4 == 0) for k in range(20)]
    assert compare(people) == compare(people[::-1])
