"""A disk that is full: at a node, at the coordinator. Nothing is lost, and it goes on."""

import pytest

from consortium.errors import StorageError
from coordinator import control
from rehearsal.federation import COORDINATOR
from tests.integration.federation import (
    Federation,
    aborted,
    key_of,
    summed,
)

WHY = {"storage failure", "unavailable"}
"""A node that has no room to note what it would say says nothing, and its stream ends."""


def test_node_whose_disk_is_full_is_left_out_and_back_when_there_is_space(
    live: Federation,
) -> None:
    live.need_small_disks()
    run = live.start_run()
    run.wait_for_round(5)
    live.fill("shop_d")
    told = run.wait(lambda one: "shop_d" in one.text)
    assert told.text.partition(";")[0] in {f"aborted: shop_d ({why})" for why in WHY}
    run.wait_for_round(told.round + 3)
    live.free("shop_d")
    end = run.wait_for_end()
    assert end.stage == "finished"
    assert "database or disk is full" in live.log_of("shop_d")

    attempts = live.attempts(end.run)
    lost, *_ = [one for one in aborted(attempts) if WHY & set(one.reasons)]
    there = ["shop_d" in one.roster for one in attempts]
    assert there.count(False) >= 3, "left out while its disk was full"
    assert there[-1], "and taken back"
    debits = {key_of(one) for one in live.debits("shop_d", end.run)}
    key = (lost.kind.value, lost.round, lost.attempt)
    assert debits - {key} == summed(attempts, "shop_d")
    # Its disk may have become full between a debit and what is written after it: that stays.
    assert lost.charged or key not in debits


def test_coordinator_whose_disk_is_full_waits_and_repeats_nothing(
    live: Federation,
) -> None:
    live.need_small_disks()
    run = live.start_run()
    run.wait_for_round(5)
    live.fill(COORDINATOR)
    waiting = run.wait(lambda one: one.stage == "waiting")
    assert "database or disk is full" in waiting.text
    live.free(COORDINATOR)
    end = run.wait_for_end()
    assert end.stage == "finished"
    assert not aborted(live.attempts(end.run))
    assert live.model(end.version).statement["rounds"] == live.rehearsal.plan.rounds


def test_run_is_not_started_on_a_full_disk_and_the_operator_is_told_why(
    live: Federation,
) -> None:
    live.need_small_disks()
    live.fill(COORDINATOR)
    events = control.start_run(live.places.control_socket, live.rehearsal.plan_text)
    with pytest.raises(StorageError, match="database or disk is full"):
        next(events)
    live.free(COORDINATOR)
    assert live.start_run().wait_for_end().stage == "finished"
