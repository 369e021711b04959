"""``rehearse --tamper``: a database altered under a live federation, and who notices."""

import json
from pathlib import Path

import pytest

from consortium.ids import parse_digest
from consortium.ledger.findings import Grade
from regulator.wiring import audit_file
from rehearsal.cli import main as rehearse
from tests.rehearsal_house import furnish


@pytest.mark.slow
def test_altered_database_is_refused_by_every_witness_and_the_audit_names_the_entries(
    near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = near / "report"
    file = furnish(near, rows=1200, rounds=6)
    assert rehearse([str(file), "--report", str(report), "--tamper", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-3] == {"tampered": str(report / "tampered/report.en.html"), "found": True}
    assert lines[-2]["verdict"] == "verified"  # before anything was altered
    told = json.loads((report / "report.json").read_text(encoding="utf-8"))["tampered"]
    assert set(told["refused"]) == {"north", "south", "regulator"}
    assert set(told["refused"].values()) <= {"log.rewritten", "log.fork"}
    assert "north (R08), south (R08)" in told["further_run"]
    manifest = parse_digest(json.loads((report / "logs/manifest.json").read_text())["digest"])
    for number, one in enumerate(told["alterations"], start=1):
        audit = audit_file(report / f"tampered-{number}.zip", manifest)
        errors = [found for found in audit.findings if found.grade is Grade.ERROR]
        assert any(one["entry"] in found.entries for found in errors)
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "names entry" in page
    assert "log.rewritten" in page or "log.fork" in page
