"""The local work of a training round, without a wire: what four nodes and a coordinator do.

The parts are the product's own: ``TrainingSession`` over a ``NodeStore`` on disk for each
partner, ``Aggregator``, ``RunSession`` and ``Store`` for the coordinator. So a round here has
everything that a real one computes and writes: the JOIN stored and signed, all JOINs checked,
the debit flushed, gradient, noise, masks, the journal, the signed upload, its check, the sum,
the optimiser step, the stored state. And it has the log: every entry signed, kept, checked and
appended, heads signed, mirrored, cosigned by all and counted, before anything is charged. It
has no Flower message, no pipe, no socket, no process to switch to and nobody to wait for.

``local_ms(..., logged=False)`` is the same without the log: what the log costs is the ratio.
CPU seconds count, not those on the wall: the machine may be busy otherwise.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.in_process import Federation
from consortium.canonical import Label
from consortium.crypto.keys import AgreementKey, IdentityKey, NoteKey, Secret
from consortium.documents import document_of, plan_digest
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.witness import WitnessKey
from consortium.manifest import Manifest, Member, Role
from consortium.messages import LogHead, PlanOffer, Signed
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import ACCOUNTS
from consortium.secagg.aggregator import Aggregator
from consortium.secagg.chain import Link, chain_length
from consortium.secagg.joins import verify_acceptance
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.events import RunEvent
from coordinator.round_witnesses import RoundWitnesses, WitnessedRun
from coordinator.run_record import RunRecord, proposed
from coordinator.storage import Store
from coordinator.trainer import keep_attempt
from models.run import ClosedSum, RunSession
from partner_node.entry_book import EntryBook
from partner_node.local_sums import LocalSums
from partner_node.log_gate import LogGate
from partner_node.log_mirror import LogMirror, MirrorPorts
from partner_node.plan_checks import SessionFacts
from partner_node.storage import NodeStore
from partner_node.training_ports import SessionKeys
from partner_node.training_session import TrainingSession

WARM_UP = 5
"""Rounds at the start that are not counted: caches fill, the disk's file grows."""
_RUN = RunId("c0" * 16)
_DIGEST = Digest("0" * 64)
_QUORUM_S = 1.0


_COORDINATOR = PartnerId("coordinator")
_NO_HEAD = LogHead()


@dataclass(frozen=True, slots=True)
class _Keys:
    """One partner's."""

    identity: IdentityKey
    agreement: AgreementKey
    witness: NoteKey


@dataclass(frozen=True, slots=True)
class _Parties:
    manifest: Manifest
    plan: TrainingPlan
    keys: dict[PartnerId, _Keys]
    coordinator: LogKeys
    sessions: dict[PartnerId, TrainingSession] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the coordinator works with; without a log the last two are None."""

    session: RunSession
    store: Store
    record: RunRecord | None = None
    witnesses: RoundWitnesses | None = None


def local_ms(rehearsal: Path, *, logged: bool = True) -> dict[str, float]:
    """Milliseconds of local work of one round of the rehearsal's plan: medians.

    ``nodes`` is the work of all nodes, one after another, shared out over the cores that
    they would have: as if they were perfectly parallel. ``coordinator`` cannot overlap with
    them, for it waits for all and they wait for it. ``compute`` is the sum of the two.
    """
    with tempfile.TemporaryDirectory(dir=rehearsal.parent, prefix="work-") as scratch:
        federation = Federation.of(rehearsal)
        parties = _parties(federation, Path(scratch), logged=logged)
        desk = _desk(federation, parties, Path(scratch), logged=logged)
        rounds = _rounds(parties, desk)
    shared = min(len(parties.sessions), os.cpu_count() or 1)
    nodes = [1000 * one / shared for one, _ in rounds]
    coordinator = [1000 * one for _, one in rounds]
    both = [one + other for one, other in zip(nodes, coordinator, strict=True)]
    return {
        "nodes": round(statistics.median(nodes), 3),
        "coordinator": round(statistics.median(coordinator), 3),
        "compute": round(statistics.median(both), 3),
    }


def _parties(federation: Federation, directory: Path, *, logged: bool) -> _Parties:
    """Keys, a signed-for manifest and a session on disk for each partner of the rehearsal."""
    rehearsal = federation.rehearsal
    keys = {
        name: _Keys(
            IdentityKey.from_secret(_secret()),
            AgreementKey.from_secret(_secret()),
            NoteKey.from_secret(_secret()),
        )
        for name in federation.tables
    }
    coordinator = LogKeys(
        member=_COORDINATOR,
        identity=IdentityKey.from_secret(_secret()),
        note=NoteKey.from_secret(_secret()),
    )
    partners = tuple(
        Member(
            id=name,
            index=index,
            role=Role.PARTNER,
            identity=one.identity.public.hex(),
            agreement=one.agreement.public.hex(),
            witness=one.witness.public.hex(),
            tls_spki=_DIGEST,
            families=rehearsal.party(name).families,
        )
        for index, (name, one) in enumerate(keys.items(), start=1)
    )
    operator = Member(
        id=_COORDINATOR,
        index=len(partners) + 1,
        role=Role.COORDINATOR,
        identity=coordinator.identity.public.hex(),
        agreement="",
        witness=coordinator.note.public.hex(),
        tls_spki=_DIGEST,
        families=(),
    )
    manifest = Manifest(
        federation="bench",
        version=1,
        previous=None,
        not_before=0,
        schema=rehearsal.schema.digest,
        members=(*partners, operator),
        policy=rehearsal.policy,
    )
    plan = replace(rehearsal.plan, run=_RUN, manifest=manifest.digest)
    found = _Parties(manifest, plan, keys, coordinator)
    for name in federation.tables:
        found.sessions[name] = _session(federation, found, name, directory, logged=logged)
    return found


def _session(
    federation: Federation, parties: _Parties, name: PartnerId, directory: Path, *, logged: bool
) -> TrainingSession:
    """A node as its training process has it, with its table in memory and its own file."""
    schema, keys = federation.rehearsal.schema, parties.keys[name]
    facts = SessionFacts(
        member=name,
        manifest=parties.manifest,
        schema=schema,
        code=parties.plan.code,
        caps=dict.fromkeys(ACCOUNTS, 1 << 50),
        run_epsilon=parties.plan.epsilon,
    )
    store = NodeStore(directory / f"{name}.db", now=_now)
    book, gate = None, None
    if logged:
        book = EntryBook(name, keys.identity, now=_now)
        witness = WitnessKey(member=name, key=keys.witness)
        mirror = LogMirror(MirrorPorts(store=store.log, witness=witness, book=book, now=_now))
        book.hint = mirror.counted
        gate = LogGate(mirror, parties.manifest)
    return TrainingSession(
        facts,
        keys=SessionKeys(identity=keys.identity, agreement=keys.agreement),
        store=store,
        replays=store.replays,
        entropy=_secret,
        open_sums=lambda plan: LocalSums(
            plan, schema, name, load=lambda _bins: federation.tables[name]
        ),
        book=book,
        gate=gate,
    )


def _desk(federation: Federation, parties: _Parties, directory: Path, *, logged: bool) -> _Desk:
    """The coordinator's part; its log begins with all adoptions and the plan."""
    session = RunSession(parties.plan, federation.rehearsal.schema)
    store = Store(f"sqlite:///{directory}/coordinator.db")
    if not logged:
        return _Desk(session, store)
    manifest = parties.manifest
    log = AuditLog(
        store,
        federation=manifest.federation,
        keys=parties.coordinator,
        now=_now,
        manifest=lambda: manifest,
    )
    for name, keys in parties.keys.items():
        message = bytes.fromhex(manifest.digest)
        line = keys.identity.sign(Label.MANIFEST_SIGNATURE, message)
        signed = Signed(digest=manifest.digest, member=name, signature=line)
        log.append([EntryBook(name, keys.identity, now=_now).adopted(signed, 1)])
        log.witnesses.note_held(name, 0)
    log.append(proposed(log, parties.plan))
    witnesses = RoundWitnesses(WitnessedRun(log=log, manifest=manifest))
    return _Desk(session, store, RunRecord(log, manifest), witnesses)


def _accepted(parties: _Parties, desk: _Desk) -> tuple[list[bytes], dict[PartnerId, Link]]:
    """Everybody accepts the plan: the documents, and the heads of the chains."""
    offer = PlanOffer(plan=parties.plan)
    documents, links = [], {}
    for name, session in parties.sessions.items():
        accepted = session.on_offer(offer)
        documents.append(document_of(accepted))
        links[name] = verify_acceptance(
            accepted, plan=plan_digest(parties.plan), member=parties.manifest.member(name)
        )
        if desk.record is not None:
            desk.record.on_accepted(accepted, session.said())
    return documents, links


def _rounds(parties: _Parties, desk: _Desk) -> list[tuple[float, float]]:
    """CPU seconds of all nodes and of the coordinator, for each gradient after the warm-up."""
    accepted = _accepted(parties, desk)
    sums: list[ClosedSum] = []
    found: list[tuple[float, float]] = []
    while desk.session.state.stage is ReleaseKind.GRADIENT:
        began = time.process_time()
        closed, nodes = _round(parties, desk, accepted, sums)
        sums = [closed]
        found.append((nodes, time.process_time() - began - nodes))
    return found[WARM_UP:]


def _round(
    parties: _Parties,
    desk: _Desk,
    accepted: tuple[list[bytes], dict[PartnerId, Link]],
    sums: list[ClosedSum],
) -> tuple[ClosedSum, float]:
    """One round; its sum, and the CPU seconds of all nodes."""
    documents, links = accepted
    request, inputs = desk.session.request(tuple(parties.sessions))
    length = chain_length(parties.plan)
    attempt = Aggregator(parties.manifest, request, links=links, length=length)
    nodes = _joins(parties, desk, attempt, (documents, sums))
    links.update(attempt.links)
    shown = _NO_HEAD if desk.witnesses is None else desk.witnesses.settle(_QUORUM_S)
    for one in parties.sessions.values():
        mark = time.process_time()
        words, upload = one.on_joins(
            request, inputs, joins=attempt.joins, acceptances=documents, shown=shown
        )
        said = one.said()
        nodes += time.process_time() - mark
        if desk.record is not None:
            desk.record.check_upload(upload, request, said)
        attempt.on_upload(upload, words)
        if desk.record is not None:
            desk.record.on_upload(upload, request, words, said)
    closed = ClosedSum(request=request, joined=attempt.joined, total=attempt.total())
    desk.session.on_sum(closed)
    _keep(desk, closed)
    return closed, nodes


def _joins(
    parties: _Parties,
    desk: _Desk,
    attempt: Aggregator,
    known: tuple[list[bytes], list[ClosedSum]],
) -> float:
    """All JOINs of an attempt; the CPU seconds of all nodes."""
    (documents, sums), record, witnesses = known, desk.record, desk.witnesses
    request, nodes = attempt.request, 0.0
    heads = {} if witnesses is None else witnesses.propose(parties.sessions)
    if record is not None:
        record.begin()
    for name, one in parties.sessions.items():
        mark = time.process_time()
        join = one.on_proposal(request, sums, documents, heads.get(name, _NO_HEAD))
        said, taken = one.said(), one.cosigned()
        nodes += time.process_time() - mark
        if record is not None:
            record.check_join(join, request, said)
        attempt.on_join(join)
        if record is not None:
            record.on_join(said)
        if witnesses is not None:
            witnesses.on_joined(name, taken.size, taken.cosignature)
    return nodes


def _keep(desk: _Desk, closed: ClosedSum) -> None:
    entries: tuple[bytes, ...] = ()
    words = None
    if desk.record is not None:
        last = desk.session.state.attempts[-1]
        entries = desk.record.closing(closed.request, last, closed)
        words = desk.record.words(closed)
    event = RunEvent(run=_RUN, stage="training")
    keep_attempt(desk.store, desk.session, event, closed, entries, words=words, at=_now())


def _secret() -> Secret:
    return Secret(os.urandom(32))


def _now() -> int:
    return int(time.time())
