"""This partner's half of counts of common persons, step by step (protocol 6.10).

The rules and the lists are in ``consortium.identity``; here is what needs memory and a disk:
one run at a time, reserved before a row is read, charged before what tells the counts leaves,
and a question that was answered once. A step that fails ends the run; its attempt is spent.
"""

import asyncio
import calendar
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TypeVar

from consortium.crypto.keys import IdentityKey, Secret
from consortium.errors import (
    BudgetExceededError,
    DataError,
    OutOfOrderError,
    RiskWeaveError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.identity.overlap import (
    OverlapPlan,
    charge_of,
    check_plan,
    context_of,
    mechanism_of,
)
from consortium.identity.overlap_lists import (
    ListKind,
    OverlapCounter,
    OverlapPeer,
    OverlapRun,
)
from consortium.ids import Digest, PartnerId, PersonToken
from consortium.inquiries import OverlapAsk, OverlapPiece, OverlapTell, Purpose
from consortium.ledger.bodies import OverlapDebit, OverlapPlanned, OverlapReleased
from consortium.ledger.entries import from_jcs, verify_entry
from consortium.manifest import Manifest
from partner_node.credit.standing import PersonStanding
from partner_node.overlap_storage import OverlapStore
from partner_node.scoring_store import ScoringStore

log = logging.getLogger(__name__)

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapPorts:
    """What counts need of the node."""

    manifest: Manifest
    member: PartnerId
    identity: IdentityKey
    tokens: ScoringStore
    overlaps: Callable[[], OverlapStore]
    caps: Mapping[str, int]
    """Units by account, the smaller of the owner's and the manifest's."""
    standings: Callable[[date], Mapping[bytes, PersonStanding]]
    """Everybody with a line by that day, by keyed hash. Blocks on a table."""
    sign: Callable[[OverlapDebit | OverlapReleased], bytes]
    """This member's entry for the log."""
    entropy: Callable[[], Secret]
    pool: Executor


@dataclass(slots=True)
class _Running:
    """The run under way."""

    plan: OverlapPlan
    attempt: int
    context: Digest
    machine: OverlapCounter | OverlapPeer = field(repr=False)
    charged: bool = False


class Overlaps:
    """Answers the coordinator's steps under one manifest; in the link's loop."""

    def __init__(self, ports: OverlapPorts) -> None:
        self._ports = ports
        self._turn = asyncio.Lock()
        self._running: _Running | None = None

    async def on_ask(self, ask: OverlapAsk) -> OverlapTell:
        """What this partner does, or the code of why it does not."""
        async with self._turn:
            try:
                return await self._step(ask)
            except RiskWeaveError as error:
                log.warning("count of common persons, %s: %s", ask.step, error)
                self._running = None
                return OverlapTell(step=ask.step, code=_code_of(error).value)

    async def _step(self, ask: OverlapAsk) -> OverlapTell:
        if ask.step == "begin":
            return await self._begin(ask)
        if ask.step == "end":
            await asyncio.to_thread(self._end, ask.entry)
            return OverlapTell(step="end", code="")
        running = self._running
        if running is None or ask.context != running.context:
            raise OutOfOrderError("no such count is under way")
        if ask.step == "count":
            return await self._count(running)
        if ask.piece is None:
            raise OutOfOrderError(f"{ask.step} of no piece")
        if ask.step == "take":
            await self._worked(partial(running.machine.take, ask.piece))
            return OverlapTell(step="take", code="")
        return await self._give(running, ask.piece)

    async def _worked(self, work: Callable[[], _Made]) -> _Made:
        """In a thread that itself uses the pool, so that the loop waits for nothing."""
        return await asyncio.to_thread(work)

    # --- begin --------------------------------------------------------------------------------

    async def _begin(self, ask: OverlapAsk) -> OverlapTell:
        self._running = None
        planned = self._planned(ask.entry)
        plan, attempt = planned.plan, planned.attempt
        ports = self._ports
        check_plan(plan, ports.manifest, ports.member)
        context = context_of(plan, ports.manifest.digest, attempt)
        if context != ask.context:
            raise ScoreRefusalError(ScoreRefusal.MALFORMED, "another context than the plan's")
        said = await asyncio.to_thread(self._said, plan)
        if said:
            return OverlapTell(step="begin", code="", entries=(said,))
        machine = await asyncio.to_thread(self._machine, plan, attempt)
        self._running = _Running(plan, attempt, context, machine)
        return OverlapTell(step="begin", code="")

    def _planned(self, data: bytes) -> OverlapPlanned:
        """The plan, as the coordinator stands for it in the log."""
        entry = from_jcs(data)
        manifest = self._ports.manifest
        if entry.actor != manifest.coordinator.id or not isinstance(entry.body, OverlapPlanned):
            raise ScoreRefusalError(ScoreRefusal.SIGNATURE, "no plan of the coordinator's")
        verify_entry(entry, data, manifest.coordinator)
        return entry.body

    def _said(self, plan: OverlapPlan) -> bytes:
        """The counts, if this partner has said them; asking again costs nothing."""
        kept = self._ports.overlaps().find(plan.question)
        counts = plan.counter == self._ports.member
        same = kept is not None and kept.release == plan.release
        return kept.entry if kept is not None and counts and same else b""

    def _machine(self, plan: OverlapPlan, attempt: int) -> OverlapCounter | OverlapPeer:
        """Reserve, and only then read who is listed."""
        ports = self._ports
        ports.overlaps().begin(plan, attempt, ports.caps)
        run = OverlapRun(
            plan=plan,
            manifest=ports.manifest,
            attempt=attempt,
            me=ports.member,
            identity=ports.identity,
            secret=ports.entropy(),
        )
        tiers = self._listed(plan)
        if plan.counter == ports.member:
            return OverlapCounter(run, [token for tier in tiers for token in tier])
        return OverlapPeer(run, tiers)

    def _listed(self, plan: OverlapPlan) -> list[list[PersonToken]]:
        """Tokens by tier of all with an active line, a PD and a consent to IMPACT_STUDY."""
        ports = self._ports
        persons = ports.standings(_last_day(plan.period))
        gone = ports.tokens.withdrawn_from(Purpose.IMPACT_STUDY)
        listed = {
            subject: one
            for subject, one in persons.items()
            if one.bits.active and one.study and one.pd is not None and subject not in gone
        }
        known = ports.tokens.tokens(plan.epoch, sorted(listed))
        tiers: list[list[PersonToken]] = [[] for _ in plan.tiers]
        for subject, token in known.items():
            pd = listed[subject].pd
            tiers[plan.tier_of(pd or 0)].append(PersonToken(token))
        return tiers

    # --- the steps ----------------------------------------------------------------------------

    async def _give(self, running: _Running, wanted: OverlapPiece) -> OverlapTell:
        machine, kind = running.machine, ListKind(wanted.kind)
        each = self._ports.pool.map
        entries: tuple[bytes, ...] = ()
        if isinstance(machine, OverlapCounter):
            if kind is not ListKind.OWN:
                raise ScoreRefusalError(ScoreRefusal.MALFORMED, "no list of this partner's")
            piece = await self._worked(partial(machine.give, wanted.part, each))
        else:
            if not machine.ready:
                raise OutOfOrderError("the counting partner's list is not complete")
            if not running.charged:
                # With what leaves now the counting partner knows the exact counts.
                entries = (await asyncio.to_thread(self._charge, running),)
            give = partial(machine.give, kind, wanted.number, wanted.part, each)
            piece = await self._worked(give)
        return OverlapTell(step="give", code="", piece=piece, entries=entries)

    async def _count(self, running: _Running) -> OverlapTell:
        if not isinstance(running.machine, OverlapCounter):
            raise OutOfOrderError("this partner does not count")
        if not running.machine.ready:
            raise OutOfOrderError("the peer's lists are not complete")
        debit = await asyncio.to_thread(self._charge, running)
        released = await self._worked(partial(self._released, running, running.machine))
        self._running = None
        return OverlapTell(step="count", code="", entries=(debit, released))

    def _charge(self, running: _Running) -> bytes:
        ports, plan = self._ports, running.plan
        # Signed before the database is locked: what an entry rests on is read from it, too.
        data = ports.sign(
            OverlapDebit(
                release=plan.release,
                run=plan.run,
                attempt=running.attempt,
                epoch=ports.overlaps().epoch_of(plan),
                units=charge_of(plan),
                variance=str(mechanism_of(plan).variance),
            )
        )
        ports.overlaps().charge(plan, running.attempt, data)
        running.charged = True
        return data

    def _released(self, running: _Running, machine: OverlapCounter) -> bytes:
        ports, plan = self._ports, running.plan
        exact = machine.count(ports.pool.map)
        counts = exact.released(plan, ports.entropy(), running.context)
        body = OverlapReleased(release=plan.release, attempt=running.attempt, counts=counts)
        data = ports.sign(body)
        ports.overlaps().close(plan, data, own=True)
        return data

    def _end(self, data: bytes) -> None:
        """The counting partner has said the counts: what was not charged is free again."""
        entry, ports = from_jcs(data), self._ports
        body = entry.body
        if not isinstance(body, OverlapReleased):
            raise OutOfOrderError("an end without counts")
        plan = ports.overlaps().plan_of(body.release)
        if plan is None or entry.actor != plan.counter or plan.peer != ports.member:
            raise OutOfOrderError("counts of what was not asked here")
        verify_entry(entry, data, ports.manifest.member(plan.counter))
        ports.overlaps().close(plan, data, own=False)
        if self._running is not None and self._running.plan == plan:
            self._running = None


def _last_day(period: str) -> date:
    year, month = (int(part) for part in period.split("-"))
    return date(year, month, calendar.monthrange(year, month)[1])


def _code_of(error: RiskWeaveError) -> ScoreRefusal:
    """What is told of it: never anything of a table, a person or an account's figures."""
    if isinstance(error, ScoreRefusalError):
        return error.reason
    if isinstance(error, BudgetExceededError):
        return ScoreRefusal.QUOTA
    if isinstance(error, OutOfOrderError):
        return ScoreRefusal.REPLAY
    if isinstance(error, DataError):
        return ScoreRefusal.INCOMPLETE
    return ScoreRefusal.MALFORMED
