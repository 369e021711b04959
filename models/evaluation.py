"""How good a model is on a partner's own rows, exactly; and the one table that may leave.

The exact figures serve a partner's own vote on a model and never leave in clear (protocol
10.9). What leaves is ``band_histogram`` after noise; its figures are computed by all from
the noisy table in ``consortium/credit/tables.py``. ``None`` means "not defined".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError
from models.calibration import check_logits, count_by_label
from models.encoding import Labels, check_labels
from models.scorecard import sigmoid_det

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

_TOLERANCE = 1e-8
_MOST_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFigures:
    """Exact figures of one set of rows. Private."""

    rows: int
    bads: int
    auc: float | None
    gini: float | None
    ks: float | None
    in_the_large: float | None
    """Sum of PDs over number of bads (E/O)."""
    slope: float | None
    brier: float


def evaluate(eta: Float, labels: Labels) -> LocalFigures:
    """All figures of rows with log-odds ``eta`` after recalibration (credit 4.5).

    Args:
        eta: Log-odds of bad, shape (rows,), finite. Private.
        labels: uint8, shape (rows,). Private.

    Raises:
        ShapeError: ragged. DomainError: NaN, infinity or no row.
    """
    _check(eta, labels)
    bads = int(labels.sum())
    pd = sigmoid_det(eta)
    area = auc(eta, labels)
    return LocalFigures(
        rows=labels.size,
        bads=bads,
        auc=area,
        gini=None if area is None else 2.0 * area - 1.0,
        ks=ks(eta, labels),
        in_the_large=float(pd.sum()) / bads if bads else None,
        slope=slope(eta, labels),
        brier=float(np.mean((pd - labels) ** 2)),
    )


def auc(eta: Float, labels: Labels) -> float | None:
    """Mann-Whitney: chance that a bad has larger ``eta`` than a good, ties half.

    None if there are no bads or no goods. Errors as ``evaluate``.
    """
    counts = _by_value(eta, labels)
    goods, bads = (int(total) for total in counts.sum(axis=0))
    if goods == 0 or bads == 0:
        return None
    lower = np.cumsum(counts[:, 0]) - counts[:, 0]
    # Doubled, so that halves stay whole: exact in int64 below 2**32 rows.
    doubled = int((counts[:, 1] * (2 * lower + counts[:, 0])).sum())
    return doubled / (2 * goods * bads)


def ks(eta: Float, labels: Labels) -> float | None:
    """Largest gap between the two distribution functions; None as ``auc``."""
    counts = _by_value(eta, labels)
    totals = counts.sum(axis=0)
    if not bool(totals.all()):
        return None
    shares = np.cumsum(counts, axis=0) / totals
    return float(np.abs(shares[:, 0] - shares[:, 1]).max())


def slope(eta: Float, labels: Labels) -> float | None:
    """Slope of a logistic regression of the label on ``eta``, Newton to 1e-8.

    None if it has no finite solution: one class only, one value only, or separated classes.
    """
    _check(eta, labels)
    line = np.array([0.0, 1.0])
    for _ in range(_MOST_STEPS):
        pd = sigmoid_det(line[0] + line[1] * eta)
        rest, weight = labels - pd, pd * (1.0 - pd)
        weighted = weight * eta
        cross, square = float(weighted.sum()), float((weighted * eta).sum())
        total = float(weight.sum())
        determinant = total * square - cross * cross
        if determinant <= 1e-9 * total * square:  # one value, or PDs at 0 and 1: no line
            return None
        steps = np.array([float(rest.sum()), float((rest * eta).sum())])
        inverse = np.array([[square, -cross], [-cross, total]]) / determinant
        move = np.clip(inverse @ steps, -1.0, 1.0)
        line = line + move
        if float(np.abs(move).max()) < _TOLERANCE:
            return float(line[1])
    return None


def band_histogram(logit: Float, labels: Labels, edges: Float) -> Integers:
    """Rows by score band and label: the table of a federated evaluation (credit 4.5).

    One person changes one count by 1.

    Args:
        logit: In the scale of ``edges``, shape (rows,), finite. Private.
        labels: uint8, shape (rows,). Private.
        edges: Inner edges, shape (bands - 1,), strictly rising. A band holds its lower
            edge. Public.

    Returns:
        Shape (2·bands,), int64, in the order ``band·2 + label``, bands rising in log-odds
        of bad; not scaled, without noise: not to leave the node.

    Raises:
        ShapeError: ragged. DomainError: NaN, infinity, or edges that do not rise.
    """
    check_logits(logit)
    check_labels(labels, logit.size)
    if edges.ndim != 1:
        raise ShapeError(f"edges of shape {edges.shape}, expected (bands - 1,)")
    if not (bool(np.isfinite(edges).all()) and bool((np.diff(edges) > 0).all())):
        raise DomainError("band edges are not finite and strictly rising")
    bands = np.searchsorted(edges, logit, side="right").astype(np.int64)
    return count_by_label(bands, labels, edges.size + 1)


def _by_value(eta: Float, labels: Labels) -> Integers:
    """Goods and bads at each distinct value, rising, shape (values, 2)."""
    _check(eta, labels)
    values, cells = np.unique(eta, return_inverse=True)
    return count_by_label(cells, labels, values.size).reshape(-1, 2)


def _check(eta: Float, labels: Labels) -> None:
    check_logits(eta)
    check_labels(labels, eta.size)
    if eta.size == 0:
        raise DomainError("no rows")
