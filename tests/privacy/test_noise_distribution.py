"""The sampler's law against the discrete Gaussian itself (protocol 3.5.4, 11.3).

Seeds are fixed by name. Each single test would raise a false alarm for one seed in a million.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from consortium.crypto.keys import Secret
from consortium.privacy.noise import discrete_gaussian

MakeSecret = Callable[[str], Secret]
ALARM = 1e-6


def chi_square_p(samples: NDArray[np.int64], variance: int) -> float:
    """p-value against ``exp(-z²/2V)``; cells of expectation below 10 go into two tails."""
    reach = int(40 * variance**0.5) + 40
    values = np.arange(-reach, reach + 1)
    mass = np.exp(-(values.astype(float) ** 2) / (2 * variance))
    expected = mass / mass.sum() * len(samples)
    observed = np.bincount(samples + reach, minlength=len(values))
    inner = expected >= 10
    first, last = np.flatnonzero(inner)[[0, -1]]
    edges = [(0, first), (last + 1, len(values))]
    tails = [(observed[a:b].sum(), expected[a:b].sum()) for a, b in edges]
    seen = np.append(observed[inner], [tail[0] for tail in tails])
    wanted = np.append(expected[inner], [tail[1] for tail in tails])
    statistic = ((seen - wanted) ** 2 / wanted).sum()
    return float(stats.chi2.sf(statistic, len(seen) - 1))


@pytest.mark.parametrize("variance", [1, 2, 3, 10, 1000])
def test_counts_are_those_of_the_discrete_gaussian(variance: int, secret: MakeSecret) -> None:
    samples = discrete_gaussian(secret("chi"), secret("refine"), variance, 1_000_000)
    assert chi_square_p(samples, variance) > ALARM


@pytest.mark.parametrize("variance", [2**60, 2**60 + 2**59, 3**35])
def test_large_noise_is_a_gaussian_of_that_variance(variance: int, secret: MakeSecret) -> None:
    samples = discrete_gaussian(secret("ks"), secret("refine"), variance, 1_000_000)
    result = stats.kstest(samples / float(variance) ** 0.5, "norm")
    assert result.pvalue > ALARM


def test_exact_mode_has_the_same_law(secret: MakeSecret) -> None:
    samples = discrete_gaussian(secret("chi"), secret("refine"), 10, 3_000, exact=True)
    assert chi_square_p(samples, 10) > ALARM


def test_p_values_of_36_runs_are_uniform(secret: MakeSecret) -> None:
    found = [
        chi_square_p(
            discrete_gaussian(secret(f"{variance} {run}"), secret("refine"), variance, 40_000),
            variance,
        )
        for variance in (1, 3, 1000)
        for run in range(12)
    ]
    assert stats.kstest(found, "uniform").pvalue > ALARM


def test_sum_of_shares_has_the_sum_of_the_variances(secret: MakeSecret) -> None:
    variance, partners, count = 10**12, 5, 200_000
    total = np.sum(
        [
            discrete_gaussian(secret(f"partner {k}"), secret("refine"), variance, count)
            for k in range(partners)
        ],
        axis=0,
    )
    ratio = float((total.astype(float) ** 2).mean()) / (partners * variance)
    # deviation of the ratio is (2 / count)**0.5; five of them are one false alarm in 1.7e6
    assert abs(ratio - 1) < 5 * (2 / count) ** 0.5


def test_successive_values_are_not_correlated(secret: MakeSecret) -> None:
    values = discrete_gaussian(secret("lag"), secret("refine"), 10**12, 500_000).astype(float)
    for lag in (1, 2, 3):
        correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
        assert abs(correlation) < 5 / len(values) ** 0.5
