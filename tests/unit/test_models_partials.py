import math
from dataclasses import replace

import numpy as np
import pytest

from consortium.credit import tables
from consortium.credit.tables import Calibration
from consortium.errors import ConfigurationError, DecodeError, DomainError
from consortium.ids import Digest
from consortium.plan import ModelKind
from models.inference import Model
from models.partials import Joint, families_of, joint_of, partial_units
from models.spec import BlockSpec, ModelSpec

UNIT = 1 << 32

BLOCKS = (
    BlockSpec(
        name="banks",
        features=("late",),
        families=("repayment",),
        bin_counts=(3,),
        offset=0,
        size=3,
    ),
    BlockSpec(
        name="platforms",
        features=("bill", "paid", "limit"),
        families=("billing", "payments", "billing"),
        bin_counts=(2, 2, 2),
        offset=3,
        size=6,
    ),
)
MODEL = Model(
    spec=ModelSpec(kind=ModelKind.SCORECARD, hidden=(), blocks=BLOCKS),
    bins=Digest("b1" * 32),
    weights=(np.array([0.0, -1.0, 4.0]), np.array([0.0, 1.0, -2.0, 0.0, 1.0, 2.0])),
    calibration=(Calibration(alpha=0.1, beta=0.5), Calibration(alpha=0.0, beta=2.0)),
)


def _cells(*rows: tuple[float, int, int]) -> np.ndarray:  # type: ignore[type-arg]
    """A histogram with these (logit, goods, bads)."""
    table = np.zeros((tables.CELLS, 2))
    for logit, goods, bads in rows:
        table[int((logit + 6) * 2)] = (goods, bads)
    return table


CELLS = np.stack([_cells((0.25, 70, 30)), _cells((-1.75, 300, 50), (2.25, 50, 0))])


def test_base_is_the_log_odds_of_the_pooled_bad_rate() -> None:
    joint = joint_of(MODEL, CELLS, [0.0, 0.0])
    assert float(joint.base) == math.log(80 / 420)


def test_centre_of_a_blocks_only_family_is_the_blocks_mean() -> None:
    joint = joint_of(MODEL, CELLS, [0.0, 0.0])
    assert joint.centre("repayment") == 0.25


def test_centres_of_a_blocks_families_add_up_to_its_mean() -> None:
    joint = joint_of(MODEL, CELLS, [0.0, 0.0])
    mean = (-1.75 * 350 + 2.25 * 50) / 400
    billing, payments = 0.5 + 1.5, -1.0
    rest = (mean - billing - payments) / 2
    assert joint.centre("billing") == pytest.approx(billing + rest)
    assert joint.centre("payments") == pytest.approx(payments + rest)
    assert joint.centre("billing") + joint.centre("payments") == pytest.approx(mean)


def test_cells_of_noise_alone_do_not_move_a_centre() -> None:
    noisy = CELLS.copy()
    noisy[0, 23] = (3.0, -2.0)
    assert joint_of(MODEL, noisy, [2.0, 2.0]).centre("repayment") == 0.25


def test_histograms_without_a_rate_or_a_mean_are_refused() -> None:
    with pytest.raises(DomainError):
        joint_of(MODEL, np.zeros((2, tables.CELLS, 2)), [0.0, 0.0])
    with pytest.raises(DomainError):
        joint_of(MODEL, CELLS, [100.0, 0.0])


def test_units_are_whole_tables_of_the_recalibrated_bins_and_their_centre() -> None:
    joint = joint_of(MODEL, CELLS, [0.0, 0.0])
    found = partial_units(MODEL, joint)
    assert [one.family for one in found] == ["repayment", "billing", "payments"]
    assert found[0].tables[0].tolist() == [0, -UNIT // 2, 2 * UNIT]
    assert found[0].centre == UNIT // 8
    assert found[1].features == ("bill", "limit")
    assert [table.tolist() for table in found[1].tables] == [
        [0, 2 * UNIT],
        [2 * UNIT, 4 * UNIT],
    ]


def test_mlp_has_a_family_for_each_block_and_no_units() -> None:
    spec = ModelSpec(kind=ModelKind.MLP, hidden=(1,), blocks=(replace(BLOCKS[0], size=6),))
    model = Model(
        spec=spec, bins=MODEL.bins, weights=(np.zeros(6),), calibration=MODEL.calibration[:1]
    )
    assert families_of(spec) == ("banks",)
    joint = joint_of(model, CELLS[:1], [0.0])
    assert joint.centre("banks") == 0.25
    with pytest.raises(ConfigurationError):
        partial_units(model, joint)


@pytest.mark.parametrize("text", ["1.0e0", "nan", "inf", "", "1"])
def test_decimal_that_is_not_in_its_one_form_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        Joint(base=text, centres={})
    with pytest.raises(DecodeError):
        Joint(base="0.5", centres={"a": text})


def test_family_without_a_centre_is_refused() -> None:
    with pytest.raises(DecodeError):
        Joint(base="0.5", centres={}).centre("billing")
