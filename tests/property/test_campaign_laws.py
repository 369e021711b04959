"""Laws of a restart campaign: whatever is ordered, no wave is skipped."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.waves import MOVES, Campaign, Move, WaveState, start, step
from consortium.errors import OutOfOrderError
from tests.campaign_house import PLAN, order

moves = st.lists(st.sampled_from(Move), max_size=30)


def walk(wanted: list[Move]) -> list[Campaign]:
    """Every state on the way; what is refused changes nothing."""
    states = [start(PLAN)]
    for move in wanted:
        try:
            states.append(step(PLAN, states[-1], order(states[-1], move)))
        except OutOfOrderError:
            continue
    return states


@given(wanted=moves)
@settings(max_examples=40)
def test_each_step_moves_one_wave_by_one_move_and_never_back(wanted: list[Move]) -> None:
    states = walk(wanted)
    for before, now in pairwise(states):
        changed = [
            place
            for place, (was, is_) in enumerate(zip(before.waves, now.waves, strict=True))
            if was is not is_
        ]
        assert changed in ([], [before.at])
        assert before.at <= now.at <= before.at + 1
        assert before.turn <= now.turn <= before.turn + 1
        assert not before.is_over
        assert now.looks <= PLAN.stop.looks
        if changed:
            pair = (before.waves[before.at], now.waves[before.at])
            assert pair in {(was, after) for (was, _), after in MOVES.items()}


@given(wanted=moves)
@settings(max_examples=40)
def test_wave_runs_only_after_all_before_it_have_passed_by_counts_or_review(
    wanted: list[Move],
) -> None:
    for now in walk(wanted):
        running = [n for n, one in enumerate(now.waves) if one is WaveState.RUNNING]
        assert len(running) <= 1
        for place in running:
            assert all(one is WaveState.PASSED for one in now.waves[:place])
            assert now.may_offer != now.ended


@given(wanted=moves)
@settings(max_examples=40)
def test_states_of_a_walk_are_all_different_so_no_order_fits_twice(wanted: list[Move]) -> None:
    states = walk(wanted)
    assert len({one.digest for one in states}) == len(states)
