"""What was acknowledged while processes were killed, and whether all of it is there at the end.

Read from outside, beside the processes, several times a second:

* rows of each node's budget account, as soon as another process can read them;
* entries of the coordinator's log, likewise;
* heads that a node has seen cosigned by the quorum: to somebody outside the coordinator they
  promise all entries before them;
* events of runs that the operator was told.

None of it may be missing or be another at the end.
"""

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest

from consortium.errors import RiskWeaveError
from consortium.ledger.checkpoint import parse_checkpoint
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.note import parse_note
from coordinator.events import RunEvent
from coordinator.storage import Store
from coordinator.trainer import STAGES
from tests.integration.federation import Federation

LOOK_S = 0.2

_DEBITS = "SELECT rowid, run, kind, round, attempt, units FROM budget_entry WHERE rowid > ?"
_HEADS = "SELECT size, note FROM seen_heads WHERE size > ? ORDER BY size"
_LEAVES = "SELECT leaf FROM log_mirror ORDER BY number"

Row = tuple[object, ...]


@dataclass
class Record:
    """Acknowledgements, as they were first seen."""

    federation: Federation
    names: Sequence[str]
    debits: dict[str, dict[int, Row]] = field(default_factory=dict)
    heads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    entries: list[bytes] = field(default_factory=list)
    """Hashes of the log's entries."""
    told: dict[RunEvent, None] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Look until the block ends."""
        thread = threading.Thread(target=self._look_always, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def on_event(self, event: RunEvent) -> None:
        """The operator was told so."""
        self.told[event] = None

    @property
    def counts(self) -> dict[str, int]:
        """How much was acknowledged."""
        return {
            "debits": sum(len(rows) for rows in self.debits.values()),
            "log_entries": len(self.entries),
            "cosigned_heads": sum(len(rows) for rows in self.heads.values()),
            "events": len(self.told),
        }

    def lost(self) -> dict[str, int]:
        """What is not there any more, by kind; call when all is quiet."""
        with self.federation.store() as store:
            leaves = [leaf_hash(one) for one in store.log.entries()]
        tree = Tree(leaves)
        found = Counter(
            log_entries=_missing(self.entries, leaves), events=sum(map(self._denied, self.told))
        )
        for name in self.names:
            rows = dict(self._rows(name, _DEBITS, 0))
            known = self.debits.get(name, {})
            found["debits"] += sum(rows.get(number) != row for number, row in known.items())
            for size, note in self.heads.get(name, {}).items():
                root = parse_checkpoint(parse_note(note).text).root
                found["cosigned_heads"] += size > tree.size or tree.root(size) != root
            mirror = [bytes(leaf) for (leaf,) in self._read(name, _LEAVES)]  # type: ignore[arg-type]
            found["mirrored_entries"] += _missing(mirror, leaves)
        return dict(found)

    def _denied(self, event: RunEvent) -> bool:
        """Whether an attempt that the operator was told of is not on record."""
        if not event.attempt:
            return False
        attempts = self.federation.attempts(event.run)
        keys = {(STAGES[one.kind.value], one.round, one.attempt) for one in attempts}
        return (event.stage, event.round, event.attempt) not in keys

    def _look_always(self) -> None:
        with self.federation.store() as store:
            while not self._stop.wait(LOOK_S):
                for name in self.names:
                    # What is locked for a moment is looked at the next time.
                    with contextlib.suppress(sqlite3.Error):
                        self._look(name)
                with contextlib.suppress(RiskWeaveError):
                    self._look_at_log(store)

    def _look(self, name: str) -> None:
        known = self.debits.setdefault(name, {})
        known.update(self._rows(name, _DEBITS, max(known, default=0)))
        heads = self.heads.setdefault(name, {})
        for size, note in self._read(name, _HEADS, max(heads, default=0)):
            heads[int(str(size))] = bytes(note)  # type: ignore[arg-type]

    def _look_at_log(self, store: Store) -> None:
        for size, _ in store.log.heads(last=1):
            fresh = store.log.portion(len(self.entries), size)
            self.entries += [leaf_hash(one) for one in fresh]

    def _rows(self, name: str, query: str, after: int) -> list[tuple[int, Row]]:
        return [(int(str(row[0])), tuple(row[1:])) for row in self._read(name, query, after)]

    def _read(self, name: str, query: str, *values: int) -> list[Row]:
        uri = f"file:{self.federation.directory(name) / 'node.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return list(database.execute(query, values))


def _missing(seen: Sequence[bytes], there: Sequence[bytes]) -> int:
    """How many of those seen are not where they were."""
    pairs = zip_longest(seen, there[: len(seen)])
    return sum(one != other for one, other in pairs)
