"""One entry's place in the log, in one text that is verified offline (C2SP tlog-proof).

Index, path and checkpoint travel together; the entry itself does not. The optional extra data
are nobody's word: they are carried and never used.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from consortium.errors import DecodeError
from consortium.ledger.checkpoint import Cosigned, open_checkpoint
from consortium.ledger.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from consortium.manifest import Manifest

HEADER = "c2sp.org/tlog-proof@v1"
MOST_HASHES = 63
"""A longer path leads to more leaves than there are indices."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """A parsed proof; nothing of it is verified."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    """The signed note, as the log and its witnesses made it."""
    extra: bytes | None = None

    def to_bytes(self) -> bytes:
        """The proof as a file."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append("extra " + base64.b64encode(self.extra).decode("ascii"))
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(one).decode("ascii") for one in self.path]
        return "\n".join([*lines, "", ""]).encode("ascii") + self.checkpoint


def parse_proof(data: bytes) -> LogProof:
    """The proof in ``data``, or DecodeError."""
    head, blank, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise DecodeError("proof: not ASCII before the checkpoint") from error
    if not blank or lines[0] != HEADER:
        raise DecodeError(f"proof: not a {HEADER}")
    lines = lines[1:]
    extra = None
    if lines and lines[0].startswith("extra "):
        extra, lines = _base64(lines[0].removeprefix("extra ")), lines[1:]
    match = _INDEX.fullmatch(lines[0]) if lines else None
    if match is None or len(lines) - 1 > MOST_HASHES:
        raise DecodeError("proof: no index, or too many hashes")
    path = tuple(_base64(line) for line in lines[1:])
    if any(len(one) != HASH_BYTES for one in path):
        raise DecodeError("proof: a hash of another length")
    return LogProof(index=int(match[1]), path=path, checkpoint=checkpoint, extra=extra)


def verify_proof(proof: LogProof, entry: bytes, manifest: Manifest) -> Cosigned:
    """Return the checkpoint that ``entry`` is under.

    Raises:
        DecodeError, SignatureError: the checkpoint, as ``open_checkpoint``.
        ProofError: the entry is not at that index.
    """
    cosigned = open_checkpoint(proof.checkpoint, manifest)
    head = cosigned.checkpoint
    verify_inclusion(leaf_hash(entry), proof.index, head.size, path=proof.path, root=head.root)
    return cosigned


def _base64(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise DecodeError("proof: not base64") from error
    if base64.b64encode(value).decode("ascii") != text:
        raise DecodeError("proof: a second way to write a hash")
    return value
