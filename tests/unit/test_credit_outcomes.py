from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import pytest

from consortium.credit.outcomes import (
    Bucket,
    Line,
    LineStatus,
    MonthEnd,
    Outcome,
    Use,
    bucket_of,
    first_payment_default,
    is_active,
    lateness_of,
    outcome_of,
    use_of,
)
from consortium.credit.terms import Ppm, Purpose, Segment
from consortium.errors import DomainError
from tests.line_house import MONTH, months

OPEN = LineStatus.OPEN


# --- buckets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dpd", "bucket"),
    [
        *((0, Bucket.M0), (1, Bucket.M1), (30, Bucket.M1), (31, Bucket.M2), (60, Bucket.M2)),
        *((61, Bucket.M3), (90, Bucket.M3), (91, Bucket.M3_PLUS), (5_000, Bucket.M3_PLUS)),
    ],
)
def test_bucket_begins_and_ends_on_its_day(dpd: int, bucket: Bucket) -> None:
    assert bucket_of(dpd, OPEN, balance=100) is bucket


def test_missing_days_past_due_are_an_error_and_never_m0() -> None:
    for dpd in (None, -1):
        with pytest.raises(DomainError):
            bucket_of(dpd, OPEN, balance=0)


def test_debt_stays_when_a_line_is_closed() -> None:
    assert bucket_of(40, LineStatus.CLOSED_LENDER, balance=1) is Bucket.M2
    assert bucket_of(None, LineStatus.CLOSED_LENDER, balance=0) is Bucket.X
    assert bucket_of(None, LineStatus.PAID_OUT, balance=-5) is Bucket.X
    assert bucket_of(None, LineStatus.CHARGED_OFF, balance=1) is Bucket.CO


LINE = Line(
    line_ref="l1",
    segment=Segment.CONSUMER_REVOLVING,
    product="revolving",
    purpose=Purpose.HOME,
    opened_on=date(2025, 1, 10),
    limit=1_000,
    balance=0,
    due_amount=0,
    due_on=None,
    paid_amount=0,
    dpd=0,
    status=OPEN,
    status_on=date(2025, 1, 10),
    price_apr=Ppm(120_000),
)


def test_line_closed_before_it_was_opened_is_refused() -> None:
    assert LINE.bucket is Bucket.M0
    with pytest.raises(DomainError):
        replace(LINE, status_on=date(2025, 1, 9))
    with pytest.raises(DomainError):
        replace(LINE, dpd=-1)


def test_line_is_active_with_a_debit_or_a_balance_in_six_full_months() -> None:
    idle = months(9, debits=0, balance=0)
    assert not is_active(LINE, idle)
    assert is_active(replace(LINE, balance=1), idle)
    assert is_active(LINE, [*idle[:3], replace(idle[3], debits=1), *idle[4:]])
    assert not is_active(LINE, [*idle[:2], replace(idle[2], debits=1), *idle[3:]])
    assert is_active(LINE, [*idle[:8], replace(idle[8], balance=1)])
    closed = replace(LINE, status=LineStatus.FROZEN, balance=1)
    assert not is_active(closed, idle)


# --- good and bad -----------------------------------------------------------------------------

OBSERVED = date(2026, 1, 31)


def year(**changed: object) -> list[MonthEnd]:
    """Twelve months after the observation date, the last with changes."""
    window = months(12, start=(2026, 2))
    return [*window[:-1], replace(window[-1], **changed)]


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, Outcome.GOOD),
        ({"worst_dpd": 29}, Outcome.GOOD),
        ({"worst_dpd": 30}, Outcome.INDETERMINATE),
        ({"worst_dpd": 90}, Outcome.INDETERMINATE),
        ({"worst_dpd": 91}, Outcome.BAD),
        ({"status": LineStatus.CHARGED_OFF}, Outcome.BAD),
        ({"restructured": True}, Outcome.BAD),
    ],
)
def test_label_follows_the_worst_of_twelve_months(
    changed: dict[str, object], outcome: Outcome
) -> None:
    assert outcome_of([year(**changed)], observed_on=OBSERVED) is outcome
    both = [months(12, start=(2026, 2)), year(**changed)]
    assert outcome_of(both, observed_on=OBSERVED) is outcome


def test_what_lies_outside_the_window_is_no_label() -> None:
    late = months(1, start=(2026, 1), worst_dpd=100)
    window = months(12, start=(2026, 2))
    after = months(1, start=(2027, 2), worst_dpd=100)
    assert outcome_of([[*late, *window, *after]], observed_on=OBSERVED) is Outcome.GOOD
    mid = date(2026, 1, 15)
    assert outcome_of([[*late, *window]], observed_on=mid) is Outcome.BAD


def test_year_from_the_end_of_a_february_ends_with_that_of_the_next() -> None:
    last = months(12, start=(2027, 3))
    assert last[-1].on == date(2028, 2, 29)
    observed = date(2027, 2, 28)
    assert outcome_of([last], observed_on=observed) is Outcome.GOOD
    late = [*last[:-1], replace(last[-1], worst_dpd=91)]
    assert outcome_of([late], observed_on=observed) is Outcome.BAD
    # From the day before there is no month's end to keep to, and from a leap day 28 February.
    assert outcome_of([late], observed_on=date(2027, 2, 27)) is not Outcome.BAD
    short = months(12, start=(2028, 3))
    assert outcome_of([short], observed_on=date(2028, 2, 29)) is Outcome.GOOD


def test_line_not_watched_to_the_end_has_no_label_unless_it_is_bad() -> None:
    short = months(11, start=(2026, 2))
    assert outcome_of([short], observed_on=OBSERVED) is Outcome.UNOBSERVED
    assert outcome_of([[]], observed_on=OBSERVED) is Outcome.UNOBSERVED
    paid = [*short[:4], replace(short[4], status=LineStatus.PAID_OUT, balance=0)]
    assert outcome_of([paid], observed_on=OBSERVED) is Outcome.GOOD
    owing = [*short[:4], replace(short[4], status=LineStatus.CLOSED_LENDER, balance=5)]
    assert outcome_of([owing], observed_on=OBSERVED) is Outcome.UNOBSERVED
    bad = [*short[:4], replace(short[4], worst_dpd=91)]
    assert outcome_of([bad], observed_on=OBSERVED) is Outcome.BAD


def test_months_with_a_gap_and_no_line_at_all_are_refused() -> None:
    window = months(12, start=(2026, 2))
    for wrong in ([*window[:3], *window[4:]], window[::-1]):
        with pytest.raises(DomainError):
            outcome_of([wrong], observed_on=OBSERVED)
    with pytest.raises(DomainError):
        outcome_of([], observed_on=OBSERVED)


@pytest.mark.parametrize(
    "wrong",
    [{"on": date(2026, 2, 27)}, {"dpd": -1}, {"dpd": 2, "worst_dpd": 1}, {"paid": -1}],
)
def test_months_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DomainError):
        replace(MONTH, **wrong)


def test_first_payment_default_is_known_on_the_thirtieth_day() -> None:
    due = date(2026, 3, 1)
    assert first_payment_default(due, None, date(2026, 3, 30)) is None
    assert first_payment_default(due, None, date(2026, 3, 31)) is True
    assert first_payment_default(due, date(2026, 3, 30), date(2026, 3, 30)) is False
    assert first_payment_default(due, date(2026, 3, 31), date(2026, 6, 1)) is True
    with pytest.raises(DomainError):
        first_payment_default(due, date(2026, 4, 2), date(2026, 4, 1))


# --- cures ------------------------------------------------------------------------------------


def late_then(*clean: int) -> list[MonthEnd]:
    """Ten good months, one 20 days late, then month ends with these days past due."""
    ends = [*[0] * 10, 20, *clean]
    return [
        replace(month, dpd=dpd, worst_dpd=dpd)
        for month, dpd in zip(months(len(ends)), ends, strict=True)
    ]


@pytest.mark.parametrize(
    ("clean", "cured"),
    [
        ((), None),
        ((0, 0), None),
        ((0, 0, 0), 0),
        ((0,) * 9, 6),
        ((0, 0, 1, 0, 0), None),
        ((0, 0, 1, 0, 0, 0), 0),
    ],
)
def test_cure_is_the_third_month_end_in_a_row(
    clean: tuple[int, ...], cured: int | None
) -> None:
    assert lateness_of(late_then(*clean)).cured_months == cured


def test_lateness_within_a_month_starts_the_count_again() -> None:
    run = late_then(*[0] * 9)
    run[-3] = replace(run[-3], worst_dpd=5)
    assert lateness_of(run).cured_months == 0


def test_worst_is_of_twelve_and_of_twenty_four_months() -> None:
    run = months(30)
    run[3] = replace(run[3], worst_dpd=99)
    run[7] = replace(run[7], worst_dpd=40)
    run[20] = replace(run[20], worst_dpd=10)
    found = lateness_of(run)
    assert (found.worst_12, found.worst_24) == (10, 40)
    assert lateness_of(months(5)).cured_months is None
    assert lateness_of([]).worst_24 == 0


# --- how a line is used: twelve accounts worked by hand ---------------------------------------


def use(
    paid: Sequence[int], *, statement: int = 1_000, debits: Sequence[int] = (1,) * 6
) -> Use:
    run = [
        replace(month, statement=statement, paid=amount, debits=debit)
        for month, amount, debit in zip(months(len(paid)), paid, debits, strict=True)
    ]
    return use_of(run)


ACCOUNTS = {
    "pays all": (use([1_000] * 6), Use.TRANSACTOR),
    "pays 95 % to the cent": (use([950] * 6), Use.TRANSACTOR),
    "once 94.9 %": (use([1_000] * 5 + [949]), Use.REVOLVER),
    "pays the minimum": (use([50] * 6), Use.REVOLVER),
    "pays more than is owed": (use([1_500] * 6), Use.TRANSACTOR),
    "no debit, pays off": (use([100] * 6, debits=[0] * 6), Use.DORMANT),
    "no debit, nothing owed": (use([0] * 6, statement=0, debits=[0] * 6), Use.DORMANT),
    "one debit in six months": (use([0] * 6, debits=[1] + [0] * 5), Use.REVOLVER),
    "nothing owed, one debit": (
        use([0] * 6, statement=0, debits=[0] * 5 + [1]),
        Use.TRANSACTOR,
    ),
    "the bank owes": (use([0] * 6, statement=-100), Use.TRANSACTOR),
    "only five months, pays all": (use([1_000] * 5, debits=[1] * 5), Use.REVOLVER),
    "missed long ago, pays all since": (
        use([0] + [1_000] * 6, debits=[1] * 7),
        Use.TRANSACTOR,
    ),
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_twelve_accounts_have_the_segment_worked_by_hand(name: str) -> None:
    found, expected = ACCOUNTS[name]
    assert found is expected
    assert len(ACCOUNTS) == 12
