import dataclasses
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.policy import StageRules
from consortium.credit.stages import (
    Condition,
    Stage,
    Staging,
    Trigger,
    begin,
    exposure_at_default,
    follow,
    loss_12,
    loss_of_life,
    pd_ppm,
    stage_of,
    triggers_of,
)
from consortium.credit.terms import Ppm
from consortium.errors import DomainError
from consortium.scoring.scorecard import cut_units, pd_of
from tests.offer_house import STAGES

SOUND = Condition(
    dpd=0,
    charged_off=False,
    loss_forbearance=False,
    pd_origination=Ppm(20_000),
    pd_now=Ppm(20_000),
    watch=False,
    months_on_book=20,
)
LATE = replace(SOUND, dpd=30)
BAD = replace(SOUND, dpd=91)

# dpd, charged off, loss forbearance, PD at origination and now (millionths; None: missing),
# watch, months on book -> stage, triggers
TABLE = [
    (0, 0, 0, 20_000, 20_000, 0, 20, 1, ""),
    (1, 0, 0, 20_000, 20_000, 0, 20, 1, ""),
    (29, 0, 0, 20_000, 20_000, 0, 20, 1, ""),
    (30, 0, 0, 20_000, 20_000, 0, 20, 2, "DPD30"),
    (31, 0, 0, 20_000, 20_000, 0, 20, 2, "DPD30"),
    (60, 0, 0, 20_000, 20_000, 0, 20, 2, "DPD30"),
    (90, 0, 0, 20_000, 20_000, 0, 20, 2, "DPD30"),
    (91, 0, 0, 20_000, 20_000, 0, 20, 3, "DPD90 DPD30"),
    (400, 0, 0, 20_000, 20_000, 0, 20, 3, "DPD90 DPD30"),
    (0, 1, 0, 20_000, 20_000, 0, 20, 3, "CHARGE_OFF"),
    (0, 0, 1, 20_000, 20_000, 0, 20, 3, "LOSS_FORBEARANCE"),
    (0, 1, 1, 20_000, 20_000, 0, 20, 3, "CHARGE_OFF LOSS_FORBEARANCE"),
    (95, 1, 1, 20_000, 20_000, 0, 20, 3, "DPD90 CHARGE_OFF LOSS_FORBEARANCE DPD30"),
    (30, 1, 0, 20_000, 20_000, 0, 20, 3, "CHARGE_OFF DPD30"),
    (0, 0, 0, 20_000, 39_999, 0, 20, 1, ""),
    (0, 0, 0, 20_000, 40_000, 0, 20, 2, "PD_RATIO"),
    (0, 0, 0, 20_000, 40_001, 0, 20, 2, "PD_RATIO"),
    (0, 0, 0, 4_000, 9_999, 0, 20, 1, ""),
    (0, 0, 0, 4_000, 10_000, 0, 20, 2, "PD_RATIO"),
    (0, 0, 0, 1, 2, 0, 20, 1, ""),
    (0, 0, 0, 100_000, 149_999, 0, 20, 1, ""),
    (0, 0, 0, 100_000, 150_000, 0, 20, 2, "PD_STEP"),
    (0, 0, 0, 50_000, 100_000, 0, 20, 2, "PD_RATIO PD_STEP"),
    (0, 0, 0, 50_000, 99_999, 0, 20, 1, ""),
    (0, 0, 0, 300_000, 20_000, 0, 20, 1, ""),
    (0, 0, 0, 20_000, 20_000, 1, 20, 2, "WATCH"),
    (30, 0, 0, 20_000, 20_000, 1, 20, 2, "DPD30 WATCH"),
    (91, 0, 0, 20_000, 20_000, 1, 20, 3, "DPD90 DPD30 WATCH"),
    (0, 0, 0, None, 20_000, 0, 0, 2, "PD_UNKNOWN"),
    (0, 0, 0, None, 20_000, 0, 11, 2, "PD_UNKNOWN"),
    (0, 0, 0, None, 20_000, 0, 12, 1, ""),
    (0, 0, 0, None, 900_000, 0, 12, 1, ""),
    (30, 0, 0, None, 20_000, 0, 12, 2, "DPD30"),
    (91, 0, 0, None, 20_000, 0, 3, 3, "DPD90 DPD30 PD_UNKNOWN"),
    (0, 0, 0, None, 20_000, 1, 12, 2, "WATCH"),
    (0, 0, 0, 20_000, None, 0, 20, 2, "PD_UNKNOWN"),
    (0, 0, 0, None, None, 0, 20, 2, "PD_UNKNOWN"),
    (91, 0, 0, None, None, 0, 20, 3, "DPD90 DPD30 PD_UNKNOWN"),
    (29, 0, 0, 20_000, 60_000, 1, 20, 2, "PD_RATIO WATCH"),
    (30, 0, 0, 20_000, 70_000, 0, 20, 2, "DPD30 PD_RATIO PD_STEP"),
]


@pytest.mark.parametrize("row", TABLE)
def test_stage_and_triggers_are_those_of_the_truth_table(row: tuple[object, ...]) -> None:
    *given_, stage, triggers = row
    names = [field.name for field in dataclasses.fields(Condition)]
    values = dict(zip(names, given_, strict=True))
    for flag in ("charged_off", "loss_forbearance", "watch"):
        values[flag] = bool(values[flag])
    fired = triggers_of(Condition(**values), STAGES)  # type: ignore[arg-type]
    assert " ".join(fired) == triggers
    assert stage_of(fired) == stage
    assert len(TABLE) == 40


thresholds = st.builds(
    StageRules,
    pd_ratio=st.integers(1, 10**12).map(Ppm),
    pd_floor=st.integers(0, 10**6).map(Ppm),
    pd_step=st.integers(0, 10**6).map(Ppm),
    cure_months=st.integers(1, 60),
    paid_months=st.integers(1, 60),
)


@given(thresholds, st.integers(30, 2_000))
def test_backstops_hold_under_any_thresholds(rules: StageRules, dpd: int) -> None:
    stage = begin(replace(SOUND, dpd=dpd), rules).stage
    assert stage >= Stage.TWO
    assert (stage is Stage.THREE) is (dpd > 90)
    assert {f.name for f in dataclasses.fields(StageRules)} == {
        *("pd_ratio", "pd_floor", "pd_step", "cure_months", "paid_months"),
    }


def test_missing_days_past_due_have_no_stage() -> None:
    for dpd in (None, -1):
        with pytest.raises(DomainError):
            begin(replace(SOUND, dpd=dpd), STAGES)


def walk(start: Condition, *months: tuple[Condition, bool]) -> list[int]:
    standing = begin(start, STAGES)
    stages = [int(standing.stage)]
    for condition, paid in months:
        standing = follow(standing, condition, paid=paid, rules=STAGES)
        stages.append(int(standing.stage))
    return stages


def test_stage_two_is_cured_by_the_third_month_end_without_a_trigger() -> None:
    clean = (SOUND, True)
    assert walk(LATE, clean, clean, clean) == [2, 2, 2, 1]
    assert walk(LATE, clean, clean, (LATE, True), clean, clean, clean) == [2, 2, 2, 2, 2, 2, 1]
    watched = (replace(SOUND, watch=True), True)
    assert walk(LATE, clean, clean, watched, clean, clean) == [2, 2, 2, 2, 2, 2]


def test_stage_three_goes_to_two_after_six_paid_months_and_never_at_once_to_one() -> None:
    paid, unpaid = (SOUND, True), (SOUND, False)
    assert walk(BAD, *[paid] * 6) == [3, 3, 3, 3, 3, 3, 2]
    assert walk(BAD, *[paid] * 9) == [3, 3, 3, 3, 3, 3, 2, 2, 2, 1]
    assert walk(BAD, *[paid] * 5, unpaid, *[paid] * 5) == [3] * 12
    assert walk(BAD, *[paid] * 5, (BAD, True), *[paid] * 5) == [3] * 12


def test_a_line_climbs_at_once_and_loses_its_cure() -> None:
    assert walk(SOUND, (BAD, False)) == [1, 3]
    assert walk(LATE, (SOUND, True), (SOUND, True), (BAD, False)) == [2, 2, 2, 3]
    assert follow(Staging(Stage.THREE, 0, 5), LATE, paid=True, rules=STAGES).stage is Stage.TWO


@given(st.lists(st.tuples(st.sampled_from([0, 5, 30, 60, 91]), st.booleans()), max_size=40))
def test_no_cure_comes_before_its_months(run: list[tuple[int, bool]]) -> None:
    standing, since_bad = begin(SOUND, STAGES), 10**6
    for dpd, paid in run:
        condition = replace(SOUND, dpd=dpd)
        standing = follow(standing, condition, paid=paid, rules=STAGES)
        since_bad = 0 if dpd >= 30 else since_bad + 1
        assert standing.stage >= begin(condition, STAGES).stage
        if since_bad < 3:
            assert standing.stage >= Stage.TWO


# --- PD and loss ------------------------------------------------------------------------------


@given(st.integers(-(25 << 32), 25 << 32))
def test_pd_in_millionths_is_the_printed_one(eta: int) -> None:
    assert abs(pd_ppm(eta) - 1e6 * pd_of(math.ldexp(eta, -32))) < 0.501
    assert pd_ppm(cut_units("0.02")) == 20_000


def test_expected_loss_of_a_year_and_of_a_life() -> None:
    exposure = exposure_at_default(4_000, 10_000, Ppm(500_000))
    assert exposure == 7_000
    assert exposure_at_default(12_000, 10_000, Ppm(500_000)) == 12_000
    assert exposure_at_default(-5, 100, Ppm(0)) == 0
    assert loss_12(Ppm(20_000), Ppm(600_000), 1_000_000) == 12_000
    life = loss_of_life(
        [Ppm(10_000)] * 2, [1_000_000] * 2, lgd=Ppm(600_000), price=Ppm(120_000)
    )
    assert life == round(6_000 / 1.01 + 6_000 / 1.01**2)
    with pytest.raises(DomainError):
        loss_of_life([Ppm(1)], [], lgd=Ppm(1), price=Ppm(0))


def test_triggers_of_the_table_are_all_there_are() -> None:
    assert {name for *_, fired in TABLE for name in str(fired).split()} == set(Trigger)
