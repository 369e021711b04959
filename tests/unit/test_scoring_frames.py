"""Frames of a hostile peer on the scoring stream: each bound, one at a time."""

from dataclasses import replace

import pytest

from consortium import codec
from consortium.codec import Frame, StreamKind
from consortium.errors import DecodeError
from consortium.ids import Digest, PartnerId, RequestId
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
from consortium.scoring_frames import (
    DOCUMENT_LIMIT,
    INQUIRY_LIMIT,
    MOST_PARTNERS,
    MOST_WORDS,
    SEALED_LIMIT,
    ScoringBody,
)

DIGEST = Digest("ab" * 32)
BANK, SHOP = PartnerId("bank_a"), PartnerId("shop_c")
SIGNATURE = b"s" * 64
TOO_MANY = tuple(PartnerId(f"p{number:03}") for number in range(MOST_PARTNERS + 1))

ROSTER = Roster(
    version=1,
    manifest=DIGEST,
    partners=(BANK, SHOP),
    model=DIGEST,
    head=None,
    valid_until=1,
    signature=SIGNATURE,
)
REQUEST = ScoreRequest(
    inquiry=b"{}",
    sealed=b"sealed",
    wraps=(Wrap(member=BANK, key=bytes(48)), Wrap(member=SHOP, key=bytes(48))),
    signature=SIGNATURE,
)
ANSWER = ScoreAnswer(context=DIGEST, member=BANK, words=bytes(80), signature=SIGNATURE)
REFUSED = ScoreRefused(context=DIGEST, member=BANK, code="S07", signature=SIGNATURE)
ANSWERS = ScoreAnswers(answers=(ANSWER,), last=True)
FAILED = ScoreFailed(code="S18", silent=(BANK,), refused=(REFUSED,))
OPRF = OprfRequest(
    request=RequestId("cd" * 16),
    requester=BANK,
    epoch=1,
    servers=(BANK, SHOP),
    purpose="load",
    points=bytes(64),
    signature=SIGNATURE,
)
REPLY = OprfReply(
    request=RequestId("cd" * 16),
    member=SHOP,
    points=bytes(64),
    proof=bytes(64),
    code="",
    signature=SIGNATURE,
)
REPLIES = OprfReplies(replies=(REPLY,), missing=(BANK,))
ASK = EpochAsk(step="reveal", documents=(b"{}",))
TELL = EpochTell(step="reveal", document=b"{}", code="", entry=b"{}")
PIECE = OverlapPiece(
    context=DIGEST,
    member=BANK,
    kind="tier",
    number=1,
    part=0,
    size=1024,
    points=bytes(64),
    signature=SIGNATURE,
)
WANTED = replace(PIECE, size=0, points=b"", signature=b"")
BEGIN = OverlapAsk(step="begin", entry=b"{}", context=DIGEST)
GIVE = OverlapAsk(step="give", entry=b"", context=DIGEST, piece=WANTED)
GIVEN = OverlapTell(step="give", code="", piece=PIECE, entries=(b"{}",))


def up(body: ScoringBody) -> bytes:
    return codec.encode_up(StreamKind.SCORING, Frame(body, 7))


def down(body: ScoringBody) -> bytes:
    return codec.encode_down(StreamKind.SCORING, Frame(body, 7))


@pytest.mark.parametrize("body", [REQUEST, ANSWER, REFUSED, OPRF, REPLY, TELL, GIVEN])
def test_every_scoring_frame_of_a_node_survives_the_wire(body: ScoringBody) -> None:
    assert codec.decode_up(StreamKind.SCORING, up(body)) == Frame(body, 7)


@pytest.mark.parametrize(
    "body",
    [
        *(ROSTER, replace(ROSTER, model=None), REQUEST, ANSWERS, FAILED, OPRF, REPLIES, ASK),
        *(BEGIN, GIVE, replace(GIVE, step="take", piece=PIECE)),
    ],
)
def test_every_scoring_frame_of_the_coordinator_survives_the_wire(body: ScoringBody) -> None:
    assert codec.decode_down(StreamKind.SCORING, down(body)) == Frame(body, 7)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (replace(REQUEST, inquiry=b""), "inquiry"),
        (replace(REQUEST, inquiry=bytes(INQUIRY_LIMIT + 1)), "inquiry"),
        (replace(REQUEST, sealed=b""), "sealed"),
        (replace(REQUEST, sealed=bytes(SEALED_LIMIT + 1)), "sealed"),
        (replace(REQUEST, wraps=REQUEST.wraps[::-1]), "wraps are not sorted"),
        (replace(REQUEST, wraps=REQUEST.wraps[:1] * 2), "wraps are not sorted"),
        (replace(REQUEST, wraps=(Wrap(member=BANK, key=bytes(47)),)), "wrapped key"),
        (
            replace(REQUEST, wraps=tuple(Wrap(member=p, key=bytes(48)) for p in TOO_MANY)),
            "257 wraps",
        ),
        (replace(REQUEST, signature=bytes(63)), "signature"),
        (replace(ANSWER, context=Digest("AB" * 32)), "digest"),
        (replace(ANSWER, member=PartnerId("Bank")), "partner id"),
        (replace(ANSWER, words=b""), "words"),
        (replace(ANSWER, words=bytes(81)), "not a multiple of 8"),
        (replace(ANSWER, words=bytes(8 * (MOST_WORDS * LARGEST_BATCH + 1))), "words"),
        (replace(ANSWER, signature=b""), "signature"),
        (replace(REFUSED, code="S19"), "code 'S19'"),
        (replace(REFUSED, code=""), "code ''"),
        (replace(OPRF, request=RequestId("cd")), "request id"),
        (replace(OPRF, epoch=0), "epoch 0"),
        (replace(OPRF, epoch=65_536), "epoch 65536"),
        (replace(OPRF, servers=(SHOP, BANK)), "servers are not sorted"),
        (replace(OPRF, servers=TOO_MANY), "257 servers"),
        (replace(OPRF, purpose="sell"), "purpose 'sell'"),
        (replace(OPRF, points=bytes(33)), "not a multiple of 32"),
        (replace(OPRF, points=bytes(32 * (MOST_POINTS + 1))), "points"),
        (replace(REPLY, proof=b""), "proof"),
        (replace(REPLY, points=b""), "points"),
        (replace(REPLY, code="S07"), "points beside a refusal"),
        (replace(REPLY, code="no", points=b"", proof=b""), "code 'no'"),
        (replace(TELL, step="deal"), "step 'deal'"),
        (replace(GIVEN, step="sell"), "step 'sell'"),
        (replace(GIVEN, code="S19"), "code 'S19'"),
        (replace(GIVEN, entries=(b"{}",) * 3), "3 entries"),
        (replace(GIVEN, piece=replace(PIECE, kind="all")), "kind 'all'"),
        (replace(GIVEN, piece=replace(PIECE, number=8)), "list 8"),
        (replace(GIVEN, piece=replace(PIECE, part=512)), "piece 512"),
        (replace(GIVEN, piece=replace(PIECE, size=(1 << 21) + 1)), "2097153 points"),
        (replace(GIVEN, piece=replace(PIECE, points=bytes(33))), "not a multiple of 32"),
        (replace(GIVEN, piece=replace(PIECE, points=bytes(32 * 4097))), "points"),
        (replace(GIVEN, piece=replace(PIECE, signature=b"")), "signature"),
        (replace(TELL, document=bytes(DOCUMENT_LIMIT + 1)), "document"),
        (replace(TELL, code="S13"), "document beside a code"),
        (replace(TELL, document=b"", code="x" * 33), "code"),
    ],
)
def test_frame_of_a_node_with_one_field_out_of_bounds_is_refused(
    body: ScoringBody, told: str
) -> None:
    with pytest.raises(DecodeError, match=told):
        codec.decode_up(StreamKind.SCORING, up(body))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (replace(ROSTER, version=1 << 53), "seconds"),
        (replace(ROSTER, valid_until=1 << 53), "seconds"),
        (replace(ROSTER, partners=(SHOP, BANK)), "partners are not sorted"),
        (replace(ROSTER, partners=(PartnerId("bank a"),)), "partner id"),
        (replace(ROSTER, partners=TOO_MANY), "257 partners"),
        (replace(ROSTER, model=Digest("no")), "digest"),
        (replace(ROSTER, manifest=Digest("")), "digest"),
        (replace(ROSTER, signature=bytes(65)), "signature"),
        (replace(ANSWERS, answers=(replace(ANSWER, words=bytes(7)),)), "words"),
        (replace(ANSWERS, answers=(ANSWER,) * (MOST_PARTNERS + 1)), "257 answers"),
        (replace(FAILED, code="oops"), "code 'oops'"),
        (replace(FAILED, silent=(SHOP, BANK)), "silent partners are not sorted"),
        (replace(FAILED, refused=(replace(REFUSED, code=""),)), "code ''"),
        (replace(FAILED, refused=(REFUSED,) * (MOST_PARTNERS + 1)), "257 refusals"),
        (replace(REPLIES, missing=(SHOP, BANK)), "missing partners are not sorted"),
        (replace(REPLIES, replies=(replace(REPLY, proof=b""),)), "proof"),
        (replace(REPLIES, replies=(REPLY,) * (MOST_PARTNERS + 1)), "257 replies"),
        (replace(ASK, step=""), "step ''"),
        (replace(ASK, documents=(b"",)), "document"),
        (replace(ASK, documents=(b"{}",) * (MOST_PARTNERS + 2)), "258 documents"),
    ],
)
def test_frame_of_the_coordinator_with_one_field_out_of_bounds_is_refused(
    body: ScoringBody, told: str
) -> None:
    with pytest.raises(DecodeError, match=told):
        codec.decode_down(StreamKind.SCORING, down(body))


def test_node_cannot_send_what_is_the_coordinators() -> None:
    for body in (ROSTER, ANSWERS, FAILED, REPLIES, ASK):
        with pytest.raises(DecodeError, match="ScoringUp carries no"):
            up(body)


def test_training_stream_carries_no_score_request() -> None:
    with pytest.raises(DecodeError, match="TrainingUp carries no"):
        codec.encode_up(StreamKind.TRAINING, Frame(REQUEST, 1))


def test_answers_of_fifty_partners_for_a_whole_batch_fit_in_frames() -> None:
    answer = replace(ANSWER, words=bytes(8 * 8 * LARGEST_BATCH))
    packed = down(ScoreAnswers(answers=(answer,) * 50, last=True))
    assert len(packed) < StreamKind.SCORING.limit
    widest = replace(ANSWER, words=bytes(8 * MOST_WORDS * LARGEST_BATCH))
    assert len(down(ScoreAnswers(answers=(widest,), last=True))) < StreamKind.SCORING.limit
