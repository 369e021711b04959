"""One run that this node has accepted: what it knows of it, and what may be asked of it next.

Checks are pure: a request goes in, a refusal comes out. Nothing is reserved, kept or charged
here (protocol 3.3 to 3.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document
from consortium.errors import RefusalCode, RefusalError
from consortium.ids import Digest, PartnerId
from consortium.messages import PlanAccepted, SumRequest
from consortium.plan import TrainingPlan
from consortium.secagg.chain import Link
from consortium.secagg.joins import verify_acceptance
from consortium.secagg.partner import PartnerMachine
from models.run import ATTEMPTS_PER_SUM, ClosedSum, RunSession
from partner_node.plan_checks import SessionFacts
from partner_node.records import KeptRun, KeptSum


@dataclass(slots=True)
class AcceptedRun:
    """One accepted run at this node."""

    facts: SessionFacts
    manifest: Digest
    """Of the pinned manifest."""
    plan: TrainingPlan
    digest: Digest
    seed: Secret
    length: int
    replica: RunSession
    """The run's machine on the published sums: it knows what must be asked next."""
    links: dict[PartnerId, Link]
    seen: set[bytes] = field(default_factory=set)
    """Acceptances that were read."""
    under: KeptRun | None = None
    """What its replay needs beside the attempts; made once."""
    learned: list[KeptSum] = field(default_factory=list)
    """Published sums that were taken up and are not on disk yet."""
    machine: PartnerMachine | None = None
    request: SumRequest | None = None

    def learn_link(self, document: bytes) -> None:
        """Take the head of a member's chain from its signed acceptance, once."""
        if document in self.seen:
            return
        self.seen.add(document)
        accepted = parse_document(PlanAccepted, document)
        if accepted.member == self.facts.member or accepted.member in self.links:
            return
        member = self.facts.manifest.member(accepted.member)
        self.links[member.id] = verify_acceptance(accepted, plan=self.digest, member=member)

    def check_committed(self, request: SumRequest, acceptances: Sequence[bytes]) -> None:
        """Raise RefusalError (R16) unless every other member has committed to its seed.

        A link that this node shows is the coin of the others' noise: who could choose a seed
        after it has seen that coin could choose its noise (protocol 3.5.2).
        """
        for document in acceptances:
            self.learn_link(document)
        unknown = set(request.roster) - set(self.links) - {self.facts.member}
        if unknown:
            raise RefusalError(RefusalCode.CHAIN, f"{min(unknown)} has not committed to a seed")

    def check_follows(self, request: SumRequest) -> None:
        """Raise RefusalError unless the request is the one that the machine would make."""
        if not 1 <= request.attempt <= ATTEMPTS_PER_SUM:
            raise RefusalError(
                RefusalCode.ATTEMPTS, f"attempt {request.attempt} of {ATTEMPTS_PER_SUM}"
            )
        if self.replica.finished:
            raise RefusalError(RefusalCode.PREVIOUS_ROUND, "the run is finished")
        due = replace(self.replica.request(request.roster)[0], attempt=request.attempt)
        for code, fields in (
            (RefusalCode.PLAN, ("run", "plan")),
            (RefusalCode.PREVIOUS_ROUND, ("head", "kind", "round")),
            (RefusalCode.MODEL, ("inputs",)),
            (RefusalCode.NOISE, ("variance",)),
            (RefusalCode.SHAPE, ("dimension", "scale_bits")),
            (RefusalCode.SPLIT_VIEW, ("roster", "attempt")),
        ):
            for name in fields:
                if getattr(request, name) != getattr(due, name):
                    raise RefusalError(code, f"{name} is not what the closed sums lead to")

    def check_roster(self, request: SumRequest) -> None:
        """Raise RefusalError unless plan and manifest allow this roster."""
        if self.plan.manifest != self.manifest:
            raise RefusalError(RefusalCode.MANIFEST, "run is under an older manifest")
        if request.plan != self.digest:
            raise RefusalError(RefusalCode.PLAN, "request is under another plan")
        active = {member.id for member in self.facts.manifest.partners}
        roster = request.roster
        if tuple(sorted(set(roster))) != roster:
            raise RefusalError(RefusalCode.SPLIT_VIEW, "roster is not sorted and unique")
        if stranger := set(roster) - active:
            raise RefusalError(RefusalCode.MEMBER, f"{min(stranger)} is no active partner")
        if self.facts.member not in roster:
            raise RefusalError(RefusalCode.SELF_ABSENT, "this node is not in the roster")
        if len(roster) < self.plan.min_partners:
            raise RefusalError(
                RefusalCode.QUORUM, f"{len(roster)} partners, at least {self.plan.min_partners}"
            )


def kept_sum(number: int, closed: ClosedSum) -> KeptSum:
    """A published sum as the database keeps it."""
    return KeptSum(
        number=number,
        request=document_of(closed.request),
        joined=closed.joined,
        total=closed.total.astype("<i8", copy=False).tobytes(),
    )


def closed_sum(kept: KeptSum) -> ClosedSum:
    """A published sum as it was kept."""
    return ClosedSum(
        request=parse_document(SumRequest, kept.request),
        joined=kept.joined,
        total=np.frombuffer(kept.total, dtype="<i8").astype(np.int64),
    )
