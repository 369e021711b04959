"""Measuring elasticities at person-level epsilon 1: 40 SYNTHETIC markets, planted and found.

4 lenders of 50,000 persons, one of which withdraws a product; the others' rows fill the
product's table with the product's cell function and noise. A seed counts if all three tiers
lie within 15 % of what was planted: the law's PD12 on the day of the withdrawal. Beside it
stands the chance of bad along each line's own months, which the outcome really follows.

``share_of_noise_draws`` is the rate over 25 further draws of the noise for every market, for
one draw each is a small sample. ``coverage`` is the share of 500 releases of one market whose
intervals hold the truth; outcomes and noise are drawn anew each time.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from bench.result import Result
from consortium.credit.figures import NoisyTable
from consortium.credit.shock import TIERS
from consortium.credit.shock_tables import study_of
from examples.ecosystem import PROFILES, generate
from examples.ecosystem.shocks import released, shock_from, true_market, true_shock
from examples.ecosystem.study import PARTNER_NAMES, study_parts, true_elasticities

mpl.use("Agg")
from matplotlib import pyplot as plt

Float = NDArray[np.float64]

STANDARD = replace(PROFILES["standard"], months=31)
SEEDS, AGAIN, RELEASES = 40, 25, 500
NEAR = 0.15
FIGURES = ("hit", "pd", "loss", "moves", "approvals")


@dataclass(frozen=True, slots=True, eq=False)
class _Seed:
    """One market: shapes (3,) unless said otherwise."""

    planted: Float
    along: Float
    found: Float
    """Value, low and high, shape (3, 3)."""
    again: Float
    """Values of further noise, shape (AGAIN, 3)."""


def run(out: Path) -> Result:
    """Errors by tier, seeds within 15 %, coverage."""
    seeds = [_seed(number) for number in range(SEEDS)]
    planted = np.array([one.planted for one in seeds])
    along = np.array([one.along for one in seeds])
    found = np.array([one.found for one in seeds])
    again = np.array([one.again for one in seeds])
    low, high = found[:, 1], found[:, 2]
    out.mkdir(parents=True, exist_ok=True)
    _plot(out / "elasticity.svg", planted, found)
    return Result(
        name="elasticity",
        figures={
            "label": "SYNTHETIC",
            "epsilon": "1",
            "lenders": STANDARD.partners,
            "seeds": SEEDS,
            "seeds_within_15_percent": _within(found[:, 0], planted),
            "seeds_within_15_percent_along": _within(found[:, 0], along),
            "negative_found_negative": int((high[:, 2] < 0).sum()),
            "share_of_noise_draws_within": round(
                _within(again.reshape(-1, 3), np.repeat(planted, AGAIN, axis=0))
                / (SEEDS * AGAIN),
                4,
            ),
            "planted_points": _points(planted.mean(axis=0)),
            "along_points": _points(along.mean(axis=0)),
            "found_points": _points(found[:, 0].mean(axis=0)),
            "relative_spread": _named((found[:, 0] / planted - 1).std(axis=0)),
            "half_width_points": _points((high - low).mean(axis=0) / 2),
            "planted_inside": _named(((low <= planted) & (planted <= high)).mean(axis=0)),
            "coverage_of_500": _coverage(),
        },
        anchors={"seeds_wanted": 38, "coverage_wanted": 0.93},
        ratios={
            "seeds_over_wanted": round(_within(found[:, 0], planted) / 38, 3),
        },
    )


def _seed(number: int) -> _Seed:
    observed, truth = generate(STANDARD, number)
    along, planted = true_elasticities(observed, truth)
    parts = study_parts(observed)
    more = [parts.released(f"{number} again {draw}") for draw in range(AGAIN)]
    again = np.array([_read(one)[0] for one in more])
    return _Seed(planted, along, _read(parts.released(f"{number}")), again)


def _read(table: NoisyTable) -> Float:
    found = [study_of(table)[tier].elasticity for tier in TIERS]
    return np.array([[getattr(one, key) for one in found] for key in ("value", "low", "high")])


def _within(values: Float, truth: Float) -> int:
    return int(np.all(np.abs(values / truth - 1) <= NEAR, axis=1).sum())


def _points(values: Float) -> dict[str, float]:
    return {
        tier.value: round(100 * value, 3) for tier, value in zip(TIERS, values, strict=True)
    }


def _named(values: Float) -> dict[str, float]:
    return {
        tier.value: round(float(value), 4) for tier, value in zip(TIERS, values, strict=True)
    }


def _coverage() -> dict[str, float]:
    """Share of releases whose interval for all lenders together holds the truth."""
    market, closing = true_market(*generate(STANDARD, 1)), PARTNER_NAMES[1]
    wanted = true_shock(market, closing).together.total
    inside = dict.fromkeys(FIGURES, 0)
    for seed in range(RELEASES):
        total = shock_from(released(market, seed), closing).together.total
        for name in FIGURES:
            one, true = getattr(total, name), getattr(wanted, name).value
            inside[name] += bool(one.low <= true <= one.high)
    return {name: round(count / RELEASES, 3) for name, count in inside.items()}


def _plot(path: Path, planted: Float, found: Float) -> None:
    figure, axes = plt.subplots(figsize=(9, 4))
    colours = ("#1f5fa8", "#d1751f", "#2f7d5b")
    for place, tier in enumerate(TIERS):
        seeds = np.arange(len(planted)) + 0.2 * (place - 1)
        value, low, high = (100 * found[:, row, place] for row in range(3))
        axes.errorbar(
            seeds,
            value,
            yerr=np.stack((value - low, high - value)),
            fmt="o",
            markersize=3,
            linewidth=0.8,
            color=colours[place],
            label=tier.value,
        )
        axes.plot(seeds, 100 * planted[:, place], "_", color="#27313b", markersize=7)
    axes.axhline(0, color="#5a6672", linewidth=0.8)
    axes.set_xlabel("seed")
    axes.set_ylabel("elasticity, points")
    axes.set_title("SYNTHETIC: found at epsilon 1 with 95 % intervals, planted as dashes")
    axes.legend(loc="center right")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
