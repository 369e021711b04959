from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.closures import Cause
from consortium.credit.outcomes import Lateness
from consortium.credit.restart import (
    Bar,
    ClosedLine,
    Tier,
    in_holdout,
    reinstated_limit,
    reinstated_price,
    tier_of,
    treatment_of,
    wave_of,
)
from consortium.credit.terms import Ppm
from consortium.errors import DomainError
from consortium.ids import PersonToken
from consortium.scoring.scorecard import cut_units
from tests.offer_house import RESTART

TWO, TEN = cut_units("0.02"), cut_units("0.10")
NEVER = Lateness(0, 0, None)
BEST = ClosedLine(
    cause=Cause.PRODUCT_WITHDRAWN,
    fraud_confirmed=False,
    anomaly_cleared=False,
    dpd=0,
    charged_off=False,
    lateness=NEVER,
    eta=TWO - 1,
    dues=30_000,
    income=100_000,
)
MIDDLE = replace(BEST, eta=TEN - 1)
CURED = Lateness(20, 30, 6)

TABLE = [
    # D, and just not D
    (BEST, {}, Tier.A, ""),
    (BEST, {"fraud_confirmed": True}, Tier.D, "FRAUD"),
    (BEST, {"dpd": 90, "lateness": Lateness(90, 90, None)}, Tier.C, "LATE NOT_CURED"),
    (BEST, {"dpd": 91, "lateness": Lateness(91, 91, None)}, Tier.D, "M3_PLUS"),
    (BEST, {"charged_off": True}, Tier.D, "M3_PLUS"),
    (BEST, {"cause": Cause.ANOMALY}, Tier.D, "ANOMALY_OPEN"),
    (BEST, {"cause": Cause.ANOMALY, "anomaly_cleared": True}, Tier.A, ""),
    (BEST, {"fraud_confirmed": True, "charged_off": True}, Tier.D, "FRAUD M3_PLUS"),
    # A, and just not A
    (BEST, {"eta": TWO}, Tier.B, "PD"),
    (BEST, {"eta": -(20 << 32)}, Tier.A, ""),
    (BEST, {"lateness": Lateness(0, 30, 6)}, Tier.A, ""),
    (BEST, {"lateness": Lateness(0, 90, 20)}, Tier.A, ""),
    (BEST, {"lateness": Lateness(1, 1, 6)}, Tier.B, "LATE"),
    (BEST, {"dues": 49_999}, Tier.A, ""),
    (BEST, {"dues": 50_000}, Tier.B, "DSR"),
    (BEST, {"cause": Cause.ARREARS}, Tier.B, "CLOSED_FOR_ARREARS"),
    (BEST, {"cause": Cause.INACTIVITY_CLOSE}, Tier.A, ""),
    (BEST, {"cause": Cause.LIMIT_CUT, "dues": 0}, Tier.A, ""),
    # B, and just not B
    (MIDDLE, {}, Tier.B, "PD"),
    (MIDDLE, {"eta": TEN}, Tier.C, "PD"),
    (MIDDLE, {"lateness": CURED}, Tier.B, "PD LATE"),
    (MIDDLE, {"lateness": Lateness(0, 31, 6)}, Tier.C, "LATE"),
    (MIDDLE, {"lateness": Lateness(20, 30, 5)}, Tier.C, "NOT_CURED"),
    (MIDDLE, {"lateness": Lateness(20, 30, None)}, Tier.C, "NOT_CURED"),
    (MIDDLE, {"lateness": CURED, "dpd": 1}, Tier.C, "NOT_CURED"),
    (MIDDLE, {"dues": 59_999}, Tier.B, "PD DSR"),
    (MIDDLE, {"dues": 60_000}, Tier.C, "DSR"),
    # what is not known keeps out
    (BEST, {"eta": None}, Tier.C, "NO_SCORE"),
    (BEST, {"income": None}, Tier.C, "NO_INCOME"),
    (BEST, {"income": 0, "dues": 0}, Tier.C, "NO_INCOME"),
    (MIDDLE, {"income": -1}, Tier.C, "NO_INCOME"),
    (
        MIDDLE,
        {"eta": TEN, "dues": 70_000, "lateness": Lateness(9, 40, 1)},
        Tier.C,
        "PD LATE NOT_CURED DSR",
    ),
]


@pytest.mark.parametrize("row", TABLE)
def test_tier_and_what_kept_out_of_a_better_one(
    row: tuple[ClosedLine, dict[str, object], Tier, str],
) -> None:
    line, changed, tier, bars = row
    placed = tier_of(replace(line, **changed), RESTART)
    assert placed.tier is tier
    assert " ".join(placed.bars) == bars
    assert len(TABLE) == 32


def test_every_bar_is_in_the_table() -> None:
    assert {name for *_, bars in TABLE for name in bars.split()} == set(Bar)


@given(
    st.builds(
        ClosedLine,
        cause=st.sampled_from([Cause.ARREARS, Cause.ANOMALY, Cause.FREEZE, Cause.UNSTATED]),
        fraud_confirmed=st.booleans(),
        anomaly_cleared=st.booleans(),
        dpd=st.sampled_from([0, 1, 30, 31, 90, 91]),
        charged_off=st.booleans(),
        lateness=st.sampled_from([NEVER, CURED, Lateness(0, 31, 9), Lateness(60, 60, None)]),
        eta=st.none() | st.integers(-(20 << 32), 20 << 32),
        dues=st.integers(0, 100_000),
        income=st.none() | st.integers(0, 200_000),
    ),
    st.integers(1, 10_000),
    st.integers(1, 1 << 32),
)
def test_more_income_or_a_better_score_never_leads_to_a_worse_tier(
    line: ClosedLine, more: int, better: int
) -> None:
    tier = tier_of(line, RESTART).tier
    if line.income is not None:
        assert tier_of(replace(line, income=line.income + more), RESTART).tier <= tier
    if line.eta is not None:
        assert tier_of(replace(line, eta=line.eta - better), RESTART).tier <= tier
    assert tier_of(replace(line, fraud_confirmed=True), RESTART).tier is Tier.D


def test_line_that_no_lender_closed_has_no_tier() -> None:
    for cause in (Cause.PAID_OUT, Cause.CLOSED_BORROWER, Cause.DEFAULT):
        with pytest.raises(DomainError):
            replace(BEST, cause=cause)
    with pytest.raises(DomainError):
        replace(BEST, lateness=Lateness(5, 4, None))
    with pytest.raises(DomainError):
        replace(BEST, dues=-1)


TODAY = date(2026, 11, 2)


def test_heavy_debt_is_counselled_before_a_ladder_is_offered() -> None:
    def first(dues: int) -> bool:
        line = replace(MIDDLE, dues=dues)
        return treatment_of(line, tier_of(line, RESTART), today=TODAY).counselling_first

    assert not first(39_999)
    assert first(40_000)
    assert not replace(MIDDLE, income=None).dsr_below(Ppm(10**9))


def test_tiers_c_and_d_are_looked_at_again_within_ninety_days() -> None:
    for line, tier, counselled in (
        (BEST, Tier.A, False),
        (replace(BEST, income=None), Tier.C, True),
        (replace(BEST, fraud_confirmed=True), Tier.D, False),
    ):
        found = treatment_of(line, tier_of(line, RESTART), today=TODAY)
        assert found.tier is tier
        assert found.counselling_first is counselled
        assert (found.again_on == date(2027, 1, 31)) is (tier is not Tier.A)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_tier_a_never_pays_more_than_before_the_closure(old: int, lowest: int) -> None:
    price = reinstated_price(Ppm(old), lowest=Ppm(lowest))
    assert price <= old


def test_reinstated_limit_is_the_old_one_within_tier_and_capacity() -> None:
    assert reinstated_limit(100, tier_limit=200, dsr_limit=300) == 100
    assert reinstated_limit(100, tier_limit=80, dsr_limit=300) == 80
    assert reinstated_limit(100, tier_limit=80, dsr_limit=-5) == 0


def test_holdout_and_waves_are_drawn_alike_by_everybody_and_evenly() -> None:
    tokens = [PersonToken(k.to_bytes(16, "big")) for k in range(20_000)]
    held = [token for token in tokens if in_holdout("c1", token, RESTART.holdout_percent)]
    assert abs(len(held) / len(tokens) - 0.10) < 0.012
    waves = [wave_of("c1", token, (1, 5, 20, 100)) for token in tokens]
    for wave, share in enumerate((0.01, 0.04, 0.15, 0.80)):
        assert abs(waves.count(wave) / len(tokens) - share) < 0.016
    other = [token for token in tokens if in_holdout("c2", token, RESTART.holdout_percent)]
    assert len(set(held) & set(other)) < len(held) / 4
    apart = [wave_of("c1", token, (1, 5, 20, 100)) for token in held]
    assert abs(apart.count(3) / len(held) - 0.80) < 0.05
