"""What else happens when lines close: rounds of a closure through common borrowers (4.15).

Pure arithmetic over noisy totals by partner and shock tier: no row, and no person, enters.
A closure has no fixed sign: an elasticity is a signed change of the 12-month PD and may lower
the loss elsewhere. Every figure is a value with a 95 % interval from seeded draws over the
noise of every input and over the elasticities.

Rules that 4.15 leaves open are settled here. A tier that a partner closes is asked about and
therefore not hit itself. A partner without additional loss does not react, so nothing comes of
nothing. The first round is always reckoned; a draw goes on while it hits enough persons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from consortium.credit.draws import Draws, Places, normals, uniforms
from consortium.credit.shock import (
    MIN_CELL,
    TIERS,
    Closure,
    Flags,
    Float,
    Market,
    Noisy,
    Question,
)
from consortium.errors import DomainError
from consortium.ids import Digest, PartnerId

DRAWS = 1_000

_NORMAL_95 = 1.96
_CHUNK = 50
"""Draws at a time; changes no figure."""
_STAGE_RATIO, _STAGE_FLOOR = 2.0, 0.01
_ETA_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimates:
    """Figures of one shape with the ends of their 95 % intervals."""

    value: Float
    low: Float
    high: Float

    def at(self, *place: int) -> Estimate:
        """The figure at a place."""
        return Estimate(*(float(one[place]) for one in (self.value, self.low, self.high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What one round, or all together, do; all figures of one shape."""

    hit: Estimates
    """Persons on whom a line closed, once for each line."""
    pd: Estimates
    """Change of the mean 12-month PD of all persons there, a difference of probabilities."""
    loss: Estimates
    """Change of the expected loss, minor units."""
    moves: Estimates
    """Persons whose PD at least doubles, to 1 % or more: stage 2."""
    approvals: Estimates
    """Change of approvals if everybody hit applied once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round, by partner and tier, by partner, and of all."""

    number: int
    by_tier: Effects
    """Shape (J, T)."""
    by_partner: Effects
    """Shape (J,)."""
    total: Effects
    """Shape ()."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shock:
    """The answer: rounds that the figures themselves reach, and all rounds together."""

    partners: tuple[PartnerId, ...]
    rounds: tuple[Round, ...]
    together: Round
    before: Estimates
    """Expected loss before, shape (J,), minor units."""
    before_all: Estimates
    """Shape ()."""
    undefined: Flags
    """Shape (J, T): no positive number of persons, so every effect there is set to 0."""
    assumed: bool


def shock_of(market: Market, question: Question, *, seed: Digest, draws: int = DRAWS) -> Shock:
    """Closing lines at some partners: what happens at all others, over up to three rounds.

    Args:
        market: Noisy totals; nothing in them is clamped but what a ratio needs.
        question: Who closes what, how persons and partners answer.
        seed: Of the draws: the digest of the question and of the releases. Same seed, same
            figures, to the bit.
        draws: How many, at least 2.

    Raises:
        DomainError: a closing partner is not in the market, or too few draws.
    """
    unknown = set(question.closure.tiers) - set(market.partners)
    if unknown:
        raise DomainError(f"partner {min(unknown)} is not in these tables")
    if draws < 2:  # noqa: PLR2004 - one draw has no spread
        raise DomainError(f"{draws} draws have no interval")
    value = _run(_centre(market, question), market, question)
    source = Draws(seed)
    states = [
        _drawn(market, question, source, min(_CHUNK, draws - start))
        for start in range(0, draws, _CHUNK)
    ]
    spreads = [_joined([_run(state, market, question) for state in states])]
    doubtful = _doubtful(market)
    if bool(doubtful.any()):
        # Once as nobody, once as drawn: the interval holds both.
        none = [replace(one, overlap=np.where(doubtful, 0.0, one.overlap)) for one in states]
        spreads.append(_joined([_run(state, market, question) for state in none]))
    return _answer(market, question, value, spreads)


def _joined(parts: Sequence["_Outcome"]) -> "_Outcome":
    return _Outcome(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _MEASURES)
    )


def _doubtful(market: Market) -> Flags:
    """Overlaps that may be nobody's: fewer than 50, or so few more that noise explains it.

    Counts below 50 are not told, so one that is told is on the high side where its noise is
    as large as the bound; over many pairs that would add up to persons who are not there.
    """
    noise = market.overlap.deviations
    near = market.overlap.values < MIN_CELL + _NORMAL_95 * noise
    return market.few | ((noise > 0) & near)


def persons_positive(market: Market) -> Flags:
    """Where a ratio by persons exists, shape (J, T)."""
    return market.persons.values > 0


@dataclass(frozen=True, slots=True)
class _State:
    """A batch of C draws of all inputs."""

    persons: Float  # (C, J, T)
    exposure: Float
    bads: Float
    overlap: Float  # (C, J, J, T)
    elasticity: Float  # (C, T)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of C draws: figures of rounds, shape (C, R, J, T); and what they are set against."""

    hit: Float
    defaults: Float
    loss: Float
    moves: Float
    approvals: Float
    persons: Float  # (C, J, T), 0 where undefined
    before: Float  # (C, J)
    live: Flags  # (C, R)


_MEASURES = _Outcome.__slots__


def _centre(market: Market, question: Question) -> _State:
    """The released values themselves, as one draw."""
    overlap = np.where(market.few, 0.0, market.overlap.values)
    return _State(
        persons=market.persons.values[None],
        exposure=market.exposure.values[None],
        bads=market.bads.values[None],
        overlap=overlap[None],
        elasticity=np.array([[question.elasticities[tier].value for tier in TIERS]]),
    )


def _drawn(market: Market, question: Question, source: Draws, count: int) -> _State:
    """``count`` draws around the released values; every draw reads its own places."""
    small, large = market.persons.values.shape, market.overlap.values.shape
    sizes = [int(np.prod(small))] * 3 + [int(np.prod(large)), len(TIERS)]
    places = source.take(count * sum(sizes)).reshape(count, sum(sizes))
    cuts = np.cumsum(sizes)[:-1].tolist()
    persons, exposure, bads, overlap, last = np.split(places, cuts, axis=1)
    elasticities = [question.elasticities[tier] for tier in TIERS]
    centre = np.array([one.value for one in elasticities])
    spread = np.array([one.deviation for one in elasticities])
    far = overlap.reshape(count, *large)
    return _State(
        persons=_around(market.persons, persons.reshape(count, *small)),
        exposure=_around(market.exposure, exposure.reshape(count, *small)),
        bads=_around(market.bads, bads.reshape(count, *small)),
        overlap=np.where(market.few, uniforms(far) * MIN_CELL, _around(market.overlap, far)),
        elasticity=centre + spread * normals(last),
    )


def _around(noisy: Noisy, places: Places) -> Float:
    return noisy.values + noisy.deviations * normals(places)


def _run(state: _State, market: Market, question: Question) -> _Outcome:
    """All rounds of a batch of draws."""
    reaction = question.reaction
    defined = state.persons > 0
    persons = np.where(defined, state.persons, 0.0)
    per = np.where(defined, state.persons, 1.0)
    pd = np.where(defined, np.clip(state.bads / per, 0.0, 1.0), 0.0)
    exposure = np.where(defined, np.maximum(state.exposure / per, 0.0), 0.0)
    change = np.clip(state.elasticity[:, None, :], -pd, 1 - pd)
    before = (persons * pd * exposure).sum(axis=2) * reaction.lgd
    kappa = np.array([reaction.kappa[tier] for tier in TIERS])
    stage = (pd + change >= _STAGE_RATIO * pd) & (pd + change >= _STAGE_FLOOR)
    crossing = _crossing(pd, change, question)
    overlap = state.overlap * _off_diagonal(len(market.partners))
    open_ = defined & _still_open(market, question.closure)

    hit = _first_hit(overlap, market, question.closure) * open_
    live = np.ones(len(hit), dtype=bool)
    rounds: list[tuple[Float, Float, Float]] = []
    lives = []
    for _ in range(question.rounds):
        hit = hit * live[:, None, None]
        defaults = hit * change
        loss = defaults * exposure * reaction.lgd
        rounds.append((hit, defaults, loss))
        lives.append(live)
        more = loss.sum(axis=2)
        reacts = live[:, None] & (more > 0) & (more >= reaction.theta * before)
        closing = np.maximum(defaults, 0.0) + kappa * persons * reacts[:, :, None]
        hit = np.einsum("cjt,cjkt->ckt", closing / per, overlap) * open_
        live = live & (hit.sum(axis=(1, 2)) >= MIN_CELL)
    hits, defaults_all, losses = (np.stack(one, axis=1) for one in zip(*rounds, strict=True))
    return _Outcome(
        hit=hits,
        defaults=defaults_all,
        loss=losses,
        moves=hits * stage[:, None],
        approvals=-hits * crossing[:, None],
        persons=persons,
        before=before,
        live=np.stack(lives, axis=1),
    )


def _first_hit(overlap: Float, market: Market, closure: Closure) -> Float:
    """``s · O_Pjt`` over the closing partners P and tiers t, shape (C, J, T)."""
    closes = ~_still_open(market, closure)
    hit: Float = np.einsum("jt,cjkt->ckt", closure.share * closes, overlap)
    return hit


def _still_open(market: Market, closure: Closure) -> Flags:
    """Tiers that the question does not close, shape (J, T)."""
    return np.array(
        [
            [tier not in closure.tiers.get(partner, frozenset()) for tier in TIERS]
            for partner in market.partners
        ]
    )


def _off_diagonal(count: int) -> Float:
    return (1.0 - np.eye(count))[:, :, None]


def _crossing(pd: Float, change: Float, question: Question) -> Float:
    """Share of each tier's score bands that cross the cut, gains negative; as ``pd``."""
    shift = _logit(pd + change) - _logit(pd)
    found = np.empty_like(shift)
    for index, tier in enumerate(TIERS):
        bands = question.bands[tier]
        room = question.cut - np.array(bands.eta)
        order = np.argsort(room, kind="stable")
        declined = np.concatenate(([0.0], np.cumsum(np.array(bands.share)[order])))
        places = np.searchsorted(room[order], shift[:, :, index], side="right")
        none = np.searchsorted(room[order], 0.0, side="right")
        found[:, :, index] = declined[places] - declined[none]
    return found


def _logit(pd: Float) -> Float:
    edge = 1 / (1 + math.exp(_ETA_LIMIT))
    kept = np.clip(pd, edge, 1 - edge)
    found: Float = np.log(kept) - np.log1p(-kept)
    return found


def _answer(
    market: Market, question: Question, value: _Outcome, spreads: Sequence[_Outcome]
) -> Shock:
    reached = int(value.live[0].sum())
    rounds = tuple(
        _round(number, slice(number - 1, number), value, spreads)
        for number in range(1, reached + 1)
    )
    return Shock(
        partners=market.partners,
        rounds=rounds,
        together=_round(0, slice(None), value, spreads),
        before=_estimates(value.before, [one.before for one in spreads]),
        before_all=_estimates(
            value.before.sum(axis=1), [one.before.sum(axis=1) for one in spreads]
        ),
        undefined=~persons_positive(market),
        assumed=question.assumed,
    )


def _round(number: int, which: slice, value: _Outcome, spreads: Sequence[_Outcome]) -> Round:
    """Figures of some rounds added up, at the three levels."""
    centre = _level(value, which)
    around = [_level(one, which) for one in spreads]
    by_tier, by_partner, total = (
        _effects(centre[level], [one[level] for one in around]) for level in range(3)
    )
    return Round(number=number, by_tier=by_tier, by_partner=by_partner, total=total)


_Figures = dict[str, Float]


def _level(outcome: _Outcome, which: slice) -> tuple[_Figures, _Figures, _Figures]:
    """Sums over rounds; by partner and tier, by partner, and of all."""
    names = ("hit", "defaults", "loss", "moves", "approvals")
    sums = {name: getattr(outcome, name)[:, which].sum(axis=1) for name in names}
    sums["persons"] = outcome.persons
    found = []
    for axes in ((), (2,), (1, 2)):
        one = {name: array.sum(axis=axes) for name, array in sums.items()}
        persons, defaults = one.pop("persons"), one.pop("defaults")
        some = persons > 0
        one["pd"] = np.where(some, defaults / np.where(some, persons, 1.0), 0.0)
        found.append(one)
    return found[0], found[1], found[2]


def _effects(value: _Figures, spreads: Sequence[_Figures]) -> Effects:
    return Effects(
        **{name: _estimates(value[name], [one[name] for one in spreads]) for name in value}
    )


def _estimates(value: Float, spreads: Sequence[Float]) -> Estimates:
    """Quantiles of the draws, widened to hold the value itself; drops the first axis."""
    low = high = value[0]
    for one in spreads:
        below, above = np.quantile(one, (0.025, 0.975), axis=0)
        low, high = np.minimum(low, below), np.maximum(high, above)
    return Estimates(value[0], low, high)
