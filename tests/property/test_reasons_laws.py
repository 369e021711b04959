"""Reasons for random heads and persons: they add up, they rise with risk, they were scored."""

from hypothesis import assume, given
from hypothesis import strategies as st

from consortium.scoring.reasons import Case, Part, Source, explain, tables_of
from consortium.scoring.scorecard import UNIT_BITS, from_units, points
from consortium.scoring.whatif import changes
from tests.reasons_house import FAMILIES, LABELS, LATE, SCHEMA

weights = st.integers(-4 * LATE, 4 * LATE)
slopes = st.integers(-LATE // 4, 3 * LATE)
STEPS = st.sampled_from([1, 2, 5, 10])


@st.composite
def tables_and_cases(draw: st.DrawFn) -> tuple[dict[str, tuple[int, ...]], Case]:
    table = {
        feature.name: tuple(draw(weights) for _ in range(4 if feature.name == "kind" else 5))
        for feature in SCHEMA.features
    }
    alpha = draw(st.integers(-5 * LATE, 3 * LATE))
    codes: dict[str, int] = {}
    parts = []
    eta = alpha
    for name in FAMILIES:
        held = draw(st.booleans())
        own = 0
        if held:
            for feature in SCHEMA.of_families((name,)):
                code = draw(st.integers(0, len(table[feature.name]) - 1))
                codes[feature.name] = code
                own += table[feature.name][code]
            own = max(-16 * LATE, min(16 * LATE, own))
        others = draw(st.integers(0, 5))
        lowest = sum(min(table[f.name]) for f in SCHEMA.of_families((name,)))
        highest = sum(max(table[f.name]) for f in SCHEMA.of_families((name,)))
        total = own + sum(draw(st.integers(lowest, highest)) for _ in range(others))
        part = Part(name, draw(slopes), own, total, others + held)
        parts.append(part)
        eta += (part.slope * (total // max(1, part.holders))) >> UNIT_BITS
    return table, Case(alpha=alpha, eta=eta, parts=tuple(parts), codes=codes)


@given(tables_and_cases(), STEPS)
def test_shown_points_add_up_exactly_for_any_head_and_person(
    drawn: tuple[dict[str, tuple[int, ...]], Case], step: int
) -> None:
    weights, case = drawn
    told = explain(case, tables_of(SCHEMA, weights, families=FAMILIES), step=step)
    lost = sum(one.points for one in told.losses)
    assert told.points == told.best - lost - told.unattributed
    assert told.points == points(from_units(case.eta))
    own = [one for one in told.losses if one.source is Source.OWN]
    assert all(one.points >= 0 for one in own)
    assert all(one.points % step == 0 for one in told.losses if one.source is Source.OTHERS)


@given(tables_and_cases(), STEPS)
def test_no_reason_is_told_that_was_not_scored(
    drawn: tuple[dict[str, tuple[int, ...]], Case], step: int
) -> None:
    weights, case = drawn
    tables = tables_of(SCHEMA, weights, families=FAMILIES)
    told = explain(case, tables, step=step)
    held = {part.name for part in case.parts if part.holders > 0}
    assert set(told.no_data) == set(FAMILIES) - held
    codes = {SCHEMA.feature(name).reason for name in case.codes}
    codes |= {tables[name].remote.code for name in held}
    assert {one.code for one in told.reasons} <= codes
    shown = [one.points for one in told.reasons]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) <= 4
    assert all(one.points >= (1 if one.source is Source.OWN else step) for one in told.reasons)


@given(tables_and_cases(), st.data())
def test_a_worse_bin_costs_its_attribute_no_less_and_the_score_no_less(
    drawn: tuple[dict[str, tuple[int, ...]], Case], data: st.DataObject
) -> None:
    weights, case = drawn
    assume(case.codes)
    name = data.draw(st.sampled_from(sorted(case.codes)))
    worse = data.draw(st.integers(0, len(weights[name]) - 1))
    moved = weights[name][worse] - weights[name][case.codes[name]]
    assume(moved > 0)
    family = SCHEMA.feature(name).family
    # A family without any value is not held, and then nothing of it is lost.
    moved_codes = {**case.codes, name: worse}
    assume(any(moved_codes[one] for one in moved_codes if SCHEMA.feature(one).family == family))
    parts = tuple(
        Part(p.name, abs(p.slope), p.own + moved, p.total + moved, p.holders)
        if p.name == family
        else Part(p.name, abs(p.slope), p.own, p.total, p.holders)
        for p in case.parts
    )
    before_parts = tuple(
        Part(p.name, abs(p.slope), p.own, p.total, p.holders) for p in case.parts
    )
    tables = tables_of(SCHEMA, weights, families=FAMILIES)

    def told(parts: tuple[Part, ...], codes: dict[str, int]) -> tuple[int, int]:
        eta = case.alpha + sum(
            (p.slope * (p.total // max(1, p.holders))) >> UNIT_BITS for p in parts
        )
        found = explain(
            Case(alpha=case.alpha, eta=eta, parts=parts, codes=codes), tables, step=5
        )
        lost = sum(one.points for one in found.losses if one.feature == name)
        return found.points, lost

    before = told(before_parts, dict(case.codes))
    after = told(parts, dict(case.codes) | {name: worse})
    assert after[0] <= before[0]
    assert after[1] >= before[1] - 1  # both are rounded


@given(tables_and_cases())
def test_what_would_change_the_score_is_what_scoring_again_gives(
    drawn: tuple[dict[str, tuple[int, ...]], Case],
) -> None:
    weights, case = drawn
    tables = tables_of(SCHEMA, weights, families=FAMILIES)
    for change in changes(case, tables, LABELS):
        family = SCHEMA.feature(change.feature).family
        now = weights[change.feature][case.codes[change.feature]]
        part = next(p for p in case.parts if p.name == family)
        raw = sum(
            weights[name][code]
            for name, code in case.codes.items()
            if SCHEMA.feature(name).family == family
        )
        again = set()
        for weight in weights[change.feature][1:]:
            own = max(-16 * LATE, min(16 * LATE, raw + weight - now))
            total = part.total - part.own + own
            eta = case.eta - ((part.slope * (part.total // part.holders)) >> UNIT_BITS)
            eta += (part.slope * (total // part.holders)) >> UNIT_BITS
            again.add(points(from_units(eta)))
        assert change.points in again
        assert change.points == points(from_units(case.eta)) + change.gain
        assert change.gain >= 1
