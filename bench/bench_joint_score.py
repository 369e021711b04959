"""Joint scores end to end: milliseconds at the node's gRPC door, scores a second, growth.

Real processes, a coordinator and five nodes with 200,000 customers each, mTLS on loopback.
Almost all tokens are random and written straight into each node's database; some thousand
persons are tokenised for real and asked about (``bench.joint_federation``). ``uncached``:
applicants whom the asker does not hold, each asked about once, so that t key holders are
asked first. ``training``: while a run of the same federation goes on. Ten partners behind
slow links dial through a proxy that holds every byte for 20 ms in each direction.

``bare_grpc_fanout_ms`` is what the bytes alone cost: asker, relay and four responders in
processes of their own, streams of grpc.aio under mTLS, messages of the sizes that a joint
score has, nothing computed.

Growth is CPU by party in one process (``bench.joint_growth``).
"""

import asyncio
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.bare_fan_out import bare_fan_out
from bench.joint_federation import (
    Bench,
    Size,
    in_one_batch,
    one_by_one,
    running,
    together,
    until_joint,
)
from bench.joint_growth import cost
from bench.result import Result
from bench.slow_links import slow_links
from coordinator import control
from tests.integration.federation import Run

mpl.use("Agg")
from matplotlib import pyplot as plt

NEAR = Size(partners=5, persons=200_000, asked=1_500)
FAR = Size(partners=10, persons=20_000, asked=300, rounds=10)
DELAY_S = 0.02
SINGLES, FAR_SINGLES = 1_000, 200
WARM = 50
CLIENTS, TOGETHER = 16, 3_000
BATCH = 20_480
TRAINING_ROUNDS = 400
GROWTH = (2, 5, 10, 20, 50)

Times = Mapping[str, Sequence[float]]


def run(out: Path) -> Result:
    """Latencies, rates and the ratio to a bare fan-out of the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    growth = {partners: cost(partners) for partners in GROWTH}
    sizes = growth[NEAR.partners]
    request, answer = int(sizes["request_bytes"]), int(sizes["answer_bytes"])
    bare = bare_fan_out(request, answer, NEAR.partners - 1, SINGLES)
    # A unix socket's path is short: no directory under build/.
    with tempfile.TemporaryDirectory(prefix="rwj-") as name, running(Path(name), NEAR) as near:
        times, rates, local = _near(near)
    with tempfile.TemporaryDirectory(prefix="rwj-") as name, running(Path(name), FAR) as far:
        slow, missed = _behind_slow_links(far)
    times = {**times, "bare gRPC": bare}
    _plot(out / "joint_score.svg", times, growth)
    (p50, p99), (p50_bare, p99_bare) = _percentiles(times["known"]), _percentiles(bare)
    return Result(
        name="joint_score",
        figures={
            "p50_ms": p50,
            "p99_ms": p99,
            "p50_ms_uncached": _percentiles(times["first"])[0],
            "p99_ms_uncached": _percentiles(times["first"])[1],
            "p50_ms_training": _percentiles(times["training"])[0],
            "p99_ms_training": _percentiles(times["training"])[1],
            **rates,
            "p95_ms_10_partners_20ms_links": round(float(np.percentile(slow, 95)), 2),
            "local_answers": local + missed,
            "load_after": round(os.getloadavg()[0], 2),
        },
        anchors={
            "bare_grpc_fanout_ms": {"p50": p50_bare, "p99": p99_bare},
            "by_partners": {str(partners): found for partners, found in growth.items()},
        },
        ratios={"bare_grpc_fanout": round(p50 / p50_bare, 2)},
    )


def _percentiles(milliseconds: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return round(float(p50), 2), round(float(p99), 2)


def _near(bench: Bench) -> tuple[dict[str, list[float]], dict[str, int], int]:
    """Milliseconds by kind, scores a second, and how many answers were local."""
    one_by_one(bench.door, _customers(bench, WARM))
    known, local = one_by_one(bench.door, _customers(bench, SINGLES))
    first, more = one_by_one(bench.door, bench.strangers(), {"late": 2.0})
    local += more
    began = time.perf_counter()
    local += asyncio.run(together(bench.door, _customers(bench, TOGETHER), CLIENTS))
    single = TOGETHER / (time.perf_counter() - began)
    began = time.perf_counter()
    local += in_one_batch(bench.door, _customers(bench, BATCH))
    batch = BATCH / (time.perf_counter() - began)
    training, more = _while_training(bench)
    rates = {"per_second": round(single), "batch_per_second": round(batch)}
    return {"known": known, "first": first, "training": training}, rates, local + more


def _customers(bench: Bench, count: int) -> list[str]:
    """So many customers of the asker, from the beginning again if need be."""
    return list(itertools.islice(itertools.cycle(bench.customers()), count))


def _while_training(bench: Bench) -> tuple[list[float], int]:
    """Singles while a run goes on, a few at a time; none is begun after its end."""
    federation = bench.federation
    short, longer = (f"rounds = {n}\n" for n in (bench.size.rounds, TRAINING_ROUNDS))
    plan = federation.rehearsal.plan_text.replace(short, longer)
    run = Run(control.start_run(federation.places.control_socket, plan))
    run.wait_for_round(1)
    found: list[float] = []
    local = 0
    while len(found) < SINGLES and not run.events[-1].final:
        part, more = one_by_one(bench.door, _customers(bench, WARM))
        found += part
        local += more
    return found, local


def _behind_slow_links(bench: Bench) -> tuple[list[float], int]:
    """Singles after every node has left and dialled again through the proxy."""
    federation = bench.federation
    host, port = federation.address
    with slow_links(host, port, DELAY_S) as proxy:
        for name in bench.names:
            federation.kill(name, signal.SIGTERM)
            file = federation.directory(name) / "node.toml"
            text = file.read_text(encoding="utf-8")
            file.write_text(
                text.replace(f'"{host}:{port}"', f'"{host}:{proxy}"'), encoding="utf-8"
            )
            federation.start(name)
        federation.wait_for(*bench.names)
        until_joint(bench)
        one_by_one(bench.door, _customers(bench, WARM))
        return one_by_one(bench.door, _customers(bench, FAR_SINGLES))


def _plot(path: Path, times: Times, growth: Mapping[int, Mapping[str, float]]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for label, values in times.items():
        ordered = np.sort(np.asarray(values))
        left.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=label)
    left.set_xscale("log")
    left.set_xlabel("ms at the door, 5 partners")
    left.set_ylabel("share of scores")
    left.legend(fontsize=7)
    for party in ("asker", "responder", "relay"):
        values = [found[f"{party}_ms"] for found in growth.values()]
        right.plot(list(growth), values, marker="o", label=party)
    right.set_xlabel("partners")
    right.set_ylabel("CPU ms a score")
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
