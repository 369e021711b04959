"""Decoding inverts encoding; whatever else arrives is one of our protocol errors."""

from hypothesis import given
from hypothesis import strategies as st

from consortium import codec, enrolment_codec, federation_codec
from consortium.codec import Body, Frame, StreamKind
from consortium.errors import ProtocolError, ScoreRefusal
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import (
    EpochAsk,
    EpochTell,
    OprfReplies,
    OprfReply,
    OprfRequest,
    Roster,
    ScoreAnswer,
    ScoreAnswers,
    ScoreFailed,
    ScoreRefused,
    ScoreRequest,
    Wrap,
)
from consortium.messages import (
    PROTOCOL_VERSION,
    FlowerMessage,
    Goodbye,
    Heartbeat,
    Hello,
    ManifestBundle,
    Signed,
    Vote,
)

partners = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True).map(PartnerId)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest(raw.hex()))
signatures = st.binary(min_size=64, max_size=64)
texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=64)
signed = st.builds(Signed, digest=digests, member=partners, signature=signatures)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(
        Hello,
        protocol_version=st.just(PROTOCOL_VERSION),
        software=texts,
        partner=partners,
        manifest=digests,
        nonce=st.binary(min_size=32, max_size=32),
    ),
    st.just(Heartbeat()),
    st.builds(Goodbye, code=texts, reason=texts),
    st.builds(FlowerMessage, st.binary()),
)
frames = st.builds(Frame, bodies, st.integers(0, 2**64 - 1))

some_partners = st.sets(partners, max_size=4).map(lambda names: tuple(sorted(names)))
requests = st.binary(min_size=16, max_size=16).map(lambda raw: RequestId(raw.hex()))
refusals = st.sampled_from(ScoreRefusal).map(lambda code: code.value)
versions = st.integers(0, 2**53 - 1)
points = st.integers(1, 4).flatmap(lambda n: st.binary(min_size=32 * n, max_size=32 * n))
words = st.integers(1, 9).flatmap(lambda n: st.binary(min_size=8 * n, max_size=8 * n))
steps = st.sampled_from(["commit", "reveal", "confirm", "install"])
score_requests = st.builds(
    ScoreRequest,
    inquiry=st.binary(min_size=1),
    sealed=st.binary(min_size=1),
    wraps=some_partners.map(
        lambda names: tuple(Wrap(member=name, key=b"k" * 48) for name in names)
    ),
    signature=signatures,
)
answers = st.builds(
    ScoreAnswer, context=digests, member=partners, words=words, signature=signatures
)
refused = st.builds(
    ScoreRefused, context=digests, member=partners, code=refusals, signature=signatures
)
oprf_requests = st.builds(
    OprfRequest,
    request=requests,
    requester=partners,
    epoch=st.integers(1, 65535),
    servers=some_partners,
    purpose=st.sampled_from(["load", "score", "dispute"]),
    points=points,
    signature=signatures,
)
oprf_replies = st.builds(
    OprfReply,
    request=requests,
    member=partners,
    points=points,
    proof=signatures,
    code=st.just(""),
    signature=signatures,
) | st.builds(
    OprfReply,
    request=requests,
    member=partners,
    points=st.just(b""),
    proof=st.just(b""),
    code=refusals,
    signature=signatures,
)
tells = st.builds(
    EpochTell, step=steps, document=st.binary(max_size=99), code=st.just("")
) | st.builds(EpochTell, step=steps, document=st.just(b""), code=refusals)
scoring_ups: st.SearchStrategy[Body] = st.one_of(
    score_requests, answers, refused, oprf_requests, oprf_replies, tells
)
scoring_downs: st.SearchStrategy[Body] = st.one_of(
    st.builds(
        Roster,
        version=versions,
        manifest=digests,
        partners=some_partners,
        model=st.none() | digests,
        head=st.none() | digests,
        valid_until=versions,
        signature=signatures,
    ),
    score_requests,
    st.builds(
        ScoreAnswers, answers=st.lists(answers, max_size=3).map(tuple), last=st.booleans()
    ),
    st.builds(
        ScoreFailed,
        code=refusals,
        silent=some_partners,
        refused=st.lists(refused, max_size=3).map(tuple),
    ),
    oprf_requests,
    st.builds(
        OprfReplies,
        replies=st.lists(oprf_replies, max_size=3).map(tuple),
        missing=some_partners,
    ),
    st.builds(
        EpochAsk,
        step=steps,
        documents=st.lists(st.binary(min_size=1, max_size=99), max_size=3).map(tuple),
    ),
)
frame_ids = st.integers(0, 2**64 - 1)


@given(frame=st.builds(Frame, scoring_ups, frame_ids))
def test_decoding_a_nodes_scoring_frame_inverts_encoding(frame: Frame) -> None:
    kind = StreamKind.SCORING
    assert codec.decode_up(kind, codec.encode_up(kind, frame)) == frame


@given(frame=st.builds(Frame, scoring_downs, frame_ids))
def test_decoding_a_scoring_frame_of_the_coordinator_inverts_encoding(frame: Frame) -> None:
    kind = StreamKind.SCORING
    assert codec.decode_down(kind, codec.encode_down(kind, frame)) == frame


@given(frame=st.builds(Frame, scoring_ups), position=st.integers(0), bit=st.integers(0, 7))
def test_flipped_bit_of_a_scoring_frame_never_raises_anything_but_a_protocol_error(
    frame: Frame, position: int, bit: int
) -> None:
    data = bytearray(codec.encode_up(StreamKind.SCORING, frame))
    data[position % len(data)] ^= 1 << bit
    try:
        codec.decode_up(StreamKind.SCORING, bytes(data))
    except ProtocolError:
        return


@given(frame=frames)
def test_decoding_a_frame_inverts_encoding(frame: Frame) -> None:
    kind = StreamKind.TRAINING
    assert codec.decode_up(kind, codec.encode_up(kind, frame)) == frame


@given(
    bundle=st.builds(
        ManifestBundle,
        body=st.binary(min_size=1),
        signatures=st.lists(signed, max_size=5).map(tuple),
        schema=st.binary(min_size=1),
    )
)
def test_decoding_a_manifest_bundle_inverts_encoding(bundle: ManifestBundle) -> None:
    assert (
        federation_codec.decode_manifest_bundle(federation_codec.encode_manifest_bundle(bundle))
        == bundle
    )


@given(
    vote=st.builds(
        Vote,
        version=digests,
        member=partners,
        accept=st.booleans(),
        reason=texts,
        number=st.integers(0, 2**53 - 1),
        signature=signatures,
    )
)
def test_decoding_a_vote_inverts_encoding(vote: Vote) -> None:
    assert federation_codec.decode_vote(federation_codec.encode_vote(vote)) == vote


@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    for decode in (
        lambda: codec.decode_up(StreamKind.TRAINING, data),
        lambda: codec.decode_down(StreamKind.SCORING, data),
        lambda: enrolment_codec.decode_enrolment_request(data),
        lambda: enrolment_codec.decode_enrolled(data),
        lambda: federation_codec.decode_manifest_bundle(data),
        lambda: federation_codec.decode_model_list(data),
        lambda: federation_codec.decode_model_document(data),
        lambda: federation_codec.decode_vote(data),
        lambda: federation_codec.decode_vote_reply(data),
    ):
        try:
            decode()
        except ProtocolError:
            continue


@given(frame=frames, position=st.integers(0), bit=st.integers(0, 7))
def test_flipped_bit_never_raises_anything_but_a_protocol_error(
    frame: Frame, position: int, bit: int
) -> None:
    data = bytearray(codec.encode_up(StreamKind.TRAINING, frame))
    if data:
        data[position % len(data)] ^= 1 << bit
    try:
        codec.decode_up(StreamKind.TRAINING, bytes(data))
    except ProtocolError:
        return
