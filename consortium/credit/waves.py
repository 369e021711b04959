"""A restart campaign: plan, waves, and the table that moves them (row 31, credit 3.2, 4.17).

A campaign takes back the borrowers of closed lines in waves. Who is held out and who comes in
which wave is drawn by a public hash of campaign and token, never by rank. A wave opens when the
one before has passed; a bad one halts until a signed decision. The state is a value and follows
from the plan and its orders alone: whoever has the log computes the same.

This file neither keeps nor sends anything, and knows no person: the operator's side feeds it
released totals, nodes feed it orders of the log.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType

from consortium.canonical import Label, hash_with
from consortium.credit.noisy_stop import NoisyCounts, verdict, worse_than_holdout
from consortium.credit.policy import StopRule
from consortium.credit.stopping import Verdict, bounds_of
from consortium.documents import document_of
from consortium.errors import ConfigurationError, DomainError, OutOfOrderError
from consortium.ids import Digest, PartnerId
from consortium.plan import decimal

WAVES = (1, 5, 20, 100)
"""Shares of the cohort that the waves reach unless a plan says otherwise, per cent."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ROLE = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_ALL = 100
_MOST_HELD = 50
_MOST_WAVES = 12


class WaveState(StrEnum):
    """Where one wave stands."""

    PLANNED = "planned"
    RUNNING = "running"
    REVIEW = "review"
    """Undecided after the last look or the most accounts: a person must look at it."""
    HALTED = "halted"
    """Nobody else is offered anything until a signed decision."""
    PASSED = "passed"


class Move(StrEnum):
    """What happens to a campaign."""

    OPEN = "open"
    """The next wave, by a person."""
    CONTINUE = "continue"
    """A look that decides nothing. It counts: alpha is split over the looks."""
    PASS = "pass"  # noqa: S105 - a move, not a password
    UNDECIDED = "undecided"
    BAD = "bad"
    """The sequential test, or the hold-out, halts the wave."""
    REVIEWED = "reviewed"
    RESUME = "resume"
    """At the same wave; its counts and its looks start again."""
    END = "end"


BY_COUNTS = frozenset({Move.CONTINUE, Move.PASS, Move.UNDECIDED, Move.BAD})
"""What a released table decides; all else is a person's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPlan:
    """What a campaign is before it begins. Public within the federation.

    Raises:
        DomainError: a name, share, date or number that cannot be, or a stop rule that is no
            test.
    """

    name: str
    lenders: tuple[PartnerId, ...]
    """Who takes its own borrowers back; sorted."""
    closed_from: date
    closed_to: date
    """The cohort: lines that the lender closed on one of these days."""
    begins: date
    percents: tuple[int, ...]
    """Shares of the cohort that each wave reaches, rising, the last 100."""
    holdout_percent: int
    stop: StopRule
    look_days: int
    """Days between two looks at least."""
    epsilon: str
    """Of a person over the whole campaign: all its tables together."""
    delta: str
    synthetic: bool = False
    """Whether the borrowers are made up; then every table and report says so."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not _NAME.fullmatch(self.name):
            raise DomainError("campaign: a name of a-z, 0-9 and hyphens, at most 32")
        if not self.lenders or tuple(sorted(set(self.lenders))) != self.lenders:
            raise DomainError("campaign: lenders, each once and sorted")
        if not self.closed_from <= self.closed_to < self.begins:
            raise DomainError("campaign: it begins after the lines of its cohort were closed")
        rising = all(a < b for a, b in zip((0, *self.percents), self.percents, strict=False))
        if not (rising and self.percents[-1:] == (_ALL,) and len(self.percents) <= _MOST_WAVES):
            raise DomainError("campaign: waves reach rising shares, the last one all")
        if not 1 <= self.holdout_percent <= _MOST_HELD:
            raise DomainError(f"campaign: a hold-out of 1 to {_MOST_HELD} per cent")
        bounds_of(self.stop)
        self._check_looks()

    def _check_looks(self) -> None:
        if self.look_days < 1 or self.stop.looks < 1:
            raise DomainError("campaign: at least one look, and a day between two")
        try:
            decimal(self.epsilon, "epsilon", low="0.0001", high="8")
            decimal(self.delta, "delta", low="1e-12", high="0.01")
        except ConfigurationError as error:
            raise DomainError(f"campaign: {error}") from error

    @property
    def digest(self) -> Digest:
        """Under which orders name it."""
        return hash_with(Label.CAMPAIGN, document_of(self))

    @property
    def releases(self) -> int:
        """Most tables that the campaign asks for if nothing is halted."""
        return len(self.percents) * self.stop.looks


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignOrder:
    """One step, as the operator signs it; the log holds it (``campaign.ordered``)."""

    campaign: str
    plan: Digest
    move: Move
    wave: int
    """Counted from 0; of OPEN the wave that opens."""
    before: Digest
    """Of the state that it is about: an order cannot be used twice."""
    release: Digest | None
    """The table that decided; None: a person did."""
    role: str
    """Of who decided; no name. Empty if counts did."""
    reason: str
    """A code of the operator's own. Empty if counts did."""
    on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Where a campaign stands.

    Raises:
        DomainError: states that no orders lead to.
    """

    plan: Digest
    waves: tuple[WaveState, ...]
    looks: int
    """Of the wave that is not over, in this turn."""
    turn: int
    """Rises with each wave that opens and each that is resumed: counts start again."""
    looked_on: date | None
    ended: bool

    def __post_init__(self) -> None:
        """Passed waves come first, then at most one that is under way, then planned ones."""
        at = self.at
        early, late = self.waves[:at], self.waves[at + 1 :]
        if set(early) - {WaveState.PASSED} or set(late) - {WaveState.PLANNED}:
            raise DomainError("campaign: a wave was skipped")

    @property
    def at(self) -> int:
        """The first wave that has not passed; their number if all have."""
        return sum(one is WaveState.PASSED for one in self.waves)

    @property
    def state(self) -> WaveState:
        """Of the wave that it is at; PASSED once all have."""
        return self.waves[self.at] if self.at < len(self.waves) else WaveState.PASSED

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return self.ended or self.at == len(self.waves)

    @property
    def may_offer(self) -> bool:
        """Whether nodes offer to the members of the wave."""
        return not self.is_over and self.state is WaveState.RUNNING

    @property
    def digest(self) -> Digest:
        """Under which an order names it."""
        return hash_with(Label.CAMPAIGN_STATE, document_of(self))


def start(plan: CampaignPlan) -> Campaign:
    """A campaign before its first wave opens."""
    return Campaign(
        plan=plan.digest,
        waves=(WaveState.PLANNED,) * len(plan.percents),
        looks=0,
        turn=0,
        looked_on=None,
        ended=False,
    )


MOVES: Mapping[tuple[WaveState, Move], WaveState] = MappingProxyType(
    {
        (WaveState.PLANNED, Move.OPEN): WaveState.RUNNING,
        (WaveState.RUNNING, Move.CONTINUE): WaveState.RUNNING,
        (WaveState.RUNNING, Move.PASS): WaveState.PASSED,
        (WaveState.RUNNING, Move.UNDECIDED): WaveState.REVIEW,
        (WaveState.RUNNING, Move.BAD): WaveState.HALTED,
        (WaveState.REVIEW, Move.REVIEWED): WaveState.PASSED,
        (WaveState.HALTED, Move.RESUME): WaveState.RUNNING,
    }
)
"""What may follow what; a pair that is missing is refused. END may follow anything."""


def step(plan: CampaignPlan, now: Campaign, order: CampaignOrder) -> Campaign:
    """The campaign after an order.

    Raises:
        OutOfOrderError: of another campaign or state, a wave that is not due, before the plan
            begins or the next look is due, or a move that does not follow.
        DomainError: a move of a person without role and reason, or of counts without a table.
    """
    if (order.campaign, order.plan, now.plan) != (plan.name, plan.digest, plan.digest):
        raise OutOfOrderError("an order of another campaign, or of another plan of its name")
    if order.before != now.digest or now.is_over:
        raise OutOfOrderError("the campaign has moved since this order was made, or is over")
    _check_decider(order)
    if order.move is Move.END:
        return replace(now, ended=True)
    if order.wave != now.at:
        raise OutOfOrderError(f"wave {order.wave + 1} is not due, wave {now.at + 1} is")
    after = MOVES.get((now.state, order.move))
    if after is None:
        raise OutOfOrderError(f"a wave that is {now.state} does not take {order.move}")
    _check_day(plan, now, order)
    return _moved(now, order, after)


def standing(plan: CampaignPlan, orders: Sequence[CampaignOrder]) -> Campaign:
    """The campaign after all its orders, oldest first; raises as ``step``."""
    now = start(plan)
    for order in orders:
        now = step(plan, now, order)
    return now


def _moved(now: Campaign, order: CampaignOrder, after: WaveState) -> Campaign:
    waves = (*now.waves[: now.at], after, *now.waves[now.at + 1 :])
    if order.move in (Move.OPEN, Move.RESUME):
        return replace(now, waves=waves, looks=0, turn=now.turn + 1)
    looked = order.move in BY_COUNTS
    return replace(
        now,
        waves=waves,
        looks=now.looks + looked,
        looked_on=order.on if looked else now.looked_on,
    )


def _check_decider(order: CampaignOrder) -> None:
    by_counts = order.move in BY_COUNTS
    if by_counts != (order.release is not None):
        raise DomainError(f"{order.move}: decided by a released table, or not by one")
    named = bool(_ROLE.fullmatch(order.role) and _ROLE.fullmatch(order.reason))
    if not by_counts and not named:
        raise DomainError(f"{order.move}: role and reason, as codes of at most 32 characters")
    if by_counts and (order.role or order.reason):
        raise DomainError(f"{order.move}: counts decide it, no person")


def _check_day(plan: CampaignPlan, now: Campaign, order: CampaignOrder) -> None:
    if order.on < plan.begins:
        raise OutOfOrderError(f"the campaign begins on {plan.begins}")
    if now.looked_on is not None and order.on < now.looked_on:
        raise OutOfOrderError(f"an order of {order.on}, after a look on {now.looked_on}")
    if order.move in BY_COUNTS and order.on < next_look(plan, now):
        raise OutOfOrderError(f"the next look is due on {next_look(plan, now)}")
    if order.move is Move.CONTINUE and now.looks + 1 >= plan.stop.looks:
        raise OutOfOrderError("the last planned look decides, or a person does")


def next_look(plan: CampaignPlan, now: Campaign) -> date:
    """First day on which the wave may be looked at again."""
    if now.looked_on is None:
        return plan.begins
    return now.looked_on + timedelta(days=plan.look_days)


# --- the table --------------------------------------------------------------------------------


class Arm(StrEnum):
    """A tier, offered or held out. Tier D is in no arm: it is offered nothing."""

    A = "A"
    B = "B"
    C = "C"
    A_HELD = "A_held"
    B_HELD = "B_held"
    C_HELD = "C_held"


class Fate(StrEnum):
    """How far somebody has come: each member of a campaign is in one of these cells.

    Of who is held out, and of tier C, which is advised and not lent to, the last two only: by
    what becomes of the debt that is left, from the day the wave opened.
    """

    OFFERED = "offered"
    ACCEPTED = "accepted"
    DRAWN = "drawn"
    PAID = "paid"
    """The first due date is over, and it was not 30 days late."""
    FPD30 = "fpd30"
    LATER30 = "later30"
    """30 days late after a first payment that was not."""


HELD = {"A": Arm.A_HELD, "B": Arm.B_HELD, "C": Arm.C_HELD}
LENT = (Arm.A, Arm.B)
"""To whom the campaign lends: whose first payments the test counts."""

Cells = Mapping[tuple[Arm, Fate], float]
"""The released cells of one wave."""


def wave_label(wave: int) -> str:
    """The wave's cell on the table's axis; ``wave`` counts from 0."""
    return f"w{wave + 1}"


def first_payments(cells: Cells, deviation: float) -> NoisyCounts:
    """What the sequential test counts: first payments of those who were lent to."""
    return _counts(cells, deviation, LENT, bad=(Fate.FPD30,), good=(Fate.PAID, Fate.LATER30))


def ever_late(cells: Cells, deviation: float, arms: Sequence[Arm]) -> NoisyCounts:
    """Who came 30 days late at any time, among those of some arms whose first due is over."""
    bad = (Fate.FPD30, Fate.LATER30)
    return _counts(cells, deviation, arms, bad=bad, good=(Fate.PAID,))


def held_out(cells: Cells, deviation: float) -> NoisyCounts:
    """The same of those who were held out, in the tiers that are lent to."""
    arms = tuple(HELD[one] for one in LENT)
    return _counts(cells, deviation, arms, bad=(Fate.LATER30,), good=(Fate.PAID,))


def _counts(
    cells: Cells,
    deviation: float,
    arms: Sequence[Arm],
    *,
    bad: Sequence[Fate],
    good: Sequence[Fate],
) -> NoisyCounts:
    def total(fates: Sequence[Fate]) -> float:
        return sum(cells[arm, fate] for arm in arms for fate in fates)

    return NoisyCounts(
        good=total(good),
        bad=total(bad),
        good_deviation=deviation * (len(arms) * len(good)) ** 0.5,
        bad_deviation=deviation * (len(arms) * len(bad)) ** 0.5,
    )


MOVE_OF: Mapping[Verdict, Move] = MappingProxyType(
    {
        Verdict.CONTINUE: Move.CONTINUE,
        Verdict.PASS: Move.PASS,
        Verdict.PASS_WITH_REVIEW: Move.UNDECIDED,
        Verdict.HALT: Move.BAD,
    }
)


def judge(plan: CampaignPlan, now: Campaign, cells: Cells, deviation: float) -> Move:
    """What a released table says of the wave that runs: halt first, then pass, then go on.

    After the last planned look there is no further one: undecided is a person's to review.

    Args:
        plan: The campaign's.
        now: Where it stands, before this look.
        cells: Of the wave in its present turn, as released.
        deviation: Of the noise of one cell.
    """
    if worse_than_holdout(
        ever_late(cells, deviation, LENT), held_out(cells, deviation), plan.stop
    ):
        return Move.BAD
    found = MOVE_OF[verdict(first_payments(cells, deviation), plan.stop)]
    last = now.looks + 1 >= plan.stop.looks
    return Move.UNDECIDED if found is Move.CONTINUE and last else found
