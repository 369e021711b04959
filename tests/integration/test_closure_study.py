"""Counts of common persons and closure inquiries between real processes, to the audit."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from consortium.identity.overlap import SCALE
from consortium.ledger.findings import Grade
from coordinator import cli as coordinator_cli
from coordinator import commands, control, wiring
from coordinator.credit import cli as stress_cli
from partner_node import cli as node_cli
from regulator.wiring import audit_file
from rehearsal.federation import COORDINATOR
from tests.integration.federation import Federation, Run, write_rehearsal, write_table

pytestmark = pytest.mark.slow  # four nodes and a key ceremony: most of a minute

WITHIN = 40
"""Nine deviations of the noise at epsilon 1."""
SCORING = """
[rehearsal.scoring]
delivery = "joint"
epoch = 1
identifier = "xx/record"
tokens_per_second = 100000
tokens_per_day = 1000000
load_hours = 0
"""
PERSONS = {"bank_a": (0, 250), "bank_b": (0, 60), "shop_c": (100, 350), "shop_d": (400, 420)}
WITHDRAWN = 40
"""Of bank_b's persons: closed at the last month end, active and not late."""


def last_ends() -> tuple[date, date]:
    """The last two month ends."""
    last = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)  # noqa: TID251 - a test
    return last.replace(day=1) - timedelta(days=1), last


def table_of(name: str) -> str:
    first, after = PERSONS[name]
    return f"""
        SELECT 'C' || i AS person, (hash(i, 1) % 5)::INT AS late,
               (hash(i, 2) % 1000) / 1000.0 AS used, (i % 5 = 0)::INT AS bad
        FROM range({first}, {after}) AS numbers(i)"""  # noqa: S608 - constants of the test


def lines_of(name: str) -> str:
    first, after = PERSONS[name]
    before, last = last_ends()
    gone = f"i < {WITHDRAWN} AND month_end = DATE '{last}'" if name == "bank_b" else "FALSE"
    return f"""
        SELECT 'l' || i AS line, 'C' || i AS person, month_end, DATE '2025-01-15' AS opened_on,
               CASE WHEN {gone} THEN 'CLOSED_LENDER' ELSE 'OPEN' END AS status,
               5000 AS credit_limit, 1000 AS balance, 1000 AS statement, 100 AS due,
               100 AS paid, 10 AS debits, 0 AS dpd,
               CASE WHEN i % 2 = 0 THEN 0.02 ELSE 0.3 END AS pd12,
               'S' || i AS study_consent, 'C' || i AS signal_consent
        FROM range({first}, {after}) AS persons(i),
             (VALUES (DATE '{before}'), (DATE '{last}')) AS ends(month_end)
        ORDER BY line, month_end"""  # noqa: S608 - constants of the test


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    directory = tmp_path_factory.mktemp("study")
    file = write_rehearsal(directory, {name: table_of(name) for name in PERSONS})
    text = file.read_text(encoding="utf-8").replace(
        "[rehearsal.gate]", f"{SCORING}\n[rehearsal.gate]"
    )
    head, _, rest = text.partition("[rehearsal.figures]\nkinds = [")
    file.write_text(
        f'{head}[rehearsal.figures]\nkinds = ["common", "elasticity", "tiers", {rest}',
        encoding="utf-8",
    )
    with Federation.running(directory, file) as found:
        for name in PERSONS:
            folder = found.directory(name) / "credit"
            folder.mkdir(exist_ok=True)
            write_table(folder / "lines.parquet", lines_of(name))
            query = "query = \"SELECT * FROM 'lines.parquet'\"\n"
            (folder / "lines.toml").write_text(query, encoding="utf-8")
        found.wait(lambda: installed(found), what="an epoch's key is made", blame=COORDINATOR)
        for name in PERSONS:
            assert node_cli.main(["tokenize", str(found.directory(name))]) == 0
        yield found


@pytest.fixture(scope="module")
def inquired(joint: Federation) -> Federation:
    """bank_a has asked of all its customers."""
    assert node_cli.main(["elsewhere", str(joint.directory("bank_a"))]) == 0
    return joint


def installed(live: Federation) -> bool:
    def shares(name: str) -> int:
        return int(
            query(live, name, "scoring.db", "SELECT count(record) FROM epoch_shares")[0][0]
        )

    return all(shares(name) for name in PERSONS)


def query(live: Federation, name: str, database: str, text: str) -> list[tuple[object, ...]]:
    path = f"file:{live.directory(name) / database}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
        return list(connection.execute(text))


def test_count_is_made_once_charged_at_both_and_proven_by_the_audit(
    joint: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    period = last_ends()[1].strftime("%Y-%m")
    directory = str(joint.directory(COORDINATOR))
    argv = ["overlap", directory, "bank_a", "shop_c", period, "--json"]
    capsys.readouterr()
    assert coordinator_cli.main(argv) == 0
    counts = json.loads(capsys.readouterr().out)
    found = {one["tier"]: one["noisy"] / SCALE for one in counts}
    assert abs(found["PRIME"] - 75) < WITHIN or found["PRIME"] == 0
    assert found["NEAR"] == 0
    assert coordinator_cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out) == counts
    for name in ("bank_a", "shop_c"):
        debits = query(joint, name, "node.db", "SELECT scope, kind FROM budget_entry")
        assert debits == [("tables", "overlap")]
    assert query(joint, "bank_b", "node.db", "SELECT * FROM budget_entry") == []

    joint.steps.wait_for_witnesses()
    bundle = tmp_path / "bundle.zip"
    digest = commands.write_bundle(wiring.open_desk(joint.directory(COORDINATOR)), bundle)
    audit = audit_file(bundle, digest)
    assert {one.name for one in audit.findings if one.grade is not Grade.NOTE} == set()
    assert [one.noisy / SCALE for one in audit.overlaps] == list(found.values())


def test_bank_learns_one_bit_and_one_arm_a_person_and_a_withdrawal_drops_them(
    inquired: Federation,
) -> None:
    joint, directory = inquired, str(inquired.directory("bank_a"))
    rows = query(joint, "bank_a", "credit.db", "SELECT closed, arm FROM closed_elsewhere")
    assert len(rows) == 250
    # bank_b closed 40 active lines; 20 more of its persons and 150 of shop_c's are open.
    assert sum(closed for closed, _ in rows) == WITHDRAWN  # type: ignore[misc]
    assert sum(arm == 1 for _, arm in rows) == WITHDRAWN
    assert sum(arm == 0 for _, arm in rows) == 20 + 150
    withdraw = ["withdraw", directory, "--person", "C1", "--purpose", "CLOSURE_SIGNAL"]
    assert node_cli.main(withdraw) == 0
    rows = query(joint, "bank_a", "credit.db", "SELECT closed FROM closed_elsewhere")
    assert (len(rows), sum(closed for (closed,) in rows)) == (249, WITHDRAWN - 1)  # type: ignore[misc]


def test_stress_is_reckoned_from_what_the_nodes_of_this_federation_counted(
    inquired: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(inquired.directory(COORDINATOR))
    month, today = last_ends()[1].strftime("%Y-%m"), datetime.now(UTC).strftime("%Y-%m")  # noqa: TID251 - a test
    plans = (
        ["tiers", "--month", month, "--bound", "5000"],
        ["elasticity", "--month", today, "--without", "bank_b,shop_c,shop_d"],
    )
    for words in plans:
        capsys.readouterr()
        assert stress_cli.main(["plan", directory, *words, "--synthetic"]) == 0
        text = capsys.readouterr().out
        end = Run(control.start_run(inquired.places.control_socket, text)).wait_for_end()
        assert end.stage == "finished", end.text
    for peer in ("bank_b", "shop_c", "shop_d"):
        assert coordinator_cli.main(["overlap", directory, "bank_a", peer, month]) == 0
    asked = ["run", directory, "--close", "bank_a", "--rounds", "1", "--out", str(tmp_path)]
    assert stress_cli.main(asked) == 0
    (document,) = tmp_path.glob("SYNTHETIC-*.json")
    report = json.loads(document.read_text(encoding="utf-8"))
    behind = sorted(one["figure"] for one in report["releases"])
    assert behind == ["ELASTICITY", *["OVERLAP"] * 3, "TIERS"]
    # The year after the inquiry is not over: no outcome of the study is read.
    assert {one["provenance"] for one in report["elasticities"].values()} == {"assumed"}
    lines = {(one["partner"], one["tier"]): one for one in report["together"]}
    hit = lines["shop_c", "PRIME"]["hit"]
    assert hit["low"] <= 75 <= hit["high"]
    assert lines["shop_d", "*"]["hit"]["value"] == 0
