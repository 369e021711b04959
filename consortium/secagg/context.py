"""What one noisy sum is bound to: request, JOINs, and all sums before it (protocol 3.2, 3.4).

Two requests that differ in anything a node relies on have different contexts, so a one-time
key or a signature made for one is worth nothing for another. The *joined* context adds every
member's JOIN: masks, noise and uploads are bound to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with, lp
from consortium.documents import document_of
from consortium.errors import ShapeError
from consortium.ids import Digest, RunId
from consortium.messages import Join, SumRequest
from consortium.secagg.ring import to_ring
from consortium.secagg.uploads import words_digest

Float = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumInputs:
    """What the nodes compute a sum from, beside their own rows. Public."""

    arrays: tuple[Float, ...]
    """BINS, TABLE: none. GRADIENT, RECALIBRATION: weights. EVALUATION: weights, band edges."""
    bins: bytes = b""
    """Canonical JSON of privately made bins; empty where all edges are public."""

    @property
    def digest(self) -> Digest:
        """Hash over the bytes of every array, float64 little-endian, and of the bins."""
        parts = []
        for array in self.arrays:
            if array.ndim != 1 or array.dtype != np.float64:
                raise ShapeError(f"input array {array.dtype} {array.shape} is not flat float64")
            parts.append(lp(array.astype("<f8", copy=False).tobytes()))
        return hash_with(Label.INPUTS, *parts, lp(self.bins))


@lru_cache(maxsize=16)  # each side asks for it several times an attempt
def context_of(request: SumRequest, manifest: Digest) -> Digest:
    """ctx: what the JOINs of this attempt are signed for (protocol 3.2)."""
    return hash_with(Label.CONTEXT, bytes.fromhex(manifest), document_of(request))


def joined_context(context: Digest, joins: Iterable[Join]) -> Digest:
    """rctx: what masks, noise and uploads are bound to (protocol 3.4).

    ``H(JOINED_CONTEXT ‖ ctx ‖ for sorted ids: lp(id) ‖ E ‖ n)``. The order of ``joins``
    does not matter; who they are of is the caller's to check.
    """
    parts = [bytes.fromhex(context)]
    for join in sorted(joins, key=lambda one: one.member):
        parts += [lp(join.member.encode()), join.ephemeral, bytes.fromhex(join.link)]
    return hash_with(Label.JOINED_CONTEXT, *parts)


def first_head(run: RunId, plan: Digest) -> Digest:
    """Head of the chain of closed sums before the first one: ``H(CHAIN ‖ run ‖ plan)``."""
    return hash_with(Label.CHAIN, bytes.fromhex(run), bytes.fromhex(plan))


def next_head(head: Digest, joined: Digest, total: Integers) -> Digest:
    """Head after one more closed sum: ``H(CHAIN ‖ head ‖ rctx ‖ digest of the sum)``.

    Args:
        head: The head that the sum's request named.
        joined: rctx of the sum's attempt.
        total: The published sum, shape (d,).
    """
    published = words_digest(to_ring(total))
    return hash_with(Label.CHAIN, *(bytes.fromhex(part) for part in (head, joined, published)))
