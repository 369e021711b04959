"""A live witness: it mirrors the log, cosigns what only grows, and raises alarm (8.5, 8.8).

Every portion is checked before it counts: entries, their signatures, the root, the proof from
the last head that was cosigned here. What does not fit is never cosigned again; the refusal is
an ``incident`` signed by the regulator, with both heads kept beside it, and an exit code.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from consortium.canonical import canonical_json
from consortium.crypto.keys import IdentityKey
from consortium.errors import (
    CosignatureError,
    DecodeError,
    ForkError,
    LogError,
    ManifestError,
    OutOfOrderError,
    ProofError,
    ProtocolError,
    RiskWeaveError,
    RollbackError,
    SignatureError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, digest_of
from consortium.ledger.checkpoint import open_checkpoint
from consortium.ledger.entries import (
    Body,
    Entry,
    Incident,
    ManifestAdopted,
    from_jcs,
    sign_entry,
    verify_entry,
)
from consortium.ledger.findings import Grade
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.witness import Head, WitnessKey, check_quorum, cosign
from consortium.manifest import Manifest, Member
from consortium.messages import LogHead, ManifestBundle, WitnessQuestion
from regulator.files import write_file
from regulator.keys import Pin, read_bundle
from regulator.mirror import Mirror, Outbox

_LONG_ALONE_S = 60
"""A coordinator that cannot be reached for so long is told as a warning."""
_MOST_BROUGHT = 64
"""Own entries in one question."""

NAMES: dict[type[LogError], str] = {
    RollbackError: "log.rollback",
    ForkError: "log.fork",
    ProofError: "log.rewritten",
}


class EntryError(LogError):
    """An entry of the log that nobody can have signed so."""

    code = "entry"


class Reader(Protocol):
    """The coordinator, as ``log_reader`` reaches it."""

    def fetch_manifest(self, digest: Digest | None = None) -> ManifestBundle:
        """A manifest; nothing in it is checked."""

    def witness(self, question: WitnessQuestion) -> LogHead:
        """What the mirror lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPorts:
    """The watch's surroundings."""

    directory: Path
    mirror: Mirror
    outbox: Outbox
    pin: Callable[[Reader], Pin]
    """The manifest that this regulator signed, signed by all; ManifestError before that."""
    member: PartnerId
    identity: IdentityKey
    witness: WitnessKey
    now: Callable[[], int]
    tell: Callable[[str], None]
    """One line for whoever looks on."""


@dataclass(slots=True)
class Watch:
    """Asks for the log and answers for it; ``worst`` is the grade of what it has seen."""

    ports: WatchPorts
    worst: Grade | None = None
    _manifests: list[Manifest] = field(default_factory=list)
    """The pinned one and those before it."""
    _told: str = ""
    _silent_since: int | None = None
    _counted: int = 0

    def look(self, reader: Reader) -> None:
        """Take up everything that is new.

        Raises:
            LogError: the log was rolled back, forked or rewritten: the alarm is on the disk
                and in the outbox, and this log is not cosigned again.
            RiskWeaveError: this time it could not be done.
        """
        pin = self.ports.pin(reader)
        shown = self._asked(reader, WitnessQuestion(known=self.ports.mirror.head.size))
        while shown.note:
            try:
                answer = self._on_head(reader, pin, shown)
            except LogError as error:
                self._alarm(error, shown)
                self._asked(reader, WitnessQuestion(known=self.ports.mirror.head.size))
                raise
            shown = self._asked(reader, answer)
        self._on_counted(pin, shown.cosigned)
        self._told, self._silent_since = "", None

    def failed(self, error: RiskWeaveError) -> None:
        """Tell of an error once, and of a long silence as a warning."""
        now = self.ports.now()
        if self._silent_since is None:
            self._silent_since = now
        elif isinstance(error, TransportError) and now - self._silent_since > _LONG_ALONE_S:
            self._grade(Grade.WARNING)
        if str(error) != self._told:
            self._told = str(error)
            self.ports.tell(f"waiting: {error}")

    def entry(self, body: Body) -> bytes:
        """A signed entry of this regulator's, resting on the newest head that counts."""
        return signed_entry(
            body,
            member=self.ports.member,
            identity=self.ports.identity,
            hint=self._counted,
            at=self.ports.now(),
        )

    # --- the log ------------------------------------------------------------------------------

    def _asked(self, reader: Reader, question: WitnessQuestion) -> LogHead:
        """Ask, and bring what waits; entries that are refused must not stop the witness."""
        waiting = self.ports.outbox.waiting()[:_MOST_BROUGHT]
        if waiting:
            full = WitnessQuestion(
                known=question.known,
                size=question.size,
                cosignature=question.cosignature,
                entries=waiting,
            )
            try:
                return reader.witness(full)
            except (OutOfOrderError, ProtocolError, SignatureError, ManifestError) as error:
                self._grade(Grade.WARNING)
                self.ports.tell(f"the coordinator does not take entries from here: {error}")
        return reader.witness(question)

    def _on_head(self, reader: Reader, pin: Pin, shown: LogHead) -> WitnessQuestion:
        """Check a portion, keep it, and cosign its head."""
        ports, known = self.ports, self.ports.mirror.head
        head, line = cosign(
            known,
            shown.note,
            shown.proof,
            manifest=pin.manifest,
            witness=ports.witness,
            now=ports.now(),
        )
        entries = self._checked(reader, pin, known, head, shown)
        self._grow(head, shown)
        ports.mirror.advance(head, shown.note, shown.entries)
        self._progress(known, head, entries)
        ports.outbox.seen(shown.entries)
        if ports.mirror.state.alarm:  # not settled: what grows is kept, and not cosigned
            return WitnessQuestion(known=head.size)
        return WitnessQuestion(known=head.size, size=head.size, cosignature=line.signature)

    def _checked(  # noqa: PLR0917 - one portion and what it is held against
        self, reader: Reader, pin: Pin, known: Head, head: Head, shown: LogHead
    ) -> list[Entry]:
        if shown.first != known.size or len(shown.entries) != head.size - known.size:
            raise ProofError(
                f"{len(shown.entries)} entries from {shown.first} on do not lead "
                f"from {known.size} to {head.size}"
            )
        members = _Members(reader, self._chain(reader, pin))
        return [
            members.verified(index, data)
            for index, data in enumerate(shown.entries, start=known.size)
        ]

    def _grow(self, head: Head, shown: LogHead) -> None:
        mirror = self.ports.mirror
        for data in shown.entries:
            mirror.tree.append(leaf_hash(data))
        if mirror.tree.root() != head.root:
            mirror.reload()
            raise ProofError(f"the entries do not have the root of the head at {head.size}")

    def _chain(self, reader: Reader, pin: Pin) -> list[Manifest]:
        if not self._manifests or self._manifests[0].digest != pin.manifest.digest:
            chain = [pin.manifest]
            while chain[-1].previous is not None:
                bundle = reader.fetch_manifest(chain[-1].previous)
                chain.append(read_bundle(bundle, chain[-1].previous).manifest)
            self._manifests = chain
        return self._manifests

    def _on_counted(self, pin: Pin, note: bytes) -> None:
        """The newest head that counts: kept, and told when it is another."""
        if not note:
            return
        opened = open_checkpoint(note, pin.manifest)
        size, mirror = opened.checkpoint.size, self.ports.mirror
        if size <= mirror.tree.size and mirror.tree.root(size) != opened.checkpoint.root:
            error = ForkError(size, opened.checkpoint.root.hex(), mirror.tree.root(size).hex())
            self._alarm(error, LogHead(note=note))
            raise error
        try:
            names = check_quorum(opened, pin.manifest, now=self.ports.now())
        except CosignatureError as error:
            self._grade(Grade.WARNING)
            self.failed(error)
            return
        mirror.keep_counted(note)
        if size > self._counted:
            self._counted = size
            self.ports.tell(f"head of {size} entries counts: cosigned by {', '.join(names)}")

    # --- what is told -------------------------------------------------------------------------

    def _progress(self, known: Head, head: Head, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        kinds = Counter(entry.type for entry in entries)
        words = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
        self.ports.tell(f"log of {head.size} entries (+{head.size - known.size}): {words}")
        for index, entry in enumerate(entries, start=known.size):
            body = entry.body
            if isinstance(body, Incident) and entry.actor != self.ports.member:
                self._grade(Grade.WARNING)
                self.ports.tell(f"warning: {entry.actor} reports {body.kind} at entry {index}")

    def _alarm(self, error: LogError, shown: LogHead) -> None:
        """Keep both heads, sign that they do not fit, and stop cosigning."""
        ports = self.ports
        state, name = ports.mirror.state, NAMES.get(type(error), "log.entry")
        self._grade(Grade.ERROR)
        text = canonical_json(
            {
                "kind": name,
                "text": str(error),
                "at": ports.now(),
                "cosigned_size": state.head.size,
                "cosigned_root": state.head.root.hex(),
                "cosigned_head": state.note.hex(),
                "shown_head": shown.note.hex(),
                "proof": [one.hex() for one in shown.proof],
            }
        )
        if state.alarm != name:
            place = ports.directory / "incidents"
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            digest = digest_of(text)
            write_file(place / f"{digest}.json", text)
            ports.mirror.keep_alarm(name, digest)
            ports.outbox.add(self.entry(Incident(kind=name, text=digest)))
        ports.tell(f"ALARM {name}: {error}")

    def _grade(self, grade: Grade) -> None:
        grades = list(Grade)
        if self.worst is None or grades.index(grade) < grades.index(self.worst):
            self.worst = grade


@dataclass(slots=True)
class _Members:
    """Who may have signed an entry: members of any manifest that leads to the pinned one."""

    reader: Reader
    chain: list[Manifest]

    def verified(self, index: int, data: bytes) -> Entry:
        """The entry, if one of them signed it in a role that may; EntryError if not."""
        try:
            entry = from_jcs(data)
        except DecodeError as error:
            raise EntryError(f"entry {index}: {error}") from error
        reason = f"{entry.actor} is no member"
        for member in self._candidates(entry):
            try:
                verify_entry(entry, data, member)
            except (DecodeError, SignatureError) as error:
                reason = str(error)
            else:
                return entry
        raise EntryError(f"entry {index}, {entry.type}: {reason}")

    def _candidates(self, entry: Entry) -> list[Member]:
        manifests = list(self.chain)
        body = entry.body
        if isinstance(body, ManifestAdopted) and body.manifest not in {
            one.digest for one in manifests
        }:
            # A draft that others have signed before this regulator.
            with suppress(RiskWeaveError):
                bundle = self.reader.fetch_manifest(body.manifest)
                manifests.append(read_bundle(bundle, body.manifest).manifest)
        found: list[Member] = []
        for manifest in manifests:
            for member in manifest.members:
                if member.id == entry.actor and member not in found:
                    found.append(member)
        return found


def signed_entry(
    body: Body, *, member: PartnerId, identity: IdentityKey, hint: int, at: int
) -> bytes:
    """The canonical bytes of an entry under the regulator's signature."""
    bare = Entry(seq_hint=hint, at=at, actor=member, body=body)
    return sign_entry(bare, identity).to_jcs()
