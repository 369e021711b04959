"""A whole federation of real processes on loopback, for tests that break parts of it.

Set-up is the rehearsal's own, through the command lines of both roles. A test then freezes,
kills, fills disks or puts something on the wire, and asserts on what is left on disk, in the
registry and in the run's log. Nothing waits by the clock: every wait is for a condition.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import duckdb
import psutil
import pytest

from consortium.documents import parse_document
from consortium.errors import TransportError
from consortium.plan import ReleaseKind
from consortium.privacy.budget import Debit
from consortium.release import Attempt, Outcome
from coordinator import config as coordinator_config
from coordinator import control
from coordinator.config import DATABASE
from coordinator.events import RunEvent
from coordinator.model_storage import ModelRow
from coordinator.storage import Store
from models.document import ModelDocument, parse_model_document, verify_version
from models.run_state import RunState
from rehearsal.config import Rehearsal
from rehearsal.config_reading import load_rehearsal
from rehearsal.federation import COORDINATOR, Places
from rehearsal.federation import Federation as Steps
from rehearsal.processes import Processes, riskweave
from tests.simulator import FAMILIES, SCHEMA

PATIENCE_S = 60.0
"""Longest wait for anything: a busy machine is not an error."""

_RUNS = 40
"""Lifetime budget of a test's node, in epsilon: enough for every run of a module."""

Tables = Mapping[str, str]
"""Partner -> the SELECT that makes its table."""

_HEAD = """
[rehearsal]
title = "test"
storage = "{storage}"
epsilon = "8"
max_partners_per_person = 2
min_partners = {floor}
vote_quorum = {floor}

[rehearsal.gate]
most_changes = "1"
least_agreement = "0"

[rehearsal.figures]
kinds = ["campaign", "closures", "demand", "roll_rates", "vintages"]
lifetime_epsilon = "40"

[plan]
rounds = {rounds}
holdout_salt = "test"
"""

_BLOCK = """
[[block]]
name = "{name}"
families = ["{name}"]
normaliser = 2000
"""

_PARTNER = """
[[partner]]
id = "{name}"
families = ["{family}"]
query = "SELECT * FROM '{name}.parquet'"
person = "person"
label = "bad"
budget = {{ run_epsilon = "8", lifetime_epsilon = "{lifetime}" }}
"""


def rows_of(name: str, rows: int = 2000) -> str:
    """A SELECT of persons whose badness rises with both features of the tiny schema."""
    return f"""
        SELECT '{name}-' || i AS person, (hash(i, '{name}', 1) % 5)::INT AS late,
               (hash(i, '{name}', 2) % 1000) / 1000.0 AS used,
               (hash(i, '{name}', 3) % 100 < 6 + 10 * late + 30 * used)::INT AS bad
        FROM range({rows}) AS numbers(i)"""  # noqa: S608 - constants of the tests


def write_rehearsal(
    directory: Path,
    tables: Tables | None = None,
    *,
    schema: str = SCHEMA,
    rounds: int = 40,
    storage: str = DATABASE,
) -> Path:
    """A rehearsal file of some of the simulator's partners, a schema and their tables."""
    tables = tables or {name: rows_of(name) for name in FAMILIES}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "schema.toml").write_text(schema, encoding="utf-8")
    text = _HEAD.format(floor=len(tables) - 1, rounds=rounds, storage=storage)
    families = [FAMILIES[name][0] for name in tables]
    for family in dict.fromkeys(families):
        text += _BLOCK.format(name=family)
    for (name, query), family in zip(tables.items(), families, strict=True):
        text += _PARTNER.format(name=name, family=family, lifetime=_RUNS)
        write_table(directory / f"{name}.parquet", query)
    file = directory / "rehearsal.toml"
    file.write_text(text, encoding="utf-8")
    return file


def write_table(path: Path, query: str) -> None:
    """Write, or replace, a partner's table."""
    fresh = path.with_suffix(".new")
    duckdb.execute(f"COPY ({query}) TO '{fresh}' (FORMAT parquet)")
    fresh.replace(path)


class Run:
    """A run that is followed in the background, through a coordinator's death, too."""

    def __init__(self, events: Iterator[RunEvent]) -> None:
        self._changed = threading.Condition()
        self.events: list[RunEvent] = []
        self.lost: TransportError | None = None
        self.follow(events)

    def follow(self, events: Iterator[RunEvent]) -> None:
        """Follow from the run's first event on."""
        self.events, self.lost = [], None
        threading.Thread(target=self._follow, args=(events,), daemon=True).start()

    def _follow(self, events: Iterator[RunEvent]) -> None:
        try:
            for event in events:
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except TransportError as error:
            with self._changed:
                self.lost = error
                self._changed.notify_all()

    def wait(self, found: Callable[[RunEvent], bool], *, after: int = 0) -> RunEvent:
        """The first event, from number ``after`` on, for which ``found`` holds."""

        def first() -> RunEvent | None:
            return next((event for event in self.events[after:] if found(event)), None)

        def ready() -> bool:
            return first() is not None or self.lost is not None or self._ended()

        with self._changed:
            self._changed.wait_for(ready, PATIENCE_S)
            event = first()
        assert event is not None, f"in vain; lost: {self.lost}; seen: {self.events[-3:]}"
        return event

    def wait_for_round(self, number: int) -> RunEvent:
        """A closed gradient of that number or a later one."""
        return self.wait(lambda one: one.stage == "training" and one.round >= number)

    def wait_for_end(self) -> RunEvent:
        """The final event."""
        return self.wait(lambda one: one.final)

    def _ended(self) -> bool:
        return bool(self.events) and self.events[-1].final


@dataclass
class Federation:
    """A coordinator and its nodes, each in a process group of its own."""

    rehearsal: Rehearsal
    places: Places
    processes: Processes
    disks: "dict[str, SmallDisk]" = field(default_factory=dict)
    """Small file systems under the directories of some roles."""

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, directory: Path, file: Path, *, disks: Sequence[str] = ()
    ) -> Iterator["Federation"]:
        """Enrolled, under a manifest signed by all, connected; stopped at the end."""
        places = Places(work=directory / "work", logs=directory / "logs")
        places.work.mkdir(mode=0o700, exist_ok=True)
        places.logs.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            small = {name: stack.enter_context(SmallDisk(places.work / name)) for name in disks}
            processes = stack.enter_context(Processes(places.logs))
            federation = cls(load_rehearsal(file), places, processes, small)
            steps = federation.steps
            steps.set_up()
            steps.wait_for_all()
            yield federation

    @property
    def steps(self) -> Steps:
        """The rehearsal's own way of doing things."""
        return Steps(self.rehearsal, self.places, self.processes)

    def need_small_disks(self) -> None:
        """Skip the test where no file system may be mounted."""
        if not all(disk.available for disk in self.disks.values()):
            pytest.skip("a file system of its own takes the right to mount one")

    def fill(self, name: str) -> None:
        """Leave no byte on a role's disk, nor room in its database's log for one more row."""
        database = "coordinator.db" if name == COORDINATOR else "node.db"
        with contextlib.closing(sqlite3.connect(self.directory(name) / database)) as connection:
            self.wait(
                lambda: (
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
                ),
                what="the log is empty",
                blame=name,
            )
        self.disks[name].fill()

    def free(self, name: str) -> None:
        """Give the space back."""
        self.disks[name].free()

    # --- processes ----------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a role's process on its directory."""
        role = "coordinator" if name == COORDINATOR else "node"
        self.processes.start(name, riskweave(role, "serve", str(self.directory(name))))

    def send(self, name: str, number: int) -> None:
        """Send a signal to a process and all its children."""
        os.killpg(self.processes.pid(name), number)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a process with its children, and forget it: its end is no failure."""
        running = self.processes._running.pop(name)
        os.killpg(running.popen.pid, number)
        running.popen.wait(PATIENCE_S)

    def ended(self, name: str) -> bool:
        """Whether a process that was started has ended by itself."""
        return self.processes._running[name].popen.poll() is not None

    def worker(self, name: str) -> psutil.Process:
        """The training process of a node."""
        children = psutil.Process(self.processes.pid(name)).children()
        (worker,) = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
        return worker

    def wait(self, condition: Callable[[], bool], *, what: str, blame: str) -> None:
        """Wait for a condition; RehearsalError with a log if it does not come."""
        self.processes.wait_until(condition, PATIENCE_S, what=what, blame=blame)

    def log_of(self, name: str) -> str:
        """All that a process has said."""
        return (self.places.logs / f"{name}.log").read_text(encoding="utf-8")

    # --- the coordinator ----------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Where the federation door is."""
        config = coordinator_config.load_config(self.places.coordinator)
        host, _, port = config.federation_address.rpartition(":")
        return host, int(port)

    def connected(self) -> set[str]:
        """Partners with both streams up; nobody while the coordinator is down."""
        try:
            status = control.fetch_status(self.places.control_socket)
        except TransportError:
            return set()
        return {one.partner for one in status.partners if one.training and one.scoring}

    def wait_for(self, *names: str) -> None:
        """Wait until these partners are connected."""
        wanted = set(names)
        self.wait(lambda: wanted <= self.connected(), what=f"{names} are here", blame=names[0])

    def start_run(self) -> Run:
        """Start the rehearsal's plan."""
        return Run(control.start_run(self.places.control_socket, self.rehearsal.plan_text))

    def watch_run(self, run: Run) -> None:
        """Follow the newest run again, from its first event."""
        run.follow(control.watch_run(self.places.control_socket, ""))

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The coordinator's database."""
        config = coordinator_config.load_config(self.places.coordinator)
        with contextlib.closing(Store(config.storage_url)) as store:
            yield store

    def attempts(self, run: str) -> tuple[Attempt, ...]:
        """All attempts on record, in order."""
        with self.store() as store:
            checkpoint = store.runs.checkpoint(run)  # type: ignore[arg-type]
        assert checkpoint is not None
        return parse_document(RunState, checkpoint.payload).attempts

    def model(self, version: str) -> ModelDocument:
        """A released model, checked as a node checks it."""
        row = self.model_row(version)
        verify_version(row.document, row.version)
        return parse_model_document(row.document, self.rehearsal.schema)

    def model_row(self, version: str) -> ModelRow:
        """A model as it stands in the registry."""
        with self.store() as store:
            (row,) = [one for one in store.models.all() if one.version == version]
        return row

    # --- the nodes ----------------------------------------------------------------------------

    def directory(self, name: str) -> Path:
        """The directory of a role."""
        return self.places.work / name

    def debits(self, name: str, run: str) -> list[Debit]:
        """What a node charged for a run, read beside its own process, without a lock."""
        database = f"file:{self.directory(name) / 'node.db'}?mode=ro"
        query = "SELECT kind, round, attempt, units FROM budget_entry WHERE run = ?"
        with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
            rows = connection.execute(query, [run]).fetchall()
        return [
            Debit(run=run, kind=ReleaseKind(kind), round=number, attempt=attempt, units=units)  # type: ignore[arg-type]
            for kind, number, attempt, units in rows
        ]

    def journal(self, name: str, run: str) -> list[tuple[str, int, int]]:
        """Kind, round and attempt of every upload of a run in a node's journal."""
        database = f"file:{self.directory(name) / 'node.db'}?mode=ro"
        query = "SELECT kind, round, attempt FROM disclosures WHERE run = ? AND round > 0"
        with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
            return list(connection.execute(query, [run]))

    def progress(self, name: str, run: str) -> tuple[int, int]:
        """JOINs and charges of a node, and the last round of gradients that it joined."""
        database = f"file:{self.directory(name) / 'node.db'}?mode=ro"
        joins = "SELECT count(*), max(CASE kind WHEN 'gradient' THEN round END) FROM joins"
        with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
            made, last = connection.execute(f"{joins} WHERE run = ?", [run]).fetchone()
        return int(made) + len(self.debits(name, run)), int(last or 0)

    def hold_in_round(self, run: Run, name: str, freeze: Callable[[], None]) -> int:
        """Freeze ``name`` and wait until a round is under way that it does not answer.

        It is still connected, so every later request goes to it as well: once another
        node has joined or uploaded more often, the frozen one is waited for.

        Returns:
            The round.
        """
        number = run.wait_for_round(5).run
        other = next(party.id for party in self.rehearsal.parties if party.id != name)
        freeze()
        self.wait(
            lambda: self.progress(other, number)[0] > self.progress(name, number)[0],
            what=f"a round waits for {name}",
            blame=COORDINATOR,
        )
        return self.progress(other, number)[1]


def summed(attempts: Sequence[Attempt], member: str) -> set[tuple[str, int, int]]:
    """The attempts that this member's upload went into."""
    return {
        (one.kind.value, one.round, one.attempt)
        for one in attempts
        if one.outcome is Outcome.SUMMED and member in one.roster
    }


def aborted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts that came to nothing."""
    return [one for one in attempts if one.outcome is Outcome.ABORTED]


def key_of(debit: Debit) -> tuple[str, int, int]:
    """What a debit was for."""
    return debit.kind.value, debit.round, debit.attempt


class SmallDisk:
    """A file system of a few megabytes under a directory, to be filled and freed.

    Without the right to mount one, the directory stays as it is; see ``need_small_disks``.
    """

    def __init__(self, directory: Path, *, megabytes: int = 16) -> None:
        self._directory = directory
        self._ballast = directory / "ballast"
        directory.mkdir(parents=True, exist_ok=True)
        mount = shutil.which("mount") or "mount"
        command = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs"]
        done = subprocess.run([*command, str(directory)], check=False, capture_output=True)  # noqa: S603
        self.available = done.returncode == 0

    def fill(self) -> None:
        """Leave no byte."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        umount = shutil.which("umount") or "umount"
        if self.available:
            subprocess.run([umount, "-l", str(self._directory)], check=True)  # noqa: S603
