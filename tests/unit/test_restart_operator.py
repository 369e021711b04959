"""The operator of a campaign: plan, looks, orders and report, all from the log and tables."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from consortium.credit.waves import Arm, Fate, Move, WaveState
from consortium.errors import ConfigurationError, DomainError, OutOfOrderError
from consortium.figure import FigureKind
from consortium.figure_policy import FigurePolicy
from consortium.ledger.entries import from_jcs
from consortium.ledger.governing import CampaignOrdered
from consortium.privacy.accountant import epsilon_of_units, units_of
from coordinator.credit import campaign_report, cli_restart
from coordinator.credit.campaign_report import Looked
from coordinator.credit.governing import Governing
from coordinator.credit.opening import registers_of
from coordinator.credit.restart_plan import parse_campaign
from coordinator.credit.restart_waves import Campaigns, Decider, epsilon_of_look
from coordinator.plans import PlanContext, parse_plan
from coordinator.table_storage import TableStore
from tests.campaign_house import PLAN
from tests.campaign_tables import Wave, add_table, vector
from tests.coordinator_house import POLICY, House

TEXT = """
[campaign]
name = "spring-26"
lenders = ["bank_b", "bank_a"]
closed_from = 2025-10-01
closed_to = 2025-12-31
begins = 2026-03-02
epsilon = "1"
[stop]
fpd30_plan = "0.03"
"""
DAY = 86_400
START = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp())
GOOD: Wave = {
    (Arm.A, Fate.PAID): 1_500,
    (Arm.A, Fate.FPD30): 15,
    (Arm.B, Fate.PAID): 1_400,
    (Arm.B, Fate.FPD30): 50,
    (Arm.C, Fate.PAID): 700,
    (Arm.C, Fate.LATER30): 140,
    (Arm.A_HELD, Fate.PAID): 150,
    (Arm.A_HELD, Fate.LATER30): 2,
    (Arm.B_HELD, Fate.PAID): 150,
    (Arm.B_HELD, Fate.LATER30): 6,
}
BAD: Wave = GOOD | {(Arm.A, Fate.FPD30): 120, (Arm.B, Fate.FPD30): 140}
BY = Decider("LO", "committee-4")


class Operator:
    """A coordinator with a clock that the test turns."""

    def __init__(self, home: Path) -> None:
        figures = FigurePolicy(kinds=(FigureKind.CAMPAIGN,))
        self.house = House.build(home, policy=replace(POLICY, figures=figures))
        self.clock = START
        self.desk = self.house.desk
        self.desk.log.now = lambda: self.clock
        self.governing = Governing(self.desk.store, self.desk.log)
        self.campaigns = Campaigns(
            self.governing,
            TableStore(self.desk.store),
            registers_of(self.desk, self.governing),
        )

    def plan(self, text: str = TEXT) -> None:
        delta = self.house.manifest.policy.delta
        self.campaigns.plan(parse_campaign(text, delta=delta), self.house.manifest)

    def counted(self, wave: Wave) -> None:
        """The table of the look that is due comes in."""
        due = self.campaigns.due("spring-26")
        assert due is not None
        running = self.campaigns.running("spring-26")
        add_table(self.desk.store, due.spec, vector(due.spec, running.now.at, wave))

    def look(self, wave: Wave) -> Move:
        self.counted(wave)
        running = self.campaigns.look("spring-26")
        self.clock += 30 * DAY
        return running.orders[-1].move


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    made = Operator(tmp_path / "coordinator")
    made.plan()
    return made


def test_plan_of_a_file_is_the_one_that_is_signed(operator: Operator) -> None:
    plan = operator.campaigns.running("spring-26").plan
    assert plan == replace(PLAN, delta=operator.house.manifest.policy.delta)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('epsilon = "1"', "epsilon = 1", "epsilon: expected a str"),
        ('name = "spring-26"', 'name = "spring-26"\nmode = 1', "unknown key 'mode'"),
        ("[stop]", "[stops]", "unknown table 'stops'"),
        ('"0.03"', '"0.6"', "not 0 < p0"),
        ('"0.03"', "0.03", "decimal in quotes"),
        ("2025-12-31", "2026-12-31", "begins after"),
        ("[campaign]", "[campaign", "campaign: "),
    ],
)
def test_plan_file_that_is_wrong_is_refused_by_key(old: str, new: str, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        parse_campaign(TEXT.replace(old, new), delta="0.000001")


def test_plan_that_the_manifest_does_not_carry_is_refused(tmp_path: Path) -> None:
    made = Operator(tmp_path / "coordinator")
    with pytest.raises(ConfigurationError, match="no active partner"):
        made.plan(TEXT.replace("bank_b", "bank_x"))
    with pytest.raises(ConfigurationError, match="the cap is 1"):
        made.plan(TEXT.replace('epsilon = "1"', 'epsilon = "8"'))
    bare = replace(made.house.manifest, policy=POLICY)
    with pytest.raises(ConfigurationError, match="does not name campaign"):
        made.campaigns.plan(PLAN, bare)
    made.plan()
    with pytest.raises(OutOfOrderError, match="there is a campaign"):
        made.plan()


def test_good_waves_pass_one_by_one_until_the_campaign_is_over(operator: Operator) -> None:
    for _ in PLAN.percents:
        operator.campaigns.order("spring-26", Move.OPEN, BY)
        assert operator.look(GOOD) is Move.PASS
    assert operator.campaigns.running("spring-26").now.is_over
    with pytest.raises(OutOfOrderError):
        operator.campaigns.order("spring-26", Move.OPEN, BY)


def test_bad_wave_halts_and_no_wave_opens_until_a_person_has_ordered(
    operator: Operator,
) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    assert operator.look(BAD) is Move.BAD
    with pytest.raises(OutOfOrderError):
        operator.campaigns.due("spring-26")
    with pytest.raises(OutOfOrderError):
        operator.campaigns.order("spring-26", Move.OPEN, BY)
    item = operator.campaigns._registers.today().items[0]
    assert (item.reading.trigger, item.reading.subject) == ("wave", "spring-26:w1")
    again = operator.campaigns.order("spring-26", Move.RESUME, BY)
    assert again.now.state is WaveState.RUNNING
    assert not operator.campaigns._registers.today().items
    assert operator.look(GOOD) is Move.PASS


def test_person_cannot_order_what_counts_decide(operator: Operator) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    with pytest.raises(DomainError):
        operator.campaigns.order("spring-26", Move.PASS, BY)
    with pytest.raises(ConfigurationError, match="not there yet"):
        operator.campaigns.look("spring-26")


def test_look_is_due_on_its_day_and_its_table_is_asked_for_once(operator: Operator) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    unclear = GOOD | {
        (Arm.A, Fate.FPD30): 62,
        (Arm.B, Fate.FPD30): 70,
        (Arm.B_HELD, Fate.LATER30): 9,
    }
    assert operator.look(unclear) is Move.CONTINUE
    operator.clock -= 25 * DAY
    assert operator.campaigns.due("spring-26") is None
    operator.clock += 25 * DAY
    due = operator.campaigns.due("spring-26")
    assert due is not None
    assert due.spec.filter("look") == "2"
    assert not operator.campaigns.is_counted("spring-26")
    operator.counted(unclear)
    assert operator.campaigns.is_counted("spring-26")


def test_plan_text_of_a_look_is_the_figure_that_nodes_expect(operator: Operator) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    due = operator.campaigns.due("spring-26")
    assert due is not None
    context = PlanContext(
        run=PLAN.digest[:32],  # type: ignore[arg-type]
        manifest=operator.house.manifest,
        schema=operator.desk.schema,
        code=PLAN.digest,
    )
    assert parse_plan(due.plan_text, context).figure == due.spec


def test_planned_looks_together_cost_no_more_than_the_campaign(operator: Operator) -> None:
    plan = operator.campaigns.running("spring-26").plan
    delta = float(plan.delta)
    units = plan.releases * units_of(float(epsilon_of_look(plan)), delta)
    assert 0.99 < epsilon_of_units(units, delta) <= 1.0


def test_every_order_is_in_the_log_with_the_release_that_decided(operator: Operator) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    operator.look(BAD)
    orders = [
        entry.body.order
        for entry in map(from_jcs, operator.desk.store.log.entries())
        if isinstance(entry.body, CampaignOrdered)
    ]
    assert [one.move for one in orders] == [Move.OPEN, Move.BAD]
    assert orders[0].role == "LO"
    assert orders[1].release == TableStore(operator.desk.store).tables()[0].release


def test_two_operators_at_once_cannot_order_twice(operator: Operator) -> None:
    other = Governing(operator.desk.store, operator.desk.log)
    stale = operator.campaigns.order("spring-26", Move.OPEN, BY)
    with pytest.raises(OutOfOrderError, match="moved"):
        other.say(CampaignOrdered(order=stale.orders[0]))
    assert len(other.state().campaigns["spring-26"].orders) == 1


def report_of(operator: Operator) -> campaign_report.Document:
    running = operator.campaigns.running("spring-26")
    looks = [Looked(on=on, table=table) for on, table in operator.campaigns.tables("spring-26")]
    return campaign_report.document_of(running, looks, on=date(2026, 6, 1))


def test_report_has_every_figure_with_its_interval_and_suppresses_the_few(
    operator: Operator,
) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    operator.look(GOOD | {(Arm.C_HELD, Fate.PAID): 3})
    document = report_of(operator)
    assert campaign_report.as_json(document) == campaign_report.as_json(report_of(operator))
    rates = {line["tier"]: line for line in document["rates"]}
    values = [float(rates[tier]["late30"]["value"]) for tier in "ABC"]
    assert values == sorted(values)
    for tier, true in (("A", 15 / 1_515), ("B", 50 / 1_450), ("C", 140 / 840)):
        late = rates[tier]["late30"]
        assert float(late["low"]) <= true <= float(late["high"])
    assert rates["C"]["late30_held_out"]["value"] == "n/a"
    assert not any(line["arm"] == "C_held" for line in document["totals"])
    page = campaign_report.page_of(document)
    assert "<script" not in page
    assert page.count("<svg") == 1
    table = campaign_report.as_csv(document).splitlines()
    assert all(len(line.split(",")) == 9 for line in table)


def test_shares_and_counts_that_noise_puts_out_of_reach_are_told_at_its_edge(
    operator: Operator,
) -> None:
    operator.campaigns.order("spring-26", Move.OPEN, BY)
    odd: Wave = {(Arm.B_HELD, Fate.LATER30): -400, (Arm.A_HELD, Fate.PAID): -90}
    operator.look(GOOD | {(Arm.B_HELD, Fate.PAID): 900, (Arm.A_HELD, Fate.LATER30): 700} | odd)
    document = report_of(operator)
    rates = {line["tier"]: line["late30_held_out"] for line in document["rates"]}
    assert rates["B"] == {"value": "0.0000", "low": "0.0000", "high": "0.0000"}
    assert (rates["A"]["value"], rates["A"]["high"]) == ("1.0000", "1.0000")
    (held,) = [line for line in document["totals"] if line["arm"] == "B_held"]
    assert (held["later30"]["value"], held["later30"]["low"]) == ("0", "0")


def test_report_of_made_up_borrowers_says_so_everywhere(tmp_path: Path) -> None:
    made = Operator(tmp_path / "coordinator")
    made.plan(TEXT.replace('epsilon = "1"', 'epsilon = "1"\nsynthetic = true'))
    made.campaigns.order("spring-26", Move.OPEN, BY)
    made.look(GOOD)
    document = report_of(made)
    assert campaign_report.stem_of(document).startswith("SYNTHETIC")
    assert document["title"]["en"].startswith("SYNTHETIC")
    assert "SYNTHETIC" in campaign_report.page_of(document)
    assert campaign_report.as_csv(document).count("SYNTHETIC") > 5


@pytest.mark.usefixtures("operator")
def test_commands_plan_open_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(tmp_path / "coordinator")
    words = ["run", home, "spring-26", "--order", "open", "--role", "LO", "--reason", "go"]
    assert cli_restart.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["waves"][0] == "running"
    assert cli_restart.main(["run", home, "spring-26", "--print"]) == 0
    assert 'kind = "campaign"' in capsys.readouterr().out
    assert cli_restart.main(["report", home, "spring-26", "--out", str(tmp_path / "out")]) == 0
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".csv", ".html"}
