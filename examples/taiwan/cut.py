"""Cut the shipped table into four partners: two banks, two platforms.

Each of the 30,000 persons is at exactly one bank and, with probability 0.7, at exactly one
platform. Banks hold how a card was repaid; platforms hold what was billed and paid. The draws
are hashes of the person's id, so they do not depend on any library's generator:

    u(tag, id) = head of SHA-256("riskweave-taiwan-v1|" + tag + "|" + id) / 2**64

where the head is the first 8 bytes, big-endian.

One assumption must be said wherever results are shown: every partner knows the outcome of
its own persons. The table has only one label. A second one: everybody has consented to
being asked about. A third one, where decisions are shown: incomes are made up (column
``INCOME_MADE_UP``), for the table has none.

    python examples/taiwan/cut.py DIRECTORY
"""

import argparse
import hashlib
from fractions import Fraction
from pathlib import Path

import duckdb

SOURCE = Path(__file__).resolve().parents[2] / "data" / "taiwan_default.csv.gz"
SALT = "riskweave-taiwan-v1"
SPLIT_CHECK = "d375bd09f705ba6f77497b896ddf2c66933945c5f3550c1f94c2ebea94b34b7a"
"""SHA-256 of the lines ``ID,holdout(0|1),bank,platform-or-empty``, joined by newlines."""

PARTNERS = ("bank_a", "bank_b", "platform_c", "platform_d")
GROUPS = ("SEX", "EDUCATION", "MARRIAGE", "AGE")
"""For the fairness report; they sit at the banks and are in no model."""
REPAYMENT = ("PAY_0", *(f"PAY_{month}" for month in range(2, 7)))
BILLING = ("LIMIT_BAL", *(f"BILL_AMT{month}" for month in range(1, 7)))
CONSENT = "'supposed' AS consent"
"""A reference to each person's consent to studies. In the example everybody has given it."""
MADE_UP_INCOME = "INCOME_MADE_UP"
"""NT$ a month, at the banks, for decisions only."""
PAYMENTS = tuple(f"PAY_AMT{month}" for month in range(1, 7))


def cut(
    directory: Path, *, source: Path = SOURCE, negative_control: bool = False
) -> list[Path]:
    """Write one Parquet file for each partner, named by its id, and return their paths.

    Args:
        directory: Made if it is not there.
        source: The shipped archive.
        negative_control: Give billing to the banks, so that platforms hold payments only.
            They then add nothing to the banks' score, and a report must be able to say so.

    Raises:
        ValueError: The persons are not split as published.
    """
    banks = (*GROUPS, *REPAYMENT, *(BILLING if negative_control else ()))
    platforms = (*(() if negative_control else BILLING), *PAYMENTS)
    directory.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(
            f"""CREATE TABLE person AS SELECT *, {_below("holdout", "0.2")}::INT AS holdout,
                CASE WHEN {_below("bank", "0.6")} THEN 'bank_a' ELSE 'bank_b' END AS bank,
                CASE WHEN NOT {_below("platform", "0.7")} THEN ''
                     WHEN {_below("which", "0.6")} THEN 'platform_c'
                     ELSE 'platform_d' END AS platform
            FROM read_csv(?)""",
            [str(source)],
        )
        check_split(connection)
        paths = []
        for partner in PARTNERS:
            role, columns = ("bank", banks) if "bank" in partner else ("platform", platforms)
            bank_only = (_made_up_income(),) if "bank" in partner else ()
            listed = ", ".join(("ID", *columns, "default_next_month", CONSENT, *bank_only))
            paths.append(directory / f"{partner}.parquet")
            rows = connection.table("person").filter(f"{role} = '{partner}'").order("ID")
            rows.project(listed).write_parquet(str(paths[-1]))
    return paths


def check_split(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise ValueError unless the table ``person`` is split as published."""
    rows = connection.execute(
        "SELECT concat_ws(',', ID, holdout, bank, platform) FROM person ORDER BY ID"
    ).fetchall()
    seen = hashlib.sha256("\n".join(line for (line,) in rows).encode()).hexdigest()
    if seen != SPLIT_CHECK:
        message = f"split has SHA-256 {seen}, expected {SPLIT_CHECK}"
        raise ValueError(message)


def _head(tag: str) -> str:
    """SQL: ``u(tag, ID)·2**64``."""
    return f"(('0x' || sha256('{SALT}|{tag}|' || ID)[:16])::UBIGINT)"


def _below(tag: str, share: str) -> str:
    """SQL: ``u(tag, ID) < share``, in integers."""
    bound = -(-(Fraction(share).numerator << 64) // Fraction(share).denominator)
    return f"({_head(tag)} < {bound}::UBIGINT)"


def _made_up_income() -> str:
    """SQL: 20,000 to 79,000 by ``20,000 + 1,000·⌊60·u²⌋``, or nothing; in integers.

    The table has no income, and decisions need one. This one is drawn from the person's id
    alone, so it says nothing of anybody, and one in twenty has declared none. It is in no
    schema and in no model; whoever shows a figure that rests on it says that it is made up.
    """
    draw = f"({_head('income')} >> 44)::BIGINT"
    none = _below("no income", "0.05")
    return (
        f"CASE WHEN {none} THEN NULL "
        f"ELSE 20000 + 1000 * ((60 * {draw} * {draw}) >> 40) END AS {MADE_UP_INCOME}"
    )


def main() -> None:
    """Cut into the directory named on the command line."""
    parser = argparse.ArgumentParser(description="Cut the Taiwan table into four partners.")
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--negative-control", action="store_true", help="platforms hold payments only"
    )
    options = parser.parse_args()
    for path in cut(options.directory, negative_control=options.negative_control):
        print(path)


if __name__ == "__main__":
    main()
