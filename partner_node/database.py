"""The node's database file: its tables, and transactions that are on disk when they end.

SQLite through SQLAlchemy Core. A transaction holds the write lock from its start, so two
processes of one node cannot spend the same budget, and is flushed to disk at its commit.
What the tables mean stands in ``partner_node.storage`` and docs/data_model.md.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from consortium.errors import RiskWeaveError, StorageError
from consortium.versions import History
from upkeep.migrations import Statements, bring_up, copied, on

HISTORY: History[Statements] = History()
"""Of ``node.db``: a change of any of its tables is an entry here, too."""
BUSY_MS = 10_000
CACHE_KIB = 512
"""Pages that one connection keeps. A process has a dozen connections, and the system's cache of
files serves all of them: SQLite's 2 MB each would let a node grow for hours with its log.
"""

_META = sa.MetaData()
COMMITMENTS = sa.Table(
    "commitments",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("plan_digest", sa.String(64), nullable=False),
    sa.Column("seed", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
ACCOUNTS = sa.Table(
    "budget_account",
    _META,
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("epoch", sa.String(64), primary_key=True),
    sa.Column("cap_units", sa.BigInteger, nullable=False),
    sa.Column("delta", sa.String(40), nullable=False),
)
RESERVES = sa.Table(
    "budget_reserve",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("scope", sa.String(16), primary_key=True),
    sa.Column("epoch", sa.String(64), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
ENTRIES = sa.Table(
    "budget_entry",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("epoch", sa.String(64), nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("partners", sa.Integer, nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
OVERLAPS = sa.Table(
    "overlaps",
    _META,
    sa.Column("question", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("release", sa.String(64), nullable=False, index=True),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
JOINS = sa.Table(
    "joins",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("context", sa.String(64), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
SUMS = sa.Table(
    "closed_sums",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("joined", sa.String(64), nullable=False),
    sa.Column("total", sa.LargeBinary, nullable=False),
)
DISCLOSURES = sa.Table(
    "disclosures",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
MODELS = sa.Table(
    "models",
    _META,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
VOTES = sa.Table(
    "votes",
    _META,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("accept", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
STABILITY = sa.Table(
    "stability",
    _META,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(32), nullable=False, index=True),
    sa.Column("premises", sa.String(64), nullable=False),
    sa.Column("agreement", sa.Float),
    sa.Column("changes", sa.Float),
    sa.Column("at", sa.BigInteger, nullable=False),
)
WITNESSED = sa.Table(
    "witnessed_heads",
    _META,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
OWN_LOG = sa.Table(
    "own_log_entries",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("run", sa.String(32), nullable=False, index=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
MIRROR = sa.Table(
    "log_mirror",
    _META,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("own", sa.Boolean, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Index("log_mirror_type", "type", "own"),
)
SEEN_HEADS = sa.Table(
    "seen_heads",
    _META,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
REVOKED = sa.Table(
    "revoked",
    _META,
    sa.Column("identity", sa.String(64), primary_key=True),
    sa.Column("member", sa.String(32), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
INCIDENTS = sa.Table(
    "incidents",
    _META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("held", sa.LargeBinary, nullable=False),
    sa.Column("shown", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("settled_at", sa.BigInteger),
)
REPLAY_RUNS = sa.Table(
    "replay_runs",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
    sa.Column("schema", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
REPLAY_ATTEMPTS = sa.Table(
    "replay_attempts",
    _META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("joins", sa.LargeBinary, nullable=False),
    sa.Column("rows", sa.String(64), nullable=False),
    sa.Column("words", sa.LargeBinary),
    sa.Column("at", sa.BigInteger, nullable=False),
)
AUDITS = sa.Table(
    "audit_entries",
    _META,
    sa.Column("leaf", sa.String(64), primary_key=True),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("run", sa.String(32), nullable=False, index=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("answered_at", sa.BigInteger),
    sa.Column("at", sa.BigInteger, nullable=False),
)


class Database:
    """One file and its tables; safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        touch(path)
        # The connection that was used last comes first: few of them ever hold pages.
        self._engine = sa.create_engine(
            f"sqlite:///{path.absolute()}", hide_parameters=True, pool_use_lifo=True
        )
        self._unflushed = self._engine.execution_options(flushed=False)
        self._open = _Open()
        self._undone = 0
        sa.event.listen(self._engine, "connect", _set_pragmas)
        sa.event.listen(self._engine, "begin", _begin_immediate)
        with copied(path, HISTORY), self.transaction() as connection:
            bring_up(on(_driver(connection)), HISTORY, str(path), _maker(connection))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def faults(self) -> str:
        """What SQLite finds wrong with the file; empty: nothing."""
        with self.transaction() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(3)").scalars().all()
        return "" if found == ["ok"] else "; ".join(map(str, found))

    def clean_log(self) -> bool:
        """Move the log of writes into the file and cut it to nothing.

        Until then it may hold pages as they were before an erasure. Returns False if another
        process is in the middle of something; ask again later.

        Raises:
            StorageError: the disk is full, or the file is damaged.
        """
        try:
            with self._engine.connect() as connection:
                cleaning = _driver(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)")
                busy, *_ = cleaning.fetchone()
                return not busy
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise StorageError(f"database: {error}") from error

    @property
    def undone(self) -> int:
        """How often steps that had ended were undone: what was remembered of them is void."""
        return self._undone

    @contextmanager
    def transaction(self, *, flushed: bool = True) -> Iterator[sa.Connection]:
        """All or nothing; raises StorageError: disk full, locked for too long, damaged.

        Without ``flushed`` it survives a crash of every process, and a crash of the machine
        only from the next flushed transaction on. Within ``together`` it is a step of that.
        """
        outer = self._open.connection
        if outer is not None:
            if flushed and not self._open.flushed:
                raise StorageError("database: a flushed step in a transaction that is not")
            with self._step(outer):
                yield outer
            return
        try:
            with (self._engine if flushed else self._unflushed).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _storage_error(error) from error

    @contextmanager
    def together(self, *, flushed: bool = True) -> Iterator[None]:
        """One commit for all transactions of this thread that are within: they are its steps.

        A step that refuses before it has written leaves those before it as they are, and they
        are committed: as if each had been for itself. Any other error undoes all of them.
        Nothing may be sent, and nothing relied on, before this has ended.
        """
        if self._open.connection is not None:
            raise StorageError("database: a transaction within another")
        refused: RiskWeaveError | None = None
        try:
            with (self._engine if flushed else self._unflushed).begin() as connection:
                self._open.begin(connection, flushed=flushed)
                try:
                    yield
                except RiskWeaveError as error:
                    if self._open.broken or isinstance(error, StorageError):
                        raise
                    refused = error
                finally:
                    self._open.connection = None
                self._open.check()
        except SQLAlchemyError as error:
            self._undone += 1
            raise _storage_error(error) from error
        except BaseException:
            self._undone += 1
            raise
        if refused is not None:
            raise refused

    @contextmanager
    def _step(self, connection: sa.Connection) -> Iterator[None]:
        """Whatever breaks off a step in which something was written undoes the whole."""
        before = _written(connection)
        try:
            yield
        except RiskWeaveError:
            self._open.broken = self._open.broken or _written(connection) != before
            raise
        except SQLAlchemyError as error:
            self._open.broken = True
            raise _storage_error(error) from error
        except BaseException:
            self._open.broken = True
            raise


class _Open(threading.local):
    """The transaction that a thread is in the middle of."""

    def __init__(self) -> None:
        self.connection: sa.Connection | None = None
        self.flushed = True
        self.broken = False

    def begin(self, connection: sa.Connection, *, flushed: bool) -> None:
        self.connection, self.flushed, self.broken = connection, flushed, False

    def check(self) -> None:
        if self.broken:
            raise StorageError("database: a step broke off within the transaction")


def _maker(connection: sa.Connection) -> Callable[[], None]:
    return lambda: _META.create_all(connection)


def _storage_error(error: SQLAlchemyError) -> StorageError:
    return StorageError(f"database: {getattr(error, 'orig', None) or error}")


def _written(connection: sa.Connection) -> int:
    """Rows that the connection has changed so far."""
    return int(_driver(connection).total_changes)


def _driver(connection: sa.Connection) -> Any:  # noqa: ANN401 - sqlite3's connection
    return connection.connection.dbapi_connection


def touch(path: Path) -> None:
    """Create the file for its owner alone: SQLite's side files take over its mode.

    A file that is there is not opened: to close it again would drop the locks that this
    process holds on it elsewhere (POSIX), and another process could take itself for the last
    one and remove the log under everybody.
    """
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if path.stat().st_mode & 0o077:
            raise StorageError(f"{path} is open to others; run: chmod 600 {path}")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    # The driver's own BEGIN is switched off: ours takes the write lock at once.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",  # an erased seed is overwritten, not only forgotten
        f"cache_size=-{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    flushed = connection.get_execution_options().get("flushed", True)
    try:
        driver = _driver(connection)
        driver.execute(f"PRAGMA synchronous={'FULL' if flushed else 'NORMAL'}")
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error
