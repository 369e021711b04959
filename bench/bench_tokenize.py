"""Tokens a second and core: blinding, t shares with their proofs checked, the token itself.

The whole of ``consortium.identity.evaluation`` on batches of 1,024 persons, without wire and
disk. The asker is one of the t holders, so it checks t-1 proofs; its CPU and that of each
other holder are told apart. The floor is the same number of bare calls into the library:
what is above it is hashing and Python. CPU seconds of one thread; then the same batch with
the caller's pool of two threads, by the clock.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_char
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from bench.key_holders import KeyHolders, key_holders, secret_of
from bench.result import Result
from consortium.crypto import ristretto
from consortium.identity.evaluation import OprfClient, OprfServer, OprfTask
from consortium.identity.oprf import Each
from consortium.identity.person import PersonRule, person_input
from consortium.ids import RequestId
from consortium.inquiries import OprfReply
from partner_node.ristretto_library import load_ristretto

mpl.use("Agg")
from matplotlib import pyplot as plt

MEMBERS = {3: 4, 4: 6, 7: 10}
"""t -> n."""
PERSONS = 1_024
REPEATS = 3
THREADS = 2
CALLS = 1_000
SHOWN = 3
"""The t of the figures; the others are for the plot."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Seconds of CPU for one person's token."""

    client: float
    server: float
    """Of each of the other t-1 holders."""

    def total(self, threshold: int) -> float:
        return self.client + (threshold - 1) * self.server


def run(out: Path) -> Result:
    """Tokens a second and core, at the asker and over all parties, and the ratios."""
    out.mkdir(parents=True, exist_ok=True)
    load_ristretto(out)
    costs = {t: _measured(key_holders(n)) for t, n in MEMBERS.items()}
    single = _operations()
    floors = {t: _floor(t, single) for t in MEMBERS}
    at = costs[SHOWN]
    holders = key_holders(MEMBERS[SHOWN])
    alone = _clocked(holders, map)
    with ThreadPoolExecutor(THREADS) as pool:
        pooled = _clocked(holders, pool.map)
    _plot(out / "tokenize.svg", costs, floors)
    return Result(
        name="tokenize",
        figures={
            "per_second_per_core": round(1 / at.client),
            "server_per_second_per_core": round(1 / at.server),
            "all_parties_per_second_per_core": round(1 / at.total(SHOWN)),
            "client_us_by_threshold": {str(t): _us(cost.client) for t, cost in costs.items()},
            "server_us_by_threshold": {str(t): _us(cost.server) for t, cost in costs.items()},
            "client_per_second_two_threads": round(1 / pooled),
            "million_customers_client_minutes": round(at.client * 1e6 / 60, 1),
        },
        anchors={
            "operation_us": {name: _us(cost) for name, cost in single.items()},
            "scalar_mults_per_second": round(1 / single["mult"]),
            "client_floor_us": {str(t): _us(floor.client) for t, floor in floors.items()},
            "server_floor_us": {str(t): _us(floor.server) for t, floor in floors.items()},
        },
        ratios={
            "client_over_arithmetic": round(at.client / floors[SHOWN].client, 3),
            "server_over_arithmetic": round(at.server / floors[SHOWN].server, 3),
            "two_threads_speedup": round(alone / pooled, 2),
        },
    )


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)


def _inputs() -> list[bytes]:
    rule = PersonRule.parse("e164/phone")
    return [person_input(rule, f"+8613{number:09d}") for number in range(PERSONS)]


def _ask(holders: KeyHolders, inputs: list[bytes], each: Each = map) -> OprfTask:
    return OprfClient(holders.parties[0]).ask(
        inputs,
        servers=holders.servers,
        purpose="load",
        request=RequestId("00" * 16),
        entropy=secret_of("blinding"),
        each=each,
    )


def _answers(holders: KeyHolders, task: OprfTask) -> list[OprfReply]:
    others = holders.parties[1 : holders.threshold]
    return [OprfServer(party).answer(task.request, secret_of("nonce")) for party in others]


def _measured(holders: KeyHolders) -> _Cost:
    """The median batch's CPU, for one person."""
    client = OprfClient(holders.parties[0])
    inputs, others = _inputs(), holders.threshold - 1
    costs = []
    for _ in range(REPEATS):
        began = time.process_time()
        task = _ask(holders, inputs)
        asked = time.process_time()
        replies = _answers(holders, task)
        answered = time.process_time()
        client.finish(task, replies)
        spent = asked - began + time.process_time() - answered
        costs.append(_Cost(spent / PERSONS, (answered - asked) / others / PERSONS))
    return sorted(costs, key=lambda cost: cost.client)[REPEATS // 2]


def _clocked(holders: KeyHolders, each: Each) -> float:
    """Seconds by the clock for one person at the asker, in this thread or in a pool."""
    client, inputs = OprfClient(holders.parties[0]), _inputs()
    began = time.perf_counter()
    task = _ask(holders, inputs, each)
    asked = time.perf_counter() - began
    replies = _answers(holders, task)
    began = time.perf_counter()
    client.finish(task, replies, each=each)
    return (asked + time.perf_counter() - began) / PERSONS


def _operations() -> dict[str, float]:
    """CPU seconds of one bare call of each kind."""
    point = ristretto.hash_to_group(b"bench")
    scalar = ristretto.scalar_stream(secret_of("scalar"), 1)[0]
    uniform, target = bytes(range(64)), (c_char * ristretto.POINT_BYTES)()
    lib = ristretto.library()
    return {
        "mult": _cost_of(lambda: lib.crypto_scalarmult_ristretto255(target, scalar, point)),
        "add": _cost_of(lambda: lib.crypto_core_ristretto255_add(target, point, point)),
        "hash_to_group": _cost_of(
            lambda: lib.crypto_core_ristretto255_from_hash(target, uniform)
        ),
    }


def _cost_of(call: Callable[[], object]) -> float:
    costs = []
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        costs.append((time.process_time() - began) / CALLS)
    return sorted(costs)[REPEATS // 2]


def _floor(threshold: int, single: dict[str, float]) -> _Cost:
    """The bare calls that RFC 9497 and t shares cannot do without.

    Asker: hash to the group, blind, own share, unblind; two products and two sums for each
    proof, t-1 sums of shares. Holder: its share, and one product and sum for its proof.
    """
    mult, add = single["mult"], single["add"]
    others = threshold - 1
    client = single["hash_to_group"] + (3 + 2 * others) * mult + 3 * others * add
    return _Cost(client=client, server=2 * mult + add)


def _plot(path: Path, costs: dict[int, _Cost], floors: dict[int, _Cost]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3))
    places = range(len(costs))
    for shift, label, pick in (
        (-0.2, "asker", lambda cost: cost.client),
        (0.2, "each other holder", lambda cost: cost.server),
    ):
        spots = [place + shift for place in places]
        axes.bar(spots, [1e6 * pick(cost) for cost in costs.values()], 0.4, label=label)
        axes.scatter(
            spots,
            [1e6 * pick(floor) for floor in floors.values()],
            marker="_",
            color="k",
            s=200,
        )
    axes.set_xticks(places, [f"t = {t}" for t in costs])
    axes.set_ylabel("CPU µs a token (dash: bare calls)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
