"""Curves with their bands, as inline SVG for a printed page; no script, nothing loaded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from coordinator.credit.paper import FAINT, INK, PALE, Markup

COLOURS = ("#1f5fa8", "#d1751f", "#2f7d5b", "#b4483c", "#6b4fa0", "#8d99a6")

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _FOOT = 760.0, 260.0, 52.0, 150.0, 16.0, 34.0
_TICKS, _MOST_LABELS = 5, 10


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a curve; None: there is no figure."""

    label: str
    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: its name and its points, in order."""

    name: str
    points: tuple[Point, ...]


def curves(title: str, drawn: Sequence[Curve], *, percent: bool = False) -> Markup:
    """Curves over the same places, each with its band; a missing figure breaks a curve.

    With ``percent`` they are shares: what noise puts outside 0 to 1 is drawn at that end.
    """
    labels = list(dict.fromkeys(point.label for one in drawn for point in one.points))
    there = [point for one in drawn for point in one.points if point.value is not None]
    if not there:
        return Markup("")
    low, high = min(point.low for point in there), max(point.high for point in there)
    if percent:
        low, high = 0.0, min(1.0, high)
    frame = _Frame(labels, low, high if high > low else low + 1)
    parts = frame.grid(percent=percent)
    seen = [one for one in drawn if any(point.value is not None for point in one.points)]
    for number, one in enumerate(seen):
        parts += frame.curve(one, COLOURS[number % len(COLOURS)], number, len(seen))
    return Markup(
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" '
        f'aria-label="{escape(title)}" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        f'font-size="11" fill="{INK}">{"".join(parts)}</svg></figure>'
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    labels: list[str]
    low: float
    high: float

    def across(self, label: str) -> float:
        last = max(len(self.labels) - 1, 1)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * self.labels.index(label) / last

    def up(self, value: float) -> float:
        tall, inside = _HEIGHT - _TOP - _FOOT, min(max(value, self.low), self.high)
        return _TOP + tall * (1 - (inside - self.low) / (self.high - self.low))

    def grid(self, *, percent: bool) -> list[str]:
        parts = []
        step = _step(self.high - self.low)
        tick = math.ceil(self.low / step) * step
        while tick <= self.high + step / 1000:
            text = f"{100 * tick:g} %" if percent else f"{tick:g}"
            place = self.up(tick)
            parts.append(
                f'<path d="M{_LEFT} {place:.1f}H{_WIDTH - _RIGHT}" stroke="{FAINT}"/>'
                f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end" '
                f'fill="{PALE}">{text}</text>'
            )
            tick = round(tick + step, 10)
        every = math.ceil(len(self.labels) / _MOST_LABELS)
        parts += [
            f'<text x="{self.across(label):.1f}" y="{_HEIGHT - 12}" text-anchor="middle" '
            f'fill="{PALE}">{escape(label)}</text>'
            for label in self.labels[::every]
        ]
        return parts

    def curve(self, one: Curve, colour: str, number: int, count: int) -> list[str]:
        parts = []
        for piece in _pieces(one.points):
            places = [self.across(point.label) for point in piece]
            highs = [self.up(point.high) for point in piece]
            lows = [self.up(point.low) for point in piece]
            middle = [self.up(point.value or 0.0) for point in piece]
            there = list(zip(places, highs, strict=True))
            around = there + list(zip(places, lows, strict=True))[::-1]
            if count <= len(COLOURS):
                parts.append(f'<path d="{_path(around)}Z" fill="{colour}" fill-opacity=".13"/>')
            parts.append(
                f'<path d="{_path(list(zip(places, middle, strict=True)))}" fill="none" '
                f'stroke="{colour}" stroke-width="1.8" stroke-linecap="round"/>'
            )
        if number < 2 * len(COLOURS):
            place = _TOP + 12 + 15 * number
            parts.append(
                f'<rect x="{_WIDTH - _RIGHT + 12}" y="{place - 9:.1f}" width="10" height="10" '
                f'fill="{colour}"/><text x="{_WIDTH - _RIGHT + 28}" y="{place:.1f}">'
                f"{escape(one.name)}</text>"
            )
        return parts


def _pieces(points: Sequence[Point]) -> list[list[Point]]:
    pieces: list[list[Point]] = [[]]
    for point in points:
        if point.value is None:
            pieces.append([])
        else:
            pieces[-1].append(point)
    return [piece for piece in pieces if piece]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _step(reach: float) -> float:
    raw = reach / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
