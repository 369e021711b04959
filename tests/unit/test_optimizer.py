import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.random import Generator  # noqa: TID251 - the type of the fixture
from numpy.typing import NDArray

from consortium import optimizer
from consortium.crypto.keys import Secret
from consortium.crypto.stream import key_stream_words
from consortium.errors import ConfigurationError, DecodeError, DomainError, ShapeError
from consortium.plan import OptimizerSettings

Float = NDArray[np.float64]
ADAM = OptimizerSettings()
MOMENTUM = OptimizerSettings(kind="momentum", beta1="0.8", learning_rate="0.1")


def run(gradients: Float, settings: OptimizerSettings) -> list[optimizer.OptimizerState]:
    states = [optimizer.initial_state(gradients.shape[1])]
    for gradient in gradients:
        states.append(optimizer.step(states[-1], gradient, settings, len(gradients)))
    return states


@pytest.mark.parametrize("settings", [ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_weights_follow_the_optimiser_of_torch(
    settings: OptimizerSettings, rng: Generator
) -> None:
    gradients = rng.normal(size=(60, 7))
    weights = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    oracle: torch.optim.Optimizer = (
        torch.optim.Adam([weights], lr=0.05, betas=(0.9, 0.99), eps=1e-8)
        if settings is ADAM
        else torch.optim.SGD([weights], lr=0.1, momentum=0.8)
    )
    for state, gradient in zip(run(gradients, settings)[1:], gradients, strict=True):
        weights.grad = torch.from_numpy(gradient.copy())
        oracle.step()
        assert np.allclose(state.weights, weights.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("tail", "rounds", "averaged"), [("0.5", 6, 3), ("0.5", 7, 4), ("0", 5, 1), ("1", 5, 5)]
)
def test_release_is_the_mean_of_the_last_iterates(
    tail: str, rounds: int, averaged: int, rng: Generator
) -> None:
    states = run(rng.normal(size=(rounds, 3)), replace(ADAM, tail=tail))
    last = [state.weights for state in states[-averaged:]]
    assert np.allclose(optimizer.released_weights(states[-1]), np.mean(last, axis=0))
    assert states[-1].tail_steps == averaged
    early = states[rounds - averaged]
    assert np.array_equal(optimizer.released_weights(early), early.weights)


def test_average_step_adds_the_mean_change(rng: Generator) -> None:
    changes = rng.normal(size=(4, 3))
    state = optimizer.initial_state(np.ones(3))
    for change in changes:
        state = optimizer.average_step(state, change, ADAM, rounds=4)
    assert np.allclose(state.weights, 1 + changes.sum(axis=0))
    ends = 1 + np.cumsum(changes, axis=0)[-2:]
    assert np.allclose(optimizer.released_weights(state), ends.mean(axis=0))


def test_same_bits_on_every_machine() -> None:
    # our own vector: integers from the key stream, exact in float64
    words = key_stream_words(Secret(bytes(32)), 60 * 5).astype(np.int64) >> 40
    states = run((words / 2.0**20).reshape(60, 5), ADAM)
    image = optimizer.to_bytes(states[-1])
    expected = "ff159836f7c45b4f5d0f4972def0c7b2f5bf6377c5aa1cf427da1491aaed9e7d"
    assert hashlib.sha256(image).hexdigest() == expected


def test_state_survives_its_image_to_the_bit(rng: Generator) -> None:
    gradients = rng.normal(size=(8, 3))
    states = run(gradients, ADAM)
    resumed = optimizer.from_bytes(optimizer.to_bytes(states[4]))
    for gradient in gradients[4:]:
        resumed = optimizer.step(resumed, gradient, ADAM, 8)
    assert optimizer.to_bytes(resumed) == optimizer.to_bytes(states[-1])


def test_step_leaves_its_arguments_alone(rng: Generator) -> None:
    start = optimizer.initial_state(rng.normal(size=3))
    before = optimizer.to_bytes(start)
    gradient = rng.normal(size=3)
    copy = gradient.copy()
    optimizer.step(start, gradient, ADAM, 2)
    assert optimizer.to_bytes(start) == before
    assert np.array_equal(gradient, copy)


def test_image_that_is_cut_lengthened_or_not_finite_is_refused(rng: Generator) -> None:
    image = optimizer.to_bytes(run(rng.normal(size=(2, 3)), ADAM)[-1])
    nan = np.array([np.nan], dtype="<f8").tobytes()
    bad = [b"", image[:-1], image + b"\0", image[:-8] + nan, image[:24] + nan + image[32:]]
    bad += [bytes(8) + image[8:], bytes(40)]
    for data in bad:
        with pytest.raises(DecodeError):
            optimizer.from_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "sgd"},
        {"learning_rate": "fast"},
        {"learning_rate": "-1"},
        {"beta1": "1"},
        {"beta2": "1.5"},
        {"tail": "2"},
    ],
)
def test_setting_outside_its_range_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        optimizer.step(optimizer.initial_state(2), np.ones(2), replace(ADAM, **change), 3)


def test_gradient_of_another_shape_is_refused_not_broadcast() -> None:
    state = optimizer.initial_state(3)
    for gradient in (np.ones(1), np.ones(4), np.ones((3, 1)), np.ones(3, dtype=np.float32)):
        for advance in (optimizer.step, optimizer.average_step):
            with pytest.raises(ShapeError):
                advance(state, gradient, ADAM, 3)


def test_numbers_that_are_not_finite_do_not_reach_the_weights() -> None:
    state = optimizer.initial_state(1)
    for value in (np.nan, np.inf):
        with pytest.raises(DomainError):
            optimizer.step(state, np.array([value]), ADAM, 3)
        with pytest.raises(DomainError):
            optimizer.initial_state(np.array([value]))
    huge = replace(state, weights=np.array([1.7e308]))
    with np.errstate(over="ignore"), pytest.raises(DomainError):
        optimizer.average_step(huge, np.array([1.7e308]), ADAM, 3)
    with pytest.raises(DomainError):
        optimizer.initial_state(0)


def test_step_beyond_the_rounds_of_the_plan_is_refused() -> None:
    state = run(np.ones((3, 2)), ADAM)[-1]
    for advance in (optimizer.step, optimizer.average_step):
        with pytest.raises(ConfigurationError):
            advance(state, np.ones(2), ADAM, 3)
