"""What a closure does to the same persons' other lines, measured in one noisy table (4.15).

A study of the withdrawals of a month: at every lender that asked about its own customers, the
lines that were open, active and not a day late then, by grade, by arm and by outcome twelve
months on. Arm ``closed`` lost an active line elsewhere, arm ``kept`` lost none and has an
active one elsewhere; whoever has no other line belongs to neither, or survivors would be
compared with strangers. The node knows its grade and outcome; the arm is asked for under
CLOSURE_SIGNAL and IMPACT_STUDY (protocol 7.17).

An outcome that is not told, or indeterminate, has a cell of its own, which is not read: a PD,
too, is the chance of bad among good and bad (credit 2.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from consortium.credit.shock import (
    MIN_CELL,
    TIER_OF,
    TIERS,
    Elasticity,
    Flags,
    Float,
    Provenance,
    Tier,
)
from consortium.credit.terms import GRADES, Grade
from consortium.errors import DomainError, ShapeError

Integers = NDArray[np.int64]

_NORMAL_95 = 1.96


class Arm(StrEnum):
    """What became of a person's other lines."""

    KEPT = "0"
    CLOSED = "1"


class Outcome(StrEnum):
    """Twelve months after the inquiry (credit 2.1)."""

    GOOD = "GOOD"
    BAD = "BAD"
    NONE = "none"
    """Indeterminate, or the twelve months are not told to their end."""


ARMS = tuple(Arm)
OUTCOMES = (Outcome.GOOD, Outcome.BAD)
"""Those that are read."""
SHAPE = (len(GRADES), len(ARMS), len(OUTCOMES))


class Elsewhere(StrEnum):
    """What a consented inquiry says of a person's lines at other lenders on the date."""

    WITHDRAWN = "withdrawn"
    """An active line was withdrawn lately."""
    STAYS = "stays"
    """None was closed, and one is active."""
    NOTHING = "nothing"
    """Neither, or the person did not consent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """One person's line at one lender on the day of the inquiry. Private."""

    grade: Grade
    is_open: bool
    active: bool
    """A debit or a balance in the last six full months (credit 2.1)."""
    dpd: int
    elsewhere: Elsewhere
    bad: bool | None
    """Within the twelve months after; None: indeterminate, or not told."""


def study_cell(line: StudyLine) -> tuple[Grade, Arm, Outcome] | None:
    """The one cell that a person adds one to at a lender, or None if outside the study.

    Raises:
        DomainError: the days past due are negative.
    """
    if line.dpd < 0:
        raise DomainError("negative days past due")
    if not line.is_open or not line.active or line.dpd > 0:
        return None
    if line.elsewhere is Elsewhere.NOTHING:
        return None
    arm = Arm.CLOSED if line.elsewhere is Elsewhere.WITHDRAWN else Arm.KEPT
    if line.bad is None:
        return line.grade, arm, Outcome.NONE
    return line.grade, arm, Outcome.BAD if line.bad else Outcome.GOOD


ELSEWHERE = tuple(Elsewhere)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyColumns:
    """Persons of a lender whose outcomes are all told, arrays of shape (n,). Private."""

    grade: Integers
    """Place in ``GRADES``."""
    is_open: Flags
    active: Flags
    dpd: Integers
    elsewhere: Integers
    """Place in ``ELSEWHERE``."""
    bad: Flags


def study_cells(lines: StudyColumns) -> tuple[Flags, Integers]:
    """``study_cell`` of many: who is in the study, and the places of those who are.

    Returns:
        Shape (n,) of who is in it, and shape (members, 3): grade, arm, outcome.

    Raises:
        DomainError: negative days past due, or a place that is none.
    """
    if bool((lines.dpd < 0).any()):
        raise DomainError("negative days past due")
    for places, length in ((lines.grade, len(GRADES)), (lines.elsewhere, len(ELSEWHERE))):
        if bool(((places < 0) | (places >= length)).any()):
            raise DomainError("closure study: a place outside its list")
    apart = lines.elsewhere == ELSEWHERE.index(Elsewhere.NOTHING)
    member = lines.is_open & lines.active & (lines.dpd == 0) & ~apart
    closed = lines.elsewhere == ELSEWHERE.index(Elsewhere.WITHDRAWN)
    arm = np.where(closed, ARMS.index(Arm.CLOSED), ARMS.index(Arm.KEPT))
    outcome = np.where(lines.bad, OUTCOMES.index(Outcome.BAD), OUTCOMES.index(Outcome.GOOD))
    cells = np.stack((lines.grade, arm, outcome), axis=1).astype(np.int64)
    return member, cells[member]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStudy:
    """What the table says of one tier."""

    tier: Tier
    elasticity: Elasticity
    grades: tuple[Grade, ...]
    """Grades with enough persons in both arms; only they enter."""
    persons: tuple[float, float]
    """Noisy numbers in the arms ``kept`` and ``closed``, over those grades."""


def elasticities_of(table: Float, deviation: float, *, source: str) -> Mapping[Tier, TierStudy]:
    """Differences of bad rates by grade, averaged with the weights of arm ``closed`` (4.15).

    ``e = (B1 - Σ n1_g p0_g) / Σ n1_g``: pooling a tier without these weights would compare
    grades that close more often with grades that do not. The variance is binomial plus noise,
    by the delta method; the weights are noisy, too, and count. Unclamped counts enter.

    Args:
        table: Noisy persons, shape (5, 2, 2): grade, arm (kept, closed), outcome (good, bad).
        deviation: Of the noise in one cell, persons.
        source: Release id of the table.

    Returns:
        By tier; a tier without any grade of ``MIN_CELL`` noisy persons in both arms is left
        out: it is not measured.

    Raises:
        ShapeError: another shape.
        DomainError: NaN, infinity or a negative deviation.
    """
    if table.shape != SHAPE:
        raise ShapeError(f"closure study of shape {table.shape}, expected {SHAPE}")
    if not bool(np.isfinite(table).all()) or not 0 <= deviation < float("inf"):
        raise DomainError("closure study: NaN, infinity or a negative deviation")
    found = {}
    for tier in TIERS:
        grades = [
            grade
            for place, grade in enumerate(GRADES)
            if TIER_OF[grade] is tier and table[place].sum(axis=1).min() >= MIN_CELL
        ]
        if grades:
            cells = table[[GRADES.index(grade) for grade in grades]]
            found[tier] = _study(tier, grades, cells, deviation=deviation, source=source)
    return found


def _study(
    tier: Tier, grades: Sequence[Grade], cells: Float, *, deviation: float, source: str
) -> TierStudy:
    numbers = cells.sum(axis=2)
    kept, closed = numbers.T
    rate0, rate1 = (cells[:, :, 1] / numbers).T
    weights = closed / closed.sum()
    value = float(weights @ (rate1 - rate0))
    noise = deviation**2
    binomial = float(weights**2 @ (_binomial(rate1) / closed + _binomial(rate0) / kept))
    # Derivatives of e by the four cells of each grade, squared and added.
    of_closed = ((1 - rate0 - value) ** 2 + (rate0 + value) ** 2) / closed.sum() ** 2
    of_kept = weights**2 * ((1 - rate0) ** 2 + rate0**2) / kept**2
    half = _NORMAL_95 * (binomial + noise * float((of_closed + of_kept).sum())) ** 0.5
    value = min(max(value, -1.0), 1.0)
    return TierStudy(
        tier=tier,
        elasticity=Elasticity(
            value=value,
            low=max(-1.0, value - half),
            high=min(1.0, value + half),
            provenance=Provenance.MEASURED,
            source=source,
        ),
        grades=tuple(grades),
        persons=(float(kept.sum()), float(closed.sum())),
    )


def _binomial(rate: Float) -> Float:
    """Variance of one outcome; a noisy rate outside 0 to 1 has none."""
    clipped = np.clip(rate, 0.0, 1.0)
    variance: Float = clipped * (1 - clipped)
    return variance
