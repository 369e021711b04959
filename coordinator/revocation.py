"""Members that are let in no more: whom the operator means, and streams that are cut (2.7).

From the commit of ``revocation_storage`` on every call of a revoked member is refused;
``enforce`` ends its streams within half a second, whichever process of the operator it was
that wrote it.
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


async def enforce(store: Store, streams: Streams, on_new: Callable[[], None]) -> None:
    """End the streams of whoever is revoked, for as long as the coordinator serves.

    Args:
        store: Looked at twice a second, for the command may have run in another process.
        streams: What is ended.
        on_new: Called when somebody was revoked: nodes are to hear of it at once.
    """
    known: frozenset[PartnerId] = frozenset()
    while True:
        try:
            out = frozenset(await asyncio.to_thread(store.out))
        except StorageError as error:
            log.warning("revocations stand as they were: %s", error)
            out = known
        for partner in sorted(out):
            streams.drop(partner, GOODBYE)
        if fresh := sorted(out - known):
            log.warning("revoked: %s", ", ".join(fresh))
            on_new()
        known = out
        await asyncio.sleep(LOOK_S)
