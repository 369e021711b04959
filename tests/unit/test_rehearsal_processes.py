"""Processes are watched, measured and never left behind."""

import sys
from pathlib import Path

import psutil
import pytest

from rehearsal.processes import Processes, RehearsalError, free_ports

SLEEPER = "import sys, threading; print('up', flush=True); threading.Event().wait()"
PARENT = (
    "import subprocess, sys, signal\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import threading; "
    "threading.Event().wait()'])\n"
    "print(child.pid, flush=True)\n"
    "child.wait()\n"
)
DEAF = (
    "import signal, threading\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True)\n"
    "threading.Event().wait()\n"
)


def command(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def said(logs: Path, name: str) -> str:
    return (logs / f"{name}.log").read_text(encoding="utf-8")


def test_all_processes_are_gone_after_an_error(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with Processes(tmp_path) as processes:
            for name in ("one", "two"):
                processes.start(name, command(SLEEPER))
                pids.append(processes.pid(name))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_child_of_a_stopped_process_does_not_survive_it(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("parent", command(PARENT))
        processes.wait_until(
            lambda: said(tmp_path, "parent").endswith("\n"), 20, what="up", blame="parent"
        )
        child = psutil.Process(int(said(tmp_path, "parent")))
    child.wait(timeout=5)
    assert not child.is_running()


def test_process_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rehearsal.processes.GRACE_S", 0.2)
    with Processes(tmp_path) as processes:
        processes.start("deaf", command(DEAF))
        processes.wait_until(
            lambda: said(tmp_path, "deaf") == "up\n", 20, what="up", blame="deaf"
        )
        pid = processes.pid("deaf")
    assert not psutil.pid_exists(pid)


def test_process_that_dies_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("alive", command(SLEEPER))
        processes.start("doomed", command("import sys; sys.exit('no such table')"))
        with pytest.raises(RehearsalError, match="process doomed ended with code 1") as caught:
            processes.wait_until(lambda: False, 20, what="all are up", blame="alive")
    assert "no such table" in caught.value.evidence


def test_waiting_in_vain_ends_with_the_log_of_who_is_late(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("late", command(SLEEPER))
        processes.wait_until(
            lambda: said(tmp_path, "late") == "up\n", 20, what="up", blame="late"
        )
        with pytest.raises(RehearsalError, match="in vain until it is done") as caught:
            processes.wait_until(lambda: False, 0.1, what="it is done", blame="late")
    assert "| up" in caught.value.evidence


def test_peak_memory_counts_what_was_given_back_and_the_children(tmp_path: Path) -> None:
    hungry = "x = bytearray(80 << 20); x[::4096] = b'1' * len(x[::4096]); del x\n" + SLEEPER
    with Processes(tmp_path) as processes:
        processes.start("hungry", command(hungry))
        processes.start("parent", command(PARENT))
        for name in ("hungry", "parent"):
            processes.wait_until(
                lambda name=name: said(tmp_path, name).endswith("\n"),  # type: ignore[misc]
                20,
                what="up",
                blame=name,
            )
        peaks = processes.peak_rss_mb()
    assert peaks["hungry"] > 80
    assert peaks["parent"] > 8


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(8))) == 8
