import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.errors import DomainError
from consortium.scoring.scorecard import (
    FACTOR,
    OFFSET,
    bin_points,
    calibrated_units,
    cut_units,
    from_units,
    pd_of,
    points,
    score,
    to_units,
)

ETAS = st.floats(-30, 30)
VECTORS = {
    "0.005": 666.29,
    "0.01": 646.15,
    "0.02": 625.86,
    "0.05": 598.52,
    "0.10": 576.96,
    "0.20": 553.56,
    "0.50": 513.56,
}


def log_odds(pd: float) -> float:
    return math.log(pd / (1 - pd))


@pytest.mark.parametrize("pd", VECTORS)
def test_scores_of_the_published_vectors(pd: str) -> None:
    assert round(score(log_odds(float(pd))), 2) == VECTORS[pd]
    assert points(log_odds(float(pd))) == math.floor(VECTORS[pd] + 0.5)


def test_constants_put_600_at_20_to_1_and_double_the_odds_every_20() -> None:
    assert round(FACTOR, 6) == 28.853901
    assert round(OFFSET, 6) == 513.561438
    assert score(-math.log(20)) == pytest.approx(600)
    assert score(-math.log(40)) == pytest.approx(620)


def test_scores_are_clamped_and_pd_is_never_0_or_1() -> None:
    assert (points(30.0), points(-30.0)) == (300, 900)
    assert 0 < pd_of(-math.inf) == pd_of(-20.0) < pd_of(20.0) == pd_of(math.inf) < 1


@given(ETAS, ETAS)
def test_higher_log_odds_of_bad_never_score_better(one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert points(low) >= points(high)
    assert pd_of(low) <= pd_of(high)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.floats(0.2, 2))
def test_points_of_the_bins_add_up_to_the_score(weights: list[float], slope: float) -> None:
    total = OFFSET + sum(bin_points(weight, slope) for weight in weights)
    assert score(slope * sum(weights)) == pytest.approx(min(max(total, 300), 900), abs=1e-9)


@given(st.floats(-20, 20))
def test_units_are_the_nearest_and_read_back(eta: float) -> None:
    assert abs(from_units(to_units(eta)) - eta) <= 2.0**-33


@pytest.mark.parametrize("pd", VECTORS)
def test_cut_is_the_nearest_unit_of_the_log_odds(pd: str) -> None:
    assert abs(cut_units(pd) - log_odds(float(pd)) * 2**32) <= 0.5 + 1e-5


def test_cut_of_one_half_is_zero_and_opposite_cuts_are_opposite() -> None:
    assert cut_units("0.5") == 0
    assert cut_units("0.03") == -cut_units("0.97")


@given(st.integers(-(2**40), 2**40), st.integers(-(2**34), 2**34), st.integers(-(2**38), 2**38))
def test_calibrated_units_round_down(alpha: int, beta: int, logit: int) -> None:
    assert calibrated_units(alpha, beta, logit) == alpha + math.floor(
        Fraction(beta * logit, 2**32)
    )


def test_identity_calibration_changes_no_unit() -> None:
    assert calibrated_units(0, 1 << 32, -12345) == -12345
    assert calibrated_units(7, 1 << 31, -3) == 5


@pytest.mark.parametrize("pd", ["0", "1", "-0.1", "nan", "inf", "one", ""])
def test_cut_outside_0_to_1_is_refused(pd: str) -> None:
    with pytest.raises(DomainError):
        cut_units(pd)


def test_numbers_that_are_not_finite_are_refused() -> None:
    for call in (score, points, pd_of, to_units):
        with pytest.raises(DomainError):
            call(math.nan)
    with pytest.raises(DomainError):
        to_units(math.inf)
