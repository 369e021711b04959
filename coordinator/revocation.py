"""Members that are let in no more: whom the operator means, and streams that are cut (2.7).

From the commit of ``revocation_storage`` on every call of a revoked member is refused;
``Enforcer`` ends its streams within half a second, whichever process of the operator it was
that wrote it, and in any case before nodes are shown the entry.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from consortium.errors import ConfigurationError, ManifestError, RevokedError, StorageError
from consortium.ids import PartnerId
from consortium.manifest import Manifest, Member, Role
from consortium.messages import Goodbye
from coordinator.storage import Store

log = logging.getLogger(__name__)

LOOK_S = 0.5
_PATIENCE_S = 2.0
GOODBYE = Goodbye(code=RevokedError.code, reason=RevokedError.public)


class Streams(Protocol):
    """Whose streams are up."""

    def drop(self, partner: PartnerId, goodbye: Goodbye) -> None:
        """End both streams of a partner, if they are there."""


def member_to_revoke(manifest: Manifest | None, name: PartnerId) -> Member:
    """The member that an operator means.

    Raises:
        ConfigurationError: there is no manifest in force, or none of its members is meant.
    """
    if manifest is None:
        raise ConfigurationError("no manifest is in force: nobody takes part in anything yet")
    with suppress(ManifestError):
        member = manifest.member(name)
        if member.role is not Role.COORDINATOR:
            return member
    raise ConfigurationError(f"{name} is no active partner or regulator of the manifest")


class Enforcer:
    """Cuts who is revoked off, before anybody else can read of it."""

    def __init__(self, store: Store, streams: Streams, on_new: Callable[[], None]) -> None:
        """Over the database that any process of the operator writes to.

        ``on_new`` is called in the loop when somebody's streams were ended: rosters and heads
        are to say so at once.
        """
        self._store, self._streams, self._on_new = store, streams, on_new
        self._known: frozenset[PartnerId] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Look twice a second, for as long as the coordinator serves."""
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                out = frozenset(await asyncio.to_thread(self._store.members.out))
            except StorageError as error:
                log.warning("revocations stand as they were: %s", error)
                out = self._known
            await self._apply(out)
            await asyncio.sleep(LOOK_S)

    def before_shown(self) -> None:
        """Take effect before entries of the log are shown; from any thread but the loop's.

        A node that reads of a revocation first would refuse rosters that still have the member.
        """
        if self._loop is None:
            return
        out = frozenset(self._store.members.out())
        if out != self._known:
            done = asyncio.run_coroutine_threadsafe(self._apply(out), self._loop)
            with suppress(TimeoutError):
                done.result(_PATIENCE_S)

    async def _apply(self, out: frozenset[PartnerId]) -> None:
        for partner in sorted(out):
            self._streams.drop(partner, GOODBYE)
        if fresh := sorted(out - self._known):
            log.warning("revoked: %s", ", ".join(fresh))
            self._on_new()
        self._known = out
