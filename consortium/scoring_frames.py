"""Bodies of the scoring stream to and from ``proto.v1``; every bound is checked on the way in.

Part of ``consortium.codec``, which makes and reads the frames around them. Seals, words,
points and steps of key generation are opaque here: only their sizes are looked at.
"""

from collections.abc import Callable, Iterable, Mapping

from google.protobuf import message as protobuf

from consortium import bounds
from consortium.errors import DecodeError, ScoreRefusal
from consortium.ids import Digest, parse_request_id
from consortium.inquiries import (
    LARGEST_BATCH,
    MOST_POINTS,
    EpochAsk,
    EpochTell,
    OprfReplies,
    OprfReply,
    OprfRequest,
    OverlapAsk,
    OverlapPiece,
    OverlapTell,
    Roster,
    ScoreAnswer,
    ScoreAnswers,
    ScoreFailed,
    ScoreRefused,
    ScoreRequest,
    Wrap,
)
from consortium.messages import LARGEST_ENTRY
from proto.v1 import scoring_pb2

MOST_PARTNERS = 256
"""Partners of one roster."""
INQUIRY_LIMIT = 16 << 10
SEALED_LIMIT = 256 << 10
"""Bytes of the sealed part: 256 persons, a KiB each."""
MOST_WORDS = 256
"""Words of one person in an answer: 2F + 2, so at most 127 families (protocol 7.1)."""
DOCUMENT_LIMIT = 256 << 10
"""Bytes of one party's step of key generation."""
ASKED_STEPS = frozenset({"commit", "reveal", "confirm", "install"})
TOLD_STEPS = ASKED_STEPS | {"complain"}
OPRF_PURPOSES = frozenset({"load", "score", "dispute"})
OVERLAP_STEPS = frozenset({"begin", "give", "take", "count", "end"})
OVERLAP_KINDS = frozenset({"own", "tier", "cross"})

_SIGNATURE = 64
_WRAPPED = 32 + 16
_POINT = 32
_PROOF = 64
_WORD = 8
_CODE = 32
_EPOCHS = 65_535
_LISTED = 1 << 21
"""Points of the largest list of a count of common persons (protocol 6.10)."""
_TIERS = 8
_OWN_ENTRIES = 2
_CODES = frozenset(code.value for code in ScoreRefusal)

ScoringBody = (
    Roster
    | ScoreRequest
    | ScoreAnswer
    | ScoreRefused
    | ScoreAnswers
    | ScoreFailed
    | OprfRequest
    | OprfReply
    | OprfReplies
    | EpochAsk
    | EpochTell
    | OverlapAsk
    | OverlapTell
)

# --- out --------------------------------------------------------------------------------------


def to_wire(body: ScoringBody) -> tuple[str, protobuf.Message]:
    """The field of the frame that carries the body, and its value."""
    field, write = _WRITERS[type(body)]
    return field, write(body)


def _roster_out(body: Roster) -> scoring_pb2.Roster:
    return scoring_pb2.Roster(
        version=body.version,
        manifest=body.manifest,
        partners=body.partners,
        model=body.model or "",
        head=body.head or "",
        valid_until=body.valid_until,
        signature=body.signature,
    )


def _request_out(body: ScoreRequest) -> scoring_pb2.ScoreRequest:
    return scoring_pb2.ScoreRequest(
        inquiry=body.inquiry,
        sealed=body.sealed,
        wraps=[scoring_pb2.Wrap(member=wrap.member, key=wrap.key) for wrap in body.wraps],
        signature=body.signature,
    )


def _answer_out(body: ScoreAnswer) -> scoring_pb2.ScoreAnswer:
    return scoring_pb2.ScoreAnswer(
        context=body.context,
        member=body.member,
        words=body.words,
        signature=body.signature,
    )


def _refused_out(body: ScoreRefused) -> scoring_pb2.ScoreRefused:
    return scoring_pb2.ScoreRefused(
        context=body.context, member=body.member, code=body.code, signature=body.signature
    )


def _answers_out(body: ScoreAnswers) -> scoring_pb2.ScoreAnswers:
    answers = [_answer_out(answer) for answer in body.answers]
    return scoring_pb2.ScoreAnswers(answers=answers, last=body.last)


def _failed_out(body: ScoreFailed) -> scoring_pb2.ScoreFailed:
    refused = [_refused_out(one) for one in body.refused]
    return scoring_pb2.ScoreFailed(code=body.code, silent=body.silent, refused=refused)


def _oprf_request_out(body: OprfRequest) -> scoring_pb2.OprfRequest:
    return scoring_pb2.OprfRequest(
        request=body.request,
        requester=body.requester,
        epoch=body.epoch,
        servers=body.servers,
        purpose=body.purpose,
        points=body.points,
        signature=body.signature,
    )


def _oprf_reply_out(body: OprfReply) -> scoring_pb2.OprfReply:
    return scoring_pb2.OprfReply(
        request=body.request,
        member=body.member,
        points=body.points,
        proof=body.proof,
        code=body.code,
        signature=body.signature,
    )


def _oprf_replies_out(body: OprfReplies) -> scoring_pb2.OprfReplies:
    replies = [_oprf_reply_out(reply) for reply in body.replies]
    return scoring_pb2.OprfReplies(replies=replies, missing=body.missing, code=body.code)


def _ask_out(body: EpochAsk) -> scoring_pb2.EpochAsk:
    return scoring_pb2.EpochAsk(step=body.step, documents=body.documents)


def _tell_out(body: EpochTell) -> scoring_pb2.EpochTell:
    return scoring_pb2.EpochTell(
        step=body.step, document=body.document, code=body.code, entry=body.entry
    )


def _piece_out(body: OverlapPiece | None) -> scoring_pb2.OverlapPiece | None:
    if body is None:
        return None
    return scoring_pb2.OverlapPiece(
        context=body.context,
        member=body.member,
        kind=body.kind,
        number=body.number,
        part=body.part,
        size=body.size,
        points=body.points,
        signature=body.signature,
    )


def _overlap_ask_out(body: OverlapAsk) -> scoring_pb2.OverlapAsk:
    return scoring_pb2.OverlapAsk(
        step=body.step, entry=body.entry, context=body.context, piece=_piece_out(body.piece)
    )


def _overlap_tell_out(body: OverlapTell) -> scoring_pb2.OverlapTell:
    return scoring_pb2.OverlapTell(
        step=body.step, code=body.code, piece=_piece_out(body.piece), entries=body.entries
    )


_WRITERS: Mapping[type, tuple[str, Callable[..., protobuf.Message]]] = {
    Roster: ("roster", _roster_out),
    ScoreRequest: ("score_request", _request_out),
    ScoreAnswer: ("score_answer", _answer_out),
    ScoreRefused: ("score_refusal", _refused_out),
    ScoreAnswers: ("score_answers", _answers_out),
    ScoreFailed: ("score_failed", _failed_out),
    OprfRequest: ("oprf_request", _oprf_request_out),
    OprfReply: ("oprf_reply", _oprf_reply_out),
    OprfReplies: ("oprf_replies", _oprf_replies_out),
    EpochAsk: ("epoch_ask", _ask_out),
    EpochTell: ("epoch_tell", _tell_out),
    OverlapAsk: ("overlap_ask", _overlap_ask_out),
    OverlapTell: ("overlap_tell", _overlap_tell_out),
}


# --- in ---------------------------------------------------------------------------------------


def _roster(wire: scoring_pb2.Roster) -> Roster:
    return Roster(
        version=bounds.seconds(wire.version),
        manifest=bounds.digest(wire.manifest),
        partners=bounds.partners(wire.partners, "partners", MOST_PARTNERS),
        model=_perhaps(wire.model),
        head=_perhaps(wire.head),
        valid_until=bounds.seconds(wire.valid_until),
        signature=bounds.exactly(wire.signature, "signature", _SIGNATURE),
    )


def _request(wire: scoring_pb2.ScoreRequest) -> ScoreRequest:
    members = bounds.partners([wrap.member for wrap in wire.wraps], "wraps", MOST_PARTNERS)
    return ScoreRequest(
        inquiry=bounds.within(wire.inquiry, "inquiry", INQUIRY_LIMIT),
        sealed=bounds.within(wire.sealed, "sealed", SEALED_LIMIT),
        wraps=tuple(
            Wrap(member=member, key=bounds.exactly(wrap.key, "wrapped key", _WRAPPED))
            for member, wrap in zip(members, wire.wraps, strict=True)
        ),
        signature=bounds.exactly(wire.signature, "signature", _SIGNATURE),
    )


def _answer(wire: scoring_pb2.ScoreAnswer) -> ScoreAnswer:
    return ScoreAnswer(
        context=bounds.digest(wire.context),
        member=bounds.partner(wire.member),
        words=bounds.pieces(wire.words, "words", _WORD, MOST_WORDS * LARGEST_BATCH),
        signature=bounds.exactly(wire.signature, "signature", _SIGNATURE),
    )


def _refused(wire: scoring_pb2.ScoreRefused) -> ScoreRefused:
    return ScoreRefused(
        context=bounds.digest(wire.context),
        member=bounds.partner(wire.member),
        code=_code(wire.code),
        signature=bounds.exactly(wire.signature, "signature", _SIGNATURE),
    )


def _answers(wire: scoring_pb2.ScoreAnswers) -> ScoreAnswers:
    bounds.count(len(wire.answers), "answers", MOST_PARTNERS)
    return ScoreAnswers(answers=tuple(map(_answer, wire.answers)), last=wire.last)


def _failed(wire: scoring_pb2.ScoreFailed) -> ScoreFailed:
    bounds.count(len(wire.refused), "refusals", MOST_PARTNERS)
    return ScoreFailed(
        code=_code(wire.code),
        silent=bounds.partners(wire.silent, "silent partners", MOST_PARTNERS),
        refused=tuple(map(_refused, wire.refused)),
    )


def _oprf_request(wire: scoring_pb2.OprfRequest) -> OprfRequest:
    return OprfRequest(
        request=bounds.checked(parse_request_id, wire.request),
        requester=bounds.partner(wire.requester),
        epoch=_epoch(wire.epoch),
        servers=bounds.partners(wire.servers, "servers", MOST_PARTNERS),
        purpose=_one_of(wire.purpose, "purpose", OPRF_PURPOSES),
        points=bounds.pieces(wire.points, "points", _POINT, MOST_POINTS),
        signature=bounds.exactly(wire.signature, "signature", _SIGNATURE),
    )


def _oprf_reply(wire: scoring_pb2.OprfReply) -> OprfReply:
    if wire.code:
        _code(wire.code)
        bounds.exactly(wire.points + wire.proof, "points beside a refusal", 0)
    else:
        bounds.pieces(wire.points, "points", _POINT, MOST_POINTS)
        bounds.exactly(wire.proof, "proof", _PROOF)
    return OprfReply(
        request=bounds.checked(parse_request_id, wire.request),
        member=bounds.partner(wire.member),
        points=wire.points,
        proof=wire.proof,
        code=wire.code,
        signature=bounds.exactly(wire.signature, "signature", _SIGNATURE),
    )


def _oprf_replies(wire: scoring_pb2.OprfReplies) -> OprfReplies:
    bounds.count(len(wire.replies), "replies", MOST_PARTNERS)
    return OprfReplies(
        replies=tuple(map(_oprf_reply, wire.replies)),
        missing=bounds.partners(wire.missing, "missing partners", MOST_PARTNERS),
        code=_code(wire.code) if wire.code else "",
    )


def _ask(wire: scoring_pb2.EpochAsk) -> EpochAsk:
    # With a record come the entries of all its holders.
    bounds.count(len(wire.documents), "documents", MOST_PARTNERS + 1)
    return EpochAsk(
        step=_one_of(wire.step, "step", ASKED_STEPS),
        documents=tuple(
            bounds.within(document, "document", DOCUMENT_LIMIT) for document in wire.documents
        ),
    )


def _tell(wire: scoring_pb2.EpochTell) -> EpochTell:
    bounds.exactly(b"" if not wire.code else wire.document, "document beside a code", 0)
    if wire.document:
        bounds.within(wire.document, "document", DOCUMENT_LIMIT)
    if wire.entry:
        bounds.within(wire.entry, "entry", LARGEST_ENTRY)
    return EpochTell(
        step=_one_of(wire.step, "step", TOLD_STEPS),
        document=wire.document,
        code=bounds.text(wire.code, "code", _CODE),
        entry=wire.entry,
    )


def _piece(wire: scoring_pb2.OverlapPiece) -> OverlapPiece:
    # Where a piece is asked for there are no points yet, and nothing to sign.
    bare = not wire.points and not wire.signature
    if not bare:
        bounds.pieces(wire.points, "points", _POINT, MOST_POINTS)
        bounds.exactly(wire.signature, "signature", _SIGNATURE)
    if wire.size > _LISTED or wire.part * MOST_POINTS >= _LISTED or wire.number >= _TIERS:
        raise DecodeError(f"piece {wire.part} of list {wire.number} with {wire.size} points")
    return OverlapPiece(
        context=bounds.digest(wire.context),
        member=bounds.partner(wire.member),
        kind=_one_of(wire.kind, "kind", OVERLAP_KINDS),
        number=wire.number,
        part=wire.part,
        size=wire.size,
        points=wire.points,
        signature=wire.signature,
    )


def _overlap_ask(wire: scoring_pb2.OverlapAsk) -> OverlapAsk:
    if wire.entry:
        bounds.within(wire.entry, "entry", LARGEST_ENTRY)
    return OverlapAsk(
        step=_one_of(wire.step, "step", OVERLAP_STEPS),
        entry=wire.entry,
        context=bounds.digest(wire.context),
        piece=_piece(wire.piece) if wire.HasField("piece") else None,
    )


def _overlap_tell(wire: scoring_pb2.OverlapTell) -> OverlapTell:
    bounds.count(len(wire.entries), "entries", _OWN_ENTRIES)
    return OverlapTell(
        step=_one_of(wire.step, "step", OVERLAP_STEPS),
        code=_code(wire.code) if wire.code else "",
        piece=_piece(wire.piece) if wire.HasField("piece") else None,
        entries=tuple(bounds.within(one, "entry", LARGEST_ENTRY) for one in wire.entries),
    )


READERS: Mapping[str, Callable[..., ScoringBody]] = {
    "roster": _roster,
    "score_request": _request,
    "score_answer": _answer,
    "score_refusal": _refused,
    "score_answers": _answers,
    "score_failed": _failed,
    "oprf_request": _oprf_request,
    "oprf_reply": _oprf_reply,
    "oprf_replies": _oprf_replies,
    "epoch_ask": _ask,
    "epoch_tell": _tell,
    "overlap_ask": _overlap_ask,
    "overlap_tell": _overlap_tell,
}
"""Field of the frame -> what reads its value, or raises DecodeError."""


def _perhaps(written: str) -> Digest | None:
    return bounds.digest(written) if written else None


def _code(written: str) -> str:
    return _one_of(written, "code", _CODES)


def _one_of(written: str, field: str, known: Iterable[str]) -> str:
    if written not in known:
        raise DecodeError(f"{field} {written[:_CODE]!r} is not one of {sorted(known)}")
    return written


def _epoch(value: int) -> int:
    if not 1 <= value <= _EPOCHS:
        raise DecodeError(f"epoch {value} is outside 1 to {_EPOCHS}")
    return value
