"""What a closure inquiry left at the asker: one bit and one arm a person.

In the desk's database, under the keyed hash, no longer than the consents that allowed it: the
bit for 90 days, the arm until the outcome of its twelve months is known. An arm stays what it
was at the first inquiry of its study. The sums themselves are in no table (protocol 7.17).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import sqlalchemy as sa

from consortium.credit.closures import WINDOW_DAYS
from partner_node.credit.storage import META, Connection

STUDY_DAYS = 460
"""Twelve months of outcome, and time to make a table of them."""

ELSEWHERE = sa.Table(
    "closed_elsewhere",
    META,
    sa.Column("subject", sa.LargeBinary, primary_key=True),
    sa.Column("closed", sa.Boolean, nullable=True),
    sa.Column("on", sa.String(10), nullable=False),
    sa.Column("arm", sa.Integer, nullable=True),
    sa.Column("arm_on", sa.String(10), nullable=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBit:
    """One person's answer. Private."""

    subject: bytes = field(repr=False)
    closed: bool | None = field(repr=False)
    """None: the bit has had its time, the arm has not."""
    on: date
    """Day of the inquiry that the bit is of."""
    arm: int | None = field(default=None, repr=False)
    """1: an active line elsewhere was withdrawn. 0: none was closed, and one is active."""
    arm_on: date | None = None
    """Day of the inquiry that the arm is of."""


def keep_bits(connection: Connection, found: Sequence[KeptBit]) -> None:
    """Keep answers in place of earlier ones; an arm that a study goes on with stays."""
    for one in found:
        earlier = bit_of(connection, one.subject)
        connection.execute(ELSEWHERE.delete().where(ELSEWHERE.c.subject == one.subject))
        kept = one
        if earlier is not None and earlier.arm_on is not None:
            running = (one.on - earlier.arm_on).days < STUDY_DAYS
            kept = earlier if running else one
        connection.execute(
            ELSEWHERE.insert().values(
                subject=one.subject,
                closed=one.closed,
                on=one.on.isoformat(),
                arm=kept.arm,
                arm_on=None if kept.arm_on is None else kept.arm_on.isoformat(),
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
    return _blank_arms(connection, ELSEWHERE.c.subject == subject)


def drop_old_bits(connection: Connection, today: date) -> int:
    """Drop bits of more than 90 days ago, and arms whose study is over; rows that went."""
    studied = (today - timedelta(days=STUDY_DAYS)).isoformat()
    _blank_arms(connection, ELSEWHERE.c.arm_on < studied)
    said = (today - timedelta(days=WINDOW_DAYS)).isoformat()
    connection.execute(ELSEWHERE.update().where(ELSEWHERE.c.on < said).values(closed=None))
    nothing = sa.and_(ELSEWHERE.c.closed.is_(None), ELSEWHERE.c.arm.is_(None))
    return int(connection.execute(ELSEWHERE.delete().where(nothing)).rowcount)


_HAS_ARM = ELSEWHERE.c.arm.is_not(None)


def _blank_arms(connection: Connection, which: "sa.ColumnElement[bool]") -> int:
    blank = ELSEWHERE.update().where(which, _HAS_ARM).values(arm=None, arm_on=None)
    return int(connection.execute(blank).rowcount)


def _read(
    rows: "Iterable[sa.Row[tuple[bytes, bool | None, str, int | None, str | None]]]",
) -> list[KeptBit]:
    return [
        KeptBit(
            subject=row.subject,
            closed=row.closed,
            on=date.fromisoformat(row.on),
            arm=row.arm,
            arm_on=None if row.arm_on is None else date.fromisoformat(row.arm_on),
        )
        for row in rows
    ]
