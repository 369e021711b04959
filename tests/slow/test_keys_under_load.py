"""All certificates are renewed and one partner is revoked, while scores and a run go on.

A thousand scores a minute at one bank, some at the partner that will be revoked, and a
training run, between real processes. Nobody's request fails but those of the revoked one,
and of it nothing is answered jointly five seconds later (protocol 2.6, 2.7).
"""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import coordinator.cli
import partner_node.cli
from consortium.ledger.entries import IdentityRevoked, from_jcs
from consortium.ledger.run_bodies import RoundSum
from coordinator import control
from coordinator import wiring as operator
from coordinator.events import RunEvent
from rehearsal.federation import COORDINATOR
from riskweave_client import Applicant, Client, Failure
from tests.integration.federation import Federation, Run, write_rehearsal
from tests.integration.joint_federation import (
    desk_of,
    train_and_serve,
    trained,
    with_joint_scores,
)
from tests.slow.test_joint_processes import (
    BANK,
    CONSENT,
    CUSTOMERS,
    KILLED,
    KNOWN,
    rows_of,
)

A_MINUTE = 1_000
ASKED = 1_100
OTHERS_FROM = 1_100
HEARTBEAT_S = 5.0
ROUNDS = 250

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def joint(near: Path) -> Iterator[Federation]:
    """Trained, voted, every customer with a pseudonym; every desk answers jointly."""
    file = write_rehearsal(near / "files", {name: rows_of(name) for name in KNOWN}, rounds=5)
    text = with_joint_scores(file.read_text(encoding="utf-8"), CUSTOMERS)
    file.write_text(text, encoding="utf-8")
    with Federation.running(near, file) as federation:
        train_and_serve(federation, KNOWN, trained)
        yield federation


@dataclass(frozen=True, slots=True)
class Answered:
    """One request that came back."""

    began: float
    ended: float
    fallback: str


class Load:
    """Requests at one desk, so many a minute, each person once; in threads of its own.

    Each is a message of one, which has ten seconds where a single question has half a one:
    what is looked for is what a changed key costs, not what a busy machine does.
    """

    def __init__(self, socket: Path, persons: range, a_minute: int, threads: int = 8) -> None:
        self._socket, self._persons = socket, iter(persons)
        self._pause = 60.0 / a_minute
        self._began = time.monotonic()
        self._asked = 0
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self.answered: list[Answered] = []
        self.failed: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _next(self) -> tuple[int, float] | None:
        """The next person, and when it is asked for: the rate is kept, not the pause."""
        with self._turn:
            number = next(self._persons, None)
            self._asked += 1
            return None if number is None else (number, self._began + self._asked * self._pause)

    def _ask(self) -> None:
        with Client(f"unix:{self._socket}") as desk:
            while not self._stop.is_set() and (due := self._next()) is not None:
                number, at = due
                self._stop.wait(max(0.0, at - time.monotonic()))
                began = time.monotonic()
                try:
                    (score,) = desk.score_batch([Applicant(f"P{number}", CONSENT)])
                except Exception as error:  # noqa: BLE001 - every kind of failure counts
                    self.failed.append(f"{type(error).__name__}: {error}")
                    continue
                if isinstance(score, Failure):
                    self.failed.append(str(score))
                    continue
                self.answered.append(Answered(began, time.monotonic(), score.fallback or ""))

    def wait(self) -> None:
        """Until every person was asked for."""
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        self.wait()


def last_admitted(directory: Path, asker: str) -> float:
    """When a node last let a request of an asker in, seconds; 0.0 if it never did."""
    uri = f"file:{directory / 'scoring.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
        (found,) = database.execute(
            "SELECT max(at) FROM requests WHERE requester = ?", [asker]
        ).fetchone()
    return float(found or 0)


def stamps(federation: Federation) -> dict[str, int]:
    """Of every certificate, when its file was written last."""
    files = {name: federation.directory(name) / "keys" / "node.pem" for name in KNOWN}
    files[COORDINATOR] = federation.directory(COORDINATOR) / "keys" / "tls.pem"
    return {name: path.stat().st_mtime_ns for name, path in files.items()}


def ended(run: Run) -> RunEvent:
    """The run's last event, however slow the machine is."""
    while run.lost is None:
        with contextlib.suppress(AssertionError):  # another minute
            return run.wait_for_end()
    raise run.lost


def _report(figures: dict[str, object]) -> None:
    """For who wants the figures: RISKWEAVE_FIGURES names a file."""
    if path := os.environ.get("RISKWEAVE_FIGURES"):
        Path(path).write_text(json.dumps(figures) + "\n", encoding="utf-8")


def test_no_request_fails_while_all_certificates_change_and_a_partner_is_revoked(
    joint: Federation,
) -> None:
    plan = joint.rehearsal.plan_text.replace("rounds = 5", f"rounds = {ROUNDS}")
    assert f"rounds = {ROUNDS}" in plan
    run = Run(control.start_run(joint.places.control_socket, plan))
    run.wait_for_round(5)
    load = Load(desk_of(joint, BANK), range(ASKED), A_MINUTE)
    others = Load(desk_of(joint, KILLED), range(ASKED, ASKED + 100), 60, threads=2)
    before = stamps(joint)
    assert coordinator.cli.main(["rotate", str(joint.directory(COORDINATOR))]) == 0
    for name in KNOWN:
        assert partner_node.cli.main(["rotate", str(joint.directory(name))]) == 0
    assert all(stamps(joint)[name] > then for name, then in before.items())
    for name in KNOWN:
        joint.wait(
            lambda name=name: joint.log_of(name).count("goes on with another certificate") == 2,  # type: ignore[misc]
            what=f"both streams of {name} have changed over",
            blame=name,
        )
    changed = time.monotonic()
    home = str(joint.directory(COORDINATOR))
    assert coordinator.cli.main(["revoke", home, KILLED, "--reason", "key_stolen"]) == 0
    revoked, wall = time.monotonic(), operator.now()
    joint.wait(lambda: KILLED not in joint.connected(), what="its streams end", blame=KILLED)
    cut = time.monotonic() - revoked
    load.wait()
    others.stop()
    end = ended(run)

    figures = _figures(load, others, revoked=revoked, changed=changed)
    _report(figures | {"streams_cut_s": round(cut, 2), "run": end.stage})
    assert load.failed == others.failed == []
    assert figures["bank_local"] == 0
    assert figures["revoked_joint_after_5s"] == 0
    assert figures["revoked_joint_before"] != 0
    assert cut < HEARTBEAT_S
    assert end.stage == "finished"
    for name in sorted(set(KNOWN) - {KILLED}):
        assert last_admitted(joint.directory(name), KILLED) <= wall + HEARTBEAT_S
    with joint.store() as store:
        bodies = [from_jcs(data).body for data in store.log.entries()]
    index = next(i for i, one in enumerate(bodies) if isinstance(one, IdentityRevoked))
    sums = [one for one in bodies[index:] if isinstance(one, RoundSum)]
    assert sums
    assert all(KILLED not in one.request.roster for one in sums[1:])


def _figures(load: Load, others: Load, *, revoked: float, changed: float) -> dict[str, object]:
    times = sorted(one.ended - one.began for one in load.answered)
    seconds = max(one.ended for one in load.answered) - min(one.began for one in load.answered)
    joint = [one for one in others.answered if not one.fallback]
    return {
        "asked": len(load.answered),
        "per_minute": round(60 * len(load.answered) / seconds),
        "p50_ms": round(1000 * times[len(times) // 2]),
        "p99_ms": round(1000 * times[int(0.99 * len(times))]),
        "bank_local": sum(bool(one.fallback) for one in load.answered),
        "bank_after": sum(one.began > revoked for one in load.answered),
        "while_changing": sum(one.began < changed for one in load.answered),
        "revoked_joint_before": sum(one.ended <= revoked for one in joint),
        "revoked_joint_after_5s": sum(one.ended > revoked + HEARTBEAT_S for one in joint),
    }
