"""ADAPTER gRPC: one stream to the coordinator, from its greeting to its end (12.2, 12.3).

Questions of training go to ``Ports.handle``, frames of the scoring stream to a
``ScoringPort``. What leaves is noted first, and nothing leaves while the kill switch is on.
Payloads are never logged.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from consortium import codec, errors
from consortium.canonical import Label
from consortium.codec import Body, Frame, StreamKind
from consortium.crypto.keys import verify_signature
from consortium.crypto.statements import welcome_statement
from consortium.messages import FlowerMessage, Goodbye, Heartbeat, Hello, Welcome
from partner_node.coordinator_channel import goodbye_error, translated
from partner_node.keystore import Pin
from partner_node.link_ports import Pace, Ports

_PENDING = 16
"""Questions that may wait for the training process; the coordinator asks one at a time."""
_QUEUE = 4096
"""Frames that may wait for a stream's writer."""
_BUSY = 1024
"""Scoring frames that may be answered at a time."""
_TOGETHER = 64
"""Frames that are noted in one go before they are sent."""
_LARGE = 1 << 16
"""Bytes that are hashed in a thread rather than in the loop."""
_ACTIONS = (b"train.upload", b"query.join", b"query.offer", b"query.close")
"""What a Flower message answers, as it stands in its head."""
_HEAD = 1024


@dataclass(eq=False, slots=True)
class Stream:
    """One stream. Only ``_write`` writes while it lasts: grpc.aio forbids two at once."""

    kind: StreamKind
    channel: grpc.aio.Channel
    ports: Ports
    pace: Pace
    call: Any = field(init=False)
    """Of grpc.aio; carries bytes both ways."""
    outbox: "asyncio.Queue[tuple[str, bytes]]" = field(
        default_factory=lambda: asyncio.Queue(_QUEUE)
    )
    """Class and bytes of each frame."""
    down: bool = False
    answers: "set[asyncio.Task[None]]" = field(default_factory=set)
    failed: "asyncio.Queue[BaseException]" = field(default_factory=asyncio.Queue)
    heard: float = 0.0

    def __post_init__(self) -> None:
        """Open the call; nothing is sent yet."""
        open_call: Any = self.channel.stream_stream(f"/{self.kind.service}/Connect")
        self.call = open_call()

    async def greet(self, hello: Hello, pin: Pin) -> None:
        """Send the greeting and verify the answer (protocol 12.2)."""
        async with translated(), asyncio.timeout(self.pace.welcome):
            data = codec.encode_up(self.kind, Frame(hello))
            self.ports.note([(class_of(self.kind, hello), data)])
            await self.call.write(data)
            welcome = (await self._next()).body
        if not isinstance(welcome, Welcome):
            raise errors.OutOfOrderError("the coordinator did not answer the greeting")
        if welcome.manifest != pin.digest:
            raise errors.ManifestError(f"the coordinator works under {welcome.manifest}")
        verify_signature(
            bytes.fromhex(pin.manifest.coordinator.identity),
            Label.HELLO,
            welcome_statement(hello.nonce, pin.digest, hello.partner, self.kind),
            welcome.signature,
        )

    async def carry(self, stop: asyncio.Event) -> None:
        """Read, write and watch until one of them ends; raise why, unless we stopped."""
        self.heard = asyncio.get_running_loop().time()
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        others = [
            asyncio.create_task(part)
            for part in (
                self._watch(),
                self._failure(),
                self._stopped(),
                returns(stop.wait()),
            )
        ]
        tasks = [reading, *others, writing]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            reason = _why(reading, *others)
            if not reading.done():
                # To cancel a read ends the call, so the goodbye goes first. A writer that
                # failed has lost its peer, whose own goodbye may still be there to read.
                self._say_goodbye(reason)
                await asyncio.wait([reading], timeout=self.pace.farewell)
            if reason is None and not stop.is_set():
                reason = _why(reading, writing)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if reason is not None:
            raise reason

    def _say_goodbye(self, reason: Exception | None) -> None:
        goodbye = Goodbye(code="stopping", reason="the node stops")
        if isinstance(reason, errors.RiskWeaveError):
            goodbye = Goodbye(code=reason.code, reason=reason.public)
        with suppress(errors.TransportError):
            self.send(goodbye)

    def send(self, body: Body, number: int = 0) -> None:
        """Put a frame into the outbox; ``Send`` says what is raised."""
        data = codec.encode_up(self.kind, Frame(body, number))
        if len(data) > self.kind.limit:
            raise errors.MessageTooLargeError(len(data), self.kind.limit)
        if self.down or self.outbox.full():
            raise errors.TransportError("the stream is down, or the coordinator does not read")
        self.outbox.put_nowait((class_of(self.kind, body), data))

    async def _next(self) -> Frame:
        """The next frame; a Goodbye is raised as the error that it reports."""
        data = await self.call.read()
        if not isinstance(data, bytes):
            raise errors.TransportError("the coordinator closed the stream")
        frame = codec.decode_down(self.kind, data)
        if isinstance(frame.body, Goodbye):
            raise goodbye_error(frame.body)
        return frame

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        async with translated():
            while True:
                frame = await self._next()
                self.heard = loop.time()
                match frame.body:
                    case FlowerMessage(payload):
                        self._answer(frame.id, payload)
                    case Heartbeat():
                        pass
                    case Hello() | Welcome():
                        raise errors.OutOfOrderError("a second greeting")
                    case _:
                        self._score(frame)

    def _score(self, frame: Frame) -> None:
        work = self.ports.scoring.on_frame(frame.body, frame.id)
        if work is None:
            return
        if len(self.answers) >= _BUSY:
            raise errors.OutOfOrderError(f"more than {_BUSY} frames at a time")
        self._run(returns(work))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.answers.add(task)
        task.add_done_callback(self._answered)

    def _answer(self, question: int, payload: bytes) -> None:
        """Answer in a task of its own, so that reading goes on meanwhile.

        The task outlives the stream: the training process answers one question after the
        other, and an answer that is not taken would be taken for the next one's.
        """
        if len(self.answers) >= _PENDING:
            raise errors.OutOfOrderError(f"more than {_PENDING} questions at a time")
        self._run(self._handle(question, payload))

    def _answered(self, task: "asyncio.Task[None]") -> None:
        """Without an answer the stream ends, so that whoever waits for it learns it at once."""
        self.answers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed.put_nowait(error)

    async def _handle(self, question: int, payload: bytes) -> None:
        answer = await self.ports.handle(payload)
        with suppress(errors.TransportError):  # nobody reads it any more
            self.send(FlowerMessage(answer), question)

    async def _failure(self) -> None:
        raise await self.failed.get()

    async def _stopped(self) -> None:
        while True:
            if self.ports.stopped():
                raise errors.TransportError("the kill switch is on")
            await asyncio.sleep(self.pace.look)

    async def _write(self) -> None:
        async with translated():
            while True:
                frames = [await self.outbox.get()]
                while len(frames) < _TOGETHER and not self.outbox.empty():
                    frames.append(self.outbox.get_nowait())
                await self._note(frames)
                for _, data in frames:
                    # The one place where anything leaves on a stream, so it is looked at here.
                    if self.ports.stopped():
                        raise errors.TransportError("the kill switch is on")
                    await self.call.write(data)

    async def _note(self, frames: Sequence[tuple[str, bytes]]) -> None:
        if sum(len(data) for _, data in frames) > _LARGE:
            await asyncio.to_thread(self.ports.note, frames)
        else:
            self.ports.note(frames)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() - self.heard < self.pace.silence:
            with suppress(errors.TransportError):
                self.send(Heartbeat())
            await asyncio.sleep(self.pace.heartbeat)
        raise errors.TransportError(f"nothing heard for {self.pace.silence:g} s")


def class_of(kind: StreamKind, body: Body) -> str:
    """The class of what leaves, as ``riskweave node what-left`` names it."""
    name = type(body).__name__
    if isinstance(body, FlowerMessage):
        head = body.payload[:_HEAD]
        found = [action for action in _ACTIONS if action in head]
        name = found[0].decode() if len(found) == 1 else "answer"
    return f"{kind.value}.{name}"


async def returns(waiting: Awaitable[object]) -> None:
    """Waits, and lets go of what comes."""
    await waiting


def _why(*tasks: "asyncio.Task[None]") -> Exception | None:
    """The first error among the tasks that have ended."""
    for task in tasks:
        if task.done() and not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                return error
    return None
