"""Pages that a committee prints: one file, no script, nothing loaded, in Chinese and English.

Whatever is not this module's own is escaped here and nowhere else.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

INK, PALE, FAINT = "#27313b", "#5a6672", "#dfe4e9"
WORSE, BETTER = "#b4483c", "#2f7d5b"

_NAMES, _PLOT, _ROW, _TOP, _TEXTS = 170.0, 370.0, 19.0, 24.0, 270.0
_TICKS = 4


class Markup(str):
    """HTML of this module's own making."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart: a figure with its interval."""

    label: str
    value: float
    low: float
    high: float
    text: str
    """As printed beside it."""


def page(titles: tuple[str, str], parts: Iterable[Markup], *, note: str = "") -> str:
    """The whole page; ``note`` is a badge beside the title."""
    return Template(_PAGE).substitute(
        title=escape(" / ".join(titles)),
        zh=escape(titles[0]),
        en=escape(titles[1]),
        badge=f'<p class="badge">{escape(note)}</p>' if note else "",
        body="\n".join(parts),
    )


def heading(zh: str, en: str) -> Markup:
    """Of a section."""
    return Markup(f'<h2>{escape(zh)} <span lang="en">{escape(en)}</span></h2>')


def text(zh: str, en: str) -> Markup:
    """A paragraph in both languages."""
    return Markup(f'<p>{escape(zh)}</p><p lang="en">{escape(en)}</p>')


def tiles(figures: Iterable[tuple[str, str, str]]) -> Markup:
    """Key figures: name, value, interval."""
    parts = [
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<small>{escape(interval)}</small></div>"
        for name, value, interval in figures
    ]
    return Markup(f'<div class="tiles">{"".join(parts)}</div>')


def cell(value: str, interval: str) -> Markup:
    """A figure over its interval."""
    return Markup(f"{escape(value)}<small>{escape(interval)}</small>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, strong: int = 0) -> Markup:
    """A table; its last ``strong`` rows are totals. A cell of ``Markup`` is taken as it is."""
    lines = [[_escaped(one) for one in row] for row in rows]
    body = []
    for number, line in enumerate(lines):
        style = ' class="total"' if number >= len(lines) - strong else ""
        body.append(f"<tr{style}>" + "".join(f"<td>{one}</td>" for one in line) + "</tr>")
    names = "".join(f"<th>{_escaped(name)}</th>" for name in head)
    return Markup(f"<table><thead><tr>{names}</tr></thead>{''.join(body)}</table>")


def chart(title: tuple[str, str], bars: Sequence[Bar], *, worse: int = 1) -> Markup:
    """Figures as bars from 0 with their intervals: red what is worse, green what is better.

    Args:
        title: In both languages.
        bars: From top to bottom.
        worse: The sign of what is worse, 1 or -1.
    """
    low = min((0.0, *(bar.low for bar in bars)))
    high = max((0.0, *(bar.high for bar in bars)))
    reach = high - low or 1.0

    def across(value: float) -> float:
        return _NAMES + _PLOT * (value - low) / reach

    foot = _TOP + _ROW * len(bars)
    parts = [
        f'<path d="M{across(tick):.1f} {_TOP - 4}V{foot:.1f}" '
        f'stroke="{PALE if tick == 0 else FAINT}"/><text x="{across(tick):.1f}" y="14" '
        f'text-anchor="middle" fill="{PALE}">{_short(tick)}</text>'
        for tick in _ticks(low, high)
    ]
    for row, bar in enumerate(bars):
        colour = WORSE if bar.value * worse > 0 else BETTER
        parts.append(_bar(bar, _TOP + _ROW * row, colour, across))
    width = _NAMES + _PLOT + _TEXTS
    label = escape(f"{title[0]} / {title[1]}")
    return Markup(
        f"<figure><figcaption>{label}</figcaption>"
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {foot + 6:.0f}" '
        f'font-size="12" fill="{INK}">{"".join(parts)}</svg></figure>'
    )


def _bar(bar: Bar, top: float, colour: str, across: Callable[[float], float]) -> str:
    left, right = sorted((across(0.0), across(bar.value)))
    width = right - left
    middle = top + _ROW / 2
    start, end = across(bar.low), across(bar.high)
    whisker = "".join(f"M{x:.1f} {middle - 4:.1f}v8" for x in (start, end))
    return (
        f'<text x="{_NAMES - 8}" y="{middle + 4:.1f}" text-anchor="end">'
        f"{escape(bar.label)}</text>"
        f'<rect x="{left:.1f}" y="{top + 3:.1f}" width="{width:.1f}" height="{_ROW - 6}" '
        f'fill="{colour}" fill-opacity=".75"/>'
        f'<path d="M{start:.1f} {middle:.1f}H{end:.1f}{whisker}" stroke="{INK}"/>'
        f'<text x="{_NAMES + _PLOT + 10}" y="{middle + 4:.1f}">{escape(bar.text)}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers of which a few lie between the ends, 0 among them."""
    raw = (high - low or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def _short(value: float) -> str:
    """A tick's number."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{round(value, 10):g}"


def _escaped(value: str) -> str:
    return value if isinstance(value, Markup) else escape(value)


_PAGE = """<!DOCTYPE html>
<html lang="zh"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>
@page { size: A4; margin: 14mm; }
body { max-width: 1040px; margin: 2em auto; padding: 0 1.5em; color: #27313b;
  font: 15px/1.55 system-ui, "Segoe UI", "PingFang SC", "Noto Sans CJK SC", sans-serif; }
h1 { margin: 0 0 .1em; font-size: 27px; }
h1 + p { margin: 0; color: #5a6672; font-size: 17px; }
h2 { margin: 1.6em 0 .4em; font-size: 19px; border-bottom: 2px solid #27313b; }
h2 span { color: #5a6672; font-weight: 400; font-size: 16px; }
p[lang=en] { color: #5a6672; margin-top: -.6em; }
.badge { display: inline-block; padding: .15em .7em; border: 2px solid #d1751f; color: #d1751f;
  font-weight: 700; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 1em 0; }
.tile { flex: 1 1 170px; border: 1px solid #dfe4e9; border-radius: 6px; padding: 9px 13px; }
.tile span, small { display: block; color: #5a6672; font-size: 12px; }
.tile b { font-size: 21px; }
table { border-collapse: collapse; width: 100%; margin: .6em 0; }
td, th { text-align: right; vertical-align: top; padding: 4px 8px; font-size: 13px;
  border-bottom: 1px solid #dfe4e9; overflow-wrap: anywhere; }
td:first-child, th:first-child { text-align: left; }
td:nth-child(2) { white-space: nowrap; }
th { color: #5a6672; font-weight: 600; } .total td { font-weight: 700; }
figure { margin: 1em 0; } figcaption { font-weight: 600; } svg { width: 100%; display: block; }
tr, figure, .tiles { break-inside: avoid; } thead { display: table-header-group; }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 12px; } }
</style></head><body>
<h1>$zh</h1><p lang="en">$en</p>
$badge
$body
</body></html>
"""
