"""The public form of each kind of figure: which axes, cells, measures and filters it may have.

A node counts only into cells that it knows the meaning of, so that a table says the same of
every partner and no cell can be cut to one person. What is not of a form is refused before
anything is reserved (protocol 13.11).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from consortium.credit.closures import Cause
from consortium.credit.elasticity import Arm as StudyArm
from consortium.credit.elasticity import Outcome
from consortium.credit.outcomes import Bucket
from consortium.credit.scenario import BASE, MOST_SCENARIOS, scenario_of
from consortium.credit.shock import Tier
from consortium.credit.terms import GRADES, Segment, add_months
from consortium.credit.waves import Arm, Fate, wave_label
from consortium.errors import ConfigurationError, DomainError
from consortium.figure import Axis, FigureKind, FigureSpec, Measure
from consortium.scoring.scorecard import cut_units

NONE = "none"
"""Of a cause: no event. Of a late age: never. Of an outcome: not known."""

STATES = tuple(bucket.value for bucket in Bucket)
CAUSES = (NONE, *(cause.value for cause in Cause))
TIERS = tuple(tier.value for tier in Tier)
LOST_EDGES = (-40, -20, -10, -5, 0, 5, 10, 20, 40, 80)
"""Points lost between the bands of a premium; a band is open above."""
LOST = (*(f"to{edge}" for edge in LOST_EDGES), "more")
MOVES = ("weaker", "same", "better")
"""What became of the grade of a person whose history is lost."""
PD_EDGES = ("0.01", "0.02", "0.05", "0.1", "0.2", "0.3", "0.5")
"""PDs between the bands of a joint score; the last band is open above."""
PD_BANDS = (*(f"to{edge}" for edge in PD_EDGES), "more")
DECISIONS = ("APPROVE", "REFER", "DECLINE")
OUTCOMES = tuple(outcome.value for outcome in Outcome)
ARMS = tuple(arm.value for arm in StudyArm)
"""Of a closure study: no line elsewhere was closed and one is active; one was withdrawn."""
LATE = ("30", "90")
"""Days past due from which on a line of a vintage counts as late."""
SEGMENTS = tuple(segment.value for segment in Segment)
PPM = 1_000_000
VIEWS = ("with", "without")
"""Of a joint score: as it is, and with one partner's part taken out."""
ALL_VIEWS = (*VIEWS, "attested")
"""And with that part taken out, but the signed history that the person carries shown."""
MARKS = ("good", "bad")
PERSONS = ("holdout", "all")
"""Whose outcomes count: of persons that the model never saw, or of all."""
VERSION_DIGITS = 40
"""Digits of a version by which a figure names it: as long as a label may be."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_VERSION = re.compile(f"[0-9a-f]{{{VERSION_DIGITS}}}")
_MOST_AGE = 60

Vocabulary = Callable[[FigureSpec, Axis], bool]
"""Whether the cells of an axis are such as the kind may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a figure of one kind looks like."""

    axes: tuple[tuple[str, ...], ...]
    """Names of the axes in their order; each tuple is one that is allowed."""
    counts: tuple[str, ...]
    """Measures that count persons or lines, all of them, in this order."""
    amounts: tuple[str, ...] = ()
    """Measures of clipped amounts that may follow."""
    filters: Mapping[str, tuple[str, ...]] | None = None
    """Name of a filter to its values, none if empty: then it is whoever counts that checks."""
    weekly: bool = False
    """Whether its period may be of weeks."""
    per_period: bool = False
    """Whether a person may fill a cell for each week or month; else one in all."""
    one_period: bool = False
    """Whether it is of one month only: what it counts is of a day."""
    every: bool = False
    """Whether a person fills a cell in every cell of the first axis, with all its measures."""
    signed: tuple[str, ...] = ()
    """Amounts that may be below 0."""
    worlds: bool = False
    """Whether filters name the worlds of the first axis, each but the base."""


def periods(first: str, last: str) -> tuple[str, ...]:
    """All months, or ISO weeks, from the first to the last.

    Raises:
        ConfigurationError: a week that its year does not have, or more than 120 of them.
    """
    found = [first]
    while found[-1] != last:
        found.append(following(found[-1]))
        if len(found) > 120:  # noqa: PLR2004 - ten years of months
            raise ConfigurationError(f"figure: {first} to {last} is too long, or no period")
    return tuple(found)


def following(period: str) -> str:
    """The month, or ISO week, after this one."""
    if "W" in period:
        return week_of(first_day(period) + timedelta(days=7))
    return month_of(add_months(first_day(period), 1))


def first_day(period: str) -> date:
    """First day of a month or ISO week; ConfigurationError if there is no such week."""
    year, _, rest = period.partition("-")
    try:
        if rest.startswith("W"):
            return date.fromisocalendar(int(year), int(rest[1:]), 1)
        return date(int(year), int(rest), 1)
    except ValueError as error:
        raise ConfigurationError(f"figure: there is no {period}") from error


def day_after(period: str) -> date:
    """The first day that is not in a month or week any more."""
    return first_day(following(period))


def week_of(day: date) -> str:
    """ISO week of a day, such as 2026-W09."""
    year, week, _ = day.isocalendar()
    return f"{year:04d}-W{week:02d}"


def month_of(day: date) -> str:
    """Month of a day, such as 2026-03."""
    return f"{day.year:04d}-{day.month:02d}"


def _period(spec: FigureSpec, axis: Axis) -> bool:
    return axis.cells == periods(spec.first, spec.last)


def _exactly(*cells: str) -> Vocabulary:
    return lambda _, axis: axis.cells == cells


def _subset(*cells: str) -> Vocabulary:
    """Some of the cells, in their order."""
    return lambda _, axis: axis.cells == tuple(one for one in cells if one in axis.cells)


def _names(_: FigureSpec, axis: Axis) -> bool:
    return all(_NAME.fullmatch(cell) for cell in axis.cells)


def _ages(_: FigureSpec, axis: Axis) -> bool:
    """``none`` and the ages in months, 0 up to the last one asked for."""
    last = len(axis.cells) - 2
    ages = (NONE, *(str(age) for age in range(last + 1)))
    return 0 <= last <= _MOST_AGE and axis.cells == ages


def _views(spec: FigureSpec, axis: Axis) -> bool:
    """With and without; of a premium's fit, if it is asked for, with the attestation too."""
    fit = spec.kind is FigureKind.PREMIUM_FIT
    return axis.cells == VIEWS or (fit and axis.cells == ALL_VIEWS)


def _waves(_: FigureSpec, axis: Axis) -> bool:
    return axis.cells == tuple(map(wave_label, range(len(axis.cells))))


def _worlds(spec: FigureSpec, axis: Axis) -> bool:
    """The base, and scenarios whose drivers stand under their names in the filters."""
    base, names = axis.cells[0], axis.cells[1:]
    told = {one.name: one.value for one in spec.filters}
    if base != BASE or not 1 <= len(names) <= MOST_SCENARIOS or set(told) != set(names):
        return False
    try:
        return not any(scenario_of(name, told[name]).empty for name in names)
    except DomainError:
        return False


def _versions(_: FigureSpec, axis: Axis) -> bool:
    return all(_VERSION.fullmatch(cell) for cell in axis.cells)


VOCABULARIES: Mapping[str, Vocabulary] = {
    "week": _period,
    "month": _period,
    "opened": _period,
    "product": _names,
    "partner": _names,
    "group": _names,
    "segment": _subset(*SEGMENTS),
    "grade": _exactly(*GRADES),
    "age": _ages,
    "before": _exactly(*STATES),
    "after": _exactly(*STATES),
    "cause": _exactly(*CAUSES),
    "tier": _exactly(*TIERS),
    "lost": _exactly(*LOST),
    "move": _exactly(*MOVES),
    "view": _views,
    "pd_band": _exactly(*PD_BANDS),
    "decision": _exactly(*DECISIONS),
    "outcome": _exactly(*OUTCOMES),
    "arm": _exactly(*ARMS),
    "wave": _waves,
    "wave_arm": _exactly(*Arm),
    "fate": _exactly(*Fate),
    "world": _worlds,
    "mark": _exactly(*MARKS),
    "without": _versions,
}
"""Name of an axis to the cells that it may have, the same in every kind."""

FORMS: Mapping[FigureKind, Form] = {
    FigureKind.DEMAND: Form(
        axes=(("week",), ("week", "product"), ("month",), ("month", "product")),
        counts=("applied",),
        amounts=("amount",),
        weekly=True,
        per_period=True,
    ),
    FigureKind.APPROVALS: Form(
        axes=(("week", "grade"), ("month", "grade"), ("month", "product")),
        counts=("applied", "approved"),
        weekly=True,
        per_period=True,
    ),
    FigureKind.VINTAGES: Form(
        axes=(("opened", "age"), ("segment", "opened", "age")),
        counts=("lines",),
        filters={"late": LATE},
    ),
    FigureKind.ROLL_RATES: Form(
        axes=(("before", "after"), ("segment", "before", "after")), counts=("lines",)
    ),
    FigureKind.CLOSURES: Form(axes=(("cause",), ("segment", "cause")), counts=("lines",)),
    FigureKind.TIERS: Form(
        axes=(("partner", "tier"),), counts=("persons",), amounts=("exposure", "pd")
    ),
    FigureKind.CONCENTRATION: Form(
        axes=(("segment",),), counts=("persons",), amounts=("balance",)
    ),
    FigureKind.PREMIUM: Form(
        axes=(("tier", "lost", "move"),),
        counts=("persons",),
        filters={"closing": (), "head": ()},
        one_period=True,
    ),
    FigureKind.DEPENDENCE: Form(
        axes=(("view", "partner", "grade", "mark"),),
        counts=("persons",),
        filters={"cuts": (), "head": (), "persons": PERSONS},
        one_period=True,
        every=True,
    ),
    FigureKind.CONTRIBUTION: Form(
        axes=(("without",),),
        counts=("persons",),
        amounts=("gain", "squared"),
        filters={"model": ()},
        one_period=True,
        every=True,
        signed=("gain",),
    ),
    FigureKind.PREMIUM_FIT: Form(
        axes=(("view", "pd_band", "outcome"),),
        counts=("persons",),
        amounts=("expected",),
        filters={"closing": (), "head": ()},
        one_period=True,
        every=True,
    ),
    FigureKind.ELASTICITY: Form(axes=(("grade", "arm", "outcome"),), counts=("persons",)),
    FigureKind.FAIRNESS: Form(
        axes=(("group", "decision", "outcome"),), counts=("persons",), amounts=("expected",)
    ),
    FigureKind.CAMPAIGN: Form(
        axes=(("wave", "wave_arm", "fate"),),
        counts=("persons",),
        filters={"campaign": (), "look": (), "plan": (), "turn": ()},
    ),
    FigureKind.SCENARIO: Form(
        axes=(("world", "grade"),),
        counts=("persons", "approvals"),
        amounts=("pd", "loss"),
        one_period=True,
        every=True,
        worlds=True,
    ),
}
"""Kinds of which nodes count something by themselves; no other can be asked for."""


def check_cells(spec: FigureSpec) -> None:
    """Raise ConfigurationError unless the figure has the public form of its kind."""
    form = FORMS.get(spec.kind)
    if form is None:
        raise ConfigurationError(f"figure: no node counts {spec.kind}")
    names = tuple(axis.name for axis in spec.axes)
    if names not in form.axes:
        raise ConfigurationError(f"figure: {spec.kind} has no axes {', '.join(names)}")
    _check_period(form, spec, names)
    for axis in spec.axes:
        if not VOCABULARIES[axis.name](spec, axis):
            raise ConfigurationError(f"figure: cells of {axis.name} are not the public ones")
    _check_measures(form, spec.measures)
    if not form.worlds:  # those were checked with their axis
        _check_filters(form, spec)
    if form.every:
        _check_every(form, spec)
        return
    most = len(periods(spec.first, spec.last)) if form.per_period else 1
    if spec.cells_per_person > most:
        raise ConfigurationError(f"figure: {spec.kind} has {most} cells a person at most")


def cuts_of(spec: FigureSpec) -> tuple[int, ...]:
    """Log-odds between the five grades that a figure names, units; ConfigurationError."""
    try:
        units = tuple(cut_units(cut) for cut in spec.filter("cuts").split(":"))
    except DomainError as error:
        raise ConfigurationError(f"figure: cuts: {error}") from error
    if len(units) != len(GRADES) - 1 or list(units) != sorted(set(units)):
        raise ConfigurationError(f"figure: {len(units)} cuts between grades, or they fall")
    return units


def _check_period(form: Form, spec: FigureSpec, names: tuple[str, ...]) -> None:
    if ("W" in spec.first) and not form.weekly:
        raise ConfigurationError(f"figure: {spec.kind} is of months")
    if form.one_period and spec.first != spec.last:
        raise ConfigurationError(f"figure: {spec.kind} is of one month")
    if ("W" in spec.first) != ("week" in names) and names[0] in ("week", "month"):
        raise ConfigurationError("figure: the axis and the period are of weeks, or neither")


def _check_measures(form: Form, measures: tuple[Measure, ...]) -> None:
    names = tuple(one.name for one in measures)
    counts = names[: len(form.counts)]
    rest = names[len(form.counts) :]
    if counts != form.counts or rest != tuple(one for one in form.amounts if one in rest):
        raise ConfigurationError(
            f"figure: measures {', '.join(names)} are not those of its kind"
        )
    if any(one.bound != 1 for one in measures[: len(form.counts)]):
        raise ConfigurationError("figure: a count has the bound 1")
    if form.signed and any(one.bound != PPM for one in measures[len(form.counts) :]):
        raise ConfigurationError("figure: an amount of its kind is clipped at one")
    if any(one.signed != (one.name in form.signed) for one in measures):
        raise ConfigurationError("figure: a measure is signed, or is not, against its kind")


def _check_every(form: Form, spec: FigureSpec) -> None:
    """Noise is made for a cell of a person in every cell of the first axis."""
    axis = spec.axes[0]
    if spec.cells_per_person != len(axis.cells):
        raise ConfigurationError(
            f"figure: {spec.kind} has a cell a person in every {axis.name}"
        )
    if len(spec.measures) != len(form.counts) + len(form.amounts):
        raise ConfigurationError(f"figure: {spec.kind} has all its measures")


def _check_filters(form: Form, spec: FigureSpec) -> None:
    allowed = form.filters or {}
    for one in spec.filters:
        values = allowed.get(one.name)
        if values is None or (values and one.value not in values):
            raise ConfigurationError(f"figure: no filter {one.name} = {one.value}")
    for name in allowed:
        if not spec.filter(name):
            raise ConfigurationError(f"figure: {spec.kind} needs the filter {name}")
    if "cuts" in allowed:
        cuts_of(spec)
