import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]
PEAK_MB = 1200

PROGRAM = """
import resource, sys
from pathlib import Path
from consortium.features.bins import public_bins
from consortium.features.schema import parse_schema
from partner_node.ingest import DataSource, load
schema = parse_schema(Path("examples/gmsc/schema.toml").read_text(), source="schema.toml")
source = DataSource(
    query="SELECT * FROM 'rows.parquet'", person="id", label="default",
    directory=Path(sys.argv[1]), memory_limit="512MB",
)
table = load(
    source, schema, public_bins(schema), schema.families, holdout=("salt", "0.2")
)
print(*table.codes.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_two_million_rows_are_read_within_bounded_memory(tmp_path: Path) -> None:
    duckdb.execute(
        """COPY (SELECT i AS id, (i % 15 = 0)::INT AS "default", i % 3 AS late_30_59,
           i % 4 AS late_60_89, i % 5 AS late_90, (i % 977) / 488.0 AS utilisation,
           i % 23 AS open_lines, i % 5 AS real_estate_lines, i % 9973 * 1.5 AS monthly_income,
           nullif(i % 7, 0) / 6.0 AS debt_ratio, i % 3001 / 3.0 AS debt_amount
           FROM range(2000000) AS numbers(i)) TO ? (FORMAT parquet)""",
        [str(tmp_path / "rows.parquet")],
    )
    done = subprocess.run(  # noqa: S603 - this interpreter, a constant program
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    count, features, peak = map(int, done.stdout.split())
    assert (count, features) == (2_000_000, 9)
    assert peak < PEAK_MB
