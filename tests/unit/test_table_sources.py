"""What a node counts into tables: its lines and its decisions, worked by hand."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from consortium.credit.closures import Anomaly
from consortium.credit.decision import decide
from consortium.credit.facts import DecisionInput
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import Entry, contribution
from consortium.credit.outcomes import LineStatus
from consortium.credit.terms import Ppm, Segment
from consortium.credit.verdict import Outcome, Override, OverrideCode
from consortium.documents import document_of
from consortium.errors import ConfigurationError, DataError
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import PartnerId
from partner_node.credit import storage
from partner_node.credit.figure_decisions import (
    Decided,
    decided,
    decision_entries,
    fairness_entries,
    groups_of,
    groups_source,
    outcomes_of,
    span_of,
)
from partner_node.credit.figure_lines import line_entries
from partner_node.credit.lines import History, histories
from partner_node.credit.storage import CreditStore, StoredDecision, StoredOverride
from tests.credit_house import NOW, RULES, TODAY, case
from tests.watch_house import COUNT, history, write_table

MEMBER = PartnerId("bank_a")
CLEAN = [0] * COUNT


def labels(spec: FigureSpec, entry: Entry) -> tuple[str, ...]:
    return tuple(axis.cells[place] for axis, place in zip(spec.axes, entry.cell, strict=True))


def seen(spec: FigureSpec, *lines: History) -> list[tuple[str, ...]]:
    return [labels(spec, one) for one in line_entries(spec, lines, MEMBER)]


def with_status(line: History, place: int, status: LineStatus, **more: object) -> History:
    """The line with a status from a month on."""
    months = list(line.months)
    for at in range(place, len(months)):
        months[at] = replace(months[at], end=replace(months[at].end, status=status))
    months[place] = replace(months[place], **more)  # type: ignore[arg-type]
    return replace(line, months=tuple(months))


def test_a_vintage_counts_the_age_at_which_a_line_was_first_late() -> None:
    spec = figure(FigureKind.VINTAGES, "2026-04", "2026-09", Wanted(ages=4))
    late = history(dpd=[0, 0, 31, 62, 0, 0, 0, 0])
    after = history(dpd=[0] * 6 + [31, 0])  # October is behind the period
    old = history(dpd=[0] * 5 + [40, 0, 0])  # at age 5, which the table has no cell of
    assert seen(spec, late, history(dpd=CLEAN), after, old) == [
        ("2026-04", "2"),
        ("2026-04", "none"),
        ("2026-04", "none"),
        ("2026-04", "none"),
    ]
    ninety = figure(FigureKind.VINTAGES, "2026-04", "2026-09", Wanted(ages=4, late="90"))
    assert seen(ninety, late) == [("2026-04", "none")]
    assert seen(spec, history(dpd=CLEAN, opened=date(2025, 1, 1))) == []


def test_a_transition_needs_both_month_ends() -> None:
    spec = figure(FigureKind.ROLL_RATES, "2026-05", "2026-06", Wanted())
    worse = history(dpd=[0, 12, 40, 0, 0, 0, 0, 0])
    assert seen(spec, worse) == [("M1", "M2")]
    short = replace(worse, months=worse.months[:2])
    assert seen(spec, short) == []


@pytest.mark.parametrize(
    ("status", "more", "cause"),
    [
        (LineStatus.CLOSED_BORROWER, {}, "CLOSED_BORROWER"),
        (LineStatus.CLOSED_LENDER, {"anomaly": Anomaly.DEVICE}, "ANOMALY"),
        (LineStatus.CLOSED_LENDER, {}, "UNSTATED"),
        (LineStatus.FROZEN, {}, "FREEZE"),
        (LineStatus.OPEN, {}, "none"),
        (LineStatus.OPEN, {"limit": 40_000}, "LIMIT_CUT"),
    ],
)
def test_a_closure_counts_what_ended_the_risk_within_the_period(
    status: LineStatus, more: dict[str, object], cause: str
) -> None:
    spec = figure(FigureKind.CLOSURES, "2026-06", "2026-08", Wanted())
    line = with_status(history(dpd=CLEAN), 3, status, **more)
    assert seen(spec, line) == [(cause,)]
    # What ended before the period is not at risk in it, and what ends later has not ended.
    assert seen(spec, with_status(history(dpd=CLEAN), 1, LineStatus.CLOSED_LENDER)) == []
    assert seen(spec, with_status(history(dpd=CLEAN), 6, LineStatus.CLOSED_LENDER)) == [
        ("none",)
    ]


def test_tiers_and_balances_are_of_open_lines_at_the_month_end() -> None:
    wanted = Wanted(bound=5_000, partners=(MEMBER, PartnerId("bank_b")))
    spec = figure(FigureKind.TIERS, "2026-11", "2026-11", wanted)
    line = history(dpd=CLEAN, balance=[7_000] * COUNT, origination=60_000)
    (entry,) = line_entries(spec, [line], MEMBER)
    assert labels(spec, entry) == (MEMBER, "NEAR")
    assert entry.values == (1, 7_000, 60_000)
    assert list(line_entries(spec, [line], PartnerId("shop"))) == []
    closed = with_status(line, 7, LineStatus.CLOSED_LENDER)
    unknown = replace(line, pd_origination=None)
    assert list(line_entries(spec, [closed, unknown], MEMBER)) == []
    idle = history(dpd=CLEAN, balance=[0] * COUNT, debits=[0] * COUNT)
    assert seen(spec, idle) == [], "who has no active line is in no count of common persons"
    *before, last = line.months
    rated = replace(line, months=(*before, replace(last, pd12=Ppm(120_000))))
    assert seen(spec, rated) == [(MEMBER, "LOW")]
    shares = figure(FigureKind.CONCENTRATION, "2026-11", "2026-11", Wanted(bound=5_000))
    term = replace(line, segment=Segment.CONSUMER_TERM)
    assert seen(shares, term) == [("CONSUMER_TERM",)]
    vector = contribution(shares, line_entries(shares, [term], MEMBER))
    assert [int(one) for one in vector[2:4]] == [1 << 20, 1 << 20]  # clipped at its bound


def test_segment_and_anomaly_of_the_table_are_read_and_checked(tmp_path: Path) -> None:
    source = write_table(tmp_path, [history(dpd=CLEAN)])
    query = source.query.replace("SELECT *", "SELECT *, '{}' AS segment, '{}' AS anomaly")
    good = replace(source, query=query.format("SME", "DEVICE"))
    (line,) = histories(good)
    assert (line.segment, line.months[0].anomaly) == (Segment.SME, Anomaly.DEVICE)
    for bad in (query.format("BANK", ""), query.format("SME", "MOOD")):
        with pytest.raises(DataError, match=r"segment: none|anomaly: not one"):
            list(histories(replace(source, query=bad)))


# --- decisions --------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> CreditStore:
    return CreditStore(tmp_path / "credit.db")


def keep(store: CreditStore, person: bytes, inputs: DecisionInput) -> StoredDecision:
    made = decide(inputs, RULES)
    kept = StoredDecision(
        id=made.digest,
        application=inputs.application,
        subject=person,
        at=inputs.decided_at,
        outcome=made.outcome.value,
        grade="" if made.grade is None else made.grade.value,
        input=inputs.to_bytes(),
        decision=made.to_bytes(),
        answer=b"{}",
    )
    with store.transaction() as connection:
        storage.keep_decisions(connection, [kept])
    return kept


SPEC = figure(FigureKind.APPROVALS, "2026-W45", "2026-W48", Wanted())


def test_a_person_counts_once_a_week_and_as_the_officer_decided(store: CreditStore) -> None:
    keep(store, b"p", case(application="a1"))
    small = case(application="a2", amount=2_000_000)
    keep(store, b"p", small)
    refused = keep(store, b"q", case(application="a3", dpd_now=120))
    keep(store, b"", case(application="a4"))  # named nobody
    keep(store, b"r", before(case(application="a5"), date(2026, 11, 1)))
    found = decided(store, *span_of(SPEC))
    assert [(one.person, one.outcome) for one in found] == [
        (b"p".hex(), "APPROVE"),
        (b"p".hex(), "APPROVE"),
        (b"q".hex(), "DECLINE"),
    ]
    entries = list(decision_entries(SPEC, found))
    assert sorted((one.person, one.values) for one in entries) == [
        (b"p".hex(), (1, 1)),
        (b"q".hex(), (1, 0)),
    ]
    assert max(one.balance for one in entries) == 6_000_000

    final = Override(
        decision=refused.id,
        application="a3",
        code=OverrideCode.NEW_FACTS,
        role="officer",
        on=TODAY,
        before=Outcome.DECLINE,
        after=Outcome.APPROVE,
        limit=1,
    )
    kept = StoredOverride(
        decision=refused.id, document=document_of(final), note="", by="x", at=NOW
    )
    with store.transaction() as connection:
        storage.keep_override(connection, kept)
    entries = list(decision_entries(SPEC, decided(store, *span_of(SPEC))))
    assert {one.values for one in entries} == {(1, 1)}


def before(inputs: DecisionInput, day: date) -> DecisionInput:
    """The application of an earlier day, with consents and income of its own."""
    income = inputs.standing.income
    assert income is not None
    income = replace(income, latest_on=day - timedelta(days=20))
    return replace(
        inputs,
        decided_on=day,
        decided_at=NOW - 86_400 * (TODAY - day).days,
        consents=tuple(replace(one, given_on=day) for one in inputs.consents),
        standing=replace(inputs.standing, income=income),
    )


def test_groups_and_outcomes_are_joined_by_the_keyed_hash(tmp_path: Path) -> None:
    rows = [{"person": "p1", "group": "a"}, {"person": "p2", "group": "b"}]
    (tmp_path / "groups.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "groups.toml").write_text(
        'query = "SELECT person, \\"group\\" FROM \'groups.json\'"\n', encoding="utf-8"
    )

    def subject(person: str) -> bytes:
        return b"k" + person.encode()

    groups = groups_of(groups_source(tmp_path), subject)
    assert groups == {b"kp1".hex(): "a", b"kp2".hex(): "b"}
    spec = figure(FigureKind.FAIRNESS, "2026-11", "2026-11", Wanted(groups=("a", "b")))
    one = Decided(
        person=b"kp1".hex(),
        on=TODAY,
        product="x",
        amount=1,
        grade="G1",
        outcome="APPROVE",
        pd=31_000,
    )
    stranger = replace(one, person=b"kp9".hex())
    entries = list(fairness_entries(spec, [one, stranger], groups, {one.person: "BAD"}))
    assert [(labels(spec, entry), entry.values) for entry in entries] == [
        (("a", "APPROVE", "BAD"), (1, 31_000))
    ]
    rows.append({"person": "p1", "group": "b"})
    (tmp_path / "groups.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match="two groups"):
        groups_of(groups_source(tmp_path), subject)
    with pytest.raises(ConfigurationError):
        groups_source(tmp_path / "nowhere")


def test_outcomes_are_those_that_the_lines_tell() -> None:
    bad = history("l-1", dpd=[0, 0, 40, 70, 100, 100, 100, 100])
    open_still = history("l-2", dpd=CLEAN)
    found = outcomes_of([bad, open_still], str.encode, date(2026, 4, 1))
    assert found == {bad.person.encode().hex(): "BAD"}
