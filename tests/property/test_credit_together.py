"""Decision, offers, sheets and modules speak of the same loan, under the sample policy."""

import dataclasses
import typing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.capacity import Income, dues_of
from consortium.credit.cost import cap_of, cost_sheet
from consortium.credit.decision import decide
from consortium.credit.education import CODES
from consortium.credit.facts import DecisionInput
from consortium.credit.offers import Capacity, Need, listed_for_all, suitable_offers
from consortium.credit.terms import GRADES, PURPOSES, Grade, Purpose
from consortium.credit.verdict import RULE_TEXTS, Outcome
from consortium.scoring.scorecard import cut_units
from tests.cost_house import EARLY, LATE, addon
from tests.credit_house import INCOME, INPUT, RULES, STANDING, TODAY, case


def capacity_of(income: Income) -> Capacity:
    rules = RULES.policy.rules
    dues = dues_of(STANDING.here, STANDING.elsewhere, STANDING.elsewhere_upper, rules)
    return Capacity(income=income, dues=dues, cap=rules.dsr_cap)


@given(
    st.integers(500_000, 10_000_000),
    st.integers(3, 36),
    st.integers(1_000_000, 9_000_000),
    st.sampled_from(["0.05", "0.10", "0.15", "0.20"]),
)
def test_what_is_approved_is_offered_to_the_unit(
    amount: int, months: int, each: int, pd: str
) -> None:
    income = replace(INCOME, credits=(each, each, each))
    inputs = case(amount=amount, tenor_months=months, income=income, eta=cut_units(pd))
    decision = decide(inputs, RULES)
    if decision.outcome is not Outcome.APPROVE:
        return
    assert decision.grade is not None
    need = Need(
        amount=amount,
        purpose=Purpose.DURABLES,
        tenor_months=months,
        repays_arrears=False,
    )
    found = suitable_offers(
        RULES,
        decision.grade,
        need,
        capacity_of(income),
        ceiling=decision.limit,
        day=TODAY,
    )
    (offer,) = [one for one in found.offers if one.product == inputs.wish.product]
    assert offer.terms.amount.minor == decision.limit
    assert offer.terms.price_apr == decision.price_apr[1]


def test_an_addon_has_no_place_in_what_a_decision_is_made_from() -> None:
    kinds, open_ = set(), [DecisionInput]
    while open_:
        kind = open_.pop()
        if kind not in kinds:
            kinds.add(kind)
            for hint in typing.get_type_hints(kind).values():
                inner = [hint, *typing.get_args(hint)]
                open_ += [one for one in inner if dataclasses.is_dataclass(one)]
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert not {name for name in names if "addon" in name or "add_on" in name}


@given(st.sets(st.sampled_from("ABCD")), st.integers(0, 100_000))
def test_decision_and_base_price_are_the_same_with_any_addons(
    taken: set[str], amount: int
) -> None:
    decision = decide(INPUT, RULES)
    assert decision.grade is not None
    need = Need(
        amount=decision.limit,
        purpose=Purpose.DURABLES,
        tenor_months=12,
        repays_arrears=False,
    )
    (offer, *_) = suitable_offers(
        RULES, decision.grade, need, capacity_of(INCOME), ceiling=decision.limit, day=TODAY
    ).offers
    product = RULES.catalogue.product(offer.product)
    assert product is not None
    cap = cap_of(RULES.pack, product.segment, TODAY)
    some = tuple(
        replace(one, amount=replace(one.amount, currency="TWD"))
        for one in (addon(code, amount) for code in sorted(taken))
    )
    plain, dressed = (
        cost_sheet(
            offer.terms, cap=cap, penalties=(LATE,), early_repayment=EARLY, addons=addons
        )
        for addons in ((), some)
    )
    assert replace(dressed, addons=()) == plain
    assert decide(INPUT, RULES).to_bytes() == decision.to_bytes()


@pytest.mark.parametrize("grade", GRADES)
def test_every_cell_of_the_sample_policy_has_an_offer_or_says_why_not(grade: Grade) -> None:
    for purpose in PURPOSES:
        need = Need(amount=6_000_000, purpose=purpose, tenor_months=12, repays_arrears=False)
        found = suitable_offers(
            RULES, grade, need, capacity_of(INCOME), ceiling=10**9, day=TODAY
        )
        assert found.none_suits is bool(found.why)
        assert found.none_suits is not RULES.policy.cell(grade, purpose).offered


def test_list_that_is_not_personal_has_every_product_of_the_catalogue() -> None:
    lines = listed_for_all(RULES, day=TODAY)
    assert {one.product for one in lines} == {one.id for one in RULES.catalogue.products}


def test_rules_and_modules_name_the_same_module() -> None:
    assert {code: CODES[code].value for code in RULE_TEXTS} == {
        code: text.module for code, text in RULE_TEXTS.items()
    }
