from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import pytest

from consortium.credit.ladder import (
    PAYMENTS,
    RUNG_PERCENT,
    TABLE,
    Exit,
    Ladder,
    State,
    Step,
    offered,
    step,
)
from consortium.errors import OutOfOrderError

START = date(2026, 1, 1)
LENGTH = 12
Walk = tuple[tuple[Step, Ladder], ...]


def walks(first_day: int, gap: int, length: int = LENGTH) -> Iterator[Walk]:
    """Every sequence of up to ``length`` events: each that is refused ends its branch.

    A refused event leaves the ladder as it was, so whatever follows it is walked as well.
    """

    def go(ladder: Ladder, done: Walk) -> Iterator[Walk]:
        if len(done) == length:
            yield done
            return
        on = START + timedelta(days=first_day + gap * len(done))
        ended = True
        for event in Step:
            try:
                after = step(ladder, event, on=on)
            except OutOfOrderError:
                continue
            ended = False
            yield from go(after, (*done, (event, after)))
        if ended:
            yield done

    yield from go(offered(START), ())


TIMES = [(1, 30), (30, 30), (31, 30), (5, 61), (5, 184)]


@pytest.mark.parametrize(("first_day", "gap"), TIMES)
def test_no_sequence_of_twelve_events_skips_a_rung_or_forgives_a_miss(
    first_day: int, gap: int
) -> None:
    seen = 0
    for walk in walks(first_day, gap):
        ladders = [offered(START), *(ladder for _, ladder in walk)]
        for (before, after), (event, _) in zip(pairwise(ladders), walk, strict=True):
            _is_lawful(before, event, after)
        _obeys_history(walk)
        seen += 1
    assert seen >= (1 if first_day > 30 else 2**6)


def _is_lawful(before: Ladder, event: Step, after: Ladder) -> None:
    up = after.rung - before.rung
    assert up in (-1, 0, 1)
    if up == 1:
        assert (event, before.paid) == (Step.PAID_ON_TIME, PAYMENTS - 1)
        assert after.paid == 0
    if up == -1:
        assert event is Step.MISSED
    if event is Step.MISSED:
        assert not after.may_draw
        assert after.paid == 0
    if after.state is State.GRADUATED:
        assert before.rung == len(RUNG_PERCENT) - 1
        assert before.paid == PAYMENTS - 1
    assert (after.exit is None) is (after.state is not State.EXITED)
    assert 0 <= after.paid < PAYMENTS


def _obeys_history(walk: Walk) -> None:
    """Rung and payments counted again from the events alone, without the machine."""
    rung, paid, miss = 0, 0, None
    for event, ladder in walk:
        if event is Step.PAID_ON_TIME:
            paid += 1
            if paid == PAYMENTS:
                rung, paid = min(rung + 1, len(RUNG_PERCENT) - 1), 0
        elif event is Step.MISSED:
            months = None
            if miss is not None:
                whole = (ladder.last_on.year - miss.year) * 12 + ladder.last_on.month
                months = whole - miss.month - (ladder.last_on.day < miss.day)
            again = months is not None and months < 6
            assert (ladder.exit is Exit.COUNSELLING) is (again and rung == 0)
            rung, paid, miss = max(0, rung - again), 0, ladder.last_on
        elif event is Step.CURED:
            paid = 0
        if ladder.state in (State.ACTIVE, State.FROZEN):
            assert (ladder.rung, ladder.paid) == (rung, paid)


def test_walks_reach_every_line_of_the_table_and_every_exit() -> None:
    reached: set[tuple[State, Step]] = set()
    exits: set[Exit | None] = set()
    for first_day in (1, 31):
        for walk in walks(first_day, 30):
            ladders = [offered(START), *(ladder for _, ladder in walk)]
            reached |= {
                (before.state, event)
                for before, (event, _) in zip(ladders[:-1], walk, strict=True)
            }
            exits |= {ladder.exit for ladder in ladders}
    top = replace(offered(START), state=State.GRADUATED, rung=4)
    assert step(top, Step.WITHDRAW, on=START).exit is Exit.WITHDRAWN
    assert reached | {(State.GRADUATED, Step.WITHDRAW)} == set(TABLE)
    assert exits == {None, *Exit}


def active(rung: int, paid: int, *, last_miss: date | None = None) -> Ladder:
    return Ladder(
        state=State.ACTIVE,
        rung=rung,
        paid=paid,
        last_miss=last_miss,
        last_on=START,
        exit=None,
    )


@pytest.mark.parametrize("state", State)
def test_pair_that_is_not_in_the_table_is_refused_and_changes_nothing(state: State) -> None:
    ladder = replace(active(2, 1), state=state)
    for event in Step:
        if (state, event) not in TABLE:
            with pytest.raises(OutOfOrderError):
                step(ladder, event, on=START)
    assert ladder == replace(active(2, 1), state=state)
    assert not {pair for pair in TABLE if pair[0] is State.EXITED}


def test_offer_is_accepted_for_thirty_days_and_lapses_after() -> None:
    last, late = START + timedelta(days=30), START + timedelta(days=31)
    assert step(offered(START), Step.ACCEPT, on=last).state is State.ACTIVE
    assert step(offered(START), Step.LAPSE, on=late).exit is Exit.LAPSED
    for event, on in ((Step.ACCEPT, late), (Step.LAPSE, last)):
        with pytest.raises(OutOfOrderError):
            step(offered(START), event, on=on)


def test_second_miss_within_six_months_reverts_and_one_after_them_freezes() -> None:
    missed = active(2, 1, last_miss=date(2026, 1, 15))
    inside = step(missed, Step.MISSED, on=date(2026, 7, 14))
    assert (inside.state, inside.rung) == (State.FROZEN, 1)
    after = step(missed, Step.MISSED, on=date(2026, 7, 15))
    assert (after.state, after.rung) == (State.FROZEN, 2)
    lowest = step(replace(missed, rung=0), Step.MISSED, on=date(2026, 7, 14))
    assert lowest.exit is Exit.COUNSELLING


def test_event_before_the_last_one_is_refused() -> None:
    with pytest.raises(OutOfOrderError):
        step(active(0, 0), Step.PAID_ON_TIME, on=START - timedelta(days=1))


def test_fifteen_payments_on_time_lead_to_the_whole_old_limit() -> None:
    ladder, limits = step(offered(START), Step.ACCEPT, on=START), []
    while ladder.state is State.ACTIVE:
        limits.append(ladder.limit(1_001))
        ladder = step(ladder, Step.PAID_ON_TIME, on=START)
    assert limits == [limit for limit in (200, 400, 600, 800, 1_001) for _ in range(3)]
    assert ladder.state is State.GRADUATED
    assert (ladder.limit(1_001), ladder.may_draw, ladder.payments_owed) == (1_001, True, None)


def test_what_is_owed_to_climb_is_told() -> None:
    assert active(1, 2).payments_owed == 1
    frozen = step(active(1, 2), Step.MISSED, on=START)
    assert (frozen.payments_owed, frozen.may_draw, frozen.limit(100)) == (3, False, 40)
    gone = step(frozen, Step.DPD30, on=START)
    assert (gone.limit(100), gone.payments_owed) == (0, None)
    assert offered(START).limit(100) == 0
