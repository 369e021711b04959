"""This partner's half of a training run: check, reserve, compute, noise, sign.

Knows neither gRPC nor Flower. The order is the protection: what is not in the pinned
manifest and the accepted plan is refused; budget is reserved on disk before a row is read;
the debit is on disk before a word leaves (protocol 3.3, 3.4, 4.6).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consortium.canonical import Label
from consortium.crypto.keys import IdentityKey, Secret
from consortium.documents import plan_digest
from consortium.errors import (
    BudgetExceededError,
    ConfigurationError,
    DataError,
    RefusalCode,
    RefusalError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import Manifest
from consortium.messages import PlanAccepted, PlanOffer, SumRequest, Upload
from consortium.plan import Algorithm, ReleaseKind, TrainingPlan, decimal
from consortium.privacy.mechanism import (
    attempts_of,
    local_steps_units,
    mechanism_for,
    reserve_units,
)
from consortium.privacy.noise import noise_share
from consortium.release import Mechanism
from consortium.secagg.context import SumInputs, context_of
from consortium.secagg.ring import check_no_overflow, to_ring
from consortium.secagg.uploads import sign_upload
from partner_node.local_sums import LocalSums

log = logging.getLogger(__name__)

LARGEST_TABLE = 1 << 30
"""Rows that the overflow bound is checked for: a refusal by their true number would tell it."""

Words = NDArray[np.uint64]


class Commitments(Protocol):
    """What a session needs of the node's database. Every call is one durable transaction."""

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret] | None:
        """The accepted plan of a run and this node's seed for it."""

    def commit(
        self,
        plan: TrainingPlan,
        seed: Secret,
        units: Mapping[str, int],
        caps: Mapping[str, int],
    ) -> None:
        """Reserve ``units`` by scope and keep plan and seed; BudgetExceededError past a cap."""

    def accepted(self, run: RunId, signature: bytes) -> None:
        """Journal an acceptance that is about to leave."""

    def charged(self, run: RunId, kind: ReleaseKind) -> int:
        """Units that were debited for this kind of sums of the run so far."""

    def open_runs(self) -> tuple[RunId, ...]:
        """Runs that still hold a reserve."""

    def close_run(self, run: RunId) -> None:
        """Free what the run reserved and did not charge; it can charge nothing any more."""

    def withdraw(self, run: RunId) -> None:
        """Release a reservation of which nothing was debited."""

    def debit(
        self, request: SumRequest, *, scope: str, units: int, words: Digest, size: int
    ) -> None:
        """Charge one upload for good and journal it; RefusalError R06 for a second one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What a node's operator decided; read once from its own files."""

    member: PartnerId
    manifest: Manifest
    schema: Schema
    code: Digest
    caps: Mapping[str, int]
    """Lifetime caps by scope, units of 2**-40 mu squared."""
    run_epsilon: str
    """The owner's cap for one run."""


@dataclass(frozen=True, slots=True)
class _Commitment:
    """One accepted run."""

    plan: TrainingPlan
    digest: Digest
    seed: Secret


class TrainingSession:
    """Answers a coordinator's offers and requests; refuses with the codes of protocol 3.8."""

    def __init__(
        self,
        facts: SessionFacts,
        *,
        key: IdentityKey,
        store: Commitments,
        entropy: Callable[[], Secret],
        open_sums: Callable[[TrainingPlan], LocalSums],
    ) -> None:
        self._facts = facts
        self._key = key
        self._store = store
        self._entropy = entropy
        self._open_sums = open_sums
        self._sums: LocalSums | None = None
        self._manifest = facts.manifest.digest
        self._known: _Commitment | None = None

    def on_offer(self, offer: PlanOffer) -> PlanAccepted:
        """Check the plan, reserve its whole charge, then check the table (protocol 3.1).

        Idempotent: a run that was accepted is accepted again with the same bytes. So the
        coordinator may ask whether this node is fit for more, at no charge: the table is
        there, and the disk takes what is written.

        Raises:
            RefusalError: with the first rule that the plan breaks.
            BudgetExceededError: the owner's cap does not cover it; nothing is reserved.
            StorageError: the database cannot be written to.
        """
        plan = offer.plan
        self._check_plan(plan)
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
            held = reserve_units(plan)
            units = {"training": held["training"], "holdout": held["holdout"]}
            self._store.commit(plan, self._entropy(), units, self._facts.caps)
            self._check_table(plan)
        else:
            self._table(plan)
        digest = plan_digest(plan)
        signature = self._key.sign(Label.PLAN_ACCEPTED, bytes.fromhex(digest))
        self._store.accepted(plan.run, signature)
        return PlanAccepted(plan=digest, member=self._facts.member, signature=signature)

    def on_close(self, run: RunId) -> None:
        """The coordinator says that the run is over: free the rest of its reserve."""
        self._store.close_run(run)
        if self._sums is not None and self._sums.plan.run == run:
            self._sums = None

    def on_request(self, request: SumRequest, inputs: SumInputs) -> tuple[Words, Upload]:
        """One noisy sum over this partner's rows (protocol 3.4).

        Returns:
            The words, shape (size of the sum,), noised; and their signed envelope.

        Raises:
            RefusalError: with the first rule that the request breaks; nothing is charged.
        """
        plan, seed = self._check_request(request, inputs)
        sums = self._table(plan)
        sums.prepare(request, inputs)
        mechanism = mechanism_for(plan, request.kind, width=sums.width(request.kind))
        check_no_overflow(
            rows=max(sums.rows, LARGEST_TABLE),
            sensitivity=mechanism.sensitivity,
            variance=mechanism.variance,
            partners=len(request.roster),
        )
        context = context_of(request, self._manifest)
        exact = sums.compute(request, inputs, seed=seed, context=context)
        noise = noise_share(
            seed, context, variance=mechanism.variance, count=int(exact.held.sum())
        )
        if exact.needs_noise:
            exact.values[exact.held] += noise
        words = to_ring(exact.values)
        upload = sign_upload(words, context=context, member=self._facts.member, key=self._key)
        holdout = request.kind is ReleaseKind.EVALUATION
        self._store.debit(
            request,
            scope="holdout" if holdout else "training",
            units=self._charge(plan, request, mechanism),
            words=upload.words,
            size=words.nbytes,
        )
        return words, upload

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

    def _check_plan(self, plan: TrainingPlan) -> None:
        facts, policy = self._facts, self._facts.manifest.policy
        if plan.manifest != self._manifest:
            raise RefusalError(RefusalCode.MANIFEST, "plan is under another manifest")
        if plan.schema != facts.schema.digest or plan.schema != facts.manifest.schema:
            raise RefusalError(RefusalCode.PLAN, "plan is for another feature schema")
        if policy.code and facts.code not in policy.code:
            raise RefusalError(RefusalCode.PLAN, "this software is not among the allowed code")
        if plan.model.value not in policy.model_kinds:
            raise RefusalError(RefusalCode.PLAN, f"model kind {plan.model} is not allowed")
        if plan.min_partners < policy.min_partners:
            raise RefusalError(RefusalCode.QUORUM, "floor is lower than the manifest's")
        self._check_privacy(plan)
        self._check_blocks(plan)

    def _check_privacy(self, plan: TrainingPlan) -> None:
        facts, policy = self._facts, self._facts.manifest.policy
        # Floats must carry the clip in both directions; the fraction splits the table.
        decimal(plan.clip, "plan.clip", low="0.000001", high="1000000")
        decimal(plan.holdout_fraction, "plan.holdout_fraction", low="0", high="0.9")
        if plan.noise_mode != "own":
            raise RefusalError(RefusalCode.NOISE, f"noise mode {plan.noise_mode!r}")
        if plan.delta != policy.delta:
            raise RefusalError(RefusalCode.NOISE, "delta differs from the manifest's")
        if plan.max_partners_per_person < policy.max_partners_per_person:
            raise RefusalError(RefusalCode.NOISE, "m is lower than the manifest's")
        asked = decimal(plan.epsilon, "plan.epsilon", low="0", high="100")
        for cap in (policy.max_epsilon_per_run, facts.run_epsilon):
            if asked > decimal(cap, "epsilon cap", low="0", high="100"):
                raise BudgetExceededError(f"run asks epsilon {plan.epsilon}, the cap is {cap}")

    def _check_blocks(self, plan: TrainingPlan) -> None:
        members = {member.id: member for member in self._facts.manifest.partners}
        for block in plan.blocks:
            for holder in block.holders:
                if holder not in members:
                    raise RefusalError(RefusalCode.MEMBER, f"{holder} is no active partner")
                if not set(block.families) <= set(members[holder].families):
                    raise RefusalError(RefusalCode.PLAN, f"{holder} lacks a family")
            if not set(block.families) <= set(self._facts.schema.families):
                raise RefusalError(RefusalCode.PLAN, f"block {block.name}: unknown family")

    def _check_table(self, plan: TrainingPlan) -> None:
        try:
            self._sums = self._open_sums(plan)
        except (DataError, ConfigurationError) as error:
            self._store.withdraw(plan.run)
            log.error("the table does not fit: %s", error)  # noqa: TRY400 - no trace, it may hold values
            raise RefusalError(RefusalCode.DATA, "the table failed its checks") from None

    def _table(self, plan: TrainingPlan) -> LocalSums:
        if self._sums is None or self._sums.plan.run != plan.run:
            self._sums = self._open_sums(plan)
        return self._sums

    def _commitment(self, run: RunId) -> "_Commitment":
        """What was accepted for this run; read once, for it never changes."""
        if self._known is None or self._known.plan.run != run:
            stored = self._store.commitment(run)
            if stored is None:
                raise RefusalError(RefusalCode.PLAN, "run was not accepted here")
            self._known = _Commitment(stored[0], plan_digest(stored[0]), stored[1])
        return self._known

    def _check_request(
        self, request: SumRequest, inputs: SumInputs
    ) -> tuple[TrainingPlan, Secret]:
        known = self._commitment(request.run)
        plan, seed = known.plan, known.seed
        if request.plan != known.digest:
            raise RefusalError(RefusalCode.PLAN, "request is under another plan")
        if plan.manifest != self._manifest:
            raise RefusalError(RefusalCode.MANIFEST, "run is under an older manifest")
        self._check_roster(request, plan)
        if inputs.digest != request.inputs:
            raise RefusalError(RefusalCode.MODEL, "inputs are not those that the request names")
        limit = plan.rounds if request.kind is ReleaseKind.GRADIENT else 1
        if not 1 <= request.round <= limit:
            raise RefusalError(RefusalCode.SHAPE, f"round {request.round} of {limit}")
        if not 1 <= request.attempt <= 3:  # noqa: PLR2004 - protocol 3.6
            raise RefusalError(RefusalCode.ATTEMPTS, f"attempt {request.attempt} of 3")
        return plan, seed

    def _check_roster(self, request: SumRequest, plan: TrainingPlan) -> None:
        active = {member.id for member in self._facts.manifest.partners}
        roster = request.roster
        if tuple(sorted(set(roster))) != roster:
            raise RefusalError(RefusalCode.SPLIT_VIEW, "roster is not sorted and unique")
        if stranger := set(roster) - active:
            raise RefusalError(RefusalCode.MEMBER, f"{min(stranger)} is no active partner")
        if self._facts.member not in roster:
            raise RefusalError(RefusalCode.SELF_ABSENT, "this node is not in the roster")
        if len(roster) < plan.min_partners:
            raise RefusalError(
                RefusalCode.QUORUM, f"{len(roster)} partners, at least {plan.min_partners}"
            )
