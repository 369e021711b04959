"""What this partner answers in closure inquiries: three bits a customer, by token (7.17).

Made in a thread from the table of lines, with the tokens that are known, and made anew with
the partner's other rows. A partner that has named no table of lines answers like one that
holds nobody.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from consortium.errors import RiskWeaveError
from consortium.scoring.closures import COLUMNS
from consortium.scoring.layout import Flags
from partner_node.credit.standing import PersonStanding
from partner_node.customer_index import Bytes16, Index16
from partner_node.people import SUBJECT_BYTES
from partner_node.scoring_store import ScoringStore

log = logging.getLogger(__name__)


class ClosureTable:
    """Bits of all customers with lines, over one state of the table and of the tokens."""

    def __init__(
        self,
        persons: Mapping[bytes, PersonStanding],
        customers: tuple[Bytes16, Bytes16],
    ) -> None:
        """``customers``: keyed hashes and tokens, as the store has them. Private."""
        order = sorted(persons)
        self.persons = {subject: persons[subject] for subject in order}
        bits = [(p.closed, p.withdrawn, p.active) for p in (persons[s].bits for s in order)]
        self._bits: Flags = np.array([*bits, (False,) * len(COLUMNS)], dtype=np.bool_)
        subjects, tokens = customers
        keys = np.frombuffer(b"".join(order), dtype=np.uint8).reshape(-1, SUBJECT_BYTES)
        rows, held = Index16(keys, np.arange(len(order), dtype=np.int64)).find(subjects)
        self._tokens = Index16(tokens[held], rows[held])
        places, known = np.flatnonzero(held), rows[held]
        self.tokens = {
            order[row]: bytes(tokens[at]) for at, row in zip(places, known, strict=True)
        }
        """Token of each person that has one."""

    def lookup(self, tokens: Bytes16) -> tuple[Flags, Flags]:
        """Bits of these persons, shape (n, 3), and who is held; the same work for all."""
        rows, held = self._tokens.find(tokens)
        return self._bits[rows], held


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosurePorts:
    """What the table is made from; called in a thread."""

    persons: Callable[[], Mapping[bytes, PersonStanding]]
    """Of today; nobody where no table of lines is named."""
    store: ScoringStore
    epoch: int


class ClosureShelf:
    """The table in force; None until it was made, or while it cannot be."""

    def __init__(self, ports: ClosurePorts) -> None:
        self._ports = ports
        self.table: ClosureTable | None = None
        self._turn = asyncio.Lock()

    async def fill(self) -> None:
        """Make the table if there is none."""
        if self.table is None:
            await self.rebuild()

    async def rebuild(self) -> None:
        """Read lines and tokens anew; a table that cannot be read is served no longer."""
        async with self._turn:
            try:
                self.table = await asyncio.to_thread(self._made)
            except RiskWeaveError as error:
                log.warning("closure inquiries are not answered: %s", error)
                self.table = None

    def _made(self) -> ClosureTable:
        ports = self._ports
        return ClosureTable(ports.persons(), ports.store.customers(ports.epoch))
