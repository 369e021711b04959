"""What a partner's own held-out persons say of two models: exact, and private until summed.

The one thing that leaves a node is the clipped moments of ``consortium.credit.contribution``,
as entries of a noisy table; the change of AUC is for the partner's own eyes, or for data that
are nobody's.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.credit.contribution import BOUND, Moments
from consortium.errors import ShapeError
from models.encoding import Labels
from models.evaluation import auc

Float = NDArray[np.float64]


def losses(eta: Float, labels: Labels) -> Float:
    """Log-loss of each person, natural logarithm, shape (rows,)."""
    signed = np.where(labels == 1, -eta, eta)
    return np.maximum(signed, 0.0) + np.log1p(np.exp(-np.abs(signed)))


def differences(without: Float, with_all: Float, labels: Labels) -> Float:
    """Loss without a partner less loss with it, person by person, clipped at ±``BOUND``.

    Args:
        without: Log-odds by the model that was trained without the partner, shape (rows,).
        with_all: By the model of all, of the same persons.
        labels: uint8, shape (rows,).

    Raises:
        ShapeError: ragged.
    """
    if not without.shape == with_all.shape == labels.shape or without.ndim != 1:
        raise ShapeError("contribution: log-odds of other persons, or a column")
    found = losses(without, labels) - losses(with_all, labels)
    return np.clip(found, -float(BOUND), float(BOUND))


def moments(without: Float, with_all: Float, labels: Labels) -> Moments:
    """Exact moments of the differences; arguments as ``differences``. Private."""
    found = differences(without, with_all, labels)
    return Moments(
        count=float(found.size), total=float(found.sum()), squared=float((found**2).sum())
    )


def auc_change(without: Float, with_all: Float, labels: Labels) -> float | None:
    """AUC with the partner less AUC without; None where a class is missing."""
    before, after = auc(without, labels), auc(with_all, labels)
    return None if before is None or after is None else after - before
