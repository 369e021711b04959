"""One flipped byte anywhere in a bundle: found, and the finding names the entry or the file."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from consortium.ledger.archive import pack
from consortium.ledger.findings import Finding, Grade
from consortium.ledger.proof import LogProof
from consortium.ledger.tiles import decode_bundle
from regulator.bundle import audit_bundle
from tests.ledger_house import START, House

NOW = START + 1000

EVERY = pytest.mark.parametrize(
    "stride",
    [23, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["some positions", "every position"],
)


@pytest.fixture(scope="module")
def small() -> House:
    """A few entries, one head and one proof: every kind of file that has a signature."""
    house = House(silos=3)
    house.adopt()
    head = house.files[f"checkpoints/{house.tree.size}"]
    proof = LogProof(index=2, path=house.tree.inclusion(2), checkpoint=head)
    house.files["proofs/2.tlog-proof"] = proof.to_bytes()
    return house


@pytest.fixture(scope="module")
def large() -> House:
    return House(silos=10, rounds=20, masked=False).run()


def errors_after_flip(data: bytes, house: House, position: int) -> tuple[Finding, ...]:
    bent = bytearray(data)
    bent[position] ^= 1 << position % 8
    found = audit_bundle(bytes(bent), house.manifest.digest, now=NOW).findings
    return tuple(one for one in found if one.grade is Grade.ERROR)


def spans(data: bytes, house: House) -> Iterator[tuple[int, int, str, int | None]]:
    """Begin and end in the archive of every file, and within those of entries of each."""
    for place, content in house.bundle().items():
        start = data.index(place.encode() + content) + len(place)
        if not place.startswith("tile/entries/"):
            yield start, start + len(content), place, None
            continue
        first = 256 * int(place.split("/")[2].partition(".")[0])
        for number, entry in enumerate(decode_bundle(content), start=first):
            yield start + 2, start + 2 + len(entry), place, number
            start += 2 + len(entry)


def check(data: bytes, house: House, positions: Iterator[int] | range) -> None:
    """Flip each position on its own; an entry is named by its index, a file by its path."""
    known = list(spans(data, house))
    for position in positions:
        found = errors_after_flip(data, house, position)
        assert found, position
        for begin, end, place, number in known:
            if not begin <= position < end:
                continue
            if number is None:
                assert place in {one.place for one in found}, (position, place)
            else:
                assert number in {index for one in found for index in one.entries}, position


@EVERY
def test_any_single_byte_of_a_small_bundle_flipped_is_found_and_named(
    small: House, stride: int
) -> None:
    data = pack(small.bundle())
    assert audit_bundle(data, small.manifest.digest, now=NOW).worst is None
    check(data, small, range(0, len(data), stride))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_bytes_of_a_large_bundle_flipped_are_found_and_named(large: House) -> None:
    data = pack(large.bundle())
    assert audit_bundle(data, large.manifest.digest, now=NOW).worst is None
    drawn = (hashlib.sha256(json.dumps(number).encode()).digest() for number in range(60))
    check(data, large, (int.from_bytes(one) % len(data) for one in drawn))
