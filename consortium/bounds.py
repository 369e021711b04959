"""What a field on the wire may hold: each check returns the value, or raises DecodeError.

Shared by the codecs, so that a length or a name is refused in one way only. What a message
means, and which of its fields must agree, is theirs.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

from google.protobuf import message as protobuf

from consortium.errors import (
    DecodeError,
    IdentifierError,
    MessageTooLargeError,
    VersionError,
)
from consortium.ids import Digest, PartnerId, parse_digest, parse_partner_id
from consortium.messages import PROTOCOL_VERSION

LATEST = (1 << 53) - 1
"""The largest time or number; what a database and canonical JSON both hold."""
KEY_BYTES = 32
SIGNATURE_BYTES = 64
SMALL_LIMIT = 16 << 10
"""Bytes of a question or answer that carries no document."""
SHORT_TEXT, LONG_TEXT = 64, 256
"""Bytes of a name or a code, and of a reason."""

_Wire = TypeVar("_Wire", bound=protobuf.Message)
_Id = TypeVar("_Id")


def parse(kind: Callable[[], _Wire], data: bytes, limit: int) -> _Wire:
    """The protobuf message in at most ``limit`` bytes, or MessageTooLargeError."""
    if len(data) > limit:
        raise MessageTooLargeError(len(data), limit)
    wire = kind()
    try:
        wire.ParseFromString(data)
    except protobuf.DecodeError as error:
        raise DecodeError(f"not a {wire.DESCRIPTOR.name}") from error
    return wire


def checked(parse_id: Callable[[str], _Id], written: str) -> _Id:
    """The identifier that ``parse_id`` makes of the text."""
    try:
        return parse_id(written)
    except IdentifierError as error:
        raise DecodeError(str(error)) from error


@lru_cache(maxsize=1024)
def partner(written: str) -> PartnerId:
    """A partner's id; the same few come in every frame."""
    return checked(parse_partner_id, written)


def partners(written: Sequence[str], field: str, limit: int) -> tuple[PartnerId, ...]:
    """At most ``limit`` partners, sorted, none twice (protocol 0.4)."""
    count(len(written), field, limit)
    found = tuple(partner(one) for one in written)
    if any(left >= right for left, right in pairwise(found)):
        raise DecodeError(f"{field} are not sorted, or one is listed twice")
    return found


def digest(written: str) -> Digest:
    """A SHA-256 in hex."""
    return checked(parse_digest, written)


def version(seen: int) -> int:
    """Our protocol version; before any other field, for another may have other bounds."""
    if seen != PROTOCOL_VERSION:
        raise VersionError(seen, PROTOCOL_VERSION)
    return seen


def text(written: str, field: str, limit: int) -> str:
    """Printable text of at most ``limit`` characters."""
    if len(written) > limit or not written.isprintable():
        raise DecodeError(f"{field} is not printable text of at most {limit} characters")
    return written


def seconds(value: int) -> int:
    """A time since 1970, or a number that rises with time."""
    if value > LATEST:
        raise DecodeError(f"{value} seconds, expected at most {LATEST}")
    return value


def exactly(data: bytes, field: str, size: int) -> bytes:
    """``size`` bytes."""
    if len(data) != size:
        raise DecodeError(f"{field} has {len(data)} bytes, expected {size}")
    return data


def within(data: bytes, field: str, limit: int) -> bytes:
    """1 to ``limit`` bytes."""
    if not 1 <= len(data) <= limit:
        raise DecodeError(f"{field} has {len(data)} bytes, expected 1 to {limit}")
    return data


def pieces(data: bytes, field: str, size: int, most: int) -> bytes:
    """1 to ``most`` pieces of ``size`` bytes."""
    within(data, field, size * most)
    if len(data) % size:
        raise DecodeError(f"{field} has {len(data)} bytes, not a multiple of {size}")
    return data


def count(seen: int, field: str, limit: int) -> None:
    """At most ``limit`` of them."""
    if seen > limit:
        raise DecodeError(f"{seen} {field}, expected at most {limit}")
