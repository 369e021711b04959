"""Figures that an operator asks for by name: the public cells of each kind, filled in.

A convenience over ``figure_forms``: what is made here passes its checks, and a node checks a
plan that was written by hand in the same way.
"""

from dataclasses import dataclass

from consortium.credit.figure_forms import (
    ARMS,
    CAUSES,
    DECISIONS,
    FORMS,
    LOST,
    MOVES,
    NONE,
    OUTCOMES,
    PPM,
    SEGMENTS,
    STATES,
    TIERS,
    check_cells,
    periods,
)
from consortium.credit.terms import GRADES
from consortium.errors import ConfigurationError
from consortium.figure import Axis, FigureKind, FigureSpec, Filter, Measure

HEAD_DIGITS = 40
"""Digits of a head's version by which a premium names it: as long as a label may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an operator decides of a figure beside its kind and period."""

    by: tuple[str, ...] = ()
    """Axes; empty: the first that the kind may have."""
    products: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()
    """Of tiers: a partner fills its own cells only."""
    groups: tuple[str, ...] = ()
    segments: tuple[str, ...] = SEGMENTS
    ages: int = 12
    """Oldest age of a vintage, in months."""
    late: str = "30"
    closing: str = ""
    """Of a premium: the partner whose part is lost."""
    head: str = ""
    """Of a premium: version of the head in force, at least its first 40 digits."""
    bound: int = 0
    """Of an amount, minor units; 0: no amount is added up."""
    cells_per_person: int = 1
    synthetic: bool = False


def figure(kind: FigureKind, first: str, last: str, wanted: Wanted) -> FigureSpec:
    """The figure of a kind over a period.

    Raises:
        ConfigurationError: the kind has no such axes, an axis has no cells, or a number is out
            of range.
    """
    form = FORMS.get(kind)
    if form is None:
        raise ConfigurationError(f"figure: no node counts {kind}")
    if form.worlds:
        raise ConfigurationError(f"figure: {kind} is of a file: `riskweave stress plan`")
    names = wanted.by or next(
        (axes for axes in form.axes if ("week" in axes) == ("W" in first)), form.axes[0]
    )
    if names not in form.axes:
        raise ConfigurationError(f"figure: {kind} has no axes {', '.join(names)}")
    measures = [Measure(name=name) for name in form.counts]
    for name in form.amounts:
        if name in ("pd", "expected"):
            measures.append(Measure(name=name, bound=PPM))
        elif wanted.bound:
            measures.append(Measure(name=name, bound=wanted.bound))
    needed = form.filters or {}
    if "head" in needed and (not wanted.closing or len(wanted.head) < HEAD_DIGITS):
        raise ConfigurationError(
            f"figure: {kind} is of a partner that closes and of a head, by {HEAD_DIGITS} digits"
        )
    told = {
        "late": wanted.late,
        "closing": wanted.closing,
        "head": wanted.head[:HEAD_DIGITS],
    }
    filters = [Filter(name=name, value=told.get(name, "")) for name in sorted(needed)]
    spec = FigureSpec(
        kind=kind,
        first=first,
        last=last,
        axes=tuple(Axis(name=name, cells=_cells(name, first, last, wanted)) for name in names),
        measures=tuple(measures),
        filters=tuple(filters),
        cells_per_person=wanted.cells_per_person,
        synthetic=wanted.synthetic,
    )
    check_cells(spec)
    return spec


def _cells(name: str, first: str, last: str, wanted: Wanted) -> tuple[str, ...]:
    if name in ("week", "month", "opened"):
        return periods(first, last)
    if name == "age":
        return (NONE, *(str(age) for age in range(wanted.ages + 1)))
    given = {
        "product": wanted.products,
        "partner": wanted.partners,
        "group": wanted.groups,
        "segment": wanted.segments,
    }
    return given[name] if name in given else _FIXED[name]


_FIXED = {
    "grade": tuple(grade.value for grade in GRADES),
    "before": STATES,
    "after": STATES,
    "cause": CAUSES,
    "tier": TIERS,
    "decision": DECISIONS,
    "outcome": OUTCOMES,
    "arm": ARMS,
    "lost": LOST,
    "move": MOVES,
}
