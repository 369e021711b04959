"""Profile ``wide``: overlap and tier tables of many large lenders, drawn directly.

No person is drawn: a stress benchmark reads only these tables.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.ecosystem.law import Float
from examples.ecosystem.streams import stream

PARTNERS, PERSONS = 50, 200_000
TIERS = 3
_SHARES = (0.42, 0.30, 0.28)
_PD = (0.028, 0.071, 0.18)
_EXPOSURE = (9_000_00.0, 7_000_00.0, 5_000_00.0)
_PAIR_LOW, _PAIR_HIGH = 0.01, 0.08
_WEAKER = (0.8, 1.0, 1.3)
"""Weaker persons are at more lenders."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WideTables:
    """True tables, tiers PRIME, NEAR, LOW; shapes (partners, 3) unless said otherwise."""

    persons: NDArray[np.int64]
    overlap: NDArray[np.int64]
    """Persons at both, by the tier at the second, shape (partners, partners, 3)."""
    exposure: Float
    """Mean of a person, minor units."""
    pd: Float


def wide_tables(seed: int, *, partners: int = PARTNERS, persons: int = PERSONS) -> WideTables:
    """Tables of ``partners`` lenders with ``persons`` each; the same for the same seed."""
    draw = stream(seed, f"wide|{partners}|{persons}")
    shares = draw.dirichlet(200 * np.asarray(_SHARES), partners)
    counts = np.stack([draw.multinomial(persons, share) for share in shares])
    pair = np.triu(draw.uniform(_PAIR_LOW, _PAIR_HIGH, (partners, partners)), 1)
    common = draw.binomial(persons, pair + pair.T)
    common = np.triu(common, 1) + np.triu(common, 1).T
    weights = shares * np.asarray(_WEAKER)
    weights /= weights.sum(axis=1, keepdims=True)
    overlap = draw.multinomial(common, np.broadcast_to(weights, (partners, partners, TIERS)))
    return WideTables(
        persons=counts,
        overlap=np.minimum(overlap, counts),
        exposure=np.asarray(_EXPOSURE) * draw.uniform(0.7, 1.3, (partners, TIERS)),
        pd=np.asarray(_PD) * draw.uniform(0.85, 1.15, (partners, TIERS)),
    )
