"""The scoring stream's database: what is kept, for how long, and what a crash leaves."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.crypto.keys import Secret
from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Purpose
from partner_node.key_shares import StoredShare
from partner_node.request_rows import Admitted, Count, Seen
from partner_node.scoring_database import DAY
from partner_node.scoring_store import Access, ScoringStore

BANK = PartnerId("bank_a")
SUBJECT, OTHER = b"s" * 16, b"o" * 16
TRANSCRIPT, LATER = Digest("aa" * 32), Digest("bb" * 32)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[ScoringStore]:
    made = ScoringStore(tmp_path / "scoring.db", now=clock)
    yield made
    made.close()


def admitted(number: int) -> Admitted:
    return Admitted(
        request=RequestId(f"{number:032x}"),
        requester=BANK,
        purpose=Purpose.JOINT_SCORE,
        persons=1,
        context=TRANSCRIPT,
        consents=LATER,
    )


def share(attempt: int, secret: bytes = b"k" * 32) -> StoredShare:
    return StoredShare(epoch=3, attempt=attempt, position=2, share=Secret(secret), record=None)


def test_request_is_known_after_it_was_noted_and_not_when_its_transaction_fails(
    store: ScoringStore,
) -> None:
    def fail() -> None:
        with store.request() as rows:
            rows.note(admitted(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with store.request() as rows:
        assert not rows.knows(RequestId(f"{1:032x}"))
        rows.note(admitted(1))
    with store.request() as rows:
        assert rows.knows(RequestId(f"{1:032x}"))


def test_history_is_of_one_asker_and_the_latest_stays_last(store: ScoringStore) -> None:
    first = Seen(RequestId("1" * 32), b"u", 10)
    second = Seen(RequestId("2" * 32), b"v", 10)  # of the same millisecond
    with store.request() as rows:
        rows.note_persons(BANK, [SUBJECT, OTHER], first, {})
        rows.note_persons(BANK, [SUBJECT], second, rows.history(BANK, [SUBJECT]))
        rows.note_persons(PartnerId("bank_b"), [SUBJECT], first, {})
    with store.request() as rows:
        found = rows.history(BANK, [SUBJECT, OTHER, b"x" * 16])
    assert [one.request for one in found[SUBJECT]] == [first.request, second.request]
    assert found[OTHER] == [first]


def test_quota_stands_where_it_was_left(store: ScoringStore) -> None:
    count = Count(level=4, at=7, day=20_000, used=12)
    with store.request() as rows:
        assert rows.count(BANK, "score") is None
        rows.set_count(BANK, "score", count)
    with store.request() as rows:
        assert rows.count(BANK, "score") == count


def test_share_is_installed_under_the_signed_attempt_only(store: ScoringStore) -> None:
    store.shares.keep(share(1))
    with pytest.raises(StorageError):
        store.shares.install(3, 2, b"record")
    assert store.shares.installed(3) is None
    store.shares.install(3, 1, b"record")
    installed = store.shares.installed(3)
    assert installed is not None
    assert (installed.record, installed.share.expose()) == (b"record", b"k" * 32)


def test_old_share_and_seed_are_in_no_file_after_resharing(
    store: ScoringStore, tmp_path: Path
) -> None:
    old, new, seed = os.urandom(32), os.urandom(32), os.urandom(32)
    store.shares.seed(3, 1, lambda: Secret(seed))
    store.shares.keep(share(1, old))
    store.shares.install(3, 1, b"old record")
    store.shares.keep(share(2, new))
    store.shares.install(3, 2, b"new record")
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert old not in files
    assert seed not in files
    assert new in files
    assert [one.attempt for one in store.shares.of(3)] == [2]


def test_new_epoch_erases_shares_seeds_and_tokens_of_the_one_before(
    store: ScoringStore, tmp_path: Path
) -> None:
    old, seed = os.urandom(32), os.urandom(32)
    store.shares.seed(3, 1, lambda: Secret(seed))
    store.shares.keep(share(1, old))
    store.shares.install(3, 1, b"record")
    store.shares.seed(3, 2, lambda: Secret(seed))  # of a resharing that never ended
    store.keep_tokens(3, [(SUBJECT, b"c" * 16)], customers=True)
    new = StoredShare(epoch=4, attempt=1, position=2, share=Secret(b"n" * 32), record=None)
    store.shares.keep(new)
    store.keep_tokens(4, [(SUBJECT, b"d" * 16)], customers=True)
    store.shares.install(4, 1, b"new record")
    store.drop_epochs_before(4)
    store._database.truncate_log()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [one for one in (old, seed, b"c" * 16) if one in files]
    assert store.tokens(4, [SUBJECT]) == {SUBJECT: b"d" * 16}
    assert store.shares.installed(4) is not None


def test_seed_of_a_ceremony_is_drawn_once(store: ScoringStore) -> None:
    first = store.shares.seed(3, 1, lambda: Secret(b"1" * 32))
    assert store.shares.seed(3, 1, lambda: Secret(b"2" * 32)).expose() == first.expose()
    assert store.shares.seed(3, 2, lambda: Secret(b"2" * 32)).expose() == b"2" * 32


def test_tokens_of_customers_stay_and_those_of_applicants_go_after_a_day(
    store: ScoringStore, clock: Clock
) -> None:
    store.keep_tokens(1, [(SUBJECT, b"c" * 16)], customers=True)
    store.keep_tokens(1, [(OTHER, b"a" * 16), (SUBJECT, b"c" * 16)], customers=False)
    assert store.tokens(1, [SUBJECT, OTHER]) == {SUBJECT: b"c" * 16, OTHER: b"a" * 16}
    clock.now += DAY
    store.tidy()
    assert store.tokens(1, [SUBJECT, OTHER]) == {SUBJECT: b"c" * 16}
    assert store.customer_count(1) == 1
    assert store.tokens(2, [SUBJECT]) == {}


def test_customers_come_sorted_by_their_keyed_hash(store: ScoringStore) -> None:
    pairs = [(os.urandom(16), os.urandom(16)) for _ in range(1500)]
    store.keep_tokens(1, pairs, customers=True)
    subjects, tokens = store.customers(1)
    assert [(s.tobytes(), t.tobytes()) for s, t in zip(subjects, tokens, strict=True)] == (
        sorted(pairs)
    )


def test_withdrawal_counts_at_once_and_for_its_purpose_only(store: ScoringStore) -> None:
    store.keep_tokens(1, [(SUBJECT, b"c" * 16)], customers=True)
    with store.request() as rows:
        before = rows.generation()
    store.withdraw(SUBJECT, [Purpose.JOINT_SCORE])
    with store.request() as rows:
        assert rows.generation() > before
    found = store.withdrawn_tokens(1)
    assert found[Purpose.JOINT_SCORE] == {b"c" * 16}
    assert store.withdrawn([OTHER, SUBJECT]) == {(SUBJECT, Purpose.JOINT_SCORE)}
    assert not store.withdrawn([OTHER])
    assert store.withdrawn_from(Purpose.JOINT_SCORE) == {SUBJECT}
    assert not store.withdrawn_from(Purpose.CALIBRATION)
    assert not found[Purpose.CALIBRATION]
    store.restore(SUBJECT, [Purpose.JOINT_SCORE])
    assert not store.withdrawn([SUBJECT, OTHER])


def test_answer_is_kept_for_a_day(store: ScoringStore, clock: Clock) -> None:
    store.keep_answer("key", "question", b"answer")
    clock.now += DAY - 1
    assert store.answered("key") == ("question", b"answer")
    clock.now += 1
    assert store.answered("key") is None
    store.tidy()
    assert store.answered("key") is None


def test_rows_of_requests_go_when_their_time_is_over(store: ScoringStore, clock: Clock) -> None:
    with store.request() as rows:
        rows.note(admitted(1))
        seen = Seen(RequestId("1" * 32), b"u", 1000 * clock.now)
        rows.note_persons(BANK, [SUBJECT], seen, {})
    clock.now += 30 * DAY - 1
    store.tidy()
    with store.request() as rows:
        assert not rows.knows(RequestId(f"{1:032x}"))
        assert rows.history(BANK, [SUBJECT])
    clock.now += 1
    store.tidy()
    with store.request() as rows:
        assert not rows.history(BANK, [SUBJECT])


def test_access_log_keeps_three_years_and_no_identifier(
    store: ScoringStore, clock: Clock
) -> None:
    entry = Access(
        inquirer="desk",
        subject=SUBJECT,
        purpose=Purpose.JOINT_SCORE,
        consent=OTHER,
        context="",
        roster=0,
        model="",
        head="",
        band="0",
        result="no_roster",
    )
    store.log_access([entry, entry])
    assert [one.at for one in store.accesses()] == [clock.now] * 2
    clock.now += 3 * 366 * DAY
    store.tidy()
    assert store.accesses() == ()


def test_file_that_others_may_read_is_refused(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "scoring.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        ScoringStore(path, now=clock)


_WRITER = """
    import sys
    from pathlib import Path
    from partner_node.request_rows import Count
    from partner_node.scoring_store import ScoringStore
    store = ScoringStore(Path(sys.argv[1]), now=lambda: 1_800_000_000)
    number = 0
    while True:
        number += 1
        with store.request() as rows:
            rows.set_count("bank_a", "score", Count(number, 0, 0, number))
        print(number, flush=True)
"""


def test_what_was_admitted_before_kill_9_is_there_after_it(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "scoring.db"
    command = [sys.executable, "-c", textwrap.dedent(_WRITER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    told = int(lines[-1])
    store = ScoringStore(path, now=clock)
    with store.request() as rows:
        count = rows.count(BANK, "score")
    store.close()
    assert count is not None
    assert count.used in (told, told + 1)
    assert count.level == count.used
