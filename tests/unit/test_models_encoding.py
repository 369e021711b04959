import numpy as np
import pytest

from consortium.errors import DomainError, ShapeError
from models.encoding import (
    check_codes,
    check_labels,
    chunks,
    column_indices,
    column_starts,
    one_hot,
)

CODES = np.array([[0, 2], [1, 0]], dtype=np.uint8)


def test_indices_are_codes_after_the_features_before() -> None:
    assert column_starts((2, 3)) == (0, 2)
    assert column_indices(CODES, (2, 3)).tolist() == [[0, 4], [1, 2]]


def test_one_hot_has_one_one_for_each_feature() -> None:
    assert one_hot(CODES, (2, 3)).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    assert one_hot(CODES[:0], (2, 3)).shape == (0, 5)


def test_indices_of_wide_features_do_not_wrap() -> None:
    codes = np.array([[255, 255]], dtype=np.uint8)
    assert column_indices(codes, (256, 256)).tolist() == [[255, 511]]


def test_code_of_the_next_feature_is_refused() -> None:
    with pytest.raises(DomainError):
        column_indices(np.array([[2, 0]], dtype=np.uint8), (2, 3))


@pytest.mark.parametrize(
    "codes",
    [CODES[0], CODES[:, :1], CODES.astype(np.int64), CODES.astype(np.float64)],
    ids=["flat", "a column short", "int64", "float64"],
)
def test_codes_of_another_form_are_refused(codes: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ShapeError):
        check_codes(codes, (2, 3))


def test_labels_as_a_column_are_refused_not_squeezed() -> None:
    with pytest.raises(ShapeError):
        check_labels(np.zeros((3, 1), dtype=np.uint8), 3)
    with pytest.raises(ShapeError):
        check_labels(np.zeros(2, dtype=np.uint8), 3)
    with pytest.raises(ShapeError):
        check_labels(np.zeros(3, dtype=np.float64), 3)  # type: ignore[arg-type]


def test_label_two_is_refused() -> None:
    check_labels(np.array([0, 1], dtype=np.uint8), 2)
    with pytest.raises(DomainError):
        check_labels(np.array([0, 2], dtype=np.uint8), 2)


def test_chunks_cover_all_rows_once() -> None:
    parts = list(chunks(10, 4))
    assert [(part.start, part.stop) for part in parts] == [(0, 4), (4, 8), (8, 10)]
    assert list(chunks(0, 4)) == []
    with pytest.raises(DomainError):
        list(chunks(10, 0))
