"""When a line counts as closed, by whom and why (credit 2.2).

Closure is not default. What the lender does is a closure with a cause; what the borrower does,
and default itself, are competing events that end the risk of it. The earliest event counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise

from consortium.credit.outcomes import M3_PLUS_FROM, LineStatus
from consortium.errors import DomainError

ARREARS_DAYS = 30
"""A line is closed for arrears that ended so many days ago at most."""
FREEZE_DAYS = 30
CUT_DAYS = 90
"""Steps of a cut within so many days add up."""
WINDOW_DAYS = 90


class Cause(StrEnum):
    """Why a line ended, or what came first."""

    ARREARS = "ARREARS"
    ANOMALY = "ANOMALY"
    FREEZE = "FREEZE"
    LIMIT_CUT = "LIMIT_CUT"
    INACTIVITY_CLOSE = "INACTIVITY_CLOSE"
    PRODUCT_WITHDRAWN = "PRODUCT_WITHDRAWN"
    """Of the whole product; not predicted from anybody's behaviour."""
    UNSTATED = "UNSTATED"
    """The lender ended an active line without arrears and named no cause."""
    CLOSED_BORROWER = "CLOSED_BORROWER"
    PAID_OUT = "PAID_OUT"
    DEFAULT = "DEFAULT"


COMPETING = frozenset({Cause.CLOSED_BORROWER, Cause.PAID_OUT, Cause.DEFAULT})
"""They end the risk of closure and are none."""


class Anomaly(StrEnum):
    """What a closing record may name; a flag, never the data behind it."""

    DEVICE = "DEVICE"
    PROFILE = "PROFILE"
    USE_OF_FUNDS = "USE_OF_FUNDS"
    FRAUD = "FRAUD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a line stands from a day on, until the next of them. Private."""

    on: date
    status: LineStatus
    limit: int
    dpd: int
    active: bool
    """A debit or a balance in the last six full months."""
    anomaly: Anomaly | None
    """Named in the closing record of this day."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.dpd < 0 or self.limit < 0:
            raise DomainError("negative days past due or limit")

    @property
    def in_default(self) -> bool:
        """M3+ or charged off."""
        return self.dpd >= M3_PLUS_FROM or self.status is LineStatus.CHARGED_OFF


@dataclass(frozen=True, slots=True)
class Event:
    """What ended the risk of closure."""

    cause: Cause
    on: date
    known_on: date
    """A freeze is one only after its thirtieth day."""

    @property
    def is_closure(self) -> bool:
        """Or one of the competing events."""
        return self.cause not in COMPETING


def at_risk(standing: Standing) -> bool:
    """Whether a line belongs to those whose closure is predicted: open, and not M3+."""
    return standing.status is LineStatus.OPEN and not standing.in_default


def first_event(
    history: Sequence[Standing], *, since: date, until: date, withdrawn_on: date | None
) -> Event | None:
    """The first event after ``since`` and up to ``until``, or None.

    Of several on one day a withdrawal counts before all others, default before a closure.

    Args:
        history: How the line stood, oldest first, with what went before ``since``.
        since: The observation date; its own events do not count.
        until: Last day that is known.
        withdrawn_on: Day on which the partner withdraws the whole product, if it does.

    Raises:
        DomainError: standings that are not in order of their days, or none on ``since``.
    """
    if any(one.on >= other.on for one, other in pairwise(history)):
        raise DomainError("standings of a line are not in order of their days")
    known = [standing for standing in history if standing.on <= until]
    if not known or known[0].on > since:
        raise DomainError("how the line stood on the observation date is not known")
    found = list(_events(known, until))
    if withdrawn_on is not None and withdrawn_on <= until:
        found.insert(0, Event(Cause.PRODUCT_WITHDRAWN, withdrawn_on, withdrawn_on))
    later = [event for event in found if since < event.on and event.known_on <= until]
    return min(later, key=lambda event: event.on, default=None)  # stable: the first at a tie


def closed_lately(event: Event | None, *, today: date) -> bool:
    """The bit of CLOSURE_SIGNAL: closed by a lender in the last 90 days. Needs its consent."""
    if event is None or not event.is_closure:
        return False
    return today - timedelta(days=WINDOW_DAYS) < event.on <= today


def _events(history: Sequence[Standing], until: date) -> Iterator[Event]:
    for place, standing in enumerate(history):
        before = history[:place]
        if not before or before[-1].status is not standing.status:
            yield from _ended(standing, before)
        if standing.in_default and not (before and before[-1].in_default):
            yield Event(Cause.DEFAULT, standing.on, standing.on)
        if standing.status is LineStatus.FROZEN:
            yield from _frozen(history, place, until)
        drawable = standing.status in (LineStatus.OPEN, LineStatus.FROZEN)
        if drawable and _is_cut(standing, before):
            yield Event(Cause.LIMIT_CUT, standing.on, standing.on)


def _ended(standing: Standing, before: Sequence[Standing]) -> Iterator[Event]:
    """The event of a status that is new, but for default."""
    if standing.in_default:
        return
    if standing.status is LineStatus.CLOSED_LENDER:
        yield Event(_cause(standing, before), standing.on, standing.on)
    elif standing.status in (LineStatus.CLOSED_BORROWER, LineStatus.PAID_OUT):
        yield Event(Cause(standing.status.value), standing.on, standing.on)


def _frozen(history: Sequence[Standing], place: int, until: date) -> Iterator[Event]:
    """The event of a freeze that begins at a place, if it lasts."""
    begins = history[place].on
    if place and history[place - 1].status is LineStatus.FROZEN:
        return
    thawed = (one.on for one in history[place:] if one.status is not LineStatus.FROZEN)
    known = begins + timedelta(days=FREEZE_DAYS)
    if next(thawed, until) >= known:
        yield Event(Cause.FREEZE, begins, known)


def _cause(closing: Standing, before: Sequence[Standing]) -> Cause:
    """Why the lender ended it: what it named, then arrears, then that nobody used it."""
    if closing.anomaly is not None:
        return Cause.ANOMALY
    if closing.dpd > 0 or _late_until(before, closing.on) >= closing.on - timedelta(
        days=ARREARS_DAYS
    ):
        return Cause.ARREARS
    used = before[-1].active if before else closing.active
    return Cause.UNSTATED if used else Cause.INACTIVITY_CLOSE


def _late_until(before: Sequence[Standing], closed_on: date) -> date:
    """Last day on which something was past due before a day; the first day ever if none."""
    ends = [*(standing.on for standing in before[1:]), closed_on]
    late = [end for standing, end in zip(before, ends, strict=True) if standing.dpd > 0]
    return max(late, default=date.min + timedelta(days=1)) - timedelta(days=1)


def _is_cut(standing: Standing, before: Sequence[Standing]) -> bool:
    """Whether the limit is at most half of the highest that held within the last 90 days."""
    if not before or standing.limit >= before[-1].limit:
        return False
    start = standing.on - timedelta(days=CUT_DAYS)
    ends = [*(one.on for one in before[1:]), standing.on]
    held = [one.limit for one, end in zip(before, ends, strict=True) if end > start]
    return 2 * standing.limit <= max(held)
