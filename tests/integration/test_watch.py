"""The regulator as a live member: real processes join, sign, mirror, and raise alarm."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from consortium.ids import Digest, PartnerId, digest_of
from consortium.ledger.archive import unpack
from consortium.ledger.bodies import AuditNonce
from consortium.ledger.entries import Incident, from_jcs
from consortium.ledger.findings import Findings
from consortium.ledger.note import parse_note
from consortium.manifest import Role
from regulator import cli
from regulator.mirror import read_mirror
from rehearsal.cli import main as rehearse
from tests.coordinator_house import House
from tests.rehearsal_house import furnish

PATIENCE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Process:
    """A command of ours whose lines are read as they come."""

    command: tuple[str, ...]
    lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.popen = subprocess.Popen(  # noqa: S603 - our own commands
            (sys.executable, "-m", "riskweave", *self.command),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.put(line.rstrip())
        self.lines.put(None)

    def until(self, text: str) -> str:
        """The next line that has ``text`` in it."""
        while (line := self.lines.get(timeout=PATIENCE_S)) is not None:
            self.heard.append(line)
            if text in line:
                return line
        raise AssertionError(f"{self.command}: ended before {text!r}: {self.heard}")

    def stop(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_S)

    def end(self) -> int:
        return self.popen.wait(PATIENCE_S)


@dataclass
class Live:
    """A coordinator's directory, a regulator's, and what runs."""

    house: House
    regulator: Path
    running: list[Process] = field(default_factory=list)

    @property
    def coordinator(self) -> str:
        return str(self.house.desk.config.directory)

    def start(self, *command: str) -> Process:
        process = Process(command)
        self.running.append(process)
        return process

    def serve(self) -> Process:
        process = self.start("coordinator", "serve", self.coordinator)
        process.until("serving ")
        return process

    def watch(self, *options: str) -> Process:
        return self.start("audit", "watch", str(self.regulator), *options)

    def say(self, *names: str) -> None:
        """Entries of the coordinator's own, for the log to grow."""
        log = self.house.desk.log
        log.append(
            [log.entry(Incident(kind="test", text=digest_of(n.encode()))) for n in names]
        )

    def cut(self, size: int) -> None:
        """The log as an operator with the database's password can make it."""
        with self.house.desk.store.transaction() as connection:
            connection.execute(sa.text(f"DELETE FROM log_entries WHERE number >= {size}"))  # noqa: S608 - a number of ours
            connection.execute(sa.text(f"DELETE FROM log_heads WHERE size > {size}"))  # noqa: S608 - likewise

    def entries(self) -> list[bytes]:
        return list(self.house.desk.store.log.entries())


@pytest.fixture
def live(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Live]:
    """A federation of two partners and a regulator, all of whom have signed its manifest."""
    house = House.build(tmp_path / "c")
    live = Live(house, tmp_path / "r")
    try:
        live.serve()
        token = tmp_path / "token"
        command = ("coordinator", "token", live.coordinator, "authority", "--regulator")
        assert live.start(*command, "--out", str(token)).end() == 0
        assert cli.main(["join", str(live.regulator), "--token", str(token)]) == 0
        house.manifest = house.desk.membership.propose(
            "test", house.desk.schema, house.manifest.policy
        )
        assert cli.main(["trust", str(live.regulator)]) == 0
        assert f"trust {live.regulator} {house.manifest.digest}" in capsys.readouterr().out
        assert cli.main(["trust", str(live.regulator), house.manifest.digest]) == 0
        yield live
    finally:
        for process in live.running:
            with suppress(ProcessLookupError):
                process.popen.kill()
            process.popen.wait(PATIENCE_S)
        house.desk.store.close()


def complete(live: Live) -> None:
    live.house.sign()
    assert live.house.desk.membership.current() == live.house.manifest


def test_regulator_enrols_signs_and_mirrors_a_log_that_it_cosigns(live: Live) -> None:
    member = live.house.manifest.member(PartnerId("authority"))
    assert (member.role, member.agreement, member.families) == (Role.REGULATOR, "", ())
    for path in live.regulator.rglob("*.key"):
        assert path.stat().st_mode & 0o077 == 0
    watch = live.watch()
    watch.until("not signed by bank_a, bank_b")
    complete(live)
    watch.until("log of ")
    live.say("one", "two")
    watch.until("incident 2")
    assert watch.stop() == 3
    state, mirrored = read_mirror(live.regulator)
    assert mirrored == live.entries()[: len(mirrored)]
    bodies = [from_jcs(data).body for data in mirrored]
    assert any(isinstance(body, AuditNonce) for body in bodies)
    notes = [parse_note(note) for _, note in live.house.desk.store.log.heads()]
    lines = {line.name for note in notes for line in note.signatures}
    assert "riskweave/test/authority" in lines
    assert state.head.size == len(mirrored)

    live.say("three")
    again = live.watch("--for", "600")
    assert f"from entry {state.head.size} on" in again.until("watches")
    again.until(f"log of {len(live.entries())} entries")
    assert again.stop() == 3


def grown(live: Live) -> Path:
    """Entries that the regulator has cosigned; returns where incidents will lie."""
    complete(live)
    watch = live.watch()
    watch.until("log of ")
    live.say(*(f"entry {number}" for number in range(5)))
    watch.until("incident 5")
    watch.stop()
    return live.regulator / "incidents"


def test_log_that_was_rolled_back_raises_alarm_and_is_not_cosigned(live: Live) -> None:
    incidents = grown(live)
    before, _ = read_mirror(live.regulator)
    live.cut(before.head.size - 2)
    watch = live.watch()
    watch.until("ALARM log.rollback")
    assert watch.end() == 4
    after, mirrored = read_mirror(live.regulator)
    assert after.head == before.head
    assert len(mirrored) == before.head.size
    (evidence,) = incidents.iterdir()
    shown = json.loads(evidence.read_text())
    assert (shown["kind"], shown["cosigned_size"]) == ("log.rollback", before.head.size)
    assert bytes.fromhex(shown["shown_head"]) != bytes.fromhex(shown["cosigned_head"])
    said = [from_jcs(data) for data in live.entries()]
    (raised,) = [
        one for one in said if one.actor == "authority" and isinstance(one.body, Incident)
    ]
    assert raised.body == Incident(kind="log.rollback", text=Digest(evidence.stem))
    newest = parse_note(live.house.desk.store.log.heads(last=1)[0][1])
    assert "riskweave/test/authority" not in {line.name for line in newest.signatures}

    # The alarm is on the disk: it stays until somebody settles it.
    again = live.watch()
    again.until("is not settled")
    assert again.end() == 4


@pytest.mark.slow
def test_rehearsal_with_a_live_regulator_ends_verified_under_its_cosignature_too(
    near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = near / "report"
    file = furnish(near, rows=1200, rounds=6)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("title =", 'regulator = "authority"\ntitle ='))
    assert rehearse([str(file), "--report", str(report), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-2]["verdict"] == "verified"
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert found["processes"] == 4
    told = (report / "logs" / "authority.log").read_text(encoding="utf-8")
    assert "counts: cosigned by north, south" in told
    assert "ALARM" not in told
    files = unpack((report / "audit.zip").read_bytes(), Findings())
    heads = [data for name, data in files.items() if name.startswith("checkpoint")]
    assert any(b"riskweave/rehearsal/authority" in head for head in heads)
