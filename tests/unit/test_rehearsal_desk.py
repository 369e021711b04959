"""The report's part on decisions: tiers that are merged, bins that are entered again, words."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.errors import ConfigurationError
from partner_node.ingest import EncodedTable
from partner_node.table import DataSource
from rehearsal.config import CreditTest
from rehearsal.config_reading import load_rehearsal
from rehearsal.desk import best_changes, value_in
from rehearsal.desk_evidence import LEAST_PERSONS, desk_evidence, merged
from rehearsal.desk_forms import CreditDoor, Forms, incomes_of
from rehearsal.joint import Desk
from rehearsal.results_desk import (
    ChangeTest,
    DeskAnswers,
    DeskEvidence,
    DeskRecord,
    GrowthTest,
    Tier,
    WaveTest,
)
from rehearsal.role_files import settings_text
from rehearsal.summary_desk import growth_text, offers_text, wave_text
from riskweave_client import Change

ROOT = Path(__file__).resolve().parents[2]


def tier(grade: str, persons: int, bads: int) -> Tier:
    return Tier(grades=(grade,), persons=persons, bads=bads, outcomes=Counter(APPROVE=persons))


def test_thin_grade_stands_with_the_next_weaker_one() -> None:
    found = list(merged([tier("G1", 199, 1), tier("G2", 500, 20), tier("G3", 300, 60)]))
    assert [(one.grades, one.persons, one.bads) for one in found] == [
        (("G1", "G2"), 699, 21),
        (("G3",), 300, 60),
    ]
    assert found[0].outcomes == Counter(APPROVE=699)


def test_thin_weakest_grade_stands_with_the_one_before_it() -> None:
    found = list(merged([tier("G1", 500, 5), tier("G2", 10, 5), tier("G3", 20, 9)]))
    assert [one.grades for one in found] == [("G1", "G2", "G3")]
    assert [one.grades for one in merged([tier("G1", 3, 1), tier("G2", 0, 0)])] == [
        ("G1", "G2")
    ]


@pytest.mark.parametrize(("last", "falls"), [(40, True), (30, False), (20, False)])
def test_bad_rate_must_fall_strictly_and_not_stand_still(last: int, *, falls: bool) -> None:
    found = DeskEvidence(
        persons=600,
        tiers=(tier("G1", 300, 30), tier("G2", 300, last)),
        by_outcome={},
        declines=0,
        declines_with_reasons=0,
    )
    assert found.falls is falls


def test_decisions_meet_what_became_of_the_persons() -> None:
    count = 2 * LEAST_PERSONS
    heads = np.arange(count, dtype=np.uint64)
    labels = (heads >= count - 100).astype(np.uint8)
    blank = object.__new__(EncodedTable)
    table = replace_fields(blank, persons=heads, labels=labels)
    weak = heads >= LEAST_PERSONS
    answers = DeskAnswers(
        asker="bank",
        persons=heads,
        outcomes=np.where(weak, "DECLINE", "APPROVE"),
        grades=np.where(weak, "G5", "G1"),
        codes={},
        joint=count,
        reasons=np.where(heads == count - 1, 0, 2),
    )
    found = desk_evidence({"bank": table}, record(answers))
    assert [(one.grades[-1], one.bads) for one in found.tiers] == [("G1", 0), ("G5", 100)]
    assert found.by_outcome == {"APPROVE": (200, 0), "DECLINE": (200, 100)}
    assert (found.declines, found.declines_with_reasons) == (200, 199)


def replace_fields(table: EncodedTable, **fields: object) -> EncodedTable:
    for name, value in fields.items():
        object.__setattr__(table, name, value)
    return table


def record(answers: DeskAnswers) -> DeskRecord:
    return DeskRecord(
        answers=(answers,),
        per_second=1.0,
        seconds=1.0,
        replayed=0,
        promises=(0, 0),
        changes=ChangeTest(asked=0, kept=0, approved=0),
        declined=None,
        growth=None,
        wave=None,
        assumed="",
    )


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("missing", None),
        ("[0.05, 0.1)", 0.05),
        ("501 to 1,000", 501.0),
        ("below 501", 500.0),
        ("1,001 or more", 1001.0),
        ("[-1, 0)", -1.0),
        ("2", 2.0),
        ("university", "university"),
    ],
)
def test_value_of_a_bin_lies_in_it(label: str, value: float | str | None) -> None:
    assert value_in(label) == value


def test_broken_cap_is_called_broken() -> None:
    growth = GrowthTest(
        clients=64,
        grade="G1",
        room=10,
        granted=11,
        approved=2,
        referred=62,
        within=False,
    )
    assert growth_text(growth).startswith("BROKEN: 64 clients")
    assert growth_text(replace(growth, within=True)).startswith("held")
    assert growth_text(None).startswith("n/a")


def test_wave_tells_both_phases_and_the_next_applicant() -> None:
    wave = WaveTest(
        accounts=300,
        late=28,
        before="running",
        after="halted",
        next_outcome="REFER",
        next_code="R27",
    )
    assert wave_text(wave) == (
        "28 of 300 first payments late: the ramp went from running to halted; the next "
        "applicant: REFER R27"
    )


def test_offer_or_why_there_is_none() -> None:
    assert offers_text({}) == "this node makes no offers"
    offer = {
        "product": "small",
        "amount": 6_000_000,
        "currency": "TWD",
        "months": 12,
        "price_apr": 145_000,
        "monthly_due": 540_000,
        "total_cost": 480_000,
    }
    assert offers_text({"offers": [offer]}) == (
        "small, 60,000 TWD over 12 months at 14.50% a year, 5,400 a month, 4,800 in all"
    )
    none = {"offers": [], "why": ["NOT_OFFERED"], "counselling": True}
    assert offers_text(none) == "none suits (NOT_OFFERED); counselling is offered"


def test_income_that_is_not_declared_is_none_and_not_nought(tmp_path: Path) -> None:
    (tmp_path / "bank.csv").write_text("ID,INCOME\n1,20000\n2,\n", encoding="utf-8")
    source = DataSource(
        query="SELECT * FROM read_csv('bank.csv')",
        person="ID",
        label="ID",
        directory=tmp_path,
    )
    doors = {"bank": CreditDoor(Desk(tmp_path / "desk.sock", source), tmp_path)}
    incomes = incomes_of(doors, "INCOME")
    assert incomes == {"1": 2_000_000}
    test = CreditTest(
        rules=tmp_path,
        product="small",
        purpose="DURABLES",
        amount=1,
        currency="TWD",
        tenor_months=12,
        income="INCOME",
        features={},
    )
    forms = Forms(test, incomes)
    assert forms.of("a", "1").standing.income is not None
    assert forms.of("b", "2").standing.income is None
    assert "incomes are those of the column INCOME" in test.assumed


def test_of_each_feature_the_best_change_is_told() -> None:
    def change(feature: str, then: str, gain: int) -> Change:
        return Change(feature=feature, now="2", then=then, gain=gain, points=400 + gain)

    found = best_changes(
        [change("a", "1", 3), change("a", "0", 9), change("b", "0", 12), change("a", "x", 2)]
    )
    assert [(one.feature, one.then) for one in found] == [("b", "0"), ("a", "0")]


def test_node_that_decides_on_everybody_at_once_is_in_no_hurry(tmp_path: Path) -> None:
    rehearsal = load_rehearsal(ROOT / "examples" / "taiwan" / "rehearsal.toml")
    party = rehearsal.parties[0]
    assert "deadline_ms = 20000" in settings_text(party, tmp_path, decides=True)
    assert "[credit]" not in settings_text(party, tmp_path)


def test_credit_table_needs_a_policy_and_known_keys(tmp_path: Path) -> None:
    source = (ROOT / "examples" / "taiwan" / "rehearsal.toml").read_text(encoding="utf-8")
    schema = (ROOT / "examples" / "taiwan" / "schema.toml").read_bytes()
    (tmp_path / "schema.toml").write_bytes(schema)
    file = tmp_path / "rehearsal.toml"
    file.write_text(source, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"no policy\*\.toml"):
        load_rehearsal(file)
    (tmp_path / "credit").mkdir()
    (tmp_path / "credit" / "policy.toml").touch()
    found = load_rehearsal(file)
    assert found.credit is not None
    assert found.credit.features["bank_a"][0] == "PAY_0"
    file.write_text(source.replace("[credit]", "[credit]\nwish = 1"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="wish"):
        load_rehearsal(file)
