from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from consortium.errors import (
    DecodeError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    RiskWeaveError,
    ShapeError,
)
from consortium.ids import Digest, PartnerId
from consortium.manifest import Role
from consortium.messages import Join, SumRequest
from consortium.secagg.chain import Link, link
from consortium.secagg.joins import sign_join
from consortium.secagg.states import PartnerState
from tests.secagg_house import LENGTH, Federation, digest, federation, secret_of

ME, PEER = PartnerId("p00"), PartnerId("p01")
HOUSE = federation(4)
VALUES = np.arange(8, dtype=np.int64)

Joins = tuple[Join, ...]


def all_joins(house: Federation, request: SumRequest, count: int = 1) -> Joins:
    return tuple(house.machine(one, count).on_proposal(request) for one in request.roster)


def refusal(call: Callable[[], object]) -> RefusalCode:
    with pytest.raises(RefusalError) as caught:
        call()
    return caught.value.reason


def resigned(join: Join, **changes: object) -> Join:
    changed = replace(join, **changes)  # type: ignore[arg-type]
    return sign_join(changed, HOUSE.parties[join.member].identity)


def on_peer(change: Callable[[Join], Join]) -> Callable[[Joins], Joins]:
    return lambda joins: tuple(change(one) if one.member == PEER else one for one in joins)


@pytest.mark.parametrize(
    ("roster", "code"),
    [
        (("p01", "p00", "p02"), RefusalCode.SPLIT_VIEW),
        (("p00", "p00", "p01"), RefusalCode.SPLIT_VIEW),
        (("p01", "p02", "p03"), RefusalCode.SELF_ABSENT),
        (("p00", "p01", "stranger"), RefusalCode.MEMBER),
    ],
)
def test_roster_that_is_not_one_is_refused(roster: tuple[str, ...], code: RefusalCode) -> None:
    request = HOUSE.request(roster=tuple(PartnerId(name) for name in roster))
    machine = HOUSE.machine(ME)
    assert refusal(lambda: machine.on_proposal(request)) is code
    assert machine.state is PartnerState.REFUSED


@pytest.mark.parametrize("change", [{"active": False}, {"role": Role.REGULATOR}])
def test_member_that_is_no_active_partner_is_refused_r02(change: dict[str, object]) -> None:
    head, second, *rest = HOUSE.manifest.members
    members = (head, replace(second, **change), *rest)  # type: ignore[arg-type]
    machine = HOUSE.machine(ME, manifest=replace(HOUSE.manifest, members=members))
    assert refusal(lambda: machine.on_proposal(HOUSE.request())) is RefusalCode.MEMBER


@pytest.mark.parametrize("count", [0, LENGTH + 1])
def test_join_without_a_link_is_refused_r13(count: int) -> None:
    machine = HOUSE.machine(ME, count)
    assert refusal(lambda: machine.on_proposal(HOUSE.request())) is RefusalCode.ATTEMPTS


R14, R15 = RefusalCode.JOIN_SIGNATURE, RefusalCode.SPLIT_VIEW
R16, R17 = RefusalCode.CHAIN, RefusalCode.ZERO_SECRET
OTHER = HOUSE.request(round=2)


def of_stranger() -> Join:
    house = federation(5)
    name = PartnerId("p04")
    join = house.machine(name).on_proposal(house.request())
    ours = HOUSE.machine(ME).on_proposal(HOUSE.request()).context
    return sign_join(replace(join, context=ours), house.parties[name].identity)


FORGED: dict[str, tuple[Callable[[Joins], Joins], RefusalCode]] = {
    "one is missing": (lambda joins: joins[:-1], R15),
    "one is double": (lambda joins: (*joins, joins[1]), R15),
    "one is double instead of another": (lambda joins: (*joins[:3], joins[1]), R15),
    "one is of a stranger": (
        lambda joins: (*joins, of_stranger()),
        R15,
    ),
    "a stranger instead of a member": (
        lambda joins: (
            *joins[:3],
            of_stranger(),
        ),
        R15,
    ),
    "one is for another request": (
        on_peer(lambda _: HOUSE.machine(PEER).on_proposal(OTHER)),
        R15,
    ),
    "its context is rewritten": (
        on_peer(
            lambda one: replace(HOUSE.machine(PEER).on_proposal(OTHER), context=one.context)
        ),
        R14,
    ),
    "own JOIN is another": (
        lambda joins: (resigned(joins[0], ephemeral=joins[1].ephemeral), *joins[1:]),
        R15,
    ),
    "one-time key is substituted": (
        on_peer(lambda one: replace(one, ephemeral=secret_of("spy").expose())),
        R14,
    ),
    "count is changed": (on_peer(lambda one: replace(one, count=2)), R14),
    "link is changed": (on_peer(lambda one: replace(one, link=digest("link"))), R14),
    "signed by another member": (
        on_peer(lambda one: sign_join(one, HOUSE.parties[PartnerId("p02")].identity)),
        R14,
    ),
    "no signature": (on_peer(lambda one: replace(one, signature=b"")), R14),
    "link of another chain": (on_peer(lambda one: resigned(one, link=digest("x"))), R16),
    "link at another position": (on_peer(lambda one: resigned(one, count=2)), R16),
    "count of the head": (
        on_peer(
            lambda one: resigned(one, count=0, link=link(HOUSE.parties[PEER].seed, LENGTH, 0))
        ),
        R16,
    ),
    "one-time key is zero": (on_peer(lambda one: resigned(one, ephemeral=bytes(32))), R17),
    "one-time key is one": (
        on_peer(lambda one: resigned(one, ephemeral=b"\x01" + bytes(31))),
        R17,
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_joins_are_refused_if(what: str) -> None:
    forge, code = FORGED[what]
    machine = HOUSE.machine(ME)
    request = HOUSE.request()
    machine.on_proposal(request)
    joins = all_joins(HOUSE, request)
    assert refusal(lambda: machine.on_joins(forge(joins))) is code
    # and the attempt is over: not even the right ones are taken now
    with pytest.raises(OutOfOrderError):
        machine.on_joins(joins)
    with pytest.raises(OutOfOrderError):
        machine.mask(VALUES)


@pytest.mark.parametrize(
    "change",
    [
        {"link": Digest("x" * 64)},
        {"link": Digest("")},
        {"ephemeral": bytes(31)},
        {"count": -1},
        {"count": 1 << 32},
    ],
)
def test_join_of_another_form_is_not_understood(change: dict[str, object]) -> None:
    machine = HOUSE.machine(ME)
    request = HOUSE.request()
    machine.on_proposal(request)
    joins = on_peer(lambda one: replace(one, **change))(all_joins(HOUSE, request))  # type: ignore[arg-type]
    with pytest.raises(DecodeError):
        machine.on_joins(joins)


def test_member_that_committed_to_no_chain_is_refused_r16() -> None:
    known = {name: seen for name, seen in HOUSE.links.items() if name != PEER}
    machine = HOUSE.machine(ME, links=known)
    machine.on_proposal(HOUSE.request())
    joins = all_joins(HOUSE, HOUSE.request())
    assert refusal(lambda: machine.on_joins(joins)) is R16


def test_replayed_join_of_an_earlier_attempt_is_refused() -> None:
    first = HOUSE.request()
    _, machines, _ = HOUSE.joined(first)
    links = {**HOUSE.links, **_links(HOUSE, first)}
    retry = HOUSE.request(attempt=2)
    machine = HOUSE.machine(ME, 2, links=links)
    machine.on_proposal(retry)
    # a JOIN signed for the retry, but with the link of the first attempt
    joins = tuple(
        HOUSE.machine(one, 1 if one == PEER else 2).on_proposal(retry) for one in machines
    )
    assert refusal(lambda: machine.on_joins(joins)) is R16


def _links(house: Federation, request: SumRequest) -> dict[PartnerId, Link]:
    machine = house.machine(ME)
    machine.on_proposal(request)
    return dict(machine.on_joins(all_joins(house, request)).links)


def test_links_of_the_others_are_handed_back() -> None:
    links = _links(HOUSE, HOUSE.request())
    assert set(links) == set(HOUSE.roster) - {ME}
    assert links[PEER] == Link(1, link(HOUSE.parties[PEER].seed, LENGTH, 1))


def test_attempts_missed_by_this_node_are_hashed_forward() -> None:
    machine = HOUSE.machine(ME, 2)
    request = HOUSE.request(round=9)
    machine.on_proposal(request)
    joins = [
        HOUSE.machine(one, 2 if one == ME else 30).on_proposal(request) for one in HOUSE.roster
    ]
    assert machine.on_joins(joins).links[PEER].count == 30


def test_restarted_machine_makes_the_same_join_and_masks() -> None:
    request = HOUSE.request()
    found = []
    for _ in range(2):
        machine = HOUSE.machine(ME, 3)
        join = machine.on_proposal(request)
        others = [one for one in all_joins(HOUSE, request) if one.member != ME]
        joined = machine.on_joins([*others, join])
        words, upload = machine.mask(VALUES)
        found.append((join, joined.digest, words.tobytes(), upload))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "change",
    [
        {"run": "cd" * 16},
        {"plan": digest("another plan")},
        {"round": 2},
        {"attempt": 2},
        {"inputs": digest("another model")},
        {"dimension": 9},
        {"scale_bits": 10},
        {"variance": "999999"},
        {"head": digest("another history")},
        {"roster": HOUSE.roster[:3]},
    ],
)
def test_request_that_differs_has_another_context_and_other_masks(
    change: dict[str, object],
) -> None:
    usual, other = HOUSE.request(), HOUSE.request(**change)
    joins = [HOUSE.machine(ME).on_proposal(request) for request in (usual, other)]
    assert joins[0].context != joins[1].context
    assert joins[0].ephemeral != joins[1].ephemeral


def test_manifest_is_in_the_context() -> None:
    newer = replace(HOUSE.manifest, version=2)
    request = HOUSE.request()
    joins = [
        HOUSE.machine(ME, manifest=one).on_proposal(request) for one in (HOUSE.manifest, newer)
    ]
    assert joins[0].context != joins[1].context


def test_second_mask_is_refused_for_it_would_undo_the_first() -> None:
    _, machines, _ = HOUSE.joined(HOUSE.request())
    machines[ME].mask(VALUES)
    with pytest.raises(OutOfOrderError):
        machines[ME].mask(VALUES + 1)


def test_values_of_another_length_are_refused_and_left_alone() -> None:
    _, machines, _ = HOUSE.joined(HOUSE.request())
    for values in (VALUES[:7], np.zeros((8, 1), dtype=np.int64)):
        with pytest.raises(ShapeError):
            machines[ME].mask(values)
    with pytest.raises(ShapeError):
        machines[ME].mask(VALUES.astype(np.float64))  # type: ignore[arg-type]
    kept = VALUES.copy()
    machines[ME].mask(kept)
    assert np.array_equal(kept, VALUES)


def test_refused_attempt_is_over() -> None:
    machine = HOUSE.machine(ME)
    machine.refuse()
    with pytest.raises(OutOfOrderError):
        machine.on_proposal(HOUSE.request())
    with pytest.raises(OutOfOrderError):
        machine.refuse()


def test_proposal_is_taken_once() -> None:
    machine = HOUSE.machine(ME)
    machine.on_proposal(HOUSE.request())
    with pytest.raises(OutOfOrderError):
        machine.on_proposal(HOUSE.request(attempt=2))


def test_no_secret_is_printed() -> None:
    machine = HOUSE.machine(ME)
    machine.on_proposal(HOUSE.request())
    joined = machine.on_joins(all_joins(HOUSE, HOUSE.request()))
    shown = repr(joined) + repr(HOUSE.facts(ME))
    assert "keys" not in shown
    for secret in (*joined.keys.values(), HOUSE.parties[ME].seed):
        assert secret.expose().hex() not in shown
        assert repr(secret.expose()) not in shown


def test_split_view_of_the_roster_ends_the_attempt() -> None:
    """The coordinator shows two rosters; no JOIN of one half fits the other half."""
    half, other = HOUSE.request(roster=HOUSE.roster[:3]), HOUSE.request()
    machine = HOUSE.machine(ME)
    machine.on_proposal(half)
    seen = [HOUSE.machine(one).on_proposal(other) for one in half.roster[1:]]
    own = HOUSE.machine(ME).on_proposal(half)
    with pytest.raises(RiskWeaveError) as caught:
        machine.on_joins([own, *seen])
    assert isinstance(caught.value, RefusalError)
    assert caught.value.reason is R15
