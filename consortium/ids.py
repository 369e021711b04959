"""Names of parties, runs and artefacts, and the only parsers that make them (protocol 0.4)."""

import hashlib
import re
from typing import NewType

from consortium.errors import IdentifierError

PartnerId = NewType("PartnerId", str)
"""ASCII ``[a-z0-9_-]{1,32}``; sorted by its bytes."""

Digest = NewType("Digest", str)
"""SHA-256, 64 lower-case hex characters."""

RunId = NewType("RunId", str)
"""16 bytes, 32 lower-case hex characters."""

RequestId = NewType("RequestId", str)
"""16 fresh bytes of one score request, 32 lower-case hex characters."""

PersonToken = NewType("PersonToken", bytes)
"""16 bytes: a person's pseudonym of one epoch, which no partner can compute alone."""

_PARTNER = re.compile(r"[a-z0-9_-]{1,32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"[0-9a-f]{32}")


def parse_partner_id(text: str) -> PartnerId:
    """Return the id, or raise IdentifierError."""
    if not _PARTNER.fullmatch(text):
        raise IdentifierError("partner id", text, "1 to 32 of a-z, 0-9, hyphen, underscore")
    return PartnerId(text)


def parse_digest(text: str) -> Digest:
    """Return the digest, or raise IdentifierError."""
    if not _DIGEST.fullmatch(text):
        raise IdentifierError("digest", text, "64 lower-case hex characters")
    return Digest(text)


def parse_run_id(text: str) -> RunId:
    """Return the run id, or raise IdentifierError."""
    if not _RUN.fullmatch(text):
        raise IdentifierError("run id", text, "32 lower-case hex characters")
    return RunId(text)


def parse_request_id(text: str) -> RequestId:
    """Return the request id, or raise IdentifierError."""
    if not _RUN.fullmatch(text):
        raise IdentifierError("request id", text, "32 lower-case hex characters")
    return RequestId(text)


def digest_of(data: bytes) -> Digest:
    """SHA-256 of ``data`` as a Digest. Domain separation is the caller's (protocol 0.3)."""
    return Digest(hashlib.sha256(data).hexdigest())


def node_id_of(partner: PartnerId) -> int:
    """The Flower node id: first 8 bytes of SHA-256 of the id, top bit cleared.

    Both sides derive it; it is never negotiated (protocol 12.4).
    """
    head = hashlib.sha256(partner.encode("ascii")).digest()[:8]
    return int.from_bytes(head, "big") & (2**63 - 1)
