"""Models and votes: content-addressed versions, a quorum that makes one active.

A version is the digest of its document. Only a version that enough partners accepted is
served; the operator may roll back to one that was active before, never around the votes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consortium.canonical import Label
from consortium.crypto.keys import verify_signature
from consortium.crypto.statements import vote_statement
from consortium.errors import ConfigurationError, OutOfOrderError
from consortium.ids import Digest
from consortium.ledger.entries import from_jcs
from consortium.ledger.gate_audit import unstable
from consortium.ledger.revocations import barred
from consortium.manifest import Manifest
from consortium.messages import Vote
from coordinator import gating
from coordinator.audit_log import AuditLog, vote_of
from coordinator.model_storage import ModelRow
from coordinator.storage import Store


@dataclass(frozen=True, slots=True)
class Logged:
    """A member's entry, and the log that it is for."""

    log: AuditLog
    entry: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """Votes on one version by active partners."""

    accepted: tuple[str, ...]
    refused: tuple[str, ...]
    quorum: int

    unstable: bool = False
    """Whether refusals for unstable reasons stop it (protocol 13.9)."""

    @property
    def carried(self) -> bool:
        """Whether enough partners accepted, and none stops it."""
        return len(self.accepted) >= self.quorum and not self.unstable


def tally(store: Store, manifest: Manifest, version: Digest) -> Tally:
    """Count the votes of the manifest's active partners on ``version``.

    The yes of one that was revoked since counts no more; its no stays, for it stops nothing
    that a new version could not put right.
    """
    active = {member.id for member in manifest.partners}
    out = barred(store.members.revoked(), manifest)
    votes = [
        vote
        for vote in store.models.votes(version)
        if vote.member in active and not (vote.accept and vote.member in out)
    ]
    return Tally(
        accepted=tuple(sorted(vote.member for vote in votes if vote.accept)),
        refused=tuple(sorted(vote.member for vote in votes if not vote.accept)),
        quorum=manifest.policy.vote_quorum,
        unstable=unstable(manifest, {vote.member: vote for vote in votes}),
    )


def check_hope(store: Store, manifest: Manifest) -> None:
    """Raise OutOfOrderError if the newest candidate cannot become active as votes stand.

    Votes may change, but whoever waits for it had better know.
    """
    newest = max(store.models.all(), key=lambda row: row.created_at, default=None)
    if newest is None or newest.status != "candidate":
        return
    votes, partners = tally(store, manifest, newest.version), len(manifest.partners)
    if partners - len(votes.refused) >= votes.quorum and not votes.unstable:
        return
    against = [
        vote for vote in store.models.votes(newest.version) if vote.member in votes.refused
    ]
    words = ", ".join(f"{vote.member} ({vote.reason})" for vote in against)
    raise OutOfOrderError(
        f"model {newest.version[:12]} cannot become active as votes stand: refused by {words}; "
        f"{votes.quorum} of {partners} must accept"
    )


def cast_vote(
    store: Store,
    manifest: Manifest,
    vote: Vote,
    now: Callable[[], int],
    *,
    logged: Logged | None = None,
) -> str:
    """Keep a partner's vote; make the version active when the quorum is reached.

    Args:
        store: The database.
        manifest: In force.
        vote: As it came.
        now: Seconds, UTC.
        logged: The log, and the ``release.vote`` that came with it; None: no log here.

    Returns:
        The version's status after the vote.

    Raises:
        ManifestError: the voter is no active member.
        SignatureError: the vote is not the member's, or not made under this manifest.
        OutOfOrderError: no such version, it is retired, it is accepted though its gate
            refuses it (13.9), or the member's vote that is kept has this number or a
            higher one: a replay. Fault: who sent it.
        DecodeError: the entry is not that of this vote.
    """
    member = manifest.member(vote.member)
    key = bytes.fromhex(member.identity)
    statement = vote_statement(vote, manifest.digest)
    verify_signature(key, Label.VOTE, statement, vote.signature)
    model = _known(store, vote.version)
    if model.status == "retired":
        raise OutOfOrderError(f"model {vote.version[:12]} is retired")
    refusal = gating.refusal_of(store, vote.version)
    if vote.accept and refusal:
        raise OutOfOrderError(f"model {vote.version[:12]}: {refusal}")
    entries: tuple[bytes, ...] = ()
    if logged is not None:
        entries = vote_of(logged.entry, vote, manifest)
        logged.log.check_hint(from_jcs(logged.entry))
    if not store.models.add_vote(vote, now(), entries=entries):
        raise OutOfOrderError(f"{vote.member} voted later than vote {vote.number}")
    # A late vote is kept as well; what is active stays so until the operator rolls back.
    carried = tally(store, manifest, vote.version).carried and not refusal
    if model.status == "candidate" and carried and _usable(store, vote.version):
        _activate(store, vote.version, now(), None if logged is None else logged.log)
    return _known(store, vote.version).status


def activate(
    store: Store, manifest: Manifest, prefix: str, now: int, *, log: AuditLog | None = None
) -> ModelRow:
    """Make a version active by the operator's hand; gate and votes must carry it.

    Raises:
        ConfigurationError: no or several versions begin with ``prefix``, its gate refuses
            it, no quorum, or a head of a model that is not active.
    """
    model = find(store, prefix)
    if refusal := gating.refusal_of(store, model.version):
        raise ConfigurationError(f"model {model.version[:12]}: {refusal}")
    if not _usable(store, model.version):
        base = store.models.base_of(model.version) or ""
        raise ConfigurationError(f"activate its base model first: {base[:12]}")
    votes = tally(store, manifest, model.version)
    if votes.unstable:
        raise ConfigurationError(
            f"model {model.version[:12]}: members refuse it for unstable reasons "
            f"(refused: {', '.join(votes.refused)})"
        )
    if not votes.carried:
        raise ConfigurationError(
            f"model {model.version[:12]} has {len(votes.accepted)} accepting votes of "
            f"{votes.quorum} needed (accepted: {', '.join(votes.accepted) or 'nobody'})"
        )
    _activate(store, model.version, now, log)
    return _known(store, model.version)


def rollback(store: Store, now: int, *, log: AuditLog | None = None) -> ModelRow:
    """Return to the version that was active before the active one.

    From a head that is its base model alone, or the head before; from a base model it is the
    earlier one, with the head that it had.

    Raises:
        ConfigurationError: there is none.
    """
    active, past = (
        store.models.active_head() or store.models.active(),
        store.models.activations(),
    )
    # Before its first activation: a version that was rolled away from is not a way back.
    earlier = past[: past.index(active.version)] if active is not None else ()
    if not earlier:
        raise ConfigurationError("no earlier version was ever active")
    base = store.models.base_of(earlier[-1])
    if base is not None and not _usable(store, earlier[-1]):
        _activate(store, base, now, log)
    _activate(store, earlier[-1], now, log)
    return _known(store, earlier[-1])


def _activate(store: Store, version: Digest, now: int, log: AuditLog | None) -> None:
    """Put a version to use, and say so in the log; one that gives no scores serves nobody."""
    if store.models.beside(version):
        store.models.put_beside(version, now)
        return
    head = store.models.base_of(version) is not None
    before = store.models.active_head() if head else store.models.active()
    previous = None if before is None else before.version
    entries = () if log is None else log.served(version, previous)
    store.models.set_status(version, "active", now, entries=entries)


def _usable(store: Store, version: Digest) -> bool:
    """Whether a version may become active now: a head only with its base (protocol 7.11)."""
    base, active = store.models.base_of(version), store.models.active()
    return base is None or (active is not None and active.version == base)


def find(store: Store, prefix: str) -> ModelRow:
    """The one version that begins with ``prefix``; ConfigurationError otherwise."""
    found = [model for model in store.models.all() if model.version.startswith(prefix)]
    if len(found) != 1:
        raise ConfigurationError(f"{len(found)} models begin with {prefix!r}, expected one")
    return found[0]


def _known(store: Store, version: Digest) -> ModelRow:
    model = store.models.get(version)
    if model is None:
        raise OutOfOrderError(f"no model {version[:12]}")
    return model
