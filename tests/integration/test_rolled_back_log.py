"""A coordinator whose database goes back to an older copy in the middle of a run."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from consortium.ledger.entries import Incident, from_jcs
from consortium.ledger.findings import Grade
from coordinator import commands, wiring
from partner_node import cli as node_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, write_rehearsal


def incidents(live: Federation, name: str) -> list[str]:
    database = f"file:{live.directory(name) / 'node.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
        return [kind for (kind,) in connection.execute("SELECT kind FROM incidents")]


@pytest.mark.slow
def test_coordinator_that_is_rolled_back_gets_nothing_more_and_the_auditor_sees_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rehearsal(tmp_path / "f", rounds=200)
    with Federation.running(tmp_path, file) as live:
        names = [party.id for party in live.rehearsal.parties]
        run = live.start_run()
        number = run.wait_for_round(3).run
        live.kill(COORDINATOR)
        directory, copy = live.directory(COORDINATOR), tmp_path / "copy"
        copy.mkdir()
        for one in directory.glob("coordinator.db*"):
            shutil.copy(one, copy / one.name)
        live.start(COORDINATOR)
        live.wait_for(*names)
        live.watch_run(run)
        run.wait_for_round(max(8, run.events[-1].round + 3 if run.events else 8))
        live.kill(COORDINATOR)
        for one in directory.glob("coordinator.db*"):
            one.unlink()
        for one in copy.iterdir():
            shutil.copy(one, directory / one.name)
        before = {name: len(live.debits(name, number)) for name in names}
        live.start(COORDINATOR)
        for name in names:
            live.wait(
                lambda name=name: bool(incidents(live, name)),  # type: ignore[misc]
                what=f"{name} raises an alarm",
                blame=name,
            )
        live.wait(lambda: _said(live) >= len(names), what="it is in the log", blame=COORDINATOR)
        assert {name: len(live.debits(name, number)) for name in names} == before
        capsys.readouterr()
        node_cli.main(["status", str(live.directory(names[0])), "--json"])
        state = json.loads(capsys.readouterr().out)
        assert state["incident"].split(": ")[1] in {
            "log.rollback",
            "log.fork",
            "log.rewritten",
        }
        path = tmp_path / "bundle.zip"
        audit = audit_file(path, commands.write_bundle(wiring.open_desk(directory), path))
        found = {(one.grade, one.name) for one in audit.findings}
        assert (Grade.WARNING, "incident") in found
        assert (Grade.ERROR, "head.quorum") in found


def _said(live: Federation) -> int:
    with live.store() as store:
        entries = [from_jcs(one) for one in store.log.entries()]
    return len({one.actor for one in entries if isinstance(one.body, Incident)})
