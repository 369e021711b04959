"""Laws of the gate: intervals are as wide as chance makes them, shares add up to one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit import intervals, tables
from consortium.credit.gate import Range, Verdict, judged
from consortium.credit.intervals import NORMAL_95, Interval
from tests.gate_house import evaluated

FINITE = st.floats(-3, 3)


@given(value=FINITE, half=st.floats(0, 3), low=st.floats(0.1, 1), width=st.floats(0.01, 2))
def test_line_passes_only_with_a_value_inside_and_fails_only_with_one_outside(
    value: float, half: float, low: float, width: float
) -> None:
    bounds = Range(low=low, high=low + width, tolerance=width / 4)  # type: ignore[arg-type]
    seen = judged("calibration.slope", "x", Interval(value, value - half, value + half), bounds)
    inside = low <= value <= low + width
    if seen.verdict == Verdict.PASSED.value:
        assert inside
    if seen.verdict == Verdict.FAILED.value:
        assert not inside
    closer = Interval(value, value - half / 2, value + half / 2)
    narrow = judged("calibration.slope", "x", closer, bounds)
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
            width=NORMAL_95,
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
        large = intervals.in_the_large(drawn, truth.eta, deviation=15.0, width=NORMAL_95)
        slope = intervals.slope(drawn, truth.eta, deviation=15.0, width=NORMAL_95)
        assert large is not None
        assert slope is not None
        hits["large"] += large.low <= 1 <= large.high
        hits["slope"] += slope.low <= true_slope <= slope.high
    for count in hits.values():
        assert 0.91 < count / trials < 0.99


@given(
    cells=st.lists(
        st.tuples(st.floats(-200, 2000), st.floats(-200, 500)), min_size=16, max_size=16
    ),
    deviation=st.floats(0, 60),
    width=st.floats(1, 4),
)
def test_ends_of_a_ratio_are_where_the_counts_are_so_many_deviations_off(
    cells: list[tuple[float, float]], deviation: float, width: float
) -> None:
    table, eta = np.array(cells).round(3), np.linspace(-4.0, 0.5, 16)
    found = intervals.in_the_large(table, eta, deviation=deviation, width=width)
    if found is None or not np.isfinite(found.half):
        return
    pd = 1 / (1 + np.exp(-eta))
    of_good, of_bad = (np.maximum(table.T, 0.0) + deviation**2).tolist()
    for end in (found.low, found.high):
        off = float((table.sum(axis=1) * pd).sum() - end * table[:, 1].sum())
        own = (pd**2 * of_good).sum() + ((pd - end) ** 2 * of_bad).sum()
        scale = abs(end * table[:, 1].sum()) + width * own**0.5 + 1
        assert abs(abs(off) - width * own**0.5) < 1e-4 * scale
    assert found.low <= found.value <= found.high
