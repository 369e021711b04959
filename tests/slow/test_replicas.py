"""Two coordinators over one PostgreSQL: the one that leads is killed, or frozen and woken.

Real processes, a run under way, scores asked all the while. The other takes the run up where
the database says it stands, nobody's request stays without an answer, and a leader that wakes
up when another leads writes nothing (docs/adr/0044).
"""

import contextlib
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consortium.errors import TransportError
from coordinator import cli as coordinator_cli
from coordinator import control
from coordinator.config import load_config
from coordinator.events import RunEvent
from coordinator.leadership import leader_of
from regulator import cli as regulator_cli
from rehearsal.federation import COORDINATOR
from rehearsal.joint import serves, token_loads
from rehearsal.processes import Processes, free_ports, riskweave
from tests.integration.federation import (
    Federation,
    Run,
    aborted,
    key_of,
    summed,
    write_rehearsal,
)
from tests.integration.joint_federation import desk_of, with_joint_scores
from tests.postgres_house import PostgresServer
from tests.slow.test_joint_processes import BANK, CUSTOMERS, KNOWN, rows_of
from tests.slow.test_keys_under_load import Load, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE_S = 180.0
ROUNDS = 60
A_MINUTE = 120
RETRYABLE = {"R06", "unavailable"}
OTHER = "replica"


@dataclass
class Pair:
    """A federation whose coordinator has two replicas, each in a directory of its own."""

    live: Federation
    homes: dict[str, Path]
    asked: int = 0
    said: dict[str, int] = field(default_factory=dict)
    """By replica: what its log held when it was started last."""

    @property
    def _processes(self) -> Processes:
        return self.live.processes

    def wait(self, condition: Callable[[], bool], what: str, blame: str) -> None:
        self._processes.wait_until(condition, PATIENCE_S, what=what, blame=blame)

    def status(self, name: str) -> control.Status | None:
        try:
            return control.fetch_status(self.homes[name] / "control.sock")
        except TransportError:
            return None

    def leader(self) -> str:
        (found,) = [
            name
            for name in self.homes
            if name in self._processes.names and self.status(name) is not None
        ]
        return found

    def other(self, name: str) -> str:
        return next(one for one in self.homes if one != name)

    def start(self, name: str) -> None:
        log = self.live.places.logs / f"{name}.log"
        self.said[name] = log.stat().st_size if log.exists() else 0
        self._processes.start(name, riskweave("coordinator", "serve", str(self.homes[name])))

    def new_words(self, name: str) -> str:
        return self.live.log_of(name)[self.said.get(name, 0) :]

    def stand_by(self, name: str) -> None:
        self.start(name)
        self.wait(
            lambda: "standby: another replica leads" in self.new_words(name),
            f"{name} stands by",
            name,
        )

    def wait_for_partners(self, name: str) -> None:
        wanted = {party.id for party in self.live.rehearsal.parties}

        def there() -> bool:
            status = self.status(name)
            partners = () if status is None else status.partners
            return wanted == {one.partner for one in partners if one.training and one.scoring}

        self.wait(there, f"all are at {name}", name)

    def start_run(self, name: str) -> Run:
        plan = self.live.rehearsal.plan_text.replace("rounds = 5", f"rounds = {ROUNDS}")
        return Run(control.start_run(self.homes[name] / "control.sock", plan))

    def load(self) -> Load:
        """Scores asked at one bank, each person once."""
        first, self.asked = self.asked, self.asked + 400
        return Load(desk_of(self.live, BANK), range(first, self.asked), A_MINUTE, threads=4)

    def hold(self, run: Run) -> int:
        """A round is under way: one partner is frozen in it until the leader is gone."""
        return self.live.hold_in_round(
            run, "shop_c", lambda: self.live.send("shop_c", signal.SIGSTOP)
        )


@pytest.fixture(scope="module")
def pair(postgres: PostgresServer) -> Iterator[Pair]:
    """Trained, voted, every desk answers jointly; then a second replica, a standby."""
    with tempfile.TemporaryDirectory(prefix="rw-") as place:
        near, url = Path(place), postgres.url(postgres.database())
        file = write_rehearsal(
            near / "files", {name: rows_of(name) for name in KNOWN}, rounds=5, storage=url
        )
        text = with_joint_scores(file.read_text(encoding="utf-8"), CUSTOMERS)
        file.write_text(text, encoding="utf-8")
        with Federation.running(near, file) as live:
            with token_loads({name: live.directory(name) for name in KNOWN}) as loads:
                version = live.start_run().wait_for_end().version
                assert version
                live.steps.vote_all(version)
                loads.wait(live.processes.check)
            homes = {COORDINATOR: live.directory(COORDINATOR), OTHER: near / "work" / OTHER}
            found = Pair(live, homes)
            second_replica(found, near)
            wait_for_joint_scores(found)
            yield found


def second_replica(pair: Pair, near: Path) -> None:
    """As docs/operations.md has it: a backup restored elsewhere, with addresses of its own."""
    first, second, file = *pair.homes.values(), str(near / "replica.tar")
    assert coordinator_cli.main(["backup", str(first), file]) == 0
    assert coordinator_cli.main(["restore", file, str(second)]) == 0
    settings, toml = load_config(first), second / "coordinator.toml"
    text, both = toml.read_text(encoding="utf-8"), {}
    for old, port in zip(
        (settings.federation_address, settings.enrolment_address), free_ports(2), strict=True
    ):
        assert f'"{old}"' in text
        text = text.replace(f'"{old}"', f'"127.0.0.1:{port}"')
        both[old] = f"{old},127.0.0.1:{port}"
    toml.write_text(text, encoding="utf-8")
    pair.stand_by(OTHER)
    for name in KNOWN:
        toml = pair.live.directory(name) / "node.toml"
        text = toml.read_text(encoding="utf-8")
        for old, new in both.items():
            assert f'"{old}"' in text
            text = text.replace(f'"{old}"', f'"{new}"')
        toml.write_text(text, encoding="utf-8")
        pair.live.kill(name, signal.SIGTERM)
        pair.live.start(name)
    pair.wait_for_partners(COORDINATOR)


def wait_for_joint_scores(pair: Pair) -> None:
    for name in KNOWN:
        pair.wait(
            lambda name=name: serves(desk_of(pair.live, name), ""), f"{name} serves", name
        )  # type: ignore[misc]


def check_nothing_is_lost(pair: Pair, end: RunEvent, tmp_path: Path) -> None:
    """Every round closed, every charge booked once, no incident; the audit finds nothing."""
    live, home = pair.live, pair.homes[pair.leader()]
    attempts = live.attempts(end.run)
    rounds = [one.round for one in attempts if one.kind.value == "gradient"]
    assert rounds == sorted(rounds)
    assert set(rounds) == set(range(1, ROUNDS + 1))
    assert {reason for one in aborted(attempts) for reason in one.reasons} <= RETRYABLE
    assert live.model(end.version).statement["rounds"] == ROUNDS
    for party in live.rehearsal.parties:
        charged = [key_of(one) for one in live.debits(party.id, end.run)]
        assert len(charged) == len(set(charged))
        assert summed(attempts, party.id) <= set(charged)
        uri = f"file:{live.directory(party.id) / 'node.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            assert database.execute("SELECT count(*) FROM incidents").fetchone() == (0,)
    live.steps.wait_for_witnesses()
    bundle = tmp_path / "audit.zip"
    assert coordinator_cli.main(["bundle", str(home), str(bundle)]) == 0
    manifest = live.steps._manifest()
    assert regulator_cli.main(["verify", str(bundle), "--manifest", manifest]) == 0


def epoch_of(pair: Pair) -> int:
    with pair.live.store() as store:
        led = leader_of(store)
    assert led is not None
    return led.epoch


def test_leader_killed_with_9_in_a_round_is_followed_by_its_standby(
    pair: Pair, tmp_path: Path
) -> None:
    leader = pair.leader()
    standby, epoch = pair.other(leader), epoch_of(pair)
    run, load = pair.start_run(leader), pair.load()
    pair.hold(run)
    pair.live.kill(leader)
    pair.live.send("shop_c", signal.SIGCONT)
    pair.wait_for_partners(standby)
    run.follow(control.watch_run(pair.homes[standby] / "control.sock", ""))
    end = ended(run)
    load.stop()
    assert end.stage == "finished"
    assert any(one.text == "resumed" for one in run.events)
    assert load.failed == []
    assert epoch_of(pair) == epoch + 1
    check_nothing_is_lost(pair, end, tmp_path)
    wait_for_joint_scores(pair)
    pair.stand_by(leader)


def test_leader_that_wakes_up_when_another_leads_writes_nothing_and_ends(
    pair: Pair, tmp_path: Path
) -> None:
    leader = pair.leader()
    standby, epoch = pair.other(leader), epoch_of(pair)
    run, load = pair.start_run(leader), pair.load()
    pair.hold(run)
    pair.live.send(leader, signal.SIGSTOP)
    pair.live.send("shop_c", signal.SIGCONT)
    zombie = pair.live.processes._running.pop(leader).popen
    try:
        pair.wait_for_partners(standby)
        assert epoch_of(pair) == epoch + 1
        os.killpg(zombie.pid, signal.SIGCONT)
        assert zombie.wait(PATIENCE_S) == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(zombie.pid, signal.SIGKILL)
    words = pair.new_words(leader)
    assert f"epoch {epoch} of this leader is over, it is {epoch + 1} now" in words
    run.follow(control.watch_run(pair.homes[standby] / "control.sock", ""))
    end = ended(run)
    load.stop()
    assert end.stage == "finished"
    assert load.failed == []
    assert epoch_of(pair) == epoch + 1
    check_nothing_is_lost(pair, end, tmp_path)
    wait_for_joint_scores(pair)
