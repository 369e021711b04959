"""What an owner's program waits for: model versions that this node should vote on."""

import logging
from collections.abc import Callable, Iterable

from consortium.errors import RefusalError, TransportError
from consortium.ids import Digest
from consortium.messages import ModelEntry

LOOK_S = 5.0
log = logging.getLogger(__name__)


def open_votes(entries: Iterable[ModelEntry], voted: Iterable[Digest]) -> tuple[Digest, ...]:
    """Candidates that this node has not voted on, in the registry's order."""
    known = frozenset(voted)
    return tuple(
        entry.version
        for entry in entries
        if entry.status == "candidate" and entry.version not in known
    )


def wait(
    look: Callable[[], tuple[Digest, ...]], pause: Callable[[float], None]
) -> tuple[Digest, ...]:
    """Look every 5 s until there are some; a coordinator that is away is waited for."""
    while True:
        try:
            if found := look():
                return found
        except (TransportError, RefusalError) as error:
            log.debug("%s; looking again", error)
        pause(LOOK_S)
