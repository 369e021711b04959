import dataclasses
from datetime import date
from pathlib import Path

import pytest

import consortium.credit
from consortium.credit.cost import (
    AddOn,
    Cap,
    Channel,
    Choice,
    Confirmation,
    CostSheet,
    Reading,
    cap_of,
    chosen,
    cost_sheet,
    may_withdraw,
    require_confirmation,
    sheet_digest,
    within_cap,
)
from consortium.credit.hooks import Hook, Params, TextParam
from consortium.credit.pack import CapBasis, parse_pack
from consortium.credit.rates import Clock, percent_text
from consortium.credit.schedule import LoanTerms, Method, schedule_of
from consortium.credit.terms import Money, Ppm, Segment
from consortium.documents import document_of, parse_document
from consortium.errors import CostCapError, DomainError, NotConfirmedError, PolicyError
from tests.cost_house import CAP, EARLY, LATE, addon, charge, loan

PACKS = Path(consortium.credit.__file__).parent / "packs"
READING = Reading(forced_reading_s=10, confirm=True, channels=(Channel.ONLINE, Channel.PAPER))


def sheet_of(terms: LoanTerms, *addons: AddOn, cap: Cap = CAP) -> CostSheet:
    return cost_sheet(terms, cap=cap, penalties=(LATE,), early_repayment=EARLY, addons=addons)


def test_interest_free_instalments_have_the_rest_in_the_last_and_cost_nothing() -> None:
    sheet = sheet_of(loan())
    assert [row.due for row in sheet.rows] == [83_333] * 11 + [83_337]
    assert sheet.nominal == sheet.effective == 0
    assert sheet.total_cost == Money(0, "CNY")


def test_annuity_with_a_fee_at_payout_is_the_vector() -> None:
    sheet = sheet_of(loan(apr=120_000, charges=(charge(30_000, every=0),)))
    assert {row.due for row in sheet.rows[:-1]} == {88_849}
    assert sheet.payout == Money(970_000, "CNY")
    assert percent_text(sheet.nominal) == "17.83"
    assert percent_text(sheet.effective) == "19.36"


def test_one_percent_a_month_flat_is_disclosed_at_its_true_rate() -> None:
    flat = loan(method=Method.EQUAL_PRINCIPAL, charges=(charge(10_000, every=1),))
    sheet = sheet_of(flat)
    assert [row.fees for row in sheet.rows] == [10_000] * 12
    assert percent_text(sheet.effective) == "23.70"


def test_bullet_pays_interest_of_the_whole_term_once() -> None:
    bullet = loan(months=3, apr=240_000, method=Method.BULLET)
    (row,) = schedule_of(bullet)
    assert (row.on, row.interest, row.due) == (date(2026, 4, 15), 60_000, 1_060_000)


def test_interest_only_pays_the_amount_with_the_last() -> None:
    rows = schedule_of(loan(months=3, apr=120_000, method=Method.INTEREST_ONLY))
    assert [row.due for row in rows] == [10_000, 10_000, 1_010_000]


def test_first_period_that_is_no_month_is_counted_by_days() -> None:
    terms = loan(apr=120_000, first_due_on=date(2026, 3, 1))
    assert terms.clock is Clock.DAYS
    rows = schedule_of(terms)
    assert rows[0].interest == 14_795  # 1,000,000 x .12 x 45 / 365
    assert [row.on for row in rows[:3]] == [
        date(2026, 3, 1),
        date(2026, 4, 1),
        date(2026, 5, 1),
    ]
    assert sheet_of(terms).effective == pytest.approx(126_500, abs=2_000)


def test_due_dates_of_the_last_of_january_are_month_ends() -> None:
    terms = dataclasses.replace(
        loan(months=3), payout_on=date(2026, 1, 31), first_due_on=date(2026, 2, 28)
    )
    assert terms.due_dates() == (date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30))


def test_price_over_the_cap_has_no_sheet() -> None:
    dear = loan(months=3, apr=240_000, method=Method.BULLET)
    with pytest.raises(CostCapError, match=r"more than 24\.00 % \(effective\)"):
        sheet_of(dear)
    assert not within_cap(dear, schedule_of(dear), CAP)
    assert within_cap(dear, schedule_of(dear), None)
    free = cost_sheet(dear, cap=None, penalties=(), early_repayment=EARLY, addons=())
    assert free.cap is None
    nominal = Cap(annualised=CAP.annualised, basis=CapBasis.NOMINAL)
    assert sheet_of(dear, cap=nominal).effective > 240_000


def test_charges_that_no_rate_can_express_are_over_the_cap() -> None:
    usury = loan(amount=5_000, months=55, charges=(charge(5_000, every=1),))
    with pytest.raises(CostCapError):
        sheet_of(dataclasses.replace(usury, first_due_on=date(2026, 1, 16)))


def test_mandatory_membership_counts_towards_the_cap() -> None:
    plain = loan(apr=180_000)
    sheet_of(plain)
    with pytest.raises(CostCapError):
        sheet_of(dataclasses.replace(plain, charges=(charge(3_000, every=1),)))
    yearly = dataclasses.replace(plain, charges=(charge(6_000, every=12),))
    assert sum(row.fees for row in sheet_of(yearly).rows) == 6_000
    assert sheet_of(yearly).charges[0].total == Money(6_000, "CNY")


def test_bullet_bears_the_charges_of_all_its_months() -> None:
    bullet = loan(months=3, method=Method.BULLET, charges=(charge(100, every=1),))
    assert schedule_of(bullet)[0].fees == 300
    assert sheet_of(bullet).charges[0].total == Money(300, "CNY")


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": Money(0, "CNY")},
        {"months": 0},
        {"months": 601},
        {"price_apr": Ppm(-1)},
        {"first_due_on": date(2026, 1, 15)},
        {"charges": (charge(1_000_000, every=0),)},
        {"charges": (dataclasses.replace(charge(1, every=0), amount=Money(1, "EUR")),)},
    ],
)
def test_terms_that_no_schedule_can_have_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DomainError):
        dataclasses.replace(loan(), **wrong)


def test_charges_and_addons_below_zero_are_refused() -> None:
    with pytest.raises(DomainError):
        charge(-1, every=1)
    with pytest.raises(DomainError):
        charge(1, every=-1)
    with pytest.raises(DomainError):
        addon("A", -1)


# --- add-ons ----------------------------------------------------------------------------------


def test_an_addon_cannot_be_ticked_beforehand() -> None:
    """No field of the add-on, the sheet or the priced line can hold a choice."""
    assert {f.name for f in dataclasses.fields(AddOn)} == {
        *("code", "name_zh", "name_en", "payee", "amount", "every", "cooling_off_days"),
    }
    for kind in (AddOn, CostSheet, Choice):
        for field in dataclasses.fields(kind):
            assert field.default is field.default_factory is dataclasses.MISSING, field.name
    with pytest.raises(TypeError):
        Choice(sheet=sheet_digest(sheet_of(loan())), addon="A", on=date(2026, 1, 15))  # type: ignore[call-arg]


def test_addon_is_priced_apart_with_and_without() -> None:
    sheet = sheet_of(loan(apr=100_000), addon("A", 500), addon("B", 20_000, every=0))
    monthly, once = sheet.addons
    assert monthly.total == Money(6_000, "CNY")
    assert once.total == Money(20_000, "CNY")
    for priced in sheet.addons:
        assert priced.total_without == sheet.total_cost
        assert priced.total_with == sheet.total_cost + priced.total
        assert priced.effective_with is not None
        assert priced.effective_with > sheet.effective


def test_addon_dearer_than_the_loan_has_no_rate_and_the_loan_keeps_its_own() -> None:
    sheet = sheet_of(loan(apr=100_000), addon("A", 1_000_000, every=0))
    assert sheet.addons[0].effective_with is None
    assert sheet.effective == sheet_of(loan(apr=100_000)).effective


def test_bullet_addon_is_paid_for_all_months_at_once() -> None:
    sheet = sheet_of(loan(months=3, method=Method.BULLET), addon("A", 100))
    assert sheet.addons[0].total == Money(300, "CNY")
    assert sheet.addons[0].effective_with == pytest.approx(1_201, abs=1)


def test_addon_without_a_word_of_the_borrower_is_not_taken() -> None:
    sheet = sheet_of(loan(), addon("A", 5), addon("B", 6))
    digest, day = sheet_digest(sheet), date(2026, 1, 15)
    assert chosen(sheet, ()) == ()
    yes = Choice(sheet=digest, addon="B", taken=True, on=day)
    no = Choice(sheet=digest, addon="A", taken=False, on=day)
    assert [one.code for one in chosen(sheet, (no, yes))] == ["B"]
    with pytest.raises(DomainError):
        chosen(sheet, (yes, yes))
    with pytest.raises(DomainError):
        chosen(sheet, (dataclasses.replace(yes, addon="C"),))
    with pytest.raises(NotConfirmedError):
        chosen(sheet_of(loan(apr=1_000), addon("B", 6)), (yes,))


def test_addon_may_be_given_back_until_the_last_day_of_cooling_off() -> None:
    one = addon("A", 5)
    choice = Choice(
        sheet=sheet_digest(sheet_of(loan())), addon="A", taken=True, on=date(2026, 1, 15)
    )
    assert may_withdraw(one, choice, today=date(2026, 1, 29))
    assert not may_withdraw(one, choice, today=date(2026, 1, 30))


def test_the_same_addon_twice_is_refused() -> None:
    with pytest.raises(DomainError):
        sheet_of(loan(), addon("A", 5), addon("A", 6))


# --- before the contract ----------------------------------------------------------------------


def confirmed(sheet: CostSheet, **other: object) -> Confirmation:
    usual = Confirmation(
        sheet=sheet_digest(sheet), channel=Channel.ONLINE, shown_at=1_000, confirmed_at=1_010
    )
    return dataclasses.replace(usual, **other)


def test_contract_after_reading_and_confirmation_names_the_sheet() -> None:
    sheet = sheet_of(loan(apr=50_000))
    found = require_confirmation(sheet, confirmed(sheet), READING, now=1_010)
    assert found == sheet_digest(sheet)


@pytest.mark.parametrize(
    ("other", "now"),
    [
        ({"confirmed_at": 1_009}, 2_000),
        ({"confirmed_at": 1_020}, 1_019),
        ({"confirmed_at": 999}, 2_000),
        ({"channel": Channel.CHECKOUT}, 2_000),
    ],
)
def test_contract_without_reading_time_or_confirmation_is_blocked(
    other: dict[str, object], now: int
) -> None:
    sheet = sheet_of(loan(apr=50_000))
    with pytest.raises(NotConfirmedError):
        require_confirmation(sheet, confirmed(sheet, **other), READING, now=now)


def test_reading_time_is_asked_for_where_no_confirmation_is() -> None:
    sheet = sheet_of(loan(apr=50_000))
    silent = dataclasses.replace(READING, confirm=False)
    early = confirmed(sheet, confirmed_at=9_999)
    with pytest.raises(NotConfirmedError):
        require_confirmation(sheet, early, silent, now=1_009)
    require_confirmation(sheet, early, silent, now=1_010)


def test_reading_and_cap_are_those_of_the_pack_on_the_day() -> None:
    pack = parse_pack((PACKS / "cn.toml").read_bytes(), "cn.toml")
    before, day = date(2026, 7, 31), date(2026, 8, 1)
    assert pack.demands(Hook.COST_SHEET, before, Segment.CONSUMER_TERM) is None
    params = pack.demands(Hook.COST_SHEET, day, Segment.CONSUMER_TERM)
    assert params is not None
    reading = Reading.of(params)
    assert (reading.forced_reading_s, reading.confirm) == (10, True)
    assert set(reading.channels) == set(Channel)
    assert cap_of(pack, Segment.CONSUMER_TERM, day) == CAP
    assert cap_of(pack, Segment.CONSUMER_TERM, date(2025, 9, 30)) is None
    with pytest.raises(PolicyError):
        Reading.of(Params(texts=(TextParam("channels", ("pigeon",)),)))


def test_paper_is_signed_without_a_clock() -> None:
    sheet = sheet_of(loan(apr=50_000))
    paper = confirmed(sheet, channel=Channel.PAPER, confirmed_at=1_000)
    require_confirmation(sheet, paper, READING, now=1_000)


def test_confirmation_of_another_price_does_not_count() -> None:
    shown, signed = sheet_of(loan(apr=50_000)), sheet_of(loan(apr=50_001))
    with pytest.raises(NotConfirmedError):
        require_confirmation(signed, confirmed(shown), READING, now=2_000)


def test_sheet_is_read_back_from_its_bytes() -> None:
    sheet = sheet_of(loan(apr=50_000, charges=(charge(5, every=1),)), addon("A", 5))
    assert parse_document(CostSheet, document_of(sheet)) == sheet
