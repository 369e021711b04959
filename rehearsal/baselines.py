"""What the model would have been without privacy: trainings that only a rehearsal can do.

It alone sees all files. Baselines use the released bins, the plan's clip, optimiser and
rounds, and no noise; the regressions go on to convergence and know no clip.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from consortium import optimizer
from consortium.credit.tables import CELLS, Calibration, fit_calibration
from consortium.documents import plan_digest
from consortium.errors import DataError, DomainError
from consortium.features.bins import Bins, bin_count
from consortium.features.schema import Schema
from consortium.plan import ModelKind, TrainingPlan
from consortium.secagg.ring import decode_gradient
from models import scorecard
from models.calibration import histogram
from models.document import parse_model_document
from models.encoding import Codes, Labels, column_indices
from models.evaluation import auc
from models.inference import Model, block_logits
from models.spec import BlockSpec, initial_weights
from partner_node.ingest import EncodedTable

T = TypeVar("T")
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]
Tables = Mapping[str, EncodedTable]
"""By partner, loaded with ``persons``."""

MOST_JOINED = 300_000
"""Training persons that the regression over all columns reads at most: the first ones."""
_PENALTY = 1.0
_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class Released:
    """The model document's parts, typed."""

    plan: TrainingPlan
    schema: Schema
    bins: Bins
    model: Model

    @classmethod
    def of(cls, document: bytes, schema: Schema) -> "Released":
        """Parse a model document; DecodeError if it is none of this schema."""
        found = parse_model_document(document, schema)
        return cls(plan=found.plan, schema=schema, bins=found.bins, model=found.model)

    def held_by(self, partner: str) -> tuple[BlockSpec, ...]:
        """The blocks that a partner trains."""
        blocks = zip(self.plan.blocks, self.model.spec.blocks, strict=True)
        return tuple(spec for block, spec in blocks if partner in block.holders)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one block: codes in the block's order, labels."""

    codes: Codes
    labels: Labels


# --- training without noise -------------------------------------------------------------------


def trained(released: Released, spec: BlockSpec, rows: Rows) -> Model:
    """The same model on these rows without noise, recalibrated on them without noise.

    Where the plan takes several local steps a round, the baseline takes as many full-batch
    steps of the plan's optimiser.
    """
    plan, model = released.plan, released.model
    rounds = plan.rounds * (plan.local.steps if plan.local else 1)
    weights = initial_weights(model.spec, bytes.fromhex(plan_digest(plan)))[spec.window]
    state = optimizer.initial_state(weights)
    gradient = _gradient_of(plan, spec, rows)
    for _ in range(rounds):
        total = decode_gradient(
            gradient(state.weights), float(plan.clip), float(len(rows.labels))
        )
        state = optimizer.step(state, total, plan.optimizer, rounds)
    place = model.spec.blocks.index(spec)
    result = replace(
        model, weights=_put(model.weights, place, optimizer.released_weights(state))
    )
    logit = block_logits(result, spec.name, rows.codes)
    counts = histogram(logit, rows.labels).reshape(CELLS, 2).astype(np.float64)
    return replace(result, calibration=_put(model.calibration, place, _line(counts)))


def _line(counts: Float) -> Calibration:
    try:
        return fit_calibration(counts, deviation=0.0)
    except DomainError:
        # A partner with one class in its training rows learns nothing alone.
        return Calibration(alpha=0.0, beta=1.0)


def _gradient_of(
    plan: TrainingPlan, spec: BlockSpec, rows: Rows
) -> Callable[[Float], NDArray[np.int64]]:
    if plan.model is ModelKind.SCORECARD:
        return lambda weights: scorecard.clipped_gradient_sum(
            rows.codes, rows.labels, weights, spec.bin_counts, clip=float(plan.clip)
        )
    from models.gradients import clipped_gradient_sum_dense  # noqa: PLC0415 - loads torch

    return lambda weights: clipped_gradient_sum_dense(
        rows.codes, rows.labels, weights, spec, hidden=plan.hidden, clip=float(plan.clip)
    )


def _put(items: tuple[T, ...], place: int, item: T) -> tuple[T, ...]:
    return (*items[:place], item, *items[place + 1 :])


def rows_of(table: EncodedTable, spec: BlockSpec, chosen: Mask) -> Rows:
    """A partner's rows of one block, those where ``chosen``, shape (rows,), is true."""
    names = [feature.name for feature in table.features]
    columns = [names.index(name) for name in spec.features]
    return Rows(np.ascontiguousarray(table.codes[chosen][:, columns]), table.labels[chosen])


def pooled_rows(released: Released, spec: BlockSpec, tables: Tables, *, held_out: bool) -> Rows:
    """Rows of all holders of a block, either held out or for training."""
    parts = [
        rows_of(table, spec, table.holdout == held_out)
        for name, table in tables.items()
        if spec in released.held_by(name)
    ]
    return Rows(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


# --- regressions to convergence ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class AllColumns:
    """One regression over all columns of all partners, joined by person, without privacy."""

    persons: Words
    """Hold-out persons, sorted."""
    eta: Float
    """Their log-odds; zeros where the training persons are of one class."""
    auc: float | None


def all_columns(released: Released, tables: Tables) -> AllColumns:
    """Fit the regression on the training persons and score the held-out ones."""
    persons, codes, labels, holdout = joined(released, tables)
    features = [released.schema.feature(name) for name in _all_features(released)]
    counts = tuple(bin_count(one, released.bins.of(one.name)) for one in features)
    training = np.flatnonzero(~holdout)[:MOST_JOINED]
    scores = _regression_scores(counts, Rows(codes[training], labels[training]), codes[holdout])
    return AllColumns(
        persons=persons[holdout],
        eta=np.zeros(int(holdout.sum())) if scores is None else scores,
        auc=None if scores is None else auc(scores, labels[holdout]),
    )


def _all_features(released: Released) -> list[str]:
    return [name for spec in released.model.spec.blocks for name in spec.features]


def joined(released: Released, tables: Tables) -> tuple[Words, Codes, Labels, Mask]:
    """One row for each person, sorted; what no partner of the person holds is missing.

    Where two partners hold the same column of a person, the first one counts.
    """
    heads = [_heads(table) for table in tables.values()]
    persons = np.unique(np.concatenate(heads))
    names = _all_features(released)
    codes = np.zeros((persons.size, len(names)), dtype=np.uint8)  # 0: missing
    labels = np.zeros(persons.size, dtype=np.uint8)
    holdout = np.zeros(persons.size, dtype=np.bool_)
    for own, table in reversed(list(zip(heads, tables.values(), strict=True))):
        places = np.searchsorted(persons, own)
        for column, feature in enumerate(table.features):
            if feature.name in names:
                codes[places, names.index(feature.name)] = table.codes[:, column]
        labels[places] = table.labels
        holdout[places] = table.holdout
    return persons, codes, labels, holdout


def _heads(table: EncodedTable) -> Words:
    if table.persons is None:
        raise DataError("the table was loaded without persons and cannot be joined")
    return table.persons


def regression(counts: tuple[int, ...], training: Rows, test: Rows) -> float | None:
    """AUC of a logistic regression to convergence on one-hot bins (L2, C = 1)."""
    scores = _regression_scores(counts, training, test.codes)
    return None if scores is None else auc(scores, test.labels)


def _regression_scores(counts: tuple[int, ...], training: Rows, test: Codes) -> Float | None:
    if min(training.labels.sum(), (1 - training.labels.astype(int)).sum()) == 0:
        return None
    fit = LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS)
    fit.fit(_sparse(training.codes, counts), training.labels)
    scores: Float = fit.decision_function(_sparse(test, counts))
    return scores


def _sparse(codes: Codes, counts: tuple[int, ...]) -> csr_array:
    rows, features = codes.shape
    indices = column_indices(codes, counts)
    ends = np.arange(rows + 1) * features
    ones = np.ones(indices.size)
    return csr_array((ones, indices.ravel(), ends), shape=(rows, sum(counts)))
