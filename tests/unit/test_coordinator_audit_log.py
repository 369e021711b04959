"""The coordinator's log: entries stand with their events or not at all, under a signed head."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from consortium.crypto.keys import IdentityKey, Secret
from consortium.errors import DecodeError, SignatureError, StorageError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.checkpoint import log_verifier, parse_checkpoint
from consortium.ledger.entries import Entry, Incident, from_jcs, sign_entry
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.note import open_note
from consortium.messages import ManifestBundle
from consortium.release import Attempt, Outcome
from consortium.secagg.uploads import sign_upload
from coordinator.audit_log import AuditLog, LogKeys, member_entry
from coordinator.run_record import RunRecord
from coordinator.run_storage import CheckpointRow, SumRow
from coordinator.storage import Store
from models.run import ClosedSum
from tests.ledger_house import COORDINATOR, House

Make = Callable[[], AuditLog]


@pytest.fixture(scope="module")
def house() -> House:
    return House(silos=3, rounds=1)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


@pytest.fixture
def make(house: House, store: Store) -> Make:
    keys = LogKeys(
        member=COORDINATOR,
        identity=house.identities[COORDINATOR],
        note=house.notes[COORDINATOR],
    )
    name = house.manifest.federation
    return lambda: AuditLog(store, federation=name, keys=keys, now=lambda: house.now)


def said(log: AuditLog, text: str) -> bytes:
    return log.entry(Incident(kind=text, text=Digest("ab" * 32)))


def check_head(house: House, store: Store) -> int:
    """The newest head is signed by the log and is that of all entries; its size."""
    _, head = store.log.heads()[-1]
    verifier = log_verifier(house.manifest)
    note, times = open_note(head, [verifier])
    assert verifier in times
    checkpoint = parse_checkpoint(note.text)
    entries = store.log.entries()
    assert (checkpoint.size, checkpoint.root) == (
        len(entries),
        Tree(leaf_hash(one) for one in entries).root(),
    )
    return checkpoint.size


def test_every_addition_ends_with_a_signed_head_of_all_entries(
    house: House, store: Store, make: Make
) -> None:
    log = make()
    for number in range(1, 40):
        log.append([said(log, f"{number}.{part}") for part in range(number % 3 + 1)])
        check_head(house, store)


def test_entries_of_a_transaction_that_fails_are_not_in_the_log_nor_in_a_later_head(
    house: House, store: Store, make: Make
) -> None:
    log = make()
    run, digest = RunId("a" * 32), Digest("b" * 64)
    store.runs.add(run, b"plan", digest, 1, entries=[said(log, "first")])
    with pytest.raises(StorageError):
        store.runs.add(run, b"plan", digest, 1, entries=[said(log, "lost"), said(log, "too")])
    assert [from_jcs(one).body.kind for one in store.log.entries()] == ["first"]  # type: ignore[union-attr]
    store.runs.set_status(run, "failed", entries=[said(log, "second")])
    assert check_head(house, store) == 2


def test_heads_go_on_where_another_process_appended(
    house: House, store: Store, make: Make
) -> None:
    one = make()
    one.append([said(one, "a"), said(one, "b")])
    other = make()
    other.append([said(other, "c")])
    store.log.seal_with(one)
    one.append([said(one, "d")])
    assert check_head(house, store) == 4


def test_entry_that_the_log_has_is_not_appended_again(store: Store, make: Make) -> None:
    log = make()
    first, second = said(log, "first"), said(log, "second")
    log.append([first])
    log.append([first, second, second])
    assert store.log.entries() == (first, second)


def entry_of(name: PartnerId, key: IdentityKey) -> bytes:
    body = Incident(kind="test", text=Digest("ab" * 32))
    return sign_entry(Entry(seq_hint=0, at=1, actor=name, body=body), key).to_jcs()


def test_entry_in_another_name_or_under_another_key_is_refused(house: House) -> None:
    mine, other = house.names[:2]
    stranger = IdentityKey.from_secret(Secret(b"s" * 32))
    good = entry_of(mine, house.identities[mine])
    assert member_entry(good, house.manifest, mine).actor == mine
    with pytest.raises(DecodeError, match=f"an entry of {mine}"):
        member_entry(good, house.manifest, other)
    with pytest.raises(SignatureError):
        member_entry(entry_of(mine, stranger), house.manifest, mine)


def test_two_coordinators_on_one_database_append_one_log(
    house: House, store: Store, make: Make, database_url: str
) -> None:
    other_store = Store(database_url)
    keys = LogKeys(
        member=COORDINATOR,
        identity=house.identities[COORDINATOR],
        note=house.notes[COORDINATOR],
    )
    other = AuditLog(
        other_store, federation=house.manifest.federation, keys=keys, now=lambda: house.now
    )
    logs = {"one": make(), "two": other}

    def write(name: str) -> None:
        for number in range(20):
            logs[name].append([said(logs[name], f"{name}{number}")])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, logs))
    other_store.close()
    assert check_head(house, store) == 40
    roots = Tree()
    entries = store.log.entries()
    heads = dict(store.log.heads())
    assert sorted(heads) == list(range(1, 41))
    for size, entry in enumerate(entries, start=1):
        roots.append(leaf_hash(entry))
        note, _ = open_note(heads[size], [log_verifier(house.manifest)])
        assert parse_checkpoint(note.text).root == roots.root()


def test_entry_that_two_bring_at_once_is_appended_once(
    house: House, store: Store, make: Make, database_url: str
) -> None:
    log, other_store = make(), Store(database_url)
    brought = [[said(log, f"{number}")] for number in range(30)]
    # The other coordinator's look at the log and its addition are one transaction.
    other_store.log.seal_with(log)
    with ThreadPoolExecutor(2) as pool:
        for one in brought:
            logs = (store.log, other_store.log)
            list(pool.map(lambda place, one=one: place.append_new(one), logs))
    other_store.close()
    assert check_head(house, store) == len(brought)


RUN = RunId("a" * 32)
RCTX = Digest("dc" * 32)


def closed(store: Store, number: int, words: bytes | None, *, at: int) -> None:
    row = SumRow(run=RUN, number=number, request=b"", joined=RCTX, total=bytes(8))
    point = CheckpointRow(run=RUN, stage="gradient", round=1, attempts=number, payload=b"")
    store.runs.save_checkpoint(point, row, words=words, at=at)


def test_words_are_in_a_bundle_only_when_they_are_asked_for(
    house: House, store: Store, make: Make
) -> None:
    manifest, digest = house.manifest, house.manifest.digest
    body, schema = (
        house.files[f"manifests/{digest}.json"],
        house.files[f"schemas/{manifest.schema}.json"],
    )
    store.manifests.add(digest, 1, ManifestBundle(body=body, signatures=(), schema=schema), 1)
    log = make()
    log.append([said(log, "first")])
    store.runs.add(RUN, b"plan", Digest("b" * 64), 1)
    closed(store, 1, b"wordsone", at=100)
    closed(store, 2, None, at=100)
    place = f"uploads/{RCTX}.bin"
    assert place not in log.bundle(manifest)
    assert log.bundle(manifest, uploads=True)[place] == b"wordsone"
    store.runs.drop_words(100)
    assert place in log.bundle(manifest, uploads=True)
    store.runs.drop_words(101)
    assert place not in log.bundle(manifest, uploads=True)
    assert len(store.runs.sums(RUN)) == 2


@pytest.mark.parametrize(("most", "kept"), [(64, True), (63, False), (0, False)])
def test_words_of_a_sum_above_the_limit_are_dropped(
    house: House, make: Make, *, most: int, kept: bool
) -> None:
    house.adopt()
    house.commit()
    request, _ = house.session.request(house.names[:2])
    record = RunRecord(make(), house.manifest, words_bytes=most)
    record.begin()
    for number, name in enumerate(request.roster):
        words = np.full(4, number, dtype=np.uint64)
        upload = sign_upload(words, context=RCTX, member=name, key=house.identities[name])
        record.on_upload(upload, request, words, [b"debit", b"upload"])
    total = np.zeros(4, dtype=np.int64)
    found = record.words(ClosedSum(request=request, joined=RCTX, total=total))
    assert found == (np.repeat([0, 1], 4).astype("<u8").tobytes() if kept else None)
    assert record.words(None) is None


def test_database_that_is_away_while_an_attempt_is_taken_is_waited_for_and_is_nobodys_fault(
    store: Store, make: Make
) -> None:
    house = House(silos=3, rounds=1)
    house.adopt()
    house.commit()
    request, _ = house.session.request(house.names)

    def restarted() -> AuditLog:
        return AuditLog(
            store,
            federation=house.manifest.federation,
            keys=make()._keys,
            now=lambda: house.now,
            manifest=lambda: house.manifest,
        )

    log = restarted()
    log.append([said(log, "first")])
    join = house.joins(request)[0]
    entry = replace(from_jcs(house.entries[-len(house.names)]), seq_hint=1)
    data = sign_entry(entry, house.identities[join.member]).to_jcs()
    waited = []

    def rename(old: str, new: str) -> None:
        with store.transaction() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    def durably(write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError:
            waited.append(len(waited))
            rename("away", "log_heads")
            write()

    record = RunRecord(log, house.manifest, durably=durably)
    record.begin()
    rename("log_heads", "away")
    with pytest.raises(DecodeError, match="which nobody cosigned"):
        record.check_join(join, request, [data])
    record = RunRecord(restarted(), house.manifest, durably=durably)
    rename("log_heads", "away")
    lost = Attempt(
        kind=request.kind,
        round=request.round,
        attempt=request.attempt,
        roster=request.roster,
        outcome=Outcome.ABORTED,
        missing=request.roster[:1],
        reasons=("unavailable",),
        charged=False,
    )
    assert from_jcs(record.closing(request, lost, None)[-1]).type == "round.abort"
    assert waited == [0, 1]
