"""Counts of common persons: they are the sets' own, and what is said of them is fair."""

from hypothesis import given
from hypothesis import strategies as st

from consortium.identity.overlap import (
    SCALE,
    SMALLEST_LIST,
    ExactCounts,
    counts_of,
    mechanism_of,
)
from consortium.identity.overlap_lists import (
    OverlapCounter,
    OverlapPeer,
    is_public_size,
    padded_size,
)
from tests.overlap_house import COUNTER, PEER, PLAN, give_all, give_own, run_of, tokens
from tests.secagg_house import digest, secret_of


def test_count_of_each_tier_is_that_of_the_sets_and_nobody_can_tell_who_matches() -> None:
    counter = OverlapCounter(run_of(COUNTER), tokens(range(1_200)))
    tiers = [tokens(range(1_100, 1_400)), tokens([*range(1_000, 1_060), *range(2_000, 2_900)])]
    peer = OverlapPeer(run_of(PEER), tiers)
    own = give_own(counter)
    for piece in own:
        peer.take(piece)
    pieces = give_all(peer, 2)
    for piece in pieces:
        counter.take(piece)
    assert counter.count()._counts == (100, 60)

    # The second list is P's own raised to b, in another order: places tell nothing.
    cross = b"".join(piece.points for piece in pieces if piece.kind == "cross")
    sent = b"".join(piece.points for piece in own)
    scalar = run_of(PEER).scalar()
    raised = [_raised(scalar, sent[at : at + 32]) for at in range(0, 32 * 40, 32)]
    places = [cross.find(point) // 32 for point in raised]
    assert min(places) >= 0
    assert places != list(range(40))


def _raised(scalar: bytes, point: bytes) -> bytes:
    from consortium.crypto.ristretto import Scalar, mult  # noqa: PLC0415 - loads a library

    return mult(Scalar(scalar), point)


@given(st.integers(0, 1 << 21))
def test_padded_size_is_public_covers_everybody_and_wastes_no_more_than_half(n: int) -> None:
    size = padded_size(n)
    assert is_public_size(size)
    assert n <= size <= max(SMALLEST_LIST, 3 * n // 2 + 1)
    assert padded_size(size) == size


@given(st.lists(st.integers(0, 1 << 20), min_size=2, max_size=2), st.integers(0, 1 << 30))
def test_what_is_said_is_the_count_with_noise_or_that_it_is_below_fifty(
    exact: list[int], number: int
) -> None:
    seed, context = secret_of(f"noise {number}"), digest(f"run {number}")
    noisy = ExactCounts(exact).released(PLAN, seed, context)
    deviation = mechanism_of(PLAN).variance ** 0.5 / SCALE
    for count, true, said in zip(counts_of(PLAN, noisy), exact, noisy, strict=True):
        assert said == 0 or said >= 50 * SCALE
        low, high = count.interval
        assert low >= 0
        # Nine deviations: less than one in 10**18.
        assert abs(count.persons - true) < 9 * deviation or (count.below and true < 90)
        assert count.shown == ("< 50" if said == 0 else f"{said / SCALE:.0f}")
        assert (low, high) == (0.0, 50.0) if count.below else low < count.persons < high


def test_interval_holds_the_true_count_in_95_of_100_runs() -> None:
    exact, held = (400, 60), 0
    for number in range(500):
        noise = ExactCounts(exact).released(PLAN, secret_of(f"s{number}"), digest("run"))
        for count, true in zip(counts_of(PLAN, noise), exact, strict=True):
            low, high = count.interval
            held += low <= true <= high
    # Of 1,000: a binomial of .95 is below 913 once in a million.
    assert held >= 913
