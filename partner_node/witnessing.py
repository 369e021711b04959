"""This node as a witness: it cosigns heads of the coordinator's log that only grow (8.5).

Beside the rounds, not in them: no round and no score waits for a witness in this version.
What it has cosigned is on disk before the cosignature leaves, so that a crash makes it forget
nothing that it said. A log that shrinks or forks is never cosigned again.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from consortium.errors import LogError, RiskWeaveError, TransportError
from consortium.ledger.witness import Head, WitnessKey, cosign
from consortium.messages import LogHead, WitnessQuestion
from partner_node.door import Door
from partner_node.keystore import Pin

log = logging.getLogger(__name__)

PAUSE_S = 2.0
"""Between two questions."""


class Heads(Protocol):
    """What the witness keeps in the node's database; every call is durable."""

    def witnessed(self) -> Head:
        """The largest head that was cosigned."""

    def keep_witnessed(self, head: Head) -> None:
        """Keep one that is about to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessPorts:
    """The witness's surroundings."""

    pin: Callable[[], Pin]
    """The manifest, signed by all; ManifestError before that."""
    door: Callable[[], Door]
    store: Heads
    witness: WitnessKey
    now: Callable[[], int]


class Witnessing:
    """Asks for heads and cosigns them, for as long as ``run`` runs."""

    def __init__(self, ports: WitnessPorts, *, pause_s: float = PAUSE_S) -> None:
        self._ports = ports
        self._pause = pause_s
        self._told = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; no error of the network, the peer or the disk ends it."""
        with ExitStack() as stack:
            door: Door | None = None
            while not stop.is_set():
                try:
                    door = door or stack.enter_context(self._ports.door())
                    await asyncio.to_thread(self._ask, door)
                    self._told = ""
                except RiskWeaveError as error:
                    self._tell(error)
                    stack.close()
                    door = None
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._pause)

    def _ask(self, door: Door) -> None:
        pin = self._ports.pin()
        known = self._ports.store.witnessed()
        shown = door.witness(WitnessQuestion(known=known.size))
        if shown.note:
            door.witness(self.answer(pin, known, shown))

    def answer(self, pin: Pin, known: Head, shown: LogHead) -> WitnessQuestion:
        """The cosignature of a head that is grown from ``known``; it is on disk.

        Raises:
            RollbackError, ForkError, ProofError: it is not. Fault: the coordinator.
            DecodeError, SignatureError, ManifestError: the log did not sign it.
        """
        ports = self._ports
        head, line = cosign(
            known,
            shown.note,
            shown.proof,
            manifest=pin.manifest,
            witness=ports.witness,
            now=ports.now(),
        )
        if head.size > known.size:
            ports.store.keep_witnessed(head)
        return WitnessQuestion(known=head.size, size=head.size, cosignature=line.signature)

    def _tell(self, error: RiskWeaveError) -> None:
        """Log an error unless it is the same as before."""
        if str(error) == self._told:
            return
        self._told = str(error)
        grave = isinstance(error, LogError)
        quiet = isinstance(error, TransportError)
        level = logging.ERROR if grave else logging.INFO if quiet else logging.WARNING
        log.log(level, "witness: %s", error)
