"""A slope by least squares, with its standard error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOUR_S, MINUTE_S = 3600.0, 60.0
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Slope:
    """Units an hour."""

    per_hour: float
    error: float
    """Standard error; NaN with fewer than three points."""


def by_minute(at: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means over whole minutes: samples a few seconds apart are not independent.

    Args:
        at: Seconds, in order.
        values: As many.
    """
    found: dict[int, list[tuple[float, float]]] = {}
    for second, value in zip(at, values, strict=True):
        found.setdefault(int(second // MINUTE_S), []).append((second, value))
    means = [np.mean(pairs, axis=0) for pairs in found.values()]
    return [float(one[0]) for one in means], [float(one[1]) for one in means]


def slope(at: Sequence[float], values: Sequence[float]) -> Slope:
    """Least squares; the error is that of independent deviations of one size."""
    hours = np.asarray(at) / HOUR_S
    if len(hours) < _FEWEST:
        return Slope(float("nan"), float("nan"))
    (found, _start), squares, *_ = np.polyfit(hours, values, 1, full=True)
    spread = float(np.sum((hours - hours.mean()) ** 2))
    left = float(squares[0]) if len(squares) else 0.0
    return Slope(float(found), float(np.sqrt(left / (len(hours) - 2) / spread)))
