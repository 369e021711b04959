"""The owner's commands about the log: wait, settle, book its debits, revoke an identity.

Each is one deliberate act of an operator (protocol 4.6 (5), 8.6).
"""

from consortium.errors import ConfigurationError, RefusalCode, RefusalError
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import (
    ReleaseCandidate,
    StatementPublished,
    from_jcs,
    verify_entry,
)
from consortium.ledger.run_bodies import BudgetDebit, RoundAbort, RoundSum
from consortium.ledger.witness import MAX_AGE_S
from consortium.manifest import Manifest
from consortium.messages import SumRequest, WitnessQuestion
from partner_node.log_gate import LogGate
from partner_node.log_mirror import LogMirror
from partner_node.records import OwnEntry
from partner_node.storage import NodeStore
from partner_node.wiring import Desk, is_served, mirror_of, pause, witnessing
from partner_node.witnessing import HURRY_S

TURNS = 120
"""Questions that a vote puts while there is no quorum on its candidate: half a minute."""
_VOICE = "identity.revoked"
_REWRITTEN = {"log.rollback", "log.fork", "log.rewritten"}


def wait_for_release(desk: Desk, version: Digest) -> None:
    """Return once candidate and statement of a version are under a cosigned head.

    Raises:
        RefusalError: they are not, or an incident is open (R08).
        TransportError: the coordinator is not reachable.
    """
    mirror = mirror_of(desk)
    witness, manifest, lacking = witnessing(desk, mirror), desk.pinned().manifest, ""
    with desk.door() as door:
        for turn in range(TURNS):
            if turn:
                pause(HURRY_S)
            witness.ask(door)
            lacking = lacks_of_release(mirror, manifest, version)
            if not lacking:
                return
    raise RefusalError(RefusalCode.CHECKPOINT, lacking)


def lacks_of_release(mirror: LogMirror, manifest: Manifest, version: Digest) -> str:
    """What of a version's candidate and statement is under no cosigned head; "" if nothing."""
    size = mirror.fresh(MAX_AGE_S)
    for name, kind in (
        ("release.candidate", ReleaseCandidate),
        ("statement.published", StatementPublished),
    ):
        found = None
        for row in mirror.store.of_types(name):
            if row.number >= size or version.encode() not in row.data:
                continue
            entry = from_jcs(row.data)
            verify_entry(entry, row.data, manifest.member(entry.actor))
            if isinstance(entry.body, kind) and entry.body.version == version:
                found = row.number
        if found is None:
            return f"{name} of {version[:12]} is under no cosigned head; the newest has {size}"
    return ""


def settle(desk: Desk, number: int) -> str:
    """Take an incident for settled; returns its kind.

    If the log had been rewritten the mirror is dropped: what the coordinator shows next is
    taken as it is. Both heads stay in the incident.

    Raises:
        ConfigurationError: there is no open incident of that number, or a process serves this
            node: it would go on with what it has in memory.
    """
    if is_served(desk.config.directory):
        raise ConfigurationError("stop riskweave node serve before you settle an incident")
    mirror = mirror_of(desk)
    kinds = {one.number: one.kind for one in mirror.store.incidents()}
    if not mirror.store.settle(number):
        raise ConfigurationError(f"no incident {number} is open")
    if kinds[number] in _REWRITTEN:
        mirror.forget()
    return kinds[number]


def revoke(desk: Desk, member: PartnerId, reason: str) -> None:
    """Say for the log that a member's identity is to be revoked: one voice (protocol 2.7).

    About this node itself it is enough. It is kept, so that the serving node brings it if the
    coordinator cannot be reached now; said again, it is the same voice.

    Raises:
        ManifestError: no manifest is pinned, or it has no such member.
        TransportError: the coordinator is not reachable; the voice is kept.
    """
    about, store = desk.pinned().manifest.member(member), desk.store()
    said = [one for one in store.log.said(_VOICE) if about.identity.encode() in one]
    entry = said[0] if said else desk.book().revoked(about, reason)
    if not said:
        store.keep_own([OwnEntry(type=_VOICE, data=entry)])
    with desk.door() as coordinator:
        coordinator.witness(WitnessQuestion(known=store.log.size(), entries=(entry,)))


def missing_debits(desk: Desk, store: NodeStore) -> tuple[BudgetDebit, ...]:
    """Debits of this node in its mirror that its database does not have."""
    return LogGate(mirror_of(desk), desk.pinned().manifest).missing(store)


def accept_log(desk: Desk) -> tuple[BudgetDebit, ...]:
    """Book what the log says that this node was charged (4.6 (5)); returns what was booked."""
    store = desk.store()
    missing = missing_debits(desk, store)
    widths = _dimensions(store, missing)
    store.book([(one, widths[_key(one)]) for one in missing])
    return missing


def _dimensions(store: NodeStore, debits: tuple[BudgetDebit, ...]) -> dict[object, int]:
    """Words of the sums that debits were for, from the log; 0 where no sum came of it."""
    found: dict[object, int] = {_key(one): 0 for one in debits}
    for run in {one.run for one in debits}:
        for row in store.log.of_run(run, 0):
            body = from_jcs(row.data).body if row.type in {"round.sum", "round.abort"} else None
            if isinstance(body, RoundSum | RoundAbort):
                found[_key(body.request)] = body.request.dimension
    return found


def _key(one: BudgetDebit | SumRequest) -> tuple[object, ...]:
    return one.run, one.kind, one.round, one.attempt
