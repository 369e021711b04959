import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from consortium.errors import ConfigurationError, DataError, SchemaError
from consortium.features.bins import public_bins
from consortium.features.schema import Schema, parse_schema
from partner_node.ingest import DataReport, DataSource, EncodedTable, check, load

TEXT = """
name = "small"
version = 1
[label]
name = "outcome"
definition = "90 days past due within 12 months"
[reason.R03]
zh = "已用额度占授信额度的比例较高"
en = "High share of the available limit is in use"
[[feature]]
name = "utilisation"
family = "lines"
kind = "number"
unit = "share"
concept = "utilisation"
range = [0, 2]
edges = [0.5, 1]
reason = "R03"
[[feature]]
name = "days_late"
family = "arrears"
kind = "integer"
unit = "days"
concept = "arrears"
range = [0, 720]
edges = [1, 31]
reason = "R03"
[[feature]]
name = "purpose"
family = "lines"
kind = "category"
unit = "code"
concept = "loan_purpose"
categories = ["home", "it's"]
reason = "R03"
[[feature]]
name = "income"
family = "capacity"
kind = "number"
unit = "money"
concept = "income"
range = [0, 2]
edges = [1]
reason = "R03"
"""
FAMILIES = ("lines", "arrears")
CANARY = "canary-person-4711"

ROWS: dict[str, list[object]] = {
    "person": ["p0", "p1", "p2", "p3", "p4", "p5"],
    "bad": [0, 1, 0, 1, 0, 0],
    "utilisation": [0.1, 0.5, 1.0, None, 0.7, 0.2],
    "days_late": [0, 1, 31, 400, None, 0],
    "purpose": ["home", "it's", "boat", None, "home", "home"],
}


@pytest.fixture
def schema() -> Schema:
    return parse_schema(TEXT, source="small.toml")


class Bench:
    """One node's directory with one table in it."""

    def __init__(self, directory: Path, schema: Schema) -> None:
        self.directory = directory
        self.schema = schema
        self.source = DataSource(
            query="SELECT * FROM 'rows.parquet'",
            person="person",
            label="bad",
            directory=directory,
            origin="node.toml [data] query",
        )

    def write(self, **changes: object) -> None:
        columns = {name: values for name, values in (ROWS | changes).items() if values}
        pa.parquet.write_table(pa.table(columns), self.directory / "rows.parquet")

    def check(self) -> DataReport:
        return check(self.source, self.schema, FAMILIES)

    def load(self, salt: str = "s", fraction: str = "0") -> EncodedTable:
        bins = public_bins(self.schema)
        return load(self.source, self.schema, bins, FAMILIES, holdout=(salt, fraction))


@pytest.fixture
def bench(tmp_path: Path, schema: Schema) -> Bench:
    bench = Bench(tmp_path, schema)
    bench.write()
    return bench


def rejects(report: DataReport) -> dict[str, int]:
    return {reason: count for reason, count in report.rejects if count}


def test_rows_become_codes_in_schema_order_and_nothing_else_is_read(bench: Bench) -> None:
    table = bench.load()
    assert [feature.name for feature in table.features] == [
        "utilisation",
        "days_late",
        "purpose",
    ]
    assert table.codes.tolist() == [
        [1, 1, 1], [2, 2, 2], [3, 3, 3], [0, 3, 0], [2, 0, 1], [1, 1, 1],
    ]  # fmt: skip
    assert table.codes.dtype == np.uint8
    assert table.codes.flags.c_contiguous
    assert table.labels.tolist() == ROWS["bad"]
    assert table.report == replace(bench.check(), held_out=0)
    assert rejects(table.report) == {}


def test_csv_gives_the_same_codes_as_parquet(bench: Bench) -> None:
    expected = bench.load()
    pa.csv.write_csv(pa.table(ROWS), bench.directory / "rows.csv")
    bench.source = replace(bench.source, query="SELECT * FROM 'rows.csv';  -- the rows")
    assert (bench.load().codes == expected.codes).all()


def test_column_names_match_without_regard_to_case(bench: Bench) -> None:
    bench.source = replace(
        bench.source,
        query="SELECT * EXCLUDE days_late, days_late AS DAYS_LATE FROM 'rows.parquet'",
    )
    assert bench.check().accepted == 6


@pytest.mark.parametrize("column", ["person", "bad", "utilisation"])
def test_missing_column_is_named_with_the_columns_there_are(bench: Bench, column: str) -> None:
    bench.write(**{column: None})
    with pytest.raises(DataError, match=rf"node.toml.*no column '{column}'.*days_late"):
        bench.check()


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("utilisation", ["a"] * 6, "seen VARCHAR, expected .*a number; CAST"),
        ("utilisation", [[1.0]] * 6, r"seen DOUBLE\[\], expected .*a number"),
        ("days_late", [True] * 6, "seen BOOLEAN, expected .*a whole number"),
        ("purpose", [0.5] * 6, "seen DOUBLE, expected .*a text or a whole number"),
        ("bad", ["0", "1"] * 3, "seen VARCHAR, expected .*the number 0 or 1"),
        ("person", [1.0, 2.0] * 3, "seen DOUBLE, expected .*a text or a whole number"),
    ],
)
def test_wrong_type_is_named_with_the_type_seen_and_expected(
    bench: Bench, column: str, values: list[object], told: str
) -> None:
    bench.write(**{column: values})
    with pytest.raises(DataError, match=rf"column '{column}': {told}"):
        bench.load()


@pytest.mark.parametrize("values", [[0, 1, 2, 0, 1, 0], [0.0, 1.0, 0.5, 0.0, 1.0, -1.0]])
def test_label_that_is_neither_0_nor_1_refuses_the_table_and_is_shown(
    bench: Bench, values: list[float]
) -> None:
    bench.write(bad=values)
    with pytest.raises(
        DataError, match=r"label column 'bad': seen .*(2|0\.5).*expected 0"
    ) as e:
        bench.load()
    assert e.value.public == "local data refused"


def test_labels_may_be_logical_or_decimal(bench: Bench) -> None:
    for kind in ("BOOLEAN", "DOUBLE", "DECIMAL(3, 1)", "UTINYINT"):
        query = f"SELECT * REPLACE (bad::{kind} AS bad) FROM 'rows.parquet'"  # noqa: S608
        bench.source = replace(bench.source, query=query)
        assert bench.load().labels.tolist() == ROWS["bad"]


@pytest.mark.parametrize("query", ["SELECT * FROM 'rows.parquet' LIMIT 0", "FROM 'rows.csv'"])
def test_empty_table_is_refused(bench: Bench, query: str) -> None:
    (bench.directory / "rows.csv").write_text("person,bad,utilisation,days_late,purpose\n")
    if "csv" in query:
        query = (
            "SELECT person, bad::INT AS bad, 1 AS utilisation, 1 AS days_late, purpose " + query
        )
    bench.source = replace(bench.source, query=query)
    with pytest.raises(DataError, match="the table is empty"):
        bench.load()


@pytest.mark.parametrize("label", [0, 1])
def test_table_of_one_class_is_refused(bench: Bench, label: int) -> None:
    bench.write(bad=[label] * 6)
    with pytest.raises(DataError, match=f"all rows have label {label}; expected both 0 and 1"):
        bench.load()


def test_table_without_an_acceptable_row_says_why(bench: Bench) -> None:
    bench.write(bad=pa.array([None] * 6, pa.int64()))
    with pytest.raises(DataError, match="no row of 6 is left: 6 no label"):
        bench.load()


def test_infinity_rejects_the_row_and_nan_is_missing(bench: Bench) -> None:
    bench.write(utilisation=[0.1, float("inf"), float("nan"), 0.2, float("-inf"), 0.3])
    table = bench.load()
    assert rejects(table.report) == {"infinity in a feature": 2}
    assert table.codes[:, 0].tolist() == [1, 0, 1, 1]
    assert table.report.features[0].missing == 1


def test_nan_label_is_no_label(bench: Bench) -> None:
    bench.write(bad=[0.0, 1.0, float("nan"), 1.0, None, 0.0])
    assert rejects(bench.load().report) == {"no label": 2}


def test_value_outside_the_public_range_is_counted_and_put_into_the_end_bin(
    bench: Bench,
) -> None:
    bench.write(utilisation=[-1.0, -0.5, 0.0, 2.0, 2.5, 1e30])
    table = bench.load()
    assert table.codes[:, 0].tolist() == [1, 1, 1, 3, 3, 3]
    assert (table.report.features[0].below, table.report.features[0].above) == (2, 2)
    assert rejects(table.report) == {}


def test_fraction_in_an_integer_feature_rejects_the_row(bench: Bench) -> None:
    bench.write(days_late=[0.0, 1.5, 2.0, None, 4.0, 5.0])
    assert rejects(bench.load().report) == {"a fraction in an integer feature": 1}


def test_second_row_of_a_person_is_rejected_and_the_first_is_kept(bench: Bench) -> None:
    bench.write(person=["a", "b", "a", "a", "c", "b"])
    table = bench.load()
    assert rejects(table.report) == {"a person's second row": 3}
    assert table.codes.tolist() == [[1, 1, 1], [2, 2, 2], [2, 0, 1]]


def test_rejected_row_does_not_hide_the_persons_next_row(bench: Bench) -> None:
    bench.write(person=["a", "b", "a", "d", "e", "f"], utilisation=[np.inf, 1, 0.1, 1, 1, 1])
    table = bench.load()
    assert rejects(table.report) == {"infinity in a feature": 1}
    assert table.codes[1].tolist() == [1, 3, 3]


def test_duplicates_are_found_across_batches_and_the_first_is_kept(
    bench: Bench,
) -> None:
    rows = 400_000
    order = np.arange(rows, dtype=np.int64)
    persons = order * 7919 % 300_007
    table = pa.table(
        {
            "person": persons,
            "bad": order // 3 % 2,
            "utilisation": order / rows,
            "days_late": np.zeros(rows, dtype=np.int64),
            "purpose": pa.array(["home"] * rows),
        }
    )
    pa.parquet.write_table(table, bench.directory / "rows.parquet", row_group_size=30_000)
    _, firsts = np.unique(persons, return_index=True)
    loaded = bench.load()
    assert loaded.report.accepted == len(firsts)
    assert rejects(loaded.report) == {"a person's second row": rows - len(firsts)}
    kept = np.sort(firsts)
    assert (loaded.labels == table["bad"].to_numpy()[kept]).all()
    assert (loaded.codes[:, 0] == 1 + (kept >= rows // 2)).all()


@pytest.mark.parametrize("persons", [["a", None, "c", "", "e", "f"], [1, None, 3, None, 5, 6]])
def test_row_without_a_person_is_rejected(bench: Bench, persons: list[object]) -> None:
    bench.write(person=persons, bad=[0, 1, 1, 0, 0, 0])
    assert rejects(bench.load().report) == {"no person id": 2}


def test_person_as_a_number_and_as_a_text_is_held_out_alike(bench: Bench) -> None:
    bench.write(person=list(range(6)))
    numbers = bench.load(fraction="0.5").holdout
    bench.write(person=[str(person) for person in range(6)])
    texts = bench.load(fraction="0.5").holdout
    heads = [hashlib.sha256(f"s|{person}".encode()).digest()[:8] for person in range(6)]
    assert numbers.tolist() == texts.tolist()
    assert numbers.tolist() == [int.from_bytes(head) < 2**63 for head in heads]


def test_salt_with_a_quote_is_text_and_not_sql(bench: Bench) -> None:
    salt = "it's|' || 1 || '"
    held_out = bench.load(salt=salt, fraction="0.5").holdout
    heads = [hashlib.sha256(f"{salt}|{p}".encode()).digest()[:8] for p in ROWS["person"]]
    assert held_out.tolist() == [int.from_bytes(head) < 2**63 for head in heads]


@pytest.mark.parametrize("fraction", ["1", "-0.1", "2"])
def test_hold_out_of_everybody_or_less_than_nobody_is_refused(
    bench: Bench, fraction: str
) -> None:
    with pytest.raises(ConfigurationError, match="hold-out fraction"):
        bench.load(fraction=fraction)


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("SELECT 1; SELECT 2", "SELECT then SELECT"),
        ("SELECT 1; DROP TABLE x", "SELECT then DROP"),
        ("", "nothing"),
        ("CREATE TABLE x AS SELECT 1", "CREATE"),
        ("COPY (SELECT 1) TO 'out.csv'", "COPY"),
        ("INSTALL httpfs", "LOAD"),
        ("ATTACH 'other.db'", "ATTACH"),
        ("SET memory_limit = '8GB'", "SET"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
    ],
)
def test_anything_but_one_select_is_refused(bench: Bench, query: str, seen: str) -> None:
    bench.source = replace(bench.source, query=query)
    with pytest.raises(ConfigurationError, match=f"expected one SELECT, seen {seen}"):
        bench.check()
    assert [path.name for path in bench.directory.iterdir()] == ["rows.parquet"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 1) UNION (SELECT 2", "syntax error"),
        ("SELECT nothing FROM 'rows.parquet'", "nothing"),
        ("SELECT * FROM 'absent.parquet'", "absent.parquet"),
        ("SELECT * FROM nowhere", "nowhere"),
    ],
)
def test_query_that_does_not_bind_names_what_is_wrong(
    bench: Bench, query: str, told: str
) -> None:
    bench.source = replace(bench.source, query=query)
    with pytest.raises(ConfigurationError, match=rf"node.toml \[data\] query: .*{told}"):
        bench.check()


def test_query_cannot_reach_the_network(bench: Bench) -> None:
    query = "SELECT * FROM 'https://example.org/rows.parquet'"
    bench.source = replace(bench.source, query=query)
    with pytest.raises((ConfigurationError, DataError), match="node"):
        bench.check()


def test_error_about_a_value_does_not_show_the_value(bench: Bench) -> None:
    bench.write(person=[CANARY, *"bcdef"])
    query = "SELECT * REPLACE (person::INT AS person) FROM 'rows.parquet'"
    bench.source = replace(bench.source, query=query)
    with pytest.raises(DataError, match="ConversionException") as refusal:
        bench.check()
    assert "canary" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_broken_file_is_an_error_of_ours(bench: Bench) -> None:
    (bench.directory / "rows.parquet").write_bytes(b"PAR1 not parquet at all PAR1")
    with pytest.raises((ConfigurationError, DataError), match="node"):
        bench.check()


def test_directory_that_is_not_there_is_named(bench: Bench) -> None:
    bench.source = replace(bench.source, directory=bench.directory / "absent")
    with pytest.raises(ConfigurationError, match="absent"):
        bench.check()


def test_memory_limit_that_is_no_size_is_refused(bench: Bench) -> None:
    bench.source = replace(bench.source, memory_limit="lots")
    with pytest.raises(ConfigurationError, match="memory_limit 'lots'"):
        bench.check()


@pytest.mark.parametrize("role", ["person", "label"])
def test_person_or_label_that_is_also_a_feature_is_refused(bench: Bench, role: str) -> None:
    bench.source = (
        replace(bench.source, person="Days_Late")
        if role == "person"
        else replace(bench.source, label="Days_Late")
    )
    with pytest.raises(ConfigurationError, match=f"{role} 'Days_Late' is also a feature"):
        bench.load()


def test_unknown_family_is_refused(bench: Bench) -> None:
    with pytest.raises(SchemaError, match="no family 'other'"):
        check(bench.source, bench.schema, ["other"])


def test_report_prints_counts_reasons_and_consents_but_no_value(bench: Bench) -> None:
    bench.write(
        income=[1.5] * 6, person=[CANARY, CANARY, "b", "c", "d", "e"], bad=[0, 1, 0, 1, 0, 0]
    )
    report = check(bench.source, bench.schema, bench.schema.families, holdout=("s", "0.2"))
    text = "\n".join(report.lines())
    assert "a person's second row" in text
    assert "needs consent INCOME_DATA" in text
    assert "of them held out" in text
    assert "canary" not in text
    assert "1.5" not in text


def test_postgres_without_its_extension_says_what_to_install(bench: Bench) -> None:
    bench.source = replace(bench.source, postgres="host=127.0.0.1 port=1 password=hunter2")
    with pytest.raises(ConfigurationError, match="PostgreSQL") as refusal:
        bench.check()
    assert "hunter2" not in str(refusal.value)
