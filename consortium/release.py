"""What was let out of a node: the record behind every charge (protocol 4.6, 4.9)."""

from dataclasses import dataclass
from enum import StrEnum

from consortium.ids import PartnerId
from consortium.plan import ReleaseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One Gaussian release on integers, as one node performs it.

    ``mu`` squared for one person is ``persons_factor * sensitivity**2 / variance``; it adds
    up over releases whatever their kind (protocol 4.1).
    """

    kind: ReleaseKind
    sensitivity: int
    """Q: most that one row moves the integer sum in L2 norm."""
    variance: int
    """V: variance of this node's integer noise."""
    persons_factor: int
    """m: partners whose releases compose for one person."""

    def units(self, *, person: bool) -> int:
        """The charge ``ceil(mu**2 * 2**40)``, always rounded up (protocol 4.6 (1))."""
        factor = self.persons_factor if person else 1
        return -(-(factor * self.sensitivity**2 << 40) // self.variance)


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
