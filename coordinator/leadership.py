"""One leader among replicas of a coordinator that share a PostgreSQL database (adr/0044).

A lock elects, a number fences. The lock belongs to one session of the server, the *seat*: the
server gives it to one replica at a time, and takes it back by itself from a session that ends
or says nothing for ``LEASE_S``. Whoever has the lock raises the *epoch* in the database and is
the leader of that epoch. From then on each of its transactions holds a second lock, shared, and
reads the epoch; who raises the epoch takes that lock alone. So every transaction of an earlier
leader is over before the epoch rises, or finds that it has risen and comes to nothing: however
long a process was frozen, it cannot write once another leads.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from consortium.errors import ConfigurationError, DeposedError, StorageError
from coordinator.schema import LEADERSHIP

LEASE_S = 10
"""A seat that says nothing for so long is free again: the server ends its session."""
BEAT_S = 2.0
"""Between two signs of life of a seat."""
WAIT_S = 5
"""How long the transactions of an earlier leader may take to end; then they are ended."""

_FENCE = (0x7269736B, 1)
_SCHEMA = (0x7269736B, 2)
_HOLD_FENCE = sa.text("SELECT pg_advisory_xact_lock_shared(:a, :b)").bindparams(
    a=_FENCE[0], b=_FENCE[1]
)
_TAKE_FENCE = sa.text("SELECT pg_advisory_xact_lock(:a, :b)").bindparams(
    a=_FENCE[0], b=_FENCE[1]
)
_HOLD_SCHEMA = sa.text("SELECT pg_advisory_xact_lock(:a, :b)").bindparams(
    a=_SCHEMA[0], b=_SCHEMA[1]
)
_END_OTHERS = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = :a AND objid = :b AND objsubid = 2 AND pid <> pg_backend_pid()"
).bindparams(a=_FENCE[0], b=_FENCE[1])
_ROW = sa.select(LEADERSHIP).where(LEADERSHIP.c.one == 1)
_EPOCH = sa.select(LEADERSHIP.c.epoch).where(LEADERSHIP.c.one == 1)
_LOCK_TIMEOUT = "55P03"
"""PostgreSQL's lock_not_available."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who leads, as the database says it."""

    epoch: int
    holder: str
    since: int
    """Seconds, UTC."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What a leader's transactions are checked against."""

    epoch: int

    def check(self, connection: sa.Connection) -> None:
        """Keep others from leading until this transaction ends.

        Raises:
            DeposedError: another leads.
        """
        connection.execute(_HOLD_FENCE)
        # In a statement of its own: one that waited for the lock would read what was before.
        seen = connection.scalar(_EPOCH)
        if seen != self.epoch:
            raise DeposedError(f"epoch {self.epoch} of this leader is over, it is {seen} now")


class Transactions(Protocol):
    """The database (``coordinator.storage.Store``)."""

    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """One transaction; raises StorageError."""


def take_office(store: Transactions, identity: bytes, holder: str, at: int) -> Fence:
    """Become the leader; whoever led before can write nothing any more when this returns.

    Only for who has the seat: of two who take office one after the other the last one leads.

    Args:
        store: Not fenced.
        identity: Public key of the coordinator, which all replicas share.
        holder: Which of them this is, for people.
        at: Seconds, UTC.

    Raises:
        ConfigurationError: the database is of another coordinator.
        StorageError: not reachable; or earlier transactions do not end.
    """
    for last in (False, True):
        try:
            with store.transaction() as connection:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
                connection.execute(_TAKE_FENCE)
                return Fence(_raise_epoch(connection, identity, holder, at))
        except StorageError as error:
            if last or not _waited(error):
                raise
        with store.transaction() as connection:
            connection.execute(_END_OTHERS)
    raise AssertionError("the last attempt returns or raises")


def _waited(error: StorageError) -> bool:
    cause = getattr(error.__cause__, "orig", None)
    return getattr(cause, "sqlstate", None) == _LOCK_TIMEOUT


def _raise_epoch(connection: sa.Connection, identity: bytes, holder: str, at: int) -> int:
    row = connection.execute(_ROW).first()
    if row is not None and row.identity != identity.hex():
        raise ConfigurationError(
            "the database is of another coordinator: replicas share one identity "
            "(riskweave coordinator backup, restore)"
        )
    epoch = 1 if row is None else int(row.epoch) + 1
    connection.execute(LEADERSHIP.delete())
    connection.execute(
        LEADERSHIP.insert().values(
            one=1, epoch=epoch, identity=identity.hex(), holder=holder, since=at
        )
    )
    return epoch


def leader_of(store: Transactions) -> Leader | None:
    """Who leads, or led last; None: nobody ever, or the database knows no replicas."""
    with store.transaction() as connection:
        row = connection.execute(_ROW).first()
    return None if row is None else Leader(epoch=row.epoch, holder=row.holder, since=row.since)


def depose(connection: sa.Connection) -> None:
    """Let nobody lead until somebody takes office again; in the caller's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(_TAKE_FENCE)
        connection.execute(LEADERSHIP.update().values(epoch=LEADERSHIP.c.epoch + 1))


def hold_schema(connection: sa.Connection) -> None:
    """One process at a time makes or changes tables; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(_HOLD_SCHEMA)


# --- the seat ---------------------------------------------------------------------------------


class Seat:
    """The session whose lock elects. One thread at a time; every method may block."""

    def __init__(self, url: str, identity: bytes) -> None:
        """A seat of the coordinator with that public key; nothing is dialled yet."""
        self._engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "application_name": "riskweave leader",
                "connect_timeout": 5,
                # A server that is gone without a word is noticed within the lease.
                "tcp_user_timeout": 1000 * (LEASE_S - 2),
            },
        )
        digest = hashlib.sha256(b"riskweave leader" + identity).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._session: sa.Connection | None = None

    def attempt(self) -> bool:
        """Take the seat if it is free; whether this process has it.

        Raises:
            StorageError: the server is not reachable.
            ConfigurationError: it is too old.
        """
        self.leave()
        with _wrapped():
            session = self._engine.connect()
            try:
                taken = self._lock(session)
            except BaseException:
                session.close()
                raise
        if taken:
            self._session = session
        else:
            session.close()
        return taken

    def _lock(self, session: sa.Connection) -> bool:
        try:
            session.execute(sa.text(f"SET idle_session_timeout = '{LEASE_S}s'"))
        except SQLAlchemyError as error:
            raise ConfigurationError("replicas need PostgreSQL 14 or later") from error
        lock = sa.text("SELECT pg_try_advisory_lock(:key)")
        return bool(session.scalar(lock, {"key": self._key}))

    def confirm(self) -> None:
        """A sign of life; raises StorageError if the seat is lost."""
        if self._session is None:
            raise StorageError("the seat was left")
        with _wrapped():
            self._session.execute(sa.text("SELECT 1"))

    def leave(self) -> None:
        """Give the seat up, whether this process has it or not."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(SQLAlchemyError):
                session.close()


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StorageError(f"database: {getattr(error, 'orig', None) or error}") from error
