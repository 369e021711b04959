"""Lower bounds of epsilon from what canaries scored, and checks of bare noise (protocol 9.3).

A canary is a row that moves one coordinate of its own by all that a row may. Its *score* is
that coordinate, summed over the rounds, in units of the deviation that the claim implies: mean
0 or mu, deviation 1. From scores of canaries that were in and out, each function here says
what epsilon is refuted. None proves that a claim is true.

Nothing is drawn: scores, coins and sums are arguments, all of them of synthetic rows.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DomainError, ShapeError
from consortium.privacy.accountant import epsilon_of

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONFIDENCE_GDP = 2.326
"""One-sided 99 % of a normal deviate: the gate of (a)."""
SIGNIFICANCE = 0.05
"""Of (b) and (c), which are printed and gate nothing."""

_NORMAL = NormalDist()
_LARGEST_MU = 40.0
"""Epsilon is near 1,000 there: no claim needs a finer figure above."""
_LARGEST_EPSILON = 64.0
_HALVINGS = 40
_FEWEST = 8
"""Canaries on each side, below which no deviation can be measured."""
_FALSE_ALARM = 1e-6
"""Of the largest correlation of all pairs of rounds."""
_NULL_DEVIATIONS = 4.0
_RARE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class GdpBound:
    """(a): the canaries' separation, read as that of a Gaussian mechanism."""

    mu: float
    """Difference of the means over the pooled deviation."""
    error: float
    """Standard error of ``mu``."""
    low: float
    """``mu`` less 2.326 errors; may be negative."""
    epsilon: float
    """Of ``low`` at the delta asked for; 0 where ``low`` is not positive."""


def gdp_bound(scores: Float, present: Flags, delta: float) -> GdpBound:
    """(a) ``ε(μ̂ − 2.326·se, δ)``, a 99 % lower bound of a Gaussian mechanism's epsilon.

    ``μ̂`` is the difference of means over the pooled deviation and
    ``se² = 1/n₁ + 1/n₀ + μ̂²/(2(n₁ + n₀))``. It exceeds a true claim in one audit of a
    hundred. Of another mechanism than a Gaussian it would prove nothing.

    Args:
        scores: One for each canary, shape (M,), any common unit.
        present: Whether each was in the run, shape (M,).
        delta: The claim's.

    Raises:
        ShapeError: ragged arguments.
        DomainError: a score is not finite, fewer than 8 canaries were in or out, or their
            scores do not vary: there is no noise at all.

    Source:
        Cohen (1988), standard error of a standardised difference; GDP to (ε, δ) as in Dong,
        Roth and Su (JRSS-B 2022), Corollary 2.13.
    """
    inside, outside = _sides(scores, present)
    n1, n0 = inside.size, outside.size
    squares = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
    deviation = math.sqrt(float(squares) / (n1 + n0 - 2))
    if deviation == 0:
        raise DomainError("scores of canaries do not vary")
    mu = float(inside.mean() - outside.mean()) / deviation
    error = math.sqrt(1 / n1 + 1 / n0 + mu * mu / (2 * (n1 + n0)))
    low = mu - CONFIDENCE_GDP * error
    return GdpBound(mu=mu, error=error, low=low, epsilon=_epsilon(low, delta))


def threshold_bound(scores: Float, present: Flags, delta: float) -> float:
    """(b) ``ε`` of ``μ ≥ Φ⁻¹(1 − a) − Φ⁻¹(b)`` of two error rates, at 95 %.

    The two rates are those of false alarms and of misses of "it was in if its score is not
    below the threshold". The threshold is the one that is best on the canaries of even index;
    the errors are counted on those of odd index, and the rates are their Clopper-Pearson
    bounds at 97.5 % each. Assumes of the scores only that canaries do not depend on each
    other; weaker than (a).

    Args:
        scores: As ``gdp_bound``; canaries in an order that does not depend on the coins.
        present: As there.
        delta: The claim's.

    Raises:
        ShapeError, DomainError: as ``gdp_bound``.

    Source:
        Nasr et al. (USENIX Security 2023), arXiv 2302.07956, 4.2; Clopper and Pearson (1934).
    """
    _sides(scores, present)
    limit = _best_threshold(scores[::2], present[::2])
    half, inside = scores[1::2], present[1::2]
    above = half >= limit
    false_alarms = binomial_upper(int((above & ~inside).sum()), int((~inside).sum()))
    misses = binomial_upper(int((~above & inside).sum()), int(inside.sum()))
    if not (false_alarms < 1 and misses < 1):
        return 0.0
    return _epsilon(_NORMAL.inv_cdf(1 - false_alarms) - _NORMAL.inv_cdf(misses), delta)


def _best_threshold(scores: Float, present: Flags) -> float:
    """The score at and above which "in" separates best, by Φ⁻¹ of the smoothed rates."""
    order = np.argsort(-scores, kind="stable")
    inside = present[order]
    found, alarms = np.cumsum(inside), np.cumsum(~inside)
    alpha = (alarms + 1) / (alarms[-1] + 2)
    beta = (found[-1] - found + 1) / (found[-1] + 2)
    gains = [
        _NORMAL.inv_cdf(1 - a) - _NORMAL.inv_cdf(b) for a, b in zip(alpha, beta, strict=True)
    ]
    return float(scores[order[int(np.argmax(gains))]])


def binomial_upper(seen: int, trials: int, *, significance: float = SIGNIFICANCE / 2) -> float:
    """Clopper-Pearson: the largest rate at which ``seen`` or fewer is not too rare.

    Args:
        seen: Times that it happened.
        trials: Times that it could have.
        significance: Chance of a bound below the true rate.

    Returns:
        A rate in (0, 1]; 1 if it happened every time, or there was no trial.
    """
    if not 0 <= seen <= trials:
        raise DomainError(f"{seen} of {trials}")
    if seen == trials:
        return 1.0
    low, high = seen / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(np.exp(_log_pmf(trials, middle)[: seen + 1]).sum()) >= significance:
            low = middle
        else:
            high = middle
    return high


def guesses(scores: Float, present: Flags) -> tuple[int, int]:
    """Guesses of (c) and how many are right: the most extreme tenth, half of it each way.

    How many does not depend on the coins: a number chosen after the fact would need a
    correction.
    """
    _sides(scores, present)
    each = max(1, scores.size // 20)
    order = np.argsort(scores, kind="stable")
    right = int((~present[order[:each]]).sum() + present[order[-each:]].sum())
    return 2 * each, right


def one_run_p_value(
    epsilon: float, delta: float, *, canaries: int, guessed: int, right: int
) -> float:
    """(c) How likely so many right guesses are, at most, if the run is (ε, δ)-private.

    With ``q = 1/(1 + e^−ε)`` and ``W ~ Bin(r, q)``:
    ``p = P[W ≥ v] + 2·M·δ·max_{1≤i≤v} P[v − i ≤ W < v]/i``, at most 1.

    Args:
        epsilon: At least 0.
        delta: In [0, 1].
        canaries: M, each in the run by a fair coin of its own.
        guessed: r, canaries whose coin was guessed, at most M.
        right: v, guesses that were right.

    Raises:
        DomainError: ``0 ≤ v ≤ r ≤ M`` does not hold, or epsilon or delta is out of range.

    Source:
        Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run (NeurIPS
        2023), arXiv 2305.08846, Theorem 5.2 and Appendix D.
    """
    if not 0 <= right <= guessed <= canaries:
        raise DomainError(f"{right} right of {guessed} guesses of {canaries} canaries")
    if not (0 <= epsilon < math.inf and 0 <= delta <= 1):
        raise DomainError(f"epsilon {epsilon}, delta {delta}")
    mass = np.exp(_log_pmf(guessed, 1 / (1 + math.exp(-epsilon))))
    tail = float(mass[right:].sum())
    if right == 0 or delta == 0:
        return min(1.0, tail)
    below = np.cumsum(mass[:right][::-1]) / np.arange(1, right + 1)
    return min(1.0, tail + 2 * canaries * delta * float(below.max()))


def one_run_bound(scores: Float, present: Flags, delta: float) -> float:
    """(c) The largest epsilon that one run's guesses refute at 5 %; 0 if they refute none.

    Holds for any mechanism whatever its noise is, and is weak where epsilon is small.

    Raises:
        ShapeError, DomainError: as ``gdp_bound``.
    """
    guessed, right = guesses(scores, present)

    def refuted(epsilon: float) -> bool:
        p = one_run_p_value(epsilon, delta, canaries=scores.size, guessed=guessed, right=right)
        return p < SIGNIFICANCE

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _LARGEST_EPSILON
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class NullRound:
    """(d): what sums on no data look like."""

    deviation: float
    """Root mean square of all sums over the deviation claimed; 1 if the noise is right."""
    tolerance: float
    """``4/√(2·T·d)``: a true deviation is farther from 1 in one audit of 16,000."""
    correlation: float
    """Largest absolute correlation of two rounds."""
    correlation_tolerance: float
    """Rounds that do not depend on each other exceed it in one audit of a million."""


def null_round(sums: Float) -> NullRound:
    """(d) Deviation and independence of the noise alone.

    Args:
        sums: Shape (T, d): each round's sum over partners without rows, over the deviation
            that the claim gives the coordinate.

    Raises:
        ShapeError: not a table.
        DomainError: a sum is not finite, or there is nothing to measure.

    Source:
        Variance of a standard deviation, and of a correlation, of normal deviates; the
        Gaussian is discrete, of a deviation that makes it one to all purposes (3.5.7).
    """
    if sums.ndim != 2:  # noqa: PLR2004 - rounds by coordinates
        raise ShapeError(f"sums of shape {sums.shape}, expected (rounds, coordinates)")
    rounds, width = sums.shape
    if rounds < 1 or width < _FEWEST or not bool(np.isfinite(sums).all()):
        raise DomainError(f"{rounds} null rounds of {width} coordinates, or NaN among them")
    pairs = rounds * (rounds - 1) // 2
    limit = -_NORMAL.inv_cdf(_FALSE_ALARM / (2 * max(1, pairs)))
    return NullRound(
        deviation=math.sqrt(float(np.mean(sums**2))),
        tolerance=_NULL_DEVIATIONS / math.sqrt(2 * sums.size),
        correlation=_largest_correlation(sums),
        correlation_tolerance=limit / math.sqrt(width),
    )


def _largest_correlation(sums: Float) -> float:
    lengths = np.sqrt((sums**2).sum(axis=1, keepdims=True))
    if sums.shape[0] == 1:
        return 0.0
    if not bool(lengths.all()):
        return 1.0  # a round without any noise is like every other one
    unit = sums / lengths
    cosines = np.abs(unit @ unit.T)
    np.fill_diagonal(cosines, 0.0)
    return min(1.0, float(cosines.max()))


def rate_at_rare_alarms(scores: Float, present: Flags) -> float:
    """Share of canaries that were in and are called so at 0.1 % false alarms.

    The threshold is the 99.9th percentile of a normal fitted to those that were out, for
    a hundred of them do not show one in a thousand. 0.001 is chance.

    Source:
        Carlini et al., Membership Inference Attacks From First Principles (S&P 2022), for
        the figure and the normal fit; the score is the auditor's own.
    """
    inside, outside = _sides(scores, present)
    limit = outside.mean() + _NORMAL.inv_cdf(1 - _RARE) * outside.std(ddof=1)
    return float((inside > limit).mean())


def claimed_deviation(mu: float, *, sensitivity: int, rounds: int) -> float:
    """Deviation of one sum's noise that ``mu`` over T rounds implies: ``Q·√T/μ``.

    From the claim alone, so that a fault in whatever computes the noise cannot hide in the
    figure that it is compared with.
    """
    if not (0 < mu < math.inf and sensitivity > 0 and rounds > 0):
        raise DomainError(f"mu {mu}, sensitivity {sensitivity}, {rounds} rounds")
    return sensitivity * math.sqrt(rounds) / mu


def _sides(scores: Float, present: Flags) -> tuple[Float, Float]:
    """Scores of the canaries that were in, and of those that were not."""
    if scores.ndim != 1 or present.shape != scores.shape or present.dtype != np.bool_:
        raise ShapeError(f"scores of shape {scores.shape}, coins of shape {present.shape}")
    if not bool(np.isfinite(scores).all()):
        raise DomainError("a score is not finite")
    if min(int(present.sum()), int((~present).sum())) < _FEWEST:
        raise DomainError(f"fewer than {_FEWEST} canaries were in, or out")
    return scores[present], scores[~present]


def _epsilon(mu: float, delta: float) -> float:
    return epsilon_of(min(mu, _LARGEST_MU), delta) if mu > 0 else 0.0


def _log_pmf(trials: int, rate: float) -> Float:
    """Logarithms of the binomial's masses at 0 to ``trials``."""
    logs: Float = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    seen = np.arange(trials + 1)
    ways = logs[-1] - logs - logs[::-1]
    if rate in {0.0, 1.0}:
        certain = np.full(trials + 1, -np.inf)
        certain[trials if rate else 0] = 0.0
        return certain
    masses: Float = ways + seen * math.log(rate) + (trials - seen) * math.log1p(-rate)
    return masses
