"""A node serves: its two streams, its desk and its doors, until a signal.

The training process is started before any channel exists. The curve library comes from the
node's own directory before anything of it is used; what loads DuckDB and models is imported
meanwhile, so that a command that only needs a part of this file starts fast.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_node import timetable, wiring
from partner_node.budget import caps
from partner_node.keystore import Pin
from partner_node.link import Link
from partner_node.link_ports import Ports
from partner_node.log_mirror import LogMirror
from partner_node.ristretto_library import load_ristretto
from partner_node.witnessing import LogState
from partner_node.worker import Worker
from upkeep.health_door import Page, open_health
from upkeep.traces import Outlet, Traces, open_traces

if TYPE_CHECKING:
    from partner_node.answers import JointAnswer
    from partner_node.metrics import Metrics
    from partner_node.scoring_session import ScoringSession
    from partner_node.vitals import Vitals

log = logging.getLogger(__name__)

_SWITCH_S, _PAUSE_S = 0.001, 0.0005
"""How long a thread may keep the interpreter from the loop, and how long it then rests."""

_DAY_S = 86_400


def serve(directory: Path) -> None:
    """Keep the streams up and answer, until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: not joined, or another process serves this node.
        CertificateError: the certificate has expired.
        StorageError: the database cannot be opened.
    """
    desk = wiring.open_desk(directory)
    desk.keys.check_modes()
    desk.config.joined()
    desk.keys.tls(desk.config.partner, now=wiring.now())
    desk.keys.identity()
    with wiring.only_one(directory):
        desk.store().close()
        worker = Worker(directory)
        try:
            outlet = Outlet(note=desk.left().note, stopped=lambda: desk.switch.on)
            with open_traces(wiring.environment(), "riskweave-node", outlet) as traces:
                asyncio.run(_serve(desk, worker, traces))
        finally:
            worker.stop()


async def _serve(desk: wiring.Desk, worker: Worker, traces: Traces) -> None:
    from partner_node.metrics import Counted  # noqa: PLC0415 - as the session
    from partner_node.traced import Traced  # noqa: PLC0415 - likewise
    from partner_node.vitals import Vitals  # noqa: PLC0415 - likewise

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("%s dials %s", desk.config.partner, desk.config.joined().federation)
    mirror = wiring.mirror_of(desk)
    witness = wiring.witnessing(desk, mirror)
    vitals = Vitals()
    with scoring_session(desk, witness.state) as session:
        worker.attach(session.study, session.impact)
        traced = Traced(traces, wiring.now_ns)
        metrics = _metrics(desk, session, vitals, traced.on_scores)
        ports = Ports(
            dial=desk.dial,
            pin=SignedPin(desk).get,
            handle=traced.handle(worker.handle),
            entropy=wiring.fresh_bytes,
            scoring=traced.port(Counted(session, metrics.on_sent)),
            stopped=lambda: desk.switch.on,
            renewed=desk.keys.certificate_stamp,
            on_change=vitals.on_change,
            note=desk.left().note,
        )
        async with _desk_open(desk, session), _health(desk, vitals, metrics):
            await _until(
                stop,
                Link(ports).run(stop),
                session.run(stop),
                witness.run(stop),
                *_by_the_clock(desk, mirror, stop),
            )
    log.info("stopping")


@asynccontextmanager
async def _desk_open(desk: wiring.Desk, session: "ScoringSession") -> AsyncIterator[None]:
    """What the partner's own systems and the owner's commands ask, over the session."""
    from partner_node import (  # noqa: PLC0415 - as the session
        desk_serving,
        node_control,
        scoring_parts,
    )
    from partner_node.credit.doors import CreditDesk  # noqa: PLC0415 - likewise
    from partner_node.credit.opening import open_papers, open_service  # noqa: PLC0415 - likewise

    now = wiring.now
    loans = scoring_parts.loan_desk(desk, session, now, entropy=wiring.entropy)
    scores = scoring_parts.decision_scores(desk, session, loans, now)
    async with AsyncExitStack() as stack:
        token = scoring_parts.tokens(session)
        service = stack.enter_context(open_service(desk, scores, token))
        papers = stack.enter_context(open_papers(desk, service))
        deadline_ms = desk.config.credit.deadline_ms
        credit = CreditDesk(service, papers, deadline_ms=deadline_ms)
        doors = desk_serving.open_doors(desk.config, loans, now=now, credit=credit)
        listening = node_control.listening(desk.config.directory, session)
        await stack.enter_async_context(listening)
        await stack.enter_async_context(doors)
        yield


def _by_the_clock(
    desk: wiring.Desk, mirror: LogMirror, stop: asyncio.Event
) -> tuple[Coroutine[Any, Any, None], ...]:
    from partner_node.renewal import renew_when_due  # noqa: PLC0415 - as the session

    return (
        timetable.erase_when_due(desk, stop),
        timetable.tell_of_days(desk, mirror, stop),
        renew_when_due(desk, wiring.now, stop),
        timetable.flush_left(desk.left(), stop),
    )


def _health(
    desk: wiring.Desk, vitals: "Vitals", metrics: "Metrics"
) -> AbstractAsyncContextManager[None]:
    def ready() -> Page:
        vitals.check()
        return Page(b"ready\n")

    pages = {"/readyz": ready, "/metrics": metrics.page}
    return open_health(desk.config.directory, pages, desk.config.metrics)


def _metrics(
    desk: wiring.Desk,
    session: "ScoringSession",
    vitals: "Vitals",
    also: "Callable[[Sequence[JointAnswer], float], None]",
) -> "Metrics":
    """What is told and read of all parts; ``also`` is told of scores."""
    from partner_node.credit.storage import CreditStore  # noqa: PLC0415 - as the session
    from partner_node.metrics import Metrics, Sizes  # noqa: PLC0415 - likewise

    decisions = CreditStore(desk.config.credit_database)

    def capped() -> tuple[Mapping[str, int], str]:
        pin = desk.keys.pinned()
        if pin is None:
            return {}, ""
        policy = pin.manifest.policy
        return caps(policy, wiring.own_caps(desk)), policy.delta

    def days() -> int:
        until = desk.keys.certificate_until(desk.config.partner) or 0
        return (until - wiring.now()) // _DAY_S

    sizes = Sizes(
        caps=capped,
        certificate_days=days,
        decisions=decisions.decided,
        kill_switch=lambda: desk.switch.on,
        joint=lambda: not session.status().fallback,
        left=desk.left().rows,
        now=wiring.now,
    )
    metrics = Metrics(desk.config.directory, desk.store(), vitals, sizes)

    def on_scores(answers: "Sequence[JointAnswer]", seconds: float) -> None:
        metrics.on_scores(answers, seconds)
        also(answers, seconds)

    session.on_scores = on_scores
    return metrics


async def _until(stop: asyncio.Event, *parts: Coroutine[Any, Any, None]) -> None:
    """Run all parts; when one fails the others stop."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            task = group.create_task(part)
            task.add_done_callback(lambda _: stop.set())


@contextmanager
def scoring_session(
    desk: wiring.Desk, log_state: LogState | None = None
) -> "Iterator[ScoringSession]":
    """The session, for the loop that runs the streams; ``log_state``: whom it may answer.

    Raises:
        ConfigurationError: the curve library cannot be loaded from the node's directory.
        StorageError: the database cannot be opened.
    """
    load_ristretto(desk.config.directory / "lib")
    from partner_node import scoring_parts  # noqa: PLC0415 - needs the library

    # The loop waits for the interpreter no longer than this while a table is read.
    sys.setswitchinterval(_SWITCH_S)
    store = scoring_parts.scoring_store(desk, wiring.now)
    state = log_state or LogState()
    with ThreadPoolExecutor(desk.config.scoring.threads, "curve") as pool:
        outside = scoring_parts.Outside(
            now_ms=wiring.now_ms,
            entropy=wiring.entropy,
            pause=lambda: wiring.pause(_PAUSE_S),
            pool=pool,
            silence=lambda: state.silence,
            revoked=lambda: state.revoked,
        )
        try:
            yield scoring_parts.open_session(desk, store, outside)
        finally:
            store.close()


class SignedPin:
    """The pinned manifest once all have signed it; asks the coordinator until they have."""

    def __init__(self, desk: wiring.Desk) -> None:
        self._desk = desk
        self._turn = asyncio.Lock()

    async def get(self) -> Pin:
        """The pin, read again each time, for an operator may have moved it.

        Raises:
            ManifestError, OutOfOrderError, SignatureError: as ``Desk.completed_pin``.
        """
        async with self._turn:
            return await asyncio.to_thread(self._desk.completed_pin)
