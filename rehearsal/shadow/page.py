"""The page of an empirical audit: verdict, figures, plots. One file, nothing fetched."""

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from consortium.audit.result import AuditVerdict, EmpiricalAudit
from rehearsal.shadow.summary import rows_of, settings_text, verdict_text
from rehearsal.shadow.trial import Measured

_IN, _OUT, _CLAIM = "#1f5fa8", "#8d99a6", "#d1751f"
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #27313b; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
.passed, .failed { padding: .6rem 1rem; border-radius: 4px; color: #fff; font-weight: 600; }
.passed { background: #2f7d5b; } .failed { background: #b4483c; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d5dbe0; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: 12px; overflow-wrap: anywhere; } svg { width: 100%; height: auto; }
.note { color: #5a6672; }
"""

_NOTE = (
    "A shadow federation of synthetic rows went through the nodes' own clip, rounding, noise, "
    "masks and sum. No real row was read and no budget charged. An audit that does not refute "
    "a claim does not prove it."
)


def write_page(
    path: Path, audit: EmpiricalAudit, measured: Sequence[Measured], *, seconds: float
) -> None:
    """Write the page, or raise OSError."""
    kind = "passed" if audit.verdict is AuditVerdict.PASSED else "failed"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>Empirical audit</title><style>{_CSS}</style></head><body>",
        "<h1>Empirical audit of the installed software</h1>",
        f'<p class="{kind}">{escape(verdict_text(audit))}</p>',
        f"<p>{escape(settings_text(audit))}; {seconds:g} s.</p>",
        f'<p class="note">{_NOTE}</p>',
    ]
    for number, one in enumerate(measured, 1):
        parts += [f"<h2>Trial {number}</h2>", _table(audit, one)]
        parts += [_scores(one, audit), _null(one), _records(one)]
    parts += [
        "<h2>What was audited</h2>",
        f"<p>Code <code>{audit.code}</code><br>shadow plan <code>{audit.plan}</code><br>",
        f"this audit <code>{audit.digest}</code></p></body></html>\n",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _table(audit: EmpiricalAudit, one: Measured) -> str:
    rows = "".join(
        f'<tr><td>{escape(what)}</td><td class="n">{figure}</td><td>{escape(against)}</td></tr>'
        for what, figure, against in rows_of(one.trial, audit)
    )
    head = "<tr><th>measured</th><th>figure</th><th>held against</th></tr>"
    seed = f"<p>Seed committed as <code>{one.trial.seed}</code></p>"
    return f"<table>{head}{rows}</table>{seed}"


def _scores(one: Measured, audit: EmpiricalAudit) -> str:
    def draw(axes: Axes) -> None:
        _two(axes, one.scores[one.present], one.scores[~one.present])
        axes.axvline(one.bound.mu, color=_IN, linewidth=1)
        axes.set_xlabel("score of a canary, in deviations that the claim implies")
        axes.set_title(
            f"canaries: separation {one.bound.mu:.3f} ± {2.326 * one.bound.error:.3f}; "
            f"epsilon at least {one.trial.gdp}, claimed {audit.epsilon}"
        )

    return _svg("canary scores", draw)


def _null(one: Measured) -> str:
    def draw(axes: Axes) -> None:
        rounds = np.arange(1, one.null_deviations.size + 1)
        axes.plot(rounds, one.null_deviations, ".", color=_OUT, label="one round")
        axes.axhline(one.null.deviation, color=_IN, label="all rounds")
        axes.axhspan(1 - one.null.tolerance, 1 + one.null.tolerance, color=_CLAIM, alpha=0.25)
        axes.axhline(1, color=_CLAIM, linewidth=0.8, label="claimed, with tolerance")
        axes.set_xlabel("round on no data")
        axes.set_ylabel("deviation over the claimed one")
        axes.legend()
        axes.set_title("noise alone")

    return _svg("null rounds", draw)


def _records(one: Measured) -> str:
    def draw(axes: Axes) -> None:
        ins = one.record_scores[one.records_in]
        _two(axes, ins, one.record_scores[~one.records_in])
        axes.set_xlabel("how far the sums lean to a mislabelled row's gradient")
        axes.set_title(f"mislabelled rows: {one.trial.record_rate} found at .1 % false alarms")

    return _svg("mislabelled rows", draw)


def _two(axes: Axes, inside: NDArray[np.float64], outside: NDArray[np.float64]) -> None:
    edges = np.histogram_bin_edges(np.concatenate([inside, outside]), bins=40).tolist()
    axes.hist(outside.tolist(), bins=edges, color=_OUT, alpha=0.7, label="not in the run")
    axes.hist(inside.tolist(), bins=edges, color=_IN, alpha=0.6, label="in the run")
    axes.set_ylabel("rows")
    axes.legend()


def _svg(name: str, draw: Callable[[Axes], None]) -> str:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):  # type: ignore[dict-item]
        figure = Figure(figsize=(8.4, 2.8), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
