"""ADAPTER gRPC: this node dials its coordinator; nothing ever dials the node (protocol 12).

``Link`` keeps the two streams up: each has a channel of its own, greets, checks the
coordinator's proof, then carries frames until one side leaves, and dials again with back-off.
Questions of training go to ``Ports.handle``, frames of the scoring stream to a
``ScoringPort``, which sends its own whenever it likes. Payloads are never logged. Every gRPC
error leaves this file as one of ours. Single questions are asked in ``partner_node.door``.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import grpc
import grpc.aio

from consortium import codec, errors
from consortium.canonical import Label
from consortium.codec import Body, Frame, StreamKind
from consortium.crypto.keys import verify_signature
from consortium.crypto.statements import welcome_statement
from consortium.ids import PartnerId
from consortium.messages import (
    PROTOCOL_VERSION,
    FlowerMessage,
    Goodbye,
    Heartbeat,
    Hello,
    Welcome,
)
from partner_node.keystore import Pin, Tls
from partner_node.left_journal import Note
from partner_node.targets import Targets

log = logging.getLogger(__name__)

SERVER_NAME = "coordinator.riskweave"
"""The name in the coordinator's certificate, whatever its address."""

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

Options = tuple[tuple[str, str | int], ...]

_OPTIONS: Options = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Without it a frozen coordinator is noticed after 80 s, with it after 25 s.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A dial that hangs is given up soon; the back-off between dials is ours.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # Otherwise two channels to one address share one connection, and its fate.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Where the federation door is, and what to show there."""

    address: str
    """host:port, or several with commas between them: the replicas of one coordinator."""
    partner: PartnerId
    tls: Tls
    software: str

    def credentials(self) -> grpc.ChannelCredentials:
        """Mutual TLS under the operator's own authority; no public one counts."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.tls.authority,
            private_key=self.tls.key.expose(),
            certificate_chain=self.tls.certificate,
        )


def options_for(limit: int) -> Options:
    """The options of one channel; no message of more than ``limit`` bytes passes."""
    return (
        *_OPTIONS,
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
    )


# --- the two streams --------------------------------------------------------------------------


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


class Link:
    """Both streams of this node, for as long as ``run`` runs."""

    def __init__(self, ports: Ports, pace: Pace | None = None) -> None:
        self._ports = ports
        self._pace = pace or Pace()
        self._targets = {kind: Targets() for kind in StreamKind}
        self._current: dict[StreamKind, _Stream] = {}
        """The stream of each kind that is in use; an earlier one may still be answered on."""

    async def run(self, stop: asyncio.Event) -> None:
        """Keep both streams up until ``stop``; then say goodbye.

        No error of the network or the peer ends it: each is logged, and the stream is
        dialled again at the next address of the coordinator, and after all have failed after
        a wait of 0.2 s, doubled up to 3 s, with jitter.
        """
        async with asyncio.TaskGroup() as group:
            for kind in StreamKind:
                group.create_task(self._keep(kind, stop))

    async def _keep(self, kind: StreamKind, stop: asyncio.Event) -> None:
        loop, pace = asyncio.get_running_loop(), self._pace
        wait, told = pace.first_wait, ""
        while not stop.is_set():
            if self._ports.stopped():
                await _pause(stop, pace.look)
                continue
            began, again = loop.time(), True
            try:
                await self._connect(kind, stop)
            except errors.RiskWeaveError as error:
                told = _tell(kind, error, told)
                again = self._targets[kind].failed(error)
            if loop.time() - began > pace.stable:
                wait = pace.first_wait
            await _pause(stop, (wait if again else pace.first_wait) * self._jitter())
            if again:
                wait = min(2 * wait, pace.longest_wait)

    def _jitter(self) -> float:
        """Between a half and one, so that nodes do not dial in step."""
        return 0.5 + self._ports.entropy(1)[0] / 512

    async def _connect(
        self, kind: StreamKind, stop: asyncio.Event, *, up: asyncio.Event | None = None
    ) -> None:
        """One stream, from its dial to its end, and those that come after it in its place.

        ``up`` is set when it is welcomed; it is then the successor of one that lives.

        Raises:
            TrustError: the other side is not the manifest's coordinator, or works under
                another manifest. Fault: the coordinator.
            TransportError: it is not reachable, left, or fell silent.
            ProtocolError: it sent what may not be sent.
        """
        pin = await self._ports.pin()
        certificate = self._ports.renewed()
        dial = self._ports.dial()
        target = await self._targets[kind].current(dial.address)
        async with _channel(replace(dial, address=target), kind) as channel:
            stream = _Stream(kind, channel, self._ports, self._pace)
            hello = Hello(
                protocol_version=PROTOCOL_VERSION,
                software=dial.software,
                partner=dial.partner,
                manifest=pin.digest,
                nonce=self._ports.entropy(codec.KEY_BYTES),
                successor=up is not None,
            )
            await stream.greet(hello, pin)
            log.info("%s stream is up", kind.value)
            self._current[kind] = stream
            if up is not None:
                up.set()
            self._ports.on_change(kind, True)  # noqa: FBT003 - a port
            try:
                if kind is StreamKind.SCORING:
                    self._ports.scoring.attach(stream.send)
                await self._carry(stream, certificate, stop)
            finally:
                stream.down = True
                if self._current.get(kind) is stream:
                    del self._current[kind]
                    if kind is StreamKind.SCORING:
                        self._ports.scoring.on_down()
                    self._ports.on_change(kind, False)  # noqa: FBT003 - a port

    async def _carry(self, stream: "_Stream", certificate: object, stop: asyncio.Event) -> None:
        """Carry it; once there is another certificate, dial a successor and go on with that.

        The old stream is read until the coordinator has all its answers and ends it: neither
        a round nor a score is lost by a renewal (protocol 12.3).
        """
        loop = asyncio.get_running_loop()
        carrying = asyncio.create_task(stream.carry(stop))
        after: asyncio.Task[None] | None = None
        up, due = asyncio.Event(), 0.0
        try:
            while not carrying.done():
                await asyncio.wait([carrying], timeout=self._pace.look)
                if after is not None and after.done():
                    _tell(stream.kind, _failure_of(after), "")
                    after, due = None, loop.time() + self._pace.longest_wait
                elif (
                    after is None
                    and loop.time() >= due
                    and self._ports.renewed() != certificate
                ):
                    up = asyncio.Event()
                    again = self._connect(stream.kind, stop, up=up)
                    after = asyncio.create_task(again)
            if after is not None and await self._comes_up(after, up, stream):
                log.info("%s stream goes on with another certificate", stream.kind.value)
                await after
            else:
                await carrying
        finally:
            for task in (carrying, after):
                if task is not None:
                    task.cancel()
            waiting = [task for task in (carrying, after) if task is not None]
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _comes_up(
        self, after: "asyncio.Task[None]", up: asyncio.Event, stream: "_Stream"
    ) -> bool:
        """Whether a stream that has ended has its successor.

        The coordinator ends it when it welcomes the other, and that word may come first.
        """
        stream.down = True
        waiting = asyncio.create_task(_returns(up.wait()))
        try:
            await asyncio.wait(
                [after, waiting],
                timeout=self._pace.welcome,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        return up.is_set()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _failure_of(task: "asyncio.Task[None]") -> errors.RiskWeaveError:
    """Why a successor did not come up; the stream that is there goes on."""
    error = task.exception()
    if isinstance(error, errors.RiskWeaveError):
        return error
    return errors.TransportError("the successor of a stream ended")


def _tell(kind: StreamKind, error: errors.RiskWeaveError, told: str) -> str:
    """Log an error unless it is the same as at the last dial."""
    text = f"{kind.value} stream: {error}"
    if text != told:
        level = logging.ERROR if isinstance(error, errors.TrustError) else logging.WARNING
        log.log(level, "%s; dialling again", text)
    return text


@dataclass(eq=False, slots=True)
class _Stream:
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
        async with _translated(), asyncio.timeout(self.pace.welcome):
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
                _returns(stop.wait()),
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
            raise _goodbye_error(frame.body)
        return frame

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        async with _translated():
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
        self._run(_returns(work))

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
        async with _translated():
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


async def _returns(waiting: Awaitable[object]) -> None:
    await waiting


def _why(*tasks: "asyncio.Task[None]") -> Exception | None:
    """The first error among the tasks that have ended."""
    for task in tasks:
        if task.done() and not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                return error
    return None


@asynccontextmanager
async def _channel(dial: Dial, kind: StreamKind) -> AsyncIterator[grpc.aio.Channel]:
    # One channel a dial: it carries no memory of earlier failures.
    channel = grpc.aio.secure_channel(
        dial.address, dial.credentials(), options=options_for(kind.limit)
    )
    try:
        yield channel
    finally:
        await channel.close()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise error_of(error.code(), error.details() or "") from error
    except (grpc.aio.BaseError, asyncio.InvalidStateError) as error:
        raise errors.TransportError("the stream ended") from error
    except TimeoutError as error:
        raise errors.TransportError("no answer in time") from error


# --- errors -----------------------------------------------------------------------------------

_BY_STATUS: dict[grpc.StatusCode, type[errors.RiskWeaveError]] = {
    grpc.StatusCode.UNAUTHENTICATED: errors.CertificateError,
    grpc.StatusCode.PERMISSION_DENIED: errors.EnrolmentError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.OutOfOrderError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ProtocolError,
    grpc.StatusCode.INVALID_ARGUMENT: errors.ProtocolError,
}
_PLAIN: Sequence[type[errors.RiskWeaveError]] = (
    errors.SignatureError,
    errors.CertificateError,
    errors.RevokedError,
    errors.ManifestError,
    errors.EnrolmentError,
    errors.OutOfOrderError,
    errors.StorageError,
    errors.DecodeError,
    errors.DeposedError,
    errors.StandbyError,
)
"""Errors of the other side that come back as themselves: each takes just a text."""
_BY_TEXT = {kind.public: kind for kind in _PLAIN}
_BY_CODE = {kind.code: kind for kind in _PLAIN}


def error_of(
    status: grpc.StatusCode, details: str, address: str = "coordinator"
) -> errors.RiskWeaveError:
    """The error of ours that a status and the other side's public text stand for."""
    if "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details:
        return errors.CertificateError(
            f"{address}: its certificate is not of the authority that this node trusts"
        )
    kind = _BY_TEXT.get(details) or _BY_STATUS.get(status, errors.TransportError)
    reason = details.splitlines()[0][:200] if details else status.name.lower()
    return kind(f"{address}: {reason}")


def _goodbye_error(goodbye: Goodbye) -> errors.RiskWeaveError:
    kind = _BY_CODE.get(goodbye.code, errors.TransportError)
    if goodbye.code == errors.VersionError.code:
        kind = errors.ProtocolError
    return kind(f"the coordinator said goodbye: {goodbye.reason or goodbye.code}")
