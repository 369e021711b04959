"""Consent receipts: 68 bytes each, read 256 at a time (protocol 7.8).

A receipt says for which person, purposes and families its asker has a consent on record. Who
is the controller is not in it: the clear part of the request names the asker, and its
signature covers every receipt. What a receipt claims is checked here; whether the person has
withdrawn it at a holder is that holder's to know.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label
from consortium.errors import DomainError, ScoreRefusal, ScoreRefusalError
from consortium.ids import Digest, PersonToken
from consortium.inquiries import LARGEST_BATCH, Purpose
from consortium.scoring.layout import MOST_FAMILIES, Flags

_RECORD = struct.Struct(">16s32sQIHHHBB")
RECEIPT_BYTES = _RECORD.size

_ROWS = np.dtype(
    [
        ("token", "u1", 16),
        ("evidence", "u1", 32),
        ("expires", ">u8"),
        ("families", ">u4"),
        ("purposes", ">u2"),
        ("epoch", ">u2"),
        ("notice", ">u2"),
        ("method", "u1"),
        ("state", "u1"),
    ]
)

_BITS = {purpose: 1 << place for place, purpose in enumerate(Purpose)}
_GIVEN = 1
_TOKEN_BYTES, _EVIDENCE_BYTES = 16, 32


class Method(IntEnum):
    """How the person agreed."""

    SIGNED = 1
    ONLINE = 2
    RECORDED = 3


_METHODS = frozenset(int(method) for method in Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One person's consent as the asker states it. Private."""

    token: PersonToken = field(repr=False)
    epoch: int
    """Of the token."""
    purposes: frozenset[Purpose]
    families: int
    """Bit f: the model's family number f, in the order of its document."""
    expires: int
    """Seconds since 1970, UTC; invalid from then on."""
    evidence: bytes = field(repr=False)
    """32 bytes that bind the asker's own record of the consent; salted by the asker."""
    notice: int = 1
    """Version of the notice that the person was shown."""
    method: Method = Method.SIGNED


@dataclass(frozen=True, slots=True)
class Receipts:
    """n receipts as they came, in order; made by ``unpack`` only. Private."""

    data: bytes = field(repr=False)
    rows: NDArray[np.void] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tokens(self) -> NDArray[np.uint8]:
        """Shape (n, 16)."""
        tokens: NDArray[np.uint8] = self.rows["token"]
        return tokens

    def allowed(self, families: int) -> Flags:
        """Which of so many families each receipt allows, shape (n, families)."""
        bits = self.rows["families"].astype(np.uint32)
        allowed: Flags = (bits[:, None] >> _PLACES[:families]) & np.uint32(1) != 0
        return allowed

    def granted(self, purpose: Purpose) -> Flags:
        """Which receipts allow a purpose, shape (n,)."""
        granted: Flags = (
            self.rows["purposes"].astype(np.uint16) & np.uint16(_BITS[purpose]) != 0
        )
        return granted


_PLACES = np.arange(MOST_FAMILIES, dtype=np.uint32)


def pack(receipts: Iterable[Receipt]) -> bytes:
    """The receipts' records, one after the other; raises DomainError."""
    return b"".join(map(_packed, receipts))


def _packed(receipt: Receipt) -> bytes:
    if len(receipt.token) != _TOKEN_BYTES or len(receipt.evidence) != _EVIDENCE_BYTES:
        raise DomainError("a receipt's token has 16 bytes, its evidence 32")
    try:
        return _RECORD.pack(
            receipt.token,
            receipt.evidence,
            receipt.expires,
            receipt.families,
            sum(_BITS[purpose] for purpose in receipt.purposes),
            receipt.epoch,
            receipt.notice,
            receipt.method,
            _GIVEN,
        )
    except struct.error as error:
        raise DomainError(f"a receipt's field is out of range: {error}") from error


def unpack(data: bytes, persons: int) -> Receipts:
    """Exactly so many receipts, or ScoreRefusalError (S11)."""
    if not 1 <= persons <= LARGEST_BATCH or len(data) != persons * RECEIPT_BYTES:
        raise ScoreRefusalError(
            ScoreRefusal.MALFORMED, f"{len(data)} bytes of receipts for {persons} persons"
        )
    return Receipts(data, np.frombuffer(data, dtype=_ROWS))


def receipt_digest(record: bytes) -> Digest:
    """``H(CONSENT ‖ receipt)`` of one record: its name in registers and logs."""
    return Digest(hashlib.sha256(Label.CONSENT.line + record).hexdigest())


def receipts_digest(data: bytes) -> Digest:
    """``H(CONSENTS ‖ H(CONSENT ‖ r_1) ‖ …)``: what the clear part names (protocol 7.3).

    It also commits to the tokens: an asker cannot show two responders different persons
    under one context, which would let it take their answers apart.
    """
    line = Label.CONSENT.line
    whole = hashlib.sha256(Label.CONSENTS.line)
    for start in range(0, len(data), RECEIPT_BYTES):
        whole.update(hashlib.sha256(line + data[start : start + RECEIPT_BYTES]).digest())
    return Digest(whole.hexdigest())


def check(receipts: Receipts, *, purpose: Purpose, families: int, epoch: int, now: int) -> None:
    """Raise unless every receipt covers this inquiry (protocol 7.8).

    The answer depends on the receipts alone and never on who is held here, so a refusal
    of the whole request tells nothing about a person.

    Args:
        receipts: As sent. Private.
        purpose: Of the inquiry.
        families: How many the model has.
        epoch: In force, of the manifest.
        now: Seconds since 1970, UTC.

    Raises:
        ScoreRefusalError: a token of another epoch (S13); a purpose that is not allowed, an
            expired or withdrawn receipt, no family, or one that the model lacks (S08).
    """
    bit, past_families = _BITS[purpose], 1 << families
    # One pass over plain integers: faster than arrays below 100 receipts, and fast enough.
    for record in _RECORD.iter_unpack(receipts.data):
        _, _, expires, granted, purposes, of_epoch, _, method, state = record
        if of_epoch != epoch:
            raise ScoreRefusalError(ScoreRefusal.EPOCH, f"a token that is not of epoch {epoch}")
        allowed = (
            purposes & bit
            and now < expires
            and state == _GIVEN
            and method in _METHODS
            and 0 < granted < past_families
        )
        if not allowed:
            raise ScoreRefusalError(
                ScoreRefusal.PURPOSE, f"a receipt that does not allow {purpose.value} now"
            )
