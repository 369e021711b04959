"""Scenarios: each driver moves its target one way in every grade, and nothing moves nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.credit.contagion import Estimate
from consortium.credit.scenario import (
    DsrBins,
    NodeRows,
    NodeRules,
    Scenario,
    amounts_of,
    parse_scenarios,
    rescored,
)
from consortium.credit.scenario_table import worlds_of
from consortium.credit.shock import Float, Noisy
from consortium.credit.terms import GRADES, Ppm
from consortium.errors import DomainError, PolicyError, ShapeError

RULES = NodeRules(
    bins=DsrBins(edges=(0.2, 0.35, 0.5), weights=(-0.4, 0.0, 0.3, 0.7), missing=0.2),
    cut=-1.0,
    dsr_cap=0.5,
    growth=dict.fromkeys(GRADES, 10_000),
    lgd=0.6,
)
TIGHT = replace(RULES, growth=dict.fromkeys(GRADES, 12))
HALF = Ppm(500_000)
DRIVERS = {
    "unemployment": Scenario(name="x", unemployment=Ppm(2_000_000)),
    "income": Scenario(name="x", income=Ppm(200_000)),
    "price": Scenario(name="x", price_cap=Ppm(120_000)),
    "tenor": Scenario(name="x", tenor_cap=6),
    "funding": Scenario(name="x", funding=HALF),
}
ONLY_APPROVALS = ("price", "tenor", "funding")


def rows_of(seed: int, count: int = 400) -> NodeRows:
    """Borrowers of every kind; every tenth has no usable income."""
    draw = np.random.default_rng(seed)  # noqa: TID251 - the tests' own rows
    income = np.exp(draw.normal(13.0, 0.5, count))
    income[::10] = np.nan
    return NodeRows(
        eta=draw.normal(-2.2, 1.3, count),
        grade=draw.integers(0, 5, count),
        dues=np.exp(draw.normal(11.7, 0.5, count)),
        income=income,
        amount=draw.uniform(1e5, 5e6, count),
        least=np.full(count, 1e5),
        price=draw.choice([0.0, 0.08, 0.12, 0.18, 0.24], count),
        months=draw.integers(1, 49, count),
        ead=draw.uniform(0, 1e6, count),
    )


def by_grade(rows: NodeRows, scenario: Scenario | None, rules: NodeRules = RULES) -> Float:
    """Approvals, PD and loss by grade, shape (5, 3)."""
    found = rescored(rows, scenario, rules)
    columns = np.stack((found.approved.astype(float), found.pd, found.loss), axis=1)
    return np.array([columns[rows.grade == place].sum(axis=0) for place in range(5)])


@pytest.mark.parametrize("driver", DRIVERS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_every_driver_alone_moves_its_targets_one_way_in_every_grade(
    driver: str, seed: int
) -> None:
    rows = rows_of(seed, 4_000)
    rules = TIGHT if driver == "funding" else RULES
    base, shocked = by_grade(rows, None, rules), by_grade(rows, DRIVERS[driver], rules)
    assert np.all(shocked[:, 0] < base[:, 0])
    if driver in ONLY_APPROVALS:
        assert np.array_equal(shocked[:, 1:], base[:, 1:])
    else:
        assert np.all(shocked[:, 1:] > base[:, 1:])


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_a_stronger_driver_moves_at_least_as_far(seed: int) -> None:
    rows = rows_of(seed)
    weak = Scenario(name="x", unemployment=Ppm(500_000), income=Ppm(50_000), funding=HALF)
    strong = Scenario(name="x", unemployment=Ppm(900_000), income=Ppm(90_000), funding=HALF)
    first, second = by_grade(rows, weak, TIGHT), by_grade(rows, strong, TIGHT)
    assert np.all(second[:, 0] <= first[:, 0])
    assert np.all(second[:, 1:] >= first[:, 1:])


def test_an_empty_scenario_gives_the_bytes_of_the_base_and_no_cells_of_its_own() -> None:
    rows = rows_of(7)
    base, same = rescored(rows, None, RULES), rescored(rows, Scenario(name="calm"), RULES)
    for name in ("pd", "loss", "approved"):
        assert getattr(base, name).tobytes() == getattr(same, name).tobytes()
    calm = [Scenario(name="calm"), DRIVERS["income"]]
    assert [len(one) for one in amounts_of(rows, calm, RULES)] == [400, 400]
    table = Noisy(np.full((2, 5, 4), 900.0), np.full((2, 5, 4), 17.0))
    worlds = worlds_of(table, calm)
    assert [world.name for world in worlds] == ["base", "calm", "x"]
    assert worlds[1].lines == worlds[0].lines


def test_growth_caps_are_filled_in_the_order_of_the_rows() -> None:
    rows = replace(
        rows_of(3, 100),
        eta=np.full(100, -4.0),
        grade=np.zeros(100, dtype=np.int64),
        dues=np.zeros(100),
        income=np.full(100, 1e7),
    )
    found = rescored(rows, DRIVERS["funding"], TIGHT).approved
    assert np.flatnonzero(found).tolist() == list(range(6))


def test_figures_of_a_table_hold_the_truth_as_often_as_they_say(
    rng: Generator,
) -> None:
    truth = np.empty((2, 5, 4))
    truth[:, :, 0], truth[0, :, 1:], truth[1, :, 1:] = 2_000, (900, 160, 5e6), (700, 200, 6e6)
    scale = np.full((2, 5, 4), 17.0) * np.array([1, 1, 1, 20_000])
    inside = []
    for _ in range(300):
        noisy = Noisy(truth + scale * rng.standard_normal(truth.shape), scale)
        world = worlds_of(noisy, [DRIVERS["income"]])[1]
        for line in world.lines[:5]:
            assert line.pd is not None
            assert line.approval_change is not None
            assert line.loss_change is not None
            found = ((line.pd, 0.1), (line.approval_change, -0.1), (line.loss_change, 1e6))
            inside += [one.low <= value <= one.high for one, value in found]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_levels_under_much_noise_stay_where_they_can_be_and_changes_are_not_cut() -> None:
    table = np.full((2, 5, 4), 900.0)
    table[0, :, 1:], table[1, :, 1:] = (1_200.0, -300.0, -5e6), (-40.0, -200.0, -9e6)
    line = worlds_of(Noisy(table, np.full((2, 5, 4), 100.0)), [DRIVERS["income"]])[1].lines[0]
    assert line.pd == Estimate(0.0, 0.0, 0.0)
    assert line.loss == Estimate(0.0, 0.0, 0.0)
    assert line.approval_rate is not None
    assert (line.approval_rate.value, line.approval_rate.low) == (0.0, 0.0)
    assert 0 < line.approval_rate.high < 1
    assert line.approval_change is not None
    assert line.approval_change.value == pytest.approx(-1_240 / 900)


def test_grades_of_fewer_than_fifty_have_no_figures() -> None:
    table = np.full((2, 5, 4), 900.0)
    table[:, 4, 0] = (60.0, 30.0)
    worlds = worlds_of(Noisy(table, np.full((2, 5, 4), 17.0)), [DRIVERS["income"]])
    assert worlds[1].lines[4].pd is None
    assert worlds[1].lines[3].pd is not None
    with pytest.raises(ShapeError, match="scenario table"):
        worlds_of(Noisy(table, table), [])


def test_a_file_of_scenarios_is_read_strictly() -> None:
    text = b"""
[[scenario]]
name = "winter"
unemployment_points = "2.5"
income_loss = "0.1"
price_cap = "0.15"
tenor_cap_months = 12
funding_cut = "0.3"

[[scenario]]
name = "calm"
"""
    winter, calm = parse_scenarios(text, "s.toml")
    assert winter == Scenario(
        name="winter",
        unemployment=Ppm(2_500_000),
        income=Ppm(100_000),
        price_cap=Ppm(150_000),
        tenor_cap=12,
        funding=Ppm(300_000),
    )
    assert calm.empty
    for bad, told in (
        (b"[[scenario]]\nname = 'a'\nunemploymnt = '1'\n", "line 3.*no such key"),
        (b"[[scenario]]\nname = 'base'\n", "different names"),
        (b"[[scenario]]\nname = 'a'\nincome_loss = '1'\n", "line 3.*at most 0.99"),
        (b"", r"1 to 6 of \[\[scenario\]\]"),
    ):
        with pytest.raises(PolicyError, match=told):
            parse_scenarios(bad, "s.toml")
    with pytest.raises(DomainError, match="tenor cap"):
        Scenario(name="a", tenor_cap=0)
