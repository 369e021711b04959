import math
from decimal import Context, Decimal

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.errors import DomainError, ShapeError
from models.scorecard import (
    clipped_gradient_sum,
    clipped_rows,
    exp_det,
    hard_row_check,
    logits,
    row_bound,
    sigmoid_det,
)

BIN_COUNTS = (3, 4)
CODES = np.array([[0, 1], [2, 3], [1, 0]], dtype=np.uint8)
LABELS = np.array([1, 0, 1], dtype=np.uint8)
WEIGHTS = np.array([0.5, -0.25, 1.0, 0.125, -1.0, 0.75, 2.0])


def test_exponential_is_within_4e_16_of_the_true_value(rng: Generator) -> None:
    x = np.concatenate(
        [rng.uniform(-700, 700, 1500), rng.uniform(-2, 2, 1500), [0.0, -0.0, 1.0, -1.0]]
    )
    context = Context(prec=40)
    worst = max(
        abs(Decimal(float(got)) / context.exp(Decimal(float(value))) - 1)
        for value, got in zip(x, exp_det(x), strict=True)
    )
    assert worst <= Decimal("4e-16")


def test_exponential_has_the_fixed_bits_of_this_polynomial() -> None:
    # These bits come out of basic operations on any IEEE machine.
    x = np.array([-0.5, -1.0, -3.25, -20.125, -700.0])
    assert [value.hex() for value in exp_det(x).tolist()] == [
        "0x1.368b2fc6f960ap-1",
        "0x1.78b56362cef38p-2",
        "0x1.3da368521902dp-5",
        "0x1.f3fe0cb68b20cp-30",
        "0x1.14f2b0fb9307fp-1010",
    ]


def test_sigmoid_is_symmetric_and_saturates_without_warning() -> None:
    z = np.array([0.0, 3.0, -3.0, 1e4, -1e4])
    p = sigmoid_det(z)
    assert p[0] == 0.5
    assert abs(p[1] + p[2] - 1) < 1e-15
    assert p[3] == 1.0
    assert 0.0 <= p[4] < 1e-300


def test_logit_is_the_sum_of_the_rows_weights() -> None:
    assert logits(WEIGHTS, CODES, BIN_COUNTS).tolist() == [-0.5, 3.0, -0.125]


def test_logits_do_not_depend_on_chunks(rng: Generator) -> None:
    codes = rng.integers(0, 3, (100, 2)).astype(np.uint8)
    weights = rng.normal(size=7)
    whole = logits(weights, codes, BIN_COUNTS)
    assert np.array_equal(whole, logits(weights, codes, BIN_COUNTS, chunk_rows=7))


def test_code_of_the_next_feature_is_refused_not_read() -> None:
    codes = np.array([[3, 0]], dtype=np.uint8)
    with pytest.raises(DomainError):
        logits(WEIGHTS, codes, BIN_COUNTS)
    with pytest.raises(DomainError):
        clipped_gradient_sum(codes, LABELS[:1], WEIGHTS, BIN_COUNTS, clip=1.0)


def test_gradient_of_short_rows_is_the_plain_sum_up_to_the_guard() -> None:
    total = clipped_gradient_sum(CODES, LABELS, WEIGHTS, BIN_COUNTS, clip=10.0)
    plain = np.zeros(7)
    for codes, label in zip(CODES, LABELS, strict=True):
        residual = 1 / (1 + math.exp(-(WEIGHTS[codes[0]] + WEIGHTS[3 + codes[1]]))) - label
        plain[[codes[0], 3 + codes[1]]] += residual
    assert total.dtype == np.int64
    assert np.allclose(total * 10.0 / 2**24, plain, atol=3e-6)


def test_long_row_is_shrunk_to_the_clip() -> None:
    row = clipped_gradient_sum(CODES[:1], LABELS[:1], WEIGHTS, BIN_COUNTS, clip=0.25)
    norm = math.sqrt(sum(int(value) ** 2 for value in row))
    assert norm <= row_bound(7)
    assert norm == pytest.approx(2**24, rel=2e-6)


def test_bound_is_two_to_the_24_plus_the_root_rounded_up() -> None:
    assert [row_bound(d) - 2**24 for d in (1, 2, 4, 5, 195)] == [1, 2, 2, 3, 14]


def test_row_over_the_bound_is_rounded_shorter_then_dropped() -> None:
    bound = row_bound(7)
    ones = 4
    limit = bound // 2
    exact = np.array([limit, limit * 1.01, limit * 1.1, -limit * 1.01, np.nan, np.inf])
    got = hard_row_check(exact, ones, bound=bound)
    assert got[0] == limit
    assert got[1] == round(limit * 1.01 * (1 - 2**-6)) == -got[3]
    assert got[2] == got[4] == got[5] == 0
    assert (ones * got**2 <= bound**2).all()


def test_zero_residual_gives_a_zero_row() -> None:
    assert clipped_rows(np.zeros(2), 3, clip=1.0, bound=row_bound(9)).tolist() == [0, 0]


def test_empty_table_gives_a_zero_sum() -> None:
    total = clipped_gradient_sum(CODES[:0], LABELS[:0], WEIGHTS, BIN_COUNTS, clip=1.0)
    assert total.tolist() == [0] * 7


def test_labels_as_a_column_are_refused() -> None:
    with pytest.raises(ShapeError):
        clipped_gradient_sum(CODES, LABELS.reshape(-1, 1), WEIGHTS, BIN_COUNTS, clip=1.0)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_clip_that_is_no_positive_number_is_refused(clip: float) -> None:
    with pytest.raises(DomainError):
        clipped_gradient_sum(CODES, LABELS, WEIGHTS, BIN_COUNTS, clip=clip)


def test_weights_with_nan_are_refused() -> None:
    weights = WEIGHTS.copy()
    weights[3] = np.nan
    with pytest.raises(DomainError):
        clipped_gradient_sum(CODES, LABELS, weights, BIN_COUNTS, clip=1.0)
