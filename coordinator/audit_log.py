"""The coordinator's log: its own entries, those of the members, signed heads, the bundle.

Entries are appended by the store in the transaction of the event that they are of; here they
are signed or checked, and the head is signed within that transaction. So no event counts that
is not in the log, and the log costs no commit of its own (protocol 8.2, 8.8).
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from consortium.crypto.keys import IdentityKey, NoteKey
from consortium.documents import document_of
from consortium.errors import DecodeError, ManifestError, OutOfOrderError, RevokedError
from consortium.ids import Digest, PartnerId
from consortium.ledger.bodies import CEREMONY, OVERLAP
from consortium.ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    origin_named,
    sign_checkpoint,
    witness_verifiers,
)
from consortium.ledger.entries import (
    Body,
    Entry,
    IdentityRevoked,
    Incident,
    ManifestAdopted,
    ReleaseServed,
    ReleaseVote,
    from_jcs,
    sign_entry,
    verify_entry,
)
from consortium.ledger.evidence import Signatures
from consortium.ledger.merkle import Tree
from consortium.ledger.mirror import is_by, type_of
from consortium.ledger.run_bodies import BudgetDebit, RoundJoin, RoundUpload, RunCommit
from consortium.ledger.tiles import files_of
from consortium.manifest import Manifest, parse_manifest
from consortium.messages import LogHead, ManifestBundle, Signed, Vote, WitnessQuestion
from consortium.secagg.uploads import words_digest
from coordinator.log_witnesses import PORTION, PORTION_BYTES, LogWitnesses
from coordinator.revocation_storage import Standing
from coordinator.storage import Store

log = logging.getLogger(__name__)

BROUGHT_A_DAY = 4096
"""Entries that a witness may bring beside its answers; honest ones bring a few."""
_DAY_S = 86_400
MOST_ENTRIES = 4096
"""Entries that one answer of a member may carry."""

Shown: TypeAlias = tuple[int, bytes]
"""Size and note of a head."""
_UNDER_WAY = frozenset({"round.join", "budget.debit", "round.upload"})
"""What an attempt may still bring of a member that was revoked since it began (8.7 (19))."""
_RIDING = ManifestAdopted | RunCommit | RoundJoin | BudgetDebit | RoundUpload | ReleaseVote


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeys:
    """What the coordinator signs with: its entries, and heads. ``note`` signs nothing else."""

    member: PartnerId
    identity: IdentityKey
    note: NoteKey


class AuditLog:
    """The log over one store; from any thread. ``now`` gives seconds, UTC."""

    def __init__(
        self,
        store: Store,
        *,
        federation: str,
        keys: LogKeys,
        now: Callable[[], int],
        manifest: Callable[[], Manifest | None] = lambda: None,
    ) -> None:
        """The log of ``federation``; ``manifest`` gives the one in force, if there is one."""
        self._store = store
        self._origin = origin_named(federation)
        self._keys = keys
        self.now = now
        self._manifest = manifest
        self._turn = threading.Lock()
        self._tree = Tree()
        self._rested: set[int] = set()
        """Sizes of heads that entries rest on, found to be cosigned."""
        self.witnesses = LogWitnesses(store, now=now)
        self.standing = Standing(store)
        self.before_shown: Callable[[], None] = lambda: None
        """Called before entries are shown: what they say is to have its effect here first."""
        self._brought: dict[PartnerId, tuple[int, int]] = {}
        """By member: the day, and what it brought on it."""
        store.log.seal_with(self)

    def entry(self, body: Body) -> bytes:
        """An entry of the coordinator's own."""
        counted = self.witnesses.counted(self._manifest())
        hint = 0 if counted is None else counted.size
        bare = Entry(seq_hint=hint, at=self.now(), actor=self._keys.member, body=body)
        return sign_entry(bare, self._keys.identity).to_jcs()

    def served(self, version: Digest, previous: Digest | None) -> tuple[bytes, ...]:
        """What is said when a version becomes the active one."""
        return (self.entry(ReleaseServed(version=version, previous=previous)),)

    def newest(self) -> tuple[int, bytes]:
        """Size and note of the newest signed head; zeros if the log is empty."""
        heads = self._store.log.heads(last=1)
        return heads[0] if heads else (0, b"")

    def head_of(self, size: int) -> bytes | None:
        """The note of one head, as it stands now."""
        return self._store.log.note(size)

    def entries(self, first: int, until: int) -> tuple[bytes, ...]:
        """Entries from index ``first`` up to ``until``."""
        return self._store.log.portion(first, until) if first < until else ()

    def append(self, entries: Sequence[bytes]) -> None:
        """Append those that the log does not have."""
        self._store.log.append_new(entries)

    def admit(self, entries: Sequence[bytes], out: Sequence[PartnerId]) -> None:
        """``log_storage.Sealer``: nothing more is taken of a revoked member, in any way."""
        for data in entries:
            for name in out:
                if is_by(data, name) and type_of(data) not in _UNDER_WAY:
                    raise RevokedError(f"{name} was revoked: its {type_of(data)} is not taken")

    def revoke(self, body: IdentityRevoked) -> bool:
        """The operator's voice; whether it revokes an identity that was not revoked before.

        Raises:
            ManifestError: no manifest is in force, or none of its members is meant.
        """
        manifest = self._manifest()
        if manifest is None:
            raise ManifestError("no manifest is in force")
        data = self.entry(body)
        return self.standing.say(from_jcs(data), data, manifest, at=self.now())

    def seal(
        self, start: int, added: Sequence[bytes], leaves: Callable[[int], Sequence[bytes]]
    ) -> bytes:
        """``log_storage.Sealer``: the signed head; called in the transaction that appends."""
        with self._turn:
            tree = self._tree
            if tree.size != start or (
                start and [tree.leaf(start - 1)] != list(leaves(start - 1))
            ):
                tree = Tree(leaves(0))
            for leaf in added:
                tree.append(leaf)
            self._tree = tree
            head = Checkpoint(origin=self._origin, size=tree.size, root=tree.root())
        return sign_checkpoint(head, self._keys.note).to_bytes()

    # --- witnesses (protocol 8.5) -------------------------------------------------------------

    def on_witness(
        self, question: WitnessQuestion, member: PartnerId, manifest: Manifest
    ) -> LogHead:
        """Take what a witness brings, its cosignature and its own entries; show what it lacks.

        Raises:
            SignatureError: the cosignature fails. Fault: the partner.
            OutOfOrderError: of a head that there is not, or by no witness.
            DecodeError, SignatureError: an entry is not one that the member may bring.
        """
        if member not in witness_verifiers(manifest):
            raise OutOfOrderError(f"{member} is no witness of this log")
        self._check_quota(member, len(question.entries))
        brought = {data: check_brought(data, manifest, member) for data in question.entries}
        for entry in brought.values():
            self.check_hint(entry)
        voices = [one for one in brought if isinstance(brought[one].body, IdentityRevoked)]
        self.append([one for one in brought if one not in voices])
        for data in self._store.log.missing(voices):
            try:
                self.standing.say(brought[data], data, manifest, at=self.now())
            except (ManifestError, OutOfOrderError) as error:
                # Its mirror is to grow all the same: what was meant may be no member any more.
                log.warning("a voice of %s is not taken: %s", member, error)
        if question.size:
            self.witnesses.cosign(question.size, {member: question.cosignature}, manifest)
        self.witnesses.note_held(member, question.known)
        counted = self.witnesses.counted(manifest)
        shown = self._portion(question.known, member, manifest)
        return replace(shown, cosigned=b"" if counted is None else counted.note)

    def _check_quota(self, member: PartnerId, count: int) -> None:
        """Raise DecodeError past a day's share: the log is never pruned, and all mirror it."""
        today = self.now() // _DAY_S
        with self._turn:
            day, brought = self._brought.get(member, (today, 0))
            brought = count + (brought if day == today else 0)
            if brought > BROUGHT_A_DAY:
                raise DecodeError(f"{member} brings more than {BROUGHT_A_DAY} entries a day")
            self._brought[member] = today, brought

    def check_hint(self, entry: Entry) -> None:
        """Raise DecodeError unless an entry rests on a head that the quorum cosigned.

        The audit finds any other (8.7 (9)), and the log is never pruned: one member could
        spoil it for all. An incident may rest on any: that this log lacks the head, or has
        another one of its size that nobody cosigned, is what it says.
        """
        size = entry.seq_hint
        if not size or size in self._rested or isinstance(entry.body, Incident):
            return
        note, manifest = self.head_of(size), self._manifest()
        known = [] if manifest is None else self._chain(manifest)
        if note is None or (
            known and not any(self.witnesses.counts(note, one) for one in known)
        ):
            raise DecodeError(
                f"{entry.actor} rests {entry.type} on a head of {size} entries, which nobody "
                "cosigned"
            )
        self._rested.add(size)

    def _portion(self, known: int, member: PartnerId, manifest: Manifest) -> LogHead:
        """The next head for a mirror of ``known`` entries, with what leads to it."""
        newest = self._store.log.heads(last=1)
        if newest and known > newest[0][0]:
            # This log was rolled back, or the member saw another one: it says so itself.
            log.error("%s knows %d entries, this log has %d", member, known, newest[0][0])
            return LogHead(note=newest[0][1])
        due = self.witnesses.due(manifest)
        if due is None or due[0] < known:
            return LogHead()
        if due[0] == known:
            again = self.witnesses.wants_again(due[1], manifest, member)
            return LogHead(note=due[1], first=known) if again else LogHead()
        (size, note), most = due, PORTION
        while True:
            if size - known > most:
                size, note = self._store.log.head(above=known, most=known + most) or due
            shown = self.show(known, size, note, manifest)
            if most == 1 or sum(map(len, shown.entries)) <= PORTION_BYTES:
                return shown
            most //= 2

    def show(self, known: int, size: int, note: bytes, manifest: Manifest) -> LogHead:
        """A head with its proof and the entries from ``known`` on."""
        self.before_shown()
        root = open_checkpoint(note, manifest).checkpoint.root
        entries = self._store.log.portion(known, size)
        with self._turn:
            tree = self._tree
            if tree.size >= size and tree.root(size) == root:
                proof = tree.consistency(known, size)
                return LogHead(note=note, proof=proof, first=known, entries=entries)
        tree = Tree(self._store.log.leaves())
        proof = tree.consistency(known, size)
        return LogHead(note=note, proof=proof, first=known, entries=entries)

    def witnessed(self, manifest: Manifest) -> bool:
        """Whether the newest head counts: everything in the log is under it."""
        heads = self._store.log.heads(last=1)
        return bool(heads) and self.witnesses.counts(heads[0][1], manifest)

    def cosigners(self, manifest: Manifest) -> tuple[PartnerId, ...]:
        """Partners that have cosigned the newest head, and so all that is in the log."""
        heads = self._store.log.heads(last=1)
        silent = self.witnesses.silent(heads[0][1], manifest) if heads else ()
        return tuple(one.id for one in manifest.partners if heads and one.id not in silent)

    # --- the bundle (protocol 8.7, 8.8) -------------------------------------------------------

    def bundle(self, manifest: Manifest, *, uploads: bool = False) -> dict[str, bytes]:
        """The files of an audit bundle: the log, and what its entries name by digest.

        It ends with the newest head that counts, and shows all before it that do; of a log
        that no quorum ever cosigned it ends with the newest head.

        Args:
            manifest: In force; those before it come along.
            uploads: With the masked words of sums, as far as they are still kept: the audit
                then opens the sums. Whoever has such a file and later a node's keys and seed
                can open that node's uploads, so it is made when it is asked for.

        Raises:
            ManifestError: there is no log yet.
        """
        heads, entries = self._store.log.heads(), self._store.log.entries()
        if not heads:
            raise ManifestError("the log is empty: nobody has signed a manifest")
        *earlier, (size, head) = self._shown_heads(manifest, heads, entries)
        files = {"checkpoint": head, **files_of(entries[:size])}
        files |= {f"checkpoints/{size}": note for size, note in earlier}
        files |= self._manifests(manifest)
        for model in self._store.models.all():
            files[f"models/{model.version}.json"] = model.document
        for digest, document in self._store.models.audits().items():
            files[f"audits/{digest}.json"] = document
        for run in self._store.runs.ids():
            for row in self._store.runs.sums(run):
                digest = words_digest(np.frombuffer(row.total, dtype="<u8").astype(np.uint64))
                files[f"sums/{digest}.bin"] = row.total
            if uploads:
                for joined, words in self._store.runs.upload_words(run):
                    files[f"uploads/{joined}.bin"] = words
        return files

    def _shown_heads(
        self, manifest: Manifest, heads: Sequence[Shown], entries: Sequence[bytes]
    ) -> Sequence[Shown]:
        chain = self._chain(manifest)
        counted = [
            head for head in heads if any(self.witnesses.counts(head[1], one) for one in chain)
        ]
        if counted and _incident_after(entries, counted[-1][0]):
            # No quorum will ever cosign it: whoever raised the alarm must be heard.
            counted.append(heads[-1])
        return counted or heads[-1:]

    def _chain(self, newest: Manifest) -> list[Manifest]:
        """The manifest with all before it, the newest first."""
        chain = [newest]
        while chain[-1].previous is not None:
            chain.append(parse_manifest(self._bundle_of(chain[-1].previous).body))
        return chain

    def _bundle_of(self, digest: Digest) -> ManifestBundle:
        found = self._store.manifests.get(digest)
        if found is None:
            raise ManifestError(f"manifest {digest} is not in the database")
        return found

    def _manifests(self, newest: Manifest) -> Mapping[str, bytes]:
        files: dict[str, bytes] = {}
        for manifest in self._chain(newest):
            found, digest = self._bundle_of(manifest.digest), manifest.digest
            signers = {one.id for one in manifest.signers()}
            signed = tuple(one for one in found.signatures if one.member in signers)
            files[f"manifests/{digest}.json"] = found.body
            files[f"manifests/{digest}.sigs"] = document_of(Signatures(signed=signed))
            files[f"schemas/{manifest.schema}.json"] = found.schema
        return files


def _incident_after(entries: Sequence[bytes], size: int) -> bool:
    return any(type_of(one) == "incident" for one in entries[size:])


def member_entry(data: bytes, manifest: Manifest, member: PartnerId) -> Entry:
    """An entry that came from ``member``, its signature checked.

    Raises:
        DecodeError: none, not canonical, in another name, or of a type that it may not write.
        SignatureError: not under its key. Fault: the member.
    """
    entry = from_jcs(data)
    if entry.actor != member:
        raise DecodeError(f"{member} sent an entry of {entry.actor}")
    verify_entry(entry, data, manifest.member(member))
    return entry


def check_brought(data: bytes, manifest: Manifest, member: PartnerId) -> Entry:
    """An entry that a witness may bring with its question; raises as ``member_entry``.

    What goes with an answer or a vote comes with it and in no other way, for there it is
    compared with the facts.
    """
    entry = member_entry(data, manifest, member)
    if isinstance(entry.body, _RIDING | CEREMONY | OVERLAP):
        raise DecodeError(f"{member} brings {entry.type}, which goes with an answer")
    return entry


def adoption_of(data: bytes, signed: Signed, manifest: Manifest) -> tuple[bytes, ...]:
    """The entry that comes with a signature over ``manifest``; raises as ``member_entry``."""
    body = member_entry(data, manifest, signed.member).body
    expected = ManifestAdopted(
        manifest=signed.digest, version=manifest.version, signature=signed.signature
    )
    if body != expected:
        raise DecodeError(f"{signed.member} signed one manifest and logs another")
    return (data,)


def vote_of(data: bytes, vote: Vote, manifest: Manifest) -> tuple[bytes, ...]:
    """The entry that comes with a vote; raises as ``member_entry``."""
    body = member_entry(data, manifest, vote.member).body
    expected = ReleaseVote(
        version=vote.version,
        manifest=manifest.digest,
        accept=vote.accept,
        reason=vote.reason,
        number=vote.number,
    )
    if body != expected:
        raise DecodeError(f"{vote.member} casts one vote and logs another")
    return (data,)
