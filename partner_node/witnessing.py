"""This node as a witness of the coordinator's log, and its full mirror (8.5, 8.8).

Beside the rounds, which bring their own part of the log along: here the mirror is filled, heads
are cosigned, what goes with no answer is handed in, and every entry is examined in time. What
it has cosigned is on disk before the cosignature leaves. After an incident it goes on to say
so, and takes nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

from consortium.errors import LogError, RefusalError, RiskWeaveError, TransportError
from consortium.ids import PartnerId
from consortium.ledger.entries import ManifestAdopted, from_jcs, verify_entry
from consortium.manifest import Manifest
from consortium.messages import LogHead, WitnessQuestion
from partner_node.keystore import Pin
from partner_node.log_mirror import LogMirror

log = logging.getLogger(__name__)

PAUSE_S = 2.0
"""Between two questions."""
HURRY_S = 0.25
"""Likewise, while the newest head that is known does not count."""
MAX_SILENCE_S = 72 * 3600
"""How long joint scores go on without a cosigned head (protocol 8.6)."""
BROUGHT_AT_ONCE = 32
EXAMINED_AT_ONCE = 100
"""Entries that are examined between two questions: it must not be felt."""
_PORTIONS = 64


class Asked(Protocol):
    """The coordinator's door, as far as a witness needs it."""

    def witness(self, question: WitnessQuestion) -> LogHead:
        """Hand in what the question has; returns what comes next."""


class Doors(Protocol):
    """A door that is closed again."""

    def __enter__(self) -> Asked: ...

    def __exit__(self, *_: object) -> None: ...


class LogState:
    """What the scoring stream reads of the log, at each frame."""

    def __init__(self) -> None:
        self.silence = ""
        """Why nothing may rest on the log now; empty if it may."""
        self.revoked: frozenset[str] = frozenset()
        """Identity keys that were revoked, in hex; replaced when there are others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessPorts:
    """The witness's surroundings."""

    pin: Callable[[], Pin]
    """The manifest, signed by all; ManifestError before that."""
    door: Callable[[], Doors]
    mirror: LogMirror
    now: Callable[[], int]


class Witnessing:
    """Asks for heads and cosigns them, for as long as ``run`` runs."""

    def __init__(self, ports: WitnessPorts, *, pause_s: float = PAUSE_S) -> None:
        self._ports = ports
        self._pause = pause_s
        self._told = ""
        self._examined = 0
        self._pinned = ""
        """Digest of the manifest that entries are examined under."""
        self._adopted: set[PartnerId] = set()
        """Whose adoption of it was examined."""
        self.state = LogState()
        self.look()

    def look(self) -> None:
        """Read again who was revoked: the training process has a hand in the mirror, too."""
        found = frozenset(one.identity for one in self._ports.mirror.store.revoked())
        if found != self.state.revoked:
            self.state.revoked = found

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; no error of the network, the peer or the disk ends it."""
        with ExitStack() as stack:
            door: Asked | None = None
            while not stop.is_set():
                pause = self._pause
                try:
                    self.state.silence = await asyncio.to_thread(self.silence)
                    await asyncio.to_thread(self.look)
                    door = door or stack.enter_context(self._ports.door())
                    if not await asyncio.to_thread(self.ask, door):
                        pause = min(HURRY_S, pause)
                    await asyncio.to_thread(self.examine)
                    self._told = ""
                except RiskWeaveError as error:
                    self._tell(error)
                    stack.close()
                    door = None
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)

    def ask(self, door: Asked) -> bool:
        """One turn: all that the mirror lacks; whether its newest head counts then.

        Raises:
            RollbackError, ForkError, ProofError: the log is not what it was; noted for good.
            RefusalError: an incident is open (R08); it was said.
            DecodeError, SignatureError, ManifestError: the log did not sign the head.
            TransportError: the coordinator is not reachable.
        """
        manifest, mirror = self._ports.pin().manifest, self._ports.mirror
        brought, shown = mirror.store.to_bring(BROUGHT_AT_ONCE), LogHead()
        for _ in range(_PORTIONS):
            known = mirror.size()
            shown = door.witness(WitnessQuestion(known=known, entries=brought))
            mirror.store.check_settled()
            brought = ()
            if not shown.note:
                break
            taken = mirror.take(manifest, shown, known=known)
            self.look()
            if taken.cosignature:
                door.witness(
                    WitnessQuestion(
                        known=taken.size, size=taken.size, cosignature=taken.cosignature
                    )
                )
        if shown.cosigned:
            mirror.take_counted(manifest, shown.cosigned)
        return mirror.counted() >= mirror.size()

    def examine(self, most: int = EXAMINED_AT_ONCE) -> int:
        """Look at the next entries of the mirror, form and signature; returns how many.

        Under the pinned manifest, once all its signers have adopted it; of what is older the
        form, for it may be of a member or under a key that is no more. One that is not what it
        must be is an incident.
        """
        manifest, mirror = self._ports.pin().manifest, self._ports.mirror
        if self._pinned != manifest.digest:
            self._examined, self._pinned, self._adopted = 0, manifest.digest, set()
        rows = mirror.store.portion(self._examined, most)
        for row in rows:
            try:
                self._examine(row.data, manifest)
            except RiskWeaveError as error:
                text = f"entry {row.number} of the log: {error}"
                mirror.alarm("log.entry", text, b"")
                raise
            self._examined = row.number + 1
        return len(rows)

    def _examine(self, data: bytes, manifest: Manifest) -> None:
        entry = from_jcs(data)
        body = entry.body
        adopts = isinstance(body, ManifestAdopted) and body.manifest == manifest.digest
        in_force = self._adopted.issuperset(one.id for one in manifest.signers())
        if adopts or (in_force and not isinstance(body, ManifestAdopted)):
            verify_entry(entry, data, manifest.member(entry.actor))
        if adopts:
            self._adopted.add(entry.actor)

    def silence(self) -> str:
        """Why nobody may rely on the log now, or nothing."""
        incident = self._ports.mirror.store.incident()
        if incident is not None:
            return f"{incident.kind}: incident {incident.number} is not settled"
        size, _, at = self._ports.mirror.store.seen()
        if size and self._ports.now() - at > MAX_SILENCE_S:
            return f"no head of the log was cosigned for {MAX_SILENCE_S // 3600} hours"
        return ""

    def _tell(self, error: RiskWeaveError) -> None:
        """Log an error unless it is the same as before."""
        if str(error) == self._told:
            return
        self._told = str(error)
        grave = isinstance(error, LogError | RefusalError)
        quiet = isinstance(error, TransportError)
        level = logging.ERROR if grave else logging.INFO if quiet else logging.WARNING
        log.log(level, "witness: %s", error)
