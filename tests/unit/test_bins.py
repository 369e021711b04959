from dataclasses import replace

import numpy as np
import pytest

from consortium.errors import DecodeError, DomainError, SchemaError, ShapeError
from consortium.features.bins import (
    Bins,
    bin_count,
    bin_label,
    bins_of,
    cell_counts,
    edges_from_histogram,
    encode_column,
    grid_bins,
    grid_of,
    private_bins,
    private_features,
    public_bins,
)
from consortium.features.columns import Direction, Feature, Kind
from consortium.features.grids import CELLS, Scale
from consortium.features.schema import Schema, parse_schema

TEXT = """
name = "small"
version = 1
[label]
name = "bad"
definition = "90 days past due within 12 months"
[reason.R03]
zh = "已用额度占授信额度的比例较高"
en = "High share of the available limit is in use"
[[feature]]
name = "utilisation"
family = "lines"
kind = "number"
unit = "share"
concept = "utilisation"
range = [0, 2]
edges = [0.5, 1]
reason = "R03"
[[feature]]
name = "balance"
family = "lines"
kind = "number"
unit = "money"
concept = "balance"
range = [0, 64]
reason = "R03"
[[feature]]
name = "purpose"
family = "lines"
kind = "category"
unit = "code"
concept = "loan_purpose"
categories = ["home", "travel"]
reason = "R03"
[[feature]]
name = "days_late"
family = "lines"
kind = "integer"
unit = "days"
concept = "arrears"
range = [0, 64]
reason = "R03"
"""


@pytest.fixture
def schema() -> Schema:
    return parse_schema(TEXT, source="small.toml")


@pytest.fixture
def utilisation(schema: Schema) -> Feature:
    return schema.feature("utilisation")


@pytest.fixture
def balance(schema: Schema) -> Feature:
    return schema.feature("balance")


def test_edge_belongs_to_the_bin_above_it(utilisation: Feature) -> None:
    values = np.array([0.0, 0.4999, 0.5, 0.9999, 1.0, 2.0])
    assert encode_column(utilisation, utilisation.edges, values).codes.tolist() == [
        1, 1, 2, 2, 3, 3,
    ]  # fmt: skip


def test_value_outside_the_public_range_is_counted_and_put_into_the_end_bin(
    utilisation: Feature,
) -> None:
    column = encode_column(
        utilisation, utilisation.edges, np.array([-7.0, 0.0, 2.0, 2.1, 1e300])
    )
    assert column.codes.tolist() == [1, 1, 3, 3, 3]
    assert (column.below, column.above) == (1, 2)


def test_missing_value_has_a_bin_of_its_own_and_is_outside_no_range(
    utilisation: Feature,
) -> None:
    column = encode_column(utilisation, utilisation.edges, np.array([np.nan, 0.1]))
    assert (column.codes.tolist(), column.below, column.above) == ([0, 1], 0, 0)


def test_text_that_is_not_listed_is_counted_and_put_into_its_own_bin(schema: Schema) -> None:
    column = encode_column(schema.feature("purpose"), (), np.array([0.0, 1.0, 2.0, np.nan]))
    assert (column.codes.tolist(), column.below, column.above) == ([1, 2, 3, 0], 0, 1)
    assert bin_count(schema.feature("purpose"), ()) == 4


def test_infinity_is_refused(utilisation: Feature) -> None:
    with pytest.raises(DomainError, match="'utilisation' holds infinity"):
        encode_column(utilisation, utilisation.edges, np.array([np.inf]))


@pytest.mark.parametrize("position", [3.0, -1.0, 0.5])
def test_position_that_is_no_category_is_refused(schema: Schema, position: float) -> None:
    with pytest.raises(DomainError, match="no category"):
        encode_column(schema.feature("purpose"), (), np.array([position]))


def test_column_of_shape_rows_by_one_is_refused(utilisation: Feature) -> None:
    with pytest.raises(ShapeError, match="2 dimensions"):
        encode_column(utilisation, utilisation.edges, np.zeros((3, 1)))


def test_grid_of_a_linear_range_has_equal_cells(balance: Feature) -> None:
    assert grid_of(balance) == tuple(str(edge) for edge in range(1, 64))


def test_grid_of_a_log_range_has_equal_ratios(balance: Feature) -> None:
    log = replace(balance, range=("1", "64"), scale=Scale.LOG)
    edges = np.array([float(edge) for edge in grid_of(log)])
    np.testing.assert_allclose(edges, 64 ** (np.arange(1, 64) / 64), rtol=5e-6)


def test_grid_over_both_signs_has_an_edge_at_zero_and_steps_alike(balance: Feature) -> None:
    signed = replace(balance, range=("-1000", "1000000"), scale=Scale.SIGNED_LOG)
    edges = [float(edge) for edge in grid_of(signed)]
    assert len(edges) == CELLS - 1
    assert 0.0 in edges
    below = np.log1p(-np.array([e for e in edges if e <= 0]))
    above = np.log1p(np.array([e for e in edges if e >= 0]))
    np.testing.assert_allclose(np.diff(below), np.diff(below)[0], rtol=1e-4)
    np.testing.assert_allclose(np.diff(above), np.diff(above)[0], rtol=1e-4)


def test_grid_vector_is_the_same_on_every_machine(balance: Feature) -> None:
    signed = replace(balance, range=("-100", "1000000"), scale=Scale.SIGNED_LOG)
    assert grid_of(signed)[:4] == ("-74.6922", "-55.7259", "-41.512", "-30.8597")
    assert grid_of(signed)[-2:] == ("562341", "749894")


def test_a_category_has_no_grid(schema: Schema) -> None:
    with pytest.raises(SchemaError, match="'purpose' is a category"):
        grid_of(schema.feature("purpose"))


def test_public_bins_are_the_schemas_edges_else_eight_equal_steps(schema: Schema) -> None:
    bins = public_bins(schema)
    assert bins.of("utilisation") == ("0.5", "1")
    assert bins.of("balance") == ("8", "16", "24", "32", "40", "48", "56")
    assert bins.of("purpose") == ()
    with pytest.raises(SchemaError, match="no bins for feature 'income'"):
        bins.of("income")


def test_private_features_are_those_without_edges(schema: Schema) -> None:
    assert [f.name for f in private_features(schema)] == ["balance", "days_late"]
    assert grid_bins(schema).of("balance") == grid_of(schema.feature("balance"))


def test_bins_survive_their_canonical_form_and_their_digest_is_fixed(schema: Schema) -> None:
    bins = public_bins(schema)
    again = Bins.from_canonical(bins.to_canonical(), schema)
    assert again == bins
    assert again.digest == BINS_DIGEST


BINS_DIGEST = "7bebd69ebe1c93b9c18de3524a4dbe372107ece7341b05b1727ab316d2973af9"


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "0" * 64},
        {"edges": []},
        {"edges": 3},
        {"edges": [{"feature": "balance"}]},
        {"extra": 1},
    ],
)
def test_bins_that_are_not_of_the_schema_are_refused(
    schema: Schema, change: dict[str, object]
) -> None:
    with pytest.raises(DecodeError, match="bins"):
        Bins.from_canonical(public_bins(schema).to_canonical() | change, schema)


def test_bins_that_replace_a_public_edge_are_refused(schema: Schema) -> None:
    moved = bins_of(schema, {"balance": ("2",), "days_late": ("1",)}).to_canonical()
    moved["edges"][0]["edges"] = ["0.7"]  # type: ignore[index]
    with pytest.raises(DecodeError, match="not those of this schema"):
        Bins.from_canonical(moved, schema)


def test_private_edges_that_do_not_rise_are_refused(schema: Schema) -> None:
    with pytest.raises(DecodeError, match="'balance' do not rise"):
        bins_of(schema, {"balance": ("3", "2")})


def test_one_person_changes_one_cell_of_each_private_feature() -> None:
    codes = np.array([[1, 64], [1, 0], [5, 2]], dtype=np.uint8)
    labels = np.array([0, 1, 1], dtype=np.uint8)
    counts = cell_counts(codes, labels)
    assert counts.shape == (2, CELLS, 2)
    for row in range(3):
        rest = np.delete(codes, row, axis=0), np.delete(labels, row)
        moved = counts - cell_counts(*rest)
        assert (moved**2).sum() <= codes.shape[1]
    assert counts[0, 0].tolist() == [1, 1]
    assert counts[1].sum() == 2, "a missing value is in no cell"


def test_cell_counts_refuse_labels_of_shape_rows_by_one() -> None:
    with pytest.raises(ShapeError, match="labels of shape"):
        cell_counts(np.ones((3, 2), dtype=np.uint8), np.ones((3, 1), dtype=np.uint8))


def counts_with(balance: dict[int, tuple[float, float]]) -> np.ndarray:
    noisy = np.zeros((CELLS, 2))
    for cell, pair in balance.items():
        noisy[cell] = pair
    return noisy


def test_uniform_counts_give_bins_of_a_tenth(balance: Feature) -> None:
    edges = edges_from_histogram(balance, np.full((CELLS, 2), 50.0), 6400.0)
    assert edges == ("7", "14", "21", "28", "35", "42", "49", "56")


def test_rest_below_five_percent_joins_the_bin_before_it(balance: Feature) -> None:
    noisy = counts_with({0: (50, 0), 10: (48, 0), 20: (2, 0)})
    assert edges_from_histogram(balance, noisy, 100.0) == ("1",)
    assert edges_from_histogram(balance, counts_with({0: (90, 0), 9: (8, 0)}), 98.0) == ("1",)


def test_all_in_one_cell_gives_no_more_than_one_edge(balance: Feature) -> None:
    assert edges_from_histogram(balance, counts_with({63: (100, 10)}), 110.0) == ()


@pytest.mark.parametrize("total", [0.0, -3.0])
def test_no_total_gives_one_bin(balance: Feature, total: float) -> None:
    assert edges_from_histogram(balance, np.full((CELLS, 2), -1.0), total) == ()


def test_negative_cells_count_as_zero(balance: Feature) -> None:
    noisy = np.full((CELLS, 2), 50.0)
    noisy[3] = (-1000.0, -1000.0)
    assert edges_from_histogram(balance, noisy, 6300.0)[0] == "8"


@pytest.mark.parametrize(("direction", "edges"), [("none", 2), ("up", 1), ("down", 1)])
def test_bins_are_merged_until_the_bad_rate_is_monotone(
    balance: Feature, direction: str, edges: int
) -> None:
    noisy = counts_with({0: (80, 20), 20: (60, 40), 40: (90, 10)})
    directed = replace(balance, direction=Direction(direction))
    assert len(edges_from_histogram(directed, noisy, 300.0)) == edges


def test_integer_edges_are_whole_and_move_no_person(schema: Schema) -> None:
    days = replace(schema.feature("days_late"), range=("0", "20"))
    noisy = np.full((CELLS, 2), 50.0)
    edges = edges_from_histogram(days, noisy, 6400.0)
    numbers = edges_from_histogram(replace(days, kind=Kind.NUMBER), noisy, 6400.0)
    values = np.arange(0.0, 21.0)
    assert all("." not in edge for edge in edges)
    assert (
        encode_column(days, edges, values).codes.tolist()
        == encode_column(days, numbers, values).codes.tolist()
    )


def test_histogram_noisier_than_a_tenth_of_a_bin_gives_the_public_edges(schema: Schema) -> None:
    noisy = np.full((2, CELLS, 2), 50.0)
    trusted = private_bins(schema, noisy, deviation=60.0)
    refused = private_bins(schema, noisy, deviation=80.0)
    assert trusted.of("balance") == ("7", "14", "21", "28", "35", "42", "49", "56")
    assert refused == public_bins(schema)


def test_histogram_of_another_shape_is_refused(schema: Schema, balance: Feature) -> None:
    with pytest.raises(ShapeError, match="for 2 features"):
        private_bins(schema, np.zeros((1, CELLS, 2)), deviation=1.0)
    with pytest.raises(ShapeError, match="expected"):
        edges_from_histogram(balance, np.zeros((2, CELLS)), 1.0)


def test_labels_of_bins_are_what_a_person_would_write(schema: Schema) -> None:
    def labels(name: str, *edges: str) -> list[str]:
        feature = schema.feature(name)
        return [bin_label(feature, edges, i) for i in range(bin_count(feature, edges))]

    assert labels("balance", "500", "1000") == [
        "missing", "below 500", "[500, 1,000)", "1,000 or more",
    ]  # fmt: skip
    assert labels("utilisation", "0.05", "0.1")[2] == "[0.05, 0.1)"
    assert labels("days_late", "-1", "0", "501", "1001") == [
        "missing", "below -1", "-1", "0 to 500", "501 to 1,000", "1,001 or more",
    ]  # fmt: skip
    assert labels("purpose") == ["missing", "home", "travel", "other"]
    assert labels("balance") == ["missing", "any value"]


@pytest.mark.parametrize("code", [-1, 4])
def test_label_of_a_bin_that_is_not_there_is_refused(balance: Feature, code: int) -> None:
    with pytest.raises(DomainError, match=f"no bin {code}"):
        bin_label(balance, ("1", "2"), code)


def test_public_edges_finer_than_the_private_grid_come_back() -> None:
    edges = ", ".join(f'"{edge}"' for edge in range(1, 99))
    schema = parse_schema(
        f"""
name = "fine"
version = 1

[label]
name = "bad"
definition = "late"

[[feature]]
name = "used"
family = "all"
kind = "integer"
unit = "count"
concept = "utilisation"
range = ["0", "200"]
edges = [{edges}]
reason = "R03"
reason_zh = "x"
reason_en = "x"
""",
        source="fine",
    )
    bins = public_bins(schema)
    assert Bins.from_canonical(bins.to_canonical(), schema) == bins
