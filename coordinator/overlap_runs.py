"""Drives counts of common persons: one list after the other between two partners (6.10).

The coordinator sees blinded points and padded sizes. It hands each piece on as it came, for
the two sign and check them; what it decides is only when. A question is put once: its noisy
answer is stored under its release id, and asking again returns it.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from consortium.errors import (
    DecodeError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.identity.overlap import (
    OverlapCount,
    OverlapPlan,
    check_plan,
    context_of,
    counts_of,
)
from consortium.identity.overlap_lists import ListKind, is_public_size, parts_of
from consortium.ids import Digest, PartnerId
from consortium.inquiries import OverlapAsk, OverlapPiece, OverlapTell
from consortium.ledger.bodies import OverlapDebit, OverlapPlanned, OverlapReleased
from consortium.ledger.entries import Body, from_jcs
from consortium.manifest import Manifest
from coordinator.audit_log import member_entry
from coordinator.rosters import Lines, Rosters
from coordinator.scoring_storage import ScoringStore

log = logging.getLogger(__name__)

_STEP_S = 120.0
"""A partner that reads a large table of lines may take so long for its first step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapLog:
    """What is written of a count. Blocking."""

    entry: Callable[[Body], bytes]
    """The coordinator's own."""
    append: Callable[[Sequence[bytes]], None]


@dataclass(eq=False, slots=True)
class _Run:
    """One attempt."""

    plan: OverlapPlan
    manifest: Manifest
    attempt: int
    context: Digest
    paid: set[PartnerId] = field(default_factory=set)


class OverlapRuns:
    """Counts, one at a time. Lives in the loop."""

    def __init__(
        self, lines: Lines, rosters: Rosters, store: ScoringStore, said: OverlapLog
    ) -> None:
        self._lines, self._rosters, self._store, self._log = lines, rosters, store, said
        self._turn = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[tuple[PartnerId, int], asyncio.Future[OverlapTell]] = {}

    # --- the streams --------------------------------------------------------------------------

    def on_tell(self, partner: PartnerId, tell: OverlapTell, number: int) -> bool:
        """An answer on the stream of that partner; False if nobody waits for it."""
        waiting = self._waiting.get((partner, number))
        if waiting is None or waiting.done():
            return False
        waiting.set_result(tell)
        return True

    def on_down(self, partner: PartnerId) -> None:
        """A count without one of the two is over."""
        for (name, _), waiting in self._waiting.items():
            if name == partner and not waiting.done():
                waiting.set_exception(TransportError(f"{partner} left"))

    async def _ask(self, partner: PartnerId, ask: OverlapAsk) -> OverlapTell:
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[OverlapTell] = loop.create_future()
        self._waiting[partner, number] = waiting
        try:
            if not self._lines.push(partner, ask, number):
                raise TransportError(f"{partner} is not connected")
            async with asyncio.timeout(_STEP_S):
                tell = await waiting
        except TimeoutError as error:
            raise TransportError(f"{partner} gave no answer") from error
        finally:
            del self._waiting[partner, number]
        if tell.step != ask.step or tell.code:
            reason = ScoreRefusal(tell.code) if tell.code else ScoreRefusal.MALFORMED
            raise ScoreRefusalError(reason, f"{partner} refuses to {ask.step}: {reason.value}")
        return tell

    # --- one count ----------------------------------------------------------------------------

    async def run(self, plan: OverlapPlan) -> tuple[OverlapCount, ...]:
        """The counts of a plan: stored ones, or those of a new run.

        Raises:
            ConfigurationError: a plan that cannot be asked.
            ScoreRefusalError: a partner refuses, with its code; or the question was asked in
                another form (S10), or as often as it may be (S07).
            TransportError: one of the two is not there, or left.
        """
        async with self._turn:
            kept = await asyncio.to_thread(self._store.overlap, plan.release)
            if kept:
                return _counts(plan, kept)
            manifest = self._rosters.manifest
            if manifest is None:
                raise ScoreRefusalError(ScoreRefusal.MANIFEST, "no manifest is in force")
            check_plan(plan, manifest, plan.counter)
            for name in (plan.counter, plan.peer):
                if name not in self._rosters.up:
                    raise TransportError(f"{name} is not connected")
            return _counts(plan, await self._attempted(plan, manifest))

    async def _attempted(self, plan: OverlapPlan, manifest: Manifest) -> bytes:
        attempt, planned = await asyncio.to_thread(self._planned, plan)
        run = _Run(plan, manifest, attempt, context_of(plan, manifest.digest, attempt))
        begin = OverlapAsk(step="begin", entry=planned, context=run.context)
        told = await self._ask(plan.counter, begin)
        if told.entries:
            # It had said them already: this coordinator had lost them.
            return await self._finish(run, told.entries)
        await self._ask(plan.peer, begin)
        await self._moved(run, (plan.counter, plan.peer), ListKind.OWN, 0)
        for number in range(len(plan.tiers)):
            await self._moved(run, (plan.peer, plan.counter), ListKind.TIER, number)
        await self._moved(run, (plan.peer, plan.counter), ListKind.CROSS, 0)
        ask = OverlapAsk(step="count", entry=b"", context=run.context)
        counted = await self._ask(plan.counter, ask)
        released = await self._finish(run, counted.entries)
        try:
            end = OverlapAsk(step="end", entry=released, context=run.context)
            await self._ask(plan.peer, end)
        except (TransportError, ScoreRefusalError) as error:
            log.warning("%s holds its reserve: %s", plan.peer, error)
        return released

    def _planned(self, plan: OverlapPlan) -> tuple[int, bytes]:
        attempt = self._store.begin_overlap(plan)
        entry = self._log.entry(OverlapPlanned(plan=plan, attempt=attempt))
        self._log.append([entry])
        return attempt, entry

    async def _moved(
        self, run: _Run, way: tuple[PartnerId, PartnerId], kind: ListKind, number: int
    ) -> None:
        """A whole list from one to the other."""
        giver, taker = way
        part, parts = 0, 1
        while part < parts:
            wanted = OverlapPiece(
                context=run.context,
                member=giver,
                kind=kind.value,
                number=number,
                part=part,
                size=0,
                points=b"",
                signature=b"",
            )
            ask = OverlapAsk(step="give", entry=b"", context=run.context, piece=wanted)
            told = await self._ask(giver, ask)
            if told.piece is None or not is_public_size(told.piece.size):
                raise ScoreRefusalError(ScoreRefusal.MALFORMED, f"{giver} gave no list")
            # What it was charged for is in the log before anybody can use it.
            await self._debited(run, giver, told.entries)
            if giver == run.plan.peer and giver not in run.paid:
                raise ScoreRefusalError(ScoreRefusal.QUOTA, f"{giver} has charged nothing")
            parts = parts_of(told.piece.size)
            take = replace(ask, step="take", piece=told.piece)
            await self._ask(taker, take)
            part += 1

    async def _debited(self, run: _Run, member: PartnerId, entries: Sequence[bytes]) -> None:
        for data in entries:
            body = member_entry(data, run.manifest, member).body
            same = isinstance(body, OverlapDebit) and body.release == run.plan.release
            if not same:
                raise DecodeError(f"{member} logs something else than its charge")
            run.paid.add(member)
        if entries:
            await asyncio.to_thread(self._log.append, list(entries))

    async def _finish(self, run: _Run, entries: Sequence[bytes]) -> bytes:
        """Charges and counts of the counting partner: into the log and the table."""
        plan = run.plan
        if not entries:
            raise DecodeError(f"{plan.counter} said no counts")
        *debits, released = entries
        await self._debited(run, plan.counter, debits)
        body = member_entry(released, run.manifest, plan.counter).body
        if not isinstance(body, OverlapReleased) or body.release != plan.release:
            raise DecodeError(f"{plan.counter} said counts of something else")
        counts_of(plan, body.counts)
        await asyncio.to_thread(self._store.end_overlap, plan, released)
        log.info("release %s: counts of %s at %s", plan.release, plan.counter, plan.peer)
        return released


def _counts(plan: OverlapPlan, released: bytes) -> tuple[OverlapCount, ...]:
    body = from_jcs(released).body
    if not isinstance(body, OverlapReleased):
        raise DecodeError("the stored counts are none")
    return counts_of(plan, body.counts)
