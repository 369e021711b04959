"""A model as a document, and the log-odds it gives to rows.

A document is canonical JSON: real numbers are decimal strings that read back to the same
float64 (protocol 0.5), so a model has one digest and every node that holds it computes the
same scorecard logits to the bit. The MLP has no exact replay (credit 4.1); its forward pass
is here too, in numpy, so that scoring needs no torch.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with
from consortium.credit.tables import Calibration
from consortium.documents import document_of, parse_document
from consortium.errors import ConfigurationError, DecodeError, DomainError, ShapeError
from consortium.ids import Digest, parse_digest
from consortium.plan import ModelKind
from models import scorecard
from models.calibration import probabilities
from models.encoding import CHUNK_ROWS, Codes, check_codes, chunks, column_starts
from models.spec import (
    BlockSpec,
    ModelSpec,
    check_weights,
    layer_shapes,
    parameter_count,
    unpack,
)

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Weights and recalibration of every block. Public once it is released."""

    spec: ModelSpec
    bins: Digest
    """The bins that the weights belong to."""
    weights: tuple[Float, ...]
    """One vector a block, shape (block.size,)."""
    calibration: tuple[Calibration, ...]
    """One line a block (protocol 5.5)."""

    def __post_init__(self) -> None:
        """Raise unless there is a finite vector and a finite line for every block."""
        blocks = self.spec.blocks
        if not len(blocks) == len(self.weights) == len(self.calibration):
            raise ShapeError(f"{len(blocks)} blocks, {len(self.weights)} vectors of weights")
        for block, vector in zip(blocks, self.weights, strict=True):
            check_weights(vector, block.size)
        for line in self.calibration:
            if not (math.isfinite(line.alpha) and math.isfinite(line.beta)):
                raise DomainError(f"calibration {line} is not finite")

    def to_canonical(self) -> bytes:
        """The model's document."""
        return document_of(
            _ModelDocument(
                spec=self.spec,
                bins=self.bins,
                weights=tuple(tuple(map(repr, vector.tolist())) for vector in self.weights),
                calibration=tuple(
                    (repr(line.alpha), repr(line.beta)) for line in self.calibration
                ),
            )
        )

    @classmethod
    def from_canonical(cls, data: bytes) -> "Model":
        """The model of a document.

        Raises:
            DecodeError: not canonical, a field missing or unknown, a number that is not
                finite or not in its one form, or vectors that do not fit the blocks.
        """
        document = parse_document(_ModelDocument, data)
        _check_layout(document.spec)
        try:
            return cls(
                spec=document.spec,
                bins=parse_digest(document.bins),
                weights=tuple(np.array(list(map(_real, v))) for v in document.weights),
                calibration=tuple(_line(pair) for pair in document.calibration),
            )
        except (ShapeError, DomainError, ConfigurationError) as error:
            raise DecodeError(f"model document: {error}") from error

    @property
    def digest(self) -> Digest:
        r"""``H("riskweave/model/v1\n" ‖ document)``: the model's name everywhere."""
        return hash_with(Label.MODEL, self.to_canonical())


def block_logits(model: Model, name: str, codes: Codes) -> Float:
    """Raw log-odds of a block for rows of its features, before recalibration.

    Args:
        model: Public.
        name: The block's.
        codes: Shape (rows, features of the block), in the block's order. Private.

    Returns:
        Shape (rows,). Private.

    Raises:
        ConfigurationError: there is no such block.
        ShapeError, DomainError: as ``scorecard.logits``.
    """
    block, weights, _ = _part(model, name)
    if model.spec.kind is ModelKind.HAZARD:
        raise ConfigurationError("a closure model gives no log-odds of bad")
    if model.spec.kind is ModelKind.SCORECARD:
        return scorecard.logits(weights, codes, block.bin_counts)
    return _mlp_logits(weights, codes, block, model.spec.hidden)


def block_pd(model: Model, name: str, codes: Codes) -> Float:
    """PD of each row by one block, recalibrated. Arguments and errors as the logits."""
    _, _, line = _part(model, name)
    return probabilities(block_logits(model, name, codes), line)


def family_logits(model: Model, name: str, codes: Codes) -> dict[str, Float]:
    """Part of each family in a scorecard block's raw logit; they add up to it.

    Arguments and errors as ``block_logits``; an MLP has no such parts (ConfigurationError).
    """
    block, weights, _ = _part(model, name)
    if model.spec.kind is not ModelKind.SCORECARD:
        raise ConfigurationError("only a scorecard splits into families")
    check_codes(codes, block.bin_counts)
    tables = np.split(weights, column_starts(block.bin_counts)[1:])
    parts: dict[str, Float] = {}
    for family in dict.fromkeys(block.families):
        own = [i for i, name in enumerate(block.families) if name == family]
        counts = tuple(block.bin_counts[i] for i in own)
        slopes = np.concatenate([tables[i] for i in own])
        parts[family] = scorecard.logits(slopes, codes[:, own], counts)
    return parts


def _part(model: Model, name: str) -> tuple[BlockSpec, Float, Calibration]:
    place = model.spec.blocks.index(model.spec.block(name))
    return model.spec.blocks[place], model.weights[place], model.calibration[place]


def _mlp_logits(
    weights: Float, codes: Codes, block: BlockSpec, hidden: tuple[int, ...]
) -> Float:
    check_codes(codes, block.bin_counts)
    layers = list(unpack(weights, layer_shapes(hidden, block.columns)))
    first = np.split(layers[0][0].T, column_starts(block.bin_counts)[1:])
    result = np.empty(codes.shape[0])
    for rows in chunks(codes.shape[0], CHUNK_ROWS // 8):
        part = codes[rows]
        units = np.tile(layers[0][1], (part.shape[0], 1))
        try:
            for feature, table in enumerate(first):
                units += table.take(part[:, feature], axis=0)
        except IndexError as error:
            raise DomainError("a code is not below its feature's number of bins") from error
        for matrix, biases in layers[1:]:
            units = np.maximum(units, 0.0) @ matrix.T + biases
        result[rows] = units[:, 0]
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelDocument:
    """What is hashed: strings and integers only."""

    spec: ModelSpec
    bins: str
    weights: tuple[tuple[str, ...], ...]
    calibration: tuple[tuple[str, ...], ...]


def _check_layout(spec: ModelSpec) -> None:
    """Raise DecodeError unless the blocks' places follow from their bins and layers."""
    offset = 0
    for block in spec.blocks:
        parallel = len(block.features) == len(block.families) == len(block.bin_counts)
        if not (parallel and block.features and min(block.bin_counts) > 0):
            raise DecodeError(f"model document: block {block.name!r} is ragged")
        size = parameter_count(spec.kind, spec.hidden, block.columns)
        if (block.offset, block.size) != (offset, size):
            raise DecodeError(f"model document: block {block.name!r} is misplaced")
        offset += size


def _line(pair: tuple[str, ...]) -> Calibration:
    if len(pair) != 2:  # noqa: PLR2004 - alpha and beta
        raise DecodeError("model document: a calibration is a pair")
    return Calibration(alpha=_real(pair[0]), beta=_real(pair[1]))


def _real(text: str) -> float:
    """The number whose shortest decimal string is ``text``."""
    try:
        value = float(text)
    except ValueError as error:
        raise DecodeError(f"model document: {text[:40]!r} is no number") from error
    if repr(value) != text:
        raise DecodeError(f"model document: {text[:40]!r} is not the shortest form")
    return value
