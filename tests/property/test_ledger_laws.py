"""Laws of the log: any proof of any tree verifies, and any bit flip is found."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.canonical import canonical_json
from consortium.crypto.keys import NoteKey
from consortium.errors import ProofError
from consortium.ledger.entries import _dump
from consortium.ledger.merkle import Tree, leaf_hash, verify_consistency, verify_inclusion
from consortium.ledger.note import parse_note, sign_note
from consortium.ledger.tiles import (
    TilePath,
    bundle_paths,
    decode_bundle,
    files_of,
    parse_path,
    split_tile,
    tile_of,
    tile_paths,
)
from tests.ledger_house import secret_of

entries = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=70)
plain = st.recursive(
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
)


def naive(leaves: list[bytes]) -> bytes:
    """MTH by the letter of RFC 6962, 2.1."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    pair = naive(leaves[:split]) + naive(leaves[split:])
    return hashlib.sha256(b"\x01" + pair).digest()


def tree_of(leaves: list[bytes]) -> Tree:
    return Tree(map(leaf_hash, leaves))


def flipped(data: bytes, bit: int) -> bytes:
    place = bit // 8 % len(data)
    return data[:place] + bytes([data[place] ^ 1 << bit % 8]) + data[place + 1 :]


@given(leaves=entries)
def test_root_of_every_size_is_that_of_the_definition(leaves: list[bytes]) -> None:
    tree = tree_of(leaves)
    assert all(tree.root(n) == naive(leaves[:n]) for n in range(1, len(leaves) + 1))


@given(leaves=entries, data=st.data())
def test_any_inclusion_proof_of_any_tree_verifies(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = tree_of(leaves)
    size = data.draw(st.integers(1, tree.size))
    index = data.draw(st.integers(0, size - 1))
    path = tree.inclusion(index, size)
    verify_inclusion(tree.leaf(index), index, size, path=path, root=tree.root(size))
    assert len(path) <= size.bit_length()


@given(leaves=entries, data=st.data())
def test_any_consistency_proof_of_any_tree_verifies(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = tree_of(leaves)
    new = data.draw(st.integers(0, tree.size))
    old = data.draw(st.integers(0, new))
    verify_consistency(
        old,
        new,
        path=tree.consistency(old, new),
        old_root=tree.root(old),
        new_root=tree.root(new),
    )


@given(leaves=entries, data=st.data())
def test_any_bit_flipped_in_an_inclusion_proof_is_found(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = tree_of(leaves)
    index = data.draw(st.integers(0, tree.size - 1))
    parts = [tree.leaf(index), tree.root(), *tree.inclusion(index)]
    part = data.draw(st.integers(0, len(parts) - 1))
    parts[part] = flipped(parts[part], data.draw(st.integers(0, 255)))
    with pytest.raises(ProofError):
        verify_inclusion(parts[0], index, tree.size, path=parts[2:], root=parts[1])


@given(leaves=entries, data=st.data())
def test_any_bit_flipped_in_a_consistency_proof_is_found(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = tree_of(leaves)
    old = data.draw(st.integers(1, tree.size))
    parts = [tree.root(old), tree.root(), *tree.consistency(old)]
    part = data.draw(st.integers(0, len(parts) - 1))
    parts[part] = flipped(parts[part], data.draw(st.integers(0, 255)))
    with pytest.raises(ProofError):
        verify_consistency(old, tree.size, path=parts[2:], old_root=parts[0], new_root=parts[1])


@given(leaves=entries, data=st.data())
def test_no_proof_leads_from_a_tree_to_one_that_rewrote_it(
    leaves: list[bytes], data: st.DataObject
) -> None:
    tree = tree_of(leaves)
    place = data.draw(st.integers(0, tree.size - 1))
    old = data.draw(st.integers(place + 1, tree.size))
    forged = tree_of([*leaves[:place], leaves[place] + b"!", *leaves[place + 1 :]])
    with pytest.raises(ProofError):
        verify_consistency(
            old,
            tree.size,
            path=forged.consistency(old),
            old_root=tree.root(old),
            new_root=forged.root(),
        )


@given(value=plain)
def test_fast_encoder_of_entries_is_rfc_8785(value: object) -> None:
    expected = canonical_json(value)
    assert _dump(value) == expected
    assert json.loads(expected) == value


@given(count=st.integers(1, 2000))
@settings(max_examples=20)
def test_files_of_any_log_are_read_back(count: int) -> None:
    log = [number.to_bytes(3, "big") for number in range(count)]
    files = files_of(log)
    assert list(files) == [str(path) for path in bundle_paths(count)]
    assert [entry for data in files.values() for entry in decode_bundle(data)] == log
    tree = tree_of(log)
    level0 = [path for path in tile_paths(count) if path.level == 0]
    hashes = [one for path in level0 for one in split_tile(tile_of(tree, path))]
    assert hashes == [leaf_hash(entry) for entry in log]


@given(
    level=st.none() | st.integers(0, 63), index=st.integers(0, 10**9), width=st.integers(1, 256)
)
def test_any_path_of_a_tile_is_read_back(level: int | None, index: int, width: int) -> None:
    path = TilePath(level, index, width)
    assert parse_path(str(path)) == path


@given(text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])))
def test_any_text_is_read_back_from_a_note(text: str) -> None:
    key = NoteKey.from_secret(secret_of("log"))
    note = sign_note(text + "\n", name="a/log", key=key)
    assert parse_note(note.to_bytes()) == note
