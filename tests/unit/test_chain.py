from dataclasses import replace

import pytest

from consortium.errors import DomainError, RefusalCode, RefusalError
from consortium.ids import Digest
from consortium.plan import BinSource
from consortium.secagg.chain import chain_length, link, verify_link
from tests.secagg_house import LENGTH, digest, secret_of
from tests.unit.test_mechanism import PLAN

SEED = secret_of("seed")


def n(count: int) -> Digest:
    return link(SEED, LENGTH, count)


@pytest.mark.parametrize(
    ("known", "count"), [(0, 1), (0, LENGTH), (3, 7), (LENGTH - 1, LENGTH)]
)
def test_later_link_leads_to_the_known_one(known: int, count: int) -> None:
    verify_link(n(count), count, n(known), known, length=LENGTH)


@pytest.mark.parametrize(
    ("shown", "count", "known", "known_count"),
    [
        (n(4), 4, n(4), 4),  # the same link again
        (n(3), 3, n(4), 4),  # an earlier one
        (n(5), 6, n(4), 4),  # another position than it says
        (digest("made up"), 5, n(4), 4),
        (link(secret_of("another seed"), LENGTH, 5), 5, n(4), 4),
        (n(LENGTH), LENGTH + 1, n(4), 4),  # beyond the chain
        (n(5), 1 << 31, n(4), 4),  # a hostile count costs no hashing
        (n(0), 0, n(0), 0),
    ],
)
def test_forged_link_is_refused_r16(
    shown: Digest, count: int, known: Digest, known_count: int
) -> None:
    with pytest.raises(RefusalError) as caught:
        verify_link(shown, count, known, known_count, length=LENGTH)
    assert caught.value.reason is RefusalCode.CHAIN


@pytest.mark.parametrize("count", [-1, LENGTH + 1])
def test_link_outside_the_chain_is_refused(count: int) -> None:
    with pytest.raises(DomainError):
        link(SEED, LENGTH, count)


def test_chain_has_a_link_for_every_attempt_of_the_run() -> None:
    assert chain_length(PLAN) == 66 + 2 + 2
    assert chain_length(replace(PLAN, bin_source=BinSource.PRIVATE)) == 66 + 3 * 2


def test_chain_longer_than_the_run_is_cut_off() -> None:
    """A member that committed to a longer chain gets no attempt beyond the plan's."""
    head, beyond = (link(SEED, LENGTH + 5, count) for count in (0, LENGTH + 1))
    verify_link(beyond, LENGTH + 1, head, 0, length=LENGTH + 5)
    with pytest.raises(RefusalError) as caught:
        verify_link(beyond, LENGTH + 1, head, 0, length=LENGTH)
    assert caught.value.reason is RefusalCode.CHAIN
