"""The file of the scoring stream's database: its tables, connections and transactions.

SQLite by its own driver, for here a request has a millisecond: one connection a thread, one
transaction a request that holds the write lock from its start. What is not ``flushed`` survives
a killed process, and of a power cut the last second is lost.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from consortium.errors import StorageError
from consortium.versions import History
from partner_node.database import BUSY_MS, CACHE_KIB, touch
from upkeep.migrations import Statements, bring_up, copied, on

HISTORY: History[Statements] = History()
DAY = 86_400
PARAMETERS = 256
"""Question marks of one statement."""

_TABLES = """
CREATE TABLE epoch_seeds (
    epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, seed BLOB NOT NULL,
    PRIMARY KEY (epoch, attempt)) WITHOUT ROWID;
CREATE TABLE epoch_shares (
    epoch INTEGER NOT NULL, attempt INTEGER NOT NULL, position INTEGER NOT NULL,
    share BLOB NOT NULL, record BLOB, at INTEGER NOT NULL,
    PRIMARY KEY (epoch, attempt)) WITHOUT ROWID;
CREATE TABLE pseudonyms (
    epoch INTEGER NOT NULL, subject BLOB NOT NULL, token BLOB NOT NULL,
    expires INTEGER NOT NULL, PRIMARY KEY (epoch, subject)) WITHOUT ROWID;
CREATE INDEX pseudonyms_expiring ON pseudonyms (expires) WHERE expires > 0;
CREATE TABLE requests (
    id TEXT PRIMARY KEY, requester TEXT NOT NULL, purpose TEXT NOT NULL,
    persons INTEGER NOT NULL, context TEXT NOT NULL, consents TEXT NOT NULL,
    at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX requests_at ON requests (at);
CREATE TABLE guard (
    requester TEXT NOT NULL, subject BLOB NOT NULL, roster BLOB NOT NULL,
    request TEXT NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (requester, subject, roster)) WITHOUT ROWID;
CREATE INDEX guard_at ON guard (at_ms);
CREATE TABLE quotas (
    requester TEXT NOT NULL, kind TEXT NOT NULL, level INTEGER NOT NULL,
    at INTEGER NOT NULL, day INTEGER NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (requester, kind)) WITHOUT ROWID;
CREATE TABLE withdrawals (
    subject BLOB NOT NULL, purpose TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (subject, purpose)) WITHOUT ROWID;
CREATE TABLE generations (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE asked (
    key TEXT PRIMARY KEY, question TEXT NOT NULL, answer BLOB NOT NULL,
    at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX asked_at ON asked (at);
CREATE TABLE access_log (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, inquirer TEXT NOT NULL,
    subject BLOB NOT NULL, purpose TEXT NOT NULL, consent BLOB NOT NULL,
    context TEXT NOT NULL, roster INTEGER NOT NULL, model TEXT NOT NULL, head TEXT NOT NULL,
    band TEXT NOT NULL, result TEXT NOT NULL);
CREATE INDEX access_log_at ON access_log (at);
CREATE TABLE evaluated (
    day INTEGER NOT NULL, epoch INTEGER NOT NULL, points INTEGER NOT NULL,
    PRIMARY KEY (day, epoch)) WITHOUT ROWID;
CREATE TABLE faults (
    day INTEGER NOT NULL, epoch INTEGER NOT NULL, holder TEXT NOT NULL,
    request TEXT NOT NULL, PRIMARY KEY (day, epoch, holder)) WITHOUT ROWID;
"""


class ScoringDatabase:
    """Connections to ``scoring.db``; safe to use from any thread and from several processes.

    Every method raises StorageError: disk full, locked for too long, of another version.
    """

    def __init__(self, path: Path) -> None:
        """Open the database, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        self.path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        touch(path)
        with wrapped(), copied(path, HISTORY), self.transaction(flushed=True) as connection:
            run = on(connection)

            def create() -> None:
                for statement in _TABLES.split(";")[:-1]:
                    run(statement)

            bring_up(run, HISTORY, str(path), create)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._opening:
            for connection in self._open:
                connection.close()
            self._open.clear()
        self._local = threading.local()

    def connection(self) -> sqlite3.Connection:
        """This thread's own, outside a transaction."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            return found
        made = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        for pragma in (
            f"busy_timeout={BUSY_MS}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "secure_delete=ON",
            # The log is moved into the file by ``tidy``, on a thread that may wait for it.
            "wal_autocheckpoint=100000",
            f"cache_size=-{CACHE_KIB}",
        ):
            made.execute(f"PRAGMA {pragma}")
        self._local.connection = made
        with self._opening:
            self._open.append(made)
        return made

    @contextmanager
    def transaction(self, *, flushed: bool = False) -> Iterator[sqlite3.Connection]:
        """All that is written in the block, or nothing if it raises."""
        with wrapped():
            connection = self.connection()
            if flushed:
                connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            finally:
                if flushed:
                    connection.execute("PRAGMA synchronous=NORMAL")

    def truncate_log(self) -> None:
        """Leave no copy of an erased secret in the write-ahead log."""
        with wrapped():
            self.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


@contextmanager
def wrapped() -> Iterator[None]:
    """A fault of the driver is StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"database: {error}") from error
