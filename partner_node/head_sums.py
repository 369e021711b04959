"""Exact integer sums over this partner's joint rows, before noise. Nothing leaves the node.

What ``local_sums`` is for a table, for the head of a released model. A partner that is no
asker holds no rows: its vector is zero and its noise is the same (protocol 4.3, 7.11).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.errors import DataError, RefusalCode, RefusalError
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import COUNT_SCALE
from consortium.scoring.layout import JointSums
from consortium.secagg.context import SumInputs
from models import head, moments
from models.encoding import Labels
from models.head import HeadRows
from partner_node.fingerprint import fingerprint
from partner_node.local_sums import ExactSum
from partner_node.study import JointRows

Float = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The rows of training persons, or of those held out."""

    rows: HeadRows
    labels: Labels
    own: Float
    """This partner's part of each family's logit, halved, shape (rows, F)."""


class HeadSums:
    """The joint rows of one run and the sums over them."""

    def __init__(
        self,
        plan: TrainingPlan,
        member: PartnerId,
        *,
        joint_rows: Callable[[Digest], JointRows],
    ) -> None:
        """Ask for the rows, if the plan has this partner among the askers.

        Raises:
            TransportError: the study cannot be made now.
            DataError, DecodeError: it cannot be made, or is of other families.
            RefusalError: the plan is no head's.
        """
        if plan.base is None:
            raise RefusalError(RefusalCode.PLAN, "a head without a base model")
        self.plan = plan
        self._member = member
        self._width = head.width_of(len(plan.blocks[0].families))
        self._training: _Part | None = None
        self._heldout: _Part | None = None
        self._rows = np.zeros((0, 1), dtype=np.uint8)
        self._print: str | None = None
        if member in plan.blocks[0].holders:
            self._take(joint_rows(plan.base))

    def _take(self, found: JointRows) -> None:
        families = self.plan.blocks[0].families
        if found.base != self.plan.base or found.families != families:
            raise DataError("joint rows are of another model than the plan's")
        rows, covered = head.rows_of(
            JointSums(
                columns=found.families,
                logits=found.logits,
                counts=found.counts,
                partners=found.partners,
            )
        )
        self._rows = np.hstack([_bytes_of(column) for column in _columns(found)])
        labels, out = found.labels[covered], found.holdout[covered]
        own = head.halved(found.own[covered], found.counts[covered])
        self._training = _Part(rows.of(~out), labels[~out], own[~out])
        self._heldout = _Part(rows.of(out), labels[out], own[out])

    def fingerprint(self, seed: Secret) -> str:
        """Of all joint rows; one run has one seed. Private."""
        if self._print is None:
            self._print = fingerprint(self._rows, seed)
        return self._print

    def prepare(self, request: SumRequest, inputs: SumInputs) -> None:
        """Raise RefusalError if the request brings bins: a head has none (R11)."""
        del request
        if inputs.bins:
            raise RefusalError(RefusalCode.SHAPE, "a head has no bins")

    def compute(
        self, request: SumRequest, inputs: SumInputs, *, seed: Secret, context: Digest
    ) -> ExactSum:
        """The exact sum that the request asks for; zero, and nothing held, if no asker.

        Raises:
            RefusalError: the inputs are not of the shape that kind and plan give (R11).
        """
        del seed, context
        weights = self._weights(request.kind, inputs)
        values = self._sum(request.kind, weights)
        if values is None:
            values = np.zeros(request.dimension, dtype=np.int64)
            return ExactSum(values, np.zeros(values.shape, dtype=np.bool_), needs_noise=True)
        return ExactSum(values, np.ones(values.shape, dtype=np.bool_), needs_noise=True)

    def _sum(self, kind: ReleaseKind, weights: Float) -> Integers | None:
        part = self._heldout if kind is ReleaseKind.EVALUATION else self._training
        if part is None:
            return None
        if kind is ReleaseKind.GRADIENT:
            clip = float(self.plan.clip)
            return head.clipped_gradient_sum(part.rows, part.labels, weights, clip=clip)
        if kind is ReleaseKind.OVERLAP:
            return head.overlap_histogram(part.rows) * COUNT_SCALE
        counts = head.evaluation_histogram(part.rows, part.labels, weights) * COUNT_SCALE
        askers = self.plan.blocks[0].holders
        shares = moments.moment_sums(
            part.rows,
            part.own,
            weights,
            slot=askers.index(self._member),
            askers=len(askers),
        )
        return np.concatenate([counts, shares])

    def _weights(self, kind: ReleaseKind, inputs: SumInputs) -> Float:
        if kind not in (ReleaseKind.GRADIENT, ReleaseKind.OVERLAP, ReleaseKind.EVALUATION):
            raise RefusalError(RefusalCode.SHAPE, f"a head has no {kind.value}")
        sizes = [] if kind is ReleaseKind.OVERLAP else [self._width]
        if [array.size for array in inputs.arrays] != sizes:
            seen = [array.size for array in inputs.arrays]
            raise RefusalError(RefusalCode.SHAPE, f"inputs of {seen} numbers, not {sizes}")
        if not all(bool(np.isfinite(array).all()) for array in inputs.arrays):
            raise RefusalError(RefusalCode.MODEL, "inputs hold NaN or infinity")
        return inputs.arrays[0] if inputs.arrays else np.zeros(0)


def _columns(found: JointRows) -> tuple[NDArray[np.generic], ...]:
    return found.logits, found.counts, found.partners, found.labels, found.holdout


def _bytes_of(column: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A row of bytes for each row."""
    flat = np.ascontiguousarray(column).view(np.uint8)
    return flat.reshape(len(column), -1) if len(column) else np.zeros((0, 1), dtype=np.uint8)
