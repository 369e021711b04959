"""Make ``schemas/NAME.sql``: each store as version 1 of it is, empty.

    python tests/vectors/make_schemas.py

Until the first release a table of version 1 may still change, and this makes the files again.
From then on they stay as they are: what changes is a new entry of that store's history, and
``tests/unit/test_migrations.py`` finds what is in the one and not in the other.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from coordinator.storage import Store
from partner_node.credit.storage import CreditStore
from partner_node.database import Database
from partner_node.left_journal import LeftJournal
from partner_node.scoring_store import ScoringStore

PLACE = Path(__file__).with_name("schemas")
STORES: dict[str, Callable[[Path], object]] = {
    "coordinator": lambda path: Store(f"sqlite:///{path}"),
    "node": Database,
    "scoring": lambda path: ScoringStore(path, now=lambda: 0),
    "credit": CreditStore,
    "left": lambda path: LeftJournal(path, now=lambda: 0),
}
LATER = {"coordinator": {"leadership"}}
"""Tables that came with a later version."""
_ALL = "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"


def main() -> None:
    for name, make in STORES.items():
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / f"{name}.db"
            make(path).close()  # type: ignore[attr-defined]
            with contextlib.closing(sqlite3.connect(path)) as database:
                found = [
                    text.strip()
                    for table, text in database.execute(_ALL)
                    if table not in LATER.get(name, ()) and not table.startswith("sqlite_")
                ]
        found.append("INSERT INTO schema_version VALUES (1)")
        text = ";\n".join(found) + ";"
        lines = [line.replace("\t", "    ").rstrip() for line in text.splitlines()]
        (PLACE / f"{name}.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
