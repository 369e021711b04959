"""Figures of a noisy table with the half width of their 95 % interval (credit 4.5).

By the delta method and not by drawing: every count has the variance of a Poisson variable of
its own size and that of the noise, and a figure's variance follows from its derivatives. So
coordinator, nodes and auditor have the same bits. ``None`` means "not defined".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def in_the_large(table: Float, eta: Float, *, deviation: float) -> Figure | None:
    """Expected over observed bads; arguments as ``tables.in_the_large``."""
    goods, bads, _, total = columns_of(table)
    chances = chances_of(eta, len(goods))
    if total <= 0:
        return None
    value = _dot([g + b for g, b in zip(goods, bads, strict=True)], chances) / total
    terms = []
    for good, bad, p in zip(goods, bads, chances, strict=True):
        terms.append((p / total) ** 2 * _variance(good, deviation))
        terms.append(((p - value) / total) ** 2 * _variance(bad, deviation))
    return Figure(value, NORMAL_95 * math.sqrt(math.fsum(terms)))


def slope(table: Float, eta: Float, *, deviation: float) -> Figure | None:
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
    return Figure(line[1], NORMAL_95 * math.sqrt(math.fsum(terms)))


def share(
    sums: Sequence[float],
    *,
    deviation: float,
    spread: Sequence[float] = (1.0,) * _MOMENTS,
) -> Figure | None:
    """``Cov(p, u) / Var(u)`` from noisy ``(1, p, u, p·u, u²)``; the interval is the noise's.

    Args:
        sums: Noisy, added over persons.
        deviation: Of the noise of one of them.
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
    return Figure(value, NORMAL_95 * math.sqrt(_dot([d * d for d in slopes], noise)))


def _variance(count: float, deviation: float) -> float:
    return max(count, 0.0) + deviation * deviation


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))
