"""The scoring stream's database: key shares, pseudonyms, what was asked, what was answered.

SQLite by its own driver, for here a request has a millisecond: one connection a thread, one
transaction a request that holds the write lock from its start. Rows of requests are written
without a flush of their own: they survive a killed process, and of a power cut the last
second is lost. A key share is flushed before anybody is told of it. Nothing here decides:
quotas and the retry rule are in ``consortium.scoring``; rows are read, the question is put,
the answer is written.

Persons stand here only as keyed hashes whose key is a file of this node, and as tokens.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Purpose
from consortium.versions import History
from partner_node.database import BUSY_MS, touch
from upkeep.migrations import Statements, bring_up, copied, on

Bytes16 = NDArray[np.uint8]
"""Shape (n, 16)."""

HISTORY: History[Statements] = History()
DAY = 86_400
APPLICANT_S = DAY
"""How long the token of somebody who is no customer is kept (protocol 7.4)."""
ANSWERS_S = DAY
"""How long a request id brings the same bytes."""
REPLAY_S = DAY
"""How long a request id is known; a request's deadline is much nearer (protocol 7.5)."""
GUARD_S = 30 * DAY
"""Protocol 7.9."""
ACCESS_S = 3 * 366 * DAY
"""Credit 6."""
_ROWS = 512
"""Rows of one transaction of a load, so that no request waits long for the write lock."""
_PARAMETERS = 256
KEY_BYTES = 16

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

_WITHDRAWALS = "withdrawals"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShare:
    """This node's share of one epoch's key."""

    epoch: int
    attempt: int
    """The ceremony that made it."""
    position: int
    """Its index among the key holders."""
    share: Secret
    record: bytes | None
    """The epoch's public keys, signed by all; None before that."""


@dataclass(frozen=True, slots=True)
class Count:
    """Where a quota stands: what is in the bucket, since when, and the day's use."""

    level: int
    at: int
    day: int
    used: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The last request of one asker for one person with one roster."""

    request: RequestId
    roster: bytes
    """Digest of U."""
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What is kept of an inquiry that this node answers."""

    request: RequestId
    requester: PartnerId
    purpose: Purpose
    persons: int
    context: Digest
    consents: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One own inquiry, as the asker's record keeps it (credit 6): never the exact counts."""

    inquirer: str
    """Who asked at the desk: a certificate's subject and role, or the operator."""
    subject: bytes = field(repr=False)
    """Salted hash of the person."""
    purpose: Purpose
    consent: bytes = field(repr=False)
    """Hash of the receipt, or of the reference where nothing left the node."""
    context: str
    """sctx; empty for a local answer."""
    roster: int
    model: str
    head: str
    band: str
    result: str
    """joint, or why it is local."""
    at: int = 0
    """Seconds since 1970, UTC; set when it is written."""


class RequestRows:
    """The rows of one request, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self.now = now

    def knows(self, request: RequestId) -> bool:
        """Whether this id was seen before."""
        query = "SELECT 1 FROM requests WHERE id = ?"
        return self._connection.execute(query, (request,)).fetchone() is not None

    def note(self, admitted: Admitted) -> None:
        """Keep the request's id, so that it is answered once."""
        self._connection.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                admitted.request,
                admitted.requester,
                admitted.purpose.value,
                admitted.persons,
                admitted.context,
                admitted.consents,
                self.now,
            ),
        )

    def note_tokens(self, request: RequestId, requester: PartnerId, points: int) -> None:
        """Keep the id of a request for tokens, so that it is answered once."""
        self._connection.execute(
            "INSERT INTO requests VALUES (?, ?, 'TOKENS', ?, '', '', ?)",
            (request, requester, points, self.now),
        )

    def count_evaluated(self, epoch: int, points: int) -> None:
        """So many points were evaluated today, for whomever."""
        self._connection.execute(
            "INSERT INTO evaluated VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET points = points + excluded.points",
            (self.now // DAY, epoch, points),
        )

    def count(self, requester: PartnerId, kind: str) -> Count | None:
        """Where a quota of this asker stands; None before its first request."""
        query = "SELECT level, at, day, used FROM quotas WHERE requester = ? AND kind = ?"
        row = self._connection.execute(query, (requester, kind)).fetchone()
        return None if row is None else Count(*row)

    def set_count(self, requester: PartnerId, kind: str, count: Count) -> None:
        """Keep where it stands now."""
        self._connection.execute(
            "INSERT OR REPLACE INTO quotas VALUES (?, ?, ?, ?, ?, ?)",
            (requester, kind, count.level, count.at, count.day, count.used),
        )

    def history(
        self, requester: PartnerId, subjects: Sequence[bytes]
    ) -> dict[bytes, list[Seen]]:
        """The last request with each roster, of this asker by person; oldest first."""
        found: dict[bytes, list[Seen]] = {}
        for start in range(0, len(subjects), _PARAMETERS):
            part = subjects[start : start + _PARAMETERS]
            marks = ", ".join("?" * len(part))
            query = (
                "SELECT subject, request, roster, at_ms FROM guard "  # noqa: S608
                f"WHERE requester = ? AND subject IN ({marks}) ORDER BY at_ms"
            )
            for subject, *rest in self._connection.execute(query, (requester, *part)):
                found.setdefault(subject, []).append(Seen(*rest))
        return found

    def note_persons(
        self,
        requester: PartnerId,
        subjects: Iterable[bytes],
        seen: Seen,
        history: Mapping[bytes, Sequence[Seen]],
    ) -> None:
        """Keep that this request asked for these persons, as the latest of each.

        Two requests of one millisecond, or of a clock that went back, stay in their order.

        Args:
            requester: The asker.
            subjects: The persons.
            seen: The request.
            history: What ``history`` said of them, in this very transaction.
        """
        self._connection.executemany(
            "INSERT OR REPLACE INTO guard VALUES (?, ?, ?, ?, ?)",
            [
                (requester, subject, seen.roster, seen.request, _after(history, subject, seen))
                for subject in subjects
            ],
        )

    def generation(self) -> int:
        """Rises with each withdrawal, and with tokens of customers that came since."""
        query = "SELECT value FROM generations WHERE name = ?"
        row = self._connection.execute(query, (_WITHDRAWALS,)).fetchone()
        return 0 if row is None else int(row[0])


class ScoringStore:
    """``scoring.db`` of one node; safe to use from any thread and from several processes.

    Every method raises StorageError: disk full, locked for too long, of another version.
    """

    def __init__(self, path: Path, *, now: Callable[[], int]) -> None:
        """Open the database, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        self._path = path
        self._now = now
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._opening = threading.Lock()
        touch(path)
        with _wrapped(), copied(path, HISTORY), self._transaction(flushed=True) as connection:
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

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            return found
        made = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        for pragma in (
            f"busy_timeout={BUSY_MS}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "secure_delete=ON",
            # The log is moved into the file by ``tidy``, on a thread that may wait for it.
            "wal_autocheckpoint=100000",
        ):
            made.execute(f"PRAGMA {pragma}")
        self._local.connection = made
        with self._opening:
            self._open.append(made)
        return made

    @contextmanager
    def _transaction(self, *, flushed: bool = False) -> Iterator[sqlite3.Connection]:
        with _wrapped():
            connection = self._connection()
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

    @contextmanager
    def request(self) -> Iterator[RequestRows]:
        """One request's transaction: all its rows are kept, or none if it raises."""
        with self._transaction() as connection:
            yield RequestRows(connection, self._now())

    # --- key shares (protocol 6.3, 6.8) -------------------------------------------------------

    def seed(self, epoch: int, attempt: int, draw: Callable[[], Secret]) -> Secret:
        """The secret of one ceremony: drawn and on disk before its first step leaves."""
        query = "SELECT seed FROM epoch_seeds WHERE epoch = ? AND attempt = ?"
        with self._transaction(flushed=True) as connection:
            row = connection.execute(query, (epoch, attempt)).fetchone()
            if row is not None:
                return Secret(row[0])
            drawn = draw()
            connection.execute(
                "INSERT INTO epoch_seeds VALUES (?, ?, ?)", (epoch, attempt, drawn.expose())
            )
        return drawn

    def keep_share(self, share: StoredShare) -> None:
        """Keep this node's share, on disk before it is confirmed to anybody."""
        with self._transaction(flushed=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO epoch_shares VALUES (?, ?, ?, ?, ?, ?)",
                (
                    share.epoch,
                    share.attempt,
                    share.position,
                    share.share.expose(),
                    share.record,
                    self._now(),
                ),
            )

    def install(self, epoch: int, attempt: int, record: bytes) -> None:
        """The keys are signed by all: serve with this share, erase every other until now.

        Those of earlier epochs, too: what they make is asked for no more (protocol 6.9).

        Raises:
            StorageError: there is no such share.
        """
        with self._transaction(flushed=True) as connection:
            done = connection.execute(
                "UPDATE epoch_shares SET record = ? WHERE epoch = ? AND attempt = ?",
                (record, epoch, attempt),
            )
            if done.rowcount != 1:
                raise StorageError(f"no share of epoch {epoch}, attempt {attempt}")
            connection.execute(
                "DELETE FROM epoch_shares WHERE epoch < ?1 OR epoch = ?1 AND attempt != ?2",
                (epoch, attempt),
            )
            # With the seed the share could be made again, and so could those it dealt.
            connection.execute(
                "DELETE FROM epoch_seeds WHERE epoch < ?1 OR epoch = ?1 AND attempt <= ?2",
                (epoch, attempt),
            )
        self._truncate_log()

    def shares(self, epoch: int) -> tuple[StoredShare, ...]:
        """All that is kept of this epoch, in the order of attempts."""
        query = (
            "SELECT epoch, attempt, position, share, record FROM epoch_shares "
            "WHERE epoch = ? ORDER BY attempt"
        )
        with self._transaction() as connection:
            return tuple(
                StoredShare(
                    epoch=row[0],
                    attempt=row[1],
                    position=row[2],
                    share=Secret(row[3]),
                    record=row[4],
                )
                for row in connection.execute(query, (epoch,))
            )

    def installed(self, epoch: int) -> StoredShare | None:
        """The share that this node serves the epoch with."""
        return next((one for one in self.shares(epoch) if one.record is not None), None)

    def _truncate_log(self) -> None:
        """Leave no copy of an erased secret in the write-ahead log."""
        with _wrapped():
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    # --- pseudonyms ---------------------------------------------------------------------------

    def tokens(self, epoch: int, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Tokens that are known, by keyed hash of the person."""
        found: dict[bytes, bytes] = {}
        with _wrapped():
            connection = self._connection()
            for start in range(0, len(subjects), _PARAMETERS):
                part = subjects[start : start + _PARAMETERS]
                marks = ", ".join("?" * len(part))
                query = (
                    "SELECT subject, token FROM pseudonyms "  # noqa: S608 - question marks
                    f"WHERE epoch = ? AND subject IN ({marks})"
                )
                found.update(connection.execute(query, (epoch, *part)))
        return found

    def keep_tokens(
        self, epoch: int, pairs: Sequence[tuple[bytes, bytes]], *, customers: bool
    ) -> None:
        """Keep tokens: of customers for the epoch, of others for a day (protocol 7.4)."""
        expires = 0 if customers else self._now() + APPLICANT_S
        keep = (
            "INSERT INTO pseudonyms VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "expires = CASE WHEN pseudonyms.expires = 0 THEN 0 ELSE excluded.expires END, "
            "token = excluded.token"
        )
        if customers:
            keep = "INSERT OR REPLACE INTO pseudonyms VALUES (?, ?, ?, ?)"
        for start in range(0, len(pairs), _ROWS):
            rows = [(epoch, *pair, expires) for pair in pairs[start : start + _ROWS]]
            with self._transaction() as connection:
                connection.executemany(keep, rows)
                if customers:
                    # Who withdrew before there was a token has one to be known by now.
                    _next_generation(connection)

    def customers(self, epoch: int) -> tuple[Bytes16, Bytes16]:
        """Keyed hashes and tokens of all customers of the epoch, sorted by hash."""
        query = (
            "SELECT subject, token FROM pseudonyms WHERE epoch = ? AND expires = 0 "
            "ORDER BY subject"
        )
        subjects, tokens = bytearray(), bytearray()
        with _wrapped():
            for subject, token in self._connection().execute(query, (epoch,)):
                subjects += subject
                tokens += token
        return _table(subjects), _table(tokens)

    def keep_customers(self, epoch: int, subjects: set[bytes]) -> int:
        """Drop the tokens of persons who are customers no more; returns how many."""
        query = "SELECT subject FROM pseudonyms WHERE epoch = ? AND expires = 0"
        with _wrapped():
            known = [row[0] for row in self._connection().execute(query, (epoch,))]
        gone = [(epoch, subject) for subject in known if subject not in subjects]
        for start in range(0, len(gone), _ROWS):
            with self._transaction() as connection:
                connection.executemany(
                    "DELETE FROM pseudonyms WHERE epoch = ? AND subject = ?",
                    gone[start : start + _ROWS],
                )
        return len(gone)

    def forget(self, subject: bytes) -> tuple[int, ...]:
        """Drop all tokens of a person who is to be deleted; the epochs that had one."""
        with self._transaction(flushed=True) as connection:
            rows = connection.execute(
                "SELECT epoch FROM pseudonyms WHERE subject = ? ORDER BY epoch", (subject,)
            ).fetchall()
            connection.execute("DELETE FROM pseudonyms WHERE subject = ?", (subject,))
            _next_generation(connection)
        return tuple(row[0] for row in rows)

    def customer_count(self, epoch: int) -> int:
        """How many customers have a token."""
        query = "SELECT count(*) FROM pseudonyms WHERE epoch = ? AND expires = 0"
        with _wrapped():
            return int(self._connection().execute(query, (epoch,)).fetchone()[0])

    def leave(self) -> None:
        """Overwrite every share, seed and token: this node is no key holder any more."""
        with self._transaction(flushed=True) as connection:
            for table in ("epoch_shares", "epoch_seeds", "pseudonyms"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            _next_generation(connection)

    def drop_epochs_before(self, epoch: int) -> None:
        """Forget tokens of epochs that are served no more (protocol 6.9); may take a while."""
        part = (
            "DELETE FROM pseudonyms WHERE (epoch, subject) IN "
            "(SELECT epoch, subject FROM pseudonyms WHERE epoch < ? LIMIT ?)"
        )
        left = True
        while left:
            with self._transaction() as connection:
                left = connection.execute(part, (epoch, _ROWS)).rowcount > 0

    # --- withdrawals (protocol 7.8) -----------------------------------------------------------

    def withdraw(self, subject: bytes, purposes: Iterable[Purpose]) -> None:
        """This person's consent ends; it counts from the next call on."""
        now = self._now()
        with self._transaction(flushed=True) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?)",
                [(subject, purpose.value, now) for purpose in purposes],
            )
            _next_generation(connection)

    def restore(self, subject: bytes, purposes: Iterable[Purpose]) -> None:
        """This person has consented anew."""
        with self._transaction(flushed=True) as connection:
            connection.executemany(
                "DELETE FROM withdrawals WHERE subject = ? AND purpose = ?",
                [(subject, purpose.value) for purpose in purposes],
            )
            _next_generation(connection)

    def withdrawn(self, subjects: Sequence[bytes]) -> frozenset[tuple[bytes, Purpose]]:
        """What these persons have withdrawn, by their keyed hash."""
        found: set[tuple[bytes, Purpose]] = set()
        with _wrapped():
            connection = self._connection()
            for start in range(0, len(subjects), _PARAMETERS):
                part = subjects[start : start + _PARAMETERS]
                query = (
                    "SELECT subject, purpose FROM withdrawals "  # noqa: S608 - question marks
                    f"WHERE subject IN ({', '.join('?' * len(part))})"
                )
                rows = connection.execute(query, part)
                found.update((subject, Purpose(purpose)) for subject, purpose in rows)
        return frozenset(found)

    def withdrawn_from(self, purpose: Purpose) -> frozenset[bytes]:
        """Keyed hashes of all persons who have withdrawn from one purpose."""
        query = "SELECT subject FROM withdrawals WHERE purpose = ?"
        with _wrapped():
            rows = self._connection().execute(query, (purpose.value,))
            return frozenset(subject for (subject,) in rows)

    def withdrawn_tokens(self, epoch: int) -> dict[Purpose, frozenset[bytes]]:
        """Tokens of customers who have withdrawn, by purpose."""
        query = (
            "SELECT w.purpose, p.token FROM withdrawals AS w JOIN pseudonyms AS p "
            "ON p.epoch = ? AND p.subject = w.subject"
        )
        found: dict[Purpose, set[bytes]] = {purpose: set() for purpose in Purpose}
        with _wrapped():
            for purpose, token in self._connection().execute(query, (epoch,)):
                found[Purpose(purpose)].add(token)
        return {purpose: frozenset(tokens) for purpose, tokens in found.items()}

    # --- the desk's own record ----------------------------------------------------------------

    def answered(self, key: str) -> tuple[str, bytes] | None:
        """Digest of the question that came under this id, and the bytes that answered it."""
        query = "SELECT question, answer FROM asked WHERE key = ? AND at > ?"
        with _wrapped():
            found = self._connection().execute(query, (key, self._now() - ANSWERS_S))
            row = found.fetchone()
        return None if row is None else (row[0], row[1])

    def keep_answer(self, key: str, question: str, answer: bytes) -> None:
        """Keep an answer, so that the same id brings the same bytes for 24 hours."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?)",
                (key, question, answer, self._now()),
            )

    def log_access(self, entries: Sequence[Access]) -> None:
        """Write down own inquiries."""
        now = self._now()
        with self._transaction() as connection:
            connection.executemany(
                "INSERT INTO access_log VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        now,
                        one.inquirer,
                        one.subject,
                        one.purpose.value,
                        one.consent,
                        one.context,
                        one.roster,
                        one.model,
                        one.head,
                        one.band,
                        one.result,
                    )
                    for one in entries
                ],
            )

    def accesses(self, *, since: int = 0) -> tuple[Access, ...]:
        """Own inquiries from that time on, oldest first."""
        query = "SELECT * FROM access_log WHERE at >= ? ORDER BY number"
        with _wrapped():
            rows = self._connection().execute(query, (since,)).fetchall()
        return tuple(
            Access(
                at=row[1],
                inquirer=row[2],
                subject=row[3],
                purpose=Purpose(row[4]),
                consent=row[5],
                context=row[6],
                roster=row[7],
                model=row[8],
                head=row[9],
                band=row[10],
                result=row[11],
            )
            for row in rows
        )

    # --- what is said of a day (protocol 8.4) -------------------------------------------------

    def first_day(self) -> int | None:
        """The first day of which there is anything to say; None: there is nothing yet."""
        query = (
            "SELECT min(day) FROM (SELECT min(day) AS day FROM evaluated "
            "UNION SELECT min(at) / :day FROM access_log "
            "UNION SELECT min(at) / :day FROM withdrawals)"
        )
        with _wrapped():
            (day,) = self._connection().execute(query, {"day": DAY}).fetchone()
        return None if day is None else int(day)

    def evaluated(self, day: int) -> tuple[int, int] | None:
        """The newest epoch of a day, and the points that were evaluated on it."""
        query = "SELECT max(epoch), sum(points) FROM evaluated WHERE day = ?"
        with _wrapped():
            epoch, points = self._connection().execute(query, (day,)).fetchone()
        return None if epoch is None else (int(epoch), int(points))

    def receipts(self, day: int) -> tuple[bytes, ...]:
        """Hashes of the consents under which others were asked on a day, sorted, each once."""
        query = (
            "SELECT DISTINCT consent FROM access_log "
            "WHERE at >= ? AND at < ? AND result = 'joint' ORDER BY consent"
        )
        with _wrapped():
            rows = self._connection().execute(query, (day * DAY, (day + 1) * DAY))
            return tuple(bytes(consent) for (consent,) in rows)

    def withdrawn_on(self, day: int) -> tuple[tuple[bytes, str], ...]:
        """Keyed hash and purpose of what was withdrawn on a day."""
        query = "SELECT subject, purpose FROM withdrawals WHERE at >= ? AND at < ?"
        with _wrapped():
            rows = self._connection().execute(query, (day * DAY, (day + 1) * DAY))
            return tuple((bytes(subject), purpose) for subject, purpose in rows)

    def note_fault(self, epoch: int, holder: PartnerId, request: RequestId) -> None:
        """A key holder's proof does not hold; once a day is enough."""
        with self._transaction(flushed=True) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO faults VALUES (?, ?, ?, ?)",
                (self._now() // DAY, epoch, holder, request),
            )

    def faults(self) -> tuple[tuple[int, PartnerId, RequestId], ...]:
        """All that were noted, the oldest first: epoch, holder, request."""
        query = "SELECT epoch, holder, request FROM faults ORDER BY day, epoch, holder"
        with _wrapped():
            rows = self._connection().execute(query)
            return tuple(
                (epoch, PartnerId(holder), RequestId(request))
                for epoch, holder, request in rows
            )

    # --- keeping house ------------------------------------------------------------------------

    def tidy(self) -> None:
        """Erase what has had its time, and move the log into the file; may take a while."""
        now = self._now()
        for table, condition, limit in (
            ("pseudonyms", "expires > 0 AND expires <= ?", now),
            ("requests", "at <= ?", now - REPLAY_S),
            ("guard", "at_ms <= ?", 1000 * (now - GUARD_S)),
            ("asked", "at <= ?", now - ANSWERS_S),
            ("access_log", "at <= ?", now - ACCESS_S),
            ("evaluated", "day <= ?", (now - GUARD_S) // DAY - 1),
            ("faults", "day <= ?", (now - ACCESS_S) // DAY),
        ):
            with self._transaction() as connection:
                connection.execute(f"DELETE FROM {table} WHERE {condition}", (limit,))  # noqa: S608
        with _wrapped():
            self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _after(history: Mapping[bytes, Sequence[Seen]], subject: bytes, seen: Seen) -> int:
    """When it counts as asked: after all that is known of this person."""
    known = history.get(subject)
    return max(seen.at_ms, known[-1].at_ms + 1) if known else seen.at_ms


def _next_generation(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO generations VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1",
        (_WITHDRAWALS,),
    )


def _table(data: bytearray) -> Bytes16:
    return np.frombuffer(bytes(data), dtype=np.uint8).reshape(-1, KEY_BYTES)


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"database: {error}") from error
