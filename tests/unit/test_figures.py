"""What a noisy table is: the counting rule, its bounds, its form, its one release id."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.figure_forms import check_cells, periods
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import (
    Entry,
    NoisyTable,
    contribution,
    interval,
    n_band,
    parse_table,
    rate_interval,
    release_id,
)
from consortium.documents import document_of
from consortium.errors import ConfigurationError, DomainError, RiskWeaveError, ShapeError
from consortium.figure import SCALE_BITS, Axis, FigureKind, FigureSpec, Filter, Measure
from consortium.ids import Digest
from tests.figure_house import Case, approvals, cases, covered, release, rng_of, weekly_rates

ONE = 1 << SCALE_BITS
SPEC = FigureSpec(
    kind=FigureKind.DEMAND,
    first="2026-W01",
    last="2026-W03",
    axes=(
        Axis(name="week", cells=periods("2026-W01", "2026-W03")),
        Axis(name="product", cells=("a", "b")),
    ),
    measures=(Measure(name="applied"), Measure(name="amount", bound=1_000)),
    cells_per_person=2,
)

entries = st.builds(
    Entry,
    person=st.sampled_from(["p", "q", "r"]),
    cell=st.tuples(st.integers(0, 2), st.integers(0, 1)),
    values=st.tuples(st.just(1), st.integers(-(10**6), 10**6)),
    balance=st.integers(-5, 5),
    since=st.sampled_from(["2025-01-01", "2025-02-01"]),
)


@given(
    others=st.lists(entries, max_size=12),
    own=st.lists(entries.map(lambda one: replace(one, person="x")), max_size=8),
    most=st.integers(1, 4),
)
def test_no_person_moves_the_sum_by_more_than_its_sensitivity(
    others: list[Entry], own: list[Entry], most: int
) -> None:
    spec = replace(SPEC, cells_per_person=most)
    moved = contribution(spec, [*others, *own]) - contribution(spec, others)
    assert int((moved.astype(object) ** 2).sum()) <= spec.squared <= spec.sensitivity**2
    assert np.count_nonzero(moved.reshape(-1, 2).any(axis=1)) <= most


def test_of_two_lines_the_larger_counts_and_of_equal_ones_the_older() -> None:
    spec = replace(SPEC, cells_per_person=1)
    large = Entry(person="p", cell=(1, 1), values=(1, 10), balance=9, since="2026-01-02")
    small = Entry(person="p", cell=(0, 0), values=(1, 10), balance=8, since="2020-01-01")
    old = Entry(person="p", cell=(2, 0), values=(1, 10), balance=9, since="2026-01-01")

    def cell(*given: Entry) -> int:
        return int(np.flatnonzero(contribution(spec, given).reshape(-1, 2)[:, 0])[0])

    assert cell(small, large) == cell(large, small) == 3
    assert cell(small, large, old) == cell(old, large) == 4


def test_an_amount_is_clipped_at_its_public_bound_and_rounded_to_a_millionth() -> None:
    def amount(value: int, *, signed: bool = False) -> int:
        measures = (SPEC.measures[0], Measure(name="amount", bound=1_000, signed=signed))
        spec = replace(SPEC, measures=measures)
        found = contribution(spec, [Entry(person="p", cell=(0, 0), values=(1, value))])
        return int(found[1])

    assert [amount(value) for value in (-5, 0, 1_000, 10**9)] == [0, 0, ONE, ONE]
    assert amount(-(10**9), signed=True) == -ONE
    assert amount(1) == 1049  # 2**20 / 1000, rounded


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (Entry(person="p", cell=(3, 0), values=(1, 1)), DomainError),
        (Entry(person="p", cell=(-1, 0), values=(1, 1)), DomainError),
        (Entry(person="p", cell=(0,), values=(1, 1)), ShapeError),
        (Entry(person="p", cell=(0, 0), values=(1,)), ShapeError),
    ],
)
def test_an_entry_outside_the_table_is_an_error(
    entry: Entry, error: type[RiskWeaveError]
) -> None:
    with pytest.raises(error) as caught:
        contribution(SPEC, [entry])
    assert "p" not in repr(entry).replace("Entry", "")
    assert "3" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"first": "2026-W04"}, "is no period"),
        ({"last": "2026-03"}, "is no period"),
        ({"first": "2026-13"}, "a period is of"),
        ({"axes": (Axis(name="week", cells=("a", "a")),)}, "repeats a cell"),
        ({"axes": (Axis(name="Week", cells=("a",)),)}, "no name of a axis"),
        ({"axes": (Axis(name="week", cells=("a b",)),)}, "is not a label"),
        ({"cells_per_person": 7}, "7 cells a person"),
        ({"cells_per_person": 0}, "0 cells a person"),
        ({"measures": (Measure(name="n", bound=0),)}, "out of range"),
        ({"measures": ()}, "0 of measure"),
        ({"filters": (Filter(name="b", value="x"), Filter(name="a", value="x"))}, "sorted"),
    ],
)
def test_a_specification_of_another_form_is_refused(
    changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        replace(SPEC, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_figures_of_the_view_have_public_forms_and_others_are_refused(case: Case) -> None:
    check_cells(case.spec)
    axis = case.spec.axes[-1]
    if axis.name not in ("week", "product", "group", "segment", "without"):
        cut = replace(
            case.spec, axes=(*case.spec.axes[:-1], replace(axis, cells=axis.cells[:1]))
        )
        with pytest.raises(ConfigurationError, match="not the public ones"):
            check_cells(cut)
    named = (Axis(name="person", cells=("p1",)),)
    with pytest.raises(ConfigurationError, match="has no axes"):
        check_cells(replace(case.spec, axes=named, cells_per_person=1))
    with pytest.raises(ConfigurationError, match="no filter"):
        check_cells(replace(case.spec, filters=(Filter(name="person", value="p1"),)))
    doubled = (*case.spec.measures, Measure(name="income", bound=10))
    with pytest.raises(ConfigurationError, match="are not those of its kind"):
        check_cells(replace(case.spec, measures=doubled))


def test_a_kind_without_a_source_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="no node counts common"):
        check_cells(replace(SPEC, kind=FigureKind.COMMON))
    with pytest.raises(ConfigurationError, match="cells a person at most"):
        figure(FigureKind.ROLL_RATES, "2026-01", "2026-02", Wanted(cells_per_person=2))


def test_the_same_release_has_the_same_bytes_and_another_plan_another_id() -> None:
    case = approvals(weekly_rates())
    drawn = case.draw(rng_of(1))
    one, same, other = (release(case.spec, drawn, number) for number in (1, 1, 2))
    assert document_of(one) == document_of(same)
    assert one.digest == same.digest != other.digest
    assert parse_table(document_of(one)) == one
    plan = Digest("1" * 64)
    assert release_id(case.spec, plan) != release_id(case.spec, Digest("2" * 64))
    moved = replace(case.spec, last="2026-W25")
    assert release_id(moved, plan) != release_id(case.spec, plan)


def test_a_document_with_a_word_too_few_is_refused() -> None:
    case = approvals(weekly_rates())
    table = release(case.spec, case.draw(rng_of(1)), 1)
    with pytest.raises(ShapeError):
        replace(table, totals=table.totals[1:])


@pytest.mark.parametrize("case", cases()[1:6], ids=lambda case: case.name)
def test_the_true_value_lies_in_its_band(case: Case) -> None:
    # Five hundred releases are the slow tests'; of twenty the cells make hundreds of bands.
    for name, (held, printed) in covered(case, 20).items():
        assert held / printed >= 0.91, (name, held, printed)


def test_a_rate_on_fewer_than_fifty_is_suppressed_and_a_band_counts_noise_and_spread() -> None:
    assert rate_interval(10.0, 49.9, 0.0) is None
    found = rate_interval(30.0, 100.0, 3.0)
    assert found is not None
    noise = 9.0 * (1 + 0.09) / 100**2
    assert found.half == pytest.approx(1.96 * (0.21 / 100 + noise) ** 0.5)
    assert interval(-4.0, 3.0).half == pytest.approx(1.96 * 3.0)
    assert interval(100.0, 0.0).half == pytest.approx(19.6)
    with pytest.raises(DomainError):
        interval(float("nan"), 1.0)


def test_bands_of_persons_are_those_of_the_rules() -> None:
    seen = [n_band(n) for n in (-3.0, 999.9, 1_000, 5_000, 20_000, 100_000, 1_000_000)]
    assert seen == ["< 1k", "< 1k", "1-5k", "5-20k", "20-100k", "100k-1M", "> 1M"]


def test_what_is_a_table_of_a_person_does_not_print_it() -> None:
    entry = Entry(person="A123456789", cell=(1,), values=(77_001,), balance=77_001)
    assert "A123456789" not in repr(entry)
    assert "77001" not in repr(entry)


def exact(spec: FigureSpec, values: np.ndarray) -> NoisyTable:
    """A table without noise, for arithmetic."""
    case = approvals(weekly_rates())
    noisy = release(case.spec, case.draw(rng_of(1)), 1)
    bounds = np.array([one.bound for one in spec.measures])
    totals = np.rint(values / bounds * ONE).astype(np.int64).reshape(-1)
    return replace(noisy, spec=spec, totals=tuple(totals.tolist()), variance="0")
