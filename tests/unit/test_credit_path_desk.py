"""Restart, ladder and counselling at a desk: stored, once, in order, and never skipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit import ladder as rungs
from consortium.credit.ladder import PAYMENTS, RUNG_PERCENT, Exit, State, Step
from consortium.credit.pack import Language
from consortium.credit.restart import Tier
from consortium.credit.terms import add_months
from consortium.documents import document_of
from consortium.errors import (
    ConsentMissingError,
    DecodeError,
    DigestMismatchError,
    DomainError,
    NotFoundError,
    OutOfOrderError,
)
from consortium.scoring.scorecard import cut_units
from partner_node.credit.counsel_paper import counsel_paper
from partner_node.credit.page_html import html_of
from partner_node.credit.path import Counselled, PathDesk
from partner_node.credit.path_forms import counsel_asked, restart_asked
from partner_node.credit.storage_path import LADDERS
from tests.credit_desk_house import consent, desk
from tests.credit_house import NOW
from tests.paper_house import TERMS, write_terms

DAY = 86_400
OFFERED = date(2026, 11, 26)


@contextmanager
def path(home: Path, clock: list[int] | None = None) -> Iterator[PathDesk]:
    times = clock or [NOW]
    with desk(write_terms(home), now=lambda: times[0]) as service:
        yield PathDesk(service)


def closed(**changes: object) -> dict[str, Any]:
    """Tier A; ``changes`` make it another one."""
    plain: dict[str, Any] = {
        "line": "line-1",
        "cause": "PRODUCT_WITHDRAWN",
        "fraud_confirmed": False,
        "anomaly_cleared": False,
        "dpd": 0,
        "charged_off": False,
        "lateness": {"worst_12": 0, "worst_24": 0, "cured_months": None},
        "eta": cut_units("0.01"),
        "dues": 500_000,
        "income": 6_000_000,
        "product": "revolving",
        "purpose": "DURABLES",
        "tenor_months": 12,
        "old_limit": 5_000_000,
        "old_price": "0.12",
        "consents": [consent("RESTART_CONTACT")],
    }
    return plain | changes


def tier_b(**changes: object) -> dict[str, Any]:
    return closed(eta=cut_units("0.15"), **changes)


def counselled(**changes: object) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "case": "line-1",
        "cause": "ARREARS",
        "tier": None,
        "dpd": 20,
        "income": 6_000_000,
        "household": 2,
        "debts": [{"ref": "a", "balance": 20_000_000, "apr": 150_000, "months": 24}],
        "closed_on": "2026-11-24",
        "consents": [consent("COUNSELLING")],
    }
    return plain | changes


# --- restart ----------------------------------------------------------------------------------


def test_tier_a_is_reinstated_at_no_worse_a_price(tmp_path: Path) -> None:
    with path(tmp_path) as made:
        found = made.restart(restart_asked(closed()))
        assert found.tier is Tier.A
        assert found.limit == 5_000_000
        assert found.price is not None
        assert found.price <= 120_000
        cheaper = made.restart(restart_asked(closed(old_price="0.05")))
        assert cheaper.price == 50_000
        assert made.restarted("line-1") == cheaper


def test_tier_b_has_no_limit_but_the_ladders_and_tier_d_a_day_of_review(tmp_path: Path) -> None:
    with path(tmp_path) as made:
        found = made.restart(restart_asked(tier_b()))
        assert (found.tier, found.limit, found.price) == (Tier.B, 0, None)
        barred = made.restart(restart_asked(closed(fraud_confirmed=True)))
        assert barred.tier is Tier.D
        assert barred.again_on == date(2027, 2, 24)


def test_without_consent_nobody_is_contacted_but_may_apply(tmp_path: Path) -> None:
    withdrawn = consent("RESTART_CONTACT", withdrawn_on="2026-11-25")
    with path(tmp_path) as made:
        assert not made.restart(restart_asked(tier_b(consents=[withdrawn]))).may_contact
        with pytest.raises(ConsentMissingError):
            made.offer_ladder("line-1", applied=False)
        assert made.offer_ladder("line-1", applied=True).ladder.state is State.OFFERED


@pytest.mark.parametrize("odd", [{"age": 40}, {"dpd": "0"}, {"cause": "OTHER"}, {"line": 1}])
def test_restart_of_an_unknown_form_is_refused_by_field(odd: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        restart_asked(closed() | odd)
    with pytest.raises(DecodeError):
        restart_asked([])


# --- ladder -----------------------------------------------------------------------------------


def ready(home: Path, made: PathDesk) -> None:
    made.restart(restart_asked(tier_b()))
    made.offer_ladder("line-1", applied=False)
    made.step("line-1", Step.ACCEPT)
    assert home.exists()


def test_ladder_is_for_tier_b_and_after_counselling_where_debt_is_heavy(tmp_path: Path) -> None:
    with path(tmp_path) as made:
        with pytest.raises(NotFoundError):
            made.offer_ladder("line-1", applied=False)
        made.restart(restart_asked(closed()))
        with pytest.raises(OutOfOrderError, match="tier B"):
            made.offer_ladder("line-1", applied=False)
        made.restart(restart_asked(tier_b(dues=2_600_000)))
        with pytest.raises(OutOfOrderError, match="counselling"):
            made.offer_ladder("line-1", applied=False)
        made.counsel(counsel_asked(counselled()), TERMS.plans)
        assert made.offer_ladder("line-1", applied=False).ladder.state is State.OFFERED


def test_three_payments_a_rung_lead_to_the_whole_limit_and_none_is_skipped(
    tmp_path: Path,
) -> None:
    clock = [NOW]
    with path(tmp_path, clock) as made:
        ready(tmp_path, made)
        limits = [made.ladder("line-1").limit]
        for month in range(1, PAYMENTS * len(RUNG_PERCENT) + 1):
            day = add_months(OFFERED, month)
            clock[0] = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
            made.step("line-1", Step.PAID_ON_TIME, on=day)
            again = made.step("line-1", Step.PAID_ON_TIME, on=day)
            limits.append(again.limit)
        assert again.ladder.state is State.GRADUATED
    expected = [5_000_000 * percent // 100 for percent in RUNG_PERCENT for _ in range(3)]
    assert limits == [*expected, 5_000_000]


def test_paying_more_often_buys_no_rung(tmp_path: Path) -> None:
    clock = [NOW + 30 * DAY]
    with path(tmp_path, [NOW]) as made:
        ready(tmp_path, made)
    with path(tmp_path, clock) as made:
        made.step("line-1", Step.PAID_ON_TIME, on=date(2026, 12, 1))
        with pytest.raises(OutOfOrderError, match="this month"):
            made.step("line-1", Step.PAID_ON_TIME, on=date(2026, 12, 2))
        assert made.ladder("line-1").ladder.paid == 1


def test_what_may_not_follow_changes_nothing(tmp_path: Path) -> None:
    with path(tmp_path) as made:
        ready(tmp_path, made)
        before = made.ladder("line-1")
        with pytest.raises(OutOfOrderError):
            made.step("line-1", Step.CURED)
        with pytest.raises(DomainError):
            made.step("line-1", Step.MISSED, on=date(2026, 11, 27))
        assert made.ladder("line-1") == before
        missed = made.step("line-1", Step.MISSED)
        assert not missed.ladder.may_draw
        assert made.step("line-1", Step.WITHDRAW).ladder.exit is Exit.WITHDRAWN


def test_rung_that_was_written_into_the_database_is_found(tmp_path: Path) -> None:
    with desk(write_terms(tmp_path)) as service:
        made = PathDesk(service)
        ready(tmp_path, made)
        forged = rungs.Ladder(
            state=State.ACTIVE, rung=4, paid=0, last_miss=None, last_on=OFFERED, exit=None
        )
        with service.ports.store.transaction() as connection:
            connection.execute(LADDERS.update().values(state=document_of(forged)))
        for look in (
            lambda: made.ladder("line-1"),
            lambda: made.step("line-1", Step.MISSED),
        ):
            with pytest.raises(DigestMismatchError):
                look()


@settings(max_examples=10)
@given(st.lists(st.tuples(st.sampled_from(Step), st.integers(0, 40)), max_size=12))
def test_any_events_leave_what_the_pure_table_makes_of_them(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[Step, int]]
) -> None:
    clock = [NOW]
    with path(tmp_path_factory.mktemp("ladder"), clock) as made:
        made.restart(restart_asked(tier_b()))
        made.offer_ladder("line-1", applied=False)
        clock[0] = NOW + 800 * DAY
        expected, day, seen, paid = rungs.offered(OFFERED), OFFERED, set(), set()
        for event, days in events:
            day = date.fromordinal(day.toordinal() + days)
            if (event, day) not in seen:
                try:
                    if event is Step.PAID_ON_TIME and day.replace(day=1) in paid:
                        raise OutOfOrderError("this month")  # noqa: TRY301 - as the desk
                    expected = rungs.step(expected, event, on=day)
                    seen.add((event, day))
                    paid |= {day.replace(day=1)} if event is Step.PAID_ON_TIME else set()
                except OutOfOrderError:
                    with pytest.raises(OutOfOrderError):
                        made.step("line-1", event, on=day)
                    continue
            assert made.step("line-1", event, on=day).ladder == expected
        assert made.ladder("line-1").ladder == expected


# --- counselling ------------------------------------------------------------------------------


def test_case_is_filed_with_its_days_and_a_follow_up_is_done_once(tmp_path: Path) -> None:
    clock = [NOW]
    with path(tmp_path, clock) as made:
        found = made.counsel(counsel_asked(counselled()), TERMS.plans)
        assert found.filed
        assert len(found.case.options) == 4
        first = found.follow_ups[0][0]
        assert first == date(2026, 12, 26)
        assert made.due() == []
        with pytest.raises(OutOfOrderError):
            made.done("line-1", first)
        clock[0] += 31 * DAY
        assert made.due() == [("line-1", first)]
        assert made.done("line-1", first).follow_ups[0] == (first, date(2026, 12, 27))
        with pytest.raises(OutOfOrderError):
            made.done("line-1", first)
        with pytest.raises(OutOfOrderError):
            made.counsel(counsel_asked(counselled()), TERMS.plans)


def test_without_consent_there_is_advice_without_a_file(tmp_path: Path) -> None:
    with path(tmp_path) as made:
        found = made.counsel(counsel_asked(counselled(consents=[])), TERMS.plans)
        assert not found.filed
        assert found.case.options
        with pytest.raises(NotFoundError):
            made.case("line-1")


@pytest.mark.parametrize("language", Language)
def test_case_is_a_paper_that_asks_for_no_money(tmp_path: Path, language: Language) -> None:
    with path(tmp_path) as made:
        found = made.counsel(counsel_asked(counselled()), TERMS.plans)
    page = html_of(counsel_paper(found, TERMS, language, "TWD"))
    assert "2026-12-26" in page
    names = {one.name for kind in (Counselled, type(found.case)) for one in fields(kind)}
    assert not {name for name in names if "price" in name or "fee" in name}
