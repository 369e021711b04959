"""ADAPTER gRPC: the coordinator's doors for partners, and how they open and close.

The federation door takes enrolled partners over mutual TLS: two streams each, and single
questions. The enrolment door takes join tokens over server-side TLS. Each question is one
plain function from bytes and partner to bytes; the rules are in ``membership`` and
``registry``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from consortium import enrolment_codec, federation_codec
from consortium.codec import StreamKind
from consortium.enrolment_codec import ENROLMENT_SERVICE
from consortium.errors import (
    CertificateError,
    ManifestError,
    OutOfOrderError,
)
from consortium.federation_codec import CLOCK_HEADER, FEDERATION_SERVICE
from consortium.ids import PartnerId
from consortium.messages import Enrolled, Goodbye, ModelDocument, ModelEntry
from coordinator import gating, registry
from coordinator.audit_log import AuditLog
from coordinator.authority import Authority
from coordinator.doors import OPTIONS, Doors, bind, credentials
from coordinator.interceptors import Context, PeerInterceptor, current_peer
from coordinator.membership import Membership
from coordinator.storage import Store
from coordinator.streams import StreamHub

log = logging.getLogger(__name__)

GRACE_S = 2.0
_ENROLMENT_LIMIT = 64 << 10
_MANIFEST_CHANGED = Goodbye(code="manifest", reason="a newer manifest is in force")

Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Answer = Callable[[bytes, PartnerId], bytes]
"""(request, who asks) -> reply; raises an error of ours. Blocking: runs in a thread."""


class Questions:
    """The single questions of an enrolled partner (protocol 2, 12.5)."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        hub: StreamHub,
        *,
        now: Callable[[], int],
        log: AuditLog | None = None,
    ) -> None:
        self._store = store
        self._membership = membership
        self._hub = hub
        self.now = now
        self._log = log

    def answers(self) -> Mapping[str, Answer]:
        """Method name -> its answer."""
        return {
            "GetManifest": self._get_manifest,
            "SignManifest": self._sign_manifest,
            "ListModels": self._list_models,
            "GetModel": self._get_model,
            "GetGate": self._get_gate,
            "CastVote": self._cast_vote,
            "Witness": self._witness,
        }

    def _get_manifest(self, request: bytes, _peer: PartnerId) -> bytes:
        wanted = federation_codec.decode_manifest_request(request)
        return federation_codec.encode_manifest_bundle(self._membership.bundle(wanted))

    def _sign_manifest(self, request: bytes, peer: PartnerId) -> bytes:
        signed = federation_codec.decode_signed(request)
        entry = None if self._log is None else federation_codec.entry_of_signed(request)
        completed = self._membership.sign(signed, peer=peer, entry=entry)
        log.info("%s signed manifest %s", peer, signed.digest)
        if completed:
            log.info("manifest %s is in force", signed.digest)
            self._hub.close_all(_MANIFEST_CHANGED)
        return federation_codec.encode_ack()

    def _list_models(self, request: bytes, _peer: PartnerId) -> bytes:
        federation_codec.decode_models_request(request)
        entries = (
            ModelEntry(
                version=row.version, status=row.status, run=row.run, created_at=row.created_at
            )
            for row in self._store.models.all()
        )
        return federation_codec.encode_model_list(tuple(entries))

    def _get_model(self, request: bytes, _peer: PartnerId) -> bytes:
        wanted = federation_codec.decode_model_request(request)
        row = self._store.models.get(wanted) if wanted else self._store.models.active()
        if row is None:
            raise OutOfOrderError(f"no model {wanted or 'is active'}")
        return federation_codec.encode_model_document(
            ModelDocument(version=row.version, document=row.document)
        )

    def _get_gate(self, request: bytes, _peer: PartnerId) -> bytes:
        version, after = federation_codec.decode_gate_request(request)
        return federation_codec.encode_gate_document(
            gating.evidence_of(self._store, version, after)
        )

    def _cast_vote(self, request: bytes, peer: PartnerId) -> bytes:
        vote = federation_codec.decode_vote(request)
        if vote.member != peer:
            raise CertificateError(f"{peer} sent a vote of {vote.member}")
        manifest = self._membership.current()
        if manifest is None:
            raise ManifestError("no manifest is in force")
        logged = None
        if self._log is not None:
            logged = registry.Logged(self._log, federation_codec.entry_of_vote(request))
        status = registry.cast_vote(self._store, manifest, vote, self.now, logged=logged)
        word = "accepts" if vote.accept else "refuses"
        log.info("%s %s model %s (%s)", peer, word, vote.version, status)
        return federation_codec.encode_vote_reply(status)

    def _witness(self, request: bytes, peer: PartnerId) -> bytes:
        question = federation_codec.decode_witness_question(request)
        manifest = self._membership.current()
        if manifest is None or self._log is None:
            raise ManifestError("no manifest is in force, or no log is kept")
        return federation_codec.encode_log_head(self._log.on_witness(question, peer, manifest))


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # it has no stubs
    """The standard service; with each answer goes the coordinator's clock (protocol 12.5)."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__()
        self._now = now

    async def Check(  # noqa: N802 - named in the .proto
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Whether it serves, and when it says so."""
        await context.send_initial_metadata(((CLOCK_HEADER, str(self._now())),))
        reply: health_pb2.HealthCheckResponse = await super().Check(request, context)
        return reply


class Server:
    """Both doors. ``start`` and ``stop`` run in one event loop."""

    def __init__(
        self,
        doors: Doors,
        *,
        questions: Questions,
        membership: Membership,
        hub: StreamHub,
        authority: Authority,
    ) -> None:
        self._doors = doors
        self._questions = questions
        self._membership = membership
        self._hub = hub
        self._authority = authority
        self._health = _Health(questions.now)
        self._servers: tuple[grpc.aio.Server, ...] = ()

    async def start(self) -> None:
        """Open both doors.

        Raises:
            ConfigurationError: an address is in use or cannot be bound.
        """
        self._hub.open()
        federation, enrolment = self._federation(), self._enrolment()
        self._servers = (federation, enrolment)
        root = self._authority.certificate_pem
        bind(federation, self._doors.federation, credentials(self._doors, root))
        bind(enrolment, self._doors.enrolment, credentials(self._doors, None))
        for server in self._servers:
            await server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        log.info(
            "serving partners on %s, enrolment on %s",
            self._doors.federation,
            self._doors.enrolment,
        )

    async def stop(self) -> None:
        """Say goodbye to all partners, then close both doors."""
        await self._health.enter_graceful_shutdown()
        await self._hub.stop()
        await asyncio.gather(*(server.stop(GRACE_S) for server in self._servers))

    def _federation(self) -> grpc.aio.Server:
        membership = self._membership

        def authenticate(pem: bytes, listed: bool) -> PartnerId:  # noqa: FBT001 - a port
            return membership.authenticate(pem, listed=listed)

        limit = self._hub.settings.training_limit
        server = grpc.aio.server(
            interceptors=(PeerInterceptor(authenticate),),
            options=(
                *OPTIONS,
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
            ),
        )
        answers = {**self._questions.answers(), "Renew": self._renew}
        handlers = [_service(FEDERATION_SERVICE, answers)]
        handlers += [_stream(self._hub, kind) for kind in StreamKind]
        server.add_generic_rpc_handlers(tuple(handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _enrolment(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=(PeerInterceptor(_nobody),),
            options=(*OPTIONS, ("grpc.max_receive_message_length", _ENROLMENT_LIMIT)),
        )
        method: Method = grpc.unary_unary_rpc_method_handler(cast("Any", self._enrol))
        handler = grpc.method_handlers_generic_handler(ENROLMENT_SERVICE, {"Enrol": method})
        server.add_generic_rpc_handlers((handler,))
        return server

    def _renew(self, request: bytes, peer: PartnerId) -> bytes:
        renewal = enrolment_codec.decode_renewal(request)
        renewed = self._membership.renew(renewal, peer, self._authority)
        log.info("%s has another certificate", peer)
        return enrolment_codec.encode_renewed(renewed)

    async def _enrol(self, data: bytes, _context: Context) -> bytes:
        request = enrolment_codec.decode_enrolment_request(data)
        certificate = await asyncio.to_thread(self._membership.enrol, request, self._authority)
        log.info("%s is enrolled", request.partner)
        return enrolment_codec.encode_enrolled(
            Enrolled(certificate=certificate, address=self._doors.federation_public)
        )


def _nobody(_pem: bytes, _listed: bool) -> PartnerId:  # noqa: FBT001 - a port
    raise CertificateError("the enrolment door knows no certificates")


def _service(name: str, answers: Mapping[str, Answer]) -> grpc.GenericRpcHandler:
    methods: dict[str, Method] = {
        method: grpc.unary_unary_rpc_method_handler(cast("Any", _in_thread(answer)))
        for method, answer in answers.items()
    }
    return grpc.method_handlers_generic_handler(name, methods)


def _in_thread(answer: Answer) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def call(request: bytes, _context: Context) -> bytes:
        return await asyncio.to_thread(answer, request, current_peer())

    return call


def _stream(hub: StreamHub, kind: StreamKind) -> grpc.GenericRpcHandler:
    async def connect(_frames: object, context: Context) -> None:
        await hub.serve(kind, context)

    method: Method = grpc.stream_stream_rpc_method_handler(cast("Any", connect))
    return grpc.method_handlers_generic_handler(kind.service, {"Connect": method})
