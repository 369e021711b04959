"""Figures of a noisy table with their intervals (credit 4.5).

By formulas and not by drawing: every count has the variance of a Poisson variable of its own
size and that of the noise. The interval of a ratio is Fieller's, for the noise of what it is
divided by is as large as the figure itself in a small stratum; of slope and share, the variance
follows from the derivatives. So coordinator, nodes and auditor have the same bits. ``None``
means "not defined".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from consortium.credit.tables import chances_of, columns_of, logistic_fit_on_counts, ridge_of
from consortium.errors import ShapeError

Float = NDArray[np.float64]

NORMAL_95 = 1.96
_MOMENTS = 5
_LEAST_DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, and half of its 95 % interval."""

    value: float
    half: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the ends of its interval; infinite where nothing bounds it."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


def width_for(lines: int, chance: float) -> float:
    """Deviations to either side, so that all of ``lines`` intervals hold but for ``chance``.

    Bonferroni's: each fails with ``chance / lines``, however they hang together. Rounded to
    four decimals, so that the last bit of a logarithm shows in no gate.
    """
    return round(NormalDist().inv_cdf(1 - chance / (2 * max(1, lines))), 4)


def in_the_large(
    table: Float, eta: Float, *, deviation: float, width: float
) -> Interval | None:
    """Expected over observed bads; arguments as ``tables.in_the_large``.

    All r for which ``E − r·O``, which is linear in the counts, is within ``width`` of its own
    deviations of 0 (Fieller, 1954). By derivatives a table whose noise adds bads would have a
    smaller ratio and a narrower interval at once, and an honest model would fail for it.
    """
    goods, bads, _, total = columns_of(table)
    chances = chances_of(eta, len(goods))
    if total <= 0:
        return None
    expected = _dot([g + b for g, b in zip(goods, bads, strict=True)], chances)
    of_good = [_variance(good, deviation) for good in goods]
    of_bad = [_variance(bad, deviation) for bad in bads]
    both = [g + b for g, b in zip(of_good, of_bad, strict=True)]
    spread = (
        _dot([p * p for p in chances], both),
        math.fsum(of_bad),
        _dot(chances, of_bad),
    )
    return ratio(expected, total, spread, width=width)


def ratio(
    top: float, bottom: float, spread: tuple[float, float, float], *, width: float
) -> Interval:
    """``top / bottom`` of two noisy sums: all r with ``|top − r·bottom|`` within its noise.

    Source: Fieller (1954). Unbounded where ``bottom`` does not stand out of its noise.

    Args:
        top: Of the ratio.
        bottom: Not 0.
        spread: Variances of the two, and their covariance.
        width: Deviations to either side.
    """
    of_top, of_bottom, joint = spread
    squared, value = width * width, top / bottom
    a = bottom * bottom - squared * of_bottom
    b = top * bottom - squared * joint
    c = top * top - squared * of_top
    if a <= 0:
        return Interval(value, -math.inf, math.inf)
    root = math.sqrt(max(0.0, b * b - a * c))
    return Interval(value, (b - root) / a, (b + root) / a)


def slope(table: Float, eta: Float, *, deviation: float, width: float) -> Interval | None:
    """The Platt slope; arguments as ``tables.slope``.

    The fit solves ``score(counts, line) = 0``, so a count moves the line by
    ``H⁻¹ · ∂score/∂count`` (the sandwich of Huber, 1967).
    """
    line = logistic_fit_on_counts(table, eta, deviation=deviation)
    if line is None:
        return None
    goods, bads, _, _ = columns_of(table)
    points = [float(x) for x in eta.tolist()]
    chances = chances_of(np.array([line[0] + line[1] * x for x in points]), len(goods))
    weights = [
        max(good + bad, 0.0) * p * (1 - p)
        for good, bad, p in zip(goods, bads, chances, strict=True)
    ]
    h00, h01 = math.fsum(weights), _dot(weights, points)
    h11 = _dot([w * x for w, x in zip(weights, points, strict=True)], points)
    h11 += ridge_of(deviation)
    determinant = h00 * h11 - h01 * h01
    if determinant <= 0:
        return None
    terms = []
    for good, bad, p, x in zip(goods, bads, chances, points, strict=True):
        lever = (h00 * x - h01) / determinant
        terms.append((lever * p) ** 2 * _variance(good, deviation))
        terms.append((lever * (1 - p)) ** 2 * _variance(bad, deviation))
    return _around(line[1], width * math.sqrt(math.fsum(terms)))


def share(
    sums: Sequence[float],
    *,
    deviation: float,
    width: float,
    spread: Sequence[float] = (1.0,) * _MOMENTS,
) -> Interval | None:
    """``Cov(p, u) / Var(u)`` from noisy ``(1, p, u, p·u, u²)``; the interval is the noise's.

    Args:
        sums: Noisy, added over persons.
        deviation: Of the noise of one of them.
        width: Deviations of the figure to either side.
        spread: Of each, in units of ``deviation``: sums of several sums have more.

    Returns:
        None unless both the number of persons and the variance stand out of the noise by
        three deviations.
    """
    if len(sums) != _MOMENTS or len(spread) != _MOMENTS:
        raise ShapeError(f"{len(sums)} moments, expected {_MOMENTS}")
    n, p, u, pu, uu = sums
    if n <= _LEAST_DEVIATIONS * deviation * spread[0] or n <= 0:
        return None
    covariance, variance = pu / n - (p / n) * (u / n), uu / n - (u / n) ** 2
    of_variance = ((u / n) ** 2 * 2 - uu / n) / n, 0.0, -2 * u / n**2, 0.0, 1 / n
    of_covariance = (2 * p * u / n**2 - pu / n) / n, -u / n**2, -p / n**2, 1 / n, 0.0
    noise = [(deviation * one) ** 2 for one in spread]
    least = math.sqrt(_dot([d * d for d in of_variance], noise))
    if variance <= _LEAST_DEVIATIONS * least or variance <= 0:
        return None
    value = covariance / variance
    slopes = [
        (c - value * v) / variance for c, v in zip(of_covariance, of_variance, strict=True)
    ]
    return _around(value, width * math.sqrt(_dot([d * d for d in slopes], noise)))


def _around(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)


def _variance(count: float, deviation: float) -> float:
    return max(count, 0.0) + deviation * deviation


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))
