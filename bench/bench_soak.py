"""Fifty nodes against one coordinator for half an hour: do memory and latency stay flat?

Real processes with mutual TLS, every partner in the roster of every run and of every score.
Two banks' systems ask for scores at a steady rate at two of the nodes, and a training run
starts every three minutes. Of each process the resident memory is read every few seconds.

What is told:

* the slope of the memory of all processes together, by least squares over means of one
  minute, with its standard error; the first fifth of the time is left out, for processes
  fill their caches then. The same of the coordinator alone and of one node on average;
* the 99th percentile of scores in the first and in the last fifth, and how many fell back to
  the asker's own model or got no answer;
* CPU of a node per second, on average: what heartbeats, cosignatures and answers cost.

``BENCH_SOAK_MINUTES`` and ``BENCH_SOAK_NODES`` set the size.
"""

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
import psutil

from bench.joint_federation import CONSENT, Bench, Size, running
from bench.result import Result
from bench.soak_trend import Slope, by_minute, slope
from coordinator import control
from partner_node.config_reading import load_config
from rehearsal.federation import COORDINATOR
from riskweave_client import Client, DeskError

mpl.use("Agg")
from matplotlib import pyplot as plt

MINUTES, NODES = 30.0, 50
PERSONS, ASKED, ROUNDS = 5_000, 60, 3
RATE = 1.0
"""Scores a second at each of the asking desks."""
ASKERS = 2
RUN_EVERY_S = 180.0
SAMPLE_EVERY_S = 5.0
FIFTH = 0.2
PATIENCE_S = 20.0
"""A score that has not come by then counts as unanswered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question at a desk."""

    at: float
    """Seconds after the start."""
    milliseconds: float
    kind: str
    """joint, the reason of a local answer, or the code of an error."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident MiB at one instant."""

    at: float
    coordinator: float
    nodes: float
    """Of one node on average, with its training process."""
    total: float


@dataclass
class Soak:
    """What was seen; filled by three kinds of threads."""

    bench: Bench
    seconds: float
    began: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)
    answers: list[Answer] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    runs: list[tuple[float, float, str]] = field(default_factory=list)
    """Start, seconds and end of each run."""

    def now(self) -> float:
        """Seconds after the start."""
        return time.monotonic() - self.began

    def ask(self, name: str) -> None:
        """Ask at one desk at a steady rate: late questions are asked at once."""
        persons = self.bench.customers()
        with Client(f"unix:{_desk(self.bench, name)}") as desk:
            for number in range(int(self.seconds * RATE)):
                if self.stop.wait(max(0.0, number / RATE - self.now())):
                    return
                at = time.perf_counter()
                try:
                    score = desk.score(
                        persons[number % len(persons)], CONSENT, timeout=PATIENCE_S
                    )
                    kind = score.fallback or "joint"
                except DeskError as error:
                    kind = f"no answer: {error.code}"
                passed = 1000 * (time.perf_counter() - at)
                self.answers.append(Answer(self.now() - passed / 1000, passed, kind))

    def train(self) -> None:
        """Runs, one after the other, with a pause."""
        federation, number = self.bench.federation, 0
        socket, plan = federation.places.control_socket, federation.rehearsal.plan_text
        while not self.stop.wait(max(0.0, number * RUN_EVERY_S + 30.0 - self.now())):
            at = self.now()
            last = list(control.start_run(socket, plan))[-1]
            self.runs.append((at, self.now() - at, last.stage))
            print(f"  {at:6.0f} s: run of {self.now() - at:.1f} s, {last.stage} {last.text}")
            number += 1

    def sample(self) -> None:
        """Read the memory of all processes."""
        number = 0
        while not self.stop.wait(max(0.0, number * SAMPLE_EVERY_S - self.now())):
            self.samples.append(self._sampled())
            number += 1

    def _sampled(self) -> Sample:
        found = {name: _resident(tree) for name, tree in self._trees().items()}
        coordinator = found.pop(COORDINATOR)
        nodes = sum(found.values())
        return Sample(self.now(), coordinator, nodes / len(found), coordinator + nodes)

    def _trees(self) -> dict[str, list[psutil.Process]]:
        processes = self.bench.federation.processes
        roots = {name: psutil.Process(processes.pid(name)) for name in processes.names}
        return {name: [one, *one.children(recursive=True)] for name, one in roots.items()}

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far, by process."""
        return {
            name: sum(sum(one.cpu_times()[:2]) for one in tree)
            for name, tree in self._trees().items()
        }


def _resident(tree: Sequence[psutil.Process]) -> float:
    return sum(one.memory_info().rss for one in tree) / 2**20


def _desk(bench: Bench, name: str) -> Path:
    return load_config(bench.federation.directory(name)).desk_socket


def run(out: Path) -> Result:
    """Slope of memory, percentiles of latency."""
    out.mkdir(parents=True, exist_ok=True)
    seconds = 60 * float(os.environ.get("BENCH_SOAK_MINUTES", MINUTES))
    nodes = int(os.environ.get("BENCH_SOAK_NODES", NODES))
    size = Size(partners=nodes, persons=PERSONS, asked=ASKED, rounds=ROUNDS)
    began = time.monotonic()
    # A unix socket's path is short: no directory under build/.
    with tempfile.TemporaryDirectory(prefix="rws-") as name, running(Path(name), size) as bench:
        print(f"  {nodes} nodes score jointly after {time.monotonic() - began:.0f} s")
        soak = Soak(bench, seconds)
        used = _soaked(soak)
        bench.federation.processes.check()
    _plot(out / "soak.svg", soak)
    return _result(soak, used, nodes)


def _soaked(soak: Soak) -> dict[str, float]:
    """Let it run; returns the share of a core that each process used."""
    before = soak.cpu()
    threads = [
        threading.Thread(target=soak.ask, args=(name,)) for name in soak.bench.names[:ASKERS]
    ]
    beside = [threading.Thread(target=soak.train), threading.Thread(target=soak.sample)]
    for thread in threads + beside:
        thread.start()
    for thread in threads:
        thread.join()
    after, passed = soak.cpu(), soak.now()
    soak.stop.set()
    for thread in beside:
        thread.join()
    return {name: (after[name] - before[name]) / passed for name in after}


def _result(soak: Soak, used: dict[str, float], nodes: int) -> Result:
    until = soak.now()
    first = [one.milliseconds for one in soak.answers if one.at <= FIFTH * until]
    last = [one.milliseconds for one in soak.answers if one.at >= (1 - FIFTH) * until]
    slopes = {
        name: _slope(soak, name, FIFTH * until) for name in ("total", "coordinator", "nodes")
    }
    ended = Counter(end for _, _, end in soak.runs)
    kinds = Counter(one.kind for one in soak.answers)
    others = [share for name, share in used.items() if name != COORDINATOR]
    return Result(
        name="soak",
        figures={
            "minutes": round(soak.seconds / 60, 1),
            "nodes": nodes,
            "rss_slope_mb_per_h": round(slopes["total"].per_hour, 1),
            "rss_slope_error_mb_per_h": round(slopes["total"].error, 1),
            "p99_ms_first": round(float(np.percentile(first, 99)), 1),
            "p99_ms_last": round(float(np.percentile(last, 99)), 1),
            "p50_ms_first": round(float(np.median(first)), 1),
            "p50_ms_last": round(float(np.median(last)), 1),
            "scores": len(soak.answers),
            "answers": dict(kinds),
            "unanswered": sum(n for kind, n in kinds.items() if kind.startswith("no answer")),
            "runs": dict(ended),
            "run_s": [round(seconds, 1) for _, seconds, _ in soak.runs],
            "rss_mb_first": round(soak.samples[0].total),
            "rss_mb_last": round(soak.samples[-1].total),
            "coordinator_slope_mb_per_h": [
                round(slopes["coordinator"].per_hour, 2),
                round(slopes["coordinator"].error, 2),
            ],
            "node_slope_mb_per_h": [
                round(slopes["nodes"].per_hour, 2),
                round(slopes["nodes"].error, 2),
            ],
            "coordinator_cores": round(used[COORDINATOR], 3),
            "node_cores": round(sum(others) / len(others), 4),
            "load_after": round(os.getloadavg()[0], 1),
        },
        anchors={"rss_mb": [[round(s.at), round(s.total, 1)] for s in soak.samples[::12]]},
        ratios={
            "p99_last_to_first": round(
                float(np.percentile(last, 99) / np.percentile(first, 99)), 2
            )
        },
    )


def _slope(soak: Soak, name: str, after: float) -> Slope:
    later = [one for one in soak.samples if one.at >= after]
    at = [one.at for one in later]
    return slope(*by_minute(at, [float(getattr(one, name)) for one in later]))


def _plot(path: Path, soak: Soak) -> None:
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 6), sharex=True)
    at = [one.at / 60 for one in soak.samples]
    upper.plot(at, [one.coordinator for one in soak.samples], label="coordinator")
    upper.plot(at, [one.nodes for one in soak.samples], label="a node on average")
    for began, _, _ in soak.runs:
        upper.axvline(began / 60, lw=0.5, c="grey")
    upper.set_ylabel("resident MiB")
    upper.set_ylim(bottom=0)
    upper.legend(fontsize=7)
    joint = [one for one in soak.answers if one.kind == "joint"]
    others = [one for one in soak.answers if one.kind != "joint"]
    for some, label in ((joint, "joint"), (others, "local or none")):
        lower.scatter(
            [a.at / 60 for a in some], [a.milliseconds for a in some], s=2, label=label
        )
    lower.set_yscale("log")
    lower.set_ylabel("ms a score")
    lower.set_xlabel("minutes; grey: a training run starts")
    lower.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
