import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.errors import ConfigurationError, DomainError, RefusalCode, RefusalError
from consortium.ids import Digest, PartnerId, RunId
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    BudgetShares,
    LocalSteps,
    ModelKind,
    OptimizerSettings,
    ReleaseKind,
    TrainingPlan,
)
from consortium.privacy.accountant import epsilon_of_units, mu_of, units_of
from consortium.privacy.mechanism import (
    attempts_of,
    local_steps_units,
    mechanism_for,
    most_blocks_held,
    reserve_units,
)

GRADIENT, BINS = ReleaseKind.GRADIENT, ReleaseKind.BINS
RECALIBRATION, EVALUATION = ReleaseKind.RECALIBRATION, ReleaseKind.EVALUATION
WIDTHS = {GRADIENT: 195, BINS: 10, RECALIBRATION: 1, EVALUATION: 1}


def block(name: str, *holders: str) -> Block:
    return Block(
        name=name,
        families=(name,),
        holders=tuple(PartnerId(holder) for holder in holders),
        normaliser=5000,
    )


PLAN = TrainingPlan(
    run=RunId("0" * 32),
    manifest=Digest("1" * 64),
    schema=Digest("2" * 64),
    code=Digest("3" * 64),
    model=ModelKind.SCORECARD,
    algorithm=Algorithm.SUM,
    bin_source=BinSource.PUBLIC,
    blocks=(block("repayment", "bank-a", "bank-b"), block("billing", "bank-c")),
    clip="1",
    rounds=60,
    spare_attempts=6,
    epsilon="1",
    delta="0.000001",
    max_partners_per_person=2,
    noise_mode="own",
    min_partners=3,
    shares=BudgetShares(),
    optimizer=OptimizerSettings(),
    holdout_fraction="0.3",
    holdout_salt="salt",
)
PRIVATE = replace(
    PLAN,
    bin_source=BinSource.PRIVATE,
    shares=BudgetShares(bins="0.08", training="0.82", recalibration="0.1"),
)
LOCAL = replace(
    PLAN,
    algorithm=Algorithm.LOCAL_STEPS,
    rounds=4,
    spare_attempts=1,
    epsilon="3",
    local=LocalSteps(
        sample_rate="0.05",
        steps=6,
        noise_multiplier="4",
        expected_batch=250,
        learning_rate="0.1",
    ),
)


@pytest.mark.parametrize(
    ("kind", "attempts", "share", "sensitivity"),
    [
        (GRADIENT, 66, 0.82, 2**24 + 14),
        (BINS, 2, 0.08, math.ceil(2**10 * math.sqrt(10))),
        (RECALIBRATION, 2, 0.1, 2**10),
        (EVALUATION, 2, 1.0, 2**10),
    ],
)
def test_variance_is_that_of_own_mode(
    kind: ReleaseKind, attempts: int, share: float, sensitivity: int
) -> None:
    found = mechanism_for(PRIVATE, kind, width=WIDTHS[kind], partners=4)
    sigma = math.sqrt(attempts) / mu_of(1.0, 1e-6) / math.sqrt(share) * math.sqrt(2)
    assert attempts_of(PRIVATE, kind) == attempts
    assert found.sensitivity == sensitivity
    assert found.persons_factor == 2
    assert found.variance == pytest.approx((sigma * sensitivity) ** 2, rel=1e-8)


@given(
    epsilon=st.integers(1, 800).map(lambda n: n / 100),
    rounds=st.integers(1, 200),
    spare=st.integers(0, 20),
    partners=st.integers(1, 10),
    width=st.integers(1, 10**6),
)
def test_all_attempts_together_never_cost_more_than_the_target(
    *, epsilon: float, rounds: int, spare: int, partners: int, width: int
) -> None:
    plan = replace(
        PRIVATE,
        epsilon=str(epsilon),
        rounds=rounds,
        spare_attempts=spare,
        max_partners_per_person=partners,
        histogram_attempts=3,
    )
    charges = {
        kind: attempts_of(plan, kind)
        * mechanism_for(plan, kind, width=width, partners=4).units(person=True)
        for kind in (GRADIENT, BINS, RECALIBRATION, EVALUATION)
    }
    held_out = charges.pop(EVALUATION)
    reserved = reserve_units(plan)
    assert sum(charges.values()) <= reserved["training"] <= units_of(epsilon, 1e-6)
    assert held_out <= reserved["holdout"] <= units_of(epsilon, 1e-6)


def test_reservation_of_a_run_is_its_whole_target() -> None:
    for plan in (PLAN, PRIVATE):
        reserved = reserve_units(plan)
        assert epsilon_of_units(reserved["training"], 1e-6) == 1.0
        assert epsilon_of_units(reserved["holdout"], 1e-6) == 1.0


def test_retries_are_paid_for_in_advance() -> None:
    noisier = mechanism_for(replace(PLAN, spare_attempts=66), GRADIENT, width=195, partners=4)
    ratio = noisier.variance / mechanism_for(PLAN, GRADIENT, width=195, partners=4).variance
    assert ratio == pytest.approx(126 / 66, rel=1e-8)


def test_person_at_more_partners_needs_more_noise_and_the_record_costs_less() -> None:
    one = mechanism_for(
        replace(PLAN, max_partners_per_person=1), GRADIENT, width=195, partners=4
    )
    four = mechanism_for(
        replace(PLAN, max_partners_per_person=4), GRADIENT, width=195, partners=4
    )
    assert four.variance == pytest.approx(4 * one.variance, rel=1e-8)
    assert four.units(person=True) <= one.units(person=True)
    assert four.units(person=False) < four.units(person=True) / 3.9


def test_row_in_two_blocks_of_one_partner_is_more_sensitive() -> None:
    plan = replace(PLAN, blocks=(*PLAN.blocks, block("extra", "bank-a")))
    assert (most_blocks_held(PLAN), most_blocks_held(plan)) == (1, 2)
    gradient = mechanism_for(plan, GRADIENT, width=196, partners=4)
    assert gradient.sensitivity == math.ceil(math.sqrt(2) * (2**24 + 14))
    assert mechanism_for(plan, EVALUATION, width=1, partners=4).sensitivity == 1449
    with pytest.raises(ConfigurationError):
        most_blocks_held(replace(PLAN, blocks=()))


def test_noise_too_small_for_its_lattice_is_refused() -> None:
    loud = replace(PLAN, epsilon="8", max_partners_per_person=1, histogram_attempts=1)
    assert mechanism_for(loud, GRADIENT, width=195, partners=4).variance >= 1_000_000
    with pytest.raises(RefusalError) as caught:
        mechanism_for(loud, EVALUATION, width=1, partners=4)
    assert caught.value.reason is RefusalCode.NOISE
    quiet = replace(loud, epsilon="5")
    assert mechanism_for(quiet, EVALUATION, width=1, partners=4).variance >= 1_000_000


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"noise_mode": "none"}, GRADIENT),
        ({"noise_mode": ""}, BINS),
        ({"shares": BudgetShares(training="0.9", recalibration="0.11")}, EVALUATION),
        ({"shares": BudgetShares(training="-0.1")}, GRADIENT),
        ({"shares": BudgetShares(training="all")}, GRADIENT),
        ({}, BINS),
        ({"rounds": 0, "spare_attempts": 0}, GRADIENT),
        ({"histogram_attempts": 0}, RECALIBRATION),
        ({"max_partners_per_person": 0}, GRADIENT),
        ({"epsilon": "0"}, GRADIENT),
        ({"epsilon": "nan"}, GRADIENT),
        ({"delta": "0"}, GRADIENT),
        ({"delta": "0.01"}, GRADIENT),
        ({"algorithm": Algorithm.LOCAL_STEPS}, GRADIENT),
    ],
)
def test_plan_that_pays_for_no_noise_is_refused(
    change: dict[str, object], kind: ReleaseKind
) -> None:
    with pytest.raises(ConfigurationError):
        mechanism_for(replace(PLAN, **change), kind, width=10, partners=4)  # type: ignore[arg-type]


def test_width_that_is_not_positive_is_refused() -> None:
    for width in (0, -1):
        with pytest.raises(DomainError):
            mechanism_for(PLAN, GRADIENT, width=width, partners=4)


def test_local_steps_add_the_noise_of_one_step() -> None:
    found = mechanism_for(LOCAL, GRADIENT, width=195, partners=4)
    assert found.variance == (4 * (2**24 + 14)) ** 2


def test_local_steps_are_charged_at_every_partner_and_every_attempt() -> None:
    record, person = (local_steps_units(LOCAL, person=flag) for flag in (False, True))
    more = local_steps_units(replace(LOCAL, spare_attempts=6), person=False)
    assert record < person < 2.5 * record
    # 10 attempts at one partner are as many steps as 5 at two
    assert more == person


def test_plan_whose_local_steps_cost_more_than_it_claims_is_refused() -> None:
    reserved = reserve_units(LOCAL)
    assert epsilon_of_units(reserved["training"], 1e-6) <= 3
    with pytest.raises(ConfigurationError, match=r"its target is 0\.1"):
        reserve_units(replace(LOCAL, epsilon="0.1"))
    with pytest.raises(ConfigurationError):
        reserve_units(replace(LOCAL, rounds=0, spare_attempts=0))
