"""What is kept of each inquiry (protocol 7.13): who asked how many, when, and who answered.

Never a token, a word or a score. Rows are gathered in the loop and written by one task in a
thread, at most a second behind, so that no score waits for a disk, a hash or a signature. Each
writing is one batch, and one transaction with its entries in the log. While the disk takes
nothing the rows wait; when too many wait, no further inquiry is relayed.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Inquiry, Purpose
from consortium.ledger.bodies import ScoreRetry
from consortium.ledger.entries import Body, ScoreBatch
from consortium.ledger.inquiries import Asked, InquiryRecord, batch_root, record_bytes
from coordinator.retries import Retried
from coordinator.scoring_storage import Batch, InquiryRow

log = logging.getLogger(__name__)

_MOST = 50_000
_BATCH = 5_000
_EVERY_S = 1.0
"""One batch a second at most, while no more than ``_BATCH`` rows wait."""
_AT_ONCE, _PAUSE_S = 8, 0.0005
"""Rows that are worked on in one go, about half a millisecond, and the pause after them."""

_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An inquiry that is over."""

    inquiry: Inquiry
    context: Digest
    began_ms: int
    ended_ms: int
    outcome: str
    """answered; incomplete; left: the asker's stream ended; absent: nobody was asked."""
    responders: Mapping[PartnerId, str]
    """answered, silent, left, or the code of a refusal."""
    retried: Retried | None = None


Keep = Callable[[Sequence[InquiryRow], Sequence[ScoreRetry]], None]
"""Writes a batch of rows and what the log says of the retries among them: one transaction,
which blocks, and raises StorageError."""


class Shelf(Protocol):
    """Where batches go; every call is one transaction."""

    def last_batch(self) -> int:
        """Second of the newest batch; 0 before the first."""

    def add_inquiries(
        self, rows: Sequence[InquiryRow], batch: Batch, *, entries: Sequence[bytes]
    ) -> None:
        """Keep rows, their batch and the entries, all or nothing."""


class Batches:
    """Makes of rows a batch that the log holds the root of (protocol 7.13, 8.4)."""

    def __init__(
        self, shelf: Shelf, entry: Callable[[Body], bytes], now: Callable[[], int]
    ) -> None:
        """Take the database, what signs an entry of the coordinator, and the clock."""
        self._shelf = shelf
        self._entry = entry
        self._now = now
        self._last: int | None = None

    def keep(self, rows: Sequence[InquiryRow], retries: Sequence[ScoreRetry]) -> None:
        """``Keep``: the second is the clock's, or the first free one if that went back."""
        if self._last is None:
            self._last = self._shelf.last_batch()
        ended = max(row.ended_ms for row in rows) // 1000
        second = max(self._now(), ended, self._last + 1)
        root = batch_root(list(_gently(map(leaf_of, rows))))
        said = ScoreBatch(second=second, root=root, count=len(rows))
        entries = [self._entry(said), *(self._entry(one) for one in retries)]
        batch = Batch(second=second, count=len(rows))
        self._shelf.add_inquiries(rows, batch, entries=entries)
        self._last = second


def leaf_of(row: InquiryRow) -> bytes:
    """The record that a row is, in the bytes that are hashed."""
    asked = json.loads(row.responders)
    return record_bytes(
        InquiryRecord(
            request=row.request,
            requester=row.requester,
            roster_version=row.roster_version,
            purpose=Purpose(row.purpose),
            model=row.model,
            consents=row.consents,
            context=row.context,
            persons=row.persons,
            began_ms=row.began_ms,
            ended_ms=row.ended_ms,
            outcome=row.outcome,
            responders=tuple(
                Asked(member=PartnerId(name), status=status)
                for name, status in sorted(asked.items())
            ),
            retry_of=row.retry_of,
        )
    )


def _gently(made: Iterable[_Made]) -> Iterator[_Made]:
    """The same, leaving the interpreter to the loop again and again: a score waits for it."""
    for number, one in enumerate(made, start=1):
        yield one
        if number % _AT_ONCE == 0:
            time.sleep(_PAUSE_S)


def _retry(ended: Ended) -> ScoreRetry:
    inquiry, retried = ended.inquiry, ended.retried
    return ScoreRetry(
        request=inquiry.request,
        retry_of=inquiry.retry_of or inquiry.request,
        roster_version=inquiry.roster_version,
        earlier_version=retried.earlier_version if retried else 0,
        missing=retried.missing if retried else (),
    )


class InquiryLog:
    """Rows on their way to the database."""

    def __init__(self, keep: Keep, salt: Callable[[], bytes]) -> None:
        """Take what writes a batch, and a source of 16 fresh bytes."""
        self._keep = keep
        self._salt = salt
        self._waiting: list[Ended] = []
        self._some = asyncio.Event()
        self._turn = asyncio.Lock()
        self.on_ended: Callable[[Ended], None] = lambda _ended: None
        """Told of each inquiry; must not block."""

    @property
    def full(self) -> bool:
        """Whether so many rows wait that no further inquiry may be relayed."""
        return len(self._waiting) >= _MOST

    def add(self, ended: Ended) -> None:
        """Keep an inquiry; returns at once."""
        self._waiting.append(ended)
        self.on_ended(ended)
        self._some.set()

    async def run(self) -> None:
        """Write for as long as the coordinator serves."""
        while True:
            await self._some.wait()
            # A pause first, so that what is asked together is one batch; and one after it.
            await asyncio.sleep(_EVERY_S / 2)
            await self.flush()
            await asyncio.sleep(_EVERY_S / 2)

    async def flush(self) -> None:
        """Write what waits; rows that the database did not take wait on."""
        async with self._turn:
            while batch := self._waiting[:_BATCH]:
                try:
                    await asyncio.to_thread(self._write, batch)
                except StorageError as error:
                    log.warning(
                        "%d inquiries wait to be written: %s", len(self._waiting), error
                    )
                    return
                del self._waiting[: len(batch)]
            self._some.clear()

    def _write(self, batch: Sequence[Ended]) -> None:
        rows = list(_gently(map(self._row, batch)))
        self._keep(rows, [_retry(one) for one in batch if one.inquiry.retry_of is not None])

    def _row(self, ended: Ended) -> InquiryRow:
        inquiry = ended.inquiry
        return InquiryRow(
            request=inquiry.request,
            requester=inquiry.requester,
            roster_version=inquiry.roster_version,
            purpose=inquiry.purpose.value,
            model=inquiry.model,
            consents=self._salted(inquiry.consents),
            context=ended.context,
            persons=inquiry.persons,
            began_ms=ended.began_ms,
            ended_ms=ended.ended_ms,
            outcome=ended.outcome,
            responders=json.dumps(dict(sorted(ended.responders.items()))),
            retry_of=inquiry.retry_of,
        )

    def _salted(self, consents: Digest) -> str:
        """``salt:H(salt ‖ digest)``: proves a digest that is shown, and names none."""
        salt = self._salt()
        return f"{salt.hex()}:{hashlib.sha256(salt + bytes.fromhex(consents)).hexdigest()}"
