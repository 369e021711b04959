"""Laws of the exact sums: they hold for any rows, weights, order and chunks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.calibration import histogram
from models.encoding import column_indices, one_hot
from models.evaluation import auc
from models.scorecard import clipped_gradient_sum, logits, row_bound

COUNTS = (3, 2, 5)
FEATURES, WIDTH = len(COUNTS), sum(COUNTS)

rows = st.integers(0, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.uint8, (n, FEATURES), elements=st.integers(0, 1)),
        arrays(np.uint8, n, elements=st.integers(0, 1)),
    )
)
weight_vectors = arrays(np.float64, WIDTH, elements=st.floats(-50, 50))
clips = st.floats(1e-3, 1e3)


@given(table=rows, weights=weight_vectors, clip=clips, chunk=st.integers(1, 50))
@settings(max_examples=50)
def test_sum_is_the_same_for_any_chunks_and_order(
    table: tuple[np.ndarray, np.ndarray],  # type: ignore[type-arg]
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
    chunk: int,
) -> None:
    codes, labels = table
    whole = clipped_gradient_sum(codes, labels, weights, COUNTS, clip=clip)
    again = clipped_gradient_sum(
        codes[::-1], labels[::-1], weights, COUNTS, clip=clip, chunk_rows=chunk
    )
    assert np.array_equal(whole, again)


@given(table=rows, weights=weight_vectors, clip=clips, cut=st.integers(0, 40))
@settings(max_examples=50)
def test_sums_of_two_parts_add_up(
    table: tuple[np.ndarray, np.ndarray],  # type: ignore[type-arg]
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
    cut: int,
) -> None:
    codes, labels = table
    parts = [
        clipped_gradient_sum(codes[part], labels[part], weights, COUNTS, clip=clip)
        for part in (slice(None, cut), slice(cut, None))
    ]
    whole = clipped_gradient_sum(codes, labels, weights, COUNTS, clip=clip)
    assert np.array_equal(whole, parts[0] + parts[1])


@given(table=rows, weights=weight_vectors, clip=clips, label=st.integers(0, 1))
@settings(max_examples=50)
def test_one_more_row_moves_the_sum_by_at_most_q(
    table: tuple[np.ndarray, np.ndarray],  # type: ignore[type-arg]
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
    label: int,
) -> None:
    codes, labels = table
    more = np.concatenate([codes, np.array([[2, 1, 4]], dtype=np.uint8)])
    named = np.append(labels, np.uint8(label))
    before = clipped_gradient_sum(codes, labels, weights, COUNTS, clip=clip)
    after = clipped_gradient_sum(more, named, weights, COUNTS, clip=clip)
    moved = sum(int(value) ** 2 for value in after - before)
    assert moved <= row_bound(WIDTH) ** 2


@given(table=rows, weights=weight_vectors)
@settings(max_examples=50)
def test_logits_equal_the_one_hot_product(
    table: tuple[np.ndarray, np.ndarray],  # type: ignore[type-arg]
    weights: np.ndarray,  # type: ignore[type-arg]
) -> None:
    codes, _ = table
    dense = one_hot(codes, COUNTS)
    assert np.array_equal(dense.sum(axis=1), np.full(len(codes), FEATURES))
    assert np.array_equal(
        np.argsort(-dense, axis=1, kind="stable")[:, :FEATURES], column_indices(codes, COUNTS)
    )
    assert np.allclose(logits(weights, codes, COUNTS), dense @ weights, atol=1e-12)


@given(z=arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6)), data=st.data())
@settings(max_examples=50)
def test_histogram_counts_every_row_once(z: np.ndarray, data: st.DataObject) -> None:  # type: ignore[type-arg]
    labels = data.draw(arrays(np.uint8, z.size, elements=st.integers(0, 1)))
    counts = histogram(z, labels).reshape(-1, 2)
    assert counts.sum() == z.size
    assert counts[:, 1].sum() == labels.sum()


@given(
    z=arrays(np.float64, st.integers(2, 40), elements=st.floats(-5, 5, width=16)),
    data=st.data(),
)
@settings(max_examples=50)
def test_auc_turns_over_with_the_score(z: np.ndarray, data: st.DataObject) -> None:  # type: ignore[type-arg]
    labels = data.draw(arrays(np.uint8, z.size, elements=st.integers(0, 1)))
    area, turned = auc(z, labels), auc(-z, labels)
    if area is None or turned is None:
        assert area is turned is None
    else:
        assert abs(area + turned - 1) < 1e-12
