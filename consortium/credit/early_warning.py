"""Early warning: signs of trouble, what they add up to, and whether they came in time (row 16).

A sign is a reason to call somebody, never to change a price or a limit: nothing here has
either. That a line was closed elsewhere is known only as a bit, under consent CLOSURE_SIGNAL.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum, StrEnum
from fractions import Fraction
from itertools import groupby

from consortium.credit.capacity import utilisation
from consortium.errors import DomainError

LEVEL_DAYS = 60
"""Kinds within so many days add up."""
EXPIRY_DAYS = 90
"""A flag expires so many days after its last event."""

_HIGH = 900_000
_RISE = 150_000


class Sign(StrEnum):
    """Kinds of events, each by its code."""

    USED_UP = "U1"
    """Utilisation above .90."""
    RISING = "U2"
    """Utilisation up by more than .15 in two months."""
    PART_PAID = "P1"
    """Something was paid, but less than was due."""
    NEW_CREDIT = "V1"
    """A new application or lender in the last 60 days."""
    NO_SALARY = "I1"
    """One cycle without the salary."""
    CLOSED_ELSEWHERE = "C1"
    """The consented bit."""


class Level(IntEnum):
    """What is done about a flag."""

    NONE = 0
    WATCH = 1
    CALL = 2
    RESTRUCTURE_TALK = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a partner sees of one line on a day. Private."""

    balance: int
    balance_before: int
    """Two months ago."""
    limit: int | None
    limit_before: int | None
    due: int
    paid: int
    new_credit_on: date | None
    """Last application, or first sight of another lender."""
    salary_expected: bool
    salary_seen: bool
    closed_elsewhere: bool | None
    """None without consent CLOSURE_SIGNAL: then there is no bit."""


@dataclass(frozen=True, slots=True)
class Event:
    """One sign on one day."""

    sign: Sign
    on: date


@dataclass(frozen=True, slots=True)
class Flag:
    """What the events of a line come to on a day."""

    level: Level
    signs: tuple[Sign, ...]
    """Kinds within the 60 days up to the last event."""
    since: date | None
    """First event of the run that has not expired."""
    expires_on: date | None
    """Last day of the flag."""


NO_FLAG = Flag(Level.NONE, (), None, None)


def signs_of(observed: Observed, *, today: date) -> tuple[Sign, ...]:
    """All signs that show on a day, each once."""
    used = utilisation(observed.balance, observed.limit)
    before = utilisation(observed.balance_before, observed.limit_before)
    rise = None if used is None or before is None else used - before
    new = observed.new_credit_on
    window = timedelta(days=LEVEL_DAYS)
    shown = {
        Sign.USED_UP: used is not None and used > _HIGH,
        Sign.RISING: rise is not None and rise > _RISE,
        Sign.PART_PAID: 0 < observed.paid < observed.due,
        Sign.NEW_CREDIT: new is not None and today - window < new <= today,
        Sign.NO_SALARY: observed.salary_expected and not observed.salary_seen,
        Sign.CLOSED_ELSEWHERE: observed.closed_elsewhere is True,
    }
    return tuple(sign for sign, is_on in shown.items() if is_on)


def flag_of(events: Iterable[Event], *, today: date) -> Flag:
    """The flag that events up to a day leave.

    The level is set by each event: how many distinct kinds the 60 days up to it hold. The
    flag keeps it until the ninetieth day after, then there is none.
    """
    known = sorted((one for one in events if one.on <= today), key=lambda one: one.on)
    if not known or today - known[-1].on > timedelta(days=EXPIRY_DAYS):
        return NO_FLAG
    last = known[-1].on
    start = last - timedelta(days=LEVEL_DAYS)
    recent = dict.fromkeys(one.sign for one in known if one.on > start)
    since = last
    for event in reversed(known):
        if since - event.on > timedelta(days=EXPIRY_DAYS):
            break
        since = event.on
    return Flag(
        level=Level(min(len(recent), Level.RESTRUCTURE_TALK)),
        signs=tuple(sign for sign in Sign if sign in recent),
        since=since,
        expires_on=last + timedelta(days=EXPIRY_DAYS),
    )


# --- was it in time, and was it right? --------------------------------------------------------


def median_lead(pairs: Sequence[tuple[date | None, date]]) -> Fraction | None:
    """Median days from a line's first flag to its thirtieth day past due.

    Args:
        pairs: Of each line that became 30 days late: first day of the flag, or None if there
            was none by then; and the day on which it was 30 days late.

    Returns:
        A line without a flag, or flagged no earlier, has a lead of 0. None without any line.
    """
    leads = sorted(
        0 if flagged is None else max(0, (late - flagged).days) for flagged, late in pairs
    )
    if not leads:
        return None
    middle = len(leads) // 2
    if len(leads) % 2:
        return Fraction(leads[middle])
    return Fraction(leads[middle - 1] + leads[middle], 2)


@dataclass(frozen=True, slots=True)
class Precision:
    """How much more often the alerted become late than all."""

    alerted: Fraction
    """Share of bad among the alerted."""
    base: Fraction
    """Share of bad among all."""

    @property
    def lift(self) -> Fraction | None:
        """Their ratio; None if nobody is bad."""
        return self.alerted / self.base if self.base else None


def precision_at(ranked: Sequence[tuple[int, bool]], *, share: Fraction) -> Precision | None:
    """Precision if the given share of lines is alerted, the highest ranks first.

    Lines of equal rank are alerted in proportion: the figure is the mean over all orders.

    Args:
        ranked: Rank (a level, or a score that rises with risk) and whether the line became
            bad. Private.
        share: Of lines that are alerted, such as 5 %.

    Returns:
        None without lines.

    Raises:
        DomainError: a share that is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise DomainError("a share of alerts lies in (0, 1]")
    if not ranked:
        return None
    room = len(ranked) * share
    found = Fraction(0)
    falling = sorted(ranked, key=lambda one: -one[0])
    left = room
    for _, tied in groupby(falling, key=lambda one: one[0]):
        bads = [bad for _, bad in tied]
        taken = min(left, Fraction(len(bads)))
        found += taken * Fraction(sum(bads), len(bads))
        left -= taken
    base = Fraction(sum(bad for _, bad in ranked), len(ranked))
    return Precision(found / room, base)
