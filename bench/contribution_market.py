"""SYNTHETIC: what each lender's training is worth to the others, one of them poisoned (T8).

A logistic model on the generator's attributes is trained with all lenders and once without
each, without noise: the question here is what the measure sees, not what privacy costs. Gains
are paired on the others' held-out persons, as ``consortium.credit.contribution`` has it.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from consortium.credit.contribution import (
    ContributionStatement,
    Measured,
    gain_of,
    statement_of,
    worst_of,
)
from consortium.ids import Digest, PartnerId
from examples.ecosystem import PROFILES, generate
from examples.ecosystem.world import ATTRIBUTES
from models.contribution import auc_change, moments
from models.evaluation import LocalFigures, evaluate

Floats = NDArray[np.float64]

MARKET = replace(PROFILES["standard"], persons=40_000, months=20, withdrawn_in=20)
MONTH = 6
HELD_OUT = 3
"""Tenths of the persons."""
POISONED = 3
"""The last lender, counted from 0, flips a fifth of its labels."""
_VERSION = Digest("00" * 32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """One lender's rows: attributes, reported labels, and who is held out."""

    design: Floats
    labels: NDArray[np.uint8]
    held: NDArray[np.bool_]


def rows_of(seed: int, *, poison: bool) -> list[Rows]:
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
                held=(snapshot.person[known] * 7 % 10) < HELD_OUT,
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
        k = int(worst.rpartition("_")[2]) - 1
        aside += [replace(one, aside=True) for one in measured if one.partner == worst]
        left -= {k}
    return statement_of(
        [*measured, *aside],
        federation="SYNTHETIC",
        version=_VERSION,
        measured_on=date(2026, 1, 1),
        synthetic=True,
    )


def _measured(rows: list[Rows], k: int, everybody: Collection[int]) -> Measured:
    """One lender left out, on the others' held-out persons."""
    others = set(everybody) - {k}
    whole, without = trained(rows, everybody), trained(rows, others)
    eta, labels = held_out(rows, whole, others)
    eta_without, _ = held_out(rows, without, others)
    return Measured(
        partner=PartnerId(f"lender_{k + 1}"),
        moments=moments(eta_without, eta, labels),
        auc_change=auc_change(eta_without, eta, labels),
    )


def figures(rows: list[Rows], weights: Floats, who: Collection[int]) -> LocalFigures:
    """How good a model is on the held-out rows of some lenders."""
    return evaluate(*held_out(rows, weights, who))
