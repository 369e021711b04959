"""The exact bytes that are signed outside a round: greeting, enrolment, vote.

Both ends of the wire make them here, so signer and verifier cannot differ. Each goes under
its own label (protocol 0.3), hence one can never be taken for another.
"""

from consortium.canonical import lp, u64
from consortium.codec import StreamKind
from consortium.ids import Digest, PartnerId
from consortium.messages import EnrolmentRequest, Vote


def welcome_statement(
    nonce: bytes, manifest: Digest, partner: PartnerId, kind: StreamKind
) -> bytes:
    """What the coordinator signs under Label.HELLO in a Welcome (protocol 12.2).

    ``nonce ‖ manifest ‖ lp(partner) ‖ lp(stream)``: the node's fresh 32 bytes rule out a
    replay, partner and stream rule out a relay to another connection.
    """
    return nonce + bytes.fromhex(manifest) + lp(partner.encode()) + lp(kind.value.encode())


def enrolment_statement(request: EnrolmentRequest) -> bytes:
    """What the node's identity key signs under Label.ENROL (protocol 12.1).

    ``lp(partner) ‖ lp(token) ‖ lp(csr) ‖ identity ‖ agreement ‖ witness``; the field
    ``signature`` is not looked at.
    """
    head = lp(request.partner.encode()) + lp(request.token) + lp(request.csr)
    return head + request.identity + request.agreement + request.witness


def renewal_statement(partner: PartnerId, csr: bytes) -> bytes:
    """What the identity key signs under Label.RENEWAL: ``lp(partner) ‖ lp(csr)`` (2.6).

    Whoever has a partner's TLS key alone cannot get it another certificate.
    """
    return lp(partner.encode()) + lp(csr)


def vote_statement(vote: Vote, manifest: Digest) -> bytes:
    """What a member's identity key signs under Label.VOTE (protocol 12.5).

    ``manifest ‖ version ‖ lp(member) ‖ (1 if accepted, else 0) ‖ lp(reason) ‖ u64(number)``;
    the field ``signature`` is not looked at. The number rules out that an earlier vote is
    cast again, the manifest that it is counted under another federation or policy.
    """
    word = b"\x01" if vote.accept else b"\x00"
    member, reason = lp(vote.member.encode()), lp(vote.reason.encode())
    bound = bytes.fromhex(manifest) + bytes.fromhex(vote.version)
    return bound + member + word + reason + u64(vote.number)
