"""Reasons worked by hand, and what may never be one (protocol 7.12)."""

import math
from collections.abc import Mapping

import pytest

from consortium.errors import DomainError, SchemaError
from consortium.scoring.layout import TOTAL
from consortium.scoring.reasons import (
    REMOTE,
    Case,
    Explanation,
    FamilyTable,
    Part,
    Source,
    explain,
    remote_text,
    tables_of,
)
from consortium.scoring.scorecard import FACTOR, OFFSET, UNIT_BITS
from tests.reasons_house import (
    FAMILIES,
    LATE,
    SCHEMA,
    TABLES,
    TOTAL_TABLES,
    WEIGHTS,
    own_logit,
)

BASE = -2 * LATE
WORST = {"late": 4, "worst": 4, "months": 1}
"""The asker's own repayment bins: 1.0, .5 and .75 log-odds, the best are -.5, -.25, -.75."""


def eta_of(alpha: int, parts: tuple[Part, ...]) -> int:
    """The formula of protocol 13.1, written out again."""
    return alpha + sum(
        (part.slope * (part.total // max(1, part.holders))) >> UNIT_BITS for part in parts
    )


def case(*parts: Part, codes: Mapping[str, int] | None = None) -> Case:
    return Case(alpha=BASE, eta=eta_of(BASE, parts), parts=parts, codes=codes or {})


def adds_up(told: Explanation) -> bool:
    return told.points == told.best - sum(one.points for one in told.losses) - told.unattributed


def own_part(codes: dict[str, int], family: str, slope: int = LATE) -> Part:
    logit = own_logit(codes, family)
    return Part(family, slope, logit, logit, 1)


def test_own_attributes_lose_what_their_weights_say() -> None:
    told = explain(case(own_part(WORST, "repayment"), codes=WORST), TABLES, step=5)
    # F = 28.8539; 1.5, .75 and 1.5 log-odds worse than the best bins: 43.28, 21.64, 43.28.
    # S = 513.561 - F*(-2 + 2.25) = 506.348; best = 513.561 - F*(-3.5) = 614.550: 109 points
    # are to be told, the floors tell 107, and the largest remainders are .64 and, first of
    # two alike, .28.
    assert [(one.feature, one.points) for one in told.losses] == [
        ("late", 44),
        ("worst", 22),
        ("months", 43),
    ]
    assert (told.points, told.best, told.unattributed) == (506, 615, 0)
    assert adds_up(told)


def test_losses_of_one_code_are_one_reason_and_the_largest_comes_first() -> None:
    told = explain(case(own_part(WORST, "repayment"), codes=WORST), TABLES, step=5)
    assert [(one.code, one.points) for one in told.reasons] == [("R01", 66), ("R06", 43)]
    assert (told.reasons[0].zh, told.reasons[0].en) == ("R01中", "R01 in words")
    assert all(one.source is Source.OWN for one in told.reasons)


def test_another_holders_total_is_rounded_to_the_step_and_named_by_its_concept() -> None:
    # Two holders of repayment, the own one at its best (-1.5), the other at +1.1.
    codes = {"late": 1, "worst": 1, "months": 4}
    other = math.floor(1.1 * LATE)
    part = Part("repayment", LATE, own_logit(codes, "repayment"), other - 3 * LATE // 2, 2)
    told = explain(case(part, codes=codes), TABLES, step=5)
    # Half of 2.6 log-odds: 37.5 points, told as 40 (37.51 / 5 rounds up).
    remote = [one for one in told.losses if one.source is Source.OTHERS]
    assert [(one.family, one.feature, one.points) for one in remote] == [("repayment", "", 40)]
    assert [(one.code, one.points) for one in told.reasons] == [("R31", 40)]
    assert told.unattributed == -2
    assert adds_up(told)


@pytest.mark.parametrize("step", [1, 5, 10, 25])
def test_others_are_told_in_whole_steps_only(step: int) -> None:
    for logit in range(-LATE, 2 * LATE, LATE // 7):
        told = explain(case(Part("billing", LATE, 0, logit, 1)), TABLES, step=step)
        assert all(one.points % step == 0 for one in told.losses)
        assert abs(told.unattributed) <= step / 2 + 1
        assert adds_up(told)


def test_family_that_nobody_holds_is_no_data_and_never_a_reason() -> None:
    parts = (own_part(WORST, "repayment"), Part("billing", LATE, 0, 0, 0))
    told = explain(case(*parts, codes=WORST), TABLES, step=5)
    assert told.no_data == ("billing",)
    assert {one.family for one in told.losses} == {"repayment"}
    assert "R32" not in [one.code for one in told.reasons]


def test_own_family_without_any_value_is_not_held() -> None:
    # The words that are summed say so too: the only holder is somebody else.
    codes = {"late": 0, "worst": 0, "months": 0}
    told = explain(case(Part("repayment", LATE, 0, LATE, 1), codes=codes), TABLES, step=5)
    assert [one.source for one in told.losses] == [Source.OTHERS]
    assert adds_up(told)


def test_own_logit_without_attributes_is_not_told_as_others() -> None:
    table = FamilyTable("net", (), {}, remote_text(()))
    part = Part("net", LATE, LATE, LATE, 1)
    told = explain(case(part), {"net": table}, step=5)
    assert told.losses == ()
    assert told.unattributed == 29
    assert adds_up(told)


def test_own_family_without_another_holder_says_nothing_of_others() -> None:
    told = explain(case(own_part(WORST, "repayment"), codes=WORST), TABLES, step=1)
    assert all(one.source is Source.OWN for one in told.losses)


def test_person_unknown_here_has_totals_only() -> None:
    parts = tuple(Part(name, LATE, 0, 2 * LATE, 2) for name in FAMILIES)
    told = explain(case(*parts), TABLES, step=5)
    assert [one.source for one in told.losses] == [Source.OTHERS] * 3
    assert {one.code for one in told.reasons} == {"R31", "R32", "R33"}


def test_holders_of_one_family_are_averaged_so_the_own_loss_is_shared() -> None:
    logit = own_logit(WORST, "repayment")
    alone = explain(case(Part("repayment", LATE, logit, logit, 1), codes=WORST), TABLES, step=5)
    three = explain(
        case(Part("repayment", LATE, logit, 3 * logit, 3), codes=WORST), TABLES, step=5
    )
    assert three.points == alone.points
    shared = [one.points for one in three.losses if one.source is Source.OWN]
    assert shared == [15, 7, 15]  # a third of 43.28, 21.64 and 43.28


def test_each_family_has_the_slope_of_the_head() -> None:
    half = explain(
        case(own_part(WORST, "repayment", slope=LATE // 2), codes=WORST), TABLES, step=5
    )
    assert [one.points for one in half.losses] == [22, 11, 21]  # 21.64, 10.82, 21.64
    assert adds_up(half)


def test_slope_that_turned_makes_the_other_end_the_best() -> None:
    part = own_part(WORST, "repayment", slope=-LATE)
    told = explain(case(part, codes=WORST), TABLES, step=5)
    assert all(one.points >= 0 for one in told.losses)
    assert [one.points for one in told.losses] == [0, 0, 0]
    assert told.reasons == ()


def test_clamped_score_says_so_in_what_is_unattributed() -> None:
    far = Part("repayment", LATE, 0, 16 * LATE, 1)
    told = explain(case(far), TABLES, step=5)
    assert told.points == 300
    assert told.unattributed < -100
    assert adds_up(told)


def test_features_not_to_be_told_one_by_one_are_a_total_or_unattributed() -> None:
    codes = {"paid": 1, "shy": 1, "mute": 1}
    told = explain(case(own_part(codes, "payments"), codes=codes), TABLES, step=5)
    # paid: 1 log-odds, 28.85. shy: 4/8, 14.43, as the family's own total. mute: 2/8, 7.21.
    assert [(one.feature, one.points) for one in told.losses] == [("paid", 29), ("", 15)]
    assert told.unattributed == 7
    assert [one.code for one in told.reasons] == ["R04"]


def test_total_only_names_no_family_and_measures_others_against_the_average() -> None:
    codes = WORST | {"bill": 3}
    mine = own_logit(codes, TOTAL)
    part = Part(TOTAL, LATE, mine, mine + LATE, 2)
    told = explain(case(part, codes=codes), TOTAL_TABLES, step=5)
    remote = [one for one in told.losses if one.source is Source.OTHERS]
    assert [(one.family, one.points) for one in remote] == [(TOTAL, 15)]  # F / 2 = 14.4
    assert "R35" in [one.code for one in told.reasons]
    assert abs(told.unattributed) <= 3
    assert adds_up(told)


def test_at_most_four_reasons_and_a_pack_may_say_fewer() -> None:
    codes = WORST | {"bill": 3, "kind": 3, "paid": 1}
    parts = tuple(own_part(codes, name) for name in FAMILIES)
    told = explain(case(*parts, codes=codes), TABLES, step=5)
    assert len(told.reasons) == 4
    assert len(explain(case(*parts, codes=codes), TABLES, step=5, most=2).reasons) == 2


def test_small_losses_are_no_reasons() -> None:
    # Own: .02 log-odds, .58 points. Others: .08 log-odds, 2.3 points, no step of five.
    weights = dict(WEIGHTS) | {"late": (0, 0, 0, 0, LATE // 50)}
    tables = tables_of(SCHEMA, weights, families=FAMILIES)
    parts = (
        Part("repayment", LATE, LATE // 50, LATE // 50, 1),
        Part("billing", LATE, 0, -LATE // 4 + LATE * 8 // 100, 1),
    )
    told = explain(case(*parts, codes={"late": 4}), tables, step=5)
    assert told.reasons == ()


def test_attribute_at_its_best_is_never_shown_to_cost_a_point() -> None:
    codes = {"late": 1, "worst": 2, "months": 4}
    for alpha in range(-3 * LATE, 0, LATE // 9):
        part = own_part(codes, "repayment")
        whole = Case(alpha=alpha, eta=eta_of(alpha, (part,)), parts=(part,), codes=codes)
        told = explain(whole, TABLES, step=5)
        assert [one.points for one in told.losses if one.feature != "worst"] == [0, 0]
        assert adds_up(told)


def test_centres_move_the_average_and_no_loss() -> None:
    centre = LATE // 3
    tables = tables_of(SCHEMA, WEIGHTS, families=FAMILIES, centres={"repayment": centre})
    logit = own_logit(WORST, "repayment") - centre
    part = Part("repayment", LATE, logit, logit, 1)
    told = explain(case(part, codes=WORST), tables, step=5)
    plain = explain(case(own_part(WORST, "repayment"), codes=WORST), TABLES, step=5)
    assert [one.points for one in told.losses] == [43, 22, 43]
    assert [one.points for one in plain.losses] == [44, 22, 43]  # 108.2 in 109, not in 108
    assert told.points == plain.points + round(FACTOR / 3)
    assert adds_up(told)


def test_text_of_a_family_is_what_most_of_its_features_are_about() -> None:
    assert [remote_text(SCHEMA.of_families((name,))).code for name in FAMILIES] == [
        "R31",
        "R32",
        "R33",
    ]
    assert remote_text(()).code == "R35"
    assert {text.code for text in REMOTE.values()} == {"R31", "R32", "R33", "R34"}


def test_best_score_is_the_formula_at_the_best_bins() -> None:
    part = own_part(WORST, "repayment")
    told = explain(case(part, codes=WORST), TABLES, step=5)
    assert told.best == math.floor(OFFSET - FACTOR * (-2 - 1.5) + 0.5)


@pytest.mark.parametrize(
    ("parts", "codes", "step"),
    [
        ((Part("nowhere", LATE, 0, 0, 1),), {}, 5),
        ((Part("repayment", LATE, 0, 0, 1),), {"late": 5}, 5),
        ((Part("repayment", LATE, 0, 0, 1),), {"late": -1}, 5),
        ((Part("repayment", LATE, 0, 0, 1),), {}, 0),
    ],
)
def test_case_that_does_not_fit_the_model_is_refused(
    parts: tuple[Part, ...], codes: dict[str, int], step: int
) -> None:
    with pytest.raises(DomainError):
        explain(case(*parts, codes=codes), TABLES, step=step)


def test_weights_of_an_unknown_feature_are_refused() -> None:
    with pytest.raises(SchemaError):
        tables_of(SCHEMA, {"nothing": (0, 1)}, families=FAMILIES)
