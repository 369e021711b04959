"""``riskweave doctor`` names what is broken, with the remedy, and nothing else."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.diagnosis import FAILED, WARNED, Found, State
from coordinator import doctor as operators
from coordinator import wiring as operator
from coordinator.cli import doctor_main as coordinator_doctor
from partner_node import doctor, joining, wiring
from partner_node.cli import doctor_main
from partner_node.cli import main as node_main
from partner_node.doctor import diagnose
from tests.node_house import POLICY, Federation, free_address

NAMES = ("bank_a", "bank_b", "shop_c")


def by_check(directory: Path) -> dict[str, Found]:
    return {one.check: one for one in diagnose(directory)}


SEVEN = {
    # what is looked at: at the node, at the coordinator
    "clock": ("clock", "clock"),
    "reachability": ("coordinator", "doors"),
    "certificates": ("certificate", "certificates"),
    "manifest": ("manifest", "manifest"),
    "disk": ("disk", "disk"),
    "data": ("data", "data"),
    "versions": ("software", "software"),
}
"""What a doctor must look at; each is broken by a test below, at both."""


def at_operator(federation: Federation) -> dict[str, Found]:
    return {one.check: one for one in operators.diagnose(federation.root / "c")}


def failing(found: dict[str, Found], name: str, state: State = State.FAILED) -> Found:
    """The check of that name, which must be in that state and say what to do."""
    assert found[name].state is state, found[name]
    assert found[name].remedy, name
    return found[name]


def test_both_doctors_look_at_all_seven(federation: Federation) -> None:
    node = by_check(federation.node("bank_a").config.directory)
    coordinator = at_operator(federation)
    for what, (here, there) in SEVEN.items():
        assert here in node, what
        assert there in coordinator, what


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


def test_file_that_is_gone_when_it_is_looked_at_is_no_fault(federation: Federation) -> None:
    node = federation.node("bank_a")
    (node.config.directory / "node.db-gone").symlink_to("nowhere")
    assert by_check(node.config.directory)["directory"].state is State.OK


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


def test_clock_that_differs_from_the_coordinators_is_told_both_ways(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = wiring.now
    with federation.serving():
        federation.found(*NAMES)
        node = federation.nodes["bank_a"].config.directory
        for skew, state in (
            (1, State.OK),
            (-9, State.WARNING),
            (9, State.WARNING),
            (-60, State.FAILED),
            (60, State.FAILED),
        ):
            monkeypatch.setattr(wiring, "now", lambda skew=skew: honest() + skew)
            found = by_check(node)["clock"]
            assert found.state is state, found
            assert bool(found.remedy) == (state is not State.OK)


def test_clock_behind_the_newest_cosigned_head_is_found_without_a_coordinator(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found(*NAMES)
    node = federation.nodes["bank_a"]
    node.store().log.keep_seen(9, b"note", wiring.now() + 100)
    assert "behind the log" in failing(by_check(node.config.directory), "clock").seen


def test_disk_that_is_nearly_full_warns_and_one_that_is_full_fails(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = federation.node("bank_a").config.directory
    for module, look in (
        (doctor, lambda: by_check(node)),
        (operators, lambda: at_operator(federation)),
    ):
        monkeypatch.setattr(module, "LITTLE_BYTES", 1 << 60)
        failing(look(), "disk", State.WARNING)
        monkeypatch.setattr(module, "TOO_LITTLE_BYTES", 1 << 60)
        failing(look(), "disk")


def test_software_that_the_manifest_does_not_name_is_told_at_both(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = replace(POLICY, code=(wiring.code_digest(),))
    with federation.serving():
        for name in NAMES:
            federation.join(name)
        manifest = federation.desk.membership.propose("test", federation.desk.schema, policy)
        for node in federation.nodes.values():
            joining.trust(node, joining.proposed(node, manifest.digest))
    home = federation.nodes["bank_a"].config.directory
    assert (
        by_check(home)["software"].state
        is at_operator(federation)["software"].state
        is State.OK
    )
    for module in (wiring, operator):
        monkeypatch.setattr(module, "code_digest", lambda: "0" * 64)
    assert "000000000000" in failing(by_check(home), "software").seen
    assert "000000000000" in failing(at_operator(federation), "software").seen


def test_table_that_is_gone_is_told_with_the_command_that_explains_it(
    federation: Federation,
) -> None:
    directory = federation.node("bank_a").config.directory
    settings = directory / "node.toml"
    table = '[data]\nquery = "SELECT * FROM \'gone.parquet\'"\nperson = "p"\nlabel = "l"\n'
    settings.write_text(settings.read_text().replace("[data]\n", table))
    found = failing(by_check(directory), "data")
    assert "gone.parquet" in found.seen
    assert found.remedy == f"riskweave node check-data {directory}"


def test_coordinators_doors_are_dialled(federation: Federation) -> None:
    assert at_operator(federation)["doors"].state is State.SKIPPED
    settings = federation.root / "c" / "coordinator.toml"
    with federation.serving():
        assert at_operator(federation)["doors"].state is State.OK
        text = settings.read_text()
        public = f'[listen]\nfederation_public = "{free_address()}"\n'
        settings.write_text(re.sub(r"\[listen\].*\n", public, text))
        found = failing(at_operator(federation), "doors", State.WARNING)
        assert "partners dial it" in found.seen


def test_coordinators_manifest_is_missing_then_lacks_signatures_then_is_in_force(
    federation: Federation,
) -> None:
    failing(at_operator(federation), "manifest")
    with federation.serving():
        for name in NAMES:
            federation.join(name)
        manifest = federation.propose()
        first = federation.nodes["bank_a"]
        joining.trust(first, joining.proposed(first, manifest.digest))
        found = failing(at_operator(federation), "manifest", State.WARNING)
        assert "bank_b, shop_c" in found.seen
        for name in NAMES[1:]:
            node = federation.nodes[name]
            joining.trust(node, joining.proposed(node, manifest.digest))
        assert at_operator(federation)["manifest"].state is State.OK


def test_coordinators_schema_that_is_not_the_manifests_is_found(
    federation: Federation,
) -> None:
    with federation.serving():
        federation.found(*NAMES)
    assert at_operator(federation)["data"].state is State.OK
    schema = federation.root / "c" / "schema.toml"
    schema.write_text(schema.read_text().replace("version = 1", "version = 2", 1))
    failing(at_operator(federation), "data")


def test_coordinators_certificates_and_clock(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = operator.now
    assert states(at_operator(federation), "certificates", "clock") == {State.OK}
    monkeypatch.setattr(operator, "now", lambda: honest() + 30 * 365 * 86_400)
    assert "rotate" in failing(at_operator(federation), "certificates").remedy
    monkeypatch.setattr(operator, "now", lambda: 1)
    assert "timedatectl" in failing(at_operator(federation), "clock").remedy


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


def test_joining_signs_nothing_and_trusting_serves_nothing_that_is_broken(
    federation: Federation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = federation.root / "bank_a"
    table = federation.root / "t.csv"
    names = ("ID", "bad", *(f"PAY_{month}" for month in (0, 2, 3, 4, 5, 6)))
    table.write_text(",".join(names) + "\nx,0,0,0,0,0,0,0\ny,1,2,2,2,2,2,2\n")
    settings = federation.root / "bank_a.toml"
    query = f"SELECT * FROM '{table}'"  # noqa: S608 - a path of this test
    settings.write_text(f'[data]\nquery = "{query}"\nperson = "ID"\nlabel = "bad"\n')
    with federation.serving():
        for name in NAMES[1:]:
            federation.join(name)
        token = str(federation.token("bank_a"))
        words = ["join", str(directory), "--token", token]
        assert node_main([*words, "--settings", str(settings)]) == 0
        said = capsys.readouterr().out
        assert "bank_a has joined" in said
        assert " of 15 without a remark" in said
        manifest = federation.propose()
        assert node_main([*words, "--wait"]) == 0
        said = capsys.readouterr().out
        assert f"riskweave node trust {directory} {manifest.digest} --serve" in said
        assert federation.desk.membership.bundle(None).signatures == ()
        monkeypatch.setattr(doctor, "TOO_LITTLE_BYTES", 1 << 60)
        assert node_main(["trust", str(directory), manifest.digest, "--serve"]) == FAILED
    said = capsys.readouterr().out
    assert "still to sign: bank_b, shop_c" in said
    assert "not served; when it is mended" in said
