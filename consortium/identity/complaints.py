"""Who is at fault when a key share is bad, from signed documents alone (protocol 6.3).

The receiver opens the one share by the key that sealed it. The ceremony is over with the
first complaint, so nothing secret is left to lose; anybody can then decide who spoiled it.
"""

from dataclasses import dataclass

from consortium.crypto.keys import Secret
from consortium.documents import parse_document
from consortium.errors import DecodeError, ScoreRefusal, ScoreRefusalError
from consortium.identity.dealing import Reveal, open_commitments, open_share
from consortium.identity.epoch_steps import (
    EpochOffer,
    Step,
    offer_digest,
    open_step,
    share_bound,
)
from consortium.identity.shares import threshold_of, verify_share
from consortium.ids import PartnerId
from consortium.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """Body of COMPLAIN."""

    dealer: PartnerId
    key: bytes
    """That opens the dealer's share for the complaining member, and no other."""
    reveal: bytes
    """The dealer's signed step, in which the sealed share is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whom a complaint convicts."""

    culprits: tuple[PartnerId, ...]
    """One; or dealer and complainer, where the key opens nothing: which of the two used a
    wrong key cannot be shown, as an agreement key proves nothing to others."""
    reason: str


def judge(document: bytes, offer: EpochOffer, manifest: Manifest) -> Verdict:
    """Decide a complaint.

    Args:
        document: The signed COMPLAIN step.
        offer: Of the ceremony.
        manifest: Under which it was made.

    Raises:
        DecodeError, ScoreRefusalError: as ``open_step``, for the complaint or for the
            dealer's step in it; S16 if it accuses somebody who deals nothing to the
            complainer.
    """
    digest = offer_digest(offer)
    complaint = open_step(document, digest, Step.COMPLAIN, manifest)
    body = parse_document(Complaint, complaint.body)
    if body.dealer not in offer.dealers or body.dealer == complaint.member:
        raise ScoreRefusalError(ScoreRefusal.SERVERS, f"{body.dealer[:32]} deals nothing here")
    dealt = open_step(body.reveal, digest, Step.REVEAL, manifest)
    if dealt.member != body.dealer:
        raise ScoreRefusalError(ScoreRefusal.SIGNATURE, "a step of another than the accused")
    dealer, receiver = manifest.member(body.dealer), manifest.member(complaint.member)
    guilty = (dealer.id,)
    try:
        reveal = parse_document(Reveal, dealt.body)
        threshold = threshold_of(len(manifest.partners))
        points = open_commitments(
            reveal, epoch=offer.epoch, dealer=dealer.id, threshold=threshold
        )
    except (DecodeError, ScoreRefusalError):
        return Verdict(culprits=guilty, reason="the dealer's polynomial is none")
    sealed = [box.sealed for box in reveal.boxes if box.member == receiver.id]
    if len(sealed) != 1:
        return Verdict(culprits=guilty, reason="the dealer sealed no share")
    bound = share_bound(offer.epoch, dealer.index, receiver.index)
    try:
        share = open_share(sealed[0], Secret(body.key), bound)
    except DecodeError:
        return Verdict(
            culprits=tuple(sorted((dealer.id, receiver.id))), reason="the key opens no share"
        )
    try:
        verify_share(share, points, receiver.index)
    except ScoreRefusalError:
        return Verdict(culprits=guilty, reason="the opened share is not of the polynomial")
    return Verdict(culprits=(receiver.id,), reason="the opened share is good")
