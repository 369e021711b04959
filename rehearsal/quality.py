"""Figures of one set of scores on rows: quality, curve, tenths. Exact; for the rehearsal."""

import numpy as np
from numpy.typing import NDArray

from models import scorecard
from models.encoding import Labels
from models.evaluation import evaluate
from rehearsal.results import Group, Quality, Roc

Float = NDArray[np.float64]

_TENTHS = 10
_CURVE_POINTS = 200


def quality(eta: Float, labels: Labels) -> Quality:
    """Exact figures of log-odds on rows; all None where there is no row."""
    if labels.size == 0:
        return Quality(auc=None, ks=None, in_the_large=None, slope=None, brier=None)
    found = evaluate(eta, labels)
    return Quality(
        auc=found.auc,
        ks=found.ks,
        in_the_large=found.in_the_large,
        slope=found.slope,
        brier=found.brier,
    )


def roc_of(name: str, role: str, eta: Float, labels: Labels) -> Roc | None:
    """The curve, thinned to what a plot can show; None if a class is absent."""
    bads = int(labels.sum())
    if bads in (0, labels.size):
        return None
    order = np.argsort(-eta, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(eta[order]) != 0, [True]))  # ties share a point
    true = np.cumsum(labels[order], dtype=np.float64)[ends] / bads
    false = (ends + 1 - true * bads) / (labels.size - bads)
    kept = np.unique(np.linspace(0, ends.size - 1, min(ends.size, _CURVE_POINTS)).astype(int))
    return Roc(
        name=name,
        role=role,
        auc=quality(eta, labels).auc,
        false=np.concatenate([[0.0], false[kept]]),
        true=np.concatenate([[0.0], true[kept]]),
    )


def groups(eta: Float, labels: Labels) -> tuple[Group, ...]:
    """Tenths of the rows by score, weakest last; fewer where there are few rows."""
    order = np.argsort(eta, kind="stable")
    parts = np.array_split(order, min(_TENTHS, max(1, labels.size)))
    return tuple(
        Group(
            rows=part.size,
            predicted=float(scorecard.sigmoid_det(eta[part]).mean()),
            observed=float(labels[part].mean()),
        )
        for part in parts
        if part.size
    )
