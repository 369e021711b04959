"""The regulator's program in an environment of its own: its dependencies, no network, no torch.

Wheels are collected once (from pip's cache or index); everything after that is offline.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consortium.ledger.archive import pack
from tests.ledger_house import House

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]

NEVER = {
    *("torch", "opacus", "grpcio", "flwr", "sqlalchemy", "duckdb", "pyarrow", "fastapi"),
    *("scikit-learn", "matplotlib", "jinja2", "rbcl", "pytest"),
}
"""What the parties have and the regulator needs nothing of."""

HOOK = """
import sys

def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.bind", "subprocess.Popen"}:
        raise RuntimeError(f"{event} in an audit")

sys.addaudithook(refuse)
"""
"""Put into the environment as ``sitecustomize``: an audit that calls anybody ends there."""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(  # noqa: S603 - fixed commands
        [str(one) for one in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def riskweave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment that was installed without an index."""
    place = tmp_path_factory.mktemp("alone")
    ignored = shutil.ignore_patterns(".*", "build", "tests", "bench", "*.egg-info", "data")
    shutil.copytree(ROOT, place / "source", ignore=ignored)
    wheels, env = place / "wheels", place / "env"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    limits = ROOT / "constraints.txt"
    package = f"{place / 'source'}[regulator]"
    run(*pip, "wheel", "-q", "-c", limits, "-w", wheels, package, cwd=place)
    run(sys.executable, "-m", "venv", env, cwd=place)
    install = ("install", "-q", "--no-index", "--find-links", wheels, "riskweave[regulator]")
    run(env / "bin" / "python", "-m", "pip", *install, cwd=place)
    (packages,) = env.glob("lib/python*/site-packages")
    (packages / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    return env / "bin" / "riskweave"


def test_regulator_installs_with_its_own_dependencies_only(riskweave: Path) -> None:
    (packages,) = riskweave.parents[1].glob("lib/python*/site-packages")
    found = {one.name.split("-")[0].lower().replace("_", "-") for one in packages.iterdir()}
    assert {"reportlab", "dp-accounting", "numpy", "cryptography"} <= found
    assert not NEVER & found


def test_regulator_alone_verifies_reports_and_writes_artefacts_offline(
    riskweave: Path, tmp_path: Path
) -> None:
    house = House(silos=3, rounds=1).run()
    (tmp_path / "bundle.zip").write_bytes(pack(house.bundle()))
    words = ("bundle.zip", "--manifest", house.manifest.digest)
    shown = run(riskweave, "audit", "verify", *words, cwd=tmp_path)
    assert shown.endswith("verdict: verified\n")
    run(riskweave, "audit", "report", *words, "--out", "report", "--pdf", cwd=tmp_path)
    assert (tmp_path / "report" / "report.zh.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((tmp_path / "report" / "sp800-226.json").read_text("utf-8"))["items"]
    run(riskweave, "audit", "artefacts", *words, "--out", "artefacts", cwd=tmp_path)
    assert len(list((tmp_path / "artefacts").iterdir())) == 18


def test_other_roles_say_that_they_are_not_installed_here(riskweave: Path) -> None:
    done = subprocess.run(  # noqa: S603 - fixed command
        [str(riskweave), "node", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
