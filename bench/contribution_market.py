"""SYNTHETIC: what each lender's training is worth to the others, one of them poisoned (T8).

A logistic model on the generator's attributes is trained with all lenders and once without
each, without noise: the question here is what the measure sees, not what training privately
costs. Gains are paired on the others' held-out persons, as ``consortium.credit.contribution``
has it: exact, or as the product releases them, in a table with everybody's integer noise.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from consortium.credit.contribution import (
    Basis,
    ContributionStatement,
    Measured,
    gain_of,
    statement_of,
    worst_of,
)
from consortium.credit.contribution_table import Look, gain_entries, stated
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import Terms, contribution, simulated_release
from consortium.crypto.keys import Secret
from consortium.figure import FigureKind
from consortium.ids import Digest, PartnerId, RunId, digest_of
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    BudgetShares,
    ModelKind,
    OptimizerSettings,
    TrainingPlan,
)
from examples.ecosystem import PROFILES, generate
from examples.ecosystem.world import ATTRIBUTES
from models.contribution import auc_change, differences, moments
from models.evaluation import LocalFigures, evaluate

Floats = NDArray[np.float64]

MARKET = replace(PROFILES["standard"], persons=40_000, months=20, withdrawn_in=20)
MONTH = 6
HELD_OUT = 300
"""Thousandths of the persons."""
_FEWEST = 2
POISONED = 3
"""The last lender, counted from 0, flips a fifth of its labels."""
_VERSION = Digest("00" * 32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """One lender's rows: attributes, reported labels, and who is held out."""

    design: Floats
    labels: NDArray[np.uint8]
    held: NDArray[np.bool_]


def rows_of(seed: int, *, poison: bool, held_out: int = HELD_OUT) -> list[Rows]:
    """Each lender's rows of one month."""
    observed, _ = generate(replace(MARKET, poison=poison), seed)
    found = []
    for partner in observed.partners:
        snapshot = partner.snapshot(MONTH)
        known = snapshot.label >= 0
        design = np.column_stack([snapshot.attributes[name] for name in ATTRIBUTES])[known]
        found.append(
            Rows(
                design=design.astype(np.float64),
                labels=snapshot.label[known].astype(np.uint8),
                held=(snapshot.person[known] * 7 % 1_000) < held_out,
            )
        )
    return found


def trained(rows: list[Rows], who: Collection[int]) -> Floats:
    """Weights of a logistic model on the training rows of some lenders; the intercept first."""
    design = np.vstack([rows[k].design[~rows[k].held] for k in sorted(who)])
    labels = np.concatenate([rows[k].labels[~rows[k].held] for k in sorted(who)])
    full = np.column_stack([np.ones(len(design)), design])
    weights = np.zeros(full.shape[1])
    for _ in range(15):
        chance = 1 / (1 + np.exp(-full @ weights))
        slope = full.T @ (full * (chance * (1 - chance))[:, None])
        weights += np.linalg.solve(slope, full.T @ (labels - chance))
    return weights


def held_out(rows: list[Rows], weights: Floats, who: Collection[int]) -> tuple[Floats, Floats]:
    """Log-odds and labels of the held-out rows of some lenders."""
    etas = [weights[0] + rows[k].design[rows[k].held] @ weights[1:] for k in sorted(who)]
    labels = [rows[k].labels[rows[k].held] for k in sorted(who)]
    return np.concatenate(etas), np.concatenate(labels)


def contributions(rows: list[Rows]) -> ContributionStatement:
    """The statement of this market; who harms is set aside before the others are measured."""
    left, aside = set(range(len(rows))), list[Measured]()
    while True:
        measured = [_measured(rows, k, left) for k in sorted(left)]
        worst = worst_of({one.partner: gain_of(one.moments) for one in measured})
        if worst is None:
            break
        k = _place(worst)
        aside += [replace(one, aside=True) for one in measured if one.partner == worst]
        left -= {k}
    return statement_of(
        [*measured, *aside],
        federation="SYNTHETIC",
        version=_VERSION,
        measured_on=date(2026, 1, 1),
        basis=Basis(synthetic=True),
    )


def _measured(rows: list[Rows], k: int, everybody: Collection[int]) -> Measured:
    """One lender left out, on the others' held-out persons."""
    others = set(everybody) - {k}
    whole, without = trained(rows, everybody), trained(rows, others)
    eta, labels = held_out(rows, whole, others)
    eta_without, _ = held_out(rows, without, others)
    return Measured(
        partner=_name(k),
        moments=moments(eta_without, eta, labels),
    )


def auc_of(rows: list[Rows], k: int) -> float:
    """By how much the others' AUC is better with one lender in training than without."""
    others = set(range(len(rows))) - {k}
    whole, without = trained(rows, range(len(rows))), trained(rows, others)
    eta, labels = held_out(rows, whole, others)
    found = auc_change(held_out(rows, without, others)[0], eta, labels)
    if found is None:
        raise ValueError("the hold-out has one class")
    return found


# --- as released ------------------------------------------------------------------------------


def released(rows: list[Rows], *, seed: int) -> ContributionStatement:
    """The statement as the product comes to it: from tables at epsilon 1, look after look."""
    left, looks = set(range(len(rows))), list[Look]()
    while True:
        looks.append(_look(rows, left, seed))
        gains = {one.partner: gain_of(one.moments) for one in looks[-1].measured()}
        worst = worst_of(gains)
        if worst is None or len(left) <= _FEWEST:
            return stated(looks, None, federation="SYNTHETIC", measured_on=date(2026, 1, 1))
        left -= {_place(worst)}


def _look(rows: list[Rows], left: Collection[int], seed: int) -> Look:
    """One table: all lenders that are left count, each of all models but its own absence."""
    models = [(version_of(set(left) - {k}), plan_of(set(left) - {k})) for k in sorted(left)]
    whole = version_of(left), plan_of(left)
    wanted = Wanted(model=whole[0], without=tuple(version for version, _ in models))
    spec = figure(
        FigureKind.CONTRIBUTION, "2026-01", "2026-01", replace(wanted, synthetic=True)
    )
    weights = trained(rows, left)
    less = {k: trained(rows, set(left) - {k}) for k in left}
    parts = []
    for judge in range(len(rows)):
        if judge not in left:
            parts.append(np.zeros(spec.size, dtype=np.int64))
            continue
        eta, labels = held_out(rows, weights, {judge})
        found = {
            place: differences(
                held_out(rows, less[k], {judge})[0], eta, labels.astype(np.uint8)
            )
            for place, k in enumerate(sorted(left))
            if k != judge
        }
        names = [str(row) for row in range(len(labels))]
        parts.append(contribution(spec, gain_entries(spec, names, found)))
    seeds = [
        Secret(hashlib.sha256(f"contribution|{seed}|{sorted(left)}|{k}".encode()).digest())
        for k in range(len(rows))
    ]
    return Look(
        table=simulated_release(spec, parts, seeds, terms=Terms()),
        judges=frozenset(map(_name, left)),
        whole=whole,
        without=tuple(models),
    )


def _name(k: int) -> PartnerId:
    return PartnerId(f"lender_{k + 1}")


def _place(name: PartnerId) -> int:
    return int(name.rpartition("_")[2]) - 1


def version_of(who: Collection[int]) -> Digest:
    """Stands for the model of these lenders."""
    return digest_of(f"model of {sorted(who)}".encode())


def plan_of(who: Collection[int]) -> TrainingPlan:
    """What a model of these lenders would be trained by; its epsilon is a plan's least."""
    return TrainingPlan(
        run=RunId("00" * 16),
        manifest=_VERSION,
        schema=_VERSION,
        code=_VERSION,
        model=ModelKind.SCORECARD,
        algorithm=Algorithm.SUM,
        bin_source=BinSource.PUBLIC,
        blocks=(
            Block(
                name="all",
                families=("all",),
                holders=tuple(map(_name, sorted(who))),
                normaliser=1,
            ),
        ),
        clip="1",
        rounds=1,
        spare_attempts=1,
        epsilon="0.01",
        delta="0.000001",
        max_partners_per_person=2,
        min_partners=3,
        shares=BudgetShares(),
        optimizer=OptimizerSettings(),
        holdout_fraction="0.3",
        holdout_salt="market",
    )


def figures(rows: list[Rows], weights: Floats, who: Collection[int]) -> LocalFigures:
    """How good a model is on the held-out rows of some lenders."""
    return evaluate(*held_out(rows, weights, who))
