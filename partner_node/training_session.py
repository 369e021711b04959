"""This partner's half of a training run: check, reserve, join, compute, noise, mask.

Knows neither gRPC nor Flower. The order is the protection: what is not in the pinned
manifest and the accepted plan is refused; budget is reserved on disk before a row is read;
a JOIN is on disk before it is sent, the debit before a word leaves (protocol 3.3 to 4.6).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import canonical_json
from consortium.crypto.keys import Secret
from consortium.documents import document_of, plan_digest
from consortium.errors import (
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    StorageError,
    TransportError,
)
from consortium.ids import RunId
from consortium.ledger.entries import from_jcs as parse_entry
from consortium.ledger.run_bodies import PlanRefused
from consortium.manifest import manifest_bytes
from consortium.messages import Join, LogHead, PlanAccepted, PlanOffer, SumRequest, Upload
from consortium.plan import Algorithm, ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import (
    account_of,
    accounts_of,
    attempts_of,
    by_account,
    local_steps_units,
    reserve_units,
)
from consortium.privacy.noise import noise_share
from consortium.release import Mechanism
from consortium.secagg.chain import chain_length, link
from consortium.secagg.context import SumInputs, context_of
from consortium.secagg.joins import seed_commitment, sign_acceptance
from consortium.secagg.partner import JoinedContext, PartnerFacts, PartnerMachine
from consortium.secagg.replay import AllJoins
from consortium.secagg.ring import check_no_overflow, to_ring
from consortium.secagg.uploads import words_digest
from models.run import ClosedSum, RunSession
from partner_node.accepted_run import AcceptedRun, closed_sum, kept_sum
from partner_node.entry_book import Charge, EntryBook
from partner_node.local_sums import Sums
from partner_node.log_gate import LogGate
from partner_node.log_mirror import Taken
from partner_node.plan_checks import SessionFacts, check_plan
from partner_node.records import KeptAttempt, KeptRun, OwnEntry, StoredJoin
from partner_node.training_ports import Commitments, Replays, SessionKeys

log = logging.getLogger(__name__)

LARGEST_TABLE = 1 << 30
"""Rows that the overflow bound is checked for: a refusal by their true number would tell it."""

NOTHING_SHOWN = LogHead()
NOTHING_TAKEN = Taken(0, b"")
_REFUSED = "plan.refused"

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]


class TrainingSession:
    """Answers a coordinator's offers and requests; refuses with the codes of protocol 3.8."""

    def __init__(  # noqa: PLR0913 - all that a session works with
        self,
        facts: SessionFacts,
        *,
        keys: SessionKeys,
        store: Commitments,
        entropy: Callable[[], Secret],
        open_sums: Callable[[TrainingPlan], Sums],
        book: EntryBook | None = None,
        gate: LogGate | None = None,
        replays: Replays | None = None,
    ) -> None:
        self._facts = facts
        self._keys = keys
        self._store = store
        self._entropy = entropy
        self._open_sums = open_sums
        self._book = book
        """None: this node says nothing for the log."""
        self._gate = gate
        """None: no round waits for the log. Of a node that serves there is one."""
        self._cosigned = NOTHING_TAKEN
        self._replays = replays
        """None: nothing is kept, and no audit can replay what this node sends."""
        self._said: list[bytes] = []
        self._sums: Sums | None = None
        self._manifest = facts.manifest.digest
        self._run: AcceptedRun | None = None

    def on_offer(self, offer: PlanOffer) -> PlanAccepted:
        """Check the plan, reserve its whole charge, then check the table (protocol 3.1).

        Idempotent: a run that was accepted is accepted again. So the coordinator may ask
        whether this node is fit for more, at no charge: the table is there, and the disk
        takes what is written.

        Raises:
            RefusalError: with the first rule that the plan breaks.
            BudgetExceededError: the owner's cap does not cover it; nothing is reserved.
            StorageError: the database cannot be written to.
        """
        try:
            return self._on_offer(offer.plan)
        except RefusalError as error:
            self._say_refused(offer.plan, error)
            raise

    def _on_offer(self, plan: TrainingPlan) -> PlanAccepted:
        check_plan(self._facts, plan)
        if self._gate is not None:
            self._gate.before_run(plan, self._store)
        known = self._store.commitment(plan.run)
        if known is not None and known[0] != plan:
            raise RefusalError(RefusalCode.REPEATED, "another plan under the same run id")
        if known is not None and plan.run not in self._store.open_runs():
            raise RefusalError(RefusalCode.PLAN, "the run was closed: nothing is reserved")
        if known is None:
            # The coordinator runs one plan at a time: the others are over, and what they
            # hold is free. They can charge nothing any more, whatever it says later.
            for earlier in self._store.open_runs():
                self._store.close_run(earlier)
            held = by_account(reserve_units(plan))
            units = {name: held[name] for name in accounts_of(plan)}
            self._store.commit(plan, self._entropy(), units, self._facts.caps)
            if self._gate is not None:
                self._gate.only(plan.run)
            self._check_table(plan)
        else:
            self._table(plan)
        run = self._accepted(plan.run)
        # What it says of closed sums must be true of a process that comes after this one.
        if run.learned:
            self._store.keep_sums(plan.run, run.learned)
            run.learned = []
        accepted = sign_acceptance(
            PlanAccepted(
                plan=run.digest,
                member=self._facts.member,
                seed_commitment=seed_commitment(plan.run, self._facts.member, run.seed),
                chain_head=link(run.seed, run.length, 0),
                closed=run.replica.state.closed,
                signature=b"",
            ),
            self._keys.identity,
        )
        self._accept(plan, accepted)
        return accepted

    def _say_refused(self, plan: TrainingPlan, error: RefusalError) -> None:
        """Keep the refusal for the log, once for each reason; the witness brings it."""
        if self._book is None:
            return
        reason = error.reason.value
        kept = (parse_entry(one).body for one in self._store.own_entries(plan.run, _REFUSED))
        if reason not in {one.reason for one in kept if isinstance(one, PlanRefused)}:
            data = self._book.refused(plan, reason)
            self._store.keep_own([OwnEntry(type=_REFUSED, run=plan.run, data=data)])

    def cosigned(self) -> Taken:
        """The head that came with the last proposal, and this node's cosignature of it."""
        return self._cosigned

    def said(self) -> list[bytes]:
        """Entries for the log that go with the last answer; once."""
        said, self._said = self._said, []
        return said

    def _accept(self, plan: TrainingPlan, accepted: PlanAccepted) -> None:
        """Journal the acceptance; say it for the log, with debits that may have got lost."""
        known = self._store.own_entries(plan.run, "run.commit") if self._book else ()
        fresh = [self._book.committed(plan, accepted)] if self._book and not known else []
        own = [OwnEntry(type="run.commit", run=plan.run, data=data) for data in fresh]
        self._store.accepted(plan.run, accepted.signature, own)
        lost = self._store.own_entries(plan.run, "budget.debit") if known else ()
        self._said = [*(known or fresh), *lost]

    def on_close(self, run: RunId) -> None:
        """The coordinator says that the run is over: free the rest of its reserve."""
        self._store.close_run(run)
        if self._sums is not None and self._sums.plan.run == run:
            self._sums = None

    def on_proposal(
        self,
        request: SumRequest,
        sums: Sequence[ClosedSum],
        acceptances: Sequence[bytes] = (),
        shown: LogHead = NOTHING_SHOWN,
    ) -> Join:
        """Check that the request follows from plan and published sums, and join (3.3).

        Args:
            request: The proposed attempt.
            sums: Published sums that this node may not know yet, in order.
            acceptances: Every member's acceptance of the plan, as documents. Those that are
                known already are not read again.
            shown: The log's newest head, and the entries that this node lacks.

        Returns:
            The JOIN, which is on disk. Nothing is charged for it.

        Raises:
            RefusalError: with the first rule that the request breaks.
        """
        run = self._accepted(request.run)
        self._cosigned, self._said = NOTHING_TAKEN, []
        try:
            with self._store.together():
                taken = NOTHING_TAKEN if self._gate is None else self._gate.take(shown)
                self._check_proposal(run, request, sums, acceptances)
                join, said = self._kept_join(run, request)
        except StorageError:
            run.machine = None  # there is no such JOIN
            raise
        run.learned = []
        self._cosigned, self._said = taken, said
        return join

    def _check_proposal(
        self,
        run: AcceptedRun,
        request: SumRequest,
        sums: Sequence[ClosedSum],
        acceptances: Sequence[bytes],
    ) -> None:
        run.check_roster(request)
        run.check_committed(request, acceptances)
        self._catch_up(run, sums)
        run.check_follows(request)
        if self._gate is not None:
            self._gate.check(run.plan, request, self._store)
            self._check_standing(request)
        mechanism = run.replica.mechanism(request.kind, partners=len(request.roster))
        check_no_overflow(
            rows=LARGEST_TABLE,
            sensitivity=mechanism.sensitivity,
            variance=mechanism.variance,
            partners=len(request.roster),
        )

    def _kept_join(self, run: AcceptedRun, request: SumRequest) -> tuple[Join, list[bytes]]:
        """The JOIN, kept, and what is said of it for the log."""
        context = context_of(request, self._manifest)
        join = self._join(run, request, self._store.join(request, context, run.learned))
        said = [self._book.joined(request, join)] if self._book else []
        self._store.keep_own(
            [OwnEntry(type="round.join", run=request.run, data=one) for one in said]
        )
        return join, said

    def on_joins(
        self,
        request: SumRequest,
        inputs: SumInputs,
        *,
        joins: Sequence[Join],
        acceptances: Sequence[bytes],
        shown: LogHead = NOTHING_SHOWN,
    ) -> tuple[Words, Upload]:
        """Check everybody's JOIN, then send one masked noisy sum (protocol 3.4).

        Args:
            request: The attempt that was joined.
            inputs: What the sum is computed from.
            joins: Every member's JOIN.
            acceptances: Every member's acceptance of the plan, as documents: the heads of
                their chains. Those that are known already are not read again.
            shown: A head with its quorum, under which everything is that the sum rests on.

        Returns:
            The words, shape (d,), noised and masked; and their signed envelope.

        Raises:
            RefusalError: with the first rule that is broken; nothing is charged.
        """
        run = self._accepted(request.run)
        if inputs.digest != request.inputs:
            raise RefusalError(RefusalCode.MODEL, "inputs are not those that the request names")
        for document in acceptances:
            run.learn_link(document)
        machine = self._machine(run, request)
        joined = machine.on_joins(joins)
        run.links.update(joined.links)
        mechanism = run.replica.mechanism(request.kind, partners=len(request.roster))
        # Charged before a row is read: whatever fails from here on, and on whichever row,
        # tells nobody anything that was not paid for (protocol 4.6 (3)).
        with self._store.together():
            if self._gate is not None:
                self._gate.pass_on(run.plan, request, self._store, shown)
                self._check_standing(request)
            debits = self._debit(run, request, mechanism)
        noisy = self._noised(run, (request, inputs), joined, variance=mechanism.variance)
        words, upload = machine.mask(noisy)
        own = [self._book.uploaded(upload)] if self._book else []
        with self._store.together(flushed=False):
            self._keep(run, request, joins, words)
            self._store.disclose(
                request,
                words=upload.words,
                size=words.nbytes,
                entries=[
                    OwnEntry(type="round.upload", run=request.run, data=one) for one in own
                ],
            )
        self._said = [*debits, *own]
        return words, upload

    def _keep(
        self, run: AcceptedRun, request: SumRequest, joins: Sequence[Join], words: Words
    ) -> None:
        """Keep what a replay of this upload needs, before it leaves."""
        if self._replays is None:
            return
        run.under = run.under or KeptRun(
            run=request.run,
            manifest=manifest_bytes(self._facts.manifest),
            schema=canonical_json(self._facts.schema.to_canonical()),
        )
        self._replays.keep(
            run.under,
            KeptAttempt(
                request=request,
                joins=document_of(AllJoins(joins=tuple(joins))),
                rows=self._table(run.plan).fingerprint(run.seed),
                words=words.astype("<u8", copy=False).tobytes(),
            ),
        )

    def _debit(
        self, run: AcceptedRun, request: SumRequest, mechanism: Mechanism
    ) -> list[bytes]:
        """Charge the attempt on disk, and with it what is said of it for the log."""
        scope = account_of(request.kind)
        units = self._charge(run.plan, request, mechanism)
        debits: list[bytes] = []

        def entries(epoch: str) -> list[OwnEntry]:
            if self._book is None:
                return []
            charge = Charge(
                account=scope, epoch=epoch, units=units, variance=mechanism.variance
            )
            debits[:] = [self._book.debited(request, charge)]
            return [OwnEntry(type="budget.debit", run=request.run, data=one) for one in debits]

        self._store.debit(request, scope=scope, units=units, entries=entries)
        return debits

    def _noised(
        self,
        run: AcceptedRun,
        asked: tuple[SumRequest, SumInputs],
        joined: JoinedContext,
        *,
        variance: int,
    ) -> Integers:
        """The exact sum with this node's noise. Private until it is masked."""
        sums = self._table(run.plan)
        sums.prepare(*asked)
        exact = sums.compute(*asked, seed=run.seed, context=joined.digest)
        if not exact.needs_noise:
            return exact.values
        # Shared noise is for the whole sum: this node's share lies on blocks of others, too.
        noisy = exact.held if run.plan.noise_mode == "own" else np.ones_like(exact.held)
        exact.values[noisy] += noise_share(
            run.seed, joined.digest, variance=variance, count=int(noisy.sum())
        )
        return exact.values

    def _join(self, run: AcceptedRun, request: SumRequest, stored: StoredJoin) -> Join:
        facts = PartnerFacts(
            manifest=self._facts.manifest,
            member=self._facts.member,
            identity=self._keys.identity,
            agreement=self._keys.agreement,
            seed=run.seed,
            length=run.length,
            count=stored.count,
            links=run.links,
        )
        run.machine, run.request = PartnerMachine(facts), request
        return run.machine.on_proposal(request)

    def _machine(self, run: AcceptedRun, request: SumRequest) -> PartnerMachine:
        """The attempt's machine; made again from the stored JOIN after a restart."""
        if run.machine is not None and run.request == request:
            return run.machine
        stored = self._store.joined(request)
        if stored is None or stored.context != context_of(request, self._manifest):
            raise RefusalError(RefusalCode.SPLIT_VIEW, "this node did not join the attempt")
        self._join(run, request, stored)
        if run.machine is None:  # pragma: no cover - just made
            raise OutOfOrderError("no machine")
        return run.machine

    def _catch_up(self, run: AcceptedRun, sums: Sequence[ClosedSum]) -> None:
        """Run the machine over the sums that this node has not seen; the JOIN keeps them."""
        for closed in sums:
            if closed.request.head == run.replica.state.head:
                run.replica.on_sum(closed)
                self._learn_sum(closed)
                run.learned.append(kept_sum(run.replica.state.closed, closed))
        # Attempts are the coordinator's record; what is due does not depend on them.
        run.replica.state = replace(run.replica.state, attempts=())

    def _learn_sum(self, closed: ClosedSum) -> None:
        if self._gate is not None:
            total = words_digest(to_ring(closed.total))
            self._gate.learn(closed.request, closed.joined, total)

    def _charge(self, plan: TrainingPlan, request: SumRequest, mechanism: Mechanism) -> int:
        """Person-level units of this attempt.

        Local steps have one figure for the whole run, not one for each round: all of it but
        a token unit for each attempt is charged with the first upload (protocol 4.8).
        """
        steps = plan.algorithm is Algorithm.LOCAL_STEPS
        if not steps or request.kind is not ReleaseKind.GRADIENT:
            return mechanism.units(person=True)
        attempts = attempts_of(plan, ReleaseKind.GRADIENT)
        whole = max(attempts, local_steps_units(plan, person=True))
        charged = self._store.charged(plan.run, ReleaseKind.GRADIENT)
        if charged >= whole:
            raise RefusalError(RefusalCode.ATTEMPTS, f"all {attempts} attempts were made")
        return 1 if charged else whole - (attempts - 1)

    def _check_table(self, plan: TrainingPlan) -> None:
        try:
            self._sums = self._open_sums(plan)
        except TransportError:
            self._store.withdraw(plan.run)
            raise  # a study that cannot be made now: the node may be asked again
        except RiskWeaveError as error:
            self._store.withdraw(plan.run)
            log.error("the table does not fit: %s", error)  # noqa: TRY400 - no trace, it may hold values
            raise RefusalError(RefusalCode.DATA, "the table failed its checks") from None

    def _table(self, plan: TrainingPlan) -> Sums:
        if self._sums is None or self._sums.plan.run != plan.run:
            self._sums = self._open_sums(plan)
        return self._sums

    def _accepted(self, run: RunId) -> AcceptedRun:
        """What was accepted for this run; read once, for it never changes."""
        if self._run is None or self._run.plan.run != run:
            stored = self._store.commitment(run)
            if stored is None:
                raise RefusalError(RefusalCode.PLAN, "run was not accepted here")
            plan, seed = stored
            if seed is None:
                raise RefusalError(RefusalCode.SEED_WINDOW, "the seed of the run was erased")
            replica = RunSession(plan, self._facts.schema)
            for kept in self._store.sums(run):
                replica.on_sum(closed_sum(kept))
                self._learn_sum(closed_sum(kept))
            self._run = AcceptedRun(
                facts=self._facts,
                manifest=self._manifest,
                plan=plan,
                digest=plan_digest(plan),
                seed=seed,
                length=chain_length(plan),
                replica=replica,
                links={},
            )
        return self._run

    def _check_standing(self, request: SumRequest) -> None:
        """Raise RefusalError (R20) for a roster with somebody who was revoked (2.7).

        Looked at before a JOIN and again before a charge: what the log showed in between
        counts, too.
        """
        if self._gate is not None and (out := self._gate.barred() & set(request.roster)):
            raise RefusalError(RefusalCode.REVOKED, f"{min(out)} was revoked")
