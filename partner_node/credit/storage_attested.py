"""Attestations that this partner issued, and lists of what was taken back (``credit.db``).

Of an attestation its id and days, and whose it is as a keyed hash; never the token, the bands
or the document itself. Who is deleted leaves an id under nobody, for as long as the paper could
still be shown: without it the list of revocations would lose it. Lists, own and those that were
taken from other partners, are public: digests and a signature.
"""

from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from consortium.ids import Digest, PartnerId
from partner_node.credit.storage import META, Connection

KEEP_DAYS = 455
"""A list is kept for a year after the last attestation that it could name has expired."""

ATTESTED = sa.Table(
    "attestations",
    META,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("subject", sa.LargeBinary, nullable=False, index=True),
    sa.Column("consent", sa.String(64), nullable=False),
    sa.Column("issued_on", sa.String(10), nullable=False),
    sa.Column("expires_on", sa.String(10), nullable=False),
    sa.Column("revoked_on", sa.String(10), nullable=True),
)


LISTS = sa.Table(
    "attestation_lists",
    META,
    sa.Column("issuer", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("listed_on", sa.String(10), nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptList:
    """A signed list of attestations that were taken back, own or another partner's. Public."""

    issuer: PartnerId
    number: int
    digest: Digest
    """As the log holds it."""
    listed_on: date
    document: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One attestation as its issuer remembers it. Private."""

    id: Digest
    subject: bytes = field(repr=False)
    consent: str = field(repr=False)
    """Keyed hash of the partner's own reference of the consent; empty after a deletion."""
    issued_on: date
    expires_on: date
    revoked_on: date | None = None


def keep(connection: Connection, issued: Issued) -> None:
    """Keep that it was issued; the same again is the same row."""
    row = {
        "id": issued.id,
        "subject": issued.subject,
        "consent": issued.consent,
        "issued_on": issued.issued_on.isoformat(),
        "expires_on": issued.expires_on.isoformat(),
        "revoked_on": None,
    }
    connection.execute(ATTESTED.insert().prefix_with("OR IGNORE"), row)


def issued_by(connection: Connection, name: str) -> Issued | None:
    """The attestation of that id."""
    row = connection.execute(sa.select(ATTESTED).where(ATTESTED.c.id == name)).first()
    if row is None:
        return None
    ended = row.revoked_on
    return Issued(
        id=row.id,
        subject=row.subject,
        consent=row.consent,
        issued_on=date.fromisoformat(row.issued_on),
        expires_on=date.fromisoformat(row.expires_on),
        revoked_on=None if ended is None else date.fromisoformat(ended),
    )


def revoke(connection: Connection, name: str, on: date) -> None:
    """Take one back; the first day stays."""
    _revoke(connection, ATTESTED.c.id == name, on)


def revoke_of(connection: Connection, subject: bytes, on: date) -> dict[str, int]:
    """Take back all of a person, for the consent has ended; rows by table."""
    return {ATTESTED.name: _revoke(connection, ATTESTED.c.subject == subject, on)}


def forget(connection: Connection, subject: bytes, on: date) -> dict[str, int]:
    """Take back all of a person who is deleted, and leave the ids under nobody."""
    revoke_of(connection, subject, on)
    whose = ATTESTED.update().where(ATTESTED.c.subject == subject)
    gone = connection.execute(whose.values(subject=b"", consent=""))
    return {ATTESTED.name: int(gone.rowcount)}


def revoked(connection: Connection, today: date) -> list[Digest]:
    """Ids of all that were taken back and would not have expired by themselves."""
    query = sa.select(ATTESTED.c.id).where(
        ATTESTED.c.revoked_on.is_not(None), ATTESTED.c.expires_on >= today.isoformat()
    )
    return [Digest(one) for one in connection.scalars(query.order_by(ATTESTED.c.id))]


def any_issued(connection: Connection) -> bool:
    """Whether there is any attestation here that this partner issued."""
    return connection.execute(sa.select(ATTESTED.c.id).limit(1)).first() is not None


def keep_list(connection: Connection, made: KeptList) -> None:
    """Keep a list; the same again is the same row."""
    row = {
        "issuer": made.issuer,
        "number": made.number,
        "digest": made.digest,
        "listed_on": made.listed_on.isoformat(),
        "document": made.document,
    }
    connection.execute(LISTS.insert().prefix_with("OR IGNORE"), row)


def newest_list(connection: Connection, issuer: PartnerId) -> KeptList | None:
    """The list of the highest number of one issuer."""
    found = lists_above(connection, issuer, -1)
    return found[-1] if found else None


def lists_above(connection: Connection, issuer: PartnerId, number: int) -> list[KeptList]:
    """Lists of an issuer with a higher number than this, the oldest first."""
    query = sa.select(LISTS).where(LISTS.c.issuer == issuer, LISTS.c.number > number)
    return [
        KeptList(
            issuer=PartnerId(row.issuer),
            number=row.number,
            digest=Digest(row.digest),
            listed_on=date.fromisoformat(row.listed_on),
            document=bytes(row.document),
        )
        for row in connection.execute(query.order_by(LISTS.c.number))
    ]


def drop_lists(connection: Connection, before: date) -> dict[str, int]:
    """Drop lists of before a day, but of each issuer the newest; rows by table."""
    newest = (
        sa.select(LISTS.c.issuer, sa.func.max(LISTS.c.number).label("number"))
        .group_by(LISTS.c.issuer)
        .subquery()
    )
    last = sa.exists().where(
        newest.c.issuer == LISTS.c.issuer, newest.c.number == LISTS.c.number
    )
    old = sa.and_(LISTS.c.listed_on < before.isoformat(), ~last)
    gone = connection.execute(LISTS.delete().where(old))
    return {LISTS.name: int(gone.rowcount)}


def drop_expired(connection: Connection, today: date) -> dict[str, int]:
    """Drop those that nobody takes any more; rows by table."""
    over = ATTESTED.c.expires_on < today.isoformat()
    gone = connection.execute(ATTESTED.delete().where(over))
    return {ATTESTED.name: int(gone.rowcount)}


def _revoke(connection: Connection, which: "sa.ColumnElement[bool]", on: date) -> int:
    open_ = sa.and_(which, ATTESTED.c.revoked_on.is_(None))
    gone = connection.execute(ATTESTED.update().where(open_).values(revoked_on=on.isoformat()))
    return int(gone.rowcount)
