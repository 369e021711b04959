"""Closure risk with real processes on loopback: lines at home, a model of all, votes, an audit.

Persons are SYNTHETIC (``examples.ecosystem``).
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator import cli as coordinator_cli
from coordinator import control
from examples.ecosystem import PROFILES, generate
from examples.ecosystem.files import lines_table
from examples.ecosystem.people import identifiers
from partner_node import cli as node_cli
from partner_node.credit import cli as desk_cli
from regulator import cli as regulator_cli
from tests.integration.federation import Federation, Run, write_rehearsal
from tests.simulator import FAMILIES

pytestmark = pytest.mark.slow

MARKET = replace(PROFILES["standard"], persons=20_000, months=16, withdrawn_in=99)
PLAN = """
[plan]
model = "hazard"
clip = "3"
rounds = 6
epsilon = "8"
holdout_salt = "test"
holdout_fraction = "0.3"

[optimizer]
learning_rate = "0.3"

[[block]]
name = "lines"
normaliser = 30000
"""


def write_lines(live: Federation, market: Path) -> None:
    """Each node's table of lines, where its rules say so."""
    observed, _ = generate(MARKET, 1)
    names = np.asarray(identifiers(np.arange(MARKET.persons)))
    for name, partner in zip(FAMILIES, observed.partners, strict=True):
        file = market / f"SYNTHETIC_{name}_lines.parquet"
        pq.write_table(lines_table(observed, partner, names), file)
        rules = live.directory(name) / "credit"
        rules.mkdir(exist_ok=True)
        text = f"query = \"SELECT * FROM '{file}'\"\n"  # noqa: S608 - a path of the test
        (rules / "lines.toml").write_text(text, encoding="utf-8")


def test_lines_stay_at_home_and_every_node_foresees_its_own_closures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rehearsal(tmp_path / "plan", rounds=2)
    text = file.read_text(encoding="utf-8")
    wide = text.replace("max_partners_per_person = 2", "max_partners_per_person = 4")
    file.write_text(wide, encoding="utf-8")
    with Federation.running(tmp_path, file) as live:
        write_lines(live, tmp_path)
        run = Run(control.start_run(live.places.control_socket, PLAN))
        end = run.wait_for_end()
        assert end.stage == "finished", end
        for name in FAMILIES:
            node = str(live.directory(name))
            assert node_cli.main(["validate", node, end.version]) == 0
            assert node_cli.main(["accept", node, end.version]) == 0
        with live.store() as store:
            assert store.models.active() is None, "it serves no scores"
            assert live.model_row(end.version).status == "active"
        live.steps.wait_for_witnesses()
        bundle = tmp_path / "audit.zip"
        manifest = live.steps._manifest()
        words = ["bundle", str(live.places.coordinator), str(bundle)]
        assert coordinator_cli.main(words) == 0
        assert regulator_cli.main(["verify", str(bundle), "--manifest", manifest]) == 0
        capsys.readouterr()
        out = tmp_path / "paper"
        node = str(live.directory("bank_a"))
        assert desk_cli.main(["closure-risk", node, "--report", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["title"] == "SYNTHETIC: closure risk"
    assert found["version"] == end.version
    portfolio, dormant, _ = found["groups"]
    assert portfolio["lines"] == len(found["lines"]) > 3_000
    assert dormant["closure"] > 3 * portfolio["closure"]
    for one in found["lines"]:
        assert sum(one["by_cause"].values()) <= 1_000_000
    assert sorted(path.name for path in out.iterdir()) == [
        "SYNTHETIC_closure_risk.csv",
        "SYNTHETIC_closure_risk.html",
        "SYNTHETIC_closure_risk.json",
    ]
    assert b"SYN-" not in (live.places.coordinator / "coordinator.db").read_bytes()
