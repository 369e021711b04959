"""The coordinator's published tables, by release id, in the database of ``storage.Store``.

A table is written once and never again: whoever asks for its release id gets the same bytes,
as often as he likes (protocol 13.11). Every method is one transaction and raises StorageError.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from consortium.ids import Digest, RunId
from coordinator.schema import META
from coordinator.storage import Store

_TABLES = sa.Table(
    "tables",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("release", sa.String(64), nullable=False, unique=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("figure", sa.String(64), nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("first", sa.String(8), nullable=False),
    sa.Column("last", sa.String(8), nullable=False),
    sa.Column("run", sa.String(32), nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
_COLUMNS = [column for column in _TABLES.c if column.name != "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One published table."""

    release: Digest
    digest: Digest
    """Of the document: what the run was closed with."""
    figure: Digest
    """Of the specification alone, whatever plan it was counted by."""
    kind: str
    first: str
    last: str
    run: RunId
    document: bytes
    at: int


class TableStore:
    """Published tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, row: TableRow, *, entries: Sequence[bytes] = ()) -> None:
        """Keep a table and log it; one that is there is left as it is, unlogged."""
        with self._store.transaction() as connection:
            known = sa.select(_TABLES.c.release).where(_TABLES.c.release == row.release)
            if connection.scalar(known) is None:
                self._store.log.append_within(connection, entries)
                connection.execute(_TABLES.insert().values(**asdict(row)))

    def tables(self) -> tuple[TableRow, ...]:
        """All tables, oldest first."""
        return self._rows(sa.select(*_COLUMNS).order_by(_TABLES.c.number))

    def find(self, beginning: str) -> tuple[TableRow, ...]:
        """Tables whose release id begins so."""
        query = sa.select(*_COLUMNS).where(
            _TABLES.c.release.startswith(beginning, autoescape=True)
        )
        return self._rows(query.order_by(_TABLES.c.number))

    def of_figure(self, figure: Digest) -> TableRow | None:
        """The newest table of a specification."""
        query = sa.select(*_COLUMNS).where(_TABLES.c.figure == figure)
        found = self._rows(query.order_by(_TABLES.c.number.desc()).limit(1))
        return found[0] if found else None

    def _rows(self, query: sa.Select[tuple[object, ...]]) -> tuple[TableRow, ...]:
        with self._store.transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(TableRow(**row) for row in rows)
