"""ADAPTER gRPC: riskweave.v1.CreditDesk, for the partner's own systems (protocol 13.8).

A unix socket of mode 0600 in the node's directory; whoever can open it owns the node's keys
anyway. Over TCP only by mutual TLS under the node's own authority. Handlers take and give
bytes, and run in the loop that serves the scoring stream. Errors leave with their text: the
desk belongs to the partner whose data it is about. Nothing of a question is logged.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from consortium import errors
from consortium.inquiries import LARGEST_BATCH
from partner_node import desk_wire
from partner_node.credit.doors import CreditDesk
from partner_node.desk_certificates import LOCAL
from partner_node.keystore import Tls
from partner_node.loan_desk import DEADLINE_MS, LoanDesk, failure_of

log = logging.getLogger(__name__)

GRACE_S = 1.0
WINDOW = 4
"""Messages of one batch that are answered at a time; more wait in the client."""
CALLS = 1_024
"""Calls at a time; more are refused as RESOURCE_EXHAUSTED."""
BATCH_MS = 10_000
"""Time of one message of a batch."""
MARGIN_MS = 10
"""Kept of a caller's deadline for the way back."""
CODE = "riskweave-code"
"""Trailing metadata that carries the code of an error."""
PATH_LIMIT = 107
"""Bytes of a unix socket's path (unix(7))."""

_STATUS: tuple[tuple[type[errors.RiskWeaveError], grpc.StatusCode], ...] = (
    (errors.CertificateError, grpc.StatusCode.UNAUTHENTICATED),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.RepeatedKeyError, grpc.StatusCode.ALREADY_EXISTS),
    (errors.MessageTooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.OutOfOrderError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.DataError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.AttestationError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.TrustError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ConfigurationError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.StorageError, grpc.StatusCode.UNAVAILABLE),
    (errors.TransportError, grpc.StatusCode.UNAVAILABLE),
)

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", desk_wire.BATCH_LIMIT),
    ("grpc.max_send_message_length", desk_wire.BATCH_LIMIT),
    ("grpc.so_reuseport", 0),
)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Answer = Callable[[bytes, str], Coroutine[Any, Any, bytes]]
"""Answers one message of a batch that a caller sent."""
Admit = Callable[[bytes], str]
"""Certificate (DER) -> the client's name; raises CertificateError."""


def status_of(error: errors.RiskWeaveError) -> grpc.StatusCode:
    """The first line of the table that fits; a missed deadline is its own."""
    if isinstance(error, errors.ScoreRefusalError):
        if error.reason is errors.ScoreRefusal.DEADLINE:
            return grpc.StatusCode.DEADLINE_EXCEEDED
        if error.reason is errors.ScoreRefusal.MANIFEST:
            return grpc.StatusCode.FAILED_PRECONDITION
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the desk is open over TCP, what it shows there and whom it lets in."""

    address: str
    """host:port."""
    tls: Tls
    admit: Admit


class DeskDoor:
    """The desk over gRPC: ``start`` opens, ``stop`` ends calls that still run."""

    def __init__(
        self,
        desk: LoanDesk,
        socket: Path,
        listen: Listen | None = None,
        *,
        credit: CreditDesk | None = None,
    ) -> None:
        """``credit``: None where no decisions are made."""
        self._desk = desk
        self._credit = credit
        self._socket = socket
        self._listen = listen
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Open the socket, and the port if one is configured.

        Raises:
            ConfigurationError: the path is too long, or an address is in use or not ours.
        """
        server = grpc.aio.server(maximum_concurrent_rpcs=CALLS, options=_OPTIONS)
        handler = grpc.method_handlers_generic_handler(
            desk_wire.SERVICE,
            {
                "Score": _unary(self._guarded(self._score)),
                "Status": _unary(self._guarded(self._status)),
                "ScoreBatch": self._stream(self._scores),
                **self._decisions(),
            },
        )
        server.add_generic_rpc_handlers((handler,))
        bind_socket(server, self._socket)
        if self._listen is not None:
            _bind_port(server, self._listen)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Close; calls have a second to end."""
        if self._server is not None:
            await self._server.stop(GRACE_S)
            self._server = None

    async def _score(self, data: bytes, context: Context) -> bytes:
        if len(data) > desk_wire.REQUEST_LIMIT:
            raise errors.MessageTooLargeError(len(data), desk_wire.REQUEST_LIMIT)
        question = desk_wire.decode_question(data)
        caller, left = self._caller(context), _time_left(context, DEADLINE_MS)
        score = await self._desk.score(question, caller=caller, deadline_ms=left)
        return desk_wire.encode_score(score)

    async def _status(self, _data: bytes, context: Context) -> bytes:
        self._caller(context)
        return desk_wire.encode_status(self._desk.status())

    def _decisions(self) -> dict[str, Method]:
        """The credit desk's methods; none where no decisions are made."""
        credit = self._credit
        if credit is None:
            return {}

        async def decide(data: bytes, context: Context) -> bytes:
            asked, caller = desk_wire.decode_decide(data), self._caller(context)
            left = _time_left(context, credit.deadline_ms)
            made = await credit.decide(
                asked.document, key=asked.key, caller=caller, left_ms=left
            )
            return desk_wire.encode_document(made)

        async def decision(data: bytes, context: Context) -> bytes:
            self._caller(context)
            found = await credit.decision(desk_wire.decode_decision_id(data))
            return desk_wire.encode_document(found)

        async def override(data: bytes, context: Context) -> bytes:
            asked, caller = desk_wire.decode_override(data), self._caller(context)
            made = await credit.override(asked.id, asked.document, caller=caller)
            return desk_wire.encode_document(made)

        async def offer(data: bytes, context: Context) -> bytes:
            asked, caller = desk_wire.decode_offer(data), self._caller(context)
            made = await credit.offer(asked.document, key=asked.key, caller=caller)
            return desk_wire.encode_document(made)

        async def notice(data: bytes, context: Context) -> bytes:
            self._caller(context)
            asked = desk_wire.decode_notice(data)
            return desk_wire.encode_document(
                *await credit.notice(asked.id, asked.form, asked.lang)
            )

        async def many(data: bytes, caller: str) -> bytes:
            asked = desk_wire.decode_decide_batch(data)
            return desk_wire.encode_decided(
                await credit.decide_many(asked, caller=caller, deadline_ms=BATCH_MS)
            )

        calls = {
            "Decide": decide,
            "GetDecision": decision,
            "Override": override,
            "Offer": offer,
            "GetNotice": notice,
        }
        unary = {name: _unary(self._guarded(_sized(call))) for name, call in calls.items()}
        return {**unary, "DecideMany": self._stream(many)}

    def _stream(self, answer: Answer) -> Method:
        async def batch(
            requests: AsyncIterator[bytes], context: Context
        ) -> AsyncIterator[bytes]:
            async for one in self._batch(answer, requests, context):
                yield one

        return grpc.stream_stream_rpc_method_handler(cast("Any", batch))

    async def _batch(
        self, answer: Answer, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer message by message in order, a few at a time."""
        ready: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(WINDOW)
        tasks: set[asyncio.Task[bytes]] = set()

        def begin(data: bytes, caller: str) -> asyncio.Task[bytes]:
            task = asyncio.ensure_future(answer(data, caller))
            tasks.add(task)
            return task

        reading = asyncio.create_task(self._read(requests, context, ready, begin))
        try:
            while (task := await ready.get()) is not None:
                yield await task
                tasks.discard(task)
            await reading
        except errors.RiskWeaveError as error:
            await _abort(context, error)
        except Exception:
            # gRPC would send the exception's text, which may hold a value.
            log.exception("desk batch failed")
            await _abort(context, errors.RiskWeaveError())
        finally:
            for left in (reading, *tasks):
                left.cancel()

    async def _read(
        self,
        requests: AsyncIterator[bytes],
        context: Context,
        ready: "asyncio.Queue[asyncio.Task[bytes] | None]",
        begin: "Callable[[bytes, str], asyncio.Task[bytes]]",
    ) -> None:
        try:
            caller = self._caller(context)
            async for data in requests:
                await ready.put(begin(data, caller))
        finally:
            await ready.put(None)

    async def _scores(self, data: bytes, caller: str) -> bytes:
        questions = desk_wire.decode_batch(data)
        if not 1 <= len(questions) <= LARGEST_BATCH:
            raise errors.DecodeError(f"a message of a batch has 1 to {LARGEST_BATCH} requests")
        found = await self._desk.score_many(questions, caller=caller, deadline_ms=BATCH_MS)
        return desk_wire.encode_results(found)

    def _caller(self, context: Context) -> str:
        """Who asks; on TCP by the certificate, which TLS has checked against our authority."""
        if context.peer().startswith("unix:"):
            return LOCAL
        pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        if self._listen is None or not pem:
            raise errors.CertificateError("the desk's port needs a client certificate")
        return self._listen.admit(load_pem_x509_certificate(pem).public_bytes(Encoding.DER))

    def _guarded(
        self, call: Callable[[bytes, Context], Awaitable[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def guarded(data: bytes, context: Context) -> bytes:
            try:
                return await call(data, context)
            except errors.RiskWeaveError as error:
                await _abort(context, error)
            except Exception as error:
                if isinstance(error, grpc.aio.AbortError):
                    raise
                # gRPC would send the exception's text, which may hold a value.
                log.exception("desk call failed")
                await _abort(context, errors.RiskWeaveError())
            raise AssertionError("abort raises")

        return guarded


def bind_socket(server: grpc.aio.Server, socket: Path) -> None:
    """Add the unix socket, which nobody else may open at any moment."""
    path = unix_target(socket)
    # The mask, not a later chmod: there is no moment at which others could connect.
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(path)
    except RuntimeError as error:
        raise errors.ConfigurationError(f"cannot listen on {socket}") from error
    finally:
        os.umask(mask)


def unix_target(socket: Path) -> str:
    """What gRPC calls a unix socket; ConfigurationError if its path is too long."""
    path = str(socket.absolute())
    if len(path.encode()) > PATH_LIMIT:
        raise errors.ConfigurationError(
            f"{path}: longer than {PATH_LIMIT} bytes; use a shorter path"
        )
    return f"unix:{path}"


def _bind_port(server: grpc.aio.Server, listen: Listen) -> None:
    credentials = grpc.ssl_server_credentials(
        [(listen.tls.key.expose(), listen.tls.certificate)],
        root_certificates=listen.tls.authority,
        require_client_auth=True,
    )
    try:
        port = server.add_secure_port(listen.address, credentials)
    except RuntimeError as error:
        raise _in_use(listen.address) from error
    if port == 0:
        raise _in_use(listen.address)


def _in_use(address: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"cannot listen on {address}: in use or not ours")


def _time_left(context: Context, most: int) -> int:
    left: float | None = context.time_remaining()  # the stubs know no call without a deadline
    return most if left is None else min(most, int(left * 1_000) - MARGIN_MS)


async def _abort(context: Context, error: errors.RiskWeaveError) -> None:
    failure = failure_of(error)
    trailing: Sequence[tuple[str, str]] = ((CODE, failure.code),)
    log.debug("desk refuses: %s", failure.code)
    await context.abort(status_of(error), failure.text, cast("Any", trailing))


def _sized(
    call: Callable[[bytes, Context], Awaitable[bytes]],
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def sized(data: bytes, context: Context) -> bytes:
        if len(data) > desk_wire.DOCUMENT_LIMIT:
            raise errors.MessageTooLargeError(len(data), desk_wire.DOCUMENT_LIMIT)
        return await call(data, context)

    return sized


def _unary(call: Callable[[bytes, Context], Awaitable[bytes]]) -> Method:
    return grpc.unary_unary_rpc_method_handler(cast("Any", call))
