"""``riskweave rehearse`` refuses before it starts or overwrites anything."""

from pathlib import Path

import pytest

from consortium.errors import ConfigurationError, DataError
from rehearsal.cli import MARK, main
from tests.rehearsal_house import furnish


def test_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    path = furnish(tmp_path, rows=50)
    report = tmp_path / "thesis"
    report.mkdir()
    (report / "report.html").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="nothing was changed"):
        main([str(path), "--report", str(report)])
    assert [file.name for file in report.iterdir()] == ["report.html"]
    assert (report / "report.html").read_text(encoding="utf-8") == "mine"


def test_report_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = furnish(tmp_path, rows=50)
    with pytest.raises(ConfigurationError, match="a file stands there"):
        main([str(path), "--report", str(path)])
    assert path.exists()


def test_path_too_long_for_a_socket_is_refused_at_once(tmp_path: Path) -> None:
    path = furnish(tmp_path, rows=50)
    with pytest.raises(ConfigurationError, match="bytes too long"):
        main([str(path), "--report", str(tmp_path / ("x" * 100))])


def test_earlier_rehearsal_is_cleared_away_but_nothing_beside_it(near: Path) -> None:
    path = furnish(near, rows=50)
    (near / "north.csv").unlink()  # so that the new rehearsal ends at once
    report = near / "report"
    (report / "work" / "north").mkdir(parents=True)
    (report / MARK).touch()
    (report / "report.html").touch()
    (report / "notes.txt").touch()
    with pytest.raises(ConfigurationError, match="north"):
        main([str(path), "--report", str(report)])
    assert not list((report / "work").iterdir())
    assert not (report / "report.html").exists()
    assert (report / "notes.txt").exists()


def test_missing_table_is_named_before_any_process_starts(
    near: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = furnish(near, rows=50)
    (near / "south.csv").unlink()
    with pytest.raises(ConfigurationError, match=r"query of south.*south\.csv"):
        main([str(path), "--report", str(near / "report")])
    assert not list((near / "report" / "logs").iterdir())
    assert "setting up" not in capsys.readouterr().out


def test_table_without_both_labels_is_named_before_any_process_starts(near: Path) -> None:
    path = furnish(near, rows=50)
    table = near / "north.csv"
    rows = table.read_text(encoding="utf-8").splitlines()
    good = [rows[0], *(row for row in rows[1:] if row.endswith(",0"))]
    table.write_text("\n".join(good), encoding="utf-8")
    with pytest.raises(DataError, match=r"query of north.*all rows have label 0"):
        main([str(path), "--report", str(near / "report")])


def test_usage_names_the_file_and_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "--report" in capsys.readouterr().err
