"""The decision: each rule on both sides, the order of the table, true reasons, replay."""

import itertools
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from consortium.credit.capacity import DueKind, Income, Obligation
from consortium.credit.decision import decide, replay
from consortium.credit.facts import Consent, DecisionInput, Flag, RestartTier
from consortium.credit.instalments import due_of, largest_amount
from consortium.credit.terms import Grade, Purpose
from consortium.credit.tiers import check_rules
from consortium.credit.verdict import (
    RULE_TEXTS,
    Bound,
    Decision,
    Final,
    Outcome,
    Override,
    OverrideCode,
    ReasonSource,
    override,
)
from consortium.errors import (
    ConsentMissingError,
    DecodeError,
    DigestMismatchError,
    DomainError,
    PolicyError,
    ReasonMissingError,
)
from consortium.scoring.scorecard import cut_units
from tests.credit_house import (
    CONSENTS,
    INCOME,
    INPUT,
    ROOT,
    RULES,
    SCORE,
    TODAY,
    case,
    catalogue,
    pack,
    policy,
    under,
)

DECLINE = cut_units("0.35")
REFER = cut_units("0.25")
SERIOUS = {"dpd_now": 91}
REFUSED = {"eta": DECLINE}
DOUBTFUL = {"eta": REFER}
FLAGGED = {"flags": (Flag.FRAUD,)}
POOR: dict[str, Any] = {"income": replace(INCOME, credits=(1, 1, 1))}
USED_UP = {"headroom": (0,) * 5}
TOO_MUCH = {"amount": 10_000_001}


def outcome(**changes: object) -> tuple[str, str]:
    made = decide(case(**changes), RULES)
    return made.outcome.value, made.code


def test_applicant_of_the_house_is_approved_for_what_was_asked() -> None:
    made = decide(INPUT, RULES)
    assert made.outcome is Outcome.APPROVE
    assert (made.grade, made.limit, made.code) == (Grade.G1, 6_000_000, "")
    assert (made.bounds, made.reasons, made.fired) == ((), (), ())
    assert made.documents == ("identity", "income")
    assert made.price_apr == (60_000, 90_000)
    due = due_of(6_000_000, 90_000, 12)
    assert made.dsr == (500_000 + 100_000 + due) * 3 * 10**6 // 18_000_000
    assert made.review.route == "credit_review_desk"
    assert made.review.by == TODAY + timedelta(days=15)


BOTH_SIDES: list[tuple[dict[str, Any], tuple[str, str], dict[str, Any]]] = [
    # what fires, what it comes to, and the same just inside
    ({"flags": (Flag.FRAUD,)}, ("REFER", "F1"), {"flags": ()}),
    ({"flags": (Flag.IDENTITY,)}, ("REFER", "F1"), {"flags": ()}),
    ({"flags": (Flag.USE_OF_FUNDS,)}, ("REFER", "F1"), {"flags": ()}),
    ({"income": None}, ("REFER", "R20"), {"income": INCOME}),
    (
        {"income": replace(INCOME, credits=(6_000_000, 6_000_000))},
        ("REFER", "R20"),
        {"income": replace(INCOME, credits=(0, 6_000_000, 6_000_000, 6_000_000))},
    ),
    (
        {"income": replace(INCOME, credits=(0, 0, 0))},
        ("REFER", "R20"),
        {"income": INCOME},
    ),
    (
        {"income": replace(INCOME, latest_on=date(2025, 11, 25))},
        ("REFER", "R20"),
        {"income": replace(INCOME, latest_on=date(2025, 11, 26))},
    ),
    ({"consents": CONSENTS[:2]}, ("REFER", "R20"), {"consents": CONSENTS}),
    ({"purpose": None}, ("REFER", "R24"), {"purpose": Purpose.HOME}),
    (
        {"has_history": False, "band": "0", "consents": CONSENTS},
        ("REFER", "R25"),
        {"has_history": False, "band": "1"},
    ),
    ({"score": None}, ("REFER", "R25"), {"score": SCORE}),
    ({"dpd_now": 91}, ("DECLINE", "R23"), {"dpd_now": 90}),
    ({"stage": 3}, ("DECLINE", "R23"), {"stage": 2}),
    ({"amount": 10_000_001}, ("DECLINE", "R22"), {"amount": 10_000_000}),
    ({"amount": 499_999}, ("DECLINE", "R22"), {"amount": 500_000}),
    ({"tenor_months": 2}, ("DECLINE", "R22"), {"tenor_months": 3}),
    ({"tenor_months": 37}, ("DECLINE", "R22"), {"tenor_months": 36}),
    ({"adult": False}, ("DECLINE", "R22"), {"adult": True}),
    ({"product": "unheard_of"}, ("DECLINE", "R22"), {"product": "revolving"}),
    ({"purpose": Purpose.PROJECT}, ("DECLINE", "R22"), {"purpose": Purpose.TRAVEL}),
    ({"eta": DECLINE}, ("DECLINE", ""), {"eta": cut_units("0.0999")}),
    ({"eta": DECLINE - 1}, ("REFER", "R26"), {"eta": REFER - 1}),
    ({"eta": REFER}, ("REFER", "R26"), {"eta": REFER - 1}),
    ({"headroom": (499_999,) * 5}, ("REFER", "R27"), {"headroom": (500_000,) * 5}),
]


@pytest.mark.parametrize(("fires", "expected", "inside"), BOTH_SIDES, ids=str)
def test_rule_fires_on_one_side_of_its_bound_only(
    fires: dict[str, Any], expected: tuple[str, str], inside: dict[str, Any]
) -> None:
    assert outcome(**fires) == expected
    made = decide(case(**inside), RULES)
    assert made.outcome is Outcome.APPROVE, made


def test_grade_changes_on_its_cut_and_with_it_the_tenor_that_is_offered() -> None:
    cut = cut_units("0.18")
    strong, weak = (decide(case(eta=eta, tenor_months=30), RULES) for eta in (cut - 1, cut))
    assert (strong.grade, strong.outcome) == (Grade.G3, Outcome.APPROVE)
    assert (weak.grade, weak.code) == (Grade.G4, "R22")


def test_capacity_lowers_the_amount_to_the_largest_that_fits_and_says_so() -> None:
    tight = replace(INCOME, credits=(1_600_000,) * 3)
    made = decide(case(income=tight), RULES)
    left = 800_000 - 600_000
    assert made.limit == largest_amount(left, 90_000, 12)
    assert due_of(made.limit, 90_000, 12) <= left < due_of(made.limit + 1, 90_000, 12)
    assert made.bounds == (Bound.DSR,)
    assert [one.code for one in made.reasons] == ["R21"]
    assert [(one.step, one.outcome) for one in made.fired] == [(7, Outcome.APPROVE)]
    assert made.dsr is not None
    assert made.dsr <= 500_000


def test_capacity_declines_below_the_smallest_amount_of_the_product() -> None:
    least = due_of(500_000, 90_000, 12)
    just = 2 * (600_000 + least)
    income = replace(INCOME, credits=(just,) * 3)
    assert decide(case(income=income), RULES).limit >= 500_000
    less = replace(INCOME, credits=(just - 1, just, just))
    made = decide(case(income=less), RULES)
    assert (made.outcome, made.code, made.limit) == (Outcome.DECLINE, "R21", 0)


def test_dues_elsewhere_count_by_the_upper_edge_of_their_band() -> None:
    made = decide(case(elsewhere_upper=2_000_000), RULES)
    assert not made.dues_elsewhere_unknown
    assert made.bounds == (Bound.DSR,)
    assert decide(INPUT, RULES).dues_elsewhere_unknown


def test_restart_has_the_bound_of_its_tier() -> None:
    tight = replace(INCOME, credits=(2_100_000,) * 3)
    plain = decide(case(income=tight), RULES)
    ladder = decide(case(income=tight, restart=RestartTier.B), RULES)
    reinstated = decide(case(income=tight, restart=RestartTier.A), RULES)
    assert plain.bounds == reinstated.bounds == (Bound.DSR,)
    assert ladder.bounds == ()


def test_tier_limit_lowers_the_amount_with_the_reasons_that_were_scored() -> None:
    made = decide(
        case(
            product="instalment_large",
            amount=45_000_000,
            tenor_months=48,
            eta=cut_units("0.09"),
            income=replace(INCOME, credits=(90_000_000,) * 3),
        ),
        RULES,
    )
    assert (made.grade, made.limit, made.bounds) == (Grade.G2, 40_000_000, (Bound.TIER,))
    assert [one.code for one in made.reasons] == ["R01", "R32", "R06"]


def test_growth_cap_lowers_the_amount_and_used_up_refers_but_never_declines() -> None:
    made = decide(case(headroom=(700_000,) * 5), RULES)
    assert (made.limit, made.bounds) == (700_000, (Bound.GROWTH,))
    assert outcome(**USED_UP) == ("REFER", "R27")


ORDER: list[tuple[dict[str, Any], tuple[str, str]]] = [
    (FLAGGED, ("REFER", "F1")),
    ({"purpose": None}, ("REFER", "R24")),
    (SERIOUS, ("DECLINE", "R23")),
    (TOO_MUCH, ("DECLINE", "R22")),
    (REFUSED, ("DECLINE", "")),
    (DOUBTFUL, ("REFER", "R26")),
    (POOR, ("DECLINE", "R21")),
    (USED_UP, ("REFER", "R27")),
]
EXCLUSIVE = [
    (REFUSED, DOUBTFUL),
    ({"purpose": None}, REFUSED),
    ({"purpose": None}, DOUBTFUL),
    ({"purpose": None}, POOR),
    ({"purpose": None}, USED_UP),
    (REFUSED, POOR),
    (REFUSED, USED_UP),
]
"""The second needs what the first takes away: cuts or terms of a purpose, or another eta."""


PAIRS = [
    (first, second)
    for first, second in itertools.combinations(ORDER, 2)
    if (first[0], second[0]) not in EXCLUSIVE
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=str)
def test_first_rule_that_fires_decides_and_all_that_fired_are_kept(
    first: tuple[dict[str, Any], tuple[str, str]],
    second: tuple[dict[str, Any], tuple[str, str]],
) -> None:
    (one, expected), (other, later) = first, second
    made = decide(case(**(one | other)), RULES)
    assert (made.outcome.value, made.code) == expected
    assert {expected[1], later[1]} <= {fired.code for fired in made.fired}
    assert [fired.step for fired in made.fired] == sorted(fired.step for fired in made.fired)


def test_decline_by_score_has_the_reasons_that_were_scored_in_their_order() -> None:
    made = decide(case(**REFUSED), RULES)
    assert [(one.code, one.points, one.source) for one in made.reasons] == [
        ("R01", 41, ReasonSource.OWN),
        ("R32", 20, ReasonSource.OTHERS),
        ("R06", 7, ReasonSource.OWN),
    ]


def test_rule_codes_come_before_losses_and_four_are_all() -> None:
    made = decide(case(**(SERIOUS | TOO_MUCH | REFUSED)), RULES)
    assert [one.code for one in made.reasons] == ["R23", "R22", "R01", "R32"]


def test_decline_by_rule_does_not_blame_the_score() -> None:
    made = decide(case(**SERIOUS), RULES)
    assert [one.code for one in made.reasons] == ["R23"]


def test_refer_has_no_automated_reasons() -> None:
    for changes in (FLAGGED, {"income": None}, DOUBTFUL, USED_UP):
        assert decide(case(**changes), RULES).reasons == ()


def test_decline_that_nothing_explains_is_a_defect_and_not_stored() -> None:
    with pytest.raises(ReasonMissingError):
        decide(case(**REFUSED, reasons=()), RULES)
    assert decide(case(**REFUSED, **SERIOUS, reasons=()), RULES).reasons[0].code == "R23"


def test_every_code_of_a_rule_has_a_text_in_both_languages_and_a_module() -> None:
    for text in RULE_TEXTS.values():
        assert text.zh
        assert text.en
        assert text.module in {f"E{number}" for number in range(1, 7)}
    fired = {expected[1] for _, expected, _ in BOTH_SIDES} | {"R21"}
    assert {code for code in fired if code} == set(RULE_TEXTS)


# --- step 1: refused as an error --------------------------------------------------------------


def test_without_consent_to_a_decision_there_is_none() -> None:
    with pytest.raises(ConsentMissingError, match="CREDIT_DECISION"):
        decide(case(consents=CONSENTS[1:]), RULES)


def test_joint_score_without_its_consent_is_refused_and_a_local_one_is_not() -> None:
    without = (CONSENTS[0], CONSENTS[2])
    with pytest.raises(ConsentMissingError, match="JOINT_SCORE"):
        decide(case(consents=without), RULES)
    assert decide(case(consents=without, band="0"), RULES).outcome is Outcome.APPROVE


@pytest.mark.parametrize("end", ["expires_on", "withdrawn_on"])
def test_consent_that_ended_today_counts_for_nothing_today(end: str) -> None:
    def ending(day: date) -> tuple[Consent, ...]:
        return (replace(CONSENTS[0], **{end: day}), *CONSENTS[1:])

    with pytest.raises(ConsentMissingError):
        decide(case(consents=ending(TODAY)), RULES)
    tomorrow = ending(TODAY + timedelta(days=1))
    if end == "expires_on":
        decide(case(consents=tomorrow), RULES)
    else:  # nobody has withdrawn tomorrow
        with pytest.raises(DomainError, match="withdrawn_on"):
            case(consents=tomorrow)


def test_rules_that_are_not_in_force_decide_nothing() -> None:
    early = date(2026, 10, 31)
    inputs = case(
        decided_on=early,
        income=replace(INCOME, latest_on=early),
        consents=tuple(replace(one, given_on=early) for one in CONSENTS),
    )
    with pytest.raises(PolicyError, match="not in force on 2026-10-31"):
        decide(inputs, RULES)


def test_rules_other_than_the_input_names_are_refused() -> None:
    other = check_rules(
        pack("tw"), policy(**{'dsr_cap = "0.50"': 'dsr_cap = "0.40"'}), catalogue()
    )
    with pytest.raises(DigestMismatchError, match="policy"):
        decide(INPUT, other)
    assert decide(under(other), other).input != decide(INPUT, RULES).input


def test_another_currency_is_refused_not_converted() -> None:
    with pytest.raises(DomainError, match="currency"):
        decide(case(currency="CNY"), RULES)


# --- bytes ------------------------------------------------------------------------------------


def test_decision_and_input_have_one_byte_form_and_replay_to_it() -> None:
    for changes in ({}, SERIOUS, REFUSED, DOUBTFUL, POOR, {"income": None}, {"score": None}):
        inputs = case(**changes)
        made = decide(inputs, RULES)
        assert DecisionInput.from_bytes(inputs.to_bytes()) == inputs
        assert Decision.from_bytes(made.to_bytes()) == made
        assert replay(inputs.to_bytes(), made.to_bytes(), RULES) == made


def test_stored_decision_that_was_touched_does_not_replay() -> None:
    made = decide(INPUT, RULES)
    touched = replace(made, limit=made.limit + 1)
    with pytest.raises(DigestMismatchError):
        replay(INPUT.to_bytes(), touched.to_bytes(), RULES)
    other = case(dpd_now=1)
    with pytest.raises(DigestMismatchError):
        replay(other.to_bytes(), made.to_bytes(), RULES)


def test_input_of_another_form_is_refused() -> None:
    data = INPUT.to_bytes()
    for wrong in (data + b" ", data.replace(b'"2026-11-26"', b'"20261126"'), b"{}"):
        with pytest.raises(DecodeError):
            DecisionInput.from_bytes(wrong)


# --- officers ---------------------------------------------------------------------------------


def test_officer_may_overturn_every_outcome_with_a_code() -> None:
    declined = decide(case(**SERIOUS), RULES)
    done = override(
        declined,
        OverrideCode.DOCUMENT_ERROR,
        role="senior_officer",
        on=TODAY,
        to=Final(outcome=Outcome.APPROVE, limit=1_000_000),
    )
    assert (done.before, done.after) == (Outcome.DECLINE, Outcome.APPROVE)
    assert done.decision == declined.digest
    assert Override.from_bytes(done.to_bytes()) == done


@pytest.mark.parametrize(
    "to",
    [
        Final(outcome=Outcome.REFER),
        Final(outcome=Outcome.APPROVE),
        Final(outcome=Outcome.APPROVE, limit=1, reasons=("R01",)),
        Final(outcome=Outcome.DECLINE),
        Final(outcome=Outcome.DECLINE, limit=1, reasons=("R01",)),
        Final(outcome=Outcome.DECLINE, reasons=("R01", "R02", "R03", "R04", "R05")),
        Final(outcome=Outcome.DECLINE, limit=-1, reasons=("R01",)),
        Final(outcome=Outcome.APPROVE, limit=1 << 53),
        Final(outcome=Outcome.DECLINE, reasons=("bank_b_says_no",)),
        Final(outcome=Outcome.DECLINE, reasons=("R01 ",)),
    ],
    ids=str,
)
def test_override_that_is_not_final_or_not_explained_is_refused(to: Final) -> None:
    made = decide(case(**DOUBTFUL), RULES)
    with pytest.raises(DomainError):
        override(made, OverrideCode.NEW_FACTS, role="officer", on=TODAY, to=to)


def test_obligation_kinds_give_the_dues_of_credit_4_10() -> None:
    card = Obligation(kind=DueKind.REVOLVING, scheduled=10_000, balance=2_000_000)
    assert (
        decide(case(here=(), elsewhere=(card,)), RULES).dsr
        == decide(
            case(
                here=(Obligation(kind=DueKind.TERM, scheduled=100_000, balance=0),),
                elsewhere=(),
            ),
            RULES,
        ).dsr
    )


def test_income_of_the_latest_three_credits_is_what_counts() -> None:
    longer = Income(credits=(1, 6_000_000, 6_000_000, 6_000_000), latest_on=INCOME.latest_on)
    assert decide(case(income=longer), RULES).dsr == decide(INPUT, RULES).dsr


def test_every_number_of_credit_md_that_the_decision_cites_is_there() -> None:
    known = set(re.findall(r"\*\*(\d\.\d+)\*\*", (ROOT / "docs" / "credit.md").read_text()))
    modules = (
        *("admission", "capacity", "counterfactual", "decision", "facts", "hooks"),
        *("instalments", "levers", "pack", "policy", "reading", "stopping", "terms"),
        *("tiers", "verdict"),
    )
    for name in modules:
        text = (ROOT / "consortium" / "credit" / f"{name}.py").read_text(encoding="utf-8")
        cited = set(re.findall(r"credit (\d\.\d+)", text))
        assert cited <= known, name
