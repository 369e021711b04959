"""What a round rests on must be in the log, under a head that a quorum cosigned (8.6).

The JOIN of a round may be made before that; nothing is charged, no row is read and no word
leaves before it. What is relied on is looked up in this node's own mirror, once, with one
check of its signature; all else there is examined beside the rounds.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from consortium.crypto.keys import Secret
from consortium.documents import plan_digest
from consortium.errors import (
    DecodeError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    SignatureError,
    StorageError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.bodies import OverlapDebit
from consortium.ledger.entries import Entry, ManifestAdopted, from_jcs, verify_entry
from consortium.ledger.overlaps import booked_as
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanProposed,
    RoundAbort,
    RoundSum,
    RunCommit,
)
from consortium.ledger.witness import MAX_AGE_S
from consortium.manifest import Manifest
from consortium.messages import LogHead, SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from partner_node.log_mirror import LogMirror, Taken
from partner_node.records import Mirrored

Key = tuple[ReleaseKind, int, int]
"""Kind, round and attempt."""


class Booked(Protocol):
    """What the gate compares the log with: the node's own database."""

    def attempts(self, run: RunId) -> tuple[Key, ...]:
        """All attempts of the run that were joined, in order."""

    def paid(self, run: RunId) -> Collection[Key]:
        """All attempts of the run that were charged."""

    def debited(self, debit: BudgetDebit) -> bool:
        """Whether a debit of the log is booked here, with its units."""

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret | None] | None:
        """The accepted plan of a run and this node's seed for it."""


@dataclass(frozen=True, slots=True)
class Published:
    """A sum that this node was told of, as the log must have it."""

    joined: Digest
    total: Digest


@dataclass(slots=True)
class _RunLog:
    """What the mirror has of one run, and what of it was found to be as it must."""

    since: int = 0
    proposed: dict[Digest, int] = field(default_factory=dict)
    commits: dict[PartnerId, tuple[int, RunCommit]] = field(default_factory=dict)
    closings: dict[Key, tuple[int, RoundSum | RoundAbort]] = field(default_factory=dict)
    joined: dict[Key, None] | None = None
    """Attempts that this node joined; None: the database was not asked yet."""
    published: dict[Key, Published] = field(default_factory=dict)
    """Sums that the log was not compared with yet."""
    compared: dict[Key, Published] = field(default_factory=dict)
    """Sums that stand in the log as they were published."""
    confirmed: set[Key] = field(default_factory=set)
    """Attempts whose closing was found."""
    reach: int = 0
    """Entries that a head must have to cover all that was confirmed."""

    def anew(self) -> "_RunLog":
        """What is known of the run beside the log: all else must be looked up again."""
        return _RunLog(published=self.compared | self.published)


class LogGate:
    """The gate of one training session; not thread-safe."""

    def __init__(self, mirror: LogMirror, manifest: Manifest) -> None:
        """A gate over ``mirror``, under the pinned and complete ``manifest``."""
        self._mirror = mirror
        self._manifest = manifest
        self._runs: dict[RunId, _RunLog] = {}
        self._checked: tuple[SumRequest | None, int] = (None, 0)
        """The attempt that was checked last, and how far a head must reach for it."""
        self._adopted = 0
        self._own = 0
        """Own debits of the mirror were compared with the database up to here."""
        self._undone = mirror.store.undone

    def counted(self) -> int:
        """Size of the newest head with a quorum: what entries name as their ``seq_hint``."""
        return self._mirror.counted()

    def barred(self) -> frozenset[PartnerId]:
        """Members whose identities the log has revoked (protocol 2.7)."""
        return self._mirror.barred(self._manifest)

    def take(self, shown: LogHead) -> Taken:
        """Take what comes with a proposal or with the JOINs; nothing shown: nothing to take.

        Raises:
            RefusalError: the log is not what it was, entries are missing, an incident is open,
                or the log did not sign it (R08).
        """
        self._unlearn()
        if not shown.note:
            self._mirror.store.check_settled()
            return Taken(0, b"")
        try:
            # The JOIN, or the debit, that follows is flushed, and takes all of it along.
            return self._mirror.take(self._manifest, shown, flushed=False)
        except (RefusalError, StorageError):
            raise
        except RiskWeaveError as error:
            raise RefusalError(RefusalCode.CHECKPOINT, str(error)) from error

    def before_run(self, plan: TrainingPlan, booked: Booked) -> None:
        """Raise RefusalError unless the database knows all that the log says of this node.

        One that was restored from a backup knows less (protocol 4.6 (5)).
        """
        self._unlearn()
        self._mirror.store.check_settled()
        self._check_debits(booked)
        lost = booked.commitment(plan.run) is None
        if lost and self._mirror.member in self._log_of(plan.run).commits:
            text = "this node accepted the run before, which its database does not know"
            raise RefusalError(RefusalCode.REPEATED, text)

    @property
    def runs(self) -> frozenset[RunId]:
        """Of which something is remembered."""
        return frozenset(self._runs)

    def only(self, run: RunId) -> None:
        """Forget all other runs: they are closed here and can charge nothing any more."""
        self._runs = {known: found for known, found in self._runs.items() if known == run}

    def missing(self, booked: Booked) -> tuple[BudgetDebit, ...]:
        """Own debits of the mirror that the database lacks.

        Raises:
            RefusalError: this node did not sign one of them (R08): it owes nothing by it, and
                nothing may rest on a log that says so.
        """
        found = []
        store = self._mirror.store
        rows = sorted(
            (
                *store.own("budget.debit", self._own),
                *store.own("overlap.debit", self._own),
            ),
            key=lambda row: row.number,
        )
        for row in rows:
            entry = from_jcs(row.data)
            body = entry.body
            debit = booked_as(body) if isinstance(body, OverlapDebit) else body
            if isinstance(debit, BudgetDebit) and not booked.debited(debit):
                self._check_own(row.number, entry, row.data)
                found.append(debit)
        if rows and not found:
            self._own = rows[-1].number + 1
        return tuple(found)

    def _check_own(self, number: int, entry: Entry, data: bytes) -> None:
        try:
            verify_entry(entry, data, self._manifest.member(self._mirror.member))
        except (DecodeError, SignatureError) as error:
            text = f"entry {number} is a debit in this node's name that it did not sign"
            raise RefusalError(RefusalCode.CHECKPOINT, text) from error

    def learn(self, request: SumRequest, joined: Digest, total: Digest) -> None:
        """A sum was published: the log must have the same."""
        found = self._runs.setdefault(request.run, _RunLog())
        key = _key(request)
        found.published[key] = Published(joined, total)

    def check(self, plan: TrainingPlan, request: SumRequest, booked: Booked) -> int:
        """Raise RefusalError unless the mirror has all that an attempt rests on.

        That is the manifest's adoption, the plan, the commitments of the roster, the closing
        of every earlier attempt that this node joined, and the published sums as they are.

        Returns:
            Entries that a head must have to cover all of it.

        Raises:
            RefusalError: something is missing (R08), another sum stands there or a charged
                attempt is called free (R09), or the log has debits that the database lacks
                (R12).
        """
        self._unlearn()
        self._check_debits(booked)
        found = self._log_of(plan.run)
        digest = request.plan
        if digest not in found.proposed:
            raise self._lacks(f"plan.proposed of run {plan.run}")
        for name in request.roster:
            if name not in found.commits or found.commits[name][1].plan != digest:
                raise self._lacks(f"run.commit of {name} to run {plan.run}")
        if found.joined is None:
            found.joined = dict.fromkeys(booked.attempts(plan.run))
        own = _key(request)
        for key in found.joined:
            if key != own:
                self._confirm_closed(found, key)
                self._confirm_charged(found, key, plan.run, booked)
        for key, one in list(found.published.items()):
            self._confirm_sum(found, key, one)
        found.joined[own] = None
        commits = [found.commits[name][0] for name in request.roster]
        rests = max(
            self._check_adopted(), found.proposed[digest] + 1, *(1 + at for at in commits)
        )
        found.reach = max(found.reach, rests)
        self._checked = (request, found.reach)
        return found.reach

    def pass_on(
        self, plan: TrainingPlan, request: SumRequest, booked: Booked, shown: LogHead
    ) -> None:
        """Raise RefusalError unless a fresh head with a quorum covers all of ``check``.

        Args:
            plan: Accepted.
            request: The attempt that was joined and is about to be charged.
            booked: The node's own database.
            shown: What came with the JOINs.
        """
        self.take(shown)
        # What an attempt rests on does not change between its JOIN and its charge, unless
        # more of the log has come.
        asked, reach = self._checked
        if asked != request or shown.entries:
            reach = self.check(plan, request, booked)
        size = self._mirror.fresh(MAX_AGE_S)
        if size < reach:
            self._mirror.reread()
            size = self._mirror.fresh(MAX_AGE_S)
        if size < reach:
            why = self._mirror.why_not(self._manifest, shown.note) if shown.note else ""
            text = f"no cosigned head of {reach} entries; the newest has {size}"
            raise RefusalError(RefusalCode.CHECKPOINT, why or text)

    def _unlearn(self) -> None:
        """Forget what was read of the mirror if the database has undone it."""
        if self._undone != self._mirror.store.undone:
            self._undone = self._mirror.store.undone
            self._runs = {run: found.anew() for run, found in self._runs.items()}
            self._checked, self._adopted, self._own = (None, 0), 0, 0

    def _check_debits(self, booked: Booked) -> None:
        if missing := self.missing(booked):
            raise RefusalError(
                RefusalCode.BUDGET,
                f"the log has {len(missing)} debits of this node that its database lacks; "
                "was it restored? see riskweave node budget --accept-log",
            )

    def _confirm_closed(self, found: _RunLog, key: Key) -> None:
        if key in found.confirmed:
            return
        if key not in found.closings:
            kind, number, attempt = key
            raise self._lacks(f"the closing of {kind.value} {number}, attempt {attempt}")
        found.confirmed.add(key)
        found.reach = max(found.reach, found.closings[key][0] + 1)

    @staticmethod
    def _confirm_charged(found: _RunLog, key: Key, run: RunId, booked: Booked) -> None:
        """An attempt that this node was charged for may not stand in the log as a free one.

        Else the coordinator could have the words of an attempt that no statement counts.
        """
        _, body = found.closings[key]
        if isinstance(body, RoundAbort) and not body.charged and key in booked.paid(run):
            kind, number, attempt = key
            raise RefusalError(
                RefusalCode.PREVIOUS_ROUND,
                f"the log calls {kind.value} {number}, attempt {attempt} free, and this node "
                "was charged for it",
            )

    def _confirm_sum(self, found: _RunLog, key: Key, one: Published) -> None:
        self._confirm_closed(found, key)
        _, body = found.closings[key]
        if not isinstance(body, RoundSum) or Published(body.joined, body.total) != one:
            kind, number, _ = key
            raise RefusalError(
                RefusalCode.PREVIOUS_ROUND,
                f"the log closes {kind.value} {number} otherwise than was published",
            )
        found.compared[key] = found.published.pop(key)

    def _check_adopted(self) -> int:
        """The manifest in force was adopted by all its signers, in the log."""
        if self._adopted:
            return self._adopted
        wanted = {one.id for one in self._manifest.signers()}
        digest = self._manifest.digest.encode()
        for row in self._mirror.store.of_types("manifest.adopted"):
            if digest not in row.data:
                continue  # of another manifest, perhaps under other keys
            entry = self._verified(row)
            body = entry.body
            if isinstance(body, ManifestAdopted) and body.manifest == self._manifest.digest:
                wanted.discard(entry.actor)
            if not wanted:
                self._adopted = row.number + 1
                return self._adopted
        raise self._lacks(f"manifest.adopted of {min(wanted)}")

    def _log_of(self, run: RunId) -> _RunLog:
        """What the mirror has of a run, with what came since the last look."""
        found = self._runs.setdefault(run, _RunLog())
        for row in self._mirror.store.of_run(run, found.since):
            found.since = row.number + 1
            _sort_in(found, run, row, self._verified(row))
        return found

    def _verified(self, row: Mirrored) -> Entry:
        """The entry, its signature checked under the pinned manifest.

        Raises:
            RefusalError: it is no entry (R08); noted for good.
        """
        try:
            entry = from_jcs(row.data)
            verify_entry(entry, row.data, self._manifest.member(entry.actor))
        except RiskWeaveError as error:
            text = f"entry {row.number} of the log: {error}"
            self._mirror.alarm("log.entry", text, b"")
            raise RefusalError(RefusalCode.CHECKPOINT, text) from error
        return entry

    @staticmethod
    def _lacks(what: str) -> RefusalError:
        return RefusalError(RefusalCode.CHECKPOINT, f"the log lacks {what}")


def _sort_in(found: _RunLog, run: RunId, row: Mirrored, entry: Entry) -> None:
    body = entry.body
    if isinstance(body, PlanProposed) and body.plan.run == run:
        found.proposed.setdefault(plan_digest(body.plan), row.number)
    elif isinstance(body, RunCommit) and body.run == run:
        found.commits.setdefault(entry.actor, (row.number, body))
    elif isinstance(body, RoundSum | RoundAbort) and body.request.run == run:
        found.closings.setdefault(_key(body.request), (row.number, body))


def _key(request: SumRequest) -> Key:
    return request.kind, request.round, request.attempt
