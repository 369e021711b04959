"""What a joint score is worth with and without each partner's part (credit 4.18, row 18).

A partner that closes, or leaves, takes its part out of the sum that makes the joint score. It
knows its own part, so it counts its own customers by grade and outcome twice: as they are
scored, and as they would be scored by what the others say. One table holds the counts of all
partners, each in cells of its own. The AUC over grades with and without follows from it, and
what is lost between the two. No model is trained again.

Who counts is who is measured. So the figure says how much hangs on a partner; what it is worth
to the others is counted by the others (``consortium.credit.contribution``).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.figure_forms import PERSONS, VIEWS, cuts_of
from consortium.credit.figures import Entry, NoisyTable
from consortium.credit.intervals import NORMAL_95, Figure
from consortium.credit.shown import Section, Shown, shown
from consortium.errors import DomainError
from consortium.figure import FigureKind, FigureSpec
from consortium.scoring.premium import Impact

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

_LEAST_DEVIATIONS = 3.0
"""Goods and bads must stand out of the noise of their sums by so much, or no AUC is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerDependence:
    """One partner's figures. Public: from a noisy table."""

    partner: str
    persons: float
    """Noisy; below 50 nothing else is printed."""
    auc: tuple[Figure | None, Figure | None]
    """Over grades, with the partner's part and without; None: lost in the noise."""
    gain: Figure | None
    """AUC with less AUC without. The persons are the same in both, which makes the difference
    surer than the interval says: it adds the two variances."""


def dependence_entries(spec: FigureSpec, impact: Impact, partner: str) -> list[Entry]:
    """Two entries for each person with an outcome, for ``figures.contribution``. Private.

    Args:
        spec: Of the kind ``dependence``.
        impact: What the loss of this partner's part costs its own customers.
        partner: Whose they are; it has a cell on the axis of partners, or nothing is counted.

    Raises:
        ConfigurationError: cuts that are none.
    """
    partners = spec.axes[spec.axis("partner")].cells
    if partner not in partners:
        return []
    counted = impact.labels <= 1
    if spec.filter("persons") == PERSONS[0]:
        counted &= impact.holdout
    rows = np.flatnonzero(counted)
    own, edges = partners.index(partner), np.array(cuts_of(spec), dtype=np.int64)
    marks = impact.labels[rows].tolist()
    views = (impact.premium.before, impact.premium.after)
    grades = [np.searchsorted(edges, eta[rows], side="right").tolist() for eta in views]
    return [
        Entry(person=str(row), cell=(view, own, grade, mark))
        for view, found in enumerate(grades)
        for row, grade, mark in zip(rows.tolist(), found, marks, strict=True)
    ]


def dependences_of(table: NoisyTable) -> tuple[PartnerDependence, ...]:
    """What a released table says of each partner; DomainError for one of another kind."""
    if table.spec.kind is not FigureKind.DEPENDENCE:
        raise DomainError(f"a table of {table.spec.kind} says nothing of dependence")
    counts, deviation = table.measure("persons"), table.deviation("persons")
    return tuple(
        _partner(name, counts[:, place], deviation)
        for place, name in enumerate(table.spec.axes[1].cells)
    )


def _partner(name: str, counts: Float, deviation: float) -> PartnerDependence:
    """``counts``: by view, grade and mark."""
    views = [auc_over_grades(counts[view], deviation) for view in range(len(VIEWS))]
    before, after = views
    gain = None
    if before is not None and after is not None:
        half = math.hypot(before.half, after.half)
        gain = Figure(before.value - after.value, half)
    return PartnerDependence(
        partner=name,
        persons=float(counts.sum()) / len(VIEWS),
        auc=(before, after),
        gain=gain,
    )


def auc_over_grades(counts: Float, deviation: float) -> Figure | None:
    """Chance that a bad has a weaker grade than a good, ties by half, with its 95 % interval.

    By the delta method: each count has the variance of a Poisson variable of its own size and
    that of the noise.

    Args:
        counts: Noisy (good, bad) by grade, or band of PD, the strongest first, shape
            (grades, 2).
        deviation: Of the noise of one count.

    Returns:
        None where goods or bads do not stand out of the noise.
    """
    columns: list[list[float]] = counts.T.tolist()
    goods, bads = columns
    good, bad = math.fsum(goods), math.fsum(bads)
    least = _LEAST_DEVIATIONS * deviation * math.sqrt(len(goods))
    if min(good, bad) <= max(least, 0.0):
        return None
    stronger = list(_below(goods, good))
    weaker = [1.0 - share for share in _below(bads, bad)]
    value = math.fsum(b * share for b, share in zip(bads, stronger, strict=True)) / bad
    terms = [((share - value) / bad, b) for share, b in zip(stronger, bads, strict=True)]
    terms += [((share - value) / good, g) for share, g in zip(weaker, goods, strict=True)]
    variance = math.fsum(slope**2 * (max(count, 0.0) + deviation**2) for slope, count in terms)
    return Figure(value, NORMAL_95 * math.sqrt(variance))


def _below(counts: Sequence[float], total: float) -> Iterator[float]:
    """Of each grade, the share in stronger grades and half of that in its own."""
    passed = 0.0
    for count in counts:
        yield (passed + count / 2) / total
        passed += count


def section(table: NoisyTable) -> Section:
    """The table as it is printed: AUC with, AUC without, and what is lost."""
    figures: list[Shown] = []
    for one in dependences_of(table):
        where = (one.partner,)
        before, after = one.auc
        figures += [
            shown(("auc_with", where), before, one.persons),
            shown(("auc_without", where), after, one.persons),
            shown(("auc_gain", where), one.gain, one.persons),
        ]
    return Section(name="dependence", table=table, axes=("partner",), figures=tuple(figures))
