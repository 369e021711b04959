import numpy as np
import pytest
import torch
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.errors import DomainError, ShapeError
from consortium.plan import ModelKind
from models.gradients import _above, clipped_gradient_sum_dense, integer_factors
from models.scorecard import row_bound
from models.spec import BlockSpec, ModelSpec, initial_weights, parameter_count

HIDDEN = (6, 3)
COUNTS = (4, 5, 3)


def _block() -> BlockSpec:
    return BlockSpec(
        name="banks",
        features=("a", "b", "c"),
        families=("f", "f", "f"),
        bin_counts=COUNTS,
        offset=0,
        size=parameter_count(ModelKind.MLP, HIDDEN, sum(COUNTS)),
    )


def _weights() -> np.ndarray:  # type: ignore[type-arg]
    spec = ModelSpec(kind=ModelKind.MLP, hidden=HIDDEN, blocks=(_block(),))
    return 3 * initial_weights(spec, bytes(32))


def _rows(rng: Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    codes = np.stack([rng.integers(0, count, rows) for count in COUNTS], axis=1)
    return codes.astype(np.uint8), rng.integers(0, 2, rows).astype(np.uint8)


def test_sum_of_parts_in_any_order_is_the_sum(rng: Generator) -> None:
    codes, labels = _rows(rng, 20_000)  # more than one chunk
    whole = clipped_gradient_sum_dense(
        codes, labels, _weights(), _block(), hidden=HIDDEN, clip=1.0
    )
    order = rng.permutation(len(codes))
    parts = sum(
        clipped_gradient_sum_dense(
            codes[part], labels[part], _weights(), _block(), hidden=HIDDEN, clip=1.0
        )
        for part in np.array_split(order, 3)
    )
    assert whole.dtype == np.int64
    assert np.array_equal(whole, parts)


def test_first_layer_is_equally_exact_where_torch_rounds_inside(rng: Generator) -> None:
    codes, labels = _rows(rng, 3_000)
    arguments = (codes, labels, _weights(), _block())
    expected = clipped_gradient_sum_dense(*arguments, hidden=HIDDEN, clip=1.0)
    torch.set_float32_matmul_precision("high")
    try:
        got = clipped_gradient_sum_dense(*arguments, hidden=HIDDEN, clip=1.0)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert np.abs(got - expected).sum() <= 2**14 * 3_000 * 1e-3


def test_every_row_is_within_the_bound(rng: Generator) -> None:
    codes, labels = _rows(rng, 60)
    bound = row_bound(_block().size)
    for clip in (0.05, 1.0):
        norms = [
            np.linalg.norm(
                clipped_gradient_sum_dense(
                    codes[[row]], labels[[row]], _weights(), _block(), hidden=HIDDEN, clip=clip
                ).astype(np.float64)
            )
            for row in range(60)
        ]
        assert max(norms) <= bound
        assert max(norms) > 0.98 * 2**24


def _longest(errors: list[torch.Tensor], inputs: list[torch.Tensor], ones: int) -> float:
    whole = [torch.full((len(errors[0]),), (ones + 1) * 2.0**22, dtype=torch.float64)]
    whole += [(a * a).sum(1) + 2.0**22 for a in inputs]
    squares = sum((e * e).sum(1) * w for e, w in zip(errors, whole, strict=True))
    assert isinstance(squares, torch.Tensor)
    return float(squares.max())


def test_row_above_the_bound_after_rounding_is_shortened_then_dropped() -> None:
    # Errors just over half a unit in 4,000 outputs all round up: the integer row is twice
    # as long as the real one, which is within the clip.
    ones, bound = 33_000, 2**24
    kept = torch.full((1, 4_001), 0.507 * 2.0**-13, dtype=torch.float64)
    dropped = torch.full((1, 4_001), 0.53 * 2.0**-13, dtype=torch.float64)
    kept[0, 0] = dropped[0, 0] = 20 * 2.0**-13
    got, _ = integer_factors([torch.cat([kept, dropped])], [], ones, clip=1.0, bound=bound)
    assert got[0][0, 0] == 20  # once more, shorter by 2**-6: the small ones round down
    assert not got[0][0, 1:].any()
    assert not got[0][1].any()
    assert _longest(got, [], ones) <= bound**2


def test_rows_that_float32_cannot_tell_from_the_bound_are_added_exactly() -> None:
    # Squares of 2**24 + 1 round to those of 2**24 in float32: one row is on Q, one above.
    ones, largest = 3, 2**12
    bound = largest * 2**12
    rows = torch.tensor([[largest, 0.0], [largest, 1.0], [largest, 0.0]], dtype=torch.float32)
    clip = (1 - 2.0**-10) * 2.0**13
    got, _ = integer_factors([rows], [], ones, clip=1e9 * clip, bound=bound)
    assert not got[0].any()  # far below one unit
    shortened, _ = integer_factors([rows / 2**13], [], ones, clip=1.0, bound=bound)
    assert _longest(shortened, [], ones) <= bound**2
    assert np.array_equal(_above([rows], [], ones, bound=bound).numpy(), [1])


def test_nan_and_infinity_from_the_float_code_do_not_reach_the_sum() -> None:
    errors = [torch.tensor([[float("nan"), 1.0], [float("inf"), 0.5], [1e30, 1e-30]])]
    inputs: list[torch.Tensor] = []
    got, _ = integer_factors(errors, inputs, 3, clip=1.0, bound=row_bound(8))
    assert bool(torch.isfinite(got[0]).all())
    assert _longest(got, [], 3) <= row_bound(8) ** 2


def test_empty_table_gives_a_zero_sum() -> None:
    codes = np.zeros((0, 3), dtype=np.uint8)
    total = clipped_gradient_sum_dense(
        codes, np.zeros(0, dtype=np.uint8), _weights(), _block(), hidden=HIDDEN, clip=1.0
    )
    assert not total.any()


def test_arguments_that_do_not_fit_are_refused(rng: Generator) -> None:
    codes, labels = _rows(rng, 4)
    block = _block()
    with pytest.raises(ShapeError):
        clipped_gradient_sum_dense(
            codes, labels.reshape(-1, 1), _weights(), block, hidden=HIDDEN, clip=1.0
        )
    with pytest.raises(ShapeError):
        clipped_gradient_sum_dense(
            codes, labels, _weights()[:-1], block, hidden=HIDDEN, clip=1.0
        )
    with pytest.raises(DomainError):
        clipped_gradient_sum_dense(codes, labels, _weights(), block, hidden=HIDDEN, clip=0.0)
    with pytest.raises(DomainError):
        clipped_gradient_sum_dense(
            codes + np.uint8(9), labels, _weights(), block, hidden=HIDDEN, clip=1.0
        )
