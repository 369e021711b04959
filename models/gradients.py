"""The exact clipped gradient sum of an MLP on bins (protocol 3.4.3 to 3.4.5).

A layer's gradient is an outer product of a row's error ``δ`` and input ``a``. Both factors
become integers row by row, so the sum over rows is a product of integer matrices: exact,
hence the same for any chunks, order and threads. The float code in between may be as rough
as it likes (it is float32): each row's squared integer norm is checked before it is added.
No noise is added here: results are not to leave the node.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from consortium.errors import DomainError
from models.encoding import (
    Codes,
    Labels,
    check_labels,
    chunks,
    column_indices,
)
from models.scorecard import SECOND_TRY, row_bound
from models.spec import BlockSpec, check_weights, layer_shapes, unpack

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Tensor = torch.Tensor

CHUNK_ROWS = 8_192

GUARD = 1.0 - 2.0**-10
"""Room for the rounding of both factors (protocol 3.4.3)."""
_ERROR_UNIT, _INPUT_UNIT = 2.0**13, 2.0**11
"""Units of δ' (in 1/C) and a' (protocol 3.4.4); their product is 2**24 / C."""
_LARGEST_INPUT = 8.0
_LARGEST_ERROR = 2.0**14
"""Above what any row within Q can have, and low enough for all integers to be exact."""
_FLOAT32_ROWS = 1_024
"""Rows whose δ' float32 adds exactly: 2**10 · 2**14 = 2**24."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One dense layer: matrix (outputs, inputs), biases (outputs,), float32."""

    matrix: Tensor
    biases: Tensor


@dataclass(frozen=True, slots=True)
class _Rows:
    """A chunk after back-propagation, float32 as computed.

    ``errors[l]`` are the δ of layer l, shape (rows, outputs); ``inputs[l]`` the a of layer
    l + 1, shape (rows, inputs). The input of layer 0 is one-hot and is not built.
    """

    errors: list[Tensor]
    inputs: list[Tensor]


def clipped_gradient_sum_dense(
    codes: Codes,
    labels: Labels,
    weights: Float,
    block: BlockSpec,
    *,
    hidden: tuple[int, ...],
    clip: float,
) -> Integers:
    """Sum the rows' log-loss gradients, each clipped and made an integer first.

    Adding or removing one row moves the result by at most ``row_bound(d)`` in L2 norm,
    whatever the row holds. Sums over parts of the rows add up to this sum.

    Args:
        codes: Shape (rows, features), uint8 or uint16. Private.
        labels: 1 for bad, uint8, shape (rows,). Private.
        weights: Shape (block.size,), in the order of ``spec``. Public.
        block: Public.
        hidden: Widths of the hidden layers. Public.
        clip: The plan's C, in units of gradient norm, positive. Public.

    Returns:
        Shape (block.size,), int64, in units of ``clip / 2**24``. Without noise yet: not to
        leave the node.

    Raises:
        ShapeError: ragged arguments; labels as a (rows, 1) column.
        DomainError: clip not positive and finite, a weight not finite, a label that is not
            0 or 1, a code that its feature does not have.

    Source:
        Goodfellow (2015), arXiv 1510.01799, for norms without per-row gradients; the
        integers are protocol 3.4.4.
    """
    check_weights(weights, block.size)
    check_labels(labels, codes.shape[0])
    if not (math.isfinite(clip) and clip > 0):
        raise DomainError(f"clip {clip} is not positive and finite")
    shapes = layer_shapes(hidden, block.columns)
    layers = [
        _Layer(_float32(matrix), _float32(biases)) for matrix, biases in unpack(weights, shapes)
    ]
    total = torch.zeros(block.size, dtype=torch.int64)
    bound = row_bound(block.size)
    for part in chunks(codes.shape[0], CHUNK_ROWS):
        columns = torch.from_numpy(column_indices(codes[part], block.bin_counts))
        rows = _backpropagate(layers, columns, torch.from_numpy(labels[part].copy()))
        errors, inputs = integer_factors(
            rows.errors, rows.inputs, columns.shape[1], clip=clip, bound=bound
        )
        total += _sum_rows(columns, errors, inputs, block.columns)
    result: Integers = total.numpy()
    return result


def _float32(values: Float) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _backpropagate(layers: list[_Layer], columns: Tensor, labels: Tensor) -> _Rows:
    """Errors and inputs of every layer for the log-loss of one logit."""
    # A one-hot product is the sum of the rows of the matrix that are switched on.
    table = layers[0].matrix.t().contiguous()
    bags = torch.nn.functional.embedding_bag(columns, table, mode="sum")
    units = bags + layers[0].biases
    inputs = []
    for layer in layers[1:]:
        inputs.append(torch.relu(units))
        units = torch.addmm(layer.biases, inputs[-1], layer.matrix.t())
    errors = [torch.sigmoid(units) - labels.unsqueeze(1)]
    for layer, active in zip(reversed(layers[1:]), reversed(inputs), strict=True):
        errors.append((errors[-1] @ layer.matrix) * (active > 0))
    errors.reverse()
    return _Rows(errors, inputs)


def integer_factors(
    errors: list[Tensor], inputs: list[Tensor], ones: int, *, clip: float, bound: int
) -> tuple[list[Tensor], list[Tensor]]:
    """δ' and a' of a chunk, every row within ``bound`` (protocol 3.4.3 to 3.4.5).

    ``‖g‖² = Σ_layers ‖δ_l‖²(‖a_l‖² + 1)``, so no row's gradient is built. A row above Q
    is rounded once more with its errors shorter by 2**-6, then dropped. NaN counts as 0.

    Args:
        errors: δ of each layer, shape (rows, outputs). Private.
        inputs: a of each layer but the first, shape (rows, inputs). Private.
        ones: Ones in a row's one-hot input: ``‖a_0‖²``.
        clip: C.
        bound: Q.

    Returns:
        δ' and a', float64 that hold integers.
    """
    clean = [torch.nan_to_num(error.double(), posinf=0.0, neginf=0.0) for error in errors]
    bounded = [
        torch.nan_to_num(a.double()).clamp_(-_LARGEST_INPUT, _LARGEST_INPUT) for a in inputs
    ]
    squares = [_squares(a) + 1.0 for a in bounded]
    squares.insert(0, torch.full_like(_squares(clean[0]), ones + 1.0))
    norm = torch.zeros_like(squares[0])
    for error, square in zip(clean, squares, strict=True):
        norm += _squares(error) * square
    factor = (clip / norm.sqrt()).clamp(max=1.0) * (GUARD * _ERROR_UNIT / clip)
    rounded = [a.mul_(_INPUT_UNIT).round_() for a in bounded]
    whole = [_squares(a) + _INPUT_UNIT**2 for a in rounded]
    whole.insert(0, torch.full_like(norm, (ones + 1) * _INPUT_UNIT**2))
    integers = _shortened(clean, factor)
    above = ~_within(integers, whole, bound)
    if bool(above.any()):
        integers = _shortened(clean, torch.where(above, factor * SECOND_TRY, factor))
        fits = _within(integers, whole, bound).unsqueeze(1)
        # Chosen, not multiplied: NaN times 0 is NaN.
        integers = [torch.where(fits, error, 0.0) for error in integers]
    return integers, rounded


def _shortened(errors: list[Tensor], factor: Tensor) -> list[Tensor]:
    return [
        (error * factor.unsqueeze(1)).round_().clamp_(-_LARGEST_ERROR, _LARGEST_ERROR)
        for error in errors
    ]


def _within(errors: list[Tensor], whole: list[Tensor], bound: int) -> Tensor:
    """Which rows have a squared integer norm of at most ``bound**2``.

    Exact although in float64: all terms are integers and none negative, so a total below
    2**53 has no rounding, and one above cannot come out below. Q**2 is under 2**49.
    """
    total = torch.zeros(errors[0].shape[0], dtype=torch.float64)
    for error, square in zip(errors, whole, strict=True):
        total += _squares(error) * square
    return total <= float(bound * bound)


def _squares(values: Tensor) -> Tensor:
    squares: Tensor = torch.linalg.vecdot(values, values)
    return squares


def _sum_rows(
    columns: Tensor, errors: list[Tensor], inputs: list[Tensor], width: int
) -> Tensor:
    """``δ'ᵀ a'`` of every layer over a chunk's rows, flat int64 in the order of ``spec``."""
    parts = [_sum_first_layer(columns, errors[0], width).t().reshape(-1)]
    parts.append(_sum_biases(errors[0]))
    for error, a in zip(errors[1:], inputs, strict=True):
        # Exact: 2**13 rows of products below 2**28 stay below 2**53 (protocol 3.4.4).
        parts += [(error.t() @ a).reshape(-1), _sum_biases(error)]
    return torch.cat(parts).long()


def _sum_biases(error: Tensor) -> Tensor:
    return error.sum(dim=0) * _INPUT_UNIT


def _sum_first_layer(columns: Tensor, error: Tensor, width: int) -> Tensor:
    """Errors added up by the bins that are on, shape (width, outputs), float64.

    The product with the one-hot matrix in float32 is exact for up to 1,024 rows, and twice
    as fast as in float64. Where torch may round inside to fewer bits, float64 it is.
    """
    total = torch.zeros(width, error.shape[1], dtype=torch.float64)
    full = torch.get_float32_matmul_precision() == "highest"
    small = error.float() if full else error
    for start, end in pairwise((*range(0, len(error), _FLOAT32_ROWS), len(error))):
        rows = columns[start:end]
        dense = torch.zeros(len(rows), width, dtype=small.dtype).scatter_(1, rows, 1.0)
        total += (dense.t() @ small[start:end]).double()
    return total * _INPUT_UNIT
