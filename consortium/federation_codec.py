"""Questions about manifests, models and the log: messages to and from ``proto.v1`` bytes.

As in ``consortium.codec``, every bound is checked on the way in.
"""

from consortium import bounds
from consortium.errors import DecodeError
from consortium.ids import Digest, parse_run_id
from consortium.messages import (
    LARGEST_ENTRY,
    GateDocument,
    LogHead,
    ManifestBundle,
    ModelDocument,
    ModelEntry,
    PublishedSum,
    Signed,
    Vote,
    WitnessQuestion,
)
from proto.v1 import federation_pb2

FEDERATION_SERVICE = "riskweave.v1.Federation"
CLOCK_HEADER = "riskweave-at"
"""Metadata beside the answer of the health service: the coordinator's clock, seconds UTC."""
COSIGNATURE_BYTES = 72
"""A time before the signature (protocol 8.1)."""
UNARY_LIMIT = 4 << 20
"""Bytes of a single question or answer; a scorecard's document has a few thousand."""
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
_MEMBERS = 65535
_MODELS = 10_000
_STATUSES = frozenset({"candidate", "active", "retired"})


# --- manifest ---------------------------------------------------------------------------------


def encode_manifest_request(digest: Digest | None) -> bytes:
    """Ask for the manifest of that digest; None: the newest draft."""
    return federation_pb2.ManifestRequest(digest=digest or "").SerializeToString()


def decode_manifest_request(data: bytes) -> Digest | None:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the node."""
    wire = bounds.parse(federation_pb2.ManifestRequest, data, bounds.SMALL_LIMIT)
    return bounds.digest(wire.digest) if wire.digest else None


def encode_signed(signed: Signed, entry: bytes = b"") -> bytes:
    """Bytes of one member's signature over a manifest, with its entry for the log."""
    wire = _signed_to_wire(signed)
    wire.entry = entry
    return wire.SerializeToString()


def entry_of_signed(data: bytes) -> bytes:
    """The entry beside a signature, not read yet; raises as ``decode_signed``."""
    wire = bounds.parse(federation_pb2.ManifestSignature, data, bounds.SMALL_LIMIT)
    return bounds.within(wire.entry, "entry", _ENTRY_LIMIT)


def decode_signed(data: bytes) -> Signed:
    """Parse; raise DecodeError, MessageTooLargeError. Fault: the sender."""
    return _signed(bounds.parse(federation_pb2.ManifestSignature, data, bounds.SMALL_LIMIT))


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
    bounds.parse(federation_pb2.Ack, data, bounds.SMALL_LIMIT)


def _signed_to_wire(signed: Signed) -> federation_pb2.ManifestSignature:
    return federation_pb2.ManifestSignature(
        digest=signed.digest, member=signed.member, signature=signed.signature
    )


def _signed(wire: federation_pb2.ManifestSignature) -> Signed:
    return Signed(
        digest=bounds.digest(wire.digest),
        member=bounds.partner(wire.member),
        signature=bounds.exactly(wire.signature, "signature", bounds.SIGNATURE_BYTES),
    )


# --- models and votes -------------------------------------------------------------------------


def encode_models_request() -> bytes:
    """Ask for the list of models."""
    return federation_pb2.ModelsRequest().SerializeToString()


def decode_models_request(data: bytes) -> None:
    """Raise DecodeError unless it is a request for the list."""
    bounds.parse(federation_pb2.ModelsRequest, data, bounds.SMALL_LIMIT)


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
    wire = bounds.parse(federation_pb2.ModelRequest, data, bounds.SMALL_LIMIT)
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
    wire = bounds.parse(federation_pb2.GateRequest, data, bounds.SMALL_LIMIT)
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
    wire = bounds.parse(federation_pb2.Vote, data, bounds.SMALL_LIMIT)
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
    wire = bounds.parse(federation_pb2.Vote, data, bounds.SMALL_LIMIT)
    return Vote(
        version=bounds.digest(wire.version),
        member=bounds.partner(wire.member),
        accept=wire.accept,
        reason=bounds.text(wire.reason, "reason", bounds.SHORT_TEXT),
        number=bounds.seconds(wire.number),
        signature=bounds.exactly(wire.signature, "signature", bounds.SIGNATURE_BYTES),
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
        proof=tuple(bounds.exactly(one, "proof", bounds.KEY_BYTES) for one in wire.proof),
        first=bounds.seconds(wire.first),
        entries=tuple(bounds.within(one, "entry", LARGEST_ENTRY) for one in wire.entries),
        cosigned=wire.cosigned,
    )


def encode_vote_reply(status: str) -> bytes:
    """Bytes of the model's status after a vote."""
    return federation_pb2.VoteReply(status=status).SerializeToString()


def decode_vote_reply(data: bytes) -> str:
    """Return candidate, active or retired; raise DecodeError. Fault: the coordinator."""
    return _status(bounds.parse(federation_pb2.VoteReply, data, bounds.SMALL_LIMIT).status)


def _status(text: str) -> str:
    if text not in _STATUSES:
        raise DecodeError(
            f"status {text[: bounds.SHORT_TEXT]!r} is not one of {sorted(_STATUSES)}"
        )
    return text
