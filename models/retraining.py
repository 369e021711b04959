"""What another training would have made of the same persons, by a node's own rows (13.9.2).

Another training sees other noise, and then other weights, so its gradients differ as well. The
published sums give the noise; a node's own rows answer for everybody's in how gradients change
with the weights:

    S'(w') = S(w) + fresh noise + N0/n · (g(w') − g(w)),      g: the node's own exact sum

The fresh noise has twice the variance of the sum's, for two trainings differ by the noise of
both. It is drawn from the version, which nobody could choose: honest members' noise is in it.
Results rest on own rows without noise: they are private, and leave only as a reason class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret, hkdf
from consortium.features.schema import Schema
from consortium.ids import Digest
from consortium.messages import SumRequest
from consortium.plan import Block, ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import SHARED
from consortium.privacy.noise import noise_share
from consortium.secagg.context import SumInputs
from models.run import ClosedSum, RunFailedError, RunSession

Integers = NDArray[np.int64]

_INFO = b"riskweave/retraining/v1"
_BOTH = 2
"""Trainings whose noise lies in a difference of two."""
_FRESH = (ReleaseKind.GRADIENT, ReleaseKind.RECALIBRATION, ReleaseKind.OVERLAP)
"""Bins are taken as they are: other bins would be another model."""


class OwnSums(Protocol):
    """A node's exact sums over its training rows. Private."""

    def exact(self, request: SumRequest, inputs: SumInputs) -> Integers:
        """The sum that the request asks for, 0 where the node holds nothing."""

    def rows(self, block: Block) -> int:
        """Training rows of a block; 0 if the node holds none."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run as a node retells it."""

    plan: TrainingPlan
    schema: Schema
    sums: Sequence[ClosedSum]


def retrainings(
    run: Trained, own: OwnSums, *, version: Digest, count: int
) -> Iterator[RunSession | None]:
    """So many other trainings, up to the evaluation; None for one that could not go on.

    Args:
        run: Public.
        own: Private.
        version: Of the candidate; what the fresh noise is drawn from. Public.
        count: How many.
    """
    known = _known(run, own)
    for number in range(count):
        seed = hkdf(Secret(bytes.fromhex(version)), bytes((number,)), _INFO)
        try:
            yield _retrained(run, own, known, seed)
        except RunFailedError:
            yield None


def _known(run: Trained, own: OwnSums) -> list[Integers | None]:
    """The node's own part of each sum at the weights that it was asked for."""
    session = RunSession(run.plan, run.schema)
    found: list[Integers | None] = []
    for closed in run.sums:
        asked = session.request(closed.request.roster)
        found.append(own.exact(*asked) if closed.request.kind in _FRESH else None)
        session.on_sum(closed)
    return found


def _retrained(
    run: Trained, own: OwnSums, known: Sequence[Integers | None], seed: Secret
) -> RunSession:
    session = RunSession(run.plan, run.schema)
    for closed, before in zip(run.sums, known, strict=True):
        if closed.request.kind is ReleaseKind.EVALUATION:
            break
        request, inputs = session.request(closed.request.roster)
        total = closed.total
        if before is not None:
            change = own.exact(request, inputs) - before
            total = total + _fresh(session, closed, seed) + _scaled(session, own, change)
        session.on_sum(ClosedSum(request=request, joined=closed.joined, total=total))
    return session


def _fresh(session: RunSession, closed: ClosedSum, seed: Secret) -> Integers:
    """Noise of two trainings on every word that had any."""
    request, noise = closed.request, np.zeros_like(closed.total)
    for number, (window, block) in enumerate(_windows(session, noise.size)):
        terms = len(request.roster)
        if session.plan.noise_mode != SHARED:
            terms = len(set(block.holders) & set(request.roster))
        own = hkdf(seed, number.to_bytes(2, "big"), _INFO)
        noise[window] = noise_share(
            own,
            closed.joined,
            variance=_BOTH * terms * int(request.variance),
            count=noise[window].size,
        )
    return noise


def _scaled(session: RunSession, own: OwnSums, change: Integers) -> Integers:
    """The own change, as if all rows of the block changed like it."""
    scaled = np.zeros_like(change)
    for window, block in _windows(session, change.size):
        rows = own.rows(block)
        if rows:
            scaled[window] = np.rint(change[window] * (block.normaliser / rows))
    return scaled


def _windows(session: RunSession, size: int) -> list[tuple[slice, Block]]:
    """Where each block's words stand in the due sum."""
    blocks = session.plan.blocks
    if session.state.stage is ReleaseKind.GRADIENT and not session.is_head:
        parts = zip(session.spec.blocks, blocks, strict=True)
        return [(spec.window, block) for spec, block in parts]
    width = size // len(blocks)
    return [
        (slice(place * width, (place + 1) * width), block) for place, block in enumerate(blocks)
    ]
