"""The auditor and those who bend a campaign, a waiver or a charter in the log."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from consortium.credit.governance import Charter, Clause
from consortium.credit.triggers import Owner, Trigger, Waiver
from consortium.credit.waves import Move
from consortium.errors import DecodeError
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import Entry, from_jcs
from consortium.ledger.evidence import read_evidence
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Findings, Grade
from consortium.ledger.governing import (
    CampaignOrdered,
    CampaignPlanned,
    CharterAgreed,
    CharterProposed,
    GoverningBody,
    RegisterWaived,
    governed,
)
from consortium.ledger.governing_audit import audit_governing
from consortium.ledger.merkle import Tree
from tests.campaign_house import BEGINS, PLAN, after

OPERATOR, BANK = PartnerId("coordinator"), PartnerId("bank-a")
CHARTER = Charter(
    federation="north",
    version=1,
    previous=None,
    in_force=BEGINS,
    clauses=(Clause(code="purpose", zh="目的", en="Purpose"),),
    settlement_ppm=0,
    exit_notice_days=90,
)


def noon(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())


def said(body: GoverningBody, day: date = BEGINS, actor: PartnerId = OPERATOR) -> Entry:
    return Entry(seq_hint=0, at=noon(day), actor=actor, body=body)


def found(*entries: Entry) -> list[tuple[str, tuple[int, ...]]]:
    findings = Findings()
    timeline = Timeline(
        entries=dict(enumerate(entries)),
        force=[],
        counted=(),
        evidence=read_evidence({}, Findings()),
        manifests={},
        tree=Tree(),
    )
    audit_governing(timeline, findings)
    assert all(one.grade is Grade.ERROR for one in findings.found)
    return [(one.name, one.entries) for one in findings.found]


def campaign() -> list[Entry]:
    _, orders = after(Move.OPEN, Move.CONTINUE, Move.BAD, Move.RESUME, Move.PASS, Move.OPEN)
    planned = said(CampaignPlanned(plan=PLAN))
    return [planned, *(said(CampaignOrdered(order=one), one.on) for one in orders)]


def test_campaign_in_order_is_no_finding() -> None:
    assert found(*campaign()) == []


def test_wave_that_the_operator_opens_over_a_halt_is_found() -> None:
    entries = campaign()
    halted, orders = after(Move.OPEN, Move.CONTINUE, Move.BAD)
    forged = replace(orders[0], before=halted.digest, wave=1, on=orders[-1].on)
    entries[4] = said(CampaignOrdered(order=forged), forged.on)
    names = found(*entries)
    assert ("governing.order", (4,)) in names


@pytest.mark.parametrize("index", range(1, 6))
def test_order_that_is_left_out_or_repeated_is_found(index: int) -> None:
    entries = campaign()
    assert ("governing.order", (index,)) in found(*entries[:index], *entries[index + 1 :])
    twice = [*entries[: index + 1], entries[index], *entries[index + 1 :]]
    assert ("governing.order", (index + 1,)) in found(*twice)


def test_order_dated_back_or_ahead_is_found() -> None:
    entries = campaign()
    late = replace(entries[2], at=entries[2].at + 3 * 86_400)
    assert ("governing.date", (2,)) in found(entries[0], entries[1], late)


def test_second_plan_of_a_name_does_not_change_the_rules_of_the_first() -> None:
    entries = campaign()
    softer = replace(PLAN, holdout_percent=1)
    again = said(CampaignPlanned(plan=softer), BEGINS)
    assert found(entries[0], again, *entries[1:]) == [("governing.order", (1,))]


def test_waiver_for_longer_than_90_days_is_no_entry() -> None:
    waived = Waiver(
        trigger=Trigger.DRIFT,
        subject="bank-a",
        reason="x",
        role=Owner.PE,
        on=BEGINS,
        expires=BEGINS + timedelta(days=90),
    )
    body: Any = RegisterWaived(waiver=waived)
    data = said(body).to_jcs()
    assert from_jcs(data).body == body
    longer = (BEGINS + timedelta(days=91)).isoformat().encode()
    with pytest.raises(DecodeError, match="90 days"):
        from_jcs(data.replace(waived.expires.isoformat().encode(), longer))
    assert found(said(body, BEGINS + timedelta(days=5))) == [("governing.date", (0,))]


def test_agreement_to_another_text_is_found_and_counts_for_none() -> None:
    proposed = said(CharterProposed(charter=CHARTER))
    other = said(CharterAgreed(charter=Digest("00" * 32)), actor=BANK)
    assert found(proposed, other) == [("governing.order", (1,))]
    right = CharterAgreed(charter=CHARTER.digest)
    state = governed([(proposed.body, OPERATOR), (right, BANK)])  # type: ignore[list-item]
    assert state.agreed == {CHARTER.digest: {BANK}}
    assert found(
        said(CharterProposed(charter=replace(CHARTER, version=2, previous=Digest("00" * 32))))
    )
