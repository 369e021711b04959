"""The rebuild ladder of tier B: a limit that grows with payments on time (credit 3.2, row 21).

The ladder is a table: a rung can be neither skipped nor bought, one missed payment freezes it,
a second within six months reverts it. An event that may not follow what was is refused and
changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from consortium.credit.terms import add_months
from consortium.errors import OutOfOrderError

_PERCENT = 100
RUNG_PERCENT = (20, 40, 60, 80, 100)
"""Share of the old limit on each rung."""
PAYMENTS = 3
"""Payments on time and in full that lead one rung up."""
OFFER_DAYS = 30
MISS_MONTHS = 6


class State(StrEnum):
    """Where somebody stands."""

    OFFERED = "OFFERED"
    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"
    """No new draws."""
    GRADUATED = "GRADUATED"
    EXITED = "EXITED"


class Step(StrEnum):
    """What may happen."""

    ACCEPT = "ACCEPT"
    LAPSE = "LAPSE"
    """Thirty days passed without a word."""
    PAID_ON_TIME = "PAID_ON_TIME"
    MISSED = "MISSED"
    CURED = "CURED"
    DPD30 = "DPD30"
    WITHDRAW = "WITHDRAW"


class Exit(StrEnum):
    """How somebody left the ladder."""

    LAPSED = "LAPSED"
    COUNSELLING = "COUNSELLING"
    WITHDRAWN = "WITHDRAWN"
    """By themselves: what is owed is paid on the old schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """One borrower's ladder. Private."""

    state: State
    rung: int
    paid: int
    """Payments on time at this rung: k."""
    last_miss: date | None
    last_on: date
    """Day of the offer or of the last step."""
    exit: Exit | None

    @property
    def may_draw(self) -> bool:
        """Whether the line can be used."""
        return self.state in (State.ACTIVE, State.GRADUATED)

    @property
    def payments_owed(self) -> int | None:
        """Payments that lead to the next rung; after a freeze all of them; None: no rung."""
        if self.state not in (State.ACTIVE, State.FROZEN):
            return None
        return PAYMENTS - self.paid

    def limit(self, old_limit: int) -> int:
        """The limit at this rung; 0 without one."""
        if self.state in (State.OFFERED, State.EXITED):
            return 0
        return old_limit * RUNG_PERCENT[self.rung] // _PERCENT


def offered(on: date) -> Ladder:
    """A ladder that was offered and not answered."""
    return Ladder(state=State.OFFERED, rung=0, paid=0, last_miss=None, last_on=on, exit=None)


def step(ladder: Ladder, event: Step, *, on: date) -> Ladder:
    """The ladder after an event.

    Raises:
        OutOfOrderError: the event may not follow, comes before the last one, or the offer has
            lapsed, or not yet. The ladder stays as it was.
    """
    rule = TABLE.get((ladder.state, event))
    if rule is None or on < ladder.last_on:
        raise OutOfOrderError(f"{event} on {on} may not follow {ladder.state}")
    return replace(rule(ladder, on), last_on=on)


def _accept(ladder: Ladder, on: date) -> Ladder:
    if (on - ladder.last_on).days > OFFER_DAYS:
        raise OutOfOrderError("the offer was accepted after it had lapsed")
    return replace(ladder, state=State.ACTIVE)


def _lapse(ladder: Ladder, on: date) -> Ladder:
    if (on - ladder.last_on).days <= OFFER_DAYS:
        raise OutOfOrderError("the offer has not lapsed yet")
    return _left(ladder, Exit.LAPSED)


def _paid(ladder: Ladder, _: date) -> Ladder:
    if ladder.paid + 1 < PAYMENTS:
        return replace(ladder, paid=ladder.paid + 1)
    if ladder.rung + 1 < len(RUNG_PERCENT):
        return replace(ladder, rung=ladder.rung + 1, paid=0)
    return replace(ladder, state=State.GRADUATED, paid=0)


def _missed(ladder: Ladder, on: date) -> Ladder:
    last = ladder.last_miss
    second = last is not None and on < add_months(last, MISS_MONTHS)
    if second and ladder.rung == 0:
        return _left(ladder, Exit.COUNSELLING)
    rung = ladder.rung - second
    return replace(ladder, state=State.FROZEN, rung=rung, paid=0, last_miss=on)


def _cured(ladder: Ladder, _: date) -> Ladder:
    return replace(ladder, state=State.ACTIVE, paid=0)


def _thirty_late(ladder: Ladder, _: date) -> Ladder:
    return _left(ladder, Exit.COUNSELLING)


def _withdrawn(ladder: Ladder, _: date) -> Ladder:
    return _left(ladder, Exit.WITHDRAWN)


def _left(ladder: Ladder, how: Exit) -> Ladder:
    return replace(ladder, state=State.EXITED, paid=0, exit=how)


TABLE: Mapping[tuple[State, Step], Callable[[Ladder, date], Ladder]] = MappingProxyType(
    {
        (State.OFFERED, Step.ACCEPT): _accept,
        (State.OFFERED, Step.LAPSE): _lapse,
        (State.OFFERED, Step.WITHDRAW): _withdrawn,
        (State.ACTIVE, Step.PAID_ON_TIME): _paid,
        (State.ACTIVE, Step.MISSED): _missed,
        (State.ACTIVE, Step.DPD30): _thirty_late,
        (State.ACTIVE, Step.WITHDRAW): _withdrawn,
        (State.FROZEN, Step.CURED): _cured,
        (State.FROZEN, Step.DPD30): _thirty_late,
        (State.FROZEN, Step.WITHDRAW): _withdrawn,
        (State.GRADUATED, Step.WITHDRAW): _withdrawn,
    }
)
"""What may follow what; a pair that is missing is refused (credit 3.2)."""
