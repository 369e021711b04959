"""ADAPTER gRPC: the partners' streams, used from the trainer's thread (protocol 12.2, 12.3).

The hub lives in the loop of ``grpc.aio``; ``connected``, ``wait_for`` and ``send`` may be
called from any thread. A question waits on the **stream** that carried it, not on the
partner: it fails the moment that stream ends or is replaced. Payloads are opaque here.
"""

import asyncio
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

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
_QUEUE = 1024
_ENVELOPE = 64
"""Bytes that a frame adds to its payload, at most."""
_GONE = (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError)
"""What grpc.aio raises on a stream whose peer has left."""
_LAST_WORD_S = 1.0


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


@dataclass(eq=False, slots=True)
class _Stream:
    """One welcomed stream. Touched in the loop's thread only."""

    partner: PartnerId
    kind: StreamKind
    heard: float
    outbox: "asyncio.Queue[Frame]" = field(
        default_factory=lambda: asyncio.Queue(maxsize=_QUEUE)
    )
    waiting: "dict[int, Future[bytes]]" = field(default_factory=dict)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    farewell: Goodbye | None = None

    def close(self, goodbye: Goodbye) -> None:
        """Ask the handler to say so and end; whoever waits here is told at once."""
        self.fail_waiters(goodbye.reason)
        self.farewell = self.farewell or goodbye
        self.ending.set()

    def fail_waiters(self, reason: str) -> None:
        """No answer will come on this stream."""
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            future.set_exception(TransportError(f"{self.partner}: {reason}"))


class StreamHub:
    """All streams of all partners: at most one of each kind for each partner."""

    def __init__(self, greet: Greet, settings: Settings | None = None) -> None:
        self._greet = greet
        self.settings = settings or Settings()
        self._streams: dict[tuple[PartnerId, StreamKind], _Stream] = {}
        self._connected: dict[StreamKind, tuple[PartnerId, ...]] = dict.fromkeys(StreamKind, ())
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
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
        elif stream.outbox.full():
            future.set_exception(TransportError(f"{partner}: does not read its stream"))
        else:
            question = next(stream.ids)
            stream.waiting[question] = future
            stream.outbox.put_nowait(Frame(FlowerMessage(payload), question))
            loop = asyncio.get_running_loop()
            loop.call_later(timeout_s, self._expire, stream, question, timeout_s)

    @staticmethod
    def _expire(stream: _Stream, question: int, timeout_s: float) -> None:
        future = stream.waiting.pop(question, None)
        if future is not None:
            text = f"{stream.partner}: no answer within {timeout_s:g} s"
            future.set_exception(TransportError(text))

    def open(self) -> None:
        """Bind the hub to the running loop; call before the server starts."""
        self._loop = asyncio.get_running_loop()
        self._stopping = False

    def _close_all(self, goodbye: Goodbye) -> None:
        for stream in tuple(self._streams.values()):
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
            welcome = await self._welcome(kind, peer, context)
        except RiskWeaveError as error:
            log.warning("%s stream of %s refused: %s", kind, peer, error)
            await _say(kind, context, Goodbye(code=error.code, reason=error.public))
            return
        if self._stopping:
            await _say(kind, context, STOPPING)
            return
        await _say(kind, context, welcome)
        stream = _Stream(peer, kind, asyncio.get_running_loop().time())
        self._register(stream)
        try:
            await self._carry(stream, context)
        finally:
            stream.fail_waiters("its stream ended")
            self._unregister(stream)

    async def _welcome(self, kind: StreamKind, peer: PartnerId, context: Context) -> Welcome:
        if self._greeting[peer] >= self.settings.greetings:
            raise OutOfOrderError(f"{peer}: more than {self.settings.greetings} greetings wait")
        self._greeting[peer] += 1
        try:
            return await self._greeted(kind, peer, context)
        finally:
            self._greeting[peer] -= 1

    async def _greeted(self, kind: StreamKind, peer: PartnerId, context: Context) -> Welcome:
        try:
            data = await asyncio.wait_for(context.read(), self.settings.hello_s)
        except TimeoutError as error:
            raise OutOfOrderError(f"{peer}: no greeting in time") from error
        if not isinstance(data, bytes):
            raise TransportError(f"{peer}: left before its greeting")
        hello = codec.decode_up(kind, data, limit=self.settings.limit(kind)).body
        if not isinstance(hello, Hello):
            raise OutOfOrderError(f"{peer}: {type(hello).__name__} before its greeting")
        return await asyncio.to_thread(self._greet, hello, peer, kind)

    def _register(self, stream: _Stream) -> None:
        key = (stream.partner, stream.kind)
        earlier = self._streams.get(key)
        self._streams[key] = stream
        if earlier is not None:
            earlier.close(_REPLACED)
        log.info("%s stream of %s is up", stream.kind, stream.partner)
        self._publish(stream.kind)

    def _unregister(self, stream: _Stream) -> None:
        key = (stream.partner, stream.kind)
        if self._streams.get(key) is stream:
            del self._streams[key]
            log.info("%s stream of %s is down", stream.kind, stream.partner)
            self._publish(stream.kind)

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
        tasks = (
            asyncio.create_task(self._read(stream, context)),
            asyncio.create_task(_write(stream, context)),
            asyncio.create_task(self._watch(stream)),
            asyncio.create_task(stream.ending.wait()),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if stream.farewell is not None:
            await _say(stream.kind, context, stream.farewell)
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
                if (future := stream.waiting.pop(frame.id, None)) is not None:
                    future.set_result(payload)
            case Hello():
                raise OutOfOrderError("a second greeting")
            case _:
                return

    async def _watch(self, stream: _Stream) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() - stream.heard < self.settings.silence_s:
            if not stream.outbox.full():
                stream.outbox.put_nowait(Frame(Heartbeat()))
            await asyncio.sleep(self.settings.heartbeat_s)
        stream.close(_SILENT)


async def _write(stream: _Stream, context: Context) -> None:
    """The stream's only writer while it lasts: grpc.aio forbids two at once."""
    while True:
        frame = await stream.outbox.get()
        await context.write(codec.encode_down(stream.kind, frame))


async def _say(kind: StreamKind, context: Context, body: Body) -> None:
    """Write one frame; a peer that is gone or does not read is not waited for."""
    data = codec.encode_down(kind, Frame(body))
    try:
        await asyncio.wait_for(context.write(data), _LAST_WORD_S)
    except (*_GONE, TimeoutError):
        log.info("a %s could not be delivered", type(body).__name__)
