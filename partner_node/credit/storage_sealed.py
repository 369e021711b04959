"""Tables of commitments to decisions, in ``credit.db`` (protocol 9.4.2).

Salts and digests only; a decision is named by its id. What is erased by policy keeps its
salted digest, so that the others of its batch can still be proven.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from consortium.ids import Digest
from partner_node.credit.storage import DECISIONS, META, Connection, StoredDecision, decision_of

BATCHES = sa.Table(
    "sealed_batches",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("until", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("commitment", sa.String(64), nullable=False),
)
LEAVES = sa.Table(
    "sealed_decisions",
    META,
    sa.Column("batch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("decision", sa.String(64), nullable=False, index=True),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.String(64), nullable=False),
    sa.Column("erased", sa.Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """A commitment, and what opens it."""

    number: int
    until: int
    """Row number of the last decision in it, or before it."""
    at: int
    count: int
    salt: bytes = field(repr=False)
    commitment: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedDecision:
    """One decision of a batch. Its salt is secret."""

    batch: int
    place: int
    decision: Digest
    salt: bytes = field(repr=False)
    leaf: Digest
    erased: bool = False


def batches(connection: Connection, *, above: int = -1) -> list[SealedBatch]:
    """Batches of a number above one, the oldest first."""
    query = sa.select(BATCHES).where(BATCHES.c.number > above).order_by(BATCHES.c.number)
    return [SealedBatch(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001


def batch(connection: Connection, number: int) -> SealedBatch | None:
    """One batch."""
    row = connection.execute(sa.select(BATCHES).where(BATCHES.c.number == number)).first()
    return None if row is None else SealedBatch(**row._mapping)  # noqa: SLF001 - a row's own


def last_batch(connection: Connection) -> SealedBatch | None:
    """The newest."""
    newest = connection.scalar(sa.select(sa.func.max(BATCHES.c.number)))
    return None if newest is None else batch(connection, int(newest))


def decisions_after(connection: Connection, number: int) -> list[tuple[int, bytes, bytes]]:
    """Row number, decision and input of decisions behind a row, in order."""
    table = DECISIONS.c
    query = sa.select(table.number, table.decision, table.input).where(table.number > number)
    rows = connection.execute(query.order_by(table.number))
    return [(row[0], bytes(row[1]), bytes(row[2])) for row in rows]


def keep(connection: Connection, made: SealedBatch, leaves: Sequence[SealedDecision]) -> None:
    """Keep a batch with its leaves."""
    names = SealedBatch.__dataclass_fields__
    connection.execute(BATCHES.insert(), {name: getattr(made, name) for name in names})
    rows = [
        {name: getattr(one, name) for name in SealedDecision.__dataclass_fields__}
        for one in leaves
    ]
    if rows:
        connection.execute(LEAVES.insert(), rows)


def leaves_of(connection: Connection, number: int) -> list[SealedDecision]:
    """Leaves of one batch in their order."""
    query = sa.select(LEAVES).where(LEAVES.c.batch == number).order_by(LEAVES.c.place)
    return [SealedDecision(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001


def stored(connection: Connection, leaf: SealedDecision) -> StoredDecision | None:
    """The decision under a leaf, as it is stored now."""
    return decision_of(connection, leaf.decision)


def unsealed(connection: Connection, until: int) -> list[str]:
    """Ids of decisions up to a row number that are in no batch."""
    sealed = sa.select(LEAVES.c.decision)
    query = sa.select(DECISIONS.c.id).where(
        DECISIONS.c.number <= until, DECISIONS.c.id.not_in(sealed)
    )
    return [str(one) for one in connection.scalars(query)]


def mark_erased(connection: Connection, names: "sa.Select[tuple[str]]") -> None:
    """Decisions are erased by policy; their leaves stay."""
    connection.execute(LEAVES.update().where(LEAVES.c.decision.in_(names)).values(erased=True))
