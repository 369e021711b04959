"""What a node takes of campaigns and charters from its mirror: cosigned, fresh, in order."""

from dataclasses import replace
from datetime import date

import pytest

from consortium.credit.governance import Charter, Clause
from consortium.credit.waves import Move, WaveState
from consortium.errors import DomainError, NotFoundError, RefusalError
from consortium.ids import Digest
from consortium.ledger.entries import from_jcs
from consortium.ledger.governing import (
    CampaignOrdered,
    CampaignPlanned,
    CharterAgreed,
    CharterProposed,
)
from consortium.ledger.witness import MAX_AGE_S
from coordinator.audit_log import AuditLog
from coordinator.credit.governing import Governing
from partner_node import charter
from partner_node.credit.campaign_log import campaigns_in
from tests.campaign_house import PLAN, after
from tests.ledger_house import House
from tests.unit.test_witnessing import Make, Witness, house, make, witnesses

__all__ = ["house", "make", "witnesses"]  # fixtures

CHARTER = Charter(
    federation="north",
    version=1,
    previous=None,
    in_force=date(2026, 1, 1),
    clauses=(Clause(code="purpose", zh="目的", en="Purpose"),),
    settlement_ppm=0,
    exit_notice_days=90,
)


def settled(log: AuditLog, some: list[Witness]) -> Witness:
    """All have asked often enough that the newest head is cosigned and mirrored."""
    for _ in range(3):
        for one in some:
            one.ask(log)
    return some[0]


def test_order_counts_once_it_is_under_a_head_with_its_quorum(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    log.append([log.entry(CampaignPlanned(plan=PLAN))])
    node = settled(log, witnesses)
    _, orders = after(Move.OPEN, Move.BAD)
    log.append([log.entry(CampaignOrdered(order=orders[0]))])
    for _ in range(3):
        node.ask(log)  # it has the entry, and nobody else has cosigned it yet
    assert node.mirror.store.of_types("campaign.ordered")
    found = campaigns_in(node.mirror, house.manifest)
    assert found[PLAN.name].now.state is WaveState.PLANNED
    settled(log, witnesses)
    assert campaigns_in(node.mirror, house.manifest)[PLAN.name].now.may_offer


def test_log_without_a_fresh_quorum_offers_nothing_for_a_halt_might_be_missed(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    log.append([log.entry(CampaignPlanned(plan=PLAN))])
    node = settled(log, witnesses)
    house.now += MAX_AGE_S + 1
    with pytest.raises(RefusalError, match="R08"):
        campaigns_in(node.mirror, house.manifest)
    with pytest.raises(RefusalError, match="R08"):
        charter.charters_in(node.mirror, house.manifest)


def test_campaign_whose_orders_do_not_follow_offers_nothing_and_others_go_on(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    other = replace(PLAN, name="other-26")
    for plan in (PLAN, other):
        log.append([log.entry(CampaignPlanned(plan=plan))])
    _, orders = after(Move.OPEN, Move.BAD)
    skipping = replace(orders[0], wave=2)
    log.append([log.entry(CampaignOrdered(order=skipping))])
    log.append([log.entry(CampaignOrdered(order=orders[0]))])
    node = settled(log, witnesses)
    assert list(campaigns_in(node.mirror, house.manifest)) == ["other-26"]


def test_charter_is_agreed_to_by_its_digest_in_the_partners_own_name(
    house: House, make: Make, witnesses: list[Witness]
) -> None:
    log = make("log.db")
    node = settled(log, witnesses)
    with pytest.raises(NotFoundError):
        charter.charters_in(node.mirror, house.manifest)
    log.append([log.entry(CharterProposed(charter=CHARTER))])
    settled(log, witnesses)
    with pytest.raises(DomainError, match="read that one first"):
        charter.agree(node.mirror, house.manifest, Digest("00" * 32))
    for _ in range(2):
        charter.agree(node.mirror, house.manifest, CHARTER.digest)
    settled(log, witnesses)
    settled(log, witnesses)
    said = [from_jcs(one) for one in log._store.log.entries()]
    agreed = [one for one in said if isinstance(one.body, CharterAgreed)]
    assert [one.actor for one in agreed] == [node.name]
    assert charter.charters_in(node.mirror, house.manifest).agreed == (node.name,)
    assert Governing(log._store, log).state().agreed == {CHARTER.digest: {node.name}}
