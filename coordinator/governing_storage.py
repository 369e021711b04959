"""An index into the log: entries about campaigns, the register and the charter, and spending.

Everything here follows from the log and may be dropped: the next look makes it again. It is
read on from where it ended, so a command does not go through all entries each time.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from consortium.ids import PartnerId
from consortium.ledger.entries import from_jcs
from consortium.ledger.governing import GOVERNING_TYPES
from consortium.ledger.mirror import type_of
from consortium.ledger.run_bodies import BudgetDebit
from coordinator.schema import META
from coordinator.storage import Store

_SAID = sa.Table(
    "governing_entries",
    META,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
_SPENT = sa.Table(
    "spent_days",
    META,
    sa.Column("partner", sa.String(32), primary_key=True),
    sa.Column("account", sa.String(16), primary_key=True),
    sa.Column("epoch", sa.String(64), primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("units", sa.Text, nullable=False),
)
_SEEN = sa.Table("governing_seen", META, sa.Column("size", sa.BigInteger, nullable=False))
_PORTION = 4_096
_DEBIT = "budget.debit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one account of one partner was charged on one day, in units of the accountant."""

    partner: PartnerId
    account: str
    epoch: str
    day: str
    units: int


class GoverningIndex:
    """The index over one store. Every method is one transaction and raises StorageError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def said(self, connection: sa.Connection) -> tuple[bytes, ...]:
        """All entries of these types, oldest first; reads on in the log first."""
        self._read_on(connection)
        query = sa.select(_SAID.c.data).order_by(_SAID.c.number)
        return tuple(bytes(data) for data in connection.scalars(query))

    def spent(self, connection: sa.Connection) -> tuple[Spent, ...]:
        """What was charged, by day; reads on in the log first."""
        self._read_on(connection)
        query = sa.select(_SPENT).order_by(_SPENT.c.day, _SPENT.c.partner, _SPENT.c.account)
        return tuple(
            Spent(
                partner=PartnerId(row.partner),
                account=row.account,
                epoch=row.epoch,
                day=row.day,
                units=int(row.units),
            )
            for row in connection.execute(query)
        )

    def _read_on(self, connection: sa.Connection) -> None:
        seen = connection.scalar(sa.select(_SEEN.c.size))
        size, spent = int(seen or 0), Counter[tuple[str, str, str, str]]()
        while entries := self._store.log.portion_within(connection, size, size + _PORTION):
            for number, data in enumerate(entries, start=size):
                kind = type_of(data)
                if kind in GOVERNING_TYPES:
                    connection.execute(_SAID.insert(), {"number": number, "data": data})
                elif kind == _DEBIT:
                    _charge(data, spent)
            size += len(entries)
        for key, units in spent.items():
            _add(connection, key, units)
        write = _SEEN.insert() if seen is None else _SEEN.update()
        connection.execute(write.values(size=size))


def _charge(data: bytes, spent: Counter[tuple[str, str, str, str]]) -> None:
    entry = from_jcs(data)
    if isinstance(entry.body, BudgetDebit):
        day = datetime.fromtimestamp(entry.at, tz=UTC).date().isoformat()
        body = entry.body
        spent[entry.actor, body.account, body.epoch, day] += body.units


def _add(connection: sa.Connection, key: tuple[str, str, str, str], units: int) -> None:
    names = ("partner", "account", "epoch", "day")
    same = sa.and_(*(_SPENT.c[name] == part for name, part in zip(names, key, strict=True)))
    before = connection.scalar(sa.select(_SPENT.c.units).where(same))
    connection.execute(_SPENT.delete().where(same))
    row = dict(zip(names, key, strict=True)) | {"units": str(units + int(before or 0))}
    connection.execute(_SPENT.insert(), row)
