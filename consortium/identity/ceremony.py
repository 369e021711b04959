"""The checks and the arithmetic of a key ceremony, one step each (protocol 6.3, 6.8).

What a member knows before (``EpochFacts``), what an accepted offer makes of it
(``Ceremony``), and what it keeps after (``Holding``). The order of the steps is the
machine's, in ``epoch``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consortium.canonical import Label
from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.crypto.ristretto import (
    IDENTITY,
    Point,
    Scalar,
    add,
    base_mult,
    scalar_mul,
)
from consortium.errors import DecodeError, ScoreRefusal, ScoreRefusalError
from consortium.identity.dealing import (
    Dealing,
    Reveal,
    commitment_hash,
    deal,
    open_commitments,
    open_share,
    seal_shares,
    share_key,
)
from consortium.identity.epoch_steps import (
    EpochKey,
    EpochOffer,
    EpochStep,
    KeyHolder,
    digest_of_steps,
    offer_digest,
    read_offer,
    share_bound,
    verify_record,
)
from consortium.identity.shares import (
    lagrange,
    public_share,
    share_at,
    threshold_of,
    verify_share,
    weighted_public,
)
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest, Member


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochShare:
    """This member's share of an epoch's key."""

    epoch: int
    attempt: int
    index: int
    share: Secret
    """``k_j``, a scalar of 32 bytes."""

    @property
    def scalar(self) -> Scalar:
        """``k_j`` as a scalar. Secret."""
        return Scalar(self.share.expose())


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An epoch that is installed here: its public keys, and this member's share."""

    key: EpochKey
    share: EpochShare


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFacts:
    """What a ceremony needs of a node."""

    manifest: Manifest
    member: PartnerId
    identity: IdentityKey
    agreement: AgreementKey
    secret: Secret
    """32 bytes, drawn and stored for this (epoch, attempt) and for nothing else."""
    holding: Holding | None
    """What is installed for the manifest's epoch; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceremony:
    """An offer that this member takes part in."""

    offer: EpochOffer
    digest: Digest
    me: Member
    members: tuple[Member, ...]
    """All who will hold a share, sorted."""
    threshold: int
    old: EpochKey | None
    """What is reshared."""
    dealing: Dealing | None
    """What this member deals; None: it only receives."""

    @property
    def commitment(self) -> bytes:
        """Body of this member's COMMIT; empty if it does not deal."""
        if self.dealing is None:
            return b""
        shown = (self.dealing.commitments, self.dealing.proof)
        return commitment_hash(self.offer.epoch, self.me.id, *shown)

    def others(self, than: PartnerId) -> list[Member]:
        """All members but one, sorted."""
        return [member for member in self.members if member.id != than]

    def old_indices(self, old: EpochKey) -> tuple[int, ...]:
        """The dealers' indices: the set S of a resharing."""
        return tuple(old.holder(dealer).index for dealer in self.offer.dealers)


def accept_offer(facts: EpochFacts, documents: Sequence[bytes]) -> Ceremony:
    """Return the ceremony, if the offer fits the manifest and what is installed here.

    Raises:
        DecodeError: a document is missing or not of its form.
        ScoreRefusalError: the offer does not fit the manifest (S01, S16), or what is
            installed here (S13), or the old record (S03, S13, S16).
    """
    if not documents:
        raise DecodeError("no offer")
    offer = read_offer(documents[0], facts.manifest)
    old = None
    if offer.previous is not None:
        old = _old_key(facts, offer, documents[1:])
    elif facts.holding is not None or len(documents) > 1:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "this epoch has a key already")
    digest = offer_digest(offer)
    members = facts.manifest.partners
    threshold = threshold_of(len(members))
    dealing = None
    if facts.member in offer.dealers:
        dealing = deal(
            facts.secret,
            digest,
            epoch=offer.epoch,
            member=facts.member,
            threshold=threshold,
            constant=None if old is None else _weighted_share(facts, offer, old),
        )
    return Ceremony(
        offer=offer,
        digest=digest,
        me=facts.manifest.member(facts.member),
        members=members,
        threshold=threshold,
        old=old,
        dealing=dealing,
    )


def _old_key(facts: EpochFacts, offer: EpochOffer, rest: Sequence[bytes]) -> EpochKey:
    if len(rest) != 1:
        raise DecodeError("a resharing comes with the record that it reshares")
    old = verify_record(rest[0], facts.manifest)
    if old.digest != offer.previous or offer.attempt <= old.attempt:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "another record than the offer names")
    if facts.holding is not None and facts.holding.key != old:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "another key than the one held here")
    if len(offer.dealers) != old.threshold:
        raise ScoreRefusalError(ScoreRefusal.SERVERS, f"{len(offer.dealers)} dealers")
    for dealer in offer.dealers:
        old.holder(dealer)
    return old


def _weighted_share(facts: EpochFacts, offer: EpochOffer, old: EpochKey) -> Scalar:
    if facts.holding is None:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "asked to deal a share that is not held")
    share = facts.holding.share
    indices = tuple(old.holder(dealer).index for dealer in offer.dealers)
    return scalar_mul(lagrange(indices, share.index), share.scalar)


def own_reveal(ceremony: Ceremony, seen: Digest, agreement: AgreementKey) -> Reveal:
    """What this member shows, its shares sealed for the others."""
    dealing = ceremony.dealing
    if dealing is None:
        return Reveal(seen=seen, commitments=b"", proof=b"", boxes=())
    me = ceremony.me
    receivers = ceremony.others(me.id)
    keys = {
        peer.id: share_key(agreement, peer, commits=seen, dealer=me.id, receiver=peer.id)
        for peer in receivers
    }
    boxes = seal_shares(dealing, receivers, keys, epoch=ceremony.offer.epoch, dealer=me.index)
    return Reveal(seen=seen, commitments=dealing.commitments, proof=dealing.proof, boxes=boxes)


def check_reveal(
    ceremony: Ceremony, member: PartnerId, reveal: Reveal, *, seen: Digest, commit: bytes
) -> None:
    """Raise unless the REVEAL follows from the COMMITs that were seen here, and is whole.

    Args:
        ceremony: This one.
        member: Who signed it.
        reveal: Its body.
        seen: Over the COMMITs, as this member saw them.
        commit: Body of the member's COMMIT.

    Raises:
        ScoreRefusalError: it saw other COMMITs (S13), reveals other than it committed to
            (S15), or boxes are missing or too many (S11).
    """
    if reveal.seen != seen:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, f"{member} was shown other COMMITs")
    deals = member in ceremony.offer.dealers
    shown = b""
    if deals or reveal.commitments or reveal.proof:
        shown = commitment_hash(ceremony.offer.epoch, member, reveal.commitments, reveal.proof)
    if commit != shown:
        raise ScoreRefusalError(
            ScoreRefusal.PROOF, f"{member} reveals other than it committed to"
        )
    receivers = [one.id for one in ceremony.others(member)] if deals else []
    if [box.member for box in reveal.boxes] != receivers:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"{member}: boxes of other members")


def polynomial_of(ceremony: Ceremony, dealer: PartnerId, reveal: Reveal) -> list[Point]:
    """The dealer's commitments, which in a resharing begin with ``λ_i·P_i`` (protocol 6.8).

    Raises:
        ScoreRefusalError: as ``open_commitments``; S15 if it deals another share than its
            own.
    """
    points = open_commitments(
        reveal, epoch=ceremony.offer.epoch, dealer=dealer, threshold=ceremony.threshold
    )
    old = ceremony.old
    if old is not None:
        holder = old.holder(dealer)
        due = weighted_public(ceremony.old_indices(old), holder.index, Point(holder.public))
        if points[0] != due:
            raise ScoreRefusalError(ScoreRefusal.PROOF, f"{dealer} deals another share")
    return points


def share_from(
    ceremony: Ceremony,
    dealer: Member,
    reveal: Reveal,
    commitments: Sequence[Point],
    *,
    key: Secret,
) -> Scalar | None:
    """``f_i(j)`` as this member received it; None if it does not open or does not fit."""
    me = ceremony.me
    sealed = next(box.sealed for box in reveal.boxes if box.member == me.id)
    bound = share_bound(ceremony.offer.epoch, dealer.index, me.index)
    try:
        share = open_share(sealed, key, bound)
        verify_share(share, commitments, me.index)
    except (DecodeError, ScoreRefusalError):
        return None
    return share


def own_share(dealing: Dealing, me: Member) -> Scalar:
    """``f_i(i)``: what this member deals to itself. Secret."""
    return share_at(dealing.coefficients, me.index)


def key_of(
    ceremony: Ceremony,
    polynomials: Mapping[PartnerId, Sequence[Point]],
    commits: Mapping[PartnerId, EpochStep],
    reveals: Mapping[PartnerId, EpochStep],
) -> EpochKey:
    """The public keys that the checked polynomials make.

    Raises:
        ScoreRefusalError: one is the identity (S14), or a resharing would change the group
            key (S15).
    """
    columns = [_sum(column) for column in zip(*polynomials.values(), strict=True)]
    holders = tuple(
        KeyHolder(
            member=member.id, index=member.index, public=public_share(columns, member.index)
        )
        for member in ceremony.members
    )
    if IDENTITY in (columns[0], *(holder.public for holder in holders)):
        raise ScoreRefusalError(ScoreRefusal.POINT, "a key of the epoch is the identity")
    if ceremony.old is not None and columns[0] != ceremony.old.group_key:
        raise ScoreRefusalError(ScoreRefusal.PROOF, "a resharing that changes the key")
    return EpochKey(
        epoch=ceremony.offer.epoch,
        attempt=ceremony.offer.attempt,
        threshold=ceremony.threshold,
        holders=holders,
        group_key=columns[0],
        transcript=digest_of_steps(Label.DKG_TRANSCRIPT, ceremony.digest, commits, reveals),
        previous=ceremony.offer.previous,
    )


def install(record: bytes, manifest: Manifest, share: EpochShare) -> Holding:
    """What a member holds from now on, also if it was restarted since it confirmed.

    Args:
        record: As ``record_of`` made it.
        manifest: In force here.
        share: Stored with the confirmation.

    Raises:
        DecodeError, ScoreRefusalError: as ``verify_record``; S13 if the share is not the one
            whose public half stands in the record.
    """
    key = verify_record(record, manifest)
    public = base_mult(share.scalar)
    ours = [one for one in key.holders if one.index == share.index and one.public == public]
    if not ours or (share.epoch, share.attempt) != (key.epoch, key.attempt):
        raise ScoreRefusalError(
            ScoreRefusal.EPOCH, "a record of other keys than confirmed here"
        )
    return Holding(key=key, share=share)


def _sum(points: Sequence[Point]) -> Point:
    total = points[0]
    for point in points[1:]:
        total = add(total, point)
    return total
