"""``riskweave desk``: what it prints, and what it leaves alone."""

import asyncio
import json
from pathlib import Path

import pytest

from consortium.errors import ConfigurationError, NotFoundError, OutOfOrderError, TransportError
from consortium.ids import PartnerId
from partner_node import joining, wiring
from partner_node.credit.cli import DIFFERS, main
from partner_node.credit.opening import open_service
from partner_node.credit.storage import DECISIONS
from tests.credit_desk_house import application, consent


@pytest.fixture
def node(tmp_path: Path) -> Path:
    joining.initialise(tmp_path / "node", PartnerId("bank_a"), None)
    assert main(["init", str(tmp_path / "node"), "--pack", "tw", "--example"]) == 0
    return tmp_path / "node"


@pytest.fixture
def made(node: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Id of a decision that a person has to take: nobody was named, so there is no score."""
    with open_service(wiring.open_desk(node)) as service:
        given = [consent("CREDIT_DECISION", given_on=service.today().isoformat())]
        asked = application(person="", consents=given, standing={"income": None})
        answer = asyncio.run(service.decide(asked, caller="loans"))
    capsys.readouterr()
    found: str = json.loads(answer)["id"]
    return found


def test_rules_that_are_there_are_not_written_again(node: Path) -> None:
    with pytest.raises(ConfigurationError, match="already"):
        main(["init", str(node), "--pack", "tw"])


def test_show_says_outcome_and_why_in_both_languages(
    node: Path, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(node), made]) == 0
    shown = capsys.readouterr().out
    assert "application-1: REFER" in shown
    assert "R20  Income is missing or out of date  收入信息缺失或已过期" in shown
    assert main(["show", str(node), made, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == made


def test_replay_says_which_decision_differs(
    node: Path, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(node), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "identical": 1,
        "helps": 0,
        "promises_kept": 0,
    }
    with open_service(wiring.open_desk(node)) as service:
        data = service.decision(made).decision.replace(b"REFER", b"APPROVE")
        with service.ports.store.transaction() as connection:
            connection.execute(DECISIONS.update().values(decision=data))
    assert main(["replay", str(node), made]) == DIFFERS
    assert "application-1" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["-5", "0", "all"])
def test_replay_of_no_number_of_decisions_is_refused(
    node: Path, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite takes a number below 0 for all of them, and none would be said to be identical."""
    with pytest.raises(SystemExit):
        main(["replay", str(node), "--last", count])
    assert "expected 1 or more" in capsys.readouterr().err


def test_override_is_kept_beside_the_decision(
    node: Path, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--code", "NEW_FACTS", "--role", "officer", "--outcome", "DECLINE"]
    assert main(["override", str(node), made, *words, "--reason", "R22"]) == 0
    assert "REFER -> DECLINE (NEW_FACTS)" in capsys.readouterr().out
    assert main(["show", str(node), made]) == 0
    assert "DECLINE (NEW_FACTS)" in capsys.readouterr().out


def test_admission_shows_caps_and_takes_only_orders_that_follow(
    node: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["admission", str(node), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["phase"], found["stage_percent"], found["left"]["G5"]) == ("running", 1, 0)
    with pytest.raises(ConfigurationError, match="--role"):
        main(["admission", str(node), "end"])
    words = ["--role", "risk", "--reason", "OVER"]
    with pytest.raises(OutOfOrderError):
        main(["admission", str(node), "resume", *words])
    assert main(["admission", str(node), "end", *words]) == 0
    assert "ended" in capsys.readouterr().out


def test_decision_is_asked_of_a_node_that_serves(node: Path, tmp_path: Path) -> None:
    path = tmp_path / "application.json"
    path.write_text(json.dumps(application()), encoding="utf-8")
    with pytest.raises(TransportError, match="no node serves"):
        main(["decide", str(node), "--application", str(path)])


def test_unknown_decision_is_an_error(node: Path) -> None:
    with pytest.raises(NotFoundError):
        main(["show", str(node), "0" * 64])
