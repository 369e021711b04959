"""ADAPTER gRPC: the partners' streams, used from the trainer's thread (protocol 12.2, 12.3).

The hub lives in the loop of ``grpc.aio``; ``connected``, ``wait_for`` and ``send`` may be
called from any thread. A question waits on the **stream** that carried it, not on the
partner: it fails the moment that stream ends or is replaced. Payloads are opaque here.
"""

import asyncio
import itertools
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import grpc
import grpc.aio

from consortium import codec
from consortium.codec import Body, Frame, StreamKind
from consortium.errors import (
    MessageTooLargeError,
    OutOfOrderError,
    RiskWeaveError,
    TransportError,
)
from consortium.ids import PartnerId
from consortium.messages import FlowerMessage, Goodbye, Heartbeat, Hello, Welcome
from coordinator.interceptors import current_peer

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]
Greet = Callable[[Hello, PartnerId, StreamKind], Welcome]
"""Answers a greeting, or raises VersionError, CertificateError or ManifestError."""

STOPPING = Goodbye(code="stopping", reason="the coordinator stops; dial again")
_REPLACED = Goodbye(code="replaced", reason="a newer stream of this partner took over")
_SILENT = Goodbye(code="silent", reason="nothing was heard from this partner")
_FULL = Goodbye(code="full", reason="this partner does not read its stream")
_QUEUE = 1024
_QUEUE_BYTES = 64 << 20
_ENVELOPE = 64
"""Bytes that a frame adds to its payload, at most."""
_GONE = (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError)
"""What grpc.aio raises on a stream whose peer has left."""
_LAST_WORD_S = 1.0
_DRAIN_S = 35.0
"""How long a stream that has a successor may still be answered on: longer than an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Bounds of the streams; times in seconds, sizes in bytes."""

    training_limit: int = StreamKind.TRAINING.limit
    scoring_limit: int = StreamKind.SCORING.limit
    heartbeat_s: float = 5.0
    silence_s: float = 15.0
    """Three heartbeats missed (protocol 12.3)."""
    hello_s: float = 10.0
    greetings: int = 4
    """Streams of one partner that may wait for their greeting: two, and two dialled again."""

    def limit(self, kind: StreamKind) -> int:
        """Bytes of the largest frame."""
        return self.training_limit if kind is StreamKind.TRAINING else self.scoring_limit


class ScoringSide(Protocol):
    """Who owns the scoring streams. Called in the loop's thread; returns at once."""

    def on_up(self, partner: PartnerId) -> None:
        """The partner's scoring stream is welcomed."""

    def on_down(self, partner: PartnerId) -> None:
        """It has ended, or a newer one takes its place: nothing more comes on it."""

    def on_frame(self, partner: PartnerId, frame: Frame) -> None:
        """A frame of scoring or key generation; an error of ours ends the stream."""


class _Outbox:
    """Frames as bytes, waiting for the stream's only writer; bounded in number and in bytes."""

    __slots__ = ("_closed", "_frames", "_size", "_wake")

    def __init__(self) -> None:
        self._closed = False
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()

    def put(self, data: bytes) -> bool:
        """Add a frame; False if there is no room for it."""
        full = len(self._frames) >= _QUEUE or self._size + len(data) > _QUEUE_BYTES
        if full or self._closed:
            return False
        self._frames.append(data)
        self._size += len(data)
        self._wake.set()
        return True

    def close(self, last: bytes) -> None:
        """Take nothing more; of what waits only ``last`` is still written."""
        self._closed = True
        self._frames = deque((last,))
        self._wake.set()

    async def get(self) -> bytes | None:
        """The oldest frame, once there is one; None after the last."""
        while not self._frames:
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        data = self._frames.popleft()
        self._size -= len(data)
        return data


@dataclass(frozen=True, slots=True)
class _Question:
    """What waits for an answer, and the timer that ends the waiting."""

    future: "Future[bytes]"
    expiry: asyncio.TimerHandle


@dataclass(eq=False, slots=True)
class _Stream:
    """One welcomed stream. Touched in the loop's thread only."""

    partner: PartnerId
    kind: StreamKind
    heard: float
    outbox: _Outbox = field(default_factory=_Outbox)
    waiting: "dict[int, _Question]" = field(default_factory=dict)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    farewell: Goodbye | None = None
    drains: bool = False
    """It has a successor: nothing is asked on it any more, and what was is still answered."""

    def end_if_drained(self) -> None:
        """Close it once nothing more is expected on it."""
        if self.drains and not self.waiting and self.kind is StreamKind.TRAINING:
            self.close(_REPLACED)

    def close(self, goodbye: Goodbye) -> None:
        """Ask the handler to say so and end; whoever waits here is told at once."""
        self.fail_waiters(goodbye.reason)
        self.farewell = self.farewell or goodbye
        self.ending.set()

    def fail_waiters(self, reason: str) -> None:
        """No answer will come on this stream."""
        waiting, self.waiting = self.waiting, {}
        for question in waiting.values():
            question.expiry.cancel()
            question.future.set_exception(TransportError(f"{self.partner}: {reason}"))


class StreamHub:
    """All streams of all partners: at most one of each kind for each partner."""

    def __init__(self, greet: Greet, settings: Settings | None = None) -> None:
        self._greet = greet
        self.settings = settings or Settings()
        self._streams: dict[tuple[PartnerId, StreamKind], _Stream] = {}
        self._draining: dict[tuple[PartnerId, StreamKind], _Stream] = {}
        """Streams that have a successor: at most one for each that is in use."""
        self._connected: dict[StreamKind, tuple[PartnerId, ...]] = dict.fromkeys(StreamKind, ())
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._scoring: ScoringSide | None = None
        self._greeting: Counter[PartnerId] = Counter()
        """Streams of a partner that were not welcomed yet."""

    # --- from any thread ----------------------------------------------------------------------

    def connected(self) -> tuple[PartnerId, ...]:
        """Partners with a welcomed training stream, sorted."""
        with self._changed:
            return self._connected[StreamKind.TRAINING]

    def scoring_connected(self) -> tuple[PartnerId, ...]:
        """Partners with a welcomed scoring stream, sorted."""
        with self._changed:
            return self._connected[StreamKind.SCORING]

    def wait_for(
        self, predicate: Callable[[tuple[PartnerId, ...]], bool], timeout_s: float
    ) -> bool:
        """Wait until ``predicate`` holds for ``connected()``; False after ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(
                lambda: predicate(self._connected[StreamKind.TRAINING]), timeout_s
            )

    def send(self, partner: PartnerId, payload: bytes, *, timeout_s: float) -> "Future[bytes]":
        """Ask the partner on its training stream; the future holds the answer's payload.

        Never raises and never blocks. The future fails with TransportError if the partner is
        absent, its stream ends or is replaced, or ``timeout_s`` seconds pass; with
        MessageTooLargeError if the payload does not fit a frame.
        """
        future: Future[bytes] = Future()
        future.set_running_or_notify_cancel()
        if self._loop is None:
            future.set_exception(TransportError("the coordinator does not serve yet"))
            return future
        try:
            self._loop.call_soon_threadsafe(self._ask, partner, payload, timeout_s, future)
        except RuntimeError:  # the loop is closed
            future.set_exception(TransportError("the coordinator has stopped"))
        return future

    def close_all(self, goodbye: Goodbye) -> None:
        """End every stream with ``goodbye``; the nodes dial again."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._close_all, goodbye)

    # --- in the loop --------------------------------------------------------------------------

    def _ask(
        self, partner: PartnerId, payload: bytes, timeout_s: float, future: "Future[bytes]"
    ) -> None:
        stream = self._streams.get((partner, StreamKind.TRAINING))
        limit = self.settings.training_limit - _ENVELOPE
        if stream is None:
            future.set_exception(TransportError(f"{partner}: not connected"))
        elif len(payload) > limit:
            future.set_exception(MessageTooLargeError(len(payload), limit))
        else:
            question = next(stream.ids)
            frame = Frame(FlowerMessage(payload), question)
            if not stream.outbox.put(codec.encode_down(StreamKind.TRAINING, frame)):
                text = f"{partner}: does not read its stream"
                future.set_exception(TransportError(text))
                return
            loop = asyncio.get_running_loop()
            expiry = loop.call_later(timeout_s, self._expire, stream, question, timeout_s)
            stream.waiting[question] = _Question(future, expiry)

    @staticmethod
    def _expire(stream: _Stream, question: int, timeout_s: float) -> None:
        asked = stream.waiting.pop(question, None)
        if asked is not None:
            text = f"{stream.partner}: no answer within {timeout_s:g} s"
            asked.future.set_exception(TransportError(text))

    def push(self, partner: PartnerId, body: Body, number: int = 0) -> bool:
        """Send one frame on the partner's scoring stream, without waiting.

        Returns False if there is no such stream, or if the partner does not read it; the
        stream is then closed. An error of ours is raised if the body fits no frame.
        """
        return not self.spread((partner,), body, number)

    def spread(
        self, partners: Iterable[PartnerId], body: Body, number: int = 0
    ) -> tuple[PartnerId, ...]:
        """Send one frame to several partners; its bytes are made once.

        Returns those whom it will not reach; ``push`` says why.
        """
        data = codec.encode_down(StreamKind.SCORING, Frame(body, number))
        if len(data) > self.settings.scoring_limit:
            raise MessageTooLargeError(len(data), self.settings.scoring_limit)
        return tuple(partner for partner in partners if not self._put(partner, data))

    def _put(self, partner: PartnerId, data: bytes) -> bool:
        stream = self._streams.get((partner, StreamKind.SCORING))
        if stream is None or stream.ending.is_set():
            return False
        if not stream.outbox.put(data):
            stream.close(_FULL)
            return False
        return True

    def attach(self, scoring: ScoringSide) -> None:
        """Hand the scoring streams to their owner; call before the server starts."""
        self._scoring = scoring

    def open(self) -> None:
        """Bind the hub to the running loop; call before the server starts."""
        self._loop = asyncio.get_running_loop()
        self._stopping = False

    def _close_all(self, goodbye: Goodbye) -> None:
        for stream in (*self._streams.values(), *self._draining.values()):
            stream.close(goodbye)

    def drop(self, partner: PartnerId, goodbye: Goodbye) -> None:
        """End all streams of a partner, if they are there. In the loop."""
        for stream in (*self._streams.values(), *self._draining.values()):
            if stream.partner == partner:
                self._unregister(stream)
                stream.close(goodbye)

    async def stop(self) -> None:
        """Say goodbye to all and refuse new streams; returns when all have ended."""
        self._stopping = True
        self._close_all(STOPPING)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 2 * _LAST_WORD_S)

    async def serve(self, kind: StreamKind, context: Context) -> None:
        """Carry one stream from its greeting to its end: the handler of Connect."""
        peer = current_peer()
        try:
            hello, welcome = await self._welcome(kind, peer, context)
        except RiskWeaveError as error:
            log.warning("%s stream of %s refused: %s", kind, peer, error)
            await _say(kind, context, Goodbye(code=error.code, reason=error.public))
            return
        if self._stopping:
            await _say(kind, context, STOPPING)
            return
        await _say(kind, context, welcome)
        stream = _Stream(peer, kind, asyncio.get_running_loop().time())
        self._register(stream, successor=hello.successor)
        try:
            await self._carry(stream, context)
        finally:
            stream.fail_waiters("its stream ended")
            self._unregister(stream)

    async def _welcome(
        self, kind: StreamKind, peer: PartnerId, context: Context
    ) -> tuple[Hello, Welcome]:
        if self._greeting[peer] >= self.settings.greetings:
            raise OutOfOrderError(f"{peer}: more than {self.settings.greetings} greetings wait")
        self._greeting[peer] += 1
        try:
            return await self._greeted(kind, peer, context)
        finally:
            self._greeting[peer] -= 1

    async def _greeted(
        self, kind: StreamKind, peer: PartnerId, context: Context
    ) -> tuple[Hello, Welcome]:
        try:
            data = await asyncio.wait_for(context.read(), self.settings.hello_s)
        except TimeoutError as error:
            raise OutOfOrderError(f"{peer}: no greeting in time") from error
        if not isinstance(data, bytes):
            raise TransportError(f"{peer}: left before its greeting")
        hello = codec.decode_up(kind, data, limit=self.settings.limit(kind)).body
        if not isinstance(hello, Hello):
            raise OutOfOrderError(f"{peer}: {type(hello).__name__} before its greeting")
        return hello, await asyncio.to_thread(self._greet, hello, peer, kind)

    def _register(self, stream: _Stream, *, successor: bool = False) -> None:
        key = (stream.partner, stream.kind)
        earlier = self._streams.get(key)
        self._streams[key] = stream
        if earlier is not None and successor and not earlier.ending.is_set():
            # A renewed certificate is no reason to lose what is under way (protocol 12.3).
            self._drain(key, earlier)
        elif earlier is not None:
            earlier.close(_REPLACED)
            self._tell(stream, up=False)
        log.info("%s stream of %s is up", stream.kind, stream.partner)
        self._publish(stream.kind)
        self._tell(stream, up=True)

    def _drain(self, key: tuple[PartnerId, StreamKind], stream: _Stream) -> None:
        if key in self._draining:
            self._draining[key].close(_REPLACED)
        self._draining[key] = stream
        stream.drains = True
        asyncio.get_running_loop().call_later(_DRAIN_S, stream.close, _REPLACED)
        stream.end_if_drained()

    def _unregister(self, stream: _Stream) -> None:
        key = (stream.partner, stream.kind)
        if self._draining.get(key) is stream:
            del self._draining[key]
        if self._streams.get(key) is stream:
            del self._streams[key]
            log.info("%s stream of %s is down", stream.kind, stream.partner)
            self._publish(stream.kind)
            self._tell(stream, up=False)

    def _tell(self, stream: _Stream, *, up: bool) -> None:
        if self._scoring is not None and stream.kind is StreamKind.SCORING:
            (self._scoring.on_up if up else self._scoring.on_down)(stream.partner)

    def _publish(self, kind: StreamKind) -> None:
        if self._streams:
            self._idle.clear()
        else:
            self._idle.set()
        with self._changed:
            self._connected[kind] = tuple(
                sorted(partner for partner, other in self._streams if other is kind)
            )
            self._changed.notify_all()

    async def _carry(self, stream: _Stream, context: Context) -> None:
        """Until one of the four ends: read, write, watch the silence, or be told to close."""
        writing = asyncio.create_task(_write(stream, context))
        tasks = (
            asyncio.create_task(self._read(stream, context)),
            writing,
            asyncio.create_task(self._watch(stream)),
            asyncio.create_task(stream.ending.wait()),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before the farewell, which may take a second: whoever waits is told at once.
            self._unregister(stream)
            if stream.farewell is not None:
                stream.outbox.close(codec.encode_down(stream.kind, Frame(stream.farewell)))
                # By the writer, after what it is at; a deaf peer is not waited for.
                await asyncio.wait((writing,), timeout=_LAST_WORD_S)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, _GONE):
                raise result

    async def _read(self, stream: _Stream, context: Context) -> None:
        loop, limit = asyncio.get_running_loop(), self.settings.limit(stream.kind)
        while isinstance(data := await context.read(), bytes):
            stream.heard = loop.time()
            try:
                frame = codec.decode_up(stream.kind, data, limit=limit)
                self._on_frame(stream, frame)
            except RiskWeaveError as error:
                # Whoever waits for the frame that could not be read must not wait in vain.
                log.warning("%s: %s", stream.partner, error)
                stream.close(Goodbye(code=error.code, reason=error.public))
                return
            if isinstance(frame.body, Goodbye):
                return

    def _on_frame(self, stream: _Stream, frame: Frame) -> None:
        match frame.body:
            case FlowerMessage(payload):
                # Nobody waits for a late answer any more: it is dropped.
                if (asked := stream.waiting.pop(frame.id, None)) is not None:
                    asked.expiry.cancel()
                    asked.future.set_result(payload)
                    stream.end_if_drained()
            case Hello():
                raise OutOfOrderError("a second greeting")
            case Heartbeat() | Goodbye():
                return
            case _:
                self._on_scoring_frame(stream, frame)

    def _on_scoring_frame(self, stream: _Stream, frame: Frame) -> None:
        # A stream that was replaced, or is being closed, speaks for nobody any more.
        current = self._streams.get((stream.partner, stream.kind)) is stream or stream.drains
        if self._scoring is not None and current and not stream.ending.is_set():
            self._scoring.on_frame(stream.partner, frame)

    async def _watch(self, stream: _Stream) -> None:
        loop = asyncio.get_running_loop()
        heartbeat = codec.encode_down(stream.kind, Frame(Heartbeat()))
        while loop.time() - stream.heard < self.settings.silence_s:
            stream.outbox.put(heartbeat)
            await asyncio.sleep(self.settings.heartbeat_s)
        stream.close(_SILENT)


async def _write(stream: _Stream, context: Context) -> None:
    """The stream's only writer while it lasts: grpc.aio forbids two at once."""
    while (data := await stream.outbox.get()) is not None:
        await context.write(data)


async def _say(kind: StreamKind, context: Context, body: Body) -> None:
    """Write one frame; a peer that is gone or does not read is not waited for."""
    data = codec.encode_down(kind, Frame(body))
    try:
        await asyncio.wait_for(context.write(data), _LAST_WORD_S)
    except (*_GONE, TimeoutError):
        log.info("a %s could not be delivered", type(body).__name__)
