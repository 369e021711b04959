"""A node's closure risk: its table of lines as columns, chances on paper, and nothing else.

Persons are SYNTHETIC (``examples.ecosystem``).
"""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from consortium.credit.tables import Calibration
from consortium.credit.terms import MILLION
from consortium.errors import ConfigurationError, DataError, DecodeError
from consortium.ids import RunId, digest_of
from consortium.plan import ModelKind, TrainingPlan
from coordinator.plans import PlanContext, parse_plan
from examples.ecosystem import PROFILES, generate
from examples.ecosystem.files import write
from models.closure_bins import BIN_COUNTS, CAUSES, CLOSURES, FEATURES, WITHDRAWN
from models.document import ModelDocument
from models.inference import Model
from models.line_months import LineTable, causes_of
from models.partials import Joint
from models.spec import spec_of
from partner_node.credit.closure_page import page_of, stem_of, table_of, title_of
from partner_node.credit.closures import dormant_good, foresee, groups_of
from partner_node.credit.line_months import LinesRead, read_lines
from partner_node.table import DataSource
from tests.hazard_house import line_table
from tests.simulator import Consortium

MARKET = replace(PROFILES["tiny"], withdrawn_in=13, months=15, partners=2)
PLAN = """
[plan]
model = "hazard"
rounds = 1
[[block]]
normaliser = 100
"""


def source_of(directory: Path, query: str) -> DataSource:
    return DataSource(
        query=query, person="person", label="line", directory=directory, origin="lines.toml"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("market")
    write(*generate(MARKET, 1), directory)
    return directory


def read_of(folder: Path, number: int, where: str = "") -> LinesRead:
    query = f"SELECT * FROM 'SYNTHETIC_partner_{number}_lines.parquet' {where}"  # noqa: S608
    return read_lines(source_of(folder, query), salt="test")


def plan_of() -> TrainingPlan:
    house = Consortium()
    kinds = replace(house.manifest.policy, model_kinds=("hazard",))
    manifest = replace(house.manifest, policy=kinds)
    context = PlanContext(RunId("5a" * 16), manifest, house.schema, digest_of(b"code"))
    return parse_plan(PLAN, context)


def document_of(plan: TrainingPlan, *, kind: ModelKind = ModelKind.HAZARD) -> ModelDocument:
    """A model in which idle lines are closed, and arrears are."""
    house = Consortium()
    spec = spec_of(plan, house.schema, bins=None)  # type: ignore[arg-type]
    weights = np.full((len(CAUSES), sum(BIN_COUNTS)), -6.5 / len(FEATURES))
    idle = BIN_COUNTS[0] + BIN_COUNTS[1] - 1
    weights[CAUSES.index("INACTIVITY"), idle] += 3.6
    weights[CAUSES.index("ARREARS"), 3:12] += 3.0
    model = Model(
        spec=spec,
        bins=digest_of(b"bins"),
        weights=(weights.ravel(),),
        calibration=(Calibration(alpha=0.0, beta=1.0),),
    )
    return ModelDocument(
        manifest=digest_of(b"manifest"),
        plan=replace(plan, model=kind),
        bins=None,  # type: ignore[arg-type]
        model=model,
        joint=Joint(base="0.0", centres={}),
        metrics={},
        statement={},
    )


def test_a_node_reads_the_columns_that_the_market_has(folder: Path) -> None:
    observed, _ = generate(MARKET, 1)
    for number in (1, 2):
        read = read_of(folder, number)
        made = line_table(observed.partners[number - 1], MARKET, last=MARKET.months - 1)
        start = 12 * 2021
        for one in fields(LineTable):
            seen, expected = getattr(read.table, one.name), getattr(made, one.name)
            if one.name == "person":  # heads of hashes, the same for the same person alone
                assert np.unique(seen).size == np.unique(expected).size
                continue
            if one.name == "dpd":
                # A table grows in M3+; the house's rule of bins does not see by how much.
                expected, seen = np.minimum(expected, 110), np.minimum(seen, 110)
            if one.name in ("month", "opened"):
                expected = expected + start
            if one.name == "withdrawn":
                expected = np.where(expected >= 0, expected + start, expected)
            assert np.array_equal(seen, expected), one.name
        assert len(read.names) == np.unique(made.line).size
        assert 0.1 < read.held_out("0.2").mean() < 0.3


@pytest.mark.parametrize(
    ("query", "error", "text"),
    [
        ("SELECT * EXCLUDE dpd FROM x", ConfigurationError, "no column 'dpd'"),
        ("SELECT * FROM x ORDER BY month_end", DataError, "row .*not ordered"),
        ("SELECT * REPLACE (NULL::INT AS dpd) FROM x", DataError, "row 1: dpd: missing"),
        ("SELECT * REPLACE (-1 AS dpd) FROM x", DataError, "row 1: dpd: below 0"),
        ("SELECT * REPLACE ('LIVE' AS status) FROM x", DataError, "row 1: status"),
        ("SELECT * REPLACE (NULL AS person) FROM x", DataError, "row 1: person: missing"),
        ("SELECT * FROM x WHERE line = 'nobody'", DataError, "empty"),
        (
            "SELECT * REPLACE (DATE '2050-01-01' AS opened_on) FROM x",
            DataError,
            "row 1: opened_on",
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused_by_row_and_column(
    folder: Path, query: str, error: type[Exception], text: str
) -> None:
    lines = "(SELECT * FROM 'SYNTHETIC_partner_1_lines.parquet' WHERE line < 'L1-00000050')"
    with pytest.raises(error, match=text) as refused:
        read_lines(source_of(folder, query.replace("FROM x", f"FROM {lines}")), salt="test")
    assert "SYN-" not in str(refused.value)


def test_columns_that_a_partner_lacks_are_unknown_and_no_error(folder: Path) -> None:
    query = (
        "SELECT line, person, month_end, opened_on, status, credit_limit, balance, debits, dpd "
        "FROM 'SYNTHETIC_partner_1_lines.parquet'"
    )
    table = read_lines(source_of(folder, query), salt="test").table
    for name in ("cash", "inactive", "device", "withdrawn"):
        assert set(getattr(table, name).tolist()) == {-1}
    assert not table.anomaly.any()
    assert causes_of(table).any()


def test_dormant_good_payers_are_likely_to_be_closed_and_unlikely_to_default(
    folder: Path,
) -> None:
    plan = plan_of()
    observed, truth = generate(MARKET, 1)
    read, hidden = read_of(folder, 1), truth.hidden[0]
    chances = hidden.pd12[MARKET.months - 1]
    pds = {
        f"L1-{place:08}": int(chance * MILLION)
        for place, chance in enumerate(chances.tolist())
        if chance > 0
    }
    risks = foresee(document_of(plan), read, pds)
    portfolio, dormant, weakest = groups_of(risks)
    assert dormant.lines > 20
    assert dormant.closure is not None
    assert portfolio.closure is not None
    assert weakest.closure is not None
    assert dormant.closure >= 5 * portfolio.closure
    assert dormant.pd is not None
    assert portfolio.pd is not None
    assert dormant.pd <= portfolio.pd
    assert weakest.pd is not None
    assert weakest.pd > 3 * portfolio.pd > weakest.closure  # default is not closure either
    for one in risks:
        assert sum(one.by_cause.values()) <= MILLION
        if one.dormant_good:
            assert (one.cause, one.carried_by[0]) == ("INACTIVITY", "inactive_months")
    page = page_of(risks, portfolio_groups := groups_of(risks), version="ab", synthetic=True)
    assert len(portfolio_groups) == 3
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>SYNTHETIC: closure risk</title>" in page
    assert "<script" not in page
    assert "http" not in page
    assert "Months without use / 连续未使用的月数" in page
    table = table_of(risks).splitlines()
    assert len(table) == len(risks) + 1
    assert table[0].split(",")[:6] == ["line", *CAUSES, WITHDRAWN]
    assert observed.synthetic
    assert stem_of(synthetic=True).startswith("SYNTHETIC_")
    assert title_of(synthetic=False) == "Closure risk"


def test_a_withdrawn_product_is_certain_and_carried_by_nothing(folder: Path) -> None:
    read = read_of(folder, 2, "WHERE month_end < DATE '2022-02-01'")
    risks = foresee(document_of(plan_of()), read, {})
    assert {one.cause for one in risks} == {WITHDRAWN}
    for one in risks:
        assert sum(one.by_cause.values()) >= MILLION - len(one.by_cause)
        assert one.closure <= MILLION
        assert one.carried_by == ()
        assert one.pd is None
    assert groups_of(risks)[2].lines == 0
    calm = CAUSES[:CLOSURES]
    assert all(one.by_cause[name] < MILLION // 3 for one in risks for name in calm)


def test_a_line_that_was_late_is_no_good_payer_for_six_months(folder: Path) -> None:
    table = read_of(folder, 1).table
    good = dormant_good(table)
    late = np.flatnonzero(table.dpd > 0)
    for row in late[:200].tolist():
        later = [
            place
            for place in range(row, min(row + 6, len(table)))
            if table.line[place] == table.line[row]
        ]
        assert not good[later].any()
    assert good.any()


def test_another_kind_of_model_and_a_table_without_open_lines_are_refused(
    folder: Path,
) -> None:
    plan = plan_of()
    read = read_of(folder, 1)
    with pytest.raises(DecodeError, match="closure model"):
        foresee(document_of(plan, kind=ModelKind.SCORECARD), read, {})
    with pytest.raises(DataError, match="no line is open"):
        foresee(document_of(plan), read_of(folder, 1, "WHERE status <> 'OPEN'"), {})
