"""Counts of common persons in the log: not asked, not paid for, said twice (T132, 8.7 (13))."""

from dataclasses import replace

import pytest

from consortium.identity.overlap import SCALE, OverlapPlan, charge_of, mechanism_of
from consortium.ids import PartnerId
from consortium.ledger.bodies import OverlapDebit, OverlapPlanned, OverlapReleased
from consortium.ledger.findings import Finding
from consortium.ledger.verify import Audit, verify_log
from regulator.replay import ReplayedRun
from tests.ledger_house import COORDINATOR, START, House

COUNTER, PEER, OTHER = (PartnerId(f"silo-{number:02d}") for number in range(3))
PLAN = OverlapPlan(
    counter=COUNTER,
    peer=PEER,
    period="2026-10",
    tiers=("PRIME", "LOW"),
    cuts=(100_000,),
    epoch=1,
    epsilon="1",
    delta="0.000001",
)
COUNTS = (1_000 * SCALE + 7, 0)


@pytest.fixture(scope="module")
def base() -> House:
    house = House(silos=4, rounds=2)
    house.adopt()
    return house


@pytest.fixture
def house(base: House) -> House:
    return base.branch()


def plan(house: House, asked: OverlapPlan = PLAN, attempt: int = 1) -> None:
    house.append(COORDINATOR, OverlapPlanned(plan=asked, attempt=attempt))


def pay(
    house: House,
    *names: PartnerId,
    asked: OverlapPlan = PLAN,
    attempt: int = 1,
    units: int | None = None,
) -> None:
    for name in names or (COUNTER, PEER):
        body = OverlapDebit(
            release=asked.release,
            run=asked.run,
            attempt=attempt,
            epoch="default",
            units=charge_of(asked) if units is None else units,
            variance=str(mechanism_of(asked).variance),
        )
        house.append(name, body)


def say(
    house: House, *, by: PartnerId = COUNTER, asked: OverlapPlan = PLAN, attempt: int = 1
) -> None:
    counts = COUNTS[: len(asked.tiers)]
    house.append(by, OverlapReleased(release=asked.release, attempt=attempt, counts=counts))


def audit(house: House) -> Audit:
    house.checkpoint()
    return verify_log(
        house.bundle(), house.manifest.digest, now=START + 5000, machines=ReplayedRun
    )


def findings(house: House) -> dict[str, Finding]:
    return {one.name: one for one in audit(house).findings}


def test_count_that_was_asked_and_paid_for_is_taken_up_with_its_interval(house: House) -> None:
    plan(house)
    pay(house)
    say(house)
    found = audit(house)
    assert found.findings == ()
    assert [(one.tier, one.shown) for one in found.overlaps] == [
        ("PRIME", "1000"),
        ("LOW", "< 50"),
    ]


def test_counts_that_the_peer_had_not_paid_for_are_found(house: House) -> None:
    plan(house)
    pay(house, COUNTER)
    say(house)
    assert "overlap.unpaid" in findings(house)


def test_charge_below_the_plans_price_is_found(house: House) -> None:
    plan(house)
    pay(house, units=charge_of(PLAN) - 1)
    say(house)
    assert "overlap.units" in findings(house)


def test_second_answer_to_one_question_is_found_however_it_is_cut(house: House) -> None:
    other = replace(PLAN, tiers=("ALL",), cuts=())
    plan(house)
    plan(house, other)
    for one in (PLAN, other):
        pay(house, asked=one)
        say(house, asked=one)
    assert "overlap.twice" in findings(house)


def test_question_that_is_asked_after_its_answer_is_found(house: House) -> None:
    plan(house)
    pay(house)
    say(house)
    plan(house, attempt=2)
    assert "overlap.again" in findings(house)


def test_third_attempt_is_found(house: House) -> None:
    for attempt in (1, 2, 3):
        plan(house, attempt=attempt)
    assert "overlap.attempt" in findings(house)


def test_counts_and_charges_of_nobody_who_was_asked_are_found(house: House) -> None:
    pay(house, COUNTER)
    say(house)
    assert "overlap.stray" in findings(house)


def test_counts_that_another_than_the_counting_partner_says_are_found(house: House) -> None:
    plan(house)
    pay(house)
    say(house, by=PEER)
    assert "overlap.stray" in findings(house)


def test_account_that_counts_alone_overdraw_is_found(house: House) -> None:
    for month in range(1, 9):
        asked = replace(PLAN, period=f"2026-{month:02}")
        plan(house, asked)
        pay(house, asked=asked)
    assert "account.overdrawn" in findings(house)
