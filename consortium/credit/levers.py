"""What a person can change, and what a change costs (credit 4.20).

Costs are thirds of a bin step: a step that can be taken now costs its policy's cost, one
that takes time a third of a unit for each month of waiting. History, past worst arrears and
what other partners know cannot be changed, and a missing value is never a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from consortium.credit.capacity import DueKind, Obligation
from consortium.credit.facts import DecisionInput
from consortium.credit.policy import Lever, LeverKind, Policy
from consortium.credit.terms import GRADES
from consortium.credit.tiers import Product, Repayment, Rules, Terms
from consortium.features.bins import MISSING
from consortium.features.columns import Direction, Disclosure, Feature, Kind
from consortium.features.concepts import Concept
from consortium.scoring.reasons import Attribute

STEP = 3
"""Thirds in one unit of cost."""
_QUARTER, _YEAR = 3, 12
_MOST_QUARTERS = 60
_MOST_PAID_OFF = 6

DEFAULTS: Mapping[Concept, tuple[LeverKind, int]] = MappingProxyType(
    {
        Concept.UTILISATION: (LeverKind.NOW, 0),
        Concept.CASH_SHARE: (LeverKind.NOW, 0),
        Concept.BALANCE: (LeverKind.NOW, 0),
        Concept.LOAN_AMOUNT: (LeverKind.NOW, 0),
        Concept.LOAN_TERM: (LeverKind.NOW, 0),
        Concept.REPAYMENT_STATUS: (LeverKind.WITH_TIME, 1),
        Concept.CREDIT_APPLICATIONS: (LeverKind.WITH_TIME, 3),
        Concept.PAYMENT_RATIO: (LeverKind.WITH_TIME, 1),
        Concept.PAID_AMOUNT: (LeverKind.WITH_TIME, 1),
        Concept.BILLED_AMOUNT: (LeverKind.WITH_TIME, 1),
        Concept.INACTIVITY: (LeverKind.WITH_TIME, 1),
    }
)
"""Kind and months for one bin, by concept; what is not named cannot be changed."""


class Change(StrEnum):
    """What may be changed beside the score's own attributes."""

    AMOUNT = "amount"
    TENOR = "tenor"
    PAY_OFF = "pay_off"


class Option(NamedTuple):
    """One reachable bin of an attribute."""

    code: int
    weight: int
    """Change of its weight, units of 2**-32."""
    cost: int
    """Thirds."""
    months: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One thing that is changed. Private."""

    what: str
    """A feature's name, or one of ``Change``."""
    before: int
    after: int
    """Bin codes of a feature; minor units, months, or lines paid off."""
    months: int
    """To wait; 0: now."""
    cost: int
    """Thirds."""


@dataclass(frozen=True, slots=True)
class Applied:
    """An input with changes made beside the score."""

    inputs: DecisionInput
    moves: tuple[Move, ...]

    @property
    def cost(self) -> int:
        """Thirds."""
        return sum(move.cost for move in self.moves)


def lever_of(feature: Feature, policy: Policy) -> Lever:
    """What can be done about a feature: the policy's word, or its concept's default."""
    for one in policy.levers:
        if one.feature == feature.name:
            return one
    kind, months = DEFAULTS.get(feature.concept, (LeverKind.NO, 0))
    if feature.kind is Kind.CATEGORY:
        kind = LeverKind.NO
    return Lever(feature=feature.name, kind=kind, months=months, cost=1, max_steps=255)


def options_of(attribute: Attribute, code: int, slope: int, policy: Policy) -> list[Option]:
    """Reachable bins that lower the risk, by rising code; [] if it cannot be changed."""
    feature = attribute.feature
    lever = lever_of(feature, policy)
    told = feature.disclosure is Disclosure.OWN
    if lever.kind is LeverKind.NO or not told or code == MISSING:
        return []
    found = []
    for other, weight in enumerate(attribute.weights):
        steps = abs(other - code)
        better = slope * (weight - attribute.weights[code]) < 0
        wrong_way = (feature.direction is Direction.UP and other > code) or (
            feature.direction is Direction.DOWN and other < code
        )
        if other == MISSING or not better or wrong_way or steps > lever.max_steps:
            continue
        months = lever.months * steps
        cost = months if lever.kind is LeverKind.WITH_TIME else lever.cost * steps * STEP
        found.append(Option(other, weight - attribute.weights[code], cost, months))
    return found


# --- beside the score -------------------------------------------------------------------------


def beside_the_score(inputs: DecisionInput, rules: Rules, most: int) -> list[Applied]:
    """The input with up to ``most`` changes of amount, tenor and lines, cheapest first.

    The first is the input as it is. Ties go to fewer changes, then to the smaller one.
    """
    product = rules.catalogue.product(inputs.wish.product)
    if product is None:
        return [Applied(inputs, ())]
    found = [
        applied
        for amount in _amounts(inputs, rules, product)
        for tenor in _tenors(inputs, rules, product)
        for lines in _paid_off(inputs)
        if len((applied := _apply(inputs, (amount, tenor, lines))).moves) <= most
    ]
    return sorted(found, key=lambda one: (one.cost, len(one.moves)))


def _apply(inputs: DecisionInput, moves: Sequence[Move | None]) -> Applied:
    made = tuple(move for move in moves if move is not None)
    wish, standing = inputs.wish, inputs.standing
    for move in made:
        if move.what == Change.AMOUNT:
            wish = replace(wish, amount=move.after)
        elif move.what == Change.TENOR:
            wish = replace(wish, tenor_months=move.after)
        else:
            gone = _revolving(inputs)[: move.after]
            standing = replace(
                standing,
                here=_without(standing.here, gone),
                elsewhere=_without(standing.elsewhere, gone),
            )
    return Applied(replace(inputs, wish=wish, standing=standing) if made else inputs, made)


def _amounts(inputs: DecisionInput, rules: Rules, product: Product) -> list[Move | None]:
    """None, and the nearest amount inside the product and the pack, if that is another."""
    cap = rules.pack.amount_cap(inputs.decided_on, product.segment)
    most = product.amount[1] if cap is None else min(product.amount[1], cap)
    asked = inputs.wish.amount
    nearest = min(max(asked, product.amount[0]), most)
    if nearest == asked:
        return [None]
    move = Move(what=Change.AMOUNT, before=asked, after=nearest, months=0, cost=STEP)
    return [None, move]


def _tenors(inputs: DecisionInput, rules: Rules, product: Product) -> list[Move | None]:
    """None, both ends of the product's tenor, and each quarter (or year) between them."""
    low, high = product.tenor_months
    cap = rules.pack.bullet_cap(inputs.decided_on, product.segment)
    if product.repayment is Repayment.BULLET and cap is not None:
        high = min(high, cap)
    step = _QUARTER if high - low <= _MOST_QUARTERS else _YEAR
    ends = {one.tenor[1] for one in _all_terms(inputs, rules, product)}
    asked = inputs.wish.tenor_months
    inside = {low, high, *ends, *range(low - low % step + step, high, step)} - {asked}
    return [
        None,
        *(
            Move(
                what=Change.TENOR,
                before=asked,
                after=tenor,
                months=0,
                cost=STEP * -(-abs(tenor - asked) // _QUARTER),
            )
            for tenor in sorted(inside)
            if low <= tenor <= high
        ),
    ]


def _all_terms(inputs: DecisionInput, rules: Rules, product: Product) -> list[Terms]:
    purpose = inputs.wish.purpose
    if purpose is None:
        return []
    found = (rules.terms(product, grade, purpose) for grade in GRADES)
    return [one for one in found if one is not None]


def _paid_off(inputs: DecisionInput) -> list[Move | None]:
    """None, and paying off the smallest revolving balances, one more each time."""
    lines = _revolving(inputs)[:_MOST_PAID_OFF]
    return [
        None,
        *(
            Move(what=Change.PAY_OFF, before=0, after=count, months=0, cost=STEP * count)
            for count in range(1, len(lines) + 1)
        ),
    ]


def _revolving(inputs: DecisionInput) -> list[Obligation]:
    """Lines that can be paid off, smallest balance first."""
    standing = inputs.standing
    lines = (*standing.here, *standing.elsewhere)
    revolving = [one for one in lines if one.kind is DueKind.REVOLVING]
    return sorted(revolving, key=lambda one: (one.balance, one.scheduled))


def _without(lines: Sequence[Obligation], gone: Sequence[Obligation]) -> tuple[Obligation, ...]:
    return tuple(one for one in lines if not any(one is other for other in gone))
