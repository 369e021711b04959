"""Measuring what a closure does: who counts, by hand, and how often the interval is true."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the tests' only generator

from consortium.credit.elasticity import (
    Arm,
    Elsewhere,
    Outcome,
    StudyLine,
    elasticities_of,
    study_cell,
)
from consortium.credit.shock import Float, Provenance, Tier
from consortium.credit.terms import Grade
from consortium.errors import DomainError, ShapeError

LINE = StudyLine(
    grade=Grade.G3,
    is_open=True,
    active=True,
    dpd=0,
    elsewhere=Elsewhere.WITHDRAWN,
    bad=True,
)


def table() -> Float:
    """Grades by arm (kept, closed) by outcome (good, bad)."""
    return np.array(
        [
            [[980, 20], [380, 20]],
            [[1900, 100], [91, 9]],
            [[920, 80], [850, 150]],
            [[850, 150], [475, 25]],
            [[700, 300], [400, 100]],
        ],
        dtype=np.float64,
    )


def test_arms_are_a_withdrawn_line_and_an_active_one_at_a_third() -> None:
    assert study_cell(LINE) == (Grade.G3, Arm.CLOSED, Outcome.BAD)
    kept = replace(LINE, elsewhere=Elsewhere.STAYS, bad=False)
    assert study_cell(kept) == (Grade.G3, Arm.KEPT, Outcome.GOOD)
    assert study_cell(replace(LINE, bad=None)) == (Grade.G3, Arm.CLOSED, Outcome.NONE)


@pytest.mark.parametrize(
    "change",
    [{"is_open": False}, {"active": False}, {"dpd": 1}, {"elsewhere": Elsewhere.NOTHING}],
)
def test_lines_outside_the_study_fill_no_cell(change: dict[str, object]) -> None:
    assert study_cell(replace(LINE, **change)) is None  # type: ignore[arg-type]


def test_a_line_with_negative_days_past_due_is_refused() -> None:
    with pytest.raises(DomainError, match="days past due"):
        study_cell(replace(LINE, dpd=-1))


def test_differences_by_grade_are_averaged_with_the_weights_of_the_closed_arm() -> None:
    found = elasticities_of(table(), 0.0, source="r1")
    # G1: .05 - .02 of 400, G2: .09 - .05 of 100; G3: .15 - .08; G4, G5: 500 each.
    assert found[Tier.PRIME].elasticity.value == pytest.approx(0.8 * 0.03 + 0.2 * 0.04)
    assert found[Tier.NEAR].elasticity.value == pytest.approx(0.07)
    assert found[Tier.LOW].elasticity.value == pytest.approx((0.05 - 0.15 + 0.2 - 0.3) / 2)
    near = found[Tier.NEAR]
    half = 1.96 * np.sqrt(0.08 * 0.92 / 1000 + 0.15 * 0.85 / 1000)
    assert near.elasticity.high - near.elasticity.value == pytest.approx(half)
    assert near.persons == (1000.0, 1000.0)
    assert near.elasticity.provenance is Provenance.MEASURED
    assert near.elasticity.source == "r1"


def test_grades_with_an_arm_below_fifty_do_not_enter_and_a_tier_without_any_is_unmeasured() -> (
    None
):
    thin = table()
    thin[1, 1] = (30.0, 5.0)
    thin[2, 0] = (-12.0, 40.0)
    found = elasticities_of(thin, 17.0, source="r1")
    assert found[Tier.PRIME].grades == (Grade.G1,)
    assert found[Tier.PRIME].elasticity.value == pytest.approx(0.03)
    assert Tier.NEAR not in found


def test_impossible_tables_are_refused() -> None:
    with pytest.raises(ShapeError, match="closure study"):
        elasticities_of(table()[:4], 17.0, source="r1")
    with pytest.raises(DomainError, match="negative deviation"):
        elasticities_of(table(), -1.0, source="r1")
    with pytest.raises(DomainError, match="NaN"):
        elasticities_of(table() * np.nan, 1.0, source="r1")


def test_the_interval_holds_the_truth_as_often_as_it_says(rng: Generator) -> None:
    numbers, rates = table().sum(axis=2), table()[:, :, 1] / table().sum(axis=2)
    change = rates[:, 1] - rates[:, 0]
    weights = numbers[3:, 1] / numbers[3:, 1].sum()
    truth = {
        Tier.PRIME: 0.8 * change[0] + 0.2 * change[1],
        Tier.NEAR: change[2],
        Tier.LOW: float(weights @ change[3:]),
    }
    inside = []
    for _ in range(600):
        bads = rng.binomial(numbers.astype(int), rates)
        counts = np.stack((numbers - bads, bads), axis=2)
        noisy = counts + 17.0 * rng.standard_normal(counts.shape)
        for tier, study in elasticities_of(noisy, 17.0, source="r1").items():
            inside.append(study.elasticity.low <= truth[tier] <= study.elasticity.high)
    assert 0.93 <= np.mean(inside) <= 0.97
