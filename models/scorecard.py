"""The additive scorecard: a row's log-odds are the sum of one weight for each feature.

Everything here is bit-exact: logits are added in the order of the features, the sigmoid
uses basic operations only, and gradients are integers before they are added. So a partner,
an auditor and a replay on another machine get the same sum, whatever the chunks. No partner,
round or budget is known here, and no noise is added: results are not to leave the node.
"""

import math

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError
from consortium.secagg.ring import SCALE_BITS
from models.encoding import (
    CHUNK_ROWS,
    Codes,
    Labels,
    check_codes,
    check_labels,
    chunks,
    column_starts,
)
from models.joint import MOST_CELLS, Group, Indices, columns_of, groups
from models.spec import check_weights

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

GUARD = 1.0 - 2.0**-20
"""Room for the rounding of protocol 3.4.4 (3.4.3)."""
SECOND_TRY = 1.0 - 2.0**-6
"""Factor of the second quantisation (protocol 3.4.5)."""

_PER_LN2 = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""ln 2 in two parts; the high one has 32 zero bits at its end, so k times it is exact."""
_TAYLOR = tuple(1.0 / math.factorial(power) for power in range(13, -1, -1))
_FARTHEST = 700.0
_BIAS, _MANTISSA_BITS = 1023.0, 52
"""Of a float64: exponent and where it stands."""


def exp_det(x: Float) -> Float:
    """``e**x`` with the same bits on every IEEE machine (protocol 3.4.7).

    Args:
        x: Any shape, within ±700.

    Returns:
        The same shape; relative error at most 4e-16.

    Source:
        Range reduction by ln 2 in two parts as in FreeBSD's ``e_exp.c``; the polynomial is
        the Taylor series to degree 13, whose tail is below 5e-18 at ln(2)/2.
    """
    turns = np.rint(x * _PER_LN2)
    rest = x - turns * _LN2_HIGH
    rest -= turns * _LN2_LOW
    total = rest * _TAYLOR[0]
    total += _TAYLOR[1]
    for coefficient in _TAYLOR[2:]:
        total *= rest
        total += coefficient
    # Times 2**turns, by writing the exponent: exact, for no result here is subnormal.
    turns += _BIAS
    turns *= 2.0**_MANTISSA_BITS
    total *= turns.astype(np.int64).view(np.float64)
    return total


def sigmoid_det(logit: Float) -> Float:
    """``1 / (1 + e**-logit)`` with the same bits everywhere; beyond ±700 as at ±700."""
    far = np.abs(logit)
    np.minimum(far, _FARTHEST, out=far)
    small = exp_det(np.negative(far, out=far))
    # 1 where the logit is not negative; e**-|logit| is at most 1.
    share = np.maximum(small, logit >= 0)
    small += 1.0
    share /= small
    return share


def logits(
    weights: Float,
    codes: Codes,
    bin_counts: tuple[int, ...],
    *,
    chunk_rows: int = CHUNK_ROWS,
) -> Float:
    """Log-odds of bad of each row, before recalibration.

    Args:
        weights: One for each bin, features in order, shape (sum of bin counts,). Public.
        codes: Bins of the rows, uint8 or uint16, shape (rows, features). Private.
        bin_counts: Codes of each feature. Public.
        chunk_rows: Bounds the memory; changes no bit.

    Returns:
        Shape (rows,), added in the order of the features. Private.

    Raises:
        ShapeError: ragged arguments.
        DomainError: a weight that is not finite, or a code that its feature does not have.
    """
    tables = _tables(weights, bin_counts)
    check_codes(codes, bin_counts)
    together = groups(bin_counts, min(MOST_CELLS, codes.shape[0]))[0]
    result = np.empty(codes.shape[0])
    for rows in chunks(codes.shape[0], chunk_rows):
        columns = columns_of(codes[rows], bin_counts)
        result[rows] = _chunk_logits(tables, columns, together, together.joint(columns))
    return result


def row_bound(width: int) -> int:
    """``Q = 2**24 + ⌈√d⌉``: the longest integer row that is added (protocol 3.4.5)."""
    root = math.isqrt(width)
    return (1 << SCALE_BITS) + root + (root * root < width)


def clipped_gradient_sum(
    codes: Codes,
    labels: Labels,
    weights: Float,
    bin_counts: tuple[int, ...],
    *,
    clip: float,
    chunk_rows: int = CHUNK_ROWS,
) -> Integers:
    """Sum the rows' log-loss gradients, each clipped and made an integer first.

    Row ``r`` gives ``(p − y)`` in the bins it is in and 0 elsewhere, shrunk to norm ``clip``,
    in units of ``clip / 2**24``. Adding or removing one row moves the result by at most
    ``row_bound(d)`` in L2 norm, whatever the row holds: the sensitivity that the noise is
    scaled to. Integers add exactly, so sums over parts of the rows add up to this sum.

    Args:
        codes: Shape (rows, features), uint8 or uint16. Private.
        labels: 1 for bad, uint8, shape (rows,). Private.
        weights: Shape (d,), d the sum of bin counts. Public.
        bin_counts: Codes of each feature. Public.
        clip: The plan's C, in units of gradient norm, positive. Public.
        chunk_rows: Bounds the memory; changes no bit.

    Returns:
        Shape (d,), int64, in units of ``clip / 2**24``. Without noise yet: not to leave
        the node.

    Raises:
        ShapeError: ragged arguments; labels as a (rows, 1) column.
        DomainError: clip not positive and finite, a weight not finite, a label that is not
            0 or 1, a code that its feature does not have.

    Source:
        Abadi et al. (CCS 2016), Algorithm 1, over integers as in protocol 3.4.3 to 3.4.5.
    """
    tables = _tables(weights, bin_counts)
    check_codes(codes, bin_counts)
    check_labels(labels, codes.shape[0])
    if not (math.isfinite(clip) and clip > 0):
        raise DomainError(f"clip {clip} is not positive and finite")
    bound = row_bound(weights.size)
    parts = groups(bin_counts, min(MOST_CELLS, codes.shape[0]))
    sums = [np.zeros(part.cells, dtype=np.int64) for part in parts]
    for rows in chunks(codes.shape[0], chunk_rows):
        columns = columns_of(codes[rows], bin_counts)
        joint = [part.joint(columns) for part in parts]
        residuals = sigmoid_det(_chunk_logits(tables, columns, parts[0], joint[0]))
        residuals -= labels[rows]
        row_integers = clipped_rows(residuals, codes.shape[1], clip=clip, bound=bound)
        for cells, index in zip(sums, joint, strict=True):
            # Exact: below 2**53 in float64, then added as integers (protocol 3.4.4).
            more = np.bincount(index, row_integers, cells.size)
            np.add(cells, more.astype(np.int64), out=cells)
    marginals = [part.marginals(cells) for part, cells in zip(parts, sums, strict=True)]
    return np.concatenate([one for several in marginals for one in several])


def clipped_rows(residuals: Float, ones: int, *, clip: float, bound: int) -> Float:
    """``c_r = rint(2**24/C · f · (p − y))`` of each row (protocol 3.4.3 to 3.4.5).

    ``f·|p − y|`` is written as ``min(|p − y|, C/√ones)``, the same without a division by a
    norm that may be 0.

    Args:
        residuals: p − y, shape (rows,). Private.
        ones: Features of a row: the gradient is ``residuals`` times as many ones.
        clip: C.
        bound: Q.

    Returns:
        Shape (rows,): float64 that hold integers, ``ones · c**2 <= bound**2``.
    """
    longest = clip / math.sqrt(ones)
    exact = np.clip(residuals, -longest, longest)
    exact *= GUARD * 2.0**SCALE_BITS / clip
    return hard_row_check(exact, ones, bound=bound)


def hard_row_check(exact: Float, ones: int, *, bound: int) -> Float:
    """Round; a row above Q is rounded once more shorter, then dropped (protocol 3.4.5).

    So the sensitivity is Q whatever the float code before it did, NaN included. In healthy
    code no row is dropped; how many were is told to nobody.
    """
    limit = math.isqrt(bound * bound // ones)
    rounded = np.rint(exact)
    if rounded.size == 0 or -limit <= rounded.min() <= rounded.max() <= limit:
        return rounded  # a NaN would have been the largest and the smallest
    fits = np.abs(rounded) <= limit
    second = np.rint(exact * SECOND_TRY)
    return np.where(fits, rounded, np.where(np.abs(second) <= limit, second, 0.0))


def _tables(weights: Float, bin_counts: tuple[int, ...]) -> list[Float]:
    """The weights of each feature's bins."""
    check_weights(weights, sum(bin_counts))
    return np.split(weights, column_starts(bin_counts)[1:])


def _chunk_logits(tables: list[Float], columns: Indices, first: Group, joint: Indices) -> Float:
    """Weights added in the order of the features; ``joint`` codes those of ``first``."""
    cells = tables[0]
    for table in tables[1 : first.last]:
        cells = np.add.outer(cells, table)
    total = cells.reshape(-1).take(joint)
    more = np.empty_like(total)
    for feature in range(first.last, len(tables)):
        # In range: checked with the columns. Without the mode, numpy copies first.
        np.take(tables[feature], columns[feature], out=more, mode="clip")
        total += more
    return total
