"""Group commit: each work whole or not at all, and nothing told before it is on disk."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from consortium.errors import DataError, OutOfOrderError, StorageError
from partner_node.credit.committer import Committer
from partner_node.credit.storage import (
    Connection,
    CreditStore,
    KeyedQuestion,
    keep_keys,
    savepoint,
)


def keep(connection: Connection, name: str) -> str:
    keep_keys(connection, [(KeyedQuestion(name, "question"), "decision")], 1)
    return name


def kept(store: CreditStore) -> set[str]:
    with store.reading() as connection:
        found = connection.exec_driver_sql("SELECT key FROM idempotency_keys")
        return {row[0] for row in found}


def test_work_that_fails_is_undone_alone(tmp_path: Path) -> None:
    store = CreditStore(tmp_path / "credit.db")
    committer = Committer(store)
    began, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> str:
        began.set()
        assert go.wait(30)
        return keep(connection, "slow")

    def broken(connection: Connection) -> str:
        keep(connection, "broken")
        raise DataError("refused")

    first = committer.submit(slow)
    assert began.wait(30)
    # These wait for the first, and go into one transaction together.
    failing = committer.submit(broken)
    good = committer.submit(lambda connection: keep(connection, "good"))
    go.set()
    with pytest.raises(DataError):
        failing.result(30)
    assert (first.result(30), good.result(30)) == ("slow", "good")
    assert kept(store) == {"slow", "good"}
    committer.close()


def test_shares_that_wait_are_one_call_and_each_fails_alone(tmp_path: Path) -> None:
    store = CreditStore(tmp_path / "credit.db")
    committer = Committer(store)
    began, go = threading.Event(), threading.Event()
    calls: list[list[str]] = []

    def together(connection: Connection, parts: Sequence[str]) -> list[str | Exception]:
        calls.append(list(parts))
        return [
            DataError("refused") if part == "bad" else keep(connection, part) for part in parts
        ]

    def broken(connection: Connection, parts: Sequence[str]) -> list[str | Exception]:
        together(connection, parts)
        raise DataError("all of them")

    def slow(_connection: Connection) -> None:
        began.set()
        assert go.wait(30)

    async def ask() -> list[object]:
        first = committer.submit(slow)
        assert await asyncio.to_thread(began.wait, 30)
        # These wait for the first, and go into one transaction with another's own work.
        waiting = [committer.share(together, part) for part in ("a", "bad", "b")]
        lost = committer.share(broken, "lost")
        gone = committer.share(together, "gone")
        gone.cancel()
        own = committer.submit(lambda connection: keep(connection, "own"))
        waiting += [lost, committer.share(together, "c")]
        go.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        first.result(30), own.result(30)
        return [type(one) if isinstance(one, Exception) else one for one in results]

    assert asyncio.run(ask()) == ["a", DataError, "b", DataError, "c"]
    assert calls == [["a", "bad", "b", "c"], ["lost"]]
    assert kept(store) == {"a", "b", "c", "own"}
    committer.close()


def test_result_is_not_told_before_it_is_on_disk(tmp_path: Path) -> None:
    store = CreditStore(tmp_path / "credit.db")
    committer = Committer(store)
    done = committer.submit(lambda connection: keep(connection, "told"))
    assert done.result(30) == "told"
    assert kept(CreditStore(tmp_path / "credit.db")) == {"told"}
    committer.close()


def test_transaction_that_ended_by_itself_is_told_to_all_of_it(tmp_path: Path) -> None:
    store = CreditStore(tmp_path / "credit.db")
    committer = Committer(store)
    began, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> str:
        began.set()
        assert go.wait(30)
        return keep(connection, "slow")

    def undone(connection: Connection) -> str:
        connection.exec_driver_sql("ROLLBACK")  # as SQLite does it when the disk is full
        raise DataError("and the work knows nothing of it")

    first = committer.submit(slow)
    assert began.wait(30)
    jobs = [
        committer.submit(lambda connection: keep(connection, "before")),
        committer.submit(undone),
        committer.submit(lambda connection: keep(connection, "behind")),
    ]
    go.set()
    assert first.result(30) == "slow"
    for job in jobs:
        with pytest.raises(StorageError):
            job.result(30)
    assert kept(store) == {"slow"}
    after = committer.submit(lambda connection: keep(connection, "after"))
    assert after.result(30) == "after"
    committer.close()


def test_closed_desk_takes_no_work_but_ends_what_it_took(tmp_path: Path) -> None:
    store = CreditStore(tmp_path / "credit.db")
    committer = Committer(store)
    done = [
        committer.submit(lambda connection, name=f"w{place}": keep(connection, name))
        for place in range(100)
    ]
    committer.close()
    assert all(one.done() for one in done)
    assert len(kept(store)) == 100
    with pytest.raises(OutOfOrderError):
        committer.submit(lambda connection: keep(connection, "late"))


def test_error_of_the_database_shows_no_parameter(tmp_path: Path) -> None:
    store = CreditStore(tmp_path / "credit.db")

    def write() -> None:
        with store.transaction() as connection, savepoint(connection):
            connection.exec_driver_sql("INSERT INTO nowhere VALUES (?)", ("Planted5551234",))

    committer = Committer(store)
    insert = "INSERT INTO nowhere VALUES (?)"
    job = committer.submit(
        lambda connection: connection.exec_driver_sql(insert, ("Planted5551234",))
    )
    with pytest.raises(StorageError) as told:
        job.result(30)
    assert "Planted5551234" not in str(told.value)
    committer.close()
    with pytest.raises(StorageError) as refused:
        write()
    assert "Planted5551234" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    CreditStore(tmp_path / "credit.db")
    assert all(one.stat().st_mode & 0o077 == 0 for one in tmp_path.glob("credit.db*"))
    (tmp_path / "credit.db").chmod(0o644)
    with pytest.raises(StorageError, match="open to others"):
        CreditStore(tmp_path / "credit.db")
