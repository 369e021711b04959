from dataclasses import replace

import numpy as np
import pytest

from consortium.errors import ConfigurationError, DomainError, ShapeError
from consortium.features.bins import public_bins
from consortium.features.schema import Schema, parse_schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.plan import (
    Algorithm,
    BinSource,
    Block,
    BudgetShares,
    ModelKind,
    OptimizerSettings,
    ReleaseKind,
    TrainingPlan,
)
from consortium.privacy.mechanism import mechanism_for
from models.scorecard import row_bound
from models.spec import (
    MAX_WIDTH,
    check_weights,
    initial_weights,
    layer_shapes,
    parameter_count,
    spec_of,
    unpack,
)

FEATURE = """
[[feature]]
name = "{name}"
family = "{family}"
kind = "integer"
unit = "count"
concept = "arrears"
range = ["0", "100"]
scale = "linear"
edges = {edges}
direction = "up"
disclosure = "own"
reason = "R01"
reason_zh = "text"
reason_en = "text"
"""
HEAD = """
name = "tiny"
version = 1
[label]
name = "bad"
definition = "late"
"""


def _schema() -> Schema:
    features = (
        ("late", "repayment", ["1", "2"]),
        ("billed", "billing", ["10"]),
        ("missed", "repayment", ["1", "5", "9"]),
    )
    tables = [
        FEATURE.format(name=name, family=family, edges=edges).replace("'", '"')
        for name, family, edges in features
    ]
    return parse_schema(HEAD + "".join(tables), source="tiny")


def _plan(schema: Schema) -> TrainingPlan:
    blocks = tuple(
        Block(name=name, families=families, holders=(PartnerId("bank"),), normaliser=1000)
        for name, families in (("banks", ("repayment",)), ("platforms", ("billing",)))
    )
    return TrainingPlan(
        run=RunId("0" * 32),
        manifest=Digest("0" * 64),
        schema=schema.digest,
        code=Digest("0" * 64),
        model=ModelKind.SCORECARD,
        algorithm=Algorithm.SUM,
        bin_source=BinSource.PUBLIC,
        blocks=blocks,
        clip="1",
        rounds=60,
        spare_attempts=6,
        epsilon="1",
        delta="0.000001",
        max_partners_per_person=2,
        min_partners=3,
        shares=BudgetShares(),
        optimizer=OptimizerSettings(),
        holdout_fraction="0.2",
        holdout_salt="s",
    )


def test_blocks_follow_one_another_with_the_missing_bins_counted() -> None:
    schema = _schema()
    spec = spec_of(_plan(schema), schema, public_bins(schema))
    banks, platforms = spec.blocks
    assert banks.features == ("late", "missed")
    assert banks.families == ("repayment", "repayment")
    assert banks.bin_counts == (4, 5)
    assert (banks.offset, banks.size) == (0, 9)
    assert (platforms.offset, platforms.size) == (9, 3)
    assert spec.size == 12
    assert spec.block_of_family("billing") is platforms
    assert spec.block("banks") is banks


def test_mlp_counts_matrices_and_biases_of_every_layer() -> None:
    schema = _schema()
    plan = replace(_plan(schema), model=ModelKind.MLP, hidden=(4, 3))
    spec = spec_of(plan, schema, public_bins(schema))
    assert [block.size for block in spec.blocks] == [9 * 4 + 4 + 4 * 3 + 3 + 3 + 1, 35]


def test_unknown_block_or_family_is_refused() -> None:
    schema = _schema()
    spec = spec_of(_plan(schema), schema, public_bins(schema))
    with pytest.raises(ConfigurationError, match="no block"):
        spec.block("other")
    with pytest.raises(ConfigurationError, match="no family"):
        spec.block_of_family("other")


def test_family_in_two_blocks_is_refused() -> None:
    schema = _schema()
    plan = _plan(schema)
    plan = replace(plan, blocks=(plan.blocks[0], replace(plan.blocks[0], name="again")))
    with pytest.raises(ConfigurationError, match="two blocks"):
        spec_of(plan, schema, public_bins(schema))


def test_block_without_features_is_refused() -> None:
    schema = _schema()
    plan = _plan(schema)
    plan = replace(plan, blocks=(replace(plan.blocks[0], families=()),))
    with pytest.raises(ConfigurationError, match="no features"):
        spec_of(plan, schema, public_bins(schema))


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        (ModelKind.SCORECARD, (4,)),
        (ModelKind.MLP, ()),
        (ModelKind.MLP, (0,)),
        (ModelKind.MLP, (MAX_WIDTH + 1,)),
    ],
)
def test_hidden_layers_that_do_not_fit_are_refused(
    kind: ModelKind, hidden: tuple[int, ...]
) -> None:
    schema = _schema()
    plan = replace(_plan(schema), model=kind, hidden=hidden)
    with pytest.raises(ConfigurationError, match="hidden"):
        spec_of(plan, schema, public_bins(schema))


def test_scorecard_starts_at_zero() -> None:
    schema = _schema()
    spec = spec_of(_plan(schema), schema, public_bins(schema))
    assert not initial_weights(spec, bytes(32)).any()


def test_mlp_start_depends_on_seed_and_block_only_and_breaks_symmetry() -> None:
    schema = _schema()
    plan = replace(_plan(schema), model=ModelKind.MLP, hidden=(4,))
    spec = spec_of(plan, schema, public_bins(schema))
    start = initial_weights(spec, bytes(32))
    assert np.array_equal(start, initial_weights(spec, bytes(32)))
    assert not np.array_equal(start, initial_weights(spec, bytes(31) + b"\x01"))
    (first, biases), _ = unpack(start[spec.blocks[0].window], layer_shapes((4,), 9))
    assert np.unique(first).size == first.size
    assert np.abs(first).max() <= np.sqrt(6 / (2 + 4))
    assert not biases.any()


def test_unpacking_covers_every_parameter_once_in_order() -> None:
    shapes = layer_shapes((3,), 5)
    size = parameter_count(ModelKind.MLP, (3,), 5)
    flat = np.arange(float(size))
    parts = [part.ravel() for layer in unpack(flat, shapes) for part in layer]
    assert np.array_equal(np.concatenate(parts), flat)
    with pytest.raises(ShapeError):
        list(unpack(flat[:-1], shapes))


def test_weights_of_wrong_shape_dtype_or_domain_are_refused() -> None:
    check_weights(np.zeros(3), 3)
    for wrong in (np.zeros(4), np.zeros((3, 1)), np.zeros(3, dtype=np.float32)):
        with pytest.raises(ShapeError):
            check_weights(wrong, 3)  # type: ignore[arg-type]  # float32 on purpose
    with pytest.raises(DomainError):
        check_weights(np.array([0.0, np.nan, 1.0]), 3)


@pytest.mark.parametrize("width", [1, 2, 12, 195, 10_000, 10_001])
def test_noise_is_made_for_the_bound_that_rows_are_held_to(width: int) -> None:
    plan = _plan(_schema())
    alone = replace(plan, blocks=plan.blocks[:1])
    made_for = mechanism_for(alone, ReleaseKind.GRADIENT, width=width, partners=4).sensitivity
    assert made_for == row_bound(width)
    # A partner that holds two blocks adds two such rows for one person.
    both = mechanism_for(plan, ReleaseKind.GRADIENT, width=width, partners=4).sensitivity
    assert both**2 >= 2 * row_bound(width // 2) ** 2
