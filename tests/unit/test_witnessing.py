"""Partners as witnesses of the coordinator's log: what they sign, and what they refuse."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from consortium.errors import (
    DecodeError,
    ForkError,
    OutOfOrderError,
    ProofError,
    RefusalError,
    RollbackError,
    SignatureError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.bodies import OprfUsage
from consortium.ledger.checkpoint import open_checkpoint, witness_name
from consortium.ledger.entries import (
    Body,
    Entry,
    Incident,
    ManifestAdopted,
    from_jcs,
    sign_entry,
    verify_entry,
)
from consortium.ledger.note import cosign_note, parse_note
from consortium.ledger.run_bodies import PlanRefused, RoundUpload
from consortium.ledger.witness import MAX_SKEW_S, WitnessKey
from consortium.messages import LogHead, ManifestBundle, WitnessQuestion
from coordinator.audit_log import BROUGHT_A_DAY, AuditLog, LogKeys
from coordinator.log_witnesses import PATIENCE_S, PORTION
from coordinator.storage import Store
from partner_node.entry_book import EntryBook
from partner_node.keystore import Pin
from partner_node.log_mirror import LogMirror, MirrorPorts
from partner_node.storage import NodeStore
from partner_node.witnessing import Doors, Witnessing, WitnessPorts
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
    begun = len(log._store.log.entries())
    for number in range(begun, begun + count):
        log.append([log.entry(Incident(kind=f"{text} {number}", text=Digest("ab" * 32)))])


@dataclass
class LogDoor:
    """The federation door without a network: the coordinator's own log behind it."""

    house: House
    name: PartnerId
    log: AuditLog
    asked: list[WitnessQuestion] = field(default_factory=list)

    def witness(self, question: WitnessQuestion) -> LogHead:
        self.asked.append(question)
        return self.log.on_witness(question, self.name, self.house.manifest)


@dataclass
class Witness:
    """One partner; mirror and heads are in a real database."""

    house: House
    name: PartnerId
    store: NodeStore
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        house = self.house
        bundle = ManifestBundle(body=b"", signatures=(), schema=b"")
        self.pin = Pin(manifest=house.manifest, schema=house.schema, bundle=bundle)
        self.mirror = LogMirror(
            MirrorPorts(
                store=self.store.log,
                witness=WitnessKey(member=self.name, key=house.notes[self.name]),
                book=EntryBook(
                    self.name,
                    house.identities[self.name],
                    now=lambda: house.now,
                    hint=lambda: self.store.log.seen()[0],
                ),
                now=lambda: house.now,
            )
        )
        self.rules = Witnessing(
            WitnessPorts(
                pin=lambda: self.pin,
                door=lambda: cast("Doors", None),
                mirror=self.mirror,
                now=lambda: house.now,
            )
        )

    def ask(self, log: AuditLog) -> bool:
        """One turn, as ``Witnessing`` takes it; whether the newest head counts then."""
        door = LogDoor(self.house, self.name, log)
        try:
            return self.rules.ask(door)
        finally:
            self.sent += [one.size for one in door.asked if one.size]


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
    for one in witnesses[:3]:
        one.ask(log)
    assert [one.sent[:2] for one in witnesses[:3]] == [[5, 9], [5, 9], [5, 9]]


def test_head_that_lacks_witnesses_for_too_long_gives_way_to_a_newer_one(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    witnesses[0].ask(log)
    grow(log, 3)
    witnesses[0].ask(log)
    assert witnesses[0].sent == [5]
    house.now += PATIENCE_S + 1
    witnesses[0].ask(log)
    assert witnesses[0].sent == [5, 8]


def another(one: Witness, path: Path) -> Witness:
    """The same node after a restart, or in its other process."""
    return Witness(one.house, one.name, NodeStore(path / f"{one.name}.db", now=lambda: 1))


def shown_by(log: AuditLog, known: int) -> LogHead:
    """The newest head of a log with all entries from ``known`` on, whatever the asker has."""
    size, note = log.newest()
    return LogHead(note=note, first=min(known, size), entries=log.entries(known, size))


@pytest.mark.parametrize("more", [0, 4], ids=["same size", "grown"])
def test_log_that_was_rewritten_is_refused_after_a_restart_and_both_heads_are_kept(
    make: Make, witnesses: list[Witness], tmp_path: Path, more: int
) -> None:
    one, log = witnesses[0], make("log.db")
    for witness in witnesses[:3]:
        witness.ask(log)
    one.ask(log)
    held = one.store.log.seen()
    assert held[0] == 5
    one.store.close()
    again, other = another(one, tmp_path), make("other.db")
    grow(other, more, "another history")
    with pytest.raises(ProofError if more else ForkError):
        again.mirror.take(again.pin.manifest, shown_by(other, 5))
    kept = again.store.log.incident()
    assert kept is not None
    assert kept.kind == ("log.rewritten" if more else "log.fork")
    assert (kept.held, kept.shown) == (held[1], other.newest()[1])
    # Nothing is taken any more, not even the good log, by any process of the node.
    for process in (again, another(one, tmp_path)):
        with pytest.raises(RefusalError, match="R08"):
            process.mirror.take(again.pin.manifest, shown_by(log, 5))
    assert again.store.log.witnessed().size == 5


def test_incident_is_said_in_the_log_signed_and_shown_to_all(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    one, log, short = witnesses[0], make("log.db"), make("short.db")
    grow(log, 4)
    one.ask(log)
    with pytest.raises(RollbackError):
        one.ask(short)
    assert one.rules.silence().startswith("log.rollback")
    for _ in range(2):
        with pytest.raises(RefusalError, match="R08"):
            one.ask(short)
    said = [from_jcs(one) for one in short._store.log.entries()]
    assert [(entry.actor, entry.body.kind) for entry in said[5:]] == [  # type: ignore[union-attr]
        (one.name, "log.rollback")
    ]
    verify_entry(said[5], short._store.log.entries()[5], house.manifest.member(one.name))


def test_mirror_goes_on_where_the_other_process_stopped(
    make: Make, witnesses: list[Witness], tmp_path: Path
) -> None:
    one, log = witnesses[0], make("log.db")
    other = another(one, tmp_path)
    for size, process in ((5, one), (9, other), (13, one), (17, other)):
        grow(log, size - log.newest()[0])
        process.mirror.take(one.pin.manifest, shown_by(log, size - 5))
        assert one.mirror.size() == other.mirror.size() == size
    rows = one.store.log.portion(0, 100)
    assert tuple(row.data for row in rows) == log._store.log.entries()
    assert {row.type for row in rows} == {"incident"}


@pytest.mark.parametrize("same", [True, False])
def test_head_that_was_taken_unflushed_is_written_again_before_its_cosignature_leaves(
    make: Make, witnesses: list[Witness], tmp_path: Path, *, same: bool
) -> None:
    """A round takes a head along unflushed; then the witness is asked about the same one."""
    one, log = witnesses[0], make("log.db")
    other = one if same else another(one, tmp_path)
    shown = shown_by(log, 0)
    one.mirror.take(one.pin.manifest, shown, flushed=False)
    with sqlite3.connect(tmp_path / f"{one.name}.db") as reader:
        seen = [reader.execute("PRAGMA data_version").fetchone()]
        for _ in range(2):
            assert other.mirror.take(one.pin.manifest, shown).cosignature
            seen.append(reader.execute("PRAGMA data_version").fetchone())
    assert seen[1] != seen[0]
    assert seen[2] == seen[1]  # and once is enough


def test_entries_that_are_missing_are_asked_for_and_no_incident(
    make: Make, witnesses: list[Witness]
) -> None:
    one, log = witnesses[0], make("log.db")
    with pytest.raises(OutOfOrderError, match="entries from 0 to 5"):
        one.mirror.take(one.pin.manifest, shown_by(log, 2))
    assert one.store.log.incident() is None


def test_smaller_head_of_the_same_history_is_taken_and_not_cosigned(
    make: Make, witnesses: list[Witness]
) -> None:
    one, log = witnesses[0], make("log.db")
    small = shown_by(log, 0)
    grow(log, 3)
    one.mirror.take(one.pin.manifest, shown_by(log, 0))
    assert one.mirror.take(one.pin.manifest, small).cosignature == b""
    assert one.store.log.witnessed().size == 8


@pytest.mark.parametrize("case", [(3, 0, 5), (2, 0, 0), (3, 24 * 3600 + 1, 0)])
def test_head_counts_at_the_node_with_the_quorum_and_for_a_day(
    house: House, make: Make, witnesses: list[Witness], case: tuple[int, int, int]
) -> None:
    count, age, counts = case
    log, last = make("log.db"), witnesses[3]
    for one in witnesses[:count]:
        one.ask(log)
    last.mirror.take(last.pin.manifest, shown_by(log, 0))
    house.now += age
    last.mirror.take_counted(last.pin.manifest, log.newest()[1])
    assert last.mirror.fresh(24 * 3600) == counts


def adoption(house: House, name: PartnerId) -> bytes:
    body = ManifestAdopted(manifest=house.manifest.digest, version=1, signature=bytes(64))
    bare = Entry(seq_hint=0, at=1, actor=name, body=body)
    return sign_entry(bare, house.identities[name]).to_jcs()


def test_entry_of_a_member_that_leaves_while_a_manifest_is_being_adopted_is_no_incident(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    """Its last word stands between the first adoption and the last, under the old manifest."""
    one, log = witnesses[0], make("log.db")
    first, *others = [signer.id for signer in house.manifest.signers()]
    leaver = Entry(
        seq_hint=0,
        at=1,
        actor=PartnerId("leaver"),
        body=Incident(kind="leaves", text=Digest("ab" * 32)),
    )
    entries = [adoption(house, first), sign_entry(leaver, house.identities[first]).to_jcs()]
    log._store.log.append(entries + [adoption(house, name) for name in others])
    one.ask(log)
    assert one.rules.examine() == 5 + len(entries) + len(others)
    assert one.store.log.incident() is None


def test_entry_that_its_actor_did_not_sign_is_an_incident(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    one, log = witnesses[0], make("log.db")
    for signer in house.manifest.signers():
        log._store.log.append([adoption(house, signer.id)])
    forged = Incident(kind="forged", text=Digest("ab" * 32))
    bare = Entry(seq_hint=0, at=1, actor=house.names[0], body=forged)
    log._store.log.append([sign_entry(bare, house.identities[house.names[1]]).to_jcs()])
    one.ask(log)
    with pytest.raises(SignatureError):
        one.rules.examine()
    found = one.store.log.incident()
    assert found is not None
    assert (found.kind, found.text.split(":")[0]) == ("log.entry", "entry 10 of the log")


def test_scores_stop_after_three_days_without_a_cosigned_head(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log, one = make("log.db"), witnesses[0]
    assert one.rules.silence() == ""
    for witness in (*witnesses[:3], one):
        witness.ask(log)
    house.now += 72 * 3600
    assert one.rules.silence() == ""
    house.now += 1
    assert "72 hours" in one.rules.silence()
    for witness in (*witnesses[:3], one):
        witness.ask(log)  # nothing is new: the same head is cosigned again
    assert one.rules.silence() == ""


def test_incident_that_an_operator_settles_lets_the_node_go_on_with_what_is_shown(
    make: Make, witnesses: list[Witness], tmp_path: Path
) -> None:
    one, short = witnesses[0], make("short.db")
    one.ask(log := make("log.db"))
    grow(log, 1)
    one.ask(log)
    with pytest.raises(ForkError):
        one.mirror.take(one.pin.manifest, shown_by(make("other.db"), 0))
    again = another(one, tmp_path)
    assert not again.store.log.settle(7)
    assert again.store.log.settle(1)
    again.mirror.forget()
    again.ask(short)
    assert again.mirror.size() == 6  # with its own incident
    assert again.rules.silence() == ""


def test_cosignature_that_fails_is_not_taken(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    one = witnesses[0]
    shown = log.on_witness(WitnessQuestion(known=0), one.name, house.manifest)
    taken = one.mirror.take(house.manifest, shown)
    good = WitnessQuestion(known=5, size=taken.size, cosignature=taken.cosignature)
    bad = good.cosignature[:-1] + bytes([good.cosignature[-1] ^ 1])
    question = replace(good, cosignature=bad)
    with pytest.raises(SignatureError):
        log.on_witness(question, one.name, house.manifest)
    other = witnesses[1].name
    with pytest.raises(SignatureError):
        log.on_witness(good, other, house.manifest)
    (*_, (_, note)) = log._store.log.heads()
    assert open_checkpoint(note, house.manifest).times == {}


def cosign_at(house: House, log: AuditLog, name: PartnerId, time: int) -> bytes | None:
    size, note = log.newest()
    line = cosign_note(
        parse_note(note),
        name=witness_name(house.manifest, name),
        key=house.notes[name],
        time=time,
    )
    return log.witnesses.cosign(size, {name: line.signature}, house.manifest)


def test_newer_word_of_one_witness_does_not_take_the_quorum_from_a_head(
    house: House, make: Make
) -> None:
    log, day = make("log.db"), 24 * 3600
    began = house.now
    for name in house.names[:3]:
        counted = cosign_at(house, log, name, began)
    assert counted is not None
    for number, name in enumerate(house.names[:3], start=1):
        house.now = began + 3 * day + number
        assert log.witnesses.counts(log.newest()[1], house.manifest)
        fresh = cosign_at(house, log, name, house.now)
        assert (fresh is not None) == (number == 3)
    assert log.witnesses.counts(log.newest()[1], house.manifest, now=house.now)


def test_cosignature_of_a_time_to_come_is_refused(house: House, make: Make) -> None:
    log = make("log.db")
    for name in house.names[:3]:
        cosign_at(house, log, name, house.now)
    with pytest.raises(OutOfOrderError, match="to come"):
        cosign_at(house, log, house.names[3], house.now + MAX_SKEW_S + 1)
    assert log.witnesses.counts(log.newest()[1], house.manifest)


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


def test_member_that_floods_the_log_is_stopped_for_a_day(house: House, make: Make) -> None:
    log, name = make("log.db"), house.names[0]
    entry = said(house, name, Incident(kind="log.fork", text=Digest("cd" * 32)))
    question = WitnessQuestion(known=0, entries=(entry,) * 64)
    for _ in range(BROUGHT_A_DAY // 64):
        log.on_witness(question, name, house.manifest)
    with pytest.raises(DecodeError, match="more than 4096 entries a day"):
        log.on_witness(question, name, house.manifest)
    log.on_witness(WitnessQuestion(known=0, entries=(entry,) * 0), name, house.manifest)
    house.now += 86_400
    log.on_witness(question, name, house.manifest)


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
    assert len(log._store.log.entries()) == 5


@pytest.mark.parametrize("hint", [4, 6, 10**9], ids=["uncosigned", "to come", "far"])
def test_entry_that_rests_on_a_head_nobody_cosigned_is_not_taken_into_the_log(
    house: House, make: Make, hint: int
) -> None:
    log, name = make("log.db"), house.names[0]
    log._manifest = lambda: house.manifest
    for one in house.names[:3]:
        cosign_at(house, log, one, house.now)

    def bring(hint: int) -> None:
        body = OprfUsage(epoch=1, day=1, points="0")
        bare = Entry(seq_hint=hint, at=1, actor=name, body=body)
        data = sign_entry(bare, house.identities[name]).to_jcs()
        log.on_witness(WitnessQuestion(known=5, entries=(data,)), name, house.manifest)

    with pytest.raises(DecodeError, match="nobody cosigned"):
        bring(hint)
    assert log.newest()[0] == 5
    bring(5)
    assert log.newest()[0] == 6


@pytest.mark.parametrize("hint", [4, 6, 10**9], ids=["uncosigned", "to come", "far"])
def test_incident_is_taken_by_a_log_that_was_written_over(
    house: House, make: Make, hint: int
) -> None:
    log, name = make("log.db"), house.names[0]
    log._manifest = lambda: house.manifest
    for one in house.names[:3]:
        cosign_at(house, log, one, house.now)
    body = Incident(kind="log.rewritten", text=Digest("ab" * 32))
    bare = Entry(seq_hint=hint, at=1, actor=name, body=body)
    data = sign_entry(bare, house.identities[name]).to_jcs()
    log.on_witness(WitnessQuestion(known=5, entries=(data,)), name, house.manifest)
    assert log._store.log.entries()[-1] == data


@pytest.mark.slow
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
    assert tuple(entries) == log._store.log.entries()


def test_newest_cosigned_head_is_shown_once_the_quorum_is_there_and_not_before(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    for one in witnesses[:2]:
        one.ask(log)
        assert (
            log.on_witness(WitnessQuestion(known=5), one.name, house.manifest).cosigned == b""
        )
    witnesses[2].ask(log)
    seen = log.on_witness(WitnessQuestion(known=5), witnesses[3].name, house.manifest)
    opened = open_checkpoint(seen.cosigned, house.manifest)
    assert opened.checkpoint.size == 5
    assert set(opened.times) == {one.name for one in witnesses[:3]}


class PowerCutError(Exception):
    """Ends a transaction before its commit."""


def test_a_head_that_was_undone_is_cosigned_again_only_when_it_is_on_disk(
    make: Make, witnesses: list[Witness]
) -> None:
    log, witness = make("a"), witnesses[0]
    manifest, store = witness.house.manifest, witness.store
    size, note = log.newest()
    shown = LogHead(note=note, first=0, entries=log.entries(0, size))

    def take_and_fail() -> None:
        with store.together():
            assert witness.mirror.take(manifest, shown, flushed=False).cosignature
            raise PowerCutError

    with pytest.raises(PowerCutError):
        take_and_fail()
    assert (store.log.size(), store.log.witnessed().size) == (0, 0)
    taken = witness.mirror.take(manifest, shown, flushed=False)
    assert taken.size == size
    assert taken.cosignature
    assert (store.log.size(), store.log.witnessed().size) == (size, size)


def test_an_incident_within_a_transaction_outlives_the_refusal_that_follows_it(
    make: Make, witnesses: list[Witness]
) -> None:
    witness, manifest = witnesses[0], witnesses[0].house.manifest
    assert not witness.ask(make("a"))
    fork = make("b")
    size, note = fork.newest()

    def take_fork() -> None:
        with witness.store.together():
            shown = LogHead(note=note, first=0, entries=fork.entries(0, size))
            witness.mirror.take(manifest, shown, flushed=False)

    with pytest.raises((ForkError, ProofError)):
        take_fork()
    assert witness.store.log.incident() is not None
    assert witness.store.log.undone == 0


def test_log_at_rest_makes_a_witness_write_nothing(
    make: Make, witnesses: list[Witness], tmp_path: Path
) -> None:
    log = make("log.db")
    for one in (*witnesses, *witnesses):
        one.ask(log)
    first = witnesses[0]
    with closing(sqlite3.connect(tmp_path / f"{first.name}.db")) as beside:
        version = beside.execute("PRAGMA data_version").fetchone()
        assert first.ask(log)
        assert beside.execute("PRAGMA data_version").fetchone() == version
        grow(log, 1)
        first.ask(log)
        assert beside.execute("PRAGMA data_version").fetchone() != version


def test_head_that_the_nodes_other_process_has_kept_counts_in_this_one_too(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    for one in (*witnesses, *witnesses):
        one.ask(log)
    first = witnesses[0]
    other = Witness(house, first.name, first.store)
    assert other.mirror.counted() == log.newest()[0]
    grow(log, 2)
    for one in (*witnesses, *witnesses):
        one.ask(log)
    other.ask(log)
    assert other.mirror.counted() == log.newest()[0]
