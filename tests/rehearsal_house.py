"""A small rehearsal directory: two lenders, two tables, a schema. Values are a fixed rule."""

import csv
import hashlib
from pathlib import Path

SCHEMA = """
name = "two-lenders"
version = 1

[label]
name = "bad"
definition = "a fixed rule of the test"

[reason.R01]
zh = "近期有未按时还款记录"
en = "Recent payments were not made on time"

[[feature]]
name = "late"
family = "repayment"
kind = "integer"
unit = "times"
concept = "arrears"
range = [0, 9]
edges = [1, 2, 4]
direction = "up"
reason = "R01"

[[feature]]
name = "used"
family = "lines"
kind = "number"
unit = "balance / limit"
concept = "utilisation"
range = [0, 2]
edges = [0.25, 0.5, 0.75]
reason = "R01"
"""

FILE = """
[rehearsal]
title = "Two lenders <of a test>"
epsilon = "2"
max_partners_per_person = 2

[rehearsal.gate]
{gate}
{scoring}

[plan]
rounds = {rounds}
holdout_fraction = "0.25"
holdout_salt = "two lenders"

[[block]]
name = "lenders"
families = ["repayment", "lines"]
normaliser = 1500

[[partner]]
id = "north"
families = ["repayment", "lines"]
query = "SELECT * FROM 'north.csv'"
person = "customer"
label = "bad"

[[partner]]
id = "south"
families = ["repayment", "lines"]
query = "SELECT * FROM 'south.csv'"
person = "customer"
label = "bad"
"""


JOINT = """
[rehearsal.scoring]
delivery = "joint"
epoch = 1
identifier = "zz/record"
load_hours = 0
tokens_per_second = 100000
tokens_per_day = 1000000
customers = { north = 2000, south = 2000 }
"""
"""Joint scores among both lenders."""

LENIENT = 'most_changes = "1"\nleast_agreement = "0"'
"""Small tables at strong noise fail the stability of reasons, as they should."""


def furnish(
    directory: Path,
    *,
    rows: int = 1000,
    rounds: int = 5,
    gate: str = LENIENT,
    worse_when_held_out: bool = False,
    scoring: str = "",
) -> Path:
    """Write schema, tables and rehearsal file; return the file's path.

    ``worse_when_held_out``: all persons of the hold-out are bad, so that PDs made from the
    training persons are wrong there.
    """
    (directory / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    for lender in ("north", "south"):
        with (directory / f"{lender}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["customer", "late", "used", "bad"])
            found = (_row(lender, number) for number in range(rows))
            writer.writerows(
                [*row[:-1], 1] if worse_when_held_out and _held_out(str(row[0])) else row
                for row in found
            )
    path = directory / "rehearsal.toml"
    path.write_text(FILE.format(rounds=rounds, gate=gate, scoring=scoring), encoding="utf-8")
    return path


def _held_out(person: str) -> bool:
    digest = hashlib.sha256(f"two lenders|{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < 0.25


def _row(lender: str, number: int) -> list[object]:
    # A tenth of the customers are at both lenders.
    person = f"both-{number}" if number % 10 == 0 else f"{lender}-{number}"

    def u(tag: str) -> float:
        digest = hashlib.sha256(f"{tag}|{lender}|{number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    late, used = int(6 * u("late") ** 3), round(u("used"), 3)
    bad = int(u("luck") < 0.05 + 0.12 * late + 0.2 * used)
    return [person, late, "" if u("gap") < 0.1 else used, bad]
