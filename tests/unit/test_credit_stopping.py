"""The sequential stop: numbers, exact error rates, injected waves, and the ramp it holds."""

import math
from dataclasses import replace
from datetime import date, timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.credit import admission
from consortium.credit.admission import Admission, Event, Phase
from consortium.credit.policy import StopRule
from consortium.credit.stopping import (
    Counts,
    Verdict,
    bounds_of,
    half_way,
    llr,
    verdict,
    worse_than_holdout,
)
from consortium.credit.terms import GRADES, Grade
from consortium.errors import DecodeError, DomainError, OutOfOrderError
from tests.credit_house import RULES, TODAY

POLICY = RULES.policy
RULE = POLICY.stop
UNIT = 2**32


def test_bounds_are_those_of_wald_to_a_unit() -> None:
    bounds = bounds_of(RULE)
    assert bounds.halt / UNIT == pytest.approx(2.8904, abs=5e-5)
    assert bounds.passed / UNIT == pytest.approx(-2.2513, abs=5e-5)
    assert bounds.bad == pytest.approx(math.log(2) * UNIT, abs=1)
    assert bounds.good == pytest.approx(math.log(0.94 / 0.97) * UNIT, abs=1)


def exact(rate: float, rule: StopRule = RULE) -> tuple[float, float]:
    """Chance of a halt and mean number of accounts, looking after each: no simulation."""
    alive = np.array([1.0])
    halted, accounts = 0.0, 0.0
    for n in range(1, rule.most_accounts + 1):
        accounts += alive.sum()
        alive = np.convolve(alive, [1 - rate, rate])
        for bad in np.flatnonzero(alive > 0):
            found = verdict(Counts(n - int(bad), int(bad)), rule)
            if found is not Verdict.CONTINUE:
                halted += alive[bad] * (found is Verdict.HALT)
                alive[bad] = 0.0
        reached = np.flatnonzero(alive)
        alive = alive[: reached[-1] + 1] if reached.size else np.zeros(1)
    assert alive.sum() < 1e-12
    return float(halted), float(accounts)


@pytest.mark.parametrize(
    ("rate", "halts", "accounts"), [(0.03, 0.039, 209), (0.06, 0.898, 215), (0.09, 0.996, 97)]
)
def test_error_rates_are_those_that_are_stated(
    rate: float, halts: float, accounts: float
) -> None:
    found, mean = exact(rate)
    assert found == pytest.approx(halts, abs=0.004)
    assert mean == pytest.approx(accounts, abs=4)


@pytest.mark.parametrize(("rate", "least", "most"), [(0.03, 0, 16), (0.06, 170, 200)])
def test_injected_waves_halt_in_200_seeds_as_promised(
    rng: Generator, rate: float, least: int, most: int
) -> None:
    """False alarm below 1 in a million: 200 draws with .039 or .898 against .08 or .85."""
    halted = 0
    for _ in range(200):
        bads = np.cumsum(rng.random(RULE.most_accounts) < rate)
        looks = (
            verdict(Counts(n - int(bads[n - 1]), int(bads[n - 1])), RULE)
            for n in range(1, RULE.most_accounts + 1)
        )
        halted += next(one for one in looks if one is not Verdict.CONTINUE) is Verdict.HALT
    assert least <= halted <= most


def test_no_verdict_before_the_least_accounts_and_one_after_the_most() -> None:
    assert verdict(Counts(0, 49), RULE) is Verdict.CONTINUE
    assert verdict(Counts(0, 50), RULE) is Verdict.HALT
    assert verdict(Counts(72, 0), RULE) is Verdict.PASS
    assert verdict(Counts(71, 0), RULE) is Verdict.CONTINUE
    slow = next(
        Counts(1_500 - bad, bad)
        for bad in range(1_500)
        if bounds_of(RULE).passed < llr(Counts(1_500 - bad, bad), bounds_of(RULE))
    )
    assert verdict(slow, RULE) is Verdict.PASS_WITH_REVIEW
    assert verdict(Counts(slow.good - 1, slow.bad), RULE) is Verdict.CONTINUE


@given(st.integers(0, 2_000), st.integers(0, 300))
def test_one_more_bad_never_speaks_for_a_wave(good: int, bad: int) -> None:
    bounds = bounds_of(RULE)
    assert llr(Counts(good, bad + 1), bounds) > llr(Counts(good, bad), bounds)
    assert llr(Counts(good + 1, bad), bounds) < llr(Counts(good, bad), bounds)


def test_looks_at_noisy_totals_share_alpha() -> None:
    once, ten = bounds_of(RULE), bounds_of(replace(RULE, looks=10))
    assert ten.halt - once.halt == pytest.approx(math.log(10) * UNIT, abs=2)
    assert verdict(Counts(-3, 60), RULE) is Verdict.HALT


def test_amber_is_past_half_of_the_bound() -> None:
    bounds = bounds_of(RULE)
    bads = math.ceil(bounds.halt / 2 / bounds.bad)
    assert half_way(Counts(0, bads), RULE)
    assert not half_way(Counts(0, bads - 1), RULE)


@pytest.mark.parametrize(
    "changes",
    [
        {"fpd30_plan": 0},
        {"ratio": 1_000_000},
        {"fpd30_plan": 500_000},
        {"alpha": 0},
        {"beta": 0},
        {"alpha": 600_000, "beta": 500_000},
    ],
    ids=str,
)
def test_test_without_a_meaning_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(DomainError):
        bounds_of(replace(RULE, **changes))


def test_wave_that_is_worse_than_its_holdout_halts_only_beyond_margin_and_interval() -> None:
    holdout = Counts(970, 30)
    assert worse_than_holdout(Counts(900, 100), holdout, RULE)
    assert not worse_than_holdout(Counts(952, 48), holdout, RULE)  # within the margin
    assert not worse_than_holdout(Counts(9, 1), holdout, RULE)  # interval holds 0
    assert not worse_than_holdout(Counts(0, 0), holdout, RULE)
    assert not worse_than_holdout(Counts(0, 10), Counts(0, 0), RULE)


@given(st.integers(1, 400), st.integers(0, 400), st.integers(1, 400), st.integers(0, 400))
def test_comparison_with_the_holdout_is_the_normal_interval(
    good: int, bad: int, held_good: int, held_bad: int
) -> None:
    n, m = good + bad, held_good + held_bad
    p, q = bad / n, held_bad / m
    gap, error = p - q, math.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    if abs(gap - 0.02) > 1e-9 and abs(gap - 1.96 * error) > 1e-9:
        expected = gap > 0.02 and gap > 1.96 * error
        assert (
            worse_than_holdout(Counts(good, bad), Counts(held_good, held_bad), RULE) is expected
        )


# --- the ramp ---------------------------------------------------------------------------------


def test_ramp_opens_a_share_of_each_cap() -> None:
    state = admission.start(TODAY)
    caps = POLICY.growth.weekly_exposure
    assert admission.headroom(state, POLICY) == tuple(cap // 100 for cap in caps)
    for percent in (5, 20, 100):
        state = admission.observe(state, POLICY, good=72, bad=0)
        assert admission.headroom(state, POLICY) == tuple(cap * percent // 100 for cap in caps)
    state = admission.observe(state, POLICY, good=72, bad=0)
    assert state.phase is Phase.OPEN
    assert admission.headroom(state, POLICY) == caps


def test_bad_wave_halts_the_ramp_until_a_signed_decision() -> None:
    state = admission.observe(admission.start(TODAY), POLICY, good=45, bad=15)
    assert state.phase is Phase.HALTED
    assert admission.headroom(state, POLICY) == (0,) * 5
    with pytest.raises(DomainError):
        admission.reserve(state, POLICY, Grade.G1, 1)
    assert admission.observe(state, POLICY, good=1_000, bad=0) == state
    again = admission.apply(state, Event.RESUME, POLICY)
    assert (again.phase, again.stage, again.good, again.bad) == (Phase.RUNNING, 0, 0, 0)


def test_undecided_stage_waits_for_a_person() -> None:
    state = replace(admission.start(TODAY), good=1_435, bad=64)
    state = admission.observe(state, POLICY, good=1, bad=0)
    assert state.phase is Phase.REVIEW
    assert admission.apply(state, Event.REVIEWED, POLICY).stage == 1


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)), ids=str)
def test_pair_outside_the_table_is_refused(phase: Phase, event: Event) -> None:
    state = replace(admission.start(TODAY), phase=phase)
    if (phase, event) in admission.TRANSITIONS:
        admission.apply(state, event, POLICY)
    else:
        with pytest.raises(OutOfOrderError):
            admission.apply(state, event, POLICY)


def test_cap_is_whole_again_on_monday_and_no_week_comes_back() -> None:
    state = admission.reserve(admission.start(TODAY), POLICY, Grade.G4, 20_000_000)
    assert admission.headroom(state, POLICY)[3] == 0
    sunday = state.week + timedelta(days=6)
    assert admission.at(state, sunday) == state
    fresh = admission.at(state, sunday + timedelta(days=1))
    assert admission.headroom(fresh, POLICY)[3] == 20_000_000
    with pytest.raises(OutOfOrderError):
        admission.at(fresh, sunday)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(GRADES), st.integers(1, 600_000_000), st.booleans(), st.booleans()
        ),
        max_size=60,
    )
)
def test_no_order_of_requests_gets_more_than_a_cap(
    requests: list[tuple[Grade, int, bool, bool]],
) -> None:
    state = admission.start(TODAY)
    for grade, amount, gives_back, passes in requests:
        if passes:
            state = admission.observe(state, POLICY, good=72, bad=0)
        before = admission.headroom(state, POLICY)[GRADES.index(grade)]
        if amount > before:
            with pytest.raises(DomainError):
                admission.reserve(state, POLICY, grade, amount)
            continue
        state = admission.reserve(state, POLICY, grade, amount)
        assert admission.headroom(state, POLICY)[GRADES.index(grade)] == before - amount
        if gives_back:
            state = admission.release(state, grade, amount)
        assert all(
            used <= cap
            for used, cap in zip(state.used, POLICY.growth.weekly_exposure, strict=True)
        )
        assert Admission.from_bytes(state.to_bytes()) == state


def test_state_that_no_history_leads_to_is_refused() -> None:
    with pytest.raises(DomainError):
        replace(admission.start(TODAY), week=date(2026, 11, 24))
    data = admission.start(TODAY).to_bytes().replace(b'"good":0', b'"good":-1')
    with pytest.raises(DecodeError):
        Admission.from_bytes(data)
    with pytest.raises(DomainError):
        admission.release(admission.start(TODAY), Grade.G1, 1)
    with pytest.raises(DomainError):
        admission.observe(admission.start(TODAY), POLICY, good=-1, bad=0)
