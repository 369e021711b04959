import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from consortium.errors import DomainError, ShapeError
from models.evaluation import auc, band_histogram, evaluate, ks, slope
from models.scorecard import sigmoid_det


def _rows(rng: Generator, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    eta = np.round(rng.normal(-1, 1.2, rows), 1)  # with ties
    labels = (rng.random(rows) < sigmoid_det(0.3 + 0.8 * eta)).astype(np.uint8)
    return eta, labels


def test_figures_equal_scikit_learn_and_scipy(rng: Generator) -> None:
    eta, labels = _rows(rng)
    figures = evaluate(eta, labels)
    pd = sigmoid_det(eta)
    assert figures.auc == pytest.approx(roc_auc_score(labels, eta), abs=1e-12)
    assert figures.gini == pytest.approx(2 * roc_auc_score(labels, eta) - 1, abs=1e-12)
    two_sided = ks_2samp(eta[labels == 1], eta[labels == 0]).statistic
    assert figures.ks == pytest.approx(two_sided, abs=1e-12)
    assert figures.brier == pytest.approx(brier_score_loss(labels, pd), abs=1e-12)
    assert figures.in_the_large == pytest.approx(pd.sum() / labels.sum())
    fit = LogisticRegression(C=1e9, tol=1e-10).fit(eta.reshape(-1, 1), labels)
    assert figures.slope == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    assert (figures.rows, figures.bads) == (500, int(labels.sum()))


def test_ties_count_half() -> None:
    labels = np.array([0, 1], dtype=np.uint8)
    assert auc(np.zeros(2), labels) == 0.5
    assert auc(np.array([0.0, 1.0]), labels) == 1.0
    assert auc(np.array([1.0, 0.0]), labels) == 0.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_leaves_figures_undefined_not_zero(label: int) -> None:
    labels = np.full(4, label, dtype=np.uint8)
    figures = evaluate(np.arange(4.0), labels)
    assert figures.auc is figures.gini is figures.ks is figures.slope is None
    assert (figures.in_the_large is None) == (label == 0)


def test_slope_is_undefined_for_one_value_or_separated_classes() -> None:
    labels = np.array([0, 0, 1, 1], dtype=np.uint8)
    assert slope(np.full(4, 0.7), labels) is None
    assert slope(np.array([-2.0, -1.0, 1.0, 2.0]), labels) is None


def test_bands_hold_their_lower_edge_and_rise() -> None:
    edges = np.array([-1.0, 1.0])
    z = np.array([-5.0, -1.0, 0.99, 1.0])
    labels = np.array([0, 1, 0, 1], dtype=np.uint8)
    assert band_histogram(z, labels, edges).tolist() == [1, 0, 1, 1, 0, 1]


def test_edges_that_do_not_rise_are_refused() -> None:
    z, labels = np.zeros(1), np.zeros(1, dtype=np.uint8)
    for edges in ([1.0, 1.0], [2.0, 1.0], [0.0, np.inf], [np.nan]):
        with pytest.raises(DomainError):
            band_histogram(z, labels, np.array(edges))
    with pytest.raises(ShapeError):
        band_histogram(z, labels, np.zeros((1, 1)))


def test_nan_ragged_or_no_rows_are_refused() -> None:
    with pytest.raises(DomainError):
        ks(np.array([np.nan]), np.zeros(1, dtype=np.uint8))
    with pytest.raises(ShapeError):
        auc(np.zeros(2), np.zeros(3, dtype=np.uint8))
    with pytest.raises(DomainError):
        evaluate(np.zeros(0), np.zeros(0, dtype=np.uint8))
