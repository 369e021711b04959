"""The desk's database, ``credit.db``: decisions, and what must be true together with them.

SQLite through SQLAlchemy Core, in write-ahead mode, flushed at each commit. A transaction
holds the write lock from its start, so that what was read is still true when it is written,
whichever process wrote before. Persons stand here as keyed hashes only; a decision and its
input are the canonical bytes that replay compares.

The files ``storage_*`` beside this one define their tables on ``META``.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from consortium.credit.admission import Admission, Phase
from consortium.credit.terms import GRADES
from consortium.errors import StorageError
from consortium.ids import Digest
from consortium.versions import History
from partner_node.database import BUSY_MS, touch
from upkeep.migrations import Statements, bring_up, copied, on

HISTORY: History[Statements] = History()
"""Of ``credit.db``: a change of any of its tables is an entry here, too."""

Connection = sa.Connection
"""Of a transaction; what other files of the desk are handed."""

META = sa.MetaData()
_FILES = tuple(
    f"storage_{part}"
    for part in ("attested", "campaign", "elsewhere", "path", "people", "sealed", "watch")
)
"""What defines tables on ``META``; they import this file, so it loads them late."""
DECISIONS = sa.Table(
    "decisions",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("application", sa.String(64), nullable=False, index=True),
    sa.Column("subject", sa.LargeBinary, nullable=False, index=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.String(8), nullable=False),
    sa.Column("grade", sa.String(2), nullable=False),
    sa.Column("input", sa.LargeBinary, nullable=False),
    sa.Column("decision", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
)
KEYS = sa.Table(
    "idempotency_keys",
    META,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("question", sa.String(64), nullable=False),
    sa.Column("decision", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
)
RULE_FILES = sa.Table(
    "rule_files",
    META,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("source", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
OVERRIDES = sa.Table(
    "overrides",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("decision", sa.String(64), nullable=False, index=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
ADMISSION = sa.Table(
    "admission",
    META,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("week", sa.String(10), nullable=False),
    *(sa.Column(f"used_{grade}", sa.BigInteger, nullable=False) for grade in GRADES),
    sa.Column("phase", sa.String(8), nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("good", sa.BigInteger, nullable=False),
    sa.Column("bad", sa.BigInteger, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
)
GRANTS = sa.Table(
    "grants",
    META,
    sa.Column("decision", sa.String(64), primary_key=True),
    sa.Column("grade", sa.String(2), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("week", sa.String(10), nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("bad", sa.Boolean, nullable=True),
)
ORDERS = sa.Table(
    "admission_orders",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


class CreditStore:
    """``credit.db`` of one node; safe to use from any thread and from several processes."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        touch(path)
        self._engine = sa.create_engine(f"sqlite:///{path.absolute()}", hide_parameters=True)
        self._reading = self._engine.execution_options(begin="BEGIN")
        sa.event.listen(self._engine, "connect", _set_pragmas)
        sa.event.listen(self._engine, "begin", _begin)
        with copied(path, HISTORY), self.transaction() as connection:
            driver: Any = connection.connection.driver_connection
            bring_up(on(driver), HISTORY, str(path), lambda: _create_all(connection))

    def decided(self) -> int:
        """Decisions so far, those that were erased since included."""
        with self.reading() as connection:
            return connection.scalar(sa.select(sa.func.max(DECISIONS.c.number))) or 0

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All or nothing, with the write lock; raises StorageError: disk full, locked."""
        with _wrapped(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One state of the database to read from; waits for no writer."""
        with _wrapped(), self._reading.begin() as connection:
            yield connection


def _create_all(connection: sa.Connection) -> None:
    for name in _FILES:
        import_module(f"{__package__}.{name}")
    META.create_all(connection)


@contextmanager
def savepoint(connection: sa.Connection) -> Iterator[None]:
    """What is written within is undone alone if it raises."""
    with _wrapped():
        execute(connection, "SAVEPOINT work")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                execute(connection, "ROLLBACK TO work")
                execute(connection, "RELEASE work")
            raise
        execute(connection, "RELEASE work")


def execute(
    connection: sa.Connection, statement: str, row: Sequence[object] = ()
) -> sqlite3.Cursor:
    """A statement by the driver: a decision has a millisecond, and no compiler's time."""
    driver: Any = connection.connection.driver_connection
    found: sqlite3.Cursor = driver.execute(statement, row)
    return found


def check_open(connection: sa.Connection) -> None:
    """Raise StorageError if SQLite has ended the transaction by itself, as a full disk does.

    What is written after that would be kept at once, and what was before is lost.
    """
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        raise StorageError("database: the transaction was undone")


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        # Never the statement's parameters: they are a person's.
        plain = str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
        cause = getattr(error, "orig", None) or plain
        raise StorageError(f"database: {cause}") from None


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
    # The driver's own BEGIN is switched off: ours takes the write lock at once.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    begin = connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)


def _insert(table: sa.Table, names: Iterable[str], verb: str = "INSERT") -> str:
    """All but the rows, which ``_execute_rows`` adds."""
    columns = [f'"{table.c[name].name}"' for name in names]
    return f"{verb} INTO {table.name} ({', '.join(columns)}) VALUES "


def _execute_rows(
    connection: sa.Connection, insert: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Rows in one statement; SQLite takes 32,766 values, which is ``MOST_WORKS`` many times."""
    if rows:
        marks = ",".join([f"({marks_of(rows[0])})"] * len(rows))
        execute(connection, insert + marks, tuple(chain.from_iterable(rows)))


def marks_of(values: Sequence[object]) -> str:
    """A mark for each value of a list in a statement."""
    return ",".join("?" * len(values))


def _values(row: "StoredDecision | Grant") -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in row.__dataclass_fields__)


# --- decisions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """One decision as it was made. Private."""

    id: Digest
    application: str
    subject: bytes = field(repr=False)
    """Keyed hash of the person; empty if the application named nobody."""
    at: int
    outcome: str
    grade: str
    """Empty without a score."""
    input: bytes = field(repr=False)
    decision: bytes = field(repr=False)
    answer: bytes = field(repr=False)
    """What the desk was told: canonical JSON with the texts of the reasons."""


@dataclass(frozen=True, slots=True)
class KeyedQuestion:
    """An idempotency key and what came with it, both as keyed hashes."""

    key: str
    question: str


_KEEP_KEY = _insert(KEYS, ("key", "question", "decision", "at"), "INSERT OR REPLACE")
_KEEP_DECISION = _insert(DECISIONS, StoredDecision.__dataclass_fields__, "INSERT OR IGNORE")
_DECISION = tuple(DECISIONS.c[name] for name in StoredDecision.__dataclass_fields__)


def keep_decisions(connection: sa.Connection, stored: Sequence[StoredDecision]) -> None:
    """Keep decisions in order; the same bytes again are the same decision."""
    _execute_rows(connection, _KEEP_DECISION, [_values(one) for one in stored])


def decision_of(connection: sa.Connection, name: str) -> StoredDecision | None:
    """The decision of that id."""
    found = connection.execute(sa.select(*_DECISION).where(DECISIONS.c.id == name)).first()
    return None if found is None else StoredDecision(**found._mapping)  # noqa: SLF001 - a row


def decisions(
    connection: sa.Connection, *, application: str = "", last: int | None = None
) -> list[StoredDecision]:
    """Decisions, newest first."""
    query = sa.select(*_DECISION).order_by(DECISIONS.c.number.desc())
    if application:
        query = query.where(DECISIONS.c.application == application)
    if last is not None:
        query = query.limit(last)
    return [StoredDecision(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001


def answered(
    connection: sa.Connection, keys: Sequence[str], since: int
) -> dict[str, tuple[str, bytes]]:
    """By key that came after ``since``: the question's hash, and what answered it."""
    if not keys:
        return {}
    query = (
        "SELECT k.key, k.question, d.answer FROM idempotency_keys k "  # noqa: S608 - marks
        "JOIN decisions d ON d.id = k.decision "
        f"WHERE k.key IN ({marks_of(keys)}) AND k.at > ?"
    )
    rows = execute(connection, query, (*keys, since)).fetchall()
    return {key: (question, answer) for key, question, answer in rows}


def keep_keys(
    connection: sa.Connection, asked: Sequence[tuple[KeyedQuestion, str]], at: int
) -> None:
    """Keep which decision answers a key from now on; an older answer's time is over."""
    rows = [(one.key, one.question, decision, at) for one, decision in asked]
    _execute_rows(connection, _KEEP_KEY, rows)


def drop_keys(connection: sa.Connection, until: int) -> None:
    """Forget keys whose time is over."""
    connection.execute(KEYS.delete().where(KEYS.c.at <= until))


# --- rules under which decisions were made ----------------------------------------------------


def keep_rule_file(
    connection: sa.Connection, digest: str, kind: str, source: bytes, *, at: int
) -> None:
    """Keep a rule's own file: a decision that names it can be made again without the disk's."""
    row = {"digest": digest, "kind": kind, "source": source, "at": at}
    connection.execute(RULE_FILES.insert().prefix_with("OR IGNORE"), row)


def rule_file(connection: sa.Connection, digest: str) -> bytes | None:
    """The file of that digest."""
    query = sa.select(RULE_FILES.c.source).where(RULE_FILES.c.digest == digest)
    found: bytes | None = connection.scalar(query)
    return found


# --- officers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOverride:
    """An officer's decision, and words that stay in this node."""

    decision: str
    document: bytes
    note: str = field(repr=False)
    by: str
    at: int


_OVERRIDE = tuple(OVERRIDES.c[name] for name in StoredOverride.__dataclass_fields__)


def keep_override(connection: sa.Connection, stored: StoredOverride) -> None:
    """Keep an officer's decision; earlier ones stay."""
    row = {name: getattr(stored, name) for name in StoredOverride.__dataclass_fields__}
    connection.execute(OVERRIDES.insert(), row)


def overrides_of(connection: sa.Connection, decision: str) -> list[StoredOverride]:
    """All of a decision, oldest first: the last one counts."""
    query = sa.select(*_OVERRIDE).where(OVERRIDES.c.decision == decision)
    rows = connection.execute(query.order_by(OVERRIDES.c.number))
    return [StoredOverride(**row._mapping) for row in rows]  # noqa: SLF001 - a row's own way


# --- admission --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a decision reserved of a week's cap, and what became of its first payment."""

    decision: str
    grade: str
    amount: int
    week: str
    """Its Monday."""
    turn: int
    released: bool
    bad: bool | None
    """None until the first payment fell due."""


_KEEP_ADMISSION = _insert(ADMISSION, ADMISSION.c.keys(), "INSERT OR REPLACE")
_KEEP_GRANT = _insert(GRANTS, Grant.__dataclass_fields__, "INSERT OR REPLACE")
_GRANT = tuple(GRANTS.c[name] for name in Grant.__dataclass_fields__)


def admission_row(connection: sa.Connection) -> tuple[Admission, int] | None:
    """State and turn of the ramp; None before the first grant."""
    row = execute(connection, "SELECT * FROM admission").fetchone()
    if row is None:
        return None
    _, week, *used, phase, stage, good, bad, turn = row
    state = Admission(
        week=date.fromisoformat(week),
        used=tuple(used),
        phase=Phase(phase),
        stage=stage,
        good=good,
        bad=bad,
    )
    return state, turn


def keep_admission(connection: sa.Connection, state: Admission, turn: int) -> None:
    """Keep state and turn: there is one of both."""
    row = (1, state.week.isoformat(), *state.used, state.phase, state.stage)
    _execute_rows(connection, _KEEP_ADMISSION, [(*row, state.good, state.bad, turn)])


def grant_of(connection: sa.Connection, decision: str) -> Grant | None:
    """What a decision reserved."""
    query = sa.select(*_GRANT).where(GRANTS.c.decision == decision)
    row = connection.execute(query).first()
    return None if row is None else Grant(**row._mapping)  # noqa: SLF001 - a row's own way


def keep_grants(connection: sa.Connection, granted: Sequence[Grant]) -> None:
    """Keep what decisions reserved."""
    _execute_rows(connection, _KEEP_GRANT, [_values(one) for one in granted])


def keep_order(connection: sa.Connection, document: bytes, signature: bytes, at: int) -> None:
    """Keep an order about the ramp; none is ever taken away."""
    row = {"document": document, "signature": signature, "at": at}
    connection.execute(ORDERS.insert(), row)


def orders(connection: sa.Connection) -> list[tuple[bytes, bytes]]:
    """All orders and their signatures, oldest first."""
    query = sa.select(ORDERS.c.document, ORDERS.c.signature).order_by(ORDERS.c.number)
    return [(row[0], row[1]) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedRow:
    """A decision with the officer's newest word on it. Private."""

    subject: bytes = field(repr=False)
    outcome: str
    grade: str
    input: bytes = field(repr=False)
    override: bytes | None = field(repr=False)


_DAY_S = 86_400


def decided_between(connection: sa.Connection, first: date, after: date) -> list[DecidedRow]:
    """Decisions of some days, and of one more at both ends: calendars may differ."""
    newest = (
        sa.select(OVERRIDES.c.document)
        .where(OVERRIDES.c.decision == DECISIONS.c.id)
        .order_by(OVERRIDES.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )
    low, high = (
        _DAY_S * (day - date(1970, 1, 1)).days + more
        for day, more in ((first, -_DAY_S), (after, _DAY_S))
    )
    query = (
        sa.select(
            DECISIONS.c.subject,
            DECISIONS.c.outcome,
            DECISIONS.c.grade,
            DECISIONS.c.input,
            newest.label("override"),
        )
        .where(DECISIONS.c.at >= low, DECISIONS.c.at < high)
        .order_by(DECISIONS.c.number)
    )
    return [DecidedRow(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - a row's own way
