"""A real federation with a table that does not fit, and with a model that was changed."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.errors import DataError, DigestMismatchError
from partner_node import cli as node_cli
from partner_node.storage import NodeStore
from tests.integration.federation import Federation, rows_of, write_table


def test_table_without_a_column_is_refused_as_r22_and_explained_at_home_only(
    live: Federation,
) -> None:
    table = live.rehearsal.directory / "shop_d.parquet"
    write_table(table, f"SELECT person, late, bad FROM ({rows_of('shop_d')})")  # noqa: S608
    told = len(live.log_of("coordinator"))
    try:
        end = live.start_run().wait_for_end()
        with pytest.raises(DataError, match="used"):
            node_cli.main(["check-data", str(live.directory("shop_d"))])
    finally:
        write_table(table, rows_of("shop_d"))
    assert end.stage == "finished", "the others go on"
    assert all("shop_d" not in one.roster for one in live.attempts(end.run))
    heard = live.log_of("coordinator")[told:]
    assert "shop_d refused the plan: R22\n" in heard, "the code, and no word more"
    (line,) = [one for one in live.log_of("shop_d").splitlines() if "does not fit" in one]
    assert "no column 'used'" in line
    assert not live.debits("shop_d", end.run)
    with contextlib.closing(_node_store(live.directory("shop_d"))) as store:
        assert end.run not in store.open_runs(), "nothing stays reserved"


def test_model_that_is_not_what_its_version_says_is_neither_tested_nor_accepted(
    live: Federation,
) -> None:
    version = live.start_run().wait_for_end().version
    node = str(live.directory("bank_a"))
    with _tampered(live, version):
        for verb in (["validate"], ["accept"], ["refuse", "--reason", "other"]):
            with pytest.raises(DigestMismatchError):
                node_cli.main([verb[0], node, version, *verb[1:]])
    with live.store() as store:
        assert not store.models.votes(live.model_row(version).version)
    with contextlib.closing(_node_store(live.directory("bank_a"))) as kept:
        assert kept.versions.model(live.model_row(version).version) is None
        assert not [one for one in kept.versions.votes() if one.version == version]
    assert node_cli.main(["validate", node, version]) == 0, "the true one passes"
    assert node_cli.main(["accept", node, version]) == 0


@contextlib.contextmanager
def _tampered(live: Federation, version: str) -> Iterator[None]:
    """The coordinator's database with one digit of the model's document changed."""
    document = live.model_row(version).document
    forged = document.replace(b'"clip":"1"', b'"clip":"2"')
    assert forged != document
    database = live.places.coordinator / "coordinator.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        change = "UPDATE models SET document = ? WHERE version = ?"
        with connection:
            connection.execute(change, [forged, version])
        try:
            yield
        finally:
            with connection:
                connection.execute(change, [document, version])


def _node_store(directory: Path) -> NodeStore:
    return NodeStore(directory / "node.db", now=lambda: 0)
