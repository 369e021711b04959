"""From what was released to epsilon, by one closed formula (protocol 4.1, 4.2).

Every release is a Gaussian on integers of large scale, so mu squared adds over releases
whatever their kind. It is kept as an integer number of *units*, ``2**40`` to one mu squared,
and only ever rounded up. Other accountants are witnesses and stand in ``witnesses``.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from consortium.errors import DomainError
from consortium.release import Level, Mechanism

UNITS = 1 << 40
"""Units in one mu squared (protocol 4.6 (1))."""

_STEPS = 10_000
"""Epsilon is a multiple of 1 / 10,000, rounded up (protocol 4.1)."""

_EXP_LIMIT = 700.0
_MU_LIMIT = 64.0


def delta_of(epsilon: float, mu: float) -> float:
    """``δ(ε) = Φ(−ε/μ + μ/2) − e^ε·Φ(−ε/μ − μ/2)`` (protocol 4.1).

    Args:
        epsilon: At least 0.
        mu: Sensitivity over deviation of the whole composition, at least 0.

    Returns:
        The exact delta in [0, 1]. Beyond epsilon 700, where ``e^ε`` leaves float64, the
        second term is left out, which errs upwards.

    Raises:
        DomainError: an argument is negative or not finite.

    Source:
        Balle and Wang (ICML 2018), Theorem 8; Dong, Roth and Su (JRSS-B 2022).
    """
    if not (0 <= epsilon < math.inf and 0 <= mu < math.inf):
        raise DomainError(f"epsilon {epsilon}, mu {mu}: not finite and at least 0")
    if mu == 0:
        return 0.0
    first = _phi(mu / 2 - epsilon / mu)
    if epsilon > _EXP_LIMIT:
        return first
    return max(0.0, first - math.exp(epsilon) * _phi(-mu / 2 - epsilon / mu))


def _phi(x: float) -> float:
    return math.erfc(-x / math.sqrt(2.0)) / 2


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest multiple of 0.0001 whose ``delta_of`` is at most ``delta`` (protocol 4.1).

    So it is the exact epsilon rounded up at the fourth decimal, and 0 if ``δ(0) ≤ δ``.

    Raises:
        DomainError: mu is negative, not finite or above 64; delta is outside (0, 1).
    """
    _check(delta)
    if not 0 <= mu <= _MU_LIMIT:
        raise DomainError(f"mu {mu} is outside 0 to {_MU_LIMIT:g}")
    low, high = -1, math.ceil(max(10.0, 2 * mu * mu + 20 * mu) * _STEPS)
    if delta_of(high / _STEPS, mu) > delta:
        raise DomainError(f"no epsilon below {high / _STEPS} for mu {mu}, delta {delta}")
    while high - low > 1:
        middle = (low + high) // 2
        if delta_of(middle / _STEPS, mu) <= delta:
            high = middle
        else:
            low = middle
    return high / _STEPS


def mu_of(epsilon: float, delta: float) -> float:
    """The largest mu with ``epsilon_of(mu, delta) <= epsilon``; ``σ_eff = 1/μ``.

    Raises:
        DomainError: epsilon is outside 0.0001 to 100, or delta outside (0, 1).
    """
    _check(delta)
    if not 1 / _STEPS <= epsilon <= 100:  # noqa: PLR2004 - far beyond any policy (4.4)
        raise DomainError(f"epsilon {epsilon} is outside 0.0001 to 100")
    grid = round(epsilon * _STEPS)
    target = (grid if grid / _STEPS <= epsilon else grid - 1) / _STEPS
    low, high = 0.0, _MU_LIMIT
    while low < (middle := (low + high) / 2) < high:
        if delta_of(target, middle) <= delta:
            low = middle
        else:
            high = middle
    return low


def epsilon_of_units(units: int, delta: float) -> float:
    """Epsilon of a summed charge, ``μ = √(units / 2**40)``, rounded up."""
    if units < 0:
        raise DomainError(f"a charge of {units} units")
    return epsilon_of(math.sqrt(units / UNITS), delta)


@lru_cache(maxsize=64)
def units_of(epsilon: float, delta: float) -> int:
    """The most units whose epsilon is still at most ``epsilon``: the cap that it means."""
    units = math.floor(mu_of(epsilon, delta) ** 2 * UNITS)
    while epsilon_of_units(units, delta) > epsilon:
        units -= 1
    return units


def _check(delta: float) -> None:
    if not 0 < delta < 1:
        raise DomainError(f"delta {delta} is outside (0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epsilons:
    """What a set of releases costs, against each number of colluders (protocol 4.3).

    In ``own`` mode each node's noise suffices alone and all five are one figure.
    """

    all_honest: float
    half_collude: float
    others_collude: float
    largest: float
    """The worst over every number of honest members from one to all."""
    claimed: float
    """The worst from h to all: the figure that the plan's target bounds and that is charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeEpsilons:
    """All epsilons of a set of releases: both units, both relations (protocol 4.2, 4.3)."""

    record: Epsilons
    """One row at one partner, added or removed."""
    person: Epsilons
    """All rows of one person at all partners, added or removed."""
    record_replaced: Epsilons
    """One row replaced by another: epsilon at twice mu."""
    person_replaced: Epsilons


def units_at(releases: Iterable[Mechanism], level: Level, *, person: bool) -> int:
    """Summed units of ``releases`` at a level; one entry for each charged attempt."""
    return sum(
        times * release.units(person=person, level=level)
        for release, times in Counter(releases).items()
    )


def three_epsilons(
    releases: Iterable[Mechanism],
    delta: float,
    *,
    record_units: int = 0,
    person_units: int = 0,
) -> ThreeEpsilons:
    """The epsilons of all ``releases`` of one node, one entry for each charged attempt.

    Args:
        releases: Their rosters may differ; each counts at its own K and h.
        delta: The policy's.
        record_units: Charges beside them that hold whoever colludes (protocol 4.8), for a
            record.
        person_units: The same for a person.
    """
    listed = tuple(releases)

    def figures(more: int, *, person: bool, replaced: bool) -> Epsilons:
        factor = 4 if replaced else 1
        return Epsilons(
            **{
                level.value: epsilon_of_units(
                    factor * (more + units_at(listed, level, person=person)), delta
                )
                for level in Level
            }
        )

    return ThreeEpsilons(
        record=figures(record_units, person=False, replaced=False),
        person=figures(person_units, person=True, replaced=False),
        record_replaced=figures(record_units, person=False, replaced=True),
        person_replaced=figures(person_units, person=True, replaced=True),
    )
