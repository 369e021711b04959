"""From the noisy table of a scenario run to figures by grade, each with its interval (4.8).

The figures speak of the persons counted and of nobody else, so an interval holds the noise of
the release and no sampling. Persons are counted anew beside every scenario; their mean is used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from consortium.credit.contagion import Estimate
from consortium.credit.scenario import BASE, MEASURES, Scenario, counted
from consortium.credit.shock import MIN_CELL, Float, Noisy
from consortium.credit.terms import GRADES, Grade
from consortium.errors import ShapeError

_NORMAL_95 = 1.96
_APPROVALS, _PD, _LOSS = (MEASURES.index(name) for name in ("approvals", "pd", "loss"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeLine:
    """One grade in one world."""

    grade: Grade | None
    """None: all grades."""
    persons: Estimate
    """Mean of the counts beside all worlds."""
    pd: Estimate | None
    """Mean PD; None, as all below, under ``MIN_CELL`` noisy persons."""
    loss: Estimate | None
    """Expected loss of twelve months, minor units."""
    approval_rate: Estimate | None
    pd_change: Estimate | None
    """Against the base."""
    loss_change: Estimate | None
    approval_change: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The base or one scenario."""

    name: str
    lines: tuple[GradeLine, ...]


def worlds_of(table: Noisy, scenarios: Sequence[Scenario]) -> tuple[World, ...]:
    """The base, then every scenario in its order; an empty one has the figures of the base.

    Args:
        table: Noisy sums, shape (1 + scenarios that are not empty, 5 grades, 4 measures).
        scenarios: As asked for, in the order of the table.

    Raises:
        ShapeError: the table is of other scenarios.
    """
    shape = (1 + len(counted(scenarios)), len(GRADES), len(MEASURES))
    if table.values.shape != shape:
        raise ShapeError(f"scenario table of shape {table.values.shape}, expected {shape}")
    base = World(name=BASE, lines=_lines(table, 0))
    worlds, place = [base], 0
    for one in scenarios:
        if not one.empty:
            place += 1
        lines = base.lines if one.empty else _lines(table, place)
        worlds.append(World(name=one.name, lines=lines))
    return tuple(worlds)


def _lines(table: Noisy, world: int) -> tuple[GradeLine, ...]:
    """By grade, then of all of them."""
    whole = Noisy(
        table.values.sum(axis=1, keepdims=True),
        np.sqrt((table.deviations**2).sum(axis=1, keepdims=True)),
    )
    by_grade = [_line(table, world, place) for place in range(len(GRADES))]
    return (*by_grade, replace(_line(whole, world, 0), grade=None))


def _line(table: Noisy, world: int, place: int) -> GradeLine:
    counts, noise = table.values[:, place, 0], table.deviations[:, place, 0]
    persons = float(counts.mean())
    spread = float(np.sqrt((noise**2).sum())) / len(counts)
    n = (persons, spread)
    cells = table.values[:, place], table.deviations[:, place]
    few = persons < MIN_CELL
    now, change = _sums(cells, world), _changes(cells, world)
    return GradeLine(
        grade=GRADES[place],
        persons=_estimate(persons, spread),
        pd=None if few else _possible(_ratio(now[_PD], n), 1.0),
        loss=None if few else _possible(_estimate(*now[_LOSS]), math.inf),
        approval_rate=None if few else _possible(_ratio(now[_APPROVALS], n), 1.0),
        pd_change=None if few else _ratio(change[_PD], n),
        loss_change=None if few else _estimate(*change[_LOSS]),
        approval_change=None if few else _ratio(change[_APPROVALS], n),
    )


_Sum = tuple[float, float]
"""A noisy sum and the deviation of its noise."""


def _sums(cells: tuple[Float, Float], world: int) -> list[_Sum]:
    return [
        (float(cells[0][world, m]), float(cells[1][world, m])) for m in range(len(MEASURES))
    ]


def _changes(cells: tuple[Float, Float], world: int) -> list[_Sum]:
    """Against the base; the base differs from itself by exactly nothing."""
    if world == 0:
        return [(0.0, 0.0)] * len(MEASURES)
    return [
        (one - base, float(np.hypot(noise, before)))
        for (one, noise), (base, before) in zip(
            _sums(cells, world), _sums(cells, 0), strict=True
        )
    ]


def _ratio(part: _Sum, whole: _Sum) -> Estimate:
    """``x / n`` with the noise of both, by the delta method."""
    value = part[0] / whole[0]
    return _estimate(value, float(np.hypot(part[1], value * whole[1])) / whole[0])


def _possible(found: Estimate, most: float) -> Estimate:
    """Cut to 0 and ``most``, where the truth is: no committee is shown a PD below nothing.

    Changes are not cut, so they need not be the difference of two levels that were.
    """
    return Estimate(*(min(max(one, 0.0), most) for one in (found.value, found.low, found.high)))


def _estimate(value: float, deviation: float) -> Estimate:
    half = _NORMAL_95 * deviation
    return Estimate(value, value - half, value + half)
