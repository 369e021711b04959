"""What a node's database holds of the transparency log: mirror, heads, incidents (8.5, 8.8).

Every public method is one transaction. The entries that this node has signed itself are in
``partner_node.storage``, beside the events that they are of.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from consortium.errors import RefusalCode, RefusalError
from consortium.ids import PartnerId, RunId
from consortium.ledger.entries import from_jcs
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.run_bodies import PlanProposed
from consortium.ledger.witness import Head
from consortium.plan import TrainingPlan
from partner_node.database import (
    INCIDENTS,
    MIRROR,
    OWN_LOG,
    REVOKED,
    SEEN_HEADS,
    WITNESSED,
    Database,
)
from partner_node.records import Incident, Mirrored, OwnEntry

OF_A_RUN = ("plan.proposed", "run.commit", "round.sum", "round.abort")
"""Entries that a round rests on."""
BROUGHT = (
    "incident",
    "identity.revoked",
    "plan.refused",
    "audit.answer",
    "oprf.usage",
    "oprf.fault",
    "consent.batch",
    "decision.batch",
    "decision.answer",
    "charter.agreed",
    "attestation.listed",
)
"""Entries of this node that go with no answer: the witness brings them."""

# Statements of every round, made once.
_LARGEST = sa.select(sa.func.max(MIRROR.c.number))
_LEAVES = (
    sa.select(MIRROR.c.leaf)
    .where(MIRROR.c.number >= sa.bindparam("since"))
    .order_by(MIRROR.c.number)
)
_NEW_MIRROR = MIRROR.insert()
_WITNESSED = sa.select(WITNESSED).order_by(WITNESSED.c.size.desc()).limit(1)
_NEW_WITNESSED = WITNESSED.insert()
_OLD_WITNESSED = WITNESSED.delete().where(WITNESSED.c.size == sa.bindparam("known"))
_ROWS = sa.select(MIRROR.c.number, MIRROR.c.type, MIRROR.c.data)
_OF_RUN = _ROWS.where(
    MIRROR.c.number >= sa.bindparam("since"),
    MIRROR.c.type.in_(OF_A_RUN),
    sa.func.instr(MIRROR.c.data, sa.bindparam("run", type_=sa.LargeBinary)) > 0,
).order_by(MIRROR.c.number)
_OWN = _ROWS.where(
    MIRROR.c.number >= sa.bindparam("since"),
    MIRROR.c.own,
    MIRROR.c.type == sa.bindparam("type"),
).order_by(MIRROR.c.number)
_KEEP_SEEN = SEEN_HEADS.insert().prefix_with("OR REPLACE")
_KEEP_REVOKED = REVOKED.insert().prefix_with("OR IGNORE")
_OPEN_INCIDENT = (
    sa.select(INCIDENTS)
    .where(INCIDENTS.c.settled_at.is_(None))
    .order_by(INCIDENTS.c.number)
    .limit(1)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """An identity that the log has revoked, and the entry that did it (protocol 2.7)."""

    identity: str
    """The key, in hex."""
    member: PartnerId
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntries:
    """Entries that are to be added to the mirror, from index ``first`` on."""

    first: int
    data: Sequence[bytes] = ()
    leaves: Sequence[bytes] = ()
    types: Sequence[str] = ()
    own: Sequence[bool] = ()
    revoked: Sequence[Revoked] = ()
    """Identities that they revoke."""


class LogStore:
    """The log's tables of one database; safe to use from any thread. Raises StorageError."""

    def __init__(self, database: Database, *, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now

    @property
    def undone(self) -> int:
        """Changes when what was taken for written was undone: see ``Database.together``."""
        return self._database.undone

    # --- mirror -------------------------------------------------------------------------------

    def size(self) -> int:
        """Entries of the mirror."""
        with self._database.transaction() as connection:
            return _size(connection)

    def leaves(self, since: int) -> Sequence[bytes]:
        """Leaf hashes from an index on."""
        with self._database.transaction() as connection:
            return list(connection.scalars(_LEAVES, {"since": since}))

    def add(self, entries: NewEntries, head: Head, *, flushed: bool) -> Head | None:
        """Add to the mirror, and keep the head that is about to be cosigned.

        Returns the largest head that is cosigned then, which may be another one. None, and
        nothing is changed, if the mirror does not end where the entries begin: the node's
        other process was faster. Without ``flushed`` the next transaction that is takes
        it along: let no cosignature leave before that.

        Raises:
            RefusalError: an incident is open (R08).
        """
        with self._database.transaction(flushed=flushed) as connection:
            _check_settled(connection)
            if _size(connection) != entries.first:
                return None
            columns = zip(entries.data, entries.leaves, entries.types, entries.own, strict=True)
            rows = [
                {"number": number, "data": data, "leaf": leaf, "type": kind, "own": own}
                for number, (data, leaf, kind, own) in enumerate(columns, start=entries.first)
            ]
            if rows:
                connection.execute(_NEW_MIRROR, rows)
            for one in entries.revoked:
                row = {"identity": one.identity, "member": one.member, "number": one.number}
                connection.execute(_KEEP_REVOKED, row | {"at": self._now()})
            before = _witnessed(connection)
            if head.size <= before.size:
                if flushed:
                    # It may be there unflushed, by the other process, and a transaction that
                    # changes nothing flushes nothing. SQLite leaves equal values alone.
                    connection.execute(_OLD_WITNESSED, {"known": before.size})
                    row = {"size": before.size, "root": before.root, "at": self._now()}
                    connection.execute(_NEW_WITNESSED, row)
                return before
            row = {"size": head.size, "root": head.root, "at": self._now()}
            connection.execute(_NEW_WITNESSED, row)
        return head

    def revoked(self) -> tuple[Revoked, ...]:
        """Every identity that was revoked since this node is there; none is ever dropped."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(REVOKED).order_by(REVOKED.c.number))
            return tuple(
                Revoked(identity=row.identity, member=PartnerId(row.member), number=row.number)
                for row in rows
            )

    def witnessed(self) -> Head:
        """The largest head of the log that this node cosigned (protocol 8.5)."""
        with self._database.transaction() as connection:
            return _witnessed(connection)

    def portion(self, since: int, count: int) -> tuple[Mirrored, ...]:
        """Entries from an index on, at most ``count``."""
        query = _ROWS.where(MIRROR.c.number >= since).order_by(MIRROR.c.number).limit(count)
        with self._database.transaction() as connection:
            return _mirrored(connection.execute(query))

    def of_run(self, run: RunId, since: int) -> tuple[Mirrored, ...]:
        """What a run's rounds rest on, from an index on; others may name the run, too."""
        key = {"run": run.encode(), "since": since}
        with self._database.transaction() as connection:
            return _mirrored(connection.execute(_OF_RUN, key))

    def own(self, kind: str, since: int = 0) -> tuple[Mirrored, ...]:
        """Entries of a type in this node's own name."""
        with self._database.transaction() as connection:
            return _mirrored(connection.execute(_OWN, {"type": kind, "since": since}))

    def of_types(self, *kinds: str) -> tuple[Mirrored, ...]:
        """All entries of some types."""
        query = _ROWS.where(MIRROR.c.type.in_(kinds)).order_by(MIRROR.c.number)
        with self._database.transaction() as connection:
            return _mirrored(connection.execute(query))

    def to_bring(self, most: int) -> tuple[bytes, ...]:
        """Own entries that go with no answer and are not in the mirror, the oldest first."""
        signed = sa.select(OWN_LOG.c.data).where(OWN_LOG.c.type.in_(BROUGHT))
        mirrored = sa.select(MIRROR.c.leaf).where(MIRROR.c.own, MIRROR.c.type.in_(BROUGHT))
        with self._database.transaction() as connection:
            rows = connection.scalars(signed.order_by(OWN_LOG.c.number))
            found = [bytes(one) for one in rows]
            known = {bytes(one) for one in connection.scalars(mirrored)} if found else set()
        return tuple(one for one in found if leaf_hash(one) not in known)[:most]

    def said(self, kind: str) -> tuple[bytes, ...]:
        """Own entries of a type, in the log or on their way there, the oldest first."""
        query = sa.select(OWN_LOG.c.data).where(OWN_LOG.c.type == kind)
        with self._database.transaction() as connection:
            rows = connection.scalars(query.order_by(OWN_LOG.c.number))
            return tuple(bytes(one) for one in rows)

    def say(self, entries: Sequence[OwnEntry]) -> None:
        """Keep own entries for the witness to bring, all or none."""
        rows = [
            {"type": one.type, "run": one.run, "data": one.data, "at": self._now()}
            for one in entries
        ]
        if rows:
            with self._database.transaction() as connection:
                connection.execute(OWN_LOG.insert(), rows)

    # --- heads that count ---------------------------------------------------------------------

    def keep_seen(self, size: int, note: bytes, at: int, *, flushed: bool = True) -> None:
        """Keep a head that a quorum cosigned at ``at``; a later word on it replaces it.

        Raises:
            RefusalError: an incident is open (R08).
        """
        with self._database.transaction(flushed=flushed) as connection:
            _check_settled(connection)
            connection.execute(_KEEP_SEEN, {"size": size, "note": note, "at": at})

    def seen(self) -> tuple[int, bytes, int]:
        """Size, note and time of the largest head that a quorum cosigned; zeros if none."""
        query = sa.select(SEEN_HEADS).order_by(SEEN_HEADS.c.size.desc()).limit(1)
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
        return (0, b"", 0) if row is None else (row.size, bytes(row.note), row.at)

    # --- incidents ----------------------------------------------------------------------------

    def check_settled(self) -> None:
        """Raise RefusalError (R08) while an incident is open."""
        with self._database.transaction() as connection:
            _check_settled(connection)

    def incident(self) -> Incident | None:
        """The oldest one that no operator has settled."""
        with self._database.transaction() as connection:
            row = connection.execute(_OPEN_INCIDENT).first()
        return None if row is None else _incident(row)

    def incidents(self) -> tuple[Incident, ...]:
        """All, the oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(INCIDENTS).order_by(INCIDENTS.c.number))
            return tuple(_incident(row) for row in rows)

    def add_incident(
        self, kind: str, text: str, heads: tuple[bytes, bytes], entry: OwnEntry
    ) -> None:
        """Keep both heads and what is said of it; one that is open already is enough."""
        with self._database.transaction() as connection:
            if connection.execute(_OPEN_INCIDENT).first() is not None:
                return
            held, shown = heads
            row = {"kind": kind, "text": text, "held": held, "shown": shown, "at": self._now()}
            connection.execute(INCIDENTS.insert(), row)
            own = {"type": entry.type, "run": entry.run, "data": entry.data}
            connection.execute(OWN_LOG.insert(), own | {"at": self._now()})

    def settle(self, number: int) -> bool:
        """An operator takes an incident for settled; False if there is none of that number."""
        same = INCIDENTS.c.number == number, INCIDENTS.c.settled_at.is_(None)
        with self._database.transaction() as connection:
            done = connection.execute(
                INCIDENTS.update().where(*same).values(settled_at=self._now())
            )
            return done.rowcount == 1

    def forget_mirror(self) -> None:
        """Drop mirror and heads: what the log shows next is taken as it is."""
        with self._database.transaction() as connection:
            for table in (MIRROR, SEEN_HEADS, WITNESSED):
                connection.execute(table.delete())


def lost_plans(connection: sa.Connection, runs: Collection[str]) -> list[TrainingPlan]:
    """The plans of some runs, as they were proposed in the log."""
    if not runs:
        return []
    query = sa.select(MIRROR.c.data).where(MIRROR.c.type == "plan.proposed")
    bodies = [from_jcs(bytes(data)).body for data in connection.scalars(query)]
    return [
        one.plan for one in bodies if isinstance(one, PlanProposed) and one.plan.run in runs
    ]


def _check_settled(connection: sa.Connection) -> None:
    row = connection.execute(_OPEN_INCIDENT).first()
    if row is not None:
        raise RefusalError(
            RefusalCode.CHECKPOINT,
            f"{row.kind}: {row.text}; see riskweave node status, and settle incident "
            f"{row.number} when the members agree on what is true",
        )


def _size(connection: sa.Connection) -> int:
    largest = connection.scalar(_LARGEST)
    return 0 if largest is None else int(largest) + 1


def _witnessed(connection: sa.Connection) -> Head:
    row = connection.execute(_WITNESSED).first()
    return Head() if row is None else Head(size=row.size, root=bytes(row.root))


def _mirrored(rows: sa.CursorResult[tuple[int, str, bytes]]) -> tuple[Mirrored, ...]:
    return tuple(
        Mirrored(number=row.number, type=row.type, data=bytes(row.data)) for row in rows
    )


def _incident(row: sa.Row[tuple[object, ...]]) -> Incident:
    return Incident(
        number=row.number,
        kind=row.kind,
        text=row.text,
        held=bytes(row.held),
        shown=bytes(row.shown),
        at=row.at,
        settled_at=row.settled_at,
    )
