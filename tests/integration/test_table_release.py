"""A table between real processes: counted at nodes, released once, proven by the audit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.credit.figure_forms import STATES
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import NoisyTable
from consortium.credit.table_document import parse_table_document
from consortium.errors import ConfigurationError
from consortium.figure import FigureKind
from consortium.ledger.findings import Grade
from coordinator import commands, control, wiring
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.table_storage import TableRow, TableStore
from partner_node import cli as node_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, Run, write_table

SPEC = figure(FigureKind.ROLL_RATES, "2026-01", "2026-02", Wanted(synthetic=True))
LINES = """
    SELECT 'l' || i AS line, 'p' || i AS person, month_end, DATE '2025-01-15' AS opened_on,
           'OPEN' AS status, 5000 AS credit_limit, 1000 AS balance, 1000 AS statement,
           100 AS due, 100 AS paid, 10 AS debits,
           CASE WHEN i % 10 = 0 AND month_end = DATE '2026-02-28' THEN 15 ELSE 0 END AS dpd
    FROM range({rows}) AS persons(i), (VALUES (DATE '2026-01-31'), (DATE '2026-02-28'))
         AS ends(month_end)
    ORDER BY line, month_end"""
ROWS = {"bank_a": 400, "bank_b": 300, "shop": 200}


@pytest.fixture(scope="module")
def counted(live: Federation) -> Iterator[Federation]:
    """Every node has its table of lines."""
    for party in live.rehearsal.parties:
        folder = live.directory(party.id) / "credit"
        folder.mkdir(exist_ok=True)
        write_table(folder / "lines.parquet", LINES.format(rows=ROWS.get(party.id, 200)))
        query = "query = \"SELECT * FROM 'lines.parquet'\"\n"
        (folder / "lines.toml").write_text(query, encoding="utf-8")
    yield live
    for party in live.rehearsal.parties:
        (live.directory(party.id) / "credit" / "lines.toml").unlink()


def released(live: Federation, text: str) -> tuple[str, TableRow, NoisyTable]:
    """Run the plan; the run, the row and the table that it made."""
    end = Run(control.start_run(live.places.control_socket, text)).wait_for_end()
    assert end.stage == "finished", end.text
    with live.store() as store:
        (row,) = [one for one in TableStore(store).tables() if one.run == end.run]
    assert end.version == row.digest
    return end.run, row, parse_table_document(row.document).table


@pytest.mark.slow
def test_a_table_is_counted_released_once_charged_at_each_node_and_proven_by_the_audit(
    counted: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = counted
    text = table_plan_text(SPEC, FigureTerms(epsilon="1", attempts=1))
    run, row, table = released(live, text)

    rows = sum(ROWS.get(party.id, 200) for party in live.rehearsal.parties)
    lines, place = table.measure("lines"), STATES.index("M0")
    spread = 6 * table.deviation("lines")
    assert abs(lines[place, place] - 0.9 * rows) < spread
    assert abs(lines[place, STATES.index("M1")] - 0.1 * rows) < spread
    assert table.synthetic
    assert table.epsilon == "1.0000"

    for party in live.rehearsal.parties:
        (debit,) = live.debits(party.id, run)
        assert debit.kind.value == "table"
        capsys.readouterr()
        assert node_cli.main(["budget", str(live.directory(party.id)), "--json"]) == 0
        accounts = {one["scope"]: one for one in json.loads(capsys.readouterr().out)["scopes"]}
        assert run in {one["run"] for one in accounts["tables"]["runs"]}
        assert run not in {one["run"] for one in accounts["training"]["runs"]}
        words = ["replay", str(live.directory(party.id)), "--run", run, "--json"]
        assert node_cli.main(words) == 0
        report = json.loads(capsys.readouterr().out)
        assert {one["outcome"] for one in report["attempts"]} == {"equal"}

    # The same figure again: nothing is counted, and no entry is added to the log.
    with live.store() as store:
        before = len(store.log.entries())
        for _ in range(1_000):
            assert TableStore(store).of_figure(row.figure) == row
        assert len(store.log.entries()) == before
    with pytest.raises(ConfigurationError, match="this table is there"):
        list(control.start_run(live.places.control_socket, text))

    live.steps.wait_for_witnesses()
    bundle = tmp_path / "bundle.zip"
    digest = commands.write_bundle(wiring.open_desk(live.directory(COORDINATOR)), bundle)
    audit = audit_file(bundle, digest)
    assert {one.name for one in audit.findings if one.grade is not Grade.NOTE} == set()
    assert table in audit.tables


def test_a_figure_that_the_manifest_does_not_name_is_refused_by_every_node(
    counted: Federation,
) -> None:
    spec = figure(FigureKind.CONCENTRATION, "2026-02", "2026-02", Wanted(bound=10_000))
    text = table_plan_text(spec, FigureTerms(epsilon="1", attempts=1))
    run = Run(control.start_run(counted.places.control_socket, text))
    end = run.wait_for_end()
    assert end.stage == "failed"
    assert "R05" in end.text
    for party in counted.rehearsal.parties:
        assert counted.debits(party.id, end.run) == []
