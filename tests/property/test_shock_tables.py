"""Tables of a stress run: columns fill them as entries do, and they come back as they were."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.elasticity import (
    ARMS,
    ELSEWHERE,
    OUTCOMES,
    Elsewhere,
    StudyColumns,
    StudyLine,
    study_cell,
    study_cells,
)
from consortium.credit.figure_columns import contribution_of_columns
from consortium.credit.figure_forms import check_cells
from consortium.credit.figures import Entry, contribution, simulated_release
from consortium.credit.scenario import Scenario
from consortium.credit.shock import TIER_OF, TIERS, Tier
from consortium.credit.shock_tables import (
    elasticity_spec,
    market_of,
    needed_pairs,
    scenario_spec,
    scenarios_of,
    study_of,
    tiers_spec,
    worlds_table,
)
from consortium.credit.terms import GRADES, Grade, Ppm
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.figure import Axis, FigureKind, FigureSpec, Measure
from consortium.identity.overlap import OverlapCount
from consortium.ids import PartnerId, digest_of

NAMES = tuple(PartnerId(name) for name in ("bank_a", "bank_b", "card_c"))
MIXED = FigureSpec(
    kind=FigureKind.TIERS,
    first="2026-03",
    last="2026-03",
    axes=(Axis(name="a", cells=("x", "y")), Axis(name="b", cells=("1", "2", "3"))),
    measures=(
        Measure(name="persons"),
        Measure(name="money", bound=999_999_999_999),
        Measure(name="change", bound=7, signed=True),
    ),
    cells_per_person=2,
)
SHOCKS = (
    Scenario(name="winter", unemployment=Ppm(2_500_000), income=Ppm(100_000)),
    Scenario(name="calm"),
    Scenario(name="caps", price_cap=Ppm(150_000), tenor_cap=12, funding=Ppm(300_000)),
)

entries = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 2),
        st.integers(-(10**13), 10**13),
        st.integers(-20, 20),
    ),
    max_size=12,
)


def _secrets(count: int) -> list[Secret]:
    return [Secret(hashlib.sha256(bytes([place])).digest()) for place in range(count)]


@settings(max_examples=60)
@given(entries)
def test_columns_and_entries_give_the_same_integers(
    drawn: list[tuple[int, int, int, int]],
) -> None:
    listed = [
        Entry(person=str(place), cell=(a, b), values=(1, money, change))
        for place, (a, b, money, change) in enumerate(drawn)
    ]
    columns = contribution_of_columns(
        MIXED,
        np.arange(len(drawn)),
        np.array([[a, b] for a, b, _, _ in drawn], dtype=np.int64).reshape(-1, 2),
        np.array([[1, m, c] for _, _, m, c in drawn], dtype=np.int64).reshape(-1, 3),
    )
    assert np.array_equal(columns, contribution(MIXED, listed))


def test_columns_refuse_what_the_counting_rule_would_drop() -> None:
    ones = np.ones((3, 3), dtype=np.int64)
    cells = np.array([[0, 0], [0, 1], [0, 2]])
    with pytest.raises(DomainError, match="more cells"):
        contribution_of_columns(MIXED, np.zeros(3, dtype=np.int64), cells, ones)
    with pytest.raises(DomainError, match="twice"):
        contribution_of_columns(MIXED, np.array([5, 5, 6]), cells * 0, ones)
    with pytest.raises(DomainError, match="outside"):
        contribution_of_columns(MIXED, np.arange(3), cells + 1, ones)
    with pytest.raises(ShapeError, match="columns of shapes"):
        contribution_of_columns(MIXED, np.arange(3), cells, ones[:, :2])
    with pytest.raises(ShapeError, match="int64"):
        contribution_of_columns(MIXED, np.arange(3), cells, ones.astype(float))  # type: ignore[arg-type]


lines = st.builds(
    StudyLine,
    grade=st.sampled_from(GRADES),
    is_open=st.booleans(),
    active=st.booleans(),
    dpd=st.sampled_from((0, 0, 1, 45)),
    elsewhere=st.sampled_from(ELSEWHERE),
    bad=st.booleans(),
)


@settings(max_examples=60)
@given(st.lists(lines, max_size=20))
def test_a_study_of_many_is_that_of_each(many: list[StudyLine]) -> None:
    member, cells = study_cells(_columns(many))
    wanted = [study_cell(one) for one in many]
    assert member.tolist() == [one is not None for one in wanted]
    assert [(GRADES[grade], ARMS[arm], OUTCOMES[outcome]) for grade, arm, outcome in cells] == [
        one for one in wanted if one is not None
    ]


def test_columns_of_a_study_outside_their_lists_are_refused() -> None:
    line = StudyLine(
        grade=Grade.G1,
        is_open=True,
        active=True,
        dpd=0,
        elsewhere=Elsewhere.STAYS,
        bad=False,
    )
    good = _columns([line])
    for change, told in (
        ({"grade": np.array([5])}, "place outside"),
        ({"elsewhere": np.array([-1])}, "place outside"),
        ({"dpd": np.array([-1])}, "negative days"),
    ):
        with pytest.raises(DomainError, match=told):
            study_cells(dataclasses.replace(good, **change))


def _columns(many: list[StudyLine]) -> StudyColumns:
    return StudyColumns(
        grade=np.array([GRADES.index(one.grade) for one in many], dtype=np.int64),
        is_open=np.array([one.is_open for one in many], dtype=np.bool_),
        active=np.array([one.active for one in many], dtype=np.bool_),
        dpd=np.array([one.dpd for one in many], dtype=np.int64),
        elsewhere=np.array([ELSEWHERE.index(one.elsewhere) for one in many], dtype=np.int64),
        bad=np.array([one.bad for one in many], dtype=np.bool_),
    )


def _overlap(counter: PartnerId, peer: PartnerId, tier: Tier, persons: int) -> OverlapCount:
    return OverlapCount(
        release=digest_of(f"{counter} {peer}".encode()),
        counter=counter,
        peer=peer,
        tier=tier,
        period="2026-03",
        noisy=persons << 10,
        variance=(17 << 10) ** 2,
        epsilon="0.1",
        delta="0.000001",
    )


def test_a_market_comes_out_of_tables_and_counts_with_their_noise() -> None:
    spec = tiers_spec("2026-03", NAMES, bound=1_000_000)
    parts = []
    for place in range(3):
        tiers = [TIERS.index(TIER_OF[GRADES[n % 5]]) for n in range(500)]
        parts.append(
            contribution(
                spec,
                [
                    Entry(person=str(n), cell=(place, tier), values=(1, 400_000, 50_000))
                    for n, tier in enumerate(tiers)
                ],
            )
        )
    table = simulated_release(spec, parts, _secrets(3))
    counts = [
        _overlap(one, other, tier, 0 if tier is Tier.LOW else 90)
        for one, other in needed_pairs(NAMES, NAMES[:1], rounds=1)
        for tier in TIERS
    ]
    market = market_of(table, counts)
    deviation = table.deviation("persons")
    assert np.all(np.abs(market.persons.values - [200, 100, 200]) < 5 * deviation)
    assert np.all(np.abs(market.bads.values - [10, 5, 10]) < 5 * deviation)
    assert market.exposure.deviations[0, 0] == pytest.approx(1_000_000 * deviation)
    assert market.bads.deviations[0, 0] == pytest.approx(deviation)
    assert market.overlap.values[0, 1].tolist() == [90, 90, 0]
    assert market.overlap.deviations[0, 1, 0] == pytest.approx(17)
    assert market.few[0, 1].tolist() == [False, False, True]
    assert not market.few[1, 0].any()
    with pytest.raises(DomainError, match="given twice"):
        market_of(table, [*counts, counts[0]])
    with pytest.raises(DomainError, match="expected one of elasticity"):
        study_of(table)


def test_later_rounds_need_the_overlap_of_every_pair() -> None:
    assert len(needed_pairs(NAMES, NAMES[:1], rounds=1)) == 2
    assert len(needed_pairs(NAMES, NAMES[:1], rounds=3)) == 6


def test_a_plan_tells_nodes_all_shocks_and_a_table_of_others_is_refused() -> None:
    spec = scenario_spec("2026-03", SHOCKS, bound=1_000_000)
    assert scenarios_of(spec) == (SHOCKS[0], SHOCKS[2])
    assert spec.cells_per_person == 3
    assert [one.value for one in spec.filters] == ["p0.15:t12:f0.3", "u2.5:i0.1"]
    table = simulated_release(spec, [np.zeros(spec.size, dtype=np.int64)] * 2, _secrets(2))
    assert worlds_table(table, SHOCKS).values.shape == (3, 5, 4)
    stronger = (dataclasses.replace(SHOCKS[0], income=Ppm(200_000)), *SHOCKS[1:])
    with pytest.raises(DomainError, match="other scenarios"):
        worlds_table(table, stronger)
    with pytest.raises(ConfigurationError, match="no scenario shocks"):
        scenario_spec("2026-03", SHOCKS[1:2], bound=1)


@pytest.mark.parametrize("drivers", ["", "u0", "u2.50", "x1", "t1:u1", "tt", "i1", "u1:u2"])
def test_drivers_that_no_scenario_tells_are_refused(drivers: str) -> None:
    spec = scenario_spec("2026-03", SHOCKS[:1], bound=1)
    changed = dataclasses.replace(spec.filters[0], value=drivers or "-")
    with pytest.raises((DomainError, ConfigurationError)):
        scenarios_of(dataclasses.replace(spec, filters=(changed,)))


def test_a_study_is_read_with_its_release_as_the_source() -> None:
    spec = elasticity_spec("2025-03")
    exact = np.full((5, 2, 3), 1_000 << 20, dtype=np.int64)
    table = simulated_release(spec, [exact.reshape(-1), np.zeros(30, np.int64)], _secrets(2))
    check_cells(spec)
    found = study_of(table)
    assert set(found) == set(TIERS)
    assert all(1_800 < sum(one.persons) / 2 / len(one.grades) < 2_200 for one in found.values())
    assert {one.elasticity.source for one in found.values()} == {table.release}
