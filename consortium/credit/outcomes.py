"""What became of a line: buckets, good and bad, cures, and how a line is used (credit 2.1).

Labels must mean the same at every lender, or a model of all of them means nothing. Days past
due are counted by the partner from the oldest unpaid due date; a missing number is an error,
never "not late". Money is whole minor units of the partner's currency.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise

from consortium.credit.terms import Ppm, Purpose, Segment, add_months
from consortium.errors import DomainError

M1_FROM, M2_FROM, M3_FROM, M3_PLUS_FROM = 1, 31, 61, 91
INDETERMINATE_FROM = 30
PERFORMANCE_MONTHS = 12
ACTIVE_MONTHS = 6
CURE_MONTHS = 3
FIRST_DUE_DAYS = 30

_TRANSACTOR_PERCENT = 95


class LineStatus(StrEnum):
    """Whether a line can be drawn, and how it ended."""

    OPEN = "OPEN"
    FROZEN = "FROZEN"
    """No new draws."""
    CLOSED_LENDER = "CLOSED_LENDER"
    CLOSED_BORROWER = "CLOSED_BORROWER"
    PAID_OUT = "PAID_OUT"
    CHARGED_OFF = "CHARGED_OFF"


ENDED = frozenset({LineStatus.CLOSED_LENDER, LineStatus.CLOSED_BORROWER, LineStatus.PAID_OUT})


class Bucket(StrEnum):
    """How late a line is, or how it ended."""

    M0 = "M0"
    M1 = "M1"
    M2 = "M2"
    M3 = "M3"
    M3_PLUS = "M3+"
    CO = "CO"
    X = "X"
    """Closed without loss: ended, and nothing is owed."""


class Outcome(StrEnum):
    """What a person's lines at a partner came to within the performance window."""

    BAD = "BAD"
    GOOD = "GOOD"
    INDETERMINATE = "INDETERMINATE"
    """Out of training and of calibration, a class of its own in monitoring."""
    UNOBSERVED = "UNOBSERVED"
    """Never 30 days late so far, but not watched to the end: no label."""


class Use(StrEnum):
    """How a line is used: the behaviour segment (row 4)."""

    DORMANT = "DORMANT"
    TRANSACTOR = "TRANSACTOR"
    REVOLVER = "REVOLVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a person at this partner, as it stands. Private."""

    line_ref: str
    """The partner's own; it never leaves."""
    segment: Segment
    product: str
    purpose: Purpose | None
    """None: unknown, which makes a decision a REFER."""
    opened_on: date
    limit: int | None
    balance: int
    """Below 0 if the lender owes."""
    due_amount: int
    due_on: date | None
    paid_amount: int
    dpd: int | None
    """None is an error to whoever needs it, never "not late"."""
    status: LineStatus
    status_on: date
    price_apr: Ppm

    def __post_init__(self) -> None:
        """Refuse a line that cannot be."""
        if self.status_on < self.opened_on:
            raise DomainError(f"status {self.status} of a day before the line was opened")
        if self.dpd is not None and self.dpd < 0:
            raise DomainError("negative days past due")

    @property
    def bucket(self) -> Bucket:
        """Of the line as it stands."""
        return bucket_of(self.dpd, self.status, balance=self.balance)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthEnd:
    """One line at the end of a calendar month. Private."""

    on: date
    dpd: int
    worst_dpd: int
    """Of the month."""
    status: LineStatus
    restructured: bool
    """By force, within the month."""
    balance: int
    statement: int
    """Balance of the statement that fell due."""
    paid: int
    debits: int

    def __post_init__(self) -> None:
        """Refuse a month that cannot be."""
        if (self.on + timedelta(days=1)).day != 1:
            raise DomainError(f"{self.on} is not the end of a month")
        if not self.dpd >= 0 or self.worst_dpd < self.dpd:
            raise DomainError("days past due are negative, or above the worst of the month")
        if min(self.paid, self.debits) < 0:
            raise DomainError("negative payments or debits")


def bucket_of(dpd: int | None, status: LineStatus, *, balance: int) -> Bucket:
    """The bucket of a line.

    A line that was ended by anybody while something is owed goes on to be late or not.

    Raises:
        DomainError: the days past due are missing, or negative.
    """
    if status is LineStatus.CHARGED_OFF:
        return Bucket.CO
    if status in ENDED and balance <= 0:
        return Bucket.X
    if dpd is None or dpd < 0:
        raise DomainError("days past due are missing, or negative: this is not M0")
    starts = (M1_FROM, M2_FROM, M3_FROM, M3_PLUS_FROM)
    order = (Bucket.M0, Bucket.M1, Bucket.M2, Bucket.M3, Bucket.M3_PLUS)
    return order[sum(dpd >= start for start in starts)]


def is_active(line: Line, months: Sequence[MonthEnd]) -> bool:
    """Whether an open line had a debit or a balance in the last six full months.

    Args:
        line: As it stands.
        months: Its month ends, oldest first; only the last six count.
    """
    return line.status is LineStatus.OPEN and (_used(months) or line.balance > 0)


def active_at(months: Sequence[MonthEnd]) -> bool:
    """Whether a line was active at its last month end: the same, from its months alone.

    Args:
        months: Its month ends up to then, oldest first, at least one.
    """
    return months[-1].status is LineStatus.OPEN and _used(months)


def _used(months: Sequence[MonthEnd]) -> bool:
    recent = _running(months)[-ACTIVE_MONTHS:]
    return any(month.debits > 0 or month.balance > 0 for month in recent)


def outcome_of(lines: Sequence[Sequence[MonthEnd]], *, observed_on: date) -> Outcome:
    """The label of a person, from the month ends of all lines at this partner.

    Bad: on any line more than 90 days late, charged off or restructured by force within twelve
    months after the observation date. Good: never 30 days late in them, and each line watched
    to their end or ended without loss.

    Args:
        lines: Month ends of each line, oldest first; those outside the window are ignored.
        observed_on: Day on which the features were taken.

    Raises:
        DomainError: no line, or month ends that are not one after the other.
    """
    if not lines:
        raise DomainError("no line to judge")
    until = window_end(observed_on)
    windows = [
        [month for month in _running(months) if observed_on < month.on <= until]
        for months in lines
    ]
    if any(_is_bad(month) for window in windows for month in window):
        return Outcome.BAD
    worst = max((month.worst_dpd for window in windows for month in window), default=0)
    if worst >= INDETERMINATE_FROM:
        return Outcome.INDETERMINATE
    return Outcome.GOOD if all(map(_watched, windows)) else Outcome.UNOBSERVED


def window_end(observed_on: date) -> date:
    """Last day of the performance window: twelve months later, from a month's end to a month's.

    A month's end may be 29 February.
    """
    after = observed_on + timedelta(days=1)
    if after.day == 1:
        return add_months(after, PERFORMANCE_MONTHS) - timedelta(days=1)
    return add_months(observed_on, PERFORMANCE_MONTHS)


def first_payment_default(first_due_on: date, paid_on: date | None, today: date) -> bool | None:
    """FPD30: whether the first due was thirty days late.

    Args:
        first_due_on: The first due date of the line.
        paid_on: Day on which it was paid in full, or None.
        today: Last day that is known.

    Returns:
        None while it is neither paid nor thirty days late.

    Raises:
        DomainError: a payment after ``today``.
    """
    if paid_on is not None and paid_on > today:
        raise DomainError("a payment on a day that is not known yet")
    late = ((paid_on or today) - first_due_on).days >= FIRST_DUE_DAYS
    return late if late or paid_on is not None else None


@dataclass(frozen=True, slots=True)
class Lateness:
    """What a closed line's history comes to for a restart. Private."""

    worst_12: int
    worst_24: int
    cured_months: int | None
    """Full months since the last cure; None: never late in these months, or not cured."""


def lateness_of(months: Sequence[MonthEnd]) -> Lateness:
    """Worst arrears of 12 and 24 months, and how long ago they were cured.

    A cure is a third month end in a row with nothing past due after something was.

    Args:
        months: Month ends of one line, oldest first; the last 24 count.
    """
    recent = _running(months)[-2 * PERFORMANCE_MONTHS :]
    worst = [month.worst_dpd for month in recent]
    clean = 0
    for month in reversed(recent):
        if month.dpd > 0:
            break
        clean += 1
        if month.worst_dpd > 0:
            break
    late = any(worst)
    cured = clean - CURE_MONTHS
    return Lateness(
        worst_12=max(worst[-PERFORMANCE_MONTHS:], default=0),
        worst_24=max(worst, default=0),
        cured_months=cured if late and cured >= 0 else None,
    )


def use_of(months: Sequence[MonthEnd]) -> Use:
    """How a line is used: the first of dormant, transactor and revolver that fits.

    Dormant: no debit in six full months or more. Transactor: in each of the last six at least
    95 % of the statement balance was paid. A line with fewer than six months is neither.

    Args:
        months: Its month ends, oldest first.
    """
    recent = _running(months)[-ACTIVE_MONTHS:]
    if len(recent) == ACTIVE_MONTHS:
        if all(month.debits == 0 for month in recent):
            return Use.DORMANT
        if all(_paid_in_full(month) for month in recent):
            return Use.TRANSACTOR
    return Use.REVOLVER


def _running(months: Sequence[MonthEnd]) -> Sequence[MonthEnd]:
    """The months as they are, or DomainError unless each follows the one before."""
    for before, after in pairwise(months):
        if add_months(before.on + timedelta(days=1), 1) != after.on + timedelta(days=1):
            raise DomainError(f"month ends {before.on} and {after.on} do not follow")
    return months


def _is_bad(month: MonthEnd) -> bool:
    charged_off = month.status is LineStatus.CHARGED_OFF
    return month.worst_dpd >= M3_PLUS_FROM or charged_off or month.restructured


def _watched(window: Sequence[MonthEnd]) -> bool:
    """Whether a line was seen for the whole window, or to an end without loss."""
    if len(window) == PERFORMANCE_MONTHS:
        return True
    last = window[-1] if window else None
    return last is not None and last.status in ENDED and last.balance <= 0


def _paid_in_full(month: MonthEnd) -> bool:
    return 100 * month.paid >= _TRANSACTOR_PERCENT * max(month.statement, 0)
