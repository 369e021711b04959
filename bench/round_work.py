"""The local work of a training round, without a wire: what four nodes and a coordinator do.

The parts are the product's own: ``TrainingSession`` over a ``NodeStore`` on disk for each
partner, ``Aggregator``, ``RunSession`` and ``Store`` for the coordinator. So a round here has
everything that a real one computes and writes: the JOIN stored and signed, all JOINs checked,
the debit flushed, gradient, noise, masks, the journal, the signed upload, its check, the sum,
the optimiser step, the stored state. It has no Flower message, no pipe, no socket, no
process to switch to and nobody to wait for.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.in_process import Federation
from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.documents import document_of, plan_digest
from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import Manifest, Member, Role
from consortium.messages import PlanOffer
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.secagg.aggregator import Aggregator
from consortium.secagg.chain import Link, chain_length
from consortium.secagg.joins import verify_acceptance
from coordinator.events import RunEvent
from coordinator.storage import Store
from coordinator.trainer import keep_attempt
from models.run import ClosedSum, RunSession
from partner_node.local_sums import LocalSums
from partner_node.plan_checks import SessionFacts
from partner_node.storage import NodeStore
from partner_node.training_session import SessionKeys, TrainingSession

WARM_UP = 5
"""Rounds at the start that are not counted: caches fill, the disk's file grows."""
_RUN = RunId("c0" * 16)
_DIGEST = Digest("0" * 64)


@dataclass(frozen=True, slots=True)
class _Parties:
    manifest: Manifest
    plan: TrainingPlan
    sessions: dict[PartnerId, TrainingSession] = field(default_factory=dict)


def local_ms(rehearsal: Path) -> dict[str, float]:
    """Milliseconds of local work of one round of the rehearsal's plan: medians.

    ``nodes`` is the work of all nodes, one after another, shared out over the cores that
    they would have: as if they were perfectly parallel. ``coordinator`` cannot overlap with
    them, for it waits for all and they wait for it. ``compute`` is the sum of the two.
    """
    with tempfile.TemporaryDirectory(dir=rehearsal.parent, prefix="work-") as scratch:
        federation = Federation.of(rehearsal)
        parties = _parties(federation, Path(scratch))
        session = RunSession(parties.plan, federation.rehearsal.schema)
        rounds = _rounds(parties, session, Store(f"sqlite:///{scratch}/coordinator.db"))
    shared = min(len(parties.sessions), os.cpu_count() or 1)
    nodes = [1000 * one / shared for one, _ in rounds]
    coordinator = [1000 * one for _, one in rounds]
    both = [one + other for one, other in zip(nodes, coordinator, strict=True)]
    return {
        "nodes": round(statistics.median(nodes), 3),
        "coordinator": round(statistics.median(coordinator), 3),
        "compute": round(statistics.median(both), 3),
    }


def _parties(federation: Federation, directory: Path) -> _Parties:
    """Keys, a signed-for manifest and a session on disk for each partner of the rehearsal."""
    names = list(federation.tables)
    keys = {
        name: SessionKeys(
            identity=IdentityKey.from_secret(Secret(os.urandom(32))),
            agreement=AgreementKey.from_secret(Secret(os.urandom(32))),
        )
        for name in names
    }
    rehearsal = federation.rehearsal
    members = tuple(
        Member(
            id=name,
            index=index,
            role=Role.PARTNER,
            identity=keys[name].identity.public.hex(),
            agreement=keys[name].agreement.public.hex(),
            witness="",
            tls_spki=_DIGEST,
            families=rehearsal.party(name).families,
        )
        for index, name in enumerate(names, start=1)
    )
    manifest = Manifest(
        federation="bench",
        version=1,
        previous=None,
        not_before=0,
        schema=rehearsal.schema.digest,
        members=members,
        policy=rehearsal.policy,
    )
    plan = replace(rehearsal.plan, run=_RUN, manifest=manifest.digest)
    found = _Parties(manifest, plan)
    for name in names:
        facts = SessionFacts(
            member=name,
            manifest=manifest,
            schema=rehearsal.schema,
            code=plan.code,
            caps=dict.fromkeys(("training", "holdout"), 1 << 50),
            run_epsilon=plan.epsilon,
        )
        found.sessions[name] = _session(federation, facts, keys[name], directory)
    return found


def _session(
    federation: Federation, facts: SessionFacts, keys: SessionKeys, directory: Path
) -> TrainingSession:
    """A node as its training process has it, with its table in memory and its own file."""
    store = NodeStore(directory / f"{facts.member}.db", now=lambda: int(time.time()))
    return TrainingSession(
        facts,
        keys=keys,
        store=store,
        replays=store.replays,
        entropy=lambda: Secret(os.urandom(32)),
        open_sums=lambda plan: LocalSums(
            plan,
            facts.schema,
            facts.member,
            load=lambda _bins: federation.tables[facts.member],
        ),
    )


def _accepted(parties: _Parties) -> tuple[list[bytes], dict[PartnerId, Link]]:
    """Everybody accepts the plan: the documents, and the heads of the chains."""
    offer = PlanOffer(plan=parties.plan)
    documents, links = [], {}
    for name, session in parties.sessions.items():
        accepted = session.on_offer(offer)
        documents.append(document_of(accepted))
        links[name] = verify_acceptance(
            accepted, plan=plan_digest(parties.plan), member=parties.manifest.member(name)
        )
    return documents, links


def _rounds(parties: _Parties, session: RunSession, store: Store) -> list[tuple[float, float]]:
    """Seconds of all nodes and of the coordinator, for each gradient after the warm-up."""
    documents, links = _accepted(parties)
    length = chain_length(parties.plan)
    sums: list[ClosedSum] = []
    found: list[tuple[float, float]] = []
    while session.state.stage is ReleaseKind.GRADIENT:
        began, nodes = time.perf_counter(), 0.0
        request, inputs = session.request(tuple(parties.sessions))
        attempt = Aggregator(parties.manifest, request, links=links, length=length)
        for one in parties.sessions.values():
            mark = time.perf_counter()
            join = one.on_proposal(request, sums, documents)
            nodes += time.perf_counter() - mark
            attempt.on_join(join)
        links.update(attempt.links)
        for one in parties.sessions.values():
            mark = time.perf_counter()
            words, upload = one.on_joins(
                request, inputs, joins=attempt.joins, acceptances=documents
            )
            nodes += time.perf_counter() - mark
            attempt.on_upload(upload, words)
        closed = ClosedSum(request=request, joined=attempt.joined, total=attempt.total())
        session.on_sum(closed)
        keep_attempt(store, session, RunEvent(run=_RUN, stage="training"), closed)
        sums = [closed]
        found.append((nodes, time.perf_counter() - began - nodes))
    return found[WARM_UP:]
