"""Demand and appetite: two weekly indices from noisy tables, each with its band (credit 4.19).

Demand is what was asked for against the first twelve weeks. Appetite is how much of it was
approved at a constant mix of grades, so that a shift to weaker applicants does not move it.
Intervals are by the delta method. Demand is a total of what there was, so its band is that of
the noise; appetite is of rates, so its band is that of noise and binomial spread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.figures import MIN_CELL, NoisyTable
from consortium.credit.intervals import Figure
from consortium.credit.shown import Section, Shown, Why, half_of, missing, shown
from consortium.errors import DomainError
from consortium.figure import FigureKind

Float = NDArray[np.float64]

BASE_WEEKS = 12
_HUNDRED = 100.0


def demand(table: NoisyTable) -> Section:
    """The demand index of a table by week, or week and product.

    Raises:
        DomainError: the table is of another kind, or has no amounts.
    """
    _check(table, FigureKind.DEMAND)
    counts, _ = _by_period(table, "applied")
    amounts, noise = _by_period(table, "amount")
    found = _index(amounts, [noise**2] * len(amounts))
    return Section(
        name="demand",
        table=table,
        axes=(table.spec.axes[0].name,),
        figures=tuple(
            _of("demand_index", period, one, count)
            for period, one, count in zip(table.spec.axes[0].cells, found, counts, strict=True)
        ),
    )


def _of(name: str, period: str, found: Figure | None, count: float) -> Shown:
    return shown((name, (period,)), found, count, None if found else Why.BASE)


def _by_period(table: NoisyTable, name: str) -> tuple[list[float], float]:
    """A measure added over all other axes, and the deviation of its noise."""
    values = table.measure(name)
    rest = values.reshape(values.shape[0], -1)
    return rest.sum(axis=1).tolist(), table.deviation(name) * math.sqrt(rest.shape[1])


def _index(values: Sequence[float], variances: Sequence[float]) -> list[Figure | None]:
    """``100·v / mean of the first twelve``; the same noise in both is counted once."""
    base = values[:BASE_WEEKS]
    mean = math.fsum(base) / BASE_WEEKS
    if len(base) < BASE_WEEKS or mean <= 0:
        return [None] * len(values)
    found: list[Figure | None] = []
    for place, value in enumerate(values):
        parts = []
        for other in range(max(BASE_WEEKS, place + 1)):
            slope = 1 / mean if other == place else 0.0
            if other < BASE_WEEKS:
                slope -= value / (BASE_WEEKS * mean**2)
            parts.append((_HUNDRED * slope) ** 2 * variances[other])
        found.append(Figure(_HUNDRED * value / mean, half_of(parts)))
    return found


@dataclass(frozen=True, slots=True)
class _Rates:
    """Approval rates by week and grade; NaN where a grade has too few applications."""

    rates: Float
    variances: Float
    applied: Float


def appetite(table: NoisyTable) -> Section:
    """The appetite index of a table by week and grade.

    Raises:
        DomainError: the table is of another kind.
    """
    _check(table, FigureKind.APPROVALS)
    found = _rates(table)
    cells, weekly = table.spec.axes[0].cells, found.applied.sum(axis=1)
    figures = _appetite(found, table.deviation("applied"))
    return Section(
        name="appetite",
        table=table,
        axes=(table.spec.axes[0].name,),
        figures=tuple(
            _of("appetite_index", period, one, float(count))
            if not dropped or one is None
            else shown(("appetite_index", (period,)), one, float(count), Why.MIX)
            for period, (one, dropped), count in zip(cells, figures, weekly, strict=True)
        ),
    )


def _rates(table: NoisyTable) -> _Rates:
    applied, approved = table.measure("applied"), table.measure("approved")
    noise = table.deviation("applied") ** 2
    rates = np.full(applied.shape, np.nan)
    variances = np.full(applied.shape, np.nan)
    for place in np.ndindex(applied.shape):
        whole = float(applied[place])
        if whole >= MIN_CELL:
            rate = float(approved[place]) / whole
            share = min(max(rate, 0.0), 1.0)
            rates[place] = rate
            variances[place] = share * (1 - share) / whole + noise * (1 + rate**2) / whole**2
    return _Rates(rates, variances, applied)


def _appetite(found: _Rates, deviation: float) -> list[tuple[Figure | None, bool]]:
    """Index and whether a grade was dropped, of each week."""
    weeks = len(found.rates)
    base = np.maximum(found.applied[:BASE_WEEKS].sum(axis=0), 0.0)
    whole = float(base.sum())
    if weeks < BASE_WEEKS or whole < MIN_CELL:
        return [(None, False)] * weeks
    mix = base / whole
    levels, spreads, dropped = _levels(found, mix)
    mean = float(np.mean(levels[:BASE_WEEKS]))
    if not math.isfinite(mean) or mean <= 0:
        return [(None, False)] * weeks
    shares = BASE_WEEKS * deviation**2 / whole**2
    listed: list[tuple[Figure | None, bool]] = []
    for week in range(weeks):
        level = float(levels[week])
        if not math.isfinite(level):
            listed.append((None, bool(dropped[week])))
            continue
        parts = []
        for other in {*range(BASE_WEEKS), week}:
            slope = 1 / mean if other == week else 0.0
            if other < BASE_WEEKS:
                slope -= level / (BASE_WEEKS * mean**2)
            parts.append((_HUNDRED * slope) ** 2 * float(spreads[other]))
        parts += _of_the_mix(found, week, (level, mean), shares)
        listed.append((Figure(_HUNDRED * level / mean, half_of(parts)), bool(dropped[week])))
    return listed


def _levels(found: _Rates, mix: Float) -> tuple[Float, Float, NDArray[np.bool_]]:
    """``Σ m_g·rate_gw`` of each week over the grades that are there, its variance, a flag."""
    there = np.isfinite(found.rates)
    weights = np.where(there, mix, 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = weights / sums
    levels = (weights * np.where(there, found.rates, 0.0)).sum(axis=1)
    spreads = (weights**2 * np.where(there, found.variances, 0.0)).sum(axis=1)
    dropped: NDArray[np.bool_] = np.asarray((~there & (mix > 0)).any(axis=1))
    return levels, spreads, dropped


def _of_the_mix(found: _Rates, week: int, of: tuple[float, float], noise: float) -> list[float]:
    """What the noise of the base mix adds: it moves numerator and base alike."""
    level, mean = of
    now, usual = found.rates[week], found.rates[:BASE_WEEKS]
    parts = []
    for grade in range(found.rates.shape[1]):
        own = usual[:, grade][np.isfinite(usual[:, grade])]
        if own.size and math.isfinite(float(now[grade])):
            slope = (float(now[grade]) - level) / mean
            slope -= level * (float(own.mean()) - mean) / mean**2
            parts.append((_HUNDRED * slope) ** 2 * noise)
    return parts


def steps(section: Section, *, least: float, weeks: int = 3) -> tuple[str, ...]:
    """Weeks in which an index left its level, by its bands.

    The level is the mean of up to eight weeks since the last step. A step is where the mean
    of the next ``weeks`` weeks differs from it by ``least`` points and by three deviations of
    the difference; of neighbours the one with the largest difference is told. So a step is
    known ``weeks`` weeks after its first at the latest.

    Args:
        section: Of an index.
        least: Smallest step that is told, in points.
        weeks: Weeks that a step is looked for over.

    Returns:
        First weeks of the steps, oldest first.
    """
    listed = section.figures
    found: list[str] = []
    begin = place = 0
    while place <= len(listed) - weeks:
        if not _differs(listed, (begin, place, weeks), least):
            place += 1
            continue
        near = range(place, min(place + weeks, len(listed) - weeks + 1))
        place = max(near, key=lambda one: _change(listed, (begin, one, weeks))[0])
        found.append(listed[place].labels[0])
        begin, place = place, place + _LEAST_LEVEL
    return tuple(found)


_LEVEL, _LEAST_LEVEL = 8, 6
"""Most and fewest weeks that a level is the mean of."""
_SURE = 1.5
"""Half widths of a difference: about three deviations."""


def _differs(listed: Sequence[Shown], where: tuple[int, int, int], least: float) -> bool:
    change, room = _change(listed, where)
    return change >= max(least, _SURE * room)


def _change(listed: Sequence[Shown], where: tuple[int, int, int]) -> tuple[float, float]:
    """How far the weeks behind a place are from the level before it, and its half width."""
    begin, place, weeks = where
    before = _there(listed[max(begin, place - _LEVEL) : place])
    after = _there(listed[place : place + weeks])
    if len(before) < _LEAST_LEVEL or len(after) < weeks:
        return 0.0, math.inf
    change = abs(_mean(after) - _mean(before))
    return change, math.hypot(_spread(before), _spread(after))


def _there(listed: Sequence[Shown]) -> list[tuple[float, float]]:
    """Values and half widths of the weeks that have any."""
    return [
        (one.value, one.high - one.value)
        for one in listed
        if one.value is not None and one.high is not None
    ]


def _mean(listed: Sequence[tuple[float, float]]) -> float:
    return math.fsum(value for value, _ in listed) / len(listed)


def _spread(listed: Sequence[tuple[float, float]]) -> float:
    """Half width of the mean of some weeks."""
    return math.sqrt(math.fsum(half**2 for _, half in listed)) / len(listed)


def _check(table: NoisyTable, kind: FigureKind) -> None:
    if table.spec.kind is not kind:
        raise DomainError(f"a table of {table.spec.kind}, expected {kind}")


def not_weekly(table: NoisyTable) -> bool:
    """Whether the table's periods are months, of which no index is made."""
    return table.spec.axes[0].name != "week"


def no_index(table: NoisyTable, name: str) -> Section:
    """The section of an index that is not defined on the table."""
    period = table.spec.first
    return Section(
        name=name,
        table=table,
        axes=(table.spec.axes[0].name,),
        figures=(missing(name, (period,), 0.0, Why.UNDEFINED),),
    )
