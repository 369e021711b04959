"""The joint score before and after a loss, from one noisy table (credit 4.16)."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from consortium.credit.dependence import auc_over_grades
from consortium.credit.figure_forms import ALL_VIEWS, OUTCOMES, PD_BANDS, check_cells
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import NoisyTable, Terms, contribution, simulated_release
from consortium.credit.premium_fit import fit_entries, in_the_large, section, views_of
from consortium.credit.shown import Shown, Why
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.figure import FigureKind, FigureSpec
from consortium.scoring.premium import NO_LABEL, Impact, Premium
from coordinator.credit.trend_page import trend_page
from coordinator.credit.trends import as_csv, report_of
from examples.ecosystem.streams import stream

UNIT = 1 << 32
PERSONS = 6_000


def spec_of(*, attested: bool = False) -> FigureSpec:
    wanted = Wanted(closing="bank_a", head="ab" * 32, attested=attested, synthetic=True)
    return figure(FigureKind.PREMIUM_FIT, "2026-10", "2026-10", wanted)


def units(eta: np.ndarray) -> np.ndarray:
    return np.rint(eta * UNIT).astype(np.int64)


def town() -> Impact:
    """Persons whose outcome follows their own log-odds; without the part these are blurred."""
    rng = stream(7, "premium fit")
    eta = rng.normal(-2.0, 1.2, PERSONS)
    labels = (rng.random(PERSONS) < 1 / (1 + np.exp(-eta))).astype(np.uint8)
    labels[::10] = NO_LABEL
    blurred = -1.7 + 0.5 * (eta + 2.0) + rng.normal(0, 0.9, PERSONS)
    again = -1.9 + 0.8 * (eta + 2.0) + rng.normal(0, 0.4, PERSONS)
    before, after = units(eta), units(blurred)
    return Impact(
        premium=Premium(before=before, after=after, strata=np.ones(PERSONS, dtype=np.int64)),
        labels=labels,
        holdout=np.zeros(PERSONS, dtype=np.bool_),
        attested=units(again),
    )


def released(spec: FigureSpec, impact: Impact, name: str) -> NoisyTable:
    return noised(spec, contribution(spec, fit_entries(spec, impact)), name, epsilon="2")


def noised(spec: FigureSpec, own: np.ndarray, name: str, *, epsilon: str) -> NoisyTable:
    seeds = [Secret(hashlib.sha256(f"{name} {n}".encode()).digest()) for n in range(4)]
    return simulated_release(
        spec, [own, 0 * own, 0 * own, 0 * own], seeds, terms=Terms(epsilon=epsilon)
    )


def figures_of(table: NoisyTable) -> dict[tuple[str, str], Shown]:
    return {(one.name, one.labels[0]): one for one in section(table).figures}


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=8).filter(
        lambda rows: all(sum(column) for column in zip(*rows, strict=True))
    )
)
def test_auc_of_exact_bands_is_that_of_another_library(rows: list[tuple[int, int]]) -> None:
    counts = np.array(rows, dtype=np.float64)
    good, bad = counts.T
    found = auc_over_grades(counts, 0.0)
    bands = np.arange(len(rows))
    score = np.concatenate([np.repeat(bands, one.astype(int)) for one in (good, bad)])
    label = np.repeat([0, 1], [int(good.sum()), int(bad.sum())])
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(label, score))


def test_noisy_table_finds_auc_calibration_and_price_before_after_and_won_back() -> None:
    impact = town()
    table = released(spec_of(attested=True), impact, "one")
    found = figures_of(table)
    known = impact.labels != NO_LABEL
    etas = (impact.premium.before, impact.premium.after, impact.attested)
    exact = {}
    for view, eta in zip(ALL_VIEWS, etas, strict=True):
        assert eta is not None
        pd = 1 / (1 + np.exp(-eta / UNIT))
        exact["expected_observed", view] = pd[known].sum() / (impact.labels[known] == 1).sum()
        exact["mean_pd", view] = pd.mean()
        exact["auc", view] = roc_auc_score(impact.labels[known], eta[known])
    for (name, view), truth in exact.items():
        one = found[name, view]
        assert one.value is not None
        assert one.low is not None
        slack = 0.02 if name == "auc" else 0.0  # eight bands lose some of the order
        half = one.value - one.low
        assert abs(one.value - truth) < 2.5 * half + slack, (name, view)
    assert exact["auc", "with"] > exact["auc", "attested"] > exact["auc", "without"]
    for name, sign in (("auc_change", -1), ("pd_change", 1), ("price_change", 1)):
        lost, back = found[name, "without"], found[name, "attested"]
        assert lost.value is not None
        assert back.value is not None
        assert lost.value * sign > 0 > back.value * sign
    change, price = found["pd_change", "without"], found["price_change", "without"]
    assert price.value == pytest.approx(0.6 * (change.value or 0.0))


@pytest.mark.slow
def test_interval_of_an_auc_holds_what_the_bands_say_in_nearly_all_releases() -> None:
    impact, spec = town(), spec_of()
    own = contribution(spec, fit_entries(spec, impact))
    exact = own.reshape(*spec.shape, 2)[..., 0] / 2**20
    truths = [auc_over_grades(one[:, :2], 0.0) for one in exact]
    held = 0
    for number in range(60):
        views = views_of(noised(spec, own, f"many {number}", epsilon="1"))
        for truth, view in zip(truths, views.values(), strict=True):
            seen = view.auc
            assert seen is not None
            assert truth is not None
            held += abs(seen.value - truth.value) <= seen.half
    # The interval is of sampling, too, so the noise alone is outside less often than 1 in 20.
    assert held >= 0.93 * 120


def test_each_person_stands_once_in_every_view_and_noise_is_made_for_that() -> None:
    impact, spec = town(), spec_of()
    persons = contribution(spec, fit_entries(spec, impact)).reshape(*spec.shape, 2)[..., 0]
    assert (persons.sum(axis=(1, 2)) == PERSONS << 20).all()
    assert (persons[0].sum(axis=0) == persons[1].sum(axis=0)).all()
    assert spec.cells_per_person == 2
    assert spec.shape == (2, len(PD_BANDS), len(OUTCOMES))


def test_fit_without_its_views_or_measures_is_refused() -> None:
    spec = spec_of(attested=True)
    axis = replace(spec.axes[0], cells=("with", "attested"))
    for bent in (
        replace(spec, cells_per_person=1),
        replace(spec, measures=spec.measures[:1]),
        replace(spec, axes=(axis, *spec.axes[1:]), cells_per_person=2),
        replace(spec, filters=spec.filters[:1]),
    ):
        with pytest.raises(ConfigurationError):
            check_cells(bent)


def test_other_kinds_are_not_seen_with_attestations() -> None:
    wanted = Wanted(
        partners=("bank_a",), head="ab" * 32, cuts=("0.1", "0.2", "0.3", "0.4"), attested=True
    )
    with pytest.raises(ConfigurationError, match="cells of view"):
        figure(FigureKind.DEPENDENCE, "2026-10", "2026-10", wanted)


def test_attestations_that_the_head_does_not_know_and_labels_that_are_none_are_refused() -> (
    None
):
    impact = town()
    with pytest.raises(DomainError, match="no family of attestations"):
        list(fit_entries(spec_of(attested=True), replace(impact, attested=None)))
    with pytest.raises(ShapeError):
        replace(impact, labels=impact.labels[1:])
    with pytest.raises(DomainError, match="label"):
        replace(impact, labels=np.full(PERSONS, 7, dtype=np.uint8))


def test_few_persons_are_not_told_and_the_page_says_what_is_assumed() -> None:
    table = released(spec_of(), town(), "page")
    report = report_of([table])
    page = trend_page(report)
    assert "loss given default of 60 %" in page
    assert "SYNTHETIC" in page
    assert "auc_change" in as_csv(report)
    nobody = np.zeros(0, dtype=np.int64)
    nothing = Impact(
        premium=Premium(before=nobody, after=nobody, strata=nobody),
        labels=np.zeros(0, dtype=np.uint8),
        holdout=np.zeros(0, dtype=np.bool_),
        attested=None,
    )
    # Sums of noise are above fifty now and then; a figure needs more than that.
    told = figures_of(released(spec_of(), nothing, "none"))
    assert {one.value for (name, _), one in told.items() if name.startswith("auc")} == {None}
    assert told["auc", "with"].why in (Why.FEW, Why.UNDEFINED)


def test_expected_over_few_observed_under_much_noise_holds_what_is_true() -> None:
    """By derivatives the interval would miss the truth in 8 of 100 tables."""
    spec, draws = spec_of(), stream(11, "few bads")
    (view, *_) = views_of(released(spec, town(), "few")).values()
    cells, deviation, most = 10, 3.0, 1_500
    hits = told = 0
    for _ in range(most):
        bad = draws.poisson(4.0, cells) + draws.normal(0.0, deviation, cells)
        expected = 4.0 * cells + draws.normal(0.0, deviation * 0.3 * (2 * cells) ** 0.5)
        found = in_the_large(
            replace(
                view,
                bad=bad,
                good=np.full(cells, 50.0),
                expected=float(expected),
                deviation=deviation,
                expected_deviation=0.3 * deviation,
            )
        )
        if found is not None:
            told += 1
            hits += abs(found.value - 1) <= found.half
    assert told > most / 2
    assert hits / told >= 0.95
