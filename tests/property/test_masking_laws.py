"""Masks cancel exactly, and no order of messages gets words out without a checked JOIN set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import Generator  # noqa: TID251 - the type of the fixture

from consortium.crypto.pairwise import apply_masks
from consortium.errors import OutOfOrderError, RefusalError
from consortium.ids import PartnerId
from consortium.messages import Join
from consortium.secagg.partner import PartnerMachine
from consortium.secagg.ring import to_ring, to_signed
from consortium.secagg.states import (
    AGGREGATOR,
    PARTNER,
    AggregatorState,
    PartnerEvent,
    PartnerState,
)
from tests.secagg_house import Federation, federation, secret_of

NAMES = st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True).map(PartnerId)
HOUSE = federation(3)
REQUEST = HOUSE.request(dimension=2)
VALUES = np.array([5, -7], dtype=np.int64)
GOOD = tuple(HOUSE.machine(name).on_proposal(REQUEST) for name in REQUEST.roster)
STEPS = ("proposal", "good joins", "few joins", "other joins", "mask", "refuse")


@given(
    members=st.lists(NAMES, min_size=1, max_size=12, unique=True),
    words=arrays(np.uint64, st.integers(0, 40)),
)
def test_masks_of_any_members_cancel_exactly(
    members: list[PartnerId], words: np.ndarray
) -> None:
    total = np.zeros_like(words)
    for me in members:
        masked = words.copy()
        pairs = {one: secret_of(" ".join(sorted((me, one)))) for one in members if one != me}
        apply_masks(masked, me, pairs)
        total += masked
    assert np.array_equal(total, words * np.uint64(len(members)))


@settings(max_examples=25)
@given(
    names=st.lists(NAMES, min_size=1, max_size=6, unique=True),
    data=st.data(),
    size=st.integers(1, 20),
)
def test_masked_sum_is_the_integer_sum(
    names: list[PartnerId], data: st.DataObject, size: int
) -> None:
    house = Federation(tuple(names))
    numbers = st.integers(-(2**58), 2**58)
    values = {
        name: np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)))
        for name in house.roster
    }
    total = house.total(values, house.request(dimension=size))
    assert np.array_equal(total, sum(values.values()))


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_whole_attempt_of_n_partners_gives_the_integer_sum(count: int, rng: Generator) -> None:
    house = federation(count)
    values = {name: rng.integers(-(2**50), 2**50, 5) for name in house.roster}
    total = house.total(values, house.request(dimension=5))
    assert np.array_equal(total, sum(values.values()))


@pytest.mark.parametrize("count", range(2, 51))
def test_unmasked_sum_of_n_partners_is_the_integer_sum(count: int, rng: Generator) -> None:
    names = [PartnerId(f"p{number:02d}") for number in range(count)]
    total = np.zeros(64, dtype=np.uint64)
    values = rng.integers(-(2**56), 2**56, (count, 64))
    for me, own in zip(names, values, strict=True):
        words = to_ring(own).copy()
        apply_masks(
            words, me, {one: secret_of(str(sorted((me, one)))) for one in names if one != me}
        )
        assert not np.intersect1d(words, to_ring(own)).size
        total += words
    assert np.array_equal(to_signed(total), values.sum(axis=0))


@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_no_order_of_messages_uploads_without_joining(steps: list[str]) -> None:
    machine = HOUSE.machine(HOUSE.roster[0])
    seen = [step for step in steps if _done(machine, step)]
    uploaded = machine.state is PartnerState.UPLOADED
    assert uploaded == ("mask" in seen)
    assert not uploaded or seen == ["proposal", "good joins", "mask"]


def _done(machine: PartnerMachine, step: str) -> bool:
    try:
        {
            "proposal": lambda: machine.on_proposal(REQUEST),
            "good joins": lambda: machine.on_joins(GOOD),
            "few joins": lambda: machine.on_joins(GOOD[:2]),
            "other joins": lambda: machine.on_joins(_others()),
            "mask": lambda: machine.mask(VALUES),
            "refuse": machine.refuse,
        }[step]()
    except (OutOfOrderError, RefusalError):
        return False
    return True


def _others() -> tuple[Join, ...]:
    other = HOUSE.request(dimension=2, attempt=2)
    return tuple(HOUSE.machine(name).on_proposal(other) for name in HOUSE.roster)


def test_tables_know_every_state_and_only_joined_leads_to_an_upload() -> None:
    assert set(PARTNER) == set(PartnerState)
    assert set(AGGREGATOR) == set(AggregatorState)
    into = {
        (state, event)
        for state, row in PARTNER.items()
        for event, later in row.items()
        if later is PartnerState.UPLOADED
    }
    assert into == {(PartnerState.AGREED, PartnerEvent.MASK)}
    before = {state for state, row in PARTNER.items() if PartnerState.AGREED in row.values()}
    assert before == {PartnerState.JOINED}


@settings(max_examples=60)
@given(st.data())
def test_aggregator_sums_only_all_uploads_in_whatever_order(data: st.DataObject) -> None:
    aggregator, machines, joins = HOUSE.joined(REQUEST)
    sent = [machine.mask(VALUES) for machine in machines.values()]
    fresh = HOUSE.aggregator(REQUEST)
    messages = data.draw(st.lists(st.integers(0, 5), max_size=14))
    taken: set[int] = set()
    for number in messages:
        try:
            if number < 3:
                fresh.on_join(joins[number])
            else:
                words, upload = sent[number - 3]
                fresh.on_upload(upload, words)
        except OutOfOrderError:
            # before its time, or for the second time
            assert number in taken or (number >= 3 and not {0, 1, 2} <= taken)
            continue
        taken.add(number)
    if taken == set(range(6)):
        assert fresh.joined == aggregator.joined
        assert np.array_equal(fresh.total(), 3 * VALUES)
    else:
        with pytest.raises(OutOfOrderError):
            fresh.total()
