"""The log's witnesses, seen from the coordinator: who cosigned which head, and who lacks what.

A cosignature is verified once, when it comes, and is in the database before a head that counts
by it is shown to anybody (protocol 8.5).
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.errors import CosignatureError, OutOfOrderError, RiskWeaveError
from consortium.ids import Digest, PartnerId
from consortium.ledger.checkpoint import Cosigned, open_checkpoint, witness_verifiers
from consortium.ledger.note import Note, NoteSignature, Verifier
from consortium.ledger.witness import MAX_SKEW_S, check_quorum, quorum_held
from consortium.manifest import Manifest
from coordinator.storage import Store

log = logging.getLogger(__name__)

PATIENCE_S = 10
"""How long a head is shown to witnesses before a newer one takes its place."""
REFRESH_S = 12 * 3600
"""A head whose cosignatures end in less than this is cosigned again, though nothing is new."""
PORTION = 1024
"""Entries that a witness is shown at once, unless one addition was larger."""
PORTION_BYTES = 3 << 20
"""Bytes of them, likewise."""
_HEADS = 64
"""Heads with cosignatures that wait, at most."""
_KEPT = 128


@dataclass(frozen=True, slots=True)
class CountedHead:
    """A head that the quorum cosigned."""

    size: int
    note: bytes


class LogWitnesses:
    """Cosignatures over one store; from any thread. ``now`` gives seconds, UTC."""

    def __init__(self, store: Store, *, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now
        self._changed = threading.Condition()
        self._opened: dict[tuple[Digest, bytes], Cosigned] = {}
        """Notes whose signatures were verified, the oldest first."""
        self._shown = (0, 0)
        """Size of the head that witnesses are shown, and since when."""
        self._counted: CountedHead | None = None
        self._looked = ""
        """Digest of the manifest under which the database was looked through."""
        self._held: dict[PartnerId, int] = {}
        self._waiting: dict[int, dict[PartnerId, bytes]] = {}
        """Newer lines of heads that would lose their quorum by them alone."""

    # --- what is known ------------------------------------------------------------------------

    def held(self, member: PartnerId) -> int | None:
        """Entries of a member's mirror, as it said last; None before it did."""
        with self._changed:
            return self._held.get(member)

    def forget_held(self, member: PartnerId) -> None:
        """What a member said of its mirror does not hold any more."""
        with self._changed:
            self._held.pop(member, None)

    def note_held(self, member: PartnerId, size: int) -> None:
        """A member says how many entries its mirror has."""
        with self._changed:
            self._held[member] = size
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until a cosignature or a word of a member's mirror comes, or the time is over."""
        with self._changed:
            self._changed.wait(seconds)

    def counted(self, manifest: Manifest | None) -> CountedHead | None:
        """The newest head that counts, or counted when its last cosignature came."""
        with self._changed:
            known = self._counted
        if known is not None or manifest is None or self._looked == manifest.digest:
            return known
        # What is on disk is looked through once; later ones are counted as they come.
        heads = self._store.log.heads()
        self._looked = manifest.digest
        for size, note in reversed(heads):
            if self.counts(note, manifest):
                self._count(CountedHead(size, note))
                return CountedHead(size, note)
        return None

    def counts(self, note: bytes, manifest: Manifest, *, now: int | None = None) -> bool:
        """Whether a head has its quorum (8.5): at ``now``, or ever had it by its lines."""
        try:
            opened = self._open(note, manifest)
            if now is None:
                quorum_held(opened, manifest)
            else:
                check_quorum(opened, manifest, now=now)
        except RiskWeaveError:
            return False
        return True

    def silent(self, note: bytes, manifest: Manifest) -> tuple[PartnerId, ...]:
        """Partners that have not cosigned this head."""
        times = self._open(note, manifest).times
        return tuple(one.id for one in manifest.partners if one.id not in times)

    def due(self, manifest: Manifest) -> tuple[int, bytes] | None:
        """The head that is being cosigned.

        All are shown the same one until it counts or ``PATIENCE_S`` have passed, for heads
        come faster than witnesses ask.
        """
        with self._changed:
            size, since = self._shown
        now = self._now()
        # The database is read outside the lock.
        note = self._store.log.note(size) if size and now - since <= PATIENCE_S else None
        if note is not None and not self.counts(note, manifest, now=now):
            return size, note
        newest = self._store.log.heads(last=1)
        with self._changed:
            self._shown = (newest[0][0] if newest else 0, now)
        return newest[0] if newest else None

    def show_newest(self) -> None:
        """Show the newest head now: it has what nodes must hear of before others cosign."""
        with self._changed:
            self._shown = (0, 0)

    def wants_again(self, note: bytes, manifest: Manifest, member: PartnerId) -> bool:
        """Whether a member should cosign a head anew, for its word on it grows old."""
        made = self._open(note, manifest).times.get(member)
        return made is not None and self._now() - made > REFRESH_S

    # --- cosignatures -------------------------------------------------------------------------

    def cosign(
        self, size: int, lines: Mapping[PartnerId, bytes], manifest: Manifest
    ) -> bytes | None:
        """Take cosignatures of one head, in one transaction.

        A witness has one line in a head. A newer one that would take the quorum from it waits
        in memory for those of the others: entries rest on that head.

        Returns:
            The head with them if it has its quorum now; else None.

        Raises:
            SignatureError: one fails; none is taken. Fault: the partner.
            OutOfOrderError: of a head that there is not, by no witness, or made at a time
                that is to come.
        """
        witnesses = witness_verifiers(manifest)
        if strangers := sorted(set(lines) - set(witnesses)):
            raise OutOfOrderError(f"{strangers[0]} is no witness of this log")
        made: list[Cosigned] = []
        latest = self._now() + MAX_SKEW_S

        def with_lines(data: bytes) -> bytes:
            opened = self._open(data, manifest)
            note, times = opened.note, dict(opened.times)
            for name, signature in (self._waiting_for(size) | dict(lines)).items():
                note, times[name] = _added(note, witnesses[name], signature)
                if times[name] > latest:
                    raise OutOfOrderError(f"{name} cosigned at a time that is to come")
            grown = Cosigned(checkpoint=opened.checkpoint, note=note, times=times)
            if _held(opened, manifest) and not _held(grown, manifest):
                self._wait_for_others(size, lines)
                made[:] = [opened]
                return data
            made[:] = [grown]
            with self._changed:
                self._waiting.pop(size, None)
            return note.to_bytes()

        after = self._store.log.change_head(size, with_lines)
        if after is None:
            raise OutOfOrderError(f"{min(lines)} cosigned a head of {size} entries")
        self._keep((manifest.digest, after), made[0])
        try:
            check_quorum(made[0], manifest, now=self._now())
        except CosignatureError:
            with self._changed:
                self._changed.notify_all()
            return None
        self._count(CountedHead(size, after))
        return after

    def _waiting_for(self, size: int) -> dict[PartnerId, bytes]:
        with self._changed:
            return dict(self._waiting.get(size, {}))

    def _wait_for_others(self, size: int, lines: Mapping[PartnerId, bytes]) -> None:
        with self._changed:
            self._waiting[size] = self._waiting.pop(size, {}) | dict(lines)
            while len(self._waiting) > _HEADS:
                del self._waiting[next(iter(self._waiting))]

    def _count(self, head: CountedHead) -> None:
        with self._changed:
            if self._counted is None or head.size >= self._counted.size:
                self._counted = head
            self._changed.notify_all()

    def _open(self, note: bytes, manifest: Manifest) -> Cosigned:
        """The note with its signatures verified; those that were verified are not again."""
        key = (manifest.digest, note)
        with self._changed:
            found = self._opened.get(key)
        if found is None:
            found = open_checkpoint(note, manifest)
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[Digest, bytes], opened: Cosigned) -> None:
        with self._changed:
            self._opened[key] = opened
            while len(self._opened) > _KEPT:
                del self._opened[next(iter(self._opened))]


def _held(opened: Cosigned, manifest: Manifest) -> bool:
    try:
        quorum_held(opened, manifest)
    except CosignatureError:
        return False
    return True


def _added(note: Note, witness: Verifier, signature: bytes) -> tuple[Note, int]:
    """The note with a witness's verified line, and the line's time."""
    line = NoteSignature(witness.name, witness.key_id, signature)
    time = witness.time_of(note, line)
    return note.with_signature(line), time
