"""Signed notes: a text, a blank line, and a line for each signature (C2SP signed-note).

Whoever opens a note names the keys that it trusts. Signatures of unknown keys are kept and
say nothing; one of a known key that fails ends the note.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from consortium.canonical import u64
from consortium.crypto.keys import KEY_BYTES, NoteKey, verify_note
from consortium.errors import DecodeError, SignatureError

MOST_SIGNATURES = 100
"""As Go's reader: above it a note is malformed."""

_ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 4, 8, 64
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME = re.compile(r"[^\s+]+")
_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\n")
_VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_LAST_TIME = (1 << 63) - 1


class SignatureType(IntEnum):
    """What the signature is over. The byte is open: ML-DSA-44 (0x06) may join later."""

    NOTE = 0x01
    """Ed25519 over the text."""
    COSIGNATURE = 0x04
    """Ed25519 over ``cosignature/v1``, a time and the text (C2SP tlog-cosignature)."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line."""

    name: str
    key_id: bytes
    signature: bytes
    """What follows the key id; of a cosignature with its time before it."""

    @property
    def line(self) -> str:
        """The line with its end."""
        text = base64.b64encode(self.key_id + self.signature).decode("ascii")
        return f"— {self.name} {text}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it was read; nothing of it is verified."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """The note as it is stored and sent."""
        return (self.text + "\n" + "".join(one.line for one in self.signatures)).encode()

    def with_signature(self, signature: NoteSignature) -> "Note":
        """The note with one line more; a line of the same key is replaced."""
        others = tuple(
            one
            for one in self.signatures
            if (one.name, one.key_id) != (signature.name, signature.key_id)
        )
        return replace(self, signatures=(*others, signature))


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key that is known by name, and what it signs."""

    name: str
    type: SignatureType
    public: bytes

    def __post_init__(self) -> None:
        """Raise DecodeError for a name with spaces or a plus, or a key of another length."""
        if not _NAME.fullmatch(self.name) or len(self.public) != KEY_BYTES:
            raise DecodeError(f"note key {self.name!r:.80} of {len(self.public)} bytes")

    @property
    def key_id(self) -> bytes:
        r"""``SHA-256(name ‖ "\n" ‖ type ‖ public key)[:4]``."""
        head = self.name.encode() + b"\n" + bytes([self.type])
        return hashlib.sha256(head + self.public).digest()[:_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The one-line form that other tools read: ``name+id+base64(type ‖ key)``."""
        key = base64.b64encode(bytes([self.type]) + self.public).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def time_of(self, note: Note, found: NoteSignature) -> int:
        """Seconds of a cosignature, 0 of a note signature; SignatureError if it fails."""
        text, signature, time = note.text.encode(), found.signature, 0
        if self.type is SignatureType.COSIGNATURE:
            time = int.from_bytes(signature[:_TIME_BYTES], "big")
            text, signature = cosigned_text(note.text, time), signature[_TIME_BYTES:]
        if len(signature) != _SIGNATURE_BYTES or time > _LAST_TIME:
            raise SignatureError(f"{self.name}: a signature of another form")
        verify_note(self.public, text, signature)
        return time


def parse_vkey(text: str) -> Verifier:
    """The verifier of its one-line form.

    Raises:
        DecodeError: not of that form, of an unknown type, or the id is not the key's.
    """
    match = _VKEY.fullmatch(text)
    key = _base64(match[3]) if match else b""
    if match is None or not key or key[0] not in list(SignatureType):
        raise DecodeError(f"no verifier key: {text[:80]!r}")
    found = Verifier(match[1], SignatureType(key[0]), key[1:])
    if found.vkey != text:
        raise DecodeError(f"verifier key {found.name}: the id is not the key's")
    return found


def parse_note(data: bytes) -> Note:
    """Return the note, or raise DecodeError; no signature is verified.

    Raises:
        DecodeError: not UTF-8, a control character, no blank line, no signature or more than
            100, a line that is not of the form. Fault: the sender.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("note: not UTF-8") from error
    if _CONTROL.search(text):
        raise DecodeError("note: a control character")
    head, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise DecodeError("note: no signatures after a blank line")
    lines = tail.splitlines(keepends=True)
    if len(lines) > MOST_SIGNATURES:
        raise DecodeError(f"note: more than {MOST_SIGNATURES} signatures")
    return Note(head + "\n", tuple(_signature(line) for line in lines))


def open_note(data: bytes, known: Sequence[Verifier]) -> tuple[Note, dict[Verifier, int]]:
    """The note, and of each known key that signed it the time (0 of a note signature).

    Raises:
        DecodeError: as ``parse_note``.
        SignatureError: a known key's signature fails. Fault: who changed the note.
    """
    note = parse_note(data)
    keys = {(one.name, one.key_id): one for one in known}
    times: dict[Verifier, int] = {}
    for signature in note.signatures:
        verifier = keys.get((signature.name, signature.key_id))
        if verifier is not None and verifier not in times:
            times[verifier] = verifier.time_of(note, signature)
    return note, times


def sign_note(text: str, *, name: str, key: NoteKey) -> Note:
    """A note with one plain signature.

    Raises:
        DecodeError: the text does not end with a line's end, or the name is not of its form.
    """
    if not text.endswith("\n"):
        raise DecodeError("note: the text does not end with a line")
    verifier = Verifier(name, SignatureType.NOTE, key.public)
    signature = NoteSignature(name, verifier.key_id, key.sign(text.encode()))
    return Note(text, (signature,))


def cosign_note(note: Note, *, name: str, key: NoteKey, time: int) -> NoteSignature:
    """A witness's line for the note, at ``time`` (seconds since 1970)."""
    verifier = Verifier(name, SignatureType.COSIGNATURE, key.public)
    signature = key.sign(cosigned_text(note.text, time))
    return NoteSignature(name, verifier.key_id, u64(time) + signature)


def cosigned_text(text: str, time: int) -> bytes:
    """What a cosignature of ``text`` at ``time`` is over."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _signature(line: str) -> NoteSignature:
    match = _LINE.fullmatch(line)
    value = _base64(match[2]) if match else b""
    if match is None or len(value) <= _ID_BYTES:
        raise DecodeError(f"note: not a signature line: {line[:80]!r}")
    return NoteSignature(match[1], value[:_ID_BYTES], value[_ID_BYTES:])


def _base64(text: str) -> bytes:
    """The bytes, or none if ``text`` is not their one encoding."""
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
    return value if base64.b64encode(value).decode("ascii") == text else b""
