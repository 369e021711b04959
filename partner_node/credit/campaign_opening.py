"""Puts campaigns of a node's directory together: the log, the desk's database, the tokens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from consortium.credit.campaign_table import is_look
from consortium.credit.figures import Entry
from consortium.errors import RefusalCode, RefusalError
from consortium.figure import FigureSpec
from consortium.ids import PersonToken
from partner_node import wiring
from partner_node.credit.campaign import CampaignDesk, CampaignPorts
from partner_node.credit.campaign_log import campaigns_in
from partner_node.credit.opening import open_service, subjects_of


@contextmanager
def open_campaigns(desk: wiring.Desk) -> Iterator[CampaignDesk]:
    """Campaigns of a node.

    Raises:
        ManifestError: none is pinned, or not all have signed it.
        StorageError: a database cannot be opened.
    """
    mirror, manifest = wiring.mirror_of(desk), desk.pinned().manifest
    with open_service(desk) as service, _tokens(desk) as token:
        yield CampaignDesk(
            CampaignPorts(
                service=service,
                partner=desk.config.partner,
                campaigns=lambda: campaigns_in(mirror, manifest),
                token=token,
            )
        )


def campaign_entries(desk: wiring.Desk, spec: FigureSpec) -> Sequence[Entry]:
    """This node's entries of a campaign's table. Private. None of a campaign of others.

    Raises:
        RefusalError: the table is not that of the look that is due, or the newest cosigned
            head is too old to tell. The run is refused as R22, and nothing stays reserved.
    """
    name = spec.filter("campaign")
    with open_campaigns(desk) as campaigns:
        running = campaigns.running(name)
        if running is None or not is_look(spec, running.plan, running.now):
            raise RefusalError(RefusalCode.PLAN, "no such look at a campaign is due")
        if desk.config.partner not in running.plan.lenders:
            return ()
        return tuple(campaigns.entries(name))


@contextmanager
def _tokens(desk: wiring.Desk) -> Iterator[Callable[[str], PersonToken | None]]:
    """Tokens of the present epoch, as far as this node has them."""
    from partner_node.scoring_parts import scoring_store  # noqa: PLC0415 - loads models

    epoch = desk.pinned().manifest.policy.scoring.epoch
    store, subject = scoring_store(desk, wiring.now), subjects_of(desk)

    def token(person: str) -> PersonToken | None:
        key = subject(person)
        found = store.tokens(epoch, [key]).get(key)
        return None if found is None else PersonToken(found)

    try:
        yield token
    finally:
        store.close()
