"""What a rehearsal learns of the askers' credit desks."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeskAnswers:
    """What one asker's credit desk decided on its hold-out persons."""

    asker: str
    persons: Words
    """Heads of the persons' hashes, shape (persons,)."""
    outcomes: NDArray[np.str_]
    grades: NDArray[np.str_]
    codes: Mapping[str, int]
    """Decisions by the rule that decided, or by outcome where none did."""
    joint: int
    """Decisions that rest on a joint score."""
    reasons: NDArray[np.int64]
    """Reasons that each decision tells, with its words in both languages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTest:
    """Changes of own items that were told to declined persons, applied and decided again."""

    asked: int
    kept: int
    """Of them, with at least the points that were told."""
    approved: int
    """Of them, no longer declined by that one change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """What one declined applicant is told."""

    decision: str
    points: int
    pd: str
    band: str
    grade: str
    reasons: tuple[tuple[str, str, str, int], ...]
    """Code, Chinese, English, points lost."""
    review: str
    helps: tuple[tuple[str, str, str, int], ...]
    """Feature, bin now, bin then, points then."""
    notices: tuple[str, ...]
    """Files; none where the node makes none."""
    offers: Mapping[str, object]
    """As the desk tells them; empty where the node makes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthTest:
    """Clients at once against a cap that has room for few of them."""

    clients: int
    grade: str
    room: int
    granted: int
    approved: int
    referred: int
    within: bool
    """What was granted is what the node counts, and no more than the cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveTest:
    """A wave of first payments that is worse than planned."""

    accounts: int
    late: int
    before: str
    after: str
    """Phase of the ramp."""
    next_outcome: str
    next_code: str
    """Of the next applicant, who was approved before the wave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskRecord:
    """Decisions through the real protocol, at the askers' own doors."""

    answers: tuple[DeskAnswers, ...]
    per_second: float
    """Decisions of all askers, the joint leg included."""
    seconds: float
    replayed: int
    """Newest decisions of one asker, made again to the same bytes."""
    promises: tuple[int, int]
    """Its findings of what would help, and those that tell changes: each applied and kept."""
    """Stored decisions that came out to the same bytes."""
    changes: ChangeTest
    declined: Declined | None
    growth: GrowthTest | None
    """None: fewer were approved than it needs; so with the wave."""
    wave: WaveTest | None
    assumed: str
    """What was supposed of every applicant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Hold-out persons of one grade, or of several that are too small to stand alone."""

    grades: tuple[str, ...]
    persons: int
    bads: int
    outcomes: Mapping[str, int]

    @property
    def bad_rate(self) -> float:
        """Share of bads."""
        return self.bads / self.persons if self.persons else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskEvidence:
    """What became of whom the desks decided on, exact."""

    persons: int
    tiers: tuple[Tier, ...]
    """From strong to weak."""
    by_outcome: Mapping[str, tuple[int, int]]
    """Persons and bads."""
    declines: int
    declines_with_reasons: int

    @property
    def falls(self) -> bool:
        """Whether each stronger tier has a strictly lower bad rate."""
        rates = [tier.bad_rate for tier in self.tiers]
        return all(one < other for one, other in pairwise(rates))
