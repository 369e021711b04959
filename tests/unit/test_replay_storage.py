"""What is kept for a replay, for how long, and what is left of it afterwards."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.crypto.keys import Secret
from consortium.errors import RefusalError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.entries import (
    AuditAnswer,
    AuditChallenge,
    AuditResult,
    Entry,
    from_jcs,
    sign_entry,
)
from consortium.ledger.merkle import leaf_hash
from partner_node.entry_book import EntryBook
from partner_node.records import AuditEntry, OwnEntry
from partner_node.replay_storage import Window
from partner_node.replaying import challenge_of, sign_answer, take_entries
from partner_node.storage import NodeStore
from tests.ledger_house import REGULATOR, House
from tests.replay_house import BANK, ReplayHouse, house_of

DAY = 86_400
WINDOW = Window(seconds=90 * DAY)
RUN = RunId("ab" * 16)
OTHER = PartnerId("shop_c")
"""Its seed in the simulator is no row of zeros, which a file is full of."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ReplayHouse]:
    for found in house_of(tmp_path, rows=200):
        yield found.run()


def audit_entry(kind: str) -> AuditEntry:
    return AuditEntry(leaf=Digest("5e" * 32), type=kind, run=RUN, data=b"entry")


def bytes_of(house: ReplayHouse) -> bytes:
    """All that is on the disk of one node, SQLite's own files included."""
    return b"".join(path.read_bytes() for path in house.directory.glob(f"{OTHER}.db*"))


def test_window_ends_and_nothing_on_the_disk_opens_an_upload_any_more(
    house: ReplayHouse,
) -> None:
    store = house.stores[OTHER]
    replay = house.replay(OTHER)
    secrets = [
        replay.opened.seed.expose(),
        store.replays.words(house.house.sums[1].request) or b"",
        house.house.sums[1].total.astype("<i8").tobytes(),
    ]
    assert all(one in bytes_of(house) for one in secrets)
    house.now += 90 * DAY - 1
    assert store.replays.erase(WINDOW) == ()
    assert store.commitment(RUN)[1] is not None  # type: ignore[index]
    house.now += 1
    assert store.replays.erase(WINDOW) == (RUN,)
    assert not any(one in bytes_of(house) for one in secrets)
    assert store.commitment(RUN) == (house.house.plan, None)
    assert (store.replays.attempts(RUN), store.replays.run(RUN), store.sums(RUN)) == (
        (),
        None,
        (),
    )
    with pytest.raises(RefusalError, match="R21"):
        house.replay(OTHER)
    assert store.replays.erase(WINDOW) == ()


def test_what_was_charged_and_said_outlives_the_window(house: ReplayHouse) -> None:
    store = house.stores[BANK]
    before = (
        store.spent("training"),
        store.own_entries(RUN, "round.upload"),
        store.disclosures(),
    )
    house.now += 90 * DAY
    store.replays.erase(WINDOW)
    assert before == (
        store.spent("training"),
        store.own_entries(RUN, "round.upload"),
        store.disclosures(),
    )


def test_run_without_its_seed_takes_part_in_nothing(house: ReplayHouse) -> None:
    store = house.stores[BANK]
    house.now += 90 * DAY
    store.replays.erase(WINDOW)
    house.house.start(house.house.nodes[BANK], list(house.house.nodes).index(BANK))
    request = house.house.sums[0].request
    with pytest.raises(RefusalError, match="R21"):
        house.house.session(BANK).on_proposal(request, ())
    with pytest.raises(RefusalError, match="R05"):
        house.house.accept()


def test_open_challenge_keeps_the_seed_for_a_second_window_and_no_longer(
    house: ReplayHouse,
) -> None:
    store = house.stores[BANK]
    store.replays.take_audit(audit_entry("audit.challenge"))
    house.now += 90 * DAY
    assert store.replays.erase(WINDOW) == ()
    house.now += 90 * DAY
    assert store.replays.erase(WINDOW) == (RUN,)


def test_answered_challenge_keeps_nothing(house: ReplayHouse) -> None:
    store = house.stores[BANK]
    store.replays.take_audit(audit_entry("audit.challenge"))
    signed = OwnEntry(type="audit.answer", run=RUN, data=b"signed")
    store.replays.answer(Digest("5e" * 32), signed)
    assert store.replays.unanswered() == ()
    house.now += 90 * DAY
    assert store.replays.erase(WINDOW) == (RUN,)


def result(verdict: str) -> AuditEntry:
    body = AuditResult(run=RUN, verdict=verdict, report=Digest("cc" * 32))
    entry = Entry(seq_hint=0, at=1, actor=REGULATOR, body=body)
    key = House(silos=3).identities[REGULATOR]
    data = sign_entry(entry, key).to_jcs()
    return AuditEntry(leaf=Digest("6e" * 32), type="audit.result", run=RUN, data=data)


@pytest.mark.parametrize(
    ("verdict", "after_result", "ends"),
    [
        ("passed", True, True),
        ("waived", True, True),
        ("failed", True, False),
        ("passed", False, False),
    ],
)
def test_result_ends_the_window_where_the_owner_wants_that_and_nothing_is_left_to_look_into(
    house: ReplayHouse, verdict: str, *, after_result: bool, ends: bool
) -> None:
    store = house.stores[BANK]
    store.replays.take_audit(result(verdict))
    policy = replace(WINDOW, after_result=after_result)
    assert store.replays.erase(policy) == ((RUN,) if ends else ())


def test_result_of_one_visit_does_not_end_another_that_is_asked_for(house: ReplayHouse) -> None:
    store = house.stores[BANK]
    store.replays.take_audit(audit_entry("audit.challenge"))
    store.replays.take_audit(result("passed"))
    assert store.replays.erase(replace(WINDOW, after_result=True)) == ()


def challenge(house: House, *, key: str = REGULATOR) -> bytes:
    body = AuditChallenge(run=RUN, sums=(1, 3), choice=Digest("cc" * 32))
    entry = Entry(seq_hint=0, at=1, actor=REGULATOR, body=body)
    return sign_entry(entry, house.identities[key]).to_jcs()  # type: ignore[index]


def test_challenge_is_answered_under_the_own_key_and_once(tmp_path: Path) -> None:
    ledger = House(silos=3)
    store = NodeStore(tmp_path / "node.db", now=lambda: 7)
    data = challenge(ledger)
    asked, drawn = challenge_of(data, ledger.manifest)
    assert (drawn.sums, asked.leaf) == ((1, 3), leaf_hash(data).hex())
    name = ledger.names[0]
    take_entries(store, ledger.manifest, [b"garbage", data, data])
    assert store.replays.unanswered() == (asked,)
    book = EntryBook(name, ledger.identities[name], now=lambda: 9)
    signed = sign_answer(store, book, asked, {"judgement": "passed"})
    assert store.own_entries(RUN, "audit.answer") == (signed,)
    assert store.replays.unanswered() == ()
    body = from_jcs(signed).body
    assert isinstance(body, AuditAnswer)
    assert (body.challenge, body.run, body.verdict) == (asked.leaf, RUN, "passed")
    store.close()


def test_challenge_that_the_regulator_did_not_sign_is_none(tmp_path: Path) -> None:
    ledger = House(silos=3)
    forged = challenge(ledger, key=ledger.names[0])
    with pytest.raises(Exception, match="signature"):
        challenge_of(forged, ledger.manifest)
    store = NodeStore(tmp_path / "node.db", now=lambda: 7)
    take_entries(store, ledger.manifest, [forged])
    assert store.replays.unanswered() == ()
    store.close()


def test_seed_is_no_row_of_zeros_once_it_is_gone(house: ReplayHouse) -> None:
    """An erased seed must never be taken for a seed."""
    house.now += 90 * DAY
    house.stores[BANK].replays.erase(WINDOW)
    plan, seed = house.stores[BANK].commitment(RUN) or (None, Secret(b"?"))
    assert plan is not None
    assert seed is None
