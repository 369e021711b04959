"""CPU that one partner pays for masking a vector, against Flower's SecAgg+ on the same ones.

Ours: join signature, checks of all joins, pair keys, masks and the signed upload. Flower's:
its own client stages (set-up, key shares, masked vector, unmask shares), called as they
are with nobody dropping out. Noise and gradient are in neither. CPU seconds of one process.
"""

# ruff: noqa: SLF001 - the stages of Flower's client are private to its module

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from flwr.app import ConfigRecord
from flwr.common import ndarrays_to_parameters
from flwr.common.secure_aggregation.secaggplus_constants import Key

from bench.result import Result
from bench.secagg_parties import parties, request_for

mpl.use("Agg")
from matplotlib import pyplot as plt

# The package has a function of the same name in the module's place.
flower = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

CASES = {
    "3x1e6": (3, 10**6),
    "10x1e6": (10, 10**6),
    "50x1e6": (50, 10**6),
    "10x1e4": (10, 10**4),
}
REPEATS = 5


def run(out: Path) -> Result:
    """CPU seconds a silo and round, ours and Flower's, and the ratios."""
    costs = {name: _median(lambda n=n, d=d: _ours(n, d)) for name, (n, d) in CASES.items()}
    ours = {name: cost.total for name, cost in costs.items()}
    theirs = {name: _flower(n, d) for name, (n, d) in CASES.items() if n <= 10}  # noqa: PLR2004
    ratios = {f"flower_{name}": round(theirs[name] / ours[name], 1) for name in theirs}
    _plot(out / "secagg.svg", ours, theirs)
    return Result(
        name="secagg",
        figures={
            "cpu_s_per_silo": {name: round(value, 4) for name, value in ours.items()},
            "cpu_ms_10x1e4": round(1000 * ours["10x1e4"], 2),
            "join_ms_50": round(1000 * costs["50x1e6"].join, 2),
            "check_and_pair_keys_ms_50": round(1000 * costs["50x1e6"].keys, 2),
        },
        anchors={"flower_secaggplus_cpu_s": {n: round(v, 3) for n, v in theirs.items()}},
        ratios={"flower_secaggplus": ratios["flower_3x1e6"], **ratios},
    )


@dataclass(frozen=True, slots=True, order=True)
class _Cost:
    """CPU seconds of one partner in one attempt."""

    total: float
    join: float
    """Making its own JOIN."""
    keys: float
    """Checking all JOINs and making the pair keys."""


def _median(measure: Callable[[], _Cost]) -> _Cost:
    return sorted(measure() for _ in range(REPEATS))[REPEATS // 2]


def _ours(count: int, dimension: int) -> _Cost:
    """One partner's CPU seconds."""
    crowd = parties(count)
    request = request_for(crowd, dimension)
    joins = {party.member: party.machine.on_proposal(request) for party in crowd[1:]}
    one = crowd[0]
    values = np.arange(dimension, dtype=np.int64) - dimension // 2
    began = time.process_time()
    joins[one.member] = one.machine.on_proposal(request)
    joined = time.process_time()
    one.machine.on_joins(tuple(joins.values()))
    agreed = time.process_time()
    one.machine.mask(values)
    total = time.process_time() - began
    return _Cost(total=total, join=joined - began, keys=agreed - joined)


def _flower(count: int, dimension: int) -> float:
    """One client's CPU seconds in Flower 1.41's SecAgg+ with every client a neighbour."""
    settings = {
        Key.SAMPLE_NUMBER: count,
        Key.SHARE_NUMBER: count,
        Key.THRESHOLD: count // 2 + 1,
        Key.CLIPPING_RANGE: 8.0,
        Key.TARGET_RANGE: 1 << 22,
        Key.MOD_RANGE: 1 << 32,
        Key.MAX_WEIGHT: 1000.0,
    }
    states = [flower.SecAggPlusState() for _ in range(count)]
    for number, state in enumerate(states):
        state.nid = number + 1
    vector = np.linspace(-1, 1, dimension, dtype=np.float64)
    spent = 0.0
    keys, cost = _stage(states, lambda state: flower._setup(state, ConfigRecord(settings)))
    spent += cost
    public = {
        str(state.nid): [key[Key.PUBLIC_KEY_1], key[Key.PUBLIC_KEY_2]]
        for state, key in zip(states, keys, strict=True)
    }
    shares, cost = _stage(states, lambda state: flower._share_keys(state, ConfigRecord(public)))
    spent += cost
    mail: dict[int, list[tuple[int, bytes]]] = {state.nid: [] for state in states}
    for state, share in zip(states, shares, strict=True):
        for target, text in zip(
            share[Key.DESTINATION_LIST], share[Key.CIPHERTEXT_LIST], strict=True
        ):
            mail[target].append((state.nid, text))
    first = states[0]
    letters = {
        Key.CIPHERTEXT_LIST: [text for _, text in mail[first.nid]],
        Key.SOURCE_LIST: [source for source, _ in mail[first.nid]],
    }
    began = time.process_time()
    flower._collect_masked_vectors(
        first, ConfigRecord(letters), 1, ndarrays_to_parameters([vector])
    )
    alive = {Key.ACTIVE_NODE_ID_LIST: [s.nid for s in states], Key.DEAD_NODE_ID_LIST: []}
    flower._unmask(first, ConfigRecord(alive))
    return spent + time.process_time() - began


def _stage(
    states: list[Any],
    step: Callable[[Any], Any],
) -> tuple[list[Any], float]:
    """All clients' answers, and what the first of them cost."""
    began = time.process_time()
    answers = [step(states[0])]
    cost = time.process_time() - began
    answers += [step(state) for state in states[1:]]
    return answers, cost


def _plot(path: Path, ours: dict[str, float], theirs: dict[str, float]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3))
    names = list(ours)
    axes.bar(
        [i - 0.2 for i in range(len(names))], [ours[n] for n in names], 0.4, label="RiskWeave"
    )
    found = [name for name in names if name in theirs]
    places = [names.index(name) + 0.2 for name in found]
    axes.bar(places, [theirs[name] for name in found], 0.4, label="Flower SecAgg+")
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), [f"{name} words" for name in names])
    axes.set_ylabel("CPU s a silo and round")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
