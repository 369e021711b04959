"""The monthly due of a loan in whole minor units, and the largest loan that a due carries.

Exact: the annuity factor is a fraction of whole numbers, rounded half up once, so that a
limit computed from a due never exceeds it by a unit (credit 4.10). The price is the
nominal yearly one, a twelfth of it a month.
"""

import decimal
from decimal import Decimal
from functools import lru_cache

from consortium.credit.pack import CapBasis
from consortium.credit.terms import LARGEST_MINOR, MILLION, Ppm, half_up
from consortium.errors import DomainError

_YEAR = 12
_CONTEXT = decimal.Context(prec=50)


@lru_cache(maxsize=4_096)
def annuity_factor(price: Ppm, months: int) -> tuple[int, int]:
    """Due of a loan of 1 as a fraction; the loan is repaid in equal monthly dues.

    Raises:
        DomainError: a negative price, or no month.
    """
    if price < 0 or months < 1:
        raise DomainError(f"price {price}, {months} months: no annuity")
    if price == 0:
        return 1, months
    base = _YEAR * MILLION
    grown, plain = (base + price) ** months, base**months
    return price * grown, base * (grown - plain)


def due_of(amount: int, price: Ppm, months: int) -> int:
    """Monthly due of ``amount`` in minor units, rounded half up."""
    numerator, denominator = annuity_factor(price, months)
    return half_up(amount * numerator, denominator)


def largest_amount(due: int, price: Ppm, months: int) -> int:
    """Largest amount whose monthly due is at most ``due``; 0 for a negative due."""
    if due < 0:
        return 0
    numerator, denominator = annuity_factor(price, months)
    # half_up(a·n/d) <= due  <=>  2·a·n < d·(2·due + 1)
    amount = -(-denominator * (2 * due + 1) // (2 * numerator)) - 1
    return min(amount, LARGEST_MINOR)


def within_cap(price: Ppm, fee: Ppm, months: int, *, cap: Ppm, basis: CapBasis) -> bool:
    """Whether equal dues and a fee at payout cost at most ``cap`` a year.

    What the borrower pays, discounted at the cap, is at most what was paid out. Computed
    with 50 decimal digits, so that no two machines disagree at the cap.

    Args:
        price: Nominal yearly price.
        fee: Mandatory, as a share of the amount, taken at payout.
        months: Number of dues.
        cap: Highest yearly cost.
        basis: Whether the cap is an effective or a nominal yearly rate.
    """
    numerator, denominator = annuity_factor(price, months)
    context = _CONTEXT
    due = context.divide(Decimal(numerator), Decimal(denominator))
    yearly = context.divide(Decimal(cap), Decimal(MILLION))
    if basis is CapBasis.EFFECTIVE:
        growth = context.power(context.add(Decimal(1), yearly), Decimal(1) / Decimal(_YEAR))
    else:
        growth = context.add(Decimal(1), context.divide(yearly, Decimal(_YEAR)))
    value = Decimal(0)
    for _ in range(months):
        value = context.divide(context.add(value, due), growth)
    paid_out = context.divide(Decimal(MILLION - fee), Decimal(MILLION))
    return value <= context.add(paid_out, _HAIR)


_HAIR = Decimal(10) ** -40
"""What 50 digits of rounding may add up to; a price exactly at the cap is within it."""
