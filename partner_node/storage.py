"""What the node keeps of runs: commitments, the privacy budget, the journal of what left.

Every public method is one transaction, flushed to disk at its end but for the journal's
(``disclose``). What may be spent is decided in ``consortium.privacy.budget``; here rows are
read, the question is put, and the answer is written (protocol 4.6).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa

from consortium.crypto.keys import Secret
from consortium.documents import document_of, parse_document, plan_digest
from consortium.errors import RefusalCode, RefusalError
from consortium.ids import Digest, RunId, digest_of
from consortium.ledger.run_bodies import BudgetDebit
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.budget import Account
from partner_node.accounts import (
    Hold,
    account_of,
    book_in,
    charge_in,
    charged_sums_of,
    check_split,
    is_booked,
    reserve_in,
)
from partner_node.database import (
    COMMITMENTS,
    DISCLOSURES,
    ENTRIES,
    JOINS,
    OVERLAPS,
    OWN_LOG,
    RESERVES,
    SUMS,
    Database,
)
from partner_node.log_store import LogStore
from partner_node.overlap_storage import OverlapStore
from partner_node.records import (
    ChargedSums,
    Disclosure,
    KeptSum,
    OwnEntry,
    StoredJoin,
)
from partner_node.replay_storage import ReplayStore
from partner_node.version_storage import VersionStore

# Statements of every attempt, made once: to make one costs more than to run it.
_THIS_RUN: sa.BindParameter[str] = sa.bindparam("run")
_OPEN_RESERVE = sa.select(RESERVES.c.run).where(
    RESERVES.c.run == _THIS_RUN, RESERVES.c.state == "open"
)
_JOIN_OF = sa.select(JOINS.c.context, JOINS.c.number).where(
    *(JOINS.c[name] == sa.bindparam(name) for name in ("run", "round", "attempt", "kind"))
)
_JOINS_MADE = sa.select(sa.func.count()).where(JOINS.c.run == _THIS_RUN)
_NEW_JOIN = JOINS.insert()
_NEW_SUM = SUMS.insert()
_NEW_DISCLOSURE = DISCLOSURES.insert()
_NEW_OWN = OWN_LOG.insert()

WORDS_BYTES = 1 << 30
"""Words kept for replays where nothing else is said."""


class NodeStore:
    """One node's database, accounts of one epoch; safe to use from any thread.

    Every method raises StorageError: disk full, locked for too long, of another version.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], int],
        epoch: str = "default",
        words_bytes: int = WORDS_BYTES,
    ) -> None:
        """Open the database, or create it so that only its owner may read it.

        Of the words that left up to ``words_bytes`` are kept for replays.

        Raises:
            StorageError: not a database, or written by another version of this program.
        """
        self._now = now
        self._epoch = epoch
        self._database = Database(path)
        self.log = LogStore(self._database, now=now)
        """What this node holds of the transparency log."""
        self.replays = ReplayStore(self._database, now=now, words_bytes=words_bytes)
        """What a replay needs, until its window ends (protocol 9.4)."""
        self.overlaps = OverlapStore(self._database, now=now, epoch=epoch)
        """Counts of persons that are in common with another partner (protocol 6.10)."""
        self.versions = VersionStore(self._database, now=now)
        """Model versions that were fetched, and this node's word on them."""

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def faults(self) -> str:
        """What is wrong with the file itself; empty: nothing."""
        return self._database.faults()

    def together(self, *, flushed: bool = True) -> AbstractContextManager[None]:
        """One commit for all that this thread writes within: see ``Database.together``."""
        return self._database.together(flushed=flushed)

    # --- runs and budget (protocol 3.1, 4.6) --------------------------------------------------

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret | None] | None:
        """The accepted plan of a run and this node's seed for it; no seed once it is erased."""
        with self._database.transaction() as connection:
            query = sa.select(COMMITMENTS).where(COMMITMENTS.c.run == run)
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return _plan(row["plan"]), Secret(row["seed"]) if row["seed"] else None

    def commitments(self) -> tuple[TrainingPlan, ...]:
        """All accepted plans, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(COMMITMENTS).order_by(COMMITMENTS.c.at))
            return tuple(_plan(row["plan"]) for row in rows.mappings())

    def commit(
        self,
        plan: TrainingPlan,
        seed: Secret,
        units: Mapping[str, int],
        caps: Mapping[str, int],
    ) -> None:
        """Reserve ``units`` by scope under ``caps`` and keep plan and seed, all or nothing.

        Raises:
            BudgetExceededError: a cap does not cover it (R12); the text has the figures.
            RefusalError: the run was committed before (R06), or it holds out other persons
                than a run that was charged in this epoch (R05): each account has a cap of
                its own because no person is ever in both (protocol 5.8).
        """
        with self._database.transaction() as connection:
            check_split(connection, plan, self._epoch)
            for scope, amount in units.items():
                hold = Hold(plan.run, scope, self._epoch, amount)
                reserve_in(connection, hold, (caps[scope], plan.delta), at=self._now())
            connection.execute(
                COMMITMENTS.insert().values(
                    run=plan.run,
                    plan=document_of(plan),
                    plan_digest=plan_digest(plan),
                    seed=seed.expose(),
                    at=self._now(),
                )
            )

    def join(
        self, request: SumRequest, context: Digest, learned: Sequence[KeptSum] = ()
    ) -> StoredJoin:
        """Keep a JOIN under the run's next number, before it is sent (protocol 3.3).

        In the same transaction the published sums that led to the request are kept.

        Raises:
            RefusalError: this attempt was joined before (R06), or the run holds no open
                reserve (R05). Nothing is kept then.
        """
        key = {
            "run": request.run,
            "round": request.round,
            "attempt": request.attempt,
            "kind": request.kind.value,
        }
        with self._database.transaction() as connection:
            if connection.scalar(_OPEN_RESERVE, {"run": request.run}) is None:
                raise RefusalError(RefusalCode.PLAN, "the run holds no open reserve")
            if connection.execute(_JOIN_OF, key).first() is not None:
                raise RefusalError(RefusalCode.REPEATED, "this attempt was joined before")
            number = int(connection.scalar(_JOINS_MADE, {"run": request.run}) or 0) + 1
            row = {"context": context, "number": number, "at": self._now()}
            connection.execute(_NEW_JOIN, key | row)
            self._keep(connection, request.run, learned)
        return StoredJoin(context=context, count=number)

    def joined(self, request: SumRequest) -> StoredJoin | None:
        """The JOIN that was kept for this attempt."""
        key = {
            "run": request.run,
            "round": request.round,
            "attempt": request.attempt,
            "kind": request.kind.value,
        }
        with self._database.transaction() as connection:
            row = connection.execute(_JOIN_OF, key).first()
        return None if row is None else StoredJoin(Digest(row.context), row.number)

    def attempts(self, run: RunId) -> tuple[tuple[ReleaseKind, int, int], ...]:
        """Kind, round and attempt of all JOINs of a run, in order."""
        query = sa.select(JOINS).where(JOINS.c.run == run).order_by(JOINS.c.number)
        with self._database.transaction() as connection:
            rows = connection.execute(query)
            return tuple((ReleaseKind(row.kind), row.round, row.attempt) for row in rows)

    def paid(self, run: RunId) -> frozenset[tuple[ReleaseKind, int, int]]:
        """Kind, round and attempt of all charges of a run."""
        query = sa.select(ENTRIES).where(ENTRIES.c.run == run)
        with self._database.transaction() as connection:
            rows = connection.execute(query)
            return frozenset((ReleaseKind(row.kind), row.round, row.attempt) for row in rows)

    def debited(self, debit: BudgetDebit) -> bool:
        """Whether a debit of the log is booked here, with its units (protocol 4.6 (5))."""
        with self._database.transaction() as connection:
            return is_booked(connection, debit)

    def sums(self, run: RunId) -> tuple[KeptSum, ...]:
        """The published sums of a run that were kept, in order, until its window ends."""
        with self._database.transaction() as connection:
            query = sa.select(SUMS).where(SUMS.c.run == run).order_by(SUMS.c.number)
            return tuple(
                KeptSum(
                    number=row.number,
                    request=row.request,
                    joined=Digest(row.joined),
                    total=row.total,
                )
                for row in connection.execute(query)
            )

    def keep_sums(self, run: RunId, learned: Sequence[KeptSum]) -> None:
        """Keep published sums, so that a new process need not be told them again."""
        with self._database.transaction() as connection:
            self._keep(connection, run, learned)

    @staticmethod
    def _keep(connection: sa.Connection, run: RunId, learned: Sequence[KeptSum]) -> None:
        for one in learned:
            connection.execute(_NEW_SUM, {"run": run, **asdict(one)})

    def accepted(self, run: RunId, signature: bytes, entries: Sequence[OwnEntry] = ()) -> None:
        """Journal that this node signs the plan; a disk that is full shows here, uncharged."""
        self.add_disclosure(
            Disclosure(
                kind="acceptance", size=len(signature), sha256=digest_of(signature), run=run
            ),
            entries,
        )

    def withdraw(self, run: RunId) -> None:
        """Forget a commitment of which nothing was charged.

        Raises:
            RefusalError: something was; a debit is never released (R06).
        """
        with self._database.transaction() as connection:
            charged = sa.select(sa.func.count()).where(ENTRIES.c.run == run)
            if connection.scalar(charged):
                raise RefusalError(RefusalCode.REPEATED, f"run {run} was charged already")
            connection.execute(RESERVES.delete().where(RESERVES.c.run == run))
            connection.execute(COMMITMENTS.delete().where(COMMITMENTS.c.run == run))
            connection.execute(OWN_LOG.delete().where(OWN_LOG.c.run == run))

    def debit(
        self,
        request: SumRequest,
        *,
        scope: str,
        units: int,
        entries: Callable[[str], Sequence[OwnEntry]] | None = None,
    ) -> None:
        """Charge one upload for good, before a row is read for it (protocol 4.6 (3)).

        Args:
            request: What is answered. Public.
            scope: Whose rows: one of ``ACCOUNTS``.
            units: The charge.
            entries: From the epoch of the account, what is kept for the log with it.

        Raises:
            RefusalError: this attempt was charged before (R06) and may not be sent again,
                or the run holds no open reserve (R05).
            BudgetExceededError: the reserve does not cover it (R12).
        """
        with self._database.transaction() as connection:
            epoch = charge_in(connection, request, (scope, units), at=self._now())
            if entries is not None:
                self._keep_own(connection, entries(epoch))

    def book(self, debits: Sequence[tuple[BudgetDebit, int]]) -> None:
        """Book debits that the log has and this database lost, with the words of their sums.

        A run that is not known here gets a closed reserve, so that it is listed (4.6 (5)).
        """
        with self._database.transaction() as connection:
            for debit, dimension in debits:
                book_in(connection, debit, dimension, at=self._now())

    def charged_sums(self, run: RunId, scope: str) -> tuple[ChargedSums, ...]:
        """What one run was charged for in one scope, by kind, roster size and dimension."""
        with self._database.transaction() as connection:
            return charged_sums_of(connection, run, scope)

    def disclose(
        self,
        request: SumRequest,
        *,
        words: Digest,
        size: int,
        entries: Sequence[OwnEntry] = (),
    ) -> None:
        """Journal the words that are about to leave: their digest and bytes.

        The one write that is not flushed by itself: its debit was, just before, and the next
        JOIN takes it along. A power cut may cost the journal its last row, never a debit.
        """
        left = Disclosure(
            kind=request.kind.value,
            size=size,
            sha256=words,
            run=request.run,
            round=request.round,
            attempt=request.attempt,
        )
        with self._database.transaction(flushed=False) as connection:
            self._journal(connection, left)
            self._keep_own(connection, entries)

    def charged(self, run: RunId, kind: ReleaseKind) -> int:
        """Units that one run was charged for one kind of sums so far."""
        with self._database.transaction() as connection:
            units = sa.select(sa.func.sum(ENTRIES.c.units)).where(
                ENTRIES.c.run == run, ENTRIES.c.kind == kind.value
            )
            return int(connection.scalar(units) or 0)

    def open_runs(self) -> tuple[RunId, ...]:
        """Runs of training that still hold a reserve; counts of persons have their own end."""
        with self._database.transaction() as connection:
            others = sa.select(OVERLAPS.c.run)
            query = (
                sa.select(RESERVES.c.run)
                .where(RESERVES.c.state == "open", RESERVES.c.run.not_in(others))
                .distinct()
            )
            return tuple(RunId(run) for run in connection.scalars(query))

    def close_run(self, run: RunId) -> None:
        """The run has ended: what it reserved and did not charge is free again."""
        with self._database.transaction() as connection:
            connection.execute(
                RESERVES.update().where(RESERVES.c.run == run).values(state="closed")
            )

    def account(self, scope: str, *, cap_units: int, delta: str) -> Account:
        """The account of one scope in this epoch, under the cap given."""
        with self._database.transaction() as connection:
            return account_of(connection, (scope, self._epoch), (cap_units, delta))

    def spent(self, scope: str) -> int:
        """Units debited in this epoch."""
        return self.account(scope, cap_units=0, delta="1e-6").spent

    # --- journal ------------------------------------------------------------------------------

    def add_disclosure(self, disclosure: Disclosure, entries: Sequence[OwnEntry] = ()) -> None:
        """Write down what is about to leave, with its entries; its own time is put in."""
        with self._database.transaction() as connection:
            self._journal(connection, disclosure)
            self._keep_own(connection, entries)

    def keep_own(self, entries: Sequence[OwnEntry]) -> None:
        """Keep entries for the log that go with no other row.

        As ``disclose`` it is flushed by what comes next: the facts are on disk already.
        """
        with self._database.transaction(flushed=False) as connection:
            self._keep_own(connection, entries)

    def own_entries(self, run: RunId, kind: str) -> tuple[bytes, ...]:
        """This node's entries of one run and type, oldest first."""
        with self._database.transaction() as connection:
            query = (
                sa.select(OWN_LOG.c.data)
                .where(OWN_LOG.c.run == run, OWN_LOG.c.type == kind)
                .order_by(OWN_LOG.c.number)
            )
            return tuple(bytes(data) for data in connection.scalars(query))

    def _keep_own(self, connection: sa.Connection, entries: Sequence[OwnEntry]) -> None:
        if entries:
            connection.execute(
                _NEW_OWN,
                [
                    {"type": one.type, "run": one.run, "data": one.data, "at": self._now()}
                    for one in entries
                ],
            )

    def _journal(self, connection: sa.Connection, left: Disclosure) -> None:
        connection.execute(
            _NEW_DISCLOSURE,
            {
                "at": self._now(),
                "kind": left.kind,
                "run": left.run,
                "round": left.round,
                "attempt": left.attempt,
                "bytes": left.size,
                "sha256": left.sha256,
            },
        )

    def disclosures(self) -> tuple[Disclosure, ...]:
        """All that left, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(DISCLOSURES).order_by(DISCLOSURES.c.number))
            return tuple(
                Disclosure(
                    kind=row["kind"],
                    size=row["bytes"],
                    sha256=Digest(row["sha256"]),
                    run=row["run"],
                    round=row["round"],
                    attempt=row["attempt"],
                    at=row["at"],
                )
                for row in rows.mappings()
            )


def _plan(document: bytes) -> TrainingPlan:
    return parse_document(TrainingPlan, document)
