"""What the operator says of campaigns, the register and the charter: checked, then logged.

The log is the only record. Before anything is appended all that was said is folded again under
the log's lock, so nothing that does not follow can get in, whoever else is at work.
"""

from datetime import UTC, date, datetime

from consortium.errors import DomainError, OutOfOrderError
from consortium.ledger.entries import from_jcs
from consortium.ledger.governing import (
    GOVERNING_TYPES,
    CharterAgreed,
    Governed,
    GoverningBody,
)
from coordinator.audit_log import AuditLog
from coordinator.database import hold_log
from coordinator.governing_storage import GoverningIndex, Spent
from coordinator.storage import Store

_KINDS = tuple(GOVERNING_TYPES.values())


class Governing:
    """What has been said, and what is said next."""

    def __init__(self, store: Store, log: AuditLog) -> None:
        self._store, self._log = store, log
        self._index = GoverningIndex(store)

    def today(self) -> date:
        """The calendar date of entries that are made now, UTC."""
        return datetime.fromtimestamp(self._log.now(), tz=UTC).date()

    def state(self) -> Governed:
        """What all entries come to."""
        with self._store.transaction() as connection:
            return _folded(self._index.said(connection))

    def spent(self) -> tuple[Spent, ...]:
        """What accounts were charged, by day."""
        with self._store.transaction() as connection:
            return self._index.spent(connection)

    def say(self, body: GoverningBody) -> Governed:
        """Append an entry of the operator's; returns what all of them come to then.

        Raises:
            OutOfOrderError, DomainError: it does not follow from what was said; nothing is.
        """
        data = self._log.entry(body)
        actor = from_jcs(data).actor
        with self._store.transaction() as connection:
            hold_log(connection)
            state = _folded(self._index.said(connection))
            state.take(body, actor)
            self._store.log.append_within(connection, (data,))
        return state


def _folded(said: tuple[bytes, ...]) -> Governed:
    """Fold the log's entries; a member that agrees to what was not proposed says nothing."""
    state = Governed()
    for data in said:
        entry = from_jcs(data)
        if not isinstance(entry.body, _KINDS):
            continue
        try:
            state.take(entry.body, entry.actor)
        except (OutOfOrderError, DomainError):
            if not isinstance(entry.body, CharterAgreed):
                raise
    return state
