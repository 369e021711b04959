"""Records of inquiries: written soon, all of them, and never at the cost of a score."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Inquiry, Purpose
from consortium.ledger.bodies import ScoreRetry
from consortium.ledger.entries import Body, ScoreBatch
from consortium.ledger.inquiries import batch_root
from coordinator.inquiry_log import Batches, Ended, InquiryLog, leaf_of
from coordinator.retries import Retried
from coordinator.scoring_storage import Batch, InquiryRow

CONSENTS = Digest("0c" * 32)


def ended(number: int) -> Ended:
    inquiry = Inquiry(
        request=RequestId(f"{number:032x}"),
        requester=PartnerId("bank_a"),
        ephemeral=b"E" * 32,
        roster=(PartnerId("bank_a"), PartnerId("bank_b")),
        roster_version=1,
        model=Digest("0d" * 32),
        purpose=Purpose.JOINT_SCORE,
        persons=1,
        deadline=1,
        consents=CONSENTS,
        sealed=Digest("05" * 32),
        retry_of=None,
    )
    return Ended(
        inquiry=inquiry,
        context=Digest("0e" * 32),
        began_ms=1,
        ended_ms=2,
        outcome="answered",
        responders={PartnerId("bank_b"): "answered"},
    )


class Shelf:
    """A database that can be full."""

    def __init__(self) -> None:
        self.rows: list[InquiryRow] = []
        self.retries: list[ScoreRetry] = []
        self.full = False
        self.loop = asyncio.get_running_loop()
        self.written = asyncio.Event()

    def keep(self, rows: Sequence[InquiryRow], retries: Sequence[ScoreRetry]) -> None:
        if self.full:
            raise StorageError("database or disk is full")
        self.rows += rows
        self.retries += retries
        self.loop.call_soon_threadsafe(self.written.set)


def test_rows_are_written_within_a_second_and_not_only_at_the_stop() -> None:
    async def story() -> None:
        shelf = Shelf()
        log = InquiryLog(shelf.keep, lambda: b"salt" * 4)
        task = asyncio.create_task(log.run())
        log.add(ended(1))
        log.add(ended(2))
        async with asyncio.timeout(1):
            await shelf.written.wait()
        assert [row.request for row in shelf.rows] == [f"{n:032x}" for n in (1, 2)]
        task.cancel()

    asyncio.run(story())


def test_consents_are_kept_under_a_salt_of_their_own() -> None:
    async def story() -> None:
        shelf = Shelf()
        salts = iter([b"one." * 4, b"two." * 4])
        log = InquiryLog(shelf.keep, lambda: next(salts))
        log.add(ended(1))
        log.add(ended(2))
        await log.flush()
        first, second = (row.consents for row in shelf.rows)
        assert first != second
        salt, _, digest = first.partition(":")
        shown = hashlib.sha256(bytes.fromhex(salt) + bytes.fromhex(CONSENTS)).hexdigest()
        assert digest == shown

    asyncio.run(story())


def test_full_disk_keeps_rows_waiting_and_then_stops_further_inquiries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coordinator.inquiry_log._MOST", 2)

    async def story() -> None:
        shelf = Shelf()
        shelf.full = True
        log = InquiryLog(shelf.keep, lambda: b"salt" * 4)
        log.add(ended(1))
        await log.flush()
        assert not log.full
        log.add(ended(2))
        await log.flush()
        assert log.full
        shelf.full = False
        await log.flush()
        assert len(shelf.rows) == 2
        assert not log.full

    asyncio.run(story())


# --- batches in the log (protocol 7.13, 8.4) --------------------------------------------------


class Database:
    """Rows, batches and entries, all or nothing."""

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.batches: list[Batch] = []
        self.rows: list[InquiryRow] = []
        self.entries: list[bytes] = []
        self.full = False

    def last_batch(self) -> int:
        return self.last

    def add_inquiries(
        self, rows: Sequence[InquiryRow], batch: Batch, *, entries: Sequence[bytes]
    ) -> None:
        if self.full:
            raise StorageError("database or disk is full")
        self.batches.append(batch)
        self.rows += rows
        self.entries += entries


class Clock:
    def __init__(self, *times: int) -> None:
        self.times = iter(times)

    def __call__(self) -> int:
        return next(self.times)


def written(database: Database, clock: Clock, *flushes: Sequence[Ended]) -> list[Body]:
    said: list[Body] = []

    def entry(body: Body) -> bytes:
        said.append(body)
        return b"entry"

    async def story() -> None:
        log = InquiryLog(Batches(database, entry, clock).keep, lambda: b"salt" * 4)
        for part in flushes:
            for one in part:
                log.add(one)
            await log.flush()

    asyncio.run(story())
    return said


def test_batch_is_the_root_of_its_rows_in_their_order() -> None:
    database = Database()
    (said,) = written(database, Clock(100), [ended(1), ended(2)])
    root = batch_root([leaf_of(row) for row in database.rows])
    assert said == ScoreBatch(second=100, root=root, count=2)
    assert database.batches == [Batch(second=100, count=2)]
    assert database.entries == [b"entry"]


def test_no_two_batches_have_one_second_also_when_the_clock_goes_back() -> None:
    database = Database(last=105)
    said = written(database, Clock(100, 106, 90), [ended(1)], [ended(2)], [ended(3)])
    assert [one.second for one in said if isinstance(one, ScoreBatch)] == [106, 107, 108]


def test_batch_is_not_before_the_end_of_an_inquiry_in_it() -> None:
    late = replace(ended(1), ended_ms=200_500)
    (said,) = written(Database(), Clock(100), [late])
    assert isinstance(said, ScoreBatch)
    assert said.second == 200


def test_retry_is_logged_with_whom_it_leaves_out() -> None:
    first = ended(1).inquiry
    again = replace(
        ended(2),
        inquiry=replace(ended(2).inquiry, retry_of=first.request, roster_version=8),
        retried=Retried(earlier_version=7, missing=(PartnerId("shop"),)),
    )
    _, said = written(Database(), Clock(100), [ended(1), again])
    assert said == ScoreRetry(
        request=again.inquiry.request,
        retry_of=first.request,
        roster_version=8,
        earlier_version=7,
        missing=(PartnerId("shop"),),
    )


def test_rows_that_the_disk_did_not_take_are_in_the_next_batch_with_its_second() -> None:
    database = Database()
    database.full = True
    written(database, Clock(100), [ended(1)])
    assert database.batches == []
    database.full = False
    said = written(database, Clock(101), [ended(1), ended(2)])
    assert [one.count for one in said if isinstance(one, ScoreBatch)] == [2]
