"""What the node keeps of counts of common persons: each question once, and paid for (6.10).

A question is a pair, a month and an epoch of pseudonyms. The first plan that asks it is the
only one; at most two attempts are made, and both are reserved before a row is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from consortium.documents import document_of
from consortium.errors import ScoreRefusal, ScoreRefusalError
from consortium.identity.overlap import (
    ACCOUNT,
    MOST_ATTEMPTS,
    OverlapPlan,
    charge_of,
    parse_plan,
)
from consortium.ids import Digest
from consortium.plan import ReleaseKind
from consortium.privacy.budget import Debit
from partner_node.accounts import Hold, may_debit_of, reserve_in
from partner_node.database import ENTRIES, OVERLAPS, OWN_LOG, RESERVES, Database

DEBIT, RELEASED = "overlap.debit", "overlap.released"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOverlap:
    """Where a question stands here."""

    release: Digest
    attempt: int
    """The newest that was begun."""
    entry: bytes
    """The released counts as they stand in the log; empty before that."""


class OverlapStore:
    """A part of the node's database; every method raises StorageError as ``NodeStore``."""

    def __init__(self, database: Database, *, now: Callable[[], int], epoch: str) -> None:
        self._database, self._now, self._epoch = database, now, epoch

    def find(self, question: Digest) -> KeptOverlap | None:
        """Where a question stands; None if it was never begun here."""
        with self._database.transaction() as connection:
            return _find(connection, question)

    def plan_of(self, release: Digest) -> OverlapPlan | None:
        """The plan of that release id, if it was begun here."""
        query = sa.select(OVERLAPS.c.plan).where(OVERLAPS.c.release == release)
        with self._database.transaction() as connection:
            data = connection.scalar(query)
        return None if data is None else parse_plan(data)

    def begin(self, plan: OverlapPlan, attempt: int, caps: Mapping[str, int]) -> None:
        """Take up an attempt; with the first, all that there may be is reserved.

        Raises:
            ScoreRefusalError: another plan asked the same question (S10), it was answered, or
                the attempt was begun before (S09), or is one too many (S07).
            BudgetExceededError: the account's cap does not cover it (R12).
        """
        if not 1 <= attempt <= MOST_ATTEMPTS:
            raise ScoreRefusalError(ScoreRefusal.QUOTA, f"attempt {attempt}")
        with self._database.transaction() as connection:
            kept = _find(connection, plan.question)
            if kept is None:
                self._first(connection, plan, attempt, caps)
                return
            if kept.release != plan.release:
                raise ScoreRefusalError(
                    ScoreRefusal.DIFFERENCING, "this pair and month were asked otherwise"
                )
            if kept.entry or attempt <= kept.attempt:
                raise ScoreRefusalError(ScoreRefusal.REPLAY, "answered, or begun before")
            connection.execute(
                OVERLAPS.update()
                .where(OVERLAPS.c.question == plan.question)
                .values(attempt=attempt)
            )

    def _first(
        self,
        connection: sa.Connection,
        plan: OverlapPlan,
        attempt: int,
        caps: Mapping[str, int],
    ) -> None:
        hold = Hold(plan.run, ACCOUNT, self._epoch, MOST_ATTEMPTS * charge_of(plan))
        reserve_in(connection, hold, (caps[ACCOUNT], plan.delta), at=self._now())
        connection.execute(
            OVERLAPS.insert().values(
                question=plan.question,
                run=plan.run,
                release=plan.release,
                plan=document_of(plan),
                attempt=attempt,
                entry=b"",
                at=self._now(),
            )
        )

    def epoch_of(self, plan: OverlapPlan) -> str:
        """The data epoch in which the question was begun: its charges belong there."""
        query = sa.select(RESERVES.c.epoch).where(RESERVES.c.run == plan.run)
        with self._database.transaction() as connection:
            return str(connection.scalar(query) or self._epoch)

    def charge(self, plan: OverlapPlan, attempt: int, entry: bytes) -> None:
        """Charge an attempt for good, before what tells the counts leaves (4.6 (3)).

        Args:
            plan: Public.
            attempt: The one under way.
            entry: This node's of it, with ``epoch_of``; kept with the charge.

        Raises:
            RefusalError: it was charged before (R06), or nothing is reserved (R05).
            BudgetExceededError: the reserve does not cover it (R12).
        """
        debit = Debit(
            run=plan.run,
            kind=ReleaseKind.OVERLAP,
            round=1,
            attempt=attempt,
            units=charge_of(plan),
        )
        with self._database.transaction() as connection:
            epoch = may_debit_of(connection, debit, ACCOUNT)
            connection.execute(
                ENTRIES.insert().values(
                    run=plan.run,
                    round=debit.round,
                    attempt=attempt,
                    kind=debit.kind.value,
                    scope=ACCOUNT,
                    epoch=epoch,
                    units=debit.units,
                    partners=2,
                    dimension=len(plan.tiers),
                    at=self._now(),
                )
            )
            self._say(connection, plan, DEBIT, entry)

    def close(self, plan: OverlapPlan, entry: bytes, *, own: bool) -> None:
        """The counts are out: keep their entry, and free what was not charged.

        ``own``: whether they are this node's to say.
        """
        with self._database.transaction() as connection:
            connection.execute(
                OVERLAPS.update()
                .where(OVERLAPS.c.question == plan.question)
                .values(entry=entry)
            )
            connection.execute(
                RESERVES.update().where(RESERVES.c.run == plan.run).values(state="closed")
            )
            if own:
                self._say(connection, plan, RELEASED, entry)

    def _say(
        self, connection: sa.Connection, plan: OverlapPlan, kind: str, data: bytes
    ) -> None:
        connection.execute(
            OWN_LOG.insert().values(type=kind, run=plan.run, data=data, at=self._now())
        )


def _find(connection: sa.Connection, question: Digest) -> KeptOverlap | None:
    query = sa.select(OVERLAPS).where(OVERLAPS.c.question == question)
    row = connection.execute(query).first()
    if row is None:
        return None
    return KeptOverlap(release=Digest(row.release), attempt=row.attempt, entry=row.entry)
