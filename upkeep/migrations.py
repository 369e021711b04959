"""Databases of every role are brought to the version of the program, forward only.

A change is SQL that SQLite and PostgreSQL both take, run in the transaction in which the store
is opened: after a crash a store has its old version or its new one, whole. While a SQLite file
is changed a checked copy stands beside it; it is removed once the changed file is found sound,
for what the role erases later must not go on in a copy. A server's database has its own dumps.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

from consortium.errors import StorageError
from consortium.versions import History

Statements: TypeAlias = tuple[str, ...]
"""One change: SQL without parameters."""

Run = Callable[[str], Sequence[Sequence[object]]]
"""Executes one statement in the caller's transaction and returns its rows."""

_TABLE = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"
_SEEN = "SELECT version FROM schema_version"
_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'"
_FOREIGN = "PRAGMA foreign_key_check"


def bring_up(
    run: Run, history: History[Statements], name: str, create: Callable[[], object]
) -> int:
    """Make a new store, or bring an older one forward; all in the caller's transaction.

    Args:
        run: In a transaction that holds the write lock.
        history: Of this store.
        name: File or database, for errors.
        create: Makes all tables of the current version.

    Returns:
        How many changes were made.

    Raises:
        StorageError: a newer program wrote it, or it is damaged.
    """
    run(_TABLE)
    rows = run(_SEEN)
    if not rows:
        create()
        run(f"INSERT INTO schema_version VALUES ({history.current})")  # noqa: S608 - a number
        return 0
    changes = history.due(_version(rows), name)
    for version, statements in changes:
        for statement in statements:
            run(statement)
        run(f"UPDATE schema_version SET version = {version}")  # noqa: S608 - a number
    return len(changes)


def on(connection: sqlite3.Connection) -> Run:
    """``Run`` for a connection of the standard library."""
    return lambda statement: connection.execute(statement).fetchall()


def version_of(path: Path) -> int | None:
    """The version of a SQLite file; None: there is none, or nothing was written yet.

    Raises:
        StorageError: not a database.
    """
    if not path.exists():
        return None
    with _wrapped(path), closing(sqlite3.connect(path)) as connection:
        if not connection.execute(_THERE).fetchall():
            return None
        rows = connection.execute(_SEEN).fetchall()
    return _version(rows) if rows else None


@contextmanager
def copied(path: Path, history: History[Statements]) -> Iterator[None]:
    """Around the opening of a SQLite file: while it is changed a checked copy is beside it.

    Raises:
        StorageError: not a database, no room for the copy, a newer program wrote it; or the
            changed file is not sound, and then the copy stays and the text names it.
    """
    if not _is_due(path, history) and not _leftovers(path):
        yield
        return
    with _alone(path.parent):
        seen = version_of(path)
        if seen is not None and history.due(seen, str(path)):
            _copy(path, seen)
        yield
        copies = _leftovers(path)
        if copies:
            _check(path, copies[0])
        for copy in copies:
            copy.unlink()


def _is_due(path: Path, history: History[Statements]) -> bool:
    seen = version_of(path)
    return seen is not None and bool(history.due(seen, str(path)))


def _leftovers(path: Path) -> list[Path]:
    """Copies, also of a process that was killed."""
    return sorted(path.parent.glob(f"{path.name}.version-*.tmp*"))


def _copy(path: Path, seen: int) -> None:
    """A copy of the file as it is, its owner's alone, sound and on the disk."""
    copy = path.with_name(f"{path.name}.version-{seen}.tmp")
    for left in _leftovers(path):
        left.unlink()
    with _wrapped(path):
        os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            faults = _faults(target)
        for place in (copy, path.parent):
            _flush(place)
    if faults:
        copy.unlink()
        raise StorageError(f"{path} is damaged and was not migrated: {faults}")


def _check(path: Path, copy: Path) -> None:
    with _wrapped(path), closing(sqlite3.connect(path)) as connection:
        faults = _faults(connection)
    if faults:
        raise StorageError(f"{path} is not sound after its migration: {faults}; before: {copy}")


def _faults(connection: sqlite3.Connection) -> str:
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    broken = [f"a row of {row[0]} without its {row[2]}" for row in connection.execute(_FOREIGN)]
    return "; ".join(one for one in [*found, *broken[:3]] if one != "ok")


def _version(rows: Sequence[Sequence[object]]) -> int:
    version = rows[0][0] if len(rows) == 1 else None
    # What is no number is no version: ``History.due`` says so.
    return version if isinstance(version, int) else 0


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time migrates in a directory; the next finds it done."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{path}: {error}") from error
