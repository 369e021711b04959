from fractions import Fraction

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.errors import DomainError, RefusalCode, RefusalError, ShapeError
from consortium.secagg.ring import (
    SCALE_BITS,
    check_no_overflow,
    decode_gradient,
    ring_sum,
    to_ring,
    to_signed,
)


def test_sum_wraps_and_leaves_the_uploads_alone() -> None:
    uploads = [np.array([2**64 - 1, 5], dtype=np.uint64), np.array([3, 6], dtype=np.uint64)]
    assert ring_sum(uploads).tolist() == [2, 11]
    assert uploads[0].tolist() == [2**64 - 1, 5]


@pytest.mark.parametrize(
    "second",
    [
        np.zeros(3, dtype=np.uint64),
        np.zeros(1, dtype=np.uint64),
        np.zeros((2, 1), dtype=np.uint64),
        np.zeros(2, dtype=np.int64),
        np.zeros(2),
    ],
)
def test_upload_of_another_shape_or_type_is_refused_not_broadcast(second: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        ring_sum([np.zeros(2, dtype=np.uint64), second])
    with pytest.raises(ShapeError):
        ring_sum([second, np.zeros(2, dtype=np.uint64)])


def test_sum_of_nothing_is_refused() -> None:
    with pytest.raises(DomainError):
        ring_sum([])


def test_floats_do_not_enter_the_ring() -> None:
    with pytest.raises(ShapeError):
        to_ring(np.zeros(2))
    with pytest.raises(ShapeError):
        to_signed(np.zeros(2, dtype=np.int64))


def test_overflow_bound_is_exact_at_its_edge() -> None:
    rows, partners, variance = 10**7, 50, 10**12
    noise = 12 * (10**6 + 1)
    largest = ((1 << 63) // partners - noise) // rows
    while partners * (rows * largest + noise) >= 1 << 63:
        largest -= 1
    check_no_overflow(rows, largest, variance, partners)
    with pytest.raises(RefusalError) as caught:
        check_no_overflow(rows, largest + 1, variance, partners)
    assert caught.value.reason is RefusalCode.OVERFLOW
    assert str(rows) not in str(caught.value)


def test_protocol_sizes_are_far_from_overflow() -> None:
    check_no_overflow(10**7, 2**24 + 32, 2**60, 50)
    for bad in ((-1, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)):
        with pytest.raises(DomainError):
            check_no_overflow(*bad)


def test_decoded_gradient_is_the_rational_within_two_roundings(
    rng: Generator,
) -> None:
    total = rng.integers(-(2**52), 2**52, 200)
    normaliser = rng.integers(1, 10**6, 200).astype(float)
    decoded = decode_gradient(total, 0.75, normaliser)
    for value, divisor, found in zip(total, normaliser, decoded, strict=True):
        exact = Fraction(int(value)) * Fraction(3, 4) / 2**SCALE_BITS / Fraction(divisor)
        assert abs(Fraction(float(found)) - exact) <= abs(exact) * Fraction(1, 2**52)


def test_decoding_takes_one_normaliser_or_one_for_each_coordinate() -> None:
    total = np.array([2**24, -(2**25)])
    assert decode_gradient(total, 2.0, 4.0).tolist() == [0.5, -1.0]
    assert decode_gradient(total, 1.0, np.array([1.0, 2.0])).tolist() == [1.0, -1.0]
    for normaliser in (np.ones(3), np.ones((2, 1)), np.ones(1)):
        with pytest.raises(ShapeError):
            decode_gradient(total, 1.0, normaliser)
    for clip, normaliser in ((0.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, float("inf"))):
        with pytest.raises(DomainError):
            decode_gradient(total, clip, normaliser)
