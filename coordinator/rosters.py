"""Who may be asked now: signed rosters, pushed to all when anything in them changes (7.2).

The list of streams is the hub's; manifest and models are read from the database in a thread,
once a second, for the operator's commands change them from other processes. A roster counts
for 45 s and is replaced after 20, so that clocks may differ by some seconds.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from consortium.codec import Body
from consortium.errors import StorageError
from consortium.ids import Digest, PartnerId
from consortium.inquiries import Roster
from consortium.manifest import Manifest

log = logging.getLogger(__name__)

VALID_S = 45
_REFRESH_S = 20
_POLL_S = 1.0

Served = tuple[Digest | None, Digest | None]
"""The active model and the active head over it."""


class Lines(Protocol):
    """Outboxes of the scoring streams: nothing here ever waits."""

    def push(self, partner: PartnerId, body: Body, number: int = 0) -> bool:
        """Send a frame to one partner; False if it will not reach it."""

    def spread(
        self, partners: Iterable[PartnerId], body: Body, number: int = 0
    ) -> tuple[PartnerId, ...]:
        """Send one frame to several partners; returns those whom it will not reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterPorts:
    """The surroundings of the rosters."""

    lines: Lines
    manifest: Callable[[], Manifest | None]
    """The one in force. Blocking."""
    served: Callable[[], Served]
    """What nodes should score with. Blocking."""
    sign: Callable[[Roster], Roster]
    """Under the coordinator's identity key."""
    now_ms: Callable[[], int]


class Rosters:
    """The roster in force, and the earlier ones that still count. Lives in the loop."""

    def __init__(self, ports: RosterPorts) -> None:
        self._ports = ports
        self._up: set[PartnerId] = set()
        self._arrivals = 0
        self._changed = asyncio.Event()
        self._valid: dict[int, Roster] = {}
        self._told: object = None
        self._due = 0
        self.manifest: Manifest | None = None
        """In force when the last roster was made."""
        self.digest: Digest | None = None
        """Of the manifest; every request's context is bound to it."""
        self._served: Served = (None, None)
        self.on_publish: Callable[[], None] = lambda: None
        """Called when a new roster has gone out."""
        self.on_look: Callable[[], None] = lambda: None
        """Called each time that manifest and streams were looked at."""

    @property
    def up(self) -> frozenset[PartnerId]:
        """Partners with a scoring stream."""
        return frozenset(self._up)

    def on_up(self, partner: PartnerId) -> None:
        """A new stream has heard no roster yet: all get a new one."""
        self._up.add(partner)
        self._arrivals += 1
        self._changed.set()

    def on_down(self, partner: PartnerId) -> None:
        """The others must not ask for it any more."""
        self._up.discard(partner)
        self._changed.set()

    def find(self, version: int) -> Roster | None:
        """The roster of that version, if it still counts."""
        roster = self._valid.get(version)
        if roster is None or roster.valid_until * 1000 <= self._ports.now_ms():
            return None
        return roster

    async def run(self) -> None:
        """Publish for as long as the coordinator serves."""
        while True:
            self._changed.clear()
            try:
                manifest, served = await asyncio.to_thread(self._read)
            except StorageError as error:
                log.warning("rosters go on as they were: %s", error)
                manifest, served = self.manifest, self._served
            self.publish(manifest, served)
            # Not wait_for: before Python 3.12 it may swallow that this task is cancelled.
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._changed.wait()

    def _read(self) -> tuple[Manifest | None, Served]:
        return self._ports.manifest(), self._ports.served()

    def renew(self) -> None:
        """Tell of streams that have ended now, not at the next look."""
        self.publish(self.manifest, self._served)

    def publish(self, manifest: Manifest | None, served: Served) -> None:
        """Sign and push a roster, unless the last one says the same and is fresh."""
        self.manifest, self._served = manifest, served
        self.digest = None if manifest is None else manifest.digest
        self.on_look()
        if manifest is None:
            return
        now_ms = self._ports.now_ms()
        partners = tuple(m.id for m in manifest.partners if m.id in self._up)
        content = (manifest.digest, partners, served, self._arrivals)
        if content == self._told and now_ms < self._due:
            return
        self._told, self._due = content, now_ms + _REFRESH_S * 1000
        now = now_ms // 1000
        self._valid = {v: old for v, old in self._valid.items() if old.valid_until > now}
        # Above every earlier one, those before a restart included.
        version = max(now_ms, *(v + 1 for v in self._valid), 0)
        roster = self._ports.sign(
            Roster(
                version=version,
                manifest=manifest.digest,
                partners=partners,
                model=served[0],
                head=served[1],
                valid_until=now + VALID_S,
                signature=b"",
            )
        )
        self._valid[version] = roster
        self._ports.lines.spread(sorted(self._up), roster)
        self.on_publish()
