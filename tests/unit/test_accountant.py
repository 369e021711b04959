import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from consortium.errors import DomainError
from consortium.plan import ReleaseKind
from consortium.privacy.accountant import (
    UNITS,
    delta_of,
    epsilon_of,
    epsilon_of_units,
    mu_of,
    three_epsilons,
    units_of,
)
from consortium.release import Mechanism

EPSILONS = (0.1, 0.25, 0.5, 1, 2, 3, 8)
TABLE_4_1 = {
    1e-5: (30.750, 13.286, 7.0318, 3.7306, 1.9938, 1.3906, 0.6002),
    1e-6: (36.305, 15.410, 8.0576, 4.2247, 2.2305, 1.5439, 0.6529),
    1e-7: (41.330, 17.343, 8.9957, 4.6787, 2.4491, 1.6859, 0.7021),
}
DELTAS = st.sampled_from([1e-9, 1e-7, 1e-6, 1e-5, 1e-3])


@pytest.mark.parametrize("delta", TABLE_4_1)
def test_effective_deviations_of_table_4_1(delta: float) -> None:
    for epsilon, sigma in zip(EPSILONS, TABLE_4_1[delta], strict=True):
        assert 1 / mu_of(epsilon, delta) == pytest.approx(sigma, rel=1e-4)


def test_releases_of_epsilon_one_add_up_as_in_4_4() -> None:
    unit = units_of(1.0, 1e-6)
    sums = [round(epsilon_of_units(count * unit, 1e-6), 2) for count in range(1, 8)]
    assert sums == [1.00, 1.45, 1.81, 2.12, 2.40, 2.65, 2.89]
    # the table's eighth figure, 3.11, is above a cap of 3: seven fit
    assert epsilon_of_units(7 * unit, 1e-6) <= 3 < epsilon_of_units(8 * unit, 1e-6)


def test_replacing_a_person_costs_epsilon_at_twice_mu() -> None:
    assert epsilon_of(2 * mu_of(1.0, 1e-6), 1e-6) == pytest.approx(2.12, abs=5e-3)


@given(st.floats(0, 20), st.floats(0.01, 5))
def test_delta_is_that_of_scipy(epsilon: float, mu: float) -> None:
    first = stats.norm.cdf(mu / 2 - epsilon / mu)
    second = math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
    assert delta_of(epsilon, mu) == pytest.approx(max(0, first - second), rel=1e-6, abs=1e-16)


@given(st.floats(0, 10), DELTAS)
def test_epsilon_is_rounded_up_at_the_fourth_decimal(mu: float, delta: float) -> None:
    epsilon = epsilon_of(mu, delta)
    assert round(epsilon * 10_000) / 10_000 == epsilon
    assert delta_of(epsilon, mu) <= delta
    assert epsilon == 0 or delta_of(epsilon - 1e-4, mu) > delta


@given(st.floats(0.0001, 20), DELTAS)
def test_mu_is_the_largest_that_keeps_the_target(epsilon: float, delta: float) -> None:
    mu = mu_of(epsilon, delta)
    assert epsilon_of(mu, delta) <= epsilon < epsilon_of(mu * (1 + 1e-9), delta) + 1e-4


@given(st.floats(0.01, 10), DELTAS)
def test_units_of_a_target_never_exceed_it(epsilon: float, delta: float) -> None:
    units = units_of(epsilon, delta)
    assert epsilon_of_units(units, delta) <= epsilon
    assert units == pytest.approx(mu_of(epsilon, delta) ** 2 * UNITS, abs=3)


@given(st.integers(0, 2**42), st.integers(0, 2**42))
def test_epsilon_never_falls_when_units_are_added(units: int, more: int) -> None:
    assert epsilon_of_units(units, 1e-6) <= epsilon_of_units(units + more, 1e-6)


def test_nothing_released_costs_nothing() -> None:
    assert epsilon_of_units(0, 1e-6) == epsilon_of(0.0, 1e-6) == delta_of(0.0, 0.0) == 0
    spent = three_epsilons([], 1e-6)
    assert (spent.record.claimed, spent.person_replaced.largest) == (0, 0)


def test_a_person_at_m_partners_costs_m_times_the_units() -> None:
    sensitivity = 2**24 + 14
    release = Mechanism(
        kind=ReleaseKind.GRADIENT,
        sensitivity=sensitivity,
        variance=(40 * sensitivity) ** 2,
        persons_factor=4,
    )
    found = three_epsilons([release] * 60, 1e-6)
    assert found.record.claimed == epsilon_of(math.sqrt(60) / 40, 1e-6)
    assert found.person.claimed == epsilon_of(2 * math.sqrt(60) / 40, 1e-6)
    assert found.record_replaced == found.person
    assert len({*dataclasses.astuple(found.person)}) == 1  # own noise: whoever colludes
    assert found.person_replaced.claimed == epsilon_of(4 * math.sqrt(60) / 40, 1e-6)


def test_delta_beyond_the_range_of_the_exponential_errs_upwards() -> None:
    assert 0 <= delta_of(800.0, 35.0) <= 1
    assert delta_of(701.0, 40.0) >= delta_of(699.0, 40.0) * 0.9


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_argument_outside_its_domain_is_refused(bad: float) -> None:
    for call in (
        lambda: delta_of(bad, 1.0),
        lambda: delta_of(1.0, bad),
        lambda: epsilon_of(bad, 1e-6),
        lambda: epsilon_of(1.0, bad),
        lambda: mu_of(bad, 1e-6),
        lambda: mu_of(1.0, bad),
        lambda: epsilon_of_units(-1, 1e-6),
    ):
        with pytest.raises(DomainError):
            call()
    with pytest.raises(DomainError):
        epsilon_of(1.0, 1e-320)
