"""A node's own lines in a table of scenarios: worked by hand, and one person at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.figure_forms import check_cells
from consortium.credit.figures import Entry, Integers, contribution
from consortium.credit.scenario import Scenario
from consortium.credit.shock_tables import scenario_spec
from consortium.credit.terms import GRADES, MILLION, Ppm
from consortium.errors import ConfigurationError, PolicyError
from consortium.figure import SCALE_BITS, FigureSpec, Filter
from consortium.ids import PartnerId
from partner_node import joining, wiring
from partner_node.credit.figure_scenario import scenario_entries
from partner_node.credit.figures import entries_of
from partner_node.credit.lines import FILE, History
from partner_node.study import NoStudies
from tests.credit_desk_house import write_rules
from tests.credit_house import RULES
from tests.watch_house import COUNT, history, write_table

MONTH = "2026-11"
BOUND = 1_000_000
EARNS = {"income": 6_000_000, "income_consent": True, "limit": 1_000_000, "due": 0}
PDS = (5_000, 25_000, 70_000, 150_000, 400_000)
"""One in each grade that all partners have in common."""
EMPTY = Scenario(name="calm")
WINTER = Scenario(name="winter", unemployment=Ppm(2_000_000))


def line(name: str, pd: int, *, balance: int = 100_000, **own: object) -> History:
    each = [{**EARNS, **own}] * COUNT
    return history(name, origination=pd, each=each, balance=[balance] * COUNT)


def table(lines: list[History], *scenarios: Scenario) -> Integers:
    """What this node adds, shape (worlds, grades, measures)."""
    spec = scenario_spec(MONTH, scenarios, bound=BOUND)
    return contribution(spec, scenario_entries(spec, lines, RULES)).reshape(*spec.shape, 4)


def entries(lines: list[History], *scenarios: Scenario) -> list[Entry]:
    return list(scenario_entries(scenario_spec(MONTH, scenarios, bound=BOUND), lines, RULES))


def test_a_person_stands_in_every_world_with_its_pd_and_expected_loss() -> None:
    base, winter = entries([line("l", 70_000)], WINTER)
    assert (base.cell, winter.cell) == ((0, 2), (1, 2))
    assert base.values == (1, 1, 70_000, 4_200)  # 100,000 owed, of which 60 % would be lost
    odds = 70_000 / 930_000 * np.exp(0.24)
    assert winter.values[2] == pytest.approx(MILLION * odds / (1 + odds), abs=1)
    assert winter.values[2] > base.values[2]
    assert winter.values[3] > base.values[3]


def test_the_base_is_the_same_beside_any_scenario_and_an_empty_one_has_no_cells() -> None:
    lines = [line(f"l{pd}", pd) for pd in PDS]
    alone, both = table(lines, WINTER), table(lines, EMPTY, WINTER)
    assert np.array_equal(alone, both)
    other = Scenario(name="caps", price_cap=Ppm(10_000))
    assert np.array_equal(alone[0], table(lines, other)[0])
    with pytest.raises(ConfigurationError, match="no scenario shocks"):
        table(lines, EMPTY)


@pytest.mark.parametrize(
    ("shock", "moved"),
    [
        (WINTER, "risk"),
        (Scenario(name="x", income=Ppm(980_000)), "approvals"),
        (Scenario(name="x", price_cap=Ppm(10_000)), "approvals"),
        (Scenario(name="x", tenor_cap=1), "approvals"),
        (Scenario(name="x", funding=Ppm(MILLION)), "approvals"),
    ],
)
def test_a_driver_moves_its_target_one_way_in_every_grade(shock: Scenario, moved: str) -> None:
    # A due of a loan repaid in one month is more than half of this income.
    lines = [line(f"l{pd}", pd, income=550_000) for pd in PDS]
    base, shocked = table(lines, shock)
    assert np.array_equal(base[:, 0], shocked[:, 0])
    if moved == "risk":
        assert np.all(shocked[:, 2:] > base[:, 2:])
        assert np.all(shocked[:, 1] <= base[:, 1])
    else:
        assert np.array_equal(base[:, 2:], shocked[:, 2:])
        granted = base[:, 1] > 0
        assert granted.any()
        assert np.all(shocked[:, 1] <= base[:, 1])
        assert not shocked[granted, 1].any()


def test_who_has_no_usable_income_or_no_offer_is_counted_and_not_approved() -> None:
    asks = {
        "granted": line("a", 25_000),
        "no income": line("b", 25_000, income=None),
        "no consent": line("c", 25_000, income_consent=False),
        "nothing offered to the grade": line("d", 400_000),
        "below the least": line("e", 25_000, limit=100),
    }
    found = {name: entries([one], WINTER)[0].values[:2] for name, one in asks.items()}
    assert found == {name: (1, int(name == "granted")) for name in asks}


def test_lines_that_are_not_active_or_have_no_pd_or_month_are_in_no_world() -> None:
    idle = history("idle", balance=[0] * COUNT, debits=[0] * COUNT)
    unknown = replace(line("unknown", 1), pd_origination=None)
    ended = replace(line("ended", 25_000), months=line("ended", 25_000).months[:-1])
    assert entries([idle, unknown, ended], WINTER) == []
    assert not table([], WINTER).any()


drawn = st.lists(
    st.tuples(
        st.integers(0, 3),  # of four persons
        st.sampled_from((5_000, 25_000, 45_000)),
        st.integers(0, 5),
    ),
    min_size=4,
    max_size=12,
)


@settings(max_examples=40)
@given(drawn, st.integers(0, 3))
def test_a_person_with_many_lines_moves_full_growth_caps_by_one_at_most(
    many: list[tuple[int, int, int]], gone: int
) -> None:
    weekly = tuple(1_000_000 for _ in GRADES)  # two loans of the largest limit in a month
    growth = replace(RULES.policy.growth, weekly_exposure=weekly)
    cells = tuple(replace(one, limit_max=2_000_000) for one in RULES.policy.cells)
    rules = replace(RULES, policy=replace(RULES.policy, growth=growth, cells=cells))
    shock = Scenario(name="dry", unemployment=Ppm(1), funding=Ppm(500_000))
    spec = scenario_spec(MONTH, [shock], bound=BOUND)
    lines = [
        (person, replace(line(f"l{n}", pd, balance=owed), person=f"p{person}"))
        for n, (person, pd, owed) in enumerate(many)
    ]
    every = contribution(spec, scenario_entries(spec, [one for _, one in lines], rules))
    rest = [one for person, one in lines if person != gone]
    without = contribution(spec, scenario_entries(spec, rest, rules))
    moved = np.abs(every - without).reshape(spec.cells, 4)
    assert moved.max(initial=0) <= 1 << SCALE_BITS
    assert int(moved.any(axis=1).sum()) <= spec.cells_per_person


def test_a_directory_counts_its_lines_by_the_rules_of_the_month_end(tmp_path: Path) -> None:
    joining.initialise(tmp_path / "node", PartnerId("bank_a"), None)
    folder = write_rules(tmp_path / "node")
    lines = [line(f"l{place}", pd) for place, pd in enumerate(PDS)]
    source = write_table(folder, lines)
    (folder / FILE).write_text(f'query = """{source.query}"""\n', encoding="utf-8")
    desk, studies = wiring.open_desk(tmp_path / "node"), NoStudies("no stream")
    spec = scenario_spec(MONTH, [WINTER], bound=BOUND)
    found = contribution(spec, entries_of(desk, spec, studies)).reshape(*spec.shape, 4)
    wanted = table(lines, WINTER)
    wanted[:, :, 1] = 0  # that file tells no incomes
    assert found.any()
    assert np.array_equal(found, wanted)
    with pytest.raises(PolicyError, match="in force on 2020-01-31"):
        entries_of(desk, replace(spec, first="2020-01", last="2020-01"), studies)


def changed(spec: FigureSpec, what: str) -> FigureSpec:
    winter = spec.filters[0]
    return {
        "no drivers": lambda: replace(spec, filters=()),
        "drivers of another": lambda: replace(spec, filters=(replace(winter, name="summer"),)),
        "one more": lambda: replace(spec, filters=(Filter(name="a", value="u1"), winter)),
        "drivers that are none": lambda: replace(
            spec, filters=(replace(winter, value="u2.50"),)
        ),
        "a base of another name": lambda: replace(
            spec, axes=(replace(spec.axes[0], cells=("now", "winter")), spec.axes[1])
        ),
        "noise of one cell": lambda: replace(spec, cells_per_person=1),
        "a measure less": lambda: replace(spec, measures=spec.measures[:3]),
        "two months": lambda: replace(spec, last="2026-12"),
    }[what]()


@pytest.mark.parametrize(
    "what",
    [
        "no drivers",
        "drivers of another",
        "one more",
        "drivers that are none",
        "a base of another name",
        "noise of one cell",
        "a measure less",
        "two months",
    ],
)
def test_a_table_whose_drivers_differ_from_its_worlds_is_refused(what: str) -> None:
    spec = scenario_spec(MONTH, [WINTER], bound=BOUND)
    check_cells(spec)
    with pytest.raises(ConfigurationError, match="figure"):
        check_cells(changed(spec, what))
