"""The sampler's two modes agree on every bit, also where a float would not know (3.5.5)."""

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from consortium.canonical import Label, hash_with
from consortium.crypto.keys import Secret, hkdf
from consortium.crypto.stream import WordStream
from consortium.errors import DomainError
from consortium.privacy import noise
from consortium.privacy.noise import Sampler, discrete_gaussian, noise_keys, noise_share

MakeSecret = Callable[[str], Secret]
VARIANCES = [1, 3, 1000, 2**40 + 12_345, 2**60, 2**112]
TOP = 2**64 - 1


class Script:
    """Words that the test chose; then the largest word for ever, which accepts nothing."""

    def __init__(self, *words: int) -> None:
        self.words = list(words)
        self.taken = 0

    def take(self, count: int) -> NDArray[np.uint64]:
        self.taken += count
        head, self.words = self.words[:count], self.words[count:]
        return np.array(head + [TOP] * (count - len(head)), dtype=np.uint64)


def one_by_both(variance: int, words: list[int], refine: list[int]) -> tuple[int, int]:
    """The first value of both modes, which must agree, and refinement words taken."""
    found = []
    for mode in ("exact", "fast"):
        extra = Script(*refine)
        sampler = Sampler(noise._law(variance), Script(*words), extra)
        value = int((sampler.exact(1) if mode == "exact" else sampler.fast(1))[0])
        found.append((value, extra.taken if mode == "exact" else 0))
    assert found[0][0] == found[1][0]
    return found[0]


def floor_exp(gamma: Fraction, bits: int) -> int:
    """``⌊2**bits·e**-gamma⌋`` with 120 digits, apart from the code under test."""
    with localcontext(prec=120):
        exponent = Decimal(-gamma.numerator) / Decimal(gamma.denominator)
        return int(exponent.exp() * Decimal(2**bits))


@pytest.mark.parametrize("variance", VARIANCES)
def test_fast_equals_exact_bit_for_bit(variance: int, secret: MakeSecret) -> None:
    key, refine = secret(f"k{variance}"), secret(f"r{variance}")
    fast = discrete_gaussian(key, refine, variance, 100_000)
    exact = discrete_gaussian(key, refine, variance, 2_000, exact=True)
    assert fast.dtype == exact.dtype == np.int64
    assert np.array_equal(fast[:2_000], exact)


@pytest.mark.slow
@pytest.mark.parametrize("variance", [3, 2**60])
def test_fast_equals_exact_on_all_100_000(variance: int, secret: MakeSecret) -> None:
    key, refine = secret(f"k{variance}"), secret(f"r{variance}")
    fast = discrete_gaussian(key, refine, variance, 100_000)
    exact = discrete_gaussian(key, refine, variance, 100_000, exact=True)
    assert np.array_equal(fast, exact)


@pytest.mark.parametrize("variance", [2**40 + 12_345])
def test_band_of_the_exact_rule_changes_no_output(variance: int, secret: MakeSecret) -> None:
    key, refine = secret("k"), secret("r")
    law, count = noise._law(variance), 100_000
    wide = Sampler(law, WordStream(key), WordStream(refine), slope=2.0**-4)
    assert np.array_equal(wide.fast(count), discrete_gaussian(key, refine, variance, count))


@pytest.mark.parametrize("batch", [1, 17, 100_000])
def test_output_does_not_depend_on_batches(batch: int, secret: MakeSecret) -> None:
    key, refine = secret("k"), secret("r")
    whole = discrete_gaussian(key, refine, 50, 1_000)
    sampler = Sampler(noise._law(50), WordStream(key), WordStream(refine), batch=batch)
    assert np.array_equal(sampler.fast(1_000), whole)
    assert np.array_equal(discrete_gaussian(key, refine, 50, 77), whole[:77])


def test_thresholds_are_the_floors_of_the_exponential() -> None:
    assert [int(value) for value in noise._ASCENDING] == [
        floor_exp(Fraction(step), 64) for step in range(44, 0, -1)
    ]
    assert noise._ASCENDING[0] == 1


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize(("refine", "steps"), [(0, 0), (TOP, -1)])
def test_word_on_a_threshold_is_settled_by_one_more_word(
    step: int, refine: int, steps: int
) -> None:
    # V = 10**6: t = 1024; third word 0 accepts whatever the chance
    threshold = floor_exp(Fraction(step), 64)
    value, taken = one_by_both(10**6, [5, threshold, 0], [refine])
    assert value == 5 + 1024 * (step + steps)
    assert taken == 1


def test_word_one_off_a_threshold_needs_no_refinement() -> None:
    threshold = floor_exp(Fraction(3), 64)
    assert one_by_both(10**6, [5, threshold - 1, 0], []) == (5 + 1024 * 3, 0)
    assert one_by_both(10**6, [5, threshold + 1, 0], []) == (5 + 1024 * 2, 0)


def test_word_below_the_last_threshold_is_refined_beyond_44_steps() -> None:
    refine = floor_exp(Fraction(46), 128) - 1
    sampler = Sampler(noise._law(10**6), Script(), extra := Script(refine))
    assert sampler._steps(0) == 46
    assert extra.taken == 1


def test_word_in_the_interval_of_the_chance_is_settled_by_one_more_word() -> None:
    # V = 10**6, u = 700, v = 0: gamma = u/t + (u - V/t)**2 / (2V)
    gamma = Fraction(700, 1024) + (700 - Fraction(10**6, 1024)) ** 2 / (2 * 10**6)
    edge = floor_exp(gamma, 64)
    inner = floor_exp(gamma, 128) % 2**64
    after = [9, TOP, 0]
    words = [700, TOP, edge, *after]
    assert one_by_both(10**6, words, [inner - 1]) == (700, 1)
    assert one_by_both(10**6, words, [inner + 1]) == (9, 1)
    assert one_by_both(10**6, words, [inner, 0]) == (700, 2)
    assert one_by_both(10**6, words, [inner, TOP]) == (9, 2)
    assert one_by_both(10**6, [700, TOP, edge - 1, *after], []) == (700, 0)
    assert one_by_both(10**6, [700, TOP, edge + 1, *after], []) == (9, 0)


def test_word_a_hair_from_the_chance_is_decided_as_in_rational_arithmetic() -> None:
    # V = 10**6, v = 0: one word below every chance accepts, one above rejects. A float
    # cannot tell them apart, and often is off by more than that.
    law, words = noise._law(10**6), []
    for rest in range(1, 401):
        gamma = Fraction(rest, 1024) + (rest - Fraction(10**6, 1024)) ** 2 / (2 * 10**6)
        edge = floor_exp(gamma, 64)
        words += [rest, TOP, edge - 1, rest, TOP, edge + 1]
    assert Sampler(law, Script(*words), Script()).fast(400).tolist() == list(range(1, 401))


def test_refinement_words_meet_the_candidates_in_order() -> None:
    low, high = floor_exp(Fraction(1), 64), floor_exp(Fraction(2), 64)
    words = [5, low, 0, 6, high, 0, 7, low, 0]
    results = []
    for mode in ("exact", "fast"):
        sampler = Sampler(noise._law(10**6), Script(*words), Script(0, TOP, 0))
        results.append((sampler.exact(3) if mode == "exact" else sampler.fast(3)).tolist())
    assert results[0] == results[1] == [5 + 1024, 6 + 1024, 7 + 1024]


def test_negative_zero_is_rejected() -> None:
    sign = 1 << 63
    # V = 1: t = 1, u = 0, so v = 0 gives 0 and its chance is e**-1/2
    assert one_by_both(1, [sign, TOP, 0, 0, TOP, 0], [])[0] == 0
    assert one_by_both(1, [sign, TOP, 0, sign, 2**62, 0], [])[0] == -1


def test_chance_of_exactly_one_accepts_every_word() -> None:
    # V = 4, t = 2: u = 0 and v = 1 give y = V/t, so gamma = 0
    assert one_by_both(4, [0, 2**62, TOP], [])[0] == 2


@pytest.mark.parametrize("root", [1, 2, 3, 5, 6, 11, 12, 90, 91, 10**9, 2**56 + 1])
def test_scale_is_the_nearest_power_of_two_in_logarithm(root: int) -> None:
    tau = noise._law(root * root).tau
    assert Fraction(2) ** (2 * tau - 1) < root * root < Fraction(2) ** (2 * tau + 1)


def test_variance_or_count_outside_its_range_is_refused(secret: MakeSecret) -> None:
    for variance, count in ((0, 1), (-5, 1), (2**114, 1), (10, -1)):
        with pytest.raises(DomainError):
            discrete_gaussian(secret("k"), secret("r"), variance, count)
    assert discrete_gaussian(secret("k"), secret("r"), 10, 0).shape == (0,)


def test_noise_share_uses_its_two_keys_of_seed_and_context(secret: MakeSecret) -> None:
    context = hash_with(Label.CONTEXT, b"attempt 1")
    salt = bytes.fromhex(context)
    keys = noise_keys(secret("seed"), context)
    assert [key.expose() for key in keys] == [
        hkdf(secret("seed"), salt, info).expose()
        for info in (b"riskweave/noise/v1", b"riskweave/noise-refine/v1")
    ]
    share = noise_share(secret("seed"), context, variance=10**12, count=100)
    assert np.array_equal(share, discrete_gaussian(*keys, 10**12, 100))


def test_another_attempt_or_another_seed_gives_unrelated_noise(secret: MakeSecret) -> None:
    contexts = [hash_with(Label.CONTEXT, bytes([attempt])) for attempt in range(2)]
    shares = [
        noise_share(secret(seed), context, variance=10**12, count=20_000)
        for seed in ("a", "b")
        for context in contexts
    ]
    correlation = np.corrcoef(np.array(shares, dtype=float))
    # false alarm: six correlations of deviation 1/141, bound at 6 deviations, below 2e-8
    assert np.abs(correlation - np.eye(4)).max() < 6 / 20_000**0.5


def test_fixed_vector_of_the_share() -> None:
    context = hash_with(Label.CONTEXT, b"vector")
    share = noise_share(Secret(bytes(32)), context, variance=2**50, count=4)
    assert share.tolist() == [38620730, -8711641, -13144208, -21210177]
