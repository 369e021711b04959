"""What this node says of a day that is over: consents that it used, points that it evaluated.

One entry of each for a day, with bands and roots, never a count (protocol 8.4). And of key
holders whose proofs did not hold, as soon as it is noticed. All of it is kept with this node's
entries for the log, which the witness brings.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from consortium.ids import Digest
from consortium.ledger.bodies import ConsentBatch, OprfFault, OprfUsage, band_of
from consortium.ledger.entries import from_jcs
from consortium.ledger.merkle import Tree, leaf_hash
from partner_node.entry_book import EntryBook
from partner_node.log_store import LogStore
from partner_node.people import People
from partner_node.records import OwnEntry
from partner_node.scoring_database import DAY
from partner_node.scoring_store import ScoringStore

CATCH_UP_DAYS = 31
"""Older days of a node that was down are not told any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPorts:
    """The day book's surroundings."""

    store: ScoringStore
    log: LogStore
    book: EntryBook
    people: Callable[[], People]
    """Under the pinned manifest; ManifestError before there is one."""
    now: Callable[[], int]


class DayBook:
    """Writes up what is due; from one thread of the process that serves."""

    def __init__(self, ports: DayPorts) -> None:
        self._ports = ports

    def write_up(self) -> int:
        """Keep all entries that are due; returns how many.

        Raises:
            ManifestError: nothing is pinned.
            StorageError: a database cannot be read or written.
        """
        made = [*self._faults(), *self._days()]
        self._ports.log.say(made)
        return len(made)

    def _days(self) -> Iterator[OwnEntry]:
        today, first = self._ports.now() // DAY, self._ports.store.first_day()
        if first is None:
            return
        first = max(first, today - CATCH_UP_DAYS)
        for day in range(max(first, self._told("consent.batch") + 1), today):
            yield self._entry("consent.batch", self._consents(day))
        for day in range(max(first, self._told("oprf.usage") + 1), today):
            found = self._ports.store.evaluated(day)
            if found is not None:
                epoch, points = found
                body = OprfUsage(epoch=epoch, day=day, points=band_of(points))
                yield self._entry("oprf.usage", body)

    def _consents(self, day: int) -> ConsentBatch:
        store, people = self._ports.store, self._ports.people()
        receipts = store.receipts(day)
        withdrawn = sorted(
            bytes.fromhex(people.withdrawal(subject, purpose, day))
            for subject, purpose in store.withdrawn_on(day)
        )
        return ConsentBatch(
            day=day,
            root=_root(receipts),
            receipts=band_of(len(receipts)),
            withdrawals=_root(withdrawn),
        )

    def _told(self, kind: str) -> int:
        """The last day that was told of; -1: none."""
        said = self._ports.log.said(kind)
        body = from_jcs(said[-1]).body if said else None
        return body.day if isinstance(body, ConsentBatch | OprfUsage) else -1

    def _faults(self) -> Iterator[OwnEntry]:
        told = {from_jcs(data).body for data in self._ports.log.said("oprf.fault")}
        for epoch, holder, request in self._ports.store.faults():
            body = OprfFault(epoch=epoch, holder=holder, request=request)
            if body not in told:
                yield self._entry("oprf.fault", body)

    def _entry(self, kind: str, body: ConsentBatch | OprfUsage | OprfFault) -> OwnEntry:
        return OwnEntry(type=kind, data=self._ports.book.signed(body))


def _root(hashes: Iterable[bytes]) -> Digest:
    return Digest(Tree(leaf_hash(one) for one in hashes).root().hex())
