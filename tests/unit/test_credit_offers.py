import dataclasses
import inspect
from dataclasses import replace
from decimal import Decimal

import numpy_financial as npf
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.credit.cost import cap_of, cost_sheet
from consortium.credit.instalments import due_of
from consortium.credit.offers import (
    Capacity,
    Need,
    Offer,
    WhyNot,
    listed_for_all,
    suitable_offers,
)
from consortium.credit.rates import yearly_rates
from consortium.credit.schedule import Method, flows_of, schedule_of
from consortium.credit.terms import GRADES, Grade, Ppm, Purpose
from consortium.credit.tiers import Product, Repayment, Rules
from consortium.errors import DomainError
from tests.cost_house import EARLY
from tests.offer_house import DAY, income, product, rules_of

NEED = Need(amount=1_200_000, purpose=Purpose.DURABLES, tenor_months=12, repays_arrears=False)
CAPACITY = Capacity(income=income(1_000_000), dues=100_000, cap=Ppm(500_000))


def ranked(
    rules: Rules,
    *,
    need: Need = NEED,
    capacity: Capacity = CAPACITY,
    grade: Grade = Grade.G2,
    ceiling: int = 10**9,
) -> list[Offer]:
    found = suitable_offers(rules, grade, need, capacity, ceiling=ceiling, day=DAY)
    return list(found.offers)


def reasons(
    rules: Rules,
    *,
    need: Need = NEED,
    capacity: Capacity = CAPACITY,
    grade: Grade = Grade.G2,
    ceiling: int = 10**9,
) -> tuple[WhyNot, ...]:
    found = suitable_offers(rules, grade, need, capacity, ceiling=ceiling, day=DAY)
    assert found.none_suits
    return found.why


def test_cheapest_comes_first_then_fit_then_id() -> None:
    rules = rules_of(
        product("dear", price=(0, 150_000)),
        product("b", price=(0, 100_000)),
        product("a", price=(0, 100_000)),
        product("fee", price=(0, 90_000), fee=20_000),
    )
    assert [one.product for one in ranked(rules)] == ["a", "b", "fee", "dear"]


def test_of_equal_cost_the_one_that_fits_the_wish_comes_first() -> None:
    free = (0, 0)
    rules = rules_of(
        product("a_longer", price=free, tenor=(18, 36)),
        product("b_near", price=free, tenor=(14, 36)),
        product("c_part", price=free, amount=(1, 1_000_000)),
    )
    offers = ranked(rules)
    assert [(one.product, one.fit) for one in offers] == [
        ("b_near", 4),
        ("a_longer", 3),
        ("c_part", 3),
    ]


def test_amount_is_the_least_of_need_limit_ceiling_and_capacity() -> None:
    def amount(rules: Rules, **other: int) -> int:
        (offer,) = ranked(rules, **other)  # type: ignore[arg-type]
        return offer.terms.amount.minor

    rules = rules_of(product("a", price=(0, 0)))
    assert amount(rules) == 1_200_000
    assert amount(rules, ceiling=900_000) == 900_000
    assert amount(rules_of(product("a"), limit=800_000)) == 800_000
    tight = Capacity(income=income(400_000), dues=150_000, cap=Ppm(500_000))
    (offer,) = ranked(rules, capacity=tight)
    assert offer.terms.amount.minor == 600_005  # rounds to 50,000 a month
    assert offer.monthly_due == 50_000


def test_bullet_and_revolving_are_measured_by_what_they_take_from_a_month() -> None:
    rules = rules_of(
        product("bullet", repayment=Repayment.BULLET, price=(0, 120_000)),
        product("line", repayment=Repayment.REVOLVING, tenor=(24, 36), price=(0, 0)),
    )
    offers = {one.product: one for one in ranked(rules)}
    assert offers["bullet"].terms.method is Method.BULLET
    assert offers["bullet"].monthly_due == due_of(1_200_000, Ppm(120_000), 12)
    assert offers["line"].monthly_due == 60_000  # .05 of the balance, not 1/24
    tight = Capacity(income=income(400_000), dues=150_000, cap=Ppm(500_000))
    offers = {one.product: one for one in ranked(rules, capacity=tight)}
    assert offers["line"].terms.amount.minor == 1_000_009
    assert offers["bullet"].monthly_due <= 50_000


@pytest.mark.parametrize(
    ("why", "other"),
    [
        (WhyNot.REPAYS_ARREARS, {"need": replace(NEED, repays_arrears=True)}),
        (WhyNot.INCOME_UNKNOWN, {"capacity": replace(CAPACITY, income=None)}),
        (WhyNot.INCOME_UNKNOWN, {"capacity": replace(CAPACITY, income=income(0))}),
        (WhyNot.OVER_THE_CAP_ALREADY, {"capacity": replace(CAPACITY, dues=500_001)}),
        (WhyNot.CAPACITY, {"capacity": replace(CAPACITY, dues=500_000)}),
        (WhyNot.NOT_OFFERED, {"grade": Grade.G5}),
        (WhyNot.NOT_OFFERED, {"need": replace(NEED, purpose=Purpose.TRAVEL)}),
        (WhyNot.BELOW_THE_LEAST, {"need": replace(NEED, amount=99_999)}),
        (WhyNot.BELOW_THE_LEAST, {"ceiling": 99_999}),
    ],
)
def test_nothing_suits_and_it_is_said_why(why: WhyNot, other: dict[str, object]) -> None:
    assert reasons(rules_of(product("a")), **other) == (why,)  # type: ignore[arg-type]


def test_price_over_the_cost_cap_is_no_offer() -> None:
    bullet = product("b", repayment=Repayment.BULLET, price=(0, 240_000))
    need = replace(NEED, tenor_months=3)
    rich = replace(CAPACITY, income=income(10**7))
    assert reasons(rules_of(bullet), need=need, capacity=rich) == (WhyNot.COST_CAP,)
    fee = product("f", price=(0, 200_000), fee=30_000)
    assert reasons(rules_of(fee)) == (WhyNot.COST_CAP,)


def test_arrears_and_debt_over_the_cap_lead_to_counselling() -> None:
    rules = rules_of(product("a"))
    for need, capacity, told in (
        (replace(NEED, repays_arrears=True), CAPACITY, True),
        (NEED, replace(CAPACITY, dues=500_001), True),
        (NEED, replace(CAPACITY, income=None), False),
    ):
        found = suitable_offers(rules, Grade.G1, need, capacity, ceiling=10**9, day=DAY)
        assert found.counselling is told


def test_an_offer_has_a_cost_sheet_of_the_same_cost() -> None:
    rules = rules_of(product("a", fee=10_000))
    (offer,) = ranked(rules)
    cap = cap_of(rules.pack, rules.catalogue.products[0].segment, DAY)
    sheet = cost_sheet(offer.terms, cap=cap, penalties=(), early_repayment=EARLY, addons=())
    assert sheet.total_cost.minor == offer.total_cost
    assert sheet.charges[0].charge.code == "FEE"


def test_need_without_amount_or_tenor_is_refused() -> None:
    with pytest.raises(DomainError):
        replace(NEED, amount=0)
    with pytest.raises(DomainError):
        replace(NEED, tenor_months=0)


# --- the list for all -------------------------------------------------------------------------


def test_list_that_is_not_personal_knows_no_applicant() -> None:
    assert list(inspect.signature(listed_for_all).parameters) == ["rules", "day", "amount"]
    rules = rules_of(
        product("dear", price=(0, 150_000)),
        product("cheap", price=(0, 100_000)),
        product("large", price=(0, 100_000), amount=(2_000_000, 3_000_000)),
        product("long", price=(0, 90_000), tenor=(24, 36)),
    )
    lines = listed_for_all(rules, day=DAY)
    assert [(one.product, one.sold_so) for one in lines] == [
        ("long", False),
        ("cheap", True),
        ("large", False),
        ("dear", True),
    ]


def test_price_is_the_same_for_everybody_in_a_cell() -> None:
    rules = rules_of(product("a"))
    prices = {
        offer.terms.price_apr
        for each in (400_000, 600_000, 2_000_000)
        for offer in ranked(rules, capacity=replace(CAPACITY, income=income(each)))
    }
    assert prices == {120_000}


# --- any case ---------------------------------------------------------------------------------


def _product(rng: Generator, name: str) -> Product:
    def whole(low: int, high: int) -> int:
        return int(rng.integers(low, high, endpoint=True))

    least, shortest, cheapest = whole(1, 3_000_000), whole(1, 24), whole(0, 200_000)
    return product(
        name,
        repayment=tuple(Repayment)[whole(0, 2)],
        weakest=GRADES[whole(0, 4)],
        amount=(least, least + whole(0, 20_000_000)),
        tenor=(shortest, shortest + whole(0, 36)),
        price=(cheapest, cheapest + whole(0, 150_000)),
        fee=whole(0, 40_000) if whole(0, 1) else 0,
    )


def _keeps_every_bound(offer: Offer, rules: Rules, case: tuple[Need, Capacity, Grade]) -> None:
    need, capacity, grade = case
    sold = rules.catalogue.product(offer.product)
    assert sold is not None
    assert sold.serves(grade, need.purpose)
    amount = offer.terms.amount.minor
    assert sold.amount[0] <= amount <= min(sold.amount[1], need.amount)
    assert sold.tenor_months[0] <= offer.terms.months <= sold.tenor_months[1]
    assert capacity.income is not None
    apr, months = offer.terms.price_apr, offer.terms.months
    level = -float(npf.pmt(apr / 12e6, months, amount)) if apr else amount / months
    due = 0.05 * amount if sold.repayment is Repayment.REVOLVING else level
    mean = sum(capacity.income.credits) / 3
    assert capacity.dues + due <= 0.5 * mean + 0.5
    if sold.repayment is Repayment.ANNUITY:
        heaviest = max(row.due for row in schedule_of(offer.terms))
        assert heaviest <= offer.monthly_due + 3 * months


@pytest.mark.parametrize("cases", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_offer_of_thousands_breaks_capacity_eligibility_or_cap(
    rng: Generator, cases: int
) -> None:
    seen = 0
    for case in range(cases):
        if case % 50 == 0:
            rules = rules_of(*(_product(rng, f"p{k}") for k in range(4)), limit=15_000_000)
        need = Need(
            amount=int(rng.integers(1, 10_000_000)),
            purpose=(Purpose.DURABLES, Purpose.HOME, Purpose.TRAVEL)[int(rng.integers(3))],
            tenor_months=int(rng.integers(1, 72)),
            repays_arrears=bool(rng.integers(20) == 0),
        )
        each = int(rng.integers(0, 3_000_000))
        capacity = Capacity(
            income=income(each) if rng.integers(10) else None,
            dues=int(rng.integers(0, 500_000)),
            cap=Ppm(500_000),
        )
        grade = GRADES[int(rng.integers(5))]
        found = suitable_offers(rules, grade, need, capacity, ceiling=10**8, day=DAY)
        assert found.none_suits == bool(found.why)
        order = [(one.total_cost, -one.fit, one.product) for one in found.offers]
        assert order == sorted(order)
        for offer in found.offers:
            _keeps_every_bound(offer, rules, (need, capacity, grade))
            rows = schedule_of(offer.terms)
            if seen % 8 == 0:
                rates = yearly_rates(flows_of(offer.terms, rows), offer.terms.clock)
                assert rates.effective <= Decimal("0.24")
            seen += 1
    assert seen > 1_000


def test_types_of_offers_have_no_margin_or_commission() -> None:
    names = {field.name for field in dataclasses.fields(Offer)}
    assert names == {
        *("product", "terms", "monthly_due", "total_cost", "fit", "documents"),
    }
