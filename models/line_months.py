"""Line-months: from a partner's month ends to the bins of the closure model (credit 4.14).

Bins are public and fixed here, for all partners alike. A quarter's state (the *landmark*) is
followed for three months; four quarters are the twelve line-months that a person may have.
What can be known ahead moves along: an idle line is idle a month longer, and older. Of several
lines the one with the largest balance counts (credit 2.1). Pure; the reader of a partner's
table is the node's.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from consortium.credit.outcomes import M3_PLUS_FROM, LineStatus
from models.closure_bins import (
    BUCKET_FROM,
    CASH,
    CLOSURES,
    FEATURES,
    INACTIVE,
    ON_BOOK,
    STEPS,
    UTILISATION,
)
from models.hazard import HazardRows

Float = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.uint8]
Labels = NDArray[np.uint8]

LANDMARKS = 4
WINDOW_MONTHS = LANDMARKS * STEPS
UNKNOWN = -1
"""Of a limit, a flag, a month of a withdrawal: there is none, or it is not known."""

STATUSES = tuple(LineStatus)
_OPEN, _FROZEN, _BY_LENDER, _BY_BORROWER, _PAID, _CHARGED_OFF = range(len(STATUSES))

_CASH_MONTHS = 6
_IDLE_FROM = 6
_CUT_MONTHS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LineTable:
    """Month ends of lines, lines one after the other, oldest month first. Private.

    Shape (rows,) each. Months are numbers: 12 times the year and the month from 0.
    """

    line: Integers
    person: Integers
    """A number of the person; the same for all of a person's lines."""
    month: Integers
    status: Integers
    """Place in ``STATUSES``."""
    dpd: Integers
    limit: Integers
    """Minor units, or ``UNKNOWN``."""
    balance: Integers
    debits: Integers
    cash: Integers
    """Of the debits; or ``UNKNOWN``."""
    inactive: Integers
    """Months without use as the partner counts them, or ``UNKNOWN``: as the table shows."""
    device: Integers
    """0, 1 or ``UNKNOWN``."""
    anomaly: Integers
    """1: the closing record of this month names an anomaly."""
    withdrawn: Integers
    """Month in which the product is withdrawn, as announced by this month; or ``UNKNOWN``."""
    opened: Integers

    def __len__(self) -> int:
        return self.line.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ahead:
    """Lines at one landmark and the months after it. Private."""

    row: Integers
    """Place in the table, shape (lines,)."""
    person: Integers
    codes: Codes
    """Shape (lines, ``STEPS``, features)."""
    withdrawn: Labels
    """In which month ahead the product is withdrawn; 0: not in these."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """The same with what came of them."""

    ahead: Ahead
    cause: Codes
    """What ended the line in each month ahead, 0: nothing; shape (lines, ``STEPS``)."""
    seen: Flags
    """Whether the line came into the month and the month is known; shape as ``cause``."""

    @property
    def closed(self) -> Labels:
        """Whether its lender ended it within the months ahead."""
        within = (self.cause >= 1) & (self.cause <= CLOSURES) & self.seen
        found: Labels = np.logical_or.reduce(within, axis=1).astype(np.uint8)
        return found

    @property
    def known(self) -> Flags:
        """Whether it was followed to the end: of the months ahead, or of the line."""
        ended = np.logical_or.reduce((self.cause > 0) & self.seen, axis=1)
        found: Flags = ended | np.logical_and.reduce(self.seen, axis=1)
        return found


def last_month(table: LineTable) -> int:
    """Latest month of the table; -1 if it has no row."""
    return int(table.month.max()) if len(table) else -1


def at(table: LineTable, month: int, *, one_each: bool = True) -> Ahead:
    """Lines whose closure is predicted at the end of a month: open, and not M3+.

    Args:
        table: Private.
        month: The landmark.
        one_each: Of a person's lines only that with the largest balance, then the oldest.
    """
    here = (table.month == month) & (table.status == _OPEN) & (table.dpd < M3_PLUS_FROM)
    rows = np.flatnonzero(here)
    if one_each:
        order = np.lexsort((rows, table.opened[rows], -table.balance[rows], table.person[rows]))
        rows = rows[order]
        rows = np.sort(rows[_firsts(table.person[rows])])
    until = table.withdrawn[rows] - month
    ends = (table.withdrawn[rows] != UNKNOWN) & (until >= 1) & (until <= STEPS)
    return Ahead(
        row=rows,
        person=table.person[rows],
        codes=_codes(table, rows, month),
        withdrawn=np.where(ends, until, 0).astype(np.uint8),
    )


def follow(table: LineTable, ahead: Ahead) -> Followed:
    """What came of lines in the months after their landmark."""
    causes = causes_of(table)
    shape = (ahead.row.size, STEPS)
    cause, seen = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.bool_)
    running = np.ones(ahead.row.size, dtype=np.bool_)
    for step in range(1, STEPS + 1):
        place = np.minimum(ahead.row + step, len(table) - 1)
        same = (table.line[place] == table.line[ahead.row]) & (
            table.month[place] == table.month[ahead.row] + step
        )
        running &= same & (ahead.withdrawn != step)
        seen[:, step - 1] = running
        cause[:, step - 1] = np.where(running, causes[place], 0)
        running &= causes[place] == 0
    return Followed(ahead=ahead, cause=cause, seen=seen)


def training_rows(table: LineTable, last: int) -> tuple[HazardRows, Integers]:
    """The line-months of the twelve months up to ``last``, and the person of each run of rows.

    A month in which a product was withdrawn, and all after it, are left out: nothing about
    behaviour can be learned from them.
    """
    parts = [
        follow(table, at(table, last - STEPS * number)) for number in range(LANDMARKS, 0, -1)
    ]
    places = [np.nonzero(part.seen) for part in parts]
    steps = list(zip(parts, places, strict=True))
    person = np.concatenate([part.ahead.person[place[0]] for part, place in steps])
    codes = np.concatenate([part.ahead.codes[place] for part, place in steps])
    cause = np.concatenate([part.cause[place] for part, place in steps])
    order = np.argsort(person, kind="stable")
    person = person[order]
    first = np.flatnonzero(_firsts(person))
    starts = np.append(first, person.size).astype(np.int64)
    rows = HazardRows(np.ascontiguousarray(codes[order]), cause[order], starts)
    return rows, person[first]


def causes_of(table: LineTable) -> Codes:
    """What ended each line in each month, 0: nothing; by month ends (credit 2.2).

    A freeze counts in its first month if the next month end finds it frozen or ended; a cut,
    if the limit is at most half of the highest of three months. Freezes, cuts and ends
    without a named cause count as arrears, inactivity or, if neither is there, anomaly.
    """
    same = _same_line(table)
    before = np.where(same, np.arange(len(table)) - 1, np.arange(len(table)))
    late = (table.dpd > 0) | (same & (table.dpd[before] > 0))
    idle = idle_months(table)[before] >= _IDLE_FROM
    named = table.anomaly > 0
    by_lender = np.where(named, 2, np.where(late, 1, np.where(idle, 3, 2)))
    status, earlier = table.status, np.where(same, table.status[before], _OPEN)
    first = status != earlier
    after = np.append(np.where(same[1:], status[1:], _OPEN), _OPEN)
    frozen = (status == _FROZEN) & first & (after != _OPEN)
    ended = (status == _BY_LENDER) & first
    left = np.isin(status, (_BY_BORROWER, _PAID)) & first
    default = (status == _CHARGED_OFF) | (table.dpd >= M3_PLUS_FROM)
    cut = _is_cut(table, same) & (status == _OPEN)
    cause = np.where(ended | frozen | cut, by_lender, 0)
    return np.where(left | default, CLOSURES + 1, cause).astype(np.uint8)


def idle_months(table: LineTable) -> Integers:
    """Months without a debit or a balance up to each month end, this one included."""
    idle = (table.debits == 0) & (table.balance <= 0)
    run = np.zeros(len(table), dtype=np.int64)
    places = np.arange(len(table))
    # The last month of use, or the first row of the line less one, at each row.
    starts = ~_same_line(table)
    anchor = np.where(~idle, places, np.where(starts, places - 1, -1))
    anchor = np.maximum.accumulate(anchor) if len(table) else anchor
    run = np.where(idle, places - anchor, 0)
    return np.where(table.inactive == UNKNOWN, run, np.where(idle, table.inactive, 0))


def _codes(table: LineTable, rows: Integers, month: int) -> Codes:
    """Bins of each month ahead, shape (lines, ``STEPS``, features)."""
    codes = np.zeros((rows.size, STEPS, len(FEATURES)), dtype=np.uint8)
    bucket = np.searchsorted(BUCKET_FROM, table.dpd[rows], side="right")
    idle = idle_months(table)[rows]
    age = month - table.opened[rows]
    codes[:, :, 2] = _utilisation(table, rows)[:, None]
    codes[:, :, 3] = _cash(table, rows)[:, None]
    codes[:, :, 4] = (table.device[rows] + 1)[:, None]
    codes[:, :, 5] = (table.withdrawn[rows] != UNKNOWN)[:, None]
    for step in range(STEPS):
        codes[:, step, 0] = bucket * STEPS + step
        longer = np.where(idle > 0, idle + step + 1, 0)
        codes[:, step, 1] = np.searchsorted(INACTIVE, longer, side="right")
        codes[:, step, 6] = np.searchsorted(ON_BOOK, age + step + 1, side="right")
    return codes


def _utilisation(table: LineTable, rows: Integers) -> Integers:
    limit = table.limit[rows]
    share = table.balance[rows] / np.maximum(limit, 1)
    bins = np.where(share <= 0, 0, np.searchsorted(UTILISATION[1:], share, side="right") + 1)
    return np.where(limit > 0, bins + 1, 0)


def _cash(table: LineTable, rows: Integers) -> Integers:
    """Cash of the debits of six months; a line without debits has none to tell."""
    debits, cash = np.zeros(rows.size), np.zeros(rows.size)
    unknown = np.zeros(rows.size, dtype=np.bool_)
    for back in range(_CASH_MONTHS):
        place = np.maximum(rows - back, 0)
        same = table.line[place] == table.line[rows]
        debits += np.where(same, table.debits[place], 0)
        cash += np.where(same, table.cash[place], 0)
        unknown |= same & (table.cash[place] == UNKNOWN)
    bins = np.searchsorted(CASH, cash / np.maximum(debits, 1), side="right") + 1
    return np.where(unknown | (debits <= 0), 0, bins)


def _is_cut(table: LineTable, same: Flags) -> Flags:
    """Whether the limit fell to at most half of the highest of the months before."""
    highest = np.zeros(len(table), dtype=np.int64)
    running, fell = same.copy(), np.zeros(len(table), dtype=np.bool_)
    for back in range(1, _CUT_MONTHS + 1):
        earlier = np.roll(table.limit, back)
        if back == 1:
            fell = same & (table.limit != UNKNOWN) & (table.limit < earlier)
        highest = np.where(running, np.maximum(highest, earlier), highest)
        running &= np.roll(same, back)
    return fell & (2 * table.limit <= highest)


def _same_line(table: LineTable) -> Flags:
    """Whether the row before is the month before of the same line."""
    same = np.zeros(len(table), dtype=np.bool_)
    if len(table):
        same[1:] = (table.line[1:] == table.line[:-1]) & (
            table.month[1:] == table.month[:-1] + 1
        )
    return same


def _firsts(person: Integers) -> Flags:
    """First row of each run of the same person."""
    first = np.ones(person.size, dtype=np.bool_)
    first[1:] = person[1:] != person[:-1]
    return first


def rows_where(rows: HazardRows, kept: Flags) -> HazardRows:
    """Those of the persons chosen, shape (persons,)."""
    lengths = np.diff(rows.starts)
    chosen = np.repeat(kept, lengths)
    starts = np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
    return HazardRows(rows.codes[chosen], rows.causes[chosen], starts)


def table_where(table: LineTable, kept: Flags) -> LineTable:
    """The rows chosen, shape (rows,)."""
    return LineTable(**{one.name: getattr(table, one.name)[kept] for one in fields(LineTable)})
