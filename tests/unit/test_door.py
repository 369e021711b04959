"""The door itself: lazy roles, one-line errors, exit statuses."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


BLOCKED = """
import sys
sys.modules["sqlalchemy"] = None  # as if it were not installed
from riskweave import main
sys.exit(main(["node", "status", "/nowhere"]))
"""


def test_role_missing_from_the_image_names_the_extra_that_installs_it() -> None:
    done = run(BLOCKED)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'riskweave[node]'" in done.stderr


def test_door_imports_no_role_before_one_is_chosen() -> None:
    code = (
        "import sys; from riskweave import main; main(['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in"
        " ('coordinator', 'partner_node', 'rehearsal', 'grpc', 'flwr', 'torch')])"
    )
    assert run(code).stdout.strip().endswith("[]")


def test_node_commands_load_neither_flower_nor_torch_nor_the_coordinator() -> None:
    code = (
        "import sys; from riskweave import main; main(['node', 'status', '/nowhere']);"
        "print([m for m in sys.modules if m in"
        " ('coordinator', 'rehearsal', 'flwr', 'torch', 'duckdb')])"
    )
    assert run(code).stdout.strip() == "[]"


def test_error_is_one_line_and_shows_its_origin_only_when_asked() -> None:
    code = "import sys; from riskweave import main; sys.exit(main({}))"
    quiet = run(code.format(["node", "status", "/nowhere"]))
    assert quiet.returncode == 1
    assert quiet.stderr.startswith("error: /nowhere/node.toml: ")
    for loud in (
        run(code.format(["--debug", "node", "status", "/nowhere"])),
        run(code.format(["node", "status", "/nowhere"]), RISKWEAVE_DEBUG="1"),
    ):
        assert loud.returncode == 1
        assert "Traceback" in loud.stderr
