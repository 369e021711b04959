"""Vintages, roll rates, closure and approval rates from noisy tables (credit 4.7).

Each figure has the band that noise and binomial spread give the raw value. Negative cells are
set to 0 and rows normalised for print only; curves of vintages never fall for print only.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consortium.credit.closures import COMPETING, Cause
from consortium.credit.figure_forms import NONE, STATES, periods
from consortium.credit.figures import MIN_CELL, NoisyTable, rate_interval
from consortium.credit.intervals import Figure
from consortium.credit.shown import Section, Shown, Why, half_of, missing, shown, within
from consortium.errors import DomainError
from consortium.figure import FigureKind

Float = NDArray[np.float64]

ALL = "all"
_CLOSED = tuple(cause.value for cause in Cause if cause not in COMPETING)


def vintages(table: NoisyTable) -> Section:
    """Share of each vintage that was ever late by each age; ages that are complete only."""
    _check(table, FigureKind.VINTAGES)
    lines, deviation = table.measure("lines"), table.deviation("lines")
    opened, ages = (axis.cells for axis in table.spec.axes[-2:])
    months = periods(table.spec.first, table.spec.last)
    figures: list[Shown] = []
    for names, part in _segments(table, lines):
        for place, vintage in enumerate(opened):
            last = len(months) - 1 - months.index(vintage)
            complete = ages[1 : last + 2]
            figures += _curve((*names, vintage), part[place], complete, deviation)
    axes = tuple(axis.name for axis in table.spec.axes)
    return Section(name="vintages", table=table, axes=axes, figures=tuple(figures))


def _segments(table: NoisyTable, lines: Float) -> Iterator[tuple[tuple[str, ...], Float]]:
    """The parts of a table by segment; of one without segments the whole."""
    if table.spec.axes[0].name != "segment":
        yield (), lines
        return
    for place, segment in enumerate(table.spec.axes[0].cells):
        yield (segment,), lines[place]


def _curve(
    labels: tuple[str, ...], row: Float, ages: Sequence[str], deviation: float
) -> Iterator[Shown]:
    whole, so_far, best = float(row.sum()), 0.0, 0.0
    spread = math.sqrt(row.size)
    for place, age in enumerate(ages):
        so_far += float(row[place + 1])
        name = (*labels, age)
        if whole < MIN_CELL:
            yield missing("ever_late", name, whole, Why.FEW)
            continue
        raw = _share(so_far, whole, deviation, parts=place + 1, spread=spread)
        best = min(max(best, raw.value), 1.0)
        yield within(("ever_late", name), best, raw, whole)


def _share(part: float, whole: float, deviation: float, *, parts: int, spread: float) -> Figure:
    """A share of a row: its cells are among those of the whole, so noise is shared."""
    value = part / whole
    share = min(max(value, 0.0), 1.0)
    cells = round(spread**2)
    inside = parts * (1 - value) ** 2 + (cells - parts) * value**2
    noise = deviation**2 * inside / whole**2
    return Figure(value, half_of([share * (1 - share) / whole, noise]))


def roll_rates(table: NoisyTable) -> Section:
    """Transition shares from each state, with the row of all segments for small ones."""
    _check(table, FigureKind.ROLL_RATES)
    lines, deviation = table.measure("lines"), table.deviation("lines")
    segments = table.spec.axes[0].name == "segment"
    parent = lines.sum(axis=0) if segments else lines
    count = len(table.spec.axes[0].cells) if segments else 1
    figures: list[Shown] = []
    for names, part in _segments(table, lines):
        for place, before in enumerate(STATES):
            row, noise, why = part[place], deviation, None
            if float(row.sum()) < MIN_CELL and segments:
                row, noise, why = parent[place], deviation * math.sqrt(count), Why.PARENT
            figures += _transitions((*names, before), row, noise, why)
    axes = tuple(axis.name for axis in table.spec.axes)
    return Section(name="roll_rates", table=table, axes=axes, figures=tuple(figures))


def _transitions(
    labels: tuple[str, ...], row: Float, deviation: float, why: Why | None
) -> Iterator[Shown]:
    whole = float(row.sum())
    printed = normalised(row)
    for place, after in enumerate(STATES):
        name = (*labels, after)
        if whole < MIN_CELL:
            yield missing("transition", name, whole, Why.FEW)
            continue
        raw = _share(float(row[place]), whole, deviation, parts=1, spread=math.sqrt(row.size))
        one = within(("transition", name), float(printed[place]), raw, whole)
        yield one if why is None else replace(one, why=why)


def normalised(row: Float) -> Float:
    """A row with negative cells at 0 that sums to 1; zeros if nothing is left."""
    kept = np.maximum(row, 0.0)
    total = math.fsum(kept.tolist())
    return kept / total if total > 0 else np.zeros_like(kept)


def projected(table: NoisyTable, months: int = 12) -> Float:
    """The transition matrix of all segments to the power of ``months``, rows summing to 1.

    A state without enough persons is taken to stay where it is.
    """
    lines = table.measure("lines")
    if table.spec.axes[0].name == "segment":
        lines = lines.sum(axis=0)
    matrix = np.eye(len(STATES))
    for place, row in enumerate(lines):
        if float(row.sum()) >= MIN_CELL:
            matrix[place] = normalised(row)
    return np.linalg.matrix_power(matrix, months)


def closures(table: NoisyTable) -> Section:
    """Share of the lines at risk that each cause ended, and of closures of any cause."""
    _check(table, FigureKind.CLOSURES)
    lines, deviation = table.measure("lines"), table.deviation("lines")
    causes = table.spec.axes[-1].cells
    closed = [causes.index(name) for name in _CLOSED if name in causes]
    figures: list[Shown] = []
    for names, row in _segments(table, lines):
        for place, cause in enumerate(causes):
            if cause != NONE:
                figures.append(_rate((*names, cause), row, [place], deviation))
        figures.append(_rate((*names, ALL), row, closed, deviation))
    axes = tuple(axis.name for axis in table.spec.axes)
    return Section(name="closures", table=table, axes=axes, figures=tuple(figures))


def _rate(labels: tuple[str, ...], row: Float, places: list[int], deviation: float) -> Shown:
    """The share of some cells of a row in all of it."""
    whole, part = float(row.sum()), float(row[places].sum())
    if whole < MIN_CELL:
        return missing("closure_rate", labels, whole, Why.FEW)
    spread = math.sqrt(row.size)
    raw = _share(part, whole, deviation, parts=len(places), spread=spread)
    return within(("closure_rate", labels), min(max(raw.value, 0.0), 1.0), raw, whole)


def approvals(table: NoisyTable) -> Section:
    """Approved of applied, by period and grade or product."""
    _check(table, FigureKind.APPROVALS)
    applied, approved = table.measure("applied"), table.measure("approved")
    deviation = table.deviation("applied")
    axes = table.spec.axes
    figures = []
    for place in np.ndindex(applied.shape):
        labels = tuple(axis.cells[at] for axis, at in zip(axes, place, strict=True))
        whole = float(applied[place])
        found = rate_interval(float(approved[place]), whole, deviation)
        figures.append(shown(("approval_rate", labels), found, whole))
    names = tuple(axis.name for axis in axes)
    return Section(name="approvals", table=table, axes=names, figures=tuple(figures))


def _check(table: NoisyTable, kind: FigureKind) -> None:
    if table.spec.kind is not kind:
        raise DomainError(f"a table of {table.spec.kind}, expected {kind}")
