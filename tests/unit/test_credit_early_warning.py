import dataclasses
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.early_warning import (
    NO_FLAG,
    Event,
    Flag,
    Level,
    Observed,
    Sign,
    flag_of,
    median_lead,
    precision_at,
    signs_of,
)
from consortium.errors import DomainError

TODAY = date(2026, 6, 1)
CALM = Observed(
    balance=500,
    balance_before=500,
    limit=1_000,
    limit_before=1_000,
    due=100,
    paid=100,
    new_credit_on=None,
    salary_expected=True,
    salary_seen=True,
    closed_elsewhere=None,
)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.mark.parametrize(
    ("changed", "signs"),
    [
        ({}, ()),
        ({"balance": 900, "balance_before": 900}, ()),
        ({"balance": 901, "balance_before": 901}, (Sign.USED_UP,)),
        ({"balance": 650}, ()),
        ({"balance": 651}, (Sign.RISING,)),
        ({"balance": 1_000}, (Sign.USED_UP, Sign.RISING)),
        ({"limit": None}, ()),
        ({"limit_before": 0, "balance": 651}, ()),
        ({"paid": 0}, ()),
        ({"paid": 1}, (Sign.PART_PAID,)),
        ({"paid": 99}, (Sign.PART_PAID,)),
        ({"new_credit_on": ago(59)}, (Sign.NEW_CREDIT,)),
        ({"new_credit_on": ago(60)}, ()),
        ({"new_credit_on": ago(-1)}, ()),
        ({"salary_seen": False}, (Sign.NO_SALARY,)),
        ({"salary_seen": False, "salary_expected": False}, ()),
        ({"closed_elsewhere": True}, (Sign.CLOSED_ELSEWHERE,)),
        ({"closed_elsewhere": False}, ()),
    ],
)
def test_sign_shows_just_beyond_its_bound(
    changed: dict[str, object], signs: tuple[Sign, ...]
) -> None:
    assert signs_of(replace(CALM, **changed), today=TODAY) == signs


def test_without_consent_there_is_no_bit_of_a_closure_elsewhere() -> None:
    assert Sign.CLOSED_ELSEWHERE not in signs_of(CALM, today=TODAY)


def test_nothing_here_can_change_a_price_or_a_limit() -> None:
    names = {f.name for kind in (Event, Flag) for f in dataclasses.fields(kind)}
    assert names == {"sign", "on", "level", "signs", "since", "expires_on"}


def test_level_is_the_number_of_kinds_within_sixty_days() -> None:
    events = [Event(Sign.USED_UP, ago(10)), Event(Sign.USED_UP, ago(5))]
    assert flag_of(events, today=TODAY).level is Level.WATCH
    events.append(Event(Sign.PART_PAID, ago(3)))
    assert flag_of(events, today=TODAY).level is Level.CALL
    events.append(Event(Sign.NO_SALARY, ago(62)))
    found = flag_of(events, today=TODAY)
    assert found.level is Level.RESTRUCTURE_TALK
    assert found.signs == (Sign.USED_UP, Sign.PART_PAID, Sign.NO_SALARY)
    events[-1] = Event(Sign.NO_SALARY, ago(63))
    assert flag_of(events, today=TODAY).level is Level.CALL
    every = [Event(sign, TODAY) for sign in Sign]
    assert flag_of(every, today=TODAY).level is Level.RESTRUCTURE_TALK


def test_flag_expires_after_ninety_days_without_an_event() -> None:
    event = Event(Sign.USED_UP, ago(90))
    found = flag_of([event], today=TODAY)
    assert (found.level, found.expires_on) == (Level.WATCH, TODAY)
    assert flag_of([Event(Sign.USED_UP, ago(91))], today=TODAY) == NO_FLAG
    again = [Event(Sign.USED_UP, ago(150)), event]
    assert flag_of(again, today=TODAY).since == ago(150)
    apart = [Event(Sign.USED_UP, ago(181)), event]
    assert flag_of(apart, today=TODAY).since == ago(90)


def test_events_ahead_are_not_known_yet() -> None:
    assert flag_of([Event(Sign.USED_UP, ago(-1))], today=TODAY) == NO_FLAG
    assert flag_of([], today=TODAY) == NO_FLAG


@given(
    st.lists(st.builds(Event, st.sampled_from(Sign), st.integers(-9, 200).map(ago)), max_size=9)
)
def test_flag_does_not_depend_on_the_order_of_events(events: list[Event]) -> None:
    found = flag_of(events, today=TODAY)
    assert found == flag_of(events[::-1], today=TODAY)
    assert (found.level is Level.NONE) == all(e.on > TODAY or e.on < ago(90) for e in events)


# --- measures ---------------------------------------------------------------------------------


def test_lead_is_counted_from_the_first_flag_and_missing_ones_are_zero() -> None:
    pairs = [(ago(90), TODAY), (ago(30), TODAY), (None, TODAY)]
    assert median_lead(pairs) == 30
    assert median_lead([*pairs, (ago(40), TODAY)]) == 35
    assert median_lead([(ago(-5), TODAY)]) == 0
    assert median_lead([]) is None


def test_precision_counts_the_highest_ranks_and_ties_in_proportion() -> None:
    lines = [(3, True), (2, True), (2, False), *[(0, False)] * 17]
    found = precision_at(lines, share=Fraction(1, 20))
    assert found is not None
    assert (found.alerted, found.base, found.lift) == (1, Fraction(1, 10), 10)
    tied = precision_at(lines, share=Fraction(1, 10))
    assert tied is not None
    assert tied.alerted == Fraction(3, 4)
    nobody = precision_at([(1, False)], share=Fraction(1))
    assert nobody is not None
    assert nobody.lift is None
    assert precision_at([], share=Fraction(1, 20)) is None
    for share in (Fraction(0), Fraction(3, 2)):
        with pytest.raises(DomainError):
            precision_at(lines, share=share)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1))
def test_alerting_everybody_has_the_base_rate(lines: list[tuple[int, bool]]) -> None:
    found = precision_at(lines, share=Fraction(1))
    assert found is not None
    assert found.alerted == found.base
