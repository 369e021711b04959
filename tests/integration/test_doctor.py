"""``riskweave doctor`` names what is broken, with the remedy, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from consortium.diagnosis import FAILED, WARNED, Found, State
from coordinator.cli import doctor_main as coordinator_doctor
from partner_node import wiring
from partner_node.cli import doctor_main
from partner_node.doctor import diagnose
from tests.node_house import Federation

NAMES = ("bank_a", "bank_b", "shop_c")


def by_check(directory: Path) -> dict[str, Found]:
    return {one.check: one for one in diagnose(directory)}


def states(found: dict[str, Found], *names: str) -> set[State]:
    return {found[name].state for name in names}


def test_fresh_node_is_told_to_join_and_no_check_stumbles(federation: Federation) -> None:
    node = federation.node("bank_a")
    found = by_check(node.config.directory)
    assert found["certificate"].state is State.SKIPPED
    assert states(found, "settings", "directory", "keys", "disk") == {State.OK}
    assert found["manifest"].state is State.FAILED
    assert "riskweave node trust" in found["manifest"].remedy
    assert found["data"].state is State.FAILED


def test_enrolled_node_with_a_coordinator_that_serves_is_well(federation: Federation) -> None:
    with federation.serving():
        federation.found(*NAMES)
        directory = federation.nodes["bank_a"].config.directory
        found = by_check(directory)
        assert states(
            found, "certificate", "coordinator", "mutual TLS", "clock", "manifest", "software"
        ) == {State.OK}, found
        assert found["serving"].state is State.WARNING
        assert found["serving"].remedy == f"riskweave node serve {directory}"


def test_coordinator_that_is_away_fails_its_checks_and_no_other(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found(*NAMES)
    found = by_check(federation.nodes["bank_a"].config.directory)
    assert states(found, "coordinator", "mutual TLS", "manifest") == {State.FAILED}
    assert states(found, "certificate", "clock", "keys", "software") == {State.OK}


def test_key_that_others_may_read_is_named(federation: Federation) -> None:
    node = federation.node("bank_a")
    (node.config.directory / "keys" / "identity.key").chmod(0o644)
    found = by_check(node.config.directory)
    assert found["keys"].state is State.FAILED
    assert "identity.key" in found["keys"].seen


def test_damaged_database_is_found(federation: Federation) -> None:
    node = federation.node("bank_a")
    store = node.store()
    store.close()
    path = node.config.database
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)
    found = by_check(node.config.directory)
    assert found["database"].state is State.FAILED
    assert "backup" in found["database"].remedy


def test_expired_certificate_is_named_with_the_command_that_renews_it(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with federation.serving():
        federation.found(*NAMES)
    node = federation.nodes["bank_a"]
    until = node.keys.certificate_until(node.config.partner)
    assert until is not None
    monkeypatch.setattr(wiring, "now", lambda: until - 86_400)
    assert by_check(node.config.directory)["certificate"].state is State.WARNING
    monkeypatch.setattr(wiring, "now", lambda: until + 1)
    late = by_check(node.config.directory)["certificate"]
    assert late.state is State.FAILED
    assert "join" in late.remedy
    assert "--renew" in late.remedy
    monkeypatch.setattr(wiring, "now", lambda: 1)
    assert by_check(node.config.directory)["clock"].state is State.FAILED


def test_directory_that_is_no_node_ends_at_the_first_check(tmp_path: Path) -> None:
    (only,) = diagnose(tmp_path)
    assert (only.check, only.state) == ("settings", State.FAILED)


def test_exit_status_tells_a_script_whether_anything_is_wrong(
    federation: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    with federation.serving():
        federation.found(*NAMES)
        directory = str(federation.nodes["bank_a"].config.directory)
        assert doctor_main([directory, "--json"]) == FAILED  # there is no data yet
        seen = {one["check"]: one["state"] for one in json.loads(capsys.readouterr().out)}
        assert seen["data"] == "failed"
        home = str(federation.root / "c")
        assert coordinator_doctor([home]) == WARNED  # nobody is connected
    out = capsys.readouterr().out
    assert "database" in out
    assert "-> riskweave coordinator serve" in out


def test_doctor_runs_as_a_program_on_its_own(federation: Federation) -> None:
    node = federation.node("bank_a")
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "riskweave", "doctor", str(node.config.directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == FAILED
    assert "riskweave node join" in done.stdout
    assert "Traceback" not in done.stderr
