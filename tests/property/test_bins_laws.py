from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from consortium.features.bins import (
    bin_count,
    bin_label,
    edges_from_histogram,
    encode_column,
    grid_of,
)
from consortium.features.columns import Direction, Disclosure, Feature, Kind
from consortium.features.concepts import Concept
from consortium.features.grids import CELLS, Scale

finite = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(-(10**6), 10**6, places=3)


def feature(*, kind: Kind, low: str, high: str, scale: Scale, direction: Direction) -> Feature:
    return Feature(
        name="x",
        family="f",
        kind=kind,
        unit="u",
        concept=Concept.BALANCE,
        range=(low, high),
        scale=scale,
        edges=(),
        categories=(),
        direction=direction,
        disclosure=Disclosure.OWN,
        reason="R01",
        reason_zh="一",
        reason_en="one",
    )


@st.composite
def features(draw: st.DrawFn) -> Feature:
    scale = draw(st.sampled_from(Scale))
    low = draw(st.integers(1 if scale is Scale.LOG else -(10**6), 10**6))
    high = low + draw(st.integers(abs(low) // 100 + 1, 10**7))
    return feature(
        kind=draw(st.sampled_from([Kind.NUMBER, Kind.INTEGER])),
        low=str(low),
        high=str(high),
        scale=scale,
        direction=draw(st.sampled_from(Direction)),
    )


edge_lists = st.lists(decimals, max_size=40, unique=True).map(
    lambda cuts: tuple(format(cut, "f") for cut in sorted(cuts))
)
NUMBER = feature(
    kind=Kind.NUMBER, low="-10", high="10", scale=Scale.LINEAR, direction=Direction.NONE
)


@given(edges=edge_lists, values=st.lists(finite, max_size=50))
def test_every_value_is_in_exactly_the_bin_that_its_edges_say(
    edges: tuple[str, ...], values: list[float]
) -> None:
    codes = encode_column(NUMBER, edges, np.array(values, dtype=np.float64)).codes
    cuts = [-np.inf, *map(float, edges), np.inf]
    for value, code in zip(values, codes.tolist(), strict=True):
        inside = [i for i in range(1, len(cuts)) if cuts[i - 1] <= value < cuts[i]]
        assert inside == [code]
        assert 0 < code < bin_count(NUMBER, edges)


@given(edges=edge_lists, values=st.lists(finite, min_size=2, max_size=50))
def test_codes_rise_with_values(edges: tuple[str, ...], values: list[float]) -> None:
    ordered = np.sort(np.array(values, dtype=np.float64))
    codes = encode_column(NUMBER, edges, ordered).codes
    assert (np.diff(codes.astype(np.int64)) >= 0).all()


@given(values=st.lists(finite | st.just(float("nan")), max_size=50))
def test_each_row_is_missing_below_inside_or_above_and_never_two(values: list[float]) -> None:
    column = encode_column(NUMBER, ("0",), np.array(values, dtype=np.float64))
    missing = int((column.codes == 0).sum())
    inside = sum(-10 <= value <= 10 for value in values)
    assert missing + column.below + column.above + inside == len(values)


@given(edges=edge_lists)
def test_labels_of_all_bins_differ(edges: tuple[str, ...]) -> None:
    labels = [bin_label(NUMBER, edges, code) for code in range(bin_count(NUMBER, edges))]
    assert len(set(labels)) == len(labels)


@given(column=features())
def test_grid_has_63_rising_edges_inside_the_range(column: Feature) -> None:
    assert column.range is not None
    edges = [Decimal(edge) for edge in grid_of(column)]
    assert len(edges) == CELLS - 1
    assert edges == sorted(set(edges))
    slack = Decimal("1.00001")  # six digits
    low, high = map(Decimal, column.range)
    assert low - abs(low) * (slack - 1) <= edges[0]
    assert edges[-1] <= high + abs(high) * (slack - 1)


noisy_cells = arrays(
    np.float64, (CELLS, 2), elements=st.integers(-200, 2000).map(float), fill=st.just(30.0)
)


@settings(max_examples=50)
@given(column=features(), noisy=noisy_cells)
def test_private_edges_are_a_rising_part_of_the_grid_with_at_most_ten_bins(
    column: Feature, noisy: NDArray[np.float64]
) -> None:
    total = float(np.maximum(noisy, 0).sum())
    edges = edges_from_histogram(column, noisy, total)
    assert len(edges) <= 9
    assert list(map(Decimal, edges)) == sorted(set(map(Decimal, edges)))
    if column.kind is Kind.NUMBER:
        assert set(edges) <= set(grid_of(column))


@given(noisy=noisy_cells, direction=st.sampled_from([Direction.UP, Direction.DOWN]))
def test_private_bins_have_a_monotone_noisy_bad_rate(
    noisy: NDArray[np.float64], direction: Direction
) -> None:
    column = feature(
        kind=Kind.NUMBER, low="0", high="64", scale=Scale.LINEAR, direction=direction
    )
    counts = np.maximum(noisy, 0)
    edges = edges_from_histogram(column, noisy, float(counts.sum()))
    parts = np.split(counts, [int(edge) for edge in edges])
    rates = [part[:, 1].sum() / part.sum() for part in parts if part.sum()]
    steps = np.diff(rates) if direction is Direction.UP else -np.diff(rates)
    assert (steps >= -1e-12).all()


@given(noisy=noisy_cells)
def test_without_direction_no_private_bin_is_thinner_than_five_percent(
    noisy: NDArray[np.float64],
) -> None:
    column = feature(
        kind=Kind.NUMBER, low="0", high="64", scale=Scale.LINEAR, direction=Direction.NONE
    )
    counts = np.maximum(noisy, 0)
    total = float(counts.sum())
    edges = edges_from_histogram(column, noisy, total)
    held = [part.sum() for part in np.split(counts, [int(edge) for edge in edges])]
    assert min(held) * 20 >= total
