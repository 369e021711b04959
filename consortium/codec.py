"""Protocol messages to and from ``proto.v1`` bytes; every bound is checked on the way in.

Whoever receives bytes hands them here with a limit: the length is compared first, then they
are parsed, then each field is checked, and only then does a message exist. What may follow
what, whose signature it is and whether to believe it are left to the roles. Nothing here is
signed or hashed: those bytes are made in ``consortium.canonical``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf import message as protobuf

from consortium import bounds, scoring_frames
from consortium.errors import DecodeError
from consortium.ids import Digest, parse_run_id
from consortium.messages import (
    LARGEST_ENTRY,
    Enrolled,
    EnrolmentRequest,
    FlowerMessage,
    GateDocument,
    Goodbye,
    Heartbeat,
    Hello,
    LogHead,
    ManifestBundle,
    ModelDocument,
    ModelEntry,
    PublishedSum,
    Renewal,
    Renewed,
    Signed,
    Vote,
    Welcome,
    WitnessQuestion,
)
from consortium.scoring_frames import ScoringBody
from proto.v1 import (
    common_pb2,
    enrolment_pb2,
    federation_pb2,
    scoring_pb2,
    training_pb2,
)

ENROLMENT_SERVICE = "riskweave.v1.Enrolment"
FEDERATION_SERVICE = "riskweave.v1.Federation"
CLOCK_HEADER = "riskweave-at"
"""Metadata beside the answer of the health service: the coordinator's clock, seconds UTC."""

KEY_BYTES = 32
SIGNATURE_BYTES = 64
COSIGNATURE_BYTES = 72
"""A time before the signature (protocol 8.1)."""
UNARY_LIMIT = 4 << 20
"""Bytes of a single question or answer; a scorecard's document has a few thousand."""
_SMALL_LIMIT = 16 << 10
_DOCUMENT_LIMIT = 1 << 20
_ENTRY_LIMIT = 4 << 10
"""Bytes of an entry that rides beside a question."""
_LOGGED_LIMIT = 16 << 10
"""Bytes of an entry that a witness asks to have appended."""
MOST_LOGGED = 64
"""Entries that one question of a witness may carry."""
MOST_SHOWN = 8192
"""Entries that one portion of the log may have; their bytes are bounded by UNARY_LIMIT."""
_QUESTION_LIMIT = MOST_LOGGED * _LOGGED_LIMIT + (4 << 10)
_NOTE_LIMIT = 64 << 10
"""Bytes of a checkpoint with a line of each of 256 witnesses."""
_PROOF = 128
"""Hashes of a consistency proof: two for each bit of a size."""
_TEXT = 64
_REASON = 256
_MEMBERS = 65535
_MODELS = 10_000
_STATUSES = frozenset({"candidate", "active", "retired"})


class StreamKind(StrEnum):
    """The two streams of a partner (protocol 12.3)."""

    TRAINING = "training"
    SCORING = "scoring"

    @property
    def service(self) -> str:
        """Full name of the gRPC service; its only method is Connect."""
        return f"riskweave.v1.{self.value.capitalize()}"

    @property
    def limit(self) -> int:
        """Bytes of the largest frame (protocol 12.3), unless the configuration says less."""
        return {StreamKind.TRAINING: 16 << 20, StreamKind.SCORING: 2 << 20}[self]


Body = Hello | Welcome | Heartbeat | Goodbye | FlowerMessage | ScoringBody


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stream. ``id`` pairs question and answer; 0 where there is no pair."""

    body: Body
    id: int = 0


_WireFrame = (
    training_pb2.TrainingUp
    | training_pb2.TrainingDown
    | scoring_pb2.ScoringUp
    | scoring_pb2.ScoringDown
)
_UP: dict[StreamKind, type[training_pb2.TrainingUp | scoring_pb2.ScoringUp]] = {
    StreamKind.TRAINING: training_pb2.TrainingUp,
    StreamKind.SCORING: scoring_pb2.ScoringUp,
}
_DOWN: dict[StreamKind, type[training_pb2.TrainingDown | scoring_pb2.ScoringDown]] = {
    StreamKind.TRAINING: training_pb2.TrainingDown,
    StreamKind.SCORING: scoring_pb2.ScoringDown,
}


# --- frames -----------------------------------------------------------------------------------


def encode_up(kind: StreamKind, frame: Frame) -> bytes:
    """Bytes of a frame from a node: its greeting, heartbeat, goodbye, question or answer.

    Raises:
        DecodeError: this direction or stream has no such frame. Fault: the caller.
    """
    return _encode_frame(_UP[kind](), frame)


def encode_down(kind: StreamKind, frame: Frame) -> bytes:
    """Bytes of a frame from the coordinator.

    Raises:
        DecodeError: this direction or stream has no such frame. Fault: the caller.
    """
    return _encode_frame(_DOWN[kind](), frame)


def decode_up(kind: StreamKind, data: bytes, *, limit: int | None = None) -> Frame:
    """Parse a node's frame of at most ``limit`` bytes (default: the stream's own limit).

    Raises:
        MessageTooLargeError, VersionError, DecodeError. Fault: the node.
    """
    return _decode_frame(_UP[kind], data, kind.limit if limit is None else limit)


def decode_down(kind: StreamKind, data: bytes, *, limit: int | None = None) -> Frame:
    """Parse the coordinator's frame of at most ``limit`` bytes.

    Raises:
        MessageTooLargeError, VersionError, DecodeError. Fault: the coordinator.
    """
    return _decode_frame(_DOWN[kind], data, kind.limit if limit is None else limit)


def _encode_frame(wire: _WireFrame, frame: Frame) -> bytes:
    wire.id = frame.id
    field, value = _body_to_wire(frame.body)
    descriptor = wire.DESCRIPTOR.fields_by_name.get(field)
    if descriptor is None:
        raise DecodeError(f"{wire.DESCRIPTOR.name} carries no {field}")
    if isinstance(value, bytes):
        setattr(wire, field, value)
    else:
        getattr(wire, field).CopyFrom(value)
    return wire.SerializeToString()


def _body_to_wire(body: Body) -> tuple[str, protobuf.Message | bytes]:
    match body:
        case Hello():
            return "hello", common_pb2.Hello(
                protocol_version=body.protocol_version,
                software=body.software,
                partner=body.partner,
                manifest=body.manifest,
                nonce=body.nonce,
                successor=body.successor,
            )
        case Welcome():
            return "welcome", common_pb2.Welcome(
                protocol_version=body.protocol_version,
                software=body.software,
                manifest=body.manifest,
                signature=body.signature,
            )
        case Heartbeat():
            return "heartbeat", common_pb2.Heartbeat()
        case Goodbye():
            return "goodbye", common_pb2.Goodbye(code=body.code, reason=body.reason)
        case FlowerMessage():
            return "flower_message", body.payload
        case _:
            return scoring_frames.to_wire(body)


def _decode_frame(kind: Callable[[], _WireFrame], data: bytes, limit: int) -> Frame:
    wire = bounds.parse(kind, data, limit)
    field = wire.WhichOneof("body")
    if field is None:
        raise DecodeError("a frame without a body")
    if field == "flower_message":
        return Frame(FlowerMessage(getattr(wire, field)), wire.id)
    return Frame(_BODIES[field](getattr(wire, field)), wire.id)


def _hello(wire: common_pb2.Hello) -> Hello:
    return Hello(
        protocol_version=bounds.version(wire.protocol_version),
        software=bounds.text(wire.software, "software", _TEXT),
        partner=bounds.partner(wire.partner),
        manifest=bounds.digest(wire.manifest),
        nonce=bounds.exactly(wire.nonce, "nonce", KEY_BYTES),
        successor=wire.successor,
    )


def _welcome(wire: common_pb2.Welcome) -> Welcome:
    return Welcome(
        protocol_version=bounds.version(wire.protocol_version),
        software=bounds.text(wire.software, "software", _TEXT),
        manifest=bounds.digest(wire.manifest),
        signature=bounds.exactly(wire.signature, "signature", SIGNATURE_BYTES),
    )


def _goodbye(wire: common_pb2.Goodbye) -> Goodbye:
    return Goodbye(
        code=bounds.text(wire.code, "code", _TEXT),
        reason=bounds.text(wire.reason, "reason", _REASON),
    )


def _heartbeat(_: common_pb2.Heartbeat) -> Heartbeat:
    return Heartbeat()


_BODIES: dict[str, Callable[..., Body]] = {
    "hello": _hello,
    "welcome": _welcome,
    "heartbeat": _heartbeat,
    "goodbye": _goodbye,
    **scoring_frames.READERS,
}


# --- enrolment --------------------------------------------------------------------------------


def encode_enrolment_request(request: EnrolmentRequest) -> bytes:
    """Bytes of the one message that a partner sends before it has a certificate."""
    return enrolment_pb2.EnrolRequest(
        protocol_version=request.protocol_version,
        partner=request.partner,
        token=request.token,
        csr=request.csr,
        identity=request.identity,
        agreement=request.agreement,
        witness=request.witness,
        signature=request.signature,
    ).SerializeToString()


def decode_enrolment_request(data: bytes) -> EnrolmentRequest:
    """Parse; the signature, the token and the CSR are not looked into.

    Raises:
        MessageTooLargeError, VersionError, DecodeError. Fault: the node.
    """
    wire = bounds.parse(enrolment_pb2.EnrolRequest, data, _SMALL_LIMIT)
    return EnrolmentRequest(
        protocol_version=bounds.version(wire.protocol_version),
        partner=bounds.partner(wire.partner),
        token=bounds.exactly(wire.token, "token", KEY_BYTES),
        csr=bounds.within(wire.csr, "csr", _SMALL_LIMIT),
        identity=bounds.exactly(wire.identity, "identity", KEY_BYTES),
        # A regulator agrees on nothing: it has no such key (protocol 2.1).
        agreement=wire.agreement and bounds.exactly(wire.agreement, "agreement", KEY_BYTES),
        witness=bounds.exactly(wire.witness, "witness", KEY_BYTES),
        signature=bounds.exactly(wire.signature, "signature", SIGNATURE_BYTES),
    )


def encode_enrolled(enrolled: Enrolled) -> bytes:
    """Bytes of the answer to an enrolment request."""
    return enrolment_pb2.EnrolReply(
        certificate=enrolled.certificate, address=enrolled.address
    ).SerializeToString()


def decode_enrolled(data: bytes) -> Enrolled:
    """Parse; the certificate (X.509, DER) is not looked into.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(enrolment_pb2.EnrolReply, data, _SMALL_LIMIT)
    return Enrolled(
        certificate=bounds.within(wire.certificate, "certificate", _SMALL_LIMIT),
        address=bounds.text(wire.address, "address", _REASON),
    )


def encode_renewal(renewal: Renewal) -> bytes:
    """Bytes of a request for another certificate."""
    return federation_pb2.RenewRequest(
        csr=renewal.csr, signature=renewal.signature
    ).SerializeToString()


def decode_renewal(data: bytes) -> Renewal:
    """Parse; neither the CSR nor the signature is looked into.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the node.
    """
    wire = bounds.parse(federation_pb2.RenewRequest, data, _SMALL_LIMIT)
    return Renewal(
        csr=bounds.within(wire.csr, "csr", _SMALL_LIMIT),
        signature=bounds.exactly(wire.signature, "signature", SIGNATURE_BYTES),
    )


def encode_renewed(renewed: Renewed) -> bytes:
    """Bytes of the answer to a renewal."""
    return federation_pb2.RenewReply(
        certificate=renewed.certificate, until=renewed.until
    ).SerializeToString()


def decode_renewed(data: bytes) -> Renewed:
    """Parse; the certificate (X.509, DER) is not looked into.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(federation_pb2.RenewReply, data, _SMALL_LIMIT)
    return Renewed(
        certificate=bounds.within(wire.certificate, "certificate", _SMALL_LIMIT),
        until=wire.until,
    )


# --- manifest ---------------------------------------------------------------------------------


def encode_manifest_request(digest: Digest | None) -> bytes:
    """Ask for the manifest of that digest; None: the newest draft."""
    return federation_pb2.ManifestRequest(digest=digest or "").SerializeToString()


def decode_manifest_request(data: bytes) -> Digest | None:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the node."""
    wire = bounds.parse(federation_pb2.ManifestRequest, data, _SMALL_LIMIT)
    return bounds.digest(wire.digest) if wire.digest else None


def encode_signed(signed: Signed, entry: bytes = b"") -> bytes:
    """Bytes of one member's signature over a manifest, with its entry for the log."""
    wire = _signed_to_wire(signed)
    wire.entry = entry
    return wire.SerializeToString()


def entry_of_signed(data: bytes) -> bytes:
    """The entry beside a signature, not read yet; raises as ``decode_signed``."""
    wire = bounds.parse(federation_pb2.ManifestSignature, data, _SMALL_LIMIT)
    return bounds.within(wire.entry, "entry", _ENTRY_LIMIT)


def decode_signed(data: bytes) -> Signed:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the sender."""
    return _signed(bounds.parse(federation_pb2.ManifestSignature, data, _SMALL_LIMIT))


def encode_manifest_bundle(bundle: ManifestBundle) -> bytes:
    """Bytes of a manifest with its signatures and its schema."""
    return federation_pb2.ManifestDocument(
        body=bundle.body,
        signatures=[_signed_to_wire(signed) for signed in bundle.signatures],
        schema=bundle.schema,
    ).SerializeToString()


def decode_manifest_bundle(data: bytes) -> ManifestBundle:
    """Parse the envelope; the body is for ``manifest.parse_manifest``.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(federation_pb2.ManifestDocument, data, UNARY_LIMIT)
    bounds.count(len(wire.signatures), "signatures", _MEMBERS)
    return ManifestBundle(
        body=bounds.within(wire.body, "body", _DOCUMENT_LIMIT),
        signatures=tuple(_signed(signature) for signature in wire.signatures),
        schema=bounds.within(wire.schema, "schema", _DOCUMENT_LIMIT),
    )


def encode_ack() -> bytes:
    """Bytes of an answer that says nothing but yes."""
    return federation_pb2.Ack().SerializeToString()


def decode_ack(data: bytes) -> None:
    """Raise DecodeError unless it is an Ack."""
    bounds.parse(federation_pb2.Ack, data, _SMALL_LIMIT)


def _signed_to_wire(signed: Signed) -> federation_pb2.ManifestSignature:
    return federation_pb2.ManifestSignature(
        digest=signed.digest, member=signed.member, signature=signed.signature
    )


def _signed(wire: federation_pb2.ManifestSignature) -> Signed:
    return Signed(
        digest=bounds.digest(wire.digest),
        member=bounds.partner(wire.member),
        signature=bounds.exactly(wire.signature, "signature", SIGNATURE_BYTES),
    )


# --- models and votes -------------------------------------------------------------------------


def encode_models_request() -> bytes:
    """Ask for the list of models."""
    return federation_pb2.ModelsRequest().SerializeToString()


def decode_models_request(data: bytes) -> None:
    """Raise DecodeError unless it is a request for the list."""
    bounds.parse(federation_pb2.ModelsRequest, data, _SMALL_LIMIT)


def encode_model_list(models: tuple[ModelEntry, ...]) -> bytes:
    """Bytes of the registry's list, newest first."""
    return federation_pb2.ModelList(
        models=[
            federation_pb2.ModelEntry(
                version=entry.version,
                status=entry.status,
                run=entry.run,
                created_at=entry.created_at,
            )
            for entry in models
        ]
    ).SerializeToString()


def decode_model_list(data: bytes) -> tuple[ModelEntry, ...]:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the coordinator."""
    wire = bounds.parse(federation_pb2.ModelList, data, UNARY_LIMIT)
    bounds.count(len(wire.models), "models", _MODELS)
    return tuple(
        ModelEntry(
            version=bounds.digest(entry.version),
            status=_status(entry.status),
            run=bounds.checked(parse_run_id, entry.run),
            created_at=entry.created_at,
        )
        for entry in wire.models
    )


def encode_model_request(version: Digest | None) -> bytes:
    """Ask for one model; None: the active one."""
    return federation_pb2.ModelRequest(version=version or "").SerializeToString()


def decode_model_request(data: bytes) -> Digest | None:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the node."""
    wire = bounds.parse(federation_pb2.ModelRequest, data, _SMALL_LIMIT)
    return bounds.digest(wire.version) if wire.version else None


def encode_model_document(model: ModelDocument) -> bytes:
    """Bytes of a model version."""
    return federation_pb2.ModelDocument(
        version=model.version, document=model.document
    ).SerializeToString()


def decode_model_document(data: bytes) -> ModelDocument:
    """Parse; whether the document is what the version says is for the caller to verify.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(federation_pb2.ModelDocument, data, UNARY_LIMIT)
    return ModelDocument(
        version=bounds.digest(wire.version),
        document=bounds.within(wire.document, "document", UNARY_LIMIT),
    )


def encode_gate_request(version: Digest, after: int) -> bytes:
    """Ask for a version's gate and the sums of its run from number ``after`` on."""
    return federation_pb2.GateRequest(version=version, after=after).SerializeToString()


def decode_gate_request(data: bytes) -> tuple[Digest, int]:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the node."""
    wire = bounds.parse(federation_pb2.GateRequest, data, _SMALL_LIMIT)
    return bounds.digest(wire.version), wire.after


def encode_gate_document(gate: GateDocument) -> bytes:
    """Bytes of a gate and a part of its sums."""
    return federation_pb2.GateDocument(
        entry=gate.entry,
        audit=gate.audit,
        sums=[
            federation_pb2.PublishedSum(request=one.request, joined=one.joined, total=one.total)
            for one in gate.sums
        ],
        count=gate.count,
    ).SerializeToString()


def decode_gate_document(data: bytes) -> GateDocument:
    """Parse; whether the gate is what its sums lead to is for the caller to verify.

    Raises:
        MessageTooLargeError, DecodeError. Fault: the coordinator.
    """
    wire = bounds.parse(federation_pb2.GateDocument, data, UNARY_LIMIT)
    return GateDocument(
        entry=bounds.within(wire.entry, "entry", _ENTRY_LIMIT),
        audit=wire.audit and bounds.within(wire.audit, "audit", UNARY_LIMIT),
        sums=tuple(
            PublishedSum(request=one.request, joined=bounds.digest(one.joined), total=one.total)
            for one in wire.sums
        ),
        count=wire.count,
    )


def entry_of_vote(data: bytes) -> bytes:
    """The entry beside a vote, not read yet; raises as ``decode_vote``."""
    wire = bounds.parse(federation_pb2.Vote, data, _SMALL_LIMIT)
    return bounds.within(wire.entry, "entry", _ENTRY_LIMIT)


def encode_vote(vote: Vote, entry: bytes = b"") -> bytes:
    """Bytes of a partner's word on a candidate, with its entry for the log."""
    return federation_pb2.Vote(
        version=vote.version,
        member=vote.member,
        accept=vote.accept,
        reason=vote.reason,
        number=vote.number,
        signature=vote.signature,
        entry=entry,
    ).SerializeToString()


def decode_vote(data: bytes) -> Vote:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the node."""
    wire = bounds.parse(federation_pb2.Vote, data, _SMALL_LIMIT)
    return Vote(
        version=bounds.digest(wire.version),
        member=bounds.partner(wire.member),
        accept=wire.accept,
        reason=bounds.text(wire.reason, "reason", _TEXT),
        number=bounds.seconds(wire.number),
        signature=bounds.exactly(wire.signature, "signature", SIGNATURE_BYTES),
    )


def encode_witness_question(question: WitnessQuestion) -> bytes:
    """Bytes of a witness's word on the log."""
    return federation_pb2.WitnessRequest(
        known=question.known,
        size=question.size,
        cosignature=question.cosignature,
        entries=question.entries,
    ).SerializeToString()


def decode_witness_question(data: bytes) -> WitnessQuestion:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the witness."""
    wire = bounds.parse(federation_pb2.WitnessRequest, data, _QUESTION_LIMIT)
    bounds.count(len(wire.entries), "entries", MOST_LOGGED)
    cosignature = wire.cosignature
    if wire.size:
        bounds.exactly(cosignature, "cosignature", COSIGNATURE_BYTES)
    elif cosignature:
        raise DecodeError("a cosignature of no head")
    return WitnessQuestion(
        known=bounds.seconds(wire.known),
        size=bounds.seconds(wire.size),
        cosignature=cosignature,
        entries=tuple(bounds.within(one, "entry", _LOGGED_LIMIT) for one in wire.entries),
    )


def encode_log_head(head: LogHead) -> bytes:
    """Bytes of a head that is to be cosigned, and of the entries that lead to it."""
    return federation_pb2.WitnessReply(
        note=head.note,
        proof=head.proof,
        first=head.first,
        entries=head.entries,
        cosigned=head.cosigned,
    ).SerializeToString()


def decode_log_head(data: bytes) -> LogHead:
    """Parse the envelope; notes and entries are for ``ledger``. Fault: the coordinator."""
    wire = bounds.parse(federation_pb2.WitnessReply, data, UNARY_LIMIT)
    bounds.count(len(wire.proof), "proof", _PROOF)
    bounds.count(len(wire.entries), "entries", MOST_SHOWN)
    for note in (wire.note, wire.cosigned):
        bounds.count(len(note), "bytes of a note", _NOTE_LIMIT)
    return LogHead(
        note=wire.note,
        proof=tuple(bounds.exactly(one, "proof", KEY_BYTES) for one in wire.proof),
        first=bounds.seconds(wire.first),
        entries=tuple(bounds.within(one, "entry", LARGEST_ENTRY) for one in wire.entries),
        cosigned=wire.cosigned,
    )


def encode_vote_reply(status: str) -> bytes:
    """Bytes of the model's status after a vote."""
    return federation_pb2.VoteReply(status=status).SerializeToString()


def decode_vote_reply(data: bytes) -> str:
    """Return candidate, active or retired; raise DecodeError. Fault: the coordinator."""
    return _status(bounds.parse(federation_pb2.VoteReply, data, _SMALL_LIMIT).status)


def _status(text: str) -> str:
    if text not in _STATUSES:
        raise DecodeError(f"status {text[:_TEXT]!r} is not one of {sorted(_STATUSES)}")
    return text
