"""An asker's own test of a head: exact, on its own hold-out, by stratum; nothing leaves."""

from dataclasses import replace

import numpy as np
import pytest

from consortium.errors import DataError
from consortium.ids import Digest, PartnerId
from consortium.scoring.head import plain_head
from coordinator.releases import candidate_of
from models.document import HeadDocument, parse_head_document
from partner_node.acceptance import ALL, lines, shortcomings, validate_head
from tests.head_house import FAMILIES, StudyHouse, joint_rows


@pytest.fixture(scope="module")
def document() -> HeadDocument:
    house = StudyHouse(rows=4000)
    return parse_head_document(
        candidate_of(house.train(), house.manifest).document, house.schema
    )


def test_figures_are_of_all_held_out_persons_and_of_each_stratum(
    document: HeadDocument,
) -> None:
    rows = joint_rows(7, 5000)
    found = validate_head(document, rows)
    assert [one.block for one in found] == [ALL, "1", "2"]
    assert found[0].figures.rows == int(rows.holdout.sum())
    assert sum(one.figures.rows for one in found[1:]) == found[0].figures.rows
    assert found[0].figures.auc is not None
    assert found[0].figures.auc > 0.65
    assert 0.8 < (found[0].figures.in_the_large or 0) < 1.2
    assert len(lines(found)) == 3


def test_trained_head_is_better_calibrated_than_the_plain_sum(document: HeadDocument) -> None:
    rows = joint_rows(8, 20_000)
    plain = replace(document, head=plain_head(FAMILIES, document.head.base))
    trained, untrained = (
        [one.figures.in_the_large for one in validate_head(found, rows)]
        for found in (document, plain)
    )
    for one, other in zip(trained, untrained, strict=True):
        assert one is not None
        assert other is not None
    off = [max(abs(value - 1) for value in found if value) for found in (trained, untrained)]
    assert off[0] < off[1]


def test_small_stratum_breaks_no_rule_but_a_bad_whole_does(document: HeadDocument) -> None:
    rows = joint_rows(7, 5000)
    single = replace(
        rows, labels=np.where(rows.counts[:, 1] > 0, rows.labels, 0).astype(np.uint8)
    )
    found = validate_head(document, single)
    assert found[1].figures.auc is None
    assert shortcomings(found, min_auc="0.55") == []
    assert len(shortcomings(found, min_auc="0.999")) == 1


def test_head_is_not_tested_on_rows_of_another_model(document: HeadDocument) -> None:
    rows = joint_rows(7, 100)
    for other in (
        replace(rows, base=Digest("0d" * 32)),
        replace(rows, families=("billing", "repayment")),
        replace(rows, holdout=np.zeros(100, dtype=np.bool_)),
    ):
        with pytest.raises(DataError):
            validate_head(document, other)


def test_askers_stand_in_the_document(document: HeadDocument) -> None:
    assert document.plan.blocks[0].holders == (PartnerId("bank_a"), PartnerId("bank_b"))


def test_partner_outside_a_model_is_told_that_it_has_nothing_to_test() -> None:
    assert lines(()) == ["nothing to test: this partner holds no part of it"]
    assert shortcomings((), min_auc="0.55") == []
