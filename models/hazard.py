"""Closure risk: which of several causes ends a line within three months (credit 4.14).

A month of a line ends it by arrears, anomaly or inactivity, or something competes (the borrower
leaves, or defaults), or nothing happens: a multinomial logit on public bins. A person's
line-months, at most twelve, are one row: their gradients are added up before they are clipped,
once, and become an integer vector whose length is checked. So one person moves the sum by at
most Q whatever the lines hold, and sums are exact, hence the same on any machine. No noise is
added here: results are not to leave the node.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError
from consortium.secagg.ring import SCALE_BITS
from models.calibration import count_by_label
from models.closure_bins import CAUSES, CLOSURES, MOST_ROWS, STEPS
from models.encoding import Labels, check_labels, column_starts
from models.scorecard import GUARD, SECOND_TRY, exp_det, row_bound, sigmoid_det
from models.spec import check_weights

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Codes = NDArray[np.uint8]

UNIT = 1 << 30
"""Probability 1, where incidences are added up: in whole numbers they cannot exceed it."""

CHUNK_PERSONS = 2_048
_FARTHEST = 30.0
_NORM_UNIT = 2.0**20
_CALM = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class HazardRows:
    """Line-months of persons, those of one person together. Private."""

    codes: Codes
    """Shape (rows, features)."""
    causes: Labels
    """0: nothing ended the line in the month; else 1 + place in ``CAUSES``; shape (rows,)."""
    starts: Integers
    """First row of each person and the number of rows, shape (persons + 1,)."""

    def __post_init__(self) -> None:
        """Raise unless every person has 1 to 12 rows and every cause is known."""
        rows = self.codes.shape[0]
        if self.codes.ndim != 2 or self.codes.dtype != np.uint8:  # noqa: PLR2004 - a table
            raise ShapeError(f"codes are {self.codes.dtype} of shape {self.codes.shape}")
        if self.causes.shape != (rows,) or self.causes.dtype != np.uint8:
            raise ShapeError(f"causes of shape {self.causes.shape}, expected ({rows},)")
        if self.starts.ndim != 1 or self.starts.size < 1 or self.starts[0] != 0:
            raise ShapeError("rows of persons do not begin at the first")
        if self.starts[-1] != rows:
            raise ShapeError("rows of persons do not end at the last")
        lengths = np.diff(self.starts)
        if lengths.size and not 1 <= lengths.min() <= lengths.max() <= MOST_ROWS:
            raise DomainError(f"a person has no line-month, or more than {MOST_ROWS}")
        if rows and int(self.causes.max()) > len(CAUSES):
            raise DomainError("a cause is none that there is")

    @property
    def persons(self) -> int:
        """Persons with a row."""
        return self.starts.size - 1


def hazards(weights: Float, codes: Codes, bin_counts: tuple[int, ...]) -> Float:
    """Chance of each cause in one month, given that the line came so far.

    Args:
        weights: Shape (causes times the sum of bin counts,), cause by cause. Public.
        codes: Shape (rows, features), uint8. Private.
        bin_counts: Codes of each feature. Public.

    Returns:
        Shape (rows, causes); a row adds up to less than 1. The same bits everywhere.

    Raises:
        ShapeError, DomainError: ragged arguments, a weight that is not finite, or a code that
            its feature does not have.
    """
    tables = _tables(weights, bin_counts)
    if codes.ndim != 2 or codes.shape[1] != len(bin_counts):  # noqa: PLR2004 - a table
        raise ShapeError(f"codes of shape {codes.shape}, expected (rows, {len(bin_counts)})")
    if codes.size and bool((codes.max(axis=0) >= np.asarray(bin_counts)).any()):
        raise DomainError("a code is not below its feature's number of bins")
    score = np.zeros((codes.shape[0], len(CAUSES)))
    for feature, table in enumerate(tables):
        score += table[codes[:, feature]]
    grown = exp_det(np.clip(score, -_FARTHEST, _FARTHEST))
    total = np.ones(codes.shape[0])
    for cause in range(len(CAUSES)):  # in this order: a sum has the same bits everywhere
        total += grown[:, cause]
    chance: Float = grown / total[:, None]
    return chance


def clipped_gradient_sum(
    rows: HazardRows, weights: Float, bin_counts: tuple[int, ...], *, clip: float
) -> Integers:
    """Sum the persons' log-loss gradients, each clipped once and made an integer.

    A person's gradient is the sum over line-months of ``h_k - y_k`` at the bins of the month,
    for each cause k. Adding or removing a person moves the result by at most ``row_bound(d)``
    in L2 norm, however many line-months there are and whatever they hold.

    Args:
        rows: Private.
        weights: Shape (d,), d causes times bins. Public.
        bin_counts: Codes of each feature. Public.
        clip: The plan's C, in units of gradient norm, positive. Public.

    Returns:
        Shape (d,), int64, in units of ``clip / 2**24``. Without noise yet: not to leave
        the node.

    Raises:
        ShapeError, DomainError: as ``hazards``; a clip that is not positive and finite.

    Source:
        Abadi et al. (CCS 2016), Algorithm 1, with persons as examples; protocol 3.4.10.
    """
    if not (math.isfinite(clip) and clip > 0):
        raise DomainError(f"clip {clip} is not positive and finite")
    check_weights(weights, len(CAUSES) * sum(bin_counts))
    total = np.zeros(weights.size, dtype=np.int64)
    for first in range(0, rows.persons, CHUNK_PERSONS):
        bounds = rows.starts[first : first + CHUNK_PERSONS + 1]
        here = slice(int(bounds[0]), int(bounds[-1]))
        owner = np.repeat(np.arange(bounds.size - 1), np.diff(bounds))
        residuals = hazards(weights, rows.codes[here], bin_counts)
        ended = np.flatnonzero(rows.causes[here])
        residuals[ended, rows.causes[here][ended] - 1] -= 1.0
        gradients = _gradients(residuals, rows.codes[here], owner, bin_counts)
        total += clipped_persons(gradients, clip=clip, bound=row_bound(weights.size)).sum(
            axis=0
        )
    return total


def _gradients(
    residuals: Float, codes: Codes, owner: Integers, bin_counts: tuple[int, ...]
) -> Float:
    """Each person's gradient, shape (persons, d); line-months are added in their order."""
    persons = int(owner[-1]) + 1 if owner.size else 0
    columns = sum(bin_counts)
    found = np.zeros((persons, len(CAUSES), columns))
    for feature, start in enumerate(column_starts(bin_counts)):
        width = bin_counts[feature]
        cells = owner * width + codes[:, feature]
        for cause in range(len(CAUSES)):
            parts = np.bincount(cells, residuals[:, cause], persons * width)
            found[:, cause, start : start + width] = parts.reshape(persons, width)
    return found.reshape(persons, -1)


def clipped_persons(gradients: Float, *, clip: float, bound: int) -> Integers:
    """Gradients shrunk to ``clip`` and rounded, every row within ``bound`` (protocol 3.4.10).

    The norm is taken of integers, so its bits are the same everywhere. Whatever the floats
    before it were, NaN included, a row above Q is rounded once more shorter and then dropped.

    Args:
        gradients: Shape (persons, d). Private.
        clip: C.
        bound: Q.

    Returns:
        Shape (persons, d), int64, in units of ``clip / 2**24``.
    """
    sound = np.nan_to_num(gradients, nan=0.0, posinf=0.0, neginf=0.0)
    sound = np.clip(sound, -float(MOST_ROWS), float(MOST_ROWS))
    norm = np.sqrt(_squares(np.rint(sound * _NORM_UNIT)).astype(np.float64)) / _NORM_UNIT
    factor = clip / np.maximum(norm, clip) * (GUARD * 2.0**SCALE_BITS / clip)
    exact = sound * factor[:, None]
    rounded = np.rint(exact)
    above = np.flatnonzero(_squares(rounded) > bound * bound)
    if above.size:
        second = np.rint(exact[above] * SECOND_TRY)
        fits = _squares(second) <= bound * bound
        rounded[above] = np.where(fits[:, None], second, 0.0)
    return rounded.astype(np.int64)


def _squares(rows: Float) -> Integers:
    """Squared length of each row of integers; exact, for no entry is above 2**24."""
    whole = rows.astype(np.int64)
    squares: Integers = (whole * whole).sum(axis=1)
    return squares


# --- incidences -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Incidences:
    """Chances within ``STEPS`` months, in units of 1 / ``UNIT``. Private.

    ``by_cause`` and ``open`` of a line add up to ``UNIT`` exactly.
    """

    by_cause: Integers
    """Shape (lines, causes + 1): ``CAUSES``, then the withdrawal of the product."""
    open: Integers
    """Still open, shape (lines,)."""

    @property
    def closure(self) -> Integers:
        """Any closure that is predicted from behaviour, shape (lines,)."""
        total: Integers = self.by_cause[:, :CLOSURES].sum(axis=1)
        return total

    @property
    def any_closure(self) -> Integers:
        """The same with the withdrawal of the product."""
        total: Integers = self.closure + self.by_cause[:, len(CAUSES)]
        return total


def incidences(
    weights: Float,
    codes: Codes,
    bin_counts: tuple[int, ...],
    *,
    withdrawn: NDArray[np.uint8] | None = None,
) -> Incidences:
    """``CIF_k = sum over t of S(t-1) h_k(t)``, ``S(t) = S(t-1)(1 - sum of h)`` (credit 4.14).

    Args:
        weights: As ``hazards``. Public.
        codes: Of each month ahead, shape (lines, ``STEPS``, features). Private.
        bin_counts: Codes of each feature. Public.
        withdrawn: In which month ahead the product is withdrawn, 1 to ``STEPS``, or 0: not.
            Whatever is still open then, ends then. Shape (lines,). Private.

    Raises:
        ShapeError, DomainError: as ``hazards``; a month that is not one of those ahead.
    """
    lines = codes.shape[0]
    if codes.ndim != 3 or codes.shape[1] != STEPS:  # noqa: PLR2004 - lines, months, features
        raise ShapeError(f"codes of shape {codes.shape}, expected (lines, {STEPS}, features)")
    ends = np.zeros(lines, dtype=np.uint8) if withdrawn is None else withdrawn
    if ends.shape != (lines,):
        raise ShapeError(f"months of a withdrawal of shape {ends.shape}, expected ({lines},)")
    if ends.size and int(ends.max()) > STEPS:
        raise DomainError(f"a withdrawal in month {int(ends.max())} ahead")
    found = np.zeros((lines, len(CAUSES) + 1), dtype=np.int64)
    still = np.full(lines, UNIT, dtype=np.int64)
    for step in range(STEPS):
        # Rounded down: the sum of a row stays at most 1 in whole numbers.
        chance = (hazards(weights, codes[:, step], bin_counts) * UNIT).astype(np.int64)
        now = (still[:, None] * chance) // UNIT
        now[ends == step + 1] = 0
        found[:, : len(CAUSES)] += now
        still = still - now.sum(axis=1)
        gone = ends == step + 1
        found[gone, len(CAUSES)] = still[gone]
        still = np.where(gone, 0, still)
    return Incidences(found, still)


def calibrated(found: Incidences, closure: Float) -> Incidences:
    """The same with another chance of closure: causes keep their proportions.

    What competes shares what is left as before, so nothing exceeds 1. A withdrawal that is
    certain stays so.

    Args:
        found: As predicted.
        closure: Recalibrated chance of any predicted closure, shape (lines,), in (0, 1).
    """
    raw = found.closure.astype(np.float64)
    wanted = np.clip(closure, 0.0, 1.0) * UNIT
    up = np.where(raw > 0, wanted / np.maximum(raw, 1.0), 1.0)
    rest = (UNIT - wanted) / np.maximum(UNIT - raw, 1.0)
    changed = found.by_cause.astype(np.float64)
    changed[:, :CLOSURES] *= up[:, None]
    changed[:, CLOSURES] *= np.minimum(
        rest, 1.0 / np.maximum(changed[:, CLOSURES] / UNIT, 1e-12)
    )
    whole = np.floor(changed).astype(np.int64)
    certain = found.by_cause[:, len(CAUSES)] > 0
    left = UNIT - whole[:, : len(CAUSES)].sum(axis=1)
    whole[:, len(CAUSES)] = np.where(certain, left, 0)
    return Incidences(whole, np.where(certain, 0, left))


def closure_histogram(found: Incidences, labels: Labels, edges: Float) -> Integers:
    """Persons by band of the chance of closure and by outcome; the table that may leave.

    One person changes one count by 1. Edges are log-odds: chances are compared with theirs,
    so no logarithm is taken and the cells are the same everywhere.

    Args:
        found: Of one line a person. Private.
        labels: 1: closed by its lender within the months ahead; uint8. Private.
        edges: Inner edges, log-odds, rising, shape (bands - 1,). Public.

    Returns:
        Shape (2 * bands,), int64, in the order ``band * 2 + label``; not scaled, without
        noise: not to leave the node.
    """
    check_labels(labels, found.open.size)
    limits = sigmoid_det(edges) * UNIT
    bands = np.searchsorted(limits, found.closure.astype(np.float64), side="right")
    return count_by_label(bands.astype(np.int64), labels, edges.size + 1)


def closure_logits(found: Incidences) -> Float:
    """Log-odds of closure, shape (lines,), for figures and papers of the node itself."""
    chance = (found.closure + _CALM) / (UNIT + 2 * _CALM)
    logit: Float = np.log(chance) - np.log1p(-chance)
    return logit


# --- explanation ------------------------------------------------------------------------------


def carried_by(weights: Float, codes: Codes, bin_counts: tuple[int, ...], cause: int) -> Float:
    """How much each attribute adds to a cause's log-hazard, over its own calmest bin.

    Args:
        weights: As ``hazards``. Public.
        codes: Shape (rows, features). Private.
        bin_counts: Codes of each feature. Public.
        cause: Place in ``CAUSES``.

    Returns:
        Shape (rows, features), none negative.
    """
    tables = _tables(weights, bin_counts)
    columns = [table[:, cause] - table[:, cause].min() for table in tables]
    return np.column_stack([column[codes[:, f]] for f, column in enumerate(columns)])


def _tables(weights: Float, bin_counts: tuple[int, ...]) -> list[Float]:
    """The weights of each feature's bins, shape (bins, causes) each."""
    check_weights(weights, len(CAUSES) * sum(bin_counts))
    by_cause = weights.reshape(len(CAUSES), -1)
    parts = np.split(by_cause, column_starts(bin_counts)[1:], axis=1)
    return [np.ascontiguousarray(part.T) for part in parts]
