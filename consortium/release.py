"""What was let out of a node: the record behind every charge (protocol 4.6, 4.9)."""

from dataclasses import dataclass
from enum import StrEnum

from consortium.ids import PartnerId
from consortium.plan import ReleaseKind


class Level(StrEnum):
    """Against whom a figure holds: how many members of a roster are honest (protocol 4.3)."""

    ALL = "all_honest"
    """H = K: everybody but the reader of the sum."""
    HALF = "half_collude"
    """H = h: as many collude as the plan assumes at most."""
    ALONE = "others_collude"
    """H = 1: everybody else colludes."""
    LARGEST = "largest"
    """The worst over all H from 1 to K."""
    CLAIMED = "claimed"
    """The worst over H from h to K: what is charged, and what the target bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedNoise:
    """Noise that counts together (protocol 4.3): each of K members adds variance V."""

    partners: int
    """K, size of the roster."""
    honest: int
    """h, fewest honest members under which the target holds."""
    persons: tuple[int, ...]
    """At H - 1: the most that one person moves the sum, as a squared L2 norm, by rows at H
    honest members (protocol 4.2.1)."""

    def honest_of(self, level: Level) -> range:
        """The numbers H of honest members that the level is the worst of."""
        match level:
            case Level.ALL:
                return range(self.partners, self.partners + 1)
            case Level.HALF:
                return range(self.honest, self.honest + 1)
            case Level.ALONE:
                return range(1, 2)
            case Level.LARGEST:
                return range(1, self.partners + 1)
            case Level.CLAIMED:
                return range(self.honest, self.partners + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One Gaussian release on integers, as one node performs it.

    In ``own`` mode ``mu`` squared for one person is ``persons_factor * sensitivity**2 /
    variance``, whoever colludes. In ``shared`` mode it depends on the number H of honest
    members, whose noise adds up to ``H * variance``. It adds up over releases whatever their
    kind (protocol 4.1).
    """

    kind: ReleaseKind
    sensitivity: int
    """Q: most that one row moves the integer sum in L2 norm."""
    variance: int
    """V: variance of this node's integer noise."""
    persons_factor: int
    """m: partners whose releases compose for one person."""
    shared: SharedNoise | None = None
    """None: this node's noise suffices alone."""
    echoes: int = 0
    """Most rows of a head's sums that one record at another partner turns into others, each
    of which moves by two lengths of a row (4.2.2); 0: a record moves its own row only."""

    def units(self, *, person: bool, level: Level = Level.CLAIMED) -> int:
        """The charge ``ceil(mu**2 * 2**40)``, always rounded up (protocol 4.6 (1))."""
        row = self.sensitivity**2
        if self.shared is None:
            factor = self.persons_factor if person else max(1, 4 * self.echoes)
            return _units(factor * row, self.variance)
        persons = self.shared.persons
        return max(
            _units(
                persons[honest - 1] if person else self._record(honest), honest * self.variance
            )
            for honest in self.shared.honest_of(level)
        )

    def _record(self, honest: int) -> int:
        """Most that one record moves the sums of ``honest`` members, squared."""
        return self.sensitivity**2 * max(1, (2 * min(self.echoes, honest)) ** 2)


def _units(squared: int, variance: int) -> int:
    return -(-(squared << 40) // variance)


class Outcome(StrEnum):
    """How one attempt ended."""

    SUMMED = "summed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at one sum. Every one of them is charged (protocol 4.5)."""

    kind: ReleaseKind
    round: int
    attempt: int
    roster: tuple[PartnerId, ...]
    outcome: Outcome
    missing: tuple[PartnerId, ...]
    reasons: tuple[str, ...]
    """Why each missing partner did not upload: a refusal code or an error class."""
    charged: bool
    """Whether words may have left a node: false only if the attempt ended before its JOINs."""
