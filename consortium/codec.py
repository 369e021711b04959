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
from consortium.messages import (
    FlowerMessage,
    Goodbye,
    Heartbeat,
    Hello,
    Welcome,
)
from consortium.scoring_frames import ScoringBody
from proto.v1 import common_pb2, scoring_pb2, training_pb2


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
        software=bounds.text(wire.software, "software", bounds.SHORT_TEXT),
        partner=bounds.partner(wire.partner),
        manifest=bounds.digest(wire.manifest),
        nonce=bounds.exactly(wire.nonce, "nonce", bounds.KEY_BYTES),
        successor=wire.successor,
    )


def _welcome(wire: common_pb2.Welcome) -> Welcome:
    return Welcome(
        protocol_version=bounds.version(wire.protocol_version),
        software=bounds.text(wire.software, "software", bounds.SHORT_TEXT),
        manifest=bounds.digest(wire.manifest),
        signature=bounds.exactly(wire.signature, "signature", bounds.SIGNATURE_BYTES),
    )


def _goodbye(wire: common_pb2.Goodbye) -> Goodbye:
    return Goodbye(
        code=bounds.text(wire.code, "code", bounds.SHORT_TEXT),
        reason=bounds.text(wire.reason, "reason", bounds.LONG_TEXT),
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
