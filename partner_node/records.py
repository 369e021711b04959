"""What the node's database keeps and gives out, as values."""

from dataclasses import dataclass, field

from consortium.ids import Digest, RunId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind


@dataclass(frozen=True, slots=True)
class StoredJoin:
    """A JOIN that was on disk before it was sent."""

    context: Digest
    count: int
    """k: its number among the JOINs of the run, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSum:
    """One published sum of an open run: what the node's machine is run on after a restart."""

    number: int
    """Its place among the closed sums of the run, from 1."""
    request: bytes
    joined: Digest
    total: bytes
    """Little-endian int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedSums:
    """Charged attempts of one run that were alike."""

    kind: ReleaseKind
    partners: int
    """K, size of their rosters."""
    dimension: int
    """Words of the sum."""
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """One thing that left the node: what for, how large, and the digest of its bytes."""

    kind: str
    size: int
    sha256: Digest
    run: str = ""
    round: int = 0
    attempt: int = 0
    at: int = 0
    """Seconds since 1970, UTC; set when it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEntry:
    """One entry for the log, signed by this node (protocol 8.4)."""

    type: str
    data: bytes
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """What a run was under, for its replay."""

    run: RunId
    manifest: bytes
    """Its canonical body."""
    schema: bytes
    """Canonical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAttempt:
    """One upload, for its replay. With the run's seed it opens this node's own sum."""

    request: SumRequest
    joins: bytes
    """All JOINs of the attempt, as a document."""
    rows: str
    """Keyed fingerprint of the rows that the sum was over."""
    words: bytes | None = field(repr=False)
    """As they left, little-endian; None: there was no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A challenge or a result of the regulator, its signature verified."""

    leaf: Digest
    """Its leaf hash in the log."""
    type: str
    run: RunId
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """This node's word on a model version."""

    version: Digest
    accept: bool
    reason: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """The log was not what it had been: nothing is answered until an operator settles it."""

    number: int
    kind: str
    """log.rollback, log.fork, log.rewritten or log.entry."""
    text: str
    held: bytes
    """The newest head that this node holds; empty: it had none."""
    shown: bytes
    """The head that contradicts it."""
    at: int
    settled_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """One entry of the mirror."""

    number: int
    type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStability:
    """How alike trainings were on the own persons, and what that was computed from. Private."""

    version: Digest
    run: RunId
    premises: Digest
    """Of the manifest's policy, the code, and the keyed fingerprint of the rows."""
    agreement: float | None
    changes: float | None
