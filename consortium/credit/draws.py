"""Seeded draws behind an interval: the same numbers for whoever asks the same question.

They tell how far a figure may be off and protect nobody: noise that protects persons comes
from ``privacy.noise`` alone. A normal variable is read from a table of 65,536 quantiles of
equal chance, so no float of the machine's own mathematics stands between a word and its draw.
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.crypto.stream import WordStream
from consortium.ids import Digest

Float = NDArray[np.float64]
Places = NDArray[np.uint16]

_ATOMS = 1 << 16
_EACH = 4
"""Draws in a word of 64 bits."""


class Draws:
    """Successive draws of one seed. Reading them in other pieces changes none of them."""

    __slots__ = ("_left", "_stream")

    def __init__(self, seed: Digest) -> None:
        """Open the stream of a public seed: the digest of a question and its inputs."""
        self._stream = WordStream(Secret(bytes.fromhex(seed)))
        self._left: Places = np.empty(0, dtype=np.uint16)

    def take(self, count: int) -> Places:
        """The next ``count`` places among the quantiles, shape (count,), uint16."""
        missing = count - len(self._left)
        if missing > 0:
            words = self._stream.take(-(-missing // _EACH))
            fresh = words.astype("<u8", copy=False).view("<u2").astype(np.uint16, copy=False)
            self._left = np.concatenate((self._left, fresh))
        found, self._left = self._left[:count], self._left[count:]
        return found


def normals(places: Places) -> Float:
    """Standard normal values of places, same shape."""
    return _quantiles()[places]


def uniforms(places: Places) -> Float:
    """Values in (0, 1) of places, same shape."""
    return (places + 0.5) / _ATOMS


@cache
def _quantiles() -> Float:
    law = NormalDist()
    upper = [law.inv_cdf((place + 0.5) / _ATOMS) for place in range(_ATOMS // 2, _ATOMS)]
    half = np.array(upper)
    return np.concatenate((-half[::-1], half))
