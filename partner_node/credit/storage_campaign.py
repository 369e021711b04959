"""Members of restart campaigns in the desk's database: what was drawn, offered and became.

A row stands under the partner's own reference and the person's keyed hash; the token that the
draw was made with is not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from consortium.credit.restart import Tier
from consortium.credit.waves import Fate
from partner_node.credit.storage import META, Connection

MEMBERS = sa.Table(
    "campaign_members",
    META,
    sa.Column("campaign", sa.String(32), primary_key=True),
    sa.Column("line", sa.String(64), primary_key=True),
    sa.Column("subject", sa.LargeBinary, nullable=False, index=True),
    sa.Column("tier", sa.String(1), nullable=False),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("fate", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("campaign", "subject"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One borrower of a campaign. Private."""

    campaign: str
    line: str
    subject: bytes = field(repr=False)
    tier: Tier
    wave: int
    held: bool
    turn: int
    """Of the campaign when it was offered, or from when it is watched; 0: not yet."""
    fate: Fate | None
    at: int


_COLUMNS = tuple(MEMBERS.c[name] for name in Member.__dataclass_fields__)


def keep_member(connection: Connection, member: Member) -> bool:
    """Keep a new member; whether it is one: a line or a person is in a campaign once."""
    made = connection.execute(MEMBERS.insert().prefix_with("OR IGNORE"), _row(member))
    return made.rowcount == 1


def change_member(connection: Connection, member: Member) -> None:
    """Keep what has become of a member."""
    same = sa.and_(MEMBERS.c.campaign == member.campaign, MEMBERS.c.line == member.line)
    values = {"turn": member.turn, "fate": member.fate or "", "at": member.at}
    connection.execute(MEMBERS.update().where(same).values(**values))


def members(connection: Connection, campaign: str, wave: int | None = None) -> list[Member]:
    """Members of a campaign, or of one wave, by line."""
    query = sa.select(*_COLUMNS).where(MEMBERS.c.campaign == campaign)
    if wave is not None:
        query = query.where(MEMBERS.c.wave == wave)
    return [_member(row) for row in connection.execute(query.order_by(MEMBERS.c.line))]


def member_of(connection: Connection, campaign: str, line: str) -> Member | None:
    """One member."""
    query = sa.select(*_COLUMNS).where(MEMBERS.c.campaign == campaign, MEMBERS.c.line == line)
    row = connection.execute(query).first()
    return None if row is None else _member(row)


def drop_members(
    connection: Connection, subject: bytes, *, among: Sequence[Fate] | None = None
) -> dict[str, int]:
    """Drop a person from campaigns: from all, or where nothing beyond ``among`` has become."""
    which = MEMBERS.c.subject == subject
    if among is not None:
        which = sa.and_(which, MEMBERS.c.fate.in_(["", *among]))
    gone = connection.execute(MEMBERS.delete().where(which))
    return {MEMBERS.name: int(gone.rowcount)}


def _row(member: Member) -> dict[str, object]:
    row = {name: getattr(member, name) for name in Member.__dataclass_fields__}
    return row | {"tier": member.tier.value, "fate": member.fate or ""}


def _member(row: sa.Row[tuple[object, ...]]) -> Member:
    plain = dict(row._mapping)  # noqa: SLF001 - a row's own way
    fate = Fate(plain["fate"]) if plain["fate"] else None
    return Member(**plain | {"tier": Tier(plain["tier"]), "fate": fate})
