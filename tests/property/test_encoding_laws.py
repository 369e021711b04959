from collections.abc import Callable

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from consortium.canonical import canonical_json, parse_canonical
from consortium.crypto.keys import Secret
from consortium.crypto.stream import key_stream_words
from consortium.errors import DecodeError
from consortium.secagg.ring import ring_sum, to_ring, to_signed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), inner)
    ),
    max_leaves=12,
)
INT64 = st.integers(-(2**63), 2**63 - 1)


@given(VALUES)
def test_canonical_bytes_parse_to_the_same_value(value: object) -> None:
    assert parse_canonical(canonical_json(value)) == value


@given(VALUES)
def test_canonical_bytes_are_those_of_an_implementation_of_rfc_8785(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(VALUES, VALUES)
def test_two_values_never_share_canonical_bytes(one: object, two: object) -> None:
    same = canonical_json(one) == canonical_json(two)
    assert same == (_typed(one) == _typed(two))


def _typed(value: object) -> object:
    """Python holds ``True == 1``; JSON does not."""
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    return type(value), value


@given(st.binary(max_size=40) | VALUES.map(canonical_json), st.data())
def test_bytes_that_parse_are_exactly_the_canonical_ones(
    data: bytes, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(data)))
    altered = data[:at] + draw.draw(st.binary(max_size=2)) + data[at:]
    for candidate in (data, altered):
        try:
            value = parse_canonical(candidate)
        except DecodeError:
            continue
        assert canonical_json(value) == candidate


@given(st.lists(INT64, max_size=20))
def test_ring_words_read_back_as_the_integers_they_were(values: list[int]) -> None:
    vector = np.array(values, dtype=np.int64)
    words = to_ring(vector)
    assert [int(word) for word in words] == [value % 2**64 for value in values]
    assert np.array_equal(to_signed(words), vector)


@given(
    st.integers(1, 5).flatmap(
        lambda d: st.lists(st.lists(INT64, min_size=d, max_size=d), min_size=1)
    )
)
def test_ring_sum_is_the_integer_sum_in_any_order(parts: list[list[int]]) -> None:
    uploads = [to_ring(np.array(part, dtype=np.int64)) for part in parts]
    expected = [sum(column) % 2**64 for column in zip(*parts, strict=True)]
    assert ring_sum(uploads).tolist() == expected
    assert ring_sum(reversed(uploads)).tolist() == expected


@pytest.mark.parametrize("partners", [2, 3, 50])
def test_words_added_by_one_and_taken_off_by_another_leave_no_trace(
    partners: int, secret: Callable[[str], Secret]
) -> None:
    masks = [key_stream_words(secret(f"pair {k}"), 100) for k in range(partners)]
    values: list[NDArray[np.int64]] = [np.arange(100) - 50 * k for k in range(partners)]
    uploads = [
        to_ring(values[k]) + masks[k] - masks[(k + 1) % partners] for k in range(partners)
    ]
    assert np.array_equal(to_signed(ring_sum(uploads)), np.sum(values, axis=0))
