"""Concentration and fairness from noisy tables (credit 4.11, 4.13).

Concentration is corrected for the noise of the shares before its band is formed, and clamped
after it. Fairness compares groups that the nodes hold and no model sees; a verdict is a policy
test, never a legal finding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from consortium.credit.figure_forms import DECISIONS, OUTCOMES
from consortium.credit.figures import MIN_CELL, NoisyTable
from consortium.credit.intervals import Figure
from consortium.credit.shown import Section, Shown, Why, half_of, missing, shown, within
from consortium.errors import DomainError
from consortium.figure import FigureKind

Float = NDArray[np.float64]


def hhi(amounts: Sequence[float], deviation: float = 0.0) -> Figure | None:
    """``Σ s_k²`` of the shares, less the noise variance of the shares.

    Args:
        amounts: Noisy or exact, one for each product or segment.
        deviation: Of the noise of one of them.

    Returns:
        None if they do not add up to a positive number.
    """
    total = math.fsum(amounts)
    if total <= 0:
        return None
    shares = [amount / total for amount in amounts]
    square = math.fsum(share**2 for share in shares)
    # ds_k = (e_k - s_k·Σe)/total: its variance, and that of the sum of squares.
    count, noise = len(shares), (deviation / total) ** 2
    bias = noise * math.fsum((1 - s) ** 2 + (count - 1) * s**2 for s in shares)
    slopes = [2 * (share - square) for share in shares]
    return Figure(
        square - bias, half_of([noise * slope**2 for slope in slopes] + [2 * bias**2])
    )


def concentration(table: NoisyTable) -> Section:
    """Share of each segment in the balances of all partners, and their concentration."""
    _check(table, FigureKind.CONCENTRATION)
    balances, persons = table.measure("balance"), table.measure("persons")
    deviation = table.deviation("balance")
    total, count = float(balances.sum()), float(persons.sum())
    cells = table.spec.axes[0].cells
    figures: list[Shown] = []
    for place, segment in enumerate(cells):
        found = None
        if total > 0:
            share = float(balances[place]) / total
            inside = (1 - share) ** 2 + (len(cells) - 1) * share**2
            found = Figure(share, half_of([(deviation / total) ** 2 * inside]))
        figures.append(shown(("balance_share", (segment,)), found, float(persons[place])))
    raw = hhi([float(one) for one in balances], deviation)
    if raw is None or count < MIN_CELL:
        figures.append(missing("hhi", ("all",), count, Why.UNDEFINED))
    else:
        figures.append(within(("hhi", ("all",)), min(max(raw.value, 0.0), 1.0), raw, count))
    return Section(name="concentration", table=table, axes=("segment",), figures=tuple(figures))


def common_borrower_share(several: Figure, persons: Figure) -> Figure | None:
    """Persons at two partners or more over all persons, each with its own interval.

    Returns:
        None where there are fewer than fifty persons. The two are taken as independent, which
        errs upwards where they are counted from one overlap.
    """
    if persons.value < MIN_CELL:
        return None
    value = several.value / persons.value
    spread = math.hypot(several.half, value * persons.half) / persons.value
    return Figure(value, spread)


class Verdict(StrEnum):
    """Of a policy test of fairness."""

    FINE = "fine"
    WATCH = "watch"
    FAIL = "fail"
    NOT_ASSESSED = "not_assessed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """Bounds of one measure: beyond the first a watch, beyond the second a fail."""

    watch: tuple[float, float]
    fail: tuple[float, float]


_ANY = math.inf
TESTS = {
    "impact_ratio": Test(watch=(0.90, _ANY), fail=(0.80, _ANY)),
    "opportunity_gap": Test(watch=(-_ANY, 0.03), fail=(-_ANY, 0.05)),
    "calibration": Test(watch=(0.9, 1.1), fail=(0.8, 1.25)),
}
"""Measure to its bounds (credit 4.13). Standardised mean differences need scores by group,
which are not in this table."""


def verdict_of(one: Shown) -> Verdict:
    """Fail only if the whole band lies beyond the bound, watch if the value does."""
    test = TESTS.get(one.name)
    if test is None or one.value is None or one.low is None or one.high is None:
        return Verdict.NOT_ASSESSED
    if one.why is Why.REFERENCE:
        return Verdict.FINE
    if one.high < test.fail[0] or one.low > test.fail[1]:
        return Verdict.FAIL
    inside = test.watch[0] <= one.value <= test.watch[1]
    return Verdict.FINE if inside else Verdict.WATCH


def fairness(table: NoisyTable) -> Section:
    """Approval, opportunity and calibration of each group against the largest one."""
    _check(table, FigureKind.FAIRNESS)
    persons, deviation = table.measure("persons"), table.deviation("persons")
    groups = table.spec.axes[0].cells
    sizes = persons.sum(axis=(1, 2))
    reference = int(np.argmax(sizes))
    rates = [_approval(persons[place], deviation) for place in range(len(groups))]
    goods = [_approval(persons[place][:, :1], deviation) for place in range(len(groups))]
    figures: list[Shown] = []
    for place, group in enumerate(groups):
        size, label = float(sizes[place]), (group,)
        why = Why.REFERENCE if place == reference else None
        figures += [
            shown(("group_approval", label), rates[place], size, why),
            shown(("impact_ratio", label), _ratio(rates[place], rates[reference]), size, why),
            shown(("opportunity_gap", label), _gap(goods[reference], goods[place]), size, why),
        ]
        if len(table.spec.measures) > 1:
            found = _calibration(table, place)
            figures.append(shown(("calibration", label), found, size, why if found else None))
    return Section(name="fairness", table=table, axes=("group",), figures=tuple(figures))


def _approval(part: Float, deviation: float) -> Figure | None:
    """Approved among the decided of some outcomes; noise of shared cells counted once."""
    row = part.sum(axis=1)
    cells = part.shape[1]
    whole = float(row.sum())
    if whole < MIN_CELL:
        return None
    value = float(row[0]) / whole
    share = min(max(value, 0.0), 1.0)
    inside = cells * ((1 - value) ** 2 + (len(DECISIONS) - 1) * value**2)
    noise = deviation**2 * inside / whole**2
    return Figure(value, half_of([share * (1 - share) / whole, noise]))


def _ratio(one: Figure | None, other: Figure | None) -> Figure | None:
    if one is None or other is None or other.value <= 0:
        return None
    value = one.value / other.value
    if one is other:
        return Figure(1.0, 0.0)
    return Figure(value, math.hypot(one.half, value * other.half) / other.value)


def _gap(one: Figure | None, other: Figure | None) -> Figure | None:
    if one is None or other is None:
        return None
    if one is other:
        return Figure(0.0, 0.0)
    return Figure(one.value - other.value, math.hypot(one.half, other.half))


def _calibration(table: NoisyTable, place: int) -> Figure | None:
    """Expected over observed bads among approved persons whose outcome is known."""
    good, bad = (OUTCOMES.index(name) for name in ("GOOD", "BAD"))
    persons, expected = table.measure("persons")[place], table.measure("expected")[place]
    ppm = table.spec.measures[table.spec.measure("expected")].bound
    observed = float(persons[0, bad])
    whole = observed + float(persons[0, good])
    if whole < MIN_CELL or observed <= 0:
        return None
    value = float(expected[0, good] + expected[0, bad]) / ppm / observed
    noise = 2 * (table.deviation("expected") / ppm) ** 2
    noise += value**2 * table.deviation("persons") ** 2
    return Figure(value, half_of([(noise + value**2 * observed) / observed**2]))


def _check(table: NoisyTable, kind: FigureKind) -> None:
    if table.spec.kind is not kind:
        raise DomainError(f"a table of {table.spec.kind}, expected {kind}")
