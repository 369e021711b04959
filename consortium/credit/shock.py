"""What a closure shock is reckoned from: noisy totals, elasticities, policy (credit 4.15).

Values and nothing else: each refuses at once what it cannot be, so that the arithmetic of
``contagion`` need not look again. Totals are of a noisy release, by partner and shock tier.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from consortium.credit.terms import GRADES, Grade
from consortium.errors import DomainError, ShapeError
from consortium.ids import PartnerId

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_CELL = 50
"""Fewest persons that a published figure rests on, and that carry a further round (2.3)."""

MOST_ROUNDS = 3

_NORMAL_95 = 1.96


class Tier(StrEnum):
    """Shock tiers: grades that a closure moves alike (credit 2.2)."""

    PRIME = "PRIME"
    NEAR = "NEAR"
    LOW = "LOW"


TIERS = tuple(Tier)
TIER_OF: Mapping[Grade, Tier] = {
    Grade.G1: Tier.PRIME,
    Grade.G2: Tier.PRIME,
    Grade.G3: Tier.NEAR,
    Grade.G4: Tier.LOW,
    Grade.G5: Tier.LOW,
}
GRADE_CUTS = (20_000, 50_000, 100_000, 200_000)
"""PD of twelve months in millionths from which on a person is G2 to G5 (credit 2.3)."""
TIER_CUTS = (GRADE_CUTS[1], GRADE_CUTS[2])
"""Likewise, from which on a person is NEAR, and LOW."""


def grade_of(pd: int) -> Grade:
    """Grade of a PD of twelve months in millionths: the same at every partner."""
    return GRADES[bisect_right(GRADE_CUTS, pd)]


class Provenance(StrEnum):
    """Where an elasticity comes from; a report on assumed ones says so in its title."""

    MEASURED = "measured"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """Change of the 12-month PD of a tier's persons on their other lines, by one closure."""

    value: float
    """A difference of two probabilities, signed: .072 is +7.2 points."""
    low: float
    high: float
    """Ends of the 95 % interval."""
    provenance: Provenance
    source: str
    """Release id of the study, or whose assumption it is."""

    def __post_init__(self) -> None:
        """Refuse what is no difference of probabilities inside its own interval."""
        if not -1 <= self.low <= self.value <= self.high <= 1:
            raise DomainError("elasticity: not low <= value <= high inside -1 to 1")

    @property
    def deviation(self) -> float:
        """Standard deviation, taking the interval for that of a normal variable."""
        return (self.high - self.low) / (2 * _NORMAL_95)


@dataclass(frozen=True, slots=True)
class Noisy:
    """Totals of one noisy release and the standard deviation of the noise in each."""

    values: Float
    deviations: Float

    def __post_init__(self) -> None:
        """Refuse ragged or impossible totals."""
        if self.values.shape != self.deviations.shape:
            raise ShapeError(
                f"{self.values.shape} totals with {self.deviations.shape} deviations"
            )
        both = (self.values, self.deviations)
        if not all(bool(np.isfinite(one).all()) for one in both):
            raise DomainError("noisy totals: NaN or infinity")
        if bool((self.deviations < 0).any()):
            raise DomainError("noisy totals: a negative deviation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Noisy totals of all partners. J partners and T = 3 tiers, in the order of ``TIERS``."""

    partners: tuple[PartnerId, ...]
    persons: Noisy
    """N, shape (J, T)."""
    exposure: Noisy
    """Clipped exposure, summed over persons, minor units, shape (J, T)."""
    bads: Noisy
    """12-month PD, summed over persons, shape (J, T)."""
    overlap: Noisy
    """Persons with an active line at the first and at the second, by the second's tier:
    shape (J, J, T). The diagonal is not read."""
    few: Flags
    """Where the overlap run said only "< 50": it enters as 0, its interval is 0 to 50."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together."""
        count, tiers = len(self.partners), len(TIERS)
        if count < 2 or len(set(self.partners)) != count:  # noqa: PLR2004 - nobody to hit
            raise DomainError("a market needs at least two different partners")
        for name in ("persons", "exposure", "bads"):
            shape = getattr(self, name).values.shape
            if shape != (count, tiers):
                raise ShapeError(f"{name} of shape {shape}, expected {(count, tiers)}")
        for shape in (self.overlap.values.shape, self.few.shape):
            if shape != (count, count, tiers):
                raise ShapeError(f"overlap of shape {shape}, expected {(count, count, tiers)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Score bands of a tier: log-odds of bad of each band's middle, and its share."""

    eta: tuple[float, ...]
    share: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse bands whose shares are not a distribution."""
        if not self.eta or len(self.eta) != len(self.share):
            raise ShapeError(f"{len(self.eta)} bands with {len(self.share)} shares")
        if min(self.share) < 0 or abs(sum(self.share) - 1) > 1e-6:  # noqa: PLR2004
            raise DomainError("shares of score bands: negative, or not 1 together")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """Policy of the shock: how partners answer, and what a loss is."""

    kappa: Mapping[Tier, float] = field(
        default_factory=lambda: {Tier.PRIME: 0.0, Tier.NEAR: 0.02, Tier.LOW: 0.05}
    )
    """Share of a tier's lines that a partner closes once it reacts."""
    theta: float = 0.10
    """Additional loss, as a share of the expected loss before, from which it reacts."""
    lgd: float = 0.60

    def __post_init__(self) -> None:
        """Refuse shares outside 0 to 1."""
        shares = (*self.kappa.values(), self.lgd)
        if set(self.kappa) != set(TIERS):
            raise DomainError("reaction: kappa is not given for every tier")
        if min(shares) < 0 or max(shares) > 1 or self.theta < 0:
            raise DomainError("reaction: a share outside 0 to 1, or theta below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """The question: which tiers of which partners close, and how much of them."""

    tiers: Mapping[PartnerId, frozenset[Tier]]
    share: float = 1.0
    """s, of the lines in those tiers."""

    def __post_init__(self) -> None:
        """Refuse a question about nothing."""
        if not self.tiers or not all(self.tiers.values()):
            raise DomainError("a closure names no partner, or a partner without a tier")
        if not 0 <= self.share <= 1:
            raise DomainError(f"share {self.share} of the lines is outside 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that a shock is reckoned from, beside the market."""

    closure: Closure
    elasticities: Mapping[Tier, Elasticity]
    bands: Mapping[Tier, Bands]
    cut: float
    """Log-odds of bad from which an application is declined."""
    reaction: Reaction = field(default_factory=Reaction)
    rounds: int = MOST_ROUNDS
    """At most; later ones read the overlap of all pairs, the first only of who closes."""

    def __post_init__(self) -> None:
        """Refuse a question that leaves a tier out."""
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise DomainError(f"{self.rounds} rounds, expected 1 to {MOST_ROUNDS}")
        if set(self.elasticities) != set(TIERS) or set(self.bands) != set(TIERS):
            raise DomainError("elasticities and bands are not given for every tier")

    @property
    def assumed(self) -> bool:
        """Whether any elasticity was not measured."""
        found = self.elasticities.values()
        return any(one.provenance is Provenance.ASSUMED for one in found)
