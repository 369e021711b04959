"""A restart campaign between real processes: ordered in the log, counted at nodes, halted."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest

from consortium.credit.campaign_table import cells_of, deviation_of
from consortium.credit.restart import Tier
from consortium.credit.table_document import parse_table_document
from consortium.credit.waves import Arm, CampaignPlan, Fate, Move, WaveState
from consortium.ids import PartnerId
from coordinator import control, wiring
from coordinator.credit.governing import Governing
from coordinator.credit.opening import registers_of
from coordinator.credit.restart_waves import Campaigns, Decider
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.table_storage import TableStore
from partner_node import wiring as node_wiring
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_campaign import Member, keep_member
from rehearsal.federation import COORDINATOR
from tests.campaign_house import STOP
from tests.integration.federation import Federation, Run

pytestmark = pytest.mark.slow

NAME = "two-processes"
LENDERS = (PartnerId("bank_a"), PartnerId("bank_b"))
PAID, LATE = 700, 300
"""Of each lender: a wave that nobody could call good."""


def members(live: Federation, party: str) -> None:
    """A cohort at one node, offered in the first turn; what became of it is known."""
    config = node_wiring.open_desk(live.directory(party)).config
    with (
        closing(CreditStore(config.credit_database)) as store,
        store.transaction() as connection,
    ):
        for number in range(PAID + LATE):
            member = Member(
                campaign=NAME,
                line=f"line-{number}",
                subject=sha256(f"{party} {number}".encode()).digest()[:16],
                tier=Tier.A,
                wave=0,
                held=False,
                turn=1,
                fate=Fate.PAID if number < PAID else Fate.FPD30,
                at=0,
            )
            assert keep_member(connection, member)


def test_bad_wave_is_seen_in_noisy_totals_and_halted_in_the_log_of_every_node(
    live: Federation,
) -> None:
    desk = wiring.open_desk(live.directory(COORDINATOR))
    manifest = desk.membership.current()
    assert manifest is not None
    governing = Governing(desk.store, desk.log)
    campaigns = Campaigns(governing, TableStore(desk.store), registers_of(desk, governing))
    today = governing.today()
    plan = CampaignPlan(
        name=NAME,
        lenders=LENDERS,
        closed_from=today - timedelta(days=90),
        closed_to=today - timedelta(days=1),
        begins=today,
        percents=(100,),
        holdout_percent=10,
        stop=replace(STOP, looks=1),
        look_days=1,
        epsilon="1",
        delta=manifest.policy.delta,
        synthetic=True,
    )
    campaigns.plan(plan, manifest)
    campaigns.order(NAME, Move.OPEN, Decider("LO", "go"))
    for party in LENDERS:
        members(live, party)
    live.steps.wait_for_witnesses()

    due = campaigns.due(NAME)
    assert due is not None
    beside = replace(
        due.spec,
        filters=tuple(
            replace(one, value="2") if one.name == "look" else one for one in due.spec.filters
        ),
    )
    text = table_plan_text(beside, FigureTerms(epsilon="0.1", attempts=1))
    refused = Run(control.start_run(live.places.control_socket, text)).wait_for_end()
    assert refused.stage == "failed"
    assert "R22" in refused.text
    assert all(live.debits(party.id, refused.run) == [] for party in live.rehearsal.parties)

    end = Run(control.start_run(live.places.control_socket, due.plan_text)).wait_for_end()
    assert end.stage == "finished", end.text
    (row,) = [one for one in TableStore(desk.store).tables() if one.run == end.run]
    table = parse_table_document(row.document).table
    cells, spread = cells_of(table, 0), 6 * deviation_of(table)
    assert abs(cells[Arm.A, Fate.PAID] - PAID * len(LENDERS)) < spread
    assert abs(cells[Arm.A, Fate.FPD30] - LATE * len(LENDERS)) < spread
    assert table.partners == len(live.rehearsal.parties)

    running = campaigns.look(NAME)
    assert running.now.state is WaveState.HALTED
    assert running.orders[-1].release == table.release
