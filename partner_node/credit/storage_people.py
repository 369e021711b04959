"""Tables of people's rights: consents that ended, deletions, and what is dropped with them.

A withdrawal outlives whatever it ended, for it is what keeps the next call from being made.
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from consortium.credit.terms import ConsentPurpose
from partner_node.credit.storage import (
    DECISIONS,
    GRANTS,
    KEYS,
    META,
    OVERRIDES,
    Connection,
    execute,
    marks_of,
)
from partner_node.credit.storage_sealed import mark_erased

WITHDRAWN = sa.Table(
    "withdrawn_consents",
    META,
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("purpose", sa.String(24), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
DELETIONS = sa.Table(
    "deletions",
    META,
    sa.Column("request", sa.String(64), primary_key=True),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)


# --- consent ----------------------------------------------------------------------------------


def keep_withdrawal(
    connection: Connection, subject: bytes, purposes: Iterable[ConsentPurpose], at: int
) -> None:
    """A person's consents end; those that had ended keep their day."""
    rows = [{"subject": subject, "purpose": one.value, "at": at} for one in purposes]
    connection.execute(WITHDRAWN.insert().prefix_with("OR IGNORE"), rows)


def lift_withdrawal(
    connection: Connection, subject: bytes, purposes: Iterable[ConsentPurpose]
) -> None:
    """A person has consented anew."""
    names = [one.value for one in purposes]
    connection.execute(
        WITHDRAWN.delete().where(WITHDRAWN.c.subject == subject, WITHDRAWN.c.purpose.in_(names))
    )


def withdrawn_by(connection: Connection, subject: bytes) -> dict[ConsentPurpose, int]:
    """What a person has withdrawn, and when."""
    query = sa.select(WITHDRAWN.c.purpose, WITHDRAWN.c.at).where(WITHDRAWN.c.subject == subject)
    return {ConsentPurpose(name): at for name, at in connection.execute(query)}


def withdrawn_of(
    connection: Connection, subjects: Sequence[bytes]
) -> dict[bytes, frozenset[ConsentPurpose]]:
    """What persons have withdrawn; without those who have not."""
    if not subjects:
        return {}
    query = (
        "SELECT subject, purpose FROM withdrawn_consents "  # noqa: S608 - marks
        f"WHERE subject IN ({marks_of(subjects)})"
    )
    found: dict[bytes, frozenset[ConsentPurpose]] = {}
    for subject, purpose in execute(connection, query, subjects):
        found[subject] = found.get(subject, frozenset()) | {ConsentPurpose(purpose)}
    return found


# --- decisions --------------------------------------------------------------------------------


def drop_decisions(
    connection: Connection, before: int, subject: bytes | None = None
) -> dict[str, int]:
    """Drop decisions made before a time, with what hangs on them; rows by table."""
    old = DECISIONS.c.at < before
    if subject is not None:
        old = sa.and_(old, DECISIONS.c.subject == subject)
    names = sa.select(DECISIONS.c.id).where(old)
    mark_erased(connection, names)
    found = {}
    for table in (OVERRIDES, KEYS, GRANTS):
        gone = connection.execute(table.delete().where(table.c.decision.in_(names)))
        found[table.name] = int(gone.rowcount)
    found[DECISIONS.name] = int(connection.execute(DECISIONS.delete().where(old)).rowcount)
    return found


def unlink_decisions(connection: Connection, subject: bytes) -> tuple[int, int]:
    """Take the person from decisions that must be kept; how many, and time of the newest.

    They can still be replayed by their id; they are nobody's any more. What an officer wrote
    beside them goes too, for words may name somebody.
    """
    whose = DECISIONS.c.subject == subject
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.max(DECISIONS.c.at)).where(whose)
    ).one()
    names = sa.select(DECISIONS.c.id).where(whose)
    connection.execute(KEYS.delete().where(KEYS.c.decision.in_(names)))
    noted = OVERRIDES.c.decision.in_(names)
    connection.execute(OVERRIDES.update().where(noted).values(note=""))
    connection.execute(DECISIONS.update().where(whose).values(subject=b""))
    return int(row[0]), int(row[1] or 0)


def rows_of(connection: Connection, subject: bytes) -> int:
    """Rows that stand under a person, in all tables that have such a column."""
    tables = [table for table in META.tables.values() if "subject" in table.c]
    return sum(
        int(
            connection.scalar(
                sa.select(sa.func.count()).select_from(table).where(table.c.subject == subject)
            )
            or 0
        )
        for table in tables
    )


# --- deletions --------------------------------------------------------------------------------


def keep_deletion(connection: Connection, request: str, document: bytes, at: int) -> None:
    """Keep a deletion record; it names no person."""
    connection.execute(DELETIONS.insert(), {"request": request, "document": document, "at": at})


def has_deletion(connection: Connection, request: str) -> bool:
    """Whether a request of that name was carried out."""
    query = sa.select(DELETIONS.c.request).where(DELETIONS.c.request == request)
    return connection.execute(query).first() is not None


def deletions(connection: Connection) -> list[bytes]:
    """Deletion records, oldest first."""
    query = sa.select(DELETIONS.c.document).order_by(DELETIONS.c.at, DELETIONS.c.request)
    return list(connection.scalars(query))


def drop_deletions(connection: Connection, before: int) -> int:
    """Drop records whose time is over."""
    return int(connection.execute(DELETIONS.delete().where(DELETIONS.c.at < before)).rowcount)


def drop_withdrawals(connection: Connection, subject: bytes) -> int:
    """A person who is deleted has nothing left to withdraw from."""
    gone = connection.execute(WITHDRAWN.delete().where(WITHDRAWN.c.subject == subject))
    return int(gone.rowcount)
