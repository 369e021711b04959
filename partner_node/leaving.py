"""A partner leaves in order: its identity first, then its share of the pseudonyms' key (6.8).

What an audit may still ask for stays until its window ends (protocol 9.4): seeds, JOINs, the
log. What lets this node take part in anything goes.
"""

import logging
from contextlib import suppress

from consortium.errors import ConfigurationError, RevokedError
from partner_node import scoring_parts
from partner_node.log_commands import revoke
from partner_node.wiring import Desk, is_served, now

log = logging.getLogger(__name__)


def leave(desk: Desk) -> None:
    """Revoke this node's own identity, then erase what only members hold.

    Idempotent: whatever broke off is made up for by the next call.

    Raises:
        ConfigurationError: the node is served: stop it first, it holds the share in memory.
        TransportError: the coordinator is not reachable; nothing is erased before it has the
            voice, for a share that is missing helps nobody while the member still counts.
    """
    if is_served(desk.config.directory):
        raise ConfigurationError("stop riskweave node serve before this node leaves")
    with suppress(RevokedError):  # said before, or the operator was faster
        revoke(desk, desk.config.partner, "left")
    store = scoring_parts.scoring_store(desk, now)
    try:
        store.leave()
    finally:
        store.close()
    log.info("%s has left; its shares and tokens are erased", desk.config.partner)
