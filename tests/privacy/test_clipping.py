"""The clipped sums against Opacus, and the bound that every noise variance rests on."""

import numpy as np
import pytest
import torch
from numpy.random import Generator  # noqa: TID251 - the type of the fixture
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer

from consortium.errors import ShapeError
from consortium.plan import ModelKind
from consortium.secagg.ring import SCALE_BITS
from models.encoding import one_hot
from models.gradients import clipped_gradient_sum_dense
from models.networks import build
from models.own_noise import integer_row_sum, row_losses
from models.scorecard import GUARD, clipped_gradient_sum, clipped_rows, row_bound
from models.spec import BlockSpec, ModelSpec, initial_weights, parameter_count

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

COUNTS = (8, 8, 8, 8, 8, 8, 14, 6)
CLIPS = (0.1, 1.0, 5.0)
Arrays = tuple[np.ndarray, np.ndarray]  # type: ignore[type-arg]


def _spec(kind: ModelKind, hidden: tuple[int, ...]) -> ModelSpec:
    names = tuple(f"f{i}" for i in range(len(COUNTS)))
    block = BlockSpec(
        name="block",
        features=names,
        families=("family",) * len(names),
        bin_counts=COUNTS,
        offset=0,
        size=parameter_count(kind, hidden, sum(COUNTS)),
    )
    return ModelSpec(kind=kind, hidden=hidden, blocks=(block,))


def _rows(rng: Generator, rows: int) -> Arrays:
    codes = np.stack([rng.integers(0, count, rows) for count in COUNTS], axis=1)
    return codes.astype(np.uint8), (rng.random(rows) < 0.2).astype(np.uint8)


def _opacus_sum(spec: ModelSpec, weights: np.ndarray, rows: Arrays, clip: float) -> Arrays:  # type: ignore[type-arg]
    """Opacus' clipped sum, and the norms of the rows before clipping."""
    module = GradSampleModule(build(spec, spec.blocks[0], weights), loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=0.1),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    columns = torch.from_numpy(one_hot(rows[0], COUNTS))
    labels = torch.from_numpy(rows[1].astype(np.float64))
    row_losses(module(columns)[:, 0], labels).sum().backward()
    samples = torch.cat([g.reshape(len(g), -1) for g in optimizer.grad_samples], dim=1)
    optimizer.clip_and_accumulate()
    total = torch.cat([p.summed_grad.reshape(-1) for p in optimizer.params])
    return total.detach().numpy(), samples.norm(dim=1).numpy()


@pytest.mark.parametrize("clip", CLIPS)
def test_scorecards_sum_equals_that_of_opacus_to_1e_6(clip: float, rng: Generator) -> None:
    spec = _spec(ModelKind.SCORECARD, ())
    weights = rng.normal(size=spec.size)
    codes, labels = _rows(rng, 2_000)
    ours = clipped_gradient_sum(codes, labels, weights, COUNTS, clip=clip) * (
        clip / 2.0**SCALE_BITS
    )
    expected, norms = _opacus_sum(spec, weights, (codes, labels), clip)
    assert clip > 0.2 or (norms > clip).any()
    # Both shorten a clipped row a little, Opacus by 1e-6/norm and we by 2**-20 of it.
    room = 1e-6 * max(1.0, 1 / clip) * np.minimum(norms, clip).sum()
    assert np.linalg.norm(ours - expected) <= room
    if clip >= 1:
        assert np.abs(ours - expected).max() <= 1e-6 * len(labels)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("hidden", [(8,), (16, 5)])
def test_mlps_sum_equals_that_of_opacus_within_its_rounding(
    hidden: tuple[int, ...], clip: float, rng: Generator
) -> None:
    spec = _spec(ModelKind.MLP, hidden)
    weights = 2 * initial_weights(spec, bytes(32))
    codes, labels = _rows(rng, 1_000)
    total = clipped_gradient_sum_dense(
        codes, labels, weights, spec.blocks[0], hidden=hidden, clip=clip
    )
    expected, norms = _opacus_sum(spec, weights, (codes, labels), clip)
    shortened = 1.1 * 2**-10 * np.minimum(norms, clip).sum()
    # Half a unit of δ' or a' in each row, independent between rows: six deviations.
    rounding = 6 * np.sqrt(1_000) * 8.0 * clip / 2**13 / np.sqrt(12)
    difference = np.abs(total * (clip / 2.0**SCALE_BITS) - expected)
    assert difference.max() <= shortened + rounding
    assert np.linalg.norm(difference) <= 0.01 * np.linalg.norm(expected) + rounding


def test_local_steps_sum_equals_that_of_opacus_within_the_guard(rng: Generator) -> None:
    gradients = rng.normal(size=(500, 40)) * rng.exponential(0.2, (500, 1))
    norms = np.linalg.norm(gradients, axis=1)
    expected = (gradients * np.minimum(1, 1 / norms)[:, None]).sum(axis=0)
    total = integer_row_sum(torch.from_numpy(gradients), clip=1.0, bound=row_bound(40))
    assert np.allclose(total.numpy() / 2.0**SCALE_BITS, expected * (1 - 2**-10), atol=1e-4)
    assert np.array_equal(total.numpy(), np.rint(total.numpy()))


def test_clip_left_out_would_be_seen(rng: Generator) -> None:
    # The detector of the mutant "clip skipped": rows are far longer than C here.
    bound = row_bound(sum(COUNTS))
    residuals = rng.uniform(-1, 1, 200)
    kept = clipped_rows(residuals, len(COUNTS), clip=0.1, bound=bound)
    assert (len(COUNTS) * kept**2 <= float(bound) ** 2).all()
    assert np.abs(kept).max() * np.sqrt(len(COUNTS)) == pytest.approx(2**24 * GUARD, rel=1e-6)


def test_local_steps_row_above_the_bound_is_dropped() -> None:
    long = torch.full((2, 1_000_000), 0.5005 * 2.0**-24, dtype=torch.float64)
    long[1] = 0.0
    long[1, 0] = 1.0
    total = integer_row_sum(long, clip=1.0, bound=900)  # rounded norm 1,000
    assert not total.any()


def test_local_steps_nan_does_not_reach_the_sum() -> None:
    rows = torch.tensor([[float("nan"), 0.5], [float("inf"), 0.25]], dtype=torch.float64)
    total = integer_row_sum(rows, clip=1.0, bound=row_bound(2))
    assert total[0] == 0
    assert float(total[1]) <= 2**24


def test_column_against_flat_loss_is_refused() -> None:
    # protocol 10.3: (rows, 1) against (rows,) gives (rows, rows) and clipping vanishes.
    flat = torch.zeros(3, dtype=torch.float64)
    assert row_losses(flat, flat).shape == (3,)
    column = flat.unsqueeze(1)
    for logit, labels in ((column, flat), (flat, column), (column, column), (flat[:2], flat)):
        with pytest.raises(ShapeError):
            row_losses(logit, labels)
