import hashlib
import math

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the fixture
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from consortium.credit import tables
from consortium.errors import DomainError, ShapeError

Float = NDArray[np.float64]
SOME = np.array([[10.0, 9.0], [20.0, 6.0], [40.0, 3.0]])
ETA = np.array([0.0, -1.0, -2.0])


@pytest.fixture
def rows(rng: Generator) -> tuple[Float, NDArray[np.int64]]:
    """20,000 logits whose true line is 0.4 + 1.5·logit, and outcomes."""
    logits = rng.normal(-1.0, 0.8, 20_000)
    bad = rng.random(20_000) < 1 / (1 + np.exp(-(0.4 + 1.5 * logits)))
    return logits, bad.astype(np.int64)


def histogram(logits: Float, bad: NDArray[np.int64], edges: Float) -> Float:
    """Rows by cell, ascending in the logit; outside in the end cells."""
    cell = np.clip(np.searchsorted(edges, logits, side="right") - 1, 0, len(edges) - 2)
    return (
        np.bincount(cell * 2 + bad, minlength=2 * len(edges) - 2).reshape(-1, 2).astype(float)
    )


def test_auc_gini_and_ks_are_those_of_scikit_learn(
    rows: tuple[Float, NDArray[np.int64]],
) -> None:
    logits, bad = rows
    edges = np.quantile(logits, np.linspace(0, 1, 17))
    edges[0], edges[-1] = -20, 20
    table = tables.weak_to_strong(histogram(logits, bad, edges))
    banded = np.searchsorted(edges, logits, side="right")
    auc = roc_auc_score(bad, banded)
    false_rate, true_rate, _ = roc_curve(bad, banded)
    assert tables.auc(table) == pytest.approx(auc, abs=1e-12)
    assert tables.gini(table) == pytest.approx(2 * auc - 1, abs=1e-12)
    assert tables.ks(table) == pytest.approx((true_rate - false_rate).max(), abs=1e-12)
    exact = roc_auc_score(bad, logits)
    assert exact - 0.003 < auc < exact


def test_slope_and_intercept_are_those_of_scikit_learn(
    rows: tuple[Float, NDArray[np.int64]],
) -> None:
    logits, bad = rows
    table = histogram(logits, bad, tables.cell_edges())
    centres = tables.cell_centres()
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(
        np.repeat(centres, 2)[:, None],
        np.tile([0, 1], len(centres)),
        sample_weight=table.ravel(),
    )
    fit = tables.fit_calibration(table, deviation=0.0)
    assert fit.alpha == pytest.approx(model.intercept_[0], abs=1e-6)
    assert fit.beta == pytest.approx(model.coef_[0, 0], abs=1e-6)
    assert fit.beta == pytest.approx(1.5, abs=0.1)
    assert tables.slope(table, centres, deviation=0.0) == fit.beta


def test_banded_brier_and_expected_over_observed_are_those_of_the_rows() -> None:
    pd = 1 / (1 + np.exp(-ETA))
    each = np.repeat(np.repeat(pd, 2), SOME.astype(int).ravel())
    bad = np.repeat(np.tile([0, 1], 3), SOME.astype(int).ravel())
    assert tables.brier(SOME, ETA) == pytest.approx(brier_score_loss(bad, each), abs=1e-12)
    assert tables.in_the_large(SOME, ETA) == pytest.approx(each.sum() / bad.sum(), abs=1e-12)


def test_recalibrated_bands_are_calibrated_in_the_large_with_slope_one(
    rows: tuple[Float, NDArray[np.int64]],
) -> None:
    logits, bad = rows
    cells = histogram(logits, bad, tables.cell_edges())
    fit = tables.fit_calibration(cells, deviation=0.0)
    inner = tables.band_edges_from_cells(cells)
    table = histogram(logits, bad, np.concatenate([[-6], inner, [6]]))
    eta = fit.alpha + fit.beta * tables.band_means(cells, inner)
    assert tables.in_the_large(table, eta) == pytest.approx(1, abs=0.02)
    assert tables.slope(table, eta, deviation=0.0) == pytest.approx(1, abs=0.05)
    assert table.sum(axis=1) == pytest.approx(np.full(16, 1250), rel=0.25)


def test_band_means_are_near_the_means_of_the_rows(
    rows: tuple[Float, NDArray[np.int64]],
) -> None:
    logits, bad = rows
    cells = histogram(logits, bad, tables.cell_edges())
    inner = tables.band_edges_from_cells(cells)
    band = np.searchsorted(inner, logits)
    means = [logits[band == b].mean() for b in range(16)]
    assert tables.band_means(cells, inner)[1:-1] == pytest.approx(means[1:-1], abs=0.06)
    assert np.diff(tables.band_means(cells, inner)).min() > 0


def test_negative_counts_enter_the_formulas_as_they_are() -> None:
    table = np.array([[10.0, 20.0], [-4.0, 5.0], [50.0, -5.0]])
    # B = 20, G = 56; by hand: 20·(46 + 5) + 5·(50 - 2) - 5·(0 + 25)
    assert tables.auc(table) == pytest.approx((20 * 51 + 5 * 48 - 5 * 25) / (20 * 56))
    assert tables.ks(table) == pytest.approx(25 / 20 - 6 / 56)


def test_noise_on_the_table_does_not_bias_the_auc(rng: Generator) -> None:
    table = np.array([[30 + 8.0 * b, 40 - 2.0 * b] for b in range(16)])
    true = tables.auc(table)
    noisy = [tables.auc(table + rng.normal(0, 8, table.shape)) for _ in range(2_000)]
    assert np.mean(noisy) == pytest.approx(true, abs=5 * np.std(noisy) / 2_000**0.5 + 2e-3)


def test_slope_falls_back_towards_one_under_heavy_noise(
    rows: tuple[Float, NDArray[np.int64]],
) -> None:
    table = histogram(*rows, tables.cell_edges())
    fits = [tables.fit_calibration(table, deviation=d).beta for d in (0, 30, 300, 1e6)]
    assert fits == sorted(fits, reverse=True)
    assert fits[-1] == pytest.approx(1, abs=1e-2)


def test_calibration_from_noisy_cells_is_near_the_true_line(
    rows: tuple[Float, NDArray[np.int64]], rng: Generator
) -> None:
    table = histogram(*rows, tables.cell_edges())
    fits = [
        tables.fit_calibration(table + rng.normal(0, 30, table.shape), deviation=30)
        for _ in range(40)
    ]
    assert np.mean([fit.beta for fit in fits]) == pytest.approx(1.5, abs=0.25)
    assert np.mean([fit.alpha for fit in fits]) == pytest.approx(0.4, abs=0.25)


def test_fit_survives_cells_that_noise_made_negative(rng: Generator) -> None:
    table = np.array([[10.0 + 3 * min(c, 23 - c), 2 + c / 2] for c in range(24)])
    noisy = [table + rng.normal(0, 60, table.shape) for _ in range(80)]
    defined = [cells for cells in noisy if cells.sum(axis=0).min() > 0]
    assert len(defined) > 20
    for cells in defined:
        tables.fit_calibration(cells, deviation=60.0)


def test_cells_of_at_most_five_deviations_are_set_to_zero() -> None:
    table = np.array([[3.0, 2.0], [3.0, 2.5], [-9.0, 1.0]])
    assert tables.without_noise_cells(table, deviation=1.0).tolist() == [
        [0, 0],
        [3, 2.5],
        [0, 0],
    ]
    assert tables.without_noise_cells(table, deviation=0.0).tolist()[:2] == [[3, 2], [3, 2.5]]


def test_same_bits_on_every_machine() -> None:
    # our own vector
    cells = np.array([[float(3 + c * (23 - c)), float(c * c % 17 - 2)] for c in range(24)])
    fit = tables.fit_calibration(cells, deviation=2.5)
    inner = tables.band_edges_from_cells(cells)
    numbers = np.array([fit.alpha, fit.beta, *inner, *tables.band_means(cells, inner)])
    digest = hashlib.sha256(numbers.astype("<f8").tobytes()).hexdigest()
    assert digest == "29e5fcd3fdb7f3fe9b5dab12528e64e7881d22da77f5b6e21aa753c4f6e4e5c5"


def test_order_of_released_cells_is_cell_then_label() -> None:
    vector = np.arange(48.0)
    table = tables.table_of(vector)
    assert table[5].tolist() == [10, 11]
    assert tables.weak_to_strong(table)[0].tolist() == [46, 47]
    assert tables.cell_edges().tolist() == [-6 + c / 2 for c in range(25)]
    assert tables.cell_centres()[0] == -5.75


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_figures_without_a_denominator_are_not_defined(column: int, value: float) -> None:
    table = SOME.copy()
    table[:, column] = value
    assert tables.auc(table) is None
    assert tables.gini(table) is None
    assert tables.ks(table) is None
    assert tables.slope(table, ETA, deviation=1.0) is None
    if column == 1:
        assert tables.in_the_large(table, ETA) is None
    assert tables.brier(-SOME, ETA) is None


def test_calibration_that_is_not_defined_blocks_the_release() -> None:
    one_class, one_cell = np.zeros((24, 2)), np.zeros((24, 2))
    one_class[:, 0] = 10
    one_cell[3] = 10
    for table in (one_class, one_cell):
        with pytest.raises(DomainError):
            tables.fit_calibration(table, deviation=0.0)
    with pytest.raises(DomainError):
        tables.band_edges_from_cells(-one_class)


def test_edges_of_an_even_histogram_are_evenly_spaced() -> None:
    even = np.ones((24, 2))
    expected = [-6 + 12 * b / 16 for b in range(1, 16)]
    assert tables.band_edges_from_cells(even) == pytest.approx(np.array(expected))
    lonely = np.zeros((24, 2))
    lonely[4] = 8
    inside = tables.band_edges_from_cells(lonely, bands=4)
    assert inside.tolist() == [-3.875, -3.75, -3.625]
    assert tables.band_means(lonely, inside).tolist() == [-3.9375, -3.8125, -3.6875, -3.5625]


def test_band_without_rows_has_its_middle_as_mean() -> None:
    lonely = np.zeros((24, 2))
    lonely[4] = 8
    assert tables.band_means(lonely, np.array([0.0, 1.0])).tolist() == [-3.75, 0.5, 3.5]


@pytest.mark.parametrize(
    "table",
    [np.ones(6), np.ones((3, 3)), np.ones((2, 3, 2)), np.ones((3, 1))],
)
def test_table_that_is_no_table_is_refused(table: Float) -> None:
    for figure in (tables.auc, tables.ks, tables.weak_to_strong, tables.band_edges_from_cells):
        with pytest.raises(ShapeError):
            figure(table)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    table = SOME.copy()
    table[0, 0] = value
    eta = np.array([0.0, value, 1.0])
    for call in (
        lambda: tables.auc(table),
        lambda: tables.ks(table),
        lambda: tables.brier(SOME, eta),
        lambda: tables.in_the_large(SOME, eta),
        lambda: tables.slope(SOME, ETA, deviation=value),
        lambda: tables.slope(SOME, ETA, deviation=-1.0),
        lambda: tables.auc(np.ones((0, 2))),
        lambda: tables.band_edges_from_cells(np.ones((24, 2)), bands=1),
        lambda: tables.band_means(np.ones((24, 2)), np.array([1.0, 0.5])),
    ):
        with pytest.raises(DomainError):
            call()


def test_columns_of_another_length_are_refused_not_broadcast() -> None:
    for eta in (np.zeros(2), np.zeros((3, 1)), np.zeros(1)):
        with pytest.raises(ShapeError):
            tables.in_the_large(SOME, eta)
        with pytest.raises(ShapeError):
            tables.logistic_fit_on_counts(SOME, eta, deviation=0.0)
    with pytest.raises(ShapeError):
        tables.band_edges_from_cells(SOME)
    for vector in (np.ones(3), np.ones((2, 2)), np.ones(0)):
        with pytest.raises(ShapeError):
            tables.table_of(vector)
