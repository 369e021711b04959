"""What would change a score, worked by hand (protocol 13.6)."""

from consortium.features.bins import MISSING
from consortium.scoring.layout import TOTAL
from consortium.scoring.reasons import Case, Part, tables_of
from consortium.scoring.whatif import Change, changes
from tests.reasons_house import (
    FAMILIES,
    LABELS,
    LATE,
    SCHEMA,
    TABLES,
    TOTAL_TABLES,
    WEIGHTS,
    own_logit,
)


def case(codes: dict[str, int], *parts: Part) -> Case:
    eta = -2 * LATE + sum(part.total // part.holders for part in parts if part.holders)
    return Case(alpha=-2 * LATE, eta=eta, parts=parts, codes=codes)


def own(codes: dict[str, int], family: str, holders: int = 1) -> Part:
    logit = own_logit(codes, family)
    return Part(family, LATE, logit, logit, holders)


def of(found: tuple[Change, ...], feature: str) -> list[tuple[str, str, int]]:
    return [(one.now, one.then, one.gain) for one in found if one.feature == feature]


def test_each_better_bin_and_its_gain_largest_first() -> None:
    codes = {"late": 4, "worst": 1, "months": 4}
    found = changes(case(codes, own(codes, "repayment")), TABLES, LABELS)
    # Scored is 513.561 - F * (-2 + 1 - .25 - .75) = 571.27. With 1.5, 1 and .5 log-odds less
    # it is 614.55, 600.12 and 585.70.
    assert [(then, gain) for _, then, gain in of(found, "late")] == [
        ("below 10", 44),
        ("below 20", 29),
        ("below 30", 15),
    ]
    assert of(found, "worst") == of(found, "months") == []
    assert {one.now for one in found} == {"30 or more"}
    assert {one.points - one.gain for one in found} == {571}


def test_where_more_is_better_the_label_says_or_more() -> None:
    codes = {"months": 1}
    found = changes(case(codes, own(codes, "repayment")), TABLES, LABELS)
    assert [then for _, then, _ in of(found, "months")] == [
        "30 or more",
        "20 or more",
        "10 or more",
    ]


def test_label_claims_nothing_beyond_that_the_weights_do_not_keep() -> None:
    # 30 and more is worse than 20 to 29: noise, or the truth.
    weights = dict(WEIGHTS) | {"months": (0, LATE, 0, -LATE, LATE // 2)}
    tables = tables_of(SCHEMA, weights, families=FAMILIES)
    part = Part("repayment", LATE, LATE, LATE, 1)
    found = changes(case({"months": 1}, part), tables, LABELS)
    assert [then for _, then, _ in of(found, "months")] == [
        "20 to 29",
        "10 to 19",
        "30 or more",
    ]


def test_feature_without_a_direction_and_category_are_told_bin_by_bin() -> None:
    codes = {"bill": 3, "kind": 3}
    found = changes(case(codes, own(codes, "billing")), TABLES, LABELS)
    assert [then for _, then, _ in of(found, "bill")] == ["10 to 19", "30 or more", "below 10"]
    assert of(found, "kind") == [("other", "card", 11), ("other", "loan", 3)]


def test_missing_value_is_never_advised() -> None:
    codes = {"months": 1, "late": 4}
    found = changes(case(codes, own(codes, "repayment")), TABLES, LABELS)
    assert not any("missing" in one.then for one in found)
    gone = {"late": MISSING, "months": 4}
    found = changes(case(gone, own(gone, "repayment")), TABLES, LABELS)
    assert of(found, "late") == [("missing", "below 10", 14)]


def test_with_other_holders_a_gain_is_the_own_share_of_it() -> None:
    codes = {"late": 4}
    alone = changes(case(codes, own(codes, "repayment")), TABLES, LABELS)
    shared = changes(case(codes, own(codes, "repayment", holders=2)), TABLES, LABELS)
    assert [one.gain for one in alone] == [44, 29, 15]  # 542.42 to 585.70
    assert [one.gain for one in shared] == [21, 14, 7]


def test_logit_at_its_limit_gains_only_what_comes_off_the_limit() -> None:
    weights = dict(WEIGHTS) | {"late": (0, 0, 0, 0, 18 * LATE)}
    tables = tables_of(SCHEMA, weights, families=FAMILIES)
    part = Part("repayment", LATE // 8, 16 * LATE, 16 * LATE, 1)
    whole = Case(alpha=-2 * LATE, eta=0, parts=(part,), codes={"late": 4})
    found = changes(whole, tables, LABELS)
    assert {one.gain for one in found} == {57}  # 2 log-odds, not 2.25: 513.56 to 571.27


def test_total_of_all_families_moves_by_the_same_arithmetic() -> None:
    codes = {"late": 4, "bill": 1}
    found = changes(case(codes, own(codes, TOTAL)), TOTAL_TABLES, LABELS)
    assert [gain for _, _, gain in of(found, "late")] == [43, 29, 14]


def test_features_that_may_not_be_told_are_not_advised_about() -> None:
    codes = {"paid": 1, "shy": 1, "mute": 1}
    found = changes(case(codes, own(codes, "payments")), TABLES, LABELS)
    assert {one.feature for one in found} == {"paid"}


def test_person_unknown_here_gets_no_advice() -> None:
    assert changes(case({}, Part("billing", LATE, 0, LATE, 2)), TABLES, LABELS) == ()
