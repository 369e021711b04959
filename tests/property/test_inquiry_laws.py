"""Laws of batches of inquiries, of draws and of bands, for any values."""

from hypothesis import given
from hypothesis import strategies as st

from consortium.errors import DecodeError
from consortium.ids import Digest, digest_of
from consortium.ledger.bodies import BANDS, band_of
from consortium.ledger.draws import RECORDS, drawn_records, drawn_sums
from consortium.ledger.inquiries import (
    Leaf,
    batch_root,
    decode_batch,
    encode_batch,
    root_of_leaves,
)
from consortium.ledger.merkle import leaf_hash

records = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=20)
digests = st.integers(0, 2**64).map(lambda n: Digest(digest_of(str(n).encode())))
counts = st.lists(st.integers(1, 40), min_size=0, max_size=30)


def opened(data: list[bytes], shown: list[bool]) -> list[Leaf]:
    return [
        Leaf(leaf_hash(one), one if show else None)
        for one, show in zip(data, shown, strict=True)
    ]


@given(parts=st.lists(st.tuples(st.binary(min_size=1), st.booleans()), min_size=1))
def test_batch_has_one_root_and_count_whatever_of_it_is_opened(
    parts: list[tuple[bytes, bool]],
) -> None:
    data = [one for one, _ in parts]
    leaves = opened(data, [show for _, show in parts])
    read = decode_batch(encode_batch(leaves))
    assert list(read) == leaves
    assert len(read) == len(data)
    assert root_of_leaves(read) == batch_root(data)


@given(data=records, at=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_any_byte_of_a_batch_that_is_changed_changes_its_root_or_is_refused(
    data: list[bytes], at: int, flip: int
) -> None:
    whole = bytearray(encode_batch(opened(data, [True] * len(data))))
    whole[at % len(whole)] ^= flip
    try:
        leaves = decode_batch(bytes(whole))
    except DecodeError:
        return
    assert root_of_leaves(leaves) != batch_root(data) or len(leaves) != len(data)


@given(choice=digests, counts=counts)
def test_drawn_records_are_different_places_of_the_batches_in_order(
    choice: Digest, counts: list[int]
) -> None:
    batches = list(enumerate(counts, start=1_000))
    drawn = drawn_records(choice, batches)
    assert list(drawn) == sorted(set(drawn))
    assert len(drawn) == min(RECORDS, sum(counts))
    assert all(0 <= place < dict(batches)[second] for second, place in drawn)
    assert drawn == drawn_records(choice, batches)


@given(choice=digests, closed=st.integers(0, 200), count=st.integers(0, 250))
def test_more_drawn_sums_hold_the_fewer(choice: Digest, closed: int, count: int) -> None:
    drawn = drawn_sums(choice, closed, count)
    assert list(drawn) == sorted(set(drawn))
    assert len(drawn) == min(count, closed)
    assert set(drawn) <= set(drawn_sums(choice, closed, count + 1)) <= set(range(1, closed + 1))


@given(one=st.integers(0, 10**12), other=st.integers(0, 10**12))
def test_bands_rise_with_what_they_hide(one: int, other: int) -> None:
    places = [BANDS.index(band_of(value)) for value in sorted((one, other))]
    assert places == sorted(places)
