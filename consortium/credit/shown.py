"""What is printed of a table: a value, its 95 % band, an n band, and why something is missing.

A figure that rests on fewer than fifty persons by the noisy count is suppressed: it has no
value, and no band. What is clamped or made monotone after the noise keeps the band that it had
before, so that the band holds for the true value whatever the reader is shown (credit 4.5).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from consortium.credit.figures import MIN_CELL, NoisyTable, n_band
from consortium.credit.intervals import NORMAL_95, Figure


class Why(StrEnum):
    """Why a figure is missing, or what to know of it."""

    FEW = "few"
    """Fewer than fifty persons by the noisy count: suppressed."""
    BASE = "base"
    """The base of an index is not twelve weeks yet."""
    PARENT = "parent"
    """Too few persons; the row of all segments together stands in its place."""
    MIX = "mix"
    """A grade with too few applications was left out, and the mix renormalised."""
    UNDEFINED = "undefined"
    """Not defined on this table."""
    REFERENCE = "reference"
    """The group that the others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One printed figure."""

    name: str
    """What it is: a key of the report's words."""
    labels: tuple[str, ...]
    """Where: cells of the table, in the order of its axes."""
    value: float | None
    low: float | None = None
    high: float | None = None
    band: str
    """n band of the persons that it rests on."""
    why: Why | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """All figures of one table, with what the table cost."""

    name: str
    table: NoisyTable
    axes: tuple[str, ...]
    """Names of what the labels are of."""
    figures: tuple[Shown, ...]


Where = tuple[str, Sequence[str]]
"""Name and labels of a figure."""


def shown(where: Where, found: Figure | None, persons: float, why: Why | None = None) -> Shown:
    """A figure with a symmetric band; suppressed where it rests on too few."""
    name, labels = where
    if persons < MIN_CELL:
        return missing(name, labels, persons, Why.FEW)
    if found is None:
        return missing(name, labels, persons, why or Why.UNDEFINED)
    return Shown(
        name=name,
        labels=tuple(labels),
        value=found.value,
        low=found.value - found.half,
        high=found.value + found.half,
        band=n_band(persons),
        why=why,
    )


def within(where: Where, value: float, raw: Figure, persons: float) -> Shown:
    """A value that was clamped or smoothed, with the band of the raw one around it."""
    name, labels = where
    if persons < MIN_CELL:
        return missing(name, labels, persons, Why.FEW)
    return Shown(
        name=name,
        labels=tuple(labels),
        value=value,
        low=min(raw.value - raw.half, value),
        high=max(raw.value + raw.half, value),
        band=n_band(persons),
    )


def missing(name: str, labels: Sequence[str], persons: float, why: Why) -> Shown:
    """A figure that is not there, and why."""
    return Shown(name=name, labels=tuple(labels), value=None, band=n_band(persons), why=why)


def half_of(variances: Iterable[float]) -> float:
    """Half of a 95 % interval from independent parts of a variance."""
    return NORMAL_95 * math.sqrt(math.fsum(variances))
