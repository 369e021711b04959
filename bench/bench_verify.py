"""How long does a regulator wait for the verdict on a bundle?

Honest bundles of R rounds and K silos, made by ``tests/ledger_house.py`` with real keys,
entries, cosignatures and sums, are verified by ``riskweave audit verify`` in a process of its
own, as an auditor would: interpreter, imports, archive, every check of protocol 8.7, report.
Wall seconds and peak memory are that process's. ``cpu`` is beside ``seconds`` because other
work on the machine makes only the second longer. Goal: 100 x 50 in 10 s and 500 MB.

``BENCH_VERIFY_SIZES=10x5,100x10`` measures others.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl

from bench.result import Result
from consortium.ledger.archive import pack
from tests.ledger_house import House

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZES = "10x5,100x10,100x50"
GOAL_S, GOAL_MB = 10.0, 500.0
ROOT = Path(__file__).resolve().parent.parent


def run(out: Path) -> Result:
    """Measure every size."""
    sizes = os.environ.get("BENCH_VERIFY_SIZES", SIZES).split(",")
    figures = {size: _measure(size) for size in sizes}
    _plot(out / "verify.svg", figures)
    last = figures[sizes[-1]]
    return Result(
        name="verify",
        figures=figures,
        anchors={"goal_s": GOAL_S, "goal_mb": GOAL_MB},
        ratios={
            "goal_over_seconds": round(GOAL_S / last["seconds"], 2),
            "goal_over_peak_mb": round(GOAL_MB / last["peak_mb"], 2),
        },
    )


def _measure(size: str) -> dict[str, float]:
    rounds, silos = (int(part) for part in size.split("x"))
    house = House(silos=silos, rounds=rounds, masked=False).run()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bundle.zip"
        path.write_bytes(pack(house.bundle()))
        bundle_mb = path.stat().st_size / 1e6
        command = (
            *(sys.executable, "-m", "riskweave", "audit", "verify", str(path)),
            *("--manifest", house.manifest.digest),
        )
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if process.stdout is None:  # pragma: no cover - it is a pipe
            raise AssertionError("no pipe")
        shown = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    if os.waitstatus_to_exitcode(status) or not shown.endswith("verdict: verified\n"):
        raise AssertionError(f"{size}: {shown[-500:]}")
    return {
        "seconds": round(seconds, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
        "entries": len(house.entries),
        "bundle_mb": round(bundle_mb, 2),
        "longest_proof": max(len(house.tree.inclusion(i)) for i in (0, house.tree.size - 1)),
    }


def _plot(path: Path, figures: dict[str, dict[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.bar(list(figures), [one["seconds"] for one in figures.values()], 0.5)
    axes.axhline(GOAL_S, color="0.4", linestyle="--", label="goal")
    axes.set_xlabel("rounds x silos")
    axes.set_ylabel("s to the verdict")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
