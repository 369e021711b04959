"""What suits an applicant, and the sheet of what was granted (credit path 5, 6).

An offer is made only if the decision, asked again with that product, amount and tenor, comes
to an approval of all of it: nothing is offered that would then be declined. The list that is
not personal knows of no applicant.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from consortium.credit.capacity import IncomeState, dues_of, income_state
from consortium.credit.cost import CostSheet, cap_of, cost_sheet
from consortium.credit.decision import decide
from consortium.credit.facts import DecisionInput, RestartTier
from consortium.credit.offers import (
    Capacity,
    Need,
    Offer,
    Refused,
    loan_terms,
    suitable_offers,
)
from consortium.credit.pack import Pack
from consortium.credit.terms import ConsentPurpose, Ppm
from consortium.credit.tiers import Product, Repayment, Rules
from consortium.credit.verdict import Decision, Outcome, Override
from consortium.errors import ConsentMissingError, OutOfOrderError
from partner_node.credit.house_terms import HouseTerms

DECISION = "DECISION"
"""Why not: by the same rules it would not be approved."""
CONSENT = "CONSENT"
"""Why not: a consent that the decision rested on has been withdrawn since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What suits one applicant, each asked of the decision; or why nothing does."""

    offers: tuple[Offer, ...]
    why: tuple[str, ...]
    """Of ``WhyNot``, ``DECISION`` or ``CONSENT``; empty if something suits."""
    counselling: bool
    """Whether counselling is shown instead: always, if nothing suits."""
    refused: tuple[tuple[str, str], ...]
    """Products that do not suit, and why."""


def offers_of(inputs: DecisionInput, rules: Rules, *, repays_arrears: bool = False) -> Offered:
    """What suits an applicant, of all that is sold.

    Args:
        inputs: Of a stored decision. Private.
        rules: Of the same decision.
        repays_arrears: The funds are to pay arrears with.
    """
    wish, score = inputs.wish, inputs.score
    if wish.purpose is None or score is None:
        return Offered(offers=(), why=(DECISION,), counselling=True, refused=())
    need = Need(
        amount=wish.amount,
        purpose=wish.purpose,
        tenor_months=wish.tenor_months,
        repays_arrears=repays_arrears,
    )
    found = suitable_offers(
        rules,
        rules.grade(score.eta),
        need,
        capacity_of(inputs, rules),
        ceiling=wish.amount,
        day=inputs.decided_on,
    )
    kept = tuple(one for one in found.offers if approved(one, inputs, rules))
    dropped = tuple(one for one in found.offers if one not in kept)
    why: Sequence[str] = () if kept else (found.why or (DECISION,))
    return Offered(
        offers=kept,
        why=tuple(why),
        counselling=not kept,
        refused=(*_refused(found.refused), *((one.product, DECISION) for one in dropped)),
    )


def offers_now(
    inputs: DecisionInput,
    rules: Rules,
    gone: Collection[ConsentPurpose],
    *,
    repays_arrears: bool = False,
) -> Offered:
    """As ``offers_of``, without what the person has withdrawn since the decision.

    An offer is a new use of what was told for the decision. Without the income it suits
    nobody; without consent to be decided about, or to the joint score, there is none.
    """
    left = tuple(
        replace(one, withdrawn_on=inputs.decided_on) if one.purpose in gone else one
        for one in inputs.consents
    )
    try:
        return offers_of(replace(inputs, consents=left), rules, repays_arrears=repays_arrears)
    except ConsentMissingError:
        return Offered(offers=(), why=(CONSENT,), counselling=True, refused=())


def _refused(refused: Sequence[Refused]) -> Iterator[tuple[str, str]]:
    for one in refused:
        yield one.product, one.why


def approved(offer: Offer, inputs: DecisionInput, rules: Rules) -> bool:
    """Whether the whole decision, asked for this very offer, approves all of it."""
    amount = offer.terms.amount.minor
    wish = replace(
        inputs.wish, product=offer.product, amount=amount, tenor_months=offer.terms.months
    )
    made = decide(replace(inputs, wish=wish), rules)
    return made.outcome is Outcome.APPROVE and made.limit == amount


def capacity_of(inputs: DecisionInput, rules: Rules) -> Capacity:
    """Income, dues and cap as the decision saw them."""
    standing, policy = inputs.standing, rules.policy
    usable = IncomeState.USABLE is income_state(
        standing.income,
        today=inputs.decided_on,
        rules=policy.rules,
        consented=inputs.consented(ConsentPurpose.INCOME_DATA),
    )
    cap: dict[RestartTier, Ppm] = {
        RestartTier.NONE: policy.rules.dsr_cap,
        RestartTier.A: policy.restart.a_dsr,
        RestartTier.B: policy.restart.b_dsr,
    }
    return Capacity(
        income=standing.income if usable else None,
        dues=dues_of(standing.here, standing.elsewhere, standing.elsewhere_upper, policy.rules),
        cap=cap[standing.restart],
    )


# --- the sheet --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What may be signed under a decision. Private."""

    product: Product
    amount: int
    months: int
    price: Ppm


def granted(
    decision: Decision, final: Override | None, inputs: DecisionInput, rules: Rules
) -> Granted:
    """What a decision, or the officer who had the last word, allows to be signed.

    Raises:
        OutOfOrderError: it is not approved, of a minor, or its cell has no price.
    """
    outcome, limit = decision.outcome, decision.limit
    if final is not None:
        outcome, limit = final.after, final.limit
    if outcome is not Outcome.APPROVE:
        raise OutOfOrderError(f"a sheet follows an approval, not {outcome}")
    if not inputs.standing.adult:
        raise OutOfOrderError("a minor signs nothing, whoever approved")
    wish, product = inputs.wish, rules.catalogue.product(inputs.wish.product)
    terms = None
    if product is not None and wish.purpose is not None and decision.grade is not None:
        terms = rules.terms(product, decision.grade, wish.purpose)
    if product is None or terms is None:
        raise OutOfOrderError("the policy has no price for this product, grade and purpose")
    months = min(max(wish.tenor_months, terms.tenor[0]), terms.tenor[1])
    return Granted(product=product, amount=limit, months=months, price=terms.price[1])


def check_valid(decision: Decision, final: Override | None, rules: Rules, day: date) -> None:
    """Whether an approval, an officer's from its own day, may still be signed under on a day.

    Raises:
        OutOfOrderError: the days that the policy of the decision gives it are over.
    """
    on = decision.decided_on if final is None else final.on
    days = rules.policy.rules.approval_days
    last = on + timedelta(days=days)
    if day > last:
        raise OutOfOrderError(
            f"approved on {on} and good for {days} days, until {last}; today is {day}: it has "
            "to be decided anew"
        )


def sheet_of(what: Granted, rules: Rules, terms: HouseTerms, *, day: date) -> CostSheet:
    """The cost sheet of what was granted, paid out on a day.

    Raises:
        CostCapError: it would cost more than the pack's cap; there is no such sheet.
        OutOfOrderError: the house's terms are in another currency, or an officer granted more
            than the pack lets anybody lend, or for longer.
    """
    _check_pack(what, rules.pack, day)
    if terms.currency != rules.policy.currency:
        raise OutOfOrderError(f"terms in {terms.currency}, policy in {rules.policy.currency}")
    loan = loan_terms(
        rules,
        what.product,
        amount=what.amount,
        months=what.months,
        price=what.price,
        day=day,
    )
    return cost_sheet(
        loan,
        cap=cap_of(rules.pack, what.product.segment, day),
        penalties=terms.penalties,
        early_repayment=terms.early_repayment,
        addons=terms.beside(what.product.id),
    )


def _check_pack(what: Granted, pack: Pack, day: date) -> None:
    """No officer is above the law: its bounds are those of the day of the sheet."""
    product = what.product
    most = pack.amount_cap(day, product.segment)
    if most is not None and what.amount > most:
        raise OutOfOrderError(f"pack {pack.id}: at most {most} minor units are lent")
    longest = pack.bullet_cap(day, product.segment)
    bullet = product.repayment is Repayment.BULLET
    if bullet and longest is not None and what.months > longest:
        raise OutOfOrderError(
            f"pack {pack.id}: repaid at its end after at most {longest} months"
        )
