"""How well a joint score fits the same persons with a part of it and without (credit 4.16).

Each customer of the partner that closes is counted once in every view: as the joint score sees
it today, without the part of that partner, and, where the model has the family, with the signed
history that the person carries. From bands of PD and outcomes come the AUC of each view, the
expected over the observed bads, the mean PD and what it costs, each with an interval.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit.dependence import auc_over_grades
from consortium.credit.elasticity import Outcome
from consortium.credit.figure_forms import ALL_VIEWS, OUTCOMES, PD_EDGES, PPM
from consortium.credit.figures import MIN_CELL, Entry, NoisyTable
from consortium.credit.intervals import NORMAL_95, Figure, ratio
from consortium.credit.shown import Section, Shown, shown
from consortium.errors import DomainError
from consortium.figure import FigureKind, FigureSpec
from consortium.scoring.premium import NO_LABEL, Impact, pd_of
from consortium.scoring.scorecard import cut_units

ASSUMED_LGD = 0.6
"""Loss given default at which a PD is told as a price: unsecured, as in stress.toml."""

Float = NDArray[np.float64]

_GOOD, _BAD, _NONE = (OUTCOMES.index(one) for one in (Outcome.GOOD, Outcome.BAD, Outcome.NONE))
_PLACE_OF = {0: _GOOD, 1: _BAD, NO_LABEL: _NONE}


def fit_entries(spec: FigureSpec, impact: Impact) -> Iterator[Entry]:
    """One entry a person and view, for ``figures.contribution``. Private.

    Raises:
        DomainError: attestations are asked for and the head has no family of them.
    """
    views = spec.axes[0].cells
    seen = dict(
        zip(
            ALL_VIEWS,
            (impact.premium.before, impact.premium.after, impact.attested),
            strict=True,
        )
    )
    edges = [cut_units(edge) for edge in PD_EDGES]
    places = [_PLACE_OF[label] for label in impact.labels.tolist()]
    for view, name in enumerate(views):
        units = seen[name]
        if units is None:
            raise DomainError("the head has no family of attestations")
        expected = np.rint(PPM * pd_of(units)).astype(np.int64).tolist()
        for person, (eta, ppm) in enumerate(zip(units.tolist(), expected, strict=True)):
            yield Entry(
                person=str(person),
                cell=(view, bisect_right(edges, eta), places[person]),
                values=(1, ppm),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """One view's counts and sums, with the deviations of one cell."""

    good: Float
    bad: Float
    expected: float
    """Sum of the PDs of those whose outcome is known."""
    everybody: float
    """Persons, those of unknown outcome too."""
    everybody_expected: float
    deviation: float
    expected_deviation: float

    @property
    def known(self) -> float:
        """Persons whose outcome is known."""
        return float(self.good.sum() + self.bad.sum())

    @property
    def auc(self) -> Figure | None:
        """Over bands of PD instead of grades."""
        return auc_over_grades(np.stack((self.good, self.bad), axis=1), self.deviation)


def in_the_large(view: _View) -> Figure | None:
    """Expected over observed bads; None unless the bads stand out of their noise.

    The interval is Fieller's, told by its wider side.
    """
    bads, cells = float(view.bad.sum()), len(view.bad)
    if bads <= 3.0 * view.deviation * cells**0.5:
        return None
    of_bads = bads + cells * view.deviation**2
    spread = (2 * cells * view.expected_deviation**2, of_bads, 0.0)
    found = ratio(view.expected, bads, spread, width=NORMAL_95)
    half = max(found.high - found.value, found.value - found.low)
    return Figure(found.value, half) if half < math.inf else None


def mean_pd(view: _View) -> Figure | None:
    """Mean PD of everybody in the table, None unless its sum stands out of the noise.

    The interval is the noise's: these are the persons that there are.
    """
    cells = len(OUTCOMES) * len(view.bad)
    least = 3.0 * view.expected_deviation * cells**0.5
    if view.everybody < MIN_CELL or view.everybody_expected <= least:
        return None
    value = view.everybody_expected / view.everybody
    noise = cells * (view.expected_deviation**2 + (value * view.deviation) ** 2)
    return Figure(value, NORMAL_95 * noise**0.5 / view.everybody)


def views_of(table: NoisyTable) -> dict[str, _View]:
    """What a released table says of each view; DomainError for a table of another kind."""
    if table.spec.kind is not FigureKind.PREMIUM_FIT:
        raise DomainError(f"a table of {table.spec.kind} says nothing of a premium's fit")
    persons, expected = table.measure("persons"), table.measure("expected") / PPM
    return {
        name: _View(
            good=persons[place, :, _GOOD],
            bad=persons[place, :, _BAD],
            expected=float(expected[place][:, [_GOOD, _BAD]].sum()),
            everybody=float(persons[place].sum()),
            everybody_expected=float(expected[place].sum()),
            deviation=table.deviation("persons"),
            expected_deviation=table.deviation("expected") / PPM,
        )
        for place, name in enumerate(table.spec.axes[0].cells)
    }


def section(table: NoisyTable) -> Section:
    """The table as it is printed: each view, and what the loss takes and the history gives."""
    views = views_of(table)
    figures: list[Shown] = []
    for name, view in views.items():
        figures.append(shown(("auc", (name,)), view.auc, view.known))
        figures.append(shown(("expected_observed", (name,)), in_the_large(view), view.known))
        figures.append(shown(("mean_pd", (name,)), mean_pd(view), view.everybody))
    pairs = [("without", "with"), ("attested", "without")]
    for after, before in pairs:
        if after in views:
            figures += _changes(after, views[after], views[before])
    return Section(name="premium_fit", table=table, axes=("view",), figures=tuple(figures))


def _changes(label: str, after: _View, before: _View) -> Sequence[Shown]:
    """Of AUC, PD and price from one view to the next.

    Both views hold the same persons, so what chance made of their outcomes is largely the same
    in both; it is counted twice here, and the interval of an AUC's change is on the wide side.
    """
    aucs = _difference(after.auc, before.auc)
    pds = _difference(mean_pd(after), mean_pd(before))
    price = None if pds is None else Figure(ASSUMED_LGD * pds.value, ASSUMED_LGD * pds.half)
    known, all_ = min(after.known, before.known), min(after.everybody, before.everybody)
    return (
        shown(("auc_change", (label,)), aucs, known),
        shown(("pd_change", (label,)), pds, all_),
        shown(("price_change", (label,)), price, all_),
    )


def _difference(one: Figure | None, other: Figure | None) -> Figure | None:
    if one is None or other is None:
        return None
    return Figure(one.value - other.value, (one.half**2 + other.half**2) ** 0.5)
