from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from consortium.errors import ConfigurationError
from consortium.features.bins import public_bins
from consortium.features.schema import Schema, parse_schema
from partner_node.ingest import DataSource, check, load
from partner_node.table import open_table
from tests.postgres_house import postgres_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ROWS = """
CREATE TABLE customers AS SELECT i AS id, (i % 3 = 0)::int AS default_next_month,
  i % 11 - 2 AS "PAY_0", 0 AS "PAY_2", 0 AS "PAY_3", 0 AS "PAY_4", 0 AS "PAY_5",
  nullif(i % 5, 4) AS "PAY_6" FROM generate_series(1, 1000) AS i
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A database with a table of customers, as libpq's connection text."""
    pytest.importorskip("duckdb_extension_postgres_scanner")
    with postgres_server() as server:
        server.sql(ROWS)
        yield server.libpq()


@pytest.fixture
def schema() -> Schema:
    text = (ROOT / "examples/taiwan/schema.toml").read_text(encoding="utf-8")
    return parse_schema(text, source="schema.toml")


def source(database: str, query: str, directory: Path) -> DataSource:
    return DataSource(
        query=query,
        person="id",
        label="default_next_month",
        directory=directory,
        postgres=database,
    )


def test_rows_of_postgres_are_read_like_those_of_a_file(
    database: str, schema: Schema, tmp_path: Path
) -> None:
    rows = source(database, "SELECT * FROM pg.public.customers", tmp_path)
    bins = public_bins(schema)
    table = load(rows, schema, bins, ["repayment"], holdout=("s", "0.2"))
    assert table.codes.shape == (1000, 6)
    assert table.labels.sum() == 333
    assert (table.codes[:, 5] == 0).sum() == 200
    assert table.report.features[0].above == 0


def test_postgres_is_attached_read_only(database: str, tmp_path: Path) -> None:
    rows = source(database, "SELECT * FROM pg.public.customers", tmp_path)
    with (
        open_table(rows) as table,
        pytest.raises(duckdb.Error, match="read-only"),
    ):
        table._connection.execute("DELETE FROM pg.public.customers")


def test_table_that_is_not_in_postgres_is_named(
    database: str, schema: Schema, tmp_path: Path
) -> None:
    rows = source(database, "SELECT * FROM pg.public.nothing", tmp_path)
    with pytest.raises(ConfigurationError, match="nothing"):
        check(rows, schema, ["repayment"])


def test_server_that_is_not_there_is_an_error_without_the_password(
    database: str, schema: Schema, tmp_path: Path
) -> None:
    absent = database.replace("host=", "password=hunter2 host=/nowhere")
    with pytest.raises(ConfigurationError, match="not reachable") as refusal:
        check(source(absent, "SELECT 1", tmp_path), schema, ["repayment"])
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__suppress_context__
