"""At the operator: plans less one partner, and a statement from the tables that are there."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.contribution_market import plan_of, version_of
from consortium.canonical import Label, hash_with
from consortium.credit.figures import Terms, figure_plan
from consortium.credit.table_document import parse_table_document, table_bytes, table_digest
from consortium.documents import document_of, plan_digest
from consortium.errors import ConfigurationError
from consortium.ids import Digest, PartnerId, RunId
from consortium.plan import Block, ReleaseKind
from consortium.release import Attempt, Outcome
from coordinator import cli
from coordinator.credit.contribution import retraining_plan
from coordinator.credit.governing import Governing
from coordinator.table_releases import figure_digest
from coordinator.table_storage import TableRow, TableStore
from tests.coordinator_house import House
from tests.unit.test_contribution_table import ALL, FIRST, SECOND

NONE = Digest("0" * 64)
TRAINED = (ALL, (1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2), (1, 2), (0, 2), (0, 1))


def add_models(house: House) -> None:
    for number, who in enumerate(TRAINED):
        run = RunId(f"{number:032x}")
        plan = replace(plan_of(who), run=run)
        house.desk.store.runs.add(run, document_of(plan), plan_digest(plan), 1)
        house.desk.store.models.add(version_of(who), run, b"{}", 1)


def add_table(house: House, number: int, *, synthetic: bool = False) -> Digest:
    """The first or second look's table, as a run of this coordinator would have left it."""
    look = (FIRST, SECOND)[number]
    holders = tuple(sorted(look.judges))
    plan = figure_plan(
        replace(look.table.spec, synthetic=synthetic),
        Terms(),
        run=RunId(f"{100 + number:032x}"),
        holders=holders,
        under=(NONE, NONE, NONE),
    )
    attempt = Attempt(
        kind=ReleaseKind.TABLE,
        round=1,
        attempt=1,
        roster=tuple(PartnerId(f"lender_{k + 1}") for k in ALL),
        outcome=Outcome.SUMMED,
        missing=(),
        reasons=(),
        charged=True,
    )
    document = table_bytes(plan, np.array(look.table.totals, dtype=np.int64), (attempt,))
    table = parse_table_document(document).table
    row = TableRow(
        release=table.release,
        digest=table_digest(document),
        figure=figure_digest(table.spec),
        kind=table.spec.kind.value,
        first=table.spec.first,
        last=table.spec.last,
        run=plan.run,
        document=document,
        at=house.desk.log.now(),
    )
    TableStore(house.desk.store).add(row)
    return table.release


@pytest.fixture
def house(tmp_path: Path) -> House:
    found = House.build(tmp_path / "coordinator")
    add_models(found)
    return found


def test_statement_is_logged_once_with_its_tables_and_printed_in_three_forms(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [add_table(house, number) for number in range(2)]
    words = ["contribution", str(tmp_path / "coordinator"), *tables, "--json"]
    for _ in range(2):
        capsys.readouterr()
        assert cli.main([*words, "--out", str(tmp_path / "paper")]) == 0
    printed = json.loads(capsys.readouterr().out)
    (said,) = Governing(house.desk.store, house.desk.log).state().statements
    assert said.tables == tuple(tables)
    assert (said.statement, said.hanging) == (printed["digest"], None)
    worth = {one["partner"]: one["worth"] for one in printed["statement"]["lines"]}
    assert worth["lender_4"] == "harms"
    forms = {path.suffix: path.read_text("utf-8") for path in (tmp_path / "paper").iterdir()}
    assert forms.keys() == {".html", ".csv", ".json"}
    assert "lender_4" in forms[".html"]
    assert len(forms[".csv"].splitlines()) == 5


@pytest.mark.parametrize("case", ["made up", "harms", "0 tables"])
def test_statement_on_made_up_tables_or_one_that_stops_too_early_is_not_logged(
    house: House, tmp_path: Path, case: str
) -> None:
    tables = ["ff" * 32]
    if case != "0 tables":
        both = range(2 if case == "made up" else 1)
        tables = [add_table(house, number, synthetic=case == "made up") for number in both]
    with pytest.raises(ConfigurationError, match=case):
        cli.main(["contribution", str(tmp_path / "coordinator"), *tables])
    assert not Governing(house.desk.store, house.desk.log).state().statements


def test_plan_without_a_partner_is_the_old_one_less_its_rows_and_blocks(house: House) -> None:
    plan = replace(plan_of(ALL), run=RunId("ab" * 16), epsilon="0.7", rounds=9)
    alone = Block(name="own", families=("own",), holders=(PartnerId("lender_2"),), normaliser=5)
    (shared,) = plan.blocks
    plan = replace(plan, blocks=(replace(shared, normaliser=1001), alone))
    store, version = house.desk.store, hash_with(Label.MODEL, b"more blocks")
    store.runs.add(plan.run, document_of(plan), plan_digest(plan), 1)
    store.models.add(version, plan.run, b"{}", 1)
    made = tomllib.loads(retraining_plan(store, version[:12], PartnerId("lender_2")))
    assert (made["plan"]["epsilon"], made["plan"]["rounds"]) == ("0.7", 9)
    assert made["plan"]["holdout_salt"] == plan.holdout_salt
    (block,) = made["block"]
    assert block["holders"] == ["lender_1", "lender_3", "lender_4"]
    assert block["normaliser"] == 751
    with pytest.raises(ConfigurationError, match="not trained with rows of"):
        retraining_plan(store, version, PartnerId("lender_9"))
    with pytest.raises(ConfigurationError, match="0 versions"):
        retraining_plan(store, "ee", PartnerId("lender_2"))
