"""Laws of a head's exact sums: they hold for any joint rows, weights, order and chunks."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from consortium.scoring.combine import joint_eta
from consortium.scoring.head import STRATA
from consortium.scoring.layout import JointSums
from models.head import (
    HeadRows,
    clipped_gradient_sum,
    clipped_rows,
    evaluation_histogram,
    head_of,
    log_odds,
    overlap_histogram,
    rows_of,
    width_of,
)
from models.scorecard import GUARD, row_bound

F = 3
WIDTH = width_of(F)
LIMIT = 16 << 32

Sums = tuple[JointSums, np.ndarray]  # type: ignore[type-arg]


@st.composite
def studies(draw: st.DrawFn) -> Sums:
    rows = draw(st.integers(0, 30))
    counts = draw(arrays(np.int64, (rows, F), elements=st.integers(0, 3)))
    logits = draw(arrays(np.int64, (rows, F), elements=st.integers(-LIMIT, LIMIT))) * counts
    return JointSums(
        columns=("a", "b", "c"), logits=logits, counts=counts, partners=counts.max(axis=1)
    ), draw(arrays(np.uint8, rows, elements=st.integers(0, 1)))


weight_vectors = arrays(np.float64, WIDTH, elements=st.floats(-50, 50))
clips = st.floats(1e-3, 1e3)


def _rows(study: Sums) -> tuple[HeadRows, np.ndarray]:  # type: ignore[type-arg]
    rows, covered = rows_of(study[0])
    return rows, study[1][covered]


@given(study=studies(), weights=weight_vectors, clip=clips, chunk=st.integers(1, 40))
@settings(max_examples=50)
def test_sum_is_the_same_for_any_chunks_and_order(
    study: Sums,
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
    chunk: int,
) -> None:
    rows, labels = _rows(study)
    turned = HeadRows(
        strata=rows.strata[::-1], inputs=rows.inputs[::-1], partners=rows.partners[::-1]
    )
    whole = clipped_gradient_sum(rows, labels, weights, clip=clip)
    again = clipped_gradient_sum(turned, labels[::-1], weights, clip=clip, chunk_rows=chunk)
    assert np.array_equal(whole, again)


@given(study=studies(), weights=weight_vectors, clip=clips, cut=st.integers(0, 30))
@settings(max_examples=50)
def test_sums_and_histograms_of_two_parts_add_up(
    study: Sums,
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
    cut: int,
) -> None:
    rows, labels = _rows(study)
    first = np.arange(len(rows)) < cut
    for total in (
        lambda r, y: clipped_gradient_sum(r, y, weights, clip=clip),
        lambda r, y: evaluation_histogram(r, y, weights),
        lambda r, _: overlap_histogram(r),
    ):
        parts = [total(rows.of(part), labels[part]) for part in (first, ~first)]
        assert np.array_equal(total(rows, labels), parts[0] + parts[1])


@given(
    pair=st.tuples(studies(), studies()), weights=weight_vectors, clip=clips, bad=st.booleans()
)
@settings(max_examples=100)
def test_row_moves_the_sum_by_q_and_a_row_that_changes_by_twice_q(
    pair: tuple[Sums, Sums],
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
    bad: bool,  # noqa: FBT001 - drawn
) -> None:
    (rows, _), (others, _) = (_rows(study) for study in pair)
    bound = row_bound(WIDTH)
    y = np.array([bad], dtype=np.uint8)
    for here in range(min(3, len(rows))):
        one = np.arange(len(rows)) == here
        alone = clipped_gradient_sum(rows.of(one), y, weights, clip=clip)
        assert sum(int(v) ** 2 for v in alone) <= bound**2
        for there in range(min(3, len(others))):
            two = np.arange(len(others)) == there
            changed = clipped_gradient_sum(others.of(two), y, weights, clip=clip)
            moved = sum(int(v) ** 2 for v in alone - changed)
            assert moved <= (2 * bound) ** 2


@given(
    residuals=arrays(np.float64, 4, elements=st.floats(allow_nan=True, width=64)),
    inputs=arrays(np.float64, (4, F + 1), elements=st.floats(-1e6, 1e6)),
    clip=clips,
)
@settings(max_examples=100)
def test_no_float_makes_a_row_longer_than_q(
    residuals: np.ndarray,  # type: ignore[type-arg]
    inputs: np.ndarray,  # type: ignore[type-arg]
    clip: float,
) -> None:
    bound = row_bound(WIDTH)
    with np.errstate(all="ignore"):
        found = clipped_rows(residuals, inputs, clip=clip, bound=bound)
    assert all(sum(int(v) ** 2 for v in row) <= bound**2 for row in found)


@given(
    study=studies(), weights=arrays(np.float64, WIDTH, elements=st.floats(-3, 3)), clip=clips
)
@settings(max_examples=50)
def test_sum_is_that_of_the_naive_formula(
    study: Sums,
    weights: np.ndarray,  # type: ignore[type-arg]
    clip: float,
) -> None:
    rows, labels = _rows(study)
    table = weights.reshape(STRATA, F + 1)
    expected = np.zeros((STRATA, F + 1))
    for stratum, x, y in zip(rows.strata, rows.inputs, labels, strict=True):
        p = 1 / (1 + math.exp(-min(max(float(table[stratum] @ x), -700.0), 700.0)))
        gradient = (p - float(y)) * x
        norm = float(np.linalg.norm(gradient))
        expected[stratum] += gradient * (min(1.0, clip / norm) if norm else 1.0)
    found = clipped_gradient_sum(rows, labels, weights, clip=clip) * (clip / 2.0**24)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    slack = scale * 2 * (1 - GUARD) + (len(rows) + 1) * clip * 2.0**-23
    assert np.abs(found.reshape(STRATA, F + 1) - expected).max(initial=0) <= slack


@given(study=studies(), weights=arrays(np.float64, WIDTH, elements=st.floats(-3, 3)))
@settings(max_examples=50)
def test_head_that_is_served_gives_what_was_trained(
    study: Sums,
    weights: np.ndarray,  # type: ignore[type-arg]
) -> None:
    rows, covered = rows_of(study[0])
    head = head_of(weights, ("a", "b", "c"), -1.0)
    eta, strata = joint_eta(head, study[0])
    assert np.array_equal(strata[covered] - 1, rows.strata)
    assert np.allclose(eta[covered] / 2.0**32, log_odds(rows, weights), atol=1e-8)
