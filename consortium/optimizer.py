"""The server step, in float64 that every party recomputes to the bit (protocol 3.3, 3.4.9).

Only ``+ - * /`` and the square root are used, each correctly rounded by IEEE 754; powers of
beta are running products. It is post-processing of noisy sums and costs no budget. A node
checks the weights it is shown against its own replay; the auditor does the same.
"""

import struct
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from consortium.errors import ConfigurationError, DecodeError, DomainError, ShapeError
from consortium.plan import OptimizerSettings, decimal

Float = NDArray[np.float64]

_EPSILON = 1e-8
"""Adam's floor under the root, a constant of the protocol."""

_HEAD = struct.Struct("<QQQdd")
_VECTORS = 4
_FLOAT_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OptimizerState:
    """All that the next step depends on. Vectors have shape (d,) and are never changed."""

    weights: Float
    first: Float
    """Running mean of gradients (Adam) or velocity (momentum)."""
    second: Float
    """Running mean of squared gradients; zero for momentum."""
    powers: tuple[float, float]
    """``beta1**steps`` and ``beta2**steps`` as running products."""
    tail_sum: Float
    """Sum of the last iterates, those that are averaged into the release."""
    tail_steps: int
    steps: int


def to_bytes(state: OptimizerState) -> bytes:
    """Little-endian image for checkpoints and digests: counts, powers, four vectors."""
    head = _HEAD.pack(state.weights.size, state.steps, state.tail_steps, *state.powers)
    vectors = (state.weights, state.first, state.second, state.tail_sum)
    return head + b"".join(vector.astype("<f8").tobytes() for vector in vectors)


def from_bytes(data: bytes) -> OptimizerState:
    """The state of an image, or DecodeError."""
    if len(data) < _HEAD.size:
        raise DecodeError(f"optimiser state of {len(data)} bytes")
    size, steps, tail_steps, power1, power2 = _HEAD.unpack_from(data)
    if size == 0 or len(data) != _HEAD.size + _VECTORS * _FLOAT_BYTES * size:
        raise DecodeError(f"optimiser state of {len(data)} bytes for {size} weights")
    flat = np.frombuffer(data, dtype="<f8", offset=_HEAD.size).astype(np.float64)
    if not (np.isfinite(flat).all() and 0 <= power1 <= 1 and 0 <= power2 <= 1):
        raise DecodeError("optimiser state holds a number outside its domain")
    weights, first, second, tail_sum = flat.reshape(_VECTORS, size)
    return OptimizerState(
        weights=weights,
        first=first,
        second=second,
        powers=(power1, power2),
        tail_sum=tail_sum,
        tail_steps=tail_steps,
        steps=steps,
    )


def initial_state(weights: Float | int) -> OptimizerState:
    """The state before the first step: at ``weights``, or at zeros of that many weights.

    Raises:
        ShapeError: the weights are not flat.
        DomainError: a weight is not finite, or there is none.
    """
    start = np.zeros(weights) if isinstance(weights, int) else _finite(weights, "weights")
    if start.size == 0:
        raise DomainError("a model without weights")
    zeros = np.zeros_like(start)
    return OptimizerState(
        weights=start.copy(),
        first=zeros,
        second=zeros,
        powers=(1.0, 1.0),
        tail_sum=zeros,
        tail_steps=0,
        steps=0,
    )


def check_settings(settings: OptimizerSettings) -> None:
    """Raise ConfigurationError if a step could not be made with them."""
    step(initial_state(1), np.zeros(1), settings, rounds=1)


def step(
    state: OptimizerState, gradient: Float, settings: OptimizerSettings, rounds: int
) -> OptimizerState:
    """One descent step on a decoded noisy sum.

    Args:
        state: Before the step.
        gradient: G of protocol 3.4.9, shape (d,).
        settings: The plan's.
        rounds: T of the plan; says where the averaged tail begins.

    Returns:
        The state after it.

    Raises:
        ConfigurationError: a setting is outside its range, or all rounds are done.
        ShapeError: the gradient is not of shape (d,).
        DomainError: the gradient or the new weights hold NaN or infinity.

    Source:
        Kingma and Ba (ICLR 2015), Algorithm 1; Polyak's momentum; the average of the tail
        is ours (protocol 3.4.9).
    """
    _check(state, gradient, rounds)
    rate = float(decimal(settings.learning_rate, "learning_rate", low="0", high="10"))
    if settings.kind == "adam":
        moved, direction = _adam(state, gradient, settings)
    elif settings.kind == "momentum":
        direction = float(_beta(settings.beta1, "beta1")) * state.first + gradient
        moved = replace(state, first=direction)
    else:
        raise ConfigurationError(f"optimizer.kind: {settings.kind!r} is not adam or momentum")
    return _advance(moved, state.weights - rate * direction, settings, rounds)


def average_step(
    state: OptimizerState, change: Float, settings: OptimizerSettings, rounds: int
) -> OptimizerState:
    """One step of a plan with local steps: add the partners' mean change (protocol 4.8).

    The learning rate was applied at the nodes; of the settings only the tail counts here.

    Args:
        state: Before the step.
        change: Mean of "weights after minus weights before" over the partners, shape (d,).
        settings: The plan's.
        rounds: T of the plan.

    Raises:
        ConfigurationError, ShapeError, DomainError: as ``step``.
    """
    _check(state, change, rounds)
    return _advance(state, state.weights + change, settings, rounds)


def _check(state: OptimizerState, vector: Float, rounds: int) -> None:
    if _finite(vector, "gradient").shape != state.weights.shape:
        raise ShapeError(f"gradient of {vector.size} for {state.weights.size} weights")
    if state.steps >= rounds:
        raise ConfigurationError(f"step {state.steps + 1} of a plan of {rounds} rounds")


def _advance(
    state: OptimizerState, weights: Float, settings: OptimizerSettings, rounds: int
) -> OptimizerState:
    """``state`` at new weights, one step on, the tail included."""
    _finite(weights, "weights after the step")
    steps = state.steps + 1
    in_tail = steps > rounds - tail_length(settings, rounds)
    return replace(
        state,
        weights=weights,
        tail_sum=state.tail_sum + weights if in_tail else state.tail_sum,
        tail_steps=state.tail_steps + int(in_tail),
        steps=steps,
    )


def _adam(
    state: OptimizerState, gradient: Float, settings: OptimizerSettings
) -> tuple[OptimizerState, Float]:
    """The state with new moments, and the direction to descend along."""
    beta1 = float(_beta(settings.beta1, "beta1"))
    beta2 = float(_beta(settings.beta2, "beta2"))
    first = beta1 * state.first + (1.0 - beta1) * gradient
    second = beta2 * state.second + (1.0 - beta2) * (gradient * gradient)
    powers = (state.powers[0] * beta1, state.powers[1] * beta2)
    scale = np.sqrt(second / (1.0 - powers[1])) + _EPSILON
    direction = (first / (1.0 - powers[0])) / scale
    return replace(state, first=first, second=second, powers=powers), direction


def tail_length(settings: OptimizerSettings, rounds: int) -> int:
    """How many of the last iterates are averaged: ``⌈tail·T⌉``, at least one."""
    share = decimal(settings.tail, "tail", low="0", high="1") * rounds
    return max(1, -(-share.numerator // share.denominator))


def released_weights(state: OptimizerState) -> Float:
    """The mean of the tail so far, shape (d,); before the tail begins, the last iterate."""
    if state.tail_steps == 0:
        return state.weights.copy()
    return state.tail_sum / float(state.tail_steps)


def _beta(text: str, field: str) -> Fraction:
    value = decimal(text, field, low="0", high="1")
    if value == 1:
        raise ConfigurationError(f"{field}: 1 would never forget")
    return value


def _finite(values: Float, name: str) -> Float:
    if values.ndim != 1 or values.dtype != np.float64:
        raise ShapeError(f"{name} of shape {values.shape} and dtype {values.dtype}")
    if not bool(np.isfinite(values).all()):
        raise DomainError(f"{name}: NaN or infinity")
    return values
