"""Which products suit a need, and when none does (credit 3.2, row 23).

An offer that would break the debt service cap, the catalogue's conditions or the pack's cost
cap is not made. What is left is ordered by total cost, then by fit, then by the product's id:
never by what the lender earns. The list that is not personal knows of no applicant, so it is
the same for all. The price is the cell's highest, the same for everybody in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from consortium.credit.capacity import (
    CREDITS,
    Income,
    NewLoan,
    amount_that_fits,
    exceeds,
    new_due,
)
from consortium.credit.cost import cap_of, cost_of, within_cap
from consortium.credit.schedule import (
    Charge,
    LoanTerms,
    Method,
    Row,
    flows_of,
    schedule_of,
)
from consortium.credit.terms import (
    MILLION,
    Grade,
    Money,
    Ppm,
    Purpose,
    add_months,
    half_up,
)
from consortium.credit.tiers import Product, Repayment, Rules, Terms
from consortium.errors import DomainError

SHOWN_MINOR = 1_000_000
SHOWN_MONTHS = 12
"""The list that is not personal compares 10,000 over 12 months."""

FEE = "FEE"
_WITHIN = 5
"""A tenor is near the wish within a fifth of it."""


class WhyNot(StrEnum):
    """Why a product does not suit, or why nothing does."""

    REPAYS_ARREARS = "REPAYS_ARREARS"
    """The funds are to pay arrears with: counselling is shown instead."""
    INCOME_UNKNOWN = "INCOME_UNKNOWN"
    OVER_THE_CAP_ALREADY = "OVER_THE_CAP_ALREADY"
    """Dues without any new loan are over the cap: counselling is shown instead."""
    NOT_OFFERED = "NOT_OFFERED"
    """The catalogue sells nothing to this grade for this purpose."""
    BELOW_THE_LEAST = "BELOW_THE_LEAST"
    """Need, limit or what is left is below the smallest amount."""
    CAPACITY = "CAPACITY"
    """What fits the debt service cap is below the smallest amount."""
    COST_CAP = "COST_CAP"


COUNSELLED = frozenset({WhyNot.REPAYS_ARREARS, WhyNot.OVER_THE_CAP_ALREADY})
"""Reasons that lead to counselling instead of to an offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What somebody wants. Private."""

    amount: int
    """Minor units of the policy's currency."""
    purpose: Purpose
    tenor_months: int
    repays_arrears: bool

    def __post_init__(self) -> None:
        """Refuse what is no need."""
        if self.amount <= 0 or self.tenor_months <= 0:
            raise DomainError("a need has a positive amount and tenor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What somebody can carry. Private."""

    income: Income | None
    """None if it is missing, stale or not consented (``capacity.income_state``)."""
    dues: int
    """All monthly dues without the new loan."""
    cap: Ppm
    """Of the debt service ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One product on the terms on which it would be sold."""

    product: str
    terms: LoanTerms
    monthly_due: int
    """What capacity is measured by: the decision's due. The rest of rounding that the last
    instalment absorbs is not in it, so that what is approved is offered to the unit."""
    total_cost: int
    """Paid beyond what is received, in minor units."""
    fit: int
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A product that does not suit, and why."""

    product: str
    why: WhyNot


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitable:
    """Offers in order; none: NONE_SUITS, and ``why`` says why."""

    offers: tuple[Offer, ...]
    why: tuple[WhyNot, ...]
    """Why nothing suits, each once; empty if something does."""
    refused: tuple[Refused, ...]

    @property
    def none_suits(self) -> bool:
        """Whether there is nothing to offer."""
        return not self.offers

    @property
    def counselling(self) -> bool:
        """Whether counselling is shown in place of an offer."""
        return bool(COUNSELLED & set(self.why))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A line of the list that is not personal."""

    product: str
    name_zh: str
    name_en: str
    price_apr: Ppm
    total_cost: int
    sold_so: bool
    """Whether this very amount and term are sold; else it is for comparison only."""


def suitable_offers(
    rules: Rules, grade: Grade, need: Need, capacity: Capacity, *, ceiling: int, day: date
) -> Suitable:
    """Rank what suits one applicant.

    Args:
        rules: Pack, policy and catalogue in force on ``day``.
        grade: The applicant's.
        need: Amount, purpose and tenor wished for.
        capacity: Income and dues.
        ceiling: Most that the decision allows, in minor units.
        day: Of payout; the first due is a month later.
    """
    general = _nothing_at_all(need, capacity)
    if general is not None:
        return Suitable(offers=(), why=(general,), refused=())
    offers: list[Offer] = []
    refused: list[Refused] = []
    for product in rules.catalogue.products:
        terms = rules.terms(product, grade, need.purpose)
        if terms is None:
            continue
        found = _offer(rules, product, terms, _Wish(need, capacity, ceiling, day))
        if isinstance(found, Offer):
            offers.append(found)
        else:
            refused.append(Refused(product=product.id, why=found))
    why: Iterable[WhyNot] = ()
    if not offers:
        why = dict.fromkeys(one.why for one in refused) or (WhyNot.NOT_OFFERED,)
    offers.sort(key=lambda one: (one.total_cost, -one.fit, one.product))
    return Suitable(offers=tuple(offers), why=tuple(why), refused=tuple(refused))


def listed_for_all(rules: Rules, *, day: date, amount: int = SHOWN_MINOR) -> tuple[Listed, ...]:
    """The catalogue by total cost of one amount over 12 months: the same list for everybody.

    Args:
        rules: Pack, policy and catalogue in force on ``day``.
        day: Of payout.
        amount: Minor units that all products are compared with.
    """
    lines = []
    for product in rules.catalogue.products:
        price = product.price_apr[1]
        terms = loan_terms(
            rules, product, amount=amount, months=SHOWN_MONTHS, price=price, day=day
        )
        low, high = product.amount
        shortest, longest = product.tenor_months
        lines.append(
            Listed(
                product=product.id,
                name_zh=product.name_zh,
                name_en=product.name_en,
                price_apr=price,
                total_cost=_total_cost(terms, schedule_of(terms)),
                sold_so=low <= amount <= high and shortest <= SHOWN_MONTHS <= longest,
            )
        )
    return tuple(sorted(lines, key=lambda one: (one.total_cost, one.product)))


def loan_terms(
    rules: Rules, product: Product, *, amount: int, months: int, price: Ppm, day: date
) -> LoanTerms:
    """The loan that a product is, paid out on a day.

    A revolving line is shown as drawn whole and paid back in equal instalments.
    """
    currency = rules.policy.currency
    fee = half_up(amount * product.fee_share, MILLION)
    charge = Charge(
        code=FEE,
        name_zh="手续费",
        name_en="Arrangement fee",
        payee=rules.policy.id,
        amount=Money(fee, currency),
        every=0,
    )
    bullet = product.repayment is Repayment.BULLET
    return LoanTerms(
        amount=Money(amount, currency),
        months=months,
        price_apr=price,
        method=Method.BULLET if bullet else Method.ANNUITY,
        payout_on=day,
        first_due_on=add_months(day, 1),
        charges=(charge,) if fee else (),
    )


# --- one product ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wish:
    need: Need
    capacity: Capacity
    ceiling: int
    day: date


def _nothing_at_all(need: Need, capacity: Capacity) -> WhyNot | None:
    income = capacity.income
    if need.repays_arrears:
        return WhyNot.REPAYS_ARREARS
    if income is None or sum(income.credits[-CREDITS:]) <= 0:
        return WhyNot.INCOME_UNKNOWN
    over = exceeds(capacity.dues, income, capacity.cap)
    return WhyNot.OVER_THE_CAP_ALREADY if over else None


def _offer(rules: Rules, product: Product, terms: Terms, wish: _Wish) -> Offer | WhyNot:
    months = min(max(wish.need.tenor_months, terms.tenor[0]), terms.tenor[1])
    most = min(wish.need.amount, terms.limit, wish.ceiling)
    if most < terms.least:
        return WhyNot.BELOW_THE_LEAST
    loan = NewLoan(product.repayment, terms.price[1], months)
    amount = min(most, _carried(loan, wish.capacity, rules))
    if amount < terms.least:
        return WhyNot.CAPACITY
    found = loan_terms(
        rules, product, amount=amount, months=months, price=loan.price, day=wish.day
    )
    rows = schedule_of(found)
    if not within_cap(found, rows, cap_of(rules.pack, product.segment, wish.day)):
        return WhyNot.COST_CAP
    return Offer(
        product=product.id,
        terms=found,
        monthly_due=new_due(amount, loan, rules.policy.rules),
        total_cost=_total_cost(found, rows),
        fit=_fit(product, wish.need, months, amount),
        documents=terms.documents,
    )


def _carried(loan: NewLoan, capacity: Capacity, rules: Rules) -> int:
    """The largest loan with which the cap holds, as in the decision; 0 if there is none."""
    if capacity.income is None:
        return 0
    bounds = rules.policy.rules
    return amount_that_fits(
        loan, capacity.income, dues=capacity.dues, cap=capacity.cap, rules=bounds
    )


def _total_cost(terms: LoanTerms, rows: Sequence[Row]) -> int:
    return cost_of(flows_of(terms, rows), terms.amount.currency).minor


def _fit(product: Product, need: Need, months: int, amount: int) -> int:
    """2 for the purpose, 1 for a tenor near the wish, 1 if the need is covered."""
    near = _WITHIN * abs(months - need.tenor_months) <= need.tenor_months
    covers = amount >= need.amount
    return 2 * (need.purpose in product.purposes) + near + covers
