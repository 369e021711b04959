"""Codes of bins as indices and, for small batches only, as a one-hot matrix.

A row is one small integer for each feature: the number of its bin. The models read these
codes directly; the dense one-hot matrix of a table would be ten times larger than the table
and exists only for a batch at a time.
"""

from collections.abc import Iterator
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError

Codes = NDArray[np.uint8] | NDArray[np.uint16]
Labels = NDArray[np.uint8]
Float = NDArray[np.float64]
Indices = NDArray[np.int64]

CHUNK_ROWS = 32_768
"""Rows handled at a time. Bounds the memory and changes no released number."""


def check_codes(codes: Codes, bin_counts: tuple[int, ...]) -> None:
    """Raise unless ``codes`` is a table of whole-number codes with one column a feature.

    That each code is below its bin count is checked where the codes are read.

    Raises:
        ShapeError: not two-dimensional, another number of columns, or another dtype.
    """
    if codes.ndim != 2 or codes.shape[1] != len(bin_counts):  # noqa: PLR2004 - a table
        raise ShapeError(f"codes of shape {codes.shape}, expected (rows, {len(bin_counts)})")
    if codes.dtype not in (np.uint8, np.uint16):
        raise ShapeError(f"codes are {codes.dtype}, expected uint8 or uint16")


def check_labels(labels: Labels, rows: int) -> None:
    """Raise unless ``labels`` is a flat uint8 vector of 0 and 1 with one entry a row.

    Raises:
        ShapeError: another shape or dtype. A (rows, 1) column is refused, not squeezed:
            broadcast against (rows,) it would undo the clipping (protocol 10.3).
        DomainError: a label other than 0 and 1.
    """
    if labels.shape != (rows,) or labels.dtype != np.uint8:
        seen = f"{labels.dtype} of shape {labels.shape}"
        raise ShapeError(f"labels are {seen}, expected uint8 of shape ({rows},)")
    if rows and int(labels.max()) > 1:
        raise DomainError("a label is neither 0 nor 1")


def chunks(rows: int, chunk_rows: int = CHUNK_ROWS) -> Iterator[slice]:
    """Consecutive slices of at most ``chunk_rows`` that cover ``rows``, or DomainError."""
    if chunk_rows < 1:
        raise DomainError(f"chunks of {chunk_rows} rows")
    for start in range(0, rows, chunk_rows):
        yield slice(start, min(start + chunk_rows, rows))


def column_starts(bin_counts: tuple[int, ...]) -> tuple[int, ...]:
    """First column of each feature in the one-hot form."""
    return (0, *accumulate(bin_counts[:-1]))


def column_indices(codes: Codes, bin_counts: tuple[int, ...]) -> Indices:
    """Columns that are 1 in the one-hot form, shape (rows, features).

    Args:
        codes: Shape (rows, features). Private.
        bin_counts: Codes of each feature. Public.

    Raises:
        ShapeError: as ``check_codes``.
        DomainError: a code that its feature does not have.
    """
    check_codes(codes, bin_counts)
    if bool((codes >= np.asarray(bin_counts)).any()):
        raise DomainError("a code is not below its feature's number of bins")
    starts: Indices = np.asarray(column_starts(bin_counts), dtype=np.int64)
    return np.add(codes, starts, dtype=np.int64)


def one_hot(codes: Codes, bin_counts: tuple[int, ...]) -> Float:
    """The dense form of a batch, shape (rows, sum of bin counts). Errors as the indices."""
    dense = np.zeros((codes.shape[0], sum(bin_counts)))
    np.put_along_axis(dense, column_indices(codes, bin_counts), 1.0, axis=1)
    return dense
