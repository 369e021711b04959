"""The sequential stop of a wave whose counts come from noisy tables (credit 4.17).

Counts enter as they were released, negative ones too; nothing is clamped. What is compared is
how likely the released number of bads is under the plan's rate and under the alternative, both
with the noise that everybody knows: without noise this is Wald's ratio to the digit, and with
it still a likelihood ratio, so a look halts a wave at the plan with a chance of at most its
share of alpha. ``alpha`` is split over the planned looks, as each has noise of its own.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from consortium.credit.policy import StopRule
from consortium.credit.stopping import Verdict, bounds_of
from consortium.credit.terms import MILLION
from consortium.errors import DomainError
from consortium.scoring.scorecard import UNIT_BITS

Float = NDArray[np.float64]

_UNIT = float(1 << UNIT_BITS)
_REACH = 12.0
"""Deviations of the noise beyond which nothing is added up: below 1e-31."""
_SLACK = 100
_MOST = 20_000_000
_TAIL = 0.025
"""Of the 95 % interval, on one side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyCounts:
    """Accounts by what became of them, as released, with the deviation of their noise. Public.

    Raises:
        DomainError: no number, too many accounts, or a deviation below 0.
    """

    good: float
    bad: float
    good_deviation: float
    bad_deviation: float

    def __post_init__(self) -> None:
        numbers = (self.good, self.bad, self.good_deviation, self.bad_deviation)
        if not all(map(math.isfinite, numbers)) or abs(self.good) + abs(self.bad) > _MOST:
            raise DomainError("noisy counts: no number, or more accounts than can be")
        if min(self.good_deviation, self.bad_deviation) < 0:
            raise DomainError("noisy counts: a deviation below 0")

    @property
    def accounts(self) -> float:
        """Good and bad together; noisy."""
        return self.good + self.bad


def llr(counts: NoisyCounts, rule: StopRule) -> float:
    """Log-likelihood ratio of the alternative, natural logarithm.

    ``ln P(bad | p1) − ln P(bad | p0)``, where the bads are binomial among the accounts and the
    released number is theirs plus Gaussian noise. The noise of the number of accounts moves
    the expected bads by the rate times itself and is left out: a thirtieth of what is in.

    Raises:
        DomainError: the rule is no test.
    """
    bounds = bounds_of(rule)
    accounts = round(counts.accounts)
    if accounts < 1:
        return 0.0
    if counts.bad_deviation == 0:
        return (counts.bad * bounds.bad + (accounts - counts.bad) * bounds.good) / _UNIT
    p0 = rule.fpd30_plan / MILLION
    p1 = p0 * rule.ratio / MILLION
    reach = max(counts.bad, 0.0) + _REACH * counts.bad_deviation + 2 * accounts * p1 + _SLACK
    bads = np.arange(min(accounts, math.ceil(reach)) + 1, dtype=np.float64)
    off = ((counts.bad - bads) / counts.bad_deviation) ** 2 / 2
    weights = _ln_choose(accounts, bads) - off
    alternative = weights + bads * math.log(p1) + (accounts - bads) * math.log1p(-p1)
    plan = weights + bads * math.log(p0) + (accounts - bads) * math.log1p(-p0)
    return _ln_sum(alternative) - _ln_sum(plan)


def verdict(counts: NoisyCounts, rule: StopRule) -> Verdict:
    """What one look says: nothing before the least accounts, something after the most.

    Raises:
        DomainError: the rule is no test.
    """
    bounds = bounds_of(rule)
    if counts.accounts < rule.least_accounts:
        return Verdict.CONTINUE
    ratio = llr(counts, rule)
    if ratio >= bounds.halt / _UNIT:
        return Verdict.HALT
    if ratio <= bounds.passed / _UNIT:
        return Verdict.PASS
    if counts.accounts >= rule.most_accounts:
        return Verdict.PASS_WITH_REVIEW
    return Verdict.CONTINUE


def past_half(counts: NoisyCounts, rule: StopRule) -> bool:
    """Whether the ratio is past half of the bound at which it halts (row 12, amber)."""
    return 2 * llr(counts, rule) > bounds_of(rule).halt / _UNIT


def worse_than_holdout(wave: NoisyCounts, holdout: NoisyCounts, rule: StopRule) -> bool:
    """Whether a wave's rate of dpd 30 exceeds its hold-out's by more than the margin.

    Only if the interval of the difference excludes 0 as well. Its variance is that of the
    persons and that of the noise; its 95 % are split over the planned looks, as alpha is.
    """
    if min(wave.accounts, holdout.accounts) < max(rule.least_accounts, 1):
        return False
    difference = wave.bad / wave.accounts - holdout.bad / holdout.accounts
    if difference <= rule.holdout_margin / MILLION:
        return False
    width = NormalDist().inv_cdf(1 - _TAIL / max(rule.looks, 1))
    pooled = (wave.bad + holdout.bad) / (wave.accounts + holdout.accounts)
    return difference > width * math.sqrt(_variance(wave, pooled) + _variance(holdout, pooled))


def _variance(counts: NoisyCounts, pooled: float) -> float:
    """Of a rate: binomial at the pooled rate, and what the noise of both counts adds.

    The pooled rate is that of no difference; with the own one a hold-out without a single
    bad would have no variance at all.
    """
    share = min(max(pooled, 0.0), 1.0)
    rate = counts.bad / counts.accounts
    noise = ((1 - rate) * counts.bad_deviation) ** 2 + (rate * counts.good_deviation) ** 2
    return share * (1 - share) / counts.accounts + noise / counts.accounts**2


def _ln_choose(accounts: int, bads: Float) -> Float:
    """``ln C(n, k)`` for k = 0, 1, ...; shape as ``bads``."""
    steps = np.log(accounts - bads[1:] + 1) - np.log(bads[1:])
    return np.concatenate([np.zeros(1), np.cumsum(steps)])


def _ln_sum(logs: Float) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))
