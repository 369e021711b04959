"""Seconds of one sum over a big table: in one process, and at one and two workers of Ray.

Two million rows of twelve features in one Parquet file, as an owner's table is. What is timed
is what a run pays: the reading once, then each round's clipped sum of a scorecard, through the
node's own path (``LocalSums`` and ``PartedSums``, jobs and answers included). All bits are
compared. Wall seconds, so that two workers can count for two; medians over rounds.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import matplotlib as mpl
import numpy as np

from bench.result import Result
from consortium.crypto.keys import Secret
from consortium.features.bins import Bins
from consortium.features.schema import Schema
from consortium.ids import PartnerId, digest_of
from models.run import RunSession
from partner_node import ingest, wiring
from partner_node.config import LOCAL_RAY
from partner_node.engine_process import Cluster, EngineProcess, private_environment
from partner_node.ingest import EncodedTable
from partner_node.local_sums import ExactSum, LocalSums, Sums
from partner_node.part_bytes import rows_of
from partner_node.parted_sums import PartedSums, PartedTable
from partner_node.table import DataSource
from tests.simulator import FAMILIES, PLAN, SCHEMA, Consortium

mpl.use("Agg")
from matplotlib import pyplot as plt

ROWS = int(os.environ.get("BENCH_ENGINE_ROWS", "2000000"))
ROUNDS = 7
BANK = PartnerId("bank_a")
FEATURES = 12
SEED, CONTEXT = Secret(bytes(32)), digest_of(b"context")

_FEATURE = """
[[feature]]
name = "late_{number}"
family = "repayment"
kind = "integer"
unit = "months"
concept = "arrears"
range = ["0", "9"]
edges = ["1", "2", "3", "4", "5", "6", "7"]
direction = "up"
reason = "R01"
reason_zh = "近期有未按时还款记录"
reason_en = "Recent payments were not made on time"
"""


def run(out: Path) -> Result:
    """Seconds of reading and of a round, and the ratios."""
    out.mkdir(parents=True, exist_ok=True)
    schema = SCHEMA + "".join(_FEATURE.format(number=k) for k in range(FEATURES - 1))
    house = Consortium(plan=PLAN, schema=schema)
    source = _table(out / "engine_rows.parquet")
    session = RunSession(house.plan, house.schema)
    seen = {"in process": _timed(lambda: _local(house, source), session)}
    for workers in (1, 2):
        engine = _engine(workers)
        try:
            seen[f"ray, {workers}"] = _timed(
                lambda engine=engine, workers=workers: _parted(house, source, engine, workers),
                session,
            )
        finally:
            engine.close()
    sums = {one[2].values.tobytes() for one in seen.values()}
    if len(sums) != 1:
        raise AssertionError("engines disagree")
    _plot(out / "engine.svg", seen)
    (read, round_s) = ({k: v[at] for k, v in seen.items()} for at in (0, 1))
    return Result(
        name="engine",
        figures={
            "rows": ROWS,
            "features": FEATURES,
            "read_s": {name: round(value, 2) for name, value in read.items()},
            "round_s": {name: round(value, 3) for name, value in round_s.items()},
            "same_bits": True,
        },
        anchors={"in process": "LocalSums over the same file"},
        ratios={
            "round_ray_1_vs_process": round(round_s["ray, 1"] / round_s["in process"], 2),
            "round_ray_2_vs_process": round(round_s["ray, 2"] / round_s["in process"], 2),
            "round_ray_1_vs_2": round(round_s["ray, 1"] / round_s["ray, 2"], 2),
            "read_ray_1_vs_2": round(read["ray, 1"] / read["ray, 2"], 2),
        },
    )


def _table(path: Path) -> DataSource:
    columns = ", ".join(f"(hash(i, {k}) % 9)::INT AS late_{k}" for k in range(FEATURES - 1))
    if not path.exists():
        duckdb.execute(
            f"COPY (SELECT 'p' || i AS person, (hash(i, 'l') % 5)::INT AS late, {columns}, "
            f"(hash(i, 'b') % 100 < 8 + 10 * late)::INT AS bad "
            f"FROM range({ROWS}) AS numbers(i)) TO '{path}' (FORMAT parquet)"
        )
    return DataSource(
        query=f"SELECT * FROM '{path.name}'",
        person="person",
        label="bad",
        directory=path.parent,
        memory_limit="2GB",
        threads=1,
    )


def _local(house: Consortium, source: DataSource) -> Sums:
    schema: Schema = house.schema
    holdout = (house.plan.holdout_salt, house.plan.holdout_fraction)

    def load(bins: Bins) -> EncodedTable:
        return ingest.load(source, schema, bins, FAMILIES[BANK], holdout=holdout)

    return LocalSums(house.plan, schema, BANK, load=load)


def _engine(workers: int) -> EngineProcess:
    token = wiring.entropy().expose().hex()
    engine = EngineProcess(
        Cluster(address=LOCAL_RAY, workers=workers, deadline_s=600),
        {**os.environ, **private_environment(token)},
    )
    engine.start()
    return engine


def _parted(house: Consortium, source: DataSource, engine: EngineProcess, workers: int) -> Sums:
    table = PartedTable(
        rows=rows_of(source, workers, None),
        families=FAMILIES[BANK],
        code=wiring.code_digest(),
    )
    return PartedSums(house.plan, house.schema, BANK, table=table, engine=engine)


def _timed(opened: Callable[[], Sums], session: RunSession) -> tuple[float, float, ExactSum]:
    """Seconds of reading, median seconds of a round, and its sum."""
    began = time.perf_counter()
    sums = opened()
    read = time.perf_counter() - began
    request, inputs = session.request(tuple(PartnerId(name) for name in FAMILIES))
    spent = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        sums.prepare(request, inputs)
        found = sums.compute(request, inputs, seed=SEED, context=CONTEXT)
        spent.append(time.perf_counter() - began)
    if not np.any(found.values):
        raise AssertionError("an empty sum")
    return read, statistics.median(spent), found


def _plot(path: Path, seen: dict[str, tuple[float, float, ExactSum]]) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3))
    for axes, at, title in ((panels[0], 0, "reading"), (panels[1], 1, "one round")):
        axes.bar(list(seen), [one[at] for one in seen.values()])
        axes.set_title(f"{title}, {ROWS:,} rows")
        axes.set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
