import gzip
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from consortium.features.bins import public_bins
from consortium.features.schema import Schema, parse_schema
from partner_node.ingest import DataSource, load

ROOT = Path(__file__).resolve().parents[2]
HOLDOUT = ("riskweave-taiwan-v1|holdout", "0.2")


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def taiwan() -> Schema:
    text = (ROOT / "examples/taiwan/schema.toml").read_text(encoding="utf-8")
    return parse_schema(text, source="schema.toml")


@pytest.fixture(scope="module")
def partners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("taiwan")
    script("examples/taiwan/cut.py").cut(directory)
    return directory


def source(directory: Path, name: str) -> DataSource:
    return DataSource(
        query=f"FROM '{name}'",
        person="ID",
        label="default_next_month",
        directory=directory,
    )


def test_shipped_table_is_the_published_one() -> None:
    archive = (ROOT / "data/taiwan_default.csv.gz").read_bytes()
    listed = (ROOT / "data/SHA256SUMS").read_text().split()
    assert listed == [hashlib.sha256(archive).hexdigest(), "taiwan_default.csv.gz"]
    assert hashlib.sha256(gzip.decompress(archive)).hexdigest() == (
        "84ba892a2a55a0d711259f30084753f22b14b0c56303baf25ced4e7600230248"
    )


HELD = {
    "bank_a": ["repayment"],
    "bank_b": ["repayment"],
    "platform_c": ["billing", "payments"],
    "platform_d": ["billing", "payments"],
}


@pytest.mark.parametrize(
    ("partner", "rows"),
    [
        ("bank_a", (14_468, 3_678)),
        ("bank_b", (9_453, 2_401)),
        ("platform_c", (10_050, 2_522)),
        ("platform_d", (6_714, 1_689)),
    ],
)
def test_partners_and_hold_out_have_the_published_sizes(
    taiwan: Schema, partners: Path, partner: str, rows: tuple[int, int]
) -> None:
    table = load(
        source(partners, f"{partner}.parquet"),
        taiwan,
        public_bins(taiwan),
        HELD[partner],
        holdout=HOLDOUT,
    )
    assert ((~table.holdout).sum(), table.holdout.sum()) == rows


def test_partners_hold_only_their_own_families(taiwan: Schema, partners: Path) -> None:
    for partner, families in [
        ("bank_a", ["repayment"]),
        ("platform_c", ["billing", "payments"]),
    ]:
        columns = set(duckdb.read_parquet(f"{partners}/{partner}.parquet").columns)
        held = {feature.name for feature in taiwan.of_families(families)}
        assert columns & {feature.name for feature in taiwan.features} == held


def test_negative_control_gives_billing_to_the_banks(taiwan: Schema, tmp_path: Path) -> None:
    script("examples/taiwan/cut.py").cut(tmp_path, negative_control=True)
    columns = set(duckdb.read_parquet(f"{tmp_path}/platform_c.parquet").columns)
    held = {feature.name for feature in taiwan.of_families(["payments"])}
    assert columns == {"ID", "consent", "default_next_month"} | held


def test_split_that_is_not_the_published_one_is_refused() -> None:
    cut = script("examples/taiwan/cut.py")
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE person AS SELECT 1 ID, 0 holdout, 'a' bank, '' platform"
        )
        with pytest.raises(ValueError, match=cut.SPLIT_CHECK):
            cut.check_split(connection)


def test_public_bins_lose_nothing_against_the_reference(taiwan: Schema) -> None:
    table = load(
        source(ROOT / "data", "taiwan_default.csv.gz"),
        taiwan,
        public_bins(taiwan),
        taiwan.families,
        holdout=HOLDOUT,
    )
    held_out = table.holdout
    encoder = OneHotEncoder(handle_unknown="ignore")
    design = encoder.fit_transform(table.codes[~held_out])
    model = LogisticRegression(max_iter=2000).fit(design, table.labels[~held_out])
    scores = model.decision_function(encoder.transform(table.codes[held_out]))
    assert roc_auc_score(table.labels[held_out], scores) == pytest.approx(0.7782, abs=0.001)
    assert np.bincount(table.labels).tolist() == [23_364, 6_636]


def test_archive_with_another_hash_is_refused_with_both(tmp_path: Path) -> None:
    fetch = script("examples/gmsc/fetch.py")
    (tmp_path / fetch.ARCHIVE).write_bytes(b"something else")
    with pytest.raises(ValueError, match=f"archive has SHA-256 .*{fetch.SHA256['archive']}"):
        fetch.table_of(tmp_path / fetch.ARCHIVE)


GMSC_HEADER = (
    "id,SeriousDlqin2yrs,RevolvingUtilizationOfUnsecuredLines,age,"
    "NumberOfTime30-59DaysPastDueNotWorse,DebtRatio,MonthlyIncome,"
    "NumberOfOpenCreditLinesAndLoans,NumberOfTimes90DaysLate,NumberRealEstateLoansOrLines,"
    "NumberOfTime60-89DaysPastDueNotWorse,NumberOfDependents"
)


def test_debt_is_a_ratio_with_income_and_an_amount_without(tmp_path: Path) -> None:
    fetch = script("examples/gmsc/fetch.py")
    table = tmp_path / "table.csv"
    table.write_text(
        f"{GMSC_HEADER}\n1,1,0.7,45,2,0.8,9120,13,0,6,0,2\n2,0,0.9,40,98,1200,NA,4,0,0,0,NA\n"
    )
    paths = fetch.cut(table, tmp_path / "out", lenders=1)
    rows = duckdb.read_parquet(str(paths[0]))
    assert rows.project("debt_ratio, debt_amount, monthly_income").fetchall() == [
        (0.8, None, 9120),
        (None, 1200.0, None),
    ]
    text = (ROOT / "examples/gmsc/schema.toml").read_text(encoding="utf-8")
    schema = parse_schema(text, source="schema.toml")
    names = {feature.name for feature in schema.features}
    assert names <= set(duckdb.read_parquet(str(paths[0])).columns)


def test_incomes_are_made_up_from_the_id_alone_and_said_to_be(partners: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "SELECT count(*), count(INCOME_MADE_UP), min(INCOME_MADE_UP), max(INCOME_MADE_UP), "
            "corr(INCOME_MADE_UP, default_next_month) FROM read_parquet(?)",
            [f"{partners}/bank_?.parquet"],
        ).fetchone()
    assert rows is not None
    persons, declared, least, most, bad = rows
    assert 0.94 < declared / persons < 0.96
    assert (least, most) == (20_000, 79_000)
    assert abs(bad) < 0.02
    readme = (ROOT / "examples/taiwan/README.md").read_text(encoding="utf-8")
    assert "**Incomes\n  are made up.**" in readme
    text = (ROOT / "examples/taiwan/schema.toml").read_text(encoding="utf-8")
    assert "INCOME" not in text
