"""What one joint row can move in the sums that shares follow from (protocol 13.9.3)."""

from math import isqrt

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from consortium.plan import ReleaseKind
from consortium.privacy.mechanism import COUNT_SCALE, mechanism_for
from models.head import HeadRows, evaluation_histogram
from models.moments import decoded, moment_sums, width_of
from tests.head_house import StudyHouse, joint_rows

WILD = st.floats(-1e6, 1e6, allow_nan=False)
FAMILIES, ASKERS = 3, 2


def rows_of(inputs: np.ndarray, strata: np.ndarray) -> HeadRows:
    ones = np.ones((len(inputs), 1))
    return HeadRows(
        strata=strata.astype(np.int64),
        inputs=np.concatenate([ones, inputs], axis=1),
        partners=np.ones(len(inputs), dtype=np.int64),
    )


@given(
    inputs=arrays(np.float64, (1, FAMILIES), elements=WILD),
    own=arrays(np.float64, (1, FAMILIES), elements=WILD),
    weights=arrays(np.float64, (3 * (FAMILIES + 1),), elements=WILD),
    stratum=st.integers(0, 2),
)
def test_row_moves_the_moments_by_no_more_than_their_noise_is_made_for(
    inputs: np.ndarray, own: np.ndarray, weights: np.ndarray, stratum: int
) -> None:
    rows = rows_of(inputs, np.array([stratum]))
    sums = moment_sums(rows, own, weights, slot=1, askers=ASKERS)
    assert sums.shape == (width_of(ASKERS, FAMILIES),)
    assert sum(int(v) ** 2 for v in sums) <= COUNT_SCALE**2
    label = np.zeros(1, dtype=np.uint8)
    counts = evaluation_histogram(rows, label, weights) * COUNT_SCALE
    both = sum(int(v) ** 2 for v in (*sums, *counts))
    house = StudyHouse(rows=10)
    made = mechanism_for(house.plan, ReleaseKind.EVALUATION, width=1, partners=4)
    assert both <= made.sensitivity**2


def test_evaluation_of_a_head_is_noised_for_both_its_parts() -> None:
    house = StudyHouse(rows=10)
    head = mechanism_for(house.plan, ReleaseKind.EVALUATION, width=1, partners=4)
    count = mechanism_for(house.plan, ReleaseKind.OVERLAP, width=1, partners=4)
    assert head.sensitivity == isqrt(2 * COUNT_SCALE**2) + 1
    assert count.sensitivity == COUNT_SCALE


def test_asker_fills_its_own_slots_alone() -> None:
    rows = rows_of(np.full((40, FAMILIES), 0.2), np.zeros(40))
    sums = moment_sums(rows, np.full((40, FAMILIES), 0.1), np.ones(12), slot=1, askers=ASKERS)
    own, parts = decoded(sums, ASKERS)
    assert not own[0].any()
    assert own[1][0] > 35
    assert parts[:, 0].min() > 0


def test_shares_of_short_rows_are_those_of_the_parts() -> None:
    rng = np.random.default_rng(3)  # noqa: TID251 - planted persons
    parts = rng.normal(0, 0.4, (4000, FAMILIES)) * np.array([1.0, 0.5, 0.2])
    own = parts * np.array([1.0, 0.0, 0.0])
    sums = moment_sums(
        rows_of(parts / 2, np.zeros(4000)), own / 2, np.full(12, 2.0), slot=0, askers=1
    )
    moments, _ = decoded(sums, 1)
    n, p, u, pu, uu = moments[0]
    share = (pu / n - p * u / n**2) / (uu / n - (u / n) ** 2)
    total = parts.sum(axis=1)
    exact = np.cov(own[:, 0], total)[0, 1] / total.var(ddof=1)
    assert abs(share - exact) < 0.03


def test_study_carries_the_asker_s_own_part() -> None:
    rows = joint_rows(0, 50)
    assert np.array_equal(rows.own[:, 0], rows.logits[:, 0])
    assert not rows.own[:, 1].any()
