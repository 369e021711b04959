"""Attestations that this partner issued, in the desk's database (``credit.db``).

Their ids and days, and whose they are as a keyed hash; never the token, the bands or the
document itself. Who is deleted leaves an id under nobody, for as long as the paper could
still be shown: without it the list of revocations would lose it.
"""

from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from consortium.ids import Digest
from partner_node.credit.storage import META, Connection

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


def drop_expired(connection: Connection, today: date) -> dict[str, int]:
    """Drop those that nobody takes any more; rows by table."""
    over = ATTESTED.c.expires_on < today.isoformat()
    gone = connection.execute(ATTESTED.delete().where(over))
    return {ATTESTED.name: int(gone.rowcount)}


def _revoke(connection: Connection, which: "sa.ColumnElement[bool]", on: date) -> int:
    open_ = sa.and_(which, ATTESTED.c.revoked_on.is_(None))
    gone = connection.execute(ATTESTED.update().where(open_).values(revoked_on=on.isoformat()))
    return int(gone.rowcount)
