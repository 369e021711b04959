import numpy as np
import pytest

from consortium.credit.tables import Calibration, fit_calibration, table_of
from consortium.errors import DomainError, ShapeError
from models.calibration import calibrated, histogram, probabilities
from models.scorecard import sigmoid_det


def test_cells_are_closed_below_and_the_outside_is_in_the_end_cells() -> None:
    z = np.array([-100.0, -6.0, -5.5, -0.5, 0.0, 5.99, 6.0, 100.0])
    labels = np.array([0, 1, 0, 0, 1, 0, 1, 1], dtype=np.uint8)
    counts = histogram(z, labels).reshape(24, 2)
    assert counts.sum() == len(z)
    assert counts[0].tolist() == [1, 1]
    assert counts[1].tolist() == [1, 0]
    assert counts[11].tolist() == [1, 0]
    assert counts[12].tolist() == [0, 1]
    assert counts[23].tolist() == [1, 2]


def test_one_more_person_moves_one_count_by_one() -> None:
    z = np.linspace(-7, 7, 40)
    labels = (np.arange(40) % 3 == 0).astype(np.uint8)
    difference = histogram(z, labels) - histogram(z[1:], labels[1:])
    assert sorted(difference.tolist()) == [0] * 47 + [1]


def test_fit_on_the_exact_histogram_repairs_a_shrunken_model() -> None:
    rng_free = np.linspace(-2.5, 2.5, 20_001)  # a grid in place of chance
    true = -1.0 + 1.6 * rng_free
    ranks = (np.arange(true.size) * 0.6180339887498949) % 1.0
    labels = (ranks < sigmoid_det(true)).astype(np.uint8)
    counts = histogram(rng_free, labels).astype(np.float64)
    line = fit_calibration(table_of(counts), deviation=0.0)
    assert line.alpha == pytest.approx(-1.0, abs=0.05)
    assert line.beta == pytest.approx(1.6, abs=0.08)
    pd = probabilities(rng_free, line)
    assert pd.sum() / labels.sum() == pytest.approx(1.0, abs=0.01)


def test_line_is_applied_to_the_logit() -> None:
    z = np.array([0.0, 2.0])
    line = Calibration(alpha=-1.0, beta=0.5)
    assert calibrated(z, line).tolist() == [-1.0, 0.0]
    assert probabilities(z, line)[1] == 0.5


def test_nan_logit_is_refused_and_not_counted() -> None:
    labels = np.array([0, 1], dtype=np.uint8)
    with pytest.raises(DomainError):
        histogram(np.array([0.0, np.nan]), labels)
    with pytest.raises(ShapeError):
        histogram(np.zeros((2, 1)), labels)
