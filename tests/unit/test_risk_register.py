"""The risk register: what is red is owned in time, and nothing makes an alarm go quiet."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.credit.drift import excess_psi, psi
from consortium.credit.triggers import (
    RULES,
    Acted,
    Block,
    Level,
    Owner,
    Reading,
    Standing,
    Trigger,
    Waiver,
    level_of,
    register_of,
)
from consortium.errors import DomainError, ShapeError

DAY = date(2026, 7, 1)


def on(day: int) -> date:
    return DAY + timedelta(days=day)


def reading(trigger: Trigger, value: float | None, day: int = 0, subject: str = "a") -> Reading:
    return Reading(trigger=trigger, subject=subject, on=on(day), value=value)


def acted(trigger: Trigger, day: int, due: int) -> Acted:
    return Acted(
        trigger=trigger,
        subject="a",
        action="retrain",
        role=RULES[trigger].owner,
        on=on(day),
        due=on(due),
        evidence=None,
    )


def waiver(trigger: Trigger, day: int, expires: int) -> Waiver:
    return Waiver(
        trigger=trigger,
        subject="a",
        reason="committee-12",
        role=RULES[trigger].owner,
        on=on(day),
        expires=on(expires),
    )


@pytest.mark.parametrize(
    ("trigger", "green", "amber", "red"),
    [
        (Trigger.DRIFT, (0.0, 0.10), (0.1001, 0.25), (0.2501,)),
        (Trigger.CALIBRATION, (0.9, 1.1), (0.89, 1.11, 0.8, 1.25), (0.79, 1.26)),
        (Trigger.WAVE, (-3.0, 0.5), (0.51, 0.99), (1.0, 4.0)),
        (Trigger.CLOSURE_SHOCK, (-0.3, 0.05), (0.051, 0.10), (0.11,)),
        (Trigger.PARTNER_SHARE, (0.4,), (0.41, 0.5), (0.51,)),
        (Trigger.BUDGET, (0.3, 1.0), (0.29, 0.1), (0.09, -0.2)),
        (Trigger.WITNESS, (6.0,), (6.1, 24.0), (24.1,)),
        (Trigger.FAIRNESS, (0.0,), (1.0,), (2.0,)),
        (Trigger.COMPLAINTS, (0.05,), (0.06, 0.10), (0.101,)),
    ],
)
def test_table_of_triggers_at_each_bound(
    trigger: Trigger, green: tuple[float], amber: tuple[float], red: tuple[float]
) -> None:
    for level, values in ((Level.GREEN, green), (Level.AMBER, amber), (Level.RED, red)):
        assert {level_of(trigger, value) for value in values} == {level}


def test_days_and_owners_are_those_of_the_table() -> None:
    days = {one.value: (rule.owner.value, rule.days) for one, rule in RULES.items()}
    assert days == {
        "drift": ("PE", 30),
        "calibration": ("PE", 10),
        "wave": ("LO", 1),
        "closure_shock": ("OP", 5),
        "partner_share": ("OP", 0),
        "budget": ("PE", 5),
        "witness": ("OP", 1),
        "fairness": ("PE", 30),
        "complaints": ("LO", 14),
    }


@pytest.mark.parametrize("trigger", list(Trigger))
def test_red_without_act_or_waiver_is_overdue_after_its_days(trigger: Trigger) -> None:
    worst = {Trigger.BUDGET: 0.01, Trigger.CALIBRATION: 2.0, Trigger.WITNESS: 99.0}
    facts = [reading(trigger, worst.get(trigger, 3.0))]
    days = RULES[trigger].days
    assert register_of(facts, today=on(days)).items[0].standing is Standing.OPEN
    late = register_of(facts, today=on(days + 1))
    assert [one.standing for one in late.alarms] == [Standing.OVERDUE]
    assert late.items[0].blocks == RULES[trigger].blocks


def test_act_in_hand_runs_out_if_the_reading_stays_red() -> None:
    facts, done = [reading(Trigger.DRIFT, 0.4)], [acted(Trigger.DRIFT, 5, 40)]
    assert register_of(facts, done, today=on(40)).items[0].standing is Standing.IN_HAND
    assert register_of(facts, done, today=on(41)).items[0].standing is Standing.OVERDUE
    facts.append(reading(Trigger.DRIFT, 0.05, 30))
    assert not register_of(facts, done, today=on(41)).items


def test_act_of_an_earlier_spell_does_not_count() -> None:
    facts = [reading(Trigger.DRIFT, 0.4, 0), reading(Trigger.DRIFT, 0.0, 20)]
    facts.append(reading(Trigger.DRIFT, 0.4, 25))
    item = register_of(facts, [acted(Trigger.DRIFT, 5, 90)], today=on(60)).items[0]
    assert (item.since, item.standing) == (on(25), Standing.OVERDUE)


def test_waiver_lifts_the_block_until_it_expires_and_not_a_day_longer() -> None:
    facts = [reading(Trigger.PARTNER_SHARE, 0.6)]
    given_ = [waiver(Trigger.PARTNER_SHARE, 0, 90)]
    now = register_of(facts, (), given_, today=on(90))
    assert now.items[0].standing is Standing.WAIVED
    assert not now.blocking(Block.RELEASE)
    later = register_of(facts, (), given_, today=on(91))
    assert later.alarms[0].standing is Standing.EXPIRED
    assert later.blocking(Block.RELEASE)


def test_waiver_of_an_earlier_spell_is_no_alarm_in_a_later_one() -> None:
    facts = [
        reading(Trigger.DRIFT, value, day) for value, day in ((0.4, 0), (0.0, 9), (0.4, 20))
    ]
    item = register_of(facts, (), [waiver(Trigger.DRIFT, 0, 10)], today=on(21)).items[0]
    assert item.standing is Standing.OPEN


def test_waiver_of_another_subject_does_not_help() -> None:
    facts = [reading(Trigger.PARTNER_SHARE, 0.6, subject="b")]
    item = register_of(facts, (), [waiver(Trigger.PARTNER_SHARE, 0, 90)], today=on(1)).items[0]
    assert item.standing is Standing.OVERDUE


def test_waiver_beyond_90_days_or_by_another_role_is_refused() -> None:
    with pytest.raises(DomainError, match="90 days"):
        waiver(Trigger.DRIFT, 0, 91)
    with pytest.raises(DomainError, match="owned by PE"):
        Waiver(
            trigger=Trigger.DRIFT,
            subject="a",
            reason="x",
            role=Owner.OP,
            on=DAY,
            expires=DAY,
        )
    with pytest.raises(DomainError, match="a code"):
        Waiver(
            trigger=Trigger.DRIFT,
            subject="a",
            reason="a long story\n",
            role=Owner.PE,
            on=DAY,
            expires=DAY,
        )


def test_reading_that_stays_away_does_not_end_an_alarm() -> None:
    facts = [reading(Trigger.CALIBRATION, 2.0), reading(Trigger.CALIBRATION, None, 5)]
    now = register_of(facts, today=on(20))
    assert now.alarms[0].since == on(0)
    assert [one.level for one in now.unknown] == [Level.UNKNOWN]


def test_missing_reading_is_unknown_and_never_green() -> None:
    now = register_of([reading(Trigger.COMPLAINTS, None)], today=on(0))
    assert not now.items
    assert now.unknown[0].trigger is Trigger.COMPLAINTS


levels = st.lists(st.sampled_from([0.0, 0.2, 0.4, None]), min_size=1, max_size=12)


@given(values=levels, ahead=st.integers(0, 60))
@settings(max_examples=60)
def test_every_red_trigger_of_a_quarter_is_acted_on_waived_or_an_alarm(
    values: list[float | None], ahead: int
) -> None:
    facts = [reading(Trigger.DRIFT, value, 7 * week) for week, value in enumerate(values)]
    today = on(7 * len(values) + ahead)
    now = register_of(facts, today=today)
    known = [value for value in values if value is not None]
    if not known or known[-1] < 0.3:
        assert not now.alarms
        return
    item = now.items[0]
    assert item.due is not None
    assert (item in now.alarms) == (today > item.due)


# --- drift ------------------------------------------------------------------------------------


def test_psi_is_that_of_the_vector() -> None:
    found = psi(np.array([0.2, 0.3, 0.5]), np.array([0.25, 0.35, 0.40]))
    assert found == pytest.approx(0.041179, abs=1e-6)


def test_excess_psi_of_a_population_that_stays_is_about_0(rng: Generator) -> None:
    shares, found = np.full(10, 0.1), []
    for _ in range(300):
        pair = [rng.multinomial(3_000, shares) + rng.normal(0, 20, 10) for _ in range(2)]
        excess = excess_psi(pair[0], pair[1], deviations=(20.0, 20.0))
        assert excess is not None
        found.append(excess)
    assert abs(np.mean(found)) < 0.002
    assert np.mean([one > 0.10 for one in found]) == 0.0


def test_psi_of_nobody_or_of_other_bands_is_none_or_refused() -> None:
    empty = np.zeros(3)
    assert psi(empty, np.ones(3)) is None
    assert excess_psi(np.ones(3), -np.ones(3)) is None
    with pytest.raises(ShapeError):
        psi(np.ones(3), np.ones(4))
