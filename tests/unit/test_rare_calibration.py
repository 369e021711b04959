"""The level of a rare outcome: trusted as far as its counts stand out of the noise."""

import math

import numpy as np
import pytest

from consortium.credit.rare import fit_rare
from consortium.credit.tables import CELLS, cell_centres
from consortium.errors import DomainError, ShapeError


def table(persons: float, factor: float) -> np.ndarray:
    """Three cells with persons whose outcomes are ``factor`` times as many as expected."""
    found = np.zeros((CELLS, 2))
    for cell in (1, 3, 6):
        chance = factor / (1 + math.exp(-cell_centres()[cell]))
        found[cell] = persons * (1 - chance), persons * chance
    return found


def test_many_counts_without_noise_are_believed() -> None:
    fit = fit_rare(table(1e6, 1.3), deviation=0.0)
    assert fit.beta == 1.0
    assert fit.alpha == pytest.approx(math.log(1.3), rel=0.01)


def test_counts_that_drown_in_noise_move_nothing() -> None:
    noisy = fit_rare(table(20_000, 1.3), deviation=500.0)
    assert 0 < noisy.alpha < 0.1 * math.log(1.3)
    closer = fit_rare(table(20_000, 1.3), deviation=50.0)
    assert noisy.alpha < closer.alpha < math.log(1.3)


def test_a_sum_that_noise_made_negative_stays_within_bounds() -> None:
    broken = table(20_000, 1.0)
    broken[1, 1] = -90_000.0
    broken[1, 0] = 120_000.0
    assert -math.log(4) <= fit_rare(broken, deviation=0.0).alpha < 0


def test_an_empty_and_a_ragged_table_are_refused() -> None:
    with pytest.raises(DomainError, match="persons"):
        fit_rare(np.zeros((CELLS, 2)), deviation=1.0)
    with pytest.raises(ShapeError):
        fit_rare(np.ones((5, 2)), deviation=1.0)
