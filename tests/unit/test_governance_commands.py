"""Charter, onboarding, exits and contribution at the operator, and the charter at a node."""

import json
from datetime import date
from pathlib import Path

import pytest

from consortium.credit.contribution import Basis, Measured, Moments, statement_of
from consortium.errors import ConfigurationError, OutOfOrderError
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Entry, ManifestAdopted, sign_entry
from consortium.ledger.governing import CharterAgreed, CharterProposed
from coordinator.cli import main
from coordinator.credit.charter_file import parse_charter
from coordinator.credit.contribution import contribution_page
from coordinator.credit.governing import Governing
from tests.coordinator_house import House

Output = pytest.CaptureFixture[str]

TEXT = """
[charter]
in_force = 2026-06-01
settlement_share = "0.5"
exit_notice_days = 90
[[clause]]
code = "purpose"
zh = "数据仅用于信用风险评估"
en = "Data serve credit risk and nothing else."
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path / "coordinator")


def said(house: House, name: str, body: CharterAgreed | ManifestAdopted) -> None:
    node = house.nodes[name]
    entry = Entry(seq_hint=0, at=house.desk.log.now(), actor=node.partner, body=body)
    house.desk.store.log.append((sign_entry(entry, node.identity).to_jcs(),))


def told(capsys: Output, *words: str) -> dict[str, object]:
    capsys.readouterr()
    main([*words, "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_charter_is_in_force_once_all_partners_have_agreed_in_the_log(
    house: House, tmp_path: Path, capsys: Output
) -> None:
    home, path = str(tmp_path / "coordinator"), tmp_path / "charter.toml"
    path.write_text(TEXT, encoding="utf-8")
    found = told(capsys, "charter", home, str(path))
    assert found["lacking"] == ["bank_a", "bank_b"]
    digest = Digest(str(found["digest"]))
    said(house, "bank_a", CharterAgreed(charter=digest))
    said(house, "bank_b", CharterAgreed(charter=Digest("00" * 32)))
    assert told(capsys, "charter", home)["lacking"] == ["bank_b"]
    said(house, "bank_b", CharterAgreed(charter=digest))
    assert told(capsys, "charter", home)["lacking"] == []
    second = told(capsys, "charter", home, str(path))
    assert second["digest"] != digest
    assert second["lacking"] == ["bank_a", "bank_b"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('zh = "数据仅用于信用风险评估"', ""),
        ("exit_notice_days = 90", "exit_notice_days = 90\nfee = 3"),
        ("[[clause]]", "[[clauses]]"),
        ("2026-06-01", '"soon"'),
        ('"0.5"', '"1.5"'),
    ],
)
def test_charter_file_that_is_wrong_is_refused(old: str, new: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_charter(TEXT.replace(old, new), federation="test", before=None)


def test_onboarding_is_read_from_signed_facts_alone(
    house: House, tmp_path: Path, capsys: Output
) -> None:
    manifest = house.manifest
    body = ManifestAdopted(manifest=manifest.digest, version=1, signature=b"x")
    said(house, "bank_a", body)
    found = told(capsys, "governance", str(tmp_path / "coordinator"))
    by_name = {one["partner"]: one for one in found["onboarding"]}  # type: ignore[attr-defined]
    assert by_name["bank_a"]["waits_for"] == "charter_agreed"
    assert by_name["bank_b"]["waits_for"] == "manifest_signed"
    assert found["exits"] == []


def test_page_of_a_contribution_says_who_helps_and_who_harms() -> None:
    made = statement_of(
        [
            Measured(
                partner=PartnerId("bank_a"),
                moments=Moments(count=900.0, total=-30.0, squared=4.0),
            )
        ],
        federation="test",
        version=Digest("11" * 32),
        measured_on=date(2026, 6, 1),
        basis=Basis(synthetic=True),
    )
    page = contribution_page(made)
    assert "harms" in page
    assert "SYNTHETIC" in page
    assert "<script" not in page


def test_charter_of_another_line_cannot_be_said(house: House) -> None:
    governing = Governing(house.desk.store, house.desk.log)
    first = parse_charter(TEXT, federation="test", before=None)
    governing.say(CharterProposed(charter=first))
    with pytest.raises(OutOfOrderError):
        governing.say(CharterProposed(charter=first))
