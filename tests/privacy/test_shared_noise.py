"""Shared noise: table 4.3, the worst person of 4.2.1 by brute force, targets, charges."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.errors import ConfigurationError, DomainError, RefusalCode, RefusalError
from consortium.ids import PartnerId
from consortium.plan import Block, BudgetShares, ReleaseKind, TrainingPlan
from consortium.privacy.accountant import (
    epsilon_of,
    epsilon_of_units,
    mu_of,
    three_epsilons,
    units_of,
)
from consortium.privacy.mechanism import (
    attempts_of,
    honest_of,
    mechanism_for,
    reserve_units,
)
from consortium.release import Level, Mechanism
from tests.unit.test_mechanism import LOCAL, PLAN, WIDTHS

GRADIENT, BINS = ReleaseKind.GRADIENT, ReleaseKind.BINS
WHOLE = BudgetShares(training="1", recalibration="0")


def names(count: int) -> tuple[PartnerId, ...]:
    return tuple(PartnerId(f"p{number:02d}") for number in range(count))


def one_block(partners: int, m: int, **changes: object) -> TrainingPlan:
    only = Block(name="all", families=("all",), holders=names(partners), normaliser=1000)
    plan = replace(
        PLAN,
        noise_mode="shared",
        blocks=(only,),
        max_partners_per_person=m,
        shares=WHOLE,
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


Row = tuple[int, int, int, float, tuple[float, ...], tuple[float, ...]]
TABLE_4_3: list[Row] = [
    # K, m, h, w, person: all, half, own, largest; record: all, half, own
    (3, 1, 2, 0.707, (0.80, 1.00, 1.45, 1.45), (0.80, 1.00, 1.45)),
    (4, 1, 2, 0.707, (0.69, 1.00, 1.45, 1.45), (0.69, 1.00, 1.45)),
    (4, 2, 2, 1.414, (0.69, 1.00, 0.69, 1.00), (0.33, 0.48, 0.69)),
    (4, 4, 2, 2.000, (1.00, 0.69, 0.48, 1.00), (0.23, 0.33, 0.48)),
    (10, 1, 5, 0.447, (0.69, 1.00, 2.40, 2.40), (0.69, 1.00, 2.40)),
    (10, 4, 5, 1.789, (0.69, 1.00, 0.54, 1.13), (0.16, 0.23, 0.54)),
    (50, 1, 25, 0.200, (0.69, 1.00, 5.93, 5.93), (0.69, 1.00, 5.93)),
]


@pytest.mark.parametrize("row", TABLE_4_3, ids=lambda row: f"K{row[0]}-m{row[1]}")
def test_table_4_3(row: Row) -> None:
    partners, m, h, w, person, record = row
    plan = one_block(partners, m)
    found = mechanism_for(plan, GRADIENT, width=195, partners=partners)
    assert found.shared is not None
    assert found.shared.honest == honest_of(plan, partners) == h
    sigma = math.sqrt(found.variance) / found.sensitivity
    attempts = attempts_of(plan, GRADIENT)
    assert sigma * mu_of(1.0, 1e-6) / math.sqrt(attempts) == pytest.approx(w, abs=6e-4)
    three = three_epsilons([found] * attempts, 1e-6)
    level = three.person
    shown = (level.all_honest, level.half_collude, level.others_collude, level.largest)
    assert [round(one, 2) for one in shown] == list(person)
    level = three.record
    shown = (level.all_honest, level.half_collude, level.others_collude)
    assert [round(one, 2) for one in shown] == list(record)
    assert three.person.claimed <= 1.0
    # replace-one is epsilon at twice mu (4.2)
    mu = math.sqrt(attempts * found.units(person=True) / 2**40)
    assert three.person_replaced.claimed == epsilon_of(2 * mu, 1e-6)


def test_own_noise_is_needed_where_everybody_may_hold_the_person() -> None:
    """m = K: pooling noise pays only for people who are not everywhere (protocol 4.3)."""
    shared = mechanism_for(one_block(4, 4), GRADIENT, width=195, partners=4)
    own = mechanism_for(one_block(4, 4, noise_mode="own"), GRADIENT, width=195, partners=4)
    assert shared.variance == pytest.approx(own.variance, rel=1e-8)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[TrainingPlan, int]:
    """Up to 5 partners, up to 4 blocks, each with its own bound."""
    partners = names(draw(st.integers(2, 5)))
    blocks = draw(
        st.lists(
            st.tuples(
                st.sets(st.sampled_from(partners), min_size=1),
                st.one_of(st.none(), st.integers(1, 5)),
            ),
            min_size=1,
            max_size=4,
        )
    )
    made = tuple(
        Block(
            name=f"b{number}",
            families=(f"f{number}",),
            holders=tuple(sorted(holders)),
            normaliser=100,
            holders_per_person=most,
        )
        for number, (holders, most) in enumerate(blocks)
    )
    m = draw(st.integers(1, 5))
    plan = one_block(
        2, m, blocks=made, honest_fraction=draw(st.sampled_from(["0.3", "0.5", "1"]))
    )
    return plan, len(partners)


def worst_person(plan: TrainingPlan, roster: tuple[PartnerId, ...], honest: int) -> int:
    """``max Σ_b n_b²`` over all honest sets and all persons, by enumeration (4.2.1).

    A person has a row at up to m honest partners; each row counts in every block of its
    partner, unless the block's own bound is reached: then any of them may be the ones.
    """
    worst = 0
    m = plan.max_partners_per_person
    for trusted in itertools.combinations(roster, honest):
        for where in itertools.combinations(trusted, min(m, honest)):
            counts = [
                min(len(set(block.holders) & set(where)), block.holders_per_person or m)
                for block in plan.blocks
            ]
            worst = max(worst, sum(count**2 for count in counts))
    return worst


@given(layouts())
def test_no_person_moves_a_sum_by_more_than_is_charged(case: tuple[TrainingPlan, int]) -> None:
    plan, partners = case
    found = mechanism_for(plan, GRADIENT, width=195, partners=partners)
    assert found.shared is not None
    part = (2**24 + 14) ** 2
    for honest in range(1, partners + 1):
        moved = part * worst_person(plan, names(partners), honest)
        assert moved <= found.shared.persons[honest - 1]
        if honest >= found.shared.honest:
            charged = found.units(person=True)
            assert -(-(moved << 40) // (honest * found.variance)) <= charged
    assert found.shared.persons[0] <= found.sensitivity**2


def test_root_of_blocks_does_not_bound_partners_with_two_blocks() -> None:
    """Five partners with two blocks each, at most three of a block: 28, not 2 * 13."""
    p = names(5)
    pairs = {"a": (p[0], p[1], p[2]), "b": (p[0], p[1], p[3]), "c": (p[2], p[3], p[4])}
    blocks = tuple(
        Block(name=name, families=(name,), holders=holders, normaliser=1, holders_per_person=3)
        for name, holders in {**pairs, "d": (p[4],)}.items()
    )
    plan = one_block(5, 5, blocks=blocks)
    assert worst_person(plan, p, 5) == 28
    found = mechanism_for(plan, GRADIENT, width=195, partners=5)
    assert found.shared is not None
    assert found.shared.persons[4] >= 28 * (2**24 + 14) ** 2


def test_disjoint_blocks_count_in_quadrature() -> None:
    """At a bank and at a platform: 1² + 1² and not 2² (protocol 4.2.1)."""
    bank, shop = names(2), (PartnerId("s1"), PartnerId("s2"))

    def plan(most: int | None) -> TrainingPlan:
        blocks = tuple(
            Block(
                name=name,
                families=(name,),
                holders=holders,
                normaliser=1,
                holders_per_person=most,
            )
            for name, holders in (("bank", bank), ("shop", shop))
        )
        return one_block(4, 2, blocks=blocks)

    once, twice = (mechanism_for(plan(most), GRADIENT, width=9, partners=4) for most in (1, 2))
    assert mechanism_for(plan(None), GRADIENT, width=9, partners=4) == twice
    assert twice.variance == pytest.approx(2 * once.variance, rel=1e-8)
    # bin counts are not split by blocks, so nothing is gained there
    priced = BudgetShares(bins="0.5", training="0.5", recalibration="0")
    counts = [
        mechanism_for(replace(plan(most), shares=priced), BINS, width=9, partners=4)
        for most in (1, 2)
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("m", [1, 2, 4, 10])
@pytest.mark.parametrize("kind", [GRADIENT, ReleaseKind.RECALIBRATION, ReleaseKind.EVALUATION])
def test_variance_never_falls_when_members_are_lost(kind: ReleaseKind, m: int) -> None:
    plan = one_block(12, m, shares=BudgetShares())
    found = [
        mechanism_for(plan, kind, width=WIDTHS[kind], partners=partners).variance
        for partners in range(2, 14)
    ]
    assert found == sorted(found, reverse=True)


@given(
    partners=st.integers(2, 20),
    lost=st.integers(0, 5),
    m=st.integers(1, 6),
    epsilon=st.integers(1, 30).map(lambda n: str(n / 10)),
    fraction=st.sampled_from(["0.2", "0.5", "0.667", "1"]),
)
def test_all_attempts_together_keep_the_target_at_every_honest_number(
    *, partners: int, lost: int, m: int, epsilon: str, fraction: str
) -> None:
    plan = one_block(
        partners, m, epsilon=epsilon, honest_fraction=fraction, shares=BudgetShares()
    )
    roster = max(2, partners - lost)
    found = mechanism_for(plan, GRADIENT, width=195, partners=roster)
    assert found.shared is not None
    attempts = attempts_of(plan, GRADIENT)
    assert attempts * found.units(person=True) <= reserve_units(plan)["training"]
    assert reserve_units(plan)["training"] <= units_of(float(epsilon), 1e-6)
    for honest in range(found.shared.honest, roster + 1):
        mu = min(m, honest) * found.sensitivity / math.sqrt(honest * found.variance)
        assert epsilon_of(math.sqrt(attempts) * mu * (1 - 1e-12), 1e-6) <= float(epsilon)


def test_levels_are_ordered_and_the_claim_is_what_is_charged() -> None:
    found = mechanism_for(one_block(10, 4), GRADIENT, width=195, partners=10)
    units = {level: found.units(person=True, level=level) for level in Level}
    assert units[Level.CLAIMED] == found.units(person=True)
    assert units[Level.CLAIMED] == units[Level.HALF]
    assert units[Level.LARGEST] > units[Level.HALF] > units[Level.ALL] > units[Level.ALONE]
    assert found.units(person=False) < found.units(person=True)
    own = Mechanism(kind=GRADIENT, sensitivity=10, variance=10**6, persons_factor=4)
    assert len({own.units(person=True, level=level) for level in Level}) == 1


def test_smaller_rosters_add_up_beside_larger_ones() -> None:
    plan = one_block(10, 1)
    ten, eight = (mechanism_for(plan, GRADIENT, width=195, partners=k) for k in (10, 8))
    both = three_epsilons([ten] * 60 + [eight] * 6, 1e-6)
    assert both.person.claimed <= 1.0
    units = 60 * ten.units(person=True, level=Level.ALL)
    units += 6 * eight.units(person=True, level=Level.ALL)
    assert both.person.all_honest == epsilon_of_units(units, 1e-6)
    more = three_epsilons([ten] * 60, 1e-6, person_units=2**30, record_units=2**20)
    assert more.person.claimed == epsilon_of_units(60 * ten.units(person=True) + 2**30, 1e-6)
    assert more.record.claimed == epsilon_of_units(60 * ten.units(person=False) + 2**20, 1e-6)


@pytest.mark.parametrize(
    ("partners", "fraction", "honest"),
    [(2, "0.5", 1), (2, "1", 1), (3, "0.5", 2), (5, "0.5", 3), (10, "0.31", 4), (7, "1", 7)],
)
def test_honest_members_are_rounded_up_and_a_pair_counts_on_one(
    partners: int, fraction: str, honest: int
) -> None:
    assert honest_of(one_block(partners, 1, honest_fraction=fraction), partners) == honest


def test_each_of_a_pair_adds_the_whole_noise() -> None:
    found = mechanism_for(one_block(2, 1), GRADIENT, width=195, partners=2)
    own = mechanism_for(one_block(2, 1, noise_mode="own"), GRADIENT, width=195, partners=2)
    assert found.variance == own.variance


def test_noise_is_not_shared_with_nobody() -> None:
    with pytest.raises(RefusalError) as caught:
        mechanism_for(one_block(2, 1), GRADIENT, width=195, partners=1)
    assert caught.value.reason is RefusalCode.QUORUM
    with pytest.raises(DomainError):
        mechanism_for(one_block(2, 1), GRADIENT, width=195, partners=0)


@pytest.mark.parametrize("fraction", ["0", "1.01", "-0.5", "half", "nan"])
def test_honest_fraction_that_is_none_is_refused(fraction: str) -> None:
    plan = one_block(4, 1, honest_fraction=fraction)
    with pytest.raises(ConfigurationError):
        mechanism_for(plan, GRADIENT, width=195, partners=4)


@pytest.mark.parametrize("change", [{"holders_per_person": 0}, {"holders_per_person": -1}])
def test_block_that_holds_nobody_is_refused(change: dict[str, int]) -> None:
    plan = one_block(4, 1)
    block = replace(plan.blocks[0], **change)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        mechanism_for(replace(plan, blocks=(block,)), GRADIENT, width=195, partners=4)
    with pytest.raises(ConfigurationError):
        mechanism_for(one_block(4, 0), GRADIENT, width=195, partners=4)


def test_local_steps_suffice_alone_in_either_mode() -> None:
    shared = replace(LOCAL, noise_mode="shared")
    found = mechanism_for(shared, GRADIENT, width=195, partners=4)
    assert found == mechanism_for(LOCAL, GRADIENT, width=195, partners=4)
    assert found.shared is None
