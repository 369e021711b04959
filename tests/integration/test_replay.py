"""A run of real processes, and every node's replay of it while it serves."""

import json
from pathlib import Path

import pytest

from consortium.ledger.findings import Grade
from coordinator import commands, wiring
from partner_node import cli as node_cli
from partner_node import cli_replay
from regulator import cli as regulator_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, rows_of, write_table


def replayed(
    live: Federation, name: str, *words: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = node_cli.main(["replay", str(live.directory(name)), *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_upload_of_a_real_run_is_made_again_by_its_node_and_by_the_regulator(
    live: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = live.start_run().wait_for_end()
    live.steps.wait_for_witnesses()
    bundle = tmp_path / "bundle.zip"
    desk = wiring.open_desk(live.directory(COORDINATOR))
    digest = commands.write_bundle(desk, bundle, uploads=True)
    audit = audit_file(bundle, digest)
    # A run that another test killed may have left debits that no closing names: a warning.
    found = {one.name for one in audit.findings if one.grade is not Grade.NOTE}
    assert found <= {"debit.stray"}
    run = next(one for one in audit.runs if one.run == end.run)
    # The words are in the bundle, so the sums are opened: of this run none is left unproven.
    closed = {one.index for one in run.closings}
    unopened = [one for one in audit.findings if one.name == "sum.unopened"]
    assert not closed & {at for one in unopened for at in one.entries}

    for party in live.rehearsal.parties:
        code, report = replayed(live, party.id, "--run", end.run, capsys=capsys)
        attempts = report["attempts"]
        assert isinstance(attempts, list)
        assert {one["outcome"] for one in attempts} == {"equal"}, report
        assert len(attempts) == len(live.journal(party.id, end.run))
        assert (code, report["judgement"], report["seed"]) == (0, "passed", "as committed")

    opened = tmp_path / "opened.jsonl"
    words = ["--run", end.run, "--sum", "1", "3", "--opened", str(opened)]
    code, report = replayed(live, "bank_b", *words, capsys=capsys)
    assert code == 0
    assert opened.stat().st_mode & 0o777 == 0o600
    asked = ["replay", str(bundle), "--manifest", digest, "--opened", str(opened), "--json"]
    assert regulator_cli.main(asked) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["judgement"] == "passed"
    assert [one["made"] for one in other["attempts"]] == [
        one["made"]
        for one in report["attempts"]  # type: ignore[union-attr]
    ]


def test_rows_that_the_owner_changed_since_are_said_as_such(
    live: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    end = live.start_run().wait_for_end()
    path = live.rehearsal.path.parent / "bank_a.parquet"
    write_table(path, rows_of("bank_a", 1999))
    try:
        code, report = replayed(live, "bank_a", "--run", end.run, "--round", "1", capsys=capsys)
    finally:
        write_table(path, rows_of("bank_a"))
    assert code == cli_replay.INCOMPLETE
    (attempt,) = report["attempts"]  # type: ignore[misc]
    assert (attempt["outcome"], attempt["parts"]) == ("incomplete", ["rows"])
