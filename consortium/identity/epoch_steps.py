"""The documents of a key ceremony, signed by their members (protocol 6.3, 6.8).

All of it is bytes, digests and signatures: no group arithmetic, so the coordinator relays a
ceremony with this module alone. ``offer`` says what is begun; each step is one signed
``EpochStep`` of each member; the ``EpochRecord`` is the epoch's public keys with the
signatures of all who hold a share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from consortium.canonical import Label, hash_with, lp, u16, u32
from consortium.crypto.keys import IdentityKey, verify_signature
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, ScoreRefusal, ScoreRefusalError, SignatureError
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest, Member, Role

_LARGEST_ATTEMPT = 2**32 - 1
_FEWEST = 2
_POINT_BYTES = 32


class Step(StrEnum):
    """Steps of a ceremony, in their order; the value is ``EpochAsk.step``."""

    COMMIT = "commit"
    REVEAL = "reveal"
    CONFIRM = "confirm"
    COMPLAIN = "complain"
    """In place of CONFIRM: a share is bad, and here is the key that opens it."""
    INSTALL = "install"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOffer:
    """What the coordinator begins; everything else follows from the manifest."""

    manifest: Digest
    epoch: int
    attempt: int
    """From 1, above every earlier one of this epoch: also the order of its records."""
    dealers: tuple[PartnerId, ...]
    """Sorted. All active partners for a new key; exactly t old holders for a resharing."""
    previous: Digest | None
    """Digest of the record's document that is reshared; None: a new key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStep:
    """One member's signed step of one offer."""

    offer: Digest
    member: PartnerId
    step: Step
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """A member with its public share ``P_j = k_j·G``."""

    member: PartnerId
    index: int
    public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochKey:
    """The public keys of an epoch: what all n members sign. Public."""

    epoch: int
    attempt: int
    threshold: int
    holders: tuple[KeyHolder, ...]
    """Sorted by member."""
    group_key: bytes
    """P; a resharing leaves it as it was."""
    transcript: Digest
    """Over all signed steps: two members that saw different ones sign different keys."""
    previous: Digest | None
    """The document that was reshared."""

    @property
    def digest(self) -> Digest:
        """Hash of the canonical document under its label."""
        return hash_with(Label.EPOCH, document_of(self))

    @property
    def members(self) -> tuple[tuple[PartnerId, int], ...]:
        """Who holds a share, with the index of each."""
        return tuple((holder.member, holder.index) for holder in self.holders)

    @property
    def public_shares(self) -> tuple[bytes, ...]:
        """``P_j`` in the order of ``members``."""
        return tuple(holder.public for holder in self.holders)

    def holder(self, member: PartnerId) -> KeyHolder:
        """The member's entry, or ScoreRefusalError (S16): it holds no share."""
        for holder in self.holders:
            if holder.member == member:
                return holder
        raise ScoreRefusalError(ScoreRefusal.SERVERS, f"{member} holds no share of this epoch")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSignature:
    """One holder's signature over the digest of an ``EpochKey``."""

    member: PartnerId
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """An epoch's public keys, signed by every holder: what is stored and handed out."""

    document: bytes
    signatures: tuple[EpochSignature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """Body of CONFIRM: the keys as this member computed them, and its signature."""

    document: bytes
    signature: bytes


def offer_digest(offer: EpochOffer) -> Digest:
    """What every step of the ceremony is signed over."""
    return hash_with(Label.DKG_OFFER, document_of(offer))


def read_offer(document: bytes, manifest: Manifest) -> EpochOffer:
    """Return the offer if it is one under this manifest (protocol 6.3).

    Raises:
        DecodeError: not the bytes of an offer.
        ScoreRefusalError: under another manifest (S01), of an epoch that is not the
            manifest's (S13), or its dealers are not sorted, unique and active (S16).
    """
    offer = parse_document(EpochOffer, document)
    if offer.manifest != manifest.digest:
        raise ScoreRefusalError(ScoreRefusal.MANIFEST, "offer under another manifest")
    if not offer.epoch or offer.epoch != manifest.policy.scoring.epoch:
        raise ScoreRefusalError(
            ScoreRefusal.EPOCH, f"epoch {offer.epoch} is not the manifest's"
        )
    if not 1 <= offer.attempt <= _LARGEST_ATTEMPT:
        raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"attempt {offer.attempt}")
    active = [member.id for member in manifest.partners]
    if list(offer.dealers) != sorted(set(offer.dealers)) or not set(offer.dealers) <= set(
        active
    ):
        raise ScoreRefusalError(ScoreRefusal.SERVERS, "dealers are not sorted active partners")
    if offer.previous is None and list(offer.dealers) != active:
        raise ScoreRefusalError(ScoreRefusal.SERVERS, "a new key is dealt by all partners")
    return offer


def sign_step(
    offer: Digest, member: PartnerId, step: Step, *, body: bytes, key: IdentityKey
) -> bytes:
    """The canonical bytes of the member's signed step."""
    bare = EpochStep(offer=offer, member=member, step=step, body=body, signature=b"")
    signature = key.sign(Label.DKG_STEP, _statement(bare))
    return document_of(
        EpochStep(offer=offer, member=member, step=step, body=body, signature=signature)
    )


def open_step(document: bytes, offer: Digest, step: Step, manifest: Manifest) -> EpochStep:
    """The step, if an active partner signed it for this offer.

    Raises:
        DecodeError: not the bytes of a step.
        ScoreRefusalError: of another offer or another step (S13), by no active partner
            (S02), or its signature fails (S03).
    """
    made = parse_document(EpochStep, document)
    if made.offer != offer or made.step is not step:
        raise ScoreRefusalError(
            ScoreRefusal.EPOCH, f"{made.member}: {made.step} of another offer than asked"
        )
    _verify(_active(made.member, manifest), Label.DKG_STEP, _statement(made), made.signature)
    return made


def open_steps(
    documents: Sequence[bytes], offer: Digest, step: Step, manifest: Manifest
) -> dict[PartnerId, EpochStep]:
    """One step of each active partner, by member; raises as ``open_step``, S11 if not each."""
    opened = [open_step(document, offer, step, manifest) for document in documents]
    members = sorted(made.member for made in opened)
    if members != [member.id for member in manifest.partners]:
        raise ScoreRefusalError(
            ScoreRefusal.MALFORMED, f"{step}: not one step of each active partner"
        )
    return {made.member: made for made in sorted(opened, key=lambda made: made.member)}


def digest_of_steps(
    label: Label, offer: Digest, *sets: Mapping[PartnerId, EpochStep]
) -> Digest:
    """Hash over the steps of all members, signatures included."""
    parts = [lp(document_of(made)) for steps in sets for _, made in sorted(steps.items())]
    return hash_with(label, bytes.fromhex(offer), u32(len(parts)), *parts)


def sign_key(key: EpochKey, identity: IdentityKey) -> bytes:
    """The holder's signature over the public keys."""
    return identity.sign(Label.EPOCH_SIGNATURE, bytes.fromhex(key.digest))


def record_of(confirms: Sequence[bytes], offer: EpochOffer, manifest: Manifest) -> bytes:
    """The record of a ceremony in which all members confirmed the same keys.

    Raises:
        DecodeError, ScoreRefusalError: as ``open_steps`` and ``verify_record``; S13 if two
            members confirmed different keys: they were not shown the same steps.
    """
    steps = open_steps(confirms, offer_digest(offer), Step.CONFIRM, manifest)
    bodies = {member: parse_document(Confirm, made.body) for member, made in steps.items()}
    documents = {body.document for body in bodies.values()}
    if len(documents) != 1:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, "members confirmed different keys")
    signatures = tuple(
        EpochSignature(member=member, signature=body.signature)
        for member, body in sorted(bodies.items())
    )
    record = document_of(EpochRecord(document=documents.pop(), signatures=signatures))
    verify_record(record, manifest)
    return record


def verify_record(record: bytes, manifest: Manifest) -> EpochKey:
    """The public keys, if every holder in them has signed them.

    The holders are those of the ceremony: one that the manifest has since revoked still
    counts, a partner that has joined since is not among them. A node uses a record only if
    it is itself a holder, and has so taken part (``epoch.install``).

    Raises:
        DecodeError: not the bytes of a record.
        ScoreRefusalError: of an epoch that is not the manifest's (S13), holders that do not
            fit it (S16), or a signature that is missing or fails (S03).
    """
    parsed = parse_document(EpochRecord, record)
    key = parse_document(EpochKey, parsed.document)
    if key.epoch != manifest.policy.scoring.epoch:
        raise ScoreRefusalError(ScoreRefusal.EPOCH, f"record of epoch {key.epoch}")
    _check_holders(key)
    known = {member.id: member for member in manifest.members if member.role is Role.PARTNER}
    statement = bytes.fromhex(key.digest)
    if [one.member for one in parsed.signatures] != [one.member for one in key.holders]:
        raise ScoreRefusalError(ScoreRefusal.SIGNATURE, "not signed by each holder once")
    for holder, signed in zip(key.holders, parsed.signatures, strict=True):
        member = known.get(holder.member)
        if member is None or member.index != holder.index:
            raise ScoreRefusalError(
                ScoreRefusal.SERVERS, f"{holder.member} is no partner of that index"
            )
        _verify(member, Label.EPOCH_SIGNATURE, statement, signed.signature)
    return key


def _check_holders(key: EpochKey) -> None:
    members = [holder.member for holder in key.holders]
    points = [key.group_key, *key.public_shares]
    if members != sorted(set(members)):
        raise ScoreRefusalError(ScoreRefusal.SERVERS, "holders are not sorted and unique")
    if len(members) < _FEWEST or key.threshold != -(-2 * len(members) // 3):
        raise ScoreRefusalError(
            ScoreRefusal.SERVERS, f"threshold {key.threshold} of {len(members)} holders"
        )
    if any(len(point) != _POINT_BYTES for point in points):
        raise DecodeError("a public share is not 32 bytes")


def _active(name: PartnerId, manifest: Manifest) -> Member:
    for member in manifest.partners:
        if member.id == name:
            return member
    raise ScoreRefusalError(ScoreRefusal.REQUESTER, f"{name[:32]} is no active partner")


def _verify(member: Member, label: Label, statement: bytes, signature: bytes) -> None:
    try:
        verify_signature(bytes.fromhex(member.identity), label, statement, signature)
    except SignatureError as error:
        raise ScoreRefusalError(ScoreRefusal.SIGNATURE, f"of {member.id}") from error


def _statement(step: EpochStep) -> bytes:
    head = bytes.fromhex(step.offer) + lp(step.member.encode()) + lp(step.step.value.encode())
    return head + lp(step.body)


def share_bound(epoch: int, dealer: int, receiver: int) -> bytes:
    """``u16(e) ‖ u16(i) ‖ u16(j)``: what a sealed share is bound to (protocol 6.3)."""
    return u16(epoch) + u16(dealer) + u16(receiver)
