"""What one noisy sum is bound to: its context digest (protocol 3.2).

Two requests that differ in anything a node relies on have different contexts, so a noise
share or a signature made for one is worth nothing for another.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with, lp
from consortium.documents import document_of
from consortium.errors import ShapeError
from consortium.ids import Digest
from consortium.messages import SumRequest

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumInputs:
    """What the nodes compute a sum from, beside their own rows. Public."""

    arrays: tuple[Float, ...]
    """BINS: none. GRADIENT, RECALIBRATION: weights. EVALUATION: weights, band edges."""
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


def context_of(request: SumRequest, manifest: Digest) -> Digest:
    """The digest that noise and signatures of this sum are bound to."""
    return hash_with(Label.CONTEXT, bytes.fromhex(manifest), document_of(request))
