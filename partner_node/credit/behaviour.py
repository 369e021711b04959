"""The behaviour score: how a line is used, as the chance of bad within three months (row 4).

A scorecard of the partner's own lines, fitted by the partner alone and without noise, for it
never leaves: nothing of it is published, and nobody else is asked. Its features are whole
numbers in public bins; what it decides is whole numbers too, so that a stage is replayed.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from consortium.credit.capacity import payment_ratio, utilisation
from consortium.credit.outcomes import M3_PLUS_FROM, LineStatus, use_of
from consortium.credit.stages import pd_ppm
from consortium.credit.terms import MILLION, Ppm, add_months, half_up
from consortium.documents import document_of, parse_document
from consortium.errors import DataError
from consortium.scoring.scorecard import UNIT_BITS
from models.evaluation import auc
from models.scorecard import sigmoid_det
from partner_node.credit.lines import History, LineMonth

Codes = tuple[int, ...]
Float = NDArray[np.float64]
Labels = NDArray[np.uint8]

WINDOW = 3
"""Months of the outcome; and months below which there is no score (credit 2.3)."""
RECENT = 6
_PERCENT = MILLION // 100
_RIDGE = 1.0
_STEPS = 25
_TOLERANCE = 1e-8
_LEAST_BADS = 20
_HOLDOUT = b"riskweave/behaviour-holdout/v1\n"
_HOLDOUT_TENTHS = 2


@dataclass(frozen=True, slots=True)
class Feature:
    """One question about a line, and where its bins begin; bin 0 is "nothing to tell"."""

    name: str
    edges: tuple[int, ...]

    @property
    def bins(self) -> int:
        """The empty bin, one below the first edge, and one from each edge on."""
        return len(self.edges) + 2


def _shares(*percents: int) -> tuple[int, ...]:
    return tuple(percent * _PERCENT for percent in percents)


FEATURES = (
    Feature("utilisation", _shares(1, 10, 30, 50, 70, 90, 100)),
    Feature("utilisation_trend", _shares(-15, -5, -1, 1, 5, 15)),
    Feature("payment_ratio", _shares(1, 3, 5, 10, 30, 95)),
    Feature("payment_ratio_3", _shares(1, 3, 5, 10, 30, 95)),
    Feature("cash_share_3", _shares(1, 20, 50)),
    Feature("inactive_months", (1, 2, 4, 6)),
    Feature("applications_3", (1, 2, 3)),
    Feature("dpd", (1, 30, 60, 91)),
    Feature("late_months", (1, 2, 3, 4)),
    Feature("worst_dpd", (1, 30, 60, 91)),
    Feature("use", (1, 2)),
)
_USES = {"DORMANT": 0, "TRANSACTOR": 1, "REVOLVER": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourModel:
    """Weights in units of 2**-32. The partner's own."""

    fitted_on: date
    label: str
    intercept: int
    weights: tuple[tuple[int, ...], ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON (protocol 0.5)."""
        return document_of(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "BehaviourModel":
        """The model whose canonical bytes are ``data``.

        Raises:
            DecodeError: not such bytes.
            DataError: fitted by a program with other bins.
        """
        found = parse_document(cls, data)
        if [len(one) for one in found.weights] != [one.bins for one in FEATURES]:
            raise DataError("behaviour model: its bins are not this program's; fit it again")
        return found

    def eta(self, codes: Codes) -> int:
        """Log-odds of bad within three months."""
        return self.intercept + sum(
            table[code] for table, code in zip(self.weights, codes, strict=True)
        )

    def pd3(self, codes: Codes) -> Ppm:
        """PD3m in millionths."""
        return pd_ppm(self.eta(codes))


def pd12_of(pd3: Ppm) -> Ppm:
    """PD12 if the hazard of the three months goes on: ``1 - (1 - PD3m)^4``, half up."""
    left = (MILLION - pd3) ** 4
    return Ppm(MILLION - half_up(left, MILLION**3))


# --- what is asked of a line ------------------------------------------------------------------


def codes_of(months: Sequence[LineMonth]) -> Codes | None:
    """Bins of a line by its months so far; None with fewer than three of them."""
    if len(months) < WINDOW:
        return None
    values = _values(months[-RECENT:])
    return tuple(
        0 if value is None else 1 + bisect_right(one.edges, value)
        for one, value in zip(FEATURES, values, strict=True)
    )


def _values(recent: Sequence[LineMonth]) -> tuple[int | None, ...]:
    last, three = recent[-1], recent[-WINDOW:]
    used = utilisation(last.end.balance, last.limit)
    before = utilisation(three[0].end.balance, three[0].limit)
    debits = sum(month.end.debits for month in three)
    statements = sum(max(0, month.end.statement) for month in three)
    return (
        used,
        None if used is None or before is None else used - before,
        payment_ratio(last.end.paid, last.end.statement),
        payment_ratio(sum(month.end.paid for month in three), statements),
        sum(month.cash for month in three) * MILLION // debits if debits else None,
        sum(month.end.debits == 0 for month in recent),
        sum(month.applications for month in three),
        last.end.dpd,
        sum(month.end.worst_dpd > 0 for month in recent),
        max(month.end.worst_dpd for month in recent),
        _USES[use_of([month.end for month in recent])],
    )


def became_bad(history: History, index: int) -> bool | None:
    """Whether a line was bad within three months after one of its months.

    Returns:
        None if the months after it do not tell, or if it was bad already.
    """
    seen = history.months[index]
    if _is_bad(seen):
        return None
    if seen.outcome is not None:
        return seen.outcome
    # By the first of the month after: three months after the 30th may be a 31st.
    until = add_months(seen.end.on + timedelta(days=1), WINDOW)
    later = [month for month in history.months[index + 1 :] if month.end.on < until]
    if any(map(_is_bad, later)):
        return True
    return False if len(later) >= WINDOW else None


def _is_bad(month: LineMonth) -> bool:
    charged_off = month.end.status is LineStatus.CHARGED_OFF
    return month.end.worst_dpd >= M3_PLUS_FROM or charged_off or month.end.restructured


# --- fitting ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One line on its newest month whose outcome is known. Private."""

    codes: Codes
    limit: int | None
    bad: bool
    held_out: bool
    index: int = field(default=0)
    """Place of the month in its history."""


def observation_of(history: History) -> Observation | None:
    """The newest month of a line that has three months behind it and a known outcome."""
    for index in range(len(history.months) - 1, WINDOW - 2, -1):
        bad = became_bad(history, index)
        if bad is not None:
            codes = codes_of(history.months[: index + 1])
            if codes is None:
                return None
            return Observation(
                codes=codes,
                limit=history.months[index].limit,
                bad=bad,
                held_out=is_held_out(history.person),
                index=index,
            )
    return None


def is_held_out(person: str) -> bool:
    """Two persons in ten never take part in a fit, whichever line it is."""
    head = hashlib.sha256(_HOLDOUT + person.encode("utf-8")).digest()[:8]
    return int.from_bytes(head, "big") % 10 < _HOLDOUT_TENTHS


def fit(seen: Sequence[Observation], *, today: date, label: str) -> BehaviourModel:
    """Ridge logistic regression on the bins, by Newton, over whom is not held out.

    Raises:
        DataError: too few bads or goods to say anything.
    """
    training = [one for one in seen if not one.held_out]
    bads = sum(one.bad for one in training)
    if min(bads, len(training) - bads) < _LEAST_BADS:
        raise DataError(f"a behaviour score needs {_LEAST_BADS} bads and as many goods")
    rows, inverse = np.unique(
        np.array([one.codes for one in training], dtype=np.uint8), axis=0, return_inverse=True
    )
    labels = np.array([one.bad for one in training], dtype=np.float64)
    totals = np.bincount(inverse.ravel(), minlength=len(rows)).astype(np.float64)
    bad = np.bincount(inverse.ravel(), weights=labels, minlength=len(rows)).astype(np.float64)
    weights = _newton(_design(rows), totals, bad)
    units = [round(float(weight) * 2.0**UNIT_BITS) for weight in weights]
    tables, start = [], 1
    for one in FEATURES:
        tables.append(tuple(units[start : start + one.bins]))
        start += one.bins
    return BehaviourModel(
        fitted_on=today, label=label, intercept=units[0], weights=tuple(tables)
    )


def _design(rows: NDArray[np.uint8]) -> Float:
    columns: list[Float] = [np.ones((len(rows), 1))]
    columns += [np.eye(one.bins)[rows[:, place]] for place, one in enumerate(FEATURES)]
    return np.hstack(columns)


def _newton(design: Float, totals: Float, bad: Float) -> Float:
    share = float(bad.sum() / totals.sum())
    weights = np.zeros(design.shape[1])
    weights[0] = np.log(share / (1 - share))
    ridge = np.full(design.shape[1], _RIDGE)
    ridge[0] = 0.0
    for _ in range(_STEPS):
        pd = sigmoid_det(design @ weights)
        slope = design.T @ (bad - totals * pd) - ridge * weights
        curve = (design * (totals * pd * (1 - pd))[:, None]).T @ design + np.diag(ridge)
        move = np.linalg.solve(curve, slope)
        weights = weights + np.clip(move, -2.0, 2.0)
        if float(np.abs(move).max()) < _TOLERANCE:
            break
    return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Ginis:
    """What the score is worth on the lines that took no part in it. Private."""

    lines: int
    bads: int
    behaviour: float | None
    limit: float | None
    """Of the limit alone: the less was granted, the more risk."""

    @property
    def ratio(self) -> float | None:
        """How much better than the limit alone; None if either says nothing."""
        if self.behaviour is None or not self.limit or self.limit <= 0:
            return None
        return self.behaviour / self.limit


def ginis_of(seen: Iterable[Observation], model: BehaviourModel) -> Ginis:
    """Of whom is held out."""
    tested = [one for one in seen if one.held_out]
    labels = np.array([one.bad for one in tested], dtype=np.uint8)
    eta = np.array([model.eta(one.codes) / 2.0**UNIT_BITS for one in tested])
    limit = np.array([-float(one.limit or 0) for one in tested])
    return Ginis(
        lines=len(tested),
        bads=int(labels.sum()),
        behaviour=_gini(eta, labels),
        limit=_gini(limit, labels),
    )


def _gini(eta: Float, labels: Labels) -> float | None:
    found = auc(eta, labels) if labels.size else None
    return None if found is None else 2 * found - 1
