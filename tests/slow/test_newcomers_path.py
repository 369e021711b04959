"""A new engineer's path: the six commands of README.md, as they stand there, and a node trains.

Nothing is added to them but what people do between them: the token and the digest are carried
from one directory to the others, and names that only exist in a README are put right.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coordinator.storage import Store
from examples.taiwan.cut import cut
from rehearsal.processes import free_ports, riskweave

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PARTNERS = ("bank_a", "bank_b", "platform_c")
MOST_COMMANDS, MOST_SECONDS = 6, 180
PATIENCE_S = 240


@dataclass(frozen=True)
class Command:
    """One line of the README's block."""

    partners: bool
    """Typed at each partner, or once at the operator."""
    words: tuple[str, ...]
    stays: bool


def commands() -> list[Command]:
    """The lines of the block after ``<!-- six commands -->``."""
    block = README.split("<!-- six commands -->\n```\n")[1].split("```")[0]
    found, partners = [], False
    for line in block.splitlines():
        if line.startswith("# "):
            partners = line.startswith("# each partner")
        elif line:
            _, _, remark = line.partition("#")
            words = tuple(shlex.split(line, comments=True))
            found.append(Command(partners, words, "stays" in remark))
    return found


def toml_with(table: str) -> str:
    """The README's TOML block that has this table."""
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (found,) = [block for block in blocks if f"[{table}]" in block]
    return found


@dataclass
class Machines:
    """A directory for the operator, one for each partner; what was started there."""

    root: Path
    said: dict[str, str]
    """Word of the README -> what it stands for here."""
    running: dict[tuple[str, str], subprocess.Popen[str]] = field(default_factory=dict)

    def log(self, where: str, verb: str) -> Path:
        return self.root / f"{where}-{verb}.log"

    def start(self, where: str, command: Command) -> subprocess.Popen[str]:
        assert command.words[0] == "riskweave"
        verb = command.words[2]
        words = [self._put_right(word, where) for word in command.words[1:]]
        with self.log(where, verb).open("w") as out:
            started = subprocess.Popen(  # noqa: S603 - our own program
                riskweave(*words),
                cwd=self.root / where,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.running[where, verb] = started
        return started

    def _put_right(self, word: str, where: str) -> str:
        if where in PARTNERS:
            word = word.replace("bank_a", where)
        for old, new in self.said.items():
            word = word.replace(old, new)
        return word

    def wait_for(self, where: str, verb: str, text: str) -> str:
        """The log of a command that goes on, once it says ``text``."""
        until = time.monotonic() + PATIENCE_S
        while text not in (seen := self.log(where, verb).read_text()):
            assert self.running[where, verb].poll() is None, seen
            assert time.monotonic() < until, seen
            time.sleep(0.1)
        return seen

    def end_of(self, where: str, verb: str) -> str:
        """The log of a command that has ended well."""
        status = self.running[where, verb].wait(PATIENCE_S)
        seen = self.log(where, verb).read_text()
        assert status == 0, seen
        return seen


@contextmanager
def machines(root: Path) -> Iterator[Machines]:
    """Directories that hold what the README says they hold, and nothing else."""
    cut(root / "cut")
    first, second = free_ports(2)
    for name in ("operator", *PARTNERS):
        (root / name).mkdir()
    shutil.copy(ROOT / "examples" / "taiwan" / "schema.toml", root / "operator")
    (root / "operator" / "plan.toml").write_text(toml_with("plan"))
    for name in PARTNERS:
        shutil.copy(root / "cut" / f"{name}.parquet", root / name)
        settings = toml_with("data").replace("bank_a", name)
        (root / name / f"{name}.toml").write_text(settings)
    places = {
        "risk.example:7443": f"127.0.0.1:{first}",
        "risk.example:7444": f"127.0.0.1:{second}",
    }
    found = Machines(root, places)
    with ExitStack() as stack:
        stack.callback(_stop, found)
        yield found


def _stop(found: Machines) -> None:
    for process in found.running.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in found.running.values():
        process.wait(30)


def test_readme_needs_six_commands_at_most() -> None:
    assert len(commands()) <= MOST_COMMANDS
    assert {one.words[0] for one in commands()} == {"riskweave"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_commands_of_the_readme_lead_to_nodes_that_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began, began_cpu = time.monotonic(), os.times()
    with machines(tmp_path) as found:
        ready = time.monotonic()
        for command in commands():
            verb = command.words[2]
            for where in PARTNERS if command.partners else ("operator",):
                found.start(where, command)
            if not command.stays:
                assert not command.partners
                found.end_of("operator", verb)
            if verb == "serve":
                found.wait_for("operator", verb, "serving C")
                _hand_over_tokens(tmp_path)
            if verb == "manifest":
                _compare_digests(found)
        seconds = time.monotonic() - ready
        for name in PARTNERS:
            left = _json(tmp_path / name, "node", "what-left", "N", "--json")
            uploads = {one["class"]: one["count"] for one in left}["training.train.upload"]
            assert uploads > 1, f"{name} has not trained"
            log = found.log(name, "trust").read_text()
            assert "still to sign" in log
            assert "checked: " in log
        with closing(Store(f"sqlite:///{tmp_path}/operator/C/coordinator.db")) as store:
            assert [model.status for model in store.models.all()] == ["candidate"]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(commands())} commands, {seconds:.1f} s, of CPU {_cpu(began_cpu):.1f} s; "
            f"before them, tables cut in {ready - began:.1f} s\n"
        )
    assert _cpu(began_cpu) < MOST_SECONDS, "of one core: how busy the machine is does not count"


def _cpu(since: os.times_result) -> float:
    """CPU seconds of all children that have ended since."""
    now = os.times()
    return now.children_user + now.children_system - since.children_user - since.children_system


def _hand_over_tokens(root: Path) -> None:
    for name in PARTNERS:
        shutil.copy(root / "operator" / "C" / "tokens" / f"{name}.token", root / name)


def _compare_digests(found: Machines) -> None:
    """What people do by telephone: each has read the same digest off an own screen."""
    told = re.findall(r"trust DIR ([0-9a-f]{64})", found.end_of("operator", "manifest"))
    for name in PARTNERS:
        assert re.findall(r"trust N ([0-9a-f]{64})", found.end_of(name, "join")) == told
    found.said["DIGEST"] = told[0]


def _json(where: Path, *words: str) -> list[dict[str, int | str]]:
    done = subprocess.run(  # noqa: S603 - our own program
        riskweave(*words),
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    found: list[dict[str, int | str]] = json.loads(done.stdout)
    return found
