"""What a replay of this node's uploads needs, for as long as an audit may ask (protocol 9.4).

Manifest and schema of a run, of every attempt that words left for the request, the JOINs, the
words and a keyed fingerprint of the rows; and the regulator's entries that ask or answer. All
of it goes when the window ends, and the run's seed with it: the seed undoes the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from consortium.documents import document_of, parse_document
from consortium.ids import Digest, RunId
from consortium.ledger.entries import AuditResult, from_jcs
from consortium.messages import SumRequest
from partner_node.database import (
    AUDITS,
    COMMITMENTS,
    OWN_LOG,
    REPLAY_ATTEMPTS,
    REPLAY_RUNS,
    RESERVES,
    STABILITY,
    SUMS,
    Database,
)
from partner_node.records import AuditEntry, KeptAttempt, KeptRun, OwnEntry

_WORDS_KEPT = sa.select(sa.func.sum(sa.func.length(REPLAY_ATTEMPTS.c.words)))
_RUN_KNOWN = sa.select(REPLAY_RUNS.c.run).where(REPLAY_RUNS.c.run == sa.bindparam("run"))
_NEW_RUN, _NEW_ATTEMPT = REPLAY_RUNS.insert(), REPLAY_ATTEMPTS.insert()
_GONE = b""
"""In place of a seed that was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How long what a replay needs is kept."""

    seconds: int
    """From the last attempt of a run; twice as long while a challenge is open."""
    after_result: bool = False
    """Whether the regulator's result ends it earlier."""


class ReplayStore:
    """A part of the node's database; every method raises StorageError as ``NodeStore``."""

    def __init__(self, database: Database, *, now: Callable[[], int], words_bytes: int) -> None:
        """Up to ``words_bytes`` of words are kept in all; attempts beyond it without theirs."""
        self._database = database
        self._now = now
        self._most = words_bytes

    # --- attempts -----------------------------------------------------------------------------

    def keep(self, run: KeptRun, attempt: KeptAttempt) -> None:
        """Keep one attempt before its words leave; flushed with the node's next write.

        A power cut may cost the last row: its replay then says that nothing was kept.
        """
        row = {
            "run": attempt.request.run,
            "round": attempt.request.round,
            "attempt": attempt.request.attempt,
            "kind": attempt.request.kind.value,
            "request": document_of(attempt.request),
            "joins": attempt.joins,
            "rows": attempt.rows,
            "words": attempt.words,
            "at": self._now(),
        }
        with self._database.transaction(flushed=False) as connection:
            if connection.scalar(_RUN_KNOWN, {"run": run.run}) is None:
                facts = {"run": run.run, "manifest": run.manifest, "schema": run.schema}
                connection.execute(_NEW_RUN, facts | {"at": self._now()})
            if attempt.words is not None:
                kept = int(connection.scalar(_WORDS_KEPT) or 0)
                if kept + len(attempt.words) > self._most:
                    row["words"] = None
            connection.execute(_NEW_ATTEMPT, row)

    def run(self, run: RunId) -> KeptRun | None:
        """Manifest and schema that a run was under."""
        with self._database.transaction() as connection:
            query = sa.select(REPLAY_RUNS).where(REPLAY_RUNS.c.run == run)
            row = connection.execute(query).first()
        return (
            None if row is None else KeptRun(run=run, manifest=row.manifest, schema=row.schema)
        )

    def attempts(self, run: RunId) -> tuple[KeptAttempt, ...]:
        """What was kept of a run's attempts, in their order, without the words."""
        table = REPLAY_ATTEMPTS.c
        with self._database.transaction() as connection:
            query = (
                sa.select(table.request, table.joins, table.rows)
                .where(table.run == run)
                .order_by(sa.literal_column("rowid"))
            )
            return tuple(
                KeptAttempt(
                    request=parse_document(SumRequest, row.request),
                    joins=row.joins,
                    rows=row.rows,
                    words=None,
                )
                for row in connection.execute(query)
            )

    def words(self, request: SumRequest) -> bytes | None:
        """The words of one attempt, if they were kept."""
        table = REPLAY_ATTEMPTS.c
        with self._database.transaction() as connection:
            query = sa.select(table.words).where(
                table.run == request.run,
                table.kind == request.kind.value,
                table.round == request.round,
                table.attempt == request.attempt,
            )
            found: bytes | None = connection.scalar(query)
        return found

    # --- what the regulator says --------------------------------------------------------------

    def take_audit(self, entry: AuditEntry) -> None:
        """Keep a challenge or a result that was verified; once."""
        with self._database.transaction() as connection:
            known = sa.select(AUDITS.c.leaf).where(AUDITS.c.leaf == entry.leaf)
            if connection.scalar(known) is None:
                row = {"leaf": entry.leaf, "type": entry.type, "run": entry.run}
                connection.execute(
                    AUDITS.insert(), row | {"data": entry.data, "at": self._now()}
                )

    def answer(self, leaf: Digest, entry: OwnEntry) -> None:
        """Keep the signed answer to a challenge, for the log; it is answered then."""
        with self._database.transaction() as connection:
            connection.execute(
                AUDITS.update().where(AUDITS.c.leaf == leaf).values(answered_at=self._now())
            )
            row = {"type": entry.type, "run": entry.run, "data": entry.data}
            connection.execute(OWN_LOG.insert(), row | {"at": self._now()})

    def unanswered(self) -> tuple[AuditEntry, ...]:
        """Challenges that this node has not answered, oldest first."""
        with self._database.transaction() as connection:
            query = (
                sa.select(AUDITS)
                .where(AUDITS.c.type == "audit.challenge", AUDITS.c.answered_at.is_(None))
                .order_by(AUDITS.c.at)
            )
            return tuple(
                AuditEntry(
                    leaf=Digest(row.leaf), type=row.type, run=RunId(row.run), data=row.data
                )
                for row in connection.execute(query)
            )

    # --- erasure ------------------------------------------------------------------------------

    def erase(self, window: Window) -> tuple[RunId, ...]:
        """Erase seeds, JOINs, words and sums of runs whose window has ended (R21 from then on).

        Returns the runs. What was charged and what was said for the log stays.
        """
        with self._database.transaction() as connection:
            due = tuple(
                RunId(row.run)
                for row in connection.execute(_last_activity())
                if row.last + self._span(connection, row.run, window) <= self._now()
            )
            for run in due:
                connection.execute(
                    COMMITMENTS.update().where(COMMITMENTS.c.run == run).values(seed=_GONE)
                )
                for table in (REPLAY_ATTEMPTS, REPLAY_RUNS, STABILITY, SUMS):
                    connection.execute(table.delete().where(table.c.run == run))
                connection.execute(
                    RESERVES.update().where(RESERVES.c.run == run).values(state="closed")
                )
        self._database.clean_log()
        return due

    @staticmethod
    def _span(connection: sa.Connection, run: str, window: Window) -> int:
        """How long this run's secrets are kept from its last attempt on."""
        rows = connection.execute(sa.select(AUDITS).where(AUDITS.c.run == run)).all()
        if any(row.type == "audit.challenge" and row.answered_at is None for row in rows):
            return window.seconds * 2
        settled = any(_is_settled(row.type, bytes(row.data)) for row in rows)
        return 0 if settled and window.after_result else window.seconds


def _is_settled(kind: str, data: bytes) -> bool:
    """Whether this is a result after which nobody looks again; a failed one is looked into."""
    body = from_jcs(data).body if kind == "audit.result" else None
    return isinstance(body, AuditResult) and body.verdict in {"passed", "waived"}


def _last_activity() -> "sa.Select[tuple[str, int]]":
    """Runs that still have a seed, each with the time of its last attempt, or acceptance."""
    last = (
        sa.select(sa.func.max(REPLAY_ATTEMPTS.c.at))
        .where(REPLAY_ATTEMPTS.c.run == COMMITMENTS.c.run)
        .scalar_subquery()
    )
    return sa.select(
        COMMITMENTS.c.run, sa.func.coalesce(last, COMMITMENTS.c.at).label("last")
    ).where(COMMITMENTS.c.seed != _GONE)
