"""The log of the coordinator's database: entries, signed heads and their notes (protocol 8).

What an event of another part says in the log is appended in that part's own transaction.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import sqlalchemy as sa

from consortium.ids import PartnerId
from consortium.ledger.merkle import leaf_hash
from coordinator.database import Database, hold_log
from coordinator.member_storage import out_within
from coordinator.schema import META

_LOG = sa.Table(
    "log_entries",
    META,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False, index=True),
)
_LOG_HEADS = sa.Table(
    "log_heads",
    META,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
)
# Statements of every attempt, made once.
_NEW_LOG, _NEW_LOG_HEAD = _LOG.insert(), _LOG_HEADS.insert()
_NEWEST_HEAD = sa.select(_LOG_HEADS).order_by(_LOG_HEADS.c.size.desc()).limit(1)
_NOTE_OF = sa.select(_LOG_HEADS.c.note).where(_LOG_HEADS.c.size == sa.bindparam("of"))
_NEW_NOTE = (
    _LOG_HEADS.update()
    .where(_LOG_HEADS.c.size == sa.bindparam("of"))
    .values(note=sa.bindparam("made"))
)
_PORTION = (
    sa.select(_LOG.c.data)
    .where(_LOG.c.number >= sa.bindparam("first"), _LOG.c.number < sa.bindparam("until"))
    .order_by(_LOG.c.number)
)
_LOG_LAST = sa.select(sa.func.max(_LOG.c.number))
_LOG_LEAVES = (
    sa.select(_LOG.c.leaf)
    .where(_LOG.c.number >= sa.bindparam("since"), _LOG.c.number < sa.bindparam("until"))
    .order_by(_LOG.c.number)
)


class Sealer(Protocol):
    """Admits entries and signs the head of the log (``coordinator.audit_log``)."""

    def admit(self, entries: Sequence[bytes], out: Sequence[PartnerId]) -> None:
        """Raise RevokedError for an entry of one of ``out``, whose identities are revoked."""

    def seal(
        self, start: int, added: Sequence[bytes], leaves: Callable[[int], Sequence[bytes]]
    ) -> bytes:
        """The signed head once the leaves ``added`` stand from index ``start`` on.

        ``leaves(n)`` reads the leaf hashes from index n up to ``start``. What was sealed
        before may have been rolled back, and others may have appended since.
        """


class LogStore:
    """The log; every public method is one transaction and raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sealer: Sealer | None = None

    def seal_with(self, sealer: Sealer) -> None:
        """From now on every addition to the log ends with a signed head."""
        self._sealer = sealer

    def append(self, entries: Sequence[bytes]) -> None:
        """Append entries that no event of this database goes with, all or nothing."""
        if entries:
            with self._database.transaction() as connection:
                self.append_within(connection, entries)

    def append_new(self, entries: Sequence[bytes]) -> None:
        """Append those that the log does not have, each once, whoever else appends them now."""
        if entries:
            with self._database.transaction() as connection:
                hold_log(connection)
                self.append_within(connection, self._missing(connection, entries))

    def append_within(self, connection: sa.Connection, entries: Sequence[bytes]) -> None:
        """Append in a transaction of another part: the event and its entries are one commit."""
        if not entries:
            return
        hold_log(connection)
        if self._sealer is not None and (out := out_within(connection)):
            self._sealer.admit(entries, out)
        last = connection.scalar(_LOG_LAST)
        start = 0 if last is None else int(last) + 1
        added = [leaf_hash(data) for data in entries]
        connection.execute(
            _NEW_LOG,
            [
                {"number": number, "data": data, "leaf": leaf}
                for number, (data, leaf) in enumerate(
                    zip(entries, added, strict=True), start=start
                )
            ],
        )
        if self._sealer is not None:
            note = self._sealer.seal(
                start, added, lambda since: self._leaves(connection, since, start)
            )
            head = {"size": start + len(entries), "note": note}
            connection.execute(_NEW_LOG_HEAD, head)

    @staticmethod
    def _leaves(connection: sa.Connection, since: int, until: int) -> Sequence[bytes]:
        return list(connection.scalars(_LOG_LEAVES, {"since": since, "until": until}))

    def entries(self) -> tuple[bytes, ...]:
        """The log, oldest entry first."""
        rows = self._database.all(sa.select(_LOG.c.data).order_by(_LOG.c.number))
        return tuple(row["data"] for row in rows)

    def heads(self, *, last: int | None = None) -> tuple[tuple[int, bytes], ...]:
        """Size and note of the ``last`` signed heads, or of all, the smallest first."""
        query = _NEWEST_HEAD if last == 1 else _NEWEST_HEAD.limit(last)
        rows = self._database.all(query)[::-1]
        return tuple((row["size"], bytes(row["note"])) for row in rows)

    def portion(self, first: int, until: int) -> tuple[bytes, ...]:
        """Entries from index ``first`` up to ``until``."""
        with self._database.reading() as connection:
            return self.portion_within(connection, first, until)

    @staticmethod
    def portion_within(connection: sa.Connection, first: int, until: int) -> tuple[bytes, ...]:
        """The same in a transaction of another part of this database."""
        found = connection.scalars(_PORTION, {"first": first, "until": until})
        return tuple(bytes(data) for data in found)

    def note(self, size: int) -> bytes | None:
        """The note of the signed head of so many entries, as it stands now."""
        with self._database.reading() as connection:
            note = connection.scalar(_NOTE_OF, {"of": size})
        return None if note is None else bytes(note)

    def head(self, *, above: int, most: int) -> tuple[int, bytes] | None:
        """The largest signed head of ``above`` + 1 to ``most`` entries, or the next above."""
        size = _LOG_HEADS.c.size
        row = self._database.one(
            sa.select(_LOG_HEADS).where(size > above, size <= most).order_by(size.desc())
        ) or self._database.one(sa.select(_LOG_HEADS).where(size > above).order_by(size))
        return None if row is None else (row["size"], bytes(row["note"]))

    def leaves(self) -> Sequence[bytes]:
        """All leaf hashes."""
        with self._database.reading() as connection:
            last = connection.scalar(_LOG_LAST)
            return self._leaves(connection, 0, 0 if last is None else int(last) + 1)

    def change_head(self, size: int, change: Callable[[bytes], bytes]) -> bytes | None:
        """Replace the note of one head by what ``change`` makes of it; None: no such head.

        Whoever changes the same head meanwhile waits, and changes what this one has made: a
        cosignature that was taken is never lost to another one.
        """
        with self._database.transaction() as connection:
            note = connection.scalar(_NOTE_OF.with_for_update(), {"of": size})
            if note is None:
                return None
            made = change(bytes(note))
            connection.execute(_NEW_NOTE, {"of": size, "made": made})
            return made

    def missing(self, entries: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those of ``entries`` that the log does not have, each once."""
        with self._database.reading() as connection:
            return self._missing(connection, entries)

    @staticmethod
    def _missing(connection: sa.Connection, entries: Sequence[bytes]) -> tuple[bytes, ...]:
        found = {leaf_hash(data): data for data in entries}
        query = sa.select(_LOG.c.leaf).where(_LOG.c.leaf.in_(list(found)))
        known = {bytes(leaf) for leaf in connection.scalars(query)} if found else set()
        return tuple(data for leaf, data in found.items() if leaf not in known)
