"""Messages of the scoring stream: rosters, inquiries, answers, blinded points, epochs.

One frozen value each, as in ``consortium.messages``; the bytes are made in
``consortium.codec`` and, where they are signed, in ``consortium.documents``. What may travel
is what stands here: a token is inside a seal, a partial logit under masks, an identifier
nowhere (protocol 6, 7).
"""

from dataclasses import dataclass
from enum import StrEnum

from consortium.ids import Digest, PartnerId, RequestId

LARGEST_BATCH = 256
"""Persons of one score request (protocol 7.11)."""

MOST_POINTS = 4_096
"""Blinded points of one request to the key holders (protocol 6.4)."""


class Purpose(StrEnum):
    """What a joint score is asked for; a receipt allows some of them (credit 2.4)."""

    JOINT_SCORE = "JOINT_SCORE"
    CALIBRATION = "CALIBRATION"
    IMPACT_STUDY = "IMPACT_STUDY"
    CLOSURE_SIGNAL = "CLOSURE_SIGNAL"
    """Whether a line elsewhere was closed lately; asked of a layout of its own (7.17)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who is connected and which model is served, signed by the coordinator (protocol 7.2)."""

    version: int
    """Rises with each roster of the coordinator."""
    manifest: Digest
    partners: tuple[PartnerId, ...]
    """Sorted; with a scoring stream that is up."""
    model: Digest | None
    """The active version, of which nodes serve the weights; None before the first."""
    head: Digest | None
    """The active version of kind head over that model; None: not calibrated yet."""
    valid_until: int
    """Seconds since 1970, UTC; at most 60 s ahead."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Clear part of a score request: its canonical JSON is what the asker signs (7.3)."""

    request: RequestId
    requester: PartnerId
    ephemeral: bytes
    """E, an X25519 public key of this request only."""
    roster: tuple[PartnerId, ...]
    """U, sorted, the asker included."""
    roster_version: int
    model: Digest
    purpose: Purpose
    persons: int
    """1 to 256."""
    deadline: int
    """Milliseconds since 1970, UTC."""
    consents: Digest
    """Over the hashes of all receipts, in order."""
    sealed: Digest
    """Of the sealed part."""
    retry_of: RequestId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrap:
    """The seal's key for one responder."""

    member: PartnerId
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """An inquiry with its sealed tokens and receipts, as it travels (protocol 7.3)."""

    inquiry: bytes
    """Canonical JSON of an Inquiry."""
    sealed: bytes
    wraps: tuple[Wrap, ...]
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """One responder's masked words (protocol 7.5)."""

    context: Digest
    """sctx."""
    member: PartnerId
    words: bytes
    """Little-endian uint64, persons x words of a person."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRefused:
    """A responder refuses; ``code`` is one of protocol 7.15, and nothing else is said."""

    context: Digest
    member: PartnerId
    code: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswers:
    """Answers as the coordinator hands them to the asker, in one frame or several."""

    answers: tuple[ScoreAnswer, ...]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFailed:
    """The coordinator cannot bring all answers (protocol 7.9)."""

    code: str
    silent: tuple[PartnerId, ...]
    """Who gave none before the deadline."""
    refused: tuple[ScoreRefused, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfRequest:
    """Blinded points for t key holders; signed over all fields before it (protocol 6.4)."""

    request: RequestId
    requester: PartnerId
    epoch: int
    servers: tuple[PartnerId, ...]
    """S: exactly t, sorted."""
    purpose: str
    """load, score or dispute."""
    points: bytes
    """32 bytes each, at most 4,096."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfReply:
    """One key holder's share of the evaluation, with one proof for all points."""

    request: RequestId
    member: PartnerId
    points: bytes
    proof: bytes
    """RFC 9497: challenge and response, 64 bytes; empty with a code."""
    code: str
    """Empty, or why it was refused (protocol 7.15)."""
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OprfReplies:
    """Replies as the coordinator hands them to the asker, in one frame or several.

    Complete when each of S but the asker is among the replies or the missing.
    """

    replies: tuple[OprfReply, ...]
    missing: tuple[PartnerId, ...]
    """Who left or gave none in time, or was not asked."""
    code: str = ""
    """Empty, or why the coordinator asked nobody (protocol 7.15)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochAsk:
    """The coordinator asks a node for its next step of key generation (protocol 6.3).

    ``documents`` are the other members' signed steps, opaque to the coordinator; the node
    knows by itself what must follow them.
    """

    step: str
    """commit, reveal, confirm or install."""
    documents: tuple[bytes, ...]
    """With ``install``: the record, then the entry of each of its holders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochTell:
    """A node's signed step, or why it takes none."""

    step: str
    document: bytes
    code: str
    """Empty, or a code of the error tree."""
    entry: bytes = b""
    """The member's own entry of the log about this step (protocol 8.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapPiece:
    """Part of one blinded list of a count of common persons (protocol 6.10)."""

    context: Digest
    """Of the run."""
    member: PartnerId
    """Whose list it is."""
    kind: str
    """own, tier or cross."""
    number: int
    """Of the tier; else 0."""
    part: int
    """From 0."""
    size: int
    """Points of the whole list, padding included."""
    points: bytes
    """32 bytes each, at most 4,096; empty where a piece is asked for."""
    signature: bytes
    """Over all before it; empty where a piece is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapAsk:
    """The coordinator asks one of the two partners for the next step of a count."""

    step: str
    """begin, give, take, count or end."""
    entry: bytes
    """begin: the coordinator's entry with plan and attempt. end: the released counts'."""
    context: Digest
    """Of the run that the step belongs to; with begin, of the one that begins."""
    piece: OverlapPiece | None = None
    """give: which; take: the other's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapTell:
    """What that partner did, or why not."""

    step: str
    code: str
    """Empty, or one of protocol 7.15."""
    piece: OverlapPiece | None = None
    """give: the one asked for."""
    entries: tuple[bytes, ...] = ()
    """This partner's own for the log: a charge, released counts."""
