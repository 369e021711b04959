"""A contribution campaign between real processes: retrained, counted, stated, audited.

Four nodes and a coordinator as an operator starts them. Persons are made up by hash.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consortium.credit.dependence import dependences_of
from consortium.credit.figures import NoisyTable
from consortium.credit.table_document import parse_table_document
from consortium.ids import PartnerId
from consortium.ledger.findings import Grade
from coordinator import cli as coordinator_cli
from coordinator import commands, control, wiring
from coordinator.calibration import HeadSettings
from coordinator.credit.trends_cli import main as trends
from coordinator.table_storage import TableRow, TableStore
from partner_node import cli as node_cli
from partner_node.config_reading import load_config
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from rehearsal.heads import calibrate
from rehearsal.joint import serves, token_loads
from tests.integration.federation import PATIENCE_S, Federation, write_rehearsal, write_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PERSONS = 20_000
KNOWN: Mapping[str, str] = {
    "bank_a": "i % 2 = 0",
    "bank_b": "i % 2 = 1",
    "shop_c": "i % 3 = 0",
    "shop_d": "i % 3 = 1",
}
"""Which persons a partner knows, in SQL."""
SETTINGS = """
[rehearsal.scoring]
delivery = "joint"
epoch = 1
identifier = "xx/record"
scores_per_second = 100000
scores_per_day = 1000000
tokens_per_second = 100000
tokens_per_day = 1000000
studies_per_release = 10000
load_hours = 0

[rehearsal.gate]
least_in_the_large = "0.5"
most_in_the_large = "2"
least_slope = "0.3"
most_slope = "3"
most_family = "1"
most_partner = "1"
"""
ASKERS = tuple(map(PartnerId, KNOWN))


def rows_of(name: str) -> str:
    """Persons of one partner; badness rises with both features of the tiny schema."""
    return f"""
        SELECT 'P' || i AS person, (hash(i, 1) % 5)::INT AS late,
               (hash(i, 2) % 1000) / 1000.0 AS used,
               (hash(i, 3) % 100 < 2 + 9 * late + 36 * used)::INT AS bad,
               'S' || i AS study
        FROM range({PERSONS}) AS numbers(i) WHERE {KNOWN[name]}"""  # noqa: S608 - constants


def lines_of(name: str) -> str:
    """One line each, of persons who consented to impact studies."""
    last = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)  # noqa: TID251 - a test
    return f"""
        SELECT 'l' || i AS line, 'P' || i AS person, DATE '{last}' AS month_end,
               DATE '2025-01-15' AS opened_on, 'OPEN' AS status, 5000 AS credit_limit,
               1000 AS balance, 1000 AS statement, 100 AS due, 100 AS paid, 10 AS debits,
               0 AS dpd, 0.1 AS pd12, 'S' || i AS study_consent, '' AS signal_consent
        FROM range({PERSONS}) AS numbers(i) WHERE {KNOWN[name]}
        ORDER BY line"""  # noqa: S608 - constants of the test


def month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")  # noqa: TID251 - a test


@pytest.fixture
def joint(near: Path) -> Iterator[tuple[Federation, str, str]]:
    """Trained and calibrated, voted, every customer with a pseudonym and a consent."""
    file = write_rehearsal(near / "files", {name: rows_of(name) for name in KNOWN}, rounds=8)
    text = file.read_text(encoding="utf-8").replace("[rehearsal.gate]\n", SETTINGS, 1)
    text = text.replace('kinds = ["campaign"', 'kinds = ["contribution", "dependence"')
    text = text.replace('label = "bad"', 'label = "bad"\nstudy_consent = "study"')
    # Two tables of epsilon 4 each: more than a manifest and an owner allow unasked.
    text = text.replace(
        '\nlifetime_epsilon = "40"', '\nrun_epsilon = "4"\nlifetime_epsilon = "40"'
    )
    text = text.replace("normaliser = 2000", f"normaliser = {PERSONS // 2}")
    text = text.replace("budget = { run", 'budget = { tables_epsilon = "16", run')
    file.write_text(text.replace('"40"', '"90"'), encoding="utf-8")
    with Federation.running(near, file) as live:
        nodes = {name: live.directory(name) for name in KNOWN}
        for name, node in nodes.items():
            (node / "credit").mkdir(exist_ok=True)
            write_table(node / "credit" / "lines.parquet", lines_of(name))
            query = "query = \"SELECT * FROM 'lines.parquet'\"\n"
            (node / "credit" / "lines.toml").write_text(query, encoding="utf-8")
        with token_loads(nodes) as loads:
            *_, end = control.start_run(live.places.control_socket, live.rehearsal.plan_text)
            assert end.stage == "finished", end.text
            version = end.version
            live.steps.vote_all(version)
            loads.wait(live.processes.check)
        wait_for_desks(live, "")
        settings = HeadSettings(epsilon="8", rounds=8, askers=ASKERS)
        head = calibrate(live.directory(COORDINATOR), settings, lambda _: None)[-1].version
        assert all(live.steps.vote_all(head).values())
        wait_for_desks(live, head)
        yield live, version, head


def wait_for_desks(live: Federation, head: str) -> None:
    for name in KNOWN:
        socket = load_config(live.directory(name)).desk_socket
        live.processes.wait_until(
            lambda socket=socket: serves(socket, head),  # type: ignore[misc]
            4 * PATIENCE_S,
            what=f"{name} serves",
            blame=name,
        )


def table_of(live: Federation, kind: str) -> tuple[TableRow, NoisyTable]:
    with live.store() as store:
        row = next(one for one in TableStore(store).tables() if one.kind == kind)
    return row, parse_table_document(row.document).table


def retrained(live: Federation, version: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Versions without one partner each, known to every node."""
    found = []
    for name in KNOWN:
        capsys.readouterr()
        words = ["retrain", str(live.directory(COORDINATOR)), version, "--without", name]
        assert coordinator_cli.main([*words, "--json"]) == 0
        *_, last = capsys.readouterr().out.splitlines()
        found.append(json.loads(last)["version"])
        for judge in KNOWN:
            node_cli.main(["validate", str(live.directory(judge)), found[-1]])
    return found


def charged_and_replayed(
    live: Federation, row: TableRow, capsys: pytest.CaptureFixture[str]
) -> bool:
    """At every node: one debit of the kind, and the same sum when it is made again."""
    for name in KNOWN:
        (debit,) = live.debits(name, row.run)
        capsys.readouterr()
        words = [
            "replay",
            str(live.directory(name)),
            "--run",
            row.run,
            "--joint-rows",
            "--json",
        ]
        assert node_cli.main(words) == 0
        report = json.loads(capsys.readouterr().out)
        if debit.kind.value != "table":
            return False
        if {one["outcome"] for one in report["attempts"]} != {"equal"}:
            return False
    return True


def test_what_hangs_on_each_partner_and_what_its_rows_are_worth_is_counted_and_audited(
    joint: tuple[Federation, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, version, head = joint
    home = str(live.directory(COORDINATOR))
    span = ["--first", month(), "--last", month(), "--epsilon", "4", "--attempts", "1"]
    asked = ["--partners", ",".join(KNOWN), "--head", head, "--cuts", "0.1,0.2,0.3,0.45"]
    words = ["run", home, "dependence", *span, *asked, "--outcomes", "all"]
    assert trends(words) == 0
    hanging, table = table_of(live, "dependence")
    # Both features say much: whoever leaves is missed, at every one of the four.
    for one in dependences_of(table):
        assert one.gain is not None
        assert one.gain.value - one.gain.half > 0, one
    assert trends(words) == 0
    assert table_of(live, "dependence")[0] == hanging

    without = retrained(live, version, capsys)
    asked = ["--model", version, "--without", ",".join(without)]
    assert trends(["run", home, "contribution", *span, *asked]) == 0
    counted, _ = table_of(live, "contribution")
    for row in (hanging, counted):
        assert charged_and_replayed(live, row, capsys)

    out = tmp_path / "paper"
    words = ["contribution", home, counted.release, "--hanging", hanging.release]
    assert coordinator_cli.main([*words, "--out", str(out)]) == 0
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".html", ".json"]
    (file,) = out.glob("*.json")
    made = json.loads(file.read_text(encoding="utf-8"))["statement"]
    assert [one["partner"] for one in made["lines"]] == sorted(KNOWN)
    assert {one["worth"] for one in made["lines"]} <= {"helps", "unclear"}
    assert all(float(one["hanging_at_least"]) > 0 for one in made["lines"])

    live.steps.wait_for_witnesses()
    bundle = tmp_path / "bundle.zip"
    digest = commands.write_bundle(wiring.open_desk(live.directory(COORDINATOR)), bundle)
    audit = audit_file(bundle, digest)
    assert {one.name for one in audit.findings if one.grade is not Grade.NOTE} == set()
