"""Words of a holding, and the sums read back (protocol 7.1, 7.6)."""

import numpy as np
import pytest

from consortium.errors import DomainError, ScoreRefusalError, ShapeError
from consortium.manifest import Disclosure
from consortium.scoring.layout import (
    LOGIT_LIMIT,
    SENTINEL,
    Layout,
    decode,
    encode_holding,
)

TWO = Layout(("repayment", "orders"))
TOTAL = Layout(("repayment", "orders"), Disclosure.TOTAL_ONLY)
HELD = np.array([True, False, True])
LOGITS = {"repayment": np.array([5, 6, -7]), "orders": np.array([1, 2, LOGIT_LIMIT + 9])}


def test_words_stand_family_first_then_any_then_the_sentinel() -> None:
    words = encode_holding(TWO, LOGITS, HELD).view(np.int64)
    assert words.tolist() == [
        [5, 1, 1, 1, 1, SENTINEL],
        [0, 0, 0, 0, 0, SENTINEL],
        [-7, 1, LOGIT_LIMIT, 1, 1, SENTINEL],
    ]


def test_family_that_a_partner_does_not_have_counts_no_holder() -> None:
    words = encode_holding(TWO, {"orders": np.array([3])}, np.array([True])).view(np.int64)
    assert words.tolist() == [[0, 0, 3, 1, 1, SENTINEL]]


def test_partner_without_families_holds_nobody() -> None:
    words = encode_holding(TWO, {}, np.array([True])).view(np.int64)
    assert words.tolist() == [[0, 0, 0, 0, 0, SENTINEL]]


def test_logits_are_clamped_at_16_on_both_sides() -> None:
    far = np.array([-(1 << 62), 1 << 62])
    words = encode_holding(TWO, {"orders": far}, np.array([True, True])).view(np.int64)
    assert words[:, 2].tolist() == [-LOGIT_LIMIT, LOGIT_LIMIT]


def test_total_only_sums_the_allowed_families_and_shows_no_other() -> None:
    allowed = np.array([[True, True], [True, True], [True, False]])
    words = encode_holding(TOTAL, LOGITS, HELD, allowed=allowed).view(np.int64)
    assert words.tolist() == [[6, 1, 1, SENTINEL], [0, 0, 0, SENTINEL], [-7, 1, 1, SENTINEL]]
    assert TOTAL.columns == ("total",)


def test_total_of_one_partner_is_clamped_like_one_family() -> None:
    most = {name: np.array([LOGIT_LIMIT]) for name in TOTAL.families}
    words = encode_holding(TOTAL, most, np.array([True])).view(np.int64)
    assert words[0, 0] == LOGIT_LIMIT


def test_person_whose_receipt_allows_no_family_of_this_partner_is_a_stranger() -> None:
    allowed = np.array([[True, False]])
    words = encode_holding(TWO, {"orders": np.array([9])}, np.array([True]), allowed=allowed)
    assert words.view(np.int64).tolist() == [[0, 0, 0, 0, 0, SENTINEL]]


def test_inputs_are_left_as_they_were() -> None:
    before = {name: values.copy() for name, values in LOGITS.items()}
    encode_holding(TOTAL, LOGITS, HELD)
    assert all(np.array_equal(LOGITS[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "families", [(), ("a", "a"), ("total",), tuple(f"f{number}" for number in range(33))]
)
def test_layout_without_or_with_odd_families_is_refused(families: tuple[str, ...]) -> None:
    with pytest.raises(DomainError):
        Layout(families)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ShapeError):
        encode_holding(TWO, {"orders": np.array([1, 2])}, HELD)
    with pytest.raises(ShapeError):
        encode_holding(TWO, {"orders": np.array([1.0, 2.0, 3.0])}, HELD)  # type: ignore[dict-item]
    with pytest.raises(ShapeError):
        encode_holding(TWO, LOGITS, HELD, allowed=np.ones((2, 2), dtype=np.bool_))
    with pytest.raises(DomainError):
        encode_holding(TWO, {"income": np.array([1, 2, 3])}, HELD)


def test_decoded_sums_name_their_columns_and_hide_their_figures() -> None:
    sums = decode(TWO, encode_holding(TWO, LOGITS, HELD), 1)
    assert sums.columns == TWO.columns
    assert sums.logits.tolist() == [[5, 1], [0, 0], [-7, LOGIT_LIMIT]]
    assert sums.counts.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert sums.partners.tolist() == [1, 0, 1]
    assert repr(sums) == "JointSums(columns=('repayment', 'orders'))"


def test_sum_of_another_shape_or_number_of_contributors_is_refused() -> None:
    words = encode_holding(TWO, LOGITS, HELD)
    with pytest.raises(ShapeError):
        decode(TWO, words[:, 1:], 1)
    with pytest.raises(ShapeError):
        decode(TWO, words[0], 1)
    with pytest.raises(ScoreRefusalError, match="S17"):
        decode(TWO, words, 2)
