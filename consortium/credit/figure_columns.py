"""The same part of a table's sum as ``figures.contribution``, from columns instead of entries.

For a node with hundreds of thousands of persons who has already chosen the entries that
count (credit 2.1); what it may not choose is refused here. Both ways give the same integers.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError
from consortium.figure import SCALE_BITS, FigureSpec

Integers = NDArray[np.int64]

_UNIT = 1 << SCALE_BITS
_MOST_ENTRIES = 1 << 32
"""Below it a cell's sum is exact in float64."""


def contribution_of_columns(
    spec: FigureSpec, persons: Integers, cells: Integers, values: Integers
) -> Integers:
    """One partner's exact part of the sum.

    Args:
        spec: What is counted.
        persons: Any number that stands for the person of an entry, shape (n,). Private.
        cells: Place on each axis, shape (n, axes). Private.
        values: Of each measure, before clipping, shape (n, measures). Private.

    Returns:
        Shape (spec.size,), int64, scaled by 2**20. Private until noise is added.

    Raises:
        ShapeError: columns that do not fit together or the figure, or are no integers.
        DomainError: a place outside its axis; more entries of a person than may count, or
            two in one cell; or more entries than a sum holds.
    """
    count = len(persons)
    shapes = (persons.shape, cells.shape, values.shape)
    if shapes != ((count,), (count, len(spec.axes)), (count, len(spec.measures))):
        raise ShapeError(f"columns of shapes {shapes} for {spec.kind}")
    if any(one.dtype != np.int64 for one in (persons, cells, values)):
        raise ShapeError("columns of a contribution are not int64")
    if count >= _MOST_ENTRIES:
        raise DomainError("more entries than a sum holds")
    if bool(((cells < 0) | (cells >= np.array(spec.shape))).any()):
        raise DomainError("an entry is outside the table")
    flat = np.ravel_multi_index(tuple(cells.T), spec.shape).astype(np.int64)
    _check_persons(spec, persons, flat)
    columns = [
        np.bincount(
            flat,
            weights=_scaled(values[:, place], one.bound, signed=one.signed),
            minlength=spec.cells,
        )
        for place, one in enumerate(spec.measures)
    ]
    found: Integers = np.stack(columns, axis=1).astype(np.int64).reshape(-1)
    return found


def _check_persons(spec: FigureSpec, persons: Integers, flat: Integers) -> None:
    order = np.lexsort((flat, persons))
    who, where = persons[order], flat[order]
    if bool(((who[1:] == who[:-1]) & (where[1:] == where[:-1])).any()):
        raise DomainError("a person fills a cell twice")
    most = spec.cells_per_person
    if bool((who[most:] == who[:-most]).any()):
        raise DomainError("a person fills more cells than the figure allows")


def _scaled(values: Integers, bound: int, *, signed: bool) -> Integers:
    """Clipped at the bound, rounded half away from 0 to 2**-20 of it."""
    clipped = np.clip(values, -bound if signed else 0, bound)
    size = (2 * np.abs(clipped) * _UNIT + bound) // (2 * bound)
    found: Integers = np.sign(clipped) * size
    return found
