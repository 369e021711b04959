"""From tables that others count to a statement that whoever has them computes again."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from bench.contribution_market import plan_of, version_of
from consortium.credit.contribution import ContributionStatement
from consortium.credit.contribution_table import (
    Look,
    gain_entries,
    left_out,
    moments_of,
    stated,
)
from consortium.credit.figure_forms import PPM, check_cells
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import contribution
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import Digest, PartnerId
from tests.figure_house import release

ALL = (0, 1, 2, 3)
DAY = date(2026, 11, 1)


def spec_of(who: tuple[int, ...] = ALL) -> FigureSpec:
    less = tuple(version_of(set(who) - {k}) for k in who)
    wanted = Wanted(model=version_of(who), without=less)
    return figure(FigureKind.CONTRIBUTION, "2026-11", "2026-11", wanted)


def look(gains: dict[int, float], judges: tuple[int, ...] | None = None) -> Look:
    """Of these lenders, each with such a gain for 100,000 persons; noise of the product."""
    who = tuple(gains)
    spec = spec_of(who)
    persons = 100_000.0
    rows = np.array(
        [[persons, PPM * g * persons, PPM * 0.01 * persons] for g in gains.values()]
    )
    table = release(spec, [rows, *[np.zeros_like(rows)] * 3], len(who))
    return Look(
        table=table,
        judges=frozenset(PartnerId(f"lender_{k + 1}") for k in judges or who),
        whole=(version_of(who), plan_of(who)),
        without=tuple((version_of(set(who) - {k}), plan_of(set(who) - {k})) for k in who),
    )


def said(*looks: Look) -> ContributionStatement:
    return stated(looks, None, federation="north", measured_on=DAY)


FIRST = look({0: -0.01, 1: 0.02, 2: -0.01, 3: -0.05})
SECOND = look({0: 0.01, 1: 0.03, 2: 0.0})


def test_statement_sets_aside_who_harms_most_and_settles_among_the_rest() -> None:
    made = said(FIRST, SECOND)
    assert [one.worth for one in made.lines] == ["helps", "helps", "unclear", "harms"]
    shares = [one.settlement for one in made.lines]
    assert shares[3] == 0
    assert sum(shares) == 1_000_000
    assert shares[1] == pytest.approx(750_000, abs=40_000)
    assert made.tables == (FIRST.table.release, SECOND.table.release)
    assert made.version == version_of(ALL)
    assert made.digest == said(FIRST, SECOND).digest
    assert all(one.hanging == "" for one in made.lines)


def test_statement_that_stops_while_somebody_harms_or_skips_a_look_is_refused() -> None:
    with pytest.raises(DomainError, match="lender_4 harms; measure the others"):
        said(FIRST)
    with pytest.raises(DomainError, match="does not follow"):
        said(look({0: 0.01, 1: 0.02, 2: 0.01, 3: 0.05}), SECOND)
    with pytest.raises(DomainError, match="does not follow"):
        said(FIRST, look({0: 0.01, 1: 0.03, 3: 0.0}))
    with pytest.raises(DomainError, match="judges the others"):
        said(FIRST, look({0: 0.01, 1: 0.03, 2: 0.0}, judges=ALL))
    with pytest.raises(DomainError, match="no table"):
        said()


def test_statement_in_which_a_partner_is_not_left_out_is_refused() -> None:
    one = look({0: 0.01, 1: 0.02, 2: 0.01, 3: 0.05})
    whole = replace(one, whole=(one.whole[0], plan_of((*ALL, 4))))
    with pytest.raises(DomainError, match="partners are left out"):
        said(whole)
    with pytest.raises(DomainError, match="does not name"):
        replace(one, whole=SECOND.whole)
    wanted = Wanted(model=version_of(ALL), without=(version_of((0, 1, 2)),))
    spec = figure(FigureKind.CONTRIBUTION, "2026-11", "2026-11", wanted)
    rows = np.array([[1e5, 1e3 * PPM, 1e3 * PPM]])
    fewer = replace(
        one,
        table=release(spec, [rows, *[np.zeros_like(rows)] * 3], 1),
        without=((version_of((0, 1, 2)), plan_of((0, 1, 2))),),
    )
    with pytest.raises(DomainError, match="left out once"):
        said(fewer)


@pytest.mark.parametrize(
    "changes",
    [{"holdout_salt": "b"}, {"holdout_fraction": "0.1"}, {"schema": Digest("2" * 64)}],
)
def test_trainings_with_other_held_out_persons_are_not_compared(
    changes: dict[str, str],
) -> None:
    assert left_out(plan_of(ALL), plan_of((0, 1, 3))) == "lender_3"
    with pytest.raises(DomainError, match="another"):
        left_out(plan_of(ALL), replace(plan_of((0, 1, 3)), **changes))  # type: ignore[arg-type]


def test_trainings_that_differ_by_more_than_one_partner_are_not_compared() -> None:
    for other in (ALL, (0, 1)):
        with pytest.raises(DomainError, match="partners are left out"):
            left_out(plan_of(ALL), plan_of(other))
    (block,) = plan_of((0, 1, 2)).blocks
    moved = replace(plan_of((0, 1, 2)), blocks=(replace(block, families=("other",)),))
    with pytest.raises(DomainError, match="other families"):
        left_out(plan_of(ALL), moved)


def test_released_sums_are_the_moments_of_the_persons_differences() -> None:
    spec = spec_of()
    differences = {0: np.array([0.5, -0.25]), 2: np.array([-1.0, 0.125])}
    entries = gain_entries(spec, ["p", "q"], differences)
    part = contribution(spec, entries).reshape(4, 3) / 2**20
    assert part[0].tolist() == [2.0, 0.25, 0.3125]
    assert part[2] == pytest.approx([2.0, -0.875, 1.015625])
    assert not part[1].any()
    zeros = np.zeros((4, 3))
    exact = release(spec, [np.array(part * [1, PPM, PPM]), zeros, zeros, zeros], 1)
    deviation = exact.deviation("persons")
    found = moments_of(exact)[0]
    assert abs(found.total - 0.25) < 7 * deviation
    assert found.deviations == pytest.approx((deviation,) * 3)
    with pytest.raises(ShapeError):
        gain_entries(spec, ["p"], differences)


def test_gains_clipped_elsewhere_or_unsigned_are_of_no_public_form() -> None:
    spec = spec_of()
    count, gain, squared = spec.measures
    for measures in (
        (count, replace(gain, bound=1), squared),
        (count, replace(gain, signed=False), squared),
        (count, gain, replace(squared, signed=True)),
    ):
        with pytest.raises(ConfigurationError, match="figure"):
            check_cells(replace(spec, measures=measures))
    with pytest.raises(ConfigurationError, match="a cell a person"):
        check_cells(replace(spec, cells_per_person=1))
