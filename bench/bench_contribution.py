"""What each of four partners is worth on the real Taiwan split, at person-level epsilon 1.

Two questions, two tables of the product's own form and noise. *Hanging*: AUC over grades of the
joint scores of a partner's own customers with its part and without, from one table in which
every partner counts its own customers; held-out ones, and all with an outcome. *Training*: the
others' held-out persons' log-loss by a model trained without a partner less that by the model
of all, from a table that the others count. Each training is the product's own at epsilon 1.
Beside each released figure stands the exact one of the same models, which only a benchmark
knows. ``BENCH_CONTRIBUTION_SEEDS=1`` makes fewer runs.
"""

import hashlib
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.bench_closure_taiwan import CUTS
from bench.closure_federation import PARTNERS, Scored, base_of, prepare, scored, seen
from bench.in_process import Federation
from bench.result import Result
from consortium.credit.contribution import gain_of
from consortium.credit.contribution_table import gain_entries, moments_of
from consortium.credit.dependence import dependence_entries, dependences_of
from consortium.credit.figure_forms import PERSONS
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import (
    NoisyTable,
    contribution,
    simulated_release,
)
from consortium.credit.intervals import Figure
from consortium.crypto.keys import Secret
from consortium.figure import FigureKind
from consortium.ids import PartnerId, digest_of
from consortium.plan import Block
from consortium.scoring.head import head_bytes
from consortium.scoring.premium import Impact, premium_of
from consortium.scoring.scorecard import UNIT_BITS
from models.contribution import auc_change, differences, moments
from models.document import ModelDocument
from models.evaluation import auc
from models.serving import Serving

mpl.use("Agg")
from matplotlib import pyplot as plt

DATA = Path(__file__).resolve().parents[1] / "build"
SEEDS = 5
MONTH = "2005-09"
Float = NDArray[np.float64]
Labels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hanging:
    """One partner in one run."""

    released: Figure | None
    over_grades: float
    """Of the same persons, without the table's noise."""
    exact: float
    """Of their log-odds instead of grades."""


def run(out: Path) -> Result:
    """Measure all four, several times."""
    out.mkdir(parents=True, exist_ok=True)
    seeds = range(int(os.environ.get("BENCH_CONTRIBUTION_SEEDS", str(SEEDS))))
    with threadpool_limits(1):
        federation = Federation.of(prepare(DATA / "taiwan_contribution"), persons=True)
        runs = [scored(federation, seed=seed) for seed in seeds]
        hanging = {
            persons: [
                _hanging(made, persons, seed) for made, seed in zip(runs, seeds, strict=True)
            ]
            for persons in PERSONS
        }
        gains = [_gains(federation, seed) for seed in seeds]
    figures: dict[str, object] = {
        f"hanging_{persons}": {name: _shown([one[name] for one in found]) for name in PARTNERS}
        for persons, found in hanging.items()
    }
    figures["training"] = {name: _gained([one[name] for one in gains]) for name in PARTNERS}
    _plot(out / "contribution.svg", hanging)
    ratios = {
        f"{name}_auc_gain": statistics.mean(one[name].over_grades for one in hanging["all"])
        for name in PARTNERS
    }
    anchors = {"epsilon_of_each_table": 1, "runs": len(runs)}
    return Result(name="contribution", figures=figures, anchors=anchors, ratios=ratios)


# --- what hangs on a partner ------------------------------------------------------------------


def _impact(made: Scored, name: PartnerId) -> Impact:
    """What the loss of a partner's part costs its customers, as its own node has it."""
    own = made.held[name]
    everybody = np.ones(len(own.labels), dtype=np.bool_)
    before = made.of(own.places)
    lost = premium_of(made.head, before, seen(made, name, everybody, attested=False))
    return Impact(premium=lost, labels=own.labels, holdout=own.holdout, attested=None)


def _hanging(made: Scored, persons: str, seed: int) -> dict[PartnerId, Hanging]:
    wanted = Wanted(
        partners=PARTNERS,
        head=digest_of(head_bytes(made.head)),
        cuts=CUTS,
        persons=persons,
    )
    spec = figure(FigureKind.DEPENDENCE, MONTH, MONTH, wanted)
    impacts = {name: _impact(made, name) for name in PARTNERS}
    parts = [contribution(spec, dependence_entries(spec, impacts[n], n)) for n in PARTNERS]
    table = simulated_release(spec, parts, _seeds(f"{persons}|{seed}"))
    whole = replace(table, variance="0", totals=tuple(sum(parts).tolist()))
    pairs = zip(dependences_of(table), dependences_of(whole), strict=True)
    found = {}
    for name, (noisy, plain) in zip(PARTNERS, pairs, strict=True):
        rows = impacts[name].holdout | (persons == "all")
        lost, labels = impacts[name].premium, impacts[name].labels[rows]
        areas = [auc(eta[rows].astype(float), labels) for eta in (lost.before, lost.after)]
        if plain.gain is None or areas[0] is None or areas[1] is None:
            raise ValueError("one class is missing")
        found[name] = Hanging(
            released=noisy.gain,
            over_grades=plain.gain.value,
            exact=areas[0] - areas[1],
        )
    return found


def _seeds(text: str) -> list[Secret]:
    return [
        Secret(hashlib.sha256(f"contribution|{text}|{name}".encode()).digest())
        for name in PARTNERS
    ]


# --- what its rows are worth to the others ----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Gained:
    """One partner in one run."""

    released: Figure | None
    exact: Figure | None
    """Without the table's noise; its interval is of the persons."""
    auc: float
    """AUC of the others' held-out persons with the partner in training less without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Log-odds of each judge's held-out persons, and what became of these."""

    labels: Mapping[PartnerId, Labels]
    with_all: Mapping[PartnerId, Float]
    less: Mapping[PartnerId, Mapping[PartnerId, Float]]
    """By the partner that is missing in training, then by judge."""


def _judged(federation: Federation, seed: int) -> Judged:
    """Train once with all and once without each."""
    whole, less = base_of(federation, seed), {}
    for missing in PARTNERS:
        document = base_of(_without(federation, missing), seed + 1_000)
        judges = [judge for judge in PARTNERS if judge != missing]
        less[missing] = {judge: _scores(federation, document, judge) for judge in judges}
    tables = federation.tables
    return Judged(
        labels={name: tables[name].labels[tables[name].holdout] for name in PARTNERS},
        with_all={name: _scores(federation, whole, name) for name in PARTNERS},
        less=less,
    )


def _gains(federation: Federation, seed: int) -> dict[PartnerId, Gained]:
    judged = _judged(federation, seed)
    found = {}
    for name, noisy in zip(PARTNERS, moments_of(_table(judged, seed)), strict=True):
        other = judged.less[name]
        labels = np.concatenate([judged.labels[judge] for judge in other])
        eta = np.concatenate([judged.with_all[judge] for judge in other])
        without = np.concatenate(list(other.values()))
        change = auc_change(without, eta, labels)
        found[name] = Gained(
            released=gain_of(noisy),
            exact=gain_of(moments(without, eta, labels)),
            auc=0.0 if change is None else change,
        )
    return found


def _table(judged: Judged, seed: int) -> NoisyTable:
    """As released: each judge counts its held-out persons for every other partner."""
    versions = tuple(digest_of(name.encode()) for name in PARTNERS)
    wanted = Wanted(model=digest_of(b"whole"), without=versions)
    spec = figure(FigureKind.CONTRIBUTION, MONTH, MONTH, wanted)
    parts = []
    for judge, labels in judged.labels.items():
        found = {
            cell: differences(judged.less[missing][judge], judged.with_all[judge], labels)
            for cell, missing in enumerate(PARTNERS)
            if missing != judge
        }
        names = [str(row) for row in range(len(labels))]
        parts.append(contribution(spec, gain_entries(spec, names, found)))
    return simulated_release(spec, parts, _seeds(f"training|{seed}"))


def _without(federation: Federation, missing: PartnerId) -> Federation:
    """The same federation whose plan leaves one partner's rows out."""
    rehearsal = federation.rehearsal
    blocks = tuple(_less(block, missing) for block in rehearsal.plan.blocks)
    return replace(
        federation, rehearsal=replace(rehearsal, plan=replace(rehearsal.plan, blocks=blocks))
    )


def _less(block: Block, missing: PartnerId) -> Block:
    """As ``coordinator.credit.contribution.retraining_plan`` has it."""
    left = tuple(name for name in block.holders if name != missing)
    rows = -(-block.normaliser * len(left) // len(block.holders))
    return replace(block, holders=left, normaliser=rows)


def _scores(federation: Federation, document: ModelDocument, name: PartnerId) -> Float:
    """Log-odds of a partner's held-out persons by its own blocks, as its node has them."""
    table = federation.tables[name]
    columns = [feature.name for feature in table.features]
    codes = np.ascontiguousarray(table.codes[table.holdout])
    eta: Float = Serving(document, name, columns).local_eta(codes) / float(1 << UNIT_BITS)
    return eta


# --- shown ------------------------------------------------------------------------------------


def _mean(values: Sequence[float]) -> float:
    return round(statistics.mean(values), 5)


def _band(found: Sequence[Figure | None], truths: Sequence[float]) -> dict[str, object]:
    told = [(one, true) for one, true in zip(found, truths, strict=True) if one is not None]
    return {
        "released_first_run": [
            round(told[0][0].value, 5),
            round(told[0][0].value - told[0][0].half, 5),
            round(told[0][0].value + told[0][0].half, 5),
        ],
        "released_mean": _mean([one.value for one, _ in told]),
        "half": _mean([one.half for one, _ in told]),
        "held": sum(abs(one.value - true) <= one.half for one, true in told),
        "told": len(told),
    }


def _shown(found: Sequence[Hanging]) -> dict[str, object]:
    band = _band([one.released for one in found], [one.over_grades for one in found])
    return band | {
        "over_grades": _mean([one.over_grades for one in found]),
        "exact": _mean([one.exact for one in found]),
    }


def _gained(found: Sequence[Gained]) -> dict[str, object]:
    exact = [one.exact.value for one in found if one.exact is not None]
    return _band([one.released for one in found], exact) | {
        "exact": _mean(exact),
        "exact_half": _mean([one.exact.half for one in found if one.exact is not None]),
        "auc": _mean([one.auc for one in found]),
    }


def _plot(path: Path, hanging: Mapping[str, Sequence[Mapping[PartnerId, Hanging]]]) -> None:
    drawing, axes = plt.subplots(figsize=(7, 3.6))
    for place, (persons, found) in enumerate(hanging.items()):
        first = [found[0][name].released for name in PARTNERS]
        spots = [number + 0.3 * (place - 0.5) for number in range(len(PARTNERS))]
        values = [0.0 if one is None else one.value for one in first]
        halves = [0.0 if one is None else one.half for one in first]
        axes.errorbar(spots, values, yerr=halves, fmt="o", capsize=4, label=persons)
        axes.plot(spots, [found[0][name].over_grades for name in PARTNERS], "k_", markersize=12)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.set_xticks(range(len(PARTNERS)), list(PARTNERS))
    axes.set_ylabel("AUC with its part less without")
    axes.set_title("Taiwan: what hangs on a partner, epsilon 1 (line: without noise)")
    axes.legend()
    drawing.tight_layout()
    drawing.savefig(path)
    plt.close(drawing)
