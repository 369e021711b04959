import numpy as np
import pytest
import torch
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.errors import DomainError, ShapeError
from consortium.plan import ModelKind
from models.networks import build, flatten, load_flat
from models.spec import BlockSpec, ModelSpec, layer_shapes, parameter_count, unpack


def _spec(kind: ModelKind, hidden: tuple[int, ...]) -> ModelSpec:
    block = BlockSpec(
        name="banks",
        features=("a", "b"),
        families=("f", "f"),
        bin_counts=(3, 4),
        offset=0,
        size=parameter_count(kind, hidden, 7),
    )
    return ModelSpec(kind=kind, hidden=hidden, blocks=(block,))


@pytest.mark.parametrize(
    ("kind", "hidden"), [(ModelKind.SCORECARD, ()), (ModelKind.MLP, (5, 2))]
)
def test_vector_goes_into_the_module_and_back_unchanged(
    kind: ModelKind, hidden: tuple[int, ...], rng: Generator
) -> None:
    spec = _spec(kind, hidden)
    weights = rng.normal(size=spec.size)
    module = build(spec, spec.blocks[0], weights)
    assert flatten(module).tobytes() == weights.tobytes()
    assert all(p.dtype == torch.float64 for p in module.parameters())


def test_modules_matrices_are_those_of_the_layout(rng: Generator) -> None:
    spec = _spec(ModelKind.MLP, (5,))
    weights = rng.normal(size=spec.size)
    parameters = list(build(spec, spec.blocks[0], weights).parameters())
    for place, (matrix, biases) in enumerate(unpack(weights, layer_shapes((5,), 7))):
        assert np.array_equal(parameters[2 * place].detach().numpy(), matrix)
        assert np.array_equal(parameters[2 * place + 1].detach().numpy(), biases)


def test_changing_the_flat_copy_leaves_the_module_alone(rng: Generator) -> None:
    spec = _spec(ModelKind.SCORECARD, ())
    weights = rng.normal(size=7)
    module = build(spec, spec.blocks[0], weights)
    copy = flatten(module)
    copy[:] = 0
    weights_before = weights.copy()
    weights[:] = 0
    assert np.array_equal(flatten(module), weights_before)


def test_vector_that_does_not_fit_is_refused() -> None:
    spec = _spec(ModelKind.SCORECARD, ())
    module = build(spec, spec.blocks[0], np.zeros(7))
    with pytest.raises(ShapeError):
        load_flat(module, np.zeros(8))
    with pytest.raises(DomainError):
        load_flat(module, np.full(7, np.inf))
