"""What credit costs a year: the rate at which a borrower's cash flows are worth nothing.

Flows are whole minor units seen by the borrower: money received is positive, money paid is
negative (credit 4.9). The arithmetic is decimal with a fixed precision, so that two lenders,
the borrower's adviser and the auditor get the same digits; a cap is decided by the sign of one
present value and needs no root. Which figure is "the" rate, the pack says.
"""

import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache, partial
from itertools import pairwise

from consortium.credit.pack import CapBasis
from consortium.credit.terms import MILLION, Ppm, half_up
from consortium.errors import DomainError

YEAR_MONTHS = 12
YEAR_DAYS = 365

_LOWEST, _HIGHEST = Decimal("-0.9"), Decimal(10)
_WIDTH = Decimal("1e-12")
_HALF_UP = decimal.ROUND_HALF_UP
_PER_HUNDREDTH = 100
"""Millionths in a hundredth of a percent."""
_ONE = Decimal(1)
_CONTEXT = decimal.Context(prec=34)
_EXACT = decimal.Context(prec=44)


class Clock(StrEnum):
    """How time is counted from the day of payout."""

    MONTHS = "months"
    """Equal months, whatever their days."""
    DAYS = "days"
    """Days, 365 to a year."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Money that changes hands once."""

    at: int
    """Months or days since payout."""
    amount: int
    """Minor units; positive if the borrower receives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Both yearly figures of one credit, as ratios: .24 is 24 %."""

    nominal: Decimal
    """``12·i``; of dated flows the monthly compounded rate of equal effect."""
    effective: Decimal
    """``(1 + i)^12 − 1``; of dated flows the root itself."""

    def figure(self, basis: CapBasis) -> Decimal:
        """The figure that ``basis`` names."""
        return self.effective if basis is CapBasis.EFFECTIVE else self.nominal


def ppm_of(rate: Decimal) -> Ppm:
    """``rate`` in millionths, halves away from 0: .01 percentage point is 100 of them."""
    return Ppm(int(_CONTEXT.multiply(rate, Decimal(MILLION)).to_integral_value(_HALF_UP)))


def percent_text(rate: Ppm) -> str:
    """A rate in percent with two decimals, as a borrower reads it: ``15.45``."""
    hundredths = half_up(abs(rate), _PER_HUNDREDTH)
    sign = "-" if rate < 0 and hundredths else ""
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"


def yearly_rates(flows: Sequence[Flow], clock: Clock) -> Rates:
    """Nominal and effective rate of a credit, by bisection to 1e-12.

    ``Σ CF_k·(1 + i)^−k = 0`` by months, ``Σ CF_k·(1 + r)^(−days/365) = 0`` by days. What is
    paid back without any interest or charge costs exactly 0.

    Args:
        flows: In any order; the first money goes to the borrower.
        clock: What ``at`` counts.

    Raises:
        DomainError: the flows do not change sign exactly once, from received to paid, or no
            rate in [−.9, 10] makes them worth nothing.
    """
    merged = _merged(flows)
    if sum(merged.values()) == 0:
        return Rates(nominal=Decimal(0), effective=Decimal(0))
    value = partial(_present_value, merged, clock)
    low, high = _LOWEST, _HIGHEST
    if not value(low) < 0 < value(high):
        raise DomainError("no rate between -90 % and 1000 % makes these flows worth nothing")
    while _CONTEXT.subtract(high, low) > _WIDTH:
        middle = _CONTEXT.divide(_CONTEXT.add(low, high), Decimal(2))
        if value(middle) < 0:
            low = middle
        else:
            high = middle
    return _both(_CONTEXT.divide(_CONTEXT.add(low, high), Decimal(2)), clock)


def costs_more_than(flows: Sequence[Flow], clock: Clock, *, cap: Ppm, basis: CapBasis) -> bool:
    """Whether a credit's yearly rate lies above ``cap``, to the last minor unit.

    One present value at the cap decides: it is negative just if more is paid back than the cap
    allows. Nothing is rounded in the lender's favour, and no root is searched.

    Args:
        flows: As for ``yearly_rates``.
        clock: What ``at`` counts.
        cap: A yearly rate of at least 0, such as 240,000 for 24 %.
        basis: Which figure the cap is about.

    Raises:
        DomainError: as ``yearly_rates`` for the signs, or a cap below 0.
    """
    if cap < 0:
        raise DomainError("a negative cap on the cost of credit")
    merged = _merged(flows)
    if cap == 0:
        return sum(merged.values()) < 0
    return _present_value(merged, clock, _rate_at(cap, clock, basis)) < 0


@lru_cache(maxsize=64)
def _rate_at(cap: Ppm, clock: Clock, basis: CapBasis) -> Decimal:
    """The rate of ``clock``'s equation that has ``cap`` as its yearly figure."""
    yearly = _CONTEXT.divide(Decimal(cap), Decimal(MILLION))
    monthly = _CONTEXT.divide(yearly, Decimal(YEAR_MONTHS))
    if clock is Clock.MONTHS:
        return monthly if basis is CapBasis.NOMINAL else _root(yearly, YEAR_MONTHS)
    return yearly if basis is CapBasis.EFFECTIVE else _compounded(monthly)


def _both(rate: Decimal, clock: Clock) -> Rates:
    if clock is Clock.MONTHS:
        nominal = _CONTEXT.multiply(rate, Decimal(YEAR_MONTHS))
        return Rates(nominal=nominal, effective=_compounded(rate))
    monthly = _root(rate, YEAR_MONTHS)
    return Rates(nominal=_CONTEXT.multiply(monthly, Decimal(YEAR_MONTHS)), effective=rate)


def _compounded(monthly: Decimal) -> Decimal:
    return _CONTEXT.subtract(_power(_CONTEXT.add(_ONE, monthly), YEAR_MONTHS), _ONE)


@lru_cache(maxsize=256)
def _root(rate: Decimal, parts: int) -> Decimal:
    """``(1 + rate)^(1/parts) − 1``."""
    logarithm = _EXACT.ln(_EXACT.add(_ONE, rate))
    grown = _EXACT.exp(_EXACT.divide(logarithm, Decimal(parts)))
    return _CONTEXT.subtract(grown, _ONE)


def _power(base: Decimal, exponent: int) -> Decimal:
    """``base^exponent`` by squaring; every product is rounded alike on every machine."""
    result = _ONE
    while exponent:
        if exponent & 1:
            result = _CONTEXT.multiply(result, base)
        base = _CONTEXT.multiply(base, base)
        exponent >>= 1
    return result


def _present_value(merged: Mapping[int, int], clock: Clock, rate: Decimal) -> Decimal:
    """Value of the flows on the first day, by Horner's rule from the last one backwards."""
    parts = 1 if clock is Clock.MONTHS else YEAR_DAYS
    growth = rate if parts == 1 else _root(rate, parts)
    factor = _CONTEXT.divide(_ONE, _CONTEXT.add(_ONE, growth))
    times = sorted(merged)
    factors = {gap: _power(factor, gap) for gap in {b - a for a, b in pairwise(times)}}
    value = Decimal(merged[times[-1]])
    for before, after in pairwise(reversed(times)):
        value = _CONTEXT.multiply(value, factors[before - after])
        value = _CONTEXT.add(value, Decimal(merged[after]))
    return value


def _merged(flows: Sequence[Flow]) -> Mapping[int, int]:
    """Sums by time, zeros dropped; DomainError unless received comes before paid, once."""
    sums: dict[int, int] = {}
    for flow in flows:
        if flow.at < 0:
            raise DomainError(f"a flow {-flow.at} before the day of payout")
        sums[flow.at] = sums.get(flow.at, 0) + flow.amount
    kept = {at: sums[at] for at in sorted(sums) if sums[at]}
    signs = [amount > 0 for amount in kept.values()]
    changes = sum(a is not b for a, b in pairwise(signs))
    if changes != 1 or not signs[0]:
        raise DomainError("flows must go from received to paid exactly once")
    return kept
