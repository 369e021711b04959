"""The report's kinds of pictures: curves, columns, bars, and marks along the log."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from regulator.drawing import (
    FAINT,
    INK,
    PALE,
    RED,
    Box,
    Curve,
    Dots,
    Drawing,
    Line,
    Shape,
    Words,
)

WIDTH = 680.0

_LEFT, _RIGHT, _TOP, _FOOT, _PLOT = 52.0, 16.0, 30.0, 40.0, 190.0
_ROW, _LOW_ROW, _MANY = 20.0, 12.0, 16
"""Height of a row, of one among many, and how many rows are many."""
_NAMES = 190.0
_NUMBERS = 90.0
_TICKS = 5
_MOST_LABELS = 9
_WIDEST_COLUMN = 46.0
_GLYPH, _WIDE_GLYPH = 6.6, 12.4
"""Rough widths of a Latin and a Chinese character at 12 points."""
_LATIN = 0x2E80


@dataclass(frozen=True, slots=True)
class Series:
    """One curve of a chart: its name and its points, in pieces where it breaks off."""

    name: str
    colour: str
    pieces: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """One column or one bar: its label and its parts, each of a legend's number."""

    label: str
    parts: tuple[float, ...]
    text: str = ""
    """Beside the bar."""


@dataclass(frozen=True, slots=True)
class Track:
    """One row of marks along the log: places, by number of the legend."""

    label: str
    marks: tuple[tuple[float, ...], ...]
    text: str = ""


Legend = Sequence[tuple[str, str]]
"""Names and colours."""


def curves(series: Sequence[Series], *, across: str, upwards: str) -> Drawing:
    """Curves over the log's order, from 0 upwards."""
    points = [point for one in series for piece in one.pieces for point in piece]
    last = max((x for x, _ in points), default=1.0) or 1.0
    first = min((x for x, _ in points), default=0.0)
    steps = _ticks(max((y for _, y in points), default=1.0))
    top, height = _frame_top([(one.name, one.colour) for one in series]), _PLOT
    span = max(last - first, 1.0)

    def at(x: float, y: float) -> tuple[float, float]:
        wide = WIDTH - _LEFT - _RIGHT
        return _LEFT + wide * (x - first) / span, top + height * (1 - y / steps[-1])

    shapes = [*_grid(steps, top, height), *_legend([(o.name, o.colour) for o in series])]
    for one in series:
        for piece in one.pieces:
            shown = tuple(at(x, y) for x, y in piece)
            shapes.append(
                Curve(shown, one.colour) if len(shown) > 1 else Dots(shown, one.colour, 3)
            )
    marks = sorted({first, (first + last) // 2, last})
    foot = top + height + 16
    shapes += [Words((at(x, 0)[0], foot), f"{x:g}", "middle", PALE, 11) for x in marks]
    shapes.append(Words((WIDTH - _RIGHT, foot + 16), across, "end", PALE, 11))
    shapes.append(Words((4, top - 10), upwards, "start", PALE, 11))
    return Drawing(WIDTH, top + height + _FOOT, tuple(shapes))


def columns(stacks: Sequence[Stack], legend: Legend, *, across: str, upwards: str) -> Drawing:
    """Columns of whole numbers, the parts of each upon another."""
    steps = _ticks(max((sum(one.parts) for one in stacks), default=1.0), whole=True)
    top, height = _frame_top(legend), _PLOT
    shapes = [*_grid(steps, top, height), *_legend(legend)]
    wide = (WIDTH - _LEFT - _RIGHT) / max(len(stacks), 1)
    width = min(wide * 0.75, _WIDEST_COLUMN)
    every = math.ceil(len(stacks) / _MOST_LABELS)
    foot = top + height + 16
    for number, one in enumerate(stacks):
        middle, base = _LEFT + wide * (number + 0.5), top + height
        for part, (_, colour) in zip(one.parts, legend, strict=True):
            tall = height * part / steps[-1]
            base -= tall
            if part:
                shapes.append(Box((middle - width / 2, base, width, tall), colour))
        if number % every == 0:
            shapes.append(Words((middle, foot), one.label, "middle", PALE, 11))
    shapes.append(Words((WIDTH - _RIGHT, foot + 16), across, "end", PALE, 11))
    shapes.append(Words((4, top - 10), upwards, "start", PALE, 11))
    return Drawing(WIDTH, top + height + _FOOT, tuple(shapes))


def bars(stacks: Sequence[Stack], legend: Legend, *, limit: float | None = None) -> Drawing:
    """One bar a row, parts after another, with a line at a limit that must not be crossed."""
    reach = max([sum(one.parts) for one in stacks] + [limit or 0.0]) or 1.0
    top = _frame_top(legend) - 12
    wide = WIDTH - _NAMES - _NUMBERS
    row, size = _row(len(stacks))
    shapes: list[Shape] = [*_legend(legend)]
    for number, one in enumerate(stacks):
        y, x, base = top + row * number, _NAMES, top + row * number + row / 2 + size / 3
        shapes.append(Words((_NAMES - 8, base), shortened(one.label, 28), "end", INK, size))
        for part, (_, colour) in zip(one.parts, legend, strict=True):
            if part:
                box = (x, y + row * 0.15, wide * part / reach, row * 0.7)
                shapes.append(Box(box, colour))
            x += wide * part / reach
        shapes.append(Words((x + 5, base), one.text, "start", PALE, size - 1))
    foot = top + row * len(stacks)
    if limit is not None:
        x = _NAMES + wide * limit / reach
        shapes.append(Line((x, top), (x, foot), RED, 1.5))
    return Drawing(WIDTH, foot + 8, tuple(shapes))


def tracks(rows: Sequence[Track], legend: Legend, *, size: float, across: str) -> Drawing:
    """Marks along the log from entry 0 to its end, a row for each."""
    top = _frame_top(legend) - 12
    wide, radius = WIDTH - _NAMES - _NUMBERS, 3.5 if len(rows) < _MOST_LABELS else 2.0
    row, text = _row(len(rows))
    shapes: list[Shape] = [*_legend(legend)]
    for number, one in enumerate(rows):
        y = top + row * (number + 0.5)
        label = Words((_NAMES - 8, y + text / 3), shortened(one.label, 28), "end", INK, text)
        shapes.append(label)
        shapes.append(Line((_NAMES, y), (_NAMES + wide, y)))
        for places, (_, colour) in zip(one.marks, legend, strict=True):
            if places:
                dots = tuple((_NAMES + wide * x / max(size, 1.0), y) for x in places)
                shapes.append(Dots(dots, colour, radius))
        place = (_NAMES + wide + 8, y + text / 3)
        shapes.append(Words(place, one.text, "start", PALE, text - 1))
    foot = top + row * len(rows) + 14
    shapes += [
        Words((_NAMES, foot), "0", "middle", PALE, 11),
        Words((_NAMES + wide, foot), f"{size:g}", "middle", PALE, 11),
        Words((_NAMES + wide / 2, foot), across, "middle", PALE, 11),
    ]
    return Drawing(WIDTH, foot + 8, tuple(shapes))


def _row(rows: int) -> tuple[float, float]:
    """Height of a row and of its words."""
    return (_ROW, 12.0) if rows <= _MANY else (_LOW_ROW, 9.0)


def shortened(text: str, most: int) -> str:
    """``text``, cut in its middle where it is longer than a label may be."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _ticks(most: float, *, whole: bool = False) -> tuple[float, ...]:
    """From 0 in round steps to the first at or above ``most``."""
    raw = max(most, 1e-4) / (_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(one for one in (1, 2, 2.5, 5, 10) if power * one >= raw * 0.999)
    step = max(1.0, math.ceil(step)) if whole else step
    count = max(1, math.ceil(most / step - 1e-9))
    return tuple(step * number for number in range(count + 1))


def _grid(steps: Sequence[float], top: float, height: float) -> list[Shape]:
    shapes: list[Shape] = []
    for value in steps:
        y = top + height * (1 - value / steps[-1])
        colour = INK if value == 0 else FAINT
        shapes.append(Line((_LEFT, y), (WIDTH - _RIGHT, y), colour))
        shapes.append(Words((_LEFT - 6, y + 4), f"{value:g}", "end", PALE, 11))
    return shapes


def _legend(legend: Legend) -> list[Shape]:
    shapes: list[Shape] = []
    for x, y, name, colour in _places(legend):
        shapes.append(Box((x, y - 9, 10, 10), colour))
        shapes.append(Words((x + 15, y), name))
    return shapes


def _places(legend: Legend) -> list[tuple[float, float, str, str]]:
    """Where each name of a legend stands; it goes on in the next line where one is full."""
    found: list[tuple[float, float, str, str]] = []
    x, y = 4.0, 14.0
    for name, colour in legend:
        width = 34.0 + sum(_WIDE_GLYPH if ord(c) >= _LATIN else _GLYPH for c in name)
        if x + width > WIDTH and x > 4.0:  # noqa: PLR2004 - the line's beginning
            x, y = 4.0, y + 18
        found.append((x, y, name, colour))
        x += width
    return found


def _frame_top(legend: Legend) -> float:
    lines = max((y for _, y, _, _ in _places(legend)), default=0.0)
    return lines + _TOP
