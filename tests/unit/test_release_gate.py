"""The gate's lines: what passes, what fails, and what honestly cannot be told."""

import math
from dataclasses import replace

import numpy as np
import pytest

from consortium.audit.result import AuditVerdict, EmpiricalAudit, Trial
from consortium.credit.gate import (
    REFUSED_BY_CHANCE,
    GateCheck,
    Range,
    Verdict,
    Why,
    audit_check,
    calibration_checks,
    dominance_checks,
    gate_checks,
    judged,
    refused,
)
from consortium.credit.intervals import Interval, width_for
from consortium.errors import ConfigurationError
from consortium.gates import AuditRule, GatePolicy, check_gate, gate_document, gate_of
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Entry, ReleaseGate
from tests.gate_house import CODE, count_noise, evaluated, inputs, moments, small_head

POLICY = GatePolicy()
WIDTH = width_for(13, REFUSED_BY_CHANCE)
"""Of a gate with thirteen figures: a head of two banks, two platforms and three families."""

RANGE = Range(
    low=POLICY.number("least_slope"),
    high=POLICY.number("most_slope"),
    tolerance=0.1,  # type: ignore[arg-type]
)


def lines(checks: tuple[GateCheck, ...] | list[GateCheck], name: str) -> dict[str, GateCheck]:
    return {one.subject: one for one in checks if one.name == name}


@pytest.mark.parametrize(
    ("value", "half", "verdict"),
    [
        (1.0, 0.1, Verdict.PASSED),
        (1.0, 0.3, Verdict.NOT_ASSESSED),
        (0.5, 0.2, Verdict.FAILED),
        (0.5, 0.4, Verdict.NOT_ASSESSED),
        (1.15, 0.09, Verdict.PASSED),
        (1.25, 0.09, Verdict.FAILED),
        (1.25, 0.11, Verdict.NOT_ASSESSED),
        (2.0, 0.1, Verdict.FAILED),
    ],
)
def test_value_decides_at_a_bound_only_if_its_interval_is_narrow(
    value: float, half: float, verdict: Verdict
) -> None:
    seen = judged(
        "calibration.slope", "banks", Interval(value, value - half, value + half), RANGE
    )
    assert seen.verdict == verdict.value
    assert seen.failed == (verdict is Verdict.FAILED)


def test_figure_that_is_not_defined_is_not_assessed() -> None:
    seen = judged("calibration.slope", "banks", None, RANGE)
    assert (seen.verdict, seen.why) == (Verdict.NOT_ASSESSED.value, Why.UNDEFINED.value)


# --- calibration ------------------------------------------------------------------------------


def test_calibrated_candidate_passes_in_the_large_and_by_its_slope() -> None:
    checks = calibration_checks(evaluated(persons=400_000), POLICY, width=WIDTH)
    assert not refused(checks)
    whole = lines(checks, "calibration.in_the_large") | lines(checks, "calibration.slope")
    assert {one.verdict for one in whole.values()} == {Verdict.PASSED.value}


@pytest.mark.parametrize(
    ("shift", "stretch", "name"),
    [
        (0.4, 1.0, "calibration.in_the_large"),
        (-0.4, 1.0, "calibration.in_the_large"),
        (-0.9, 0.6, "calibration.slope"),
    ],
)
def test_miscalibrated_candidate_is_refused(shift: float, stretch: float, name: str) -> None:
    checks = calibration_checks(evaluated(shift=shift, stretch=stretch), POLICY, width=WIDTH)
    assert lines(checks, name)["banks"].failed
    assert refused(checks)


def test_gate_of_many_blocks_fits_into_an_entry() -> None:
    off = evaluated(persons=400_000, shift=0.8)
    checks = gate_checks(inputs(*(64 * [off])), POLICY, code_is_named=False)
    gate = ReleaseGate(version=CODE, passed=False, audit=None, checks=checks)
    entry = Entry(seq_hint=0, at=1, actor=PartnerId("coordinator"), body=gate)
    assert len(entry.to_jcs()) < 60 * 1024
    assert sum(one.name == "calibration.slope" for one in checks) == 64


def test_few_persons_or_much_noise_are_not_assessed_and_stop_nothing() -> None:
    few = calibration_checks(evaluated(persons=900, shift=1.0), POLICY, width=WIDTH)
    assert {one.why for one in few} == {Why.ROWS.value}
    noisy = calibration_checks(evaluated(persons=4_000, noise=100.0), POLICY, width=WIDTH)
    assert {one.why for one in noisy} == {Why.NOISE.value}
    assert not refused((*few, *noisy))


def test_manifest_may_widen_the_range_of_the_slope() -> None:
    off = evaluated(shift=-0.55, stretch=0.75)
    wide = replace(POLICY, least_slope="0.7", most_slope="1.3")
    told = [
        lines(calibration_checks(off, policy, width=WIDTH), "calibration.slope")["banks"]
        for policy in (POLICY, wide)
    ]
    assert [one.failed for one in told] == [True, False]


def test_few_bads_that_noise_makes_many_refuse_no_honest_head() -> None:
    """Persons of one family in a rehearsal: 407 bads, 633 with the noise, expected .64."""
    head = small_head(np.zeros).evaluated[0]
    noise = np.zeros((16, 2))
    noise[:, 1] = 233 / 16
    noise[:, 0] = -noise[:, 1]
    unlucky = replace(head, table=head.table + noise)
    large, _ = calibration_checks(unlucky, POLICY, width=1.96)
    assert float(large.value) == pytest.approx(0.636, abs=0.002)
    assert float(large.at_most) > 0.9
    assert (large.verdict, large.why) == (Verdict.NOT_ASSESSED.value, Why.NOISE.value)


def test_ratio_whose_bads_do_not_stand_out_of_the_noise_has_no_ends() -> None:
    head = small_head(np.zeros).evaluated[0]
    large, _ = calibration_checks(replace(head, deviation=60.0), POLICY, width=WIDTH)
    assert (large.value, large.at_least, large.at_most) == ("1.0000", "", "")
    assert large.why == Why.NOISE.value


@pytest.mark.parametrize("off", [math.log(2), -math.log(2)], ids=["twice", "half"])
def test_odds_off_by_a_factor_of_two_are_refused_however_many_lines_there_are(
    off: float,
) -> None:
    block = evaluated(persons=6_000, shift=off, noise=13.0)  # as of the Taiwan rehearsal
    width = width_for(40, REFUSED_BY_CHANCE)
    large, _ = calibration_checks(block, POLICY, width=width)
    assert large.failed


@pytest.mark.slow
def test_honest_head_of_few_persons_passes_at_least_99_of_100_gates() -> None:
    """1,000 gates under the product's own noise; by derivatives at 95 %, 44 are refused."""
    source = count_noise(variance=int((30.86 * 1024) ** 2), seed=1)
    checks = [
        gate_checks(small_head(source), POLICY, code_is_named=False) for _ in range(1_000)
    ]
    assert sum(map(refused, checks)) <= 10


# --- dominance --------------------------------------------------------------------------------


def persons(share: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of two banks and of the rest; the first carries ``share`` of the variance."""
    rng = np.random.default_rng(7)  # noqa: TID251 - planted persons
    first = rng.normal(0, share**0.5, count)
    second = rng.normal(0, ((1 - share) / 2) ** 0.5, count)
    rest = rng.normal(0, ((1 - share) / 2) ** 0.5, count)
    return first, second, rest


def test_planted_partner_of_sixty_per_cent_blocks_the_release() -> None:
    first, second, rest = persons(0.6)
    sums = moments(
        {"bank_a": first, "bank_b": second},
        {"repayment": first, "billing": second, "payments": rest},
        noise=20.0,
    )
    checks = gate_checks(inputs(sums=sums), POLICY, code_is_named=False)
    partner = lines(checks, "dominance.partner")
    assert float(partner["bank_a"].value) == pytest.approx(0.6, abs=0.02)
    assert partner["bank_a"].failed
    assert not partner["bank_b"].failed
    assert refused(checks)


def test_partner_of_forty_per_cent_passes_and_a_family_of_eighty_does_not() -> None:
    first, second, rest = persons(0.4)
    sums = moments(
        {"bank_a": first, "bank_b": second},
        {"repayment": first + second, "billing": rest * 0.7},
        noise=5.0,
    )
    checks = dominance_checks(inputs(sums=sums), POLICY, width=WIDTH)
    assert not any(one.failed for one in lines(checks, "dominance.partner").values())
    assert lines(checks, "dominance.family")["repayment"].failed


def test_share_under_too_much_noise_or_without_sums_is_not_assessed() -> None:
    first, second, rest = persons(0.6, count=500)
    sums = moments(
        {"bank_a": first, "bank_b": second},
        {"repayment": first, "billing": second + rest},
        noise=400.0,
    )
    for given in (sums, None):
        checks = dominance_checks(inputs(sums=given), POLICY, width=WIDTH)
        assert {one.verdict for one in checks} == {Verdict.NOT_ASSESSED.value}


# --- the empirical audit ----------------------------------------------------------------------


def audit(*, gdp: str = "0.7", epsilon: str = "1", canaries: int = 4_000) -> EmpiricalAudit:
    trial = Trial(
        seed=Digest("ab" * 32),
        gdp=gdp,
        threshold="0.3",
        one_run="0.1",
        null_deviation="1.001",
        null_tolerance="0.026",
        null_correlation="0.01",
        correlation_tolerance="0.05",
        record_rate="0.001",
    )
    failed = bool(trial.reasons(epsilon))
    return EmpiricalAudit(
        code=CODE,
        plan=Digest("cd" * 32),
        epsilon=epsilon,
        delta="0.000001",
        noise_mode="shared",
        partners=4,
        honest=2,
        width=canaries + 100,
        canaries=canaries,
        rounds=20,
        null_rounds=60,
        trials=(trial, trial) if failed else (trial,),
        verdict=AuditVerdict.FAILED if failed else AuditVerdict.PASSED,
    )


def test_lower_bound_above_the_claim_refuses_the_release() -> None:
    good = audit_check(audit(), inputs(), POLICY, code_is_named=True)
    assert (good.verdict, good.value, good.high) == (Verdict.PASSED.value, "0.7", "1")
    bad = audit_check(audit(gdp="1.2"), inputs(), POLICY, code_is_named=True)
    assert (bad.failed, bad.why) == (True, Why.REFUTED.value)


def test_audit_of_other_software_or_with_few_canaries_refuses_the_release() -> None:
    other = replace(audit(), code=Digest("11" * 32))
    few = audit(canaries=500)
    whys = [audit_check(one, inputs(), POLICY, code_is_named=True).why for one in (other, few)]
    assert whys == [Why.OTHER_CLAIM.value, Why.FEW_CANARIES.value]


@pytest.mark.parametrize(
    ("rule", "named", "stops"),
    [
        (AuditRule.REQUIRED, False, True),
        (AuditRule.OPTIONAL, True, False),
        (AuditRule.IF_CODE_IS_NAMED, True, True),
        (AuditRule.IF_CODE_IS_NAMED, False, False),
    ],
)
def test_release_without_an_audit_is_refused_where_the_policy_asks_for_one(
    rule: AuditRule, *, named: bool, stops: bool
) -> None:
    policy = replace(POLICY, empirical_audit=rule)
    assert audit_check(None, inputs(), policy, code_is_named=named).failed == stops


# --- the policy -------------------------------------------------------------------------------


def test_policy_has_one_plain_form() -> None:
    policy = replace(POLICY, most_slope="1.3", empirical_audit=AuditRule.OPTIONAL)
    assert gate_of(gate_document(policy)) == policy
    assert gate_of({}) == POLICY


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"most_slop": "1.3"}, r"gate\.most_slop: no such setting"),
        ({"most_slope": 1.3}, r"gate\.most_slope: 1\.3 is not a decimal in quotes"),
        ({"most_slope": "0.5"}, r"gate\.most_slope: 0\.5 is outside 1 to 10"),
        ({"most_slope": "wide"}, "is not a decimal number"),
        ({"least_rows": 0}, r"gate\.least_rows: 0 is not from 1"),
        ({"retrainings": True}, r"gate\.retrainings: True is not from 1 to 20"),
        ({"empirical_audit": "maybe"}, "none of required, optional"),
    ],
)
def test_setting_that_makes_no_sense_is_named(table: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        gate_of(table)


def test_defaults_are_within_their_own_bounds() -> None:
    check_gate(GatePolicy())
