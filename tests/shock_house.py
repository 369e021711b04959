"""Markets of a few partners and the question that tests ask of them."""

from collections.abc import Mapping

import numpy as np

from consortium.credit.shock import (
    TIERS,
    Bands,
    Closure,
    Elasticity,
    Flags,
    Float,
    Market,
    Noisy,
    Provenance,
    Question,
    Reaction,
    Tier,
)
from consortium.ids import Digest, PartnerId, digest_of

SEED: Digest = digest_of(b"a shock")
NAMES = tuple(PartnerId(name) for name in ("bank_a", "bank_b", "card_c", "shop_d"))
POINTS = {Tier.PRIME: 0.07, Tier.NEAR: 0.07, Tier.LOW: -0.115}
STILL = Reaction(kappa=dict.fromkeys(TIERS, 0.0))
CUT = float(np.log(0.2 / 0.8))


def elasticities(points: Mapping[Tier, float], half: float = 0.01) -> Mapping[Tier, Elasticity]:
    """Measured ones with intervals of one half width."""
    return {
        tier: Elasticity(
            value=value,
            low=value - half,
            high=value + half,
            provenance=Provenance.MEASURED,
            source="test",
        )
        for tier, value in points.items()
    }


def bands() -> Mapping[Tier, Bands]:
    """Four bands a tier, around 3, 8 and 25 %."""
    centres = {Tier.PRIME: -3.5, Tier.NEAR: -2.4, Tier.LOW: -1.1}
    return {
        tier: Bands(
            eta=tuple(centre + step for step in (-0.9, -0.3, 0.3, 0.9)),
            share=(0.2, 0.3, 0.3, 0.2),
        )
        for tier, centre in centres.items()
    }


def question(
    *,
    closing: Mapping[PartnerId, frozenset[Tier]] | None = None,
    share: float = 1.0,
    points: Mapping[Tier, float] = POINTS,
    half: float = 0.01,
    reaction: Reaction = STILL,
) -> Question:
    """Partner ``bank_a`` closes everything, unless told otherwise."""
    tiers = {NAMES[0]: frozenset(TIERS)} if closing is None else closing
    return Question(
        closure=Closure(tiers=tiers, share=share),
        elasticities=elasticities(points, half),
        bands=bands(),
        cut=CUT,
        reaction=reaction,
    )


def market(
    persons: Float,
    overlap: Float,
    *,
    noise: float = 0.0,
    pd: tuple[float, ...] = (0.03, 0.08, 0.25),
    each: float = 9_000.0,
    few: Flags | None = None,
) -> Market:
    """Persons (J, T) and overlaps (J, J, T) with equal exposure; ``noise`` is in persons."""
    count = len(persons)
    scale = np.full(persons.shape, noise)
    chances = np.array(pd)
    return Market(
        partners=NAMES[:count],
        persons=Noisy(persons, scale),
        exposure=Noisy(persons * each, scale * each),
        bads=Noisy(persons * chances, scale),
        overlap=Noisy(overlap, np.full(overlap.shape, noise)),
        few=np.zeros(overlap.shape, dtype=np.bool_) if few is None else few,
    )


def usual(noise: float = 0.0) -> Market:
    """Four partners of 50,000 persons who share two fifths of them."""
    persons = np.tile(np.array([25_000.0, 15_000.0, 10_000.0]), (4, 1))
    overlap = np.tile(0.4 * persons[0], (4, 4, 1))
    return market(persons, overlap, noise=noise)
