"""The containers' example is the rehearsal's, and its files keep what they promise."""

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from coordinator.config import parse_policy
from partner_node.config_reading import parse_config
from partner_node.config_text import TEMPLATE_HEAD
from rehearsal.config_reading import load_rehearsal

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
    assert len(programs) == 9
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


MANIFESTS = ROOT / "deploy" / "kubernetes"


def _kubernetes() -> list[dict[str, Any]]:
    """Every object of every manifest."""
    found = []
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        found += list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return found


def test_kubernetes_has_the_parts_that_compose_has_and_each_file_is_applied() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    parts = {"coordinator", "regulator", "db", "node"}
    nodes = {"bank_a", "bank_b", "platform_c", "platform_d"}
    by_hand = {"operator", "data"}  # a shell at the coordinator; the example's own tables
    patched = {"standby"}  # the coordinator's own set with two replicas
    assert set(compose["services"]) == (parts - {"node"}) | nodes | by_hand | patched
    sets = {
        one["metadata"]["name"]: one for one in _kubernetes() if one["kind"] == "StatefulSet"
    }
    assert set(sets) == parts
    applied = {
        (path.parent / name).resolve()
        for path in MANIFESTS.rglob("kustomization.yaml")
        for name in yaml.safe_load(path.read_text(encoding="utf-8"))["resources"]
        if name.endswith(".yaml")
    }
    files = {path for path in MANIFESTS.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert applied == files
    for name, one in sets.items():
        (container,) = one["spec"]["template"]["spec"]["containers"]
        assert (ROOT / "deploy" / "bin" / container["command"][0]).exists(), name


def test_every_pod_is_hardened_and_has_a_network_policy_of_its_own() -> None:
    objects = _kubernetes()
    policies = {
        one["spec"]["podSelector"]["matchLabels"]["app"]: one["spec"]
        for one in objects
        if one["kind"] == "NetworkPolicy"
    }
    services = {one["metadata"]["name"] for one in objects if one["kind"] == "Service"}
    for one in objects:
        if one["kind"] != "StatefulSet":
            continue
        assert one["spec"]["replicas"] == 1, "keys and log are in one place at a time"
        assert one["spec"]["serviceName"] in services
        pod, labels = (
            one["spec"]["template"]["spec"],
            one["spec"]["template"]["metadata"]["labels"],
        )
        assert set(policies[labels["app"]]["policyTypes"]) == {"Ingress", "Egress"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        assert all("limits" in container["resources"] for container in pod["containers"])
    for app in ("riskweave-node", "riskweave-regulator"):
        assert policies[app]["ingress"] == [], "nobody dials it"


@pytest.mark.slow
def test_manifests_are_what_the_api_of_kubernetes_takes() -> None:
    """Against the API's own schema, strictly: an unknown field is an error."""
    for version in ("1.30", "1.37"):
        for one in _kubernetes():
            if one["kind"] != "Kustomization":
                kubernetes_validate.validate(one, version, strict=True)


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
