"""What closing each of four partners costs its persons, and what an attestation wins back.

Real data, trained with the product's own noise at person-level epsilon 1 (base and head
together), five runs, and once without noise. Held-out persons of the partner that closes, as
the next lender sees them: with its part, without it, and with the history that it signed. No
setting was chosen on the hold-out. Premium by tier is from a noisy table of its own, epsilon 1.

The table has no lines and no months: worst arrears of six months stand for those of 24, a
platform attests utilisation alone, for it knows no arrears, and months on book are unknown.
"""

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from threadpoolctl import threadpool_limits

from bench.closure_federation import Scored, prepare, scored, seen
from bench.in_process import Federation
from bench.result import Result
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import contribution, simulated_release
from consortium.credit.premium_figure import premium_entries, tiers_of
from consortium.crypto.keys import Secret
from consortium.figure import FigureKind
from consortium.ids import PartnerId, digest_of
from consortium.scoring.combine import joint_eta
from consortium.scoring.head import head_bytes
from consortium.scoring.layout import JointSums
from consortium.scoring.premium import Premium, premium_of
from models.evaluation import evaluate

mpl.use("Agg")
from matplotlib import pyplot as plt

DATA = Path(__file__).resolve().parents[1] / "build"
SEEDS = range(5)
VIEWS = ("before", "after", "attested")
BANKS = ("bank_a", "bank_b")
CUTS = ("0.08", "0.12", "0.18", "0.35")
"""Between the grades of the Taiwan example (credit 2.3)."""
LEAST_LOSS = 0.01
GOAL = 0.5
"""Least share of the lost AUC that an attestation of a bank is to win back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """One partner closed, one trained model."""

    auc: tuple[float, float, float]
    expected: tuple[float, float, float]
    """E/O: sum of PDs over sum of bads."""
    premium: tuple[float, float, float]
    """Points lost: lower quartile, median, upper quartile; exact, of the hold-out."""
    premium_attested: float
    """Median with the attestation."""
    persons: int


def _won_back(found: Sequence[Closing]) -> float | None:
    """Share of the lost AUC that attestations bring back, of means over runs.

    None where less is lost than what one run differs from another.
    """
    before, after, attested = (
        statistics.mean(one.auc[place] for one in found) for place in range(len(VIEWS))
    )
    if before - after < LEAST_LOSS:
        return None
    return round((attested - after) / (before - after), 3)


def run(out: Path) -> Result:
    """Close each of the four, with and without noise."""
    out.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        federation = Federation.of(prepare(DATA / "taiwan_closure"), persons=True)
        exact = scored(federation, seed=None)
        plain = {name: _closing(exact, name)[0] for name in exact.held}
        runs = [scored(federation, seed=seed) for seed in SEEDS]
        noisy = {name: [_closing(one, name)[0] for one in runs] for name in exact.held}
        tiers = {name: _tiers(runs[0], name) for name in exact.held}
    figures = {
        "no_noise": {name: _shown([one]) for name, one in plain.items()},
        "epsilon_1": {name: _shown(found) for name, found in noisy.items()},
        "premium_by_tier_epsilon_1": tiers,
        "goals": {
            f"{name}: share of the lost AUC won back": {
                "goal": GOAL,
                "found": _won_back(noisy[name]),
                "no_noise": _won_back([plain[name]]),
                "met": (_won_back(noisy[name]) or 0.0) >= GOAL,
            }
            for name in map(PartnerId, BANKS)
        },
    }
    ratios = {
        f"{name}_won_back": _won_back(noisy[name]) or 0.0 for name in map(PartnerId, BANKS)
    }
    _plot(out / "closure_taiwan.svg", plain, noisy)
    anchors = {"expected_no_noise_auc_of_a_bank": [0.764, 0.668, 0.749]}
    return Result(name="closure_taiwan", figures=figures, anchors=anchors, ratios=ratios)


def _closing(made: Scored, name: PartnerId) -> tuple[Closing, Premium]:
    """Figures on the held-out persons, and the premium of each of them."""
    own = made.held[name]
    rows, labels = own.holdout, own.labels[own.holdout]
    before = made.of(own.places[rows])
    views = (before, *(seen(made, name, rows, attested=shown) for shown in (False, True)))
    found = [evaluate(_eta(made, view), labels) for view in views]
    lost = premium_of(made.head, before, views[1])
    attested = premium_of(made.head, before, views[2])
    low, middle, high = np.quantile(lost.points, (0.25, 0.5, 0.75)).tolist()
    return Closing(
        auc=_three([one.auc for one in found]),
        expected=_three([one.in_the_large for one in found]),
        premium=(low, middle, high),
        premium_attested=float(np.median(attested.points)),
        persons=int(rows.sum()),
    ), lost


def _three(values: Sequence[float | None]) -> tuple[float, float, float]:
    one, two, three = values
    if one is None or two is None or three is None:
        raise ValueError("a figure is not defined on the hold-out")
    return one, two, three


def _eta(made: Scored, sums: JointSums) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    eta, _ = joint_eta(made.head, sums)
    return eta / float(1 << 32)


def _tiers(made: Scored, name: PartnerId) -> dict[str, object]:
    """From a noisy table in which all partners add noise and the closing one its persons."""
    _, lost = _closing(made, name)
    wanted = Wanted(closing=name, head=digest_of(head_bytes(made.head)))
    spec = figure(FigureKind.PREMIUM, "2005-09", "2005-09", wanted)
    persons = [str(number) for number in range(len(lost.before))]
    own = contribution(spec, premium_entries(lost, persons, CUTS))
    parts = [own if other == name else np.zeros_like(own) for other in made.held]
    seeds = [
        Secret(hashlib.sha256(f"premium|{name}|{other}".encode()).digest())
        for other in made.held
    ]
    table = simulated_release(spec, parts, seeds)
    return {
        one.tier: {
            "persons": round(one.persons) if one.quartiles else "< 50",
            "points_lost": [round(value, 1) for value in one.quartiles or ()],
            "losing_a_grade": None
            if one.losing_a_grade is None
            else [round(one.losing_a_grade.value, 3), round(one.losing_a_grade.half, 3)],
        }
        for one in tiers_of(table)
    }


def _shown(found: Sequence[Closing]) -> dict[str, object]:
    def mean(values: Sequence[float], digits: int) -> float:
        return round(statistics.mean(values), digits)

    document: dict[str, object] = {"holdout_persons": found[0].persons}
    for place, view in enumerate(VIEWS):
        document[view] = {
            "auc": mean([one.auc[place] for one in found], 4),
            "auc_min": round(min(one.auc[place] for one in found), 4),
            "expected_over_observed": mean([one.expected[place] for one in found], 3),
        }
    document["won_back"] = _won_back(found)
    document["premium_points"] = {
        "quartiles": [mean([one.premium[k] for one in found], 1) for k in range(3)],
        "median_with_attestation": mean([one.premium_attested for one in found], 1),
    }
    return document


def _plot(
    path: Path, plain: dict[PartnerId, Closing], noisy: dict[PartnerId, list[Closing]]
) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6))
    width = 0.25
    for place, view in enumerate(VIEWS):
        areas = [[one.auc[place] for one in runs] for runs in noisy.values()]
        means = [statistics.mean(values) for values in areas]
        low = [m - min(values) for m, values in zip(means, areas, strict=True)]
        high = [max(values) - m for m, values in zip(means, areas, strict=True)]
        spots = [number + (place - 1) * width for number in range(len(noisy))]
        axes.bar(spots, means, width, yerr=[low, high], capsize=2, label=view)
        exact = [plain[name].auc[place] for name in noisy]
        axes.plot(spots, exact, "k_", markersize=10)
    axes.set_xticks(range(len(noisy)), list(noisy))
    axes.set_ylim(0.6, 0.8)
    axes.set_ylabel("AUC of its held-out persons")
    axes.set_title("Taiwan: a partner closes; epsilon 1 (bar: min to max), line: no noise")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
