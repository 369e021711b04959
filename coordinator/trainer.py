"""Runs training in its own thread: start, store after every sum, resume, release.

One run at a time. The thread owns the session; streams, database and clock are ports. A
coordinator that dies goes on after the last closed sum when it is started again
(protocol 12.6).
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import ConfigurationError, RiskWeaveError, StorageError
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import Manifest
from consortium.messages import SumRequest
from consortium.plan import ModelKind, TrainingPlan
from coordinator import gating, run_record, table_releases
from coordinator.audit_log import AuditLog
from coordinator.events import EventLog, RunEvent
from coordinator.exclusions import left_out
from coordinator.flower_grid import BidiGrid, Hub, run_app
from coordinator.model_storage import GateRow
from coordinator.plans import PlanContext, parse_plan, wants_again
from coordinator.releases import candidate_of
from coordinator.round_witnesses import RoundWitnesses, WitnessedRun
from coordinator.run_record import RunRecord
from coordinator.run_storage import CheckpointRow, SumRow
from coordinator.server_app import Deadlines, RunPorts, build_server_app
from coordinator.storage import Store
from coordinator.table_releases import figure_digest, table_row
from coordinator.table_storage import TableStore
from models.gate import gate_inputs
from models.run import ClosedSum, RunFailedError, RunSession, StoppedError
from models.run_state import RunState

log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_AGAIN_S = 1.0
"""Pause before the database is tried again."""

STAGES = {
    "bins": "bins",
    "gradient": "training",
    "recalibration": "recalibration",
    "overlap": "overlap",
    "evaluation": "evaluation",
    "table": "table",
}


class Streams(Hub, Protocol):
    """What the trainer needs of the streams."""

    def wait_for(
        self, predicate: Callable[[tuple[PartnerId, ...]], bool], timeout_s: float
    ) -> bool:
        """Wait until the set of connected partners satisfies ``predicate``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptWords:
    """How long the masked words of closed sums are kept for an auditor, and how many."""

    bytes: int = run_record.WORDS_BYTES
    """Of one sum at most; 0: none are."""
    seconds: int = 90 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerPorts:
    """The trainer's surroundings, read once in ``wiring``."""

    store: Store
    hub: Streams
    manifest: Callable[[], Manifest | None]
    """The manifest in force, or None before all have signed one."""
    schema: Schema
    code: Digest
    """Digest of the software here, put into plans as what nodes are asked to run."""
    now: Callable[[], int]
    run_id: Callable[[], RunId]
    log: EventLog
    deadlines: Deadlines
    audit: AuditLog | None = None
    """The log of protocol 8; None: nothing of a run is logged."""
    words: KeptWords = KeptWords()
    stopped: Callable[[TrainingPlan], str] = lambda _: ""
    """Why the risk register lets no such run begin; empty: it does (credit row 12)."""


class Trainer:
    """Starts, watches and resumes runs."""

    def __init__(self, ports: TrainerPorts) -> None:
        self._ports = ports
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self, plan_text: str) -> RunId:
        """Check the plan, store the run, train it in the background.

        Raises:
            ConfigurationError: the plan, no manifest in force, a head of a model that is not
            active, a run is under way, or the risk register stops it.
        """
        manifest = self._manifest()
        context = PlanContext(
            run=self._ports.run_id(),
            manifest=manifest,
            schema=self._ports.schema,
            code=self._ports.code,
        )
        plan = parse_plan(plan_text, context)
        self._check_figure(plan, plan_text)
        if why := self._ports.stopped(plan):
            raise ConfigurationError(why)
        active = self._ports.store.models.active()
        if plan.base is not None and (active is None or active.version != plan.base):
            raise ConfigurationError(f"plan.base: {plan.base[:12]} is not the active model")
        with self._turn:
            if self.running:
                raise ConfigurationError("a run is under way; one at a time")
            audit = self._ports.audit
            self._ports.store.runs.add(
                plan.run,
                document_of(plan),
                plan_digest(plan),
                self._ports.now(),
                entries=() if audit is None else run_record.proposed(audit, plan),
            )
            self._tell(RunEvent(run=plan.run, stage="preparing", rounds=plan.rounds))
            self._begin(plan, manifest)
        return plan.run

    def _check_figure(self, plan: TrainingPlan, text: str) -> None:
        """A figure that is there is not counted again unless somebody says so (13.11)."""
        if plan.figure is None or wants_again(text):
            return
        known = TableStore(self._ports.store).of_figure(figure_digest(plan.figure))
        if known is not None:
            raise ConfigurationError(
                f"this table is there: release {known.release}; asking for it again costs "
                "nothing, and counting it anew (again = true) is a new charge"
            )

    def resume(self) -> RunId | None:
        """Go on with the run that a crash interrupted, if there is one."""
        unfinished = self._ports.store.runs.unfinished()
        if not unfinished:
            return None
        for stale in unfinished[:-1]:
            self._set_failed(stale.run, "superseded")
        plan = parse_document(TrainingPlan, unfinished[-1].plan)
        manifest = self._manifest()
        if plan.manifest != manifest.digest:
            text = "the manifest changed while the coordinator was down"
            self._set_failed(plan.run, text)
            return None
        with self._turn:
            self._tell(
                RunEvent(run=plan.run, stage="preparing", rounds=plan.rounds, text="resumed")
            )
            self._begin(plan, manifest)
        return plan.run

    @property
    def log(self) -> EventLog:
        """Events of the runs of this process."""
        return self._ports.log

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._thread is not None and self._thread.is_alive()

    def events(self, run: RunId, after: int, timeout_s: float) -> Iterable[RunEvent]:
        """Events of the run from number ``after`` on; waits for the first."""
        return self._ports.log.events(run, after, timeout_s)

    def stop(self) -> None:
        """Let the run end after its current attempt; it resumes at the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _manifest(self) -> Manifest:
        manifest = self._ports.manifest()
        if manifest is None:
            raise ConfigurationError("no manifest is in force: not all partners have signed")
        return manifest

    def _begin(self, plan: TrainingPlan, manifest: Manifest) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(plan, manifest), name="trainer", daemon=True
        )
        self._thread.start()

    def _run(self, plan: TrainingPlan, manifest: Manifest) -> None:
        try:
            self._train(plan, manifest)
        except StoppedError:
            log.info("run %s pauses; it resumes at the next start", plan.run)
        except RiskWeaveError as error:
            self._fail(plan, str(error))
        except Exception as error:
            self._fail(plan, f"internal error: {type(error).__name__}")
            log.exception("run %s", plan.run)
            raise

    def _fail(self, plan: TrainingPlan, text: str) -> None:
        log.error("run %s failed: %s", plan.run, text)
        with suppress(StoppedError):
            self._durably(plan.run, lambda: self._set_failed(plan.run, text))
            self._tell(RunEvent(run=plan.run, stage="failed", text=text))

    def _set_failed(self, run: RunId, text: str) -> None:
        audit = self._ports.audit
        entries: tuple[bytes, ...] = ()
        if audit is not None:
            checkpoint = self._ports.store.runs.checkpoint(run)
            attempts = 0 if checkpoint is None else checkpoint.attempts
            entries = run_record.failed(audit, run, attempts)
        self._ports.store.runs.set_status(run, "failed", text, entries=entries)

    def _train(self, plan: TrainingPlan, manifest: Manifest) -> None:
        began, store = time.monotonic(), self._ports.store
        rows = self._read(plan.run, lambda: store.runs.sums(plan.run))
        sums = [_closed_sum(row) for row in rows]
        session = RunSession(plan, self._ports.schema)
        checkpoint = self._read(plan.run, lambda: store.runs.checkpoint(plan.run))
        if checkpoint is not None:
            resume_at(session, parse_document(RunState, checkpoint.payload), sums)
        audit = self._ports.audit
        record, witnesses = None, None
        if audit is not None:

            def durably(write: Callable[[], None]) -> None:
                self._durably(plan.run, write)

            record = RunRecord(
                audit, manifest, durably=durably, words_bytes=self._ports.words.bytes
            )
            keep = self._ports.words.seconds
            durably(lambda: self._ports.store.runs.drop_words(self._ports.now() - keep))
            witnesses = RoundWitnesses(
                WitnessedRun(
                    log=audit,
                    manifest=manifest,
                    durably=durably,
                    tell=lambda text: self._ports.log.append(
                        RunEvent(run=plan.run, stage="waiting", text=text)
                    ),
                    stopping=self._stopping.is_set,
                )
            )
        ports = RunPorts(
            manifest=manifest,
            wait_for_change=self._wait_for_change,
            on_closed=lambda request, seconds, closed: self._closed(
                session, record, (request, seconds, closed)
            ),
            sums=sums,
            stopping=self._stopping.is_set,
            record=record,
            witnesses=witnesses,
        )
        app = build_server_app(session, ports, self._ports.deadlines)
        with BidiGrid(self._ports.hub, plan.run) as grid:
            run_app(app, grid)
        publish = self._publish if session.is_table else self._release
        version = publish(plan, manifest, session)
        self._tell(
            RunEvent(
                run=plan.run,
                stage="finished",
                round=plan.rounds,
                rounds=plan.rounds,
                seconds=time.monotonic() - began,
                version=version,
            )
        )

    def _release(self, plan: TrainingPlan, manifest: Manifest, session: RunSession) -> Digest:
        """Keep the candidate with its gate, and say both in the log; its version."""
        candidate = candidate_of(session, manifest)
        store, at, audit = self._ports.store, self._ports.now(), self._ports.audit
        version, document = candidate.version, candidate.document
        entries: tuple[bytes, ...] = ()
        gate: GateRow | None = None
        if audit is not None:
            attempts = len(session.state.attempts)
            audits = self._read(plan.run, store.models.audits)
            made = gating.gate_of(version, gate_inputs(session), manifest, audits)
            gate = self._read(plan.run, lambda: gating.row_of(made, audit))
            said = self._read(
                plan.run,
                lambda: run_record.released(
                    audit, plan.run, attempts, version=version, document=document
                ),
            )
            entries = (*said, gate.entry)
        self._durably(
            plan.run,
            lambda: store.models.add(
                version,
                plan.run,
                document,
                at,
                base=plan.base,
                beside=plan.model.value if plan.model is ModelKind.HAZARD else "",
                gate=gate,
                entries=entries,
            ),
        )
        self._durably(plan.run, lambda: store.runs.set_status(plan.run, "finished", version))
        return version

    def _publish(self, plan: TrainingPlan, _: Manifest, session: RunSession) -> Digest:
        """Keep the table under its release id, and close the run with it; its digest."""
        row = table_row(session, self._ports.now())
        audit, attempts = self._ports.audit, len(session.state.attempts)
        entries: tuple[bytes, ...] = ()
        if audit is not None:
            entries = self._read(
                plan.run, lambda: table_releases.released(audit, row, attempts)
            )
        store = self._ports.store
        self._durably(plan.run, lambda: TableStore(store).add(row, entries=entries))
        text = f"release {row.release}"
        self._tell(RunEvent(run=plan.run, stage="table", text=text))
        self._durably(plan.run, lambda: store.runs.set_status(plan.run, "finished", row.digest))
        return row.digest

    def _closed(
        self,
        session: RunSession,
        record: RunRecord | None,
        attempt: tuple[SumRequest, float, ClosedSum | None],
    ) -> None:
        """Store the state and its entries before anybody hears of it."""
        request, seconds, closed = attempt
        last = session.state.attempts[-1]
        text = ""
        if last.missing:
            pairs = zip(last.missing, last.reasons, strict=True)
            text = "aborted: " + ", ".join(f"{name} ({reason})" for name, reason in pairs)
            out = left_out(session, last.roster) & set(last.missing)
            text += "".join(f"; {name} is left out" for name in sorted(out))
        event = RunEvent(
            run=request.run,
            stage=STAGES[request.kind.value],
            round=request.round,
            rounds=session.plan.rounds if request.kind.value == "gradient" else 1,
            attempt=request.attempt,
            seconds=seconds,
            text=text,
        )
        store = self._ports.store
        entries = () if record is None else record.closing(request, last, closed)
        words = None if record is None else record.words(closed)
        self._durably(
            request.run,
            lambda: keep_attempt(
                store, session, event, closed, entries, words=words, at=self._ports.now()
            ),
        )
        self._ports.log.append(event)
        if self._stopping.is_set():
            raise StoppedError("the coordinator is stopping")

    def _wait_for_change(self, seconds: float) -> bool:
        before = self._ports.hub.connected()
        return self._ports.hub.wait_for(lambda now: now != before, seconds)

    def _tell(self, event: RunEvent) -> None:
        text = _text(event)
        self._durably(event.run, lambda: self._ports.store.runs.add_event(event.run, text))
        self._ports.log.append(event)

    def _read(self, run: RunId, look: Callable[[], T]) -> T:
        """What ``look`` makes of the database, as soon as that can be read."""
        found: list[T] = []
        self._durably(run, lambda: found.append(look()))
        return found[-1]

    def _durably(self, run: RunId, write: Callable[[], None]) -> None:
        """Write, and wait as long as the database cannot: what the nodes paid for is kept.

        Raises:
            StoppedError: the coordinator stops while the database cannot.
        """
        told = False
        while True:
            try:
                write()
            except StorageError as error:
                if not told:
                    log.error("run %s waits: %s", run, error)  # noqa: TRY400 - expected
                    self._ports.log.append(
                        RunEvent(run=run, stage="waiting", text=f"the run waits: {error}")
                    )
                    told = True
                if self._stopping.wait(STORE_AGAIN_S):
                    raise StoppedError("the coordinator is stopping") from error
            else:
                return


def resume_at(session: RunSession, kept: RunState, sums: Iterable[ClosedSum]) -> None:
    """Run the machine on the stored sums, as every node does; attempts are on record.

    Raises:
        StorageError: the sums do not lead to where the checkpoint says that the run stands.
    """
    for closed in sums:
        session.on_sum(closed)
    reached = session.state
    if (reached.head, reached.closed) != (kept.head, kept.closed):
        raise StorageError(f"{reached.closed} sums are stored, the run has {kept.closed}")
    session.state = replace(reached, attempt=kept.attempt, attempts=kept.attempts)


def replayed(store: Store, schema: Schema, run: RunId) -> RunSession:
    """The machine of a finished run, taken through its stored sums again.

    Raises:
        ConfigurationError: no such run. RunFailedError: it is not finished.
    """
    row = store.runs.get(run)
    if row is None:
        raise ConfigurationError(f"no run {run}")
    session = RunSession(parse_document(TrainingPlan, row.plan), schema)
    for sum_row in store.runs.sums(run):
        session.on_sum(_closed_sum(sum_row))
    if not session.finished:
        raise RunFailedError(f"run {run} is not finished")
    return session


def keep_attempt(  # noqa: PLR0913, PLR0917 - what is stored at once
    store: Store,
    session: RunSession,
    event: RunEvent,
    closed: ClosedSum | None,
    entries: Sequence[bytes] = (),
    *,
    words: bytes | None = None,
    at: int = 0,
) -> None:
    """Store the run's state after an attempt, the sum and its words, event and entries."""
    attempts = session.state.attempts
    checkpoint = CheckpointRow(
        run=session.plan.run,
        stage=attempts[-1].kind.value,
        round=attempts[-1].round,
        attempts=len(attempts),
        # By far its largest part follows from the sums: see resume_at.
        payload=document_of(replace(session.state, optimizer=b"")),
    )
    row = None if closed is None else _sum_row(session.state.closed, closed)
    store.runs.save_checkpoint(
        checkpoint, row, _text(event), entries=entries, words=words, at=at
    )


def _text(event: RunEvent) -> str:
    return json.dumps(asdict(event))


def _sum_row(number: int, closed: ClosedSum) -> SumRow:
    return SumRow(
        run=closed.request.run,
        number=number,
        request=document_of(closed.request),
        joined=closed.joined,
        total=closed.total.astype("<i8").tobytes(),
    )


def _closed_sum(row: SumRow) -> ClosedSum:
    return ClosedSum(
        request=parse_document(SumRequest, row.request),
        joined=Digest(row.joined),
        total=np.frombuffer(row.total, dtype="<i8").astype(np.int64),
    )
