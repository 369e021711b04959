"""Signing and checking acceptances of a run and JOINs of an attempt (protocol 3.1, 3.3, 3.4).

Both roles check here, so that what the coordinator collects is what the partners accept.
"""

from dataclasses import replace

from consortium.canonical import Label, hash_with, lp, u32
from consortium.crypto.keys import (
    KEY_BYTES,
    AgreementKey,
    IdentityKey,
    Secret,
    verify_signature,
)
from consortium.errors import (
    DecodeError,
    IdentifierError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    SignatureError,
)
from consortium.ids import Digest, PartnerId, RunId, parse_digest
from consortium.manifest import Member
from consortium.messages import Join, PlanAccepted
from consortium.secagg.chain import Link, verify_link

_PROBE = AgreementKey.from_secret(Secret(bytes(KEY_BYTES)))
"""Its private key is public: it finds keys of small order and protects nothing."""


def seed_commitment(run: RunId, member: PartnerId, seed: Secret) -> Digest:
    """``H(SEED ‖ run ‖ lp(id) ‖ seed)`` (protocol 3.1). Public: the seed has 256 bits."""
    return hash_with(Label.SEED, bytes.fromhex(run), lp(member.encode("ascii")), seed.expose())


def sign_acceptance(accepted: PlanAccepted, key: IdentityKey) -> PlanAccepted:
    """``accepted`` with its signature; the one that it has is not looked at."""
    statement = _acceptance_statement(accepted)
    return replace(accepted, signature=key.sign(Label.PLAN_ACCEPTED, statement))


def verify_acceptance(accepted: PlanAccepted, *, plan: Digest, member: Member) -> Link:
    """Return the head of the member's chain if it accepted this plan (protocol 3.1).

    Raises:
        OutOfOrderError: it is for another plan, or by another member.
        DecodeError: a field is not of its form.
        SignatureError: the signature fails under the manifest's key.
    """
    if accepted.plan != plan or accepted.member != member.id:
        raise OutOfOrderError(f"{member.id}: accepts another plan, or is by another")
    _digest(accepted.seed_commitment, "seed_commitment")
    head = _digest(accepted.chain_head, "chain_head")
    _count(accepted.closed, "closed")
    verify_signature(
        bytes.fromhex(member.identity),
        Label.PLAN_ACCEPTED,
        _acceptance_statement(accepted),
        accepted.signature,
    )
    return Link(0, head)


def _acceptance_statement(accepted: PlanAccepted) -> bytes:
    digests = (accepted.plan, accepted.seed_commitment, accepted.chain_head)
    return b"".join(bytes.fromhex(one) for one in digests) + u32(accepted.closed)


def sign_join(join: Join, key: IdentityKey) -> Join:
    """``join`` with its signature; the one that it has is not looked at."""
    return replace(join, signature=key.sign(Label.JOIN, _join_statement(join)))


def verify_join(
    join: Join, *, context: Digest, member: Member, known: Link, length: int
) -> Link:
    """Return the member's new link if this is its JOIN of this attempt (protocol 3.4).

    Args:
        join: As received.
        context: ctx as this side computed it.
        member: Whose JOIN it must be; its keys are the manifest's.
        known: The member's last link that was checked before.
        length: L of the run.

    Raises:
        DecodeError: a field is not of its form.
        RefusalError: for another attempt or by another member (R15); the signature fails
            (R14); the link is not a later one of the member's chain (R16).
    """
    if join.context != context or join.member != member.id:
        raise RefusalError(RefusalCode.SPLIT_VIEW, f"JOIN of {member.id} is for another sum")
    _digest(join.link, "link")
    _count(join.count, "count")
    if len(join.ephemeral) != KEY_BYTES:
        raise DecodeError(f"ephemeral key of {len(join.ephemeral)} bytes")
    try:
        verify_signature(
            bytes.fromhex(member.identity), Label.JOIN, _join_statement(join), join.signature
        )
    except SignatureError as error:
        raise RefusalError(RefusalCode.JOIN_SIGNATURE, f"of {member.id}") from error
    verify_link(join.link, join.count, known.digest, known.count, length=length)
    return Link(join.count, join.link)


def verify_ephemeral(join: Join) -> None:
    """Raise RefusalError (R17) if the one-time key is of small order.

    Every partner finds that out in its own exchange; this lets the coordinator name the
    sender instead of losing everybody else.
    """
    _PROBE.exchange(join.ephemeral)


def _join_statement(join: Join) -> bytes:
    link = bytes.fromhex(join.link)
    return bytes.fromhex(join.context) + join.ephemeral + u32(join.count) + link


def _digest(text: str, field: str) -> Digest:
    try:
        return parse_digest(text)
    except IdentifierError as error:
        raise DecodeError(f"{field}: {error}") from error


def _count(value: int, field: str) -> None:
    if not 0 <= value < 1 << 32:
        raise DecodeError(f"{field}: {value} does not fit in four bytes")
