"""What the joint score is compared with, against counting by hand and scikit-learn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from consortium.credit.tables import Calibration
from consortium.errors import DataError
from consortium.features.bins import public_bins
from models.calibration import calibrated
from models.inference import Model, block_logits
from models.spec import spec_of
from partner_node import ingest
from partner_node.ingest import DataSource, EncodedTable
from rehearsal.baselines import Released
from rehearsal.config_reading import load_rehearsal
from rehearsal.evidence import evidence_of
from rehearsal.results import JointAnswers, JointEvidence, JointRecord
from tests.rehearsal_house import furnish

Tables = dict[str, EncodedTable]

_BLOCKS = """
[[block]]
name = "repayment"
families = ["repayment"]
normaliser = 1500

[[block]]
name = "lines"
families = ["lines"]
normaliser = 1500
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Released, Tables]:
    """North holds repayment, south holds lines; a tenth of the persons are at both."""
    path = furnish(tmp_path_factory.mktemp("joint"), rows=2000, rounds=20)
    _cut(path)
    rehearsal = load_rehearsal(path)
    schema, plan = rehearsal.schema, rehearsal.plan
    bins = public_bins(schema)
    spec = spec_of(plan, schema, bins)
    weights = tuple(np.linspace(-1.0, 1.0, block.size) for block in spec.blocks)
    lines = (Calibration(alpha=-1.0, beta=0.5), Calibration(alpha=-0.5, beta=1.5))
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
    model = Model(spec=spec, bins=bins.digest, weights=weights, calibration=lines)
    return Released(plan, schema, bins, model), tables


def _cut(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("[[block]]")
    _, _, partners = rest.partition("[[partner]]")
    both = 'families = ["repayment", "lines"]'
    north, south = ("[[partner]]" + partners).split("[[partner]]")[1:]
    north = north.replace(both, 'families = ["repayment"]')
    south = south.replace(both, 'families = ["lines"]')
    text = f"{head}{_BLOCKS}\n[[partner]]{north}[[partner]]{south}"
    path.write_text(text, encoding="utf-8")


def _heads(table: EncodedTable) -> np.ndarray:
    assert table.persons is not None
    return table.persons[table.holdout]


def _record(tables: Tables) -> JointRecord:
    persons = _heads(tables["north"])
    both = np.isin(persons, _heads(tables["south"]))
    return JointRecord(
        answers=(
            JointAnswers(
                asker="north",
                persons=persons,
                eta=np.linspace(-2.0, 0.0, persons.size),
                bands=np.where(both, "2", "1"),
            ),
        ),
        milliseconds=(),
        first_milliseconds=(),
        batch_per_second=1.0,
        example={},
        head="",
        spent={},
    )


def _evidence(released: Released, tables: Tables) -> JointEvidence:
    found = evidence_of(released, tables, _record(tables)).joint
    assert found is not None
    return found


def test_persons_of_every_block_are_those_that_both_partners_hold_out(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    found = _evidence(released, tables)
    shared = np.intersect1d(_heads(tables["north"]), _heads(tables["south"]))
    assert found.persons == int(tables["north"].holdout.sum())
    assert found.persons_both == shared.size > 20
    assert [(one.band, one.persons) for one in found.coverage] == [
        ("1", found.persons - found.persons_both),
        ("2", found.persons_both),
    ]


def test_joint_and_own_block_are_judged_on_the_same_persons_and_labels(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    found, north = _evidence(released, tables), tables["north"]
    labels = north.labels[north.holdout]
    spec = released.model.spec.blocks[0]
    eta = calibrated(
        block_logits(released.model, spec.name, north.codes[north.holdout]),
        released.model.calibration[0],
    )
    answers = np.linspace(-2.0, 0.0, labels.size)
    assert found.joint_all.auc == pytest.approx(roc_auc_score(labels, answers))
    assert found.own_block_all.auc == pytest.approx(roc_auc_score(labels, eta))
    both = np.isin(_heads(north), _heads(tables["south"]))
    assert found.own_block.auc == pytest.approx(roc_auc_score(labels[both], eta[both]))


def test_best_source_is_the_better_block_trained_on_pooled_rows(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    found = _evidence(released, tables)
    assert {one.name for one in found.sources} == {"repayment", "lines"}
    assert found.best_source.auc == max(one.auc or 0.0 for one in found.sources)


def test_answer_for_a_person_whom_nobody_holds_is_an_error(
    house: tuple[Released, Tables],
) -> None:
    released, tables = house
    record = _record(tables)
    stranger = replace(record.answers[0], persons=record.answers[0].persons + np.uint64(1))
    with pytest.raises(DataError, match="no partner's table"):
        evidence_of(released, tables, replace(record, answers=(stranger,)))
