"""From one noisy table to figures, the same at coordinator, partner and auditor.

Tables have a row for each band and two columns, good and bad. Their counts carry noise and
enter the formulas as they are: clamping at 0 would bias every figure (credit 4.5). ``None``
means "not defined" and is printed as "n/a", never as 0. Sums are exact (``math.fsum``) and
the logistic function goes through decimal arithmetic, so that no machine differs in a bit.
Intervals of a noisy figure are not computed here.
"""

import decimal
import math
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError

Float = NDArray[np.float64]

CELLS = 24
LOWEST, HIGHEST = -6.0, 6.0
"""The recalibration grid: 24 equal cells of the logit, the outside in the end cells (5.5)."""

BANDS = 16

_COLUMNS = 2
_RIDGE = 5.0
_LEAST_DEVIATIONS = 5.0
_LARGEST_STEP = 1.0
_TOLERANCE = 1e-12
_MOST_STEPS = 200
_CONTEXT = decimal.Context(prec=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """``eta = alpha + beta·logit``: from a block's logit to its log-odds of bad."""

    alpha: float
    beta: float


def cell_edges() -> Float:
    """Edges of the recalibration grid, shape (25,); multiples of one half."""
    return np.linspace(LOWEST, HIGHEST, CELLS + 1)


def cell_centres() -> Float:
    """Middles of the recalibration cells, shape (24,), rising in log-odds of bad."""
    edges = cell_edges()
    return (edges[:-1] + edges[1:]) / 2


def table_of(vector: Float) -> Float:
    """A released vector (order ``cell·2 + label``) as a table, shape (cells, 2)."""
    if vector.ndim != 1 or vector.size == 0 or vector.size % _COLUMNS:
        raise ShapeError(f"vector of shape {vector.shape} is no two-column table")
    return _checked(vector.reshape(-1, _COLUMNS))


def weak_to_strong(table: Float) -> Float:
    """Turn a table whose rows rise in log-odds of bad into one with the weakest band first."""
    return _checked(table)[::-1]


def auc(table: Float) -> float | None:
    """Chance that a random bad lies below a random good, ties half.

    Args:
        table: Noisy counts (good, bad), shape (bands, 2), weakest band first.

    Returns:
        ``Σ_b bad_b·(good above b + good_b/2) / (B·G)``; None if B or G is not positive.

    Raises:
        ShapeError, DomainError: the table is no table of finite numbers.
    """
    goods, bads, total_good, total_bad = columns_of(table)
    if total_good <= 0 or total_bad <= 0:
        return None
    above, terms = total_good, []
    for good, bad in zip(goods, bads, strict=True):
        above -= good
        terms.append(bad * (above + good / 2))
    return math.fsum(terms) / (total_bad * total_good)


def gini(table: Float) -> float | None:
    """``2·AUC − 1``; arguments, None and errors as ``auc``."""
    found = auc(table)
    return None if found is None else 2 * found - 1


def ks(table: Float) -> float | None:
    """Largest ``|F_bad − F_good|`` at a band edge; arguments, None and errors as ``auc``."""
    goods, bads, total_good, total_bad = columns_of(table)
    if total_good <= 0 or total_bad <= 0:
        return None
    good, bad, largest = 0.0, 0.0, 0.0
    for band_good, band_bad in zip(goods, bads, strict=True):
        good, bad = good + band_good, bad + band_bad
        largest = max(largest, abs(bad / total_bad - good / total_good))
    return largest


def in_the_large(table: Float, eta: Float) -> float | None:
    """Expected over observed bads, ``Σ n_b·pbar_b / Σ bad_b``.

    Args:
        table: Noisy counts (good, bad), shape (bands, 2), in any order of bands.
        eta: Mean recalibrated log-odds of each band, shape (bands,), in the same order.

    Returns:
        E/O; None if the bads do not add up to a positive number.

    Raises:
        ShapeError, DomainError: ragged, or not finite.
    """
    goods, bads, _, total_bad = columns_of(table)
    chances = chances_of(eta, len(goods))
    if total_bad <= 0:
        return None
    expected = math.fsum(
        (good + bad) * p for good, bad, p in zip(goods, bads, chances, strict=True)
    )
    return expected / total_bad


def brier(table: Float, eta: Float) -> float | None:
    """Banded ``mean((p − y)²)``; arguments and errors as ``in_the_large``.

    None if the table does not add up to a positive number. Print it as "banded".
    """
    goods, bads, total_good, total_bad = columns_of(table)
    chances = chances_of(eta, len(goods))
    if total_good + total_bad <= 0:
        return None
    loss = math.fsum(
        bad * (1 - p) ** 2 + good * p**2
        for good, bad, p in zip(goods, bads, chances, strict=True)
    )
    return loss / (total_good + total_bad)


def slope(table: Float, eta: Float, *, deviation: float) -> float | None:
    """The Platt slope of the outcome on ``eta``; 1 is perfect.

    Arguments and errors as ``in_the_large`` and ``logistic_fit_on_counts``; None if that is.
    """
    fit = logistic_fit_on_counts(table, eta, deviation=deviation)
    return None if fit is None else fit[1]


def logistic_fit_on_counts(
    table: Float, logit: Float, *, deviation: float
) -> tuple[float, float] | None:
    """Platt's ``logit' = alpha + beta·logit`` from noisy counts (protocol 5.5).

    Newton's method from (0, 1), each step clipped to ±1. A negative cell keeps its sign in
    the gradient, where clamping would bias, and counts as 0 in the Hessian, which must stay
    positive. A ridge of five deviations holds beta near 1 where the table says little.

    Args:
        table: Noisy counts (good, bad), shape (cells, 2), in any order of cells.
        logit: Log-odds of each cell, shape (cells,), in the same order.
        deviation: Standard deviation of the noise of one cell, in persons, at least 0.

    Returns:
        (alpha, beta), the same bits everywhere. None if goods or bads do not add up to a
        positive number, or the counts pin down no line.

    Raises:
        ShapeError, DomainError: ragged, not finite, or a negative deviation.
    """
    goods, bads, total_good, total_bad = columns_of(table)
    points = [float(value) for value in _vector(logit, len(goods))]
    if not (math.isfinite(deviation) and deviation >= 0):
        raise DomainError(f"deviation {deviation} is not finite and at least 0")
    if total_good <= 0 or total_bad <= 0:
        return None
    alpha, beta = 0.0, 1.0
    for _ in range(_MOST_STEPS):
        move = _newton(list(zip(goods, bads, points, strict=True)), (alpha, beta), deviation)
        if move is None:
            return None
        alpha, beta = alpha + move[0], beta + move[1]
        if max(abs(move[0]), abs(move[1])) < _TOLERANCE * (1 + abs(alpha) + abs(beta)):
            return alpha, beta
    return None


def _newton(
    cells: list[tuple[float, float, float]], line: tuple[float, float], deviation: float
) -> tuple[float, float] | None:
    """One clipped step for (good, bad, logit) cells, or None if the Hessian is singular."""
    ridge = ridge_of(deviation)
    residuals, weights = [], []
    for good, bad, x in cells:
        p = _chance(line[0] + line[1] * x)
        residuals.append((bad - (good + bad) * p, x))
        weights.append((max(good + bad, 0.0) * p * (1 - p), x))
    slope0 = math.fsum(r for r, _ in residuals)
    slope1 = math.fsum(r * x for r, x in residuals) - ridge * (line[1] - 1)
    h00 = math.fsum(w for w, _ in weights)
    h01 = math.fsum(w * x for w, x in weights)
    h11 = math.fsum(w * x * x for w, x in weights) + ridge
    determinant = h00 * h11 - h01 * h01
    if determinant <= 1e-12 * h00 * h11:  # one cell only: no line
        return None
    move0 = (h11 * slope0 - h01 * slope1) / determinant
    move1 = (h00 * slope1 - h01 * slope0) / determinant
    return _clip(move0), _clip(move1)


def ridge_of(deviation: float) -> float:
    """What holds a fitted slope near 1, in units of persons (protocol 5.5)."""
    return _RIDGE * deviation


def _clip(move: float) -> float:
    return min(max(move, -_LARGEST_STEP), _LARGEST_STEP)


def without_noise_cells(table: Float, *, deviation: float) -> Float:
    """``table`` with every cell set to 0 whose total is at most five deviations.

    Far cells hold hardly anybody but have leverage on a slope; what is left in them is
    noise. Post-processing of a released histogram: it costs no budget (protocol 5.5).

    Args:
        table: Noisy counts (good, bad), shape (cells, 2).
        deviation: Standard deviation of the noise of one count, in persons.
    """
    kept = _checked(table).sum(axis=1) > _LEAST_DEVIATIONS * deviation
    return np.where(kept[:, None], table, 0.0)


def fit_calibration(table: Float, *, deviation: float) -> Calibration:
    """The mandatory recalibration from one block's noisy histogram (protocol 5.5).

    Args:
        table: Noisy counts (good, bad), shape (24, 2), in the order of ``cell_edges``.
        deviation: Standard deviation of the noise of one cell of the sum, in persons.

    Raises:
        DomainError: the counts define no calibration, so nothing may be released; or they
            are not finite.
        ShapeError: not a table of 24 cells.
    """
    fit = logistic_fit_on_counts(table, cell_centres(), deviation=deviation)
    if fit is None:
        raise DomainError("recalibration is not defined: one class, or one cell only")
    return Calibration(alpha=fit[0], beta=fit[1])


def band_edges_from_cells(table: Float, *, bands: int = BANDS) -> Float:
    """Inner edges of ``bands`` equally full bands, interpolated inside cells (credit 4.5).

    Post-processing of the recalibration histogram: it costs no budget.

    Args:
        table: Noisy counts (good, bad), shape (24, 2), in the order of ``cell_edges``.
        bands: How many, at least 2.

    Returns:
        Log-odds before recalibration, shape (bands - 1,), strictly rising.

    Raises:
        DomainError: no cell holds a positive count, a count is not finite, or fewer than
            two bands are asked for.
        ShapeError: not a table of 24 cells.
    """
    heights, borders = _histogram(table)
    if bands < 2:  # noqa: PLR2004 - one band has no inner edge
        raise DomainError(f"{bands} bands")
    total = math.fsum(heights)
    if total <= 0:
        raise DomainError("no cell of the histogram holds a positive count")
    found, cell, below = [], 0, 0.0
    for band in range(1, bands):
        wanted = total * band / bands
        while below + heights[cell] < wanted:
            below += heights[cell]
            cell += 1
        share = (wanted - below) / heights[cell]
        found.append(borders[cell] + share * (borders[cell + 1] - borders[cell]))
    return np.array(found)


def band_means(table: Float, inner: Float) -> Float:
    """Mean log-odds of each band, from the same histogram as its edges (credit 4.5).

    Inside a cell rows are taken as evenly spread.

    Args:
        table: Noisy counts (good, bad), shape (24, 2), in the order of ``cell_edges``.
        inner: Inner edges of the bands, shape (bands - 1,), strictly rising.

    Returns:
        Log-odds before recalibration, shape (bands,), in the order of ``inner``; the middle
        of a band that holds no positive count.

    Raises:
        ShapeError, DomainError: ragged, not finite, or edges that do not rise.
    """
    heights, borders = _histogram(table)
    cuts = [borders[0], *(float(value) for value in inner), borders[-1]]
    if any(low >= high for low, high in pairwise(cuts)):
        raise DomainError("band edges do not rise inside the grid")
    return np.array([_mean_between(heights, borders, cut) for cut in pairwise(cuts)])


def _mean_between(
    heights: list[float], borders: list[float], cut: tuple[float, float]
) -> float:
    masses, moments = [], []
    for height, (left, right) in zip(heights, pairwise(borders), strict=True):
        start, end = max(cut[0], left), min(cut[1], right)
        if end > start:
            masses.append(height * (end - start) / (right - left))
            moments.append(masses[-1] * (start + end) / 2)
    mass = math.fsum(masses)
    return math.fsum(moments) / mass if mass > 0 else (cut[0] + cut[1]) / 2


def _histogram(table: Float) -> tuple[list[float], list[float]]:
    """Persons of each recalibration cell, none negative, and the edges of the cells."""
    goods, bads, _, _ = columns_of(table)
    if len(goods) != CELLS:
        raise ShapeError(f"histogram of {len(goods)} cells, expected {CELLS}")
    heights = [max(good + bad, 0.0) for good, bad in zip(goods, bads, strict=True)]
    return heights, cell_edges().tolist()


def columns_of(table: Float) -> tuple[list[float], list[float], float, float]:
    """Goods, bads and their totals as Python floats."""
    columns = _checked(table).T.tolist()
    goods, bads = columns[0], columns[1]
    return goods, bads, math.fsum(goods), math.fsum(bads)


def _checked(table: Float) -> Float:
    if table.ndim != _COLUMNS or table.shape[1] != _COLUMNS:
        raise ShapeError(f"table of shape {table.shape}, expected (bands, 2)")
    if table.size == 0 or not bool(np.isfinite(table).all()):
        raise DomainError("table is empty, or holds NaN or infinity")
    return table


def _vector(values: Float, length: int) -> Float:
    if values.shape != (length,):
        raise ShapeError(f"vector of shape {values.shape}, expected ({length},)")
    if not bool(np.isfinite(values).all()):
        raise DomainError("vector holds NaN or infinity")
    return values


def chances_of(eta: Float, length: int) -> list[float]:
    """PD of each log-odds, correctly rounded; ShapeError unless there are ``length``."""
    return [_chance(float(value)) for value in _vector(eta, length)]


def _chance(eta: float) -> float:
    """``1 / (1 + e**-eta)``, correctly rounded through 30 decimal digits."""
    grown = _CONTEXT.exp(Decimal(-min(max(eta, -700.0), 700.0)))
    return float(_CONTEXT.divide(Decimal(1), _CONTEXT.add(Decimal(1), grown)))
