"""Bands that hold what they say over 500 releases, and steps of the SYNTHETIC market found."""

from dataclasses import replace

import numpy as np
import pytest

from consortium.credit import indices
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import NoisyTable, Terms, simulated_release
from consortium.figure import SCALE_BITS, FigureKind, FigureSpec
from examples.ecosystem import PROFILES, generate
from examples.ecosystem.market import (
    APPETITE_WEEK,
    DEMAND_WEEK,
    Applications,
    applications,
)
from tests.figure_house import Case, cases, covered, seeds

pytestmark = pytest.mark.slow

RELEASES = 500
LEAST = 0.93
WEEKS = 60
MARKET = replace(PROFILES["standard"], persons=300_000, months=14)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_true_value_lies_in_the_band_in_93_of_100_releases(case: Case) -> None:
    for name, (held, printed) in covered(case, RELEASES).items():
        assert held / printed >= LEAST, (case.name, name, held, printed)


@pytest.fixture(scope="module")
def asked() -> Applications:
    return applications(*generate(MARKET, 5))


def released(asked: Applications, spec: FigureSpec, values: np.ndarray) -> NoisyTable:
    """Once for a person and partner in all weeks, as the counting rule has it."""
    parts = []
    for partner in range(MARKET.partners):
        rows = np.flatnonzero((asked.partner == partner) & (asked.week < WEEKS))
        rows = rows[np.argsort(-asked.amount[rows], kind="stable")]
        _, first = np.unique(asked.person[rows], return_index=True)
        rows = rows[first]
        places = (asked.week[rows], asked.grade[rows])[: len(spec.axes)]
        table = np.zeros((*spec.shape, len(spec.measures)), dtype=np.int64)
        np.add.at(table, places, values[rows])
        parts.append(table.reshape(-1))
    terms = Terms(max_partners_per_person=MARKET.partners)
    return simulated_release(spec, parts, seeds(0), terms=terms)


def indices_weeks() -> tuple[str, ...]:
    return spec_of(FigureKind.APPROVALS).axes[0].cells


def spec_of(kind: FigureKind, bound: int = 0) -> FigureSpec:
    return figure(kind, "2026-W01", "2027-W07", Wanted(bound=bound, synthetic=True))


def test_the_step_of_demand_is_seen_within_three_weeks(asked: Applications) -> None:
    bound = int(np.quantile(asked.amount, 0.9))
    spec = spec_of(FigureKind.DEMAND, bound)
    one = 1 << SCALE_BITS
    amounts = np.minimum(asked.amount, bound) * one // bound
    values = np.stack([np.full(asked.week.shape, one), amounts], -1)
    section = indices.demand(released(asked, spec, values))
    assert seen(indices.steps(section, least=5.0), DEMAND_WEEK)


def test_the_step_of_appetite_is_seen_within_three_weeks(asked: Applications) -> None:
    spec = spec_of(FigureKind.APPROVALS)
    one = 1 << SCALE_BITS
    values = np.stack([np.full(asked.week.shape, one), asked.approved * one], -1)
    section = indices.appetite(released(asked, spec, values))
    # The shift of demand in week 40 leaves the mix, and so the appetite, where they were.
    assert seen(indices.steps(section, least=5.0), APPETITE_WEEK)


def seen(steps: tuple[str, ...], planted: int) -> bool:
    """Whether the one step that is told lies within three weeks of the planted one."""
    (found,) = steps
    return abs(indices_weeks().index(found) - planted) <= 3
