"""What a closure inquiry left at the asker: one bit and one arm a person.

In the desk's database, under the keyed hash, for 90 days and no longer than the consents that
allowed it. The sums themselves are in no table (protocol 7.17).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import sqlalchemy as sa

from partner_node.credit.storage import META, Connection

ELSEWHERE = sa.Table(
    "closed_elsewhere",
    META,
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("closed", sa.Boolean, nullable=False),
    sa.Column("arm", sa.Integer, nullable=True),
    sa.Column("on", sa.String(10), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBit:
    """One person's answer. Private."""

    subject: bytes = field(repr=False)
    closed: bool = field(repr=False)
    arm: int | None = field(repr=False)
    """1: an active line elsewhere was withdrawn. 0: none was closed, and one is active."""
    on: date
    """Day of the inquiry."""


def keep_bits(connection: Connection, found: Sequence[KeptBit]) -> None:
    """Keep answers in place of earlier ones."""
    for one in found:
        connection.execute(ELSEWHERE.delete().where(ELSEWHERE.c.subject == one.subject))
        connection.execute(
            ELSEWHERE.insert().values(
                subject=one.subject, closed=one.closed, arm=one.arm, on=one.on.isoformat()
            )
        )


def bit_of(connection: Connection, subject: bytes) -> KeptBit | None:
    """What is kept of one person."""
    query = sa.select(ELSEWHERE).where(ELSEWHERE.c.subject == subject)
    return next(iter(_read(connection.execute(query))), None)


def arms(connection: Connection) -> tuple[KeptBit, ...]:
    """Everybody with an arm: of whom a table of elasticities is made."""
    return tuple(_read(connection.execute(sa.select(ELSEWHERE).where(_HAS_ARM))))


def drop_bit(connection: Connection, subject: bytes) -> int:
    """The consent to CLOSURE_SIGNAL has ended, or the person is to be deleted."""
    gone = connection.execute(ELSEWHERE.delete().where(ELSEWHERE.c.subject == subject))
    return int(gone.rowcount)


def blank_arm(connection: Connection, subject: bytes) -> int:
    """The consent to IMPACT_STUDY has ended: the bit stays, the arm goes."""
    touched = sa.and_(ELSEWHERE.c.subject == subject, _HAS_ARM)
    return int(connection.execute(ELSEWHERE.update().where(touched).values(arm=None)).rowcount)


def drop_old_bits(connection: Connection, before: date) -> int:
    """Drop answers of earlier days: what they say of 90 days is over."""
    old = ELSEWHERE.c.on < before.isoformat()
    return int(connection.execute(ELSEWHERE.delete().where(old)).rowcount)


_HAS_ARM = ELSEWHERE.c.arm.is_not(None)


def _read(rows: Iterable[sa.Row[tuple[bytes, bool, int | None, str]]]) -> list[KeptBit]:
    return [
        KeptBit(
            subject=row.subject, closed=row.closed, arm=row.arm, on=date.fromisoformat(row.on)
        )
        for row in rows
    ]
