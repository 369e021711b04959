"""The Taiwan example with a family of attestations, and what its partners score jointly.

Training is the product's own, in this process (``in_process``): a base model with a block of
attestations, then a head. Of the rows of a head's study one third is as the score is asked
today, one third as the next lender would see the person if the asker's part left the sums, and
one third the same with an attestation: each person is one row, by its own hash. So slope and
offset of an attestation are trained like all others, within the same epsilon.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from bench.in_process import Federation, closed_sums
from consortium.canonical import Label, hash_with
from consortium.credit.attestation import dpd_band, utilisation_band
from consortium.credit.attested import schema_lines
from consortium.credit.terms import Ppm
from consortium.features.bins import Bins
from consortium.features.schema import Schema
from consortium.ids import PartnerId
from consortium.plan import Block, BudgetShares, ModelKind, TrainingPlan
from consortium.scoring.head import Head, plain_head
from consortium.scoring.layout import JointSums
from consortium.scoring.premium import (
    ATTESTATION,
    OwnPart,
    study_variants,
    with_attested,
    without_part,
)
from consortium.scoring.scorecard import to_units
from models.document import ModelDocument
from models.partials import families_of, joint_of
from models.released import head_of, model_of
from models.run import RunSession
from models.serving import Serving
from partner_node.head_sums import HeadSums
from partner_node.ingest import EncodedTable
from partner_node.local_sums import LocalSums
from partner_node.study import JointRows

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "taiwan"
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Words = NDArray[np.uint64]

PARTNERS = tuple(PartnerId(n) for n in ("bank_a", "bank_b", "platform_c", "platform_d"))
DAYS = (0, 30, 60, 90, 120)
"""Days past due that a status code stands for: k months late are at most 30 k days."""


def prepare(directory: Path) -> Path:
    """Cut the table, add what each partner would attest, and write the rehearsal file."""
    command = [sys.executable, str(EXAMPLE / "cut.py"), str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - constants
    for name in PARTNERS:
        _attest(directory, name)
    schema = (EXAMPLE / "schema.toml").read_text(encoding="utf-8")
    features = ("attested_worst_dpd", "attested_utilisation")
    schema += "\n" + schema_lines(features, reason="R02")
    (directory / "schema.toml").write_text(schema, encoding="utf-8")
    text = (EXAMPLE / "rehearsal.toml").read_text(encoding="utf-8")
    head, _, rest = text.partition("[credit]")
    text = head + "[[partner]]" + rest.partition("[[partner]]")[2]
    path = directory / "rehearsal.toml"
    path.write_text(_changed(text, _changes(directory)), encoding="utf-8")
    return path


def _changes(directory: Path) -> dict[str, str]:
    """What the file says beside the example's: one family, its block, and who studies."""
    banks, platforms = 'families = ["repayment"', 'families = ["billing", "payments"'
    block = (
        f'[[block]]\nname = "{ATTESTATION}"\nfamilies = ["{ATTESTATION}"]\n'
        "normaliser = 41000\n\n"
    )
    askers = ", ".join(f'"{name}"' for name in PARTNERS)
    return {
        f"{banks}]\nquery": f'{banks}, "{ATTESTATION}"]\nquery',
        f"{platforms}]\nquery": f'{platforms}, "{ATTESTATION}"]\nquery',
        "../../build/taiwan/": f"{directory}/",
        ".parquet'": "_attested.parquet'",
        "[head]  ": f"{block}[head]  ",
        'askers = ["bank_a", "bank_b"]': f"askers = [{askers}]",
    }


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{old!r} is not in the example's file")
        text = text.replace(old, new)
    return text


def _attest(directory: Path, name: str) -> None:
    """Two more columns: bands by the issuer's own rules, of what this partner knows."""
    query = f"SELECT * FROM '{directory / name}.parquet' ORDER BY ID"
    table = duckdb.sql(query).to_arrow_table()
    plain = table.to_pydict()
    rows = range(table.num_rows)
    late: list[str | None] = [None] * table.num_rows
    used: list[str | None] = [None] * table.num_rows
    if "PAY_0" in plain:
        columns = [plain[f"PAY_{month}"] for month in (0, 2, 3, 4, 5, 6)]
        worst = [max(0, *(column[row] for column in columns)) for row in rows]
        late = [dpd_band(DAYS[min(months, len(DAYS) - 1)]).value for months in worst]
    else:
        bills = [plain[f"BILL_AMT{month}"] for month in range(1, 7)]
        means = [max(0, sum(column[row] for column in bills)) / 6 for row in rows]
        limits = plain["LIMIT_BAL"]
        used = [
            utilisation_band(Ppm(int(10**6 * means[row] / limits[row]))).value for row in rows
        ]
    made = table.append_column("attested_worst_dpd", [late]).append_column(
        "attested_utilisation", [used]
    )
    duckdb.sql("SELECT * FROM made").write_parquet(str(directory / f"{name}_attested.parquet"))
    del made


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one partner holds of its own customers. Rows in the order of its table."""

    places: Integers
    """Of each row among all persons."""
    part: OwnPart
    """Without attestations."""
    attested: Integers
    """Logit of what it would attest, units."""
    labels: NDArray[np.uint8]
    holdout: Flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One trained model over all persons."""

    families: tuple[str, ...]
    base: int
    held: Mapping[PartnerId, Held]
    sums: JointSums
    head: Head

    def of(self, places: Integers) -> JointSums:
        """The joint sums of some persons, as they are asked for today."""
        sums = self.sums
        return JointSums(
            columns=sums.columns,
            logits=sums.logits[places],
            counts=sums.counts[places],
            partners=sums.partners[places],
        )


def scored(federation: Federation, *, seed: int | None) -> Scored:
    """Train base and head and add up the parts; ``seed`` None: without any noise."""
    document = base_of(federation, seed)
    families = families_of(document.model.spec)
    persons, held = _parts(federation, document, families)
    sums = _sums(len(persons), held, families)
    base = to_units(float(document.joint.base))
    made = Scored(
        families=families, base=base, held=held, sums=sums, head=plain_head(families, base)
    )
    rows = {name: _study(made, name, persons, document) for name in held}
    return replace(made, head=_head(federation, document, rows, seed))


def base_of(federation: Federation, seed: int | None) -> ModelDocument:
    """Train the base model; ``seed`` None: without any noise."""
    rehearsal = federation.rehearsal
    loads: dict[PartnerId, Callable[[Bins], EncodedTable]] = {
        name: lambda _, table=table: table for name, table in federation.tables.items()
    }
    return trained_document(rehearsal.plan, rehearsal.schema, loads, seed)


def trained_document(
    plan: TrainingPlan,
    schema: Schema,
    loads: Mapping[PartnerId, Callable[[Bins], EncodedTable]],
    seed: int | None,
) -> ModelDocument:
    """The document of a model that the tables so read were trained into by a plan."""
    session = RunSession(plan, schema)
    nodes = {name: LocalSums(plan, schema, name, load=load) for name, load in loads.items()}
    closed_sums(session, nodes, seed)
    cells = np.frombuffer(session.state.recalibration).reshape(len(plan.blocks), 24, 2)
    roster = tuple(nodes)
    kind = session.state.attempts[-1].kind
    deviations = [session.deviation(kind, block, roster) for block in plan.blocks]
    model = model_of(session)
    return ModelDocument(
        manifest=hash_with(Label.MANIFEST, b"bench"),
        plan=plan,
        bins=session.bins,
        model=model,
        joint=joint_of(model, cells, deviations),
        metrics={},
        statement={},
    )


def _parts(
    federation: Federation, document: ModelDocument, families: tuple[str, ...]
) -> tuple[Words, dict[PartnerId, Held]]:
    heads = {}
    for name, table in federation.tables.items():
        if table.persons is None:
            raise ValueError("tables must be loaded with persons")
        heads[name] = table.persons
    persons = np.unique(np.concatenate(list(heads.values())))
    held = {}
    for name, table in federation.tables.items():
        columns = [feature.name for feature in table.features]
        parts = Serving(document, name, columns).parts(table.codes)
        logits = np.zeros((len(table.labels), len(families)), dtype=np.int64)
        counts = np.zeros_like(logits)
        for family, values in parts.logits.items():
            place = families.index(family)
            if family != ATTESTATION:
                logits[:, place] = values * parts.covered[family]
                counts[:, place] = parts.covered[family]
        held[name] = Held(
            places=np.searchsorted(persons, heads[name]),
            part=OwnPart(logits=logits, counts=counts),
            attested=parts.logits[ATTESTATION],
            labels=table.labels,
            holdout=table.holdout,
        )
    return persons, held


def _sums(persons: int, held: Mapping[PartnerId, Held], families: tuple[str, ...]) -> JointSums:
    logits = np.zeros((persons, len(families)), dtype=np.int64)
    counts, partners = np.zeros_like(logits), np.zeros(persons, dtype=np.int64)
    for one in held.values():
        logits[one.places] += one.part.logits
        counts[one.places] += one.part.counts
        partners[one.places] += one.part.counts.any(axis=1)
    return JointSums(columns=families, logits=logits, counts=counts, partners=partners)


def seen(made: Scored, name: PartnerId, rows: Flags, *, attested: bool) -> JointSums:
    """How the next lender sees these rows of a partner that closes."""
    own = made.held[name]
    part = OwnPart(logits=own.part.logits[rows], counts=own.part.counts[rows])
    left = without_part(made.of(own.places[rows]), part)
    if not attested:
        return left
    shown = np.ones(int(rows.sum()), dtype=np.bool_)
    return with_attested(left, own.attested[rows], shown)


def _head(
    federation: Federation,
    document: ModelDocument,
    rows: Mapping[PartnerId, JointRows],
    seed: int | None,
) -> Head:
    settings = federation.rehearsal.head
    if settings is None:
        raise ValueError("the rehearsal file has no [head]")
    families = next(iter(rows.values())).families
    plan = _head_plan(federation.rehearsal.plan, document, families, settings.epsilon)
    session = RunSession(plan, federation.rehearsal.schema)
    nodes = {
        name: HeadSums(plan, name, joint_rows=lambda _, name=name: rows[name]) for name in rows
    }
    closed_sums(session, nodes, seed)
    return head_of(session)


def _head_plan(
    plan: TrainingPlan, document: ModelDocument, families: tuple[str, ...], epsilon: str
) -> TrainingPlan:
    settings = {"training": "0.95", "recalibration": "0", "overlap": "0.05"}
    return replace(
        plan,
        model=ModelKind.HEAD,
        base=hash_with(Label.MODEL, document.to_bytes()),
        start=document.joint.base,
        rounds=40,
        clip="1.25",
        epsilon=epsilon,
        optimizer=replace(plan.optimizer, learning_rate="0.1", tail="0.6"),
        shares=BudgetShares(bins="0", **settings),
        blocks=(
            Block(
                name="head",
                families=families,
                holders=PARTNERS,
                normaliser=41_000,
            ),
        ),
    )


def _study(made: Scored, name: PartnerId, persons: Words, document: ModelDocument) -> JointRows:
    own = made.held[name]
    draws = (persons[own.places] >> np.uint64(7)).astype(np.int64) & (2**31 - 1)
    sums, part = study_variants(made.of(own.places), own.part, own.attested, draws)
    return JointRows(
        base=hash_with(Label.MODEL, document.to_bytes()),
        families=made.families,
        logits=sums.logits,
        counts=sums.counts,
        own=part.logits,
        partners=sums.partners,
        labels=own.labels,
        holdout=own.holdout,
    )
