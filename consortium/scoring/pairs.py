"""What one member needs of a manifest to score jointly, computed once (protocol 7.3, 7.5).

A request costs each responder one agreement and the asker one per responder; everything that
does not change from request to request is here: parsed keys, the pairs' lasting secrets, and
the texts that their keys are derived for.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from consortium.canonical import lp
from consortium.crypto.keys import AgreementKey, IdentityKey, Secret, VerifyKey, hkdf
from consortium.errors import RefusalError, ScoreRefusal, ScoreRefusalError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest, Member

_MASK_INFO = b"riskweave/score-mask/v1"
_WRAP_INFO = b"riskweave/score-wrap/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another active partner, as seen by one member."""

    member: PartnerId
    verify: VerifyKey
    agreement: bytes
    """X, of the manifest."""
    lasting: Secret = field(repr=False)
    """``X25519(x_me, X_peer)``."""
    mask_info: bytes


class PairCache:
    """A member's own keys and its pairs under one manifest; made anew for another."""

    def __init__(
        self,
        manifest: Manifest,
        me: PartnerId,
        *,
        identity: IdentityKey,
        agreement: AgreementKey,
    ) -> None:
        """Take the member's secret keys; pairs are computed when they are first asked for."""
        self.manifest = manifest
        self.digest: Digest = manifest.digest
        self.me = me
        self.identity = identity
        self.agreement = agreement
        self._members = {member.id: member for member in manifest.partners}
        self._peers: dict[PartnerId, Peer] = {}
        self._former: dict[PartnerId, Peer] = {}

    def bar(self, names: Collection[PartnerId]) -> None:
        """Have no pair with these any more: their identities are revoked (protocol 2.7)."""
        for name in names:
            self._members.pop(name, None)
            if (peer := self._peers.pop(name, None)) is not None:
                self._former[name] = peer

    def asked(self, name: PartnerId) -> Peer:
        """As ``peer``, also of one that was revoked since it was asked.

        What this member asks goes to rosters without the revoked, so such an answer is to a
        request of before; and those of the others are worth nothing without it.
        """
        return self._former.get(name) or self.peer(name)

    def peer(self, name: PartnerId) -> Peer:
        """The peer of that name.

        Raises:
            ScoreRefusalError: no active partner of the manifest, one that was revoked, or this
                member itself (S02).
        """
        found = self._peers.get(name)
        if found is None:
            member = self._members.get(name)
            if member is None or name == self.me:
                raise ScoreRefusalError(
                    ScoreRefusal.REQUESTER, f"{name} is no other active partner"
                )
            found = self._peers[name] = self._peer_of(member)
        return found

    def _peer_of(self, member: Member) -> Peer:
        public = bytes.fromhex(member.agreement)
        low, high = sorted((self.me, member.id))
        return Peer(
            member=member.id,
            verify=VerifyKey(bytes.fromhex(member.identity)),
            agreement=public,
            lasting=self.agreement.exchange(public),
            mask_info=_MASK_INFO + lp(low.encode()) + lp(high.encode()),
        )


def mask_key(peer: Peer, context: Digest, fresh: Secret | None = None) -> Secret:
    """Key of the mask that a pair shares for one request (protocol 7.5).

    Args:
        peer: The other side.
        context: sctx. Public.
        fresh: With the asker, ``X25519(x_i, E)``; None between two responders. Secret.
    """
    lasting = peer.lasting if fresh is None else _joined(fresh, peer.lasting)
    return hkdf(lasting, bytes.fromhex(context), peer.mask_info)


def wrap_key(
    peer: Peer, request: bytes, fresh: Secret, *, asker: PartnerId, responder: PartnerId
) -> Secret:
    """Key under which the seal's key travels to one responder (protocol 7.3)."""
    info = _WRAP_INFO + lp(asker.encode()) + lp(responder.encode())
    return hkdf(_joined(fresh, peer.lasting), request, info)


def exchange(own: AgreementKey, public: bytes) -> Secret:
    """X25519, or ScoreRefusalError (S11): ``public`` is of small order."""
    try:
        return own.exchange(public)
    except RefusalError as error:
        raise ScoreRefusalError(
            ScoreRefusal.MALFORMED, "a one-time key of small order"
        ) from error


def _joined(fresh: Secret, lasting: Secret) -> Secret:
    return Secret(fresh.expose() + lasting.expose())
