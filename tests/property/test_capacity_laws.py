"""Capacity: laws of the DSR (credit 4.10), and instalments against fractions and vectors."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.capacity import (
    DueKind,
    Income,
    IncomeState,
    NewLoan,
    Obligation,
    Usage,
    amount_that_fits,
    capacity_state,
    dsr,
    dsr_text,
    dues_of,
    exceeds,
    funds_misused,
    income_state,
    monthly_due,
    new_due,
    payment_ratio,
    utilisation,
)
from consortium.credit.instalments import (
    annuity_factor,
    due_of,
    largest_amount,
    within_cap,
)
from consortium.credit.pack import CapBasis
from consortium.credit.terms import MILLION, Ppm
from consortium.credit.tiers import Repayment
from consortium.errors import DomainError
from tests.credit_house import CARD, INCOME, RULES, TERM, TODAY

POLICY = RULES.policy.rules
money = st.integers(0, 10**12)
incomes = st.integers(1, 10**10).map(lambda one: replace(INCOME, credits=(one, one + 1, one)))
caps = st.integers(1, 2 * MILLION).map(Ppm)
loans = st.builds(
    NewLoan,
    st.sampled_from(list(Repayment)),
    st.integers(0, 360_000).map(Ppm),
    st.integers(1, 120),
)


@given(money, st.integers(1, 10**9), incomes)
def test_dsr_rises_with_any_due_and_falls_with_income(
    dues: int, more: int, income: Income
) -> None:
    assert dsr(dues + more, income) >= dsr(dues, income)
    richer = replace(income, credits=tuple(one + more for one in income.credits))
    assert dsr(dues, richer) <= dsr(dues, income)
    for cap in (dsr(dues, income), Ppm(500_000)):
        assert not exceeds(dues, richer, cap) or exceeds(dues, income, cap)


@given(st.integers(0, 10**9), incomes, st.integers(1, 1_000), caps)
def test_dsr_is_unchanged_when_all_money_is_scaled(
    dues: int, income: Income, factor: int, cap: Ppm
) -> None:
    scaled = replace(income, credits=tuple(one * factor for one in income.credits))
    assert dsr(dues * factor, scaled) == dsr(dues, income)
    assert exceeds(dues * factor, scaled, cap) is exceeds(dues, income, cap)


@given(money, incomes, caps)
def test_cap_is_compared_exactly_not_by_the_printed_figure(
    dues: int, income: Income, cap: Ppm
) -> None:
    exact = Fraction(3 * dues, sum(income.credits))
    assert exceeds(dues, income, cap) is (exact > Fraction(cap, MILLION))


@given(st.integers(0, 10**10), incomes, caps, loans)
def test_amount_that_fits_fits_and_one_unit_more_does_not(
    dues: int, income: Income, cap: Ppm, loan: NewLoan
) -> None:
    most = amount_that_fits(loan, income, dues=dues, cap=cap, rules=POLICY)
    if most:
        assert not exceeds(dues + new_due(most, loan, POLICY), income, cap)
    if not exceeds(dues, income, cap):
        assert exceeds(dues + new_due(most + 1, loan, POLICY), income, cap)
    else:
        assert most == 0


@given(st.integers(0, 10**11), st.integers(0, 500_000).map(Ppm), st.integers(1, 360))
def test_largest_amount_is_the_inverse_of_the_due(due: int, price: Ppm, months: int) -> None:
    most = largest_amount(due, price, months)
    assert due_of(most, price, months) <= due < due_of(most + 1, price, months)
    assert largest_amount(-1, price, months) == 0


@given(st.integers(1, 10**10), st.integers(1, 500_000).map(Ppm), st.integers(1, 60))
def test_due_is_the_annuity_rounded_half_up(amount: int, price: Ppm, months: int) -> None:
    rate = Fraction(price, 12 * MILLION)
    discount = sum(1 / (1 + rate) ** k for k in range(1, months + 1))
    exact = amount / discount
    assert abs(due_of(amount, price, months) - exact) <= Fraction(1, 2)
    assert Fraction(*annuity_factor(price, months)) * discount == 1


def test_dues_of_the_vectors_of_credit_4_9() -> None:
    assert due_of(1_000_000, Ppm(120_000), 12) == 88_849
    assert due_of(1_000_000, Ppm(0), 12) == 83_333
    with pytest.raises(DomainError):
        due_of(1, Ppm(-1), 12)
    with pytest.raises(DomainError):
        due_of(1, Ppm(0), 0)


@pytest.mark.parametrize(
    ("price", "fee", "basis", "figure"),
    [
        (144_521, 0, CapBasis.NOMINAL, "0.1445"),
        (144_521, 0, CapBasis.EFFECTIVE, "0.1545"),
        (120_000, 30_000, CapBasis.NOMINAL, "0.1783"),
        (120_000, 30_000, CapBasis.EFFECTIVE, "0.1936"),
        (214_572, 0, CapBasis.EFFECTIVE, "0.2370"),
    ],
    ids=str,
)
def test_price_is_within_a_cap_exactly_up_to_its_yearly_cost(
    price: int, fee: int, basis: CapBasis, figure: str
) -> None:
    """Costs of credit 4.9; a cap one basis point below refuses what one above allows."""
    cost = round(float(figure) * MILLION)
    above, below = Ppm(cost + 100), Ppm(cost - 100)
    assert within_cap(Ppm(price), Ppm(fee), 12, cap=above, basis=basis)
    assert not within_cap(Ppm(price), Ppm(fee), 12, cap=below, basis=basis)


@pytest.mark.parametrize("months", [1, 12, 360])
def test_price_at_a_nominal_cap_is_within_it(months: int) -> None:
    cap = Ppm(160_000)
    assert within_cap(cap, Ppm(0), months, cap=cap, basis=CapBasis.NOMINAL)
    assert not within_cap(Ppm(160_001), Ppm(0), months, cap=cap, basis=CapBasis.NOMINAL)
    assert not within_cap(cap, Ppm(1), months, cap=cap, basis=CapBasis.NOMINAL)


@pytest.mark.parametrize(
    ("income", "consented", "state"),
    [
        (INCOME, True, IncomeState.USABLE),
        (None, True, IncomeState.MISSING),
        (replace(INCOME, credits=()), True, IncomeState.MISSING),
        (replace(INCOME, credits=(1, 2)), True, IncomeState.MISSING),
        (INCOME, False, IncomeState.NO_CONSENT),
        (replace(INCOME, credits=(0, 0, 0)), True, IncomeState.ZERO),
        (replace(INCOME, credits=(9, -10, 1)), True, IncomeState.ZERO),
        (replace(INCOME, latest_on=date(2025, 11, 25)), True, IncomeState.STALE),
        (replace(INCOME, latest_on=date(2025, 11, 26)), True, IncomeState.USABLE),
    ],
    ids=str,
)
def test_income_is_usable_or_says_why_not(
    income: Income | None,
    consented: bool,  # noqa: FBT001 - a column of the table
    state: IncomeState,
) -> None:
    assert income_state(income, today=TODAY, rules=POLICY, consented=consented) is state


def test_income_that_has_no_dsr_is_never_divided_by() -> None:
    for credits_ in ((0, 0, 0), (1, 2), (-1, 0, 0)):
        with pytest.raises(DomainError):
            dsr(1, replace(INCOME, credits=credits_))
    with pytest.raises(DomainError):
        dsr(-1, INCOME)


def test_dues_of_lines_are_those_of_credit_4_10() -> None:
    assert monthly_due(TERM, POLICY) == 500_000
    assert monthly_due(CARD, POLICY) == 100_000
    assert monthly_due(replace(CARD, scheduled=150_000), POLICY) == 150_000
    assert dues_of((TERM,), (CARD,), None, POLICY) == 600_000
    assert dues_of((TERM,), (CARD,), 90_000, POLICY) == 600_000
    assert dues_of((TERM,), (CARD,), 110_000, POLICY) == 610_000
    with pytest.raises(DomainError):
        Obligation(kind=DueKind.TERM, scheduled=-1, balance=0)


def test_printed_dsr_has_an_end_and_a_gap() -> None:
    assert dsr_text(None) == "n/a"
    assert dsr_text(Ppm(9_990_000)) == "9.99"
    assert dsr_text(Ppm(9_990_001)) == "9.99+"
    assert dsr_text(Ppm(504_999)) == "0.50"


def test_edge_cases_of_utilisation_and_payment_ratio() -> None:
    assert utilisation(5, 0) is None
    assert utilisation(5, None) is None
    assert utilisation(-5, 100) == 0
    assert utilisation(150, 100) == 1_500_000
    assert utilisation(500, 100) == 2_000_000
    assert payment_ratio(0, 0) is None
    assert payment_ratio(5, 0) == MILLION
    assert payment_ratio(1, 4) == 250_000


def test_use_of_funds_is_flagged_above_the_policys_share_only() -> None:
    assert not funds_misused(10, 100, POLICY)
    assert funds_misused(11, 100, POLICY)
    assert not funds_misused(0, 0, POLICY)
    assert funds_misused(1, 0, POLICY)


def test_monitor_refers_for_missing_income_capacity_and_use_of_funds() -> None:
    usage = Usage(utilisation=None, misused=True, elsewhere_known=False)
    state = capacity_state(None, IncomeState.MISSING, usage, dues=1, cap=POLICY.dsr_cap)
    assert (state.dsr, state.codes, state.dues_elsewhere_unknown) == (None, ("R20", "F1"), True)
    calm = Usage(utilisation=Ppm(1), misused=False, elsewhere_known=True)
    half = 3_000_000
    for dues, codes in ((half, ()), (half + 1, ("R21",))):
        state = capacity_state(INCOME, IncomeState.USABLE, calm, dues=dues, cap=POLICY.dsr_cap)
        assert state.codes == codes
