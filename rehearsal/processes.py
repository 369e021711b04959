"""The coordinator and the nodes as real processes: start, watch, measure, stop.

Each has a process group of its own, so that Ctrl-C reaches the rehearsal alone and the
others are stopped in order. Nothing here knows what the processes do.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from consortium.errors import RiskWeaveError

GRACE_S = 5.0
"""How long a process may take to stop before it is killed."""

_POLL_S = 0.05
_TAIL_BYTES = 65536
_ROOT = Path(__file__).resolve().parents[1]


class RehearsalError(RiskWeaveError):
    """A process of the rehearsal ended, or did not come up, or did not do what it should.

    ``evidence`` is the end of the log of whose fault it seems to be.
    """

    code = "rehearsal"
    public = "rehearsal failed"

    def __init__(self, text: str, evidence: str = "") -> None:
        super().__init__(text)
        self.evidence = evidence


@dataclass(frozen=True, slots=True)
class _Running:
    popen: "subprocess.Popen[bytes]"
    log: Path


class Processes:
    """Named processes with a log each; leaving the context stops all of them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, _Running] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def names(self) -> tuple[str, ...]:
        """In order of start."""
        return tuple(self._running)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process with its output in ``NAME.log``."""
        log = self._logs / f"{name}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(  # noqa: S603 - our own program, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        self._running[name] = _Running(popen, log)

    def end(self, name: str) -> None:
        """Ask one process to stop and forget it: its end is no failure."""
        running = self._running.pop(name)
        running.popen.send_signal(signal.SIGTERM)
        try:
            running.popen.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            running.popen.kill()
            running.popen.wait()

    def pid(self, name: str) -> int:
        """The process id, for who wants to kill it in a test."""
        return self._running[name].popen.pid

    def check(self) -> None:
        """Raise RehearsalError if one of them has ended, with the end of its log."""
        for name, running in self._running.items():
            code = running.popen.poll()
            if code is not None:
                raise self.error(f"process {name} ended with code {code}", name)

    def error(self, text: str, name: str) -> RehearsalError:
        """The error to raise about a process, with the end of its log."""
        return RehearsalError(text, self.last_words(name))

    def last_words(self, name: str, lines: int = 12) -> str:
        """Where its log is and how it ends."""
        log = self._running[name].log
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
        last = text.rstrip().splitlines()[-lines:]
        return "\n".join([f"end of {log}:", *(f"  | {line}" for line in last)])

    def wait_until(
        self, condition: Callable[[], bool], seconds: float, *, what: str, blame: str
    ) -> None:
        """Poll until the condition holds and all processes live.

        Raises:
            RehearsalError: a process ended, or time is up; with the log of ``blame``.
        """
        pause = threading.Event()
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise self.error(f"waited {seconds:.0f} s in vain until {what}", blame)
            pause.wait(_POLL_S)

    def peak_rss_mb(self) -> dict[str, float]:
        """Largest resident memory of each with its children, MiB; call before ``stop``.

        The peaks of a process and of its children are added, though they need not have
        fallen together, and pages that they share count twice: an upper bound.
        """
        return {
            name: round(_tree_peak(running.popen.pid) / 2**20, 1)
            for name, running in self._running.items()
        }

    def stop(self) -> None:
        """Ask all to stop, nodes before the coordinator; kill after the grace period."""
        families = {name: _tree(one.popen.pid) for name, one in self._running.items()}
        for running in reversed(self._running.values()):
            if running.popen.poll() is None:
                running.popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for running in self._running.values():
            try:
                running.popen.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.popen.kill()
                running.popen.wait()
        for tree in families.values():
            _kill_survivors(tree)
        self._running.clear()


def riskweave(*arguments: str) -> list[str]:
    """The command that runs this very program with other arguments."""
    return [sys.executable, "-m", "riskweave", *arguments]


def free_ports(count: int) -> list[int]:
    """Different TCP ports of the loopback that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _environment() -> dict[str, str]:
    """Ours, with one thread for each library: the processes share few cores."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    single = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **os.environ,
        **{name: os.environ.get(name, "1") for name in single},
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
    }


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _tree_peak(pid: int) -> int:
    return sum(_peak(process) for process in _tree(pid))


def _peak(process: psutil.Process) -> int:
    """High-water mark of resident bytes; where the system keeps none, what is held now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return int(process.memory_info().rss)
    except FileNotFoundError:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _kill_survivors(tree: Sequence[psutil.Process]) -> None:
    """End children whose parent died before it could; psutil checks that a pid is theirs."""
    for process in tree:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                process.kill()
        except psutil.NoSuchProcess:
            continue
