"""The group ristretto255 and its hashes, exactly as RFC 9496 and RFC 9497 say (protocol 6.2).

The only user of ``rbcl``, which carries libsodium (protocol 6.7). Its C functions are called
directly: they release the interpreter's lock, and each return code is looked at, which the
library's own wrappers do not do for sums. A point from outside enters through
``parse_point``, or as an operand of ``mult``: both refuse what is no group element and the
identity. A scalar comes from 64 bytes reduced modulo the order, from a public integer, or
through ``parse_scalar``: one that was not reduced would be accepted silently.
"""

import hashlib
from collections.abc import Iterable, Sequence
from ctypes import CDLL, c_char
from functools import cache
from typing import NewType, cast

from consortium.crypto.keys import Secret
from consortium.crypto.stream import key_stream_words
from consortium.errors import DomainError, ScoreRefusal, ScoreRefusalError

Point = NewType("Point", bytes)
"""32 bytes: the canonical encoding of a group element."""

Scalar = NewType("Scalar", bytes)
"""32 bytes, little-endian, below the order. Secret or public as its user says."""

POINT_BYTES = 32
SCALAR_BYTES = 32
WIDE_BYTES = 64
"""What is reduced to a scalar: so many that the bias is below 2**-250."""

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group: a prime."""

IDENTITY = Point(bytes(POINT_BYTES))

CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
"""Context string of the suite in verifiable mode (RFC 9497, 3.1 and 4.1)."""

_BLOCK = bytes(128)
"""Z_pad of expand_message_xmd: one block of SHA-512 (RFC 9380, 5.3.1)."""
_LONGEST_DST = 255
_PADDED = hashlib.sha512(_BLOCK)
_LENGTH = WIDE_BYTES.to_bytes(2, "big")

_Buffer = c_char * POINT_BYTES


@cache
def library() -> CDLL:
    """The library as ``rbcl`` loads it: at the first use, not at import.

    Loading writes a file to ``tempfile.tempdir``; a role decides where before anything here
    is used (``partner_node.ristretto_library``).
    """
    import rbcl  # noqa: PLC0415 - importing it writes to disk: not before it is needed

    return cast("CDLL", rbcl._sodium)  # noqa: SLF001 - the C functions with their return codes


def parse_point(data: bytes) -> Point:
    """Return the point, or raise ScoreRefusalError (S14): no group element, or the identity."""
    if len(data) != POINT_BYTES or data == IDENTITY:
        raise _bad_point()
    if library().crypto_core_ristretto255_is_valid_point(data) != 1:
        raise _bad_point()
    return Point(data)


def split_points(data: bytes) -> list[Point]:
    """The 32-byte parts of ``data``, not looked at yet; S11 if it is no multiple of 32."""
    if len(data) % POINT_BYTES:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"{len(data)} bytes of points")
    return [Point(data[i : i + POINT_BYTES]) for i in range(0, len(data), POINT_BYTES)]


def expand(message: Iterable[bytes], dst: bytes) -> bytes:
    """``expand_message_xmd`` with SHA-512 and 64 bytes of output (RFC 9380, 5.3.1)."""
    if len(dst) > _LONGEST_DST:
        raise DomainError(f"domain tag of {len(dst)} bytes")
    tag = dst + bytes((len(dst),))
    state = _PADDED.copy()
    for part in message:
        state.update(part)
    state.update(_LENGTH + b"\x00" + tag)
    # One block of output: b_1 = H(b_0 || 1 || DST').
    return hashlib.sha512(state.digest() + b"\x01" + tag).digest()


def hash_to_group(x: bytes, *, context: bytes = CONTEXT) -> Point:
    """The group element of ``x``; nobody knows its logarithm (RFC 9497, 4.1)."""
    out = _Buffer()
    library().crypto_core_ristretto255_from_hash(out, expand((x,), b"HashToGroup-" + context))
    return Point(out.raw)


def hash_to_scalar(*parts: bytes, dst: bytes = b"HashToScalar-" + CONTEXT) -> Scalar:
    """The scalar of the joined parts under the domain tag ``dst`` (RFC 9497, 4.1)."""
    return scalar_from(expand(parts, dst))


def scalar_from(wide: Secret | bytes) -> Scalar:
    """64 uniform bytes reduced modulo the order, or DomainError for another length."""
    data = wide.expose() if isinstance(wide, Secret) else wide
    if len(data) != WIDE_BYTES:
        raise DomainError(f"{len(data)} bytes to reduce, expected {WIDE_BYTES}")
    out = _Buffer()
    library().crypto_core_ristretto255_scalar_reduce(out, data)
    return Scalar(out.raw)


def scalar_stream(key: Secret, count: int) -> list[Scalar]:
    """``count`` uniform scalars of a 32-byte key that is used for nothing else. Secret.

    64 bytes of the key's stream each (protocol 3.4.2), reduced.
    """
    stream = key_stream_words(key, count * (WIDE_BYTES // 8)).tobytes()
    return [
        scalar_from(stream[start : start + WIDE_BYTES])
        for start in range(0, len(stream), WIDE_BYTES)
    ]


def scalar_of(value: int) -> Scalar:
    """A public integer modulo the order. Never for a secret: its time depends on it."""
    return Scalar((value % ORDER).to_bytes(SCALAR_BYTES, "little"))


def parse_scalar(data: bytes) -> Scalar:
    """Return the scalar, or raise ScoreRefusalError (S11): wrong length, or not reduced."""
    if len(data) != SCALAR_BYTES or int.from_bytes(data, "little") >= ORDER:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, "not a reduced scalar")
    return Scalar(data)


def mult(scalar: Scalar, point: bytes) -> Point:
    """``scalar·point``. Refuses (S14) a point that is none, the identity, and a zero scalar."""
    out = _Buffer()
    if library().crypto_scalarmult_ristretto255(out, scalar, _sized(point)) != 0:
        raise _bad_point()
    return Point(out.raw)


def base_mult(scalar: Scalar) -> Point:
    """``scalar·G``, or S14 for the scalar zero."""
    out = _Buffer()
    if library().crypto_scalarmult_ristretto255_base(out, scalar) != 0:
        raise _bad_point()
    return Point(out.raw)


def add(left: bytes, right: bytes) -> Point:
    """The sum, which may be the identity; S14 if an operand is no group element."""
    out = _Buffer()
    if library().crypto_core_ristretto255_add(out, _sized(left), _sized(right)) != 0:
        raise _bad_point()
    return Point(out.raw)


def sub(left: bytes, right: bytes) -> Point:
    """The difference, which may be the identity; S14 if an operand is no group element."""
    out = _Buffer()
    if library().crypto_core_ristretto255_sub(out, _sized(left), _sized(right)) != 0:
        raise _bad_point()
    return Point(out.raw)


def mult_each(scalar: Scalar, points: Sequence[bytes]) -> list[Point]:
    """``scalar·P`` for each point, in order, refusing as ``mult`` does."""
    function, out = library().crypto_scalarmult_ristretto255, _Buffer()
    products = []
    for point in points:
        if function(out, scalar, _sized(point)) != 0:
            raise _bad_point()
        products.append(Point(out.raw))
    return products


def mult_pairs(scalars: Sequence[Scalar], points: Sequence[bytes]) -> list[Point]:
    """``s_i·P_i`` for each pair, in order, refusing as ``mult`` does."""
    function, out = library().crypto_scalarmult_ristretto255, _Buffer()
    products = []
    for scalar, point in zip(scalars, points, strict=True):
        if function(out, scalar, _sized(point)) != 0:
            raise _bad_point()
        products.append(Point(out.raw))
    return products


def weighted_sum(scalars: Sequence[Scalar], points: Sequence[bytes]) -> Point:
    """``Σ s_i·P_i``, refusing each term as ``mult`` does; the sum of none is the identity."""
    lib, term, total = library(), _Buffer(), _Buffer()
    multiply, plus = lib.crypto_scalarmult_ristretto255, lib.crypto_core_ristretto255_add
    for scalar, point in zip(scalars, points, strict=True):
        if multiply(term, scalar, _sized(point)) != 0 or plus(total, total, term) != 0:
            raise _bad_point()
    return Point(total.raw)


def add_each(left: Sequence[bytes], right: Sequence[bytes]) -> list[Point]:
    """``P_i + Q_i`` for each pair, in order; S14 as in ``add``."""
    function, out = library().crypto_core_ristretto255_add, _Buffer()
    sums = []
    for one, other in zip(left, right, strict=True):
        if function(out, _sized(one), _sized(other)) != 0:
            raise _bad_point()
        sums.append(Point(out.raw))
    return sums


def scalar_add(left: Scalar, right: Scalar) -> Scalar:
    """The sum modulo the order."""
    out = _Buffer()
    library().crypto_core_ristretto255_scalar_add(out, left, right)
    return Scalar(out.raw)


def scalar_sub(left: Scalar, right: Scalar) -> Scalar:
    """The difference modulo the order."""
    out = _Buffer()
    library().crypto_core_ristretto255_scalar_sub(out, left, right)
    return Scalar(out.raw)


def scalar_mul(left: Scalar, right: Scalar) -> Scalar:
    """The product modulo the order."""
    out = _Buffer()
    library().crypto_core_ristretto255_scalar_mul(out, left, right)
    return Scalar(out.raw)


def scalar_invert(scalar: Scalar) -> Scalar:
    """The inverse modulo the order, or DomainError for zero."""
    out = _Buffer()
    if library().crypto_core_ristretto255_scalar_invert(out, scalar) != 0:
        raise DomainError("zero has no inverse")
    return Scalar(out.raw)


def scalar_invert_each(scalars: Sequence[Scalar]) -> list[Scalar]:
    """The inverse of each, for one inversion and three products a scalar (Montgomery).

    All in the library's constant-time arithmetic: the scalars may be secret.

    Raises:
        DomainError: one of them is zero.
    """
    if not scalars:
        return []
    prefixes = [scalars[0]]
    for scalar in scalars[1:]:
        prefixes.append(scalar_mul(prefixes[-1], scalar))
    inverse = scalar_invert(prefixes[-1])
    inverses = []
    for scalar, before in zip(scalars[:0:-1], prefixes[-2::-1], strict=True):
        inverses.append(scalar_mul(inverse, before))
        inverse = scalar_mul(inverse, scalar)
    inverses.append(inverse)
    return inverses[::-1]


def _sized(point: bytes) -> bytes:
    """The C functions read 32 bytes, whatever they are given."""
    if len(point) != POINT_BYTES:
        raise _bad_point()
    return point


def _bad_point() -> ScoreRefusalError:
    return ScoreRefusalError(ScoreRefusal.POINT, "not a group element, or the identity")
