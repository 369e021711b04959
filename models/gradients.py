"""The exact clipped gradient sum of an MLP on bins (protocol 3.4.3 to 3.4.5).

A layer's gradient is an outer product of a row's error ``δ`` and input ``a``. Both factors
become integers row by row, so the sum over rows is a product of integer matrices: exact,
hence the same for any chunks, order and threads. The float code in between may be as rough
as it likes (it is float32): each row's squared integer norm is checked before it is added.
Every pass over a chunk costs, so a chunk fits the cache and float32 holds the integers.
No noise is added here: results are not to leave the node.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

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

CHUNK_ROWS = 4_096
"""Rows handled at a time: their activations stay in the cache. Changes no sum."""

GUARD = 1.0 - 2.0**-10
"""Room for the rounding of both factors (protocol 3.4.3)."""
_ERROR_UNIT, _INPUT_UNIT = 2.0**13, 2.0**11
"""Units of δ' (in 1/C) and a' (protocol 3.4.4); their product is 2**24 / C."""
_LARGEST_INPUT = 8.0
_LARGEST_ERROR = 2.0**14
"""Above what any row within Q can have, and low enough for all integers to be exact."""
_FLOAT64_ROWS = 2**28
"""Rows whose sum float64 holds: no entry of a row is above Q, and 2**28 · Q < 2**53."""
_FLOAT32_EXACT = 2**24
"""Integers up to here are exact in float32."""
_SURE = 1.0 - 2.0**-11
"""A float32 sum of up to 4,096 squares is short by less than 2**-12 of itself, and of the
few terms of the layers by less than that again: up to this share of Q**2, it is within."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One dense layer: matrix (outputs, inputs), biases (outputs,)."""

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
    bound = row_bound(block.size)
    total = np.zeros(block.size, dtype=np.int64)
    for many in chunks(codes.shape[0], _FLOAT64_ROWS):
        sums = np.zeros(block.size)
        targets = [
            _Layer(torch.from_numpy(matrix), torch.from_numpy(biases))
            for matrix, biases in unpack(sums, shapes)
        ]
        for part in chunks(many.stop - many.start, CHUNK_ROWS):
            some = slice(many.start + part.start, many.start + part.stop)
            columns = torch.from_numpy(column_indices(codes[some], block.bin_counts))
            rows = _backpropagate(layers, columns, torch.from_numpy(labels[some].copy()))
            errors, inputs = integer_factors(
                rows.errors, rows.inputs, columns.shape[1], clip=clip, bound=bound
            )
            _add_rows(targets, columns, errors, inputs, bound=bound)
        # Each row is in one bin of the first feature: the errors of its bins are all errors.
        targets[0].biases.copy_(targets[0].matrix[:, : block.bin_counts[0]].sum(dim=1))
        total += sums.astype(np.int64)
    return total


def _float32(values: Float) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _backpropagate(layers: list[_Layer], columns: Tensor, labels: Tensor) -> _Rows:
    """Errors and inputs of every layer for the log-loss of one logit."""
    # A one-hot product is the sum of the rows of the matrix that are switched on.
    table = layers[0].matrix.t().contiguous()
    units = torch.nn.functional.embedding_bag(columns, table, mode="sum")
    units += layers[0].biases
    inputs = []
    for layer in layers[1:]:
        inputs.append(units.relu_())
        units = torch.addmm(layer.biases, inputs[-1], layer.matrix.t())
    errors = [units.sigmoid_().sub_(labels.unsqueeze(1))]
    for layer, active in zip(reversed(layers[1:]), reversed(inputs), strict=True):
        back = (
            errors[-1] @ layer.matrix
            if layer.matrix.shape[0] > 1
            else errors[-1] * layer.matrix
        )
        errors.append(torch.ops.aten.threshold_backward(back, active, 0))
    errors.reverse()
    return _Rows(errors, inputs)


def integer_factors(
    errors: list[Tensor], inputs: list[Tensor], ones: int, *, clip: float, bound: int
) -> tuple[list[Tensor], list[Tensor]]:
    """δ' and a' of a chunk, every row within ``bound`` (protocol 3.4.3 to 3.4.5).

    ``‖g‖² = Σ_layers ‖δ_l‖²(‖a_l‖² + 1)``, so no row's gradient is built. A row above Q
    is rounded once more with its errors shorter by 2**-6, then dropped. NaN counts as 0.

    Args:
        errors: δ of each layer, shape (rows, outputs), float32 or float64. Private.
        inputs: a of each layer but the first, shape (rows, inputs). Private.
        ones: Ones in a row's one-hot input: ``‖a_0‖²``.
        clip: C.
        bound: Q.

    Returns:
        δ' and a', of the dtypes given, that hold integers below 2**15.
    """
    bounded = [a.clamp(-_LARGEST_INPUT, _LARGEST_INPUT) for a in inputs]
    norm = _norm(errors, bounded, ones)
    if not bool(torch.isfinite(norm).all()):
        errors = [torch.nan_to_num(error, posinf=0.0, neginf=0.0) for error in errors]
        bounded = [torch.nan_to_num(a) for a in bounded]
        norm = _norm(errors, bounded, ones)
    factor = (clip / norm).clamp(max=1.0) * (GUARD * _ERROR_UNIT / clip)
    rounded = [a.mul_(_INPUT_UNIT).round_() for a in bounded]
    integers = _shortened(errors, factor)
    above = _above(integers, rounded, ones, bound=bound)
    if len(above):
        # Chosen, not multiplied: NaN times 0 is NaN.
        second = _shortened([error[above] for error in errors], factor[above] * SECOND_TRY)
        still = _above(second, [a[above] for a in rounded], ones, bound=bound)
        for error, shorter in zip(integers, second, strict=True):
            shorter[still] = 0.0
            error[above] = shorter
    return integers, rounded


def _norm(errors: list[Tensor], inputs: list[Tensor], ones: int) -> Tensor:
    """Gradient norm of each row as computed, shape (rows,)."""
    total = _squares(errors[0]) * (ones + 1.0)
    for error, a in zip(errors[1:], inputs, strict=True):
        total += _squares(error) * (_squares(a) + 1.0)
    return total.sqrt_()


def _shortened(errors: list[Tensor], factor: Tensor) -> list[Tensor]:
    return [
        (error * factor.to(error.dtype).unsqueeze(1))
        .round_()
        .clamp_(-_LARGEST_ERROR, _LARGEST_ERROR)
        for error in errors
    ]


def _above(errors: list[Tensor], inputs: list[Tensor], ones: int, *, bound: int) -> Tensor:
    """Rows whose squared integer norm is above ``bound**2``, as indices.

    Most rows are surely within: the sum in the dtype given says so with room for all its
    roundings. The others are added again in float64, and that is exact: all terms are
    integers and none negative, so a total below 2**53 has no rounding, and one above cannot
    come out below. Q**2 is under 2**49.
    """
    limit = float(bound * bound)
    # Not "above": a NaN must not be sure.
    unsure = (~(_integer_squares(errors, inputs, ones, _squares) <= limit * _SURE)).nonzero()[
        :, 0
    ]
    if not len(unsure):
        return unsure
    few, those = [error[unsure] for error in errors], [a[unsure] for a in inputs]
    exact = _integer_squares(few, those, ones, _exact_squares)
    return unsure[~(exact <= limit)]


def _integer_squares(
    errors: list[Tensor],
    inputs: list[Tensor],
    ones: int,
    squares: Callable[[Tensor], Tensor],
) -> Tensor:
    """Squared integer norm of each row, shape (rows,), as exact as ``squares``."""
    total = squares(errors[0]) * ((ones + 1) * _INPUT_UNIT**2)
    for error, a in zip(errors[1:], inputs, strict=True):
        total += squares(error) * (squares(a) + _INPUT_UNIT**2)
    return total


def _squares(values: Tensor) -> Tensor:
    """Squared norm of each row, in the dtype given and rounded as it rounds.

    No matrix product: torch may round inside of those to fewer bits.
    """
    norm: Tensor = torch.linalg.vector_norm(values, dim=1)
    return norm.square_()


def _exact_squares(values: Tensor) -> Tensor:
    """Squared norm of each row of integers, float64, slower."""
    return values.double().square_().sum(dim=1)


def _add_rows(
    targets: list[_Layer],
    columns: Tensor,
    errors: list[Tensor],
    inputs: list[Tensor],
    *,
    bound: int,
) -> None:
    """Add ``δ'ᵀ a'`` of every layer over a chunk's rows to ``targets``, float64."""
    _add_first_layer(targets[0].matrix, columns, errors[0], bound=bound)
    for target, error, a in zip(targets[1:], errors[1:], inputs, strict=True):
        # Exact: all integers, products below 2**28, partial sums below 2**53 (3.4.4).
        whole = error.double()
        target.matrix.addmm_(whole.t(), a.double())
        target.biases.add_(whole.sum(dim=0), alpha=_INPUT_UNIT)


def _add_first_layer(target: Tensor, columns: Tensor, error: Tensor, *, bound: int) -> None:
    """Add up the errors by the bins that are on, shape (outputs, width).

    The product with the one-hot matrix is exact in float32 as long as no sum of absolute
    values can pass 2**24: a row within Q has ``|δ'|·√(ones + 1)·2**11 <= Q``. Where torch
    may round inside to fewer bits, float64 it is.
    """
    largest = math.isqrt(bound * bound // ((columns.shape[1] + 1) * int(_INPUT_UNIT) ** 2))
    rows_each = max(1, _FLOAT32_EXACT // (largest + 1))
    full = torch.get_float32_matmul_precision() == "highest"
    small = error.float() if full else error.double()
    for rows in chunks(len(error), rows_each):
        part = columns[rows]
        dense = torch.zeros(len(part), target.shape[1], dtype=small.dtype)
        dense.scatter_(1, part, 1.0)
        target.add_(small[rows].t() @ dense, alpha=_INPUT_UNIT)
