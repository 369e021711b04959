"""From log-odds to points, and the integers that decide (protocol 13.1; credit 4.1).

``eta`` is the natural log-odds of bad. Floats only print; grades and cut-offs compare
integers in units of ``2**-32`` log-odds, so any machine replays the same outcome.
"""

import decimal
import math
from decimal import Decimal

from consortium.errors import DomainError

UNIT_BITS = 32
"""A unit is ``2**-32`` log-odds."""

FACTOR = 20.0 / math.log(2.0)
"""F: 20 points double the odds."""

OFFSET = 600.0 - FACTOR * math.log(20.0)
"""O: 600 points at odds of 20 good to 1 bad."""

LOWEST, HIGHEST = 300, 900
ETA_LIMIT = 20.0
"""Log-odds are clamped here, so that a PD is never 0 or 1."""

_CONTEXT = decimal.Context(prec=50)


def score(eta: float) -> float:
    """``S = O − F·eta``, clamped to 300 to 900; more is better. Raises DomainError on NaN."""
    if math.isnan(eta):
        raise DomainError("log-odds are NaN")
    return min(max(OFFSET - FACTOR * eta, float(LOWEST)), float(HIGHEST))


def points(eta: float) -> int:
    """The printed score, ``⌊S + 1/2⌋``."""
    return math.floor(score(eta) + 0.5)


def bin_points(weight: float, slope: float) -> float:
    """Points of one bin, ``−F·beta·w``.

    Args:
        weight: Log-odds of the bin before recalibration.
        slope: beta of the recalibration.
    """
    return -FACTOR * slope * weight


def pd_of(eta: float) -> float:
    """Probability of bad, for print; ``eta`` is clamped to ±20. Raises DomainError on NaN."""
    if math.isnan(eta):
        raise DomainError("log-odds are NaN")
    return 1.0 / (1.0 + math.exp(-min(max(eta, -ETA_LIMIT), ETA_LIMIT)))


def to_units(value: float) -> int:
    """``value`` in units of ``2**-32``, the nearest, ties to even. Raises DomainError."""
    if not math.isfinite(value):
        raise DomainError(f"{value} has no integer form")
    return round(math.ldexp(value, UNIT_BITS))


def from_units(units: int) -> float:
    """Log-odds of an integer, for print."""
    return math.ldexp(float(units), -UNIT_BITS)


def calibrated_units(alpha: int, beta: int, logit: int) -> int:
    """``eta_int = alpha + ((beta·z) >> 32)``, rounded down; all three in units."""
    return alpha + ((beta * logit) >> UNIT_BITS)


def cut_units(probability: str) -> int:
    """``round(2**32 · ln(PD / (1 − PD)))`` of a PD given as a decimal string.

    Computed with 50 decimal digits, so that no two machines disagree on a cut-off.

    Raises:
        DomainError: the text is no number strictly between 0 and 1.
    """
    try:
        pd = Decimal(probability)
    except decimal.InvalidOperation as error:
        raise DomainError(f"PD {probability!r} is not a decimal number") from error
    if not (pd.is_finite() and 0 < pd < 1):
        raise DomainError(f"PD {probability} is not strictly between 0 and 1")
    odds = _CONTEXT.divide(pd, _CONTEXT.subtract(Decimal(1), pd))
    scaled = _CONTEXT.multiply(_CONTEXT.ln(odds), Decimal(1 << UNIT_BITS))
    return int(scaled.to_integral_value(rounding=decimal.ROUND_HALF_EVEN))
