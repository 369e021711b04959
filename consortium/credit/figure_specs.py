"""Figures that an operator asks for by name: the public cells of each kind, filled in.

A convenience over ``figure_forms``: what is made here passes its checks, and a node checks a
plan that was written by hand in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consortium.credit.figure_forms import (
    ALL_VIEWS,
    ARMS,
    CAUSES,
    DECISIONS,
    FORMS,
    LOST,
    MARKS,
    MOVES,
    NONE,
    OUTCOMES,
    PD_BANDS,
    PERSONS,
    PPM,
    SEGMENTS,
    STATES,
    TIERS,
    VERSION_DIGITS,
    VIEWS,
    check_cells,
    periods,
)
from consortium.credit.terms import GRADES
from consortium.errors import ConfigurationError
from consortium.figure import Axis, FigureKind, FigureSpec, Filter, Measure


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
    """Of a premium, its fit or a dependence: version of the head in force, its first 40 digits
    at least."""
    attested: bool = False
    """Of a premium's fit: whether persons are seen with their signed history as well."""
    cuts: tuple[str, ...] = ()
    """Of a dependence: PDs between the five grades, decimals that rise."""
    persons: str = PERSONS[0]
    """Of a dependence: whose outcomes count."""
    model: str = ""
    """Of a contribution: version of the model of all, likewise."""
    without: tuple[str, ...] = ()
    """Of a contribution: versions trained without one partner each, likewise."""
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
        if name in form.signed:
            measures.append(Measure(name=name, bound=PPM, signed=True))
        elif name in ("pd", "expected", "squared"):
            measures.append(Measure(name=name, bound=PPM))
        elif wanted.bound:
            measures.append(Measure(name=name, bound=wanted.bound))
    needed = form.filters or {}
    told = {
        "late": wanted.late,
        "closing": wanted.closing,
        "head": wanted.head[:VERSION_DIGITS],
        "cuts": ":".join(wanted.cuts),
        "persons": wanted.persons,
        "model": wanted.model[:VERSION_DIGITS],
    }
    _check_told(kind, {name: told.get(name, "") for name in needed})
    filters = [Filter(name=name, value=told.get(name, "")) for name in sorted(needed)]
    axes = tuple(Axis(name=name, cells=_cells(name, first, last, wanted)) for name in names)
    spec = FigureSpec(
        kind=kind,
        first=first,
        last=last,
        axes=axes,
        measures=tuple(measures),
        filters=tuple(filters),
        cells_per_person=len(axes[0].cells) if form.every else wanted.cells_per_person,
        synthetic=wanted.synthetic,
    )
    check_cells(spec)
    return spec


def _check_told(kind: FigureKind, told: Mapping[str, str]) -> None:
    """What must be named, so that whoever asks learns it before any node does."""
    if "closing" in told and not told["closing"]:
        raise ConfigurationError(f"figure: {kind} is of a partner that closes")
    if "cuts" in told and not told["cuts"]:
        raise ConfigurationError(f"figure: {kind} is by grades of cuts that it names")
    for name in ("head", "model"):
        if name in told and len(told[name]) < VERSION_DIGITS:
            raise ConfigurationError(
                f"figure: {kind} is of a {name}, by {VERSION_DIGITS} digits of its version"
            )


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
        "without": tuple(one[:VERSION_DIGITS] for one in wanted.without),
        "view": ALL_VIEWS if wanted.attested else VIEWS,
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
    "mark": MARKS,
    "pd_band": PD_BANDS,
}
