"""What is kept of each inquiry (protocol 7.13): who asked how many, when, and who answered.

Never a token, a word or a score. Rows are gathered in the loop and written by one task in a
thread, at most a second behind, so that no score waits for a disk. While the disk takes
nothing the rows wait; when too many wait, no further inquiry is relayed.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Inquiry
from coordinator.scoring_storage import InquiryRow

log = logging.getLogger(__name__)

_MOST = 50_000
_BATCH = 5_000
_BEHIND_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An inquiry that is over."""

    inquiry: Inquiry
    context: Digest
    began_ms: int
    ended_ms: int
    outcome: str
    """answered, incomplete, or left: the asker's stream ended."""
    responders: Mapping[PartnerId, str]
    """answered, silent, left, or the code of a refusal."""


class InquiryLog:
    """Rows on their way to the database."""

    def __init__(
        self, keep: Callable[[Sequence[InquiryRow]], None], salt: Callable[[], bytes]
    ) -> None:
        """Take ``keep``, which writes rows in one transaction and blocks, and fresh bytes."""
        self._keep = keep
        self._salt = salt
        self._waiting: list[Ended] = []
        self._some = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def full(self) -> bool:
        """Whether so many rows wait that no further inquiry may be relayed."""
        return len(self._waiting) >= _MOST

    def add(self, ended: Ended) -> None:
        """Keep an inquiry; returns at once."""
        self._waiting.append(ended)
        self._some.set()

    async def run(self) -> None:
        """Write for as long as the coordinator serves."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_BEHIND_S / 2)
            await self.flush()

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
        self._keep([self._row(ended) for ended in batch])

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
