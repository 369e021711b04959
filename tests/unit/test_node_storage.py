import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from consortium.crypto.keys import Secret
from consortium.errors import BudgetExceededError, RefusalCode, RefusalError, StorageError
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.ledger.witness import Head
from consortium.messages import SumRequest, Vote
from consortium.plan import ReleaseKind, TrainingPlan
from partner_node.log_store import NewEntries
from partner_node.records import Disclosure, KeptSum, OwnEntry
from partner_node.storage import NodeStore
from tests.simulator import Consortium

UNITS = {"training": 100, "holdout": 10}
CAPS = {"training": 250, "holdout": 1000}
WORDS = digest_of(b"words")


@pytest.fixture(scope="module")
def plan() -> TrainingPlan:
    return Consortium().plan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def store(path: Path) -> Iterator[NodeStore]:
    opened = NodeStore(path, now=lambda: 7)
    yield opened
    opened.close()


def numbered(plan: TrainingPlan, number: int) -> TrainingPlan:
    return replace(plan, run=RunId(f"{number:032x}"))


def request(plan: TrainingPlan, *, number: int = 1, attempt: int = 1) -> SumRequest:
    return SumRequest(
        run=plan.run,
        plan=digest_of(b"plan"),
        kind=ReleaseKind.GRADIENT,
        round=number,
        attempt=attempt,
        roster=(),
        inputs=digest_of(b"inputs"),
        dimension=8,
        scale_bits=24,
        variance="1",
        head=digest_of(b"head"),
    )


def reserved(store: NodeStore, scope: str) -> int:
    return store.account(scope, cap_units=0, delta="1e-6").reserved


def spent(store: NodeStore, scope: str) -> int:
    return store.account(scope, cap_units=0, delta="1e-6").spent


def debit(store: NodeStore, asked: SumRequest, units: int = 30) -> None:
    store.debit(asked, scope="training", units=units)
    store.disclose(asked, words=WORDS, size=80)


def test_commitment_comes_back_with_plan_and_seed(store: NodeStore, plan: TrainingPlan) -> None:
    assert store.commitment(plan.run) is None
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    found = store.commitment(plan.run)
    assert found is not None
    assert found[0] == plan
    assert found[1].expose() == b"s" * 32
    assert store.commitments() == (plan,)
    assert (reserved(store, "training"), reserved(store, "holdout")) == (100, 10)


def test_run_past_a_cap_reserves_nothing_at_all(store: NodeStore, plan: TrainingPlan) -> None:
    for number in (1, 2):
        store.commit(numbered(plan, number), Secret(b"s" * 32), UNITS, CAPS)
    third = numbered(plan, 3)
    with pytest.raises(BudgetExceededError, match=r"training: epsilon .* asked, .* left"):
        # holdout comes first and would fit: nothing of it may stay.
        store.commit(third, Secret(b"s" * 32), {"holdout": 10, "training": 100}, CAPS)
    assert store.commitment(third.run) is None
    assert (reserved(store, "training"), reserved(store, "holdout")) == (200, 20)


def test_run_committed_twice_is_refused(store: NodeStore, plan: TrainingPlan) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    with pytest.raises(RefusalError) as caught:
        store.commit(plan, Secret(b"t" * 32), UNITS, CAPS)
    assert caught.value.reason is RefusalCode.REPEATED
    found = store.commitment(plan.run)
    assert found is not None
    assert found[1].expose() == b"s" * 32


def test_debit_moves_reserved_to_spent_and_is_in_the_journal(
    store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    debit(store, request(plan))
    assert (spent(store, "training"), reserved(store, "training")) == (30, 70)
    (entry,) = store.disclosures()
    assert entry == Disclosure(
        kind="gradient", size=80, sha256=WORDS, run=plan.run, round=1, attempt=1, at=7
    )


def test_attempt_charged_before_is_refused_and_journalled_once(
    store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    debit(store, request(plan))
    with pytest.raises(RefusalError) as caught:
        debit(store, request(plan))
    assert caught.value.reason is RefusalCode.REPEATED
    assert len(store.disclosures()) == 1
    debit(store, request(plan, attempt=2))
    assert spent(store, "training") == 60


def test_debit_beyond_the_reserve_is_refused(store: NodeStore, plan: TrainingPlan) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    debit(store, request(plan), units=100)
    with pytest.raises(BudgetExceededError):
        debit(store, request(plan, number=2), units=1)
    assert len(store.disclosures()) == 1


def test_debit_of_a_run_without_reserve_is_refused(
    store: NodeStore, plan: TrainingPlan
) -> None:
    with pytest.raises(RefusalError, match="no open reserve"):
        debit(store, request(plan))
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    store.close_run(plan.run)
    with pytest.raises(RefusalError, match="no open reserve"):
        debit(store, request(plan))


def test_closed_run_frees_what_it_did_not_charge_and_nothing_else(
    store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    debit(store, request(plan))
    store.close_run(plan.run)
    assert (spent(store, "training"), reserved(store, "training")) == (30, 0)


def test_withdrawn_run_may_be_offered_again_but_not_once_it_was_charged(
    store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    store.withdraw(plan.run)
    assert store.commitment(plan.run) is None
    assert reserved(store, "training") == 0
    store.commit(plan, Secret(b"t" * 32), UNITS, CAPS)
    debit(store, request(plan))
    with pytest.raises(RefusalError, match="charged already"):
        store.withdraw(plan.run)
    assert store.commitment(plan.run) is not None


def test_new_epoch_has_its_own_account_and_old_runs_charge_the_old_one(
    path: Path, store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    later = NodeStore(path, now=lambda: 8, epoch="2027")
    assert reserved(later, "training") == 0
    debit(later, request(plan))
    assert spent(later, "training") == 0
    assert spent(store, "training") == 30


def test_two_processes_cannot_reserve_the_same_budget(
    path: Path, store: NodeStore, plan: TrainingPlan
) -> None:
    other = NodeStore(path, now=lambda: 8)
    refused: list[int] = []

    def spend(which: NodeStore, numbers: range) -> None:
        for number in numbers:
            try:
                which.commit(numbered(plan, number), Secret(b"s" * 32), UNITS, CAPS)
            except BudgetExceededError:
                refused.append(number)

    threads = [
        threading.Thread(target=spend, args=(store, range(1, 6))),
        threading.Thread(target=spend, args=(other, range(11, 16))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reserved(store, "training") == 200
    assert len(refused) == 8


def test_debit_before_a_kill_stays_charged(path: Path, plan: TrainingPlan) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.unit.test_node_storage import *\n"
        "plan = Consortium().plan\n"
        "store = NodeStore(Path(sys.argv[1]), now=lambda: 7)\n"
        "store.commit(plan, Secret(b's' * 32), UNITS, CAPS)\n"
        "debit(store, request(plan))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script, str(path)],
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == -signal.SIGKILL
    store = NodeStore(path, now=lambda: 9)
    assert spent(store, "training") == 30
    with pytest.raises(RefusalError, match="charged before"):
        debit(store, request(plan))


def test_database_and_its_side_files_are_the_owners_alone(
    path: Path, store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert "node.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_database_that_others_may_read_is_refused_with_the_repair(
    path: Path, store: NodeStore
) -> None:
    store.close()
    path.chmod(0o644)
    with pytest.raises(StorageError, match=f"chmod 600 {path}"):
        NodeStore(path, now=lambda: 7)


def test_commits_are_flushed_to_disk(path: Path, store: NodeStore) -> None:
    with store._database.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database" * 100)
    path.chmod(0o600)
    with pytest.raises(StorageError):
        NodeStore(path, now=lambda: 7)


def test_database_of_another_version_is_refused(path: Path, store: NodeStore) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StorageError, match="has version 99, expected 1"):
        NodeStore(path, now=lambda: 7)


def test_full_disk_is_a_storage_error_and_leaves_nothing_half_reserved(
    store: NodeStore, plan: TrainingPlan
) -> None:
    with store._database._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    assert isinstance(pages, int)
    limit = f"PRAGMA max_page_count={pages}"
    store._database._engine.dispose()
    sa.event.listen(store._database._engine, "connect", lambda raw, _: raw.execute(limit))

    def fill() -> None:
        for number in range(1, 200):
            caps = {"training": 1 << 40, "holdout": 1 << 40}
            store.commit(numbered(plan, number), Secret(b"s" * 32), UNITS, caps)

    with pytest.raises(StorageError, match="full"):
        fill()
    committed = len(store.commitments())
    assert reserved(store, "training") == 100 * committed


def kept(number: int) -> KeptSum:
    return KeptSum(number=number, request=b"asked", joined=WORDS, total=bytes(8 * number))


def test_sums_come_with_the_join_and_outlive_the_run_for_its_replay(
    path: Path, store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    assert store.sums(plan.run) == ()
    store.join(request(plan), WORDS, [kept(1), kept(2)])
    store.keep_sums(plan.run, [kept(3)])
    assert NodeStore(path, now=lambda: 9).sums(plan.run) == (kept(1), kept(2), kept(3))
    store.close_run(plan.run)
    assert store.sums(plan.run) == (kept(1), kept(2), kept(3))


def test_join_that_is_refused_keeps_no_sum(store: NodeStore, plan: TrainingPlan) -> None:
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    store.join(request(plan), WORDS)
    with pytest.raises(RefusalError, match="joined before"):
        store.join(request(plan), WORDS, [kept(1)])
    assert store.sums(plan.run) == ()


def test_only_the_journal_of_words_is_written_without_a_flush_of_its_own(
    path: Path, store: NodeStore, plan: TrainingPlan
) -> None:
    levels: list[int] = []

    def note(connection: sa.Connection) -> None:
        levels.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())

    full, normal = 2, 1
    sa.event.listen(store._database._engine, "commit", note)
    store.commit(plan, Secret(b"s" * 32), UNITS, CAPS)
    store.join(request(plan), WORDS)
    store.debit(request(plan), scope="training", units=30)
    store.disclose(request(plan), words=WORDS, size=80)
    store.close_run(plan.run)
    assert levels == [full, full, full, normal, full]
    assert len(NodeStore(path, now=lambda: 9).disclosures()) == 1


def test_models_and_votes_are_kept(store: NodeStore) -> None:
    version = Digest("01" * 32)
    assert store.versions.model(version) is None
    store.versions.keep_model(version, b"document")
    store.versions.keep_model(version, b"document")
    assert store.versions.model(version) == b"document"
    cast_vote(store, version, accept=False, reason="quality")
    cast_vote(store, version, accept=True, reason="validated")
    (vote,) = store.versions.votes()
    assert (vote.accept, vote.reason) == (True, "validated")


def test_votes_on_one_version_rise_even_if_the_clock_stands_or_falls(path: Path) -> None:
    version, other = Digest("01" * 32), Digest("02" * 32)
    clock = iter((7, 7, 3, 3, 3, 3, 9, 9))
    store = NodeStore(path, now=lambda: next(clock))
    seen = [cast_vote(store, version, accept=True, reason="") for _ in range(2)]
    assert store.versions.next_vote(other) == 3
    seen.append(store.versions.next_vote(version))
    assert seen == [7, 8, 9]


def cast_vote(store: NodeStore, version: Digest, *, accept: bool, reason: str) -> int:
    vote = Vote(
        version=version,
        member=PartnerId("bank_a"),
        accept=accept,
        reason=reason,
        number=store.versions.next_vote(version),
        signature=b"s" * 64,
    )
    store.versions.add_vote(vote)
    return vote.number


def test_second_store_of_a_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    # POSIX drops all locks of a process on a file when it closes any handle of it; another
    # process would then remove the log under everybody.
    path = tmp_path / "node.db"
    first = NodeStore(path, now=lambda: 1)
    assert first.commitments() == ()
    NodeStore(path, now=lambda: 1).close()
    shared = "510, 0x40000002"  # the bytes that a connection of SQLite holds (os_unix.c)
    code = (
        "import fcntl, sys\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        f"    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, {shared})\n"
    )
    taken = subprocess.run(  # noqa: S603 - constants
        [sys.executable, "-c", code, str(path)], check=False, capture_output=True, text=True
    )
    assert "BlockingIOError" in taken.stderr
    first.close()


# --- several steps, one commit ----------------------------------------------------------------


def head(size: int) -> Head:
    return Head(size=size, root=bytes([size]) * 32)


def test_steps_together_are_one_commit_which_others_see_only_at_its_end(
    store: NodeStore, path: Path
) -> None:
    def seen() -> int:
        with sqlite3.connect(path) as other:
            return int(other.execute("SELECT COUNT(*) FROM witnessed_heads").fetchone()[0])

    with store.together():
        store.log.add(NewEntries(first=0), head(1), flushed=False)
        store.log.add(NewEntries(first=0), head(2), flushed=False)
        assert store.log.witnessed() == head(2)
        assert seen() == 0
    assert seen() == 2
    assert store.log.undone == 0


def witness_and_join(store: NodeStore, plan: TrainingPlan) -> None:
    with store.together():
        store.log.add(NewEntries(first=0), head(1), flushed=False)
        store.join(request(plan), digest_of(b"context"))


def witness_and_break_off(store: NodeStore, plan: TrainingPlan) -> None:
    with store.together():
        store.log.add(NewEntries(first=0), head(1), flushed=False)
        store.debit(request(plan), scope="training", units=1, entries=refusing)


def refusing(_epoch: str) -> Sequence[OwnEntry]:
    raise RefusalError(RefusalCode.PLAN, "after the charge was written")


def test_a_step_that_refuses_leaves_what_was_done_before_it(
    store: NodeStore, plan: TrainingPlan
) -> None:
    with pytest.raises(RefusalError, match="no open reserve"):
        witness_and_join(store, plan)
    assert store.log.witnessed() == head(1)
    assert store.log.undone == 0


def test_a_step_that_breaks_off_after_it_has_written_undoes_all_of_them(
    store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(bytes(32)), UNITS, CAPS)
    with pytest.raises(RefusalError, match="after the charge"):
        witness_and_break_off(store, plan)
    assert store.log.witnessed() == Head()
    assert store.spent("training") == 0
    assert store.log.undone == 1


def test_a_broken_step_that_somebody_caught_is_an_error_at_the_end(
    store: NodeStore, plan: TrainingPlan
) -> None:
    store.commit(plan, Secret(bytes(32)), UNITS, CAPS)

    def caught() -> None:
        with store.together(), suppress(RefusalError):
            store.debit(request(plan), scope="training", units=1, entries=refusing)

    with pytest.raises(StorageError, match="broke off"):
        caught()
    assert store.spent("training") == 0


def test_a_flushed_step_has_no_place_in_a_transaction_that_is_not(
    store: NodeStore, plan: TrainingPlan
) -> None:
    with pytest.raises(StorageError, match="flushed"), store.together(flushed=False):
        store.commit(plan, Secret(bytes(32)), UNITS, CAPS)
    assert store.open_runs() == ()


def test_a_transaction_within_another_is_refused(store: NodeStore) -> None:
    with (
        pytest.raises(StorageError, match="within another"),
        store.together(),
        store.together(),
    ):
        pass
