"""Exact integer sums over this partner's line-months, before noise. Nothing leaves the node.

What ``local_sums`` is for a table of persons, for the closure model. Whatever a person's lines
are, the person is one row of every sum: line-months are clipped together, and histograms count
one line at the latest landmark (protocol 3.4.10).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.tables import BANDS, CELLS, HIGHEST, LOWEST
from consortium.crypto.keys import Secret
from consortium.errors import RefusalCode, RefusalError
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import COUNT_SCALE
from consortium.secagg.context import SumInputs
from models.closure_bins import BIN_COUNTS, CAUSES, STEPS
from models.hazard import (
    HazardRows,
    Incidences,
    clipped_gradient_sum,
    closure_histogram,
    incidences,
)
from models.line_months import at, follow, last_month, rows_where, training_rows
from partner_node.credit.line_months import LinesRead
from partner_node.fingerprint import fingerprint
from partner_node.local_sums import ExactSum

Float = NDArray[np.float64]
Codes = NDArray[np.uint8]

WIDTH = len(CAUSES) * sum(BIN_COUNTS)
CELL_EDGES = np.linspace(LOWEST, HIGHEST, CELLS + 1)[1:-1]


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """One line a person at the latest landmark whose outcome is known. Private."""

    codes: Codes
    closed: Codes

    def incidences(self, weights: Float) -> Incidences:
        """What the model says of them."""
        return incidences(weights, self.codes, BIN_COUNTS)


class HazardSums:
    """The line-months of one run and the sums over them."""

    def __init__(
        self, plan: TrainingPlan, member: PartnerId, *, load: Callable[[], LinesRead]
    ) -> None:
        """Read the lines, if the plan has this partner among the holders.

        Raises:
            DataError, ConfigurationError: as ``read_lines``.
        """
        self.plan = plan
        self._print: str | None = None
        self._rows: HazardRows | None = None
        if member in plan.blocks[0].holders:
            self._take(load())

    def _take(self, read: LinesRead) -> None:
        last = last_month(read.table)
        out = read.held_out(self.plan.holdout_fraction)
        rows, person = training_rows(read.table, last)
        self._rows = rows_where(rows, ~out[person])
        found = follow(read.table, at(read.table, last - STEPS))
        kept = found.known & (found.ahead.withdrawn == 0)
        where = out[found.ahead.person]
        self._training, self.heldout = (
            Latest(found.ahead.codes[kept & chosen], found.closed[kept & chosen])
            for chosen in (~where, where)
        )
        lengths = np.diff(rows.starts)
        marks = np.repeat(out[person], lengths).astype(np.uint8)
        self._bytes = np.column_stack([rows.codes, rows.causes, marks])

    @property
    def holds(self) -> bool:
        """Whether this partner has a part in the sums."""
        return self._rows is not None

    def fingerprint(self, seed: Secret) -> str:
        """Of all line-months and the hold-out; one run has one seed. Private."""
        if self._print is None:
            rows = self._bytes if self.holds else np.zeros((0, 1), dtype=np.uint8)
            self._print = fingerprint(rows, seed)
        return self._print

    def prepare(self, request: SumRequest, inputs: SumInputs) -> None:
        """Raise RefusalError if the request brings bins: these are fixed (R11)."""
        del request
        if inputs.bins:
            raise RefusalError(RefusalCode.SHAPE, "a hazard's bins are its own")

    def compute(
        self, request: SumRequest, inputs: SumInputs, *, seed: Secret, context: Digest
    ) -> ExactSum:
        """The exact sum that the request asks for; zero, and nothing held, if no holder.

        Raises:
            RefusalError: the inputs are not of the shape that kind and plan give (R11).
        """
        del seed, context
        weights, edges = self._inputs(request.kind, inputs)
        if self._rows is None:
            values = np.zeros(request.dimension, dtype=np.int64)
            return ExactSum(values, np.zeros(values.shape, dtype=np.bool_), needs_noise=True)
        if request.kind is ReleaseKind.GRADIENT:
            clip = float(self.plan.clip)
            values = clipped_gradient_sum(self._rows, weights, BIN_COUNTS, clip=clip)
        else:
            recalibrating = request.kind is ReleaseKind.RECALIBRATION
            part = self._training if recalibrating else self.heldout
            found = part.incidences(weights)
            values = closure_histogram(found, part.closed, edges) * COUNT_SCALE
        return ExactSum(values, np.ones(values.shape, dtype=np.bool_), needs_noise=True)

    def _inputs(self, kind: ReleaseKind, inputs: SumInputs) -> tuple[Float, Float]:
        """Weights, and the edges of a histogram."""
        sizes = {
            ReleaseKind.GRADIENT: [WIDTH],
            ReleaseKind.RECALIBRATION: [WIDTH],
            ReleaseKind.EVALUATION: [WIDTH, BANDS - 1],
        }.get(kind)
        if sizes is None:
            raise RefusalError(RefusalCode.SHAPE, f"a hazard has no {kind.value}")
        seen = [array.size for array in inputs.arrays]
        if seen != sizes:
            raise RefusalError(RefusalCode.SHAPE, f"inputs of {seen} numbers, not {sizes}")
        if not all(bool(np.isfinite(array).all()) for array in inputs.arrays):
            raise RefusalError(RefusalCode.MODEL, "inputs hold NaN or infinity")
        return inputs.arrays[0], inputs.arrays[1] if len(sizes) > 1 else CELL_EDGES
