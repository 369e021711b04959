"""The user's guide names what there is: flags, columns, fields, codes, fallbacks."""

import json
import re
from pathlib import Path

import pytest

import riskweave_client
from consortium import errors
from partner_node.answers import FALLBACKS
from partner_node.applicants import OUTPUT
from partner_node.cli import main
from partner_node.desk import SCORE_FIELDS
from partner_node.rest_forms import ScoreIn
from partner_node.score_page import _WHY

GUIDE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")


def table_after(heading: str, column: int = 0) -> set[str]:
    part = GUIDE.split(heading, 1)[1].split("\n\n", 2)
    rows = next(one for one in part if one.lstrip().startswith("|")).strip().splitlines()[2:]
    cells = [row.split("|")[1 + column] for row in rows]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_fields_of_a_score_are_all_explained() -> None:
    assert table_after("## What a score says") == set(SCORE_FIELDS)


def test_fallbacks_are_all_explained() -> None:
    part = GUIDE.split("| `fallback` | |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE)) == set(FALLBACKS) == set(_WHY)


def test_columns_of_a_file_of_scores_are_named() -> None:
    middle = {f"reason_{place}{end}" for place in (2, 3) for end in ("", "_points")}
    assert {name for name in OUTPUT.names if f"`{name}`" not in GUIDE} == middle


def test_flags_in_the_guide_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("score", "desk-client", "tokenize", "serve", "status"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        known = capsys.readouterr().out
        for line in re.findall(rf"riskweave node {verb} (.*)", GUIDE):
            assert all(flag in known for flag in re.findall(r"--[a-z]+", line))


def test_codes_of_errors_are_those_of_the_tree() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    known = {one.code for one in kinds if issubclass(one, errors.RiskWeaveError)}
    known |= {one.value for one in errors.ScoreRefusal}
    assert table_after("## Errors", column=2) <= known


def test_python_in_the_guide_uses_names_that_the_package_has() -> None:
    code = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert code is not None
    compile(code[1], "scoring.md", "exec")
    (names,) = re.findall(r"from riskweave_client import (.*)", code[1])
    assert all(hasattr(riskweave_client, name.strip()) for name in names.split(","))


def test_json_in_the_guide_is_a_question() -> None:
    (body,) = re.findall(r"-d '(\{.*\})'", GUIDE)
    assert ScoreIn(**json.loads(body)).person
