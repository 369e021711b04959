"""Plots of the report as inline SVG: text stays text, nothing is fetched from elsewhere.

One colour has one meaning throughout: blue is the federation, grey one partner alone,
orange the pooled rows that nobody could have in life.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rehearsal.budgets import NodeBudget, ScopeBudget
from rehearsal.results import (
    BlockFigures,
    FeaturePoints,
    Group,
    JointEvidence,
    JointRecord,
    PartnerFigures,
    Roc,
    figure_of,
)

FEDERATED, LOCAL, POOLED = "#1f5fa8", "#8d99a6", "#d1751f"
WORSE, BETTER, INK = "#b4483c", "#2f7d5b", "#27313b"
_COLOURS = {"federated": FEDERATED, "local": LOCAL, "pooled": POOLED}

_STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#b9c2cb",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#5a6672",
    "ytick.color": "#5a6672",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def roc(block: BlockFigures) -> str:
    """ROC on the block's hold-out rows: federated, pooled, and each holder alone."""
    return _roc(f"roc-{block.name}", f"{block.name}: ROC on the hold-out", block.rocs)


def joint_roc(evidence: JointEvidence) -> str:
    """ROC on the persons whom every block knows: joint, own block, pooled."""
    return _roc("roc-joint", "joint score: ROC, persons of every block", evidence.rocs)


def _roc(name: str, title: str, curves: Sequence[Roc]) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#d5dbe0", linewidth=0.8)
        for curve in sorted(curves, key=lambda one: one.role, reverse=True):
            _curve(axes, curve)
        axes.set_aspect("equal")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("share of goods flagged")
        axes.set_ylabel("share of bads flagged")
        axes.set_title(title)
        axes.legend(loc="lower right")

    return svg_of(name, (4.2, 4.2), draw)


def _curve(axes: Axes, curve: Roc) -> None:
    local = curve.role == "local"
    axes.plot(
        curve.false,
        curve.true,
        color=_COLOURS[curve.role],
        linewidth=1.0 if local else 1.8,
        linestyle=(0, (3, 2)) if local else "-",
        label=f"{curve.name} ({figure_of(curve.auc, 4)})",
        zorder=2 if local else 3,
    )


def calibration(block: BlockFigures) -> str:
    """Predicted against observed bad rate in ten groups of the hold-out."""
    title = f"{block.name}: calibration in tenths"
    return _calibration(f"calibration-{block.name}", title, block.groups)


def joint_calibration(evidence: JointEvidence) -> str:
    """The same for the joint scores of all persons asked for."""
    title = "joint score: calibration in tenths, all persons"
    return _calibration("calibration-joint", title, evidence.groups)


def latency(record: JointRecord) -> str:
    """How long single scores took, with the pseudonym known and for the first time."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        series = (
            ("pseudonym known", record.milliseconds, FEDERATED),
            ("first time: pseudonym derived", record.first_milliseconds, POOLED),
        )
        longest = max((max(values) for _, values, _ in series if values), default=1.0)
        edges = np.geomspace(1.0, max(2.0, longest), 40).tolist()
        for name, values, colour in series:
            if values:
                p50, p99 = np.percentile(values, [50, 99])
                label = f"{name}: median {p50:.1f} ms, p99 {p99:.1f} ms"
                axes.hist(values, bins=edges, color=colour, alpha=0.7, label=label)
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds from question to answer, at the asker's door")
        axes.set_ylabel("scores")
        axes.legend(loc="upper right")

    return svg_of("latency", (8.4, 3.0), draw)


def _calibration(name: str, title: str, tenths: Sequence[Group]) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        top = max(max(group.predicted, group.observed) for group in tenths) * 1.1
        axes.plot([0, top], [0, top], color="#b9c2cb", linewidth=0.9, label="perfect")
        axes.errorbar(
            [group.predicted for group in tenths],
            [group.observed for group in tenths],
            yerr=[2 * _standard_error(group) for group in tenths],
            color=FEDERATED,
            ecolor="#a9c3e0",
            fmt="o-",
            markersize=4,
            linewidth=1.2,
            label="federated, ± 2 standard errors",
        )
        axes.set_xlim(0, top)
        axes.set_ylim(0, top)
        axes.set_aspect("equal")
        axes.set_xlabel("predicted probability of default")
        axes.set_ylabel("observed share of bads")
        axes.set_title(title)
        axes.legend(loc="upper left")

    return svg_of(name, (4.2, 4.2), draw)


def _standard_error(group: Group) -> float:
    share = group.observed
    return float((share * (1 - share) / max(1, group.rows)) ** 0.5)


def comparison(partners: Sequence[PartnerFigures]) -> str:
    """AUC of each partner's own hold-out: alone, in the federation, pooled."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        rows = range(len(partners))
        for row, partner in enumerate(partners):
            found = (partner.local_only.auc, partner.federated.auc, partner.pooled.auc)
            known = [auc for auc in found if auc is not None]
            if known:
                axes.plot([min(known), max(known)], [row, row], color="#dde3e8", linewidth=3)
        for label, colour, pick in _SERIES:
            points = [(pick(one), row) for row, one in enumerate(partners)]
            axes.scatter(
                [auc for auc, _ in points if auc is not None],
                [row for auc, row in points if auc is not None],
                color=colour,
                s=42,
                label=label,
                zorder=3,
            )
        axes.set_yticks(list(rows), [partner.name for partner in partners])
        axes.invert_yaxis()
        axes.margins(x=0.12, y=0.2)
        axes.set_xlabel("AUC on the partner's own hold-out rows")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=3)

    return svg_of("comparison", (8.4, 1.1 + 0.42 * len(partners)), draw)


_SERIES: tuple[tuple[str, str, Callable[[PartnerFigures], float | None]], ...] = (
    ("alone, no noise", LOCAL, lambda one: one.local_only.auc),
    ("federated, private", FEDERATED, lambda one: one.federated.auc),
    ("pooled, no noise", POOLED, lambda one: one.pooled.auc),
)


def points(feature: FeaturePoints, reach: float) -> str:
    """Points of every bin of a feature as bars; ``reach`` is the end of the scale.

    Written by hand: there are many of them, and each is a few rectangles.
    """
    middle = _LABELS + (_WIDTH - _LABELS) / 2
    scale = (_WIDTH - _LABELS - 2 * _VALUES) / 2 / reach
    height = _ROW * len(feature.points)
    axis = f'<line x1="{middle}" y1="0" x2="{middle}" y2="{height}" stroke="#b9c2cb"/>'
    parts = [axis]
    for place, (label, value) in enumerate(zip(feature.labels, feature.points, strict=True)):
        top, size = place * _ROW, abs(value) * scale
        left = middle if value >= 0 else middle - size
        end, anchor = (left + size + 3, "start") if value >= 0 else (left - 3, "end")
        colour = BETTER if value >= 0 else WORSE
        parts.append(
            f'<text x="{_LABELS - 6}" y="{top + 11}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left:.1f}" y="{top + 2}" width="{size:.1f}" height="{_ROW - 4}" '
            f'fill="{colour}"/><text x="{end:.1f}" y="{top + 11}" text-anchor="{anchor}" '
            f'fill="#5a6672">{round(value):+d}</text>'
        )
    return (
        f'<svg role="img" aria-label="points of {escape(feature.feature)}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-size="10" fill="{INK}">{"".join(parts)}</svg>'
    )


_WIDTH, _LABELS, _VALUES, _ROW = 310, 112, 22, 15
"""Of a chart of points in its own units: all, the bins' names, a value, one bin."""


def timeline(milliseconds: Sequence[float], aborted: Sequence[int]) -> str:
    """Wall time of every closed training round; lost attempts are marked."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.bar(range(1, len(milliseconds) + 1), milliseconds, color=FEDERATED, width=0.85)
        for place in aborted:
            axes.axvline(place, color=WORSE, linewidth=1.5)
        axes.set_xlabel("training round (red: an attempt was lost before it)")
        axes.set_ylabel("milliseconds")
        axes.margins(x=0.01)

    return svg_of("timeline", (8.4, 2.2), draw)


def budget(spent: Sequence[tuple[str, float]]) -> str:
    """Shares of the spent privacy loss (mu squared) by purpose, one bar."""
    shades = (FEDERATED, "#6f9fd0", "#b5cde8", LOCAL)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        left = 0.0
        for index, (purpose, share) in enumerate(spent):
            axes.barh([0], [share], left=left, color=shades[index % 4], label=purpose)
            left += share
        axes.set_xlim(0, 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("share of the privacy loss of a person in training (µ²)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)

    return svg_of("budget", (8.4, 1.6), draw)


def epsilons(cases: Sequence[str], found: Mapping[str, Sequence[float]], target: float) -> str:
    """Epsilon by who colludes; one colour for each unit, the plan's target as a line."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        rows = range(len(cases))
        for place, ((unit, values), colour) in enumerate(
            zip(found.items(), (FEDERATED, "#b5cde8"), strict=True)
        ):
            middle = [row + 0.2 * (2 * place - 1) for row in rows]
            bars = axes.barh(middle, values, height=0.36, color=colour, label=unit)
            axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.axvline(target, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.set_yticks(list(rows), list(cases))
        axes.invert_yaxis()
        axes.margins(x=0.08)
        axes.set_xlabel("ε (dashed: the plan's target for a person)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    return svg_of("epsilons", (8.4, 3.0), draw)


def accounts(budgets: Sequence[NodeBudget], run: str) -> str:
    """Each partner's accounts as bars: spent by ``run`` and before, reserved, left."""
    rows = [(one.partner, scope) for one in budgets for scope in one.scopes]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, (_, scope) in enumerate(rows):
            left = 0.0
            for name, units in _segments(scope, run):
                share = units / (scope.cap_units or 1)
                axes.barh([row], [share], left=left, height=0.6, color=_ACCOUNT[name])
                left += share
        for name, colour in _ACCOUNT.items():
            axes.barh([0], [0], color=colour, label=name)
        axes.set_xlim(0, 1)
        axes.set_yticks(list(range(len(rows))), [f"{who}, {one.scope}" for who, one in rows])
        axes.invert_yaxis()
        axes.set_xlabel("share of the lifetime's privacy loss (µ²)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)

    return svg_of("accounts", (8.4, 1.1 + 0.3 * max(1, len(rows))), draw)


_ACCOUNT = {
    "this release": FEDERATED,
    "earlier releases": "#6f9fd0",
    "reserved": POOLED,
    "left": "#e4e9ee",
}


def _segments(scope: ScopeBudget, run: str) -> list[tuple[str, int]]:
    """Units in the order of the bar."""
    return [
        *(("earlier releases", one.units) for one in scope.runs if one.run != run),
        *(("this release", one.units) for one in scope.runs if one.run == run),
        ("reserved", sum(one.reserved_units for one in scope.runs)),
        ("left", scope.left_units),
    ]


def svg_of(name: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Draw without any global state of pyplot; ids differ between plots of one page."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):  # type: ignore[dict-item]
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    # Names of groups repeat between plots of one page, and nothing refers to them.
    for pattern, instead in (
        (r' width="[^"]*pt" height="[^"]*pt"', ""),
        (r"<metadata>.*?</metadata>", ""),
        (r"<style[^>]*>.*?</style>", ""),
        (r'<g id="[a-zA-Z]+_?[0-9]*">', "<g>"),
    ):
        svg = re.sub(pattern, instead, svg, flags=re.DOTALL)
    head = f'<svg role="img" aria-label="{name}" style="max-width: {size[0]}in" '
    return svg.replace("<svg ", head, 1)
