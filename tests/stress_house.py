"""Releases for stress runs, made with the product's own noise and written to files."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consortium.credit.figures import NoisyTable, Terms, figure_plan, simulated_release
from consortium.credit.scenario import Scenario
from consortium.credit.shock import TIERS
from consortium.credit.shock_tables import elasticity_spec, scenario_spec, tiers_spec
from consortium.credit.table_document import parse_table_document, table_bytes, table_digest
from consortium.crypto.keys import Secret
from consortium.documents import document_of
from consortium.figure import SCALE_BITS, FigureSpec
from consortium.identity.overlap import (
    ExactCounts,
    OverlapCount,
    OverlapPlan,
    counts_of,
)
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.ledger.bodies import OverlapReleased
from consortium.ledger.entries import Entry
from consortium.plan import ReleaseKind
from consortium.release import Attempt, Outcome
from coordinator.scoring_storage import ScoringStore
from coordinator.storage import Store
from coordinator.table_releases import figure_digest
from coordinator.table_storage import TableRow, TableStore

MONTH = "2026-03"
PARTNERS = tuple(PartnerId(name) for name in ("bank_a", "bank_b", "card_c", "shop_d"))
BOUND = 5_000_000
PERSONS, EXPOSURE, PD = (22_000, 16_000, 12_000), (900_000, 700_000, 500_000), (0.03, 0.07, 0.2)
COMMON = (4_000, 4_000, 5_000)
CUTS = (50_000, 100_000)

Integers = NDArray[np.int64]


def secrets(name: str, count: int) -> list[Secret]:
    return [Secret(hashlib.sha256(f"{name} {n}".encode()).digest()) for n in range(count)]


def scaled(spec: FigureSpec, totals: Sequence[float] | NDArray[np.float64]) -> Integers:
    """Exact sums in units of the measures, laid out by cells, as scaled integers."""
    bounds = np.array([one.bound for one in spec.measures], dtype=np.float64)
    table = np.asarray(totals, dtype=np.float64).reshape(-1, len(bounds)) / bounds
    return np.rint(table * (1 << SCALE_BITS)).astype(np.int64).reshape(-1)


def tiers_table(seed: str = "tiers", *, synthetic: bool = True) -> NoisyTable:
    """Every partner fills its own slots."""
    spec = tiers_spec(MONTH, PARTNERS, bound=BOUND, synthetic=synthetic)
    parts = []
    for place in range(len(PARTNERS)):
        cells = np.zeros((len(PARTNERS), len(TIERS), 3))
        persons = np.array(PERSONS, dtype=np.float64)
        sums = (persons, persons * EXPOSURE, persons * PD * 1e6)
        cells[place] = np.stack(sums, axis=1)
        parts.append(scaled(spec, cells))
    terms = Terms(max_partners_per_person=4)
    return simulated_release(spec, parts, secrets(seed, 4), terms=terms)


def study_table(seed: str = "study", *, thin_near: bool = False) -> NoisyTable:
    """Changes of about +7, +7 and -11 points."""
    spec = elasticity_spec("2025-02", synthetic=True)
    counts = np.array(
        [
            [[2_600, 45], [2_000, 115]],
            [[14_600, 580], [11_700, 1_450]],
            [[10_500, 980], [9_900, 1_850]],
            [[4_550, 930], [5_900, 490]],
            [[930, 500], [1_300, 330]],
        ],
        dtype=np.float64,
    )
    if thin_near:
        counts[2] = 0
    told = np.concatenate((counts, np.full((5, 2, 1), 70.0)), axis=2)
    parts = [scaled(spec, told), *[np.zeros(spec.size, dtype=np.int64)] * 2]
    terms = Terms(max_partners_per_person=3)
    return simulated_release(spec, parts, secrets(seed, 3), terms=terms)


def scenario_table(scenarios: Sequence[Scenario]) -> NoisyTable:
    """Each world has a tenth fewer approvals and a tenth more loss than the one before."""
    spec = scenario_spec(MONTH, scenarios, bound=BOUND // 10, synthetic=True)
    worlds = spec.shape[0]
    step = 1 + 0.1 * np.arange(worlds)[:, None]
    persons = np.tile(np.array([9e3, 9e3, 8e3, 6e3, 4e3]), (worlds, 1))
    pd = np.array([0.01, 0.035, 0.07, 0.15, 0.35])
    sums = (persons, 0.6 * persons / step, persons * pd * step * 1e6, persons * pd * step * 3e5)
    exact = scaled(spec, np.stack(sums, axis=2))
    parts = [exact, np.zeros_like(exact)]
    return simulated_release(spec, parts, secrets("scenario", 2))


def overlap_plan(counter: PartnerId, peer: PartnerId) -> OverlapPlan:
    return OverlapPlan(
        counter=counter,
        peer=peer,
        period=MONTH,
        tiers=tuple(TIERS),
        cuts=CUTS,
        epoch=1,
        epsilon="0.1",
        delta="0.000001",
    )


def overlaps(seed: str = "overlap", counts: Sequence[int] = COMMON) -> list[OverlapCount]:
    """Of every ordered pair, with the noise that the counting partner adds."""
    found: list[OverlapCount] = []
    for counter in PARTNERS:
        for peer in PARTNERS:
            if counter != peer:
                plan = overlap_plan(counter, peer)
                context: Digest = digest_of(f"{counter} {peer}".encode())
                key = secrets(f"{seed} {counter} {peer}", 1)[0]
                found += counts_of(plan, ExactCounts(counts).released(plan, key, context))
    return found


def write_releases(
    folder: Path, tables: Sequence[NoisyTable], counts: Sequence[OverlapCount]
) -> Path:
    """One file a release; counts of a pair together."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        name = f"{table.spec.kind}-{table.release[:12]}.json"
        (folder / name).write_bytes(document_of(table) + b"\n")
    by_pair: dict[str, list[bytes]] = {}
    for one in counts:
        by_pair.setdefault(f"overlap-{one.counter}-{one.peer}.json", []).append(
            document_of(one)
        )
    for name, documents in by_pair.items():
        (folder / name).write_bytes(b"[" + b",".join(documents) + b"]")
    return folder


def document_of_table(table: NoisyTable, terms: Terms) -> bytes:
    """As the coordinator keeps it: with a plan, an attempt and its statement."""
    holders = [PartnerId(f"p{place}") for place in range(table.partners)]
    plan = figure_plan(
        table.spec,
        terms,
        run=RunId("ab" * 16),
        holders=holders,
        under=(Digest("0" * 64), Digest("0" * 64), Digest("0" * 64)),
    )
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
    return table_bytes(plan, np.array(table.totals, dtype=np.int64), (attempt,))


def store_tables(store: Store, tables: Sequence[NoisyTable], terms: Terms) -> None:
    """Tables where the coordinator's runs leave them."""
    for number, table in enumerate(tables):
        document = document_of_table(table, terms)
        found = parse_table_document(document).table
        row = TableRow(
            release=found.release,
            digest=table_digest(document),
            figure=figure_digest(found.spec),
            kind=found.spec.kind.value,
            first=found.spec.first,
            last=found.spec.last,
            run=RunId(f"{number:032x}"),
            document=document,
            at=0,
        )
        TableStore(store).add(row)


def store_overlap(store: Store, plan: OverlapPlan, counts: ExactCounts) -> None:
    """The released counts of a pair, where the coordinator's runs leave them."""
    key = secrets(f"registry {plan.counter} {plan.peer}", 1)[0]
    noisy = counts.released(plan, key, digest_of(b"registry"))
    body = OverlapReleased(release=plan.release, attempt=1, counts=noisy)
    entry = Entry(seq_hint=0, at=0, actor=plan.counter, body=body)
    ScoringStore(store).begin_overlap(plan)
    ScoringStore(store).end_overlap(plan, entry.to_jcs())


def fill_registry(store: Store, tables: Sequence[NoisyTable]) -> None:
    """Tables, and overlaps of all pairs."""
    store_tables(store, tables, Terms(max_partners_per_person=3))
    for counter in PARTNERS:
        for peer in PARTNERS:
            if counter != peer:
                store_overlap(store, overlap_plan(counter, peer), ExactCounts(COMMON))
