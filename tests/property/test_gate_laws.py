"""Laws of the gate: intervals are as wide as chance makes them, shares add up to one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit import intervals, tables
from consortium.credit.gate import Range, Verdict, judged
from tests.gate_house import evaluated

FINITE = st.floats(-3, 3)


@given(value=FINITE, half=st.floats(0, 3), low=st.floats(0.1, 1), width=st.floats(0.01, 2))
def test_line_passes_only_with_a_value_inside_and_fails_only_with_one_outside(
    value: float, half: float, low: float, width: float
) -> None:
    bounds = Range(low=low, high=low + width, tolerance=width / 4)  # type: ignore[arg-type]
    seen = judged("calibration.slope", "x", intervals.Figure(value, half), bounds)
    inside = low <= value <= low + width
    if seen.verdict == Verdict.PASSED.value:
        assert inside
    if seen.verdict == Verdict.FAILED.value:
        assert not inside
    narrow = judged("calibration.slope", "x", intervals.Figure(value, half / 2), bounds)
    if seen.verdict != Verdict.NOT_ASSESSED.value:
        assert narrow.verdict == seen.verdict


@given(
    parts=st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=4, max_size=40),
)
def test_shares_of_all_parts_add_up_to_one(parts: list[tuple[float, float, float]]) -> None:
    values = np.array(parts).round(6)
    total = values.sum(axis=1)
    found = [
        intervals.share(
            [len(total), one.sum(), total.sum(), (one * total).sum(), (total**2).sum()],
            deviation=0.0,
        )
        for one in values.T
    ]
    if float(total.var()) > 1e-3:
        assert abs(sum(one.value for one in found if one is not None) - 1) < 1e-6
        assert all(one is not None and one.half == 0.0 for one in found)


def test_intervals_hold_what_chance_does_in_nineteen_of_twenty_tables() -> None:
    """500 tables; a share outside .91 to .99 has a chance below one in 10,000."""
    rng = np.random.default_rng(17)  # noqa: TID251 - drawn tables
    truth = evaluated(persons=20_000, noise=15.0)
    hits = {"large": 0, "slope": 0}
    true_slope = tables.slope(truth.table, truth.eta, deviation=0.0)
    assert true_slope is not None
    trials = 500
    for _ in range(trials):
        drawn = rng.poisson(truth.table) + rng.normal(0, 15.0, truth.table.shape)
        large = intervals.in_the_large(drawn, truth.eta, deviation=15.0)
        slope = intervals.slope(drawn, truth.eta, deviation=15.0)
        assert large is not None
        assert slope is not None
        hits["large"] += abs(large.value - 1) <= large.half
        hits["slope"] += abs(slope.value - true_slope) <= slope.half
    for count in hits.values():
        assert 0.91 < count / trials < 0.99
