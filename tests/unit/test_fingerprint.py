"""Whether rows are the same, told without keeping one (protocol 9.4)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from consortium.crypto.keys import Secret
from partner_node import fingerprint as module
from partner_node.fingerprint import fingerprint, mark, sealed

SEED = Secret(b"s" * 32)
TABLES = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(TABLES, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(rows: np.ndarray, chance: st.DataObject) -> None:
    order = list(range(len(rows)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    assert fingerprint(rows[order], SEED) == fingerprint(rows, SEED)


@given(TABLES, st.data())
def test_one_other_value_is_another_fingerprint(rows: np.ndarray, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, rows.shape[1] - 1))
    other = rows.copy()
    other[row, column] ^= data.draw(st.integers(1, 255))
    assert fingerprint(other, SEED) != fingerprint(rows, SEED)


def test_values_swapped_between_two_rows_are_another_fingerprint() -> None:
    """All columns have the same counts: a sum over columns alone would not see it."""
    rows = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    assert fingerprint(np.array([[3, 2], [1, 4]], dtype=np.uint8), SEED) != fingerprint(
        rows, SEED
    )


def test_row_more_or_twice_is_another_fingerprint() -> None:
    rows = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    prints = {fingerprint(one, SEED) for one in (rows, rows[:1], np.vstack([rows, rows[:1]]))}
    assert len(prints) == 3


def test_fingerprint_needs_the_seed() -> None:
    rows = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    assert fingerprint(rows, Secret(b"t" * 32)) != fingerprint(rows, SEED)


def test_chunks_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(300, dtype=np.uint32).astype(np.uint8).reshape(100, 3)
    whole = fingerprint(rows, SEED)
    monkeypatch.setattr(module, "_CHUNK", 7)
    assert fingerprint(rows, SEED) == whole


@given(TABLES, st.data())
def test_marks_of_parts_add_up_to_the_fingerprint_of_all_rows(
    rows: np.ndarray, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    parts = mark(rows[:cut]) + mark(rows[cut:])
    assert sealed(parts, SEED) == fingerprint(rows, SEED)


def test_no_rows_have_a_fingerprint_too() -> None:
    assert mark(np.zeros((0, 3), dtype=np.uint8)) == 0
    assert len(fingerprint(np.zeros((0, 3), dtype=np.uint8), SEED)) == 16
