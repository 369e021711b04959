"""The records behind a ``score.batch``: what is kept of each inquiry, and its root (7.13).

A record has a salt (of its consents) and the digest of a request with fresh keys in it, so its
leaf hash tells nobody what it is of. A batch in a bundle is all of its leaves in order, opened
or as hashes; so the root and the number of records are proven whatever is shown.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, DomainError, IdentifierError
from consortium.ids import (
    Digest,
    PartnerId,
    RequestId,
    parse_digest,
    parse_partner_id,
    parse_request_id,
)
from consortium.inquiries import LARGEST_BATCH, Purpose
from consortium.ledger.merkle import HASH_BYTES, Tree, leaf_hash

OUTCOMES = ("answered", "incomplete", "left", "absent")
"""All answered; somebody did not; the asker left; nobody was asked, for somebody had left."""
ANSWERED = "answered"

_LENGTH = 2
_LARGEST = 2**16 - 1
_CONSENTS = re.compile(r"[0-9a-f]{32}:[0-9a-f]{64}")
_STATUS = re.compile(r"answered|left|silent|unheard|S[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of one partner of a request's roster."""

    member: PartnerId
    status: str
    """answered, left, silent, unheard, or the code of a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InquiryRecord:
    """One inquiry, without token, words, band or score."""

    request: RequestId
    requester: PartnerId
    roster_version: int
    purpose: Purpose
    model: Digest
    consents: str
    """Salt, colon, salted hash of the consents' digest."""
    context: Digest
    """sctx: whoever holds the signed request can show that it is this one."""
    persons: int
    began_ms: int
    ended_ms: int
    """Milliseconds since 1970, UTC."""
    outcome: str
    responders: tuple[Asked, ...]
    """Of the roster without the asker, sorted."""
    retry_of: RequestId | None

    @property
    def roster(self) -> frozenset[PartnerId]:
        """Whom it was asked of, the asker among them."""
        return frozenset({self.requester, *(one.member for one in self.responders)})


def record_bytes(record: InquiryRecord) -> bytes:
    """The leaf's content."""
    return document_of(record)


def parse_record(data: bytes) -> InquiryRecord:
    """The record of these bytes.

    Raises:
        DecodeError: not canonical, or a value that no record has. Fault: the coordinator.
    """
    record = parse_document(InquiryRecord, data)
    try:
        parse_request_id(record.request)
        parse_request_id(record.retry_of or record.request)
        parse_digest(record.model)
        parse_digest(record.context)
        names = [parse_partner_id(one.member) for one in record.responders]
        parse_partner_id(record.requester)
    except IdentifierError as error:
        raise DecodeError(f"inquiry: {error}") from error
    fits = (
        _CONSENTS.fullmatch(record.consents)
        and record.outcome in OUTCOMES
        and names == sorted(set(names))
        and record.requester not in names
        and all(_STATUS.fullmatch(one.status) for one in record.responders)
        and 1 <= record.persons <= LARGEST_BATCH
        and 0 <= record.began_ms <= record.ended_ms
    )
    if not fits:
        raise DecodeError(f"inquiry {record.request}: not the record of one")
    return record


def batch_root(records: Sequence[bytes]) -> Digest:
    """Merkle root of the records of one batch."""
    return Digest(Tree(leaf_hash(data) for data in records).root().hex())


@dataclass(frozen=True, slots=True)
class Leaf:
    """A record of a batch: opened, or its hash alone."""

    digest: bytes
    data: bytes | None = None


def encode_batch(leaves: Iterable[Leaf]) -> bytes:
    """A batch as a file: each leaf as length and record, or as length 0 and hash."""
    parts: list[bytes] = []
    for one in leaves:
        data = b"" if one.data is None else one.data
        if len(data) > _LARGEST:
            raise DomainError(f"a record of {len(data)} bytes")
        parts += [len(data).to_bytes(_LENGTH, "big"), data or one.digest]
    return b"".join(parts)


def decode_batch(data: bytes) -> tuple[Leaf, ...]:
    """The leaves of a batch's file.

    Raises:
        DecodeError: it ends within a leaf, or is empty.
    """
    leaves: list[Leaf] = []
    start = 0
    while start < len(data):
        size = int.from_bytes(data[start : start + _LENGTH], "big")
        begin = start + _LENGTH
        start = begin + (size or HASH_BYTES)
        if start > len(data):
            raise DecodeError("batch of inquiries: it ends within a record")
        content = data[begin:start]
        leaves.append(Leaf(leaf_hash(content), content) if size else Leaf(content))
    if not leaves:
        raise DecodeError("batch of inquiries: empty")
    return tuple(leaves)


def root_of_leaves(leaves: Sequence[Leaf]) -> Digest:
    """Merkle root of a batch, opened or not."""
    return Digest(Tree(one.digest for one in leaves).root().hex())
