"""One epsilon for two runs on the same persons: a model and the head upon it (protocol 5.6).

Epsilons do not add up, mu squared does. A share is one of units, and what is rounded is
rounded down, so that both runs together never cost more than was stated for them.
"""

import math

from consortium.errors import ConfigurationError
from consortium.plan import decimal
from consortium.privacy.accountant import units_of

_STEPS = 10_000
"""Epsilons of plans are multiples of 1 / 10,000, as those of the accountant (4.1)."""


def split_epsilon(total: str, delta: str, share: str) -> tuple[str, str]:
    """The epsilons of the run that keeps the rest and of the one that gets ``share``.

    Args:
        total: Epsilon of both together, a decimal string.
        delta: The policy's.
        share: Part of mu squared that the second run may cost, between 0 and 1.

    Returns:
        (rest, part) with four decimals each. The units that they mean add up to no more
        than those of ``total``.

    Raises:
        ConfigurationError: a number is outside its range, or a part is below 0.0001.
    """
    epsilon = float(decimal(total, "epsilon", low="0.0001", high="100"))
    failure = float(decimal(delta, "delta", low="1E-15", high="0.001"))
    wanted = decimal(share, "share", low="0.0001", high="0.9999")
    whole = units_of(epsilon, failure)
    part = _largest(math.floor(wanted * whole), epsilon, failure)
    rest = _largest(whole - _units(part, failure), epsilon, failure)
    return f"{rest / _STEPS:.4f}", f"{part / _STEPS:.4f}"


def _units(steps: int, delta: float) -> int:
    return units_of(steps / _STEPS, delta)


def _largest(units: int, epsilon: float, delta: float) -> int:
    """Most steps of 0.0001 whose units are at most ``units``."""
    low, high = 0, math.floor(epsilon * _STEPS) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _units(middle, delta) <= units:
            low = middle
        else:
            high = middle
    if low == 0:
        raise ConfigurationError("epsilon: too small to be split in this way")
    return low
