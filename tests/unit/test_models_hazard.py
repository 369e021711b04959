"""Closure risk: what a person can move, what incidences add up to, what is known ahead."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - a type
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError
from models.closure_bins import BIN_COUNTS, CAUSES, CLOSURES, FEATURES, MOST_ROWS, STEPS
from models.hazard import (
    UNIT,
    HazardRows,
    calibrated,
    carried_by,
    clipped_gradient_sum,
    clipped_persons,
    closure_histogram,
    closure_logits,
    hazards,
    incidences,
)
from models.scorecard import row_bound

WIDTH = len(CAUSES) * sum(BIN_COUNTS)
Float = NDArray[np.float64]


def seeded(seed: int) -> Generator:
    return np.random.default_rng(seed)  # noqa: TID251 - a seeded stream


def codes_of(rng: Generator, *shape: int) -> NDArray[np.uint8]:
    columns = [rng.integers(0, count, shape) for count in BIN_COUNTS]
    return np.stack(columns, axis=-1).astype(np.uint8)


def rows_of(rng: Generator, lengths: list[int]) -> HazardRows:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(starts[-1])
    causes = (rng.integers(0, 60, count) % (len(CAUSES) + 1)).astype(np.uint8)
    return HazardRows(codes_of(rng, count), causes, starts)


def weights_of(rng: Generator, scale: float = 1.0) -> Float:
    return scale * rng.standard_normal(WIDTH) - 4.5 / len(FEATURES)


def one_person(rows: HazardRows, person: int) -> HazardRows:
    here = slice(int(rows.starts[person]), int(rows.starts[person + 1]))
    length = here.stop - here.start
    return HazardRows(rows.codes[here], rows.causes[here], np.asarray([0, length]))


@settings(max_examples=25)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, MOST_ROWS), min_size=1, max_size=8),
    st.floats(0.01, 20),
    st.floats(0.1, 30),
)
def test_a_person_s_line_months_together_move_the_sum_by_at_most_q(
    seed: int, lengths: list[int], clip: float, scale: float
) -> None:
    rng = seeded(seed)
    rows, weights = rows_of(rng, lengths), weights_of(rng, scale)
    total = clipped_gradient_sum(rows, weights, BIN_COUNTS, clip=clip)
    parts = [
        clipped_gradient_sum(one_person(rows, person), weights, BIN_COUNTS, clip=clip)
        for person in range(rows.persons)
    ]
    for part in parts:
        assert sum(int(x) ** 2 for x in part) <= row_bound(WIDTH) ** 2
    assert np.array_equal(total, np.sum(parts, axis=0))


def test_the_gradient_is_that_of_the_log_loss() -> None:
    rng = seeded(1)
    rows, weights = rows_of(rng, [12, 3, 7]), weights_of(rng, 0.3)

    def loss(at: Float) -> float:
        chance = hazards(at, rows.codes, BIN_COUNTS)
        every = np.column_stack([1 - chance.sum(axis=1), chance])
        return -float(np.log(every[np.arange(rows.causes.size), rows.causes]).sum())

    seen = clipped_gradient_sum(rows, weights, BIN_COUNTS, clip=1e4) * 1e4 / 2**24
    for place in rng.integers(0, WIDTH, 25):
        step = np.zeros(WIDTH)
        step[place] = 1e-5
        slope = (loss(weights + step) - loss(weights - step)) / 2e-5
        assert seen[place] == pytest.approx(slope, abs=2e-3)


def test_line_months_are_clipped_together_and_not_one_by_one() -> None:
    """Clipped month by month, a person with twelve would move twelve times as much."""
    rng = seeded(2)
    codes = np.repeat(codes_of(rng, 1), MOST_ROWS, axis=0)
    rows = HazardRows(codes, np.ones(MOST_ROWS, dtype=np.uint8), np.asarray([0, MOST_ROWS]))
    found = clipped_gradient_sum(rows, weights_of(rng), BIN_COUNTS, clip=1.0)
    assert np.sqrt((found.astype(float) ** 2).sum()) <= row_bound(WIDTH)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e300, -1e300])
def test_a_row_that_floats_broke_is_within_q_all_the_same(broken: float) -> None:
    gradients = np.full((2, WIDTH), 0.3)
    gradients[0, 5] = broken
    found = clipped_persons(gradients, clip=1.0, bound=row_bound(WIDTH))
    assert ((found.astype(object) ** 2).sum(axis=1) <= row_bound(WIDTH) ** 2).all()
    assert found[1].any()


def test_a_row_above_q_is_dropped() -> None:
    """Only a bound that no rounding meets can show it: healthy code never comes here."""
    found = clipped_persons(np.full((1, WIDTH), 1.0), clip=1.0, bound=1000)
    assert not found.any()


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.floats(0.1, 40))
def test_incidences_of_a_line_never_add_up_to_more_than_one(seed: int, scale: float) -> None:
    rng = seeded(seed)
    codes, ends = codes_of(rng, 20, STEPS), rng.integers(0, STEPS + 1, 20).astype(np.uint8)
    found = incidences(weights_of(rng, scale), codes, BIN_COUNTS, withdrawn=ends)
    assert (found.by_cause >= 0).all()
    assert (found.open >= 0).all()
    assert (found.by_cause.sum(axis=1) + found.open == UNIT).all()
    wanted = np.clip(rng.random(20), 1e-6, 1 - 1e-6)
    again = calibrated(found, wanted)
    assert (again.by_cause >= 0).all()
    assert (again.by_cause.sum(axis=1) + again.open == UNIT).all()


def test_incidences_are_the_sums_of_the_formula() -> None:
    rng = seeded(3)
    codes, weights = codes_of(rng, 9, STEPS), weights_of(rng)
    found, still, total = incidences(weights, codes, BIN_COUNTS), np.ones(9), np.zeros((9, 4))
    for step in range(STEPS):
        chance = hazards(weights, codes[:, step], BIN_COUNTS)
        total += still[:, None] * chance
        still = still * (1 - chance.sum(axis=1))
    assert found.by_cause[:, :4] / UNIT == pytest.approx(total, abs=1e-7)
    logit = closure_logits(found)
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(total[:, :CLOSURES].sum(axis=1), abs=1e-6)


def test_a_withdrawal_is_certain_on_its_date_and_nothing_comes_after() -> None:
    rng = seeded(4)
    codes, weights = codes_of(rng, 1, STEPS).repeat(3, axis=0), weights_of(rng)
    ends = np.asarray([1, 2, 0], dtype=np.uint8)
    found = incidences(weights, codes, BIN_COUNTS, withdrawn=ends)
    assert found.by_cause[0].tolist() == [0, 0, 0, 0, UNIT]
    assert found.open[:2].tolist() == [0, 0]
    assert (found.by_cause[1, :4] < found.by_cause[2, :4]).all()
    assert found.any_closure[0] == UNIT
    assert found.by_cause[2, 4] == 0


def test_the_recalibrated_chance_is_what_was_asked_and_causes_keep_their_shares() -> None:
    rng = seeded(5)
    found = incidences(weights_of(rng), codes_of(rng, 50, STEPS), BIN_COUNTS)
    again = calibrated(found, np.full(50, 0.2))
    assert again.closure / UNIT == pytest.approx(np.full(50, 0.2), abs=1e-7)
    shares = found.by_cause[:, :3] / found.closure[:, None]
    assert again.by_cause[:, :3] / again.closure[:, None] == pytest.approx(shares, abs=1e-6)


def test_one_person_changes_one_count_of_the_histogram() -> None:
    rng = seeded(6)
    found = incidences(weights_of(rng), codes_of(rng, 30, STEPS), BIN_COUNTS)
    labels, edges = rng.integers(0, 2, 30).astype(np.uint8), np.linspace(-5, 1, 15)
    counts = closure_histogram(found, labels, edges)
    assert counts.sum() == 30
    by_logit = np.searchsorted(edges, closure_logits(found), side="right")
    assert (
        counts.reshape(-1, 2).sum(axis=1).tolist()
        == np.bincount(by_logit, minlength=16).tolist()
    )


def test_what_carries_a_hazard_is_counted_from_the_calmest_bin() -> None:
    weights = np.zeros((len(CAUSES), sum(BIN_COUNTS)))
    start = BIN_COUNTS[0]
    weights[2, start : start + BIN_COUNTS[1]] = [-1, -1, -1, 0, 0, 3]
    codes = np.zeros((2, len(BIN_COUNTS)), dtype=np.uint8)
    codes[1, 1] = 5
    found = carried_by(weights.ravel(), codes, BIN_COUNTS, CAUSES.index("INACTIVITY"))
    assert found[0].tolist() == [0.0] * len(BIN_COUNTS)
    assert found[1].argmax() == 1
    assert found[1, 1] == 4


def test_ragged_and_impossible_rows_are_refused() -> None:
    rng = seeded(7)
    rows = rows_of(rng, [2, 2])
    with pytest.raises(DomainError, match="more than 12"):
        HazardRows(codes_of(rng, 13), np.zeros(13, dtype=np.uint8), np.asarray([0, 13]))
    with pytest.raises(DomainError, match="no line-month"):
        replace(rows, starts=np.asarray([0, 0, 4]))
    with pytest.raises(ShapeError, match="end at the last"):
        replace(rows, starts=np.asarray([0, 2]))
    with pytest.raises(ShapeError, match="causes"):
        replace(rows, causes=rows.causes[:, None])
    with pytest.raises(DomainError, match="cause"):
        replace(rows, causes=np.full(4, 9, dtype=np.uint8))
    with pytest.raises(DomainError, match="clip"):
        clipped_gradient_sum(rows, weights_of(rng), BIN_COUNTS, clip=0.0)
    high = rows.codes.copy()
    high[0, 2] = 200
    with pytest.raises(DomainError, match="bins"):
        hazards(weights_of(rng), high, BIN_COUNTS)
    with pytest.raises(ShapeError, match="codes"):
        incidences(weights_of(rng), rows.codes, BIN_COUNTS)
