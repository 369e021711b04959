"""Values <-> messages of desk.proto."""

from decimal import Decimal

from proto.v1 import desk_pb2 as wire
from riskweave_client.values import (
    Applicant,
    Change,
    Failure,
    Loss,
    Reason,
    Score,
    Status,
)


def request_of(asked: Applicant) -> wire.DeskScoreRequest:
    """The message of one question."""
    consent = asked.consent
    message = wire.DeskScoreRequest(
        person=asked.person,
        consent=wire.DeskConsent(
            reference=consent.reference,
            purposes=consent.purposes,
            expires=consent.expires,
            notice=consent.notice,
            method=consent.method,
        ),
        idempotency_key=asked.idempotency_key,
        brief=asked.brief,
    )
    if asked.attributes is not None:
        message.attributes.SetInParent()  # present, though it may be empty
        for name, value in asked.attributes.items():
            field = message.attributes.values[name]
            if isinstance(value, str):
                field.text = value
            elif value is not None:
                field.number = value
    return message


def result_of(message: wire.DeskResult) -> Score | Failure:
    """One result of a batch."""
    if message.HasField("score"):
        return score_of(message.score)
    return Failure(message.failure.code, message.failure.text)


def score_of(message: wire.DeskScore) -> Score:
    """The score of a message."""
    return Score(
        points=message.points,
        pd=Decimal(message.pd),
        eta=message.eta,
        band=message.band,
        fallback=message.fallback,
        calibration=message.calibration,
        best=message.best,
        unattributed=message.unattributed,
        reasons=tuple(
            Reason(one.code, one.zh, one.en, one.points, one.source) for one in message.reasons
        ),
        losses=tuple(
            Loss(one.family, one.feature, one.bin, one.points, one.source)
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


def status_of(message: wire.DeskStatus) -> Status:
    """The status of a message."""
    return Status(
        partner=message.partner,
        manifest=message.manifest,
        delivery=message.delivery,
        model=message.model,
        head=message.head,
        fallback=message.fallback,
        partners=message.partners,
    )
