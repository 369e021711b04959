"""From rows of lines at three nodes to the operator's answer, with no table made by hand.

Each part is the one that runs: the node's own reading and counting, the product's noise, the
coordinator's registry, the command. What is planted in the rows must come out at the end.
"""

import csv
import io
import json
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path

import pytest

from consortium.credit.figures import (
    Integers,
    NoisyTable,
    Terms,
    contribution,
    simulated_release,
)
from consortium.credit.shock import TIER_CUTS, TIERS
from consortium.credit.shock_tables import elasticity_spec, tiers_spec
from consortium.errors import NotFoundError
from consortium.figure import FigureSpec
from consortium.identity.overlap import ExactCounts, OverlapPlan
from consortium.ids import PartnerId
from coordinator.credit.cli import main
from partner_node.credit.figure_decisions import span_of
from partner_node.credit.figure_elasticity import elasticity_entries
from partner_node.credit.figure_lines import line_entries
from partner_node.credit.lines import History, histories, lines_source
from partner_node.credit.standing import PersonStanding, standings
from partner_node.credit.storage import CreditStore
from partner_node.credit.storage_elsewhere import KeptBit, arms, keep_bits
from tests.coordinator_house import House
from tests.stress_house import secrets, store_overlap, store_tables

NAMES = tuple(PartnerId(name) for name in ("bank_a", "bank_b", "shop_c"))
TERMS = Terms(epsilon="4", max_partners_per_person=3)
INQUIRY, MONTH = date(2025, 2, 10), "2026-01"
PERSONS = 600
"""Of each node, the same at all: a hundred for each tier and arm."""
PLANTED = {"PRIME": 0.05, "NEAR": 0.15, "LOW": -0.20}
COMMON = 200
"""Of each tier, at any two."""

# Person i: tier i % 3, arm (i // 3) % 2; the first of every twenty in a cell go bad.
LINES = """
query = \"\"\"
    SELECT 'l' || lpad(i::VARCHAR, 4, '0') AS line, 'p' || i AS person,
           last_day(start) AS month_end, DATE '2024-01-15' AS opened_on, 'OPEN' AS status,
           500000 AS credit_limit, 100000 AS balance, 100000 AS statement, 2000 AS due,
           2000 AS paid, 1000 AS debits, 'S' || i AS study_consent,
           CASE WHEN start >= DATE '2025-08-01' AND (i // 6) % 20 <
                CASE i % 6 WHEN 0 THEN 1 WHEN 3 THEN 2 WHEN 1 THEN 3 WHEN 4 THEN 6
                           WHEN 2 THEN 8 ELSE 4 END
                THEN 95 ELSE 0 END AS dpd,
           [0.01, 0.07, 0.15][i % 3 + 1] AS pd12
    FROM range(PERSONS) AS persons(i),
         generate_series(DATE '2025-01-01', DATE '2026-01-01', INTERVAL 1 MONTH) AS m(start)
    ORDER BY line, month_end\"\"\"
""".replace("PERSONS", str(PERSONS))


def subject(person: str) -> bytes:
    return b"keyed " + person.encode()


class Node:
    """One partner's files: its table of lines, and the arms that its inquiry left."""

    def __init__(self, name: PartnerId, directory: Path) -> None:
        directory.mkdir()
        (directory / "lines.toml").write_text(LINES, encoding="utf-8")
        self.name = name
        self.lines: list[History] = list(histories(lines_source(directory)))
        self.store = CreditStore(directory / "credit.db")
        told = [
            KeptBit(
                subject=subject(f"p{i}"),
                closed=bool((i // 3) % 2),
                on=INQUIRY,
                arm=(i // 3) % 2,
                arm_on=INQUIRY,
            )
            for i in range(PERSONS)
        ]
        with self.store.transaction() as connection:
            keep_bits(connection, told)

    def tiers(self, spec: FigureSpec) -> Integers:
        return contribution(spec, line_entries(spec, self.lines, self.name))

    def study(self, spec: FigureSpec) -> Integers:
        with self.store.reading() as connection:
            kept = arms(connection)
        entries = elasticity_entries(
            spec, kept, self.lines, subject=subject, span=span_of(spec)
        )
        return contribution(spec, entries)

    @cached_property
    def standing(self) -> Mapping[bytes, PersonStanding]:
        return standings(self.lines, subject, today=date(2026, 1, 31))


def overlap_of(
    counter: Node, peer: Node, cuts: tuple[int, ...]
) -> tuple[OverlapPlan, ExactCounts]:
    """What the lists of two nodes come to: both active and with consent, by the peer's PD."""
    plan = OverlapPlan(
        counter=counter.name,
        peer=peer.name,
        period=MONTH,
        tiers=tuple(TIERS),
        cuts=cuts,
        epoch=1,
        epsilon="1",
        delta="0.000001",
    )
    counts = [0] * len(plan.tiers)
    mine = {key for key, one in counter.standing.items() if one.bits.active and one.study}
    for key, one in peer.standing.items():
        if key in mine and one.bits.active and one.study and one.pd is not None:
            counts[plan.tier_of(one.pd)] += 1
    return plan, ExactCounts(counts)


def released(spec: FigureSpec, parts: list[Integers], seed: str) -> NoisyTable:
    return simulated_release(spec, parts, secrets(seed, len(parts)), terms=TERMS)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> list[Node]:
    root = tmp_path_factory.mktemp("nodes")
    return [Node(name, root / name) for name in NAMES]


@pytest.fixture(scope="module")
def tables(nodes: list[Node]) -> list[NoisyTable]:
    tiers = tiers_spec(MONTH, NAMES, bound=400_000, synthetic=True)
    study = elasticity_spec("2025-02", synthetic=True)
    return [
        released(tiers, [node.tiers(tiers) for node in nodes], "tiers"),
        released(study, [node.study(study) for node in nodes], "study"),
    ]


def filled(
    directory: Path,
    nodes: list[Node],
    tables: list[NoisyTable],
    cuts: tuple[int, ...] = TIER_CUTS,
) -> Path:
    """A coordinator's directory with both tables and the overlaps of who closes."""
    house = House.build(directory)
    store_tables(house.desk.store, tables, TERMS)
    for peer in nodes[1:]:
        store_overlap(house.desk.store, *overlap_of(nodes[0], peer, cuts))
    return directory


def test_rows_at_nodes_become_measured_elasticities_and_a_change_at_each_partner(
    nodes: list[Node],
    tables: list[NoisyTable],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory, out = filled(tmp_path / "c", nodes, tables), tmp_path / "out"
    words = ["run", str(directory), "--close", "bank_a", "--rounds", "1", "--out", str(out)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert all(f"{name} (n " in told for name in NAMES)
    (document,) = out.glob("*.json")
    report = json.loads(document.read_text(encoding="utf-8"))
    assert not report["assumed"]
    for tier, planted in PLANTED.items():
        one = report["elasticities"][tier]
        assert one["provenance"] == "measured"
        assert one["low"] < planted < one["high"]
        assert one["high"] - one["low"] < 0.3

    (table,) = out.glob("*.csv")
    figures = {
        (row["partner"], row["tier"], row["figure"]): [
            float(row[name]) for name in ("low", "value", "high")
        ]
        for row in csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
        if row["round"] == "all"
    }
    for name in NAMES[1:]:
        for tier in TIERS:
            low, _, high = figures[name, tier, "hit"]
            assert low < COMMON < high, (name, tier)
        assert figures[name, "NEAR", "loss"][0] > 0
        assert figures[name, "LOW", "loss"][2] < 0
    assert figures["bank_a", "*", "loss"][1] == 0


def test_an_overlap_by_other_cuts_than_the_tiers_is_not_read(
    nodes: list[Node], tables: list[NoisyTable], tmp_path: Path
) -> None:
    directory = filled(tmp_path / "c", nodes, tables, cuts=(30_000, 200_000))
    with pytest.raises(NotFoundError, match=r"no OVERLAP release.*2 of 2 pairs"):
        main(["run", str(directory), "--close", "bank_a", "--rounds", "1"])
