"""``riskweave desk``: papers and the way back as commands, for people and for scripts."""

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from consortium.errors import (
    ConfigurationError,
    DecodeError,
    DomainError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.ids import PartnerId
from partner_node import joining, wiring
from partner_node.credit.cli import main
from partner_node.credit.house_terms import parse_terms, terms_at
from partner_node.credit.opening import open_service
from partner_node.credit.path import PathDesk
from partner_node.credit.rules import shipped_packs
from tests.credit_desk_house import CONSENTS, application, consent
from tests.unit.test_credit_path_desk import closed, counselled, tier_b

Output = pytest.CaptureFixture[str]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    joining.initialise(tmp_path / "node", PartnerId("bank_a"), None)
    assert main(["init", str(tmp_path / "node"), "--pack", "tw", "--example"]) == 0
    return tmp_path / "node"


def decided(node: Path, **changes: object) -> tuple[str, str]:
    """Id and outcome of a decision of today; nobody was named, so there is no score."""
    with open_service(wiring.open_desk(node)) as service:
        today = service.today().isoformat()
        asked = application(
            person="",
            consents=[consent(purpose, given_on=today) for purpose in CONSENTS],
            **changes,
        )
        asked["standing"] = {**asked["standing"], "income": None}
        answer = json.loads(asyncio.run(service.decide(asked, caller="loans")))
    return answer["id"], answer["decision"]["outcome"]


def told(capsys: Output, *words: str) -> Any:  # noqa: ANN401 - parsed JSON
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("pack", shipped_packs())
def test_new_desk_has_terms_of_its_own_to_edit(tmp_path: Path, pack: str) -> None:
    joining.initialise(tmp_path, PartnerId("bank_a"), None)
    assert main(["init", str(tmp_path), "--pack", pack, "--since", "2026-01-01"]) == 0
    terms = terms_at(tmp_path, date(2026, 6, 1))
    assert terms.id == "bank_a_terms"


def test_terms_of_the_examples_are_read() -> None:
    for name in ("taiwan/credit/terms.toml", "policy/bank_a_terms.toml"):
        path = Path(__file__).parents[2] / "examples" / name
        assert parse_terms(path.read_bytes(), name).currency == "TWD"


def test_notice_is_written_in_both_forms_and_languages(
    node: Path, tmp_path: Path, capsys: Output
) -> None:
    name, outcome = decided(node)
    assert outcome == "REFER"
    for lang, form in (("zh", "html"), ("en", "pdf")):
        out = tmp_path / f"notice.{form}"
        options = ["--lang", lang, "--format", form, "--out", str(out)]
        found = told(capsys, "notice", str(node), name, *options)
        assert found["codes"] == ["R20"]
        assert found["bytes"] == out.stat().st_size
        assert out.stat().st_mode & 0o077 == 0
    texts = told(capsys, "notice", str(node), name)["texts"]
    assert "R20" in texts
    assert main(["notice", str(node), name]) == 0
    assert "<!DOCTYPE html>" in capsys.readouterr().out


def test_offer_says_why_nothing_suits_and_the_list_is_for_everybody(
    node: Path, capsys: Output
) -> None:
    name, _ = decided(node)
    found = told(capsys, "offer", str(node), name)
    assert (found["none_suits"], found["counselling"]) == (True, True)
    before = told(capsys, "list", str(node))
    decided(node, application="application-2")
    assert told(capsys, "list", str(node)) == before
    assert main(["list", str(node)]) == 0
    assert "instalment_small" in capsys.readouterr().out


def test_sheet_is_made_of_nothing_that_has_no_price(node: Path) -> None:
    name, _ = decided(node)
    words = ["--code", "NEW_FACTS", "--role", "officer", "--outcome", "APPROVE"]
    with pytest.raises(OutOfOrderError, match="approval"):
        main(["sheet", str(node), "make", name])
    assert main(["override", str(node), name, *words, "--limit", "2000000"]) == 0
    with pytest.raises(OutOfOrderError, match="no price"):
        # Without a score there is no grade, and without a grade no cell that has a price.
        main(["sheet", str(node), "make", name])
    with pytest.raises(ConfigurationError, match="--take"):
        main(["sheet", str(node), "choose", "0" * 64, "PROTECT"])
    with pytest.raises(NotFoundError, match="no cost sheet"):
        main(["sheet", str(node), "sign", "0" * 64])


def test_way_back_is_kept_by_commands(node: Path, tmp_path: Path, capsys: Output) -> None:
    line = tmp_path / "line.json"
    line.write_text(json.dumps(closed()), encoding="utf-8")
    assert told(capsys, "restart", str(node), str(line))["tier"] == "A"
    line.write_text(json.dumps(tier_b()), encoding="utf-8")
    assert told(capsys, "restart", str(node), str(line))["tier"] in {"B", "C"}
    line.write_text(json.dumps({**tier_b(), "age": 40}), encoding="utf-8")
    with pytest.raises(DecodeError, match="age"):
        main(["restart", str(node), str(line)])


def test_counselling_is_opened_and_its_paper_written(
    node: Path, tmp_path: Path, capsys: Output
) -> None:
    given = consent("COUNSELLING", given_on="2000-01-01")
    file, out = tmp_path / "case.json", tmp_path / "case.html"
    file.write_text(json.dumps(counselled(consents=[given])), encoding="utf-8")
    found = told(capsys, "counsel", str(node), "open", str(file))
    assert found["filed"]
    assert len(found["follow_ups"]) == 4
    assert told(capsys, "counsel", str(node), "due") == []
    assert (
        main(["counsel", str(node), "show", "line-1", "--lang", "zh", "--out", str(out)]) == 0
    )
    assert "债务咨询" in out.read_text(encoding="utf-8")
    with pytest.raises(ConfigurationError, match="--due"):
        main(["counsel", str(node), "done", "line-1"])


def test_modules_are_told_by_code(node: Path, capsys: Output) -> None:
    found = told(capsys, "learn", str(node), "R01", "R21")
    assert [one["topic"] for one in found["modules"]] == ["E1", "E5"]
    assert main(["learn", str(node), "R01", "--lang", "en"]) == 0
    assert capsys.readouterr().out.startswith("E1 Paying on time")


def test_desk_that_has_named_its_lines_first_still_gets_its_rules(tmp_path: Path) -> None:
    joining.initialise(tmp_path, PartnerId("bank_a"), None)
    (tmp_path / "credit").mkdir()
    (tmp_path / "credit" / "lines.toml").write_text("query = 'SELECT 1'\n", encoding="utf-8")
    assert main(["init", str(tmp_path), "--pack", "tw"]) == 0
    with pytest.raises(ConfigurationError, match="has rules already"):
        main(["init", str(tmp_path), "--pack", "tw"])


def test_list_of_closed_lines_is_placed_in_one_call_or_not_at_all(
    node: Path, tmp_path: Path, capsys: Output
) -> None:
    file = tmp_path / "closed.json"
    listed = [closed(line="line-1"), tier_b(line="line-2"), closed(line="line-3", dpd=100)]
    file.write_text(json.dumps(listed), encoding="utf-8")
    found = told(capsys, "restart", str(node), str(file))
    assert [one["tier"] for one in found] == ["A", "B", "D"]
    listed += [closed(line=f"more-{number}") for number in range(200)]
    file.write_text(json.dumps(listed), encoding="utf-8")
    assert file.stat().st_size > 64 << 10  # more than one application may have
    assert main(["restart", str(node), str(file)]) == 0
    assert "203 closed lines are placed" in capsys.readouterr().out
    broken = [closed(line="line-4"), {**closed(line="line-5"), "cause": "DEFAULT"}]
    file.write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(DomainError):
        main(["restart", str(node), str(file)])
    with open_service(wiring.open_desk(node)) as service, pytest.raises(NotFoundError):
        PathDesk(service).restarted("line-4")
    for text, expected in (("[]", "1 to"), ('[{"line": 1}]', "line 1 of the list")):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DecodeError, match=expected):
            main(["restart", str(node), str(file)])
