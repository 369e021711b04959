"""Whether rows are still the same, without keeping one of them (protocol 9.4).

A keyed sum over rows: equal for the same rows in any order, and without the run's seed nobody
can try a table against it. It stays in the node's database and goes with the seed.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret, hkdf
from consortium.crypto.stream import WordStream

Bytes = NDArray[np.uint8]

_INFO = b"riskweave/rows/v1"
_CHUNK = 1 << 16
"""Rows at a time; changes no digit."""
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
"""Odd constants of MurmurHash3's finaliser: each bit of a row reaches all bits of its word."""


def fingerprint(rows: Bytes, seed: Secret) -> str:
    """64 bits of hex over a table of bytes, shape (rows, columns).

    Args:
        rows: One row of the table in each. Private.
        seed: Of the run. Secret.
    """
    stream = WordStream(hkdf(seed, b"", _INFO))
    keys = stream.take(256 * rows.shape[1]).reshape(rows.shape[1], 256)
    total = 0
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        words = np.zeros(len(part), dtype=np.uint64)
        for column, key in enumerate(keys):
            words += key[part[:, column]]
        total += int(_mixed(words).sum(dtype=np.uint64))
    return f"{total % (1 << 64):016x}"


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Far from a sum of columns: two rows cannot swap a value unseen."""
    shift = np.uint64(33)
    for factor in (_FIRST, _SECOND):
        words ^= words >> shift
        words *= factor
    words ^= words >> shift
    return words
