"""The slope that a soak is judged by, against scipy's."""

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator
from scipy.stats import linregress

from bench.soak_trend import by_minute, slope


def test_slope_and_its_error_are_those_of_a_linear_regression(rng: Generator) -> None:
    at = np.arange(0.0, 1800.0, 60.0)
    values = 900 + 40 * at / 3600 + rng.normal(0, 3, len(at))
    found, oracle = slope(list(at), list(values)), linregress(at / 3600, values)
    assert found.per_hour == pytest.approx(oracle.slope)
    assert found.error == pytest.approx(oracle.stderr)


def test_samples_of_one_minute_count_as_one() -> None:
    at, means = by_minute([0.0, 30.0, 60.0, 61.0, 200.0], [1.0, 3.0, 5.0, 7.0, 9.0])
    assert means == [2.0, 6.0, 9.0]
    assert at == [15.0, 60.5, 200.0]
