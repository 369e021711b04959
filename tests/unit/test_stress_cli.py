"""``riskweave stress``: same question, same bytes; what is missing is named and priced."""

import csv
import io
import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from consortium.credit.figure_forms import check_cells
from consortium.credit.figures import NoisyTable, Terms
from consortium.credit.scenario import parse_scenarios
from consortium.credit.shock_tables import tiers_spec
from consortium.errors import ConfigurationError, DomainError, NotFoundError, PolicyError
from consortium.identity.overlap import OverlapCount
from coordinator.credit.cli import main
from coordinator.credit.stress_policy import load_policy, parse_policy
from riskweave import main as door  # noqa: TID251 - the door itself is under test
from tests.coordinator_house import House
from tests.stress_house import (
    PARTNERS,
    document_of_table,
    fill_registry,
    overlaps,
    scenario_table,
    study_table,
    tiers_table,
    write_releases,
)

SCENARIOS = Path("examples/scenarios/winter.toml")


@pytest.fixture(scope="module")
def releases() -> tuple[list[NoisyTable], list[OverlapCount]]:
    scenarios = parse_scenarios(SCENARIOS.read_bytes(), "winter.toml")
    return [tiers_table(), study_table(), scenario_table(scenarios)], overlaps()


@pytest.fixture
def folder(tmp_path: Path, releases: tuple[list[NoisyTable], list[OverlapCount]]) -> Path:
    return write_releases(tmp_path / "releases", *releases)


def run(folder: Path, *more: str) -> list[Path]:
    out = folder.parent / "out"
    assert main(["run", "--from", str(folder), "--out", str(out), *more]) == 0
    return sorted(out.iterdir())


def test_a_closure_is_written_three_times_with_interval_band_and_epsilon_everywhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, page, document = run(folder, "--close", "bank_a")
    assert all("SYNTHETIC-closure-stress-" in file.name for file in (table, page, document))
    report = json.loads(document.read_text())
    assert report["title"]["en"] == "SYNTHETIC · Closure stress"
    assert not report["assumed"]
    assert float(report["epsilon"]) > 1
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 5 * (4 * 4 + 1) * (len(report["rounds"]) + 1)
    assert all(row["n_band"] and row["epsilon"] == report["epsilon"] for row in rows)
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    losses = {
        (row["partner"], row["tier"]): float(row["value"])
        for row in rows
        if row["round"] == "all" and row["figure"] == "loss"
    }
    assert losses["bank_b", "PRIME"] > 0 > losses["bank_b", "LOW"]
    assert losses["bank_a", "*"] == 0
    text = page.read_text()
    assert "<script" not in text
    assert not re.search(r"(src|href)=", text)
    assert "合成数据" in text
    assert "all partners" in capsys.readouterr().out


def test_the_same_question_gives_the_same_bytes_and_another_seed_other_intervals(
    folder: Path,
) -> None:
    first = [(file.name, file.read_bytes()) for file in run(folder, "--close", "bank_a")]
    assert [
        (file.name, file.read_bytes()) for file in run(folder, "--close", "bank_a")
    ] == first
    again = run(folder, "--close", "bank_a", "--seed", "2")
    assert len(again) == 6
    values = [json.loads(file.read_text()) for file in again if file.suffix == ".json"]
    one, other = (value["together"][-1]["loss"] for value in values)
    assert one["value"] == other["value"]
    assert one["low"] != other["low"]


def test_elasticities_that_nobody_measured_are_said_to_be_assumed_in_every_title(
    tmp_path: Path,
) -> None:
    tables = [tiers_table(synthetic=False)]
    files = run(write_releases(tmp_path / "in", tables, overlaps()), "--close", "bank_a:PRIME")
    assert not any("SYNTHETIC" in file.name for file in files)
    report = json.loads(files[-1].read_text())
    assert "elasticities are assumed" in report["title"]["en"]
    assert "弹性为假设值" in files[1].read_text()


def test_a_tier_without_enough_persons_in_the_study_stays_assumed(tmp_path: Path) -> None:
    tables = [tiers_table(), study_table(thin_near=True)]
    files = run(write_releases(tmp_path / "in", tables, overlaps()), "--close", "bank_a")
    found = json.loads(files[-1].read_text())["elasticities"]
    told = {tier: one["provenance"] for tier, one in found.items()}
    assert told == {"PRIME": "measured", "NEAR": "assumed", "LOW": "measured"}


def test_missing_releases_are_named_with_what_to_run_and_its_price(
    tmp_path: Path, releases: tuple[list[NoisyTable], list[OverlapCount]]
) -> None:
    counts = releases[1]
    without = write_releases(tmp_path / "a", releases[0][1:], counts)
    with pytest.raises(NotFoundError, match=r"no TIERS release.*figure tiers.*epsilon 1"):
        run(without, "--close", "bank_a")
    first = [one for one in counts if one.counter == "bank_a"]
    some = write_releases(tmp_path / "b", releases[0], first)
    with pytest.raises(
        NotFoundError, match=r"9 of 12 pairs: bank_b with bank_a.*and 5 more.*--rounds 1"
    ):
        run(some, "--close", "bank_a")
    assert run(some, "--close", "bank_a", "--rounds", "1")
    with pytest.raises(NotFoundError, match="of 2026-04"):
        run(some, "--close", "bank_a", "--month", "2026-04")
    other = tmp_path / "s.toml"
    other.write_text("[[scenario]]\nname = 'winter'\nincome_loss = '0.2'\n")
    with pytest.raises(
        NotFoundError, match=r"no SCENARIO release.*winter.*stress plan DIR scenario"
    ):
        run(some, "--scenario", str(other))


def test_scenarios_stand_beside_the_base_and_an_empty_one_is_the_base(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = folder.parent / "calm.toml"
    calm.write_text(SCENARIOS.read_text() + "\n[[scenario]]\nname = 'calm'\n")
    table, page, document = run(folder, "--scenario", str(calm))
    report = json.loads(document.read_text())
    worlds = {one["name"]: one["lines"] for one in report["worlds"]}
    assert list(worlds) == ["base", "winter", "new_rules", "dry_funding", "calm"]
    assert worlds["calm"] == worlds["base"]
    assert all(line["approval_change"]["high"] < 0 for line in worlds["dry_funding"])
    assert worlds["dry_funding"][-1]["loss_change"]["low"] > 0
    assert "SYNTHETIC · Scenario stress" in page.read_text()
    assert table.read_text().startswith("label,world,grade")
    assert "dry_funding" in capsys.readouterr().out


def test_a_stored_report_is_shown_again_without_its_releases(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, page, document = run(folder, "--close", "bank_a", "--close", "shop_d:LOW")
    first = capsys.readouterr().out
    assert main(["show", str(document)]) == 0
    assert capsys.readouterr().out == first
    again = folder.parent / "again.html"
    assert main(["show", str(document), "--html", str(again), "--json"]) == 0
    assert again.read_text() == page.read_text()
    assert capsys.readouterr().out == document.read_text()


def test_words_of_a_release_cannot_become_markup(folder: Path) -> None:
    document = run(folder, "--close", "bank_a")[-1]
    report = json.loads(document.read_text())
    report["releases"][0]["about"] = "<script>alert(1)</script>"
    report["title"]["en"] = "<b>"
    document.write_text(json.dumps(report))
    again = folder.parent / "again.html"
    assert main(["show", str(document), "--html", str(again)]) == 0
    assert "<script" not in again.read_text()
    assert "<b>" not in again.read_text().split("<h1>")[1].split("</p>")[0]


def test_wrong_words_and_files_are_one_line_of_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigurationError, match="'LOWER' is no tier"):
        run(folder, "--close", "bank_a:LOWER")
    with pytest.raises(DomainError, match="bank_z is not in these tables"):
        run(folder, "--close", "bank_z", "--rounds", "1")
    with pytest.raises(ConfigurationError, match="no folder with"):
        run(tmp_path / "nowhere", "--close", "bank_a")
    (folder / "note.json").write_text('{"a":1}')
    with pytest.raises(ConfigurationError, match=r"note.json: no release"):
        run(folder, "--close", "bank_a")
    with pytest.raises(ConfigurationError, match="no report"):
        main(["show", str(folder / "note.json")])
    assert door(["stress", "run", "--from", str(folder), "--close", "bank_a"]) == 1
    assert capsys.readouterr().err.startswith("error: note.json")


def test_the_registry_and_a_folder_give_one_answer_and_plans_bound_the_epsilon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House.build(tmp_path / "c")
    tables = [tiers_table(), study_table()]
    fill_registry(house.desk.store, tables)
    words = ["run", str(tmp_path / "c"), "--close", "bank_a", "--out", str(tmp_path / "one")]
    assert main(words) == 0
    (document,) = (tmp_path / "one").glob("*.json")
    report = json.loads(document.read_text())
    folder = tmp_path / "files"
    folder.mkdir()
    for number, table in enumerate(tables):
        (folder / f"{number}.json").write_bytes(
            document_of_table(table, Terms(max_partners_per_person=3))
        )
    counts = [asdict(one) for one in overlaps()]
    (folder / "overlaps.json").write_text(json.dumps(counts))
    other = json.loads(run(folder, "--close", "bank_a")[-1].read_text())
    assert other["epsilon"] == report["epsilon"]
    assert len(report["releases"]) == 2 + 12
    everybody = write_releases(tmp_path / "other" / "plain", tables, overlaps())
    dearer = json.loads(run(everybody, "--close", "bank_a")[-1].read_text())
    assert float(dearer["epsilon"]) > float(report["epsilon"])
    capsys.readouterr()


def test_a_plan_of_tiers_has_a_cell_for_each_partner_and_passes_the_nodes_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    House.build(tmp_path / "c")
    words = ["plan", str(tmp_path / "c"), "tiers", "--month", "2026-03"]
    with pytest.raises(ConfigurationError, match="--bound"):
        main(words)
    assert main([*words, "--bound", "5000000", "--synthetic"]) == 0
    plan = tomllib.loads(capsys.readouterr().out)
    assert plan["axis"][0] == {"name": "partner", "cells": ["bank_a", "bank_b"]}
    assert plan["figure"]["synthetic"]
    check_cells(tiers_spec("2026-03", PARTNERS, bound=5_000_000))
    words[2] = "elasticity"
    assert main([*words, "--without", "bank_a"]) == 0
    plan = tomllib.loads(capsys.readouterr().out)
    assert plan["plan"]["holders"] == ["bank_b"]
    assert [axis["name"] for axis in plan["axis"]] == ["grade", "arm", "outcome"]


def test_a_plan_of_scenarios_has_their_drivers_and_its_table_is_found_in_the_registry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House.build(tmp_path / "c")
    words = ["plan", str(tmp_path / "c"), "scenario", "--month", "2026-03"]
    with pytest.raises(ConfigurationError, match="--scenario"):
        main([*words, "--bound", "1"])
    words += ["--scenario", str(SCENARIOS)]
    with pytest.raises(ConfigurationError, match="--bound"):
        main(words)
    with pytest.raises(ConfigurationError, match="--scenario"):
        main([*words[:2], "tiers", *words[3:], "--bound", "1"])
    assert main([*words, "--bound", "500000", "--synthetic"]) == 0
    plan = tomllib.loads(capsys.readouterr().out)
    assert plan["axis"][0]["cells"] == ["base", "winter", "new_rules", "dry_funding"]
    assert plan["figure"]["cells_per_person"] == 4
    assert plan["filter"]["winter"] == "u2:i0.1"
    scenarios = parse_scenarios(SCENARIOS.read_bytes(), "winter.toml")
    fill_registry(house.desk.store, [scenario_table(scenarios)])
    out = ["--out", str(tmp_path / "out")]
    assert main(["run", str(tmp_path / "c"), "--scenario", str(SCENARIOS), *out]) == 0


def test_a_policy_is_read_strictly_and_the_shipped_one_assumes_both_signs() -> None:
    shipped = load_policy(None)
    signs = [one.value > 0 for one in shipped.elasticities.values()]
    assert signs == [True, True, False]
    text = Path("coordinator/credit/stress.toml").read_text()
    for old, new, told in (
        ('theta = "0.10"', 'tetha = "0.10"', "theta.*seen nothing"),
        ('low = "0.02"', 'low = "0.09"', "low <= value"),
        ('value = "-0.10"', 'value = "-1.10"', "from -1 to 1"),
        ('"0.25", "0.25", "0.25", "0.25"', '"0.25", "0.25", "0.25"', "a share of each band"),
        ("[approvals]", "[approvals]\nmore = 1", "no such key"),
    ):
        with pytest.raises(PolicyError, match=told):
            parse_policy(text.replace(old, new, 1).encode(), "p.toml")
