"""Packs, policies and catalogues: what is refused and where, and what is in force when."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consortium.canonical import Label, hash_with
from consortium.credit.hooks import PARAMETERS, Hook
from consortium.credit.pack import Duty, Pack, Status, pack_at, parse_pack
from consortium.credit.policy import Policy, parse_policy, policy_at
from consortium.credit.reading import LARGEST_FILE
from consortium.credit.terms import (
    GRADES,
    PURPOSES,
    Grade,
    Money,
    Ppm,
    Purpose,
    Segment,
    Span,
    add_months,
    parse_ppm,
    ppm_text,
)
from consortium.credit.tiers import (
    Catalogue,
    TierCount,
    check_rules,
    merge_thin,
    migration,
    strictly_worse,
)
from consortium.documents import document_of, parse_document
from consortium.errors import DecodeError, DomainError, PolicyError
from consortium.scoring.scorecard import cut_units
from tests.credit_house import (
    PACKS,
    POLICY_FILE,
    RULES,
    catalogue,
    changed,
    pack,
    policy,
)

SHIPPED = sorted(path.stem for path in PACKS.glob("*.toml"))


# --- packs ------------------------------------------------------------------------------------


def test_packs_of_the_design_are_shipped_and_none_claims_to_have_been_read() -> None:
    assert SHIPPED == ["cn", "eu", "tw", "us"]
    for name in SHIPPED:
        one = pack(name)
        assert one.id == name
        assert one.unconfirmed() == one.duties
        assert all(duty.status is not Status.READ for duty in one.duties)


def test_every_hook_is_switched_on_by_some_shipped_pack_but_for_none() -> None:
    used = {duty.hook for name in SHIPPED for duty in pack(name).duties}
    assert used == set(Hook)
    assert set(PARAMETERS) == set(Hook)


@pytest.mark.parametrize(
    ("name", "duty"),
    [(name, duty) for name in SHIPPED for duty in pack(name).duties],
    ids=lambda one: one.id if isinstance(one, Duty) else one,
)
def test_duty_switches_on_on_its_date_and_not_before(name: str, duty: Duty) -> None:
    one, start = pack(name), duty.effective_from
    segment = duty.applies_to[0] if duty.applies_to else None
    assert one.demands(duty.hook, start - timedelta(days=1), segment) is None
    assert one.duty(duty.hook, start, segment) == duty
    other = next((s for s in Segment if duty.applies_to and s not in duty.applies_to), None)
    if other is not None:
        assert one.duty(duty.hook, start, other) is None


def test_duty_switches_off_on_its_end() -> None:
    text = (PACKS / "cn.toml").read_bytes()
    ended = text.replace(
        b"effective_from = 2026-08-01",
        b"effective_from = 2026-08-01\neffective_to = 2027-01-01",
    )
    one, segment = parse_pack(ended, "cn.toml"), Segment.CONSUMER_TERM
    assert one.demands(Hook.COST_SHEET, date(2026, 12, 31), segment) is not None
    assert one.demands(Hook.COST_SHEET, date(2027, 1, 1), segment) is None


def test_parameters_of_a_duty_are_read_by_name() -> None:
    sheet = pack("cn").demands(Hook.COST_SHEET, date(2026, 8, 1), Segment.CONSUMER_TERM)
    assert sheet is not None
    assert (sheet.whole("forced_reading_s"), sheet.flag("confirm")) == (10, True)
    assert sheet.items("channels") == ("online", "paper", "checkout")
    masked = pack("cn").demands(Hook.MASKED_ARREARS, date(2026, 1, 1))
    assert masked is not None
    assert masked.text("repaid_by") == "2026-03-31"
    assert (masked.whole("none"), masked.flag("none"), masked.text("none")) == (0, False, "")


def test_caps_are_those_of_the_pack_on_days_on_which_their_duty_is_in_force() -> None:
    cn, consumer = pack("cn"), Segment.CONSUMER_TERM
    before = date(2025, 9, 30)
    assert cn.cost_cap(before, consumer) is None
    assert cn.cost_cap(date(2025, 10, 1), consumer) == 240_000
    assert cn.amount_cap(before, consumer) == 20_000_000
    assert cn.bullet_cap(before, consumer) == 12
    assert cn.amount_cap(before, Segment.SME) is None
    assert cn.adverse_months(before) == 60
    assert pack("eu").adverse_months(before) is None


def test_pack_of_a_day_is_one_or_an_error() -> None:
    one = pack("cn")
    assert pack_at([one], date(2026, 1, 1)) is one
    for day, packs in ((date(2025, 12, 31), [one]), (date(2026, 1, 1), [one, one])):
        with pytest.raises(PolicyError, match="packs in force"):
            pack_at(packs, day)


WRONG_PACKS = [
    ('id = "cn"', 'id = "c n"', "line 9: pack.id: seen 'c n'"),
    ('currency = "CNY"', 'currency = "yuan"', "pack.currency: seen 'yuan'"),
    ('annualised_cost = "0.24"', 'annualised_cost = "24 %"', "caps.annualised_cost"),
    ("max_reasons = 4", "max_reasons = 5", "notice.max_reasons: seen 5, expected"),
    ("max_reasons = 4", "max_reason = 4", "notice.max_reasons: seen nothing"),
    ('hook = "consent"', 'hook = "consents"', "duty.0.hook: seen 'consents'"),
    ("written = true", 'written = "yes"', "duty.0.params.written: seen 'yes'"),
    ("written = true }", "written = true, more = 1 }", "duty.0.params.more: seen 1"),
    (
        'id = "cn.separate_consent"',
        'id = "cn.consent"',
        "two of id cn.consent",
    ),
    ('hook = "withdrawal"', 'hook = "non_personalised"', "duty.2.params.next_call"),
    (
        "effective_from = 2026-08-01",
        "effective_from = 2026-08-01\neffective_to = 2026-08-01",
        "effective_to: seen '2026-08-01', expected a date after",
    ),
    ('consent_only = ["income"', 'consent_only = ["religion"', "features.consent_only"),
    ("effective_from = 2026-08-01", 'effective_from = "2026-08-01"', "a date such as"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG_PACKS, ids=str)
def test_pack_that_breaks_a_rule_is_refused_with_field_and_values(
    old: str, new: str, told: str
) -> None:
    data = changed(PACKS / "cn.toml", {old: new})
    with pytest.raises(PolicyError) as error:
        parse_pack(data, "cn.toml")
    assert told in str(error.value)
    assert str(error.value).startswith("cn.toml")


def test_two_duties_with_one_hook_on_one_day_are_refused() -> None:
    more = b"""
[[duty]]
id = "cn.other"
source = "another"
effective_from = 2027-01-01
applies_to = ["SME"]
hook = "consent"
params = { per_purpose = true, written = true }
status = "recalled"
"""
    text = (PACKS / "cn.toml").read_bytes()
    with pytest.raises(PolicyError, match=r"cn\.consent and cn\.other with hook consent"):
        parse_pack(text + more, "cn.toml")
    apart = text.replace(
        b'id = "cn.consent"', b'id = "cn.consent"\neffective_to = 2027-01-01', 1
    )
    assert len(parse_pack(apart + more, "cn.toml").duties) == 21


def test_file_that_is_no_toml_or_too_large_is_refused() -> None:
    for data in (b"\xff", b"[pack", b"a = 1\na = 2", b"#" * (LARGEST_FILE + 1)):
        with pytest.raises(PolicyError, match=r"bad\.toml"):
            parse_pack(data, "bad.toml")


# --- policies ---------------------------------------------------------------------------------


def test_sample_policy_serves_or_refuses_each_of_the_40_cells() -> None:
    one = policy()
    assert [(cell.grade, cell.purpose) for cell in one.cells] == [
        (grade, purpose) for grade in GRADES for purpose in PURPOSES
    ]
    for cell in one.cells:
        assert cell.offered != bool(cell.not_offered)
        assert one.cell(cell.grade, cell.purpose) is cell
        products = RULES.catalogue.cell(cell.grade, cell.purpose)
        assert bool(products) is cell.offered


WRONG_POLICIES = [
    (
        '["0.08", "0.12", "0.18", "0.35"]',
        '["0.12", "0.08", "0.18", "0.35"]',
        "line 16: grades.pd_cuts",
    ),
    ('["0.08", "0.12", "0.18", "0.35"]', '["0.08", "0.12", "0.18"]', "4 decimals"),
    ('refer_pd = "0.25"', 'refer_pd = "0.36"', "cuts.EDUCATION.refer_pd: seen '0.36'"),
    ('decline_pd = "0.35"', 'decline_pd = "1"', "cuts.EDUCATION.decline_pd"),
    ("[tier.G1.DURABLES]", "[tier.G1.CARS]", "tier.G1.DURABLES: seen nothing"),
    ("tenor_months = [3, 60]", "tenor_months = [60, 3]", "tier.G1.EDUCATION.tenor_months"),
    (
        'price_apr = ["0.06", "0.09"]',
        'price_apr = ["0.09", "0.06"]',
        "tier.G1.EDUCATION.price_apr",
    ),
    ("limit_max = 50000000", "limit_max = 0", "tier.G1.EDUCATION.limit_max"),
    ("limit_max = 50000000", "limit_max = 30000000", "tier.G2.EDUCATION.limit_max"),
    (
        'documents = ["identity", "income"]',
        'documents = ["identity"]\nnot_offered = "no"',
        "tier.G1.EDUCATION.documents",
    ),
    ("tenor_months = [3, 60]", "tenor_months = [3, 12]", "tier.G2.EDUCATION.tenor_months"),
    (
        'price_apr = ["0.06", "0.09"]',
        'price_apr = ["0.06", "0.13"]',
        "tier.G2.EDUCATION.price_apr",
    ),
    (", G5 = 0 }", " }", "growth.weekly_exposure.G5"),
    ("[1, 5, 20, 100]", "[1, 5, 20]", "growth.ramp_percent"),
    ("[1, 5, 20, 100]", "[5, 1, 100]", "growth.ramp_percent"),
    ('ratio = "2.0"', 'ratio = "1.0"', "stop.ratio"),
    ('fpd30_plan = "0.03"', 'fpd30_plan = "0.6"', "stop.ratio"),
    ('alpha = "0.05"', 'alpha = "0"', "stop.alpha"),
    ('a_pd = "0.12"', 'a_pd = "0.20"', "restart.a_pd"),
    ('dsr_cap = "0.50"', 'dsr_cap = "0.5000001"', "rules.dsr_cap"),
    ("income_max_age_months = 12", "income_max_age_months = 13", "rules.income_max_age_months"),
    ("approval_days = 30", "approval_days = 0", "rules.approval_days"),
    ("approval_days = 30", "approval_days = 91", "rules.approval_days"),
    ("holdout_percent = 10", "holdout_percent = 10\nholdout = 1", "restart.holdout: seen 1"),
    ('kind = "no"', 'kind = "never"', "levers.PAY_3.kind"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG_POLICIES, ids=str)
def test_policy_that_breaks_a_rule_is_refused_with_line_field_and_values(
    old: str, new: str, told: str
) -> None:
    with pytest.raises(PolicyError) as error:
        policy(**{old: new})
    text = str(error.value)
    assert text.startswith("bank_a.toml, line ")
    assert told in text
    assert "seen" in text
    assert "expected" in text


def test_policy_without_days_of_an_approval_is_the_one_that_says_30() -> None:
    """What was decided before there was such a line names a policy by the same digest."""
    lines = POLICY_FILE.read_text().splitlines(keepends=True)
    silent = policy(**{next(one for one in lines if one.startswith("approval_days")): ""})
    assert silent == policy()
    before = document_of(silent).replace(b'"approval_days":30,', b"")
    assert len(before) < len(document_of(silent))
    assert silent.digest == hash_with(Label.POLICY, before)
    assert policy(**{"approval_days = 30": "approval_days = 31"}).digest != silent.digest


def test_line_of_an_error_is_that_of_its_field() -> None:
    with pytest.raises(PolicyError) as error:
        policy(**{"tenor_months = [3, 24]": "tenor_months = [24, 3]"})
    lines = POLICY_FILE.read_text().splitlines()
    wrong = next(n for n, line in enumerate(lines, 1) if line == "tenor_months = [3, 24]")
    assert f"line {wrong}: tier.G4.EDUCATION.tenor_months" in str(error.value)


def test_weaker_grade_may_not_be_offered_what_a_stronger_is_not() -> None:
    text = POLICY_FILE.read_text()
    start = text.index("[tier.G1.HOME]")
    end = text.index("[tier.G1.DURABLES]")
    data = text[:start] + '[tier.G1.HOME]\nnot_offered = "no"\n\n' + text[end:]
    with pytest.raises(PolicyError, match=r"tier\.G2\.HOME: seen 'offered'"):
        parse_policy(data.encode(), "bank_a.toml")


def test_version_of_a_day_is_found_and_an_overlap_is_refused() -> None:
    old = policy(**{"2026-11-01\n": "2026-11-01\neffective_to = 2027-01-01\n"})
    new = policy(
        **{'version = "2026-11-01"': 'version = "2"', "from = 2026-11-01": "from = 2027-01-01"}
    )
    assert policy_at([new, old], date(2026, 12, 31)) is old
    assert policy_at([new, old], date(2027, 1, 1)) is new
    with pytest.raises(PolicyError, match="expected one in force on 2026-10-31"):
        policy_at([new, old], date(2026, 10, 31))
    with pytest.raises(PolicyError, match="while version 2026-11-01 is in force"):
        policy_at([new, policy()], date(2027, 1, 1))
    with pytest.raises(PolicyError, match="seen none"):
        policy_at([], date(2027, 1, 1))


def test_digest_tells_every_change_and_documents_come_back() -> None:
    wholes: list[Pack | Policy | Catalogue] = [
        *(pack(name) for name in SHIPPED),
        policy(),
        catalogue(),
    ]
    for whole in wholes:
        assert parse_document(type(whole), document_of(whole)) == whole
    assert len({whole.digest for whole in wholes}) == len(wholes)
    assert policy(**{"holdout_percent = 10": "holdout_percent = 11"}).digest != policy().digest


# --- catalogues -------------------------------------------------------------------------------


WRONG_CATALOGUES = [
    ("amount = [500000, 10000000]", "amount = [10000000, 500000]", "line 18: product.0.amount"),
    ("amount = [10000100, 50000000]", "amount = [10000000, 50000000]", "product.1.amount"),
    ('id = "instalment_large"', 'id = "instalment_small"', "product.1.id"),
    ('grades = ["G5"]', 'grades = ["G4", "G5"]', "not_offered: seen 'G4 EDUCATION'"),
    ('weakest_grade = "G4"', 'weakest_grade = "G3"', "the cell of G4 and EDUCATION"),
    (
        'purposes = ["SME_WORKING", "PROJECT"]',
        'purposes = ["PROJECT"]',
        "the cell of G1 and SME_WORKING",
    ),
    ('grades = ["G5"]', "grades = []", "not_offered.0.grades"),
    ('weakest_grade = "G4"', 'weakest_grade = "G6"', "product.0.weakest_grade"),
    ('repayment = "annuity"', 'repayment = "free"', "product.0.repayment"),
    ('name_en = "Revolving line"', 'name_en = ""', "product.2.name_en"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG_CATALOGUES, ids=str)
def test_catalogue_with_a_gap_overlap_or_inverted_range_is_refused(
    old: str, new: str, told: str
) -> None:
    with pytest.raises(PolicyError) as error:
        catalogue(**{old: new})
    assert told in str(error.value)
    assert str(error.value).startswith("bank_a_products.toml")


MISFITS: list[tuple[dict[str, str], dict[str, str], str, str]] = [
    ({'pack = "tw"': 'pack = "cn"'}, {}, "tw", "pack: seen cn, expected tw"),
    ({'currency = "TWD"': 'currency = "CNY"'}, {}, "tw", "expected TWD"),
    ({}, {'currency = "TWD"': 'currency = "CNY"'}, "tw", "that of the catalogue"),
    (
        {},
        {
            'weakest_grade = "G4"': 'weakest_grade = "G3"',
            'grades = ["G5"]': 'grades = ["G4", "G5"]',
        },
        "tw",
        "tier.G4.EDUCATION: seen offered",
    ),
    (
        {},
        {"tenor_months = [12, 60]": "tenor_months = [61, 72]"},
        "tw",
        "tenor_months: seen nothing in common with product 'instalment_large'",
    ),
    (
        {},
        {'price_apr = ["0.06", "0.145"]': 'price_apr = ["0.14", "0.145"]'},
        "tw",
        "price_apr: seen nothing in common",
    ),
    (
        {},
        {'documents = ["identity"]\n': 'documents = ["identity"]\nfee_share = "0.02"\n'},
        "tw",
        "expected a cost of at most 160000 a year (nominal)",
    ),
]


@pytest.mark.parametrize(("in_policy", "in_catalogue", "name", "told"), MISFITS, ids=str)
def test_pack_policy_and_catalogue_that_do_not_fit_are_refused(
    in_policy: dict[str, str], in_catalogue: dict[str, str], name: str, told: str
) -> None:
    with pytest.raises(PolicyError) as error:
        check_rules(pack(name), policy(**in_policy), catalogue(**in_catalogue))
    assert told in str(error.value)


def chinese(**changes: str) -> tuple[Policy, Catalogue]:
    rules = {'pack = "tw"': 'pack = "cn"', 'currency = "TWD"': 'currency = "CNY"'}
    sold = {
        'currency = "TWD"': 'currency = "CNY"',
        "amount = [10000100, 50000000]": "amount = [10000100, 20000000]",
    }
    return policy(**rules), catalogue(**(sold | changes))


def test_policy_may_not_be_looser_than_its_pack() -> None:
    rules, sold = chinese()
    check_rules(pack("cn"), rules, sold)
    _, more = chinese(**{"amount = [1000000, 20000000]": "amount = [1000000, 20000001]"})
    with pytest.raises(PolicyError, match="expected at most 20000000, the cap of pack cn"):
        check_rules(pack("cn"), rules, more)
    _, bullet = chinese(**{'repayment = "revolving"': 'repayment = "bullet"'})
    with pytest.raises(PolicyError, match="at most 12, the bullet cap"):
        check_rules(pack("cn"), rules, bullet)


def test_cap_that_comes_into_force_later_binds_a_policy_that_is_still_in_force_then() -> None:
    text = (PACKS / "tw.toml").read_text()
    later = text.replace("effective_from = 2021-07-20", "effective_from = 2026-12-01")
    strict = parse_pack(later.replace('"0.16"', '"0.14"').encode(), "tw.toml")
    with pytest.raises(PolicyError, match="on 2026-12-01"):
        check_rules(strict, policy(), catalogue())
    ends = policy(**{"2026-11-01\n": "2026-11-01\neffective_to = 2026-12-01\n"})
    check_rules(strict, ends, catalogue())


# --- tiers ------------------------------------------------------------------------------------


def test_grade_ends_on_its_cut_in_integers() -> None:
    for place, text in enumerate(("0.08", "0.12", "0.18", "0.35")):
        cut = cut_units(text)
        assert RULES.grade(cut - 1) is GRADES[place]
        assert RULES.grade(cut) is GRADES[place + 1]


@given(st.integers(-(20 << 32), 20 << 32), st.integers(0, 1 << 34))
def test_more_risk_is_never_a_better_grade(eta: int, more: int) -> None:
    assert RULES.grade(eta) <= RULES.grade(eta + more)


def test_grade_that_a_product_is_not_offered_to_is_declined_by_score() -> None:
    large = RULES.catalogue.product("instalment_large")
    small = RULES.catalogue.product("instalment_small")
    assert large is not None
    assert small is not None
    assert RULES.cuts(large, Purpose.HOME) == (cut_units("0.18"), cut_units("0.18"))
    assert RULES.cuts(small, Purpose.HOME) == (cut_units("0.25"), cut_units("0.35"))
    assert RULES.cuts(small, Purpose.PROJECT) is None
    assert RULES.terms(large, Grade.G4, Purpose.HOME) is None


def test_thin_grades_merge_with_the_next_weaker_and_rates_must_rise() -> None:
    def row(grade: Grade, persons: int, bad: int) -> TierCount:
        return TierCount((grade,), persons, bad)

    counts = [
        row(Grade.G1, 300, 20),
        row(Grade.G2, 100, 5),
        row(Grade.G3, 250, 40),
        row(Grade.G4, 199, 60),
        row(Grade.G5, 10, 9),
    ]
    merged = merge_thin(counts)
    assert [one.grades for one in merged] == [
        (Grade.G1,),
        (Grade.G2, Grade.G3),
        (Grade.G4, Grade.G5),
    ]
    assert sum(one.persons for one in merged) == sum(one.persons for one in counts)
    assert strictly_worse(merged)
    assert not strictly_worse([row(Grade.G1, 300, 30), row(Grade.G2, 300, 30)])
    assert merge_thin([row(Grade.G1, 300, 3), row(Grade.G5, 4, 1)])[-1].persons == 304
    assert merge_thin([row(Grade.G1, 4, 1)]) == (row(Grade.G1, 4, 1),)
    assert migration([(Grade.G1, Grade.G2), (Grade.G1, Grade.G2)])[0] == (0, 2, 0, 0, 0)


# --- words and units --------------------------------------------------------------------------


@given(st.integers(0, 10**12))
def test_shares_are_read_as_they_are_printed(share: int) -> None:
    assert parse_ppm(ppm_text(share)) == share


@pytest.mark.parametrize("text", ["", ".5", "0,5", "1e3", "-1", "0.1234567", "01", "½", "0.5 "])
def test_share_that_is_not_written_plainly_is_refused(text: str) -> None:
    with pytest.raises(DomainError):
        parse_ppm(text)


def test_money_of_two_currencies_never_meets() -> None:
    one, other = Money(150, "CNY"), Money(1, "TWD")
    assert one + one - Money(50, "CNY") == Money(250, "CNY")
    assert -one < one
    assert one <= Money(150, "CNY")
    assert one.times(Ppm(500_000)) == Money(75, "CNY")
    assert Money(1, "CNY").times(Ppm(500_000)) == Money(1, "CNY")
    for act in (
        lambda: one + other,
        lambda: one - other,
        lambda: one < other,
        lambda: one <= other,
    ):
        with pytest.raises(DomainError):
            act()
    for minor, currency in (
        (1, "cny"),
        (1, "YUAN"),
        (2**53, "CNY"),
        (1.5, "CNY"),
        (True, "CNY"),
    ):
        with pytest.raises(DomainError):
            Money(minor, currency)  # type: ignore[arg-type]


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(-240, 240))
def test_months_end_on_the_same_day_or_the_last(day: date, months: int) -> None:
    moved = add_months(day, months)
    assert (moved.year - day.year) * 12 + moved.month - day.month == months
    assert moved.day == day.day or (moved + timedelta(days=1)).day == 1
    with pytest.raises(DomainError):
        add_months(day, 12 * 9_000)


def test_spans_hold_from_their_first_day_until_their_end() -> None:
    span = Span(date(2026, 1, 1), date(2026, 2, 1))
    assert [span.holds(date(2025, 12, 31)), span.holds(date(2026, 1, 1))] == [False, True]
    assert [span.holds(date(2026, 1, 31)), span.holds(date(2026, 2, 1))] == [True, False]
    assert not span.meets(Span(date(2026, 2, 1)))
    assert span.meets(Span(date(2026, 1, 31)))
    assert not Span(date(2026, 2, 1)).meets(span)
    with pytest.raises(DomainError):
        Span(date(2026, 1, 1), date(2026, 1, 1))


@pytest.mark.parametrize("text", ["20261101", "2026-W44-7", "2026-11-31", "1 Nov"])
def test_date_of_a_document_has_one_form(text: str) -> None:
    data = document_of(policy()).replace(
        b'"2026-11-01","effective_to"', f'"{text}","effective_to"'.encode()
    )
    assert data != document_of(policy())
    with pytest.raises(DecodeError):
        parse_document(Policy, data)
