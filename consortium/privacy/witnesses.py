"""Other people's accountants, asked about the same releases (protocol 4.7).

dp-accounting is imported where it is called: it is heavy, and only a plan with local steps,
a statement or a test needs it. For full batches the closed formula of ``accountant`` is what
is claimed and these only confirm it; for Poisson batches (protocol 4.8) the PLD is the claim.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from consortium.errors import DomainError, TrustError
from consortium.privacy.accountant import UNITS, epsilon_of, mu_of

if TYPE_CHECKING:
    from dp_accounting import DpEvent

_STEPS = 10_000
_PLD_TOLERANCE = 1e-3
_RDP_RATIO = 1.15
_DELTA_GRID = (1e-2, 1.0, 1e3)
"""Multiples of the plan's delta at which a Poisson run is compared with a Gaussian."""
_LARGEST_DELTA = 0.1
RDP_ORDERS = (
    *(1 + step / 10 for step in range(1, 100)),
    *range(11, 64),
    *range(64, 1025, 8),
)
"""The library's own orders, and those between 64 and 1,024 that it leaves out: without them
its figure is up to 16 percent too high below epsilon 0.2, and 4.7 would block the release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """The same claim by three accountants; all at the same delta."""

    exact: float
    pld: float
    rdp: float


def pld_epsilon(
    sigma: float, steps: int, delta: float, *, sample_rate: float = 1.0, replace: bool = False
) -> float:
    """Epsilon by dp-accounting's privacy loss distribution, an upper bound.

    Args:
        sigma: Deviation of each step's noise in units of the sensitivity, positive.
        steps: Releases that compose, at least 1.
        delta: In (0, 1).
        sample_rate: q of the Poisson sampler; 1 is the full batch.
        replace: Replace one record instead of adding or removing it.
    """
    # imports here: dp-accounting is heavy and not a base dependency
    from dp_accounting import NeighboringRelation  # noqa: PLC0415
    from dp_accounting.pld import PLDAccountant  # noqa: PLC0415

    relation = (
        NeighboringRelation.REPLACE_ONE if replace else NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    accountant = PLDAccountant(relation)
    accountant.compose(_event(sigma, sample_rate), steps)
    return float(accountant.get_epsilon(delta))


def rdp_epsilon(sigma: float, steps: int, delta: float, *, sample_rate: float = 1.0) -> float:
    """Epsilon by dp-accounting's Rényi accountant; arguments as ``pld_epsilon``.

    It is never below the PLD's; if it is, a sampler or an event is wrong (protocol 10.8).
    """
    from dp_accounting.rdp import RdpAccountant  # noqa: PLC0415 - as above

    accountant = RdpAccountant(list(RDP_ORDERS) if sample_rate == 1 else None)
    accountant.compose(_event(sigma, sample_rate), steps)
    return float(accountant.get_epsilon(delta))


def _event(sigma: float, sample_rate: float) -> "DpEvent":
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent  # noqa: PLC0415 - as above

    if not (0 < sigma < math.inf and 0 < sample_rate <= 1):
        raise DomainError(f"sigma {sigma}, sample rate {sample_rate}: outside their domain")
    gaussian = GaussianDpEvent(sigma)
    return gaussian if sample_rate == 1 else PoissonSampledDpEvent(sample_rate, gaussian)


def cross_check(mu: float, delta: float) -> Witnesses:
    """Ask all three about one positive mu, or raise TrustError if they disagree."""
    found = Witnesses(
        exact=epsilon_of(mu, delta),
        pld=pld_epsilon(1 / mu, 1, delta),
        rdp=rdp_epsilon(1 / mu, 1, delta),
    )
    check_witnesses(found)
    return found


def check_witnesses(found: Witnesses) -> None:
    """Raise TrustError unless the three agree; a release is blocked then (protocol 4.7).

    Accepted is ``|PLD − exact| ≤ 0.001·ε`` (plus the 0.0001 that rounding up adds) and
    ``exact ≤ RDP ≤ 1.15·exact``.
    """
    rounding = 1 / _STEPS
    if abs(found.pld - found.exact) > _PLD_TOLERANCE * found.exact + rounding:
        raise TrustError(f"accountants disagree: exact {found.exact}, PLD {found.pld}")
    if not found.exact - rounding <= found.rdp <= _RDP_RATIO * found.exact:
        raise TrustError(f"accountants disagree: exact {found.exact}, RDP {found.rdp}")


@cache
def poisson_units(sigma: float, steps: int, delta: float, *, sample_rate: float) -> int:
    """Units of a Gaussian that is at least as bad as the whole Poisson composition.

    The loss of a subsampled Gaussian has heavier tails than a Gaussian of equal epsilon, so
    equality at ``delta`` alone would undercount once the run composes with other releases.
    The two are compared at a hundredth of ``delta``, at it and at a thousand times it, and
    the largest mu counts; what lies below a hundredth adds at most one percent to delta.
    The charge is therefore above the PLD's epsilon that a statement prints.

    The figure is for all ``steps`` together. A part of them costs more than its share, so
    the whole is charged before the first sum leaves.

    Args:
        sigma: Deviation of one step's noise in units of the sensitivity.
        steps: All private steps that one person is in, at all partners together.
        delta: The plan's.
        sample_rate: q of the Poisson sampler.
    """
    from dp_accounting.pld import PLDAccountant  # noqa: PLC0415 - as above

    accountant = PLDAccountant()
    accountant.compose(_event(sigma, sample_rate), steps)
    worst = 0.0
    for factor in _DELTA_GRID:
        at = min(delta * factor, _LARGEST_DELTA)
        epsilon = math.ceil(float(accountant.get_epsilon(at)) * _STEPS) / _STEPS
        worst = max(worst, mu_of(max(epsilon, 1 / _STEPS), at))
    return math.ceil(worst**2 * UNITS)
