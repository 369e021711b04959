"""The command of an empirical audit, its page, and what a shadow federation may not be."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.audit.result import AuditVerdict, EmpiricalAudit
from consortium.canonical import parse_canonical
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError
from consortium.ids import digest_of
from rehearsal.shadow import cli, federation
from rehearsal.shadow.setting import (
    Settings,
    manifest_of,
    plan_of,
    population_of,
    schema_of,
    table_of,
)
from rehearsal.shadow.summary import lines_of
from tests.unit.test_audit_result import AUDIT, BAD, GOOD

SEED = Secret(b"s" * 32)
SMALL = Settings(code=digest_of(b"code"), epsilon="3", canaries=200, rounds=2)
ARGUMENTS = ["--epsilon", "3", "--canaries", "200", "--rounds", "2", "--seed", "5a" * 32]


def test_command_writes_document_page_and_one_line_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "audit.json", tmp_path / "audit.html"
    status = cli.main([*ARGUMENTS, "--json", "--out", str(out), "--html", str(page)])
    said = json.loads(capsys.readouterr().out)
    audit = EmpiricalAudit.from_canonical(parse_canonical(out.read_bytes()))
    assert status == 0
    assert said["audit"] == audit.to_canonical()
    assert said["digest"] == audit.digest
    assert said["seeds"] == ["5a" * 32]
    assert not audit.for_release()  # 200 canaries are too few, and the document shows it
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 3
    assert all(word in html for word in (audit.digest, "not refuted", "too few", "0.0010"))
    assert "http" not in html.replace("http://www.w3.org/", "")


def test_command_says_in_words_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(ARGUMENTS) == 0
    shown = capsys.readouterr().out
    assert "verdict: epsilon 3 was not refuted" in shown
    assert "No real row was read, no budget charged." in shown
    failed = replace(AUDIT, trials=(BAD, BAD), verdict=AuditVerdict.FAILED)
    assert "is refuted: the canaries stand out more" in "\n".join(lines_of(failed))
    assert "at the second trial" in "\n".join(lines_of(replace(AUDIT, trials=(BAD, GOOD))))


@pytest.mark.parametrize(
    "wrong",
    [
        ["--epsilon", "0.01"],
        ["--canaries", "99"],
        ["--rounds", "0"],
        ["--partners", "2"],
        ["--delta", "0.1"],
        ["--seed", "zz"],
        ["--seed", "00"],
        ["--out", "no/such/place.json"],
    ],
    ids=str,
)
def test_audit_of_nothing_is_refused_before_it_runs(wrong: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        cli.main(["--canaries", "200", "--rounds", "1", *wrong])


def test_federation_of_no_data_has_no_row_and_one_of_canaries_only_synthetic_ones() -> None:
    schema = schema_of(SMALL)
    population = population_of(SMALL, SEED)
    for name in SMALL.names:
        assert table_of(SMALL, schema, name, None).labels.size == 0
    canary = table_of(SMALL, schema, SMALL.names[-1], population)
    present = int(population.canaries_in.sum())
    assert canary.codes[:, 0].tolist() == (np.flatnonzero(population.canaries_in) + 1).tolist()
    assert canary.labels.sum() == present
    assert 60 < present < 140


def test_shadow_run_leaves_no_database_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    federation.shadow_run(replace(SMALL, rounds=1), SEED, None)
    assert not list(tmp_path.iterdir())


def test_runs_of_two_seeds_share_no_key_and_no_run() -> None:
    schema = schema_of(SMALL)
    first, second = (manifest_of(SMALL, schema, Secret(bytes([n]) * 32)) for n in (1, 2))
    mine = {member.identity for member in first.members}
    assert not mine & {member.identity for member in second.members}
    plan = plan_of(SMALL, first, federation.run_of(SEED))
    assert plan.run == federation.run_of(SEED) != federation.run_of(Secret(b"t" * 32))


def test_width_is_that_of_the_sums() -> None:
    run = federation.shadow_run(replace(SMALL, rounds=1), SEED, None)
    assert run[0].total.shape == run[0].weights.shape == (SMALL.width,)
