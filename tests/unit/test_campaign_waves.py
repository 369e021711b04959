"""Waves of a restart: what halts them, who may move them, and that none is skipped."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from consortium.credit import noisy_stop, stopping
from consortium.credit.noisy_stop import NoisyCounts
from consortium.credit.policy import StopRule
from consortium.credit.stopping import Counts, Verdict, bounds_of
from consortium.credit.terms import Ppm
from consortium.credit.waves import (
    Arm,
    Fate,
    Move,
    WaveState,
    first_payments,
    held_out,
    judge,
    standing,
    start,
    step,
)
from consortium.documents import document_of, parse_document
from consortium.errors import DomainError, OutOfOrderError
from tests.campaign_house import PLAN, STOP, after, cells, later, order


def noisy(good: float, bad: float, deviation: float = 0.0) -> NoisyCounts:
    return NoisyCounts(good=good, bad=bad, good_deviation=deviation, bad_deviation=deviation)


# --- the test on noisy counts -----------------------------------------------------------------


@pytest.mark.parametrize("bad", range(0, 120, 3))
@pytest.mark.parametrize("accounts", [40, 60, 400, 1_500])
def test_without_noise_the_verdict_is_walds(accounts: int, bad: int) -> None:
    rule = replace(STOP, most_accounts=1_500)
    exact = Counts(accounts - bad, bad)
    found = noisy(accounts - bad, bad)
    assert noisy_stop.verdict(found, rule) is stopping.verdict(exact, rule)
    ratio = stopping.llr(exact, bounds_of(rule)) / 2**32
    assert noisy_stop.llr(found, rule) == pytest.approx(ratio, abs=1e-6)
    if bad <= accounts:
        near = noisy(accounts - bad, bad, 1e-3)
        assert noisy_stop.llr(near, rule) == pytest.approx(ratio, 1e-4)


def chance_of_halt(accounts: int, rate: float, deviation: float, rule: StopRule) -> float:
    """Of one look: over all bads and the noise, by quadrature."""
    spread = np.linspace(-9, 9, 361)
    weights = np.exp(-(spread**2) / 2) / np.exp(-(spread**2) / 2).sum()
    middle, reach = accounts * rate, 9 * math.sqrt(accounts * rate)
    bads = np.arange(max(0, int(middle - reach)), int(middle + reach) + 20)
    logs = noisy_stop._ln_choose(accounts, np.arange(bads[-1] + 1.0))[bads[0] :]
    mass = np.exp(logs + bads * math.log(rate) + (accounts - bads) * math.log1p(-rate))
    released = np.add.outer(bads, deviation * spread)
    grid = np.linspace(released.min(), released.max(), 400)
    halts = np.array([noisy_stop.llr(noisy(accounts - x, x, deviation), rule) for x in grid])
    least = grid[np.searchsorted(halts, bounds_of(rule).halt / 2**32)]
    return float((mass[:, None] * weights[None, :] * (released >= least)).sum())


@pytest.mark.parametrize("deviation", [2.0, 8.0, 20.0])
def test_one_look_at_the_plan_halts_with_at_most_its_share_of_alpha(deviation: float) -> None:
    chance = chance_of_halt(1_000, 0.03, deviation, STOP)
    assert chance <= 0.05 / STOP.looks
    assert chance_of_halt(4_000, 0.06, deviation, STOP) > 0.9


def test_noise_that_is_ignored_would_halt_honest_waves() -> None:
    """What this rule is for: Wald's ratio of the released counts takes noise for defaults."""
    bounds, deviation = bounds_of(STOP), 20.0
    least = next(
        x for x in range(30, 400) if stopping.llr(Counts(1_000 - x, x), bounds) >= bounds.halt
    )
    over = (least - 30) / math.hypot(deviation, math.sqrt(1_000 * 0.03 * 0.97))
    assert math.erfc(over / math.sqrt(2)) / 2 > 3 * 0.05 / STOP.looks


def test_negative_counts_enter_as_they_are() -> None:
    assert noisy_stop.llr(noisy(900.0, -12.5, 8.0), STOP) < 0
    assert noisy_stop.verdict(noisy(-30.0, -5.0, 8.0), STOP) is Verdict.CONTINUE
    assert noisy_stop.llr(noisy(-30.0, 5.0, 8.0), STOP) == 0.0
    with pytest.raises(DomainError):
        noisy(math.nan, 1.0)


def test_holdout_halts_only_beyond_margin_noise_and_looks() -> None:
    held = noisy(970, 30, 5.0)
    assert noisy_stop.worse_than_holdout(noisy(4_500, 500, 5.0), held, STOP)
    assert not noisy_stop.worse_than_holdout(noisy(4_810, 190, 5.0), held, STOP)  # the margin
    assert not noisy_stop.worse_than_holdout(noisy(900, 100, 60.0), held, STOP)  # the noise
    assert not noisy_stop.worse_than_holdout(noisy(4_500, 500), noisy(5, 0), STOP)
    close = noisy(970 - 20, 30 + 20)
    assert noisy_stop.worse_than_holdout(close, noisy(970, 30), replace(STOP, looks=1))
    assert not noisy_stop.worse_than_holdout(close, noisy(970, 30), replace(STOP, looks=9))


# --- what a table says ------------------------------------------------------------------------


def wave(
    bad_a: float, bad_b: float, *, paid: float = 900.0, held: float = 3.0
) -> dict[tuple[Arm, Fate], float]:
    return cells(
        {
            (Arm.A, Fate.PAID): paid,
            (Arm.A, Fate.FPD30): bad_a,
            (Arm.B, Fate.PAID): paid,
            (Arm.B, Fate.FPD30): bad_b,
            (Arm.C, Fate.LATER30): 5_000.0,
            (Arm.A_HELD, Fate.PAID): 100.0,
            (Arm.B_HELD, Fate.PAID): 100.0,
            (Arm.B_HELD, Fate.LATER30): held,
        }
    )


def test_bad_wave_is_halted_and_tier_c_is_not_its_fault() -> None:
    running, _ = after(Move.OPEN)
    assert judge(PLAN, running, wave(90, 90), 4.0) is Move.BAD
    assert judge(PLAN, running, wave(20, 24), 4.0) is Move.PASS


def test_wave_that_its_holdout_beats_is_halted_before_the_ratio_says_so() -> None:
    running, _ = after(Move.OPEN)
    late = wave(10, 10) | {(Arm.A, Fate.LATER30): 300.0}
    assert noisy_stop.verdict(first_payments(late, 4.0), STOP) is Verdict.PASS
    assert held_out(late, 4.0).bad == 3.0
    assert judge(PLAN, running, late, 4.0) is Move.BAD


def test_undecided_after_the_last_planned_look_is_for_a_person() -> None:
    running, _ = after(Move.OPEN)
    unclear = wave(40, 40)
    assert judge(PLAN, running, unclear, 8.0) is Move.CONTINUE
    last, _ = after(Move.OPEN, Move.CONTINUE, Move.CONTINUE)
    assert judge(PLAN, last, unclear, 8.0) is Move.UNDECIDED


# --- orders -----------------------------------------------------------------------------------


def test_waves_open_one_by_one_and_the_last_ends_the_campaign() -> None:
    moves = [move for _ in PLAN.percents for move in (Move.OPEN, Move.CONTINUE, Move.PASS)]
    done, orders = after(*moves)
    assert done.is_over
    assert set(done.waves) == {WaveState.PASSED}
    assert done.turn == len(PLAN.percents)
    with pytest.raises(OutOfOrderError):
        step(PLAN, done, order(done, Move.OPEN))
    assert standing(PLAN, orders) == done


def test_halted_wave_goes_on_at_the_same_wave_or_not_at_all() -> None:
    halted, _ = after(Move.OPEN, Move.PASS, Move.OPEN, Move.CONTINUE, Move.BAD)
    assert not halted.may_offer
    with pytest.raises(OutOfOrderError):
        step(PLAN, halted, order(halted, Move.OPEN))
    again = step(PLAN, halted, order(halted, Move.RESUME))
    assert (again.at, again.state, again.looks) == (1, WaveState.RUNNING, 0)
    assert again.turn == halted.turn + 1
    ended = step(PLAN, halted, order(halted, Move.END))
    assert ended.is_over
    assert not ended.may_offer


def test_order_that_skips_a_wave_is_refused() -> None:
    passed, _ = after(Move.OPEN, Move.PASS)
    with pytest.raises(OutOfOrderError, match="wave 3 is not due"):
        step(PLAN, passed, replace(order(passed, Move.OPEN), wave=2))
    with pytest.raises(DomainError, match="skipped"):
        replace(passed, waves=(WaveState.PASSED, WaveState.PLANNED, WaveState.RUNNING))


def test_order_used_twice_or_of_another_plan_is_refused() -> None:
    running, orders = after(Move.OPEN, Move.CONTINUE)
    with pytest.raises(OutOfOrderError):
        step(PLAN, running, orders[0])
    other = replace(PLAN, percents=(100,))
    with pytest.raises(OutOfOrderError):
        step(other, start(other), replace(orders[0], before=start(other).digest))


def test_look_before_its_day_is_refused() -> None:
    running, _ = after(Move.OPEN, Move.CONTINUE)
    early = later(order(running, Move.PASS), -1)
    with pytest.raises(OutOfOrderError, match="next look is due"):
        step(PLAN, running, early)


def test_look_beyond_the_planned_ones_is_refused() -> None:
    running, _ = after(Move.OPEN, Move.CONTINUE, Move.CONTINUE)
    with pytest.raises(OutOfOrderError, match="last planned look"):
        step(PLAN, running, order(running, Move.CONTINUE))
    assert step(PLAN, running, order(running, Move.UNDECIDED)).state is WaveState.REVIEW


def test_person_cannot_pass_a_wave_and_counts_cannot_open_one() -> None:
    running, _ = after(Move.OPEN)
    with pytest.raises(DomainError):
        step(PLAN, running, replace(order(running, Move.PASS), release=None))
    with pytest.raises(DomainError):
        step(PLAN, running, replace(order(running, Move.PASS), role="LO"))
    with pytest.raises(DomainError):
        step(PLAN, start(PLAN), replace(order(start(PLAN), Move.OPEN), reason=""))


@pytest.mark.parametrize(
    "broken",
    [
        {"name": "Spring 26"},
        {"lenders": ()},
        {"lenders": tuple(reversed(PLAN.lenders))},
        {"begins": PLAN.closed_to},
        {"percents": (5, 1, 100)},
        {"percents": (1, 5)},
        {"holdout_percent": 0},
        {"look_days": 0},
        {"stop": replace(STOP, fpd30_plan=Ppm(0))},
    ],
)
def test_plan_that_cannot_be_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(DomainError):
        replace(PLAN, **broken)  # type: ignore[arg-type]


def test_plan_and_state_are_documents() -> None:
    assert parse_document(type(PLAN), document_of(PLAN)) == PLAN
    assert PLAN.digest != replace(PLAN, begins=PLAN.begins + timedelta(days=1)).digest
