"""What a witness cosigns, and when a head counts (protocol 8.5, 8.6).

Pure rules: the witness's last head, the clock and the key are arguments. The role stores the
new state before it sends the cosignature, so that a crash can make it forget nothing it said.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from consortium.crypto.keys import NoteKey
from consortium.errors import CosignatureError, ForkError, RollbackError
from consortium.ids import PartnerId
from consortium.ledger.checkpoint import Cosigned, open_checkpoint, witness_name
from consortium.ledger.merkle import EMPTY_ROOT, verify_consistency
from consortium.ledger.note import NoteSignature, cosign_note
from consortium.manifest import Manifest

MAX_AGE_S = 24 * 3600
"""A cosignature that is older is no word on the head of today."""

MAX_SKEW_S = 300
"""How far another's clock may run ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The largest head of one log that a witness has cosigned; keep it on disk."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessKey:
    """In whose name, and with which key, heads are cosigned. Secret."""

    member: PartnerId
    key: NoteKey


def grow(head: Head, seen: Head, proof: Sequence[bytes]) -> Head:
    """The head after ``seen``, if it is grown from ``head``.

    Args:
        head: The last one that was cosigned.
        seen: What the log shows now.
        proof: Its consistency proof from ``head.size``; empty at the same size.

    Raises:
        RollbackError: it is smaller. Show both to everybody (``incident``).
        ForkError: it has the same size and another root. Show both to everybody.
        ProofError: it does not begin with what was cosigned.
    """
    if seen.size < head.size:
        raise RollbackError(seen.size, head.size)
    if seen.size == head.size and seen.root != head.root:
        raise ForkError(seen.size, seen.root.hex(), head.root.hex())
    verify_consistency(head.size, seen.size, path=proof, old_root=head.root, new_root=seen.root)
    return seen


def cosign(
    head: Head,
    checkpoint: bytes,
    proof: Sequence[bytes],
    *,
    manifest: Manifest,
    witness: WitnessKey,
    now: int,
) -> tuple[Head, NoteSignature]:
    """Check a head of the log and cosign it; store the first before the second is sent.

    Raises:
        DecodeError, SignatureError, ManifestError: no checkpoint that the log signed.
        RollbackError, ForkError, ProofError: as ``grow``.
    """
    opened = open_checkpoint(checkpoint, manifest)
    later = grow(head, head_of(opened), proof)
    name = witness_name(manifest, witness.member)
    return later, cosign_note(opened.note, name=name, key=witness.key, time=now)


def head_of(cosigned: Cosigned) -> Head:
    """Size and root of a checkpoint."""
    return Head(size=cosigned.checkpoint.size, root=cosigned.checkpoint.root)


def quorum_of(manifest: Manifest) -> int:
    """Partners whose cosignatures make a head count: ``⌈2K/3⌉`` of the active ones."""
    return -(-2 * len(manifest.partners) // 3)


def check_quorum(
    cosigned: Cosigned, manifest: Manifest, *, now: int, without: Collection[PartnerId] = ()
) -> tuple[PartnerId, ...]:
    """The partners by whose word the head counts (protocol 8.5).

    The regulator's cosignature is shown and not counted.

    Args:
        cosigned: From ``open_checkpoint`` under the same manifest.
        manifest: In force.
        now: Seconds. A cosignature counts for 24 hours, and up to 5 minutes before its time.
        without: Whose identities are revoked under this head (2.7). The quorum stays what it
            is: nobody can make it smaller by revoking.

    Raises:
        CosignatureError: fewer than the quorum.
    """
    fresh = tuple(
        member.id
        for member in manifest.partners
        if member.id in cosigned.times
        and member.id not in without
        and -MAX_SKEW_S <= now - cosigned.times[member.id] <= MAX_AGE_S
    )
    needed = quorum_of(manifest)
    if len(fresh) < needed:
        raise CosignatureError(
            f"head of {cosigned.checkpoint.size} entries: cosigned by {len(fresh)} partners "
            f"within {MAX_AGE_S // 3600} hours, {needed} are needed"
        )
    return fresh


def quorum_held(
    cosigned: Cosigned, manifest: Manifest, *, without: Collection[PartnerId] = ()
) -> tuple[int, tuple[PartnerId, ...]]:
    """The last moment at which the head's quorum was there, and by whose word.

    Witnesses cosign heads at different times, and who fills a mirror cosigns old ones: a line
    that is made late takes nothing from what the others had said. ``without`` as in
    ``check_quorum``.

    Raises:
        CosignatureError: at no moment.
    """
    times = {cosigned.times[one.id] for one in manifest.partners if one.id in cosigned.times}
    failed: CosignatureError | None = None
    for moment in sorted(times, reverse=True):
        try:
            return moment, check_quorum(cosigned, manifest, now=moment, without=without)
        except CosignatureError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return 0, check_quorum(cosigned, manifest, now=0, without=without)
