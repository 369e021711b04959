"""ADAPTER protobuf: questions and scores of the desk <-> proto.v1 (desk.proto).

Fields have the names that the values have. Whoever reads bytes checks their form; what the
fields say is checked in ``partner_node.loan_desk``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError as WireError
from google.protobuf.message import Message

from consortium.errors import DecodeError
from consortium.scoring.whatif import Change
from partner_node.desk import Score, TellLoss, reason_of
from partner_node.loan_desk import Consent, DeskStatus, Failure, Question
from proto.v1 import desk_pb2 as wire

SERVICE = "riskweave.v1.CreditDesk"
REQUEST_LIMIT = 64 << 10
"""Bytes of one question."""
DOCUMENT_LIMIT = 66 << 10
"""Bytes of a request of the credit desk: its document, an id and a key."""
BATCH_LIMIT = 4 << 20
"""Bytes of one message of a batch."""


def _parse(message: Message, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except WireError as error:
        raise DecodeError(f"not a {type(message).__name__}") from error


# --- questions --------------------------------------------------------------------------------


def decode_question(data: bytes) -> Question:
    """The question, or DecodeError."""
    message = wire.DeskScoreRequest()
    _parse(message, data)
    return _question_of(message)


def decode_batch(data: bytes) -> list[Question]:
    """The questions of one message of a batch, or DecodeError."""
    message = wire.DeskBatchRequest()
    _parse(message, data)
    return [_question_of(one) for one in message.requests]


def encode_question(question: Question) -> bytes:
    """The bytes of one question."""
    return _question_to(question).SerializeToString()


def encode_batch(questions: Iterable[Question]) -> bytes:
    """The bytes of one message of a batch."""
    message = wire.DeskBatchRequest(requests=map(_question_to, questions))
    return message.SerializeToString()


def _question_of(message: wire.DeskScoreRequest) -> Question:
    consent = message.consent
    attributes = None
    if message.HasField("attributes"):
        values = message.attributes.values
        attributes = {name: _value_of(value) for name, value in values.items()}
    return Question(
        person=message.person,
        consent=Consent(
            reference=consent.reference,
            purposes=tuple(consent.purposes),
            expires=consent.expires,
            notice=consent.notice,
            method=consent.method,
        ),
        attributes=attributes,
        key=message.idempotency_key,
        brief=message.brief,
    )


def _value_of(value: wire.DeskValue) -> float | str | None:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    return value.number if kind == "number" else value.text


def _question_to(question: Question) -> wire.DeskScoreRequest:
    consent = question.consent
    return wire.DeskScoreRequest(
        person=question.person,
        consent=wire.DeskConsent(
            reference=consent.reference,
            purposes=consent.purposes,
            expires=consent.expires,
            notice=consent.notice,
            method=consent.method,
        ),
        attributes=_attributes_to(question.attributes),
        idempotency_key=question.key,
        brief=question.brief,
    )


def _attributes_to(
    attributes: Mapping[str, float | str | None] | None,
) -> wire.DeskAttributes | None:
    if attributes is None:
        return None
    return wire.DeskAttributes(
        values={
            name: wire.DeskValue()
            if value is None
            else wire.DeskValue(text=value)
            if isinstance(value, str)
            else wire.DeskValue(number=value)
            for name, value in attributes.items()
        }
    )


# --- decisions --------------------------------------------------------------------------------

JSON_TYPE = "application/json"


class Named(NamedTuple):
    """What a request of the credit desk names: an id and a document, or one of them."""

    id: str = ""
    document: bytes = b""
    key: str = ""


class NoticeOf(NamedTuple):
    """Which notice is asked for."""

    id: str
    form: str
    lang: str


def decode_decide(data: bytes) -> Named:
    """Application and key, or DecodeError."""
    message = wire.DeskDecideRequest()
    _parse(message, data)
    return Named(document=message.application, key=message.idempotency_key)


def encode_decide(document: bytes, key: str) -> bytes:
    """The bytes of a request for a decision."""
    return wire.DeskDecideRequest(application=document, idempotency_key=key).SerializeToString()


def decode_decide_batch(data: bytes) -> list[Named]:
    """Applications and keys of one message of a batch, or DecodeError."""
    message = wire.DeskDecideBatch()
    _parse(message, data)
    return [
        Named(document=one.application, key=one.idempotency_key) for one in message.requests
    ]


def encode_decide_batch(asked: Iterable[Named]) -> bytes:
    """The bytes of one message of a batch."""
    message = wire.DeskDecideBatch(
        requests=[
            wire.DeskDecideRequest(application=one.document, idempotency_key=one.key)
            for one in asked
        ]
    )
    return message.SerializeToString()


def encode_decided(results: Sequence[bytes | Failure]) -> bytes:
    """The bytes of one reply of a batch."""
    message = wire.DeskDecideReply(
        results=[
            wire.DeskDecideResult(failure=wire.DeskFailure(code=one.code, text=one.text))
            if isinstance(one, Failure)
            else wire.DeskDecideResult(document=one)
            for one in results
        ]
    )
    return message.SerializeToString()


def decode_decided(data: bytes) -> list[bytes | Failure]:
    """Answers and failures in order, or DecodeError."""
    message = wire.DeskDecideReply()
    _parse(message, data)
    return [
        one.document
        if one.HasField("document")
        else Failure(one.failure.code, one.failure.text)
        for one in message.results
    ]


def decode_decision_id(data: bytes) -> str:
    """The id, or DecodeError."""
    message = wire.DeskDecisionId()
    _parse(message, data)
    return message.id


def encode_decision_id(name: str) -> bytes:
    """The bytes of a request for a stored decision."""
    return wire.DeskDecisionId(id=name).SerializeToString()


def decode_override(data: bytes) -> Named:
    """Id and what the officer decides, or DecodeError."""
    message = wire.DeskOverrideRequest()
    _parse(message, data)
    return Named(id=message.id, document=message.override)


def encode_override(name: str, document: bytes) -> bytes:
    """The bytes of an officer's decision."""
    return wire.DeskOverrideRequest(id=name, override=document).SerializeToString()


def decode_offer(data: bytes) -> Named:
    """What is asked for and the key, or DecodeError."""
    message = wire.DeskOfferRequest()
    _parse(message, data)
    return Named(document=message.request, key=message.idempotency_key)


def decode_notice(data: bytes) -> NoticeOf:
    """Which notice, or DecodeError."""
    message = wire.DeskNoticeRequest()
    _parse(message, data)
    return NoticeOf(message.id, message.format, message.lang)


def encode_document(document: bytes, media_type: str = JSON_TYPE) -> bytes:
    """The bytes of what is answered."""
    return wire.DeskDocument(document=document, media_type=media_type).SerializeToString()


def decode_document(data: bytes) -> bytes:
    """The document of an answer, or DecodeError."""
    message = wire.DeskDocument()
    _parse(message, data)
    return message.document


# --- scores -----------------------------------------------------------------------------------


def encode_score(score: Score) -> bytes:
    """The bytes of one score: the same for the same score, for no field is a map."""
    return _score_to(score).SerializeToString()


def decode_score(data: bytes) -> Score:
    """The score, or DecodeError."""
    message = wire.DeskScore()
    _parse(message, data)
    return _score_of(message)


def encode_results(results: Sequence[Score | Failure]) -> bytes:
    """The bytes of one reply of a batch."""
    message = wire.DeskBatchReply(
        results=[
            wire.DeskResult(failure=wire.DeskFailure(code=one.code, text=one.text))
            if isinstance(one, Failure)
            else wire.DeskResult(score=_score_to(one))
            for one in results
        ]
    )
    return message.SerializeToString()


def decode_results(data: bytes) -> list[Score | Failure]:
    """Scores and failures in order, or DecodeError."""
    message = wire.DeskBatchReply()
    _parse(message, data)
    return [
        _score_of(one.score)
        if one.HasField("score")
        else Failure(one.failure.code, one.failure.text)
        for one in message.results
    ]


def _score_to(score: Score) -> wire.DeskScore:
    return wire.DeskScore(
        points=score.points,
        pd=score.pd,
        eta=score.eta,
        band=score.band,
        fallback=score.fallback,
        calibration=score.calibration,
        best=score.best,
        unattributed=score.unattributed,
        reasons=[
            wire.DeskReason(
                code=one.code, zh=one.zh, en=one.en, points=one.points, source=one.source
            )
            for one in score.reasons
        ],
        losses=[
            wire.DeskLoss(
                family=one.family,
                feature=one.feature,
                bin=one.bin,
                points=one.points,
                source=one.source,
            )
            for one in score.losses
        ],
        no_data=score.no_data,
        what_if=[
            wire.DeskChange(
                feature=one.feature,
                now=one.now,
                then=one.then,
                gain=one.gain,
                points=one.points,
            )
            for one in score.what_if
        ],
        model=score.model,
        head=score.head,
        policy=score.policy,
        request=score.request,
        interval=score.interval,
        answered_at=score.answered_at,
    )


def _score_of(message: wire.DeskScore) -> Score:
    return Score(
        points=message.points,
        pd=message.pd,
        eta=message.eta,
        band=message.band,
        fallback=message.fallback,
        calibration=message.calibration,
        best=message.best,
        unattributed=message.unattributed,
        reasons=tuple(
            reason_of(one.code, one.zh, one.en, one.points, one.source)
            for one in message.reasons
        ),
        losses=tuple(
            TellLoss(one.family, one.feature, one.bin, one.points, one.source)
            for one in message.losses
        ),
        no_data=tuple(message.no_data),
        what_if=tuple(
            Change(one.feature, one.now, one.then, one.gain, one.points)
            for one in message.what_if
        ),
        model=message.model,
        head=message.head,
        policy=message.policy,
        request=message.request,
        interval=message.interval,
        answered_at=message.answered_at,
    )


# --- how the desk stands ----------------------------------------------------------------------


def encode_status(status: DeskStatus) -> bytes:
    """The bytes of a status."""
    message = wire.DeskStatus(
        partner=status.partner,
        manifest=status.manifest,
        delivery=status.delivery,
        model=status.model,
        head=status.head,
        fallback=status.fallback,
        partners=status.partners,
    )
    return message.SerializeToString()


def decode_status(data: bytes) -> DeskStatus:
    """The status, or DecodeError."""
    message = wire.DeskStatus()
    _parse(message, data)
    return DeskStatus(
        partner=message.partner,
        manifest=message.manifest,
        delivery=message.delivery,
        model=message.model,
        head=message.head,
        fallback=message.fallback,
        partners=message.partners,
    )
