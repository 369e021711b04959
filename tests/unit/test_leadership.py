"""One leader among replicas, and nothing written by one that led before; a real PostgreSQL."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa

from consortium.errors import ConfigurationError, DeposedError, StorageError
from consortium.ids import RunId
from coordinator import leadership
from coordinator.leadership import Seat, leader_of, take_office
from coordinator.run_storage import CheckpointRow
from coordinator.schema import HISTORY
from coordinator.standby import _still
from coordinator.storage import Store
from tests.postgres_house import PostgresServer

OWN, OTHER = b"o" * 32, b"x" * 32
END_SEATS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'riskweave leader' AND datname = current_database()
"""
RUN = RunId("ab" * 16)


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.url(postgres.database())


@pytest.fixture
def first(url: str) -> Iterator[Store]:
    with closing(Store(url)) as store:
        store.lead(take_office(store, OWN, "first", 1))
        yield store


@pytest.fixture
def second(url: str) -> Iterator[Store]:
    with closing(Store(url)) as store:
        yield store


def test_leader_of_an_earlier_epoch_writes_and_reads_nothing(
    first: Store, second: Store
) -> None:
    first.log.append([b"while it leads"])
    before = second.log.entries()
    second.lead(take_office(second, OWN, "second", 2))
    for stale in (
        lambda: first.log.append([b"when it does not"]),
        lambda: first.runs.save_checkpoint(
            CheckpointRow(run=RUN, stage="x", round=1, attempts=1, payload=b"")
        ),
        first.runs.newest,
    ):
        with pytest.raises(DeposedError):
            stale()
    assert second.log.entries() == before
    assert second.runs.checkpoint(RUN) is None
    led = leader_of(second)
    assert led is not None
    assert led.holder == "second"


def test_office_is_taken_only_after_the_earlier_leaders_transaction_has_ended(
    first: Store, second: Store
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with first.transaction() as connection:
            began.set()
            go_on.wait(10)
            first.log.append_within(connection, [b"committed before the epoch rises"])

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(write)
        assert began.wait(10)
        taking = pool.submit(take_office, second, OWN, "second", 2)
        _wait_for_a_waiter(second)
        assert not taking.done()
        go_on.set()
        writing.result(10)
        second.lead(taking.result(10))
    assert b"committed before the epoch rises" in second.log.entries()


def _wait_for_a_waiter(store: Store) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    for _ in range(2000):
        with store.transaction() as connection:
            if connection.exec_driver_sql(waiting).scalar_one():
                return
    raise AssertionError("nobody waits")


def test_frozen_transaction_of_an_earlier_leader_is_ended_and_comes_to_nothing(
    first: Store, second: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "WAIT_S", 0.2)
    lost = pytest.raises(StorageError)
    with lost, first.transaction() as connection:
        first.log.append_within(connection, [b"begun, and then frozen"])
        second.lead(take_office(second, OWN, "second", 2))
    assert b"begun, and then frozen" not in second.log.entries()


def test_database_of_another_coordinator_is_not_led(first: Store, second: Store) -> None:
    with pytest.raises(ConfigurationError, match="another coordinator"):
        take_office(second, OTHER, "stranger", 2)
    first.log.append([b"still leads"])


def test_migration_by_a_newer_program_deposes_the_leader(first: Store, url: str) -> None:
    with first._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE leadership")
        connection.exec_driver_sql("UPDATE schema_version SET version = 1")
    with closing(Store(url)) as newer:
        assert newer.version() == HISTORY.current
        with pytest.raises(DeposedError):
            first.log.append([b"among tables that it does not know"])


def test_seat_is_one_replicas_and_free_when_its_session_ends(
    url: str, postgres: PostgresServer
) -> None:
    holder, other = Seat(url, OWN), Seat(url, OWN)
    assert holder.attempt()
    assert not other.attempt()
    holder.confirm()
    postgres.sql(END_SEATS, str(sa.make_url(url).database))
    assert other.attempt()
    with pytest.raises(StorageError):
        holder.confirm()
    other.leave()


def test_seat_that_says_nothing_for_the_lease_is_taken_from_it_by_the_server(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "LEASE_S", 0.1)
    frozen, other = Seat(url, OWN), Seat(url, OWN)
    assert frozen.attempt()
    assert any(other.attempt() for _ in range(1000))
    other.leave()
    with pytest.raises(StorageError):
        frozen.confirm()


def test_lost_seat_is_taken_again_while_nobody_else_has_led(first: Store, url: str) -> None:
    seat = Seat(url, OWN)
    assert seat.attempt()
    assert seat._session is not None
    seat._session.invalidate()
    seat._session.close()
    _still(seat, first)
    first.log.append([b"goes on"])
    seat.leave()


def test_lost_seat_is_given_up_once_another_has_led(
    first: Store, second: Store, url: str
) -> None:
    seat = Seat(url, OWN)
    take_office(second, OWN, "second", 2)
    with pytest.raises(DeposedError):
        _still(seat, first)
    seat.leave()
