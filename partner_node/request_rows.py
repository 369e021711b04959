"""The rows of one request that others send: its id, quotas, who was asked about (7.5, 7.9).

Nothing here decides: quotas and the retry rule are in ``quotas`` and ``consortium.scoring``;
rows are read, the question is put, the answer is written, all in one transaction.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Purpose
from partner_node.scoring_database import DAY, PARAMETERS

WITHDRAWALS = "withdrawals"
"""The generation that rises with them."""


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
        for start in range(0, len(subjects), PARAMETERS):
            part = subjects[start : start + PARAMETERS]
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
        row = self._connection.execute(query, (WITHDRAWALS,)).fetchone()
        return 0 if row is None else int(row[0])


def _after(history: Mapping[bytes, Sequence[Seen]], subject: bytes, seen: Seen) -> int:
    """When it counts as asked: after all that is known of this person."""
    known = history.get(subject)
    return max(seen.at_ms, known[-1].at_ms + 1) if known else seen.at_ms
