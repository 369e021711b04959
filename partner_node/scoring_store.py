"""The scoring stream's database: pseudonyms, withdrawals, what was asked and answered.

Rows of requests are written without a flush of their own: they survive a killed process, and
of a power cut the last second is lost. Nothing here decides: rows are read, the question is
put, the answer is written.

Persons stand here only as keyed hashes whose key is a file of this node, and as tokens.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consortium.ids import PartnerId, RequestId
from consortium.inquiries import Purpose
from partner_node.key_shares import ShareStore
from partner_node.request_rows import WITHDRAWALS, RequestRows
from partner_node.scoring_database import DAY, PARAMETERS, ScoringDatabase, wrapped

Bytes16 = NDArray[np.uint8]
"""Shape (n, 16)."""

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
KEY_BYTES = 16


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


class ScoringStore:
    """``scoring.db`` of one node; safe to use from any thread and from several processes.

    Every method raises StorageError: disk full, locked for too long, of another version.
    """

    def __init__(self, path: Path, *, now: Callable[[], int]) -> None:
        """Open the database, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        self._database = ScoringDatabase(path)
        self._now = now
        self.shares = ShareStore(self._database, now=now)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._database.close()

    @contextmanager
    def request(self) -> Iterator[RequestRows]:
        """One request's transaction: all its rows are kept, or none if it raises."""
        with self._database.transaction() as connection:
            yield RequestRows(connection, self._now())

    # --- pseudonyms ---------------------------------------------------------------------------

    def tokens(self, epoch: int, subjects: Sequence[bytes]) -> dict[bytes, bytes]:
        """Tokens that are known, by keyed hash of the person."""
        found: dict[bytes, bytes] = {}
        with wrapped():
            connection = self._database.connection()
            for start in range(0, len(subjects), PARAMETERS):
                part = subjects[start : start + PARAMETERS]
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
            with self._database.transaction() as connection:
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
        with wrapped():
            for subject, token in self._database.connection().execute(query, (epoch,)):
                subjects += subject
                tokens += token
        return _table(subjects), _table(tokens)

    def keep_customers(self, epoch: int, subjects: set[bytes]) -> int:
        """Drop the tokens of persons who are customers no more; returns how many."""
        query = "SELECT subject FROM pseudonyms WHERE epoch = ? AND expires = 0"
        with wrapped():
            known = [row[0] for row in self._database.connection().execute(query, (epoch,))]
        gone = [(epoch, subject) for subject in known if subject not in subjects]
        for start in range(0, len(gone), _ROWS):
            with self._database.transaction() as connection:
                connection.executemany(
                    "DELETE FROM pseudonyms WHERE epoch = ? AND subject = ?",
                    gone[start : start + _ROWS],
                )
        return len(gone)

    def forget(self, subject: bytes) -> tuple[int, ...]:
        """Drop all tokens of a person who is to be deleted; the epochs that had one."""
        with self._database.transaction(flushed=True) as connection:
            rows = connection.execute(
                "SELECT epoch FROM pseudonyms WHERE subject = ? ORDER BY epoch", (subject,)
            ).fetchall()
            connection.execute("DELETE FROM pseudonyms WHERE subject = ?", (subject,))
            _next_generation(connection)
        return tuple(row[0] for row in rows)

    def customer_count(self, epoch: int) -> int:
        """How many customers have a token."""
        query = "SELECT count(*) FROM pseudonyms WHERE epoch = ? AND expires = 0"
        with wrapped():
            return int(self._database.connection().execute(query, (epoch,)).fetchone()[0])

    def leave(self) -> None:
        """Overwrite every share, seed and token: this node is no key holder any more."""
        with self._database.transaction(flushed=True) as connection:
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
            with self._database.transaction() as connection:
                left = connection.execute(part, (epoch, _ROWS)).rowcount > 0

    # --- withdrawals (protocol 7.8) -----------------------------------------------------------

    def withdraw(self, subject: bytes, purposes: Iterable[Purpose]) -> None:
        """This person's consent ends; it counts from the next call on."""
        now = self._now()
        with self._database.transaction(flushed=True) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?)",
                [(subject, purpose.value, now) for purpose in purposes],
            )
            _next_generation(connection)

    def restore(self, subject: bytes, purposes: Iterable[Purpose]) -> None:
        """This person has consented anew."""
        with self._database.transaction(flushed=True) as connection:
            connection.executemany(
                "DELETE FROM withdrawals WHERE subject = ? AND purpose = ?",
                [(subject, purpose.value) for purpose in purposes],
            )
            _next_generation(connection)

    def withdrawn(self, subjects: Sequence[bytes]) -> frozenset[tuple[bytes, Purpose]]:
        """What these persons have withdrawn, by their keyed hash."""
        found: set[tuple[bytes, Purpose]] = set()
        with wrapped():
            connection = self._database.connection()
            for start in range(0, len(subjects), PARAMETERS):
                part = subjects[start : start + PARAMETERS]
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
        with wrapped():
            rows = self._database.connection().execute(query, (purpose.value,))
            return frozenset(subject for (subject,) in rows)

    def withdrawn_tokens(self, epoch: int) -> dict[Purpose, frozenset[bytes]]:
        """Tokens of customers who have withdrawn, by purpose."""
        query = (
            "SELECT w.purpose, p.token FROM withdrawals AS w JOIN pseudonyms AS p "
            "ON p.epoch = ? AND p.subject = w.subject"
        )
        found: dict[Purpose, set[bytes]] = {purpose: set() for purpose in Purpose}
        with wrapped():
            for purpose, token in self._database.connection().execute(query, (epoch,)):
                found[Purpose(purpose)].add(token)
        return {purpose: frozenset(tokens) for purpose, tokens in found.items()}

    # --- the desk's own record ----------------------------------------------------------------

    def answered(self, key: str) -> tuple[str, bytes] | None:
        """Digest of the question that came under this id, and the bytes that answered it."""
        query = "SELECT question, answer FROM asked WHERE key = ? AND at > ?"
        with wrapped():
            found = self._database.connection().execute(query, (key, self._now() - ANSWERS_S))
            row = found.fetchone()
        return None if row is None else (row[0], row[1])

    def keep_answer(self, key: str, question: str, answer: bytes) -> None:
        """Keep an answer, so that the same id brings the same bytes for 24 hours."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?)",
                (key, question, answer, self._now()),
            )

    def log_access(self, entries: Sequence[Access]) -> None:
        """Write down own inquiries."""
        now = self._now()
        with self._database.transaction() as connection:
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
        with wrapped():
            rows = self._database.connection().execute(query, (since,)).fetchall()
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
        with wrapped():
            (day,) = self._database.connection().execute(query, {"day": DAY}).fetchone()
        return None if day is None else int(day)

    def evaluated(self, day: int) -> tuple[int, int] | None:
        """The newest epoch of a day, and the points that were evaluated on it."""
        query = "SELECT max(epoch), sum(points) FROM evaluated WHERE day = ?"
        with wrapped():
            epoch, points = self._database.connection().execute(query, (day,)).fetchone()
        return None if epoch is None else (int(epoch), int(points))

    def receipts(self, day: int) -> tuple[bytes, ...]:
        """Hashes of the consents under which others were asked on a day, sorted, each once."""
        query = (
            "SELECT DISTINCT consent FROM access_log "
            "WHERE at >= ? AND at < ? AND result = 'joint' ORDER BY consent"
        )
        with wrapped():
            rows = self._database.connection().execute(query, (day * DAY, (day + 1) * DAY))
            return tuple(bytes(consent) for (consent,) in rows)

    def withdrawn_on(self, day: int) -> tuple[tuple[bytes, str], ...]:
        """Keyed hash and purpose of what was withdrawn on a day."""
        query = "SELECT subject, purpose FROM withdrawals WHERE at >= ? AND at < ?"
        with wrapped():
            rows = self._database.connection().execute(query, (day * DAY, (day + 1) * DAY))
            return tuple((bytes(subject), purpose) for subject, purpose in rows)

    def note_fault(self, epoch: int, holder: PartnerId, request: RequestId) -> None:
        """A key holder's proof does not hold; once a day is enough."""
        with self._database.transaction(flushed=True) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO faults VALUES (?, ?, ?, ?)",
                (self._now() // DAY, epoch, holder, request),
            )

    def faults(self) -> tuple[tuple[int, PartnerId, RequestId], ...]:
        """All that were noted, the oldest first: epoch, holder, request."""
        query = "SELECT epoch, holder, request FROM faults ORDER BY day, epoch, holder"
        with wrapped():
            rows = self._database.connection().execute(query)
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
            with self._database.transaction() as connection:
                connection.execute(f"DELETE FROM {table} WHERE {condition}", (limit,))  # noqa: S608
        with wrapped():
            self._database.connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _next_generation(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO generations VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1",
        (WITHDRAWALS,),
    )


def _table(data: bytearray) -> Bytes16:
    return np.frombuffer(bytes(data), dtype=np.uint8).reshape(-1, KEY_BYTES)
