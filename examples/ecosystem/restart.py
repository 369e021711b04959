"""First payments of lines that are opened again, with a bad wave if wanted (T12)."""

import numpy as np

from examples.ecosystem.law import Float
from examples.ecosystem.people import Bools
from examples.ecosystem.streams import stream


def first_payments(seed: int, wave: str, pd: Float, *, plan: float, factor: float) -> Bools:
    """Who is thirty days late on the first due: FPD30 of one wave.

    The rate is ``plan * factor`` on average and follows the PD, so stronger tiers stay better.

    Args:
        seed: Of the market.
        wave: Its name; each has its own stream.
        pd: True PD12 of the accounts, shape (accounts,).
        plan: Planned rate.
        factor: 1 for a wave as planned; 2 or 3 for a bad one.
    """
    if pd.size == 0:
        return np.zeros(0, dtype=bool)
    chance = np.minimum(1.0, plan * factor * pd / pd.mean())
    return stream(seed, f"first payments|{wave}").random(pd.size) < chance
