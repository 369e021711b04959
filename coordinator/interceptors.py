"""Who is calling, and what an error looks like from outside: for every method, in one place.

The peer's certificate is checked before a handler runs; the handler finds the partner with
``current_peer``. An error of ours leaves as a status and its public text; any other ends the
call as INTERNAL without a text. The full text goes to the coordinator's own log.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import grpc.aio

from consortium import errors
from consortium.enrolment_codec import ENROLMENT_SERVICE
from consortium.federation_codec import FEDERATION_SERVICE
from consortium.ids import PartnerId

log = logging.getLogger(__name__)

_HEALTH = "/grpc.health.v1.Health/"
_UNLISTED = frozenset(
    {f"/{FEDERATION_SERVICE}/GetManifest", f"/{FEDERATION_SERVICE}/SignManifest"}
)
_OPEN = frozenset({f"/{ENROLMENT_SERVICE}/Enrol"})
_PEER: ContextVar[PartnerId] = ContextVar("peer")

_STATUS: tuple[tuple[type[errors.RiskWeaveError], grpc.StatusCode], ...] = (
    (errors.CertificateError, grpc.StatusCode.UNAUTHENTICATED),
    (errors.SignatureError, grpc.StatusCode.UNAUTHENTICATED),
    (errors.EnrolmentError, grpc.StatusCode.PERMISSION_DENIED),
    (errors.TrustError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.VersionError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.OutOfOrderError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RefusalError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.MessageTooLargeError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.ConfigurationError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.TransportError, grpc.StatusCode.UNAVAILABLE),
    (errors.StorageError, grpc.StatusCode.UNAVAILABLE),
)

Authenticate = Callable[[bytes, bool], PartnerId]
"""(certificate in PEM, must it be in the manifest) -> partner; raises CertificateError."""

Context = grpc.aio.ServicerContext[Any, Any]
Call = Callable[[Any, Context], Awaitable[Any]]
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]]


def current_peer() -> PartnerId:
    """The partner whose certificate opened the current call."""
    return _PEER.get()


def status_of(error: errors.RiskWeaveError) -> grpc.StatusCode:
    """The first line of the table that fits."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL


class PeerInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates every call except those to the health service and to enrolment."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> MaybeHandler:
        """Put the check in front of the method's own handler."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(_HEALTH):
            return handler
        # The stubs know the handlers of blocking servers only; ours are coroutines.
        if handler.response_streaming:
            guarded = self._guard(method, cast("Call", handler.stream_stream))
            return grpc.stream_stream_rpc_method_handler(cast("Any", guarded))
        guarded = self._guard(method, cast("Call", handler.unary_unary))
        return grpc.unary_unary_rpc_method_handler(cast("Any", guarded))

    def _guard(self, method: str, call: Call) -> Call:
        async def guarded(request: Any, context: Context) -> Any:  # noqa: ANN401 - any method
            try:
                if method not in _OPEN:
                    _PEER.set(await self._peer(method, context))
                return await call(request, context)
            except errors.RiskWeaveError as error:
                log.warning("%s from %s: %s", method, context.peer(), error)
                await _abort(context, error)
            except Exception:
                # gRPC would send the exception's text to the peer.
                log.exception("%s from %s", method, context.peer())
                await _abort(context, errors.RiskWeaveError())

        return guarded

    async def _peer(self, method: str, context: Context) -> PartnerId:
        certificates = context.auth_context().get("x509_pem_cert", ())
        pem = next(iter(certificates), b"")
        return await asyncio.to_thread(self._authenticate, pem, method not in _UNLISTED)


async def _abort(context: Context, error: errors.RiskWeaveError) -> NoReturn:
    await context.abort(status_of(error), error.public)
    raise AssertionError("abort raises")
