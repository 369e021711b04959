"""The coordinator's log: its own entries, those of the members, signed heads, the bundle.

Entries are appended by the store in the transaction of the event that they are of; here they
are signed or checked, and the head is signed within that transaction. So no event counts that
is not in the log, and the log costs no commit of its own (protocol 8.2, 8.8).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consortium.crypto.keys import IdentityKey, NoteKey
from consortium.documents import document_of
from consortium.errors import DecodeError, ManifestError, OutOfOrderError, RiskWeaveError
from consortium.ids import Digest, PartnerId
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
    ManifestAdopted,
    ReleaseServed,
    ReleaseVote,
    from_jcs,
    sign_entry,
    verify_entry,
)
from consortium.ledger.evidence import Signatures
from consortium.ledger.merkle import Tree
from consortium.ledger.note import NoteSignature, Verifier, parse_note
from consortium.ledger.tiles import files_of
from consortium.ledger.witness import check_quorum
from consortium.manifest import Manifest, parse_manifest
from consortium.messages import LogHead, Signed, Vote, WitnessQuestion
from consortium.secagg.uploads import words_digest
from coordinator.storage import Store

PATIENCE_S = 10
"""How long a head is shown to witnesses before a newer one takes its place."""
_HEADS = 64
MOST_ENTRIES = 4096
"""Entries that one answer of a member may carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeys:
    """What the coordinator signs with: its entries, and heads. ``note`` signs nothing else."""

    member: PartnerId
    identity: IdentityKey
    note: NoteKey


class AuditLog:
    """The log over one store; from any thread. ``now`` gives seconds, UTC."""

    def __init__(
        self, store: Store, *, federation: str, keys: LogKeys, now: Callable[[], int]
    ) -> None:
        self._store = store
        self._origin = origin_named(federation)
        self._keys = keys
        self._now = now
        self._turn = threading.Lock()
        self._tree = Tree()
        self._shown = (0, 0)
        """Size of the head that witnesses are shown, and since when."""
        store.log_with(self)

    def entry(self, body: Body) -> bytes:
        """An entry of the coordinator's own."""
        bare = Entry(seq_hint=0, at=self._now(), actor=self._keys.member, body=body)
        return sign_entry(bare, self._keys.identity).to_jcs()

    def served(self, version: Digest, previous: Digest | None) -> tuple[bytes, ...]:
        """What is said when a version becomes the active one."""
        return (self.entry(ReleaseServed(version=version, previous=previous)),)

    def append(self, entries: Sequence[bytes]) -> None:
        """Append those that the log does not have."""
        self._store.append(self._store.not_logged(entries))

    def seal(
        self, start: int, added: Sequence[bytes], leaves: Callable[[int], Sequence[bytes]]
    ) -> bytes:
        """``storage.Sealer``: the signed head; called inside the transaction that appends."""
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
        """Take a partner's cosignature, if it brings one; return the head to cosign next.

        All are shown the same head until it counts or ``PATIENCE_S`` have passed, for heads
        come faster than witnesses ask.

        Raises:
            SignatureError: the cosignature fails. Fault: the partner.
            OutOfOrderError: of a head that there is not, or by no witness.
        """
        witness = witness_verifiers(manifest).get(member)
        if witness is None:
            raise OutOfOrderError(f"{member} is no witness of this log")
        if question.size:
            self._cosign(question, witness)
        # The database is read outside the lock: ``seal`` takes it inside a transaction.
        heads = dict(self._store.log_heads(last=_HEADS))
        with self._turn:
            size = self._due(heads, manifest)
            tree = self._tree
            if size <= question.known:
                return LogHead()
            root = open_checkpoint(heads[size], manifest).checkpoint.root
            if tree.size >= size and tree.root(size) == root:
                return LogHead(note=heads[size], proof=tree.consistency(question.known, size))
        tree = Tree(self._store.log_leaves())
        return LogHead(note=heads[size], proof=tree.consistency(question.known, size))

    def witnessed(self, manifest: Manifest) -> bool:
        """Whether the newest head counts: everything in the log is under it."""
        heads = self._store.log_heads(last=1)
        return bool(heads) and counts(heads[0][1], manifest)

    def _cosign(self, question: WitnessQuestion, witness: Verifier) -> None:
        line = NoteSignature(witness.name, witness.key_id, question.cosignature)

        def with_line(note: bytes) -> bytes:
            parsed = parse_note(note)
            witness.time_of(parsed, line)
            return parsed.with_signature(line).to_bytes()

        if self._store.change_head(question.size, with_line) is None:
            raise OutOfOrderError(f"{witness.name} cosigned a head of {question.size} entries")

    def _due(self, heads: Mapping[int, bytes], manifest: Manifest) -> int:
        """Size of the head that is being cosigned."""
        size, since = self._shown
        stale = self._now() - since > PATIENCE_S
        if size not in heads or stale or counts(heads[size], manifest, now=self._now()):
            self._shown = (max(heads, default=0), self._now())
        return self._shown[0]

    # --- the bundle (protocol 8.7, 8.8) -------------------------------------------------------

    def bundle(self, manifest: Manifest) -> dict[str, bytes]:
        """The files of an audit bundle: the log, and what its entries name by digest.

        It ends with the newest head that counts, and shows all before it that do; of a log
        that no quorum ever cosigned it ends with the newest head.

        Args:
            manifest: In force; those before it come along.

        Raises:
            ManifestError: there is no log yet.
        """
        heads, entries = self._store.log_heads(), self._store.log_entries()
        if not heads:
            raise ManifestError("the log is empty: nobody has signed a manifest")
        counted = [one for one in heads if counts(one[1], manifest)]
        *earlier, (size, head) = counted or heads[-1:]
        files = {"checkpoint": head, **files_of(entries[:size])}
        files |= {f"checkpoints/{size}": note for size, note in earlier}
        files |= self._manifests(manifest)
        for model in self._store.models():
            files[f"models/{model.version}.json"] = model.document
        for digest, document in self._store.audits().items():
            files[f"audits/{digest}.json"] = document
        for run in self._store.runs():
            for row in self._store.sums(run):
                digest = words_digest(np.frombuffer(row.total, dtype="<u8").astype(np.uint64))
                files[f"sums/{digest}.bin"] = row.total
        return files

    def _manifests(self, newest: Manifest) -> Mapping[str, bytes]:
        files: dict[str, bytes] = {}
        wanted: Digest | None = newest.digest
        while wanted is not None:
            found = self._store.manifest(wanted)
            if found is None:
                raise ManifestError(f"manifest {wanted} is not in the database")
            manifest = parse_manifest(found.body)
            signers = {one.id for one in manifest.signers()}
            signed = tuple(one for one in found.signatures if one.member in signers)
            files[f"manifests/{wanted}.json"] = found.body
            files[f"manifests/{wanted}.sigs"] = document_of(Signatures(signed=signed))
            files[f"schemas/{manifest.schema}.json"] = found.schema
            wanted = manifest.previous
        return files


def counts(note: bytes, manifest: Manifest, *, now: int | None = None) -> bool:
    """Whether a head has its quorum (8.5): now, or at the time of its last cosignature."""
    try:
        opened = open_checkpoint(note, manifest)
        last = max(opened.times.values(), default=0)
        check_quorum(opened, manifest, now=last if now is None else now)
    except RiskWeaveError:
        return False
    return True


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
