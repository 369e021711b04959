"""This node's TLS certificate: renewed over the channel that it opens (protocol 2.6).

A new key is made here, the identity key signs for it, and the certificate in use carries the
request: no token and no operator. Streams that are up get a successor; the key before is let
in for a day, so that a node which is stopped in the middle finds its way back.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from consortium.canonical import Label
from consortium.crypto.statements import renewal_statement
from consortium.errors import RiskWeaveError
from consortium.messages import Renewal
from partner_node.wiring import Desk

log = logging.getLogger(__name__)

DAY_S = 86_400
RENEW_DAYS = 30
"""A certificate that ends sooner is renewed by the serving node."""
WARN_DAYS = 14
"""One that ends sooner could not be renewed for two weeks: somebody must look."""
_LOOK_S = 3_600.0


def rotate(desk: Desk) -> int:
    """Get a certificate of a new TLS key; returns when the new one ends, seconds UTC.

    Raises:
        CertificateError: there is none yet, or it has expired: join anew with a token. Or
            what came is not the authority's.
        RevokedError: this identity was revoked.
        TransportError: the coordinator is not reachable; nothing was changed.
    """
    partner, keys = desk.config.partner, desk.keys
    with desk.door() as coordinator:
        csr = keys.renewal_request(partner)
        statement = renewal_statement(partner, csr)
        signature = keys.identity().sign(Label.RENEWAL, statement)
        renewed = coordinator.renew(Renewal(csr=csr, signature=signature))
    keys.take_renewed(renewed.certificate)
    return keys.certificate_until(partner) or 0


async def renew_when_due(desk: Desk, now: Callable[[], int], stop: asyncio.Event) -> None:
    """Look once an hour, and renew what ends within a month; a failure is logged."""
    while not stop.is_set():
        try:
            await asyncio.to_thread(renew_if_due, desk, now())
        except RiskWeaveError as error:
            log.warning("the certificate is not renewed: %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_S)


def renew_if_due(desk: Desk, now: int) -> bool:
    """Renew a certificate that ends within RENEW_DAYS; whether it was."""
    until = desk.keys.certificate_until(desk.config.partner)
    if until is None or until - now >= RENEW_DAYS * DAY_S:
        return False
    if until - now < WARN_DAYS * DAY_S:
        log.warning("the certificate ends in %d days", max(0, until - now) // DAY_S)
    rotate(desk)
    log.info("the certificate was renewed")
    return True
