"""Which partner and which family a joint score rests on: sums over joint rows (13.9.3).

A held-out row of an asker gives ``κ·(1, p, u, p·u, u²)`` in the slots of that asker and
``κ·(u_f, u_f·u)`` for each family, where u is the log-odds that the head makes of the row
without its offset, ``u = Σ u_f``, and p is the part of it that rests on the asker's own
holding. A row longer than 1 is shrunk to 1 as a whole: shares are then those of persons with
weights, and still add up. No noise is added here: results are not to leave the node.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.errors import ShapeError
from consortium.privacy.mechanism import COUNT_SCALE
from consortium.scoring.head import STRATA
from models.head import HeadRows
from models.spec import check_weights

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

OWN_WORDS = 5
"""(1, p, u, p·u, u²) of one asker."""
FAMILY_WORDS = 2
"""(u_f, u_f·u) of one family."""

UNIT = 0.25
"""κ: an average row is about as long as 1. A power of two, so that it costs no bit."""

LIMIT = 8.0
"""Log-odds to which every part is clipped (credit 4.18)."""

_GUARD = 1.0 - 2.0**-40


def width_of(askers: int, families: int) -> int:
    """Words of the sums."""
    return OWN_WORDS * askers + FAMILY_WORDS * families


def moment_sums(
    rows: HeadRows, own: Float, weights: Float, *, slot: int, askers: int
) -> Integers:
    """The sums of one asker's held-out rows, scaled by 2**10.

    Args:
        rows: Private.
        own: The asker's own part of each family's logit, halved as in ``rows.inputs``,
            shape (rows, F). Private.
        weights: Of the head, shape (d,). Public.
        slot: Place of the asker among those of the plan. Public.
        askers: How many they are.

    Returns:
        Shape (5·askers + 2·F,), int64. One row moves it by at most 2**10 in L2 norm.

    Raises:
        ShapeError, DomainError: ragged, or weights of another size.
    """
    families = rows.inputs.shape[1] - 1
    if own.shape != (len(rows), families) or not 0 <= slot < askers:
        raise ShapeError(f"own parts of shape {own.shape}, slot {slot} of {askers}")
    check_weights(weights, STRATA * (families + 1))
    slopes = weights.reshape(STRATA, families + 1)[rows.strata][:, 1:]
    parts = _bounded(slopes * rows.inputs[:, 1:])
    whole, mine = _bounded(_added(parts)), _bounded(_added(_bounded(slopes * own)))
    vectors = np.concatenate(
        [
            np.stack([np.ones(len(rows)), mine, whole, mine * whole, whole * whole], axis=1),
            np.stack([parts, parts * whole[:, None]], axis=2).reshape(len(rows), -1),
        ],
        axis=1,
    )
    integers = np.trunc(_shrunk(vectors * UNIT) * COUNT_SCALE).astype(np.int64)
    total = integers.sum(axis=0)
    sums = np.zeros(width_of(askers, families), dtype=np.int64)
    sums[OWN_WORDS * slot : OWN_WORDS * (slot + 1)] = total[:OWN_WORDS]
    sums[OWN_WORDS * askers :] = total[OWN_WORDS:]
    return sums


def decoded(total: Integers, askers: int) -> tuple[Float, Float]:
    """Published sums in units of log-odds: shapes (askers, 5) and (families, 2)."""
    values = total / (COUNT_SCALE * UNIT)
    cut = OWN_WORDS * askers
    return values[:cut].reshape(askers, OWN_WORDS), values[cut:].reshape(-1, FAMILY_WORDS)


def _added(parts: Float) -> Float:
    """Sum over columns in their order, so that every machine has the same bits."""
    total = np.zeros(len(parts))
    for column in range(parts.shape[1]):
        total = total + parts[:, column]
    return total


def _bounded(values: Float) -> Float:
    return np.clip(np.nan_to_num(values), -LIMIT, LIMIT)


def _shrunk(vectors: Float) -> Float:
    """Rows of length 1 at most; a truncated coordinate is never longer."""
    lengths = np.sqrt(_added(vectors * vectors))
    return vectors * (_GUARD / np.maximum(lengths, 1.0))[:, None]
