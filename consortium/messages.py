"""One frozen value for each protocol message; the bytes are made in ``consortium.codec``.

What may travel is what stands here. Row counts, positives, losses, timings and exception
texts of one partner are absent on purpose (protocol 10.9, threat T7).
"""

from dataclasses import dataclass

from consortium.ids import Digest, PartnerId, RunId
from consortium.plan import ReleaseKind, TrainingPlan

LARGEST_ENTRY = 60 * 1024
"""Bytes of an entry of the log; tlog-tiles allows 65,535 (protocol 8.1)."""

PROTOCOL_VERSION = 1

LARGEST_ENTRY = 60 * 1024
"""Bytes of an entry of the log; tlog-tiles allows 65,535 (protocol 8.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A node's first frame on a stream (protocol 12.2)."""

    protocol_version: int
    software: str
    partner: PartnerId
    manifest: Digest
    nonce: bytes
    successor: bool = False
    """The partner's earlier stream lives, and is not cut but ends when all was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The coordinator's first frame: its proof that it holds the manifest's identity key."""

    protocol_version: int
    software: str
    manifest: Digest
    signature: bytes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The sender is alive; wants no answer (protocol 12.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The sender ends the stream on purpose; ``code`` is of the error tree, or "stopping"."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class FlowerMessage:
    """A serialised Flower message, opaque to both ends of the stream."""

    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentRequest:
    """A partner's public keys and its certificate request, under a one-time token."""

    protocol_version: int
    partner: PartnerId
    token: bytes
    csr: bytes
    identity: bytes
    agreement: bytes
    witness: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """The certificate, and where the federation door is."""

    certificate: bytes
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A request for a certificate of another TLS key, signed by the identity key."""

    csr: bytes
    """PKCS#10, DER."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The new certificate (DER), and how long the earlier key is let in beside it."""

    certificate: bytes
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One member's signature over a digest."""

    digest: Digest
    member: PartnerId
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestBundle:
    """A manifest body as signed, the signatures gathered so far, and the schema it names."""

    body: bytes
    signatures: tuple[Signed, ...]
    schema: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A partner's word on a release candidate. The figures behind it stay at the partner."""

    version: Digest
    member: PartnerId
    accept: bool
    reason: str
    number: int
    """The voter's clock in seconds; each of its votes on a version has a higher one."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessQuestion:
    """A witness's cosignature of a head, and its question for what comes next (8.5, 8.8)."""

    known: int
    """Entries that its mirror of the log holds, all under one head that it has checked."""
    size: int = 0
    """Size of the head that ``cosignature`` is of; 0: none is handed in."""
    cosignature: bytes = b""
    entries: tuple[bytes, ...] = ()
    """Entries of its own that are to be appended; what the log has is not appended again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """A head of the log that is to be cosigned, and what leads to it.

    The entries are a portion: they end at ``note``, which may be an earlier head than the
    newest one. Ask again until the note is empty.
    """

    note: bytes = b""
    """Signed checkpoint; empty: nothing is new."""
    proof: tuple[bytes, ...] = ()
    """Consistency proof from the size that the witness knows."""
    first: int = 0
    """Index of the first of ``entries``."""
    entries: tuple[bytes, ...] = ()
    """What the witness's mirror lacks, up to the size of ``note``."""
    cosigned: bytes = b""
    """The newest head with the quorum's cosignatures; empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One line of the registry's list."""

    version: Digest
    status: str
    run: RunId
    created_at: int
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDocument:
    """A model version and the canonical JSON whose digest it is; check it before use."""

    version: Digest
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSum:
    """One closed sum of a run, as the gate's evidence. Public: it is noised."""

    request: bytes
    """Canonical JSON."""
    joined: Digest
    total: bytes
    """Little-endian words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDocument:
    """A release gate, and a part of the sums that it follows from (protocol 13.9)."""

    entry: bytes
    """The coordinator's ``release.gate``."""
    audit: bytes
    """The empirical audit that it rests on; empty: none."""
    sums: tuple[PublishedSum, ...]
    count: int
    """Sums of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOffer:
    """The coordinator proposes a run; each node checks it against manifest and budget."""

    plan: TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAccepted:
    """The node has reserved the run's whole charge on disk (protocol 3.1, 4.6 (2)).

    The coordinator shows every acceptance to every node: the chain heads in them are what
    the links of later JOINs are checked against (protocol 3.4).
    """

    plan: Digest
    member: PartnerId
    seed_commitment: Digest
    """``H(SEED ‖ run ‖ lp(id) ‖ seed)``: the noise of the run can be replayed (9.4)."""
    chain_head: Digest
    """``n⁰`` of the node's hash chain of links."""
    closed: int
    """Closed sums that this node's stored state of the run knows; 0 at first."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRequest:
    """The coordinator asks the roster for one noisy sum (protocol 3.2).

    The arrays that belong to it (weights, bin edges, calibration) travel beside it and
    are bound by ``inputs``, the digest of their bytes.
    """

    run: RunId
    plan: Digest
    kind: ReleaseKind
    round: int
    attempt: int
    roster: tuple[PartnerId, ...]
    inputs: Digest
    dimension: int
    """d, words of the sum."""
    scale_bits: int
    """24 for gradients, 10 for histograms: what one unit is multiplied by, as a power of 2."""
    variance: str
    """V of the noise that each member of this roster adds, a whole number in decimal."""
    head: Digest
    """Head of the run's hash chain of closed sums (protocol 3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """One member's signed consent to one attempt, with its one-time key (protocol 3.3).

    The coordinator forwards all of an attempt's JOINs to each of its members; the words
    leave a node only after it has checked every one of them.
    """

    context: Digest
    member: PartnerId
    ephemeral: bytes
    """E, an X25519 public key made for this context only."""
    count: int
    """k, JOINs that the member has made in this run, this one included."""
    link: Digest
    """``n^k`` of the member's hash chain."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One partner's noised and masked integers for one sum; the words travel beside it.

    ``signature`` is over the joined context and the digest of the words (protocol 3.4.8).
    """

    context: Digest
    """rctx: the request's context with all JOINs of the attempt."""
    member: PartnerId
    words: Digest
    signature: bytes
