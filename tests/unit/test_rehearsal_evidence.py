"""Baselines and exact figures against oracles: scikit-learn, and counting by hand."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the fixture's type
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from consortium.credit.tables import Calibration
from consortium.errors import DataError
from consortium.features.bins import MISSING, public_bins
from consortium.scoring.scorecard import FACTOR
from models.inference import Model
from models.spec import spec_of
from partner_node import ingest
from partner_node.ingest import DataSource, EncodedTable
from rehearsal.baselines import Released, all_columns, joined, pooled_rows, trained
from rehearsal.config_reading import load_rehearsal
from rehearsal.evidence import evidence_of, feature_points, groups, roc_of
from tests.rehearsal_house import furnish

Tables = dict[str, EncodedTable]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Released, Tables]:
    path = furnish(tmp_path_factory.mktemp("house"), rows=2000, rounds=30)
    rehearsal = load_rehearsal(path)
    schema, plan = rehearsal.schema, rehearsal.plan
    bins = public_bins(schema)
    spec = spec_of(plan, schema, bins)
    weights = np.linspace(-1.0, 1.0, spec.size)
    model = Model(
        spec=spec,
        bins=bins.digest,
        weights=(weights,),
        calibration=(Calibration(alpha=-1.0, beta=0.5),),
    )
    tables = {
        str(party.id): ingest.load(
            DataSource(
                query=party.query, person="customer", label="bad", directory=path.parent
            ),
            schema,
            bins,
            party.families,
            holdout=(plan.holdout_salt, plan.holdout_fraction),
            persons=True,
        )
        for party in rehearsal.parties
    }
    return Released(plan, schema, bins, model), tables


def test_training_without_noise_reaches_the_regression_to_convergence(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    spec = released.model.spec.blocks[0]
    evidence = evidence_of(released, tables)
    block = evidence.blocks[0]
    assert block.pooled.auc == pytest.approx(block.ceiling, abs=0.01)
    model = trained(released, spec, pooled_rows(released, spec, tables, held_out=False))
    assert model.calibration[0].beta == pytest.approx(1.0, abs=0.3)
    assert block.pooled.in_the_large == pytest.approx(1.0, abs=0.15)


def test_no_held_out_row_is_trained_on_and_no_other_is_tested(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    evidence = evidence_of(released, tables)
    for one in evidence.partners:
        table = tables[one.name]
        assert one.holdout_rows == int(table.holdout.sum()) > 300
        assert one.training_rows + one.holdout_rows == len(table.labels)
    block = evidence.blocks[0]
    assert block.training_rows == sum(one.training_rows for one in evidence.partners)
    # Labels of held-out rows turned round change every test figure, but no trained model.
    turned = {
        name: replace(t, labels=np.where(t.holdout, 1 - t.labels, t.labels).astype(np.uint8))
        for name, t in tables.items()
    }
    other = evidence_of(released, turned).blocks[0]
    assert other.pooled.auc == pytest.approx(1 - (block.pooled.auc or 0), abs=1e-9)


def test_joining_counts_a_shared_person_once_and_fills_what_nobody_holds(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    _, codes, labels, holdout = joined(released, tables)
    assert len(labels) == 2000 + 2000 - 200
    assert codes.shape == (3800, 2)
    north = replace(
        tables["north"],
        features=tables["north"].features[:1],
        codes=tables["north"].codes[:, :1],
    )
    _, codes, _, _ = joined(released, {"north": north})
    assert (codes[:, 1] == MISSING).all()
    columns = all_columns(released, tables)
    found, persons = columns.auc, columns.persons.size
    assert persons == int(holdout.sum())
    assert found is not None
    assert found > 0.6


def test_first_partner_counts_where_two_hold_a_column(house: tuple[Released, Tables]) -> None:
    released, tables = house
    _, codes, _, _ = joined(released, tables)
    persons = np.unique(np.concatenate([heads(table) for table in tables.values()]))
    places = np.searchsorted(persons, heads(tables["north"]))
    np.testing.assert_array_equal(codes[places], tables["north"].codes)


def heads(table: EncodedTable) -> NDArray[np.uint64]:
    assert table.persons is not None
    return table.persons


def test_tables_without_persons_cannot_be_joined(house: tuple[Released, Tables]) -> None:
    released, tables = house
    with pytest.raises(DataError, match="persons"):
        joined(released, {"north": replace(tables["north"], persons=None)})


def test_roc_agrees_with_scikit_learn_with_many_ties(rng: Generator) -> None:
    eta = rng.integers(0, 12, 3000).astype(np.float64)
    labels = (rng.random(3000) < 0.1 + eta / 24).astype(np.uint8)
    curve = roc_of("x", "pooled", eta, labels)
    assert curve is not None
    assert curve.auc == pytest.approx(roc_auc_score(labels, eta), abs=1e-12)
    false, true, _ = roc_curve(labels, eta, drop_intermediate=False)
    np.testing.assert_allclose(curve.false, false, atol=1e-12)
    np.testing.assert_allclose(curve.true, true, atol=1e-12)


def test_roc_is_not_defined_for_one_class(rng: Generator) -> None:
    assert roc_of("x", "local", rng.random(9), np.zeros(9, dtype=np.uint8)) is None


def test_groups_hold_every_row_once_and_rise(rng: Generator) -> None:
    eta, labels = rng.normal(size=1234), (rng.random(1234) < 0.3).astype(np.uint8)
    found = groups(eta, labels)
    assert sum(group.rows for group in found) == 1234
    predicted = [group.predicted for group in found]
    assert predicted == sorted(predicted)
    total = sum(group.observed * group.rows for group in found)
    assert total == pytest.approx(labels.sum())


def test_points_are_signed_so_that_more_is_safer(house: tuple[Released, Tables]) -> None:
    released, _ = house
    late, used = feature_points(released)
    assert (late.feature, late.family, late.direction) == ("late", "repayment", "up")
    assert late.labels[0] == "missing"
    weights = released.model.weights[0]
    expected = [-FACTOR * 0.5 * weight for weight in weights]
    assert [*late.points, *used.points] == pytest.approx(expected)
