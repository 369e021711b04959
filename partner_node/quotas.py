"""What others may ask of this node, counted durably in its own database (protocol 6.6, 7.8).

The arithmetic is ``consortium.scoring.quota``'s; here the figures are read, put to it and
written, inside the transaction of the request that they are for.
"""

from datetime import UTC, datetime

from consortium.ids import PartnerId
from consortium.inquiries import Inquiry, Purpose
from consortium.manifest import ScoringPolicy
from consortium.scoring import quota
from partner_node.request_rows import Count, RequestRows


def charge(rows: RequestRows, inquiry: Inquiry, policy: ScoringPolicy, *, now_ms: int) -> None:
    """Take the persons from the asker's quotas, or raise ScoreRefusalError (S07)."""
    asker, persons = inquiry.requester, inquiry.persons
    if inquiry.purpose is Purpose.JOINT_SCORE:
        limits = (policy.scores_per_second, policy.scores_per_day)
        take_flowing(rows, asker, "score", persons, limits=limits, now_ms=now_ms)
        return
    # A study is of one release; what is asked of closures is asked each month anew (7.17).
    closures = inquiry.purpose is Purpose.CLOSURE_SIGNAL
    part = _month_of(now_ms) if closures else inquiry.model
    kind = f"{inquiry.purpose.value}:{part}"
    most = policy.studies_per_release
    take_total(rows, asker, kind, persons, most=most)


def _month_of(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m")


def take_flowing(  # noqa: PLR0913 - a quota's place, its terms and the time
    rows: RequestRows,
    asker: PartnerId,
    kind: str,
    persons: int,
    *,
    limits: tuple[int, int],
    now_ms: int,
    burst: int = 0,
) -> None:
    """Take from a quota of so many per second and per day, or raise (S07)."""
    rate, most = limits
    burst = burst or quota.burst_of(rate)
    kept = rows.count(asker, kind)
    if kept is None:
        bucket, day = quota.full(burst, now_ms=now_ms), quota.DayCount(0, 0)
    else:
        bucket, day = quota.Bucket(kept.level, kept.at), quota.DayCount(kept.day, kept.used)
    bucket = quota.take(bucket, persons, rate=rate, burst=burst, now_ms=now_ms)
    day = quota.take_day(day, persons, most=most, now_ms=now_ms)
    rows.set_count(asker, kind, Count(bucket.level, bucket.at, day.day, day.used))


def take_total(
    rows: RequestRows, asker: PartnerId, kind: str, persons: int, *, most: int
) -> None:
    """Take from a quota that no time fills again, or raise (S07)."""
    kept = rows.count(asker, kind)
    used = quota.take_total(kept.used if kept else 0, persons, most=most)
    rows.set_count(asker, kind, Count(0, rows.now, 0, used))
