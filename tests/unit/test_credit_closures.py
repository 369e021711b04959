from dataclasses import replace
from datetime import date, timedelta

import pytest

from consortium.credit.closures import (
    Anomaly,
    Cause,
    Event,
    Standing,
    at_risk,
    closed_lately,
    first_event,
)
from consortium.credit.outcomes import LineStatus
from consortium.errors import DomainError

SINCE = date(2026, 1, 31)
GOOD = Standing(
    on=date(2025, 1, 1),
    status=LineStatus.OPEN,
    limit=10_000,
    dpd=0,
    active=True,
    anomaly=None,
)


def after(days: int, **changed: object) -> Standing:
    return replace(GOOD, on=SINCE + timedelta(days=days), **changed)


def first(
    *history: Standing, days: int = 90, withdrawn: int | None = None, start: Standing = GOOD
) -> Cause | None:
    event = first_event(
        (start, *history),
        since=SINCE,
        until=SINCE + timedelta(days=days),
        withdrawn_on=None if withdrawn is None else SINCE + timedelta(days=withdrawn),
    )
    return None if event is None else event.cause


CLOSED = LineStatus.CLOSED_LENDER


def test_lender_that_ends_a_line_has_one_cause() -> None:
    assert first(after(10, status=CLOSED, dpd=1)) is Cause.ARREARS
    assert first(after(10, status=CLOSED, anomaly=Anomaly.DEVICE)) is Cause.ANOMALY
    assert first(after(10, status=CLOSED, dpd=1, anomaly=Anomaly.FRAUD)) is Cause.ANOMALY
    assert first(after(10, status=CLOSED)) is Cause.UNSTATED
    idle = replace(GOOD, active=False)
    assert first(after(10, status=CLOSED, active=False), start=idle) is Cause.INACTIVITY_CLOSE


def test_arrears_count_until_thirty_days_after_they_ended() -> None:
    late, paid = after(2, dpd=5), after(10)
    assert first(late, paid, after(39, status=CLOSED)) is Cause.ARREARS
    assert first(late, paid, after(40, status=CLOSED)) is Cause.UNSTATED


def test_freeze_is_a_closure_after_its_thirtieth_day() -> None:
    frozen = after(5, status=LineStatus.FROZEN)
    assert first(frozen, days=34) is None
    assert first(frozen, days=35) is Cause.FREEZE
    assert first(frozen, after(34)) is None
    assert first(frozen, after(35)) is Cause.FREEZE
    assert first(frozen, after(20, status=LineStatus.FROZEN, dpd=3)) is Cause.FREEZE
    event = first_event(
        (GOOD, frozen), since=SINCE, until=SINCE + timedelta(days=90), withdrawn_on=None
    )
    assert event == Event(Cause.FREEZE, SINCE + timedelta(days=5), SINCE + timedelta(days=35))


def test_limit_cut_is_a_closure_from_one_half_on() -> None:
    assert first(after(5, limit=5_001)) is None
    assert first(after(5, limit=5_000)) is Cause.LIMIT_CUT


def test_steps_of_a_cut_within_ninety_days_add_up() -> None:
    steps = after(-20, limit=7_500), after(-19, limit=7_500)
    assert first(steps[0], after(60, limit=5_000)) is Cause.LIMIT_CUT
    assert first(steps[0], after(69, limit=5_000)) is Cause.LIMIT_CUT
    assert first(steps[0], after(70, limit=5_000)) is None
    assert first(after(5, limit=20_000), after(6, limit=10_000)) is Cause.LIMIT_CUT


def test_borrower_and_default_compete_and_are_no_closure() -> None:
    for changed, cause in (
        ({"status": LineStatus.CLOSED_BORROWER}, Cause.CLOSED_BORROWER),
        ({"status": LineStatus.PAID_OUT}, Cause.PAID_OUT),
        ({"dpd": 91}, Cause.DEFAULT),
        ({"status": LineStatus.CHARGED_OFF}, Cause.DEFAULT),
        ({"status": CLOSED, "dpd": 91}, Cause.DEFAULT),
    ):
        event = first_event(
            (GOOD, after(3, **changed)),
            since=SINCE,
            until=SINCE + timedelta(days=90),
            withdrawn_on=None,
        )
        assert event is not None
        assert event.cause is cause
        assert not event.is_closure
        assert not closed_lately(event, today=event.on)


def test_earliest_event_counts_and_only_those_of_the_window() -> None:
    late, closed = after(5, dpd=91), after(9, status=CLOSED, dpd=95)
    assert first(late, closed) is Cause.DEFAULT
    cut = after(3, limit=5_000)
    assert first(cut, replace(late, limit=5_000)) is Cause.LIMIT_CUT
    assert first(after(91, status=CLOSED)) is None
    assert first(after(90, status=CLOSED)) is Cause.UNSTATED
    assert first(after(0, limit=5_000)) is None


def test_state_that_goes_on_is_no_new_event() -> None:
    gone = after(-5, status=LineStatus.PAID_OUT)
    assert first(gone, after(5, status=LineStatus.PAID_OUT, active=False)) is None
    bad = after(-5, dpd=95)
    assert first(bad, after(5, dpd=120)) is None
    closed = after(-5, status=CLOSED)
    assert first(closed, after(5, status=CLOSED, dpd=10)) is None
    frozen = after(-50, status=LineStatus.FROZEN)
    assert first(frozen, after(5, status=LineStatus.FROZEN, dpd=10)) is None


def test_withdrawn_product_is_certain_on_its_day_and_comes_before_the_rest() -> None:
    assert first(withdrawn=20) is Cause.PRODUCT_WITHDRAWN
    assert first(after(20, status=CLOSED), withdrawn=20) is Cause.PRODUCT_WITHDRAWN
    assert first(after(19, status=CLOSED), withdrawn=20) is Cause.UNSTATED
    assert first(withdrawn=91) is None


def test_bit_of_a_closure_lasts_ninety_days() -> None:
    event = Event(Cause.INACTIVITY_CLOSE, SINCE, SINCE)
    assert closed_lately(event, today=SINCE)
    assert closed_lately(event, today=SINCE + timedelta(days=89))
    assert not closed_lately(event, today=SINCE + timedelta(days=90))
    assert not closed_lately(event, today=SINCE - timedelta(days=1))
    assert not closed_lately(None, today=SINCE)


def test_only_open_lines_that_are_not_m3_plus_are_at_risk() -> None:
    assert at_risk(replace(GOOD, dpd=90))
    assert not at_risk(replace(GOOD, dpd=91))
    assert not at_risk(replace(GOOD, status=LineStatus.FROZEN))


def test_history_out_of_order_or_without_a_beginning_is_refused() -> None:
    with pytest.raises(DomainError):
        first(after(5), after(5))
    with pytest.raises(DomainError):
        first(start=after(1))
    with pytest.raises(DomainError):
        replace(GOOD, dpd=-1)
