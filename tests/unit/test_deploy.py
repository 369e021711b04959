"""The containers' example is the rehearsal's, and its files keep what they promise."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from coordinator.config import parse_policy
from partner_node.config import TEMPLATE_HEAD, parse_config
from rehearsal.config import load_rehearsal

ROOT = Path(__file__).resolve().parents[2]
TAIWAN = ROOT / "deploy" / "taiwan"
PARTNERS = ("bank_a", "bank_b", "platform_c", "platform_d")
rehearsal = load_rehearsal(ROOT / "examples" / "taiwan" / "rehearsal.toml")


def test_policy_and_plan_are_those_of_the_rehearsal() -> None:
    policy = TAIWAN / "policy.toml"
    assert parse_policy(policy.read_text(encoding="utf-8"), "policy") == rehearsal.policy
    plan = (TAIWAN / "plan.toml").read_text(encoding="utf-8")
    assert tomllib.loads(plan) == tomllib.loads(rehearsal.plan_text)
    head = rehearsal.head
    assert head is not None
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert f'RISKWEAVE_HEAD_EPSILON: "{head.epsilon}"' in compose


@pytest.mark.parametrize("name", PARTNERS)
def test_settings_of_a_node_are_those_of_the_rehearsal(name: str) -> None:
    party = rehearsal.party(name)
    text = (TAIWAN / f"{name}.toml").read_text(encoding="utf-8")
    config = parse_config(TEMPLATE_HEAD.format(partner=name) + text, Path("/n/node.toml"))
    assert config.data is not None
    assert config.data.query == party.query.replace("../../build/taiwan/", "")
    assert (config.data.person, config.data.label) == (party.person, party.label)
    assert config.budget.run_epsilon == party.run_epsilon
    assert config.budget.lifetime_epsilon == party.lifetime_epsilon
    assert config.scoring.study_consent == party.study_consent


def test_every_program_of_the_images_is_executable_and_stops_at_the_first_error() -> None:
    programs = sorted((ROOT / "deploy" / "bin").iterdir())
    assert len(programs) == 8
    for program in programs:
        assert program.stat().st_mode & 0o111, program.name
        if program.name == "probe":
            continue
        lines = program.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "#!/bin/sh"
        assert "set -eu" in lines


def test_second_replica_is_made_from_a_backup_and_updated_by_hand() -> None:
    """A new identity would be refused by the database, and a standby is never ready."""
    program = (ROOT / "deploy" / "bin" / "run-coordinator").read_text(encoding="utf-8")
    assert program.index("coordinator restore /identity") < program.index("coordinator init")
    manifests = (ROOT / "deploy" / "kubernetes" / "coordinator.yaml").read_text(
        encoding="utf-8"
    )
    (state,) = [one for one in yaml.safe_load_all(manifests) if one["kind"] == "StatefulSet"]
    assert state["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert state["spec"]["podManagementPolicy"] == "Parallel"
    (server,) = state["spec"]["template"]["spec"]["containers"]
    assert "--ready" in server["readinessProbe"]["exec"]["command"]
    assert "--ready" not in server["livenessProbe"]["exec"]["command"]
    assert {"name": "identity", "mountPath": "/identity", "readOnly": True} in server[
        "volumeMounts"
    ]


def test_nothing_that_is_run_over_and_over_starts_the_program() -> None:
    """A health check or a loop that costs a second of CPU starves a small machine."""
    texts = [ROOT / "docker-compose.yml", *(ROOT / "deploy" / "kubernetes").rglob("*.yaml")]
    probes = [
        line
        for text in texts
        for line in text.read_text(encoding="utf-8").splitlines()
        if re.search(r"^\s*(test:|exec:)", line)
    ]
    assert sum("probe" in line for line in probes) == 8
    assert not [line for line in probes if "riskweave, " in line or "riskweave node" in line]
    for program in (ROOT / "deploy" / "bin").glob("run-*"):
        text = program.read_text(encoding="utf-8")
        for command, pause in re.findall(r"until (riskweave.*?); do sleep (\d+)", text):
            assert int(pause) >= 10, command
