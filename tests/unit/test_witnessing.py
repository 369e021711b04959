"""Partners as witnesses of the coordinator's log: what they sign, and what they refuse."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from consortium.errors import (
    DecodeError,
    ForkError,
    OutOfOrderError,
    ProofError,
    RollbackError,
    SignatureError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.checkpoint import open_checkpoint
from consortium.ledger.entries import (
    Body,
    Entry,
    Incident,
    PlanRefused,
    RoundUpload,
    sign_entry,
)
from consortium.ledger.witness import Head, WitnessKey
from consortium.messages import LogHead, ManifestBundle, WitnessQuestion
from coordinator.audit_log import AuditLog, LogKeys
from coordinator.log_witnesses import PATIENCE_S, PORTION
from coordinator.storage import Store
from partner_node.door import Door
from partner_node.keystore import Pin
from partner_node.storage import NodeStore
from partner_node.witnessing import Witnessing, WitnessPorts
from tests.ledger_house import COORDINATOR, REGULATOR, House

Make = Callable[[str], AuditLog]


@pytest.fixture
def house() -> House:
    return House(silos=4, rounds=1)


@pytest.fixture
def make(house: House, tmp_path: Path) -> Make:
    keys = LogKeys(
        member=COORDINATOR,
        identity=house.identities[COORDINATOR],
        note=house.notes[COORDINATOR],
    )

    def log(name: str) -> AuditLog:
        store = Store(f"sqlite:///{tmp_path / name}")
        found = AuditLog(
            store, federation=house.manifest.federation, keys=keys, now=lambda: house.now
        )
        grow(found, 5, name)
        return found

    return log


def grow(log: AuditLog, count: int, text: str = "entry") -> None:
    begun = len(log._store.log_entries())
    for number in range(begun, begun + count):
        log.append([log.entry(Incident(kind=f"{text} {number}", text=Digest("ab" * 32)))])


@dataclass
class Witness:
    """One partner; heads are in a real database."""

    house: House
    name: PartnerId
    store: NodeStore
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        house = self.house
        bundle = ManifestBundle(body=b"", signatures=(), schema=b"")
        self.pin = Pin(manifest=house.manifest, schema=house.schema, bundle=bundle)
        self.rules = Witnessing(
            WitnessPorts(
                pin=lambda: self.pin,
                door=lambda: cast("Door", None),
                store=self.store,
                witness=WitnessKey(member=self.name, key=house.notes[self.name]),
                now=lambda: house.now,
            )
        )

    def ask(self, log: AuditLog) -> LogHead:
        """One turn, as ``Witnessing`` takes it."""
        known = self.store.witnessed()
        manifest = self.house.manifest
        shown = log.on_witness(WitnessQuestion(known=known.size), self.name, manifest)
        if shown.note:
            answer = self.rules.answer(self.pin, known, shown)
            self.sent.append(answer.size)
            log.on_witness(answer, self.name, manifest)
        return shown


@pytest.fixture
def witnesses(house: House, tmp_path: Path) -> list[Witness]:
    return [
        Witness(house, name, NodeStore(tmp_path / f"{name}.db", now=lambda: 1))
        for name in house.names
    ]


def test_head_counts_when_enough_partners_have_cosigned_it(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    for one in witnesses[:2]:
        one.ask(log)
    assert not log.witnessed(house.manifest)
    witnesses[2].ask(log)
    assert log.witnessed(house.manifest)


def test_all_are_shown_the_same_head_until_it_counts_though_the_log_grows(
    make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    for one in witnesses[:3]:
        one.ask(log)
        grow(log, 2)
    assert [one.sent for one in witnesses[:3]] == [[5], [5], [5]]
    for one in witnesses[:3]:
        one.ask(log)
    assert [one.sent for one in witnesses[:3]] == [[5, 9], [5, 9], [5, 9]]


def test_head_that_lacks_witnesses_for_too_long_gives_way_to_a_newer_one(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    witnesses[0].ask(log)
    grow(log, 3)
    assert witnesses[0].ask(log).note == b""
    house.now += PATIENCE_S + 1
    assert witnesses[0].ask(log).note
    assert witnesses[0].sent == [5, 8]


def test_witness_goes_on_from_its_stored_head_and_refuses_a_fork_after_a_restart(
    make: Make, witnesses: list[Witness], tmp_path: Path
) -> None:
    one = witnesses[0]
    one.ask(make("log.db"))
    one.store.close()
    again = Witness(one.house, one.name, NodeStore(tmp_path / f"{one.name}.db", now=lambda: 1))
    kept = again.store.witnessed()
    assert kept.size == 5
    other = make("other.db")
    with pytest.raises(ForkError):
        fork(again, other, kept, since=5)
    grow(other, 4, "another history")
    with pytest.raises(ProofError):
        fork(again, other, kept, since=5)
    with pytest.raises(RollbackError):
        fork(again, make("short.db"), Head(size=9, root=kept.root), since=0)
    assert again.store.witnessed() == kept


def fork(one: Witness, log: AuditLog, known: Head, *, since: int) -> None:
    """Show the newest head of a log whatever the witness knows, with the log's own proof."""
    (*_, (size, note)) = log._store.log_heads()
    log._store.log_leaves()
    proof = log._tree.consistency(min(since, size), size) if size > since else ()
    one.rules.answer(one.pin, known, LogHead(note=note, proof=proof))


def test_cosignature_that_fails_is_not_taken(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    one = witnesses[0]
    shown = log.on_witness(WitnessQuestion(known=0), one.name, house.manifest)
    good = one.rules.answer(one.pin, Head(), shown)
    bad = good.cosignature[:-1] + bytes([good.cosignature[-1] ^ 1])
    question = WitnessQuestion(known=good.known, size=good.size, cosignature=bad)
    with pytest.raises(SignatureError):
        log.on_witness(question, one.name, house.manifest)
    other = witnesses[1].name
    with pytest.raises(SignatureError):
        log.on_witness(good, other, house.manifest)
    (*_, (_, note)) = log._store.log_heads()
    assert open_checkpoint(note, house.manifest).times == {}


def test_cosignature_of_no_head_and_of_no_witness_is_refused(house: House, make: Make) -> None:
    log = make("log.db")
    question = WitnessQuestion(known=99, size=99, cosignature=bytes(72))
    with pytest.raises(OutOfOrderError, match="99 entries"):
        log.on_witness(question, house.names[0], house.manifest)
    for name in (COORDINATOR, PartnerId("stranger")):
        with pytest.raises(OutOfOrderError, match="no witness"):
            log.on_witness(WitnessQuestion(known=0), name, house.manifest)
    assert log.on_witness(WitnessQuestion(known=0), REGULATOR, house.manifest).note


def said(house: House, name: PartnerId, body: Body) -> bytes:
    bare = Entry(seq_hint=0, at=1, actor=name, body=body)
    return sign_entry(bare, house.identities[name]).to_jcs()


def test_entries_that_a_witness_brings_are_appended_once_and_shown_to_all(
    house: House, make: Make
) -> None:
    log, (one, other) = make("log.db"), house.names[:2]
    entry = said(house, one, Incident(kind="log.fork", text=Digest("cd" * 32)))
    for _ in range(2):
        log.on_witness(WitnessQuestion(known=0, entries=(entry,)), one, house.manifest)
    house.now += PATIENCE_S + 1
    shown = log.on_witness(WitnessQuestion(known=0), other, house.manifest)
    assert (shown.first, len(shown.entries)) == (0, 6)
    assert shown.entries[-1] == entry
    later = log.on_witness(WitnessQuestion(known=5), other, house.manifest)
    assert (later.first, later.entries) == (5, (entry,))


@pytest.mark.parametrize("other", [True, False])
def test_witness_brings_nothing_in_another_name_and_nothing_that_goes_with_an_answer(
    house: House, make: Make, *, other: bool
) -> None:
    log, name = make("log.db"), house.names[0]
    body: Body = RoundUpload(joined=Digest("ab" * 32), words=Digest("cd" * 32))
    if other:
        body = Incident(kind="log.fork", text=Digest("cd" * 32))
    entry = said(house, house.names[1] if other else name, body)
    question = WitnessQuestion(known=0, entries=(entry,))
    with pytest.raises(DecodeError):
        log.on_witness(question, name, house.manifest)
    refusal = PlanRefused(run=RunId("a" * 32), plan=Digest("ab" * 32), reason="R05")
    question = WitnessQuestion(known=0, entries=(said(house, REGULATOR, refusal),))
    with pytest.raises(DecodeError, match="in the name of regulator"):
        log.on_witness(question, REGULATOR, house.manifest)
    assert len(log._store.log_entries()) == 5


def test_mirror_that_is_far_behind_is_filled_in_portions_each_under_a_head(
    house: House, make: Make
) -> None:
    log, name = make("log.db"), house.names[0]
    grow(log, 2 * PORTION)
    house.now += PATIENCE_S + 1
    known, entries, sizes = 0, list[bytes](), list[int]()
    while shown := log.on_witness(WitnessQuestion(known=known), name, house.manifest):
        if not shown.note:
            break
        assert shown.first == known
        entries += shown.entries
        known = open_checkpoint(shown.note, house.manifest).checkpoint.size
        sizes.append(known)
        assert len(entries) == known
    assert sizes == [PORTION, 2 * PORTION, 2 * PORTION + 5]
    assert tuple(entries) == log._store.log_entries()


def test_newest_cosigned_head_is_shown_once_the_quorum_is_there_and_not_before(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    for one in witnesses[:3]:
        assert one.ask(log).cosigned == b""
    seen = log.on_witness(WitnessQuestion(known=5), witnesses[3].name, house.manifest)
    opened = open_checkpoint(seen.cosigned, house.manifest)
    assert opened.checkpoint.size == 5
    assert set(opened.times) == {one.name for one in witnesses[:3]}


def test_log_that_was_rolled_back_shows_its_small_head_and_is_refused(
    make: Make, witnesses: list[Witness]
) -> None:
    log, short = make("log.db"), make("short.db")
    grow(log, 4)
    one = witnesses[0]
    one.ask(log)
    with pytest.raises(RollbackError):
        one.ask(short)
