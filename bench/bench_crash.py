"""A hundred kills at random moments, during training and scoring: is anything lost?

Four nodes and a coordinator on PostgreSQL, real processes with mutual TLS. One small model is
trained after the other, and at two of the nodes a bank's system asks for scores. All the time
somebody is killed with SIGKILL and started again at once: a node with its training process, the
coordinator, all its connections to the database, or the database's server. Whom, and how long
after the kill before, comes from a seeded hash; nobody waits until the last victim is well.

At the end, when all have come to rest:

* every budget entry, log entry, cosigned head and event that was acknowledged is there, see
  ``bench.crash_record``; and the regulator's program verifies the bundle;
* every question has an answer or a refusal with its reason, see ``bench.crash_asking``; asked
  again under its key, an answered one brings the same answer;
* every run has ended, and its model is the one that the same seeds make when nobody is killed,
  or its record names the attempts that were made again; see ``bench.crash_twin``. In either
  case its sums follow from the seeds and the JOINs on record.

Without a PostgreSQL server on this machine the database is SQLite, and no connection is cut.
``BENCH_CRASH_KILLS`` sets the number of kills.
"""

import hashlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import pytest

from bench.crash_asking import Asking
from bench.crash_record import Record
from bench.crash_twin import Twin
from bench.joint_federation import trained
from bench.result import Result
from consortium.errors import RiskWeaveError, StorageError
from consortium.ids import RunId
from coordinator import control
from coordinator.config import DATABASE
from coordinator.events import RunEvent
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, write_rehearsal
from tests.integration.joint_federation import desk_of, train_and_serve, with_joint_scores
from tests.postgres_house import PostgresServer, postgres_server

mpl.use("Agg")
from matplotlib import pyplot as plt

KILLS = 100
ROUNDS = 12
PERSONS = 1_200
SEED = b"riskweave crash 1"
LONGEST_GAP_S = 14.0
"""Between two kills; half of it on average."""
RATE = 2.0
"""Questions a second at each asking desk."""
ASKERS = ("bank_a", "shop_c")
REPEATED = 100
END_S = 300.0
"""Longest wait for rest at the end."""
_POLL_S = 0.1
CONNECTIONS, SERVER = "connections", "database"
KNOWN = {
    "bank_a": "i % 2 = 0",
    "bank_b": "i % 2 = 1",
    "shop_c": "i % 3 = 0",
    "shop_d": "i % 3 = 1",
}
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
_CUSTOMERS = {"bank_a": 700, "bank_b": 700, "shop_c": 700, "shop_d": 700}


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill."""

    at: float
    """Seconds after the start."""
    victim: str
    training: bool
    """Whether a run was under way."""


@dataclass
class Crashes:
    """A federation under fire."""

    federation: Federation
    postgres: tuple[PostgresServer, str] | None
    record: Record
    began: float = field(default_factory=time.monotonic)
    kills: list[Kill] = field(default_factory=list)
    runs: list[RunId] = field(default_factory=list)
    last: threading.Event = field(default_factory=threading.Event)
    """No run is started any more."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Nobody is looked after any more."""
    gave_up: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves, by name."""
    _training: bool = False
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds after the start."""
        return time.monotonic() - self.began

    @property
    def victims(self) -> list[str]:
        """By weight: half of the kills hit nodes."""
        others = [COORDINATOR, COORDINATOR]
        if self.postgres is not None:
            others += [CONNECTIONS, SERVER]
        return [*KNOWN, *others]

    def kill_all(self, kills: int) -> None:
        """One after the other, at moments that nobody chooses."""
        for number in range(kills):
            word = hashlib.sha256(SEED + number.to_bytes(4, "big")).digest()
            time.sleep(LONGEST_GAP_S * int.from_bytes(word[:8], "big") / 2**64)
            victim = self.victims[int.from_bytes(word[8:16], "big") % len(self.victims)]
            self.kills.append(Kill(self.now(), victim, self._training))
            print(f"  {self.now():6.1f} s: {number + 1} {victim}", flush=True)
            self._kill(victim)

    def _kill(self, victim: str) -> None:
        if victim not in {CONNECTIONS, SERVER}:
            with self._turn:
                self.federation.kill(victim)
                self.federation.start(victim)
        elif self.postgres is not None:
            server, name = self.postgres
            if victim == SERVER:
                server.restart()
            else:
                server.sql(_CUT.format(name=name))

    def look_after(self) -> None:
        """Start again whoever gave up by itself, as a service manager does."""
        while not self.stop.wait(_POLL_S):
            with self._turn:
                for name in (*KNOWN, COORDINATOR):
                    if self.federation.ended(name):
                        self.gave_up[name] += 1
                        print(f"  {self.now():6.1f} s: {name} gave up", flush=True)
                        self.federation.start(name)

    # --- training -----------------------------------------------------------------------------

    def train_always(self) -> None:
        """One run after the other, each to its end, whoever dies meanwhile."""
        while not self.last.is_set():
            self._training = True
            with suppress(RiskWeaveError):
                self._train()
            self._rest()

    def _train(self) -> None:
        socket = self.federation.places.control_socket
        self._listen(control.start_run(socket, self.federation.rehearsal.plan_text))

    def _listen(self, events: Iterator[RunEvent]) -> None:
        for event in events:
            self._hear(event.run)
            self.record.on_event(event)

    def _hear(self, run: RunId) -> None:
        if run not in self.runs:
            self.runs.append(run)

    def _rest(self) -> None:
        """Until no run is under way: the coordinator goes on with one by itself."""
        while (under_way := self._under_way()) is None or under_way:
            with suppress(RiskWeaveError):
                self._listen(control.watch_run(self.federation.places.control_socket, ""))
            time.sleep(_POLL_S)
        self._training = False

    def _under_way(self) -> bool | None:
        """Whether a run is; None if nobody can say."""
        try:
            with self.federation.store() as store:
                for run in store.runs.ids():
                    self._hear(run)
                return bool(store.runs.unfinished())
        except StorageError:
            return None


def run(out: Path) -> Result:
    """Kills, and what was lost by them."""
    out.mkdir(parents=True, exist_ok=True)
    kills = int(os.environ.get("BENCH_CRASH_KILLS", KILLS))
    # A unix socket's path is short: no directory under build/.
    with (
        tempfile.TemporaryDirectory(prefix="rwx-") as name,
        _database() as postgres,
        _federation(Path(name), postgres) as federation,
    ):
        crashes = Crashes(federation, postgres, Record(federation, tuple(KNOWN)))
        asking = _asking(federation)
        with crashes.record.keeping():
            with asking.going_on():
                _under_fire(crashes, kills)
            repeated = asking.repeated(REPEATED)
        figures = _figures(crashes, asking, repeated)
    _plot(out / "crash.svg", crashes, asking)
    return Result(name="crash", figures=figures, anchors={}, ratios={})


def _under_fire(crashes: Crashes, kills: int) -> None:
    training = threading.Thread(target=crashes.train_always, daemon=True)
    looking = threading.Thread(target=crashes.look_after, daemon=True)
    for thread in (training, looking):
        thread.start()
    try:
        crashes.kill_all(kills)
    finally:
        crashes.last.set()
    training.join(END_S)
    crashes.stop.set()
    looking.join()
    crashes.federation.wait_for(*KNOWN)


def _figures(crashes: Crashes, asking: Asking, repeated: int) -> dict[str, object]:
    federation = crashes.federation
    federation.steps.wait_for_witnesses()
    lost = crashes.record.lost()
    questions = asking.figures()
    runs = _compared(crashes)
    return {
        "kills": len(crashes.kills),
        "lost_entries": sum(lost.values()),
        "unanswered": questions["unanswered"],
        "same_digest": runs["same"],
        "retried_on_record": runs["retried"],
        "unexplained": runs["unexplained"],
        "follow_from_seeds": runs["follows"],
        "runs": len(crashes.runs),
        "ends": runs["ends"],
        "victims": dict(Counter(one.victim for one in crashes.kills)),
        "gave_up": dict(crashes.gave_up),
        "kills_in_a_run": sum(one.training for one in crashes.kills),
        "acknowledged": crashes.record.counts,
        "lost": lost,
        "bundle": federation.steps.audit().verdict,
        "questions": questions,
        "answered_otherwise": repeated,
        "minutes": round(crashes.now() / 60, 1),
    }


def _compared(crashes: Crashes) -> dict[str, object]:
    """How many runs gave the same model, were made again in part, or neither."""
    found: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for run_id in crashes.runs:
        with crashes.federation.store() as store:
            row = store.runs.get(run_id)
        status = "lost" if row is None else row.status
        reason = f"failed: {row.detail}" if row is not None and status == "failed" else status
        ends[reason] += 1
        if status != "finished":
            continue
        twin = Twin(crashes.federation, run_id)
        found["follows"] += twin.follows()
        if twin.undisturbed() == twin.version:
            found["same"] += 1
        elif twin.retried:
            found["retried"] += 1
        else:
            found["unexplained"] += 1
    kinds = ("same", "retried", "unexplained", "follows")
    return {**{kind: found[kind] for kind in kinds}, "ends": dict(ends)}


# --- the federation ---------------------------------------------------------------------------


@contextmanager
def _database() -> Iterator[tuple[PostgresServer, str] | None]:
    """A PostgreSQL server with an empty database, or None where there is no server."""
    server = postgres_server()
    try:
        found = server.__enter__()
    except pytest.skip.Exception:
        yield None
        return
    try:
        yield found, found.database()
    finally:
        server.__exit__(None, None, None)


@contextmanager
def _federation(
    directory: Path, postgres: tuple[PostgresServer, str] | None
) -> Iterator[Federation]:
    """Trained once, voted for, every customer with a pseudonym; every desk answers jointly."""
    storage = DATABASE if postgres is None else postgres[0].url(postgres[1])
    tables = {name: _rows(name) for name in KNOWN}
    file = write_rehearsal(directory / "files", tables, rounds=ROUNDS, storage=storage)
    text = file.read_text(encoding="utf-8")
    text = with_joint_scores(text.replace('\nepsilon = "8"', '\nepsilon = "3"'), _CUSTOMERS)
    # A round waits for all four: then a run is either made again in part or the same.
    text = text.replace("\nmin_partners = 3", "\nmin_partners = 4")
    file.write_text(text, encoding="utf-8")
    with Federation.running(directory, file) as federation:
        train_and_serve(federation, KNOWN, trained)
        yield federation


def _rows(name: str) -> str:
    """Persons of one partner; badness rises with both features of the tiny schema."""
    return f"""
        SELECT 'P' || i AS person, (hash(i, 1) % 5)::INT AS late,
               (hash(i, 2) % 1000) / 1000.0 AS used,
               (hash(i, 3) % 100 < 6 + 10 * late + 30 * used)::INT AS bad
        FROM range({PERSONS}) AS numbers(i) WHERE {KNOWN[name]}"""


def _asking(federation: Federation) -> Asking:
    # Everybody's number is a multiple of six: a customer of both desks.
    persons = [f"P{number}" for number in range(0, PERSONS, 6)]
    return Asking({name: desk_of(federation, name) for name in ASKERS}, persons, RATE)


def _plot(path: Path, crashes: Crashes, asking: Asking) -> None:
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 5), sharex=True)
    names = sorted(set(crashes.victims))
    upper.scatter(
        [one.at for one in crashes.kills],
        [names.index(one.victim) for one in crashes.kills],
        s=14,
        c=["tab:red" if one.training else "tab:grey" for one in crashes.kills],
    )
    upper.set_yticks(range(len(names)), names)
    upper.set_title("kill -9; red: during a training run", fontsize=9)
    for joint, colour, label in (
        (True, "tab:green", "joint"),
        (False, "tab:orange", "own, with the reason"),
    ):
        some = [
            one
            for one in asking.questions
            if one.answer is not None and one.answer.joint == joint
        ]
        lower.scatter(
            [one.at - crashes.began for one in some],
            [one.seconds for one in some],
            s=3,
            c=colour,
            label=label,
        )
    lower.set_yscale("log")
    lower.set_ylabel("s until the answer")
    lower.set_xlabel("s")
    lower.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
