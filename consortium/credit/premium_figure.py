"""The information-loss premium as a noisy table: by tier, points lost and grade (credit 4.16).

One cell a person. From the table come, for each tier, quartiles of the points lost and the
share that falls to a weaker grade, each with what the noise makes of it; nothing is said of a
tier of fewer than 50 persons. Signs stay: who gains has a cell of its own.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.figure_forms import LOST, LOST_EDGES, MOVES
from consortium.credit.figures import MIN_CELL, Entry, NoisyTable, n_band, rate_interval
from consortium.credit.intervals import NORMAL_95, Figure
from consortium.credit.shown import Section, Shown, Why, missing, shown
from consortium.errors import DomainError
from consortium.figure import FigureKind
from consortium.scoring.premium import Premium
from consortium.scoring.scorecard import cut_units

ENDS = (-80.0, 160.0)
"""Where the outermost bands are taken to end, for print."""

_CUTS = 4

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPremium:
    """One tier's figures. Public: from a noisy table."""

    tier: str
    persons: float
    """Noisy; below 50 nothing else is said."""
    quartiles: tuple[float, float, float] | None
    """Points lost: lower quartile, median, upper quartile."""
    median: tuple[float, float] | None
    """95 % interval of the median: quantiles whose shares the noise cannot tell from half."""
    losing_a_grade: Figure | None


def premium_entries(
    premium: Premium, persons: Sequence[str], cuts: Sequence[str]
) -> list[Entry]:
    """One entry a person, for ``figures.contribution``. Private.

    Args:
        premium: Of the closing partner's persons.
        persons: Names that are this partner's own, in the same order.
        cuts: PDs between the five grades, decimals; tiers are G1 and G2, G3, G4 and G5.

    Raises:
        DomainError: not four cuts that rise, or not one name a person.
    """
    edges = [cut_units(cut) for cut in cuts]
    if len(edges) != _CUTS or edges != sorted(set(edges)):
        raise DomainError(f"{len(edges)} cuts between grades, expected four that rise")
    if len(persons) != len(premium.before):
        raise DomainError(f"{len(persons)} names for {len(premium.before)} persons")
    found = []
    both = zip(premium.before.tolist(), premium.after.tolist(), strict=True)
    for name, (before, after), lost in zip(persons, both, premium.points, strict=True):
        old, new = bisect_right(edges, before), bisect_right(edges, after)
        grade = 0 if new > old else 1 if new == old else 2
        tier = 0 if old < 2 else 1 if old == 2 else 2  # noqa: PLR2004 - G1, G2 | G3 | G4, G5
        band = int(np.searchsorted(LOST_EDGES, lost, side="left"))
        found.append(Entry(person=name, cell=(tier, band, grade)))
    return found


def tiers_of(table: NoisyTable) -> tuple[TierPremium, ...]:
    """What a released table says of each tier; DomainError for a table of another kind."""
    if table.spec.kind is not FigureKind.PREMIUM:
        raise DomainError(f"a table of {table.spec.kind} has no premium")
    counts, deviation = table.measure("persons"), table.deviation("persons")
    return tuple(
        _tier(tier, counts[place], deviation)
        for place, tier in enumerate(table.spec.axes[0].cells)
    )


def section(table: NoisyTable) -> Section:
    """The table as it is printed: median points lost, and who falls to a weaker grade."""
    figures: list[Shown] = []
    for one in tiers_of(table):
        where = (one.tier,)
        if one.quartiles is None or one.median is None:
            figures.append(missing("points_lost", where, one.persons, Why.FEW))
        else:
            figures.append(
                Shown(
                    name="points_lost",
                    labels=where,
                    value=one.quartiles[1],
                    low=one.median[0],
                    high=one.median[1],
                    band=n_band(one.persons),
                )
            )
        figures.append(shown(("grade_lost", where), one.losing_a_grade, one.persons))
    return Section(name="premium", table=table, axes=("tier",), figures=tuple(figures))


def _tier(tier: str, counts: Float, deviation: float) -> TierPremium:
    persons = float(counts.sum())
    if persons < MIN_CELL:
        return TierPremium(
            tier=tier, persons=persons, quartiles=None, median=None, losing_a_grade=None
        )
    share = rate_interval(
        float(counts[:, 0].sum()),
        persons,
        deviation * len(LOST) ** 0.5,
        spread=len(MOVES) ** 0.5,
    )
    bands = counts.sum(axis=1)
    low, middle, high = (_quantile(bands, at) for at in (0.25, 0.5, 0.75))
    # Of the persons below the median, half of the cells and all of the persons have noise.
    noise = deviation * (len(LOST) * len(MOVES)) ** 0.5 / persons
    half = NORMAL_95 * (0.25 / persons + 0.5 * noise**2) ** 0.5
    band = _quantile(bands, max(0.5 - half, 0.0)), _quantile(bands, min(0.5 + half, 1.0))
    return TierPremium(
        tier=tier,
        persons=persons,
        quartiles=(low, middle, high),
        median=band,
        losing_a_grade=share,
    )


def _quantile(bands: Float, at: float) -> float:
    """Linear within a band; negative noisy counts count as none."""
    heights = np.maximum(bands, 0.0)
    ends = np.concatenate([[0.0], np.cumsum(heights)])
    target = at * ends[-1]
    place = int(np.clip(np.searchsorted(ends, target, side="right") - 1, 0, len(heights) - 1))
    edges = (ENDS[0], *(float(edge) for edge in LOST_EDGES), ENDS[1])
    inside = (target - ends[place]) / heights[place] if heights[place] else 0.5
    return edges[place] + inside * (edges[place + 1] - edges[place])
