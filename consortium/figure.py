"""What a table release counts: its axes, measures and bounds, all of them public.

A training plan of the kind ``table`` names one ``FigureSpec``; the noise of its one sum rests
on ``cells_per_person`` and on the number of measures, and on nothing that data could change
(protocol 13.11). What is counted by whom is ``consortium.credit.figures``.
"""

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from consortium.errors import ConfigurationError

SCALE_BITS = 20
"""One count, or one amount at its bound, is 2**20 in a table's sum: amounts are rounded to a
millionth of their bound, far below any noise."""

_MOST_CELLS = 20_000
_MOST_AXES = 6
_MOST_MEASURES = 16
_MOST_PER_PERSON = 64
_LARGEST_BOUND = 10**12
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+:<>=/-]{0,39}")
_PERIOD = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2]|W(0[1-9]|[1-4][0-9]|5[0-3]))")


class FigureKind(StrEnum):
    """What is counted (credit rows 5, 9, 10, 15, 18, 19, 31)."""

    DEMAND = "demand"
    """Applications and their clipped amounts by week and product (credit 4.19)."""
    APPROVALS = "approvals"
    """Applied and approved by week or month and grade or segment (credit 4.7, 4.19)."""
    VINTAGES = "vintages"
    """Lines by opening month, and how many were ever late by age (credit 4.7)."""
    ROLL_RATES = "roll_rates"
    """Lines by bucket at one month end and at the next (credit 4.7)."""
    CLOSURES = "closures"
    """Open lines and closures by cause and segment (credit 2.2, 4.7)."""
    TIERS = "tiers"
    """Persons, exposure and expected bads by shock tier (credit 4.15)."""
    ELASTICITY = "elasticity"
    """Grade by arm by outcome of a closure study (credit 4.15)."""
    PREMIUM = "premium"
    """What the loss of a history costs, by tier (credit 4.16)."""
    PREMIUM_FIT = "premium_fit"
    """The joint score of the same persons with the part and without, against what became of
    them: AUC, calibration, mean PD (credit 4.16)."""
    DEPENDENCE = "dependence"
    """Grade by outcome with and without each partner's part of a joint score (credit 4.18)."""
    CONTRIBUTION = "contribution"
    """Losses of held-out persons by a model less those by one trained without a partner."""
    CAMPAIGN = "campaign"
    """Wave by arm by outcome of a restart (credit 3.2)."""
    FAIRNESS = "fairness"
    """Group by decision by outcome (credit 4.13)."""
    SCENARIO = "scenario"
    """Base and shocked worlds by grade: approvals, PD and expected loss (credit 4.8)."""
    OVERLAP = "overlap"
    """Persons by how many partners they have a line at, and balances (credit 4.11)."""
    COMMON = "common"
    """Persons that two partners have in common; counted by lists and in no table (6.10)."""
    CONCENTRATION = "concentration"
    """Lines and clipped balances by segment (credit 4.11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One side of a table: a name and the labels of its cells, in their order."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is added up in every cell: a count, or an amount clipped at a public bound."""

    name: str
    bound: int = 1
    """Most that one entry adds: 1 of a count; of an amount, minor units or millionths."""
    signed: bool = False
    """Whether an entry may be below 0; it is clipped to ±bound then, else to 0..bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a table is restricted to, such as a segment or a closing partner."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureSpec:
    """One table before anything is counted. Part of a plan, so its digest covers all of it.

    The sum is laid out by axes in their order, measures last. One person fills at most
    ``cells_per_person`` cells at one partner, each measure of a cell by at most its bound, so
    the sum moves by at most ``sensitivity`` in L2 norm, whoever's rows they are.

    Raises:
        ConfigurationError: a name, label, period or number is not of its form.
    """

    kind: FigureKind
    first: str
    """First month ("2026-03") or ISO week ("2026-W09") of the period."""
    last: str
    axes: tuple[Axis, ...]
    measures: tuple[Measure, ...] = (Measure(name="persons"),)
    filters: tuple[Filter, ...] = ()
    """Sorted by name, no name twice."""
    cells_per_person: int = 1
    synthetic: bool = False
    """Whether the rows are made up; then every report says so."""

    def __post_init__(self) -> None:
        _check_period(self.first, self.last)
        _check_names("axis", [axis.name for axis in self.axes], _MOST_AXES)
        _check_names("measure", [one.name for one in self.measures], _MOST_MEASURES)
        _check_filters(self.filters)
        _check_labels(self.axes)
        if self.cells > _MOST_CELLS:
            raise ConfigurationError(f"figure: {self.cells} cells, at most {_MOST_CELLS}")
        if not 1 <= self.cells_per_person <= min(_MOST_PER_PERSON, self.cells):
            raise ConfigurationError(f"figure: {self.cells_per_person} cells a person")
        if not all(1 <= one.bound <= _LARGEST_BOUND for one in self.measures):
            raise ConfigurationError("figure: the bound of a measure is out of range")

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(axis.cells) for axis in self.axes)

    @property
    def cells(self) -> int:
        """Cells of the table."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Words of the sum: cells times measures."""
        return self.cells * len(self.measures)

    @property
    def squared(self) -> int:
        """Most that one person at one partner moves the sum, in scaled integers, squared."""
        return (1 << 2 * SCALE_BITS) * self.cells_per_person * len(self.measures)

    @property
    def sensitivity(self) -> int:
        """Q: the root of ``squared``, rounded up."""
        root = math.isqrt(self.squared)
        return root + (root * root < self.squared)

    def measure(self, name: str) -> int:
        """Place of a measure; ConfigurationError if there is none of that name."""
        for place, one in enumerate(self.measures):
            if one.name == name:
                return place
        raise ConfigurationError(f"figure: no measure {name!r} in {self.kind}")

    def axis(self, name: str) -> int:
        """Place of an axis; ConfigurationError if there is none of that name."""
        for place, one in enumerate(self.axes):
            if one.name == name:
                return place
        raise ConfigurationError(f"figure: no axis {name!r} in {self.kind}")

    def filter(self, name: str) -> str:
        """Value of a filter; empty if the table is not restricted by it."""
        return next((one.value for one in self.filters if one.name == name), "")


def _check_filters(filters: tuple[Filter, ...]) -> None:
    if filters:
        _check_names("filter", [one.name for one in filters], _MOST_AXES)
    if list(filters) != sorted(filters, key=lambda one: one.name):
        raise ConfigurationError("figure: filters are not sorted by name")
    for one in filters:
        _check_label(one.value)


def _check_labels(axes: tuple[Axis, ...]) -> None:
    for axis in axes:
        if not axis.cells or len(set(axis.cells)) != len(axis.cells):
            raise ConfigurationError(f"figure: axis {axis.name} is empty or repeats a cell")
        for label in axis.cells:
            _check_label(label)


def _check_label(label: str) -> None:
    if not _LABEL.fullmatch(label):
        raise ConfigurationError(f"figure: {label[:40]!r} is not a label")


def _check_period(first: str, last: str) -> None:
    if not (_PERIOD.fullmatch(first) and _PERIOD.fullmatch(last)):
        raise ConfigurationError("figure: a period is of months 2026-03 or weeks 2026-W09")
    if ("W" in first) != ("W" in last) or first > last:
        raise ConfigurationError(f"figure: {first} to {last} is no period")


def _check_names(what: str, names: list[str], most: int) -> None:
    if not 1 <= len(names) <= most or len(set(names)) != len(names):
        raise ConfigurationError(f"figure: {len(names)} of {what}, or one stands twice")
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"figure: {name[:32]!r} is no name of a {what}")
