"""A node whose database was restored from a backup knows less than the log (4.6 (5))."""

from dataclasses import replace
from pathlib import Path

import pytest

from consortium.errors import RefusalError
from consortium.ids import RunId
from consortium.ledger.entries import Entry, from_jcs, sign_entry
from consortium.ledger.run_bodies import BudgetDebit
from consortium.messages import PlanOffer
from consortium.plan import ReleaseKind
from partner_node.log_gate import LogGate
from partner_node.storage import NodeStore
from tests.attacks.hostile import SHOP_D
from tests.attacks.test_hostile_log import House


def debit(**change: object) -> BudgetDebit:
    found = BudgetDebit(
        account="training",
        epoch="default",
        run=RunId("ab" * 16),
        kind=ReleaseKind.GRADIENT,
        round=3,
        attempt=1,
        units=77,
        variance="12",
        partners=4,
    )
    return replace(found, **change)  # type: ignore[arg-type]


def test_restored_node_refuses_to_train_until_the_debits_of_the_log_are_booked(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    house.train()
    node = house.house.nodes[SHOP_D]
    later = PlanOffer(plan=replace(house.house.plan, run=RunId("cd" * 16)))
    lost = node.store.debits.pop(0)
    house.house.start(node, 3)
    with pytest.raises(RefusalError, match=r"R12 the log has 1 debits .* --accept-log"):
        house.house.session(SHOP_D).on_offer(later)
    assert later.plan.run not in node.store.plans
    node.store.debits.append((lost[0], lost[1], lost[2] + 1))
    with pytest.raises(RefusalError, match="R12"):
        house.house.session(SHOP_D).on_offer(later)
    node.store.debits[-1] = lost
    house.house.session(SHOP_D).on_offer(later)


def test_restored_node_does_not_accept_again_a_run_that_it_forgot(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.train()
    node = house.house.nodes[SHOP_D]
    node.store.plans.clear()
    house.house.start(node, 3)
    with pytest.raises(RefusalError, match="R06"):
        house.house.session(SHOP_D).on_offer(PlanOffer(plan=house.house.plan))


def test_debit_that_the_coordinator_forged_is_not_offered_to_be_booked(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.train()
    node, mirror, manifest = (
        house.house.nodes[SHOP_D],
        house.mirrors[SHOP_D],
        house.house.manifest,
    )
    house.log.append([forged_debit(house)])
    size, note = house.log.newest()
    mirror.take(manifest, house.log.show(mirror.size(), size, note, manifest))
    with pytest.raises(RefusalError, match=r"R08 .* in this node's name that it did not sign"):
        LogGate(mirror, manifest).missing(node.store)


def forged_debit(house: House) -> bytes:
    bare = Entry(seq_hint=0, at=house.now, actor=SHOP_D, body=debit())
    return sign_entry(bare, house.house.coordinator).to_jcs()


def test_booked_debits_count_against_the_cap_and_their_run_is_listed(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "node.db", now=lambda: 7)
    one, other = debit(), debit(round=4, units=5)
    assert not store.debited(one)
    store.book([(one, 12), (other, 12)])
    store.book([(one, 12)])
    assert store.debited(one)
    assert store.debited(other)
    assert not store.debited(debit(units=78))
    assert store.spent("training") == 82
    account = store.account("training", cap_units=100, delta="1e-6")
    assert [reserve.run for reserve in account.reserves] == [one.run]
    assert account.left == 18
    (charged,) = store.charged_sums(one.run, "training")
    assert (charged.attempts, charged.dimension, charged.partners) == (2, 12, 4)
    assert store.open_runs() == ()


def test_own_debits_in_the_mirror_are_those_of_the_database(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.train()
    for name, mirror in house.mirrors.items():
        rows = mirror.store.own("budget.debit")
        bodies = [from_jcs(row.data).body for row in rows]
        # The last attempt's are not under a head yet that anybody was shown.
        assert len(bodies) == house.charged(name) - 1 > 0
        assert {one.account for one in bodies} <= {"training", "holdout"}  # type: ignore[union-attr]
