"""From a finished table run to its release: document, row, what the log is told (13.11)."""

import numpy as np

from consortium.canonical import Label, hash_with
from consortium.credit.table_document import (
    parse_table_document,
    table_bytes,
    table_digest,
)
from consortium.documents import document_of
from consortium.figure import FigureSpec
from consortium.ids import Digest
from consortium.ledger.run_bodies import RunClosed
from coordinator.audit_log import AuditLog
from coordinator.storage import Store
from coordinator.table_storage import TableRow, TableStore
from models.run import RunFailedError, RunSession


def figure_digest(spec: FigureSpec) -> Digest:
    """What a figure is found by again, whatever plan it was counted by."""
    return hash_with(Label.FIGURE_SPEC, document_of(spec))


def table_row(session: RunSession, at: int) -> TableRow:
    """The row of a finished table run.

    Raises:
        RunFailedError: it is not finished.
    """
    if not session.finished:
        raise RunFailedError("the run is not finished")
    total = np.frombuffer(session.state.table, dtype="<i8").astype(np.int64)
    document = table_bytes(session.plan, total, session.state.attempts)
    table = parse_table_document(document).table
    return TableRow(
        release=table.release,
        digest=table_digest(document),
        figure=figure_digest(table.spec),
        kind=table.spec.kind.value,
        first=table.spec.first,
        last=table.spec.last,
        run=session.plan.run,
        document=document,
        at=at,
    )


def released(log: AuditLog, row: TableRow, attempts: int) -> tuple[bytes, ...]:
    """What the log is told: the run is closed with the digest of the table's document."""
    closed = RunClosed(run=row.run, outcome="finished", attempts=attempts, version=row.digest)
    return (log.entry(closed),)


def table_files(store: Store) -> dict[str, bytes]:
    """All published tables, as files of a bundle (protocol 8.8)."""
    return {f"tables/{row.digest}.json": row.document for row in TableStore(store).tables()}
