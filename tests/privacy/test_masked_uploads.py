"""Masked words look like chance, whatever is inside, and no stream is used twice (10.13).

Each chi-square test fails a correct program once in a million runs; the inputs are fixed, so
what passes once passes always. Left out masks, a mask key for two attempts, or masks only on
some words are found at once.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from consortium.secagg.partner import PartnerMachine
from tests.secagg_house import Federation, federation

FALSE_ALARM = 1e-6
SIZE = 1 << 15

Words = NDArray[np.uint64]


def p_value(words: Words) -> float:
    """Chi-square of all bytes against the uniform law, 255 degrees of freedom."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    return float(stats.chisquare(counts).pvalue)


def uploads(
    house: Federation, inside: NDArray[np.int64], attempt: int = 1, count: int = 1
) -> list[Words]:
    request = house.request(dimension=len(inside), attempt=attempt)
    _, machines, _ = house.joined(request, count)
    found: list[PartnerMachine] = list(machines.values())
    return [machine.mask(inside)[0] for machine in found]


INSIDE = {
    "zeros": np.zeros(SIZE, dtype=np.int64),
    "ones": np.full(SIZE, -1, dtype=np.int64),
    "small counts": np.arange(SIZE) % 7,
    "like gradients": (np.arange(SIZE) - SIZE // 2) << 24,
}


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("partners", [2, 3, 10])
def test_masked_words_are_uniform(inside: str, partners: int) -> None:
    sent = uploads(federation(partners), INSIDE[inside])
    assert all(p_value(words) > FALSE_ALARM for words in sent)
    # what the coordinator can add up without one of them is uniform too
    with np.errstate(over="ignore"):
        assert p_value(sum(sent[1:], np.zeros(SIZE, dtype=np.uint64))) > FALSE_ALARM


def test_uniformity_test_finds_what_is_not_masked() -> None:
    for inside in INSIDE.values():
        assert p_value(inside.view(np.uint64)) < FALSE_ALARM
    half = uploads(federation(3), INSIDE["small counts"])[0]
    half[::4] = np.uint64(3)
    assert p_value(half) < FALSE_ALARM


def test_masks_of_two_attempts_differ_everywhere() -> None:
    """The difference of two uploads of equal values must be uniform, not zero."""
    house = federation(3)
    first = uploads(house, INSIDE["zeros"])
    second = uploads(house, INSIDE["zeros"], attempt=2, count=2)
    for before, after in zip(first, second, strict=True):
        assert p_value(after - before) > FALSE_ALARM
        assert p_value(after + before) > FALSE_ALARM
        assert not np.intersect1d(before, after).size


def test_no_word_repeats_between_partners_or_attempts() -> None:
    """64-bit words of fresh streams: a repeat among 2**18 has a chance below 2**-28."""
    house = federation(4)
    sent = [
        words
        for attempt in (1, 2)
        for words in uploads(house, INSIDE["zeros"], attempt=attempt, count=attempt)
    ]
    everything = np.concatenate(sent)
    assert len(np.unique(everything)) == everything.size


def test_pair_of_two_hides_nothing_between_the_two() -> None:
    """Protocol 3.7: each partner gets the other's values out of the sum."""
    house = federation(2)
    request = house.request(dimension=4)
    values = {name: np.arange(4) * (place + 1) for place, name in enumerate(house.roster)}
    total = house.total(values, request)
    one, other = house.roster
    assert np.array_equal(total - values[one], values[other])
