import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.errors import DomainError
from models.joint import MOST_CELLS, columns_of, groups
from models.scorecard import clipped_gradient_sum, logits, row_bound

WIDE = (2, 3, 300, 40, 40, 5, 1, 7)


def test_groups_are_all_features_in_order_within_the_limit() -> None:
    found = groups(WIDE)
    assert sum((one.bin_counts for one in found), ()) == WIDE
    assert [one.first for one in found] == [0, 3, 5] == [0, *[one.last for one in found[:-1]]]
    assert all(one.cells <= MOST_CELLS for one in found)


def test_feature_of_more_bins_than_the_limit_is_alone() -> None:
    assert [one.bin_counts for one in groups((5000, 2, 5000))] == [(5000,), (2,), (5000,)]


def test_joint_codes_of_bytes_do_not_overflow() -> None:
    codes = np.array([[255, 15], [254, 0]], dtype=np.uint8)
    (group,) = groups((256, 16))
    columns = columns_of(codes, (256, 16))
    assert group.joint(columns).tolist() == [255 * 16 + 15, 254 * 16]


def test_marginals_are_the_sums_by_feature(rng: Generator) -> None:
    counts = (3, 4, 5)
    codes = np.stack([rng.integers(0, count, 200) for count in counts], 1).astype(np.uint8)
    (group,) = groups(counts)
    values = rng.integers(-9, 9, 200)
    joint = group.joint(columns_of(codes, counts))
    cells = np.bincount(joint, values, group.cells).astype(np.int64)
    for feature, sums in enumerate(group.marginals(cells)):
        assert sums.tolist() == np.bincount(codes[:, feature], values, counts[feature]).tolist()


def test_code_that_would_be_another_joint_code_is_refused() -> None:
    with pytest.raises(DomainError):
        columns_of(np.array([[0, 4]], dtype=np.uint8), (3, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rows", [1, 7, 6_000])
def test_scorecards_figures_do_not_show_the_detour(
    dtype: type, rows: int, rng: Generator
) -> None:
    counts = (2, 3, 200, 40, 40, 5, 1, 7)
    codes = np.stack([rng.integers(0, count, rows) for count in counts], 1).astype(dtype)
    labels = rng.integers(0, 2, rows).astype(np.uint8)
    weights = rng.normal(size=sum(counts))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    expected = np.zeros(rows)
    for feature, start in enumerate(starts):
        expected = expected + weights[start + codes[:, feature].astype(np.int64)]
    assert logits(weights, codes, counts).tobytes() == expected.tobytes()
    whole = clipped_gradient_sum(codes, labels, weights, counts, clip=1.0)
    one_by_one = sum(
        clipped_gradient_sum(codes[[row]], labels[[row]], weights, counts, clip=1.0)
        for row in range(min(rows, 50))
    )
    some = clipped_gradient_sum(codes[:50], labels[:50], weights, counts, clip=1.0)
    assert np.array_equal(some, one_by_one)
    assert np.abs(whole).max() <= rows * row_bound(weights.size)
