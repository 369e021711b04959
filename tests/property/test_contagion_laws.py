"""Contagion: the identities of credit 4.15 for any market; its rounds against plain loops."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.contagion import Effects, Shock, shock_of
from consortium.credit.shock import TIERS, Closure, Float, Market, Question, Reaction, Tier
from consortium.errors import DomainError, ShapeError
from consortium.ids import digest_of
from tests.shock_house import (
    NAMES,
    POINTS,
    SEED,
    STILL,
    elasticities,
    market,
    question,
    usual,
)

FEW_DRAWS = 20
MEASURES = ("hit", "pd", "loss", "moves", "approvals")
TOUCHY = Reaction(kappa={Tier.PRIME: 0.01, Tier.NEAR: 0.05, Tier.LOW: 0.2}, theta=0.0)
REACTING = Reaction(kappa={Tier.PRIME: 0.01, Tier.NEAR: 0.05, Tier.LOW: 0.2}, theta=0.02)

heads = st.integers(-40, 60_000).map(float)


@st.composite
def markets(draw: st.DrawFn) -> Market:
    """Two to four partners, some cells empty or below 0, overlaps within the smaller of two."""
    count = draw(st.integers(2, 4))
    size = count * len(TIERS)
    persons = np.array(draw(st.lists(heads, min_size=size, max_size=size)))
    persons = persons.reshape(count, len(TIERS))
    shares = np.array(draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    smaller = np.minimum(persons[:, None], persons[None])
    overlap = np.maximum(smaller, 0) * shares[:, None, None]
    pd = draw(st.tuples(*[st.floats(0.001, 0.6)] * 3))
    return market(persons, overlap, noise=draw(st.sampled_from((0.0, 17.0))), pd=pd)


def _zero(effects: Effects, names: tuple[str, ...] = MEASURES) -> bool:
    return all(
        not np.any(getattr(getattr(effects, name), side))
        for name in names
        for side in ("value", "low", "high")
    )


def _points(value: float) -> Mapping[Tier, float]:
    return dict.fromkeys(TIERS, value)


@settings(max_examples=20)
@given(markets(), st.floats(0, 1))
def test_without_elasticity_and_reaction_nothing_changes(one: Market, share: float) -> None:
    asked = question(points=_points(0.0), half=0.0, share=share)
    shock = shock_of(one, asked, seed=SEED, draws=FEW_DRAWS)
    assert _zero(shock.together.by_tier, ("pd", "loss", "approvals"))
    assert len(shock.rounds) == 1


@settings(max_examples=20)
@given(markets())
def test_without_overlap_nothing_changes_even_where_partners_react(one: Market) -> None:
    alone = market(
        one.persons.values,
        np.zeros_like(one.overlap.values),
        noise=0.0,
    )
    shock = shock_of(alone, question(reaction=TOUCHY), seed=SEED, draws=FEW_DRAWS)
    assert _zero(shock.together.by_tier)


@settings(max_examples=20)
@given(markets(), st.floats(0.01, 1))
def test_without_reaction_every_round_is_linear_in_the_share_closed(
    one: Market, share: float
) -> None:
    whole = shock_of(one, question(), seed=SEED, draws=FEW_DRAWS)
    part = shock_of(one, question(share=share), seed=SEED, draws=FEW_DRAWS)
    assert part.before.value == pytest.approx(whole.before.value)
    for some, every in zip(part.rounds, whole.rounds, strict=False):
        for name in MEASURES:
            found, full = getattr(some.by_tier, name), getattr(every.by_tier, name)
            assert found.value == pytest.approx(share * full.value, rel=1e-9, abs=1e-9)


@settings(max_examples=20)
@given(markets(), st.sampled_from((STILL, REACTING)), st.sampled_from((POINTS, _points(0.3))))
def test_rounds_are_those_of_plain_loops(
    one: Market, reaction: Reaction, points: Mapping[Tier, float]
) -> None:
    asked = question(
        closing={NAMES[0]: frozenset({Tier.PRIME, Tier.NEAR}), NAMES[1]: frozenset(TIERS)},
        points=points,
        share=0.8,
        reaction=reaction,
    )
    shock = shock_of(one, asked, seed=SEED, draws=2)
    wanted = _loops(one, asked)
    assert len(shock.rounds) == len(wanted)
    for found, (hit, loss) in zip(shock.rounds, wanted, strict=True):
        assert found.by_tier.hit.value == pytest.approx(hit, rel=1e-9, abs=1e-6)
        assert found.by_tier.loss.value == pytest.approx(loss, rel=1e-9, abs=1e-3)


@settings(max_examples=20)
@given(markets(), st.sampled_from((STILL, REACTING)))
def test_every_figure_lies_in_its_interval_and_parts_add_up(
    one: Market, reaction: Reaction
) -> None:
    shock = shock_of(one, question(reaction=reaction), seed=SEED, draws=FEW_DRAWS)
    for level in ("by_tier", "by_partner", "total"):
        for name in MEASURES:
            found = getattr(getattr(shock.together, level), name)
            assert np.all(found.low <= found.value)
            assert np.all(found.value <= found.high)
    for name in ("hit", "loss", "moves", "approvals"):
        by_partner = getattr(shock.together.by_partner, name).value
        parts = [getattr(one_round.by_partner, name).value for one_round in shock.rounds]
        assert by_partner == pytest.approx(sum(parts), rel=1e-9, abs=1e-6)
        total = getattr(shock.together.total, name).value
        assert float(total) == pytest.approx(by_partner.sum(), rel=1e-9, abs=1e-6)


def test_draws_do_not_depend_on_how_many_come_at_a_time_nor_on_the_run() -> None:
    first = _told(shock_of(usual(17.0), question(), seed=SEED, draws=120))
    assert first == _told(shock_of(usual(17.0), question(), seed=SEED, draws=120))
    other = shock_of(usual(17.0), question(), seed=digest_of(b"other"), draws=120)
    assert _told(other) != first


def _told(shock: Shock) -> bytes:
    found = shock.together.by_tier.loss
    return b"".join(one.tobytes() for one in (found.value, found.low, found.high))


def test_a_closure_that_helps_lowers_loss_and_goes_no_further() -> None:
    shock = shock_of(usual(), question(points=_points(-0.02)), seed=SEED)
    assert float(shock.together.total.loss.high) < 0
    assert float(shock.together.total.approvals.value) >= 0
    assert len(shock.rounds) == 1


def test_reaction_closes_lines_where_loss_grew_enough_and_only_there() -> None:
    still = shock_of(usual(), question(), seed=SEED)
    reacts = shock_of(usual(), question(reaction=REACTING), seed=SEED)
    indolent = Reaction(kappa=REACTING.kappa, theta=1e9)
    idle = shock_of(usual(), question(reaction=indolent), seed=SEED)
    assert reacts.rounds[1].total.hit.value > 2 * still.rounds[1].total.hit.value
    assert idle.rounds[1].total.hit.value == still.rounds[1].total.hit.value


def test_closed_tiers_are_not_hit_and_partners_do_not_hit_themselves() -> None:
    shock = shock_of(usual(), question(points=_points(0.3)), seed=SEED)
    assert len(shock.rounds) == 3
    assert not np.any(shock.together.by_tier.hit.value[0])
    some = question(closing={NAMES[0]: frozenset({Tier.LOW})}, points=_points(0.3))
    hit = shock_of(usual(), some, seed=SEED).together.by_tier.hit.value
    assert hit[0, 2] == 0
    assert np.all(hit[1:, 2] > 0)
    assert not np.any(hit[:, :2])


def test_partners_without_additional_loss_do_not_react_however_touchy_they_are() -> None:
    for points in (_points(0.0), _points(-0.02)):
        shock = shock_of(usual(), question(points=points, reaction=TOUCHY), seed=SEED)
        assert len(shock.rounds) == 1


def test_counts_that_noise_alone_lifts_above_fifty_hold_nobody_in_their_intervals() -> None:
    noisy = market(usual().persons.values, np.full((4, 4, 3), 120.0), noise=42.0)
    hit = shock_of(noisy, question(), seed=SEED).rounds[0].total.hit
    assert hit.low <= 0
    clear = market(usual().persons.values, np.full((4, 4, 3), 140.0), noise=42.0)
    assert shock_of(clear, question(), seed=SEED).rounds[0].total.hit.low > 0


def test_suppressed_overlap_enters_as_nothing_with_an_interval_up_to_fifty() -> None:
    persons = usual().persons.values
    overlap = np.full((4, 4, 3), 44.0)
    few = np.ones((4, 4, 3), dtype=np.bool_)
    shock = shock_of(market(persons, overlap, few=few), question(), seed=SEED)
    hit = shock.rounds[0].by_tier.hit
    assert not np.any(hit.value)
    assert np.all((hit.low[1:] == 0) & (hit.high[1:] > 45) & (hit.high[1:] < 50))


def test_cells_without_persons_are_zero_and_marked() -> None:
    persons = usual().persons.values.copy()
    persons[2, 1] = -12.0
    shock = shock_of(market(persons, usual().overlap.values), question(), seed=SEED)
    assert shock.undefined[2, 1]
    assert shock.undefined.sum() == 1
    assert not np.any(shock.together.by_tier.pd.high[2, 1])


def test_stage_moves_are_those_whose_pd_doubles_to_one_percent() -> None:
    points = {Tier.PRIME: 0.031, Tier.NEAR: 0.079, Tier.LOW: 0.251}
    shock = shock_of(usual(), question(points=points, half=0.0), seed=SEED)
    first = shock.rounds[0].by_tier
    assert np.array_equal(first.moves.value[:, 0], first.hit.value[:, 0])
    assert not np.any(first.moves.value[:, 1])
    low = market(usual().persons.values, usual().overlap.values, pd=(0.002, 0.08, 0.25))
    points = {**points, Tier.PRIME: 0.007}
    first = shock_of(low, question(points=points, half=0.0), seed=SEED).rounds[0].by_tier
    assert not np.any(first.moves.value[:, 0])


def test_impossible_questions_and_markets_are_refused() -> None:
    with pytest.raises(DomainError, match="is not in these tables"):
        shock_of(usual(), question(closing={NAMES[0][:2]: frozenset(TIERS)}), seed=SEED)
    with pytest.raises(DomainError, match="no interval"):
        shock_of(usual(), question(), seed=SEED, draws=1)
    with pytest.raises(DomainError, match="outside 0 to 1"):
        Closure(tiers={NAMES[0]: frozenset(TIERS)}, share=1.1)
    with pytest.raises(DomainError, match="without a tier"):
        Closure(tiers={NAMES[0]: frozenset()})
    with pytest.raises(DomainError, match="low <= value"):
        elasticities({Tier.LOW: 1.2})
    with pytest.raises(ShapeError, match="expected"):
        market(np.ones((2, 2)), np.ones((2, 2, 3)), pd=(0.1, 0.2))
    with pytest.raises(DomainError, match="two different"):
        market(np.ones((1, 3)), np.ones((1, 1, 3)))


def _loops(  # noqa: C901, PLR0912 - the text of 4.15, cell by cell
    one: Market, asked: Question
) -> list[tuple[Float, Float]]:
    """Rounds of 4.15 cell by cell: persons hit and change of expected loss."""
    count, lgd = len(one.partners), asked.reaction.lgd
    rounds: list[tuple[Float, Float]] = []
    hit = np.zeros((count, 3))
    for j in range(count):
        for t, tier in enumerate(TIERS):
            if not _closed(one, asked, j, tier):
                for p in range(count):
                    if p != j and _closed(one, asked, p, tier):
                        hit[j, t] += asked.closure.share * one.overlap.values[p, j, t]
    while len(rounds) < 3 and (not rounds or hit.sum() >= 50):
        loss, closing = np.zeros((count, 3)), np.zeros((count, 3))
        for j in range(count):
            before = 0.0
            for t, tier in enumerate(TIERS):
                persons = one.persons.values[j, t]
                if persons <= 0:
                    hit[j, t] = 0.0
                    continue
                pd = one.bads.values[j, t] / persons
                each = one.exposure.values[j, t] / persons * lgd
                move = min(max(asked.elasticities[tier].value, -pd), 1 - pd)
                before += persons * pd * each
                loss[j, t] = hit[j, t] * move * each
                closing[j, t] = max(0.0, hit[j, t] * move)
            if loss[j].sum() > 0 and loss[j].sum() >= asked.reaction.theta * before:
                for t, tier in enumerate(TIERS):
                    closing[j, t] += asked.reaction.kappa[tier] * max(
                        0, one.persons.values[j, t]
                    )
        rounds.append((hit, loss))
        hit = np.zeros((count, 3))
        for k in range(count):
            for t, tier in enumerate(TIERS):
                for j in range(count):
                    usable = one.persons.values[j, t] > 0 and one.persons.values[k, t] > 0
                    if j != k and usable and not _closed(one, asked, k, tier):
                        share = one.overlap.values[j, k, t] / one.persons.values[j, t]
                        hit[k, t] += closing[j, t] * share
    return rounds


def _closed(one: Market, asked: Question, partner: int, tier: Tier) -> bool:
    return tier in asked.closure.tiers.get(one.partners[partner], frozenset())
