"""Closure risk on paper: one page without script, and a table of the lines (credit 4.14)."""

import csv
import io
from collections.abc import Sequence
from html import escape

from consortium.credit.terms import ppm_text
from models.closure_bins import CAUSES, FEATURES, STEPS, WITHDRAWN
from partner_node.credit.closures import GroupRisk, LineRisk

SYNTHETIC = "SYNTHETIC"
_SHOWN = 20
_WIDTH, _BAR, _LEFT = 640, 16, 220
_WORDS = {feature.name: (feature.en, feature.zh) for feature in FEATURES}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em;"
    "color:#1b1b1b}table{border-collapse:collapse;width:100%}td,th{padding:.25em .6em;"
    "text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child,"
    "td:last-child,th:last-child{text-align:left}.c{fill:#9a3412}.d{fill:#1d4e89}"
    "svg text{font:13px system-ui,sans-serif}p.n{color:#555}"
)


def title_of(*, synthetic: bool) -> str:
    """The page's title; of made-up persons it says so."""
    return f"{SYNTHETIC}: closure risk" if synthetic else "Closure risk"


def stem_of(*, synthetic: bool) -> str:
    """Name of the files, without their endings."""
    return f"{SYNTHETIC}_closure_risk" if synthetic else "closure_risk"


def table_of(risks: Sequence[LineRisk]) -> str:
    """CSV: a line each, chances within 90 days as decimals."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = (*CAUSES, WITHDRAWN)
    writer.writerow(("line", *names, "closure", "cause", "carried_by", "dormant_good", "pd"))
    for one in risks:
        chances = (ppm_text(one.by_cause[name]) for name in names)
        pd = "" if one.pd is None else ppm_text(one.pd)
        carried = " ".join(one.carried_by)
        good = int(one.dormant_good)
        row = (one.line, *chances, ppm_text(one.closure), one.cause, carried, good, pd)
        writer.writerow(row)
    return out.getvalue()


def page_of(
    risks: Sequence[LineRisk], groups: Sequence[GroupRisk], *, version: str, synthetic: bool
) -> str:
    """One self-contained page for the partner's own people."""
    title = escape(title_of(synthetic=synthetic))
    worst = sorted(risks, key=lambda one: (-one.closure, one.line))[:_SHOWN]
    rows = "".join(_row(one) for one in worst)
    heads = "".join(f"<th>{escape(name)}</th>" for name in (*CAUSES, WITHDRAWN))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>Chances within {STEPS} months (90 days) for {len(risks):,} open lines, by model "
        f"{escape(version[:12])}. They stay at this lender.</p>"
        "<h2>Closure is not default</h2>"
        "<p>Median of each group. Who does not use a line is often closed, and seldom fails."
        f"</p>{_bars(groups)}"
        f"<h2>The {len(worst)} most likely closures</h2>"
        f"<table><tr><th>line</th>{heads}<th>what carries it</th></tr>{rows}</table>"
        '<p class="n">COMPETING: the borrower leaves, or defaults; it ends the risk and is no '
        f"closure. {WITHDRAWN} is certain on its day and predicted from nobody's behaviour.</p>"
        "</body></html>\n"
    )


def _row(one: LineRisk) -> str:
    names = (*CAUSES, WITHDRAWN)
    cells = "".join(f"<td>{one.by_cause[name] / 1e6:.3f}</td>" for name in names)
    told = "; ".join(f"{_WORDS[name][0]} / {_WORDS[name][1]}" for name in one.carried_by)
    text = f"{one.cause}: {told}" if told else one.cause
    return f"<tr><td>{escape(one.line)}</td>{cells}<td>{escape(text)}</td></tr>"


def _bars(groups: Sequence[GroupRisk]) -> str:
    """Two bars a group, closure and default, on one scale."""
    values = [value for one in groups for value in (one.closure, one.pd) if value is not None]
    scale = (_WIDTH - _LEFT - 80) / max(max(values, default=1), 1)
    parts, top = [], 8
    for one in groups:
        name = escape(f"{one.name} ({one.lines:,})")
        parts.append(f'<text x="0" y="{top + _BAR}">{name}</text>')
        for mark, label, value in (("c", "closure", one.closure), ("d", "default", one.pd)):
            if value is not None:
                width = max(value * scale, 1.0)
                parts.append(
                    f'<rect class="{mark}" x="{_LEFT}" y="{top}" width="{width:.1f}" '
                    f'height="{_BAR - 3}"/><text x="{_LEFT + width + 6:.1f}" '
                    f'y="{top + _BAR - 5}">{label} {value / 1e6:.3f}</text>'
                )
            top += _BAR
        top += 14
    label = "median closure risk and chance of default by group"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {top}" width="100%" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )
