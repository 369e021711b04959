"""Withdrawal, deletion and time: what goes, what stays, and what is on record."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from consortium.credit.facts import DecisionInput
from consortium.credit.outcomes import LineStatus
from consortium.credit.terms import ConsentPurpose
from consortium.errors import (
    ConfigurationError,
    ConsentMissingError,
    DataError,
    DomainError,
    ScoreRefusal,
    ScoreRefusalError,
)
from consortium.inquiries import Purpose
from partner_node.credit import (
    people,
    storage,
    storage_elsewhere,
    storage_path,
    storage_people,
    storage_watch,
)
from partner_node.credit.application import DeskService
from partner_node.credit.forms import override_of
from partner_node.credit.papers import PaperDesk
from partner_node.credit.path import PathDesk
from partner_node.credit.path_forms import counsel_asked, restart_asked
from partner_node.credit.people import Retention, RightsPorts
from partner_node.credit.storage_watch import NewRows
from partner_node.credit.watch import Known, follow_line
from partner_node.credit.watching import with_bit
from partner_node.desk import Score
from partner_node.loan_desk import Question
from tests.credit_desk_house import Scores, application, consent, decided, desk, write_rules
from tests.credit_house import NOW, RULES
from tests.paper_house import TERMS, write_terms
from tests.unit.test_credit_path_desk import closed, counselled
from tests.unit.test_credit_watch import FLAT
from tests.watch_house import COUNT, history

PERSON = "11010519"
TODAY = date(2026, 11, 26)
YEAR = 366 * 86_400


@dataclass
class Node:
    """Tokens and withdrawals of one node, in memory."""

    tokens: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    gone: set[tuple[bytes, Purpose]] = field(default_factory=set)

    def withdraw(self, subject: bytes, purposes: Sequence[Purpose]) -> None:
        self.gone |= {(subject, one) for one in purposes}

    def restore(self, subject: bytes, purposes: Sequence[Purpose]) -> None:
        self.gone -= {(subject, one) for one in purposes}

    def forget(self, subject: bytes) -> tuple[int, ...]:
        return self.tokens.pop(subject, ())

    def tokens_left(self, subject: bytes) -> int:
        return len(self.tokens.get(subject, ()))

    def models(self) -> tuple[str, ...]:
        return ("a" * 64,)

    def influence(self) -> str:
        return "epsilon 1"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[DeskService]:
    write_rules(tmp_path)
    with desk(tmp_path) as found:
        yield found


def ports(service: DeskService, node: Node | None = None, **changes: object) -> RightsPorts:
    found = RightsPorts(
        store=service.ports.store,
        node=node or Node(),
        subject=service.ports.subject,
        now=NOW,
        today=TODAY,
        retention=Retention(),
    )
    return replace(found, **changes)


def watched(service: DeskService, person: str = PERSON, **columns: list[int]) -> None:
    """A line of a person, with a bit of others and an income in each month."""
    each = [{"closed_elsewhere": True, "income": 10_000, "income_consent": True}] * COUNT
    one = history(f"line of {person}", each=each, **columns)
    found = follow_line(one, Known(), model=FLAT, policy=RULES.policy)
    rows = NewRows(
        line=one.line,
        subject=service.ports.subject(person),
        months=found.months,
        events=found.events,
    )
    with service.ports.store.transaction() as connection:
        storage_watch.keep_rows(connection, [rows])


# --- withdrawal -------------------------------------------------------------------------------


def test_next_joint_score_is_refused_once_consent_is_withdrawn(service: DeskService) -> None:
    node = Node()
    people.withdraw(ports(service, node), PERSON, [ConsentPurpose.JOINT_SCORE])
    assert node.gone == {(service.ports.subject(PERSON), Purpose.JOINT_SCORE)}


def test_withdrawn_income_counts_in_the_next_decision_whatever_the_desk_says(
    service: DeskService,
) -> None:
    assert decided(service, application())["decision"]["outcome"] == "APPROVE"
    people.withdraw(ports(service), PERSON, [ConsentPurpose.INCOME_DATA])
    found = decided(service, application("application-2"))["decision"]
    assert found["outcome"] == "REFER"
    assert found["code"] == "R20"
    people.restore(ports(service), PERSON, [ConsentPurpose.INCOME_DATA])
    assert decided(service, application("application-3"))["decision"]["outcome"] == "APPROVE"


class _Meanwhile(Scores):
    """The person withdraws while the federation is asked."""

    then: Callable[[], object]

    async def joint(self, question: Question, caller: str, milliseconds: int) -> Score:
        self.then()
        return await super().joint(question, caller, milliseconds)


def test_withdrawal_that_comes_while_a_score_is_asked_for_counts(tmp_path: Path) -> None:
    write_rules(tmp_path)
    scores = _Meanwhile(fails=ScoreRefusalError(ScoreRefusal.PURPOSE, "withdrawn"))
    gone = [ConsentPurpose.JOINT_SCORE]
    with desk(tmp_path, scores) as service:
        scores.then = lambda: people.withdraw(ports(service), PERSON, gone)
        answer = decided(service, application())
        assert answer["score"]["band"] == "0"
        gone[:] = [ConsentPurpose.CREDIT_DECISION]
        people.restore(ports(service), PERSON, [ConsentPurpose.JOINT_SCORE])
        with pytest.raises(ConsentMissingError):
            decided(service, application("application-2"))
    assert len(scores.asked) == 2


@pytest.mark.parametrize("key", ["", str(UUID(int=3))])
def test_nobody_is_asked_about_who_withdrew_at_this_node(tmp_path: Path, key: str) -> None:
    """The desk still believes in the consent; the node knows before it asks, not after."""
    write_rules(tmp_path)
    scores = Scores()
    with desk(tmp_path, scores) as service:
        people.withdraw(ports(service), PERSON, [ConsentPurpose.CREDIT_DECISION])
        with pytest.raises(ConsentMissingError):
            decided(service, application(), key)
        assert (scores.asked, scores.alone) == ([], [])
        people.restore(ports(service), PERSON, list(ConsentPurpose))
        people.withdraw(ports(service), PERSON, [ConsentPurpose.JOINT_SCORE])
        assert decided(service, application(), key)["score"]["band"] == "0"
        assert (scores.asked, scores.alone) == ([], ["no_consent"])
        assert decided(service, application("b", person="another"))["score"]["band"] == "2"


def test_without_consent_to_decide_nothing_is_decided_or_kept(service: DeskService) -> None:
    people.withdraw(ports(service), PERSON, [ConsentPurpose.CREDIT_DECISION])
    with pytest.raises(ConsentMissingError):
        decided(service, application())
    with service.ports.store.reading() as connection:
        assert storage.decisions(connection) == []


def test_withdrawal_that_the_desk_dates_ahead_is_not_passed_over(service: DeskService) -> None:
    """What ends tomorrow is in force today, but not if it ended at this node already."""
    people.withdraw(ports(service), PERSON, [ConsentPurpose.CREDIT_DECISION])
    ahead = [
        consent(one, withdrawn_on="2099-01-01")
        for one in ("CREDIT_DECISION", "JOINT_SCORE", "INCOME_DATA")
    ]
    with pytest.raises(DomainError, match="withdrawn_on: a date in the future"):
        decided(service, application(consents=ahead))


def test_own_record_of_a_withdrawal_counts_before_a_day_ahead(service: DeskService) -> None:
    people.withdraw(ports(service), PERSON, [ConsentPurpose.INCOME_DATA])
    ahead = [
        consent("CREDIT_DECISION"),
        consent("JOINT_SCORE"),
        consent("INCOME_DATA", withdrawn_on="2099-01-01"),
    ]
    found = decided(service, application(consents=ahead))
    assert found["decision"]["code"] == "R20"
    inputs = DecisionInput.from_bytes(service.decision(found["id"]).input)
    assert inputs.consents[-1].withdrawn_on == TODAY


def test_bit_of_others_goes_with_its_consent_and_with_what_it_led_to(
    service: DeskService,
) -> None:
    watched(service)
    watched(service, "somebody else")
    gone = people.withdraw(ports(service), PERSON, [ConsentPurpose.CLOSURE_SIGNAL])
    assert gone["watch_events"] == COUNT
    with service.ports.store.reading() as connection:
        rows = {
            str(row["line"]): row["level"] for row in storage_watch.newest_months(connection)
        }
    assert rows == {f"line of {PERSON}": 0, "line of somebody else": 1}


def test_debt_service_goes_with_the_consent_to_income(service: DeskService) -> None:
    watched(service)
    gone = people.withdraw(ports(service), PERSON, [ConsentPurpose.INCOME_DATA])
    assert gone["watched_months"] == COUNT - 2  # an income is three credits
    with service.ports.store.reading() as connection:
        (row,) = storage_watch.newest_months(connection)
    assert (row["dsr"], row["codes"]) == (None, "R20")


@pytest.mark.parametrize(
    ("purpose", "why"),
    [
        (ConsentPurpose.CREDIT_DECISION, "CONSENT"),
        (ConsentPurpose.JOINT_SCORE, "CONSENT"),
        (ConsentPurpose.INCOME_DATA, "INCOME_UNKNOWN"),
    ],
)
def test_nothing_is_offered_by_a_consent_that_was_withdrawn_since(
    service: DeskService, tmp_path: Path, purpose: ConsentPurpose, why: str
) -> None:
    papers = PaperDesk(service, write_terms(tmp_path))
    name = decided(service, application())["id"]
    assert papers.offers(name).offers
    people.withdraw(ports(service), PERSON, [purpose])
    found = papers.offers(name)
    assert (found.offers, found.why, found.counselling) == ((), (why,), True)
    assert papers.noticed(name).offered == found
    people.restore(ports(service), PERSON, [purpose])
    assert papers.offers(name).offers


def test_past_decisions_stay_and_replay_after_a_withdrawal(service: DeskService) -> None:
    name = decided(service, application())["id"]
    people.withdraw(ports(service), PERSON, list(ConsentPurpose))
    assert service.replay(name).outcome == "APPROVE"


def test_stage_of_a_followed_line_reaches_the_next_decision(service: DeskService) -> None:
    watched(service, dpd=[0] * 7 + [95])
    found = decided(service, application())["decision"]
    assert found["outcome"] == "DECLINE"
    assert [one["code"] for one in found["reasons"]] == ["R23"]


def test_line_that_ended_with_nothing_owed_is_no_arrear_of_now(service: DeskService) -> None:
    """Who paid all of it back is not declined for years for what is not open."""
    watched(
        service,
        dpd=[0, 0, 0, 60, 95, 120, 0, 0],
        balance=[10_000] * 6 + [0] * 2,
        status=[LineStatus.OPEN] * 6 + [LineStatus.CLOSED_LENDER] * 2,  # type: ignore[list-item]
    )
    assert decided(service, application())["decision"]["outcome"] == "APPROVE"
    with service.ports.store.reading() as connection:
        assert storage_watch.newest_months(connection, level=1) == []
        assert [stage for _, stage, _ in sorted(storage_watch.counts(connection))] == [
            1, 1, 1, 2, 3, 3, 1,
        ]  # fmt: skip


def test_case_goes_with_counselling_and_an_idle_restart_with_its_contact(
    service: DeskService,
) -> None:
    watched(service)
    line = f"line of {PERSON}"
    on_the_way(service, line, "case-7", "idle", ladder=line)
    gone = people.withdraw(ports(service), PERSON, [ConsentPurpose.COUNSELLING], ["case-7"])
    assert (gone["counselling_cases"], gone["counselling_follow_ups"]) == (2, 2)
    contact = [ConsentPurpose.RESTART_CONTACT]
    gone = people.withdraw(ports(service), PERSON, contact, ["idle"])
    assert gone["restarts"] == 1  # the other line's ladder has begun
    assert left(service) == {"restarts": 2, "ladders": 1, "counselling_cases": 1}


def test_contact_and_counsel_that_were_withdrawn_here_are_not_taken_from_the_desks_word(
    service: DeskService, tmp_path: Path
) -> None:
    write_terms(tmp_path)
    watched(service)
    line = f"line of {PERSON}"
    path = PathDesk(service)
    asked = restart_asked(closed(line=line))
    counsel = counsel_asked(counselled(case=line))
    assert path.restart(asked).may_contact
    both = [ConsentPurpose.RESTART_CONTACT, ConsentPurpose.COUNSELLING]
    people.withdraw(ports(service), PERSON, both)
    assert not path.restart(asked).may_contact
    assert not path.counsel(counsel, TERMS.plans).filed
    people.restore(ports(service), PERSON, both)
    assert path.restart(asked).may_contact
    assert path.counsel(counsel, TERMS.plans).filed


def on_the_way(service: DeskService, *lines: str, ladder: str) -> None:
    """Restarts and cases of some lines and of a stranger's, and one ladder."""
    row = {"document": b"{}", "at": NOW}
    with service.ports.store.transaction() as connection:
        for line in (*lines, "stranger"):
            storage_path.keep_case(connection, line, b"{}", (TODAY,), at=NOW)
            if line != "case-7":
                connection.execute(
                    storage_path.RESTARTS.insert(), {"line": line, "tier": "B", **row}
                )
        connection.execute(
            storage_path.LADDERS.insert(),
            {"line": ladder, "old_limit": 1, "currency": "TWD", "state": b"{}", "at": NOW},
        )
        # Cases of this test are those of the line and of case-7 only.
        connection.execute(
            storage_path.COUNSELLING.delete().where(storage_path.COUNSELLING.c.case == "idle")
        )
        connection.execute(
            storage_path.FOLLOW_UPS.delete().where(storage_path.FOLLOW_UPS.c.case == "idle")
        )


def left(service: DeskService) -> dict[str, int]:
    tables = (storage_path.RESTARTS, storage_path.LADDERS, storage_path.COUNSELLING)
    with service.ports.store.reading() as connection:
        return {
            table.name: len(connection.execute(table.select()).fetchall()) for table in tables
        }


# --- deletion ---------------------------------------------------------------------------------


def test_deletion_leaves_no_row_under_the_person_and_a_record_of_nobody(
    service: DeskService,
) -> None:
    watched(service)
    name = decided(service, application())["id"]
    subject = service.ports.subject(PERSON)
    node = Node(tokens={subject: (3, 4)})
    people.withdraw(ports(service, node), PERSON, [ConsentPurpose.CLOSURE_SIGNAL])
    record = people.delete(
        ports(service, node), PERSON, request="art-17-1", received="2026-11-20"
    )
    assert record.rows_left == 0
    assert record.epochs == (3, 4)
    assert dict(record.plain()["erased"])["watched_months"] == COUNT  # type: ignore[call-overload]
    assert (record.kept_decisions, record.kept_until) == (1, "2031-11-26")
    assert {purpose for _, purpose in node.gone} == set(Purpose)
    with service.ports.store.reading() as connection:
        assert storage_people.rows_of(connection, subject) == 0
        (document,) = storage_people.deletions(connection)
    assert json.loads(document) == record.plain()
    assert PERSON.encode() not in document
    assert subject.hex().encode() not in document
    assert service.replay(name).outcome == "APPROVE"


def bits(service: DeskService) -> list[tuple[bool | None, int | None]]:
    subject = service.ports.subject(PERSON)
    with service.ports.store.reading() as connection:
        one = storage_elsewhere.bit_of(connection, subject)
        assert [found.subject for found in storage_elsewhere.arms(connection)] == (
            [subject] if one is not None and one.arm is not None else []
        )
    return [] if one is None else [(one.closed, one.arm)]


@pytest.mark.parametrize("end", ["study", "signal", "delete", "time"])
def test_bit_and_arm_of_a_closure_inquiry_end_with_their_consents_deletion_and_time(
    service: DeskService, end: str
) -> None:
    subject = service.ports.subject(PERSON)
    kept = storage_elsewhere.KeptBit(
        subject=subject, closed=False, on=TODAY, arm=1, arm_on=TODAY
    )
    with service.ports.store.transaction() as connection:
        # The arm is that of the first inquiry of a study, the bit that of the last.
        storage_elsewhere.keep_bits(connection, [kept, replace(kept, closed=True, arm=0)])
    assert bits(service) == [(True, 1)]
    people.sweep(ports(service, today=TODAY + timedelta(days=90)))
    assert bits(service) == [(True, 1)]
    if end == "study":
        people.withdraw(ports(service), PERSON, [ConsentPurpose.IMPACT_STUDY])
        assert bits(service) == [(True, None)]
        return
    if end == "signal":
        people.withdraw(ports(service), PERSON, [ConsentPurpose.CLOSURE_SIGNAL])
    elif end == "delete":
        people.delete(ports(service), PERSON, request="a", received="2026-11-20")
    else:
        people.sweep(ports(service, today=TODAY + timedelta(days=91)))
        assert bits(service) == [(None, 1)]
        people.sweep(ports(service, today=TODAY + timedelta(days=461)))
    assert bits(service) == []


def test_answer_of_a_closure_inquiry_is_a_sign_of_its_month_and_no_other() -> None:
    flat = history("l")
    last = flat.months[-1].end.on
    kept = storage_elsewhere.KeptBit(subject=b"s", closed=True, on=last)
    for days, seen in ((-1, None), (0, True), (31, True), (32, None)):
        found = with_bit(flat, replace(kept, on=last + timedelta(days=days)))
        assert found.months[-1].closed_elsewhere is seen
        assert found.months[:-1] == flat.months[:-1]
    told = replace(flat.months[-1], closed_elsewhere=False)
    own = replace(flat, months=(*flat.months[:-1], told))
    assert with_bit(own, kept) == own, "what the partner's own table says stands"


def test_deletion_takes_what_an_officer_wrote_beside_a_decision_that_stays(
    service: DeskService,
) -> None:
    name, other = (
        decided(service, application(one, person=person))["id"]
        for one, person in (("a", PERSON), ("b", "somebody else"))
    )
    for one in (name, other):
        wish = {"code": "NEW_FACTS", "role": "officer", "outcome": "APPROVE", "limit": 1}
        service.override(one, override_of({**wish, "note": "met Mrs Chen"}), by="loans")
    people.delete(ports(service), PERSON, request="art-17-2", received="2026-11-20")
    with service.ports.store.reading() as connection:
        (left,), (kept,) = (storage.overrides_of(connection, one) for one in (name, other))
    assert (left.note, kept.note) == ("", "met Mrs Chen")
    assert [one.after for one in service.overrides(name)] == ["APPROVE"]


def test_deletion_is_carried_out_once_and_on_a_day_that_has_come(service: DeskService) -> None:
    people.delete(ports(service), PERSON, request="a", received="2026-11-20")
    with pytest.raises(DataError, match="carried out before"):
        people.delete(ports(service), PERSON, request="a", received="2026-11-20")
    with pytest.raises(DataError, match="not yet come"):
        people.delete(ports(service), PERSON, request="b", received="2026-11-27")
    with pytest.raises(DataError, match="YYYY-MM-DD"):
        people.delete(ports(service), PERSON, request="b", received="soon")


def test_deletion_reaches_the_way_back_and_the_papers_of_nobody_else(
    service: DeskService,
) -> None:
    watched(service)
    line = f"line of {PERSON}"
    on_the_way(service, line, "idle", ladder=line)
    mine = decided(service, application())["id"]
    other = decided(service, application("other", person="somebody else"))["id"]
    with service.ports.store.transaction() as connection:
        for name in (mine, other):
            storage_path.keep_help(connection, name, b"{}", NOW)
    people.delete(ports(service), PERSON, request="a", received="2026-11-20", lines=["idle"])
    assert left(service) == {"restarts": 1, "ladders": 0, "counselling_cases": 1}
    with service.ports.store.reading() as connection:
        assert storage_path.help_for(connection, mine) is None
        assert storage_path.help_for(connection, other) == b"{}"


def test_deletion_of_one_leaves_the_others_alone(service: DeskService) -> None:
    watched(service)
    watched(service, "somebody else")
    people.delete(ports(service), PERSON, request="a", received="2026-11-20")
    with service.ports.store.reading() as connection:
        (row,) = storage_watch.newest_months(connection)
    assert row["line"] == "line of somebody else"


# --- time -------------------------------------------------------------------------------------


def test_sweep_drops_what_has_had_its_time_and_nothing_else(service: DeskService) -> None:
    watched(service)
    decided(service, application())
    people.delete(ports(service), "nobody", request="a", received="2026-11-20")
    assert not any(people.sweep(ports(service)).values())
    later = ports(service, today=date(2029, 10, 15), now=NOW + 3 * YEAR)
    gone = people.sweep(later)
    assert gone["watched_months"] == 6  # April to September 2026 are 36 months old
    assert gone["decisions"] == 0
    assert gone["deletions"] == 0
    last = ports(service, today=date(2031, 11, 28), now=NOW + 5 * YEAR)
    gone = people.sweep(last)
    assert (gone["decisions"], gone["grants"], gone["deletions"]) == (1, 1, 1)


def test_retention_is_policy_with_a_floor(tmp_path: Path) -> None:
    assert Retention.read(tmp_path) == Retention()
    path = tmp_path / people.FILE
    path.write_text("decision_years = 7\nwatch_months = 24\n", encoding="utf-8")
    assert Retention.read(tmp_path) == Retention(decision_years=7, watch_months=24)
    path.write_text("decision_years = 4\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="expected 5 to 30"):
        Retention.read(tmp_path)
    path.write_text("keep = 4\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="keep: expected one of"):
        Retention.read(tmp_path)
