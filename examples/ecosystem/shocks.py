"""Stress releases of a synthetic market again and again, and the truth that they speak of.

Data are drawn here with the generator's own chance; noise only ever comes from the product.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.contagion import Shock, shock_of
from consortium.credit.figures import NoisyTable, Terms, simulated_release
from consortium.credit.shock import (
    TIERS,
    Bands,
    Closure,
    Elasticity,
    Market,
    Noisy,
    Provenance,
    Question,
    Reaction,
    Tier,
)
from consortium.credit.shock_tables import elasticity_spec, market_of, study_of, tiers_spec
from consortium.figure import SCALE_BITS, FigureSpec
from consortium.identity.overlap import ExactCounts, OverlapCount, OverlapPlan, counts_of
from consortium.ids import Digest, PartnerId, digest_of
from examples.ecosystem import law
from examples.ecosystem.law import Float
from examples.ecosystem.streams import stream
from examples.ecosystem.study import (
    PARTNER_NAMES,
    common_persons,
    month_name,
    secrets,
    studies,
    study_cells,
    tier_part,
)
from examples.ecosystem.world import Ecosystem, Truth

Integers = NDArray[np.int64]

BOUND = 40_000_00
"""Most exposure of a person, minor units."""
DECLINE_PD = 0.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrueMarket:
    """What nobody but a test may put together."""

    partners: tuple[PartnerId, ...]
    month: str
    spec: FigureSpec
    parts: tuple[Integers, ...]
    """Each lender's exact part of the table of tiers."""
    common: Integers
    study: FigureSpec
    numbers: Integers
    """Persons of the study by grade and arm, shape (5, 2)."""
    rates: Float
    """Their true chance of bad; shape (5, 2)."""

    @property
    def elasticities(self) -> Float:
        """By tier, of the closed arm; 0 where nobody is in it."""
        change = self.rates[:, 1] - self.rates[:, 0]
        tiers = np.asarray(law.TIER_OF_GRADE)
        weights = self.numbers[:, 1]
        sums = np.bincount(tiers, weights=weights * change)
        return sums / np.maximum(np.bincount(tiers, weights=weights), 1)


def true_market(observed: Ecosystem, truth: Truth) -> TrueMarket:
    """A market on the eve of the withdrawal, and the study twelve months after it."""
    count, month = observed.profile.partners, observed.profile.withdrawn_in - 1
    names = PARTNER_NAMES[:count]
    spec = tiers_spec(month_name(observed.profile, month), names, bound=BOUND, synthetic=True)
    numbers, rates = _study(observed, truth)
    return TrueMarket(
        partners=names,
        month=month_name(observed.profile, month),
        spec=spec,
        parts=tuple(tier_part(spec, observed, number, month) for number in range(count)),
        common=common_persons(observed, month),
        study=elasticity_spec(month_name(observed.profile, month + 1), synthetic=True),
        numbers=numbers,
        rates=rates,
    )


def _study(observed: Ecosystem, truth: Truth) -> tuple[Integers, Float]:
    month = observed.profile.withdrawn_in
    numbers, bads = np.zeros((5, 2)), np.zeros((5, 2))
    for number, study in studies(observed).items():
        member, cells = study_cells(study.columns)
        hidden, lines = truth.hidden[number], study.line[member]
        in_onset = hidden.onset[lines] <= month
        closed = cells[:, 1] == 1
        base = truth.base_pd(number, month)[lines]
        pd = np.where(closed, hidden.pd12[month][lines], base)
        np.add.at(bads, tuple(cells[:, :2].T), np.where(in_onset, 1.0, pd))
        np.add.at(numbers, tuple(cells[:, :2].T), 1)
    return numbers.astype(np.int64), bads / np.maximum(numbers, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """One set of releases."""

    tiers: NoisyTable
    study: NoisyTable
    overlaps: tuple[OverlapCount, ...]


def released(true: TrueMarket, seed: int, *, epsilon: str = "1") -> Released:
    """All releases of a market once more: outcomes drawn anew, and the product's noise."""
    count = len(true.partners)
    terms = Terms(epsilon=epsilon, max_partners_per_person=count)
    bads = stream(seed, "study outcomes").binomial(true.numbers, true.rates)
    untold = np.zeros_like(bads)
    cells = np.stack((true.numbers - bads, bads, untold), axis=2).reshape(-1).astype(np.int64)
    empty = np.zeros_like(cells)
    parts = [cells << SCALE_BITS, *[empty] * (count - 2)]
    lenders = Terms(epsilon=epsilon, max_partners_per_person=count - 1)
    found: list[OverlapCount] = []
    for one, counter in enumerate(true.partners):
        for other, peer in enumerate(true.partners):
            if one != other:
                plan = overlap_plan(counter, peer, true.month)
                exact = ExactCounts(true.common[one, other].tolist())
                key = secrets(f"overlap {seed} {counter} {peer}", 1)[0]
                found += counts_of(plan, exact.released(plan, key, digest_of(b"overlap")))
    return Released(
        tiers=simulated_release(
            true.spec, true.parts, secrets(f"tiers {seed}", count), terms=terms
        ),
        study=simulated_release(
            true.study, parts, secrets(f"study {seed}", count - 1), terms=lenders
        ),
        overlaps=tuple(found),
    )


def overlap_plan(
    counter: PartnerId, peer: PartnerId, month: str, *, epsilon: str = "0.1"
) -> OverlapPlan:
    """Tiers by the generator's cuts."""
    return OverlapPlan(
        counter=counter,
        peer=peer,
        period=month,
        tiers=tuple(TIERS),
        cuts=(round(1e6 * law.GRADE_CUTS[1]), round(1e6 * law.GRADE_CUTS[2])),
        epoch=1,
        epsilon=epsilon,
        delta="0.000001",
    )


def shock_from(
    found: Released,
    closing: PartnerId,
    *,
    rounds: int = 3,
    assumed: Mapping[Tier, Elasticity] | None = None,
) -> Shock:
    """The answer that the operator gets; ``assumed`` where the study has nobody."""
    measured = {tier: one.elasticity for tier, one in study_of(found.study).items()}
    measured = {**(assumed or {}), **measured}
    market = market_of(found.tiers, found.overlaps)
    asked = question(closing, measured, rounds=rounds)
    return shock_of(market, asked, seed=digest_of(found.tiers.digest.encode()))


def true_shock(true: TrueMarket, closing: PartnerId, *, rounds: int = 3) -> Shock:
    """The answer without noise and with the true elasticities."""
    values = sum(true.parts, np.zeros(true.spec.size, dtype=np.int64)) / (1 << SCALE_BITS)
    table = values.reshape(*true.spec.shape, 3) * [1, BOUND, 1]
    none = np.zeros(table.shape[:2])
    market = Market(
        partners=true.partners,
        persons=Noisy(table[..., 0], none),
        exposure=Noisy(table[..., 1], none),
        bads=Noisy(table[..., 2], none),
        overlap=Noisy(true.common.astype(np.float64), np.zeros(true.common.shape)),
        few=np.zeros(true.common.shape, dtype=np.bool_),
    )
    exact = {
        tier: Elasticity(
            value=value, low=value, high=value, provenance=Provenance.MEASURED, source="truth"
        )
        for tier, value in zip(TIERS, true.elasticities.tolist(), strict=True)
    }
    seed: Digest = digest_of(b"truth")
    return shock_of(market, question(closing, exact, rounds=rounds), seed=seed, draws=2)


def question(
    closing: PartnerId, elasticities: Mapping[Tier, Elasticity], *, rounds: int = 3
) -> Question:
    """All tiers of one lender."""
    middles = {Tier.PRIME: 0.025, Tier.NEAR: 0.072, Tier.LOW: 0.2}
    bands = {
        tier: Bands(
            eta=tuple(
                float(law.logit(np.float64(pd))) + step for step in (-0.6, -0.2, 0.2, 0.6)
            ),
            share=(0.25, 0.25, 0.25, 0.25),
        )
        for tier, pd in middles.items()
    }
    return Question(
        closure=Closure(tiers={closing: frozenset(TIERS)}),
        elasticities=elasticities,
        bands=bands,
        cut=log_odds_of(DECLINE_PD),
        reaction=Reaction(),
        rounds=rounds,
    )


def log_odds_of(pd: float) -> float:
    """Of one probability."""
    return float(law.logit(np.float64(pd)))
