"""The head of the log as a signed note: origin, size, root (C2SP tlog-checkpoint).

The log's key is the ``witness`` key in the coordinator's entry of the manifest: the one key of
the coordinator that signs notes. Ours have no extension lines, and none are read.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from consortium.crypto.keys import NoteKey
from consortium.errors import DecodeError, ManifestError, SignatureError
from consortium.ids import PartnerId
from consortium.ledger.merkle import HASH_BYTES
from consortium.ledger.note import Note, SignatureType, Verifier, open_note, sign_note
from consortium.manifest import Manifest, Member, Role

_BODY = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The log's head at one size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text."""
        root = base64.b64encode(self.root).decode("ascii")
        return f"{self.origin}\n{self.size}\n{root}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """A checkpoint that the log signed, with the witnesses that cosigned it."""

    checkpoint: Checkpoint
    note: Note
    times: Mapping[PartnerId, int]
    """Seconds of each witness's cosignature, by member id; all are verified."""


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint of a note's text, or DecodeError."""
    match = _BODY.fullmatch(text)
    root = base64.b64decode(match[3]) if match else b""
    if match is None or len(root) != HASH_BYTES:
        raise DecodeError("checkpoint: not origin, size and root")
    found = Checkpoint(origin=match[1], size=int(match[2]), root=root)
    if found.text != text:
        raise DecodeError("checkpoint: a second way to write the root")
    return found


def origin_of(manifest: Manifest) -> str:
    """The log's name: ``riskweave/`` and the federation's, percent-encoded."""
    return origin_named(manifest.federation)


def origin_named(federation: str) -> str:
    """The name of the log of a federation of that name."""
    return "riskweave/" + quote(federation, safe="")


def witness_name(manifest: Manifest, member: PartnerId) -> str:
    """A witness's name in signature lines: the log's origin, a slash, the member's id."""
    return f"{origin_of(manifest)}/{member}"


def log_verifier(manifest: Manifest) -> Verifier:
    """The key that checkpoints are signed with; ManifestError if the manifest has none."""
    return _verifier(manifest.coordinator, origin_of(manifest), SignatureType.NOTE)


def witness_verifiers(manifest: Manifest) -> dict[PartnerId, Verifier]:
    """The keys of all witnesses: active partners and regulators that have one."""
    return {
        member.id: _verifier(
            member, witness_name(manifest, member.id), SignatureType.COSIGNATURE
        )
        for member in manifest.members
        if member.active and member.role is not Role.COORDINATOR and member.witness
    }


def _verifier(member: Member, name: str, kind: SignatureType) -> Verifier:
    if not member.witness:
        raise ManifestError(f"{member.id} has no witness key in the manifest")
    return Verifier(name, kind, bytes.fromhex(member.witness))


def sign_checkpoint(checkpoint: Checkpoint, key: NoteKey) -> Note:
    """The checkpoint under the log's signature; the key's name is the origin."""
    return sign_note(checkpoint.text, name=checkpoint.origin, key=key)


def open_checkpoint(data: bytes, manifest: Manifest) -> Cosigned:
    """Return what the log and the witnesses of ``manifest`` signed.

    How many witnesses must have, and how long ago, is ``witness.check_quorum``.

    Raises:
        DecodeError: no note, or its text is no checkpoint.
        SignatureError: the log's signature is missing, or one of a known key fails.
        ManifestError: the manifest names no key of the log.
    """
    log, witnesses = log_verifier(manifest), witness_verifiers(manifest)
    note, times = open_note(data, [log, *witnesses.values()])
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log.name:
        raise SignatureError(f"checkpoint of another log: {checkpoint.origin[:80]}")
    if log not in times:
        raise SignatureError(f"checkpoint of {checkpoint.size} entries: not signed by the log")
    cosigned = {name: times[key] for name, key in witnesses.items() if key in times}
    return Cosigned(checkpoint=checkpoint, note=note, times=cosigned)
