"""What must survive, happen once, or fail with a clear error."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.manifest import Member, Role
from consortium.messages import ManifestBundle, Signed, Vote
from coordinator.database import hold_log
from coordinator.member_storage import TokenRow
from coordinator.run_storage import CheckpointRow
from coordinator.storage import Store

RUN, OTHER = RunId("ab" * 16), RunId("cd" * 16)
V1, V2 = Digest("01" * 32), Digest("02" * 32)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


def checkpoint(number: int) -> CheckpointRow:
    return CheckpointRow(run=RUN, stage="gradient", round=number, attempts=0, payload=b"x" * 99)


def test_checkpoint_replaces_the_one_before(store: Store) -> None:
    store.runs.save_checkpoint(checkpoint(1))
    store.runs.save_checkpoint(checkpoint(2))
    assert store.runs.checkpoint(RUN) == checkpoint(2)
    assert store.runs.checkpoint(OTHER) is None


def test_commit_whose_answer_was_lost_is_not_repeated(store: Store) -> None:
    for _ in range(2):
        store.runs.save_checkpoint(checkpoint(1), entries=[b"the event"])
    assert store.log.entries() == (b"the event",)


def test_end_of_a_run_whose_answer_was_lost_is_logged_once(store: Store) -> None:
    store.runs.add(RUN, b"plan", V1, 1)
    for text in (b"failed", b"failed, said again"):
        store.runs.set_status(RUN, "failed", "why", entries=[text])
    assert store.log.entries() == (b"failed",)


class Notary:
    """The least that signs heads."""

    def admit(self, entries: Sequence[bytes], out: Sequence[PartnerId]) -> None:
        """Everything."""

    def seal(
        self, start: int, added: Sequence[bytes], before: Callable[[int], Sequence[bytes]]
    ) -> bytes:
        del start, added, before
        return b"head"


def test_cosignatures_of_one_head_that_come_at_once_are_all_kept(store: Store) -> None:
    store.log.seal_with(Notary())
    store.log.append([b"entry"])
    began = threading.Event()

    def second(note: bytes) -> bytes:
        began.set()
        return note + b" shop_c"

    other = threading.Thread(target=store.log.change_head, args=(1, second))

    def first(note: bytes) -> bytes:
        other.start()
        began.wait(0.5)  # in vain: the other one has to wait for this change
        return note + b" bank_a"

    store.log.change_head(1, first)
    other.join()
    assert store.log.note(1) == b"head bank_a shop_c"


def enrolled(name: str) -> tuple[TokenRow, Member]:
    """A token, and who is made of it; each with keys of its own."""
    partner, key = PartnerId(name), digest_of(name.encode())
    token = TokenRow(
        secret_sha256=key, partner=partner, role=Role.PARTNER, families=("f",), expires=9
    )
    member = Member(
        id=partner,
        index=0,
        role=Role.PARTNER,
        identity=key,
        agreement=key,
        witness=key,
        tls_spki=key,
        families=("f",),
    )
    return token, member


def test_members_that_join_at_once_get_different_indices(store: Store) -> None:
    joins = []
    for token, member in (enrolled("bank_a"), enrolled("bank_b")):
        store.members.add_token(token)
        made = (token.secret_sha256, member, 1)
        joins.append(threading.Thread(target=store.members.redeem, args=made))
    with store.transaction() as connection:
        hold_log(connection)
        for one in joins:
            one.start()
        joins[0].join(0.3)
        assert joins[0].is_alive(), "whoever joins waits for those before"
    for one in joins:
        one.join()
    assert {one.index for one in store.members.all()} == {1, 2}


def test_reader_waits_for_no_writer_and_sees_nothing_of_what_it_has_not_ended(
    store: Store,
) -> None:
    store.log.append([b"ended"])
    with store.transaction() as connection:
        store.log.append_within(connection, [b"not ended"])
        assert store.log.entries() == (b"ended",)
    assert store.log.entries() == (b"ended", b"not ended")


def test_unfinished_run_is_found_again_by_a_second_process(
    store: Store, database_url: str
) -> None:
    store.runs.add(RUN, b"plan", V1, 1)
    store.runs.add(OTHER, b"plan", V1, 2)
    store.runs.set_status(RUN, "finished", "done")
    reader = Store(database_url)
    assert [row.run for row in reader.runs.unfinished()] == [OTHER]
    newest = reader.runs.newest()
    assert newest is not None
    assert newest.run == OTHER
    reader.close()


def test_events_of_a_run_come_back_in_order(store: Store) -> None:
    for text in ("1", "2", "3"):
        store.runs.add_event(RUN, text)
    store.runs.add_event(OTHER, "4")
    assert store.runs.events(RUN) == ("1", "2", "3")


def test_activating_a_model_retires_the_active_one(store: Store) -> None:
    for version in (V1, V2):
        store.models.add(version, RUN, b"{}", 1)
        store.models.set_status(version, "active", 2)
    assert {row.version: row.status for row in store.models.all()} == {
        V1: "retired",
        V2: "active",
    }
    active = store.models.active()
    assert active is not None
    assert active.version == V2
    assert store.models.activations() == (V1, V2)


def test_model_added_twice_keeps_its_status(store: Store) -> None:
    store.models.add(V1, RUN, b"{}", 1)
    store.models.set_status(V1, "active", 2)
    store.models.add(V1, RUN, b"{}", 3)
    model = store.models.get(V1)
    assert model is not None
    assert (model.status, model.created_at) == ("active", 1)


def test_second_vote_of_a_member_replaces_its_first(store: Store) -> None:
    first = Vote(
        version=V1,
        member=PartnerId("a"),
        accept=True,
        reason="",
        number=5,
        signature=b"s" * 64,
    )
    second = replace(first, accept=False, number=6)
    assert [store.models.add_vote(vote, 1) for vote in (first, second, first, second)] == [
        True,
        True,
        False,
        False,
    ]
    assert store.models.votes(V1) == (second,)


def test_signature_of_a_member_is_kept_once(store: Store) -> None:
    store.manifests.add(V1, 1, ManifestBundle(body=b"{}", signatures=(), schema=b"{}"), 1)
    signed = Signed(digest=V1, member=PartnerId("a"), signature=b"s" * 64)
    store.manifests.add_signature(signed, 1)
    store.manifests.add_signature(signed, 2)
    bundle = store.manifests.get(V1)
    assert bundle is not None
    assert bundle.signatures == (signed,)


def test_database_of_another_version_is_refused(store: Store, database_url: str) -> None:
    with store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    with pytest.raises(StorageError, match="version 99, expected 1"):
        Store(database_url)


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(b"this is not a database " * 99)
    with pytest.raises(StorageError, match="not a database"):
        Store(f"sqlite:///{path}")


def test_url_of_an_unknown_database_is_refused() -> None:
    with pytest.raises(StorageError, match="storage url"):
        Store("abacus://beads")


def test_commits_are_durable_and_readers_do_not_block_writers(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'c.db'}")
    with store._engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


FULL_DISK = """
import resource, signal, sys
from coordinator.member_storage import TokenRow
from coordinator.run_storage import CheckpointRow
from coordinator.database import hold_log
from coordinator.storage import Store
from consortium.errors import StorageError
store = Store(sys.argv[1])
row = dict(run="ab" * 16, stage="gradient", attempts=0)
store.runs.save_checkpoint(CheckpointRow(round=1, payload=b"x", **row))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    store.runs.save_checkpoint(CheckpointRow(round=2, payload=bytes(1 << 20), **row))
except StorageError as error:
    print("refused:", error)
"""


def test_full_disk_is_a_storage_error_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'c.db'}"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", FULL_DISK, url], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("refused: database:")
    store = Store(url)
    kept = store.runs.checkpoint(RUN)
    store.close()
    assert kept is not None
    assert kept.round == 1
