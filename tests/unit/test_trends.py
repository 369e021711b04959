"""Indices, trends, concentration and fairness: what numbers mean, and their report."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from consortium.credit import indices, market, trends
from consortium.credit.figure_forms import CAUSES, SEGMENTS
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.intervals import Figure
from consortium.credit.shown import Section, Shown, Why
from consortium.errors import ConfigurationError, DomainError
from consortium.figure import FigureKind
from coordinator.credit.trend_page import trend_page
from coordinator.credit.trends import as_csv, as_json, report_of
from tests.figure_house import (
    GRADE_VOLUME,
    WEEKS,
    approvals,
    cases,
    demand,
    fairness,
    release,
    rng_of,
    weekly_rates,
)
from tests.unit.test_figures import exact


def values(section: Section, name: str) -> list[float | None]:
    return [one.value for one in section.figures if one.name == name]


def counted(rates: np.ndarray, volume: np.ndarray) -> Section:
    """The appetite of exact counts by week and grade."""
    case = approvals(rates)
    return indices.appetite(exact(case.spec, np.stack([volume, volume * rates], -1)))


def test_doubled_approvals_at_a_constant_mix_double_appetite() -> None:
    rates = weekly_rates() / 2
    rates[12:] *= 2
    seen = values(counted(rates, np.outer(np.ones(WEEKS), GRADE_VOLUME)), "appetite_index")
    assert seen[:12] == pytest.approx([100.0] * 12)
    assert seen[12:] == pytest.approx([200.0] * (WEEKS - 12))


def test_a_shift_of_the_mix_does_not_move_appetite() -> None:
    volume = np.outer(np.ones(WEEKS), GRADE_VOLUME)
    volume[12:] = volume[12:, ::-1] * 1.7
    seen = values(counted(weekly_rates(), volume), "appetite_index")
    assert seen == pytest.approx([100.0] * WEEKS)


def test_a_grade_with_too_few_applications_is_left_out_and_said_so() -> None:
    volume = np.outer(np.ones(WEEKS), GRADE_VOLUME)
    volume[20, 0] = 49
    section = counted(weekly_rates(), volume)
    assert [one.labels[0] for one in section.figures if one.why is Why.MIX] == ["2026-W21"]


def test_an_index_is_not_defined_before_its_base_is_twelve_weeks() -> None:
    short = exact(
        figure(FigureKind.APPROVALS, "2026-W01", "2026-W11", Wanted()),
        np.full((11, 5, 2), 1_000.0),
    )
    assert {one.why for one in indices.appetite(short).figures} == {Why.BASE}
    case = demand(np.ones(11))
    section = indices.demand(exact(case.spec, np.full((11, 2), 1_000.0)))
    assert {(one.value, one.why) for one in section.figures} == {(None, Why.BASE)}


def test_demand_of_a_week_with_fewer_than_fifty_applications_is_suppressed() -> None:
    case = demand(np.ones(WEEKS))
    counts = np.full((WEEKS, 2), 100_000.0)
    counts[:, 0] = 1_000
    counts[5, 0] = 49
    found = indices.demand(exact(case.spec, counts)).figures
    assert [one.labels[0] for one in found if one.value is None] == ["2026-W06"]
    assert found[5].why is Why.FEW


def test_one_step_is_told_once_and_at_its_first_week() -> None:
    def index(*levels: float) -> Section:
        figures = tuple(
            Shown(
                name="demand_index",
                labels=(f"W{week:02d}",),
                value=level,
                low=level - 2,
                high=level + 2,
                band="1-5k",
            )
            for week, level in enumerate(levels)
        )
        return replace(indices.demand(TABLE), figures=figures)

    flat = [100.0] * 20
    assert indices.steps(index(*flat), least=5.0) == ()
    assert indices.steps(index(*flat, *[112.0] * 10), least=5.0) == ("W20",)
    assert indices.steps(index(*flat, *[104.0] * 10), least=5.0) == ()
    twice = index(*flat, *[112.0] * 10, *[95.0] * 10)
    assert indices.steps(twice, least=5.0) == ("W20", "W30")


TABLE = release(demand(np.ones(WEEKS)).spec, demand(np.ones(WEEKS)).draw(rng_of(4)), 4)


def test_curves_of_vintages_never_fall_and_stop_at_what_is_complete() -> None:
    case = next(one for one in cases() if one.name == "vintages")
    section = trends.vintages(release(case.spec, case.draw(rng_of(2)), 2))
    curves: dict[str, list[Shown]] = {}
    for one in section.figures:
        curves.setdefault(one.labels[0], []).append(one)
    for place, curve in enumerate(curves.values()):
        assert [one.labels[1] for one in curve] == [str(age) for age in range(12 - place)]
        seen = [one.value for one in curve if one.value is not None]
        assert all(before <= after for before, after in pairwise(seen))


def test_rows_of_transitions_sum_to_one_and_small_ones_take_the_row_of_all_segments() -> None:
    spec = figure(
        FigureKind.ROLL_RATES,
        "2026-01",
        "2026-02",
        Wanted(by=("segment", "before", "after"), segments=SEGMENTS[:2]),
    )
    counts = np.zeros((*spec.shape, 1))
    counts[0, :, :, 0] = np.eye(7) * 900 + 10
    counts[0, 0, 1, 0] = -6
    counts[1, 1, 1, 0] = 49
    section = trends.roll_rates(exact(spec, counts))
    rows: dict[tuple[str, ...], float] = {}
    for one in section.figures:
        if one.value is not None:
            rows[one.labels[:2]] = rows.get(one.labels[:2], 0.0) + one.value
    assert all(abs(total - 1) < 1e-12 for total in rows.values())
    assert min(one.value or 0.0 for one in section.figures) == 0.0
    small = [one for one in section.figures if one.labels[:2] == (SEGMENTS[1], "M1")]
    assert {one.why for one in small} == {Why.PARENT}
    assert np.allclose(trends.projected(exact(spec, counts)).sum(axis=1), 1.0, atol=1e-12)


def test_closures_of_any_cause_leave_out_what_the_borrower_did() -> None:
    case = next(one for one in cases() if one.name == "closures")
    counts = np.zeros((*case.spec.shape, 1))
    counts[0, CAUSES.index("none"), 0] = 900
    counts[0, CAUSES.index("ARREARS"), 0] = 60
    counts[0, CAUSES.index("PAID_OUT"), 0] = 40
    found = {one.labels: one for one in trends.closures(exact(case.spec, counts)).figures}
    assert found[SEGMENTS[0], trends.ALL].value == pytest.approx(0.06)
    assert found[SEGMENTS[0], "PAID_OUT"].value == pytest.approx(0.04)
    assert found[SEGMENTS[1], trends.ALL].why is Why.FEW


def test_concentration_is_one_for_one_product_and_one_nth_for_n_equal_ones() -> None:
    assert market.hhi([5.0, 0.0, 0.0]) == Figure(1.0, 0.0)
    quarter = market.hhi([3.0] * 4)
    assert quarter is not None
    assert quarter.value == pytest.approx(0.25)
    assert market.hhi([0.0, 0.0]) is None


def test_concentration_is_corrected_for_what_noise_adds_to_squares() -> None:
    rng = rng_of(9)
    drawn = [market.hhi(list(rng.normal(100.0, 12.0, 4)), 12.0) for _ in range(4_000)]
    mean = float(np.mean([one.value for one in drawn if one is not None]))
    assert mean == pytest.approx(0.25, abs=5e-4)  # uncorrected it would be .2527


def test_common_borrowers_have_the_interval_of_both_counts() -> None:
    found = market.common_borrower_share(Figure(350.0, 30.0), Figure(1_000.0, 60.0))
    assert found is not None
    assert found.value == pytest.approx(0.35)
    assert found.half == pytest.approx((30.0**2 + (0.35 * 60.0) ** 2) ** 0.5 / 1_000)
    assert market.common_borrower_share(Figure(1.0, 1.0), Figure(49.0, 1.0)) is None


def verdicts(gap: float, seed: int) -> set[market.Verdict]:
    case = fairness(gap=gap)
    section = market.fairness(release(case.spec, case.draw(rng_of(seed)), seed))
    return {market.verdict_of(one) for one in section.figures if one.name in market.TESTS}


def test_equal_groups_do_not_fail_and_a_planted_gap_does() -> None:
    null = [market.Verdict.FAIL in verdicts(0.0, seed) for seed in range(100)]
    gap = [market.Verdict.FAIL in verdicts(0.2, seed) for seed in range(100)]
    assert sum(null) <= 5
    assert sum(gap) >= 90


def test_a_table_of_another_kind_is_refused() -> None:
    for make in (indices.appetite, trends.vintages, trends.roll_rates, market.fairness):
        with pytest.raises(DomainError):
            make(TABLE)


def test_the_report_has_the_same_bytes_and_says_what_everything_cost() -> None:
    listed = [case for case in cases() if case.name != "approvals"]
    tables = [
        release(replace(case.spec, synthetic=True), case.draw(rng_of(number)), number)
        for number, case in enumerate(listed)
    ]
    report, again = report_of(tables), report_of(tables[::-1])
    page = trend_page(report)
    assert (page, as_csv(report), as_json(report)) == (
        trend_page(again),
        as_csv(again),
        as_json(again),
    )
    found = json.loads(as_json(report))
    assert found["synthetic"]
    assert {one["epsilon"] for one in found["sections"]} == {"1.0000"}
    assert {one["n_band"] for one in found["sections"]}
    assert report.stem.startswith("SYNTHETIC-")
    assert "SYNTHETIC" in page.split("</title>")[0]
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for words in ("Demand index", "需求指数", "Fairness test", "公平性检验", "<svg"):
        assert words in page
    rows = as_csv(report).splitlines()
    assert len(rows) == 1 + sum(len(one.figures) for one in report.sections)


def test_a_report_without_a_table_is_an_error() -> None:
    with pytest.raises(ConfigurationError):
        report_of([])
