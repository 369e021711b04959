import math

import numpy as np
import pytest

from consortium.errors import DomainError, ShapeError
from consortium.scoring.head import STRATA
from consortium.scoring.layout import TOTAL, JointSums
from models.head import (
    band_centres,
    band_edges,
    clipped_gradient_sum,
    evaluation_histogram,
    head_of,
    log_odds,
    overlap_histogram,
    rows_of,
    scarce_strata,
    start_weights,
    width_of,
    with_pooled,
)
from models.scorecard import GUARD

UNIT = 1 << 32


def _sums(logits: list[list[float]], counts: list[list[int]], partners: list[int]) -> JointSums:
    return JointSums(
        columns=("a", "b", "c"),
        logits=np.rint(np.array(logits) * UNIT).astype(np.int64),
        counts=np.array(counts, dtype=np.int64),
        partners=np.array(partners, dtype=np.int64),
    )


SUMS = _sums(
    [[1.0, 0, 0], [2.0, -1.0, 0], [0.5, 1.0, 3.0], [0, 0, 0]],
    [[1, 0, 0], [2, 1, 0], [1, 1, 2], [0, 0, 0]],
    [1, 3, 4, 0],
)


def test_row_is_the_mean_of_the_holders_in_the_stratum_of_its_covered_families() -> None:
    rows, covered = rows_of(SUMS)
    assert covered.tolist() == [True, True, True, False]
    assert rows.strata.tolist() == [0, 1, 2]
    assert rows.inputs.tolist() == [
        [1.0, 0.5, 0.0, 0.0],
        [1.0, 0.5, -0.5, 0.0],
        [1.0, 0.25, 0.5, 0.75],
    ]


def test_start_is_the_plain_sum_of_the_parts() -> None:
    rows, _ = rows_of(SUMS)
    eta = log_odds(rows, start_weights(-1.25, 3))
    assert eta.tolist() == [-0.25, -1.25, 1.75]


def test_start_as_it_would_be_served_has_slopes_of_one() -> None:
    head = head_of(start_weights(-1.25, 3), ("a", "b", "c"), -1.25)
    assert head.alpha == (-5 * UNIT // 4,) * STRATA
    assert head.beta == ((UNIT,) * 3,) * STRATA


def test_total_alone_is_one_column() -> None:
    sums = JointSums(
        columns=(TOTAL,),
        logits=np.array([[UNIT], [3 * UNIT]]),
        counts=np.array([[1], [3]]),
        partners=np.array([1, 3]),
    )
    rows, _ = rows_of(sums)
    assert rows.strata.tolist() == [0, 2]
    assert rows.inputs.tolist() == [[1.0, 0.5], [1.0, 0.5]]


def test_clip_shrinks_a_long_row_to_c_and_leaves_a_short_one() -> None:
    """Without the clip the hard check would drop the long row, and its part would be 0."""
    long = _sums([[12.0, 0, 0]], [[1, 0, 0]], [1])
    weights = np.zeros(width_of(3))
    bad = np.ones(1, dtype=np.uint8)
    for clip, norm in ((0.5, 0.5), (100.0, 0.5 * math.sqrt(37))):
        rows, _ = rows_of(long)
        total = clipped_gradient_sum(rows, bad, weights, clip=clip) * (clip / 2.0**24)
        assert np.linalg.norm(total) == pytest.approx(norm * GUARD, rel=1e-5)
        assert np.all(total[4:] == 0)


def test_column_of_labels_is_refused() -> None:
    rows, _ = rows_of(SUMS)
    labels = np.ones((3, 1), dtype=np.uint8)
    with pytest.raises(ShapeError):
        clipped_gradient_sum(rows, labels, np.zeros(12), clip=1.0)
    with pytest.raises(ShapeError):
        evaluation_histogram(rows, labels, np.zeros(12))


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_clip_that_bounds_nothing_is_refused(clip: float) -> None:
    rows, _ = rows_of(SUMS)
    with pytest.raises(DomainError):
        clipped_gradient_sum(rows, np.ones(3, dtype=np.uint8), np.zeros(12), clip=clip)


def test_weights_of_another_size_are_refused() -> None:
    rows, _ = rows_of(SUMS)
    with pytest.raises(ShapeError):
        log_odds(rows, np.zeros(11))


def test_histogram_counts_a_person_once_in_its_stratum_band_and_label() -> None:
    rows, _ = rows_of(SUMS)
    labels = np.array([0, 1, 1], dtype=np.uint8)
    table = evaluation_histogram(rows, labels, start_weights(-1.25, 3)).reshape(3, 16, 2)
    # PDs .44, .223 and .85: the bands that begin at .36, .22 and .70.
    assert table.sum() == 3
    assert table[0, 13].tolist() == [1, 0]
    assert table[1, 11].tolist() == [0, 1]
    assert table[2, 15].tolist() == [0, 1]


def test_weights_that_overflow_for_some_rows_lose_no_person() -> None:
    rows, _ = rows_of(SUMS)
    with np.errstate(all="ignore"):
        table = evaluation_histogram(rows, np.zeros(3, dtype=np.uint8), np.full(12, 1.5e308))
    assert table.sum() == 3


def test_overlap_counts_partners_up_to_three_and_more() -> None:
    rows, _ = rows_of(SUMS)
    assert overlap_histogram(rows).reshape(3, 3).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_bands_rise_and_their_centres_lie_inside() -> None:
    edges, centres = band_edges(), band_centres()
    assert edges.shape == (15,)
    assert np.all(np.diff(edges) > 0)
    assert np.all(centres[:-1] < edges)
    assert np.all(centres[1:] > edges)
    assert edges[0] == pytest.approx(math.log(0.01 / 0.99))


def test_stratum_below_twenty_deviations_is_scarce() -> None:
    overlap = np.array([[900.0, 101, 0], [-3, 2, 1], [10_000, 0, 0]])
    assert scarce_strata(overlap, deviation=50.0) == (1,)
    assert scarce_strata(overlap, deviation=51.0) == (0, 1)
    assert scarce_strata(np.zeros((3, 3)), deviation=0.0) == (0, 1, 2)
    with pytest.raises(ShapeError):
        scarce_strata(np.zeros((3, 2)), deviation=1.0)


def test_pooled_stratum_has_the_mean_of_the_others_by_persons() -> None:
    overlap = np.array([[100.0, 0, 0], [-3, 2, 1], [300, 0, 0]])
    weights = np.array([1.0, 2, 7, 7, 5, 6])
    assert with_pooled(weights, overlap, (1,)).tolist() == [1, 2, 4, 5, 5, 6]
    assert with_pooled(weights, overlap, ()).tolist() == weights.tolist()
    with pytest.raises(DomainError):
        with_pooled(weights, overlap, (0, 1, 2))
