"""Intervals of figures that were read off a noisy table (credit 4.5).

A count of the table is a Poisson count plus noise of a known deviation, independent of the
others, so the variance of a smooth figure f is ``Σ (∂f/∂cell)²·(count + deviation²)``: the
delta method, with derivatives by central differences of a few persons.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit import tables

Float = NDArray[np.float64]

_Z = 1.959964
"""Two-sided 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with its 95 % interval; "n/a" where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def intervals_of(table: Float, eta: Float, deviation: float) -> dict[str, Interval]:
    """All figures of a block.

    Args:
        table: Noisy counts (good, bad), shape (bands, 2); rows rise in log-odds of bad.
        eta: Mean log-odds of each band, shape (bands,).
        deviation: Standard deviation of one cell's noise, in persons.

    Raises:
        ShapeError, DomainError: as the functions of ``consortium.credit.tables``.
    """
    figures: dict[str, Callable[[Float], float | None]] = {
        "auc": lambda cells: tables.auc(tables.weak_to_strong(cells)),
        "gini": lambda cells: tables.gini(tables.weak_to_strong(cells)),
        "ks": lambda cells: tables.ks(tables.weak_to_strong(cells)),
        "in_the_large": lambda cells: tables.in_the_large(cells, eta),
        "slope": lambda cells: tables.slope(cells, eta, deviation=deviation),
        "brier_banded": lambda cells: tables.brier(cells, eta),
    }
    return {name: _interval(table, f, deviation) for name, f in figures.items()}


def _interval(
    table: Float, figure: Callable[[Float], float | None], deviation: float
) -> Interval:
    value = figure(table)
    if value is None:
        return Interval(value=None, low=None, high=None)
    step = max(1.0, 1e-3 * float(np.abs(table).max()))
    variance = 0.0
    for cell in np.ndindex(*table.shape):
        up, down = table.copy(), table.copy()
        up[cell] += step
        down[cell] -= step
        high, low = figure(up), figure(down)
        if high is None or low is None:
            return Interval(value=value, low=None, high=None)
        slope = (high - low) / (2 * step)
        variance += slope**2 * (max(float(table[cell]), 0.0) + deviation**2)
    reach = _Z * math.sqrt(variance)
    return Interval(value=value, low=value - reach, high=value + reach)


def band_of(count: float) -> str:
    """A count as a band; it is noisy, and no band is narrower than a factor of about three."""
    edges = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    below = [edge for edge in edges if edge <= count]
    above = [edge for edge in edges if edge > count]
    if not below:
        return f"below {edges[0]}"
    return f"{below[-1]} to {above[0]}" if above else f"{edges[-1]} and more"
