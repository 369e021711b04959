"""Closure stress of 50 lenders with 200,000 persons each, from person rows to the page.

SYNTHETIC rows. Measured on the wall, from the first row to the last byte of the report: every
node makes and counts its rows into the tables TIERS and ELASTICITY, noise and masks by the
product's own machines, 50 JOINs checked by every node, the masked sums, the documents of both
releases, the noisy overlap of all 2,450 ordered pairs, three rounds with 1,000 draws, and JSON,
CSV and page. Nodes share as many processes as the machine has cores.

Not in the time: the blinding of lists by which two nodes count common persons (protocol 6.10),
for 2,450 pairs a matter of days; its exact result is counted in clear and released with the
product's noise. Its bytes are stated, of all pairs and of those of the closing lender alone,
which are all that one round needs. Bytes are payloads of messages, without TLS and framing.
"""

import multiprocessing as mp
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from bench import stress_nodes
from bench.result import Result
from bench.secagg_parties import LENGTH, parties
from bench.stress_nodes import CLOSING, Ask, Market, host
from consortium.credit.figures import NoisyTable, Terms, figure_plan, published
from consortium.credit.shock import TIERS
from consortium.credit.shock_tables import elasticity_spec, tiers_spec
from consortium.documents import document_of, plan_digest
from consortium.figure import FigureSpec
from consortium.identity.overlap import OverlapCount
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import Join, SumRequest, Upload
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import mechanism_for
from consortium.release import Attempt, Outcome
from consortium.secagg.aggregator import Aggregator
from consortium.secagg.vectors import HEADER_BYTES
from coordinator.credit.stress import Asked, Stored, closure_report
from coordinator.credit.stress_page import stress_page
from coordinator.credit.stress_policy import load_policy
from coordinator.credit.stress_report import Document, as_csv, as_json, together_of, triple

mpl.use("Agg")
from matplotlib import pyplot as plt

BOUND = 3_000_000
MOST_PARTNERS = 8
"""Of one person, as the manifest would say; the market's mean is 2.5."""
POINT_BYTES = 32
_NO_DIGEST = Digest("0" * 64)
_ALL_HEADS = Digest("1" * 64)

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class _Run:
    """One benchmark run as it goes."""

    market: Market
    seconds: dict[str, float] = field(default_factory=dict)
    payload: dict[str, int] = field(default_factory=dict)
    """Bytes of one node by message."""
    began: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """End a part of the time."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self.began, 2)
        self.began = now


def run(out: Path, market: Market | None = None) -> Result:
    """Seconds of all parts, bytes of a partner and of all, and how near the answer is."""
    going = _Run(market or Market())
    tables, overlaps, facts = _releases(going)
    document = _answered(going, tables, overlaps)
    total = round(sum(going.seconds.values()), 2)
    out.mkdir(parents=True, exist_ok=True)
    _plot(out / "stress.svg", going, document)
    each = sum(going.payload.values())
    partners = going.market.partners
    return Result(
        name="stress",
        figures={
            "label": "SYNTHETIC",
            "partners": partners,
            "persons_each": going.market.persons,
            "processes": _processes(),
            "seconds": total,
            "cpu_seconds": _cpu_seconds(),
            "seconds_by_part": going.seconds,
            "payload_bytes_per_partner": going.payload,
            "payload_bytes_total": each * partners,
            "overlap_payload_bytes": _overlap_bytes(going.market),
            "epsilon_of_a_person": document["epsilon"],
            "elasticity_points": _elasticities(document, facts),
            "loss_change_share_of_before": _share(document),
        },
        anchors={"goal_seconds": 120},
        ratios={"goal_over_measured": round(120 / total, 2)},
    )


def _cpu_seconds() -> float:
    """Of this process and its nodes, since it began."""
    used = os.times()
    own = used.user + used.system
    return round(own + used.children_user + used.children_system, 1)


def _processes() -> int:
    return os.cpu_count() or 1


def _releases(
    going: _Run,
) -> tuple[tuple[NoisyTable, ...], list[OverlapCount], Sequence[stress_nodes.Facts]]:
    """All releases, by nodes in other processes and the coordinator in this one."""
    market = going.market
    names = tuple(party.member for party in parties(market.partners))
    specs = {
        "tiers": tiers_spec(market.month, names, bound=BOUND, synthetic=True),
        "elasticity": elasticity_spec("2025-02", synthetic=True),
    }
    rosters = {"tiers": names, "elasticity": names[:CLOSING] + names[CLOSING + 1 :]}
    plans = {name: _plan(specs[name], rosters[name]) for name in specs}
    requests = {name: _request(plans[name], rosters[name]) for name in specs}
    ask = Ask(requests=requests, specs=specs, names=names)
    hosts = _hosts(market, ask)
    facts = [fact for pipe, _ in hosts for fact in pipe.recv()]
    going.lap("rows, tables and overlaps at the nodes")
    sums = {name: _aggregator(requests[name]) for name in specs}
    for name, join in (one for pipe, _ in hosts for one in pipe.recv()):
        sums[name].on_join(join)
    joined = {name: one.joins for name, one in sums.items()}
    for pipe, _ in hosts:
        pipe.send(joined)
    going.lap("JOINs")
    uploads = [one for pipe, _ in hosts for one in pipe.recv()]
    for name, words, upload in uploads:
        sums[name].on_upload(upload, words)
    for _, process in hosts:
        process.join()
    going.payload |= _payload(requests, joined, uploads)
    tables = tuple(_table(plans[name], sums[name].total()) for name in specs)
    going.lap("noise, masks, sums")
    overlaps = [count for fact in facts for count in fact.noisy]
    return tables, overlaps, facts


def _hosts(market: Market, ask: Ask) -> list[tuple[Connection, mp.process.BaseProcess]]:
    context = mp.get_context("spawn")
    found: list[tuple[Connection, mp.process.BaseProcess]] = []
    count = _processes()
    for number in range(count):
        near, far = context.Pipe()
        mine = range(number, market.partners, count)
        process = context.Process(target=host, args=(market, tuple(mine), far))
        process.start()
        near.send(ask)
        found.append((near, process))
    return found


def _plan(spec: FigureSpec, holders: Sequence[PartnerId]) -> TrainingPlan:
    terms = Terms(max_partners_per_person=MOST_PARTNERS)
    under = (_NO_DIGEST, _NO_DIGEST, _NO_DIGEST)
    return figure_plan(spec, terms, run=RunId("ab" * 16), holders=holders, under=under)


def _request(plan: TrainingPlan, roster: tuple[PartnerId, ...]) -> SumRequest:
    made = mechanism_for(plan, ReleaseKind.TABLE, width=1, partners=len(roster))
    spec = plan.figure
    if spec is None:
        raise ValueError("a plan of a table without its figure")
    return SumRequest(
        run=plan.run,
        plan=plan_digest(plan),
        kind=ReleaseKind.TABLE,
        round=1,
        attempt=1,
        roster=roster,
        inputs=_NO_DIGEST,
        dimension=spec.size,
        scale_bits=20,
        variance=str(made.variance),
        head=_ALL_HEADS,
    )


def _aggregator(request: SumRequest) -> Aggregator:
    crowd = parties(stress_nodes.PARTNERS)
    return Aggregator(
        crowd[0].manifest,
        request,
        links={party.member: party.link for party in crowd},
        length=LENGTH,
    )


def _table(plan: TrainingPlan, total: Integers) -> NoisyTable:
    attempt = Attempt(
        kind=ReleaseKind.TABLE,
        round=1,
        attempt=1,
        roster=plan.blocks[0].holders,
        outcome=Outcome.SUMMED,
        missing=(),
        reasons=(),
        charged=True,
    )
    return published(plan, total, attempts=(attempt,))


def _payload(
    requests: Mapping[str, SumRequest],
    joined: Mapping[str, Sequence[Join]],
    uploads: Sequence[tuple[str, Words, Upload]],
) -> dict[str, int]:
    """Bytes to and from one node that takes part in all sums."""
    found: dict[str, int] = {"request": 0, "own JOIN": 0, "all JOINs": 0, "masked words": 0}
    for name, request in requests.items():
        sizes = [len(document_of(join)) for join in joined[name]]
        upload = next(one for figure, _, one in uploads if figure == name)
        found["request"] += len(document_of(request))
        found["own JOIN"] += sizes[-1]
        found["all JOINs"] += sum(sizes)
        words = HEADER_BYTES + 8 * request.dimension
        found["masked words"] += words + len(document_of(upload))
    return found


def _overlap_bytes(market: Market) -> dict[str, int]:
    """Of blinded lists: one of all persons there, one of each tier and one back."""
    lists = _padded(market.persons) * 2 + len(TIERS) * _padded(market.persons // 2)
    pair = POINT_BYTES * lists
    closing = market.partners - 1
    return {
        "one_pair": pair,
        "closing_lender_all_pairs": pair * closing,
        "all_pairs": pair * closing * market.partners,
    }


def _padded(persons: int) -> int:
    size = 1 << (persons - 1).bit_length()
    return 3 * size // 4 if 3 * size // 4 >= persons else size


def _answered(
    going: _Run, tables: tuple[NoisyTable, ...], overlaps: list[OverlapCount]
) -> Document:
    closing = PartnerId(tables[0].spec.axes[0].cells[CLOSING])
    stored = Stored(tables=tables, overlaps=tuple(overlaps), most_partners=MOST_PARTNERS)
    asked = Asked(closing={closing: frozenset(TIERS)})
    document = closure_report(stored, load_policy(None), asked)
    going.lap("three rounds, 1,000 draws")
    for text in (as_json(document), as_csv(document), stress_page(document)):
        if not text:
            raise ValueError("an empty report")
    going.lap("JSON, CSV, page")
    return document


def _elasticities(
    document: Document, facts: Sequence[stress_nodes.Facts]
) -> dict[str, dict[str, float]]:
    """Measured with interval, beside what was planted."""
    counts = sum((fact.closed for fact in facts), np.zeros(3, dtype=np.int64))
    sums = sum((fact.change for fact in facts), np.zeros(3))
    found = document["elasticities"]
    if not isinstance(found, dict):
        raise TypeError("no elasticities")
    return {
        tier: {
            **{key: round(100 * found[tier][key], 3) for key in ("value", "low", "high")},
            "planted": round(100 * float(sums[place] / counts[place]), 3),
        }
        for place, tier in enumerate(TIERS)
    }


def _share(document: Document) -> list[float]:
    """Change of the expected loss of all lenders, value and interval, percent of before."""
    before = document["before"]
    if not isinstance(before, list):
        raise TypeError("no expected loss")
    whole = before[-1]["value"]
    return [round(100 * one / whole, 4) for one in triple(together_of(document)[-1], "loss")]


def _plot(path: Path, going: _Run, document: Document) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    names = list(going.seconds)
    left.barh(names, [going.seconds[name] for name in names], color="#1f5fa8")
    left.invert_yaxis()
    total = sum(going.seconds.values())
    left.set_xlabel("seconds on the wall")
    left.set_title(
        f"SYNTHETIC: {going.market.partners} x {going.market.persons:,}: {total:.0f} s"
    )
    lines = [line for line in together_of(document) if line["tier"] == "*"][:-1]
    values = np.array([triple(line, "loss") for line in lines]) / 1e8
    places = np.arange(len(values))
    spread = np.stack((values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]))
    right.errorbar(places, values[:, 0], yerr=spread, fmt="o", markersize=3, color="#b4483c")
    right.axhline(0, color="#5a6672", linewidth=0.8)
    right.set_xlabel("lender")
    right.set_ylabel("change of expected loss, million")
    right.set_title("SYNTHETIC: lender 0 closes, 95 % intervals")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
