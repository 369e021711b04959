"""Backups made while the parties work, put back, and an older coordinator that is noticed."""

import io
import json
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import coordinator.wiring as operator
from consortium.errors import (
    ConfigurationError,
    DigestMismatchError,
    RollbackError,
    StorageError,
)
from consortium.ids import Digest
from consortium.ledger.entries import Incident
from coordinator import cli as operator_cli
from partner_node import cli as node_cli
from partner_node import wiring
from partner_node.witnessing import Witnessing
from tests.node_house import Federation, Loop
from upkeep.backup import INDEX, Facts, restore_backup, write_backup

FACTS = Facts(role="node", name="bank_a", software="test/1", made_at=7, files={})


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    loop = Loop()
    yield Federation(tmp_path / "f", loop)
    loop.close()


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A small directory, and its backup."""
    directory, out = tmp_path / "node", tmp_path / "out.tar"
    (directory / "keys").mkdir(parents=True)
    (directory / "keys" / "identity.key").write_bytes(b"secret")
    (directory / "clients.parquet").write_bytes(b"rows of persons")
    with closing(sqlite3.connect(directory / "node.db")) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)"
        )
        write_backup(directory, out, FACTS)  # while the database is open, its log not empty
    return directory, out


def grow(desk: operator.Desk, count: int) -> None:
    for number in range(count):
        entry = desk.log.entry(Incident(kind=f"entry {number}", text=Digest("ab" * 32)))
        desk.log.append([entry])


def asked(node: wiring.Desk, witness: Witnessing) -> None:
    with node.door() as door:
        witness.ask(door)


def test_older_coordinator_that_was_restored_is_refused_and_a_fresh_one_is_not(
    federation: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = federation.root / "c"
    with federation.serving(logged=True):
        federation.found("bank_a", "bank_b")
        nodes = list(federation.nodes.values())
        for node in nodes:
            node.completed_pin()
        witnesses = [wiring.witnessing(node, wiring.mirror_of(node)) for node in nodes]
        for _ in range(2):
            for node, witness in zip(nodes, witnesses, strict=True):
                asked(node, witness)
        assert operator_cli.main(["backup", str(home), str(tmp_path / "old")]) == 0
        grow(federation.desk, 3)
        for _ in range(2):
            for node, witness in zip(nodes, witnesses, strict=True):
                asked(node, witness)
        assert operator_cli.main(["backup", str(home), str(tmp_path / "fresh")]) == 0
    federation.desk.store.close()
    entries = len(federation.desk.store.log.entries())
    for name, after in (("fresh", entries), ("old", entries - 3)):
        home.rename(tmp_path / f"lost-before-{name}")
        assert operator_cli.main(["restore", str(tmp_path / name), str(home)]) == 0
        assert "shorter" in capsys.readouterr().out
        federation.desk = operator.open_desk(home)
        assert len(federation.desk.store.log.entries()) == after
        with federation.serving(logged=True):
            if name == "fresh":
                asked(nodes[0], witnesses[0])
                continue
            grow(federation.desk, 1)
            with pytest.raises(RollbackError):
                asked(nodes[0], witnesses[0])
            assert "log.rollback" in witnesses[0].silence(), "nobody is answered any more"
    assert nodes[0].store().log.incident() is not None
    assert nodes[1].store().log.incident() is None, "it has not asked yet"


def test_node_is_made_again_with_keys_budget_and_what_left(
    federation: Federation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with federation.serving(logged=True):
        federation.found("bank_a", "bank_b")
    node = federation.nodes["bank_a"]
    node.store().close()
    home, out, again = node.config.directory, tmp_path / "out", tmp_path / "again"
    assert node_cli.main(["backup", str(home), str(out)]) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert node_cli.main(["restore", str(out), str(again)]) == 0
    assert "--accept-log" in capsys.readouterr().out
    other = wiring.open_desk(again)
    other.keys.check_modes()
    assert other.keys.identity().public == node.keys.identity().public
    assert other.known_pin().digest == node.known_pin().digest
    assert other.left().rows() == node.left().rows() != ()
    assert all(not path.stat().st_mode & 0o077 for path in (again, *again.rglob("*")))
    with pytest.raises(ConfigurationError, match="is a backup of a node"):
        operator_cli.main(["restore", str(out), str(tmp_path / "c")])


def test_rows_and_side_files_stay_out_and_an_open_database_is_whole(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    directory, out = made
    facts = restore_backup(out, tmp_path / "again", "node")
    assert set(facts.files) == {"keys/identity.key", "node.db"}
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"keys", "node.db"}
    with closing(sqlite3.connect(tmp_path / "again" / "node.db")) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [(1,)]
    for where in (out, directory / "within.tar"):
        with pytest.raises(ConfigurationError):
            write_backup(directory, where, FACTS)
    with pytest.raises(ConfigurationError, match="not empty"):
        restore_backup(out, directory, "node")


def test_backup_beside_a_writer_is_of_one_moment(tmp_path: Path) -> None:
    """Two tables that a writer keeps equal are equal in every backup."""
    directory = tmp_path / "node"
    directory.mkdir()
    path, stop = directory / "node.db", threading.Event()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE a (x); CREATE TABLE b (x)"
        )

    def write() -> None:
        with closing(sqlite3.connect(path)) as database:
            while not stop.is_set():
                with database:
                    database.execute("INSERT INTO a VALUES (zeroblob(3000))")
                    database.execute("INSERT INTO b VALUES (zeroblob(3000))")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            write_backup(directory, tmp_path / f"{number}.tar", FACTS)
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        restored = tmp_path / f"again {number}"
        restore_backup(tmp_path / f"{number}.tar", restored, "node")
        with closing(sqlite3.connect(restored / "node.db")) as database:
            count = "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"
            one, other = database.execute(count).fetchone()
        assert one == other


def test_damaged_and_forged_backups_leave_nothing_behind(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    _, out = made
    whole, again = out.read_bytes(), tmp_path / "again"
    out.write_bytes(whole.replace(b"secret", b"Secret"))
    with pytest.raises(DigestMismatchError):
        restore_backup(out, again, "node")
    for cut in (0, 100, len(whole) // 2):
        out.write_bytes(whole[:cut])
        with pytest.raises((ConfigurationError, StorageError)):
            restore_backup(out, again, "node")
    for name in ("../outside", "/tmp/outside", "keys/../../outside"):  # noqa: S108 - an attack
        out.write_bytes(_forged(name))
        with pytest.raises(ConfigurationError, match="does not belong"):
            restore_backup(out, again, "node")
    assert not again.exists()
    assert not (tmp_path / "outside").exists()
    assert not list(tmp_path.glob(".restoring*"))


def _forged(name: str) -> bytes:
    buffer = io.BytesIO()
    index = {
        "form": "riskweave backup 1",
        "role": "node",
        "name": "x",
        "software": "x",
        "made_at": 1,
        "files": {name: "00" * 32},
    }
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, text in ((name, b"x"), (INDEX, json.dumps(index).encode())):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()
