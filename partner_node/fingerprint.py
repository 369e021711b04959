"""Whether rows are still the same, without keeping one of them (protocol 9.4).

A sum over rows, equal for the same rows in any order, under a key of the run: without its seed
nobody can try a table against it. It stays in the node's database and goes with the seed. The
sum itself needs no key, so rows may be marked where they lie, and the marks of parts add up;
the key is put on in the process that has the seed.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret, hkdf
from consortium.crypto.stream import WordStream

Bytes = NDArray[np.uint8]

_INFO = b"riskweave/rows/v2"
_CHUNK = 1 << 16
"""Rows at a time; changes no digit."""
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
"""Odd constants of MurmurHash3's finaliser: each bit of a row reaches all bits of its word."""
_WORD = 1 << 64


def mark(rows: Bytes) -> int:
    """64 bits of a table of bytes, shape (rows, columns). Private: anybody can try a table.

    The marks of two tables add up, modulo 2**64, to the mark of both.
    """
    stream = WordStream(hkdf(Secret(bytes(32)), b"", _INFO))  # public: it only spreads bits
    tables = stream.take(256 * rows.shape[1]).reshape(rows.shape[1], 256)
    total = 0
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        words = np.zeros(len(part), dtype=np.uint64)
        for column, table in enumerate(tables):
            words += table[part[:, column]]
        total += int(_mixed(words).sum(dtype=np.uint64))
    return total % _WORD


def sealed(total: int, seed: Secret) -> str:
    """The mark of all rows under the run's seed: 64 bits of hex."""
    salt = (total % _WORD).to_bytes(8, "little")
    return hkdf(seed, salt, _INFO).expose()[:8].hex()


def fingerprint(rows: Bytes, seed: Secret) -> str:
    """64 bits of hex over a table of bytes, shape (rows, columns).

    Args:
        rows: One row of the table in each. Private.
        seed: Of the run. Secret.
    """
    return sealed(mark(rows), seed)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Far from a sum of columns: two rows cannot swap a value unseen."""
    shift = np.uint64(33)
    for factor in (_FIRST, _SECOND):
        words ^= words >> shift
        words *= factor
    words ^= words >> shift
    return words
