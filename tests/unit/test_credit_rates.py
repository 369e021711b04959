from datetime import date
from decimal import Decimal

import numpy_financial as npf
import pytest
import pyxirr
from scipy.optimize import brentq

from consortium.credit.pack import CapBasis
from consortium.credit.rates import (
    Clock,
    Flow,
    costs_more_than,
    percent_text,
    ppm_of,
    yearly_rates,
)
from consortium.credit.terms import Ppm
from consortium.errors import DomainError

PAID_OUT = date(2026, 1, 31)


def monthly(received: int, *paid: tuple[int, int]) -> list[Flow]:
    return [Flow(0, received), *(Flow(month, -amount) for month, amount in paid)]


def each(amount: int, months: int) -> list[tuple[int, int]]:
    return [(month, amount) for month in range(1, months + 1)]


VECTORS = {
    "12 x 900": (monthly(1_000_000, *each(90_000, 12)), ".012043", "14.4521", "15.4489"),
    "fee 300": (monthly(970_000, *each(88_849, 12)), ".014854", "17.8254", "19.3563"),
    "1 % flat": (
        monthly(100_000_000, *each(9_333_333, 12)),
        ".017881",
        "21.4572",
        "23.6984",
    ),
    "bullet": (monthly(1_000_000, (3, 1_060_000)), ".019613", "23.5354", "26.2477"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_rates_by_months_are_those_worked_by_hand(name: str) -> None:
    flows, month, nominal, effective = VECTORS[name]
    rates = yearly_rates(flows, Clock.MONTHS)
    assert float(rates.nominal / 12) == pytest.approx(float(month), abs=5e-7)
    assert float(rates.nominal) * 100 == pytest.approx(float(nominal), abs=1e-4)
    assert float(rates.effective) * 100 == pytest.approx(float(effective), abs=1e-4)


def test_rate_by_days_is_the_one_worked_by_hand() -> None:
    paid = (date(2026, 3, 2), date(2026, 4, 15), date(2026, 5, 31))
    flows = [Flow(0, 1_000_000), *(Flow((day - PAID_OUT).days, -340_000) for day in paid)]
    rates = yearly_rates(flows, Clock.DAYS)
    assert percent_text(ppm_of(rates.effective)) == "10.19"
    assert float(rates.effective) * 100 == pytest.approx(10.1900, abs=1e-4)
    monthly_equal = (1 + float(rates.effective)) ** (1 / 12) - 1
    assert float(rates.nominal) == pytest.approx(12 * monthly_equal, abs=1e-12)


def test_no_interest_and_no_fee_costs_exactly_nothing() -> None:
    flows = monthly(1_000_000, *each(83_333, 11), (12, 83_337))
    for clock in Clock:
        rates = yearly_rates(flows, clock)
        assert rates.nominal == rates.effective == Decimal(0)
        assert not costs_more_than(flows, clock, cap=Ppm(0), basis=CapBasis.NOMINAL)


@pytest.mark.parametrize("months", [1, 2, 6, 12, 36, 120, 360])
@pytest.mark.parametrize("paid", [1001, 1100, 1600])
def test_rates_by_months_agree_with_numpy_financial(months: int, paid: int) -> None:
    due = 1_000 * paid // months + 1
    flows = monthly(1_000_000, *each(due, months))
    found = yearly_rates(flows, Clock.MONTHS)
    expected = float(npf.rate(months, -due, 1_000_000, 0))
    assert float(found.nominal / 12) == pytest.approx(expected, abs=1e-9)
    if months <= 36:
        root = float(npf.irr([1_000_000, *([-due] * months)]))
        assert float(found.nominal / 12) == pytest.approx(root, abs=1e-9)


IRREGULAR = [
    [(30, 340_000), (74, 340_000), (120, 340_000)],
    [(1, 1_000_050)],
    [(10, 500_000), (400, 700_000)],
    [(45, 90_000), (76, 90_000), (104, 90_000), (1_400, 1_200_000)],
    [(31 * k, 30_000) for k in range(1, 61)],
]


@pytest.mark.parametrize("paid", IRREGULAR)
def test_rates_by_days_agree_with_pyxirr_and_scipy(paid: list[tuple[int, int]]) -> None:
    flows = monthly(1_000_000, *paid)
    found = float(yearly_rates(flows, Clock.DAYS).effective)
    days = [date.fromordinal(PAID_OUT.toordinal() + flow.at) for flow in flows]
    expected = pyxirr.xirr(days, [float(flow.amount) for flow in flows])
    assert expected is not None
    assert found == pytest.approx(expected, abs=1e-8)
    root = brentq(
        lambda r: sum(f.amount * (1 + r) ** (-f.at / 365) for f in flows), -0.9, 10, xtol=1e-13
    )
    assert found == pytest.approx(root, abs=1e-9)


def test_bullet_is_over_the_cap_on_the_effective_basis_only() -> None:
    flows = VECTORS["bullet"][0]
    cap = Ppm(240_000)
    assert costs_more_than(flows, Clock.MONTHS, cap=cap, basis=CapBasis.EFFECTIVE)
    assert not costs_more_than(flows, Clock.MONTHS, cap=cap, basis=CapBasis.NOMINAL)


def test_one_minor_unit_over_the_cap_is_over_it() -> None:
    at_the_cap = [Flow(0, 10_000_000), Flow(1, -10_200_000)]
    over = [Flow(0, 10_000_000), Flow(1, -10_200_001)]
    cap = Ppm(240_000)
    assert not costs_more_than(at_the_cap, Clock.MONTHS, cap=cap, basis=CapBasis.NOMINAL)
    assert costs_more_than(over, Clock.MONTHS, cap=cap, basis=CapBasis.NOMINAL)
    year = [Flow(0, 10_000_000), Flow(365, -12_400_000)]
    over = [Flow(0, 10_000_000), Flow(365, -12_400_001)]
    assert not costs_more_than(year, Clock.DAYS, cap=cap, basis=CapBasis.EFFECTIVE)
    assert costs_more_than(over, Clock.DAYS, cap=cap, basis=CapBasis.EFFECTIVE)


@pytest.mark.parametrize(
    "flows",
    [
        [],
        [Flow(0, 100)],
        [Flow(0, -100), Flow(1, 110)],
        [Flow(0, 100), Flow(1, -200), Flow(2, 50)],
        [Flow(0, 100), Flow(0, -100), Flow(1, -1)],
        [Flow(-1, 100), Flow(1, -110)],
    ],
)
def test_flows_that_do_not_turn_once_from_received_to_paid_have_no_rate(
    flows: list[Flow],
) -> None:
    with pytest.raises(DomainError):
        yearly_rates(flows, Clock.MONTHS)
    with pytest.raises(DomainError):
        costs_more_than(flows, Clock.MONTHS, cap=Ppm(1), basis=CapBasis.EFFECTIVE)


def test_rate_beyond_all_bounds_and_negative_cap_are_refused() -> None:
    with pytest.raises(DomainError, match="no rate"):
        yearly_rates([Flow(0, 1), Flow(1, -12)], Clock.MONTHS)
    with pytest.raises(DomainError, match="negative cap"):
        costs_more_than(VECTORS["bullet"][0], Clock.MONTHS, cap=Ppm(-1), basis=CapBasis.NOMINAL)


def test_percent_is_printed_half_up() -> None:
    assert percent_text(Ppm(154_489)) == "15.45"
    assert percent_text(Ppm(154_450)) == "15.45"
    assert percent_text(Ppm(-50)) == "-0.01"
    assert percent_text(Ppm(-49)) == "0.00"
