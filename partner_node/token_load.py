"""Tokens for a whole table: a load that goes on where it stopped (protocol 6.6)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from consortium.errors import ScoreRefusal, ScoreRefusalError, TransportError
from consortium.ids import PersonToken
from consortium.inquiries import MOST_POINTS
from partner_node.pseudonyms import Pseudonyms

LOAD_TIMEOUT_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0


@dataclass(slots=True)
class Progress:
    """How far a load is. Counts only: of this node's own customers."""

    persons: int = 0
    """Distinct persons seen so far."""
    known: int = 0
    """Of them with a token."""
    faults: Counter[str] = field(default_factory=Counter)
    waiting: str = ""
    """Why it waits, if it does."""
    done: bool = False


class TokenLoad:
    """Gets a token for every person of this partner's table."""

    def __init__(
        self, pseudonyms: Pseudonyms, progress: Progress, tell: Callable[[Progress], None]
    ) -> None:
        """``progress`` is kept up to date; ``tell`` is called after each request."""
        ports = pseudonyms.ports
        self._pseudonyms = pseudonyms
        self._store, self._people = ports.store, ports.people
        self._epoch = ports.manifest.policy.scoring.epoch
        self._progress, self._tell = progress, tell

    async def run(self, batches: Iterable[list[bytes]]) -> None:
        """Get a token for every person of a table; what is known already is not asked for.

        Quotas make it wait, never fail: it goes on as they fill. Whoever kills the node
        loses at most the request under way.

        Args:
            batches: Canonical inputs, as ``customers.Persons`` reads them. Private.

        Raises:
            TransportError: no epoch is installed.
            StorageError, DataError: as the store and the table.
        """
        if not self._pseudonyms.may_ask:
            raise TransportError("no epoch of pseudonyms is installed")
        source = iter(batches)
        seen: set[bytes] = set()
        rest: list[tuple[bytes, bytes]] = []
        while (batch := await asyncio.to_thread(next, source, None)) is not None:
            rest += await asyncio.to_thread(self._unknown, batch, seen)
            while len(rest) >= MOST_POINTS:
                await self._loaded(rest[:MOST_POINTS])
                rest = rest[MOST_POINTS:]
        if rest:
            await self._loaded(rest)
        await asyncio.to_thread(self._store.keep_customers, self._epoch, seen)
        self._progress.done = True
        self._tell(self._progress)

    def _unknown(self, inputs: Sequence[bytes], seen: set[bytes]) -> list[tuple[bytes, bytes]]:
        """Persons of a batch without a token, each once."""
        fresh: dict[bytes, bytes] = {}
        for x in inputs:
            subject = self._people.subject(x)
            if subject not in seen:
                seen.add(subject)
                fresh[subject] = x
        known = self._store.tokens(self._epoch, list(fresh))
        # Some were applicants before they were customers.
        self._store.keep_tokens(self._epoch, list(known.items()), customers=True)
        self._progress.persons += len(fresh)
        self._progress.known += len(known)
        return [(subject, x) for subject, x in fresh.items() if subject not in known]

    async def _loaded(self, part: Sequence[tuple[bytes, bytes]]) -> None:
        made = await self._patiently([x for _, x in part])
        pairs = [
            (subject, bytes(token)) for (subject, _), token in zip(part, made, strict=True)
        ]
        keep = partial(self._store.keep_tokens, self._epoch, customers=True)
        await asyncio.to_thread(keep, pairs)
        self._progress.known += len(pairs)
        self._progress.waiting = ""
        self._tell(self._progress)

    async def _patiently(self, inputs: Sequence[bytes]) -> list[PersonToken]:
        wait = _FIRST_WAIT_S
        while True:
            try:
                async with asyncio.timeout(LOAD_TIMEOUT_S):
                    return await self._pseudonyms.evaluated(inputs, "load")
            except ScoreRefusalError as error:
                if error.reason is not ScoreRefusal.QUOTA:
                    raise
                self._progress.waiting = "quota"
            except (TransportError, TimeoutError):
                self._progress.waiting = "key holders"
            self._tell(self._progress)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
