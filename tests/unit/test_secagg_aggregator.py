from dataclasses import replace

import numpy as np
import pytest

from consortium.errors import (
    DecodeError,
    DigestMismatchError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    ShapeError,
    SignatureError,
)
from consortium.ids import PartnerId
from consortium.messages import Join
from consortium.secagg.chain import Link
from consortium.secagg.joins import sign_join
from consortium.secagg.states import AggregatorState
from tests.secagg_house import federation

HOUSE = federation(3)
A, B, C = HOUSE.roster
REQUEST = HOUSE.request()
VALUES = {A: np.arange(8), B: -3 * np.arange(8), C: np.full(8, 1 << 61)}


def join_of(name: PartnerId) -> Join:
    return HOUSE.machine(name).on_proposal(REQUEST)


def test_sum_is_the_sum_of_the_integers() -> None:
    total = HOUSE.total(VALUES, REQUEST)
    assert total.dtype == np.int64
    assert np.array_equal(total, sum(VALUES.values()))


def test_joins_and_joined_context_are_there_only_when_all_have_joined() -> None:
    aggregator = HOUSE.aggregator(REQUEST)
    for name in (C, A):
        assert not aggregator.on_join(join_of(name))
        with pytest.raises(OutOfOrderError):
            _ = aggregator.joins
        with pytest.raises(OutOfOrderError):
            _ = aggregator.joined
    assert aggregator.missing == (B,)
    assert aggregator.on_join(join_of(B))
    assert [one.member for one in aggregator.joins] == [A, B, C]
    assert aggregator.missing == (A, B, C)
    assert aggregator.links[A] == Link(1, join_of(A).link)


def test_joined_context_is_that_of_the_partners() -> None:
    aggregator, machines, joins = HOUSE.joined(REQUEST)
    machine = HOUSE.machine(A)
    machine.on_proposal(REQUEST)
    assert machine.on_joins(joins[::-1]).digest == aggregator.joined
    assert set(machines) == {A, B, C}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"signature": bytes(64)}, RefusalCode.JOIN_SIGNATURE),
        ({"context": "0" * 64}, RefusalCode.SPLIT_VIEW),
        ({"member": PartnerId("stranger")}, OutOfOrderError),
        ({"member": B}, RefusalCode.JOIN_SIGNATURE),
        ({"link": "no digest"}, DecodeError),
    ],
)
def test_join_is_refused_and_the_attempt_goes_on(
    change: dict[str, object], error: RefusalCode | type[RiskWeaveError]
) -> None:
    aggregator = HOUSE.aggregator(REQUEST)
    with pytest.raises(RiskWeaveError) as caught:
        aggregator.on_join(replace(join_of(A), **change))  # type: ignore[arg-type]
    if isinstance(error, RefusalCode):
        assert isinstance(caught.value, RefusalError)
        assert caught.value.reason is error
    else:
        assert type(caught.value) is error
    assert aggregator.missing == (A, B, C)
    assert dict(aggregator.links) == HOUSE.links
    aggregator.on_join(join_of(A))


def test_sender_of_a_key_of_small_order_is_named_before_others_are_lost() -> None:
    aggregator = HOUSE.aggregator(REQUEST)
    zero = sign_join(replace(join_of(A), ephemeral=bytes(32)), HOUSE.parties[A].identity)
    with pytest.raises(RefusalError) as caught:
        aggregator.on_join(zero)
    assert caught.value.reason is RefusalCode.ZERO_SECRET
    assert aggregator.missing == (A, B, C)


def test_second_join_is_refused() -> None:
    aggregator = HOUSE.aggregator(REQUEST)
    aggregator.on_join(join_of(A))
    with pytest.raises(OutOfOrderError):
        aggregator.on_join(join_of(A))
    aggregator.on_join(join_of(B))
    aggregator.on_join(join_of(C))
    with pytest.raises(OutOfOrderError):
        aggregator.on_join(join_of(C))


def test_member_without_a_known_chain_is_refused() -> None:
    del (known := dict(HOUSE.links))[A]
    aggregator = type(HOUSE.aggregator(REQUEST))(
        HOUSE.manifest, REQUEST, links=known, length=40
    )
    with pytest.raises(OutOfOrderError):
        aggregator.on_join(join_of(A))


@pytest.mark.parametrize(
    "what", ["flipped", "short", "floats", "signature", "member", "context"]
)
def test_upload_of_garbage_is_refused_and_named(what: str) -> None:
    aggregator, machines, _ = HOUSE.joined(REQUEST)
    words, upload = machines[A].mask(VALUES[A])
    flipped = words.copy()
    flipped[3] ^= np.uint64(1 << 40)
    bad, error = {
        "flipped": ((upload, flipped), DigestMismatchError),
        "short": ((upload, words[:-1]), ShapeError),
        "floats": ((upload, words.view(np.float64)), ShapeError),
        "signature": ((replace(upload, signature=bytes(64)), words), SignatureError),
        "member": ((replace(upload, member=PartnerId("stranger")), words), OutOfOrderError),
        "context": ((replace(upload, context=aggregator.context), words), OutOfOrderError),
    }[what]
    with pytest.raises(error):
        aggregator.on_upload(*bad)
    assert aggregator.missing == (A, B, C)
    aggregator.on_upload(upload, words)
    assert [one.member for one in aggregator.uploads] == [A]


def test_upload_of_an_earlier_attempt_is_refused() -> None:
    _, earlier, _ = HOUSE.joined(HOUSE.request(attempt=2))
    words, upload = earlier[A].mask(VALUES[A])
    aggregator, _, _ = HOUSE.joined(REQUEST)
    with pytest.raises(OutOfOrderError):
        aggregator.on_upload(upload, words)


def test_upload_counts_once_and_there_is_no_sum_of_fewer_than_all() -> None:
    aggregator, machines, _ = HOUSE.joined(REQUEST)
    for name in (A, B):
        words, upload = machines[name].mask(VALUES[name])
        assert not aggregator.on_upload(upload, words)
        with pytest.raises(OutOfOrderError):
            aggregator.on_upload(upload, words)
        with pytest.raises(OutOfOrderError):
            aggregator.total()
    words, upload = machines[C].mask(VALUES[C])
    assert aggregator.on_upload(upload, words)
    assert aggregator.state is AggregatorState.SUMMED
    with pytest.raises(OutOfOrderError):
        aggregator.on_upload(upload, words)
    with pytest.raises(OutOfOrderError):
        aggregator.abort({})


def test_upload_before_all_joins_is_refused() -> None:
    _, machines, _ = HOUSE.joined(REQUEST)
    words, upload = machines[A].mask(VALUES[A])
    aggregator = HOUSE.aggregator(REQUEST)
    for name in (B, C):
        aggregator.on_join(join_of(name))
    with pytest.raises(OutOfOrderError):
        aggregator.on_upload(upload, words)


def test_aborted_attempt_names_the_missing_and_takes_nothing_more() -> None:
    aggregator, machines, _ = HOUSE.joined(REQUEST)
    words, upload = machines[A].mask(VALUES[A])
    aggregator.on_upload(upload, words)
    found = aggregator.abort({B: "R16", PartnerId("stranger"): "R01"})
    assert found == {B: "R16", C: "no answer"}
    words, upload = machines[B].mask(VALUES[B])
    for late in (
        lambda: aggregator.on_upload(upload, words),
        aggregator.total,
        lambda: aggregator.on_join(join_of(B)),
        lambda: aggregator.abort({}),
    ):
        with pytest.raises(OutOfOrderError):
            late()


def test_attempt_aborted_while_joining_names_who_did_not_join() -> None:
    aggregator = HOUSE.aggregator(REQUEST)
    aggregator.on_join(join_of(B))
    assert aggregator.abort({B: "left"}) == {A: "no answer", C: "no answer", B: "left"}


def test_words_that_are_given_stay_as_they_are() -> None:
    aggregator, machines, _ = HOUSE.joined(REQUEST)
    kept = {}
    for name, machine in machines.items():
        words, upload = machine.mask(VALUES[name])
        kept[name] = (words, words.copy())
        aggregator.on_upload(upload, words)
    aggregator.total()
    assert all(np.array_equal(now, then) for now, then in kept.values())
