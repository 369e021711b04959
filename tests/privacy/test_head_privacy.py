"""What one person, and one record, can move in a head's sums (protocol 4.2.2, 7.11)."""

from dataclasses import replace
from itertools import combinations
from math import isqrt

import numpy as np
import pytest

from consortium.crypto.keys import Secret
from consortium.ids import PartnerId
from consortium.plan import ReleaseKind
from consortium.privacy.mechanism import mechanism_for
from consortium.release import Level
from consortium.secagg.context import SumInputs
from models.head import HeadRows, clipped_gradient_sum, width_of
from models.run import RunSession
from models.scorecard import row_bound
from partner_node.head_sums import HeadSums
from partner_node.study import JointRows
from tests.head_house import BASE, StudyHouse, joint_rows

WIDTH = width_of(2)
UNIT = 1 << 32


def _row(logit: float) -> HeadRows:
    return HeadRows(
        strata=np.zeros(1, dtype=np.int64),
        inputs=np.array([[1.0, logit / 2, 0.0]]),
        partners=np.ones(1, dtype=np.int64),
    )


def test_record_at_another_partner_moves_an_askers_row_by_nearly_two_lengths() -> None:
    """So charging one length for it would claim too little."""
    sure = np.zeros(WIDTH)
    sure[0] = 30.0  # p is 1, the person is good: the longest residual there is
    good = np.zeros(1, dtype=np.uint8)
    one, two = (
        clipped_gradient_sum(_row(logit), good, sure, clip=1.25) for logit in (16.0, -16.0)
    )
    moved = sum(int(v) ** 2 for v in one - two)
    bound = row_bound(WIDTH)
    assert 1.95 * bound < isqrt(moved) <= 2 * bound


def test_figure_for_a_record_is_for_two_lengths_and_a_persons_for_one() -> None:
    house = StudyHouse(rows=50)
    for kind, width in ((ReleaseKind.GRADIENT, WIDTH), (ReleaseKind.EVALUATION, 1)):
        made = mechanism_for(house.plan, kind, width=width, partners=4)
        for level in Level:
            record = made.units(person=False, level=level)
            person = made.units(person=True, level=level)
            assert record >= 4 * person - 4 > 0


def test_bound_covers_every_person_that_the_market_allows() -> None:
    """All askers, holders, honest sets of up to four partners; in lengths of a row."""
    names = [PartnerId(name) for name in ("bank_a", "bank_b", "shop_c", "shop_d")]
    house = StudyHouse(rows=50)
    for askers, m, cap in ((2, 2, 1), (2, 2, 2), (2, 3, 2), (3, 3, 2), (3, 4, 3), (4, 4, 4)):
        block = replace(
            house.plan.blocks[0], holders=tuple(names[:askers]), holders_per_person=cap
        )
        plan = replace(house.plan, blocks=(block,), max_partners_per_person=m)
        made = mechanism_for(plan, ReleaseKind.GRADIENT, width=WIDTH, partners=4)
        assert made.shared is not None
        for honest in range(1, 5):
            worst = max(
                _lengths(set(known), set(sound), set(names[:askers]), cap)
                for count in range(1, m + 1)
                for known in combinations(names, count)
                for sound in combinations(names, honest)
            )
            assert (worst * made.sensitivity) ** 2 <= made._record(honest)


def _lengths(
    known: set[PartnerId], sound: set[PartnerId], askers: set[PartnerId], cap: int
) -> int:
    """Most that one record of a person known there moves the rows of the sound askers."""
    if len(known & askers) > cap:
        return 0  # not such a market
    found = 0
    for changed in known & sound:
        rows = known & askers & sound
        found = max(found, 2 * len(rows - {changed}) + (changed in rows))
    return found


def _sums(house: StudyHouse, rows: JointRows) -> HeadSums:
    return HeadSums(house.plan, PartnerId("bank_a"), joint_rows=lambda _base: rows)


def _computed(house: StudyHouse, sums: HeadSums, kind: ReleaseKind) -> list[int]:
    session = RunSession(house.plan, house.schema)
    request, inputs = session.request(house.connected())
    sizes = {ReleaseKind.GRADIENT: 9, ReleaseKind.OVERLAP: 9, ReleaseKind.EVALUATION: 110}
    asked = replace(request, kind=kind, dimension=sizes[kind])
    if kind is ReleaseKind.OVERLAP:
        inputs = SumInputs(arrays=())
    sums.prepare(asked, inputs)
    found = sums.compute(asked, inputs, seed=Secret(b"s" * 32), context=BASE)
    assert found.needs_noise
    assert found.held.all()
    return [int(value) for value in found.values]


@pytest.mark.parametrize(
    ("kind", "training"),
    [
        (ReleaseKind.GRADIENT, True),
        (ReleaseKind.OVERLAP, True),
        (ReleaseKind.EVALUATION, False),
    ],
)
def test_person_is_in_training_or_in_the_evaluation_and_never_in_both(
    kind: ReleaseKind, *, training: bool
) -> None:
    house = StudyHouse(rows=50)
    rows = joint_rows(0, 100)
    seen = _computed(house, _sums(house, rows), kind)
    for part in (rows.holdout, ~rows.holdout):
        other = replace(
            rows,
            logits=np.where(part[:, None], -rows.logits + UNIT, rows.logits),
            partners=np.where(part, rows.partners + 1, rows.partners),
            labels=np.where(part, 1 - rows.labels, rows.labels).astype(np.uint8),
        )
        moved = _computed(house, _sums(house, other), kind) != seen
        assert moved == (bool((part & ~rows.holdout).any()) == training)


def test_person_moves_a_count_by_one_cell() -> None:
    house = StudyHouse(rows=50)
    rows = joint_rows(0, 100)
    kept = np.arange(100) != 1  # a training person
    less = JointRows(
        base=rows.base,
        families=rows.families,
        **{
            name: getattr(rows, name)[kept]
            for name in ("logits", "counts", "own", "partners", "labels", "holdout")
        },
    )
    one, two = (
        np.array(_computed(house, _sums(house, found), ReleaseKind.OVERLAP))
        for found in (rows, less)
    )
    assert sorted(one - two) == [0] * 8 + [1 << 10]
