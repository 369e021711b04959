"""What the mirror of the log says of campaigns: signed by the operator, cosigned, in order."""

import logging
from collections.abc import Mapping

from consortium.errors import DomainError, OutOfOrderError, RefusalCode, RefusalError
from consortium.ledger.entries import from_jcs, verify_entry
from consortium.ledger.governing import CampaignOrdered, CampaignPlanned, Governed, Running
from consortium.ledger.witness import MAX_AGE_S
from consortium.manifest import Manifest
from partner_node.log_mirror import LogMirror

log = logging.getLogger(__name__)

_TYPES = ("campaign.planned", "campaign.ordered")


def campaigns_in(mirror: LogMirror, manifest: Manifest) -> Mapping[str, Running]:
    """Campaigns of the log by name, as far as a fresh quorum has cosigned it.

    One whose orders do not follow is left out from there on: it offers nothing to anybody.

    Raises:
        RefusalError: the newest head with a quorum is too old: a halt might be missed (R08).
        DecodeError, SignatureError: an entry is not the operator's.
    """
    size = mirror.fresh(MAX_AGE_S)
    if not size:
        raise RefusalError(RefusalCode.CHECKPOINT, "no fresh head of the log is cosigned")
    state, broken = Governed(), set[str]()
    for row in mirror.store.of_types(*_TYPES):
        if row.number >= size:
            continue
        entry = from_jcs(row.data)
        verify_entry(entry, row.data, manifest.member(entry.actor))
        body = entry.body
        if isinstance(body, CampaignPlanned):
            name = body.plan.name
        elif isinstance(body, CampaignOrdered):
            name = body.order.campaign
        else:
            continue
        try:
            state.take(body, entry.actor)
        except (OutOfOrderError, DomainError) as error:
            log.warning("campaign %s, entry %d: %s", name, row.number, error)
            broken.add(name)
    return {name: one for name, one in state.campaigns.items() if name not in broken}
