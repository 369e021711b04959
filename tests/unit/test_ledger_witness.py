"""What a witness cosigns, and at which edge a head counts (protocol 8.5)."""

from dataclasses import replace

import pytest

from consortium.errors import (
    CosignatureError,
    DecodeError,
    ForkError,
    LogError,
    ManifestError,
    ProofError,
    RollbackError,
    SignatureError,
)
from consortium.ids import PartnerId
from consortium.ledger.checkpoint import (
    Checkpoint,
    log_verifier,
    open_checkpoint,
    origin_of,
    sign_checkpoint,
    witness_verifiers,
)
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.note import Note
from consortium.ledger.proof import LogProof, verify_proof
from consortium.ledger.witness import (
    MAX_AGE_S,
    MAX_SKEW_S,
    Head,
    WitnessKey,
    check_quorum,
    cosign,
    grow,
    head_of,
    quorum_of,
)
from consortium.manifest import Manifest, Role
from tests.ledger_house import COORDINATOR, REGULATOR, START, House

LEAVES = [leaf_hash(b"entry %d" % number) for number in range(20)]
TREE = Tree(LEAVES)


@pytest.fixture(scope="module")
def house() -> House:
    return House(silos=5, rounds=1)


def head(size: int, tree: Tree = TREE) -> Head:
    return Head(size=size, root=tree.root(size))


def signed(house: House, tree: Tree, size: int | None = None) -> Note:
    size = tree.size if size is None else size
    found = Checkpoint(origin=origin_of(house.manifest), size=size, root=tree.root(size))
    return sign_checkpoint(found, house.notes[COORDINATOR])


def cosigned(house: House, *names: str, time: int = START) -> bytes:
    house.now = time
    note = signed(house, TREE)
    for name in names:
        note = house.cosigned(note, PartnerId(name))
    return note.to_bytes()


def test_witness_follows_a_log_that_only_grows() -> None:
    known = Head()
    for size in (1, 7, 7, 8, 20):
        known = grow(known, head(size), TREE.consistency(known.size, size))
        assert known == head(size)


def test_smaller_head_than_the_cosigned_one_is_refused_by_name() -> None:
    with pytest.raises(RollbackError, match="size 7 after one of size 8"):
        grow(head(8), head(7), ())


def test_other_root_at_the_same_size_is_refused_and_shows_both() -> None:
    other = Head(size=8, root=TREE.root(7))
    with pytest.raises(ForkError) as error:
        grow(head(8), other, ())
    assert other.root.hex() in str(error.value)
    assert head(8).root.hex() in str(error.value)


@pytest.mark.parametrize("change", ["dropped", "reordered", "rewritten", "inserted"])
def test_history_that_was_changed_is_never_cosigned_again(house: House, change: str) -> None:
    changed = {
        "dropped": [*LEAVES[:3], *LEAVES[4:], leaf_hash(b"new")],
        "reordered": [*LEAVES[:3], LEAVES[4], LEAVES[3], *LEAVES[5:], leaf_hash(b"new")],
        "rewritten": [*LEAVES[:3], leaf_hash(b"other"), *LEAVES[4:], leaf_hash(b"new")],
        "inserted": [*LEAVES[:3], leaf_hash(b"new"), *LEAVES[3:]],
    }[change]
    forged = Tree(changed)
    name = house.names[0]
    for proof in (forged.consistency(12), TREE.consistency(12), ()):
        with pytest.raises(LogError):
            cosign(
                head(12),
                signed(house, forged).to_bytes(),
                proof,
                manifest=house.manifest,
                witness=WitnessKey(member=name, key=house.notes[name]),
                now=START,
            )


def test_cosignature_of_a_grown_head_opens_under_the_manifest(house: House) -> None:
    name = house.names[0]
    later, line = cosign(
        head(12),
        signed(house, TREE).to_bytes(),
        TREE.consistency(12),
        manifest=house.manifest,
        witness=WitnessKey(member=name, key=house.notes[name]),
        now=START,
    )
    opened = open_checkpoint(
        signed(house, TREE).with_signature(line).to_bytes(), house.manifest
    )
    assert later == head(20) == head_of(opened)
    assert opened.times == {name: START}


def test_head_that_the_log_did_not_sign_is_not_cosigned(house: House) -> None:
    note = signed(house, TREE)
    witness = WitnessKey(member=house.names[0], key=house.notes[house.names[0]])
    stranger = sign_checkpoint(
        Checkpoint(origin=origin_of(house.manifest), size=20, root=TREE.root()),
        house.notes[house.names[1]],
    )
    elsewhere = sign_checkpoint(
        Checkpoint(origin="another/log", size=20, root=TREE.root()), house.notes[COORDINATOR]
    )
    bent = note.to_bytes().replace(b"\n20\n", b"\n21\n")
    for data in (stranger.to_bytes(), elsewhere.to_bytes(), bent):
        with pytest.raises(SignatureError):
            cosign(Head(), data, (), manifest=house.manifest, witness=witness, now=START)


def test_manifest_without_a_log_key_opens_nothing(house: House) -> None:
    members = tuple(
        replace(one, witness="") if one.role is Role.COORDINATOR else one
        for one in house.manifest.members
    )
    bare = replace(house.manifest, members=members)
    with pytest.raises(ManifestError):
        open_checkpoint(cosigned(house, *house.names), bare)


# --- quorum -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partners", "needed"), [(2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (50, 34)]
)
def test_quorum_is_two_thirds_rounded_up(partners: int, needed: int) -> None:
    house = House(silos=max(partners, 2), rounds=1) if partners <= 6 else None
    if house is None:
        members = tuple(
            replace(
                House(silos=3, rounds=1).manifest.members[0], id=PartnerId(f"p{i}"), index=i
            )
            for i in range(1, partners + 1)
        )
        manifest: Manifest = replace(House(silos=3, rounds=1).manifest, members=members)
    else:
        manifest = house.manifest
    assert quorum_of(manifest) == needed


def test_one_partner_short_of_the_quorum_does_not_count(house: House) -> None:
    four = house.names[:4]
    opened = open_checkpoint(cosigned(house, *four), house.manifest)
    assert check_quorum(opened, house.manifest, now=START) == four
    three = open_checkpoint(cosigned(house, *four[:3]), house.manifest)
    with pytest.raises(CosignatureError, match="by 3 partners"):
        check_quorum(three, house.manifest, now=START)


def test_regulators_cosignature_is_shown_and_not_counted(house: House) -> None:
    opened = open_checkpoint(cosigned(house, *house.names[:3], REGULATOR), house.manifest)
    assert REGULATOR in opened.times
    with pytest.raises(CosignatureError):
        check_quorum(opened, house.manifest, now=START)


@pytest.mark.parametrize(
    ("age", "counts"),
    [
        (0, True),
        (MAX_AGE_S, True),
        (MAX_AGE_S + 1, False),
        (-MAX_SKEW_S, True),
        (-MAX_SKEW_S - 1, False),
    ],
)
def test_cosignature_counts_for_a_day_and_not_before_its_time(
    house: House, age: int, *, counts: bool
) -> None:
    opened = open_checkpoint(cosigned(house, *house.names, time=START), house.manifest)
    if counts:
        assert check_quorum(opened, house.manifest, now=START + age) == house.names
    else:
        with pytest.raises(CosignatureError):
            check_quorum(opened, house.manifest, now=START + age)


def test_one_witness_twice_is_one_witness(house: House) -> None:
    note = signed(house, TREE)
    line = house.cosigned(note, house.names[0]).signatures[1]
    double = Note(note.text, (*note.signatures, *[line] * 5))
    opened = open_checkpoint(double.to_bytes(), house.manifest)
    with pytest.raises(CosignatureError):
        check_quorum(opened, house.manifest, now=house.now)


def test_partner_that_was_revoked_is_no_witness(house: House) -> None:
    gone = replace(
        house.manifest,
        members=tuple(
            replace(one, active=False) if one.id == house.names[0] else one
            for one in house.manifest.members
        ),
    )
    opened = open_checkpoint(cosigned(house, *house.names), gone)
    assert house.names[0] not in opened.times
    assert house.names[0] not in witness_verifiers(gone)
    assert check_quorum(opened, gone, now=START) == house.names[1:]


def test_key_of_the_log_does_not_cosign_and_a_witness_does_not_sign(house: House) -> None:
    assert log_verifier(house.manifest).key_id not in {
        one.key_id for one in witness_verifiers(house.manifest).values()
    }


def test_proof_of_an_entry_verifies_offline_and_for_no_other_entry(house: House) -> None:
    entries = [b"entry %d" % number for number in range(20)]
    note = cosigned(house, *house.names)
    proof = LogProof(index=6, path=TREE.inclusion(6), checkpoint=note)
    opened = verify_proof(proof, entries[6], house.manifest)
    assert check_quorum(opened, house.manifest, now=START) == house.names
    with pytest.raises(ProofError):
        verify_proof(proof, entries[7], house.manifest)
    with pytest.raises(ProofError):
        verify_proof(replace(proof, index=7), entries[6], house.manifest)
    with pytest.raises(DecodeError):
        verify_proof(replace(proof, checkpoint=b"x"), entries[6], house.manifest)
