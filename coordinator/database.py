"""The coordinator's database: one connection pool, its transactions and its version.

SQLAlchemy Core on any URL; SQLite by default, durable at each commit. What is kept stands in
the storage files, one for each subject; ``coordinator.storage`` puts them together.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from consortium.errors import StorageError
from coordinator.leadership import Fence, depose, hold_schema
from coordinator.schema import HISTORY, create_all
from upkeep import migrations

BUSY_MS = 10_000
_VERSION = "SELECT version FROM schema_version"
_LOG_LOCK = 0x7269736B
"""Key of the lock under which a server's database appends: one writer at a time."""


class Database:
    """The database behind one URL; safe to use from any thread.

    Every method raises StorageError: disk full, locked for too long, not reachable.
    """

    def __init__(self, url: str) -> None:
        """Open the database and create its tables if they are missing.

        Raises:
            StorageError: not reachable, or written by another version of this program.
        """
        try:
            # The connection that was used last comes first: few of them ever hold pages.
            self._engine = sa.create_engine(
                url,
                pool_pre_ping=not url.startswith("sqlite"),
                pool_use_lifo=True,
                hide_parameters=True,
            )
        except (SQLAlchemyError, ImportError) as error:
            raise StorageError(f"storage url: {error}") from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _set_pragmas)
            sa.event.listen(self._engine, "begin", _begin)
        self._readers = self._engine.execution_options(reading=True)
        self._fence: Fence | None = None
        with self._kept_before():
            self._bring_up()

    def _bring_up(self) -> None:
        name = f"database {self._engine.url.database}"
        with self.transaction() as connection:
            hold_schema(connection)
            changes = migrations.bring_up(
                lambda statement: _rows(connection.exec_driver_sql(statement)),
                HISTORY,
                name,
                lambda: create_all(connection),
            )
            if changes:
                # A leader of the version before must not go on among tables of this one.
                depose(connection)

    def _kept_before(self) -> AbstractContextManager[None]:
        path = self._engine.url.database
        if self._engine.dialect.name != "sqlite" or not path or path == ":memory:":
            return nullcontext()
        return migrations.copied(Path(path), HISTORY)

    def lead(self, fence: Fence) -> None:
        """From now on every transaction makes sure that this process still leads."""
        self._fence = fence

    def version(self) -> int:
        """The version of the tables."""
        with self.transaction() as connection:
            return int(connection.exec_driver_sql(_VERSION).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, for the other storage files.

        Raises:
            StorageError: not reachable, full, locked for too long.
            DeposedError: another replica leads since; nothing is written.
        """
        with self._of(self._engine) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One transaction that only reads: it sees one moment and waits for no writer.

        Raises as ``transaction`` does. Fifty witnesses ask several times a second, and a reader
        that took SQLite's one lock of writers would make the trainer wait for all of them.
        """
        with self._of(self._readers) as connection:
            yield connection

    @contextmanager
    def _of(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with engine.begin() as connection:
                if self._fence is not None:
                    self._fence.check(connection)
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(f"database: {cause}") from error

    def write(
        self, table: sa.Table, row: Mapping[str, object], *, replacing: Sequence[str] = ()
    ) -> None:
        """Insert the row, in place of one with equal columns ``replacing``."""
        with self.transaction() as connection:
            put(connection, table, row, replacing=replacing)

    def all(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        """All rows of a query."""
        with self.reading() as connection:
            return list(connection.execute(query).mappings())

    def one(self, query: sa.Select[Any]) -> sa.RowMapping | None:
        """The first row of a query."""
        with self.reading() as connection:
            return connection.execute(query.limit(1)).mappings().first()


def put(
    connection: sa.Connection,
    table: sa.Table,
    row: Mapping[str, object],
    *,
    replacing: Sequence[str] = (),
) -> None:
    """``Database.write`` within a transaction."""
    if replacing:
        same = [table.c[name] == row[name] for name in replacing]
        connection.execute(table.delete().where(*same))
    connection.execute(table.insert().values(**row))


def hold_log(connection: sa.Connection) -> None:
    """Nobody else appends until this transaction ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOG_LOCK)))


def _rows(found: sa.CursorResult[Any]) -> Sequence[Sequence[object]]:
    return [tuple(row) for row in found] if found.returns_rows else []


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    # The driver's own BEGIN is switched off: ours takes the write lock at once, so that two
    # processes wait for each other instead of failing in the middle.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
