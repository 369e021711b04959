"""Which model versions this node serves, and their tables, made in the background.

A version is served when the coordinator's roster names it, its document is what its digest
says, and this node's own vote on it was yes (protocol 7.5, 12.5). Tables are made one after
the other in a thread; until a new one is ready the old one is used.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.errors import RiskWeaveError
from consortium.ids import Digest
from consortium.scoring.head import Head
from partner_node.score_table import ScoreTable
from partner_node.scoring_store import ScoringStore

log = logging.getLogger(__name__)

MOST_TABLES = 2
"""The version in force and the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedHead:
    """A released head and how it was trained. Public."""

    head: Head
    pooled: tuple[int, ...] = ()
    """Strata that had too few persons of their own, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfPorts:
    """What the shelf needs of the node; all of it blocks and is called in a thread."""

    table: Callable[[Digest], ScoreTable | None]
    """The table of a version that this node accepted; None: it did not, or not yet."""
    head: Callable[[Digest], ServedHead | None]
    """The head of that version, likewise."""
    latest: Callable[[], Digest | None]
    """The version that was accepted last, for the time before a roster came."""
    store: ScoringStore
    epoch: int
    silence: Callable[[], str] = lambda: ""
    """Why nothing is served now, whatever was accepted; empty if it is (protocol 8.6)."""


class Shelf:
    """Tables and heads by version. Read in the loop, filled from a thread."""

    def __init__(self, ports: ShelfPorts) -> None:
        self._ports = ports
        self._made: Mapping[Digest, ScoreTable] = {}
        self.heads: Mapping[Digest, ServedHead] = {}
        self.model: Digest | None = None
        """The version in force."""
        self.head: Digest | None = None
        self._why = ""
        self._turn = asyncio.Lock()

    @property
    def tables(self) -> Mapping[Digest, ScoreTable]:
        """What is served; nothing while the log is silent too long, or contradicts itself."""
        return {} if self._ports.silence() else self._made

    @property
    def refusal(self) -> str:
        """Why the version in force is not served; empty if it is."""
        return self._ports.silence() or self._why

    @property
    def current(self) -> ScoreTable | None:
        """The table of the version in force, or else the newest there is."""
        if self.model is not None and self.model in self.tables:
            return self.tables[self.model]
        return next(reversed(list(self.tables.values())), None)

    def want(self, model: Digest | None, head: Digest | None) -> bool:
        """What the roster says is in force; returns whether something is to be made."""
        self.model, self.head = model, head
        return self._lacking()

    def _lacking(self) -> bool:
        lacks_model = self.model is not None and self.model not in self._made
        lacks_head = self.head is not None and self.head not in self.heads
        return lacks_model or lacks_head

    async def fill(self) -> None:
        """Make what is lacking, if this node accepted it; otherwise note why not."""
        async with self._turn:
            if self.model is None and not self._made:
                latest = await asyncio.to_thread(self._ports.latest)
                if latest is not None:
                    await self._make(latest)
            if self.model is not None and self.model not in self._made:
                await self._make(self.model)
            if self.head is not None and self.head not in self.heads:
                await self._make_head(self.head)

    async def rebuild(self) -> None:
        """Read the partner's rows anew for the version in force."""
        async with self._turn:
            found = self.current
            if found is not None:
                await self._make(found.version)

    async def refresh_tokens(self) -> None:
        """Take up tokens that were made since, in all tables."""
        async with self._turn:
            for table in self._made.values():
                await asyncio.to_thread(self._set_tokens, table)

    def _set_tokens(self, table: ScoreTable) -> None:
        if self._ports.epoch:
            table.set_tokens(*self._ports.store.customers(self._ports.epoch))

    async def _make(self, version: Digest) -> None:
        try:
            table = await asyncio.to_thread(self._ports.table, version)
            if table is None:
                self._say(f"{version[:12]} is not accepted by this node's own vote")
                return
            await asyncio.to_thread(self._set_tokens, table)
        except RiskWeaveError as error:
            self._say(f"{version[:12]}: {error}")
            return
        kept = {known: one for known, one in self._made.items() if known != version}
        newest = list(kept.items())[-(MOST_TABLES - 1) :]
        self._made = {**dict(newest), version: table}
        self._why = ""
        log.info("version %s is served", version)

    async def _make_head(self, version: Digest) -> None:
        try:
            found = await asyncio.to_thread(self._ports.head, version)
        except RiskWeaveError as error:
            log.warning("head %s: %s", version[:12], error)
            return
        if found is not None:
            self.heads = {version: found}

    def _say(self, why: str) -> None:
        if why != self._why:
            log.warning("not served: %s", why)
        self._why = why
