"""The coordinator serves: as a leader or its standby, with all its doors, until a signal."""

import asyncio
import json
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consortium.errors import RiskWeaveError
from consortium.ids import RunId
from coordinator import leadership, standby, wiring
from coordinator.config import Config, load_config
from coordinator.control import ControlPorts, control_server
from coordinator.doors import Doors
from coordinator.events import EventLog, RunEvent
from coordinator.revocation import Enforcer
from coordinator.scoring_parts import Scoring, open_scoring
from coordinator.server import Questions, Server
from coordinator.server_certificate import ServerCertificate, ends, renew_when_due
from coordinator.storage import Store
from coordinator.streams import Settings, StreamHub
from upkeep.health_door import Page, open_health
from upkeep.traces import Traces, open_traces

if TYPE_CHECKING:
    from coordinator.inquiry_log import Ended
    from coordinator.metrics import Metrics
    from coordinator.trainer import Trainer

log = logging.getLogger(__name__)

_DAY_S = 86_400


def serve(directory: Path, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``on_ready`` is called when the doors are open.

    Over PostgreSQL a process that finds another one leading waits as its standby first.

    Raises:
        ConfigurationError: an address or the control socket cannot be bound.
        StorageError: the database cannot be opened, or has been away for long.
        DeposedError: another replica leads since; start this one again.
    """
    wiring.quiet_flower()
    asyncio.run(_run(load_config(directory), on_ready))


async def _run(config: Config, on_ready: Callable[[], None]) -> None:
    stopped = _stop_signal()
    with ExitStack() as stack:
        seat = _seat(config)
        if seat is not None:
            stack.callback(seat.leave)
            # The first attempt raises: a wrong address or password is no reason to wait.
            if not seat.attempt() and not await _stand_by(config, seat, stopped):
                return

        def open_store() -> wiring.Desk:
            desk = wiring.open_desk(config.directory)
            stack.callback(desk.store.close)
            if seat is not None:
                holder = wiring.process_name()
                office = leadership.take_office(
                    desk.store, desk.identity.public, holder, wiring.now()
                )
                desk.store.lead(office)
                log.info("leads in epoch %d", office.epoch)
            return desk

        opening = asyncio.to_thread(open_store)
        desk = await (opening if seat is None else standby.breathing(seat, opening))
        keeping = None if seat is None else standby.keep_seat(seat, desk.store)
        with open_traces(wiring.environment(), "riskweave-coordinator") as traces:
            await _serve(desk, stopped, keeping, on_ready, traces=traces)


def _seat(config: Config) -> leadership.Seat | None:
    """What one of several replicas takes; None: this database has one process only."""
    if not config.storage_url.startswith("postgresql"):
        return None
    return leadership.Seat(config.storage_url, wiring.identity_of(config).public)


async def _stand_by(config: Config, seat: leadership.Seat, stopped: asyncio.Event) -> bool:
    """Wait as the standby of a leader; False: stopped before the seat was free."""
    authority, certificate = wiring.authority_of(config)
    metrics = standby.metrics_page(config.directory, lambda: certificate_days(config))
    pages = {"/readyz": standby.not_ready, "/metrics": metrics}
    renewing = asyncio.create_task(renew_when_due(certificate, wiring.now))
    try:
        async with (
            open_health(config.directory, pages, config.metrics),
            standby.standby_doors(_doors(config, certificate), authority.certificate_pem),
        ):
            log.info("standby: another replica leads")
            return await standby.take_seat(seat, stopped)
    finally:
        renewing.cancel()


def _doors(config: Config, certificate: ServerCertificate) -> Doors:
    return Doors(
        federation=config.federation_address,
        enrolment=config.enrolment_address,
        federation_public=config.federation_public,
        tls=certificate.pair(),
        renewed=certificate.renewed,
    )


def _metrics(
    desk: wiring.Desk, hub: StreamHub, scoring: Scoring, trainer: "Trainer", *, traces: Traces
) -> "Metrics":
    """What is told and read of all parts; traces are told the same."""
    from coordinator.metrics import Metrics, MetricsPorts  # noqa: PLC0415 - serving only
    from coordinator.traced import Traced  # noqa: PLC0415 - likewise

    metrics = Metrics(
        MetricsPorts(
            directory=desk.config.directory,
            store=desk.store,
            log=desk.log,
            membership=desk.membership,
            links=hub,
            in_flight=lambda: scoring.relay.in_flight,
            certificate_days=lambda: certificate_days(desk.config),
        )
    )
    traced = Traced(traces, wiring.now_ns)

    def on_event(event: "RunEvent") -> None:
        metrics.on_event(event)
        traced.on_event(event)

    def on_ended(ended: "Ended") -> None:
        metrics.on_ended(ended)
        traced.on_ended(ended)

    trainer.log.on_append = on_event
    scoring.inquiries.on_ended = on_ended
    return metrics


def certificate_days(config: Config) -> int:
    """Days that the server's certificate still counts; below 0 it has ended."""
    return (ends((config.keys / "tls.pem").read_bytes()) - wiring.now()) // _DAY_S


def _ready(store: Store) -> Page:
    store.runs.newest()
    return Page(b"ready\n")


async def _serve(
    desk: wiring.Desk,
    stopped: asyncio.Event,
    keeping: Coroutine[Any, Any, None] | None,
    on_ready: Callable[[], None],
    *,
    traces: Traces,
) -> None:
    limits = desk.config.limits
    settings = Settings(
        training_limit=limits.training_message_mib << 20,
        scoring_limit=limits.scoring_message_kib << 10,
    )
    hub = StreamHub(desk.membership.greet, settings)
    scoring = open_scoring(desk, hub)
    trainer = _trainer(desk, hub)
    ports = ControlPorts(
        store=desk.store,
        trainer=trainer,
        links=hub,
        manifest=desk.membership.current,
        scoring=scoring.status,
        overlap=scoring.overlaps.run,
    )
    server = Server(
        _doors(desk.config, desk.certificate),
        questions=Questions(desk.store, desk.membership, hub, now=wiring.now, log=desk.log),
        membership=desk.membership,
        hub=hub,
        authority=desk.authority,
    )
    await server.start()
    parts = _tasks(desk, hub, scoring, keeping)
    control = control_server(ports, desk.config.control_socket)
    await control.start()
    metrics = _metrics(desk, hub, scoring, trainer, traces=traces)
    pages = {"/readyz": lambda: _ready(desk.store), "/metrics": metrics.page}
    health = open_health(desk.config.directory, pages, desk.config.metrics)
    try:
        async with health:
            await asyncio.to_thread(_resume, trainer)
            on_ready()
            await _first(stopped.wait(), *parts)
        log.info("stopping")
    finally:
        # The trainer first: an attempt under way is closed rather than lost.
        await asyncio.to_thread(trainer.stop)
        await server.stop()
        for part in parts:
            part.cancel()
        await scoring.relay.stop()
        await control.stop(0)
        desk.config.control_socket.unlink(missing_ok=True)


def _tasks(
    desk: wiring.Desk,
    hub: StreamHub,
    scoring: Scoring,
    keeping: Coroutine[Any, Any, None] | None,
) -> list["asyncio.Task[None]"]:
    """What goes on for as long as the coordinator serves."""
    parts = [
        asyncio.create_task(scoring.relay.run()),
        asyncio.create_task(renew_when_due(desk.certificate, wiring.now)),
    ]
    if keeping is not None:
        parts.append(asyncio.create_task(keeping))
    enforcer = Enforcer(desk.store, hub, lambda: _tell_of_revoked(desk, scoring))
    desk.log.before_shown = enforcer.before_shown
    parts.append(asyncio.create_task(enforcer.run()))
    return parts


def _tell_of_revoked(desk: wiring.Desk, scoring: Scoring) -> None:
    """A roster without them goes out now, and all witnesses are shown the newest head."""
    scoring.relay.renew_rosters()
    desk.log.witnesses.show_newest()


async def _first(stopped: Coroutine[Any, Any, Any], *parts: "asyncio.Task[None]") -> None:
    """Wait for the signal to stop; a part that ends before it ends the coordinator."""
    stopping = asyncio.create_task(stopped)
    await asyncio.wait((stopping, *parts), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        for part in parts:
            if part.done():
                await part


def _trainer(desk: wiring.Desk, hub: StreamHub) -> "Trainer":
    from coordinator.credit.opening import refusal_of, registers_of  # noqa: PLC0415 - numpy
    from coordinator.server_app import Deadlines  # noqa: PLC0415 - loads flwr, see serve
    from coordinator.trainer import KeptWords, Trainer, TrainerPorts  # noqa: PLC0415

    registers = registers_of(desk)
    return Trainer(
        TrainerPorts(
            store=desk.store,
            hub=hub,
            manifest=desk.membership.current,
            schema=desk.schema,
            code=wiring.code_digest(),
            now=wiring.now,
            run_id=lambda: RunId(wiring.entropy(16).expose().hex()),
            log=EventLog(_earlier(desk.store)),
            deadlines=Deadlines(attempt=float(desk.config.limits.attempt_timeout_s)),
            audit=desk.log,
            words=KeptWords(
                bytes=desk.config.limits.keep_words_mib << 20,
                seconds=desk.config.limits.keep_words_days * _DAY_S,
            ),
            stopped=lambda plan: refusal_of(registers, plan),
        )
    )


def _earlier(store: Store) -> dict[RunId, tuple[RunEvent, ...]]:
    """What watchers of an interrupted run have seen so far."""
    return {
        row.run: tuple(RunEvent(**json.loads(text)) for text in store.runs.events(row.run))
        for row in store.runs.unfinished()
    }


def _resume(trainer: "Trainer") -> None:
    try:
        run = trainer.resume()
    except RiskWeaveError:
        log.exception("the interrupted run cannot go on")
    else:
        if run is not None:
            log.info("run %s goes on", run)


def _stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped
