"""Notices: every code of the decision and no other, nothing of partners, and what helps."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.decision import decide
from consortium.credit.education import CODES
from consortium.credit.facts import DecisionInput, Flag, ScoreReason
from consortium.credit.pack import Language
from consortium.credit.terms import Money
from consortium.credit.verdict import Final, Outcome, OverrideCode, override
from consortium.errors import ConfigurationError, DigestMismatchError, PolicyError
from consortium.features.schema import parse_schema
from consortium.scoring.reasons import Source
from consortium.scoring.scorecard import cut_units
from partner_node.credit.document import Box, money
from partner_node.credit.house_terms import parse_terms, terms_at
from partner_node.credit.notice_words import TEXTS
from partner_node.credit.notices import module_paper, modules_of, notice_of
from partner_node.credit.page_html import html_of
from partner_node.credit.page_pdf import pdf_of
from partner_node.credit.what_helps import Help, bin_in, help_of
from tests.credit_house import STANDING, TERM, TODAY, case, under
from tests.paper_house import TERMS, TERMS_FILE, late_person, noticed, with_levers

DECLINED = case(eta=cut_units("0.4"))
CODE = re.compile(r"(?<![A-Za-z0-9])(R[0-9]{2}|F1)(?![A-Za-z0-9])")
LANGUAGES = tuple(Language)
SCHEMA = parse_schema(
    Path("examples/taiwan/schema.toml").read_text(encoding="utf-8"), source="schema.toml"
)


def codes_in(text: str) -> set[str]:
    return set(CODE.findall(text))


def printed(inputs: DecisionInput, language: Language) -> str:
    return html_of(notice_of(noticed(inputs), language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("inputs", "codes"),
    [
        (case(), set()),
        (DECLINED, {"R01", "R32", "R06"}),
        (case(income=None), {"R20"}),
        (case(flags=(Flag.FRAUD,), income=None), {"F1"}),
        (case(dpd_now=91), {"R23"}),
        (case(amount=90_000_000), {"R22"}),
        (case(amount=9_000_000, here=(TERM,) * 5), {"R21"}),
    ],
)
def test_every_code_of_the_decision_is_printed_and_no_other(
    language: Language, inputs: DecisionInput, codes: set[str]
) -> None:
    assert codes_in(printed(inputs, language)) == codes


@settings(max_examples=20)
@given(
    st.sampled_from(["0.02", "0.1", "0.3", "0.6"]),
    st.lists(st.sampled_from(sorted(set(CODES) - {"F1"})), min_size=1, max_size=4, unique=True),
    st.integers(0, 120),
    st.booleans(),
)
def test_codes_of_any_decision_are_those_that_are_printed(
    pd: str,
    codes: list[str],
    dpd: int,
    knows_income: bool,  # noqa: FBT001 - drawn
) -> None:
    reasons = tuple(ScoreReason(code=one, points=9, source=Source.OWN) for one in codes)
    income = STANDING.income if knows_income else None
    inputs = case(eta=cut_units(pd), reasons=reasons, dpd_now=dpd, income=income)
    what = noticed(inputs)
    for language in LANGUAGES:
        assert codes_in(html_of(notice_of(what, language))) == set(what.codes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_pdf_says_what_the_page_says_and_is_the_same_again(
    language: Language, tmp_path: Path
) -> None:
    paper = notice_of(noticed(DECLINED), language)
    data = pdf_of(paper)
    assert data == pdf_of(paper)
    tool = shutil.which("pdftotext")
    if tool is None:
        pytest.skip("no pdftotext here")
    (tmp_path / "notice.pdf").write_bytes(data)
    command = [tool, tmp_path / "notice.pdf", "-"]
    run = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own
    text = "".join(run.stdout.decode().split())
    assert codes_in(run.stdout.decode()) == {"R01", "R32", "R06"}
    for one in paper.texts():
        assert "".join(one.split())[:40] in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_score_band_consents_route_and_digests_are_told(language: Language) -> None:
    what = noticed(DECLINED)
    texts = "\n".join(notice_of(what, language).texts())
    for one in ("599", "300", "900", "40.00 %", "2026-12-11", "2027-11-26", "credit_review"):
        assert one in texts
    for consent in DECLINED.consents:
        assert consent.id in texts
    digests = (what.id, what.decision.input, DECLINED.policy, DECLINED.pack)
    for digest in (*digests, DECLINED.catalogue, *(letter * 64 for letter in "abcd")):
        assert digest in texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_points_lost_and_no_name_of_a_partner_are_told(language: Language) -> None:
    heavy = (ScoreReason(code="R01", points=777, source=Source.OTHERS),)
    texts = "\n".join(notice_of(noticed(case(DECLINED, reasons=heavy)), language).texts())
    assert "777" not in texts
    assert "bank_b" not in texts
    named = re.sub(r"[0-9a-f]{64}", "", texts)
    assert str(DECLINED.score.eta if DECLINED.score else "") not in named


def test_consent_that_was_not_needed_or_had_ended_is_not_among_the_used() -> None:
    ended = tuple(replace(one, withdrawn_on=TODAY) for one in DECLINED.consents[1:])
    consents = (DECLINED.consents[0], *ended)
    inputs = replace(case(DECLINED, band="0"), consents=consents)
    texts = "\n".join(notice_of(noticed(inputs), Language.EN).texts())
    assert "c-credit_decision" in texts
    assert "c-joint_score" not in texts
    assert "c-income_data" not in texts


def test_referral_names_its_rule_and_promises_a_person() -> None:
    texts = "\n".join(notice_of(noticed(case(income=None)), Language.EN).texts())
    assert "A person will decide" in texts
    assert "need not apply again" in texts


def test_officers_last_word_takes_the_place_of_the_automated_one() -> None:
    decision = decide(DECLINED, noticed(DECLINED).rules)
    final = override(
        decision,
        OverrideCode.HARDSHIP,
        role="officer",
        on=date(2026, 11, 30),
        to=Final(outcome=Outcome.APPROVE, limit=2_000_000),
    )
    page = html_of(notice_of(noticed(DECLINED, final=final), Language.EN))
    assert "Approved" in page
    assert "20,000.00" in page
    assert "2026-11-30" in page
    assert codes_in(page) == set()


@pytest.mark.parametrize(
    ("currency", "told"),
    [
        ("TWD", "123.45"),
        ("JPY", "12,345"),
        ("XAF", "12,345"),
        ("KWD", "12.345"),
        ("CLF", "1.2345"),
    ],
)
def test_amount_is_told_with_its_currencys_own_decimals(currency: str, told: str) -> None:
    assert money(Money(12_345, currency)) == f"{currency} {told}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_an_officer_found_beside_the_score_is_said_in_words(language: Language) -> None:
    decision = decide(DECLINED, noticed(DECLINED).rules)
    scored = {one.code for one in decision.reasons}
    known = {one.reason: one for one in SCHEMA.features}
    code = next(one for one in known if one not in scored)
    to = Final(outcome=Outcome.DECLINE, reasons=(code,))
    final = override(decision, OverrideCode.NEW_FACTS, role="officer", on=TODAY, to=to)
    what = replace(noticed(DECLINED, final=final), schema=SCHEMA)
    said = known[code].reason_zh if language is Language.ZH else known[code].reason_en
    texts = "\n".join(notice_of(what, language).texts())
    assert said in texts
    assert TEXTS[language]["reasons_about"] not in texts  # nothing of it was weighed


# --- what helps -------------------------------------------------------------------------------


def helped() -> tuple[DecisionInput, Help]:
    inputs, basis = late_person()
    rules = with_levers()
    inputs = under(rules, inputs)
    return inputs, help_of(inputs, rules, basis)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_would_help_is_decided_again_before_it_is_told(language: Language) -> None:
    inputs, helps = helped()
    rules = with_levers()
    assert decide(inputs, rules).outcome is Outcome.DECLINE
    made = helps.promised(rules)
    assert made is not None
    assert made.outcome is Outcome.APPROVE
    # The small model's texts hold their codes; what is told of a move is text alone.
    plain = replace(
        helps, moves=tuple(replace(one, zh="账单", en="bills") for one in helps.moves)
    )
    page = html_of(notice_of(noticed(inputs, rules, helps=plain), language))
    assert all(one.what in page for one in helps.moves)
    assert codes_in(page) == {"R01"}


def test_promise_that_does_not_come_out_so_is_not_told() -> None:
    inputs, helps = helped()
    rules = with_levers()
    better = replace(helps, decision=helps.decision.replace('"limit":', '"limit":1', 1))
    with pytest.raises(DigestMismatchError):
        notice_of(noticed(inputs, rules, helps=better), Language.EN)


def test_changed_input_differs_in_what_is_told_alone() -> None:
    inputs, helps = helped()
    applied = DecisionInput.from_bytes(helps.applied.encode())
    assert applied.score is not None
    assert inputs.score is not None
    score = replace(
        applied.score,
        eta=inputs.score.eta,
        points=inputs.score.points,
        reasons=inputs.score.reasons,
    )
    assert replace(applied, score=score) == inputs
    assert Help.from_bytes(helps.to_bytes()) == helps


def test_nothing_that_helps_is_said_so_with_the_day_of_the_last_arrears() -> None:
    nothing = Help(moves=(), applied="", decision="", leaves_on=date(2027, 5, 31))
    texts = "\n".join(notice_of(noticed(DECLINED, helps=nothing), Language.EN).texts())
    assert "2027-05-31" in texts


@pytest.mark.parametrize(
    ("label", "zh"),
    [
        ("below 501", "低于 501"),
        ("1,000 or more", "1,000 或以上"),
        ("3 to 6", "3 至 6"),
        ("[0.05, 0.1)", "0.05 至 0.1 (不含)"),
        ("missing", "缺失"),
        ("card", "card"),
    ],
)
def test_bins_have_chinese_words(label: str, zh: str) -> None:
    assert bin_in(Language.ZH, label) == zh
    assert bin_in(Language.EN, label) == label


# --- the page itself --------------------------------------------------------------------------


def test_page_fetches_nothing_and_runs_nothing() -> None:
    page = printed(DECLINED, Language.EN)
    for word in ("<script", "http://", "https://", "url(", "src=", "@import", "<link"):
        assert word not in page


def test_what_a_house_writes_is_escaped() -> None:
    evil = replace(TERMS, review=replace(TERMS.review, en="<script>alert(1)</script>"))
    page = html_of(notice_of(replace(noticed(DECLINED), terms=evil), Language.EN))
    assert "<script" not in page
    assert pdf_of(notice_of(replace(noticed(DECLINED), terms=evil), Language.EN))


def test_box_has_no_field_that_could_tick_it() -> None:
    assert set(Box.__dataclass_fields__) == {"text", "more"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_module_that_can_be_printed(language: Language) -> None:
    for code in CODES:
        for module in modules_of((code,), None):
            assert html_of(module_paper(module, language, "Example Bank"))


# --- terms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('version = "2026-11-01"', 'version = "2026-11-01"\nprice = 1', "price"),
        ("dispute_days = 365", "dispute_days = 0", "dispute_days"),
        ("[1500000, 2200000", "[2500000, 2200000", "living_costs"),
        ("amount = 9000", "amount = -1", "amount"),
    ],
)
def test_terms_that_break_a_rule_are_refused_by_line_and_field(
    old: str, new: str, field: str
) -> None:
    text = TERMS_FILE.read_text(encoding="utf-8").replace(old, new, 1)
    with pytest.raises(PolicyError, match=rf"line \d+: .*{field}"):
        parse_terms(text.encode(), "terms.toml")


def test_terms_are_those_of_the_day_and_two_versions_may_not_meet(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="desk init"):
        terms_at(tmp_path, TODAY)
    folder = tmp_path / "credit"
    folder.mkdir()
    text = TERMS_FILE.read_text(encoding="utf-8")
    (folder / "terms_1.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError, match="none in force"):
        terms_at(tmp_path, date(2026, 10, 31))
    later = text.replace("effective_from = 2026-11-01", "effective_from = 2026-12-01")
    (folder / "terms_2.toml").write_text(later, encoding="utf-8")
    with pytest.raises(PolicyError, match="one at a time"):
        terms_at(tmp_path, TODAY)
