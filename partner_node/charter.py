"""The consortium's charter at a partner: read in the log's mirror, agreed to in its name."""

from dataclasses import dataclass

from consortium.credit.governance import Charter
from consortium.errors import (
    DomainError,
    NotFoundError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
)
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import from_jcs, verify_entry
from consortium.ledger.governing import CharterAgreed, CharterProposed, Governed
from consortium.ledger.witness import MAX_AGE_S
from consortium.manifest import Manifest
from partner_node.log_mirror import LogMirror
from partner_node.records import OwnEntry

_TYPES = ("charter.proposed", "charter.agreed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Charters:
    """The newest charter of the log, and who has agreed to it."""

    newest: Charter
    agreed: tuple[PartnerId, ...]


def charters_in(mirror: LogMirror, manifest: Manifest) -> Charters:
    """What the log says, as far as a fresh quorum has cosigned it.

    Raises:
        RefusalError: the newest head with a quorum is too old (R08).
        NotFoundError: no charter was proposed.
        DecodeError, SignatureError: an entry is not its actor's.
    """
    size = mirror.fresh(MAX_AGE_S)
    if not size:
        raise RefusalError(RefusalCode.CHECKPOINT, "no fresh head of the log is cosigned")
    state = Governed()
    for row in mirror.store.of_types(*_TYPES):
        if row.number >= size:
            continue
        entry = from_jcs(row.data)
        verify_entry(entry, row.data, manifest.member(entry.actor))
        if isinstance(entry.body, CharterProposed | CharterAgreed):
            try:
                state.take(entry.body, entry.actor)
            except (OutOfOrderError, DomainError):
                continue  # the auditor's business; it agrees to nothing
    if not state.charters:
        raise NotFoundError("no charter was proposed")
    newest = state.charters[-1]
    return Charters(newest=newest, agreed=tuple(sorted(state.agreed.get(newest.digest, ()))))


def agree(mirror: LogMirror, manifest: Manifest, digest: Digest) -> Charter:
    """Agree to the newest charter in this partner's name; the witness brings it to the log.

    Args:
        mirror: Of the log.
        manifest: Pinned.
        digest: Of the charter that the owner has read: another one is not agreed to.

    Raises:
        DomainError: the newest charter is another one. And as ``charters_in``.
    """
    found = charters_in(mirror, manifest)
    if found.newest.digest != digest:
        raise DomainError(f"the newest charter is {found.newest.digest}; read that one first")
    own = [from_jcs(data).body for data in mirror.store.said("charter.agreed")]
    body = CharterAgreed(charter=digest)
    if body not in own:
        entry = OwnEntry(type="charter.agreed", data=mirror.book.charter_agreed(body))
        mirror.store.say([entry])
    return found.newest
