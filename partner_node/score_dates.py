"""When a consent ends, as a desk writes it."""

from datetime import UTC, date, datetime

UNREADABLE = 1
"""1970: what stands for a date that cannot be read."""


def expires_of(text: str) -> int:
    """Seconds since 1970 of a date (its end, UTC), of seconds, or 0 of nothing.

    What cannot be read is 1970: the consent is then refused as expired, never taken as valid.
    """
    if not text:
        return 0
    if text.isdecimal():
        return int(text)
    try:
        day = date.fromisoformat(text[:10])
    except ValueError:
        return UNREADABLE
    return int(datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC).timestamp())
