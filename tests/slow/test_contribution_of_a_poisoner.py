"""SYNTHETIC: a lender that flips labels is seen by its contribution and refused (credit T8)."""

from functools import lru_cache

import pytest

from bench.contribution_market import (
    POISONED,
    auc_of,
    contributions,
    figures,
    released,
    rows_of,
    trained,
)

pytestmark = pytest.mark.slow

HONEST = (0, 1, 2)
ALL = (*HONEST, POISONED)


@lru_cache(maxsize=2)
def market(*, poison: bool) -> list:  # type: ignore[type-arg]
    return rows_of(1, poison=poison)


def test_poisoners_gain_is_below_0_with_its_whole_interval_while_auc_hides_it() -> None:
    lines = contributions(market(poison=True)).lines
    bad = lines[POISONED]
    assert float(bad.at_most) < 0
    assert bad.worth == "harms"
    assert bad.settlement == 0
    assert abs(auc_of(market(poison=True), POISONED)) < 0.005
    assert {one.worth for one in lines if one is not bad} <= {"helps", "unclear"}
    assert sum(one.settlement for one in lines) == 1_000_000


@pytest.mark.parametrize("seed", range(3))
def test_poisoner_is_set_aside_by_tables_at_epsilon_1_and_honest_rows_are_worth_something(
    seed: int,
) -> None:
    """Where rows are scarce: about a hundred of each lender are trained on."""
    made = released(rows_of(1, poison=True, held_out=995), seed=seed)
    bad = made.lines[POISONED]
    assert (bad.worth, bad.settlement) == ("harms", 0)
    assert {one.worth for one in made.lines if one is not bad} == {"helps"}
    assert sum(one.settlement for one in made.lines) == 1_000_000
    # Two looks at epsilon 1: a root of two of it.
    assert float(made.epsilon) == pytest.approx(1.455, abs=0.01)
    assert len(made.tables) == 2


def test_no_honest_lender_of_a_clean_market_is_said_to_harm() -> None:
    lines = contributions(market(poison=False)).lines
    assert {one.worth for one in lines} <= {"helps", "unclear"}
    assert sum(one.settlement for one in lines) == 1_000_000


def test_honest_lenders_calibration_fails_with_the_poisoner_and_passes_without() -> None:
    rows = market(poison=True)
    poisoned, without = trained(rows, ALL), trained(rows, HONEST)
    for k in HONEST:
        bad = figures(rows, poisoned, (k,)).in_the_large
        good = figures(rows, without, (k,)).in_the_large
        assert bad is not None
        assert good is not None
        assert bad > 1.1  # the gate's range is .9 to 1.1: their votes refuse
        assert 0.9 <= good <= 1.1


def test_training_without_the_poisoner_is_as_good_as_a_clean_one() -> None:
    dirty, clean = market(poison=True), market(poison=False)
    without = figures(dirty, trained(dirty, HONEST), HONEST).auc
    whole = figures(clean, trained(clean, ALL), HONEST).auc
    assert without is not None
    assert whole is not None
    assert without == pytest.approx(whole, abs=0.005)
