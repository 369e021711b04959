"""ADAPTER gRPC: the operator's own door, a unix socket of mode 0600, both ends of it.

Whoever can open the socket owns the coordinator's keys anyway, so errors leave with their
full text here, and only here.
"""

import asyncio
import json
import logging
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
import grpc.aio

from consortium.documents import document_of
from consortium.errors import (
    ConfigurationError,
    RiskWeaveError,
    StorageError,
    TransportError,
)
from consortium.identity.overlap import (
    OverlapCount,
    OverlapPlan,
    check_form,
    counts_of,
    parse_plan,
)
from consortium.ids import Digest, PartnerId, RunId, parse_run_id
from consortium.manifest import Manifest, Role
from coordinator.events import RunEvent
from coordinator.interceptors import status_of
from coordinator.pseudonym_epochs import EpochStatus
from coordinator.storage import Store
from proto.v1 import control_pb2, control_pb2_grpc

log = logging.getLogger(__name__)

_PATH_LIMIT = 107
"""Bytes of a unix socket's path (unix(7))."""
_POLL_S = 0.5


class Trainer(Protocol):
    """What the operator can ask of training."""

    def start(self, plan_text: str) -> RunId:
        """Check the plan and begin; raise ConfigurationError, or RefusalError."""

    def events(self, run: RunId, after: int, timeout_s: float) -> Iterable[RunEvent]:
        """Events from number ``after`` on; waits at most ``timeout_s`` for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerStatus:
    """Which streams of a partner are up."""

    partner: PartnerId
    training: bool
    scoring: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringStatus:
    """How joint scores stand."""

    epoch: EpochStatus
    in_flight: int
    """Requests that wait for answers."""
    dropped: int
    """Frames that nobody waited for, since the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the coordinator stands."""

    manifest: str
    """Digest of the manifest in force, else of the newest draft, else empty."""
    manifest_complete: bool
    partners: tuple[PartnerStatus, ...]
    run: str
    active_model: str
    scoring: ScoringStatus


class Links(Protocol):
    """Who is connected."""

    def connected(self) -> tuple[PartnerId, ...]:
        """Partners with a training stream."""

    def scoring_connected(self) -> tuple[PartnerId, ...]:
        """Partners with a scoring stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPorts:
    """The surroundings of the control service."""

    store: Store
    trainer: Trainer
    links: Links
    manifest: Callable[[], Manifest | None]
    scoring: Callable[[], ScoringStatus]
    overlap: Callable[[OverlapPlan], Awaitable[tuple[OverlapCount, ...]]]


def status(ports: ControlPorts) -> Status:
    """Gather the status. Blocking."""
    manifest = ports.manifest()
    drafts = ports.store.manifests.digests()
    training, scoring = ports.links.connected(), ports.links.scoring_connected()
    run, model = ports.store.runs.newest(), ports.store.models.active()
    return Status(
        manifest=manifest.digest if manifest else next(iter(drafts), Digest("")),
        manifest_complete=manifest is not None,
        partners=tuple(
            PartnerStatus(
                partner=member.id, training=member.id in training, scoring=member.id in scoring
            )
            for member in ports.store.members.all()
            if member.role is Role.PARTNER
        ),
        run=run.run if run else "",
        active_model=model.version if model else "",
        scoring=ports.scoring(),
    )


# --- the coordinator's end --------------------------------------------------------------------

_Context = grpc.aio.ServicerContext[Any, Any]


class ControlService(control_pb2_grpc.ControlServicer):
    """Answers ``riskweave coordinator train`` and ``status``."""

    def __init__(self, ports: ControlPorts) -> None:
        self._ports = ports

    async def StartRun(  # noqa: N802 - named in the .proto
        self, request: control_pb2.StartRunRequest, context: _Context
    ) -> AsyncIterator[control_pb2.RunEvent]:
        """Begin a run and follow it to its end."""
        try:
            run = await asyncio.to_thread(self._ports.trainer.start, request.plan)
            async for event in self._follow(run):
                yield event
        except RiskWeaveError as error:
            await context.abort(_status_of(error), str(error))

    async def WatchRun(  # noqa: N802 - named in the .proto
        self, request: control_pb2.WatchRunRequest, context: _Context
    ) -> AsyncIterator[control_pb2.RunEvent]:
        """Follow a run from its first event; an empty id means the newest."""
        try:
            run = await asyncio.to_thread(self._find, request.run)
            async for event in self._follow(run):
                yield event
        except RiskWeaveError as error:
            await context.abort(_status_of(error), str(error))

    async def Status(  # noqa: N802 - named in the .proto
        self, _request: control_pb2.StatusRequest, context: _Context
    ) -> control_pb2.StatusReply:
        """How the coordinator stands."""
        try:
            seen = await asyncio.to_thread(status, self._ports)
        except RiskWeaveError as error:
            await context.abort(_status_of(error), str(error))
        return control_pb2.StatusReply(
            manifest=seen.manifest,
            manifest_complete=seen.manifest_complete,
            partners=[control_pb2.PartnerStatus(**asdict(one)) for one in seen.partners],
            run=seen.run,
            active_model=seen.active_model,
            scoring=control_pb2.ScoringStatus(
                **asdict(seen.scoring.epoch),
                in_flight=seen.scoring.in_flight,
                dropped=seen.scoring.dropped,
            ),
        )

    async def CountOverlap(  # noqa: N802 - named in the .proto
        self, request: control_pb2.OverlapRequest, context: _Context
    ) -> control_pb2.OverlapReply:
        """Count the common persons of two partners, or say what was said before."""
        try:
            manifest = await asyncio.to_thread(self._ports.manifest)
            if manifest is None:
                raise ConfigurationError("no manifest is in force")
            plan = OverlapPlan(
                counter=PartnerId(request.counter),
                peer=PartnerId(request.peer),
                period=request.period,
                tiers=tuple(request.tiers),
                cuts=tuple(request.cuts),
                epoch=manifest.policy.scoring.epoch,
                epsilon=request.epsilon,
                delta=manifest.policy.delta,
            )
            check_form(plan)
            counts = await self._ports.overlap(plan)
        except RiskWeaveError as error:
            await context.abort(_status_of(error), str(error))
        return control_pb2.OverlapReply(
            plan=document_of(plan), counts=[one.noisy for one in counts]
        )

    def _find(self, text: str) -> RunId:
        store = self._ports.store
        row = store.runs.get(parse_run_id(text)) if text else store.runs.newest()
        if row is None:
            raise ConfigurationError(f"no run {text}" if text else "no run yet")
        return row.run

    async def _follow(self, run: RunId) -> AsyncIterator[control_pb2.RunEvent]:
        for event in await asyncio.to_thread(self._ended, run):
            yield _to_wire(event)
            if event.final:
                return
        after = 0
        while True:
            for event in await asyncio.to_thread(self._next, run, after):
                after += 1
                yield _to_wire(event)
                if event.final:
                    return

    def _ended(self, run: RunId) -> list[RunEvent]:
        """The stored events of a run that is not in memory any more."""
        if self._next(run, 0, timeout_s=0):
            return []
        return [RunEvent(**json.loads(text)) for text in self._ports.store.runs.events(run)]

    def _next(self, run: RunId, after: int, timeout_s: float = _POLL_S) -> tuple[RunEvent, ...]:
        return tuple(self._ports.trainer.events(run, after, timeout_s))


def control_server(ports: ControlPorts, socket: Path) -> grpc.aio.Server:
    """A server on the socket, not started.

    Raises:
        ConfigurationError: the path is too long for a socket, or cannot be bound.
    """
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(ControlService(ports), server)
    # The mask, not a later chmod: there is no moment at which others could connect.
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(_address(socket))
    except RuntimeError as error:
        raise ConfigurationError(f"cannot listen on {socket}") from error
    finally:
        os.umask(mask)
    return server


# --- the operator's end -----------------------------------------------------------------------


def start_run(socket: Path, plan: str) -> Iterator[RunEvent]:
    """Start a run and yield its events until it ends.

    Raises:
        TransportError: nobody serves there, or the coordinator stopped.
        ConfigurationError: the plan is refused; the text is the coordinator's.
    """
    with _channel(socket) as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        yield from _events(stub.StartRun(control_pb2.StartRunRequest(plan=plan)))


def watch_run(socket: Path, run: str) -> Iterator[RunEvent]:
    """Yield the events of a run (empty: the newest) from its first on; raises as start_run."""
    with _channel(socket) as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        yield from _events(stub.WatchRun(control_pb2.WatchRunRequest(run=run)))


def fetch_status(socket: Path) -> Status:
    """Ask for the status; raises as start_run."""
    with _channel(socket) as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        try:
            reply = stub.Status(control_pb2.StatusRequest())
        except grpc.RpcError as error:
            raise _translated(error) from error
    return Status(
        manifest=reply.manifest,
        manifest_complete=reply.manifest_complete,
        partners=tuple(
            PartnerStatus(
                partner=PartnerId(one.partner), training=one.training, scoring=one.scoring
            )
            for one in reply.partners
        ),
        run=reply.run,
        active_model=reply.active_model,
        scoring=ScoringStatus(
            epoch=EpochStatus(
                epoch=reply.scoring.epoch,
                state=reply.scoring.state,
                detail=reply.scoring.detail,
                holders=tuple(map(PartnerId, reply.scoring.holders)),
                lacking=tuple(map(PartnerId, reply.scoring.lacking)),
            ),
            in_flight=reply.scoring.in_flight,
            dropped=reply.scoring.dropped,
        ),
    )


def count_overlap(
    socket: Path,
    pair: tuple[str, str],
    period: str,
    *,
    tiers: Sequence[tuple[str, int]],
    epsilon: str,
) -> tuple[OverlapCount, ...]:
    """Counts of common persons, noisy; raises as start_run, and RiskWeaveError: refused.

    Args:
        socket: Of the serving coordinator.
        pair: The counting partner, and the peer.
        period: YYYY-MM.
        tiers: Of the peer, each with the PD in millionths that ends it, the last with 10**6.
        epsilon: Of a person.
    """
    request = control_pb2.OverlapRequest(
        counter=pair[0],
        peer=pair[1],
        period=period,
        tiers=[name for name, _ in tiers],
        cuts=[cut for _, cut in tiers[:-1]],
        epsilon=epsilon,
    )
    with _channel(socket) as channel:
        stub = control_pb2_grpc.ControlStub(channel)
        try:
            reply = stub.CountOverlap(request)
        except grpc.RpcError as error:
            raise _translated(error) from error
    return counts_of(parse_plan(reply.plan), reply.counts)


def _events(replies: Iterable[control_pb2.RunEvent]) -> Iterator[RunEvent]:
    try:
        for reply in replies:
            yield RunEvent(
                run=RunId(reply.run),
                stage=reply.stage,
                round=reply.round,
                rounds=reply.rounds,
                attempt=reply.attempt,
                seconds=reply.seconds,
                text=reply.text,
                version=reply.version,
            )
    except grpc.RpcError as error:
        raise _translated(error) from error


def _to_wire(event: RunEvent) -> control_pb2.RunEvent:
    return control_pb2.RunEvent(**asdict(event))


def _status_of(error: RiskWeaveError) -> grpc.StatusCode:
    """As for partners, save that the operator must tell a full disk from a dead server."""
    if isinstance(error, StorageError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED
    return status_of(error)


def _channel(socket: Path) -> grpc.Channel:
    if not socket.exists():
        raise TransportError(f"no coordinator serves {socket.parent}")
    return grpc.insecure_channel(_address(socket))


def _address(socket: Path) -> str:
    path = str(socket.absolute())
    if len(path.encode()) > _PATH_LIMIT:
        raise ConfigurationError(f"{path}: longer than {_PATH_LIMIT} bytes; use a shorter path")
    return f"unix:{path}"


def _translated(error: grpc.RpcError) -> RiskWeaveError:
    # Every error of a call that was made is also a grpc.Call; the stubs do not say so.
    call = cast("grpc.Call", error)
    code, details = call.code(), str(call.details())
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return TransportError(
            "the coordinator does not serve, or stopped; a run in progress resumes when it "
            f"serves again ({details})"
        )
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return ConfigurationError(details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return StorageError(details)
    return RiskWeaveError(details)
