"""The planted law (7.2): log-odds of bad, grades, hazards a month. No chance here."""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]

GRADE_CUTS = (0.02, 0.05, 0.10, 0.20)
"""PD at which G2, G3, G4 and G5 begin."""
OVERLAP = (0.8, 1.0, 1.4, 2.2, 2.6)
"""q of a person whose sure line is of that grade: the weak hold more lines."""
OVERLAP_SHARE = 0.25

WEIGHTS = {
    "utilisation": 1.6,
    "payment_ratio": -1.4,
    "late": 0.9,
    "dsr": 1.1,
    "applications": 0.35,
    "cash_share": 0.8,
    "months_on_book": -0.25 / 24,
}
"""Of PD12's log-odds (T1)."""
CENTRES = {
    "utilisation": 0.35,
    "payment_ratio": 0.65,
    "late": 0.0,
    "dsr": 0.35,
    "applications": 0.5,
    "cash_share": 0.2,
    "months_on_book": 36.0,
}
INTERCEPT = -2.6

SHIFT = (1.2, 0.8, -1.5)
"""d_t by tier, log-odds: what the end of an active line elsewhere does (T2)."""
TIER_OF_GRADE = (0, 0, 1, 2, 2)
SHIFT_MONTHS = 12

ONSET_CHANCES = 7
"""Months in which a line may begin to fail and still be bad within twelve."""
STRESS_MONTHS = 2
STRESS_RISE = 0.15
PARTIAL, PARTIAL_STRESSED = 0.05, 0.45
APPLIES, APPLIES_STRESSED = 0.06, 0.5
CURABLE_SHARE, CURABLE_BASE, CURE = 0.25, 0.006, 0.75
LATE_MONTHS = 6
CHARGED_OFF_AFTER = 3
"""Months in M3+."""

CLOSE_M1, CLOSE_M2 = 0.03, 0.12
CLOSE_ANOMALY, ANOMALY_FACTOR, DEVICE = 0.0008, 5.0, 0.01
CLOSE_INACTIVE, INACTIVE_FROM = 0.06, 12
CLOSE_BORROWER = 0.004
RUN_DOWN = 0.9
"""Of the balance of a line that its lender ended, what is left a month later."""

STAGE_DPD = (0, 20, 50, 80, 110)
"""Days past due in M0, M1, M2, M3 and the first month of M3+."""


def expit(x: Float) -> Float:
    """Log-odds to a probability."""
    return 1.0 / (1.0 + np.exp(-x))


def logit(p: Float) -> Float:
    """A probability to log-odds."""
    return np.log(p) - np.log1p(-p)


def log_odds(**values: Float) -> Float:
    """Eta of lines, from each attribute of ``WEIGHTS`` by name."""
    total: Float = np.asarray(INTERCEPT, dtype=np.float32)
    for name, weight in WEIGHTS.items():
        total = total + np.float32(weight) * (values[name] - np.float32(CENTRES[name]))
    return total


def grade_of(pd: Float) -> NDArray[np.int8]:
    """0 to 4 for G1 to G5."""
    return np.searchsorted(GRADE_CUTS, pd, side="right").astype(np.int8)


def tier_of(pd: Float) -> NDArray[np.int8]:
    """0 PRIME, 1 NEAR, 2 LOW."""
    return np.asarray(TIER_OF_GRADE, dtype=np.int8)[grade_of(pd)]


def onset_hazard(pd: Float) -> Float:
    """Chance a month to begin to fail, so that PD12 is met in ``ONSET_CHANCES``."""
    return 1.0 - (1.0 - pd) ** np.float32(1.0 / ONSET_CHANCES)
