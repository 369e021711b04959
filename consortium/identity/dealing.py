"""One member's part of a shared key: its polynomial, its proof, its sealed shares (6.3, 6.8).

Everything is derived from one stored secret and the offer's digest: a node that was killed
comes to the same polynomial, and another offer leads to an unrelated one. So no nonce and no
key is ever used for two plaintexts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consortium.canonical import Label, hash_with, lp, u16
from consortium.crypto.keys import AgreementKey, Secret, hkdf
from consortium.crypto.ristretto import (
    POINT_BYTES,
    SCALAR_BYTES,
    Point,
    Scalar,
    add,
    base_mult,
    hash_to_scalar,
    mult,
    parse_point,
    parse_scalar,
    scalar_add,
    scalar_mul,
    scalar_stream,
    split_points,
)
from consortium.errors import DecodeError, ScoreRefusal, ScoreRefusalError
from consortium.identity.epoch_steps import share_bound
from consortium.identity.shares import commit, share_at
from consortium.ids import Digest, PartnerId
from consortium.manifest import Member

_POLYNOMIAL_INFO = b"riskweave/dkg-polynomial/v1"
_NONCE_INFO = b"riskweave/dkg-nonce/v1"
_SHARE_INFO = b"riskweave/dkg-share/v1"
_ZERO_NONCE = bytes(12)
"""Each key seals one share."""

BOX_BYTES = SCALAR_BYTES + 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A share, sealed for one receiver."""

    member: PartnerId
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reveal:
    """Body of REVEAL. A member that does not deal leaves all but ``seen`` empty."""

    seen: Digest
    """Over all members' commit steps, as this member saw them."""
    commitments: bytes
    """``A_0 … A_(t-1)``, 32 bytes each."""
    proof: bytes
    """``R ‖ z``: it knows the logarithm of ``A_0``."""
    boxes: tuple[Box, ...]
    """A share for every other member, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealing:
    """A polynomial and what is shown of it."""

    coefficients: tuple[Scalar, ...] = field(repr=False)
    """Secret."""
    commitments: bytes
    proof: bytes


def deal(
    secret: Secret,
    offer: Digest,
    *,
    epoch: int,
    member: PartnerId,
    threshold: int,
    constant: Scalar | None = None,
) -> Dealing:
    """The member's polynomial of degree t−1 for this offer, with its proof (protocol 6.3).

    Args:
        secret: 32 bytes, stored for this attempt before anything is sent. Secret.
        offer: Digest of the offer.
        epoch: e.
        member: i.
        threshold: t.
        constant: ``λ_i·k_i`` for a resharing; None: drawn, for a new key. Secret.
    """
    salt = bytes.fromhex(offer)
    drawn = scalar_stream(hkdf(secret, salt, _POLYNOMIAL_INFO), threshold)
    coefficients = (drawn[0] if constant is None else constant, *drawn[1:])
    commitments = commit(coefficients)
    nonce = scalar_stream(hkdf(secret, salt, _NONCE_INFO), 1)[0]
    shown = base_mult(nonce)
    challenge = _challenge(epoch, member, commitments[0], shown)
    answer = scalar_add(nonce, scalar_mul(challenge, coefficients[0]))
    return Dealing(
        coefficients=coefficients, commitments=b"".join(commitments), proof=shown + answer
    )


def commitment_hash(epoch: int, member: PartnerId, commitments: bytes, proof: bytes) -> bytes:
    """Body of a dealer's COMMIT: nobody can choose a polynomial after it saw another's."""
    head = u16(epoch) + lp(member.encode())
    return bytes.fromhex(hash_with(Label.DKG_COMMIT, head, commitments, proof))


def open_commitments(
    reveal: Reveal, *, epoch: int, dealer: PartnerId, threshold: int
) -> list[Point]:
    """The dealer's ``A_k``, if they are points and it knows the logarithm of ``A_0``.

    Raises:
        ScoreRefusalError: not t points (S11), one is none or the identity (S14), the proof
            fails (S15).
    """
    if len(reveal.commitments) != threshold * POINT_BYTES:
        raise ScoreRefusalError(
            ScoreRefusal.MALFORMED, f"{dealer}: not {threshold} commitments"
        )
    points = [parse_point(point) for point in split_points(reveal.commitments)]
    if len(reveal.proof) != POINT_BYTES + SCALAR_BYTES:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"{dealer}: proof of another size")
    shown = parse_point(reveal.proof[:POINT_BYTES])
    answer = parse_scalar(reveal.proof[POINT_BYTES:])
    challenge = _challenge(epoch, dealer, points[0], shown)
    if base_mult(answer) != add(shown, mult(challenge, points[0])):
        raise ScoreRefusalError(ScoreRefusal.PROOF, f"{dealer} does not know its polynomial")
    return points


def share_key(
    own: AgreementKey, peer: Member, *, commits: Digest, dealer: PartnerId, receiver: PartnerId
) -> Secret:
    """Key of the one share that goes from dealer to receiver, alike on both sides.

    Raises:
        RefusalError: the peer's agreement key is of small order (R17).
    """
    info = _SHARE_INFO + lp(dealer.encode()) + lp(receiver.encode())
    shared = own.exchange(bytes.fromhex(peer.agreement))
    return hkdf(shared, bytes.fromhex(commits), info)


def seal_share(share: Scalar, key: Secret, bound: bytes) -> bytes:
    """AES-256-GCM with a zero nonce: the key is used once (protocol 6.3)."""
    return AESGCM(key.expose()).encrypt(_ZERO_NONCE, share, bound)


def open_share(sealed: bytes, key: Secret, bound: bytes) -> Scalar:
    """The share, or DecodeError: not sealed with this key, or no reduced scalar."""
    try:
        return parse_scalar(AESGCM(key.expose()).decrypt(_ZERO_NONCE, sealed, bound))
    except (InvalidTag, ScoreRefusalError, ValueError) as error:
        raise DecodeError("a sealed share does not open") from error


def seal_shares(
    dealing: Dealing,
    receivers: Sequence[Member],
    keys: Mapping[PartnerId, Secret],
    *,
    epoch: int,
    dealer: int,
) -> tuple[Box, ...]:
    """``f_i(j)`` for each receiver j under its key, in the receivers' order."""
    return tuple(
        Box(
            member=receiver.id,
            sealed=seal_share(
                share_at(dealing.coefficients, receiver.index),
                keys[receiver.id],
                share_bound(epoch, dealer, receiver.index),
            ),
        )
        for receiver in receivers
    )


def _challenge(epoch: int, member: PartnerId, first: Point, shown: Point) -> Scalar:
    name = lp(member.encode())
    return hash_to_scalar(Label.DKG_POK.line, u16(epoch), name, first, shown)
