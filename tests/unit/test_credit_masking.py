from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.credit.hooks import Hook
from consortium.credit.masking import Arrear, DpdBasis, MaskRule, shown_arrears
from consortium.credit.terms import Segment
from consortium.errors import DomainError, PolicyError
from tests.credit_house import pack

CN = pack("cn")
_PARAMS = CN.demands(Hook.MASKED_ARREARS, date(2026, 11, 2), Segment.CONSUMER_TERM)
assert _PARAMS is not None
RULE = MaskRule.of(_PARAMS)
SMALL = Arrear(
    began_on=date(2024, 5, 1), most=1_000_000, worst_dpd=45, repaid_on=date(2026, 3, 31)
)
WINDOW = {"since": date(2024, 1, 1), "until": date(2026, 10, 31)}


def test_small_arrear_that_was_repaid_in_time_is_not_shown() -> None:
    found = shown_arrears([SMALL], RULE, **WINDOW)
    assert found.arrears == ()
    assert (found.worst_dpd, found.basis) == (0, DpdBasis.MASKED)


@pytest.mark.parametrize(
    "changed",
    [
        {"most": 1_000_001},
        {"repaid_on": date(2026, 4, 1)},
        {"repaid_on": None},
        {"began_on": date(2019, 12, 31)},
        {"began_on": date(2026, 1, 1)},
    ],
)
def test_arrear_just_outside_the_rule_is_shown(changed: dict[str, object]) -> None:
    arrear = replace(SMALL, **changed)
    found = shown_arrears([arrear, SMALL], RULE, **WINDOW)
    assert found.arrears == (arrear,)
    assert found.worst_dpd == 45


arrears = st.lists(
    st.builds(
        Arrear,
        began_on=st.dates(date(2019, 6, 1), date(2026, 6, 1)),
        most=st.integers(0, 2_000_000),
        worst_dpd=st.integers(1, 200),
        repaid_on=st.none(),
    ),
    max_size=4,
)


@given(arrears, st.integers(0, 3))
def test_basis_does_not_tell_whether_something_was_hidden(some: list[Arrear], hid: int) -> None:
    without = shown_arrears(some, RULE, **WINDOW)
    assert shown_arrears([*some, *[SMALL] * hid], RULE, **WINDOW) == without


def test_history_outside_the_days_of_the_rule_has_its_whole_series() -> None:
    late = replace(SMALL, began_on=date(2026, 2, 1))
    after = shown_arrears([late], RULE, since=date(2026, 1, 1), until=date(2026, 10, 31))
    assert (after.arrears, after.basis) == ((late,), DpdBasis.ALL)
    before = shown_arrears([], RULE, since=date(2018, 1, 1), until=date(2019, 12, 31))
    assert before.basis is DpdBasis.ALL
    assert shown_arrears([SMALL], None, **WINDOW).basis is DpdBasis.ALL


def test_rule_is_off_before_its_day() -> None:
    assert CN.demands(Hook.MASKED_ARREARS, date(2025, 12, 31)) is None


def test_rule_or_arrear_that_cannot_be_is_refused() -> None:
    with pytest.raises(DomainError):
        replace(SMALL, worst_dpd=0)
    with pytest.raises(DomainError):
        replace(SMALL, repaid_on=date(2024, 4, 30))
    assert _PARAMS is not None
    swapped = {"arrears_from": "arrears_to", "arrears_to": "arrears_from"}
    texts = tuple(replace(one, name=swapped.get(one.name, one.name)) for one in _PARAMS.texts)
    with pytest.raises(PolicyError):
        MaskRule.of(replace(_PARAMS, texts=texts))
