"""Nodes of the stress benchmark: persons of a wide SYNTHETIC market, and their parts of sums.

A process hosts some of the nodes one after another. Each node makes its own rows, counts them
into the product's tables by the product's cell functions, adds its noise and masks with its
own machine; what a process hands back is what a node would have sent: JOINs, masked words,
and of an overlap the noisy counts. The exact numbers of common persons are counted here in
clear where two nodes would run protocol 6.10: its cost is the benchmark of that protocol.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from bench.secagg_parties import Party, parties
from consortium.credit.elasticity import ELSEWHERE, Elsewhere, StudyColumns, study_cells
from consortium.credit.figure_columns import contribution_of_columns
from consortium.crypto.keys import Secret
from consortium.figure import FigureSpec
from consortium.identity.overlap import ExactCounts, OverlapCount, counts_of
from consortium.ids import PartnerId, digest_of
from consortium.messages import Join, SumRequest, Upload
from consortium.privacy.noise import noise_share
from examples.ecosystem import law
from examples.ecosystem.shocks import overlap_plan
from examples.ecosystem.streams import stream

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

PARTNERS, PERSONS = 50, 200_000
SHARED = 20
"""A person of the market is at one lender in so many: lenders share a twentieth of theirs."""
CLOSING = 0
SEED = 7
_BASE = -2.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """How large, and what is asked. Public, but for the chance that makes the rows."""

    partners: int = PARTNERS
    persons: int = PERSONS
    seed: int = SEED
    month: str = "2026-03"
    overlap_epsilon: str = "0.05"

    @property
    def everybody(self) -> int:
        """Persons of whom each lender holds some."""
        return self.persons * SHARED


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One lender's persons, shape (n,) each. Private."""

    person: Integers
    pd: NDArray[np.float64]
    exposure: Integers
    study: StudyColumns


@lru_cache(maxsize=1)
def memberships(market: Market) -> tuple[Integers, ...]:
    """Who is at which lender, sorted."""
    return tuple(
        np.sort(
            stream(market.seed, f"members|{number}").choice(
                market.everybody, market.persons, replace=False, shuffle=False
            )
        ).astype(np.int64)
        for number in range(market.partners)
    )


@lru_cache(maxsize=1)
def _shared(market: Market) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.bool_]]:
    """Of everybody: latent risk, number of lenders, and whether at the closing one."""
    risk = stream(market.seed, "risk").standard_normal(market.everybody, dtype=np.float32)
    number = np.zeros(market.everybody, dtype=np.int8)
    for members in memberships(market):
        number[members] += 1
    closed = np.zeros(market.everybody, dtype=bool)
    closed[memberships(market)[CLOSING]] = True
    return risk, number, closed


def rows_of(market: Market, node: int) -> Rows:
    """A lender's persons, with outcomes twelve months after the closure of a test line."""
    risk, number, closed = _shared(market)
    members = memberships(market)[node]
    draw = stream(market.seed, f"rows|{node}")
    count = len(members)
    eta = _BASE + 1.1 * risk[members] + 0.5 * draw.standard_normal(count)
    pd = law.expit(eta)
    grade = law.grade_of(pd).astype(np.int64)
    lost = closed[members] & (node != CLOSING)
    stays = ~lost & (number[members] > 1)
    elsewhere = np.full(count, ELSEWHERE.index(Elsewhere.NOTHING), dtype=np.int64)
    elsewhere[stays] = ELSEWHERE.index(Elsewhere.STAYS)
    elsewhere[lost] = ELSEWHERE.index(Elsewhere.WITHDRAWN)
    shift = np.asarray(law.SHIFT)[np.asarray(law.TIER_OF_GRADE)[grade]]
    chance = law.expit(eta + np.where(lost, shift, 0.0))
    return Rows(
        person=members,
        pd=pd,
        exposure=np.rint(np.exp(13 + 0.6 * draw.standard_normal(count))).astype(np.int64),
        study=StudyColumns(
            grade=grade,
            is_open=np.ones(count, dtype=bool),
            active=draw.random(count) < 0.9,  # noqa: PLR2004 - one in ten is dormant
            dpd=np.where(draw.random(count) < 0.05, 20, 0),  # noqa: PLR2004 - some are late
            elsewhere=elsewhere,
            bad=draw.random(count) < chance,
        ),
    )


def tier_part(spec: FigureSpec, node: int, rows: Rows) -> Integers:
    """Own slots of the table of tiers."""
    tiers = np.asarray(law.TIER_OF_GRADE)[rows.study.grade]
    cells = np.stack((np.full(len(tiers), node), tiers), axis=1)
    ones = np.ones(len(tiers), dtype=np.int64)
    values = np.stack((ones, rows.exposure, np.rint(1e6 * rows.pd).astype(np.int64)), axis=1)
    return contribution_of_columns(spec, rows.person, cells, values)


def study_part(spec: FigureSpec, rows: Rows) -> Integers:
    """Grade, arm and outcome of those who are in the study."""
    member, cells = study_cells(rows.study)
    ones = np.ones((len(cells), 1), dtype=np.int64)
    return contribution_of_columns(spec, rows.person[member], cells, ones)


def true_change(rows: Rows) -> tuple[Integers, NDArray[np.float64]]:
    """Persons of the closed arm and their summed true change of PD, by tier."""
    member, cells = study_cells(rows.study)
    closed = cells[:, 1] == 1
    tiers = np.asarray(law.TIER_OF_GRADE)[cells[closed, 0]]
    pd = rows.pd[member][closed]
    after = law.expit(law.logit(pd) + np.asarray(law.SHIFT)[tiers])
    return (
        np.bincount(tiers, minlength=3).astype(np.int64),
        np.bincount(tiers, weights=after - pd, minlength=3),
    )


def common(
    market: Market, node: int, rows: Rows, names: Sequence[PartnerId]
) -> tuple[Integers, list[OverlapCount]]:
    """Exact and noisy counts of this lender's persons at each of the others, by its tiers."""
    tiers = np.full(market.everybody, 3, dtype=np.int8)
    tiers[rows.person] = np.asarray(law.TIER_OF_GRADE)[rows.study.grade]
    exact = np.zeros((market.partners, 3), dtype=np.int64)
    noisy: list[OverlapCount] = []
    for other, members in enumerate(memberships(market)):
        if other == node:
            continue
        exact[other] = np.bincount(tiers[members], minlength=4)[:3]
        plan = overlap_plan(
            names[other], names[node], market.month, epsilon=market.overlap_epsilon
        )
        key = Secret(hashlib.sha256(f"{market.seed} {other} {node}".encode()).digest())
        counts = ExactCounts(exact[other].tolist())
        noisy += counts_of(plan, counts.released(plan, key, digest_of(b"bench")))
    return exact, noisy


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the coordinator asks of all nodes."""

    requests: Mapping[str, SumRequest]
    specs: Mapping[str, FigureSpec]
    names: tuple[PartnerId, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What a benchmark may know of a node, and the noisy counts that the node sent."""

    closed: Integers
    """Persons of the closed arm by tier."""
    change: NDArray[np.float64]
    """Their true changes of PD, added up."""
    exact: Integers
    noisy: tuple[OverlapCount, ...]


@dataclass(slots=True, eq=False)
class _Node:
    """One node between two messages."""

    number: int
    machines: dict[str, Party]
    parts: dict[str, Integers]


def host(market: Market, numbers: Sequence[int], pipe: Connection) -> None:
    """The life of a process: rows, then JOINs, then masked words, of each of its nodes."""
    ask: Ask = pipe.recv()
    nodes, facts = [], []
    for number in numbers:
        rows = rows_of(market, number)
        parts = {"tiers": tier_part(ask.specs["tiers"], number, rows)}
        if number != CLOSING:
            parts["elasticity"] = study_part(ask.specs["elasticity"], rows)
        exact, noisy = common(market, number, rows, ask.names)
        facts.append(Facts(*true_change(rows), exact, tuple(noisy)))
        nodes.append(_Node(number, {}, parts))
    pipe.send(facts)
    machines = {name: parties(len(ask.names)) for name in ask.requests}
    pipe.send([join for node in nodes for join in _joins(ask, node, machines)])
    joined: Mapping[str, Sequence[Join]] = pipe.recv()
    uploads: list[tuple[str, Words, Upload]] = []
    for node in nodes:
        uploads += _masked(ask, node, joined)
    pipe.send(uploads)
    pipe.close()


def _joins(
    ask: Ask, node: _Node, machines: Mapping[str, Sequence[Party]]
) -> list[tuple[str, Join]]:
    found = []
    for name in node.parts:
        node.machines[name] = machines[name][node.number]
        join = node.machines[name].machine.on_proposal(ask.requests[name])
        found.append((name, join))
    return found


def _masked(
    ask: Ask, node: _Node, joined: Mapping[str, Sequence[Join]]
) -> list[tuple[str, Words, Upload]]:
    found = []
    for name, part in node.parts.items():
        request, machine = ask.requests[name], node.machines[name].machine
        agreed = machine.on_joins(tuple(joined[name]))
        seed = Secret(hashlib.sha256(f"noise {node.number} {name}".encode()).digest())
        noise = noise_share(
            seed, agreed.digest, variance=int(request.variance), count=request.dimension
        )
        words, upload = machine.mask(part + noise)
        found.append((name, words, upload))
    return found
