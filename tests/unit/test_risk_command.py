"""The register of a coordinator: read from its own records, blocking what the table says."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consortium.credit.campaign_table import look_of
from consortium.credit.figure_forms import CAUSES
from consortium.credit.triggers import Block, Level, Trigger
from consortium.credit.waves import Move, start, step
from consortium.errors import ConfigurationError, DomainError
from consortium.figure import Axis, FigureKind, Measure
from consortium.figure_policy import FigurePolicy
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.entries import Entry, from_jcs, sign_entry
from consortium.ledger.governing import RegisterActed, RegisterWaived
from consortium.ledger.run_bodies import BudgetDebit
from consortium.plan import ReleaseKind
from consortium.privacy.accountant import units_of
from coordinator.credit import cli_risk
from coordinator.credit.governing import Governing
from coordinator.credit.opening import refusal_of, registers_of
from coordinator.credit.readings import shock_readings, witness_readings
from coordinator.credit.register import Registers
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.plans import PlanContext, parse_plan
from tests.campaign_house import PLAN, after
from tests.coordinator_house import House

HOUR = 3_600
Output = pytest.CaptureFixture[str]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.build(tmp_path / "coordinator")


def debit(house: House, share: float, at: int, account: str = "training") -> None:
    """One partner is charged a share of the manifest's cap."""
    policy = house.manifest.policy
    cap = units_of(float(policy.max_epsilon_lifetime), float(policy.delta))
    body = BudgetDebit(
        account=account,
        epoch="default",
        run=RunId("5a" * 16),
        kind=ReleaseKind.GRADIENT,
        round=1,
        attempt=1,
        units=int(share * cap),
        variance="1",
        partners=2,
    )
    node = house.nodes["bank_a"]
    entry = sign_entry(Entry(seq_hint=0, at=at, actor=node.partner, body=body), node.identity)
    house.desk.store.log.append((entry.to_jcs(),))


def clocked(house: House) -> tuple[Registers, Governing, list[int]]:
    clock = [int(datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp())]
    house.desk.log.now = lambda: clock[0]
    governing = Governing(house.desk.store, house.desk.log)
    return registers_of(house.desk, governing), governing, clock


def test_budget_that_runs_out_is_read_from_the_log_and_stops_reports(house: House) -> None:
    registers, _, clock = clocked(house)
    debit(house, 0.5, clock[0])
    assert not registers.today().items
    debit(house, 0.25, clock[0])
    assert registers.today().items[0].reading.level is Level.AMBER
    debit(house, 0.2, clock[0])
    item = registers.today().items[0]
    assert (item.reading.subject, item.reading.level) == ("bank_a:training", Level.RED)
    assert item.reading.value == pytest.approx(0.05, abs=1e-6)
    assert "budget of bank_a:training is red" in registers.refusal(Block.REPORTS)
    assert not registers.refusal(Block.TRAINING)


def test_run_that_the_register_stops_does_not_begin(house: House) -> None:
    registers, _, clock = clocked(house)
    debit(house, 0.95, clock[0])
    figures = FigurePolicy(kinds=(FigureKind.CAMPAIGN, FigureKind.CLOSURES))
    policy = replace(house.manifest.policy, figures=figures)
    context = PlanContext(
        run=RunId("5a" * 16),
        manifest=replace(house.manifest, policy=policy),
        schema=house.desk.schema,
        code=Digest("00" * 32),
    )
    running = start(PLAN)
    _, orders = after(Move.OPEN)
    look = look_of(PLAN, step(PLAN, running, orders[0]), on=PLAN.begins)
    report = replace(
        look, kind=FigureKind.CLOSURES, filters=(), axes=(Axis(name="cause", cells=CAUSES),)
    )
    report = replace(report, measures=(Measure(name="lines"),))
    plans = [parse_plan(table_plan_text(one, FigureTerms()), context) for one in (look, report)]
    assert refusal_of(registers, plans[0]) == ""
    assert "budget of bank_a:training is red" in refusal_of(registers, plans[1])


def test_red_item_is_overdue_after_its_days_and_a_waiver_lifts_its_block(
    house: House, tmp_path: Path, capsys: Output
) -> None:
    registers, _, clock = clocked(house)
    debit(house, 0.95, clock[0])
    clock[0] += 6 * 24 * HOUR
    assert [one.standing for one in registers.today().alarms] == ["overdue"]
    home = str(tmp_path / "coordinator")
    assert cli_risk.main(["check", home, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["items"][0]["owner"] == "PE"
    words = ["waive", home, "budget", "bank_a:training", "--reason", "board-3", "--days", "90"]
    assert cli_risk.main(words) == 0
    assert cli_risk.main(["check", home]) == 0
    with pytest.raises(DomainError, match="90 days"):
        cli_risk.main([*words[:-1], "91"])


def test_act_and_waiver_are_entries_of_the_operator_in_the_log(
    house: House, tmp_path: Path
) -> None:
    home = str(tmp_path / "coordinator")
    cli_risk.main(["act", home, "drift", "all", "--action", "retrain"])
    cli_risk.main(["waive", home, "fairness", "women", "--reason", "search-2"])
    bodies = [from_jcs(one).body for one in house.desk.store.log.entries()]
    assert [type(one) for one in bodies[-2:]] == [RegisterActed, RegisterWaived]


def test_what_has_no_source_is_unknown_and_never_green(
    house: House, tmp_path: Path, capsys: Output
) -> None:
    assert house.manifest
    cli_risk.main(["list", str(tmp_path / "coordinator"), "--json"])
    unknown = json.loads(capsys.readouterr().out)["unknown"]
    assert {one.split(":")[0] for one in unknown} == {
        *(one.value for one in Trigger if one is not Trigger.CALIBRATION),
        "calibration",
    }


def test_silent_witness_is_red_after_a_day_since_it_was_and_not_since_today() -> None:
    names = [PartnerId("bank_a"), PartnerId("bank_b")]
    now = int(datetime(2026, 7, 5, 12, tzinfo=UTC).timestamp())
    last = {names[0]: now - HOUR, names[1]: now - 80 * HOUR}
    found = list(witness_readings(last, names, now=now, since=0))
    levels = {name: [one.level for one in found if one.subject == name] for name in names}
    assert levels[names[0]] == [Level.GREEN, Level.GREEN]
    assert levels[names[1]] == [Level.GREEN, Level.AMBER, Level.RED, Level.RED]
    red = [one.on for one in found if one.level is Level.RED]
    assert (red[0].day, red[1].day) == (3, 5)


def test_report_of_a_closure_reads_as_shares_of_expected_loss(
    tmp_path: Path, house: House, capsys: Output
) -> None:
    assert house.manifest

    def line(name: str, loss: float, tier: str = "*") -> dict[str, object]:
        return {"partner": name, "tier": tier, "loss": {"value": loss, "low": 0, "high": 0}}

    document = {
        "kind": "closure stress",
        "before": [{"partner": "bank_a", "value": 1_000.0}, {"partner": "*", "value": 9.0}],
        "together": [line("bank_a", 120.0), line("bank_a", 9.0, "LOW"), line("*", 1.0)],
    }
    day = datetime(2026, 7, 1, tzinfo=UTC).date()
    (found,) = shock_readings(document, day, Digest("00" * 32))
    assert (found.subject, found.value, found.level) == ("bank_a", 0.12, Level.RED)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    home = str(tmp_path / "coordinator")
    cli_risk.main(["list", home, "--stress", str(path), "--json"])
    item = json.loads(capsys.readouterr().out)["items"][0]
    assert item["blocks"] == ["further_cuts"]
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="no report of a closure"):
        cli_risk.main(["list", home, "--stress", str(path)])


def test_index_of_the_log_is_read_on_and_counts_no_debit_twice(house: House) -> None:
    _, governing, clock = clocked(house)
    for day in range(3):
        debit(house, 0.1, clock[0] + day * 24 * HOUR)
        first = governing.spent()
        assert governing.spent() == first
    assert len(first) == 3
    debit(house, 0.1, clock[0])
    again = Governing(house.desk.store, house.desk.log).spent()
    assert again[0].units == 2 * first[0].units
    assert replace(again[1], units=0) == replace(first[1], units=0)
