"""``riskweave node tokenize`` against a serving process that is killed in the middle."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consortium.ids import PartnerId
from tests.integration.test_joint_score import WAIT_S, Joint, _until
from tests.joint_house import FAMILIES, write_table
from tests.node_house import Loop

NAME = "bank_a"
CUSTOMERS = 6_000
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "RISKWEAVE_LOG": "WARNING"}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "riskweave", "node", *map(str, words)]


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> Iterator[Joint]:
    found = Joint(tmp_path_factory.mktemp("load"), loop, processes=(NAME,))
    rows: dict[str, float | None] = {f"C{number}": 0.5 for number in range(CUSTOMERS)}
    write_table(found.root / NAME / "table.csv", FAMILIES[NAME], rows)
    yield found
    found.close()


@contextlib.contextmanager
def served(directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(command("serve", directory), env=ENVIRONMENT) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def tokens(directory: Path) -> int:
    database = f"file:{directory / 'scoring.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM pseudonyms").fetchone()[0])


def test_load_goes_on_after_kill_9_of_the_serving_process(joint: Joint) -> None:
    directory = joint.root / NAME
    sessions = [live.session for live in joint.nodes.values()]
    with served(directory) as process:
        joint.loop.call(
            _until(lambda: all(one.status().epoch_installed for one in sessions)), WAIT_S
        )
        with subprocess.Popen(  # noqa: S603
            command("tokenize", directory), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
        ) as loading:
            assert loading.stdout is not None
            lines = []
            for line in loading.stdout:
                lines.append(line)
                if line.startswith("4,096 of"):
                    process.kill()
            assert loading.wait(60) != 0
    before = tokens(directory)
    assert 4_096 <= before < CUSTOMERS
    with served(directory):
        joint.loop.call(_until(lambda: PartnerId(NAME) in sessions[0].status().roster), WAIT_S)
        done = subprocess.run(  # noqa: S603
            command("tokenize", directory),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"{CUSTOMERS:,} of {CUSTOMERS:,} persons" in done.stdout
        status = subprocess.run(  # noqa: S603
            command("status", directory, "--json"),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f'"tokens": {CUSTOMERS}' in status.stdout, status.stdout + status.stderr
    assert tokens(directory) == CUSTOMERS
