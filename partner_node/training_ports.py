"""What a training session needs of its node: a durable database, a place for replays, keys."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from consortium.crypto.keys import AgreementKey, IdentityKey, Secret
from consortium.ids import Digest, RunId
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from partner_node.log_gate import Booked
from partner_node.records import KeptAttempt, KeptRun, KeptSum, OwnEntry, StoredJoin


class Commitments(Booked, Protocol):
    """What a session needs of the node's database. Every call is one durable transaction."""

    def together(self, *, flushed: bool = True) -> AbstractContextManager[None]:
        """One durable transaction, at its end, for all calls within."""

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret | None] | None:
        """The accepted plan of a run and this node's seed for it; no seed once it is erased."""

    def commit(
        self,
        plan: TrainingPlan,
        seed: Secret,
        units: Mapping[str, int],
        caps: Mapping[str, int],
    ) -> None:
        """Reserve ``units`` by scope and keep plan and seed; BudgetExceededError past a cap."""

    def accepted(self, run: RunId, signature: bytes, entries: Sequence[OwnEntry] = ()) -> None:
        """Journal an acceptance that is about to leave; keep what is said of it in the log."""

    def keep_own(self, entries: Sequence[OwnEntry]) -> None:
        """Keep entries for the log that go with no other row."""

    def own_entries(self, run: RunId, kind: str) -> tuple[bytes, ...]:
        """This node's log entries of one run and type, oldest first."""

    def join(
        self, request: SumRequest, context: Digest, learned: Sequence[KeptSum] = ()
    ) -> StoredJoin:
        """Keep a JOIN and what led to it; RefusalError R06 for a second one."""

    def joined(self, request: SumRequest) -> StoredJoin | None:
        """The JOIN that was kept for this attempt."""

    def sums(self, run: RunId) -> tuple[KeptSum, ...]:
        """The published sums of the run that were kept, in order."""

    def keep_sums(self, run: RunId, learned: Sequence[KeptSum]) -> None:
        """Keep published sums that this node was told of."""

    def charged(self, run: RunId, kind: ReleaseKind) -> int:
        """Units that were debited for this kind of sums of the run so far."""

    def open_runs(self) -> tuple[RunId, ...]:
        """Runs that still hold a reserve."""

    def close_run(self, run: RunId) -> None:
        """Free what the run reserved and did not charge; it can charge nothing any more."""

    def withdraw(self, run: RunId) -> None:
        """Release a reservation of which nothing was debited."""

    def debit(
        self,
        request: SumRequest,
        *,
        scope: str,
        units: int,
        entries: Callable[[str], Sequence[OwnEntry]] | None = None,
    ) -> None:
        """Charge one upload for good; RefusalError R06 for a second one.

        ``entries`` makes what is kept for the log from the epoch of the account.
        """

    def disclose(
        self,
        request: SumRequest,
        *,
        words: Digest,
        size: int,
        entries: Sequence[OwnEntry] = (),
    ) -> None:
        """Journal the words that are about to leave."""


class Replays(Protocol):
    """Where what a replay needs is kept until the audit's window ends (protocol 9.4)."""

    def keep(self, run: KeptRun, attempt: KeptAttempt) -> None:
        """Keep one attempt before its words leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKeys:
    """The node's own keys that training uses. Secret."""

    identity: IdentityKey
    agreement: AgreementKey
