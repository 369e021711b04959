"""Recalibration of a rare outcome, from the same noisy histogram as every other (protocol 5.5).

Where few persons have the outcome, the noise of all cells together may be as large as their
number, and a line fitted to it would do harm. So the level alone is moved, and only as far as
the counts are trusted beside a model whose rows are hardly clipped.
"""

import math

from consortium.credit.tables import Calibration, Float, cell_centres, chances_of, columns_of
from consortium.errors import DomainError

_TRUST = 0.05
"""By how much, in log-odds, a model may be off before its counts are seen: one deviation."""
_FARTHEST = 4.0
"""No ratio beyond it is believed."""


def fit_rare(table: Float, *, deviation: float) -> Calibration:
    """The level of a rare outcome: observed over expected, drawn towards 1 by its noise.

    ``alpha = log(O/E) · t² / (t² + v)``, ``v = (cells·deviation² + E) / E²``, t a twentieth;
    beta is 1. As the noise grows alpha goes to 0, as the counts grow to ``log(O/E)``.

    Args:
        table: Noisy counts (without, with the outcome), shape (24, 2), cells of noise alone
            set to 0.
        deviation: Standard deviation of the noise of one count, in persons.

    Raises:
        DomainError: nobody is left in the table, or it holds NaN or infinity.
        ShapeError: not a table of 24 cells.
    """
    without, outcomes, _, _ = columns_of(table)
    chances = chances_of(cell_centres(), len(without))
    rows = list(zip(without, outcomes, chances, strict=True))
    expected = math.fsum(max(g + b, 0.0) * chance for g, b, chance in rows)
    if expected <= 0:
        raise DomainError("recalibration is not defined: no cell holds persons")
    seen = math.fsum(b for g, b, _ in rows if g + b > 0)
    cells = sum(g + b > 0 for g, b, _ in rows)
    variance = (cells * deviation**2 + expected) / expected**2
    ratio = min(max(seen / expected, 1 / _FARTHEST), _FARTHEST)
    return Calibration(alpha=math.log(ratio) * _TRUST**2 / (_TRUST**2 + variance), beta=1.0)
