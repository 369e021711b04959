"""Bounds of canaries against scipy and dp-accounting, and how often they err."""

import math

import numpy as np
import pytest
import scipy.stats
from dp_accounting import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consortium.audit import bounds
from consortium.errors import DomainError, ShapeError
from consortium.privacy.accountant import epsilon_of, mu_of

Float = NDArray[np.float64]
DELTA = 1e-6


def canaries(
    seed: int, count: int, mu: float, noise: float = 1.0
) -> tuple[Float, NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)  # noqa: TID251 - seeded
    present = rng.random(count) < 0.5
    return rng.normal(0.0, noise, count) + mu * present, present


def share_above(claim: float, count: int, noise: float, audits: int) -> tuple[float, float]:
    """Share of simulated audits whose bound (a) is above the claim; the mean bound."""
    mu = mu_of(claim, DELTA)
    found = [
        bounds.gdp_bound(*canaries(seed, count, mu, noise), DELTA).epsilon
        for seed in range(audits)
    ]
    return float(np.mean([one > claim for one in found])), float(np.mean(found))


@pytest.mark.parametrize(
    ("seen", "trials"), [(0, 1), (0, 500), (3, 500), (250, 500), (499, 500)]
)
def test_clopper_pearson_is_that_of_scipy(seen: int, trials: int) -> None:
    exact = scipy.stats.binomtest(seen, trials, alternative="two-sided")
    expected = exact.proportion_ci(confidence_level=0.95, method="exact").high
    assert bounds.binomial_upper(seen, trials) == pytest.approx(expected, abs=1e-9)


def test_event_that_always_happened_has_no_bound_below_one() -> None:
    assert bounds.binomial_upper(7, 7) == bounds.binomial_upper(0, 0) == 1.0


@settings(max_examples=60)
@given(
    epsilon=st.floats(0.0, 8.0),
    canaries=st.integers(1, 400),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    delta=st.sampled_from([0.0, 1e-6, 1e-3]),
)
def test_p_value_of_one_run_is_that_of_the_paper(
    epsilon: float, canaries: int, shares: tuple[float, float], delta: float
) -> None:
    guessed = int(canaries * shares[0])
    right = int(guessed * shares[1])
    found = bounds.one_run_p_value(
        epsilon, delta, canaries=canaries, guessed=guessed, right=right
    )
    law = scipy.stats.binom(guessed, 1 / (1 + math.exp(-epsilon)))
    worst = max(
        ((law.cdf(right - 1) - law.cdf(right - i - 1)) / i for i in range(1, right + 1)),
        default=0.0,
    )
    expected = min(1.0, law.sf(right - 1) + 2 * canaries * delta * worst)
    assert found == pytest.approx(expected, abs=1e-9)


def test_all_of_many_guesses_right_gives_the_bound_of_pure_privacy() -> None:
    # delta 0: P[Bin(r, q) = r] = q^r < 0.05, so q < 0.05^(1/r), whatever M.
    scores = np.concatenate([np.zeros(500), np.ones(500)])
    found = bounds.one_run_bound(scores, scores == 1.0, 0.0)
    q = 0.05 ** (1 / 100)
    assert found == pytest.approx(math.log(q / (1 - q)), abs=1e-6)


def test_epsilon_of_a_bound_is_that_of_dp_accounting() -> None:
    scores, present = canaries(3, 4_000, 1.0)
    found = bounds.gdp_bound(scores, present, DELTA)
    accountant = PLDAccountant()
    accountant.compose(GaussianDpEvent(1 / found.low))
    assert found.epsilon == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3)


def test_standard_error_is_that_of_repeated_audits() -> None:
    found = [bounds.gdp_bound(*canaries(seed, 400, 1.5), DELTA) for seed in range(400)]
    seen = float(np.std([one.mu for one in found]))
    assert seen == pytest.approx(found[0].error, rel=0.12)


@pytest.mark.parametrize("claim", [1.0, 3.0, 8.0])
def test_every_bound_is_below_the_truth_of_an_honest_run(claim: float) -> None:
    mu = mu_of(claim, DELTA)
    for seed in range(20):
        scores, present = canaries(seed, 2_000, mu)
        assert bounds.threshold_bound(scores, present, DELTA) < claim
        assert bounds.one_run_bound(scores, present, DELTA) < claim


def test_each_bound_grows_with_the_leak() -> None:
    for bound in (bounds.threshold_bound, bounds.one_run_bound):
        found = [bound(*canaries(5, 2_000, mu), DELTA) for mu in (0.1, 1.0, 3.0, 8.0)]
        assert found == sorted(found)
        assert found[-1] > 3


def test_canaries_that_stand_out_without_limit_give_a_large_finite_bound() -> None:
    scores, present = canaries(1, 1_000, 1e6)
    assert 800 < bounds.gdp_bound(scores, present, DELTA).epsilon < 1_200


def test_scores_below_chance_refute_nothing() -> None:
    scores, present = canaries(1, 1_000, -1.0)
    assert bounds.gdp_bound(scores, present, DELTA).epsilon == 0
    assert bounds.threshold_bound(scores, present, DELTA) == 0
    assert bounds.one_run_bound(scores, present, DELTA) == 0


def test_half_the_noise_is_refuted_by_a_and_not_by_one_run() -> None:
    mu = mu_of(1.0, DELTA)
    scores, present = canaries(2, 4_000, mu, 0.5)
    assert bounds.gdp_bound(scores, present, DELTA).epsilon > 1
    assert bounds.one_run_bound(scores, present, DELTA) < 1


def test_epsilon_of_the_claims_own_mu_is_the_claim() -> None:
    assert epsilon_of(mu_of(1.0, DELTA), DELTA) == 1.0  # so "above" means a larger mu


def test_null_round_measures_the_noise_within_its_tolerance() -> None:
    rng = np.random.default_rng(4)  # noqa: TID251 - seeded
    sums = rng.standard_normal((60, 195))
    right = bounds.null_round(sums)
    assert right.tolerance == pytest.approx(4 / math.sqrt(2 * 60 * 195))
    assert abs(right.deviation - 1) < right.tolerance == pytest.approx(0.026, abs=5e-4)
    assert right.correlation < right.correlation_tolerance
    assert abs(bounds.null_round(0.95 * sums).deviation - 1) > right.tolerance


def test_rounds_that_share_a_quarter_of_their_noise_are_found() -> None:
    rng = np.random.default_rng(4)  # noqa: TID251 - seeded
    sums = rng.standard_normal((60, 4_196))
    sums[17] = 0.25 * sums[3] + math.sqrt(1 - 0.25**2) * sums[17]
    found = bounds.null_round(sums)
    assert found.correlation > found.correlation_tolerance


def test_round_without_noise_is_found() -> None:
    rng = np.random.default_rng(4)  # noqa: TID251 - seeded
    sums = rng.standard_normal((10, 400))
    sums[2] = 0.0
    assert bounds.null_round(sums).correlation == 1.0


def test_rate_at_rare_alarms_is_chance_without_a_leak_and_one_with_all_of_it() -> None:
    assert bounds.rate_at_rare_alarms(*canaries(1, 200_000, 0.0)) == pytest.approx(
        0.001, abs=4e-4
    )
    assert bounds.rate_at_rare_alarms(*canaries(1, 200, 9.0)) == 1.0


@pytest.mark.parametrize(
    ("scores", "present", "error"),
    [
        (np.zeros((20, 1)), np.zeros(20, dtype=bool), ShapeError),
        (np.zeros(20), np.zeros(20), ShapeError),
        (np.full(20, np.nan), np.arange(20) < 10, DomainError),
        (np.zeros(20), np.arange(20) < 10, DomainError),
        (np.arange(20.0), np.arange(20) < 7, DomainError),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(
    scores: Float, present: NDArray[np.bool_], error: type[Exception]
) -> None:
    with pytest.raises(error):
        bounds.gdp_bound(scores, present, DELTA)


@pytest.mark.parametrize("sums", [np.zeros((3, 7)), np.full((2, 9), np.inf)])
def test_null_rounds_that_cannot_be_judged_are_refused(sums: Float) -> None:
    with pytest.raises(DomainError):
        bounds.null_round(sums)
    with pytest.raises(ShapeError):
        bounds.null_round(np.zeros(9))


@pytest.mark.parametrize("arguments", [(0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)])
def test_claim_of_nothing_has_no_deviation(arguments: tuple[float, int, int]) -> None:
    mu, sensitivity, rounds = arguments
    with pytest.raises(DomainError):
        bounds.claimed_deviation(mu, sensitivity=sensitivity, rounds=rounds)


@pytest.mark.parametrize("bad", [(2, 1, 1), (1, 2, 1), (1, 1, -1)])
def test_more_right_guesses_than_guesses_are_refused(bad: tuple[int, int, int]) -> None:
    right, guessed, count = bad
    with pytest.raises(DomainError):
        bounds.one_run_p_value(1.0, 0.0, canaries=count, guessed=guessed, right=right)


def test_half_the_noise_exceeds_the_claim_and_all_of_it_does_not() -> None:
    assert share_above(1.0, 4_000, 0.5, 40)[0] == 1.0
    assert share_above(1.0, 4_000, 1.0, 40)[0] <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "count", "expected"),
    [
        (1.0, 1_000, {1.0: 0.00, 0.9: 0.03, 0.75: 0.12, 0.5: 0.93}),
        (1.0, 4_000, {1.0: 0.02, 0.9: 0.06, 0.75: 0.51, 0.5: 1.00}),
        (1.0, 10_000, {1.0: 0.01, 0.9: 0.13, 0.75: 0.96, 0.5: 1.00}),
        (3.0, 1_000, {1.0: 0.00, 0.9: 0.08, 0.75: 0.82, 0.5: 1.00}),
        (3.0, 10_000, {1.0: 0.01, 0.9: 0.87, 0.75: 1.00, 0.5: 1.00}),
        (8.0, 1_000, {1.0: 0.01, 0.9: 0.49, 0.75: 1.00, 0.5: 1.00}),
    ],
)
def test_shares_of_refuted_claims_are_those_of_the_protocols_table(
    claim: float, count: int, expected: dict[float, float]
) -> None:
    # Two tables of 300 audits each: 4 deviations of a difference of such shares.
    for noise, share in expected.items():
        found, _ = share_above(claim, count, noise, 300)
        spread = 4 * math.sqrt(2 * max(share * (1 - share), 0.02) / 300)
        assert found == pytest.approx(share, abs=spread), (claim, count, noise)
