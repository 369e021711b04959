"""Integer Gaussian noise from a keyed stream, replayable to the bit (protocol 3.5).

``Pr[z] ∝ exp(−z² / (2V))`` on all integers. The noise is added before anything is masked or
decoded, so no low-order float bit exists to attack. There are two ways to draw it: ``exact``
decides every acceptance in rational arithmetic, ``fast`` decides in float64 and asks the
exact rule wherever a float could be wrong. Both give the same integers on every machine,
so an auditor may replay with either.
"""

import decimal
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret, hkdf
from consortium.crypto.stream import WordStream
from consortium.errors import DomainError
from consortium.ids import Digest

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

_NOISE_INFO = b"riskweave/noise/v1"
_REFINE_INFO = b"riskweave/noise-refine/v1"

_LAST_STEP = 44
"""``2**64·e**−44`` is the last threshold above 1 (protocol 3.5.4 (2))."""
_LARGEST_TAU = 56
_SIGN = np.uint64(1 << 63)
_WORD = 64
_WORDS_EACH = 3
_DIGITS = 60
_BATCH = 1 << 15
"""Candidates at a time; their arrays stay in the cache. Changes no released bit."""
_SLOPE, _FLOOR = 2.0**-40, 2.0**-52
"""Where a float comparison is not trusted: ``2**-40·p + 2**-52`` (protocol 3.5.6)."""


class Source(Protocol):
    """Uniform words in a fixed order; ``WordStream`` is one."""

    def take(self, count: int) -> Words:
        """The next ``count`` words; never fewer."""


def noise_share(seed: Secret, context: Digest, *, variance: int, count: int) -> Integers:
    """One node's noise for one attempt (protocol 3.5.2).

    Args:
        seed: The run's seed, committed to before the run. Secret: with it the noise falls.
        context: Digest of the attempt; no two attempts share one. Public.
        variance: V_i of the mechanism. Public.
        count: d.

    Returns:
        Shape (count,), int64. Secret.

    Raises:
        DomainError: variance or count is outside its range.
    """
    key, refine = noise_keys(seed, context)
    return discrete_gaussian(key, refine, variance, count)


def noise_keys(seed: Secret, context: Digest) -> tuple[Secret, Secret]:
    """The keys of an attempt's candidates and of its refinement words (protocol 3.5.2)."""
    salt = bytes.fromhex(context)
    return hkdf(seed, salt, _NOISE_INFO), hkdf(seed, salt, _REFINE_INFO)


def discrete_gaussian(
    key: Secret, refine: Secret, variance: int, count: int, *, exact: bool = False
) -> Integers:
    """``count`` independent discrete Gaussians of parameter V (protocol 3.5.4 to 3.5.6).

    Args:
        key: Key of the candidates' stream, 32 bytes, used once. Secret.
        refine: Key of the stream that settles ties, 32 bytes, used once. Secret.
        variance: V, from 1 to about ``2**113``.
        count: How many, at least 0.
        exact: Decide all in rational arithmetic: the same integers, 1,000 times slower.

    Returns:
        Shape (count,), int64: the k-th is the k-th accepted candidate. Secret.

    Raises:
        DomainError: variance or count is outside its range.

    Source:
        Canonne, Kamath and Steinke (NeurIPS 2020), with scale t and the two acceptances
        merged; the three-word candidates and the refinement are ours.
    """
    if count < 0:
        raise DomainError(f"{count} noise values")
    sampler = Sampler(_law(variance), WordStream(key), WordStream(refine))
    return sampler.exact(count) if exact else sampler.fast(count)


@dataclass(frozen=True, slots=True)
class _Law:
    """V and the scale ``t = 2**tau`` of its proposals."""

    variance: int
    tau: int


def _law(variance: int) -> _Law:
    if variance < 1:
        raise DomainError(f"variance {variance} is not positive")
    root = math.isqrt(variance)
    tau = root.bit_length() - 1
    # round(log2 root), in integers: up iff root is above 2**(tau + 1/2); no ties exist.
    tau += root * root > 1 << (2 * tau + 1)
    if tau > _LARGEST_TAU:
        raise DomainError(f"variance of {variance.bit_length()} bits: scale above 2**56")
    return _Law(variance, tau)


class Sampler:
    """The candidates of one stream, judged one by one or in batches."""

    def __init__(
        self,
        law: _Law,
        words: Source,
        refine: Source,
        *,
        slope: float = _SLOPE,
        batch: int = _BATCH,
    ) -> None:
        """``slope`` widens the band that the exact rule decides; no setting changes a bit."""
        self._law = law
        self._words = words
        self._refine = refine
        self._slope = slope
        self._batch = batch

    def exact(self, count: int) -> Integers:
        """The next ``count`` values, each acceptance in rational arithmetic (3.5.5)."""
        values: list[int] = []
        while len(values) < count:
            value = self._judge(*(int(word) for word in self._words.take(_WORDS_EACH)))
            if value is not None:
                values.append(value)
        return np.array(values, dtype=np.int64)

    def fast(self, count: int) -> Integers:
        """The next ``count`` values by float64, exact where it could be wrong (3.5.6).

        Reads ahead: the words of the last batch behind the last value are lost.
        """
        values = np.empty(count, dtype=np.int64)
        for start, batch in self._batches(count):
            values[start : start + len(batch)] = batch
        return values

    def _batches(self, count: int) -> Iterator[tuple[int, Integers]]:
        done = 0
        while done < count:
            # Accepted are at least 0.36 of the candidates whatever V; an estimate only.
            size = min(self._batch, (count - done) * 5 // 2 + _WORD)
            words = self._words.take(_WORDS_EACH * size).reshape(size, _WORDS_EACH)
            batch = self._accepted(words)[: count - done]
            yield done, batch
            done += len(batch)

    def _accepted(self, words: Words) -> Integers:
        """The accepted values among candidates of shape (n, 3), in their order."""
        first, second, third = (np.ascontiguousarray(column) for column in words.T)
        law = self._law
        scale = 1 << law.tau
        rest = (first & np.uint64(scale - 1)).astype(np.int64)  # (1) u
        negative = first >= _SIGN
        passed = np.searchsorted(_ASCENDING, second, side="right")
        size = rest + (_LAST_STEP - passed) * np.int64(scale)  # (2), (3) y = u + t·v

        # (4) gamma, in place; every constant is one correctly rounded float.
        gamma = size.astype(np.float64)
        gamma -= float(Fraction(law.variance, scale))
        gamma *= gamma
        gamma *= float(Fraction(1, 2 * law.variance))
        gamma += rest * (1.0 / scale)
        chance = np.exp(np.negative(gamma, out=gamma), out=gamma)
        gap = third * 2.0**-_WORD - chance
        keep = (gap < 0) & ~(negative & (size == 0))  # (5)
        np.negative(size, out=size, where=negative)

        unsure = np.abs(gap) <= self._slope * chance + _FLOOR
        # A word on a threshold, or below the last one (which is 1), is not yet decided.
        unsure |= (second == _ASCENDING[np.maximum(passed - 1, 0)]) | (second == 0)
        self._settle(words, np.flatnonzero(unsure), keep=keep, size=size)
        accepted: Integers = size[keep]
        return accepted

    def _settle(
        self, words: Words, where: NDArray[np.intp], *, keep: Flags, size: Integers
    ) -> None:
        # In ascending order: refinement words must meet the same candidates as in ``exact``.
        for index in where:
            value = self._judge(*(int(word) for word in words[index]))
            keep[index] = value is not None
            size[index] = value or 0

    def _judge(self, first: int, second: int, third: int) -> int | None:
        """One candidate by protocol 3.5.4 in exact arithmetic; None if it is rejected."""
        scale = 1 << self._law.tau
        rest = first % scale
        size = rest + scale * self._steps(second)
        variance = self._law.variance
        # gamma = u/t + (y − V/t)² / (2V) over the common denominator 2·V·t²
        gamma = Fraction(
            2 * variance * scale * rest + (size * scale - variance) ** 2,
            2 * variance * scale**2,
        )
        accepted = self._below(third, gamma)
        negative = first >= 1 << (_WORD - 1)
        if not accepted or (negative and size == 0):
            return None
        return -size if negative else size

    def _steps(self, word: int) -> int:
        """The number v of j with ``U < e**-j``, U refined until it is decided (3.5.5)."""
        bits = _WORD
        while True:
            sure, possible = _count_below(word, word + 1, bits)
            if sure == possible:
                return sure
            word, bits = self._lengthen(word), bits + _WORD

    def _below(self, word: int, gamma: Fraction) -> bool:
        """Whether ``U < e**-gamma``, U refined until it is decided (3.5.5)."""
        bits = _WORD
        while (side := _side(word, bits, gamma)) == 0:
            word, bits = self._lengthen(word), bits + _WORD
        return side < 0

    def _lengthen(self, word: int) -> int:
        return word << _WORD | int(self._refine.take(1)[0])


def _side(word: int, bits: int, gamma: Fraction) -> int:
    """Where ``[word, word + 1) / 2**bits`` lies: -1 below ``e**-gamma``, 1 above, 0 around."""
    if gamma == 0:
        return -1
    digits = _DIGITS
    while True:
        low, high = _exp_bounds(gamma, bits, digits)
        if word + 1 <= low:
            return -1
        if word >= high:
            return 1
        if word < low and high < word + 1:
            return 0
        digits *= 2


def _exp_bounds(
    gamma: Fraction, bits: int, digits: int
) -> tuple[decimal.Decimal, decimal.Decimal]:
    """Numbers below and above ``2**bits·e**-gamma`` that agree in nearly ``digits`` digits."""
    digits += bits // 3  # room for the digits of 2**bits
    context = decimal.Context(
        prec=digits, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.Overflow]
    )
    exponent = context.divide(
        decimal.Decimal(-gamma.numerator), decimal.Decimal(gamma.denominator)
    )
    value = context.multiply(context.exp(exponent), decimal.Decimal(1 << bits))
    # Three roundings of half a unit each; the first is magnified by gamma, below 10**4.
    error = context.multiply(value, decimal.Decimal(10) ** (8 - digits))
    return context.subtract(value, error), context.add(value, error)


def _count_below(low: int, high: int, bits: int) -> tuple[int, int]:
    """How many j have all of ``[low, high) / 2**bits`` below ``e**-j``; how many, a part."""
    if low == 0:
        # Below every threshold: a word more is needed before j can be bounded.
        return 0, 1
    sure = 0
    while high <= _threshold(sure + 1, bits):
        sure += 1
    possible = sure
    while low <= _threshold(possible + 1, bits):
        possible += 1
    return sure, possible


@cache
def _threshold(step: int, bits: int) -> int:
    """``⌊2**bits·e**-step⌋``; never an integer before it is rounded down."""
    digits = _DIGITS
    while True:
        low, high = _exp_bounds(Fraction(step), bits, digits)
        if math.floor(low) == math.floor(high):
            return math.floor(low)
        digits *= 2


_ASCENDING = np.array(
    [_threshold(step, _WORD) for step in range(_LAST_STEP, 0, -1)], dtype=np.uint64
)
"""Thresholds of 3.5.4 (2), from ``j = 44`` (which is 1) up to ``j = 1``."""
