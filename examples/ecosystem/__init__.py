"""SYNTHETIC: persons, several lenders, months, closures, and the truth behind them.

No public table holds several lenders over time, so this one is made by rule, for tests and for
what a closure does. No row is a person, and no claim of accuracy rests on it.

    observed, truth = generate(PROFILES["tiny"], seed=1)

``observed`` is what lenders could know, one ``Partner`` each; ``truth`` is what only a test may
read. Every stream of chance belongs to one entity and month, so nothing depends on the order
of work: the same seed and profile give the same bytes.
"""

from examples.ecosystem.profiles import PROFILES, Profile
from examples.ecosystem.world import Ecosystem, Partner, Snapshot, Truth, generate

__all__ = ["PROFILES", "Ecosystem", "Partner", "Profile", "Snapshot", "Truth", "generate"]
