"""Write two small SYNTHETIC tables, so that the example runs before you have your own.

No row is a person. Every value is a hash of the row's number, and the outcome follows a fixed
rule over the values plus a hash for luck. A score trained on them means nothing.

    python examples/own_data/make_sample.py DIRECTORY
"""

import argparse
import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

PERSONS = 24_000
SHARED = 0.2
"""Of the persons at the first lender, this share is a customer of the second as well."""
LENDERS = ("north", "south")
PURPOSES = ("education", "medical", "home", "durables", "travel", "refinance", "other")
NEW_CUSTOMER, UNKNOWN = 12, 0.05


def share(tag: str, person: str) -> float:
    """A number in [0, 1) that looks like chance and is the same on every machine."""
    digest = hashlib.sha256(f"riskweave-sample-v1|{tag}|{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def row_of(person: str, lender: str) -> dict[str, str]:
    """One made-up customer at one lender; one in twenty has no known limit."""

    def u(tag: str) -> float:
        return share(f"{lender}|{tag}", person)

    late = int(120 * max(0.0, u("late") - 0.7) ** 2 * 11)
    worst = late + int(90 * u("worst") ** 4)
    used = round(1.2 * u("used") ** 1.5, 3)
    limit = round(500 * 200 ** u("limit"))
    months = int(180 * u("months") ** 1.5)
    return {
        "customer": person,
        "days_late_now": str(late),
        "days_late_worst": str(worst),
        "utilisation": str(used),
        "limit_total": "" if u("unknown") < UNKNOWN else str(limit),
        "months_on_book": str(months),
        "purpose": PURPOSES[int(len(PURPOSES) * u("purpose"))],
        "sex": "F" if share("sex", person) < 1 / 2 else "M",
        "age": str(18 + int(60 * share("age", person) ** 1.3)),
        "bad": str(int(u("luck") < risk_of(late, worst, used, months))),
    }


def risk_of(late: int, worst: int, used: float, months: int) -> float:
    """The fixed rule."""
    risk = 0.03 + 0.004 * late + 0.002 * worst + 0.2 * used**2
    return risk + (0.08 if months < NEW_CUSTOMER else 0.0)


def write(directory: Path) -> list[Path]:
    """Write ``north.csv`` and ``south.csv`` and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    people = [f"synthetic-{number:05}" for number in range(PERSONS)]
    at: dict[str, Callable[[str], bool]] = {
        "north": lambda person: share("lender", person) < 1 / 2,
        "south": lambda person: share("lender", person) >= (1 - SHARED) / 2,
    }
    paths = []
    for lender in LENDERS:
        rows = [row_of(person, lender) for person in people if at[lender](person)]
        paths.append(directory / f"{lender}.csv")
        with paths[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return paths


def main() -> None:
    """Write into the directory named on the command line."""
    parser = argparse.ArgumentParser(description="Write two synthetic tables.")
    parser.add_argument("directory", type=Path)
    for path in write(parser.parse_args().directory):
        print(path)


if __name__ == "__main__":
    main()
