"""With and without a part: who counts, into which cells, and what the two AUCs say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.dependence import auc_over_grades, dependence_entries, dependences_of
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import contribution
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.figure import FigureKind, FigureSpec
from consortium.scoring.premium import Impact, Premium
from models.evaluation import auc
from tests.figure_house import dependences, release, rng_of

UNIT = 1 << 32
CUTS = ("0.1", "0.2", "0.3", "0.45")


def spec_of(persons: str = "holdout", cuts: tuple[str, ...] = CUTS) -> FigureSpec:
    wanted = Wanted(partners=("bank_a", "bank_b"), head="ab" * 32, cuts=cuts, persons=persons)
    return figure(FigureKind.DEPENDENCE, "2026-11", "2026-11", wanted)


def impact(*persons: tuple[float, float, int, bool]) -> Impact:
    """PD with, PD without, label and whether held out, of each person."""
    odds = [[np.log(pd / (1 - pd)) * UNIT for pd in one[:2]] for one in persons]
    before, after = np.array(odds).T.astype(np.int64)
    return Impact(
        premium=Premium(before=before, after=after, strata=np.ones(len(persons), np.int64)),
        labels=np.array([one[2] for one in persons], dtype=np.uint8),
        holdout=np.array([one[3] for one in persons]),
        attested=None,
    )


PERSONS = impact(
    (0.05, 0.25, 0, True),
    (0.5, 0.25, 1, True),
    (0.15, 0.15, 1, False),  # the model was trained on this one
    (0.35, 0.05, 255, True),  # nobody knows yet what becomes of it
)


def labels(spec: FigureSpec, partner: str = "bank_b") -> list[tuple[str, ...]]:
    return [
        tuple(axis.cells[at] for axis, at in zip(spec.axes, one.cell, strict=True))
        for one in dependence_entries(spec, PERSONS, partner)
    ]


def test_held_out_persons_with_an_outcome_are_counted_twice_in_cells_of_their_partner() -> None:
    assert sorted(labels(spec_of())) == [
        ("with", "bank_b", "G1", "good"),
        ("with", "bank_b", "G5", "bad"),
        ("without", "bank_b", "G3", "bad"),
        ("without", "bank_b", "G3", "good"),
    ]
    every = labels(spec_of("all"))
    assert len(every) == 6
    assert ("with", "bank_b", "G2", "bad") in every
    assert labels(spec_of(), "shop_c") == []
    assert int(contribution(spec_of(), dependence_entries(spec_of(), PERSONS, "bank_b")).sum())
    with pytest.raises(ShapeError):
        replace(PERSONS, labels=PERSONS.labels[1:])


def test_noise_is_made_for_both_cells_of_a_person_and_cuts_are_in_the_figure() -> None:
    spec = spec_of()
    assert spec.cells_per_person == 2
    assert spec.squared == 2 * spec_of().squared // 2 == (1 << 40) * 2
    for cuts in (("0.1", "0.2"), ("0.4", "0.3", "0.2", "0.1"), ("a", "b", "c", "d"), ()):
        with pytest.raises(ConfigurationError, match="cuts"):
            spec_of(cuts=cuts)
    with pytest.raises(ConfigurationError, match="no filter persons"):
        spec_of("some")


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_auc_without_noise_is_that_of_the_persons_with_ties_by_half(seed: int) -> None:
    rng = rng_of(seed)
    grades, marks = rng.integers(0, 5, 200), rng.integers(0, 2, 200)
    marks[:2] = 0, 1
    counts = np.zeros((5, 2))
    np.add.at(counts, (grades, marks), 1.0)
    found = auc_over_grades(counts, 0.0)
    assert found is not None
    assert found.value == pytest.approx(auc(grades.astype(float), marks.astype(np.uint8)))


def test_auc_is_not_said_where_bads_are_lost_in_the_noise() -> None:
    counts = np.full((5, 2), 100.0)
    assert auc_over_grades(counts, 0.0) is not None
    counts[:, 1] = 10.0
    assert auc_over_grades(counts, 12.0) is None
    assert auc_over_grades(np.zeros((5, 2)), 0.0) is None


def test_table_of_another_kind_says_nothing_of_dependence() -> None:
    case = dependences()
    table = release(case.spec, case.draw(rng_of(1)), 1)
    assert [one.partner for one in dependences_of(table)] == list(case.spec.axes[1].cells)
    spec = figure(FigureKind.ROLL_RATES, "2026-01", "2026-02", Wanted())
    other = replace(table, spec=spec, totals=(0,) * spec.size)
    with pytest.raises(DomainError):
        dependences_of(other)
