"""The shape of a model: its blocks, the order of its parameters and where training starts.

All here follows from the plan, the schema and the bins, which are public; nothing looks at
a row. A block's parameters are contiguous in the model's vector. For the scorecard they are
one weight for each bin, features in schema order. For the MLP they are, layer by layer, the
matrix (outputs, inputs) row by row and then the biases.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret, hkdf
from consortium.crypto.stream import WordStream
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.features.bins import Bins, bin_count
from consortium.features.schema import Schema
from consortium.plan import CLOSURE, Block, ModelKind, TrainingPlan
from consortium.scoring.head import STRATA
from models.closure_bins import BIN_COUNTS, CAUSES, FEATURES, START

Float = NDArray[np.float64]

MAX_WIDTH = 4096
"""Units of a hidden layer; keeps every integer of protocol 3.4.4 below 2**53."""

_START_INFO = b"riskweave/start/v1"
_MANTISSA_BITS = 53


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec:
    """Features trained together, and where their parameters lie in the model's vector."""

    name: str
    features: tuple[str, ...]
    families: tuple[str, ...]
    """Family of each feature, in the same order."""
    bin_counts: tuple[int, ...]
    """Codes of each feature, the missing bin included."""
    offset: int
    size: int

    @property
    def columns(self) -> int:
        """Bins of all features together: the width of the one-hot form."""
        return sum(self.bin_counts)

    @property
    def window(self) -> slice:
        """The block's place in the model's vector."""
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """All blocks of one model."""

    kind: ModelKind
    hidden: tuple[int, ...]
    blocks: tuple[BlockSpec, ...]

    @property
    def size(self) -> int:
        """d: parameters of all blocks."""
        return sum(block.size for block in self.blocks)

    def block(self, name: str) -> BlockSpec:
        """The block of that name, or ConfigurationError."""
        for block in self.blocks:
            if block.name == name:
                return block
        raise ConfigurationError(f"model has no block {name!r}")

    def block_of_family(self, family: str) -> BlockSpec:
        """The block that a family is trained in, or ConfigurationError."""
        for block in self.blocks:
            if family in block.families:
                return block
        raise ConfigurationError(f"model has no family {family!r}")


def spec_of(plan: TrainingPlan, schema: Schema, bins: Bins) -> ModelSpec:
    """The model that ``plan`` trains on ``schema`` binned by ``bins``.

    Raises:
        ConfigurationError: a block without features, a family in two blocks, or hidden
            layers that do not fit the kind of model.
    """
    _check_hidden(plan.model, plan.hidden)
    if plan.model is ModelKind.HEAD:
        return _head_spec(plan)
    if plan.model is ModelKind.HAZARD:
        return _hazard_spec(plan)
    families = [family for block in plan.blocks for family in block.families]
    if len(set(families)) != len(families):
        raise ConfigurationError("blocks: a family is in two blocks")
    blocks: list[BlockSpec] = []
    for block in plan.blocks:
        offset = blocks[-1].window.stop if blocks else 0
        blocks.append(_block_spec(plan, block, schema, bins, offset=offset))
    return ModelSpec(kind=plan.model, hidden=plan.hidden, blocks=tuple(blocks))


def _head_spec(plan: TrainingPlan) -> ModelSpec:
    """A head's layout: each stratum is read as a feature, its offset and slopes as its bins."""
    if len(plan.blocks) != 1:
        raise ConfigurationError("blocks: a head has one")
    block = plan.blocks[0]
    slots = len(block.families) + 1
    strata = tuple(f"stratum {number}" for number in range(1, STRATA + 1))
    spec = BlockSpec(
        name=block.name,
        features=strata,
        families=(block.name,) * STRATA,
        bin_counts=(slots,) * STRATA,
        offset=0,
        size=STRATA * slots,
    )
    return ModelSpec(kind=plan.model, hidden=(), blocks=(spec,))


def _hazard_spec(plan: TrainingPlan) -> ModelSpec:
    """A hazard's layout: all weights of one cause, then those of the next (3.4.10)."""
    if [block.families for block in plan.blocks] != [(CLOSURE,)]:
        raise ConfigurationError(f"blocks: a hazard has one, of family {CLOSURE!r}")
    spec = BlockSpec(
        name=plan.blocks[0].name,
        features=tuple(feature.name for feature in FEATURES),
        families=(CLOSURE,) * len(FEATURES),
        bin_counts=BIN_COUNTS,
        offset=0,
        size=parameter_count(plan.model, plan.hidden, sum(BIN_COUNTS)),
    )
    return ModelSpec(kind=plan.model, hidden=(), blocks=(spec,))


def _block_spec(
    plan: TrainingPlan, block: Block, schema: Schema, bins: Bins, *, offset: int
) -> BlockSpec:
    features = schema.of_families(block.families)
    if not features:
        raise ConfigurationError(f"blocks: {block.name!r} has no features")
    counts = tuple(bin_count(feature, bins.of(feature.name)) for feature in features)
    return BlockSpec(
        name=block.name,
        features=tuple(feature.name for feature in features),
        families=tuple(feature.family for feature in features),
        bin_counts=counts,
        offset=offset,
        size=parameter_count(plan.model, plan.hidden, sum(counts)),
    )


def _check_hidden(kind: ModelKind, hidden: tuple[int, ...]) -> None:
    if kind is not ModelKind.MLP and hidden:
        raise ConfigurationError(f"hidden: a {kind.value} has no hidden layers")
    if kind is ModelKind.MLP and not (hidden and all(0 < h <= MAX_WIDTH for h in hidden)):
        raise ConfigurationError(f"hidden: an MLP needs layers of 1 to {MAX_WIDTH} units")


def layer_shapes(hidden: tuple[int, ...], columns: int) -> tuple[tuple[int, int], ...]:
    """(outputs, inputs) of each layer of the MLP, from the bins to the one logit."""
    widths = (columns, *hidden, 1)
    return tuple((outputs, inputs) for inputs, outputs in pairwise(widths))


def parameter_count(kind: ModelKind, hidden: tuple[int, ...], columns: int) -> int:
    """Parameters of one block. The scorecard has no intercept: its bins span one."""
    if kind is ModelKind.SCORECARD:
        return columns
    if kind is ModelKind.HAZARD:
        return len(CAUSES) * columns
    return sum(outputs * (inputs + 1) for outputs, inputs in layer_shapes(hidden, columns))


def unpack(
    weights: Float, shapes: tuple[tuple[int, int], ...]
) -> Iterator[tuple[Float, Float]]:
    """Yield matrix (outputs, inputs) and biases (outputs,) of each layer, as views.

    Raises:
        ShapeError: ``weights`` is not a flat vector of all layers' parameters.
    """
    expected = sum(outputs * (inputs + 1) for outputs, inputs in shapes)
    if weights.shape != (expected,):
        raise ShapeError(f"weights of shape {weights.shape}, expected ({expected},)")
    start = 0
    for outputs, inputs in shapes:
        end = start + outputs * inputs
        yield weights[start:end].reshape(outputs, inputs), weights[end : end + outputs]
        start = end + outputs


def initial_weights(spec: ModelSpec, seed: bytes) -> Float:
    """Where training starts: the same bits at every party.

    The scorecard starts at zero (protocol 5.4), a hazard where each cause is rare. The MLP
    needs unequal units: uniform on ±√(6/(inputs + outputs)), where a one-hot layer counts its
    features, not its bins.

    Args:
        spec: Public.
        seed: 32 bytes from the plan, for instance its digest. Public: it is no secret.

    Returns:
        Shape (spec.size,), float64.

    Source:
        Glorot and Bengio (AISTATS 2010), formula 16.
    """
    start = np.zeros(spec.size)
    if spec.kind is ModelKind.SCORECARD:
        return start
    if spec.kind is ModelKind.HAZARD:
        return np.full(spec.size, START / len(FEATURES))
    for block in spec.blocks:
        salt = block.name.encode()
        stream = WordStream(hkdf(Secret(seed), salt, _START_INFO))
        layers = unpack(start[block.window], layer_shapes(spec.hidden, block.columns))
        for number, (matrix, _) in enumerate(layers):
            ones = len(block.features) if number == 0 else matrix.shape[1]
            bound = math.sqrt(6.0 / (ones + matrix.shape[0]))
            matrix[...] = (bound * _uniform(stream, matrix.size)).reshape(matrix.shape)
    return start


def _uniform(stream: WordStream, count: int) -> Float:
    """Numbers on [-1, 1), multiples of 2**-52: exact in float64."""
    words = stream.take(count) >> np.uint64(64 - _MANTISSA_BITS)
    return words.astype(np.float64) * 2.0 ** (1 - _MANTISSA_BITS) - 1.0


def check_weights(weights: Float, size: int) -> None:
    """Raise unless ``weights`` is a flat, finite float64 vector of ``size``.

    Raises:
        ShapeError: another shape or dtype. It is never squeezed or broadcast.
        DomainError: NaN or infinity.
    """
    if weights.shape != (size,) or weights.dtype != np.float64:
        seen = f"{weights.dtype} of shape {weights.shape}"
        raise ShapeError(f"weights are {seen}, expected float64 of shape ({size},)")
    if not bool(np.isfinite(weights).all()):
        raise DomainError("weights hold NaN or infinity")
