"""Rows of persons by 16-byte keys: keyed hashes and tokens.

Who is a customer and who is not takes the same steps, the same search and the same reads
(protocol 7.5); so whoever looks somebody up does it here.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Words = NDArray[np.uint64]
Bytes16 = NDArray[np.uint8]
"""Shape (n, 16)."""


class Index16:
    """Rows by 16-byte keys; finding takes the same steps whether a key is there or not."""

    def __init__(self, keys: Bytes16, rows: Integers) -> None:
        """``keys``: shape (n, 16), all different; ``rows``: what each stands for."""
        high, low = halves(keys)
        order = np.argsort(high, kind="stable")
        self._high, self._low = high[order], low[order]
        self._rows = rows[order]
        if not len(order):  # something to read, which is never found
            self._high = self._low = np.zeros(1, dtype=np.uint64)
            self._rows = np.zeros(1, dtype=np.int64)
        self._empty = not len(order)

    def find(self, keys: Bytes16) -> tuple[Integers, Flags]:
        """Row of each key and whether there is one; a row that may be read even if not.

        Of keys that agree in their first 8 bytes the first two are told apart; a third has
        a chance of 1 in 10**20 among a million.
        """
        high, low = halves(keys)
        last = len(self._high) - 1
        first = np.minimum(np.searchsorted(self._high, high), last)
        second = np.minimum(first + 1, last)
        in_first = (self._high[first] == high) & (self._low[first] == low)
        in_second = (self._high[second] == high) & (self._low[second] == low)
        place = first + (second - first) * (in_second & ~in_first)
        held = (in_first | in_second) & (not self._empty)
        return self._rows[place], held


def halves(keys: Bytes16) -> tuple[Words, Words]:
    """First and last 8 bytes of each key, as numbers."""
    words = np.ascontiguousarray(keys).view(">u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
