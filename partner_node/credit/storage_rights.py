"""What stands under a person's lines and decisions in tables that know no persons.

Restarts, ladders and counselling cases stand under a line's reference, papers under a
decision. Which lines are a person's is known from what is followed up, and from whom asks.
"""

from collections.abc import Collection

import sqlalchemy as sa

from consortium.credit.terms import ConsentPurpose
from partner_node.credit.storage import DECISIONS, Connection
from partner_node.credit.storage_campaign import MEMBERS
from partner_node.credit.storage_path import (
    CHOICES,
    CONTRACTS,
    COUNSELLING,
    FOLLOW_UPS,
    HELPS,
    LADDERS,
    RESTARTS,
    SHEETS,
    SHOWINGS,
    STEPS,
)
from partner_node.credit.storage_people import withdrawn_by
from partner_node.credit.storage_watch import MONTHS


def lines_of(connection: Connection, subject: bytes) -> frozenset[str]:
    """References of the person's lines that are followed up, or in a restart campaign."""
    found: set[str] = set()
    for table in (MONTHS, MEMBERS):
        query = sa.select(table.c.line).where(table.c.subject == subject).distinct()
        found |= set(connection.scalars(query))
    return frozenset(found)


def withdrawn_of_line(connection: Connection, line: str) -> frozenset[ConsentPurpose]:
    """What the person of a line that is followed up has withdrawn here."""
    query = sa.select(MONTHS.c.subject).where(MONTHS.c.line == line).limit(1)
    subject = connection.scalar(query)
    return frozenset() if subject is None else frozenset(withdrawn_by(connection, subject))


def drop_cases(connection: Connection, lines: Collection[str]) -> dict[str, int]:
    """Drop counselling cases under these references, with their follow-ups."""
    return {
        table.name: _dropped(connection, table, table.c.case.in_(list(lines)))
        for table in (FOLLOW_UPS, COUNSELLING)
    }


def drop_restarts(connection: Connection, lines: Collection[str]) -> dict[str, int]:
    """Drop what a restart would be offered by, but for lines whose ladder has begun."""
    begun = sa.select(LADDERS.c.line)
    idle = sa.and_(RESTARTS.c.line.in_(list(lines)), RESTARTS.c.line.not_in(begun))
    return {RESTARTS.name: _dropped(connection, RESTARTS, idle)}


def drop_ladders(connection: Connection, lines: Collection[str]) -> dict[str, int]:
    """Drop ladders with their steps, and restarts."""
    return {
        table.name: _dropped(connection, table, table.c.line.in_(list(lines)))
        for table in (STEPS, LADDERS, RESTARTS)
    }


def drop_drafts(connection: Connection, subject: bytes) -> dict[str, int]:
    """Drop what would help, and sheets without a contract, of a person's decisions."""
    names = sa.select(DECISIONS.c.id).where(DECISIONS.c.subject == subject)
    signed = sa.select(CONTRACTS.c.sheet)
    drafts = sa.and_(SHEETS.c.decision.in_(names), SHEETS.c.digest.not_in(signed))
    gone = {
        HELPS.name: _dropped(connection, HELPS, HELPS.c.decision.in_(names)),
        SHEETS.name: _dropped(connection, SHEETS, drafts),
    }
    return gone | _loose_ends(connection)


def drop_orphans(connection: Connection) -> dict[str, int]:
    """Drop papers of decisions that are no longer kept."""
    kept = sa.select(DECISIONS.c.id)
    gone = {
        table.name: _dropped(connection, table, table.c.decision.not_in(kept))
        for table in (HELPS, CONTRACTS, SHEETS)
    }
    return gone | _loose_ends(connection)


def _loose_ends(connection: Connection) -> dict[str, int]:
    kept = sa.select(SHEETS.c.digest)
    return {
        table.name: _dropped(connection, table, table.c.sheet.not_in(kept))
        for table in (SHOWINGS, CHOICES)
    }


def _dropped(connection: Connection, table: sa.Table, which: "sa.ColumnElement[bool]") -> int:
    return int(connection.execute(table.delete().where(which)).rowcount)
