"""At a desk: offers that would be approved, the list for all, sheets, contracts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.cost import sheet_digest
from consortium.credit.facts import Flag, RestartTier
from consortium.credit.hooks import Hook
from consortium.credit.levers import Change
from consortium.credit.offers import WhyNot
from consortium.credit.pack import Language, parse_pack
from consortium.credit.tiers import Repayment
from consortium.credit.verdict import Final, Outcome, OverrideCode, override
from consortium.errors import (
    CostCapError,
    DataError,
    DecodeError,
    DigestMismatchError,
    NotConfirmedError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.scoring.scorecard import cut_units
from partner_node.credit import storage_path, storage_people
from partner_node.credit.application import DeskService
from partner_node.credit.forms import override_of
from partner_node.credit.helping import Helper
from partner_node.credit.notices import notice_of
from partner_node.credit.offers import DECISION, approved, granted, offers_of, sheet_of
from partner_node.credit.page_html import html_of
from partner_node.credit.page_pdf import pdf_of
from partner_node.credit.papers import DoorPapers, PaperDesk, printed, promises_kept, reading_of
from partner_node.credit.scores import ScorePorts
from partner_node.credit.what_helps import Help, ToldMove
from tests.credit_desk_house import Scores, application, decided, desk
from tests.credit_house import (
    INCOME,
    NOW,
    PACKS,
    RULES,
    SCORE,
    TERM,
    TODAY,
    case,
)
from tests.paper_house import TERMS, late_person, noticed, write_terms

BAD = Scores({"bad": replace(SCORE, eta=cut_units("0.6"))})


@contextmanager
def papers(
    home: Path, clock: list[int] | None = None
) -> Iterator[tuple[DeskService, PaperDesk]]:
    times = clock or [NOW]
    with desk(write_terms(home), BAD, now=lambda: times[0]) as service:
        yield service, PaperDesk(service, home)


# --- offers -----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(100_000, 60_000_000),
    st.integers(1, 72),
    st.integers(500_000, 9_000_000),
    st.sampled_from(["0.02", "0.10", "0.15", "0.25"]),
    st.sampled_from([0, 0, 0, 2_000_000]),
)
def test_what_is_offered_would_be_approved_and_what_is_not_says_why(  # noqa: PLR0917 - drawn
    amount: int, months: int, each: int, pd: str, headroom: int
) -> None:
    inputs = case(
        amount=amount,
        tenor_months=months,
        income=replace(INCOME, credits=(each,) * 3),
        eta=cut_units(pd),
        headroom=(headroom or 10**12,) * 5,
    )
    found = offers_of(inputs, RULES)
    assert all(approved(one, inputs, RULES) for one in found.offers)
    assert bool(found.offers) is not bool(found.why)
    assert found.counselling is not bool(found.offers)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (case(income=None), WhyNot.INCOME_UNKNOWN),
        (case(here=(TERM,) * 40), WhyNot.OVER_THE_CAP_ALREADY),
        (case(eta=cut_units("0.6")), WhyNot.NOT_OFFERED),
        (case(flags=(Flag.FRAUD,)), DECISION),
        (case(dpd_now=95), DECISION),
        (case(adult=False), DECISION),
        (replace(case(), score=None), DECISION),
    ],
)
def test_nothing_is_offered_to_whom_the_decision_would_refuse(inputs: Any, why: str) -> None:  # noqa: ANN401 - an input
    found = offers_of(inputs, RULES)
    assert found.offers == ()
    assert found.why == (why,)
    assert found.counselling


def test_arrears_are_not_paid_with_new_credit() -> None:
    found = offers_of(case(), RULES, repays_arrears=True)
    assert found.why == (WhyNot.REPAYS_ARREARS,)


@pytest.mark.parametrize("tier", RestartTier)
def test_offers_of_a_restart_keep_to_its_bound(tier: RestartTier) -> None:
    inputs = case(restart=tier, here=(TERM,) * 6)
    assert all(approved(one, inputs, RULES) for one in offers_of(inputs, RULES).offers)


def test_list_is_the_same_bytes_for_any_two_applicants(tmp_path: Path) -> None:
    with papers(tmp_path) as (service, made):
        lists = []
        for person in ("11010519", "bad"):
            decided(service, application(f"a-{person}", person=person))
            door = DoorPapers(made, Helper(made.keep_help))
            listed = door.offer({}, key="", caller="loans")
            lists.append((listed, html_of(made.list_paper(Language.ZH))))
        assert lists[0] == lists[1]
        assert json.loads(lists[0][0])["personal"] is False


def test_door_tells_offers_of_a_decision_and_refuses_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    with papers(tmp_path) as (service, made):
        name = decided(service, application())["id"]
        door = DoorPapers(made, Helper(made.keep_help))
        found = json.loads(door.offer({"decision": name}, key="", caller="loans"))
        assert found["offers"][0]["product"] == "instalment_small"
        for odd in ({"decision": 1}, {"person": "x"}, [], {"repays_arrears": "yes"}):
            with pytest.raises(DecodeError):
                door.offer(odd, key="", caller="loans")
        with pytest.raises(NotFoundError):
            door.offer({"decision": "0" * 64}, key="", caller="loans")
        page, kind = door.notice(name, "html", "zh")
        assert page.startswith(b"<!DOCTYPE html>")
        assert kind == "text/html; charset=utf-8"
        assert door.notice(name, "pdf", "en")[0].startswith(b"%PDF-")
        with pytest.raises(DecodeError):
            door.notice(name, "docx", "zh")


class _Basis(Scores):
    """Scores with what they were made from."""

    def ports(self) -> ScorePorts:
        basis = late_person()[1]
        return replace(super().ports(), basis=lambda _: basis)


def test_what_helps_is_worked_out_beside_the_decision_and_printed(tmp_path: Path) -> None:
    inputs, _ = late_person()
    assert inputs.score is not None
    home = write_terms(tmp_path)
    with desk(home, _Basis({"late": inputs.score})) as service:
        made = PaperDesk(service, home)
        helper = Helper(made.keep_help)
        service.on_decided = helper.submit
        name = decided(service, application(person="late"))["id"]
        page, _ = DoorPapers(made, helper).notice(name, "html", "en")
        helper.close()
        helps = made.noticed(name).helps
        assert helps is not None
        assert b"was not worked out" not in page
        assert promises_kept(service, 10) == (1, int(bool(helps.moves)))


def test_what_would_help_is_not_kept_of_who_was_deleted_while_it_was_worked_out(
    tmp_path: Path,
) -> None:
    with papers(tmp_path) as (service, made):
        name, other = (
            decided(service, application(one, person=one))["id"] for one in ("gone", "here")
        )
        with service.ports.store.transaction() as connection:
            storage_people.unlink_decisions(connection, service.decision(name).subject)
        for one in (name, other):
            made.keep_help(one, b"{}").result()
        with service.ports.store.reading() as connection:
            assert storage_path.help_for(connection, name) is None
            assert storage_path.help_for(connection, other) == b"{}"


def test_promise_that_does_not_come_out_so_is_found(tmp_path: Path) -> None:
    inputs, _ = late_person()
    assert inputs.score is not None
    with desk(write_terms(tmp_path), _Basis({"late": inputs.score})) as service:
        name = decided(service, application(person="late"))["id"]
        stored = service.decision(name)
        move = ToldMove(
            what=Change.AMOUNT,
            code="",
            unit="",
            zh="",
            en="",
            before="2",
            after="1",
            months=0,
        )
        told = Help(
            moves=(move,),
            applied=stored.input.decode(),
            decision=stored.decision.decode(),
            leaves_on=None,
        )
        with service.ports.store.transaction() as connection:
            storage_path.keep_help(connection, name, told.to_bytes(), 1)
        assert promises_kept(service, 10) == (1, 1)
        lie = replace(told, decision=told.decision.replace('"DECLINE"', '"APPROVE"'))
        assert lie != told
        with service.ports.store.transaction() as connection:
            connection.execute(storage_path.HELPS.update().values(document=lie.to_bytes()))
        with pytest.raises(DigestMismatchError):
            promises_kept(service, 10)


# --- sheets -----------------------------------------------------------------------------------


def test_sheet_tells_both_rates_the_cap_and_the_schedule() -> None:
    inputs = case()
    what = noticed(inputs)
    sheet = sheet_of(granted(what.decision, None, inputs, RULES), RULES, TERMS, day=TODAY)
    assert len(sheet.rows) == 12
    assert sum(row.principal for row in sheet.rows) == sheet.amount.minor == what.decision.limit
    assert sheet.cap is not None
    assert sheet.nominal <= sheet.cap.annualised
    assert [one.addon.code for one in sheet.addons] == ["PROTECT"]
    bare = sheet_of(
        granted(what.decision, None, inputs, RULES),
        RULES,
        replace(TERMS, addons=()),
        day=TODAY,
    )
    assert replace(sheet, addons=()) == bare


@pytest.mark.parametrize("language", Language)
def test_addons_are_apart_and_no_box_is_ticked(tmp_path: Path, language: Language) -> None:
    with papers(tmp_path) as (service, made):
        digest = sheet_digest(made.make_sheet(decided(service, application())["id"]))
        paper = made.sheet_paper(digest, language)
    page = html_of(paper)
    assert page.count('<input type="checkbox">') == 1
    assert "checked" not in page
    assert digest in page
    assert pdf_of(paper) == pdf_of(paper)


def test_price_over_the_cap_has_no_sheet() -> None:
    inputs = case()
    what = granted(noticed(inputs).decision, None, inputs, RULES)
    with pytest.raises(CostCapError):
        sheet_of(replace(what, price=what.price + 100_000), RULES, TERMS, day=TODAY)


def test_officer_lends_no_more_and_no_longer_than_the_pack_lets_anybody() -> None:
    chinese = parse_pack((PACKS / "cn.toml").read_bytes(), "cn.toml")
    duty = chinese.duty(Hook.AMOUNT_CAP, TODAY)
    assert duty is not None
    caps = replace(RULES.pack.caps, consumer_loan_max=20_000_000, bullet_max_months=12)
    pack = replace(RULES.pack, duties=(*RULES.pack.duties, replace(duty, applies_to=())))
    rules = replace(RULES, pack=replace(pack, caps=caps))
    inputs = case()
    what = granted(noticed(inputs).decision, None, inputs, RULES)
    most = replace(what, amount=20_000_000)
    assert sheet_of(most, rules, TERMS, day=TODAY).amount.minor == 20_000_000
    with pytest.raises(OutOfOrderError, match="at most 20000000"):
        sheet_of(replace(most, amount=20_000_001), rules, TERMS, day=TODAY)
    late = replace(most, product=replace(what.product, repayment=Repayment.BULLET), months=13)
    with pytest.raises(OutOfOrderError, match="at most 12 months"):
        sheet_of(late, rules, TERMS, day=TODAY)


def test_minor_signs_nothing_whoever_approved() -> None:
    inputs = case(adult=False)
    made = noticed(inputs).decision
    to = Final(outcome=Outcome.APPROVE, limit=1_000_000)
    final = override(made, OverrideCode.HARDSHIP, role="officer", on=TODAY, to=to)
    with pytest.raises(OutOfOrderError, match="minor"):
        granted(made, final, inputs, RULES)


def test_there_is_no_sheet_of_what_was_declined(tmp_path: Path) -> None:
    with papers(tmp_path) as (service, made):
        name = decided(service, application(person="bad"))["id"]
        with pytest.raises(OutOfOrderError):
            made.make_sheet(name)


def test_contract_names_the_sheet_that_was_shown_and_confirmed(tmp_path: Path) -> None:
    clock = [NOW]
    with papers(tmp_path, clock) as (service, made):
        name = decided(service, application())["id"]
        digest = sheet_digest(made.make_sheet(name))
        for refused in (made.sign, made.confirm_sheet):
            with pytest.raises(NotConfirmedError):
                refused(digest)
        made.show_sheet(digest, "online")
        with pytest.raises(NotConfirmedError):
            made.sign(digest)
        clock[0] += 20
        made.confirm_sheet(digest)
        contract = made.sign(digest)
        assert (contract.decision, contract.sheet, contract.addons) == (name, digest, "")
        assert made.sign(digest) == contract
        assert made.noticed(name).sheet == digest
    with papers(tmp_path, clock) as (_, again):
        assert again.sign(digest) == contract


def test_silence_takes_no_addon_and_the_last_word_counts(tmp_path: Path) -> None:
    with papers(tmp_path) as (service, made):
        digest = sheet_digest(made.make_sheet(decided(service, application())["id"]))
        made.choose(digest, "PROTECT", taken=False)
        made.choose(digest, "PROTECT", taken=True)
        with pytest.raises(DataError):
            made.choose(digest, "OTHER", taken=True)
        made.show_sheet(digest, "paper")
        made.confirm_sheet(digest)
        assert made.sign(digest).addons == "PROTECT"


def test_sheet_of_another_day_or_price_is_made_again(tmp_path: Path) -> None:
    clock = [NOW]
    with papers(tmp_path, clock) as (service, made):
        digest = sheet_digest(made.make_sheet(decided(service, application())["id"]))
        made.show_sheet(digest, "paper")
        made.confirm_sheet(digest)
        terms = tmp_path / "credit" / "terms.toml"
        text = terms.read_text(encoding="utf-8")
        terms.write_text(text.replace("amount = 9000", "amount = 9900"), encoding="utf-8")
        with pytest.raises(OutOfOrderError, match="not what the sheet says"):
            made.sign(digest)
        terms.write_text(text, encoding="utf-8")
        clock[0] += 86_400
        with pytest.raises(OutOfOrderError, match="another day"):
            made.sign(digest)


def test_approval_is_signed_under_until_its_policys_last_day_and_not_beyond(
    tmp_path: Path,
) -> None:
    """Months later, under a policy that has changed, the days of its own count."""
    clock = [NOW]
    with papers(tmp_path, clock) as (service, made):
        name = decided(service, application())["id"]
        policy = tmp_path / "credit" / "policy.toml"
        text = policy.read_text(encoding="utf-8")
        policy.write_text(text.replace("approval_days = 30", "approval_days = 2"), "utf-8")
        second = decided(service, application("application-2"))["id"]
        clock[0] = NOW + 2 * 86_400
        for one in (name, second):
            made.make_sheet(one)
        clock[0] += 86_400
        with pytest.raises(OutOfOrderError, match="2026-11-26 and good for 2 days, until"):
            made.make_sheet(second)
        to = {"code": "NEW_FACTS", "role": "officer", "outcome": "APPROVE", "limit": 1_000_000}
        service.override(second, override_of(to), by="loans")
        made.make_sheet(second)  # an officer's word is of its own day
        clock[0] = NOW + 30 * 86_400
        digest = sheet_digest(made.make_sheet(name))
        made.show_sheet(digest, "paper")
        made.confirm_sheet(digest)
        clock[0] += 86_400
        for late in (lambda: made.make_sheet(name), lambda: made.sign(digest)):
            with pytest.raises(OutOfOrderError, match="until 2026-12-26; today is 2026-12-27"):
                late()
        clock[0] -= 86_400
        contract = made.sign(digest)
        clock[0] += 86_400
        assert made.sign(digest) == contract


def test_nothing_is_made_or_signed_by_the_id_of_who_was_deleted(tmp_path: Path) -> None:
    with papers(tmp_path) as (service, made):
        signed, other = (
            decided(service, application(one, person=one))["id"] for one in ("a", "b")
        )
        digests = [sheet_digest(made.make_sheet(name)) for name in (signed, other)]
        for digest in digests:
            made.show_sheet(digest, "paper")
            made.confirm_sheet(digest)
        made.sign(digests[0])
        with service.ports.store.transaction() as connection:
            for name in (signed, other):
                storage_people.unlink_decisions(connection, service.decision(name).subject)
        for name, digest in zip((signed, other), digests, strict=True):
            with pytest.raises(NotFoundError, match="deleted"):
                made.make_sheet(name)
            with pytest.raises(NotFoundError, match="deleted"):
                made.sign(digest)


def test_reading_time_of_the_pack_is_kept_by_the_nodes_own_clock() -> None:
    chinese = parse_pack((PACKS / "cn.toml").read_bytes(), "cn.toml")
    segment = RULES.catalogue.products[0].segment
    reading = reading_of(chinese, segment, chinese.duties[-1].effective_from.replace(year=2027))
    assert reading.forced_reading_s == 10
    assert reading_of(RULES.pack, segment, TODAY).confirm


def test_online_sheet_is_read_as_long_as_the_pack_asks_for(tmp_path: Path) -> None:
    clock = [NOW]
    home = write_terms(tmp_path)
    pack = (PACKS / "tw.toml").read_text(encoding="utf-8") + (
        '\n[[duty]]\nid = "tw.sheet"\nsource = "House rule"\neffective_from = 2026-01-01\n'
        'hook = "cost_sheet"\nstatus = "recalled"\n'
        'params = { forced_reading_s = 10, confirm = true, channels = ["online"] }\n'
    )
    (home / "credit" / "pack.toml").write_text(pack, encoding="utf-8")
    with desk(home, BAD, now=lambda: clock[0]) as service:
        made = PaperDesk(service, home)
        digest = sheet_digest(made.make_sheet(decided(service, application())["id"]))
        made.show_sheet(digest, "online")
        clock[0] += 9
        made.confirm_sheet(digest)
        with pytest.raises(NotConfirmedError, match="9 s of 10"):
            made.sign(digest)
        made.show_sheet(digest, "online")
        clock[0] += 10
        made.confirm_sheet(digest)
        assert made.sign(digest).sheet == digest


def test_paper_has_two_forms_only() -> None:
    with pytest.raises(DataError):
        printed(notice_of(noticed(case()), Language.EN), "docx")
