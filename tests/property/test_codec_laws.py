"""Decoding inverts encoding; whatever else arrives is one of our protocol errors."""

from hypothesis import given
from hypothesis import strategies as st

from consortium import codec
from consortium.codec import Body, Frame, StreamKind
from consortium.errors import ProtocolError
from consortium.ids import Digest, PartnerId
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
    assert codec.decode_manifest_bundle(codec.encode_manifest_bundle(bundle)) == bundle


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
    assert codec.decode_vote(codec.encode_vote(vote)) == vote


@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    for decode in (
        lambda: codec.decode_up(StreamKind.TRAINING, data),
        lambda: codec.decode_down(StreamKind.SCORING, data),
        lambda: codec.decode_enrolment_request(data),
        lambda: codec.decode_enrolled(data),
        lambda: codec.decode_manifest_bundle(data),
        lambda: codec.decode_model_list(data),
        lambda: codec.decode_model_document(data),
        lambda: codec.decode_vote(data),
        lambda: codec.decode_vote_reply(data),
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
