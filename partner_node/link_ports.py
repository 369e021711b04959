"""What the two streams need from outside, and their times."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from consortium.codec import Body, StreamKind
from partner_node.coordinator_channel import Dial
from partner_node.keystore import Pin
from partner_node.left_journal import Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times of the streams, in seconds."""

    heartbeat: float = 5.0
    silence: float = 15.0
    """Three heartbeats missed (protocol 12.3)."""
    welcome: float = 10.0
    first_wait: float = 0.2
    longest_wait: float = 3.0
    look: float = 0.25
    """Between two looks at the kill switch and the certificate."""
    stable: float = 5.0
    """A stream that lived so long makes the next wait the first again."""
    farewell: float = 1.0


Send = Callable[[Body, int], None]
"""(body, id) -> the frame is in the outbox: never waits. Raises TransportError if the stream
is down or takes no more, MessageTooLargeError if the frame is over the limit."""


class ScoringPort(Protocol):
    """The node's side of joint scores, in the link's loop."""

    def attach(self, send: Send) -> None:
        """The scoring stream is welcomed; ``send`` is good until ``on_down``."""

    def on_frame(self, body: Body, number: int) -> Awaitable[None] | None:
        """A frame with its id; what takes time is returned and runs in a task of its own.

        An error of ours, here or in the task, ends the stream, which is dialled again.
        """

    def on_down(self) -> None:
        """The stream has ended: whoever waits for an answer on it must be told now."""


class NoScoring:
    """A node that takes no part in joint scores: frames are read and dropped."""

    def attach(self, send: Send) -> None:
        """Nothing is ever sent."""

    def on_frame(self, _body: Body, _number: int) -> Awaitable[None] | None:
        """Nothing is answered."""
        return None

    def on_down(self) -> None:
        """Nobody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the link needs from outside."""

    dial: Callable[[], Dial]
    """Read again for each dial, so that a new certificate counts at once."""
    pin: Callable[[], Awaitable[Pin]]
    """The pinned manifest with all signatures verified; ManifestError before that."""
    handle: Callable[[bytes], Awaitable[bytes]]
    """Answers one Flower message."""
    entropy: Callable[[int], bytes]
    scoring: ScoringPort = field(default_factory=NoScoring)
    on_change: Callable[[StreamKind, bool], None] = lambda _kind, _up: None
    """Told when a stream comes up (welcomed) and when it goes down."""
    stopped: Callable[[], bool] = lambda: False
    """Whether the owner's kill switch is on: then nothing is dialled and nothing written."""
    note: Note = lambda _frames: None
    """Counts what leaves on a stream, before it does (``partner_node.left_journal``)."""
    renewed: Callable[[], object] = lambda: None
    """Another value after each change of the certificate: streams then get successors."""
