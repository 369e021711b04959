"""A partner, or the relay, that bends the lists of a count of common persons (T129 to T131)."""

import copy
from dataclasses import replace

import pytest

from consortium.canonical import Label
from consortium.errors import (
    ConfigurationError,
    DecodeError,
    DomainError,
    OutOfOrderError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.identity.overlap import (
    ExactCounts,
    OverlapPlan,
    check_form,
    check_plan,
    counts_of,
)
from consortium.identity.overlap_lists import (
    ListKind,
    OverlapCounter,
    OverlapPeer,
    piece_statement,
)
from consortium.inquiries import OverlapPiece
from tests.overlap_house import (
    BARE,
    COUNTER,
    MANIFEST,
    OTHER,
    PEER,
    PLAN,
    give_all,
    give_own,
    run_of,
    signed_anew,
    tokens,
)
from tests.secagg_house import Party, secret_of

ONE = replace(PLAN, tiers=("ALL",), cuts=())
IDENTITY = bytes(32)


@pytest.fixture(scope="module")
def own() -> OverlapPiece:
    """The only piece of the counting partner's list."""
    (piece,) = give_own(OverlapCounter(run_of(COUNTER), tokens(range(100))))
    return piece


@pytest.fixture(scope="module")
def lists(own: OverlapPiece) -> list[OverlapPiece]:
    """The peer's two tiers and its second list."""
    peer = OverlapPeer(run_of(PEER), [tokens(range(60)), tokens(range(200, 260))])
    peer.take(own)
    return give_all(peer, 2)


def peer() -> OverlapPeer:
    return OverlapPeer(run_of(PEER), [tokens(range(60)), []])


def refused(take: OverlapPeer | OverlapCounter, piece: OverlapPiece) -> ScoreRefusal:
    with pytest.raises(ScoreRefusalError) as caught:
        take.take(piece)
    assert not take.ready
    return caught.value.reason


def test_list_with_a_point_twice_is_refused_for_it_would_count_twice(own: OverlapPiece) -> None:
    bent = signed_anew(own, points=own.points[:32] + own.points[:-32])
    assert refused(peer(), bent) is ScoreRefusal.MALFORMED


def test_person_in_two_tiers_is_refused_for_it_would_count_twice(
    lists: list[OverlapPiece],
) -> None:
    counter = OverlapCounter(run_of(COUNTER), tokens(range(100)))
    first, second, _ = lists
    counter.take(first)
    bent = signed_anew(second, points=first.points[:32] + second.points[32:])
    assert refused(counter, bent) is ScoreRefusal.MALFORMED
    with pytest.raises(DomainError):
        OverlapPeer(run_of(PEER), [tokens([1]), tokens([1])])


@pytest.mark.parametrize("point", [IDENTITY, b"\xff" * 32, b"\x01" + bytes(31)])
def test_identity_and_what_is_no_group_element_are_refused(
    own: OverlapPiece, point: bytes
) -> None:
    bent = signed_anew(own, points=point + own.points[32:])
    assert refused(peer(), bent) is ScoreRefusal.POINT


def test_list_below_the_smallest_public_size_is_refused(own: OverlapPiece) -> None:
    bent = signed_anew(own, size=4, points=own.points[: 4 * 32])
    assert refused(peer(), bent) is ScoreRefusal.MALFORMED


def test_few_persons_and_many_make_lists_of_the_same_size(own: OverlapPiece) -> None:
    (few,) = give_own(OverlapCounter(run_of(COUNTER), tokens([1])))
    assert (few.size, len(few.points)) == (own.size, len(own.points)) == (1024, 1024 * 32)


def test_second_list_of_another_size_than_the_own_is_refused(lists: list[OverlapPiece]) -> None:
    counter = OverlapCounter(run_of(COUNTER), tokens(range(1_030)))
    assert refused(counter, lists[2]) is ScoreRefusal.MALFORMED


def test_piece_that_the_relay_altered_or_moved_is_refused(own: OverlapPiece) -> None:
    for bent in (
        replace(own, points=own.points[32:] + own.points[:32]),
        replace(own, signature=bytes(64)),
        replace(own, signature=run_of(PEER).signed(own).signature),
    ):
        assert refused(peer(), bent) is ScoreRefusal.SIGNATURE


@pytest.mark.parametrize("change", ["attempt", "member", "kind", "part"])
def test_piece_of_another_run_member_list_or_place_is_refused(
    own: OverlapPiece, change: str
) -> None:
    bent = {
        "attempt": replace(own, context=run_of(COUNTER, attempt=2).context),
        "member": replace(own, member=OTHER),
        "kind": replace(own, kind=ListKind.TIER.value),
        "part": replace(own, part=1),
    }[change]
    key = Party(bent.member).identity
    signed = replace(bent, signature=key.sign(Label.OVERLAP_LIST, piece_statement(bent)))
    assert refused(peer(), signed) is ScoreRefusal.MALFORMED


def test_peer_gives_nothing_before_it_has_all_of_the_counting_partners_list() -> None:
    for kind in (ListKind.TIER, ListKind.CROSS):
        with pytest.raises(OutOfOrderError):
            peer().give(kind, 0, 0)


def test_counting_before_all_lists_are_there_is_refused(lists: list[OverlapPiece]) -> None:
    counter = OverlapCounter(run_of(COUNTER), tokens(range(100)))
    for piece in lists[:2]:
        counter.take(piece)
    with pytest.raises(OutOfOrderError):
        counter.count()


def test_lists_of_two_runs_have_no_point_in_common(own: OverlapPiece) -> None:
    again = OverlapCounter(run_of(COUNTER, attempt=2), tokens(range(100)))
    (other,) = give_own(again)
    points = [
        {piece.points[at : at + 32] for at in range(0, len(piece.points), 32)}
        for piece in (own, other)
    ]
    assert points[0].isdisjoint(points[1])


def test_exact_counts_are_not_printed_and_not_serialised() -> None:
    exact = ExactCounts([12_345])
    assert "12345" not in f"{exact!r}{exact}"
    with pytest.raises(TypeError):
        copy.deepcopy(exact)
    noisy = exact.released(ONE, secret_of("noise"), run_of(COUNTER).context)
    assert noisy != (12_345 << 10,)


def test_question_is_the_same_however_it_is_cut_or_paid_for_and_the_release_is_not() -> None:
    for other in (ONE, replace(PLAN, cuts=(100_001,)), replace(PLAN, epsilon="2")):
        assert other.question == PLAN.question
        assert other.release != PLAN.release
    for other in (replace(PLAN, period="2026-11"), replace(PLAN, peer=OTHER)):
        assert other.question != PLAN.question


@pytest.mark.parametrize(
    "changes",
    [
        {"peer": COUNTER},
        {"peer": "Bank"},
        {"period": "2026-13"},
        {"tiers": ("PRIME", "PRIME")},
        {"tiers": ("prime", "LOW")},
        {"tiers": (), "cuts": ()},
        {"cuts": ()},
        {"cuts": (0,)},
        {"cuts": (1_000_000,)},
        {"tiers": ("A", "B", "C"), "cuts": (200_000, 100_000)},
        {"epsilon": "0"},
        {"delta": "0.5"},
    ],
)
def test_plan_that_cannot_be_asked_names_what_is_wrong(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        check_form(replace(PLAN, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (replace(PLAN, peer=OTHER), ScoreRefusal.REQUESTER),
        (replace(PLAN, epoch=2), ScoreRefusal.EPOCH),
        (replace(PLAN, epsilon="3.5"), ScoreRefusal.PURPOSE),
        (replace(PLAN, delta="0.00001"), ScoreRefusal.PURPOSE),
    ],
)
def test_plan_of_others_or_beyond_the_manifests_caps_is_refused(
    plan: OverlapPlan, reason: ScoreRefusal
) -> None:
    check_plan(PLAN, MANIFEST, PEER)
    with pytest.raises(ScoreRefusalError) as caught:
        check_plan(plan, MANIFEST, PEER)
    assert caught.value.reason is reason


def test_count_that_the_manifest_does_not_allow_is_refused() -> None:
    with pytest.raises(ScoreRefusalError) as caught:
        check_plan(PLAN, BARE, PEER)
    assert caught.value.reason is ScoreRefusal.PURPOSE


@pytest.mark.parametrize("noisy", [(1, 0), (-5, 0), (60_000,), (60_000, 60_000, 60_000)])
def test_counts_that_no_honest_partner_says_are_refused(noisy: tuple[int, ...]) -> None:
    with pytest.raises(DecodeError):
        counts_of(PLAN, noisy)
