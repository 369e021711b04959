"""Stores of every role from version to version: nothing lost, and nothing in between."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consortium.errors import StorageError
from consortium.versions import History
from regulator.mirror import Mirror
from tests.vectors.make_schemas import PLACE, STORES
from upkeep.backup import _kept
from upkeep.migrations import Statements, bring_up, copied, on, version_of

TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    " AND name <> 'schema_version' ORDER BY name"
)
VALUES = {"INTEGER": 1, "BIGINT": 1, "BOOLEAN": 1, "BLOB": b"x"}

HISTORY = History((
    ("ALTER TABLE left_bytes ADD COLUMN note TEXT NOT NULL DEFAULT ''",),
    (
        "CREATE TABLE moved (class TEXT PRIMARY KEY, count INTEGER NOT NULL)",
        "INSERT INTO moved SELECT class, count FROM left_bytes",
        "UPDATE left_bytes SET note = 'moved'",
    ),
))  # fmt: skip
STEPS = 8
"""Statements of ``bring_up`` over both changes; after them comes the commit."""

Rows = dict[str, list[tuple[object, ...]]]


def at_version_1(name: str, path: Path) -> Rows:
    """A store of version 1 with a row in every table; returns its rows."""
    path.touch(0o600)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript((PLACE / f"{name}.sql").read_text(encoding="utf-8"))
        for (table,) in database.execute(TABLES).fetchall():
            columns = database.execute(f"PRAGMA table_info('{table}')").fetchall()
            row = [VALUES.get(column[2].partition("(")[0].upper(), "x") for column in columns]
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO '{table}' VALUES ({marks})", row)  # noqa: S608
        database.commit()
    return rows_of(path)


def rows_of(path: Path) -> Rows:
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute(TABLES)]
        return {
            name: database.execute(f"SELECT * FROM '{name}'").fetchall()  # noqa: S608
            for name in names
        }


def shape_of(path: Path) -> dict[str, object]:
    """Columns and indexes of every table, whatever their text looks like."""
    with contextlib.closing(sqlite3.connect(path)) as database:

        def read(pragma: str, of: str) -> list[tuple[object, ...]]:
            return database.execute(f"PRAGMA {pragma}('{of}')").fetchall()

        return {
            table: (
                read("table_info", table),
                sorted(
                    (unique, origin, read("index_info", str(index)))
                    for _, index, unique, origin, _ in read("index_list", table)
                ),
            )
            for (table,) in database.execute(TABLES).fetchall()
        }


def opened(name: str, path: Path) -> None:
    STORES[name](path).close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", STORES)
def test_store_of_version_1_keeps_every_row_and_gets_the_tables_of_a_new_one(
    name: str, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    before = at_version_1(name, old)
    opened(name, old)
    opened(name, new)
    after = rows_of(old)
    assert {table: after[table] for table in before} == before
    assert shape_of(old) == shape_of(new), (
        "a table was changed without a new entry of its store's HISTORY; before the first "
        "release: python tests/vectors/make_schemas.py"
    )
    assert version_of(old) == version_of(new)
    assert sorted(path.name for path in tmp_path.glob("*.tmp*")) == []


@pytest.mark.parametrize("name", STORES)
def test_store_of_a_newer_program_is_refused_by_name_and_left_alone(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    at_version_1(name, path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE schema_version SET version = 7")
        database.commit()
    before = rows_of(path)
    with pytest.raises(StorageError, match=r"store\.db has version 7, expected 1"):
        opened(name, path)
    assert rows_of(path) == before


CHILD = """
import json, os, signal, sqlite3, sys
from pathlib import Path
from consortium.versions import History
from upkeep.migrations import bring_up, copied, on

path, last = Path(sys.argv[1]), int(sys.argv[2])
history = History(tuple(map(tuple, json.loads(sys.argv[4]))))
with copied(path, history):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    done = 0

    def run(statement):
        global done
        if done == last:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return on(connection)(statement)

    bring_up(run, history, str(path), lambda: None)
    assert done == last
    if sys.argv[3] == "committed":
        connection.execute("COMMIT")
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Killed before a statement, before the commit, or after it."""


def migrate(path: Path, history: History[Statements] = HISTORY) -> None:
    with (
        copied(path, history),
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        bring_up(on(connection), history, str(path), lambda: None)
        connection.execute("COMMIT")


@pytest.mark.parametrize(
    ("last", "committed"), [*((step, False) for step in (0, 3, 5, STEPS)), (STEPS, True)]
)
def test_migration_killed_with_9_leaves_the_old_version_or_the_new_one(
    last: int,
    committed: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    path = tmp_path / "left.db"
    before = at_version_1("left", path)
    words = (str(path), str(last), "committed" if committed else "not")
    killed = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", CHILD, *words, json.dumps(HISTORY.changes)], check=False
    )
    assert killed.returncode == -9
    (copy,) = tmp_path.glob("*.tmp")
    assert version_of(path) == (3 if committed else 1)
    if not committed:
        assert rows_of(path) == before
    assert rows_of(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    migrate(path)
    after = rows_of(path)
    assert version_of(path) == 3
    assert after["moved"] == [("x", 1)]
    assert [row[:-1] for row in after["left_bytes"]] == before["left_bytes"]
    assert list(tmp_path.glob("*.tmp*")) == []


def test_processes_that_open_an_old_store_at_once_migrate_it_once(tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    at_version_1("left", path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [path] * 4))
    assert rows_of(path)["moved"] == [("x", 1)]


def test_store_that_is_not_sound_after_its_migration_is_refused_and_its_copy_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "left.db"
    before = at_version_1("left", path)
    orphans = History((
        (
            "CREATE TABLE child (class TEXT REFERENCES left_bytes (class))",
            "INSERT INTO child VALUES ('nobody')",
        ),
    ))  # fmt: skip
    for _ in range(2):
        with pytest.raises(StorageError, match=r"not sound .* child .*version-1\.tmp"):
            migrate(path, orphans)
        (copy,) = tmp_path.glob("*.tmp")
        assert rows_of(copy) == before


def test_copy_of_a_migration_goes_into_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "left.db"
    at_version_1("left", path)
    with copied(path, HISTORY):
        assert list(tmp_path.glob("*.tmp"))
        assert list(_kept(tmp_path)) == [path]


def test_regulators_mirror_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    with contextlib.closing(Mirror(tmp_path)) as mirror:
        mirror.keep_alarm("", "")
    state = tmp_path / "log" / "state.json"
    document = json.loads(state.read_text(encoding="utf-8"))
    del document["version"]
    state.write_text(json.dumps(document), encoding="utf-8")
    Mirror(tmp_path).close()
    state.write_text(json.dumps(document | {"version": 9}), encoding="utf-8")
    with pytest.raises(StorageError, match=r"state\.json has version 9, expected 1"):
        Mirror(tmp_path)


def test_changes_that_are_due_lead_from_any_version_to_the_newest_in_order() -> None:
    for length in range(5):
        history = History(tuple(range(length)))
        for seen in range(-1, length + 4):
            if not 1 <= seen <= history.current:
                with pytest.raises(StorageError, match=f"store has version {seen}, expected 1"):
                    history.due(seen, "store")
                continue
            due = history.due(seen, "store")
            assert [version for version, _ in due] == list(range(seen + 1, length + 2))
            assert [change for _, change in due] == list(range(seen - 1, length))
