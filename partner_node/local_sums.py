"""Exact integer sums over this partner's rows, before noise. Nothing here leaves the node.

One entry for each kind of release: the vector a kind asks for, the coordinates that this
partner holds, and whether noise is still to be added. The arithmetic is in ``models``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with, lp, parse_canonical
from consortium.credit.tables import BANDS, CELLS, Calibration
from consortium.crypto.keys import Secret
from consortium.errors import RefusalCode, RefusalError
from consortium.features.bins import (
    Bins,
    cell_counts,
    grid_bins,
    private_features,
    public_bins,
)
from consortium.features.grids import CELLS as GRID_CELLS
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import Algorithm, BinSource, ModelKind, ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import COUNT_SCALE, mechanism_for
from consortium.secagg.context import SumInputs
from models import scorecard
from models.calibration import histogram
from models.evaluation import band_histogram
from models.inference import Model, block_logits
from models.spec import BlockSpec, ModelSpec, spec_of
from partner_node.fingerprint import mark, sealed
from partner_node.ingest import DataReport, EncodedTable

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Codes = NDArray[np.uint8]

DELTA_SCALE = 2.0**24
"""A weight moved by 1 is 2**24 in ring units, where models are averaged (protocol 4.8)."""

_LARGEST_MOVE = 2.0**20
"""No healthy step goes so far; keeps the sum inside the ring."""


class Sums(Protocol):
    """What a session needs of a partner's rows, wherever they are read and summed.

    ``LocalSums`` has them in this process, ``PartedSums`` with the workers of an engine, in
    a fixed split; a head, a hazard and a table have theirs. The sums are the same bits.
    """

    @property
    def plan(self) -> TrainingPlan:
        """The run's."""

    def prepare(self, request: SumRequest, inputs: SumInputs) -> None:
        """Take up what the request brings; RefusalError if it does not fit."""

    def compute(
        self, request: SumRequest, inputs: SumInputs, *, seed: Secret, context: Digest
    ) -> "ExactSum":
        """The exact sum that the request asks for."""

    def fingerprint(self, seed: Secret) -> str:
        """What tells, without a row, whether a replay meets the same rows."""


class Trainer(Protocol):
    """``models.own_noise.LocalTrainer``, which loads torch and is imported when needed."""

    def run(self, weights: Float, *, seed: Secret, context: Digest) -> Float:
        """Private steps from ``weights``; how far they went."""


@dataclass(frozen=True, slots=True)
class ExactSum:
    """A vector of the sum's size; zero where this partner holds nothing. Private."""

    values: Integers
    held: NDArray[np.bool_]
    """Coordinates that this partner's rows can move: these get its noise."""
    needs_noise: bool


@dataclass(frozen=True, slots=True)
class _Step:
    """What local steps start from."""

    weights: Float
    seed: Secret
    context: Digest


class LocalSums:
    """The encoded table of one run and the sums over it."""

    def __init__(
        self,
        plan: TrainingPlan,
        schema: Schema,
        member: PartnerId,
        *,
        load: Callable[[Bins], EncodedTable],
    ) -> None:
        """Read the table by the plan's rules.

        Raises:
            DataError, ConfigurationError: as the node's ingest.
        """
        self.plan = plan
        self._schema = schema
        self._member = member
        self._load = load
        private = plan.bin_source is BinSource.PRIVATE
        self._bins = grid_bins(schema) if private else public_bins(schema)
        self._table = load(self._bins)
        self._spec = None if private else spec_of(plan, schema, self._bins)
        self._trainers: dict[str, Trainer] = {}
        self._mark: int | None = None
        self._training: dict[str, Codes] = {}
        """Columns of a block's training rows: all gradients are of the same."""

    def fingerprint(self, seed: Secret) -> str:
        """Of codes, labels and hold-out of all rows; one run has one seed. Private."""
        return sealed(self.mark(), seed)

    def mark(self) -> int:
        """The same without a key: marks of parts of the rows add up. Private."""
        if self._mark is None:
            table = self._table
            columns = (table.codes, table.labels[:, None], table.holdout[:, None])
            self._mark = mark(np.hstack(columns).astype(np.uint8, copy=False))
        return self._mark

    @property
    def report(self) -> DataReport:
        """What was seen of the table. Private."""
        return self._table.report

    @property
    def rows(self) -> int:
        """Rows of the table. Private: for the overflow bound only."""
        return len(self._table.labels)

    def width(self, kind: ReleaseKind) -> int:
        """What the mechanism's sensitivity depends on; public."""
        if kind is ReleaseKind.BINS:
            return len(private_features(self._schema))
        return self._spec.size if self._spec is not None else 1

    def prepare(self, request: SumRequest, inputs: SumInputs) -> None:
        """Take up the bins that the request names; RefusalError if they do not fit."""
        self.take(request.kind, inputs)

    def take(self, kind: ReleaseKind, inputs: SumInputs) -> None:
        """Take up the bins that go with a kind of sum; RefusalError if they do not fit.

        Privately made bins arrive with the first request after their histogram: the table
        is encoded again.
        """
        if kind is ReleaseKind.BINS:
            if self.plan.bin_source is not BinSource.PRIVATE:
                raise RefusalError(RefusalCode.SHAPE, "the plan's bins are public")
            self._encode(grid_bins(self._schema))
        elif self.plan.bin_source is BinSource.PRIVATE:
            self._encode(Bins.from_canonical(parse_canonical(inputs.bins), self._schema))
        elif inputs.bins:
            raise RefusalError(RefusalCode.SHAPE, "the plan's bins are public")

    def compute(
        self, request: SumRequest, inputs: SumInputs, *, seed: Secret, context: Digest
    ) -> ExactSum:
        """The exact sum that the request asks for.

        Raises:
            RefusalError: the inputs are not of the shape that kind and plan give (R11).
        """
        local = self.plan.algorithm is Algorithm.LOCAL_STEPS
        if local and request.kind is ReleaseKind.GRADIENT:
            step = _Step(self._weights(request.kind, inputs), seed, context)
            return self._blocks(partial(self._local_steps, step))
        return self.exact(request.kind, inputs)

    def exact(self, kind: ReleaseKind, inputs: SumInputs) -> ExactSum:
        """The exact sum of a kind, from rows and public inputs alone.

        Sums over disjoint parts of the rows add up to the sum over all of them. Local steps
        have no such sum: ``compute`` takes them, in one process and under the seed.

        Raises:
            RefusalError: the inputs are not of the shape that kind and plan give (R11).
        """
        if kind is ReleaseKind.BINS:
            return self._bin_counts()
        weights = self._weights(kind, inputs)
        if kind is ReleaseKind.GRADIENT:
            return self._blocks(partial(self._block_sum, weights))
        if kind is ReleaseKind.RECALIBRATION:
            rows = ~self._table.holdout
            return self._histograms(weights, rows, CELLS, lambda _, z, y: histogram(z, y))
        edges = inputs.arrays[1].reshape(len(self.spec.blocks), BANDS - 1)
        return self._histograms(
            weights,
            self._table.holdout,
            BANDS,
            lambda index, z, y: band_histogram(z, y, edges[index]),
        )

    @property
    def spec(self) -> ModelSpec:
        """Layout of the weights; RefusalError before the bins are known."""
        if self._spec is None:
            raise RefusalError(RefusalCode.MODEL, "bins are not known yet")
        return self._spec

    def _encode(self, bins: Bins) -> None:
        if self._spec is not None and bins == self._bins:
            return
        # Made before any is kept: a table must never meet other bins than its own.
        spec = spec_of(self.plan, self._schema, bins)
        table = self._table if bins == self._bins else self._load(bins)
        self._trainers.clear()
        self._training.clear()
        self._mark = None
        self._bins, self._table, self._spec = bins, table, spec

    def _weights(self, kind: ReleaseKind, inputs: SumInputs) -> Float:
        sizes = [self.spec.size]
        if kind is ReleaseKind.EVALUATION:
            sizes.append(len(self.spec.blocks) * (BANDS - 1))
        if [array.size for array in inputs.arrays] != sizes:
            seen = [array.size for array in inputs.arrays]
            raise RefusalError(RefusalCode.SHAPE, f"inputs of {seen} numbers, not {sizes}")
        if not all(bool(np.isfinite(array).all()) for array in inputs.arrays):
            raise RefusalError(RefusalCode.MODEL, "inputs hold NaN or infinity")
        return inputs.arrays[0]

    def _held(self) -> list[tuple[int, BlockSpec]]:
        blocks = zip(self.plan.blocks, self.spec.blocks, strict=True)
        return [
            (index, spec)
            for index, (block, spec) in enumerate(blocks)
            if self._member in block.holders
        ]

    def _codes(self, block: BlockSpec, rows: NDArray[np.bool_]) -> Codes:
        """Columns of the block's features, in the block's order, of the rows chosen."""
        names = [feature.name for feature in self._table.features]
        columns = [names.index(name) for name in block.features]
        return np.ascontiguousarray(self._table.codes[rows][:, columns])

    def _bin_counts(self) -> ExactSum:
        features = private_features(self._schema)
        values = np.zeros((len(features), GRID_CELLS, 2), dtype=np.int64)
        held = np.zeros(values.shape, dtype=np.bool_)
        families = {
            family
            for block in self.plan.blocks
            if self._member in block.holders
            for family in block.families
        }
        names = [feature.name for feature in self._table.features]
        rows = ~self._table.holdout
        for index, feature in enumerate(features):
            if feature.family in families:
                codes = self._table.codes[rows][:, [names.index(feature.name)]]
                values[index] = cell_counts(codes, self._table.labels[rows])[0] * COUNT_SCALE
                held[index] = True
        return ExactSum(values.ravel(), held.ravel(), needs_noise=True)

    def _blocks(self, sum_of: Callable[[BlockSpec, Codes, Codes], Integers]) -> ExactSum:
        """What ``sum_of`` makes of codes and labels of each block that this partner holds."""
        values = np.zeros(self.spec.size, dtype=np.int64)
        held = np.zeros(self.spec.size, dtype=np.bool_)
        rows = ~self._table.holdout
        labels = self._table.labels[rows]
        for _, block in self._held():
            codes = self._training.get(block.name)
            if codes is None:
                codes = self._training[block.name] = self._codes(block, rows)
            values[block.window] = sum_of(block, codes, labels)
            held[block.window] = True
        return ExactSum(values, held, needs_noise=self.plan.algorithm is Algorithm.SUM)

    def _histograms(
        self,
        weights: Float,
        rows: NDArray[np.bool_],
        cells: int,
        count: Callable[[int, Float, Codes], Integers],
    ) -> ExactSum:
        values = np.zeros((len(self.spec.blocks), cells, 2), dtype=np.int64)
        held = np.zeros(values.shape, dtype=np.bool_)
        labels = self._table.labels[rows]
        identity = Calibration(alpha=0.0, beta=1.0)
        model = Model(
            spec=self.spec,
            bins=self._bins.digest,
            weights=tuple(weights[block.window] for block in self.spec.blocks),
            calibration=(identity,) * len(self.spec.blocks),
        )
        for index, block in self._held():
            raw = block_logits(model, block.name, self._codes(block, rows))
            # Weights may be such that only some rows overflow: those are counted as well,
            # for a failure would tell, without noise, that there are such rows.
            logits = np.nan_to_num(raw)
            values[index] = count(index, logits, labels).reshape(cells, 2) * COUNT_SCALE
            held[index] = True
        return ExactSum(values.ravel(), held.ravel(), needs_noise=True)

    def _block_sum(
        self, weights: Float, block: BlockSpec, codes: Codes, labels: Codes
    ) -> Integers:
        plan, clip, own = self.plan, float(self.plan.clip), weights[block.window]
        if plan.model is ModelKind.SCORECARD:
            return scorecard.clipped_gradient_sum(
                codes, labels, own, block.bin_counts, clip=clip
            )
        from models.gradients import clipped_gradient_sum_dense  # noqa: PLC0415 - loads torch

        return clipped_gradient_sum_dense(
            codes, labels, own, block, hidden=plan.hidden, clip=clip
        )

    def _local_steps(
        self, step: _Step, block: BlockSpec, codes: Codes, labels: Codes
    ) -> Integers:
        """How far private steps moved the block, in ring units; its noise is inside."""
        trainer = self._trainers.get(block.name) or self._new_trainer(block, codes, labels)
        self._trainers[block.name] = trainer
        own = hash_with(Label.BLOCK, bytes.fromhex(step.context), lp(block.name.encode()))
        moved = trainer.run(step.weights[block.window], seed=step.seed, context=own)
        bounded = np.clip(np.nan_to_num(moved), -_LARGEST_MOVE, _LARGEST_MOVE)
        return np.rint(bounded * DELTA_SCALE).astype(np.int64)

    def _new_trainer(self, block: BlockSpec, codes: Codes, labels: Codes) -> Trainer:
        from models.own_noise import (  # noqa: PLC0415 - loads torch
            LocalRows,
            LocalTrainer,
            PrivateSteps,
        )

        if self.plan.local is None:
            raise RefusalError(RefusalCode.PLAN, "local steps without [local]")
        mechanism = mechanism_for(
            self.plan,
            ReleaseKind.GRADIENT,
            width=self.spec.size,
            partners=self.plan.min_partners,  # a step's noise suffices alone
        )
        steps = PrivateSteps(
            local=self.plan.local, clip=float(self.plan.clip), mechanism=mechanism
        )
        return LocalTrainer(self.spec, block, LocalRows(codes=codes, labels=labels), steps)
