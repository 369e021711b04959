"""Records of inquiries: written soon, all of them, and never at the cost of a score."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Inquiry, Purpose
from coordinator.inquiry_log import Ended, InquiryLog
from coordinator.scoring_storage import InquiryRow

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
        self.full = False
        self.loop = asyncio.get_running_loop()
        self.written = asyncio.Event()

    def keep(self, rows: Sequence[InquiryRow]) -> None:
        if self.full:
            raise StorageError("database or disk is full")
        self.rows += rows
        self.loop.call_soon_threadsafe(self.written.set)


def test_rows_are_written_within_a_second_and_not_only_at_the_stop() -> None:
    async def story() -> None:
        shelf = Shelf()
        log = InquiryLog(shelf.keep, lambda: b"salt")
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
        salts = iter([b"one.", b"two."])
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
        log = InquiryLog(shelf.keep, lambda: b"salt")
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
