"""Keys that two partners share for one attempt, and the masks made of them (protocol 3.4.1).

Each pair's two masks are one stream, added by one side and subtracted by the other, so they
cancel in the sum and nowhere else. The one-time keys are derived and not drawn: a node that
was restarted comes to the same masks, and an auditor with the opened seed can replay them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import lp
from consortium.crypto.keys import AgreementKey, Secret, hkdf
from consortium.crypto.stream import WordStream
from consortium.errors import DomainError, ShapeError
from consortium.ids import Digest, PartnerId

Words = NDArray[np.uint64]

_EPHEMERAL_INFO = b"riskweave/eph/v1"
_MASK_INFO = b"riskweave/mask/v1"

_WINDOW = 1 << 17
"""Words of the reused window: 1 MiB, which stays in the cache (protocol 3.4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKeys:
    """The secret side of an exchange."""

    member: PartnerId
    ephemeral: AgreementKey
    """e, made for this attempt."""
    agreement: AgreementKey
    """x, of the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerKeys:
    """The public side of an exchange, each key 32 bytes."""

    member: PartnerId
    ephemeral: bytes
    agreement: bytes


def ephemeral_key(seed: Secret, context: Digest) -> AgreementKey:
    """e: the one-time key of ``context`` (protocol 3.3).

    Args:
        seed: The run's seed. Secret.
        context: ctx of the attempt; no two attempts share one. Public.
    """
    return AgreementKey.from_secret(hkdf(seed, bytes.fromhex(context), _EPHEMERAL_INFO))


def pair_key(own: OwnKeys, peer: PeerKeys, *, joined: Digest) -> Secret:
    """The mask key of two members, the same from both sides (protocol 3.4.1).

    Both secrets are needed for it: recorded traffic stays closed after a later theft of
    agreement keys, and a stolen one-time key alone opens nothing.

    Args:
        own: This member's keys.
        peer: The other member's.
        joined: rctx of the attempt.

    Raises:
        RefusalError: a key of the peer is of small order (R17).
        DomainError: both are the same member.
    """
    if own.member == peer.member:
        raise DomainError(f"{own.member} shares no mask with itself")
    fresh = own.ephemeral.exchange(peer.ephemeral).expose()
    lasting = own.agreement.exchange(peer.agreement).expose()
    low, high = sorted((own.member, peer.member))
    info = _MASK_INFO + lp(low.encode()) + lp(high.encode())
    return hkdf(Secret(fresh + lasting), bytes.fromhex(joined), info)


def apply_masks(words: Words, me: PartnerId, keys: Mapping[PartnerId, Secret]) -> None:
    """Add ``Σ_{j<i} F(k_ij) − Σ_{j>i} F(k_ij)`` to ``words`` in place (protocol 3.4.8).

    Args:
        words: Shape (d,), uint64, contiguous: the noised integers; masked afterwards.
        me: i, this member.
        keys: ``k_ij`` of every other member j of the attempt. Secret; each is used here
            and nowhere else.

    Raises:
        ShapeError: ``words`` is not flat, contiguous and uint64.
        DomainError: there is a key for this member itself.
    """
    if words.ndim != 1 or words.dtype != np.uint64 or not words.flags.c_contiguous:
        raise ShapeError(f"words of dtype {words.dtype} and shape {words.shape}")
    if me in keys:
        raise DomainError(f"{me} shares no mask with itself")
    streams = [(WordStream(key), peer < me) for peer, key in keys.items()]
    window = np.empty(min(_WINDOW, len(words)), dtype="<u8")
    # The window of words is the outer loop: it stays in the cache while all masks go in.
    for start in range(0, len(words), _WINDOW):
        part = words[start : start + _WINDOW]
        mask = window[: len(part)]
        for stream, adds in streams:
            stream.read_into(mask)
            if adds:
                np.add(part, mask, out=part)
            else:
                np.subtract(part, mask, out=part)
