"""One roster for a person, one retry, and quotas (protocol 7.8, 7.9)."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import pytest

from consortium.errors import DomainError, ScoreRefusalError
from consortium.ids import PartnerId, RequestId
from consortium.scoring.guard import (
    DAY_MS,
    MEMORY_MS,
    RETRY_MS,
    Asked,
    Seen,
    asked_of,
    decide,
    forgotten,
    seen_key,
)
from consortium.scoring.quota import (
    Bucket,
    DayCount,
    burst_of,
    full,
    take,
    take_day,
    take_total,
)
from tests.scoring_house import NOW_MS, House, request_id, token_of
from tests.secagg_house import digest

A, B, C, D = (digest(name) for name in "ABCD")


def refused(text: str) -> AbstractContextManager[object]:
    return pytest.raises(ScoreRefusalError, match=f"S10.*{text}")


@dataclass
class Responder:
    """What one responder answered for one asker and person."""

    history: list[Seen] = field(default_factory=list)
    number: int = 0

    def ask(self, roster: str, at: int, retry_of: RequestId | None = None) -> RequestId:
        self.number += 1
        request = request_id(self.number)
        asked = Asked(request=request, roster=digest(roster), retry_of=retry_of)
        decide(self.history, asked, now_ms=at)
        self.history.append(Seen(request=request, roster=digest(roster), at_ms=at))
        return request


def test_same_roster_is_answered_again_and_again() -> None:
    responder = Responder()
    for at in range(0, 2 * DAY_MS, DAY_MS // 7):
        responder.ask("A", at)


def test_second_roster_for_the_same_person_is_refused_for_a_day() -> None:
    responder = Responder()
    responder.ask("A", 0)
    for at in (1, RETRY_MS, DAY_MS - 1):
        with refused("a second roster"):
            responder.ask("B", at)
    responder.ask("B", DAY_MS)


def test_one_retry_within_a_minute_may_leave_the_silent_out() -> None:
    responder = Responder()
    first = responder.ask("A", 0)
    responder.ask("B", RETRY_MS, retry_of=first)
    responder.ask("B", RETRY_MS + 5)


def test_retry_that_comes_late_or_of_another_request_is_refused() -> None:
    responder = Responder()
    first = responder.ask("A", 0)
    with refused("a second roster"):
        responder.ask("B", RETRY_MS + 1, retry_of=first)
    with refused("a second roster"):
        responder.ask("B", 1, retry_of=request_id(99))
    second = responder.ask("A", 2)
    with refused("a second roster"):
        responder.ask("B", 3, retry_of=first)
    responder.ask("B", 3, retry_of=second)


def test_second_retry_is_refused_also_as_a_retry_of_the_retry() -> None:
    responder = Responder()
    first = responder.ask("A", 0)
    retry = responder.ask("B", 1, retry_of=first)
    for earlier in (first, retry):
        with refused("a second retry"):
            responder.ask("C", 2, retry_of=earlier)
    again = responder.ask("B", 3)
    with refused("a second retry"):
        responder.ask("C", 4, retry_of=again)


def test_first_roster_after_its_retry_is_refused() -> None:
    # Otherwise a sum that was incomplete at first could be completed beside the retry's.
    responder = Responder()
    first = responder.ask("A", 0)
    retry = responder.ask("B", 1, retry_of=first)
    for earlier in (None, first, retry):
        with refused("a second retry"):
            responder.ask("A", 2, retry_of=earlier)


def test_retry_of_a_request_that_never_arrived_here_is_a_first_one() -> None:
    responder = Responder()
    responder.ask("B", 0, retry_of=request_id(99))
    with refused("a second roster"):
        responder.ask("A", 1)


def test_fourth_roster_in_30_days_is_refused_even_as_a_retry() -> None:
    responder = Responder()
    for day, roster in enumerate("ABC"):
        last = responder.ask(roster, day * DAY_MS)
    with refused("a fourth roster"):
        responder.ask("D", 2 * DAY_MS + 1, retry_of=last)
    with refused("a fourth roster"):
        responder.ask("D", MEMORY_MS - 1)
    responder.ask("B", MEMORY_MS - 1)
    responder.ask("D", MEMORY_MS + DAY_MS)


def test_clock_that_went_back_allows_nothing_more() -> None:
    responder = Responder()
    responder.ask("A", 10 * DAY_MS)
    with refused("a second roster"):
        responder.ask("B", 0)


def test_of_each_roster_the_last_answer_suffices() -> None:
    whole = [Seen(request=request_id(n), roster=A, at_ms=n) for n in (1, 2, 3)]
    last = whole[-1]
    for history in (whole, [last]):
        decide(history, Asked(request=request_id(9), roster=B, retry_of=last.request), now_ms=4)


def test_key_of_the_memory_shows_no_token_and_differs_by_asker() -> None:
    keys = {
        seen_key(PartnerId(asker), token_of(number))
        for asker in ("bank_a", "bank_b")
        for number in (1, 2)
    }
    assert len(keys) == 4
    assert not any(token_of(1).hex() in key for key in keys)


def test_rule_sees_the_roster_and_the_request_that_is_retried() -> None:
    house = House(4)
    request, secrets = house.seal(house.ids[0])
    asked = asked_of(secrets.inquiry)
    smaller, other = house.seal(
        house.ids[0], roster=house.ids[:3], retry_of=asked.request, request=request_id(5)
    )
    assert asked_of(other.inquiry).retry_of == asked.request
    assert asked_of(other.inquiry).roster != asked.roster
    assert request.inquiry != smaller.inquiry


def test_request_ids_are_kept_until_no_deadline_can_pass() -> None:
    known = [(request_id(1), NOW_MS), (request_id(2), NOW_MS + 1)]
    assert forgotten(known, now_ms=NOW_MS + 60_000) == []
    assert forgotten(known, now_ms=NOW_MS + 60_001) == [request_id(1)]


def quota(*, allowed: bool) -> AbstractContextManager[object]:
    return nullcontext() if allowed else pytest.raises(ScoreRefusalError, match="S07")


def test_bucket_holds_a_second_or_a_batch_and_fills_at_its_rate() -> None:
    assert (burst_of(5), burst_of(1_000)) == (256, 1_000)
    bucket = take(full(10, now_ms=0), 10, rate=5, burst=10, now_ms=0)
    with quota(allowed=False):
        take(bucket, 1, rate=5, burst=10, now_ms=199)
    bucket = take(bucket, 1, rate=5, burst=10, now_ms=200)
    with quota(allowed=False):
        take(bucket, 11, rate=5, burst=10, now_ms=10**9)
    assert take(bucket, 10, rate=5, burst=10, now_ms=10**9) == Bucket(0, 10**9)


def test_clock_that_goes_back_fills_no_bucket() -> None:
    empty = take(full(10, now_ms=1_000), 10, rate=5, burst=10, now_ms=1_000)
    with quota(allowed=False):
        take(empty, 1, rate=5, burst=10, now_ms=0)
    some = take(Bucket(5_000, 1_000), 5, rate=5, burst=10, now_ms=0)
    with quota(allowed=False):
        take(some, 1, rate=5, burst=10, now_ms=1_000)


def test_day_is_counted_until_its_end_and_no_earlier_day_again() -> None:
    count = take_day(DayCount(0, 0), 9, most=10, now_ms=DAY_MS)
    assert count == DayCount(1, 9)
    with quota(allowed=False):
        take_day(count, 2, most=10, now_ms=2 * DAY_MS - 1)
    with quota(allowed=False):
        take_day(count, 2, most=10, now_ms=0)
    assert take_day(count, 2, most=10, now_ms=2 * DAY_MS) == DayCount(2, 2)


def test_total_is_never_exceeded() -> None:
    assert take_total(3, 2, most=5) == 5
    with quota(allowed=False):
        take_total(3, 3, most=5)


def test_nobody_is_not_a_taking() -> None:
    for persons in (0, -5):
        with pytest.raises(DomainError):
            take(full(10, now_ms=0), persons, rate=5, burst=10, now_ms=0)
        with pytest.raises(DomainError):
            take_day(DayCount(0, 0), persons, most=10, now_ms=0)
        with pytest.raises(DomainError):
            take_total(0, persons, most=10)
