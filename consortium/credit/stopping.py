"""When a wave or a ramp stops: Wald's sequential test of first-payment defaults (credit 4.17).

H0: the rate is the plan's, p0; H1: it is ``ratio`` times that, p1. Each bad adds
``ln(p1/p0)``, each good ``ln((1-p1)/(1-p0))``; halt at ``ln((1-beta)/alpha)``, pass at
``ln(beta/(1-alpha))``. The four logarithms are computed once with 50 digits and are
integers in units of 2**-32 from there on: every machine halts at the same account.
"""

import decimal
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from consortium.credit.policy import StopRule
from consortium.credit.terms import MILLION
from consortium.errors import DomainError
from consortium.scoring.scorecard import UNIT_BITS

_CONTEXT = decimal.Context(prec=50)
_Z95 = 1_960_000
"""1.96 in millionths."""


class Verdict(StrEnum):
    """What the counts of a wave say."""

    CONTINUE = "continue"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    PASS_WITH_REVIEW = "pass_with_review"  # noqa: S105 - likewise
    HALT = "halt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The test in integers, units of 2**-32. Public."""

    bad: int
    """Added for each bad; positive."""
    good: int
    """Added for each good; negative."""
    halt: int
    passed: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Accounts of a wave whose first payment was due, by what became of it.

    Noisy totals enter as they were released, negative ones too.
    """

    good: int
    bad: int


@lru_cache(maxsize=256)
def bounds_of(rule: StopRule) -> Bounds:
    """The four numbers of a rule; alpha is split over the planned looks.

    Raises:
        DomainError: p0 is 0, p1 is not below 1 or not above p0, or an error rate is not
            between 0 and 1.
    """
    p0 = _fraction(rule.fpd30_plan)
    p1 = _CONTEXT.multiply(p0, _fraction(rule.ratio))
    alpha = _CONTEXT.divide(_fraction(rule.alpha), Decimal(max(rule.looks, 1)))
    beta = _fraction(rule.beta)
    if not 0 < p0 < p1 < 1:
        raise DomainError(f"plan {p0} and alternative {p1}: not 0 < p0 < p1 < 1")
    if not (0 < alpha < 1 and 0 < beta < 1 and alpha + beta < 1):
        raise DomainError(f"alpha {alpha}, beta {beta}: not error rates of a test")
    return Bounds(
        bad=_ln_units(p1, p0),
        good=_ln_units(1 - p1, 1 - p0),
        halt=_ln_units(1 - beta, alpha),
        passed=_ln_units(beta, 1 - alpha),
    )


def llr(counts: Counts, bounds: Bounds) -> int:
    """Log-likelihood ratio of the alternative, units of 2**-32."""
    return counts.bad * bounds.bad + counts.good * bounds.good


def verdict(counts: Counts, rule: StopRule) -> Verdict:
    """What the counts say: nothing before the least accounts, something after the most."""
    bounds = bounds_of(rule)
    accounts = counts.good + counts.bad
    if accounts < rule.least_accounts:
        return Verdict.CONTINUE
    ratio = llr(counts, bounds)
    if ratio >= bounds.halt:
        return Verdict.HALT
    if ratio <= bounds.passed:
        return Verdict.PASS
    if accounts >= rule.most_accounts:
        return Verdict.PASS_WITH_REVIEW
    return Verdict.CONTINUE


def half_way(counts: Counts, rule: StopRule) -> bool:
    """Whether the ratio is past half of the bound at which it halts (row 12, amber)."""
    bounds = bounds_of(rule)
    return 2 * llr(counts, bounds) > bounds.halt


def worse_than_holdout(wave: Counts, holdout: Counts, rule: StopRule) -> bool:
    """Whether a wave's rate of dpd 30 exceeds its hold-out's by more than the margin.

    Only if the 95 % interval of the difference, by the normal form, excludes 0 as well.
    Computed in whole numbers: ``diff > 1.96·se`` as ``diff² > 1.96²·var``.
    """
    n, m = wave.good + wave.bad, holdout.good + holdout.bad
    if n <= 0 or m <= 0:
        return False
    difference = wave.bad * m - holdout.bad * n  # times 1/(n·m)
    if difference * MILLION <= rule.holdout_margin * n * m:
        return False
    # var·(n·m)²·n·m = b(n-b)/n³ + c(m-c)/m³, times n³·m³
    variance = wave.bad * wave.good * m**3 + holdout.bad * holdout.good * n**3
    return difference**2 * n * m * MILLION**2 > _Z95**2 * max(variance, 0)


def _fraction(share: int) -> Decimal:
    return _CONTEXT.divide(Decimal(share), Decimal(MILLION))


def _ln_units(above: Decimal, below: Decimal) -> int:
    ratio = _CONTEXT.ln(_CONTEXT.divide(above, below))
    scaled = _CONTEXT.multiply(ratio, Decimal(1 << UNIT_BITS))
    return int(scaled.to_integral_value(rounding=decimal.ROUND_HALF_EVEN))
