"""C2SP formats and RFC 6962 trees against published vectors and programs of others."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from consortium.crypto.keys import NoteKey, Secret
from consortium.errors import DecodeError, DomainError, ProofError, SignatureError
from consortium.ledger.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from consortium.ledger.merkle import (
    EMPTY_ROOT,
    Tree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from consortium.ledger.note import (
    Note,
    SignatureType,
    Verifier,
    cosign_note,
    open_note,
    parse_note,
    parse_vkey,
    sign_note,
)
from consortium.ledger.proof import LogProof, parse_proof
from consortium.ledger.tiles import (
    TilePath,
    bundle_paths,
    decode_bundle,
    encode_bundle,
    parse_path,
    split_tile,
    tile_of,
    tile_paths,
)
from tests.ledger_house import secret_of

VECTORS = Path(__file__).parents[1] / "vectors"
ORACLES: dict[str, Any] = json.loads((VECTORS / "ledger_oracles.json").read_text())
OURS: dict[str, Any] = json.loads((VECTORS / "ledger_ours.json").read_text())

# RFC 6962 test data of the Certificate Transparency project (merkletree tests): the leaves,
# and the roots of the trees of the first 1, 2, ... 8 of them.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

# Go, golang.org/x/mod/sumdb/note, note_test.go: keys, text, both signatures, bad messages.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngo"
    "tpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWL"
    "ox33WWd1RvMc+QQ=\n"
)


def note_bytes(*lines: str, text: str = TEXT) -> bytes:
    return (text + "\n" + "".join(lines)).encode()


# --- RFC 6962 ---------------------------------------------------------------------------------


def test_roots_are_those_of_certificate_transparency() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    for leaf, root in zip(CT_LEAVES, CT_ROOTS, strict=True):
        tree.append(leaf_hash(leaf))
        assert tree.root().hex() == root


def test_known_proofs_of_certificate_transparency_are_made_and_accepted() -> None:
    tree = Tree(map(leaf_hash, CT_LEAVES))
    assert [one.hex() for one in tree.consistency(6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    roots = [bytes.fromhex(root) for root in CT_ROOTS]
    verify_consistency(6, 8, path=tree.consistency(6, 8), old_root=roots[5], new_root=roots[7])
    verify_inclusion(
        leaf_hash(CT_LEAVES[2]), 2, 3, path=[bytes.fromhex(CT_ROOTS[1])], root=roots[2]
    )


@pytest.mark.parametrize("known", ORACLES["trees"], ids=lambda known: str(known["size"]))
def test_trees_of_other_programs_are_ours(known: dict[str, Any]) -> None:
    size = known["size"]
    tree = Tree(leaf_hash(f"entry {number}".encode()) for number in range(size))
    assert tree.root().hex() == known["root"]
    for index, path in enumerate(known["inclusion"]):
        assert [one.hex() for one in tree.inclusion(index)] == path
    for old, path in enumerate(known["consistency"], start=1):
        assert [one.hex() for one in tree.consistency(old)] == path


def test_proof_of_a_million_entries_has_at_most_forty_hashes() -> None:
    # One entry more than 2**20 and the last leaf of 2**20: the longest path of that size.
    tree = Tree(leaf_hash(number.to_bytes(4, "big")) for number in range(70_001))
    assert max(len(tree.inclusion(index)) for index in (0, 65_535, 65_536, 70_000)) == 17
    assert (1 << 40).bit_length() - 1 == 40


def test_paths_that_are_too_long_too_short_or_of_no_growth_are_refused() -> None:
    tree = Tree(map(leaf_hash, CT_LEAVES))
    path, root = tree.inclusion(3), tree.root()
    for wrong in ((*path, path[0]), path[:-1], ()):
        with pytest.raises(ProofError):
            verify_inclusion(tree.leaf(3), 3, 8, path=wrong, root=root)
    with pytest.raises(ProofError):
        verify_inclusion(tree.leaf(3), 8, 8, path=path, root=root)
    grown = tree.consistency(6)
    for old, new, wrong in ((6, 8, (*grown, root)), (6, 8, grown[:-1]), (6, 8, ()), (9, 8, ())):
        with pytest.raises(ProofError):
            verify_consistency(
                old, new, path=wrong, old_root=tree.root(min(old, 8)), new_root=root
            )
    for old, old_root, path in ((8, EMPTY_ROOT, ()), (0, root, ()), (8, root, (root,))):
        with pytest.raises(ProofError):
            verify_consistency(old, 8, path=path, old_root=old_root, new_root=root)
    with pytest.raises(ProofError):
        verify_consistency(0, 0, path=(), old_root=EMPTY_ROOT, new_root=root)


def test_tree_refuses_what_it_does_not_hold() -> None:
    tree = Tree(map(leaf_hash, CT_LEAVES))
    for ask in (
        lambda: tree.root(9),
        lambda: tree.inclusion(8),
        lambda: tree.consistency(9),
        lambda: tree.append(b"short"),
    ):
        with pytest.raises(DomainError):
            ask()


# --- signed notes -----------------------------------------------------------------------------


def test_note_of_go_is_made_byte_for_byte() -> None:
    key = NoteKey.from_secret(Secret(PETER_SEED))
    made = sign_note(TEXT, name="PeterNeumann", key=key)
    assert made.to_bytes() == note_bytes(PETER_LINE)
    assert Verifier("PeterNeumann", SignatureType.NOTE, key.public).vkey == PETER


def test_note_of_go_opens_with_the_keys_that_are_known() -> None:
    peter, enoch = parse_vkey(PETER), parse_vkey(ENOCH)
    data = note_bytes(PETER_LINE, ENOCH_LINE)
    assert set(open_note(data, [peter])[1]) == {peter}
    assert set(open_note(data, [peter, enoch])[1]) == {peter, enoch}
    assert open_note(data, [])[1] == {}


@pytest.mark.parametrize("place", range(len(PETER)))
def test_verifier_key_that_is_bent_is_refused(place: int) -> None:
    bent = PETER[:place] + chr(ord(PETER[place]) + 1) + PETER[place + 1 :]
    with pytest.raises(DecodeError):
        parse_vkey(bent)
    with pytest.raises(DecodeError):
        parse_vkey(PETER[:place])


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_bad_verifier_keys_of_go_are_refused(vkey: str) -> None:
    with pytest.raises(DecodeError):
        parse_vkey(vkey)


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        note_bytes(),
        note_bytes(PETER_LINE[:-1]),
        note_bytes(PETER_LINE, text="\x01" + TEXT),
        b"\xff" + note_bytes(PETER_LINE),
        note_bytes(PETER_LINE.replace("PeterNeumann", "Bad Name")),
        note_bytes(PETER_LINE, "Unexpected line.\n"),
        note_bytes(*[PETER_LINE] * 101),
        note_bytes("— PeterNeumann x08g\n"),
        note_bytes("— PeterNeumann not/base64=\n"),
    ],
    ids=str,
)
def test_malformed_messages_of_go_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_note(data)


def test_signature_of_a_known_key_that_fails_ends_the_note() -> None:
    bent = PETER_LINE[:60] + "ABCD" + PETER_LINE[60:]
    with pytest.raises(SignatureError):
        open_note(note_bytes(bent), [parse_vkey(PETER)])
    changed = TEXT.replace("answer", "Answer")
    with pytest.raises(SignatureError):
        open_note(note_bytes(PETER_LINE, text=changed), [parse_vkey(PETER)])


def test_second_signature_of_one_key_replaces_the_first() -> None:
    key = NoteKey.from_secret(Secret(PETER_SEED))
    note = sign_note(TEXT, name="PeterNeumann", key=key)
    assert note.with_signature(note.signatures[0]) == note
    with pytest.raises(DecodeError):
        sign_note("no line", name="PeterNeumann", key=key)


# --- checkpoints and cosignatures -------------------------------------------------------------


def test_checkpoint_and_cosignature_of_another_program_are_made_byte_for_byte() -> None:
    tree = Tree(leaf_hash(f"entry {number}".encode()) for number in range(13))
    head = Checkpoint(origin="riskweave/oracle", size=13, root=tree.root())
    note = sign_checkpoint(head, NoteKey.from_secret(secret_of("log")))
    assert note.to_bytes().decode() == ORACLES["checkpoint"]
    witness = NoteKey.from_secret(secret_of("bank-a"))
    line = cosign_note(note, name="riskweave/oracle/bank-a", key=witness, time=ORACLES["time"])
    assert note.with_signature(line).to_bytes().decode() == ORACLES["cosigned"]
    known = [parse_vkey(ORACLES["log_vkey"]), parse_vkey(ORACLES["witness_vkey"])]
    _, times = open_note(ORACLES["cosigned"].encode(), known)
    assert times == {known[0]: 0, known[1]: ORACLES["time"]}


def test_proof_of_another_program_is_read_and_made_byte_for_byte() -> None:
    proof = parse_proof(ORACLES["proof"].encode())
    assert proof.to_bytes().decode() == ORACLES["proof"]
    head = parse_checkpoint(parse_note(proof.checkpoint).text)
    verify_inclusion(leaf_hash(b"entry 5"), 5, head.size, path=proof.path, root=head.root)


def test_bytes_that_another_program_accepted_are_still_those_that_we_make() -> None:
    ours = OURS["ours"]
    proof = parse_proof(ours["proof"].encode())
    entry = base64.b64decode(ours["entry"])
    known = [parse_vkey(ours["log_vkey"]), parse_vkey(ours["witness_vkey"])]
    note, times = open_note(proof.checkpoint, known)
    assert len(times) == 2
    assert proof.checkpoint.decode() == ours["cosigned"]
    head = parse_checkpoint(note.text)
    verify_inclusion(leaf_hash(entry), proof.index, head.size, path=proof.path, root=head.root)
    assert OURS["judged_by"] == "proofbundle 6.3.1"
    assert all(OURS["verdicts"].values())


def test_time_of_a_cosignature_is_signed() -> None:
    tree = Tree([leaf_hash(b"x")])
    head = Checkpoint(origin="o", size=1, root=tree.root())
    note = sign_checkpoint(head, NoteKey.from_secret(secret_of("log")))
    key = NoteKey.from_secret(secret_of("w"))
    line = cosign_note(note, name="o/w", key=key, time=1000)
    verifier = Verifier("o/w", SignatureType.COSIGNATURE, key.public)
    assert verifier.time_of(note, line) == 1000
    moved = type(line)(line.name, line.key_id, (1001).to_bytes(8, "big") + line.signature[8:])
    for wrong in (moved, type(line)(line.name, line.key_id, line.signature[8:])):
        with pytest.raises(SignatureError):
            verifier.time_of(note, wrong)
    with pytest.raises(SignatureError):
        verifier.time_of(Note(note.text.replace("\n1\n", "\n2\n"), ()), line)


@pytest.mark.parametrize(
    "text",
    [
        "o\n01\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 42 + "B=\n",
        "o\n1\nshort=\n",
        "o\n-1\n" + "A" * 43 + "=\n",
        "\n1\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=\nextension\n",
        "o\n99999999999999999999\n" + "A" * 43 + "=\n",
    ],
)
def test_checkpoint_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_checkpoint(text)


# --- proofs and tiles -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nx\n",
        b"c2sp.org/tlog-proof@v1\nindex notanumber\n\nx\n",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nx\n",
        b"c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\nx\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nx\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + b"A" * 42 + b"B=\n\nx\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\nx\n",
        b"c2sp.org/tlog-proof@v1\nindex \xff\n\nx\n",
    ],
)
def test_malformed_proof_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_proof(data)


def test_extra_data_of_a_proof_are_carried() -> None:
    proof = LogProof(index=7, path=(bytes(32),), checkpoint=b"c\n", extra=b"anything")
    assert parse_proof(proof.to_bytes()) == proof


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (TilePath(0, 1_234_067), "tile/0/x001/x234/067"),
        (TilePath(None, 0, 1), "tile/entries/000.p/1"),
        (TilePath(63, 999), "tile/63/999"),
        (TilePath(None, 1000, 255), "tile/entries/x001/000.p/255"),
    ],
)
def test_paths_of_tiles_are_those_of_the_specification(path: TilePath, text: str) -> None:
    assert str(path) == text
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        *("tile/00/000", "tile/64/000", "tile/0/0000", "tile/0/x000/000", "tile/0/1"),
        *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "/tile/0/000", "../tile"),
    ],
)
def test_path_of_no_tile_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_path(text)


def test_tree_of_seventy_thousand_has_the_tiles_of_the_specification() -> None:
    paths = tile_paths(70_000)
    count = {level: [one for one in paths if one.level == level] for level in (0, 1, 2)}
    assert [len(count[0]), len(count[1]), len(count[2])] == [274, 2, 1]
    assert [count[level][-1].width for level in (0, 1, 2)] == [112, 17, 1]
    assert [str(path) for path in tile_paths(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert len(bundle_paths(70_000)) == 274


def test_tiles_hold_the_hashes_of_complete_subtrees() -> None:
    leaves = [leaf_hash(number.to_bytes(2, "big")) for number in range(600)]
    tree = Tree(leaves)
    assert split_tile(tile_of(tree, TilePath(0, 2, 88))) == tuple(leaves[512:])
    assert split_tile(tile_of(tree, TilePath(1, 0, 2))) == (
        Tree(leaves[:256]).root(),
        Tree(leaves[256:512]).root(),
    )
    for wrong in (TilePath(0, 2, 89), TilePath(None, 0)):
        with pytest.raises(DomainError):
            tile_of(tree, wrong)
    for data in (b"", b"x" * 33, b"x" * 32 * 257):
        with pytest.raises(DecodeError):
            split_tile(data)


def test_bundle_of_entries_is_read_back_and_bounded() -> None:
    entries = (b"a", b"b" * 300, b"c" * 60 * 1024)
    assert decode_bundle(encode_bundle(entries)) == entries
    for wrong in ((), [b"x"] * 257, [b""], [b"x" * (60 * 1024 + 1)]):
        with pytest.raises(DomainError):
            encode_bundle(wrong)
    data = encode_bundle([b"abc", b"de"])
    for cut in (b"", data[:-1], data[:1], data + b"\0", data + b"\0\0", b"\0\1x" * 257):
        with pytest.raises(DecodeError):
            decode_bundle(cut)
