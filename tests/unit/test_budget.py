from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.errors import BudgetExceededError, DomainError, RefusalCode, RefusalError
from consortium.ids import RunId
from consortium.plan import ReleaseKind
from consortium.privacy.accountant import units_of
from consortium.privacy.budget import Account, Debit, Reserve, may_debit, may_reserve

DELTA = 1e-6
ONE, TWO, THREE = (RunId(digit * 32) for digit in "123")
UNIT = units_of(1.0, DELTA)
EMPTY = Account(scope="training", cap_units=units_of(3.0, DELTA), delta=DELTA)


def debit(run: RunId, units: int, *, number: int = 1, attempt: int = 1) -> Debit:
    return Debit(run=run, kind=ReleaseKind.GRADIENT, round=number, attempt=attempt, units=units)


def test_run_that_fits_is_reserved_and_one_more_is_not() -> None:
    account = EMPTY
    for number in range(7):
        run = RunId(f"{number:032x}")
        may_reserve(account, run, UNIT)
        account = replace(account, reserves=(*account.reserves, Reserve(run=run, units=UNIT)))
    with pytest.raises(BudgetExceededError) as caught:
        may_reserve(account, ONE, UNIT)
    assert caught.value.reason is RefusalCode.BUDGET
    text = str(caught.value)
    assert "epsilon 1.0 asked" in text
    assert "cap 3.0, spent 0.0, reserved 2.88" in text


def test_cap_may_be_reached_but_not_passed_by_one_unit() -> None:
    may_reserve(EMPTY, ONE, EMPTY.cap_units)
    with pytest.raises(BudgetExceededError):
        may_reserve(EMPTY, ONE, EMPTY.cap_units + 1)


def test_charges_come_out_of_the_reserve_and_not_on_top() -> None:
    account = replace(
        EMPTY,
        reserves=(Reserve(run=ONE, units=100),),
        debits=(debit(ONE, 30), debit(ONE, 30, number=2)),
    )
    assert (account.spent, account.reserved) == (60, 40)
    assert account.left == account.cap_units - 100


def test_closed_run_frees_what_it_did_not_use_and_nothing_more() -> None:
    closed = replace(
        EMPTY,
        reserves=(Reserve(run=ONE, units=100, is_open=False),),
        debits=(debit(ONE, 30),),
    )
    assert (closed.spent, closed.reserved) == (30, 0)
    with pytest.raises(RefusalError) as caught:
        may_debit(closed, debit(ONE, 30, number=2))
    assert caught.value.reason is RefusalCode.PLAN


def test_crashed_run_keeps_its_reserve_until_it_is_closed() -> None:
    account = replace(EMPTY, cap_units=100, reserves=(Reserve(run=ONE, units=80),))
    with pytest.raises(BudgetExceededError):
        may_reserve(account, TWO, 21)
    may_reserve(account, TWO, 20)


def test_second_reserve_of_a_run_is_refused() -> None:
    account = replace(EMPTY, reserves=(Reserve(run=ONE, units=5, is_open=False),))
    with pytest.raises(RefusalError) as caught:
        may_reserve(account, ONE, 5)
    assert caught.value.reason is RefusalCode.REPEATED


def test_attempt_is_sent_once_only() -> None:
    account = replace(EMPTY, reserves=(Reserve(run=ONE, units=100),), debits=(debit(ONE, 30),))
    with pytest.raises(RefusalError) as caught:
        may_debit(account, debit(ONE, 30))
    assert caught.value.reason is RefusalCode.REPEATED
    may_debit(account, debit(ONE, 30, attempt=2))
    may_debit(account, replace(debit(ONE, 30), kind=ReleaseKind.RECALIBRATION))


def test_charge_beyond_the_reserve_is_refused_though_the_cap_has_room() -> None:
    account = replace(EMPTY, reserves=(Reserve(run=ONE, units=100),), debits=(debit(ONE, 71),))
    may_debit(account, debit(ONE, 29, number=2))
    with pytest.raises(BudgetExceededError):
        may_debit(account, debit(ONE, 30, number=2))
    with pytest.raises(RefusalError):
        may_debit(account, debit(TWO, 1))


def test_account_already_over_its_cap_has_nothing_left() -> None:
    account = replace(EMPTY, cap_units=10, debits=(debit(ONE, 30),))
    assert account.left == 0
    assert account.figures().left == 0
    with pytest.raises(BudgetExceededError):
        may_reserve(account, TWO, 1)


def test_units_that_are_not_positive_are_refused() -> None:
    account = replace(EMPTY, reserves=(Reserve(run=ONE, units=100),))
    for units in (0, -5):
        with pytest.raises(DomainError):
            may_reserve(account, TWO, units)
        with pytest.raises(DomainError):
            may_debit(account, debit(ONE, units))


def test_account_with_an_entry_twice_or_negative_is_refused() -> None:
    reserve = Reserve(run=ONE, units=5)
    for reserves, debits in (
        ((reserve, reserve), ()),
        ((), (debit(ONE, 5), debit(ONE, 6))),
        ((Reserve(run=ONE, units=-1),), ()),
        ((), (debit(ONE, -1),)),
    ):
        with pytest.raises(DomainError):
            replace(EMPTY, reserves=reserves, debits=debits)
    with pytest.raises(DomainError):
        replace(EMPTY, cap_units=-1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "debit", "close"]),
        st.sampled_from([ONE, TWO, THREE]),
        st.integers(1, 60),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(STEPS)
def test_no_order_of_events_spends_beyond_the_cap_or_takes_a_charge_back(
    steps: list[tuple[str, RunId, int]],
) -> None:
    account = replace(EMPTY, cap_units=100)
    for number, (event, run, units) in enumerate(steps):
        spent = account.spent
        account = _after(account, event, run, (units, number))
        assert spent <= account.spent
        assert account.spent + account.reserved <= account.cap_units
        assert account.left == account.cap_units - account.spent - account.reserved


def _after(account: Account, event: str, run: RunId, amount: tuple[int, int]) -> Account:
    units, number = amount
    try:
        if event == "reserve":
            may_reserve(account, run, units)
            reserve = Reserve(run=run, units=units)
            return replace(account, reserves=(*account.reserves, reserve))
        if event == "debit":
            entry = debit(run, units, number=number)
            may_debit(account, entry)
            return replace(account, debits=(*account.debits, entry))
    except RefusalError:
        return account
    closed = (replace(r, is_open=r.is_open and r.run != run) for r in account.reserves)
    return replace(account, reserves=tuple(closed))
