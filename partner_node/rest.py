"""ADAPTER HTTP: the desk as JSON, through the same core as gRPC (protocol 13.8).

FastAPI reads and describes, uvicorn serves, both in the loop that serves the scoring
stream. What is answered are the bytes of the score itself, so one idempotency key brings
the same bytes here, too. Plain HTTP is for a unix socket or loopback, where a Host header of
another name is refused, and a body only counts as JSON if it says so: a browser sends that
for no page of another origin, so no web page may ask through it. Elsewhere mutual TLS.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import uvicorn
from fastapi import Body, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from consortium import errors
from consortium.inquiries import LARGEST_BATCH
from partner_node.credit.doors import CreditDesk
from partner_node.desk import Score
from partner_node.desk_certificates import LOCAL
from partner_node.keystore import Tls, write_file
from partner_node.loan_desk import DEADLINE_MS, Failure, LoanDesk, failure_of
from partner_node.rest_decisions import BATCH_MS, Caller, add_decisions
from partner_node.rest_forms import (
    BatchIn,
    BatchOut,
    FailureOut,
    ScoreIn,
    ScoreOut,
    StatusOut,
    page,
    question_of,
)

log = logging.getLogger(__name__)

BODY_LIMIT = 1 << 20
CONNECTIONS = 256
_CERTIFICATE = "riskweave.certificate"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PORT = re.compile(r":\d+$")
_BAD_REQUEST, _TOO_LARGE, _UNSUPPORTED, _MISDIRECTED = 400, 413, 415, 421
_JSON = b"application/json"

_STATUS: tuple[tuple[type[errors.RiskWeaveError], int], ...] = (
    (errors.CertificateError, 401),
    (errors.NotFoundError, 404),
    (errors.RepeatedKeyError, 409),
    (errors.MessageTooLargeError, _TOO_LARGE),
    (errors.OutOfOrderError, 503),
    (errors.ProtocolError, _BAD_REQUEST),
    (errors.DataError, 422),
    (errors.AttestationError, 422),
    (errors.TrustError, 503),
    (errors.ConfigurationError, 503),
    (errors.StorageError, 503),
    (errors.TransportError, 503),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Admit = Callable[[bytes], str]
"""Certificate (DER) -> the client's name; raises CertificateError."""


def status_of(error: errors.RiskWeaveError) -> int:
    """The first line of the table that fits; a missed deadline is its own."""
    if isinstance(error, errors.ScoreRefusalError):
        if error.reason is errors.ScoreRefusal.DEADLINE:
            return 504
        if error.reason is errors.ScoreRefusal.MANIFEST:
            return 503
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


# --- the application --------------------------------------------------------------------------

_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": FailureOut, "description": text}
    for status, text in {
        400: "Not of its form, or S08: no consent that allows it",
        409: "The idempotency key came with another question",
        413: f"More than {BODY_LIMIT:,} bytes",
        415: "Not sent as application/json",
        422: "An identifier or an attribute is not of the federation's form",
        503: "No manifest or model is in force here, or the disk is full",
        504: "S06: no time was left",
    }.items()
}


def application(
    desk: LoanDesk, admit: Admit | None = None, credit: CreditDesk | None = None
) -> FastAPI:
    """All paths and their description, at ``/docs`` and ``/openapi.json``.

    Args:
        desk: Private answers come from it.
        admit: Where there is TLS: whose certificate it is.
        credit: The credit desk, where decisions are made.
    """
    app = FastAPI(
        title="RiskWeave desk",
        version="1",
        summary="Joint scores for the partner's own systems.",
        # FastAPI's own pages load scripts from a foreign host; ours loads nothing.
        docs_url=None,
        redoc_url=None,
    )

    def caller(request: Request) -> str:
        return _caller(request, admit)

    _add_scores(app, desk, caller)
    if credit is not None:
        add_decisions(app, credit, caller)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(page(app.openapi()), media_type="text/html; charset=utf-8")

    app.add_exception_handler(errors.RiskWeaveError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    return app


def _add_scores(app: FastAPI, desk: LoanDesk, caller: Caller) -> None:
    @app.post(
        "/v1/scores", response_model=ScoreOut, responses=_FAILURES, summary="Score one person"
    )
    async def score(
        request: Request,
        body: Annotated[ScoreIn, Body()],
        idempotency_key: Annotated[str, Header(max_length=128)] = "",
    ) -> Response:
        question = question_of(body, idempotency_key)
        found = await desk.score(question, caller=caller(request), deadline_ms=DEADLINE_MS)
        return Response(found.to_bytes(), media_type="application/json")

    @app.post(
        "/v1/scores:batch",
        response_model=BatchOut,
        responses=_FAILURES,
        summary=f"Score 1 to {LARGEST_BATCH} persons",
    )
    async def batch(request: Request, body: Annotated[BatchIn, Body()]) -> Response:
        questions = [question_of(one) for one in body.requests]
        found = await desk.score_many(questions, caller=caller(request), deadline_ms=BATCH_MS)
        parts = b",".join(map(_result, found))
        return Response(b'{"results":[' + parts + b"]}", media_type="application/json")

    @app.get("/v1/status", summary="How the desk stands")
    async def status(request: Request) -> StatusOut:
        caller(request)
        now = desk.status()
        return StatusOut(**{name: getattr(now, name) for name in StatusOut.model_fields})


def _result(one: Score | Failure) -> bytes:
    if isinstance(one, Score):
        return b'{"score":' + one.to_bytes() + b"}"
    return json.dumps({"failure": {"code": one.code, "text": one.text}}).encode()


async def _refused(_request: Request, error: Exception) -> Response:
    known = cast("errors.RiskWeaveError", error)
    return _failed(status_of(known), failure_of(known))


async def _invalid(_request: Request, error: Exception) -> Response:
    """Where and why, never what: FastAPI would repeat the value."""
    first = cast("RequestValidationError", error).errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _failed(_BAD_REQUEST, Failure(errors.DecodeError.code, f"{where}: {first['msg']}"))


async def _unknown(_request: Request, error: Exception) -> Response:
    """No such path, or not by this method: in the form of every other failure."""
    known = cast("HTTPException", error)
    failed = _failed(known.status_code, Failure(errors.DecodeError.code, str(known.detail)))
    failed.headers.update(known.headers or {})
    return failed


def _failed(status: int, failure: Failure) -> Response:
    return JSONResponse({"code": failure.code, "text": failure.text}, status)


def _caller(request: Request, admit: Admit | None) -> str:
    """Who asks: over TLS by the certificate, looked up again for each request."""
    if admit is None:
        return LOCAL
    return admit(request.scope["state"].get(_CERTIFICATE, b""))


class Gate:
    """Refuses what is too large or not JSON and, without TLS, foreign Host headers."""

    def __init__(self, inner: Application, *, loopback: bool) -> None:
        """``loopback``: plain HTTP, so that only names of this machine are answered."""
        self._inner = inner
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = _PORT.sub("", headers.get(b"host", b"").decode("latin-1").lower())
        if self._loopback and host not in _LOOPBACK:
            failure = Failure("host", "not a name of this machine")
            await _say(_MISDIRECTED, failure, scope, send)
            return
        length = headers.get(b"content-length", b"0")
        size = int(length) if length.isdigit() else BODY_LIMIT + 1
        if size > BODY_LIMIT:
            failure = failure_of(errors.MessageTooLargeError(size, BODY_LIMIT))
            await _say(_TOO_LARGE, failure, scope, send)
            return
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if scope["method"] == "POST" and kind != _JSON:
            failure = Failure(errors.DecodeError.code, "content-type: not application/json")
            await _say(_UNSUPPORTED, failure, scope, send)
            return
        await self._inner(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > BODY_LIMIT:
            # Without a length it is known only now.
            raise errors.MessageTooLargeError(seen, BODY_LIMIT)
        return message

    return counted


async def _say(status: int, failure: Failure, scope: Scope, send: Send) -> None:
    async def nothing() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    await _failed(status, failure)(scope, nothing, send)


# --- serving ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RestListen:
    """Where HTTP is served: a socket's path, or host:port; TLS with whom it lets in."""

    address: Path | str
    tls: Tls | None = None
    admit: Admit | None = None


class RestDoor:
    """The desk over HTTP: ``start`` opens, ``stop`` ends requests that still run."""

    def __init__(
        self, desk: LoanDesk, listen: RestListen, credit: CreditDesk | None = None
    ) -> None:
        """``credit``: None where no decisions are made."""
        self._listen = listen
        plain_port = listen.tls is None and isinstance(listen.address, str)
        inner = application(desk, listen.admit, credit)
        app = Gate(cast("Application", inner), loopback=plain_port)
        tls = listen.tls
        self._config = uvicorn.Config(
            cast("Any", app),
            http=_Protocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=1,
            ssl_context_factory=(lambda *_: _context(tls)) if tls else None,
        )
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open; ConfigurationError: the address is in use or not ours."""
        listener = _listener(self._listen.address)
        self._server = _Server(self._config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """Close."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = self._serving = None
            if isinstance(self._listen.address, Path):
                self._listen.address.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """Leaves signals to the process that it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # chosen at run time
    """Puts the client's certificate where the application finds it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            certificate = tls.getpeercert(binary_form=True)
            self.app_state: dict[str, Any] = {**self.app_state, _CERTIFICATE: certificate}


def _context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.3 that demands a certificate of the desk's own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=tls.authority.decode())
    # Python reads keys from files only; this one is seen by its owner, for a moment.
    with tempfile.TemporaryDirectory(prefix="riskweave-") as directory:
        chain, key = Path(directory) / "desk.pem", Path(directory) / "desk.key"
        write_file(chain, tls.certificate)
        write_file(key, tls.key.expose())
        context.load_cert_chain(chain, key)
    return context


def _listener(address: Path | str) -> socket.socket:
    try:
        if isinstance(address, Path):
            return _unix_listener(address)
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), int(port)))
        listener.listen()
    except OSError as error:
        raise errors.ConfigurationError(
            f"cannot listen on {address}: {error.strerror or error}"
        ) from error
    return listener


def _unix_listener(path: Path) -> socket.socket:
    # The node's lock is held, so whoever made an older one is gone.
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen()
    return listener
