"""How often one asker may be answered: a bucket for seconds, a counter for days (protocol 7.8).

Pure values: whoever stores them takes and stores in one transaction, before the answer
leaves. Integers only, so no rounding ever grants one more.
"""

from dataclasses import dataclass

from consortium.errors import DomainError, ScoreRefusal, ScoreRefusalError
from consortium.inquiries import LARGEST_BATCH

_MILLI = 1_000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """What may still be taken at once."""

    level: int
    """Thousandths of a person."""
    at: int
    """Milliseconds since 1970, UTC, of the last taking."""


@dataclass(frozen=True, slots=True)
class DayCount:
    """What was taken on one day."""

    day: int
    """Days since 1970, UTC."""
    used: int


def burst_of(rate: int) -> int:
    """Most that a bucket of ``rate`` per second holds: a second's worth, or one full batch."""
    return max(rate, LARGEST_BATCH)


def full(burst: int, *, now_ms: int) -> Bucket:
    """The bucket of an asker that was never seen."""
    return Bucket(burst * _MILLI, now_ms)


def take(bucket: Bucket, persons: int, *, rate: int, burst: int, now_ms: int) -> Bucket:
    """The bucket after ``persons`` more, or ScoreRefusalError (S07).

    Over any stretch of time no more than ``burst + rate·seconds`` are taken. A clock that
    goes back fills nothing.

    Args:
        bucket: As stored.
        persons: At least 1.
        rate: Persons per second that flow in.
        burst: Persons that it holds.
        now_ms: Milliseconds since 1970, UTC.
    """
    _check(persons)
    waited = max(0, now_ms - bucket.at)
    level = min(bucket.level + waited * rate, burst * _MILLI)
    if persons * _MILLI > level:
        raise ScoreRefusalError(ScoreRefusal.QUOTA, "persons per second")
    return Bucket(level - persons * _MILLI, max(bucket.at, now_ms))


def take_day(count: DayCount, persons: int, *, most: int, now_ms: int) -> DayCount:
    """The counter after ``persons`` more, or ScoreRefusalError (S07).

    Args:
        count: As stored; ``DayCount(0, 0)`` for an asker that was never seen.
        persons: At least 1.
        most: Persons per day (UTC).
        now_ms: Milliseconds since 1970, UTC.
    """
    _check(persons)
    day = max(count.day, now_ms // _DAY_MS)
    used = (count.used if day == count.day else 0) + persons
    if used > most:
        raise ScoreRefusalError(ScoreRefusal.QUOTA, "persons per day")
    return DayCount(day, used)


def take_total(used: int, persons: int, *, most: int) -> int:
    """The sum after ``persons`` more, or ScoreRefusalError (S07).

    For what has no time: the studies of one release, the first load of customers.
    """
    _check(persons)
    if used + persons > most:
        raise ScoreRefusalError(ScoreRefusal.QUOTA, "persons in all")
    return used + persons


def _check(persons: int) -> None:
    if persons < 1:
        raise DomainError(f"{persons} persons")
