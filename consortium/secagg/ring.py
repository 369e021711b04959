"""Integers modulo 2**64: sums, their signed reading and the bound that keeps them apart.

Every sum of the product is one of these (protocol 0.2, 3.4.6, 3.4.9). Addition modulo 2**64
is exact, so no order of uploads and no number of threads can change a released bit.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, RefusalCode, RefusalError, ShapeError
from consortium.privacy import mechanism

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

SCALE_BITS = mechanism.SCALE_BITS
"""A gradient of norm C is 2**24 in ring units (protocol 3.4.4)."""

_TAIL = 12
"""Deviations of noise that the bound leaves room for; beyond them lies less than 2**-100."""


def to_ring(values: Integers) -> Words:
    """``values`` as two's complement words, shape kept."""
    if values.dtype != np.int64:
        raise ShapeError(f"ring values are of dtype {values.dtype}, expected int64")
    return values.view(np.uint64)


def to_signed(words: Words) -> Integers:
    """``words`` read back as two's complement integers, shape kept (protocol 0.2)."""
    if words.dtype != np.uint64:
        raise ShapeError(f"ring words are of dtype {words.dtype}, expected uint64")
    return words.view(np.int64)


def ring_sum(uploads: Iterable[Words]) -> Words:
    """The sum of all uploads modulo 2**64 (protocol 3.4.9).

    Args:
        uploads: One or more vectors of shape (d,), uint64.

    Returns:
        Shape (d,), uint64, not shared with any upload.

    Raises:
        ShapeError: an upload is not flat, not uint64, or of another length.
        DomainError: there is no upload.
    """
    total: Words | None = None
    for upload in uploads:
        if upload.ndim != 1 or upload.dtype != np.uint64:
            raise ShapeError(f"upload of shape {upload.shape} and dtype {upload.dtype}")
        if total is None:
            total = upload.copy()
            continue
        if upload.shape != total.shape:
            raise ShapeError(f"upload of shape {upload.shape}, expected {total.shape}")
        np.add(total, upload, out=total)
    if total is None:
        raise DomainError("a sum of no uploads")
    return total


def check_no_overflow(rows: int, sensitivity: int, variance: int, partners: int) -> None:
    """Raise RefusalError (R18) unless ``N·Q + 12·√V < 2**63 / |U|`` (protocol 3.4.6).

    Args:
        rows: N, rows of this node that enter the sum. Private: the text does not show it.
        sensitivity: Q, most that a row moves a coordinate.
        variance: V, of this node's integer noise.
        partners: |U|, uploads in the sum.
    """
    if rows < 0 or min(sensitivity, variance, partners) < 1:
        raise DomainError("rows, sensitivity, variance and partners must be positive")
    noise = _TAIL * (math.isqrt(variance) + 1)
    if partners * (rows * sensitivity + noise) >= 1 << 63:
        raise RefusalError(RefusalCode.OVERFLOW, f"sum of {partners} could leave 63 bits")


def decode_gradient(total: Integers, clip: float, normaliser: Float | float) -> Float:
    """``G = S·C / (2**24·N0)`` (protocol 3.4.9).

    Args:
        total: S, shape (d,), the noisy sum in ring units.
        clip: C of the plan.
        normaliser: N0, one public constant or one for each coordinate, shape (d,).

    Returns:
        Shape (d,), gradient per row. The same bits everywhere: one rounding from int64,
        one product, one quotient; the power of two is exact.

    Raises:
        ShapeError: ``total`` is not flat int64, or the normaliser has another shape.
        DomainError: clip or a normaliser is not positive and finite.
    """
    divisor = np.asarray(normaliser, dtype=np.float64)
    if total.ndim != 1 or total.dtype != np.int64 or divisor.shape not in ((), total.shape):
        raise ShapeError(f"sum of shape {total.shape}, normaliser of shape {divisor.shape}")
    if not (math.isfinite(clip) and clip > 0):
        raise DomainError(f"clip {clip} is not positive and finite")
    if not bool(np.all(np.isfinite(divisor) & (divisor > 0))):
        raise DomainError("a normaliser is not positive and finite")
    return total.astype(np.float64) * (clip / 2.0**SCALE_BITS) / divisor
