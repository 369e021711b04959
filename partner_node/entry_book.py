"""What this partner says for the log, in its own name (protocol 8.2, 8.4).

Every entry is signed here, kept in the node's database with the event that it is of, and
rides to the coordinator in an answer that is given anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass

from consortium.crypto.keys import IdentityKey
from consortium.documents import plan_digest
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.ledger.bodies import (
    AttestationsListed,
    ConsentBatch,
    DecisionAnswer,
    DecisionBatch,
    OprfFault,
    OprfUsage,
    OverlapDebit,
    OverlapReleased,
)
from consortium.ledger.entries import (
    AuditAnswer,
    Body,
    Entry,
    IdentityRevoked,
    Incident,
    ManifestAdopted,
    ReleaseVote,
    sign_entry,
)
from consortium.ledger.governing import CharterAgreed
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanRefused,
    RoundJoin,
    RoundUpload,
    RunCommit,
)
from consortium.manifest import Member
from consortium.messages import Join, PlanAccepted, Signed, SumRequest, Upload, Vote
from consortium.plan import TrainingPlan
from consortium.privacy.mechanism import reserve_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One debit, as the log shows it."""

    account: str
    epoch: str
    units: int
    variance: int


class EntryBook:
    """Signs this member's entries. ``now`` gives seconds, UTC."""

    def __init__(
        self,
        member: PartnerId,
        identity: IdentityKey,
        *,
        now: Callable[[], int],
        hint: Callable[[], int] = lambda: 0,
    ) -> None:
        """Entries in the name of ``member``.

        ``hint`` gives the size of the newest head with a quorum that this node holds.
        """
        self._member = member
        self._identity = identity
        self._now = now
        self.hint = hint

    def charter_agreed(self, body: CharterAgreed) -> bytes:
        """``charter.agreed``: this partner agrees to a charter."""
        return self._signed(body)

    def adopted(self, signed: Signed, version: int) -> bytes:
        """``manifest.adopted``: this member has signed it."""
        return self._signed(
            ManifestAdopted(manifest=signed.digest, version=version, signature=signed.signature)
        )

    def committed(self, plan: TrainingPlan, accepted: PlanAccepted) -> bytes:
        """``run.commit``: plan, seed and chain, and what is reserved."""
        held = reserve_units(plan)
        return self._signed(
            RunCommit(
                run=plan.run,
                plan=accepted.plan,
                seed_commitment=accepted.seed_commitment,
                chain_head=accepted.chain_head,
                training_units=held["training"],
                holdout_units=held["holdout"],
                tables_units=held["tables"],
            )
        )

    def joined(self, request: SumRequest, join: Join) -> bytes:
        """``round.join``."""
        return self._signed(
            RoundJoin(
                run=request.run,
                kind=request.kind,
                round=request.round,
                attempt=request.attempt,
                context=join.context,
                ephemeral=join.ephemeral,
                count=join.count,
                link=join.link,
            )
        )

    def debited(self, request: SumRequest, charge: Charge) -> bytes:
        """``budget.debit``: one attempt is paid for."""
        return self._signed(
            BudgetDebit(
                account=charge.account,
                epoch=charge.epoch,
                run=request.run,
                kind=request.kind,
                round=request.round,
                attempt=request.attempt,
                units=charge.units,
                variance=str(charge.variance),
                partners=len(request.roster),
            )
        )

    def uploaded(self, upload: Upload) -> bytes:
        """``round.upload``: the digest of the words that leave."""
        return self._signed(RoundUpload(joined=upload.context, words=upload.words))

    def voted(self, vote: Vote, manifest: Digest) -> bytes:
        """``release.vote``."""
        return self._signed(
            ReleaseVote(
                version=vote.version,
                manifest=manifest,
                accept=vote.accept,
                reason=vote.reason,
                number=vote.number,
            )
        )

    def refused(self, plan: TrainingPlan, reason: str) -> bytes:
        """``plan.refused``: this node does not take part, with a code of protocol 3.8."""
        return self._signed(PlanRefused(run=plan.run, plan=plan_digest(plan), reason=reason))

    def incident(self, kind: str, text: str) -> bytes:
        """``incident``: the text stays here, its digest is said."""
        return self._signed(Incident(kind=kind, text=digest_of(text.encode())))

    def answered(self, challenge: Digest, run: RunId, *, verdict: str, report: Digest) -> bytes:
        """``audit.answer``: what a replay on these premises came to."""
        return self._signed(
            AuditAnswer(challenge=challenge, run=run, verdict=verdict, report=report)
        )

    def revoked(self, member: Member, reason: str) -> bytes:
        """``identity.revoked``: this member's voice about an identity (protocol 2.7)."""
        return self._signed(
            IdentityRevoked(
                member=member.id,
                identity=bytes.fromhex(member.identity),
                reason=reason,
                effective_at=self._now(),
            )
        )

    def signed(
        self,
        body: ConsentBatch
        | OprfUsage
        | OprfFault
        | DecisionBatch
        | DecisionAnswer
        | AttestationsListed,
    ) -> bytes:
        """What the node says of a day, a key holder's proof, its decisions or attestations."""
        return self._signed(body)

    def said(self, body: OverlapDebit | OverlapReleased) -> bytes:
        """What the node says of a count of common persons (``overlaps``)."""
        return self._signed(body)

    def _signed(self, body: Body) -> bytes:
        bare = Entry(seq_hint=self.hint(), at=self._now(), actor=self._member, body=body)
        return sign_entry(bare, self._identity).to_jcs()
