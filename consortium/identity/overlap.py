"""Persons whom two partners have in common: what is asked, and what may be said (6.10).

The *counting* partner is the one whose lines are supposed to close, the *peer* the one that
is hit. A plan names both, the month, and the peer's tiers by cuts of its own PD; it has one
release id, and a question is answered once. What leaves the counting partner are counts with
discrete Gaussian noise, and of fewer than 50 that they are fewer. That partner itself learns
the exact counts: the noise is towards all others, and every statement says so. The lists and
their machines are in ``overlap_lists``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NoReturn

from consortium.canonical import Label, hash_with, u16
from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document
from consortium.errors import (
    ConfigurationError,
    DecodeError,
    DomainError,
    IdentifierError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.figure import FigureKind
from consortium.ids import Digest, PartnerId, RunId, parse_partner_id
from consortium.manifest import Manifest
from consortium.plan import ReleaseKind, decimal
from consortium.privacy.accountant import UNITS, units_of
from consortium.privacy.noise import noise_share
from consortium.release import Mechanism

SCALE = 1 << 10
"""One person, in the integers that get noise; Q, for a person is in one tier (6.10)."""
FEWEST = 50
"""Of fewer persons it is said that they are fewer, and nothing else (credit 2.3)."""
MOST_TIERS = 8
MOST_ATTEMPTS = 2
"""Runs of one question, all of them paid for: after any, exact counts may be known."""
SMALLEST_LIST, LARGEST_LIST = 1 << 10, 1 << 21
"""Points of a padded list."""
ACCOUNT = "tables"
"""That of all figures about persons, whoever they are (4.6, 13.11)."""

_CONFIDENCE = 1.959963984540054
"""97.5 % point of the normal distribution."""
_LEAST_VARIANCE = 1_000_000
_MILLION = 1_000_000
_TIER = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
_PERIOD = re.compile(r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapPlan:
    """What is asked of two partners. Public; its digest is the release id."""

    counter: PartnerId
    """Who counts: the partner whose lines are supposed to close."""
    peer: PartnerId
    """Whose tiers are looked at."""
    period: str
    """YYYY-MM: who has an active line at the end of this month."""
    tiers: tuple[str, ...]
    """Of the peer, the safest first."""
    cuts: tuple[int, ...]
    """PD of twelve months in millionths below which a person is in the tier; one fewer."""
    epoch: int
    """Of the pseudonyms."""
    epsilon: str
    delta: str

    @property
    def release(self) -> Digest:
        """The release id: of everything that is asked."""
        return hash_with(Label.OVERLAP_PLAN, document_of(self))

    @property
    def question(self) -> Digest:
        """What is answered once: pair, month and epoch, however it is cut into tiers.

        Two cuts of the same persons would be a difference of two counts.
        """
        asked = f"{self.counter}\n{self.peer}\n{self.period}\n{self.epoch}"
        return hash_with(Label.OVERLAP_QUESTION, asked.encode("ascii"))

    @property
    def run(self) -> RunId:
        """Under which both nodes' budgets hold it."""
        return RunId(self.question[:32])

    def tier_of(self, pd: int) -> int:
        """The tier's place of a PD in millionths."""
        return sum(pd >= cut for cut in self.cuts)


def check_form(plan: OverlapPlan) -> None:
    """Raise ConfigurationError, naming the field, for what cannot be asked of anybody."""
    try:
        parse_partner_id(plan.counter)
        parse_partner_id(plan.peer)
    except IdentifierError as error:
        raise ConfigurationError(f"overlap: {error}") from error
    if plan.counter == plan.peer:
        raise ConfigurationError("overlap: a partner has all persons in common with itself")
    if not _PERIOD.fullmatch(plan.period):
        raise ConfigurationError(f"overlap: period {plan.period!r:.20} is not YYYY-MM")
    named = len(set(plan.tiers)) == len(plan.tiers)
    if not named or not all(_TIER.fullmatch(tier) for tier in plan.tiers):
        raise ConfigurationError("overlap: a tier twice, or not of capitals and digits")
    edges = [0, *plan.cuts, _MILLION]
    fits = len(plan.cuts) == len(plan.tiers) - 1 and edges == sorted(set(edges))
    if not 1 <= len(plan.tiers) <= MOST_TIERS or not fits:
        raise ConfigurationError("overlap: cuts must rise within 0 and 1, one fewer than tiers")
    decimal(plan.epsilon, "overlap: epsilon", low="0.01", high="10")
    decimal(plan.delta, "overlap: delta", low="1E-15", high="0.001")


def parse_plan(data: bytes) -> OverlapPlan:
    """The plan of these canonical bytes.

    Raises:
        DecodeError: other bytes. ConfigurationError: what cannot be asked.
    """
    plan = parse_document(OverlapPlan, data)
    check_form(plan)
    return plan


def check_plan(plan: OverlapPlan, manifest: Manifest, me: PartnerId) -> None:
    """Raise unless this member may take part under this manifest.

    Raises:
        ConfigurationError: as ``check_form``.
        ScoreRefusalError: the parties are not two active partners with this one (S02); the
            epoch is another (S13); the manifest allows no overlap, or not at this epsilon and
            delta (S08).
    """
    check_form(plan)
    active = {member.id for member in manifest.partners}
    if not {plan.counter, plan.peer} <= active or me not in (plan.counter, plan.peer):
        raise ScoreRefusalError(ScoreRefusal.REQUESTER, "not an overlap of this partner's")
    policy = manifest.policy
    if plan.epoch != policy.scoring.epoch:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, f"epoch {plan.epoch}")
    cap = decimal(policy.figures.run_epsilon, "run_epsilon", low="0", high="100")
    dear = decimal(plan.epsilon, "epsilon", low="0", high="100") > cap
    allowed = FigureKind.COMMON in policy.figures.kinds
    if not allowed or dear or float(plan.delta) > float(policy.delta):
        raise ScoreRefusalError(ScoreRefusal.PURPOSE, "the manifest does not allow this figure")


def context_of(plan: OverlapPlan, manifest: Digest, attempt: int) -> Digest:
    """What every list of one run is bound to: manifest, release id and attempt."""
    bound = bytes.fromhex(manifest) + bytes.fromhex(plan.release) + u16(attempt)
    return hash_with(Label.OVERLAP, bound)


def mechanism_of(plan: OverlapPlan) -> Mechanism:
    """The noise of one attempt; a person moves one count by one (6.10).

    The counting partner's noise stands alone, so no figure depends on who else is honest; to
    that partner itself there is none.

    Raises:
        ConfigurationError: so little noise that the lattice would show (3.5.7).
    """
    units = units_of(float(plan.epsilon), float(plan.delta))
    variance = -(-(SCALE**2) * UNITS // units)
    if variance < _LEAST_VARIANCE:
        raise ConfigurationError(f"overlap: variance {variance} is below {_LEAST_VARIANCE}")
    return Mechanism(
        kind=ReleaseKind.OVERLAP, sensitivity=SCALE, variance=variance, persons_factor=1
    )


def charge_of(plan: OverlapPlan) -> int:
    """Person-level units of one attempt, at both partners."""
    return mechanism_of(plan).units(person=True)


class ExactCounts:
    """Matches by tier: only with noise may they become anything that leaves. Secret."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = tuple(counts)

    def released(self, plan: OverlapPlan, seed: Secret, context: Digest) -> tuple[int, ...]:
        """The counts with noise, in SCALE-ths; 0 stands for fewer than 50.

        Args:
            plan: Whose mechanism sets the noise.
            seed: 32 fresh bytes, used for this run alone. Secret.
            context: ``context_of`` the run. Public.
        """
        if len(self._counts) != len(plan.tiers):
            raise DomainError(f"{len(self._counts)} counts for {len(plan.tiers)} tiers")
        variance = mechanism_of(plan).variance
        noise = noise_share(seed, context, variance=variance, count=len(self._counts))
        noisy = [SCALE * n + int(z) for n, z in zip(self._counts, noise, strict=True)]
        return tuple(value if value >= FEWEST * SCALE else 0 for value in noisy)

    def __repr__(self) -> str:
        return "ExactCounts(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("exact counts are not serialised")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapCount:
    """Persons with an active line at both partners and consent at both, in one tier. Public.

    A lower bound of all common persons: who has not consented to IMPACT_STUDY at either is
    not counted.
    """

    release: Digest
    counter: PartnerId
    """P: whose lines are supposed to close."""
    peer: PartnerId
    """j: whose tier it is."""
    tier: str
    period: str
    noisy: int
    """In SCALE-ths; 0: fewer than 50."""
    variance: int
    """Of the noise, in SCALE-ths squared."""
    epsilon: str
    """Of a person, towards everybody but the counting partner, which knows the exact count."""
    delta: str

    @property
    def below(self) -> bool:
        """Whether no more is said than "< 50"."""
        return self.noisy == 0

    @property
    def persons(self) -> float:
        """The count; 0 where it is fewer than 50."""
        return self.noisy / SCALE

    @property
    def deviation(self) -> float:
        """Of the noise, in persons."""
        return sqrt(self.variance) / SCALE

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, of the noise alone; 0 to 50 where it is fewer than 50."""
        if self.below:
            return 0.0, float(FEWEST)
        half = _CONFIDENCE * self.deviation
        return max(0.0, self.persons - half), self.persons + half

    @property
    def shown(self) -> str:
        """As a report prints it."""
        return f"< {FEWEST}" if self.below else f"{self.persons:.0f}"


def counts_of(plan: OverlapPlan, noisy: Sequence[int]) -> tuple[OverlapCount, ...]:
    """One count for each tier of a released plan.

    Raises:
        DecodeError: not one figure for each tier, or one that no honest partner says.
    """
    if len(noisy) != len(plan.tiers):
        raise DecodeError(f"{len(noisy)} counts for {len(plan.tiers)} tiers")
    if any(
        value and not FEWEST * SCALE <= value <= 2 * LARGEST_LIST * SCALE for value in noisy
    ):
        raise DecodeError("a count that is outside its range")
    variance = mechanism_of(plan).variance
    return tuple(
        OverlapCount(
            release=plan.release,
            counter=plan.counter,
            peer=plan.peer,
            tier=tier,
            period=plan.period,
            noisy=value,
            variance=variance,
            epsilon=plan.epsilon,
            delta=plan.delta,
        )
        for tier, value in zip(plan.tiers, noisy, strict=True)
    )
