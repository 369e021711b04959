"""What a holder says of a person's lines in a closure inquiry: three bits (7.17; credit 2.2).

From the month ends of its own lines alone. How the bits travel is in ``scoring.closures``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from consortium.credit.closures import (
    WINDOW_DAYS,
    Anomaly,
    Cause,
    Standing,
    closed_lately,
    first_event,
)
from consortium.credit.outcomes import MonthEnd, active_at

WITHDRAWALS = frozenset({Cause.PRODUCT_WITHDRAWN, Cause.UNSTATED, Cause.FREEZE})
"""Closures that are not for what the person did: what a shock is."""

_FRESH_DAYS = 62
"""An active line has a month end that is no older: a table may be a month behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineHistory:
    """One line's month ends as far as its closure goes. Private."""

    months: Sequence[MonthEnd]
    """Oldest first, without gaps."""
    limits: Sequence[int | None]
    anomalies: Sequence[Anomaly | None]
    """Named in the closing record of that month."""
    product_withdrawn: date | None
    """Day on which the partner withdraws the whole product."""


@dataclass(frozen=True, slots=True)
class Bits:
    """What a holder says of a person. Private."""

    closed: bool = False
    withdrawn: bool = False
    active: bool = False

    def __or__(self, other: "Bits") -> "Bits":
        return Bits(
            self.closed or other.closed,
            self.withdrawn or other.withdrawn,
            self.active or other.active,
        )


def bits_of(line: LineHistory, *, today: date) -> Bits:
    """One line's bits on a day, from the months up to it.

    Raises:
        DomainError: month ends that are not one after the other.
    """
    known = [month for month in line.months if month.on <= today]
    if not known:
        return Bits()
    standings = _standings(line, known)
    since = max(known[0].on, today - timedelta(days=WINDOW_DAYS))
    event = first_event(
        standings, since=since, until=today, withdrawn_on=line.product_withdrawn
    )
    closed = closed_lately(event, today=today)
    withdrawn = False
    if event is not None and closed and event.cause in WITHDRAWALS:
        before = [one for one in standings if one.on < event.on]
        withdrawn = bool(before) and before[-1].active
    fresh = known[-1].on > today - timedelta(days=_FRESH_DAYS)
    return Bits(closed=closed, withdrawn=withdrawn, active=fresh and active_at(known))


def _standings(line: LineHistory, known: Sequence[MonthEnd]) -> list[Standing]:
    return [
        Standing(
            on=month.on,
            status=month.status,
            limit=max(0, line.limits[place] or 0),
            dpd=month.dpd,
            active=active_at(known[: place + 1]),
            anomaly=line.anomalies[place],
        )
        for place, month in enumerate(known)
    ]
