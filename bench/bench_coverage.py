"""Do the bands of published figures hold what they say?

A planted market whose rates are known is released 500 times with fresh rows and fresh noise of
the product (``tests/figure_house.py``); a figure's band must hold the true value in at least
93 of 100 releases. Totals (demand, balances) are compared with what was drawn, rates with what
was planted. ``worst`` is the lowest share of one single cell, which with 500 releases lies
three points below the share of all by chance alone.

``BENCH_COVERAGE_RELEASES=50`` makes fewer.
"""

import os
from pathlib import Path

import matplotlib as mpl

from bench.result import Result
from tests.figure_house import cases, held

mpl.use("Agg")
from matplotlib import pyplot as plt

RELEASES = 500
GOAL = 0.93


def run(out: Path) -> Result:
    """Release every figure of the ecosystem view."""
    releases = int(os.environ.get("BENCH_COVERAGE_RELEASES", str(RELEASES)))
    figures: dict[str, dict[str, float]] = {}
    for case in cases():
        cells = held(case, releases)
        for name in dict.fromkeys(name for name, _ in cells):
            own = [counts for (figure, _), counts in cells.items() if figure == name]
            inside, printed = (sum(part) for part in zip(*own, strict=True))
            figures[name] = {
                "held": round(inside / printed, 4),
                "worst": round(min(one / all_ for one, all_ in own), 4),
                "bands": printed,
            }
    _plot(out / "coverage.svg", figures)
    least = min(one["held"] for one in figures.values())
    return Result(
        name="coverage",
        figures=figures,
        anchors={"goal": GOAL, "releases": releases, "nominal": 0.95},
        ratios={"least_over_goal": round(least / GOAL, 4)},
    )


def _plot(path: Path, figures: dict[str, dict[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing, axis = plt.subplots(figsize=(7, 4))
    names = list(figures)
    axis.barh(names, [figures[name]["held"] for name in names], color="#1f5fa8")
    axis.plot([figures[name]["worst"] for name in names], names, "o", color="#d1751f")
    axis.axvline(GOAL, color="#b4483c")
    axis.set_xlim(0.88, 1.0)
    axis.set_xlabel("share of releases whose band held the true value")
    drawing.tight_layout()
    drawing.savefig(path)
    plt.close(drawing)
