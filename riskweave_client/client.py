"""Blocking and asynchronous clients of riskweave.v1.CreditDesk.

Both are thin: values to messages, one call, messages to values. A client may be shared by
threads (``Client``) or tasks (``AsyncClient``) and should live as long as its user.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from proto.v1 import desk_pb2 as wire
from riskweave_client.batches import (
    decide_messages,
    decided,
    score_messages,
    score_messages_async,
)
from riskweave_client.decisions import (
    AskedDecision,
    CreditApplication,
    CreditDecision,
    FinalDecision,
    decision_of,
)
from riskweave_client.messages import request_of, result_of, score_of, status_of
from riskweave_client.values import (
    Applicant,
    Attributes,
    Consent,
    DeskError,
    Failure,
    Score,
    Status,
)

SERVER_NAME = "desk.riskweave"
"""The name in a desk's certificate, whatever its address."""

TIMEOUT_S = 5.0

_SERVICE = "/riskweave.v1.CreditDesk/"
_LIMIT = 4 << 20
_CODE = "riskweave-code"


@dataclass(frozen=True, slots=True)
class Tls:
    """What ``riskweave node desk-client DIR NAME --out DIR2`` wrote, PEM each."""

    key: bytes
    certificate: bytes
    authority: bytes

    @classmethod
    def read(cls, directory: Path | str) -> "Tls":
        """The three files of that directory."""
        home = Path(directory)
        names = ("client.key", "client.pem", "ca.pem")
        key, certificate, authority = ((home / name).read_bytes() for name in names)
        return cls(key, certificate, authority)

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.max_receive_message_length", _LIMIT),
    ("grpc.max_send_message_length", _LIMIT),
    # What was asked once is not asked again behind the caller's back.
    ("grpc.enable_retries", 0),
    # A desk that comes back is found in two seconds, not in two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
_TLS_OPTIONS = (*_OPTIONS, ("grpc.ssl_target_name_override", SERVER_NAME))


class Client:
    """A desk, for blocking code; a context manager."""

    def __init__(self, target: str, tls: Tls | None = None) -> None:
        """Name the desk; nothing is sent before the first question.

        Args:
            target: ``unix:/path/to/desk.sock``, or host:port with ``tls``.
            tls: The client's certificate; needed for host:port.
        """
        if tls is None:
            channel = grpc.insecure_channel(target, options=_OPTIONS)
        else:
            channel = grpc.secure_channel(target, tls.credentials(), options=_TLS_OPTIONS)
        self._channel = channel
        unary = cast("Any", channel).unary_unary
        self._score = unary(
            f"{_SERVICE}Score",
            wire.DeskScoreRequest.SerializeToString,
            wire.DeskScore.FromString,
        )
        self._status = unary(
            f"{_SERVICE}Status",
            wire.DeskStatusRequest.SerializeToString,
            wire.DeskStatus.FromString,
        )
        stream = cast("Any", channel).stream_stream
        self._batch = _score_batch(stream)
        self._many = _decide_many(stream)
        self._document = _documents(unary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def score(
        self,
        person: str,
        consent: Consent,
        attributes: Attributes | None = None,
        *,
        idempotency_key: str = "",
        timeout: float = TIMEOUT_S,
    ) -> Score:
        """The joint score of one person.

        Args:
            person: The identifier in the federation's form. It never leaves the node.
            consent: What the inquiry rests on.
            attributes: Own features of an applicant; None: the customer's own row.
            idempotency_key: For instance a UUID: asked again within 24 hours, the same
                question brings the same score.
            timeout: Seconds.

        Raises:
            DeskError: the question was refused, or no desk is there.
        """
        asked = Applicant(person, consent, attributes, idempotency_key)
        try:
            reply = self._score(request_of(asked), timeout=timeout)
        except grpc.RpcError as error:
            raise _error_of(cast("grpc.Call", error)) from None
        return score_of(reply)

    def score_batch(self, applicants: Iterable[Applicant]) -> Iterator[Score | Failure]:
        """A score or the reason why there is none, for each applicant, in order.

        The iterable is read as fast as the desk answers, in messages of 256.

        Raises:
            DeskError: a whole message was refused, or no desk is there.
        """
        try:
            for reply in self._batch(score_messages(applicants)):
                yield from map(result_of, reply.results)
        except grpc.RpcError as error:
            raise _error_of(cast("grpc.Call", error)) from None

    def decide(
        self,
        application: CreditApplication,
        *,
        idempotency_key: str = "",
        timeout: float = TIMEOUT_S,
    ) -> CreditDecision:
        """Decide on an application.

        Args:
            application: Its person never leaves the node.
            idempotency_key: A UUID: asked again while the node keeps it, the same bytes.
            timeout: Seconds. Time left for the joint answer; without it the node's own counts.

        Raises:
            DeskError: the application was refused, or no desk is there.
        """
        asked = wire.DeskDecideRequest(
            application=application.to_json(), idempotency_key=idempotency_key
        )
        return decision_of(self._asked("Decide", asked, timeout).document)

    def decide_many(self, asked: Iterable[AskedDecision]) -> Iterator[CreditDecision | Failure]:
        """A decision or the reason why there is none, for each application, in order.

        The iterable is read as fast as the desk answers, in messages of at most 256; the
        applications of a message are decided as if one after the other.

        Raises:
            DeskError: a whole message was refused, or no desk is there.
        """
        try:
            for reply in self._many(decide_messages(asked)):
                yield from decided(reply)
        except grpc.RpcError as error:
            raise _error_of(cast("grpc.Call", error)) from None

    def decision(self, name: str, *, timeout: float = TIMEOUT_S) -> CreditDecision:
        """A stored decision with what officers made of it; raises as ``decide``."""
        asked = wire.DeskDecisionId(id=name)
        return decision_of(self._asked("GetDecision", asked, timeout).document)

    def override(self, name: str, final: FinalDecision, *, timeout: float = TIMEOUT_S) -> bytes:
        """An officer's final decision on a stored one; returns its record, JSON."""
        asked = wire.DeskOverrideRequest(id=name, override=final.to_json())
        return self._asked("Override", asked, timeout).document

    def offer(
        self, request: bytes, *, idempotency_key: str = "", timeout: float = TIMEOUT_S
    ) -> bytes:
        """What suits an applicant, JSON both ways; raises as ``decide``."""
        asked = wire.DeskOfferRequest(request=request, idempotency_key=idempotency_key)
        return self._asked("Offer", asked, timeout).document

    def notice(
        self,
        name: str,
        *,
        form: str = "html",
        lang: str = "zh",
        timeout: float = TIMEOUT_S,
    ) -> bytes:
        """The notice of a decision, ``html`` or ``pdf``, in ``zh`` or ``en``."""
        asked = wire.DeskNoticeRequest(id=name, format=form, lang=lang)
        return self._asked("GetNotice", asked, timeout).document

    def _asked(self, method: str, message: Message, timeout: float) -> wire.DeskDocument:
        try:
            reply: wire.DeskDocument = self._document[method](message, timeout=timeout)
        except grpc.RpcError as error:
            raise _error_of(cast("grpc.Call", error)) from None
        return reply

    def status(self, *, timeout: float = TIMEOUT_S) -> Status:
        """How the desk stands; raises as ``score``."""
        try:
            return status_of(self._status(wire.DeskStatusRequest(), timeout=timeout))
        except grpc.RpcError as error:
            raise _error_of(cast("grpc.Call", error)) from None


class AsyncClient:
    """A desk, for asynchronous code; an asynchronous context manager."""

    def __init__(self, target: str, tls: Tls | None = None) -> None:
        """As ``Client``; inside a running event loop."""
        if tls is None:
            self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(
                target, tls.credentials(), options=_TLS_OPTIONS
            )
        unary = cast("Any", self._channel).unary_unary
        self._score = unary(
            f"{_SERVICE}Score",
            wire.DeskScoreRequest.SerializeToString,
            wire.DeskScore.FromString,
        )
        stream = cast("Any", self._channel).stream_stream
        self._batch = _score_batch(stream)
        self._many = _decide_many(stream)
        self._document = _documents(unary)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def score(
        self,
        person: str,
        consent: Consent,
        attributes: Attributes | None = None,
        *,
        idempotency_key: str = "",
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - it is the call's own deadline
    ) -> Score:
        """As ``Client.score``."""
        asked = Applicant(person, consent, attributes, idempotency_key)
        try:
            return score_of(await self._score(request_of(asked), timeout=timeout))
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from None

    async def decide(
        self,
        application: CreditApplication,
        *,
        idempotency_key: str = "",
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - it is the call's own deadline
    ) -> CreditDecision:
        """As ``Client.decide``."""
        asked = wire.DeskDecideRequest(
            application=application.to_json(), idempotency_key=idempotency_key
        )
        try:
            reply = await self._document["Decide"](asked, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from None
        return decision_of(reply.document)

    async def decide_many(
        self, asked: Iterable[AskedDecision]
    ) -> AsyncIterator[CreditDecision | Failure]:
        """As ``Client.decide_many``."""
        try:
            async for reply in self._many(decide_messages(asked)):
                for one in decided(reply):
                    yield one
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from None

    async def score_batch(
        self, applicants: AsyncIterable[Applicant]
    ) -> AsyncIterator[Score | Failure]:
        """As ``Client.score_batch``."""
        try:
            async for reply in self._batch(score_messages_async(applicants)):
                for result in reply.results:
                    yield result_of(result)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from None


def _score_batch(stream: Callable[..., Any]) -> Any:  # noqa: ANN401 - of gRPC
    return stream(
        f"{_SERVICE}ScoreBatch",
        wire.DeskBatchRequest.SerializeToString,
        wire.DeskBatchReply.FromString,
    )


def _decide_many(stream: Callable[..., Any]) -> Any:  # noqa: ANN401 - of gRPC
    return stream(
        f"{_SERVICE}DecideMany",
        wire.DeskDecideBatch.SerializeToString,
        wire.DeskDecideReply.FromString,
    )


def _documents(unary: Callable[..., Any]) -> dict[str, Any]:
    """Calls of the credit desk by name: each takes a message and brings a document."""
    reply = wire.DeskDocument.FromString
    kinds: dict[str, type[Message]] = {
        "Decide": wire.DeskDecideRequest,
        "GetDecision": wire.DeskDecisionId,
        "Override": wire.DeskOverrideRequest,
        "Offer": wire.DeskOfferRequest,
        "GetNotice": wire.DeskNoticeRequest,
    }
    return {
        name: unary(f"{_SERVICE}{name}", kind.SerializeToString, reply)
        for name, kind in kinds.items()
    }


def _error_of(call: "grpc.Call | grpc.aio.AioRpcError") -> DeskError:
    """What the desk said; the request, which names a person, is left out."""
    found = {str(key): str(value) for key, value in call.trailing_metadata() or ()}
    name = call.code().name.lower()
    return DeskError(found.get(_CODE, name), call.details() or name)
