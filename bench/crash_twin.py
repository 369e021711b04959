"""What a run would have been had nobody been killed: the same seeds, plan and rows.

The product's own sessions, one for each partner, with its real keys and table and the seed
that its database holds for the run, in this process and without a network. Nothing is random
but those seeds, so the model must be the same to the last bit, unless something is on record
that makes it another: an attempt that was aborted, or a round without a partner.
"""

from contextlib import closing

import numpy as np

from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document
from consortium.errors import OutOfOrderError
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import PlanOffer, SumRequest
from consortium.plan import TrainingPlan
from consortium.privacy.noise import noise_share
from consortium.release import Outcome
from consortium.secagg.ring import ring_sum, to_ring, to_signed
from coordinator.releases import candidate_of
from models.run import ClosedSum, RunSession
from partner_node import training_parts, wiring
from partner_node.budget import caps
from partner_node.local_sums import Sums
from partner_node.plan_checks import SessionFacts
from partner_node.training_ports import SessionKeys
from partner_node.training_session import TrainingSession
from tests.integration.federation import Federation
from tests.simulator import MemoryCommitments


class Twin:
    """One run of a federation, made again."""

    def __init__(self, federation: Federation, run: RunId) -> None:
        with federation.store() as store:
            row, self._sums = store.runs.get(run), store.runs.sums(run)
        if row is None:
            raise OutOfOrderError(f"no run {run}")
        self._federation = federation
        self._plan = parse_document(TrainingPlan, row.plan)
        self.version = Digest(row.detail)
        """What was released."""
        self._desks = {
            party.id: wiring.open_desk(federation.directory(party.id))
            for party in federation.rehearsal.parties
        }
        self._manifest = next(iter(self._desks.values())).pinned().manifest
        self._seeds = {name: self._seed(name) for name in self._desks}

    @property
    def retried(self) -> bool:
        """Whether the record has an aborted attempt, or a sum without one of the partners."""
        return any(
            one.outcome is not Outcome.SUMMED or len(one.roster) < len(self._desks)
            for one in self._federation.attempts(self._plan.run)
        )

    def undisturbed(self) -> Digest:
        """The version of the model that all partners make in one attempt a sum."""
        sessions = {name: self._session(name) for name in self._desks}
        offer = PlanOffer(plan=self._plan)
        accepted = [document_of(one.on_offer(offer)) for one in sessions.values()]
        roster = tuple(sorted(sessions))
        session = RunSession(self._plan, self._federation.rehearsal.schema)
        closed: list[ClosedSum] = []
        while not session.finished:
            request, inputs = session.request(roster)
            joins = [sessions[name].on_proposal(request, closed, accepted) for name in roster]
            uploads = [
                sessions[name].on_joins(request, inputs, joins=joins, acceptances=accepted)
                for name in roster
            ]
            total = to_signed(ring_sum(words for words, _ in uploads))
            made = ClosedSum(request=request, joined=uploads[0][1].context, total=total)
            session.on_sum(made)
            closed.append(made)
        return candidate_of(session, self._manifest).version

    def follows(self) -> bool:
        """Whether every published sum is rows, plan and seeds under the JOINs on record."""
        session = RunSession(self._plan, self._federation.rehearsal.schema)
        tables = {name: self._table(name) for name in self._desks}
        for row in self._sums:
            request = parse_document(SumRequest, row.request)
            inputs = session.request(request.roster)[1]
            joined = Digest(row.joined)
            words = []
            for name in request.roster:
                exact = tables[name].compute(
                    request, inputs, seed=self._seeds[name], context=joined
                )
                noisy = np.ones_like(exact.held)
                exact.values[noisy] += noise_share(
                    self._seeds[name], joined, variance=int(request.variance), count=noisy.size
                )
                words.append(to_ring(exact.values))
            total = np.frombuffer(row.total, dtype="<i8").astype(np.int64)
            if not np.array_equal(to_signed(ring_sum(words)), total):
                return False
            session.on_sum(ClosedSum(request=request, joined=joined, total=total))
        return True

    def _seed(self, name: PartnerId) -> Secret:
        with closing(self._desks[name].store()) as store:
            _, seed = store.commitment(self._plan.run) or (None, None)
        if seed is None:
            raise OutOfOrderError(f"{name} keeps no seed of run {self._plan.run}")
        return seed

    def _table(self, name: PartnerId) -> Sums:
        desk = self._desks[name]
        return training_parts.open_sums(desk, desk.pinned(), self._plan)

    def _session(self, name: PartnerId) -> TrainingSession:
        desk = self._desks[name]
        facts = SessionFacts(
            member=name,
            manifest=self._manifest,
            schema=self._federation.rehearsal.schema,
            code=wiring.code_digest(),
            caps=dict(caps(self._manifest.policy, wiring.own_caps(desk))),
            run_epsilon=desk.config.budget.run_epsilon,
        )
        return TrainingSession(
            facts,
            keys=SessionKeys(identity=desk.keys.identity(), agreement=desk.keys.agreement()),
            store=MemoryCommitments(),  # type: ignore[arg-type]
            entropy=lambda: self._seeds[name],
            open_sums=lambda _plan: self._table(name),
        )
