"""Whether a population has moved: PSI of two tables, less what noise makes (credit 4.6)."""

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError

Float = NDArray[np.float64]

_FLOOR = 1e-4
"""Least share of a band."""


def psi(before: Float, now: Float) -> float | None:
    """Population stability index of two tables over the same bands.

    Args:
        before: Counts or shares, shape (bands,), as released; negative ones count as none.
        now: The same bands later.

    Returns:
        ``Σ (q − p)·ln(q / p)``; None where either holds nobody.

    Raises:
        ShapeError: other bands, or fewer than two.
        DomainError: a count is no number.
    """
    p, q = _share(before, now), _share(now, before)
    if p is None or q is None:
        return None
    return float(((q - p) * np.log(q / p)).sum())


def excess_psi(
    before: Float, now: Float, *, deviations: tuple[float, float] = (0.0, 0.0)
) -> float | None:
    """PSI less its mean where nothing has moved: that of the persons and that of the noise.

    ``(B − 1)(1/n + 1/m) + Σ 1/p_b · (s_n²/n² + s_m²/m²)``; of equal bands the last sum is B².

    Args:
        before: Counts as released, shape (bands,).
        now: The same bands later.
        deviations: Of the noise of one cell of each.

    Returns:
        None where either holds nobody. May be below 0.
    """
    found, n, m = psi(before, now), float(before.sum()), float(now.sum())
    p = _share(before, now)
    if found is None or p is None or min(n, m) <= 0:
        return None
    noise = (deviations[0] / n) ** 2 + (deviations[1] / m) ** 2
    null = (len(p) - 1) * (1 / n + 1 / m) + float((1 / p).sum()) * noise
    return found - null


def _share(counts: Float, other: Float) -> Float | None:
    if counts.ndim != 1 or counts.shape != other.shape or len(counts) < 2:  # noqa: PLR2004
        raise ShapeError("stability: two flat tables of the same bands, two at least")
    if not np.isfinite(counts).all():
        raise DomainError("stability: a count that is no number")
    kept = np.maximum(counts, 0.0)
    total = float(kept.sum())
    return None if total <= 0 else np.maximum(kept / total, _FLOOR)
