"""The head's learning: exact clipped sums over joint rows, by stratum (protocol 7.11).

A joint row is what an asker knows of one of its own persons from a study: the logit z_f of
each covered family and how many families are covered, its stratum. Its vector is
``x = (1, z_1/2 .. z_F/2)`` in the slots of the stratum, 0 in all others; a family that nobody
holds has z = 0. The halves, whose weights are twice the slopes, keep rows short: at the same
noise on the slopes the offsets, which the PDs rest on, get half of it. Everything is
bit-exact, as for the scorecard, and no noise is added: results are not to leave the node.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consortium.credit.tables import BANDS
from consortium.errors import DomainError, ShapeError
from consortium.scoring.combine import family_logits, strata_of
from consortium.scoring.head import STRATA, Head
from consortium.scoring.layout import JointSums
from consortium.scoring.scorecard import UNIT_BITS, cut_units, to_units
from consortium.secagg.ring import SCALE_BITS
from models.calibration import count_by_label
from models.encoding import CHUNK_ROWS, Labels, check_labels, chunks
from models.scorecard import GUARD, SECOND_TRY, row_bound, sigmoid_det
from models.spec import check_weights

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

STRATUM_NAMES = ("1", "2", "3+")
PARTNER_BANDS = 3
"""1, 2, 3 or more partners with anything of the person."""

CUTS = (
    *(".01", ".02", ".03", ".05", ".07", ".09", ".11", ".13"),
    *(".15", ".18", ".22", ".28", ".36", ".50", ".70"),
)
"""PDs between the 16 bands of the evaluation: public, for no noisy histogram comes before."""

_UNIT = 2.0**-UNIT_BITS
_SCALE = 0.5
"""Of a logit in a row; a power of two, so that it costs no bit."""
_LEAST_DEVIATIONS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadRows:
    """Joint rows as the sums need them. Private."""

    strata: Integers
    """0, 1, 2 for one, two, three and more covered families, shape (rows,)."""
    inputs: Float
    """(1, z_1/2 .. z_F/2), z in log-odds, shape (rows, F + 1)."""
    partners: Integers
    """Who holds anything, at least 1, shape (rows,)."""

    def __len__(self) -> int:
        return int(self.strata.size)

    def of(self, chosen: Mask) -> "HeadRows":
        """The rows that are chosen."""
        return HeadRows(
            strata=self.strata[chosen],
            inputs=self.inputs[chosen],
            partners=self.partners[chosen],
        )


def rows_of(sums: JointSums) -> tuple[HeadRows, Mask]:
    """The rows of joint sums, and which persons they are: those with a covered family."""
    strata, logits = strata_of(sums), family_logits(sums)
    covered = strata > 0
    ones = np.ones((int(covered.sum()), 1))
    # Below 2**37 in size, so exact in float64; the power of two is exact as well.
    inputs = np.concatenate(
        [ones, logits[covered].astype(np.float64) * (_UNIT * _SCALE)], axis=1
    )
    rows = HeadRows(
        strata=strata[covered] - 1,
        inputs=inputs,
        partners=np.maximum(sums.partners[covered], 1),
    )
    return rows, covered


def halved(logits: Integers, counts: Integers) -> Float:
    """A part of each family's logit as it stands in ``inputs``, shape (rows, F).

    Args:
        logits: One holder's, units, shape (rows, F). Private.
        counts: All holders of the family, among which it is averaged. Private.
    """
    return (logits // np.maximum(counts, 1)).astype(np.float64) * (_UNIT * _SCALE)


def width_of(families: int) -> int:
    """d: an offset and a slope for each family, in every stratum."""
    return STRATA * (families + 1)


def start_weights(base: float, families: int) -> Float:
    """Where a head starts, the plain sum: offset ``base`` and slopes 1, shape (d,)."""
    return np.tile(np.concatenate([[base], np.full(families, 1.0 / _SCALE)]), STRATA)


def log_odds(rows: HeadRows, weights: Float) -> Float:
    """Log-odds of bad of each row, shape (rows,): ``x · w`` added in the order of families.

    Raises:
        ShapeError, DomainError: weights of another size, or not finite.
    """
    width = rows.inputs.shape[1]
    check_weights(weights, STRATA * width)
    own = weights.reshape(STRATA, width)[rows.strata]
    total = own[:, 0].copy()
    for column in range(1, width):
        total += own[:, column] * rows.inputs[:, column]
    return total


def clipped_gradient_sum(
    rows: HeadRows,
    labels: Labels,
    weights: Float,
    *,
    clip: float,
    chunk_rows: int = CHUNK_ROWS,
) -> Integers:
    """Sum the rows' log-loss gradients, each clipped and made an integer first.

    Row ``r`` gives ``(p − y)·x`` in its stratum's slots, shrunk to norm ``clip``, in units of
    ``clip / 2**24``. Adding or removing one row moves the result by at most ``row_bound(d)``
    in L2 norm, turning one row into another by at most twice that (protocol 4.2.2).

    Args:
        rows: Private.
        labels: 1 for bad, uint8, shape (rows,). Private.
        weights: Shape (d,). Public.
        clip: The plan's C, in units of gradient norm, positive. Public.
        chunk_rows: Bounds the memory; changes no bit.

    Returns:
        Shape (d,), int64. Without noise yet: not to leave the node.

    Raises:
        ShapeError: ragged arguments; labels as a (rows, 1) column.
        DomainError: clip or a weight not finite, or a label that is not 0 or 1.

    Source:
        Protocol 3.4.3 to 3.4.5 on rows that are not one-hot.
    """
    check_labels(labels, len(rows))
    if not (math.isfinite(clip) and clip > 0):
        raise DomainError(f"clip {clip} is not positive and finite")
    width = rows.inputs.shape[1]
    bound = row_bound(STRATA * width)
    total = np.zeros((STRATA, width), dtype=np.int64)
    residuals = sigmoid_det(log_odds(rows, weights)) - labels
    for part in chunks(len(rows), chunk_rows):
        integers = clipped_rows(residuals[part], rows.inputs[part], clip=clip, bound=bound)
        for stratum in range(STRATA):
            total[stratum] += integers[rows.strata[part] == stratum].sum(axis=0)
    return total.ravel()


def clipped_rows(residuals: Float, inputs: Float, *, clip: float, bound: int) -> Integers:
    """``rint(2**24/C · f · (p − y) · x)`` of each row (protocol 3.4.3 to 3.4.5).

    ``f·|p − y|`` is written as ``min(|p − y|, C/‖x‖)``; ‖x‖ is at least 1.

    Returns:
        Shape (rows, F + 1), int64; no row is longer than ``bound``, whatever was given.
    """
    squares = inputs[:, 0] * inputs[:, 0]
    for column in range(1, inputs.shape[1]):
        squares = squares + inputs[:, column] * inputs[:, column]
    longest = clip / np.sqrt(squares)
    scaled = np.clip(residuals, -longest, longest) * (GUARD * 2.0**SCALE_BITS / clip)
    return _hard_row_check(scaled[:, None] * inputs, bound=bound)


def _hard_row_check(exact: Float, *, bound: int) -> Integers:
    """Round; a row above Q is rounded once more shorter, then dropped (protocol 3.4.5)."""
    rounded = np.rint(exact)
    fits = _length(rounded) <= bound * bound
    if not bool(fits.all()):  # NaN fits nowhere
        second = np.rint(exact * SECOND_TRY)
        again = _length(second) <= bound * bound
        rounded = np.where(fits[:, None], rounded, np.where(again[:, None], second, 0.0))
    return rounded.astype(np.int64)


def _length(rounded: Float) -> Float:
    """Squared norm of integer rows; exact up to 2**53, so at every row that may fit."""
    return np.asarray((rounded * rounded).sum(axis=1))


def evaluation_histogram(rows: HeadRows, labels: Labels, weights: Float) -> Integers:
    """Rows by stratum, band of PD and label: one person changes one count (protocol 7.11).

    Returns:
        Shape (3·16·2,), int64, order ``(stratum·16 + band)·2 + label``; not scaled, without
        noise: not to leave the node.
    """
    check_labels(labels, len(rows))
    eta = np.nan_to_num(log_odds(rows, weights))
    bands = np.searchsorted(band_edges(), eta, side="right").astype(np.int64)
    return count_by_label(rows.strata * BANDS + bands, labels, STRATA * BANDS)


def overlap_histogram(rows: HeadRows) -> Integers:
    """Rows by stratum and number of partners: one person changes one count (protocol 7.11).

    Returns:
        Shape (3·3,), int64, order ``stratum·3 + band of partners``; as above.
    """
    bands = np.minimum(rows.partners, PARTNER_BANDS) - 1
    counts = np.bincount(rows.strata * PARTNER_BANDS + bands, minlength=STRATA * PARTNER_BANDS)
    return counts.astype(np.int64, copy=False)


def band_edges() -> Float:
    """Log-odds of the public cuts, shape (15,), rising; the same bits everywhere."""
    return np.array([cut_units(cut) * _UNIT for cut in CUTS])


def band_centres() -> Float:
    """Log-odds that a band's persons are taken to have, shape (16,): the PD in its middle."""
    cuts = [0.0, *map(float, CUTS), 1.0]
    middles = [(low + high) / 2 for low, high in pairwise(cuts)]
    # Outer bands are wide and fullest at their inner edge.
    middles[0], middles[-1] = 0.75 * float(CUTS[0]), float(CUTS[-1]) + 0.08
    return np.array([math.log(pd / (1.0 - pd)) for pd in middles])


def scarce_strata(overlap: Float, *, deviation: float) -> tuple[int, ...]:
    """Strata whose noisy count is below 20 deviations of one cell (protocol 7.11).

    Args:
        overlap: Noisy counts, shape (3, 3): strata, bands of partners.
        deviation: Standard deviation of the noise of one of them, in persons.
    """
    if overlap.shape != (STRATA, PARTNER_BANDS):
        raise ShapeError(f"overlap of shape {overlap.shape}")
    least = max(1.0, _LEAST_DEVIATIONS * deviation)
    return tuple(s for s, count in enumerate(_persons(overlap)) if count < least)


def with_pooled(weights: Float, overlap: Float, pooled: tuple[int, ...]) -> Float:
    """Weights in which the strata ``pooled`` have the mean of the others, by their persons.

    Post-processing of released sums: it costs no budget.

    Raises:
        DomainError: no stratum is left to take a mean of.
    """
    if not pooled:
        return weights
    table, persons = weights.reshape(STRATA, -1).copy(), _persons(overlap)
    kept = [s for s in range(STRATA) if s not in pooled]
    if not kept:
        raise DomainError("every stratum has too few persons")
    whole = math.fsum(persons[s] for s in kept)
    mean = np.zeros(table.shape[1])
    for s in kept:
        mean += (persons[s] / whole) * table[s]
    table[list(pooled)] = mean
    return table.ravel()


def _persons(overlap: Float) -> list[float]:
    return [math.fsum(row) for row in overlap.tolist()]


def head_of(weights: Float, families: tuple[str, ...], base: float) -> Head:
    """The head as it is released and served: integers, nearest to the weights."""
    table = weights.reshape(STRATA, -1).tolist()
    return Head(
        families=families,
        base=to_units(base),
        alpha=tuple(to_units(row[0]) for row in table),
        beta=tuple(tuple(to_units(w * _SCALE) for w in row[1:]) for row in table),
    )
