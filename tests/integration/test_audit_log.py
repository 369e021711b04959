"""The log of a federation of real processes, as one file in an auditor's hands."""

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

import pytest

from consortium.ids import Digest
from consortium.ledger.entries import from_jcs
from consortium.ledger.findings import Grade
from consortium.ledger.verify import Audit
from coordinator import cli as coordinator_cli
from coordinator import commands, wiring
from regulator import cli as regulator_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation


def audited(live: Federation, path: Path) -> Audit:
    """The bundle that the operator hands out, as the regulator finds it."""
    live.steps.wait_for_witnesses()
    return audit_file(
        path, commands.write_bundle(wiring.open_desk(live.directory(COORDINATOR)), path)
    )


def names(audit: Audit, grade: Grade) -> set[str]:
    return {one.name for one in audit.findings if one.grade is grade}


def test_log_of_a_run_its_votes_and_its_release_is_verified_from_one_file(
    live: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = live.start_run().wait_for_end()
    assert end.stage == "finished"
    live.steps.vote_all(end.version)
    live.steps.wait_for_witnesses()
    path = tmp_path / "bundle.zip"
    assert coordinator_cli.main(["bundle", str(live.directory(COORDINATOR)), str(path)]) == 0
    digest = capsys.readouterr().out.split()[-1]

    code = regulator_cli.main(["verify", str(path), "--manifest", digest, "--json"])
    report = json.loads(capsys.readouterr().out)
    audit = audit_file(path, Digest(digest))
    assert names(audit, Grade.ERROR) == set(), report
    # A run that another test killed may have left debits that no closing names.
    stray = names(audit, Grade.WARNING)
    assert stray <= {"debit.stray"}
    assert names(audit, Grade.NOTE) == {"audit.none", "sum.unopened"}
    assert code == (3 if stray else 0)
    assert len(audit.cosigned_by) >= 3
    run = next(one for one in audit.runs if one.run == end.run)
    assert run.replayed == len(run.closings) == len(live.attempts(end.run))
    assert len(run.commits) == len(live.rehearsal.parties)
    release = next(one for one in audit.releases if one.version == end.version)
    assert len(release.accepted) >= 3
    assert release.served is not None
    for party in live.rehearsal.parties:
        debits = [one for _, name, one in run.debits if name == party.id]
        assert len(debits) == len(live.debits(party.id, end.run))


def test_nodes_keep_what_they_said_in_their_own_databases(live: Federation) -> None:
    end = live.start_run().wait_for_end()
    with live.store() as store:
        logged = {data for data in store.log.entries() if from_jcs(data).actor == "bank_a"}
    database = f"file:{live.directory('bank_a') / 'node.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
        rows = connection.execute("SELECT type, run, data FROM own_log_entries").fetchall()
    own = {bytes(data) for _, _, data in rows}
    assert logged <= own
    kinds = {kind for kind, run, _ in rows if run in {"", end.run}}
    assert {"manifest.adopted", "run.commit", "round.join", "budget.debit"} <= kinds


def test_log_that_its_operator_changes_afterwards_is_found(
    live: Federation, tmp_path: Path
) -> None:
    directory = live.directory(COORDINATOR)
    before = audited(live, tmp_path / "before.zip")
    with contextlib.closing(sqlite3.connect(directory / "coordinator.db")) as connection:
        number, data = connection.execute(
            "SELECT number, data FROM log_entries ORDER BY number LIMIT 1 OFFSET 7"
        ).fetchone()
        update = "UPDATE log_entries SET data = ? WHERE number = ?"
        changed = data.replace(b'"at":1', b'"at":2', 1)
        assert changed != data
        with connection:
            connection.execute(update, [changed, number])
        try:
            after = audited(live, tmp_path / "after.zip")
        finally:
            with connection:
                connection.execute(update, [data, number])
    assert names(before, Grade.ERROR) == set()
    assert {"log.root", "entry.signature"} <= names(after, Grade.ERROR)
    assert number in {at for one in after.findings for at in one.entries}


@pytest.mark.slow
def test_log_of_a_run_in_which_the_coordinator_was_killed_is_verified(
    live: Federation, tmp_path: Path
) -> None:
    run = live.start_run()
    live.hold_in_round(run, "shop_c", lambda: live.send("shop_c", signal.SIGSTOP))
    live.kill(COORDINATOR)
    live.send("shop_c", signal.SIGCONT)
    live.start(COORDINATOR)
    live.wait_for(*(party.id for party in live.rehearsal.parties))
    live.watch_run(run)
    end = run.wait_for_end()
    assert end.stage == "finished"
    audit = audited(live, tmp_path / "bundle.zip")
    assert names(audit, Grade.ERROR) == set()
    assert names(audit, Grade.WARNING) == set()
    (found,) = [one for one in audit.runs if one.run == end.run]
    for party in live.rehearsal.parties:
        debits = [one for _, name, one in found.debits if name == party.id]
        assert len(debits) == len(live.debits(party.id, end.run))


@pytest.mark.slow
def test_log_of_a_run_that_lost_a_node_is_verified(live: Federation, tmp_path: Path) -> None:
    run = live.start_run()
    live.hold_in_round(run, "bank_b", lambda: live.send("bank_b", signal.SIGSTOP))
    live.kill("bank_b")
    end = run.wait_for_end()
    live.start("bank_b")
    live.wait_for("bank_b")
    assert end.stage == "finished"
    audit = audited(live, tmp_path / "bundle.zip")
    assert names(audit, Grade.ERROR) == set()
    assert names(audit, Grade.WARNING) == set()
