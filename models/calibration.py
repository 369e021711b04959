"""Recalibration at a partner: its histogram of scores, and the line that came back.

Clipping shrinks rare defaulters' gradients, so a raw model's PDs are wrong by a factor at
an AUC that looks fine (protocol 5.5). The fit on the noisy sum of all histograms is in
``consortium/credit/tables.py``, where every party repeats it; noise and scale are added by
the caller.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.credit.tables import CELLS, HIGHEST, LOWEST, Calibration
from consortium.errors import DomainError, ShapeError
from models.encoding import Labels, check_labels
from models.scorecard import sigmoid_det

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

_CELLS_PER_UNIT = CELLS / (HIGHEST - LOWEST)


def histogram(logit: Float, labels: Labels) -> Integers:
    """Rows by cell of the raw logit and by label (protocol 5.5).

    24 equal cells on [-6, 6], closed below; what lies outside is in the end cells. One
    person changes one count by 1.

    Args:
        logit: Before recalibration, shape (rows,), finite. Private.
        labels: uint8, shape (rows,). Private.

    Returns:
        Shape (48,), int64, in the order ``cell·2 + label``; not scaled, without noise: not
        to leave the node.

    Raises:
        ShapeError, DomainError: ragged, NaN or infinity.
    """
    check_logits(logit)
    check_labels(labels, logit.size)
    inside = np.clip(logit, LOWEST, HIGHEST)
    cells = np.minimum(np.floor((inside - LOWEST) * _CELLS_PER_UNIT), CELLS - 1)
    return count_by_label(cells.astype(np.int64), labels, CELLS)


def calibrated(logit: Float, calibration: Calibration) -> Float:
    """``alpha + beta·logit``, the log-odds of bad that are used, shape (rows,)."""
    return calibration.alpha + calibration.beta * logit


def probabilities(logit: Float, calibration: Calibration) -> Float:
    """PD of each row from its raw logit, shape (rows,)."""
    return sigmoid_det(calibrated(logit, calibration))


def count_by_label(cells: Integers, labels: Labels, count: int) -> Integers:
    """Rows in each of ``count`` cells by label, shape (2·count,), order ``cell·2 + label``."""
    counts = np.bincount(cells * 2 + labels, minlength=2 * count)
    return counts.astype(np.int64, copy=False)


def check_logits(logit: Float) -> None:
    """Raise unless flat (ShapeError) and finite (DomainError)."""
    if logit.ndim != 1:
        raise ShapeError(f"logits of shape {logit.shape}, expected (rows,)")
    if not bool(np.isfinite(logit).all()):
        raise DomainError("a logit is NaN or infinite")
