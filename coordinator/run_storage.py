"""Runs of the coordinator's database: checkpoints, published sums, uploads' words, events."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from consortium.ids import Digest, RunId
from coordinator.database import Database
from coordinator.log_storage import LogStore
from coordinator.schema import META

_RUNS = sa.Table(
    "runs",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(32), nullable=False, unique=True),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("plan_digest", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_CHECKPOINTS = sa.Table(
    "checkpoints",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
)
_SUMS = sa.Table(
    "sums",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("joined", sa.String(64), nullable=False),
    sa.Column("total", sa.LargeBinary, nullable=False),
)
_WORDS = sa.Table(
    "upload_words",
    META,
    sa.Column("run", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("joined", sa.String(64), nullable=False),
    sa.Column("words", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_EVENTS = sa.Table(
    "run_events",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String(32), nullable=False, index=True),
    sa.Column("document", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run; ``plan`` holds the canonical bytes of its plan."""

    run: RunId
    plan: bytes
    plan_digest: Digest
    status: str
    """running, finished or failed."""
    detail: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """Where a run stands; ``payload`` is the trainer's own."""

    run: RunId
    stage: str
    round: int
    attempts: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRow:
    """One published sum: the request, rctx, and the total as little-endian int64."""

    run: RunId
    number: int
    request: bytes
    joined: str
    total: bytes


class RunStore:
    """Runs; every method is one transaction and raises StorageError.

    ``entries`` are appended to the log in the same transaction.
    """

    def __init__(self, database: Database, log: LogStore) -> None:
        self._database, self._log = database, log

    def add(
        self,
        run: RunId,
        plan: bytes,
        plan_digest: Digest,
        at: int,
        *,
        entries: Sequence[bytes] = (),
    ) -> None:
        """Keep a new run with status running."""
        row = RunRow(
            run=run, plan=plan, plan_digest=plan_digest, status="running", detail="", at=at
        )
        with self._database.transaction() as connection:
            self._log.append_within(connection, entries)
            connection.execute(_RUNS.insert().values(**asdict(row)))

    def set_status(
        self, run: RunId, status: str, detail: str = "", *, entries: Sequence[bytes] = ()
    ) -> None:
        """Note where the run stands: running, finished or failed.

        Where it stands there already, nothing is written or logged: whoever lost the server's
        answer to a commit asks again.
        """
        there = sa.select(_RUNS.c.status).where(_RUNS.c.run == run)
        with self._database.transaction() as connection:
            if connection.scalar(there) == status:
                return
            self._log.append_within(connection, entries)
            connection.execute(
                _RUNS.update().where(_RUNS.c.run == run).values(status=status, detail=detail)
            )

    def get(self, run: RunId) -> RunRow | None:
        """The run of that id."""
        row = self._database.one(sa.select(_RUNS).where(_RUNS.c.run == run))
        return None if row is None else _run(row)

    def newest(self) -> RunRow | None:
        """The run that was started last."""
        row = self._database.one(sa.select(_RUNS).order_by(_RUNS.c.number.desc()))
        return None if row is None else _run(row)

    def ids(self) -> tuple[RunId, ...]:
        """All runs, oldest first."""
        query = sa.select(_RUNS.c.run).order_by(_RUNS.c.number)
        return tuple(RunId(row["run"]) for row in self._database.all(query))

    def unfinished(self) -> tuple[RunRow, ...]:
        """Runs that neither finished nor failed, oldest first."""
        query = sa.select(_RUNS).where(_RUNS.c.status == "running").order_by(_RUNS.c.number)
        return tuple(_run(row) for row in self._database.all(query))

    def save_checkpoint(
        self,
        checkpoint: CheckpointRow,
        closed: SumRow | None = None,
        event: str | None = None,
        *,
        entries: Sequence[bytes] = (),
        words: bytes | None = None,
        at: int = 0,
    ) -> None:
        """Replace the run's checkpoint, keep the sum that it rests on, log; all or nothing.

        ``words`` are those of all uploads of the sum, ``at`` the time from which they count.
        A checkpoint that is there already is not written twice: whoever lost the server's
        answer to a commit asks again.
        """
        same = sa.select(_CHECKPOINTS).where(_CHECKPOINTS.c.run == checkpoint.run)
        with self._database.transaction() as connection:
            kept = connection.execute(same).mappings().first()
            if kept is not None and CheckpointRow(**kept) == checkpoint:
                return
            self._log.append_within(connection, entries)
            if closed is not None:
                connection.execute(_SUMS.insert().values(**asdict(closed)))
                if words is not None:
                    key = {"run": closed.run, "number": closed.number, "joined": closed.joined}
                    connection.execute(_WORDS.insert().values(**key, words=words, at=at))
            if event is not None:
                connection.execute(_EVENTS.insert().values(run=checkpoint.run, document=event))
            connection.execute(
                _CHECKPOINTS.delete().where(_CHECKPOINTS.c.run == checkpoint.run)
            )
            connection.execute(_CHECKPOINTS.insert().values(**asdict(checkpoint)))

    def sums(self, run: RunId) -> tuple[SumRow, ...]:
        """The run's closed sums, in order."""
        query = sa.select(_SUMS).where(_SUMS.c.run == run).order_by(_SUMS.c.number)
        return tuple(SumRow(**row) for row in self._database.all(query))

    def upload_words(self, run: RunId) -> Iterator[tuple[str, bytes]]:
        """Context and words of each closed sum of a run that were kept, one at a time."""
        query = sa.select(_WORDS.c.number).where(_WORDS.c.run == run).order_by(_WORDS.c.number)
        for row in self._database.all(query):
            same = (_WORDS.c.run == run, _WORDS.c.number == row["number"])
            found = self._database.one(sa.select(_WORDS).where(*same))
            if found is not None:
                yield found["joined"], bytes(found["words"])

    def drop_words(self, before: int) -> None:
        """Erase the words of sums that were closed before that time."""
        with self._database.transaction() as connection:
            connection.execute(_WORDS.delete().where(_WORDS.c.at < before))

    def checkpoint(self, run: RunId) -> CheckpointRow | None:
        """The last checkpoint of the run."""
        row = self._database.one(sa.select(_CHECKPOINTS).where(_CHECKPOINTS.c.run == run))
        return None if row is None else CheckpointRow(**row)

    def add_event(self, run: RunId, document: str) -> None:
        """Append one JSON text to the run's log."""
        self._database.write(_EVENTS, {"run": run, "document": document})

    def events(self, run: RunId) -> tuple[str, ...]:
        """The run's log, oldest first."""
        query = sa.select(_EVENTS).where(_EVENTS.c.run == run).order_by(_EVENTS.c.number)
        return tuple(row["document"] for row in self._database.all(query))


def _run(row: sa.RowMapping) -> RunRow:
    return RunRow(**{name: value for name, value in row.items() if name != "number"})
