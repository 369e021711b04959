"""Neighbouring features read together: fewer passes over a table of codes, the same bits.

A few features of few bins have at most some thousand joint codes. What depends on these
features alone is computed once for each joint code, and a histogram over joint codes holds
the histograms of its features. Integers add exactly, so the detour shows in no number.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError
from models.encoding import Codes

Indices = NDArray[np.signedinteger[Any]]

MOST_CELLS = 4_096
"""Joint codes of a group: their sums, 32 KiB, stay in the cache."""


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring features and how many codes each has."""

    first: int
    bin_counts: tuple[int, ...]

    @property
    def cells(self) -> int:
        """Joint codes."""
        return math.prod(self.bin_counts)

    @property
    def last(self) -> int:
        """One past the last feature."""
        return self.first + len(self.bin_counts)

    def joint(self, columns: Indices) -> Indices:
        """Joint code of each row; ``columns`` has shape (features, rows)."""
        total = columns[self.first]
        for feature in range(self.first + 1, self.last):
            total = total * self.bin_counts[feature - self.first]
            total += columns[feature]
        joint: Indices = total.astype(np.intp, copy=False)
        return joint

    def marginals(self, cells: Indices) -> list[Indices]:
        """Sums by the codes of each feature from sums by joint code."""
        if len(self.bin_counts) == 1:
            return [cells]
        cube = cells.reshape(self.bin_counts)
        axes = range(cube.ndim)
        return [cube.sum(axis=tuple(a for a in axes if a != kept)) for kept in axes]


def groups(bin_counts: tuple[int, ...], most_cells: int = MOST_CELLS) -> tuple[Group, ...]:
    """All features in order, as many together as ``most_cells`` allows."""
    edges = [0]
    cells = 1
    for feature, count in enumerate(bin_counts):
        cells *= count
        if cells > most_cells and feature > edges[-1]:
            edges.append(feature)
            cells = count
    edges.append(len(bin_counts))
    return tuple(Group(start, bin_counts[start:end]) for start, end in pairwise(edges))


def columns_of(codes: Codes, bin_counts: tuple[int, ...]) -> Indices:
    """The codes by feature, shape (features, rows), or DomainError for one out of range."""
    # Joint codes of small codes fit as well: MOST_CELLS is below 2**15.
    columns: Indices = codes.T.astype(
        np.int16 if codes.dtype == np.uint8 else np.int64, order="C"
    )
    if columns.size and bool((columns.max(axis=1) >= np.asarray(bin_counts)).any()):
        raise DomainError("a code is not below its feature's number of bins")
    return columns
