"""One small rehearsal, real processes from start to end."""

import json
from pathlib import Path

import psutil
import pytest

from rehearsal.cli import main
from tests.rehearsal_house import furnish


def test_small_rehearsal_trains_votes_reports_and_leaves_nothing_behind(
    near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = near / "report"
    file = furnish(near, rows=1200, rounds=6)
    assert main([str(file), "--report", str(report), "--json"]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rounds = [line["round"] for line in lines if line.get("stage") == "training"]
    assert rounds == [1, 2, 3, 4, 5, 6]
    assert lines[-1] == {"report": str(report / "report.html")}
    pages = report / "audit"
    assert lines[-2] == {"audit": str(pages / "report.en.html"), "verdict": "verified"}
    assert {one.name for one in pages.iterdir()} == {
        *("report.en.html", "report.zh.html", "report.en.pdf", "report.zh.pdf"),
        "sp800-226.json",
    }
    assert (report / "audit.zip").stat().st_size > 10_000

    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert found["model"]["status"] == "active"
    assert found["model"]["votes"] == {"north": True, "south": True}
    assert found["rounds"] == 6
    assert found["processes"] == 3
    assert min(found["peak_rss_mb"].values()) > 20
    assert 0 < found["epsilon"]["record"] < found["epsilon"]["person"] <= 2
    assert found["rows"]["north"]["training"] + found["rows"]["north"]["holdout"] == 1200

    ours = psutil.Process().children(recursive=True)
    assert not [one.pid for one in ours if str(near) in " ".join(one.cmdline())]
    assert not (report / "work").exists()

    logs = "".join(log.read_text(encoding="utf-8") for log in (report / "logs").iterdir())
    assert "north-17" not in logs
    assert "both-10" not in logs
