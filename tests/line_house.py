"""Month ends and standings of lines that the credit tests share."""

from dataclasses import replace
from datetime import date, timedelta

from consortium.credit.outcomes import LineStatus, MonthEnd

MONTH = MonthEnd(
    on=date(2026, 2, 28),
    dpd=0,
    worst_dpd=0,
    status=LineStatus.OPEN,
    restructured=False,
    balance=1_000,
    statement=1_000,
    paid=1_000,
    debits=500,
)


def months(count: int, *, start: tuple[int, int] = (2024, 1), **same: object) -> list[MonthEnd]:
    """Month ends one after the other, from a year and month on."""
    first = start[0] * 12 + start[1] - 1
    ends = [
        date((first + k + 1) // 12, (first + k + 1) % 12 + 1, 1) - timedelta(days=1)
        for k in range(count)
    ]
    return [replace(MONTH, on=end, **same) for end in ends]
