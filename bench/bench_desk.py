"""Decisions a second at one node, and how long one takes, on the real database.

Without the joint leg: scores come from a table, all else is the product's: the reader, rules,
growth caps, one flushed transaction, idempotency keys, and the gRPC door on its unix socket
with clients in a process of their own. ``rate``: clients that ask again as soon as they are
answered. ``p50``, ``p99``: applications that arrive at ARRIVALS a second whatever becomes of
those before them, so that a queue is seen. ``calm_p99``: at a tenth of that. ``batch``: a
portfolio by DecideMany. ``helps``: arrivals of which every fourth is declined, and what would
change it searched beside them.

``bare_commits`` is what the disk gives: one row, one flushed transaction, one after the other.
Processor time of a decision is given beside the wall's, which a busy machine stretches.
"""

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np

from bench.result import Result
from partner_node.credit.application import DeskService
from partner_node.credit.doors import CreditDesk
from partner_node.credit.helping import Helper
from partner_node.credit.papers import PaperDesk
from partner_node.credit.scores import ScorePorts
from partner_node.desk_serving import open_doors
from tests.credit_desk_house import Scores, application, desk, write_rules
from tests.desk_house import NOW, Session, config, loan_desk
from tests.paper_house import late_person

mpl.use("Agg")
from matplotlib import pyplot as plt

WARM, DECISIONS, CLIENTS = 200, 2_000, 32
ARRIVALS, SECONDS = 500, 4
CALM = 50
"""Arrivals a second of a desk that is not busy."""
SWITCH_S = 0.001
"""As a serving node has it (``wiring``)."""
WIDE = {
    "G1 = 50000000000": "G1 = 9000000000000000",
    "ramp_percent = [1, 5, 20, 100]": "ramp_percent = [100]",
}
"""No cap binds: each decision reserves."""

Decide = Callable[[int], Awaitable[object]]


def run(out: Path) -> Result:
    """Rates, latencies and their ratio to what the disk gives."""
    out.mkdir(parents=True, exist_ok=True)
    sys.setswitchinterval(SWITCH_S)
    # A unix socket's path is short: no directory under build/.
    with tempfile.TemporaryDirectory(prefix="rwd-") as name:
        home = Path(name)
        write_rules(home, **WIDE)
        bare = _bare_commits(home)
        with desk(home) as service:
            inside = asyncio.run(measure(_called(service)))
            used = asyncio.run(_processor_time(_called(service, DECISIONS * 8)))
            door = asyncio.run(_through_the_door(home, service, "single"))
            calm = asyncio.run(_through_the_door(home, service, "calm"))
            batch = asyncio.run(_through_the_door(home, service, "batch"))
            count = sum(1 for _ in service.replay_last(1_000))
        helps = _with_searches(home)
    _plot(out / "desk.svg", {"service": inside[1], "gRPC": door[1], "searches": helps[1]})
    p50, p99 = np.percentile(door[1], (50, 99))
    inner50, inner99 = np.percentile(inside[1], (50, 99))
    return Result(
        name="desk",
        figures={
            "decisions_per_s": round(door[0]),
            "p50_ms": round(float(p50), 2),
            "p99_ms": round(float(p99), 2),
            "arrivals_per_s": ARRIVALS,
            "calm_p99_ms": round(float(np.percentile(calm[1], 99)), 2),
            "helps_p99_ms": round(float(np.percentile(helps[1], 99)), 2),
            "helps_kept": helps[2],
            "batch_decisions_per_s": round(batch[0]),
            "batch_processor_ms": round(batch[2] / (8 * DECISIONS), 3),
            "service_decisions_per_s": round(inside[0]),
            "service_p50_ms": round(float(inner50), 2),
            "service_p99_ms": round(float(inner99), 2),
            "service_processor_ms": round(used, 3),
            "processor_ms": round(door[2] / (WARM + DECISIONS + ARRIVALS * SECONDS), 3),
            "bare_commits_per_s": round(bare),
            "replayed": count,
        },
        anchors={"decisions_per_s": 500, "p99_ms": 20},
        ratios={
            "rate_to_goal": round(door[0] / 500, 2),
            "service_to_bare_commits": round(inside[0] / bare, 2),
            "decisions_per_core_second_to_goal": round(
                (WARM + DECISIONS + ARRIVALS * SECONDS) / door[2] * 1_000 / 500, 2
            ),
            "door_to_service": round(door[0] / inside[0], 2),
        },
    )


def _called(service: DeskService, first: int = 0) -> Decide:
    async def decide(place: int) -> object:
        return await service.decide(application(f"in-{first + place}"), caller="bench")

    return decide


async def measure(decide: Decide) -> tuple[float, list[float]]:
    """Decisions a second of busy clients, then milliseconds of each at a fixed rate."""
    await _busy(decide, 0, WARM)
    began = time.perf_counter()
    await _busy(decide, WARM, WARM + DECISIONS)
    rate = DECISIONS / (time.perf_counter() - began)
    return rate, await arriving(decide, WARM + DECISIONS)


async def _busy(decide: Decide, first: int, end: int) -> None:
    places = iter(range(first, end))

    async def client() -> None:
        for place in places:
            await decide(place)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def arriving(decide: Decide, first: int, rate: int = ARRIVALS) -> list[float]:
    """Milliseconds of each of some seconds' decisions that arrive at a rate."""
    began = time.perf_counter()
    times: list[float] = []

    # A door takes 1,024 calls at a time; who waits here has been waiting since it was due.
    window = asyncio.Semaphore(512)

    async def one(place: int, due: float) -> None:
        async with window:
            await decide(place)
        # From when it was due, not from when this client got round to it.
        times.append(1_000 * (time.perf_counter() - due))

    tasks = []
    for place in range(rate * SECONDS):
        due = began + place / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(first + place, due)))
    await asyncio.gather(*tasks)
    return times


async def _processor_time(decide: Decide) -> float:
    """Milliseconds of one decision, of the best of twenty slices: the least disturbed."""
    best = float("inf")
    for first in range(0, 2_000, 100):
        began = time.process_time()
        await _busy(decide, first, first + 100)
        best = min(best, time.process_time() - began)
    return 10 * best


async def _through_the_door(
    home: Path, service: DeskService, what: str
) -> tuple[float, list[float], float]:
    """What ``desk_clients`` measures, and the node's processor time in milliseconds."""
    loans, credit = loan_desk(Session()), CreditDesk(service)
    async with open_doors(config(home), loans, now=lambda: NOW, credit=credit):
        clients = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.desk_clients", str(home / "desk.sock"), what),
            stdout=subprocess.PIPE,
        )
        began = time.process_time()
        printed, _ = await clients.communicate()
        used = time.process_time() - began
    rate, *times = map(float, printed.split())
    return rate, times, 1_000 * used


class _Basis(Scores):
    """Scores with what they were made from."""

    def ports(self) -> ScorePorts:
        basis = late_person()[1]
        return replace(super().ports(), basis=lambda _: basis)


def _with_searches(home: Path) -> tuple[float, list[float], int]:
    """Arrivals of which every fourth is declined; how many searches were kept at their end."""
    inputs, _ = late_person()
    assert inputs.score is not None  # noqa: S101 - of the house
    with desk(home, _Basis({"late": inputs.score})) as service:
        papers = PaperDesk(service, home)
        helper = Helper(papers.keep_help)
        service.on_decided = helper.submit
        rate, times, _ = asyncio.run(_through_the_door(home, service, "helps"))
        helper.close()
        with service.ports.store.reading() as connection:
            kept = connection.exec_driver_sql("SELECT count(*) FROM helps").scalar_one()
    return rate, times, int(kept)


def _bare_commits(home: Path) -> float:
    connection = sqlite3.connect(home / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE bare (number INTEGER PRIMARY KEY, data BLOB)")
    began, count = time.perf_counter(), 1_000
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO bare (data) VALUES (?)", (bytes(3_000),))
        connection.execute("COMMIT")
    connection.close()
    return count / (time.perf_counter() - began)


def _plot(path: Path, series: dict[str, list[float]]) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, times in series.items():
        axes.plot(np.sort(times), np.linspace(0, 1, len(times)), label=name)
    axes.axvline(20, color="grey", linestyle=":", label="20 ms")
    axes.set(
        xscale="log",
        xlabel="milliseconds of a decision",
        ylabel="share of decisions",
        title=f"{ARRIVALS} applications a second at one node",
    )
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
