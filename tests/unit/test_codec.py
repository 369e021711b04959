"""Bytes of a hostile peer: each bound of the codec, and the version check before the rest."""

import pytest

from consortium import codec, enrolment_codec, federation_codec
from consortium.codec import Frame, StreamKind
from consortium.errors import DecodeError, MessageTooLargeError, VersionError
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import (
    PROTOCOL_VERSION,
    Enrolled,
    EnrolmentRequest,
    FlowerMessage,
    Goodbye,
    Heartbeat,
    Hello,
    LogHead,
    ManifestBundle,
    ModelDocument,
    ModelEntry,
    Signed,
    Vote,
    Welcome,
    WitnessQuestion,
)
from proto.v1 import enrolment_pb2, federation_pb2, scoring_pb2, training_pb2

DIGEST = Digest("ab" * 32)
RUN = RunId("cd" * 16)
BANK = PartnerId("bank_a")


def hello(*, version: int = PROTOCOL_VERSION, nonce: bytes = bytes(32)) -> Hello:
    return Hello(
        protocol_version=version, software="t/1", partner=BANK, manifest=DIGEST, nonce=nonce
    )


def request(*, token: bytes = bytes(32)) -> EnrolmentRequest:
    return EnrolmentRequest(
        protocol_version=PROTOCOL_VERSION,
        partner=BANK,
        token=token,
        csr=b"csr",
        identity=b"i" * 32,
        agreement=b"a" * 32,
        witness=b"w" * 32,
        signature=b"s" * 64,
    )


def test_service_names_are_those_of_the_proto_files() -> None:
    services = {
        training_pb2.DESCRIPTOR.services_by_name["Training"]: StreamKind.TRAINING.service,
        scoring_pb2.DESCRIPTOR.services_by_name["Scoring"]: StreamKind.SCORING.service,
        enrolment_pb2.DESCRIPTOR.services_by_name[
            "Enrolment"
        ]: enrolment_codec.ENROLMENT_SERVICE,
        federation_pb2.DESCRIPTOR.services_by_name[
            "Federation"
        ]: federation_codec.FEDERATION_SERVICE,
    }
    assert all(service.full_name == name for service, name in services.items())


@pytest.mark.parametrize("kind", StreamKind)
def test_every_frame_of_a_node_survives_the_wire(kind: StreamKind) -> None:
    for frame in (Frame(hello()), Frame(Heartbeat(), 3), Frame(Goodbye(code="x", reason="y"))):
        assert codec.decode_up(kind, codec.encode_up(kind, frame)) == frame


@pytest.mark.parametrize("kind", StreamKind)
def test_every_frame_of_the_coordinator_survives_the_wire(kind: StreamKind) -> None:
    welcome = Welcome(
        protocol_version=PROTOCOL_VERSION, software="t/1", manifest=DIGEST, signature=b"s" * 64
    )
    for frame in (Frame(welcome), Frame(Heartbeat()), Frame(Goodbye(code="x", reason="y"))):
        assert codec.decode_down(kind, codec.encode_down(kind, frame)) == frame


def test_scoring_stream_carries_no_flower_message() -> None:
    with pytest.raises(DecodeError, match="flower_message"):
        codec.encode_up(StreamKind.SCORING, Frame(FlowerMessage(b"x"), 1))


def test_node_cannot_send_a_welcome() -> None:
    welcome = Welcome(
        protocol_version=PROTOCOL_VERSION, software="t/1", manifest=DIGEST, signature=b"s" * 64
    )
    with pytest.raises(DecodeError, match="welcome"):
        codec.encode_up(StreamKind.TRAINING, Frame(welcome))


def test_frame_over_the_limit_is_refused_before_it_is_parsed() -> None:
    garbage = b"\xff" * 101
    with pytest.raises(MessageTooLargeError, match="101 bytes is over the limit of 100"):
        codec.decode_up(StreamKind.TRAINING, garbage, limit=100)


def test_scoring_frame_has_the_smaller_limit() -> None:
    with pytest.raises(MessageTooLargeError):
        codec.decode_up(StreamKind.SCORING, bytes(StreamKind.SCORING.limit + 1))


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"\x08\x01"])
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode_up(StreamKind.TRAINING, data)


def test_other_protocol_version_is_named_even_if_nothing_else_can_be_read() -> None:
    frame = training_pb2.TrainingUp()
    frame.hello.protocol_version = 2
    with pytest.raises(VersionError, match="version 2, this side speaks 1"):
        codec.decode_up(StreamKind.TRAINING, frame.SerializeToString())


def test_enrolment_with_other_protocol_version_is_refused() -> None:
    wire = enrolment_pb2.EnrolRequest(protocol_version=7)
    with pytest.raises(VersionError):
        enrolment_codec.decode_enrolment_request(wire.SerializeToString())


def test_short_nonce_is_refused() -> None:
    frame = Frame(hello(nonce=bytes(31)))
    with pytest.raises(DecodeError, match="nonce has 31 bytes"):
        codec.decode_up(StreamKind.TRAINING, codec.encode_up(StreamKind.TRAINING, frame))


@pytest.mark.parametrize("name", ["", "Bank", "../bank", "b" * 33, "bank\n"])
def test_partner_id_that_is_not_of_its_form_is_refused(name: str) -> None:
    frame = training_pb2.TrainingUp()
    frame.hello.protocol_version = PROTOCOL_VERSION
    frame.hello.partner = name
    with pytest.raises(DecodeError, match="partner id"):
        codec.decode_up(StreamKind.TRAINING, frame.SerializeToString())


def test_terminal_escape_in_a_goodbye_does_not_reach_the_log() -> None:
    frame = Frame(Goodbye(code="x", reason="\x1b[2J"))
    with pytest.raises(DecodeError, match="printable"):
        codec.decode_down(StreamKind.TRAINING, codec.encode_down(StreamKind.TRAINING, frame))


def test_enrolment_messages_survive_the_wire() -> None:
    assert (
        enrolment_codec.decode_enrolment_request(
            enrolment_codec.encode_enrolment_request(request())
        )
        == request()
    )
    reply = Enrolled(certificate=b"der", address="127.0.0.1:7443")
    assert enrolment_codec.decode_enrolled(enrolment_codec.encode_enrolled(reply)) == reply


def test_token_of_another_length_is_refused() -> None:
    with pytest.raises(DecodeError, match="token has 5 bytes"):
        enrolment_codec.decode_enrolment_request(
            enrolment_codec.encode_enrolment_request(request(token=b"short"))
        )


def test_manifest_messages_survive_the_wire() -> None:
    signed = Signed(digest=DIGEST, member=BANK, signature=b"s" * 64)
    bundle = ManifestBundle(body=b"{}", signatures=(signed, signed), schema=b"{}")
    assert federation_codec.decode_signed(federation_codec.encode_signed(signed)) == signed
    assert (
        federation_codec.decode_manifest_bundle(federation_codec.encode_manifest_bundle(bundle))
        == bundle
    )
    assert (
        federation_codec.decode_manifest_request(federation_codec.encode_manifest_request(None))
        is None
    )
    assert (
        federation_codec.decode_manifest_request(
            federation_codec.encode_manifest_request(DIGEST)
        )
        == DIGEST
    )


def test_empty_manifest_body_is_refused() -> None:
    data = federation_pb2.ManifestDocument(schema=b"{}").SerializeToString()
    with pytest.raises(DecodeError, match="body has 0 bytes"):
        federation_codec.decode_manifest_bundle(data)


def test_model_messages_survive_the_wire() -> None:
    entry = ModelEntry(version=DIGEST, status="active", run=RUN, created_at=1)
    document = ModelDocument(version=DIGEST, document=b"{}")
    assert federation_codec.decode_model_list(federation_codec.encode_model_list((entry,))) == (
        entry,
    )
    assert (
        federation_codec.decode_model_document(federation_codec.encode_model_document(document))
        == document
    )
    assert (
        federation_codec.decode_model_request(federation_codec.encode_model_request(None))
        is None
    )


def test_vote_survives_the_wire() -> None:
    vote = Vote(
        version=DIGEST, member=BANK, accept=True, reason="", number=7, signature=b"s" * 64
    )
    assert federation_codec.decode_vote(federation_codec.encode_vote(vote)) == vote
    assert (
        federation_codec.decode_vote_reply(federation_codec.encode_vote_reply("active"))
        == "active"
    )


def test_vote_at_a_time_that_no_clock_shows_is_refused() -> None:
    wire = federation_pb2.Vote(version=DIGEST, member=BANK, number=1 << 53, signature=b"s" * 64)
    with pytest.raises(DecodeError, match="seconds"):
        federation_codec.decode_vote(wire.SerializeToString())


def test_model_status_outside_the_list_is_refused() -> None:
    with pytest.raises(DecodeError, match="status 'great'"):
        federation_codec.decode_vote_reply(federation_codec.encode_vote_reply("great"))


def test_more_models_than_a_registry_holds_are_refused() -> None:
    wire = federation_pb2.ModelList(models=[federation_pb2.ModelEntry()] * 10_001)
    with pytest.raises(DecodeError, match="10001 models"):
        federation_codec.decode_model_list(wire.SerializeToString())


def test_empty_messages_survive_the_wire() -> None:
    federation_codec.decode_ack(federation_codec.encode_ack())
    federation_codec.decode_models_request(federation_codec.encode_models_request())


def test_question_and_answer_of_a_witness_survive_the_wire() -> None:
    for question in (
        WitnessQuestion(known=0),
        WitnessQuestion(known=7, size=7, cosignature=b"c" * 72, entries=(b"{}", b"[]")),
    ):
        assert (
            federation_codec.decode_witness_question(
                federation_codec.encode_witness_question(question)
            )
            == question
        )
    for head in (
        LogHead(),
        LogHead(
            note=b"note", proof=(b"p" * 32,), first=3, entries=(b"{}", b"x"), cosigned=b"head"
        ),
    ):
        assert federation_codec.decode_log_head(federation_codec.encode_log_head(head)) == head


@pytest.mark.parametrize(
    "question",
    [
        WitnessQuestion(known=0, cosignature=b"c" * 72),
        WitnessQuestion(known=0, size=4, cosignature=b"c" * 71),
        WitnessQuestion(known=0, entries=(b"",)),
        WitnessQuestion(known=0, entries=(b"x",) * (federation_codec.MOST_LOGGED + 1)),
        WitnessQuestion(known=0, entries=(b"x" * ((16 << 10) + 1),)),
        WitnessQuestion(known=1 << 60),
    ],
)
def test_question_of_a_witness_out_of_bounds_is_refused(question: WitnessQuestion) -> None:
    with pytest.raises(DecodeError):
        federation_codec.decode_witness_question(
            federation_codec.encode_witness_question(question)
        )


@pytest.mark.parametrize(
    "head",
    [
        LogHead(note=b"n" * (65 << 10)),
        LogHead(cosigned=b"n" * (65 << 10)),
        LogHead(entries=(b"",)),
        LogHead(entries=(b"x",) * (federation_codec.MOST_SHOWN + 1)),
        LogHead(entries=(b"x" * ((60 << 10) + 1),)),
        LogHead(proof=(b"p" * 31,)),
        LogHead(first=1 << 60),
    ],
)
def test_answer_to_a_witness_out_of_bounds_is_refused(head: LogHead) -> None:
    with pytest.raises(DecodeError):
        federation_codec.decode_log_head(federation_codec.encode_log_head(head))
