"""One process's hold on the mirror: takes what the log shows, cosigns it, or raises an alarm.

Both processes of a node have one, over the same tables: what one has added the other finds.
A head that contradicts the mirror is kept beside the newest good one, said for the log in an
``incident``, and from then on nothing is taken and nothing answered (R08) until an operator
has settled it (protocol 8.5, 8.6).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consortium.errors import (
    CosignatureError,
    ForkError,
    LogError,
    OutOfOrderError,
    RiskWeaveError,
)
from consortium.ids import PartnerId
from consortium.ledger.checkpoint import Cosigned, open_checkpoint, witness_name
from consortium.ledger.entries import Entry, IdentityRevoked, from_jcs, verify_entry
from consortium.ledger.merkle import Tree
from consortium.ledger.mirror import check_no_rollback, extend, is_by, type_of
from consortium.ledger.note import cosign_note
from consortium.ledger.revocations import Revocations, barred, check_voice
from consortium.ledger.witness import Head, WitnessKey, check_quorum, head_of, quorum_of
from consortium.manifest import Manifest
from consortium.messages import LogHead
from partner_node.entry_book import EntryBook
from partner_node.log_store import LogStore, NewEntries, Revoked
from partner_node.records import OwnEntry

log = logging.getLogger(__name__)

_VOICE = "identity.revoked"
_RETRIES = 3
KINDS = {"rollback": "log.rollback", "fork": "log.fork", "proof": "log.rewritten"}
"""Error of the log -> kind of incident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorPorts:
    """The mirror's surroundings."""

    store: LogStore
    witness: WitnessKey
    book: EntryBook
    now: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Taken:
    """A head that was taken."""

    size: int
    cosignature: bytes
    """Time and signature; empty if a larger head was cosigned before."""


class LogMirror:
    """The mirror, from any thread of one process."""

    def __init__(self, ports: MirrorPorts) -> None:
        self._ports = ports
        self._turn = threading.Lock()
        self._tree: Tree | None = None
        self._before: Head | None = ports.store.witnessed()
        self._seen: tuple[int, int] | None = None
        self._last = Head()
        """The largest head that this process knows to be cosigned."""
        self._flushed = 0
        """Size of the largest one that it knows to be on disk, whatever happens."""
        self._undone = ports.store.undone

    @property
    def store(self) -> LogStore:
        """The tables under it."""
        return self._ports.store

    @property
    def book(self) -> EntryBook:
        """Signs what this node says of the log."""
        return self._ports.book

    @property
    def member(self) -> PartnerId:
        """Whose mirror it is."""
        return self._ports.witness.member

    def counted(self) -> int:
        """Size of the newest head that a quorum cosigned, as this process knows it."""
        return self._newest()[0]

    def fresh(self, max_age_s: int) -> int:
        """The same; 0 if the quorum's word on it is older than that."""
        size, at = self._newest()
        return size if self._ports.now() - at <= max_age_s else 0

    def size(self) -> int:
        """Entries of the mirror."""
        return self._ports.store.size()

    def barred(self, manifest: Manifest, *, under: int | None = None) -> frozenset[PartnerId]:
        """Members of the manifest whose identities the log has revoked (protocol 2.7).

        With ``under``: as far as a head of so many entries has it.
        """
        found = self._ports.store.revoked()
        return barred(
            {one.identity for one in found if under is None or one.number < under}, manifest
        )

    def take(
        self,
        manifest: Manifest,
        shown: LogHead,
        *,
        known: int | None = None,
        flushed: bool = True,
    ) -> Taken:
        """Grow the mirror to the head that is shown, and cosign it.

        Args:
            manifest: Pinned and complete.
            shown: What the coordinator says; its proof is not needed, for the root is computed.
            known: What it was asked with, if it was: it may not answer with less.
            flushed: Whether all is on disk at the end; else the next flushed transaction takes
                it along, and the cosignature may not leave before.

        Raises:
            RollbackError, ForkError, ProofError: the log is not what it was; noted for good.
            RefusalError: an incident is open (R08).
            OutOfOrderError: entries are missing.
            DecodeError, SignatureError, ManifestError: the log did not sign it.
        """
        opened = open_checkpoint(shown.note, manifest)
        head = head_of(opened)
        try:
            with self._turn:
                witnessed = self._grow((head, manifest), shown, known, flushed=flushed)
        except LogError as error:
            self._alarm(error, shown.note)
            raise
        self._note_quorum(opened, manifest, flushed=flushed)
        if witnessed.size > head.size:
            return Taken(head.size, b"")
        witness = self._ports.witness
        name = witness_name(manifest, witness.member)
        line = cosign_note(opened.note, name=name, key=witness.key, time=self._ports.now())
        return Taken(head.size, line.signature)

    def take_counted(self, manifest: Manifest, note: bytes) -> None:
        """Keep a head of what the mirror has if the quorum cosigned it; else do nothing.

        The one that was kept last is shown again with every answer while nothing happens: it is
        known by its bytes, and costs neither a signature check nor a write.

        Raises:
            ForkError: the mirror has another root at that size; noted for good.
            DecodeError, SignatureError, ManifestError: the log did not sign it.
        """
        size, known, at = self._ports.store.seen()
        if note == known:
            with self._turn:
                self._unlearn()
                self._learn(size, at)
            return
        opened = open_checkpoint(note, manifest)
        head = head_of(opened)
        try:
            with self._turn:
                self._unlearn()
                tree = self._loaded()
                if head.size > tree.size:
                    return
                extend(tree, head, tree.size, ())
        except LogError as error:
            self._alarm(error, note)
            raise
        self._note_quorum(opened, manifest, flushed=True)

    def why_not(self, manifest: Manifest, note: bytes) -> str:
        """Why a head does not count; empty if it does."""
        try:
            opened = open_checkpoint(note, manifest)
            check_quorum(
                opened,
                manifest,
                now=self._ports.now(),
                without=self.barred(manifest, under=opened.checkpoint.size),
            )
        except CosignatureError as error:
            return str(error)
        return ""

    def alarm(self, kind: str, text: str, shown: bytes) -> None:
        """Note an incident, and say it for the log; one that is open is enough."""
        entry = OwnEntry(type="incident", data=self._ports.book.incident(kind, text))
        held = self._ports.store.seen()[1]
        self._ports.store.add_incident(kind, text, (held, shown), entry)
        log.critical("%s: %s; nothing is answered until that is settled", kind, text)

    def _alarm(self, error: LogError, shown: bytes) -> None:
        with self._turn:
            self._tree = None
        self.alarm(KINDS.get(error.code, "log.rewritten"), str(error), shown)

    def forget(self) -> None:
        """Drop what is held of the log, when an operator has settled an incident."""
        with self._turn:
            self._ports.store.forget_mirror()
            self._tree, self._seen, self._before, self._last = None, None, None, Head()
            self._flushed = 0

    def _newest(self) -> tuple[int, int]:
        with self._turn:
            self._unlearn()
            if self._seen is None:
                size, _, at = self._ports.store.seen()
                self._seen = (size, at)
            return self._seen

    def reread(self) -> None:
        """Look anew at what the node's other process has seen."""
        with self._turn:
            self._seen = None

    def _grow(
        self, to: tuple[Head, Manifest], shown: LogHead, known: int | None, *, flushed: bool
    ) -> Head:
        """Extend the tree and the tables; the largest head that was or is being cosigned."""
        head, manifest = to
        if known is not None:
            check_no_rollback(head, known)
        self._unlearn()
        for _ in range(_RETRIES):
            tree = self._tree if self._tree is not None else self._loaded()
            held = tree.size
            try:
                leaves = extend(tree, head, shown.first, shown.entries)
            except OutOfOrderError:
                if self._loaded().size == held:
                    raise
                continue
            self._check_witnessed(tree)
            written = self._flushed if flushed else self._last.size
            if not leaves and written >= head.size:
                self._ports.store.check_settled()
                return self._last  # nothing is new, and it was cosigned: nothing to write
            data = shown.entries[held - shown.first :][: len(leaves)]
            types = [type_of(one) for one in data]
            rows = NewEntries(
                first=held,
                data=data,
                leaves=leaves,
                types=types,
                own=[is_by(one, self.member) for one in data],
                revoked=self._revoked(held, data, manifest) if _VOICE in types else (),
            )
            witnessed = self._ports.store.add(rows, head, flushed=flushed)
            if witnessed is not None:
                self._last = witnessed
                self._flushed = witnessed.size if flushed else self._flushed
                return witnessed
            self._tree = None
        raise OutOfOrderError("the mirror is being written by another process")

    def _revoked(
        self, first: int, data: Sequence[bytes], manifest: Manifest
    ) -> Sequence[Revoked]:
        """Identities that new entries revoke, with the voices that were there before."""
        machine, found = Revocations(), []
        known = [(row.number, row.data) for row in self._ports.store.of_types(_VOICE)]
        fresh = list(enumerate(data, start=first))
        for number, one in known + [row for row in fresh if type_of(row[1]) == _VOICE]:
            entry = _voice(one, manifest)
            if entry is None or not isinstance(entry.body, IdentityRevoked):
                continue
            if machine.take(number, entry, manifest):
                body = entry.body
                log.warning("%s is revoked, by entry %d of the log", body.member, number)
                identity = body.identity.hex()
                found.append(Revoked(identity=identity, member=body.member, number=number))
        return found

    def _unlearn(self) -> None:
        """Forget what was taken for written if the database has undone it."""
        if self._undone != self._ports.store.undone:
            self._undone = self._ports.store.undone
            self._tree, self._seen, self._last = None, None, Head()
            self._before = self._ports.store.witnessed()

    def _check_witnessed(self, tree: Tree) -> None:
        """What this node had cosigned when it began is in the mirror, too."""
        before = self._before
        if before is None or before.size > tree.size:
            return
        root = tree.root(before.size)
        if root != before.root:
            raise ForkError(before.size, root.hex(), before.root.hex())
        self._before = None

    def _loaded(self) -> Tree:
        """The tree with all that is on disk."""
        tree = self._tree if self._tree is not None else Tree()
        for leaf in self._ports.store.leaves(tree.size):
            tree.append(leaf)
        self._tree = tree
        return tree

    def _note_quorum(self, opened: Cosigned, manifest: Manifest, *, flushed: bool) -> None:
        """Keep a head that counts; RefusalError while an incident is open."""
        try:
            without = self.barred(manifest, under=opened.checkpoint.size)
            fresh = check_quorum(opened, manifest, now=self._ports.now(), without=without)
        except CosignatureError:
            return
        size, note = opened.checkpoint.size, opened.note.to_bytes()
        # The time at which the quorum was there: the newest word that it cannot do without.
        times = sorted((opened.times[name] for name in fresh), reverse=True)
        at = times[quorum_of(manifest) - 1]
        self._ports.store.keep_seen(size, note, at, flushed=flushed)
        with self._turn:
            self._learn(size, at)

    def _learn(self, size: int, at: int) -> None:
        """A head of that size counts; its quorum was there at that time."""
        if self._seen is None or size >= self._seen[0]:
            self._seen = (size, at)


def _voice(data: bytes, manifest: Manifest) -> Entry | None:
    """A voice about an identity, if a member of the manifest has signed it.

    One that is not what it must be is none; ``witnessing`` finds it, and it is an incident.
    """
    try:
        entry = from_jcs(data)
        verify_entry(entry, data, manifest.member(entry.actor))
        if isinstance(entry.body, IdentityRevoked):
            check_voice(entry.body)
    except RiskWeaveError:
        return None
    return entry
