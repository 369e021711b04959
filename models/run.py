"""One training run as a state machine: which sum is due next, what a closed sum changes.

Coordinator and nodes run the same machine on the same published sums, so a node knows by
itself what the next request must be, weights included, and refuses any other (protocol
3.3). No socket, disk or clock. A lost partner aborts the attempt; the next one asks the
survivors, with fresh noise and a fresh charge (protocol 3.6).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consortium import optimizer
from consortium.canonical import canonical_json, parse_canonical
from consortium.credit import tables
from consortium.credit.rare import fit_rare
from consortium.documents import plan_digest
from consortium.errors import DomainError, OutOfOrderError, RiskWeaveError, ShapeError
from consortium.features.bins import Bins, private_bins, private_features, public_bins
from consortium.features.grids import CELLS as GRID_CELLS
from consortium.features.schema import Schema
from consortium.figure import SCALE_BITS as TABLE_BITS
from consortium.figure import FigureSpec
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    ModelKind,
    ReleaseKind,
    TrainingPlan,
    decimal,
)
from consortium.privacy.mechanism import COUNT_SCALE, kinds_of, mechanism_for
from consortium.release import Attempt, Mechanism, Outcome
from consortium.scoring.head import STRATA
from consortium.secagg.context import SumInputs, next_head
from consortium.secagg.ring import SCALE_BITS, decode_gradient
from models.head import PARTNER_BANDS, scarce_strata, start_weights, with_pooled
from models.moments import width_of as moment_width
from models.run_state import RunState, initial_state
from models.spec import ModelSpec, initial_weights, spec_of

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

Roster = tuple[PartnerId, ...]

ATTEMPTS_PER_SUM = 3
COUNT_BITS = 10
"""Counts are multiplied by 2**10 before noise (protocol 5.3, 5.5)."""


class RunFailedError(RiskWeaveError):
    """The run cannot go on; the text says why and what was spent."""

    code = "run_failed"


class StoppedError(RiskWeaveError):
    """The coordinator is stopping; the run is stored and resumes."""

    code = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClosedSum:
    """One published sum, as the next machine needs it. Public: it is noised."""

    request: SumRequest
    joined: Digest
    """rctx: what all uploads of the sum were bound to."""
    total: Integers


class RunSession:
    """The machine. Ask for ``request``, answer with ``on_uploads`` or ``on_missing``."""

    def __init__(
        self, plan: TrainingPlan, schema: Schema, *, state: RunState | None = None
    ) -> None:
        self.plan = plan
        self.schema = schema
        self._digest = plan_digest(plan)
        self.state = state or initial_state(plan)
        self._prepare()

    @property
    def finished(self) -> bool:
        """Whether every sum of the plan is closed."""
        return self.state.stage is None

    @property
    def bins(self) -> Bins:
        """The bins in force; raises RunFailedError before private ones are made."""
        if self._bins is None:
            raise RunFailedError("bins are not made yet")
        return self._bins

    @property
    def spec(self) -> ModelSpec:
        """Layout of the weights."""
        if self._spec is None:
            raise RunFailedError("bins are not made yet")
        return self._spec

    @property
    def released_weights(self) -> Float:
        """The tail average of the iterates so far."""
        return optimizer.released_weights(self._optimizer)

    def size(self) -> int:
        """Words of the due sum."""
        match self.state.stage:
            case ReleaseKind.BINS:
                return len(private_features(self.schema)) * GRID_CELLS * 2
            case ReleaseKind.GRADIENT:
                return self.spec.size
            case ReleaseKind.RECALIBRATION:
                return len(self.plan.blocks) * tables.CELLS * 2
            case ReleaseKind.OVERLAP:
                return STRATA * PARTNER_BANDS
            case ReleaseKind.EVALUATION:
                return self._counts_size + self._moments_size
            case ReleaseKind.TABLE:
                return figure_of(self.plan).size
            case None:
                raise RunFailedError("the run is finished")

    def request(self, roster: Roster) -> tuple[SumRequest, SumInputs]:
        """The due sum, asked of ``roster`` (sorted)."""
        state = self.state
        if state.stage is None:
            raise RunFailedError("the run is finished")
        roster = tuple(sorted(roster))
        inputs = self._inputs(state.stage)
        mechanism = self.mechanism(state.stage, partners=len(roster))
        request = SumRequest(
            run=self.plan.run,
            plan=self._digest,
            kind=state.stage,
            round=state.round,
            attempt=state.attempt,
            roster=roster,
            inputs=inputs.digest,
            dimension=self.size(),
            scale_bits=_scale_bits(state.stage),
            variance=str(mechanism.variance),
            head=state.head,
        )
        return request, inputs

    @property
    def is_table(self) -> bool:
        """Whether the run makes one table and no model (protocol 13.11)."""
        return self.plan.model is ModelKind.TABLE

    @property
    def is_head(self) -> bool:
        """Whether the run calibrates a released model."""
        return self.plan.model is ModelKind.HEAD

    @property
    def _tables(self) -> int:
        """Tables of bands in the evaluation."""
        return STRATA if self.is_head else len(self.plan.blocks)

    @property
    def _counts_size(self) -> int:
        return self._tables * tables.BANDS * 2

    @property
    def _moments_size(self) -> int:
        """Words after a head's counts: what partners and families contribute (13.9)."""
        if not self.is_head:
            return 0
        block = self.plan.blocks[0]
        return moment_width(len(block.holders), len(block.families))

    def lacks(self, roster: Roster) -> str:
        """Why ``roster`` cannot carry the due sum; empty if it can."""
        if len(roster) < self.plan.min_partners:
            return f"{len(roster)} of at least {self.plan.min_partners} partners connected"
        for block in self.plan.blocks:
            if not set(block.holders) & set(roster):
                return f"no holder of block {block.name} is connected"
        return ""

    def mechanism(self, kind: ReleaseKind, *, partners: int) -> Mechanism:
        """The release that each member of a roster of that size makes."""
        width = len(private_features(self.schema)) if kind is ReleaseKind.BINS else 1
        if kind is ReleaseKind.GRADIENT:
            width = self.spec.size
        return mechanism_for(self.plan, kind, width=width, partners=partners)

    def deviation(self, kind: ReleaseKind, block: Block, roster: Roster) -> float:
        """Standard deviation of the noise of one count of a block in a histogram's sum.

        In shared mode every member's share lies on every count; in own mode only holders'.
        """
        terms = len(roster)
        if self.plan.noise_mode == "own":
            terms = len(set(block.holders) & set(roster))
        variance = self.mechanism(kind, partners=len(roster)).variance
        return float((terms * variance) ** 0.5 / COUNT_SCALE)

    @property
    def last_attempt(self) -> bool:
        """Whether the run is lost if the due attempt is (protocol 3.6)."""
        kind, spare = self.state.stage, self.plan.histogram_attempts - 1
        if kind is ReleaseKind.GRADIENT:
            spare = self.plan.spare_attempts
        aborted = sum(
            one.outcome is Outcome.ABORTED and one.kind is kind for one in self.state.attempts
        )
        return self.state.attempt >= ATTEMPTS_PER_SUM or aborted >= spare

    def on_sum(self, closed: ClosedSum) -> None:
        """Take up a closed sum and go on to the next one.

        Raises:
            OutOfOrderError: it is not the sum that is due.
            RunFailedError: the run cannot go on from it.
        """
        request = closed.request
        due = (self.state.stage, self.state.round, self.state.head)
        if (request.kind, request.round, request.head) != due or request.run != self.plan.run:
            raise OutOfOrderError(f"{request.kind.value} round {request.round} is not due")
        if closed.total.shape != (self.size(),) or closed.total.dtype != np.int64:
            raise ShapeError(f"sum of shape {closed.total.shape}, expected ({self.size()},)")
        self._record(request, Outcome.SUMMED, {})
        total = closed.total
        self._take(request, total)
        self.state = replace(
            self.state,
            closed=self.state.closed + 1,
            head=next_head(self.state.head, closed.joined, total),
        )

    def _take(self, request: SumRequest, total: Integers) -> None:
        match request.kind:
            case ReleaseKind.BINS:
                self._on_bins(total, request.roster)
            case ReleaseKind.GRADIENT:
                self._on_gradient(total, request.roster)
            case ReleaseKind.RECALIBRATION:
                self._on_recalibration(total, request.roster)
            case ReleaseKind.OVERLAP:
                self._on_overlap(total, request.roster)
            case ReleaseKind.EVALUATION:
                self._on_evaluation(total)
            case ReleaseKind.TABLE:
                self._on_table(total)

    def on_missing(
        self, request: SumRequest, missing: Mapping[PartnerId, str], *, charged: bool
    ) -> None:
        """Close the attempt as aborted; the survivors are asked again.

        Args:
            request: The attempt.
            missing: Who gave no answer, and why.
            charged: Whether words may have left a node: only before all JOINs are in is
                an attempt free (protocol 3.6, 4.5).

        Raises:
            RunFailedError: three attempts at this sum, or all spare attempts, are gone.
        """
        last = self.last_attempt
        self._record(request, Outcome.ABORTED, missing, charged=charged)
        self.state = replace(self.state, attempt=self.state.attempt + 1)
        if last:
            who = ", ".join(f"{name} ({reason})" for name, reason in missing.items())
            raise RunFailedError(
                f"{request.kind.value} round {request.round}: attempt {request.attempt} lost "
                f"{who}; no attempt is left that the claimed epsilon pays for"
            )

    def _record(
        self,
        request: SumRequest,
        outcome: Outcome,
        missing: Mapping[PartnerId, str],
        *,
        charged: bool = True,
    ) -> None:
        one = Attempt(
            kind=request.kind,
            round=request.round,
            attempt=request.attempt,
            roster=request.roster,
            outcome=outcome,
            missing=tuple(missing),
            reasons=tuple(missing.values()),
            charged=charged,
        )
        self.state = replace(self.state, attempts=(*self.state.attempts, one))

    def _prepare(self) -> None:
        self._bins: Bins | None = None
        self._spec: ModelSpec | None = None
        if self.is_table:
            figure_of(self.plan)
            return
        if self.plan.bin_source is BinSource.PUBLIC:
            self._bins = public_bins(self.schema)
        elif self.state.bins:
            document = parse_canonical(self.state.bins)
            self._bins = Bins.from_canonical(document, self.schema)
        if self._bins is None:
            return
        self._spec = spec_of(self.plan, self.schema, self._bins)
        self._normaliser = np.concatenate(
            [
                np.full(part.size, float(block.normaliser))
                for part, block in zip(self._spec.blocks, self.plan.blocks, strict=True)
            ]
        )
        self._optimizer = (
            optimizer.from_bytes(self.state.optimizer)
            if self.state.optimizer
            else optimizer.initial_state(self._start(self._spec))
        )

    def _start(self, spec: ModelSpec) -> Float:
        if not self.is_head:
            return initial_weights(spec, bytes.fromhex(self._digest))
        start = float(decimal(self.plan.start, "start", low="-16", high="16"))
        return start_weights(start, len(self.plan.blocks[0].families))

    def _inputs(self, kind: ReleaseKind) -> SumInputs:
        if kind in (ReleaseKind.BINS, ReleaseKind.TABLE):
            return SumInputs(arrays=())
        bins = self.state.bins
        if kind is ReleaseKind.GRADIENT:
            return SumInputs(arrays=(self._optimizer.weights,), bins=bins)
        if kind is ReleaseKind.OVERLAP:
            return SumInputs(arrays=())
        if self.is_head:
            return SumInputs(arrays=(self.head_weights,))
        if kind is ReleaseKind.RECALIBRATION:
            return SumInputs(arrays=(self.released_weights,), bins=bins)
        edges = np.frombuffer(self.state.edges, dtype="<f8")
        return SumInputs(arrays=(self.released_weights, edges), bins=bins)

    def _on_bins(self, total: Integers, roster: Roster) -> None:
        deviation = max(
            self.deviation(ReleaseKind.BINS, block, roster) for block in self.plan.blocks
        )
        counts = total.reshape(-1, GRID_CELLS, 2) / COUNT_SCALE
        bins = private_bins(self.schema, counts, deviation=deviation)
        self.state = replace(
            self.state,
            bins=canonical_json(bins.to_canonical()),
            stage=ReleaseKind.GRADIENT,
            round=1,
            attempt=1,
        )
        self._prepare()

    def _on_gradient(self, total: Integers, roster: Roster) -> None:
        settings, rounds = self.plan.optimizer, self.plan.rounds
        if self.plan.algorithm is Algorithm.SUM:
            gradient = decode_gradient(total, float(self.plan.clip), self._normaliser)
            self._optimizer = optimizer.step(self._optimizer, gradient, settings, rounds)
        else:
            change = decode_gradient(total, 1.0, self._holder_counts(roster))
            self._optimizer = optimizer.average_step(self._optimizer, change, settings, rounds)
        last = self.state.round == self.plan.rounds
        order = kinds_of(self.plan)
        after = order[order.index(ReleaseKind.GRADIENT) + 1]
        self.state = replace(
            self.state,
            optimizer=optimizer.to_bytes(self._optimizer),
            stage=after if last else ReleaseKind.GRADIENT,
            round=1 if last else self.state.round + 1,
            attempt=1,
        )

    def _holder_counts(self, roster: Roster) -> Float:
        parts = zip(self.spec.blocks, self.plan.blocks, strict=True)
        return np.concatenate(
            [
                np.full(part.size, float(len(set(block.holders) & set(roster))))
                for part, block in parts
            ]
        )

    def _on_recalibration(self, total: Integers, roster: Roster) -> None:
        counts = _counts(total, len(self.plan.blocks))
        lines: list[str] = []
        edges: list[Float] = []
        for block, table in zip(self.plan.blocks, counts, strict=True):
            deviation = self.deviation(ReleaseKind.RECALIBRATION, block, roster)
            kept = tables.without_noise_cells(table, deviation=deviation)
            try:
                fit = self._fit(kept, deviation=deviation)
            except DomainError as error:
                raise RunFailedError(
                    f"block {block.name}: too few rows for the noise of its recalibration"
                ) from error
            lines += [repr(fit.alpha), repr(fit.beta)]
            edges.append(tables.band_edges_from_cells(kept))
        self.state = replace(
            self.state,
            recalibration=counts.tobytes(),
            calibration=tuple(lines),
            edges=np.concatenate(edges).astype("<f8").tobytes(),
            stage=self._evaluation(),
            round=1,
            attempt=1,
        )

    @property
    def _fit(self) -> Callable[..., tables.Calibration]:
        rare = self.plan.model is ModelKind.HAZARD
        return fit_rare if rare else tables.fit_calibration

    def _on_overlap(self, total: Integers, roster: Roster) -> None:
        counts = (total / COUNT_SCALE).reshape(STRATA, PARTNER_BANDS)
        deviation = self.deviation(ReleaseKind.OVERLAP, self.plan.blocks[0], roster)
        scarce = scarce_strata(counts, deviation=deviation)
        if len(scarce) == STRATA:
            raise RunFailedError("the study has too few persons for the noise of its counts")
        self.state = replace(
            self.state,
            overlap=counts.tobytes(),
            pooled=scarce,
            stage=self._evaluation(),
            round=1,
            attempt=1,
        )

    def _on_evaluation(self, total: Integers) -> None:
        counts = _counts(total[: self._counts_size], self._tables)
        self.state = replace(
            self.state,
            evaluation=counts.tobytes(),
            moments=total[self._counts_size :].astype("<i8").tobytes(),
            stage=None,
        )

    def _on_table(self, total: Integers) -> None:
        self.state = replace(self.state, table=total.astype("<i8").tobytes(), stage=None)

    def _evaluation(self) -> ReleaseKind | None:
        return ReleaseKind.EVALUATION if self.plan.holdout_fraction != "0" else None

    @property
    def head_weights(self) -> Float:
        """The weights that a head is released with: scarce strata have the others' mean."""
        counts = np.frombuffer(self.state.overlap).reshape(STRATA, PARTNER_BANDS)
        return with_pooled(self.released_weights, counts, self.state.pooled)


def figure_of(plan: TrainingPlan) -> FigureSpec:
    """The figure of a plan for a table; RunFailedError if it has none, or blocks to train."""
    if plan.figure is None or len(plan.blocks) != 1:
        raise RunFailedError("a table has one figure and one block")
    return plan.figure


def _scale_bits(kind: ReleaseKind) -> int:
    if kind is ReleaseKind.TABLE:
        return TABLE_BITS
    return SCALE_BITS if kind is ReleaseKind.GRADIENT else COUNT_BITS


def _counts(total: NDArray[np.int64], blocks: int) -> Float:
    """Noisy counts, shape (blocks, cells, 2): columns are good (0) and bad (1)."""
    return (total / COUNT_SCALE).reshape(blocks, -1, 2)
