"""A disk that is full: at a node, at the coordinator. Nothing is lost, and it goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.errors import StorageError
from coordinator import control
from rehearsal.federation import COORDINATOR
from tests.integration.federation import (
    Federation,
    SmallDisk,
    aborted,
    key_of,
    summed,
    write_rehearsal,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("f")


@pytest.fixture(scope="module")
def disks(directory: Path) -> Iterator[dict[str, SmallDisk]]:
    """The directories of a node and of the coordinator, each on a small disk of its own."""
    found = {name: SmallDisk(directory / "work" / name) for name in ("shop_d", COORDINATOR)}
    try:
        if not all(disk.available for disk in found.values()):
            pytest.skip("a file system of its own takes the right to mount one")
        yield found
    finally:
        for disk in found.values():
            disk.close()


@pytest.fixture(scope="module")
def federation(directory: Path, disks: dict[str, SmallDisk]) -> Iterator[Federation]:
    assert disks
    with Federation.running(directory, write_rehearsal(directory)) as found:
        yield found


def test_node_whose_disk_is_full_is_left_out_uncharged_and_back_when_there_is_space(
    federation: Federation, disks: dict[str, SmallDisk]
) -> None:
    run = federation.start_run()
    run.wait_for_round(5)
    disks["shop_d"].fill()
    told = run.wait(lambda one: "shop_d" in one.text)
    assert told.text == "aborted: shop_d (storage failure)"
    run.wait_for_round(told.round + 3)
    disks["shop_d"].free()
    end = run.wait_for_end()
    assert end.stage == "finished"
    assert "database or disk is full" in federation.log_of("shop_d")

    attempts = federation.attempts(end.run)
    (lost,) = aborted(attempts)
    there = ["shop_d" in one.roster for one in attempts]
    assert there.count(False) >= 3, "left out while its disk was full"
    assert there[-1], "and taken back"
    debits = {key_of(one) for one in federation.debits("shop_d", end.run)}
    assert debits == summed(attempts, "shop_d")
    assert (lost.kind.value, lost.round, lost.attempt) not in debits


def test_coordinator_whose_disk_is_full_waits_and_repeats_nothing(
    federation: Federation, disks: dict[str, SmallDisk]
) -> None:
    run = federation.start_run()
    run.wait_for_round(5)
    disks[COORDINATOR].fill()
    waiting = run.wait(lambda one: one.stage == "waiting")
    assert "database or disk is full" in waiting.text
    disks[COORDINATOR].free()
    end = run.wait_for_end()
    assert end.stage == "finished"
    assert not aborted(federation.attempts(end.run))
    assert federation.model(end.version).statement["rounds"] == federation.rehearsal.plan.rounds


def test_run_is_not_started_on_a_full_disk_and_the_operator_is_told_why(
    federation: Federation, disks: dict[str, SmallDisk]
) -> None:
    disks[COORDINATOR].fill()
    events = control.start_run(federation.places.control_socket, federation.rehearsal.plan_text)
    with pytest.raises(StorageError, match="database or disk is full"):
        next(events)
    disks[COORDINATOR].free()
    assert federation.start_run().wait_for_end().stage == "finished"
