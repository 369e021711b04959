"""A campaign at a node: drawn by hash, offered by waves, halted at once, counted in cells."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from consortium.credit.campaign_table import is_look, look_of
from consortium.credit.figures import contribution
from consortium.credit.ladder import State
from consortium.credit.restart import Tier, in_holdout, wave_of
from consortium.credit.terms import ConsentPurpose
from consortium.credit.waves import Arm, CampaignPlan, Fate, Move, standing, start
from consortium.errors import DecodeError, DomainError, NotFoundError, OutOfOrderError
from consortium.ids import PartnerId, PersonToken
from consortium.ledger.governing import Running
from partner_node.credit import people, storage_campaign
from partner_node.credit.campaign import (
    CampaignDesk,
    CampaignPorts,
    Enrolled,
    arm_of,
    enrolled_of,
    fates_of,
)
from partner_node.credit.path import PathDesk
from partner_node.credit.path_forms import restart_asked
from tests.campaign_house import BEGINS, PLAN, order
from tests.credit_desk_house import SUBJECT, desk
from tests.paper_house import write_terms
from tests.unit.test_credit_path_desk import closed, tier_b

CLOSED = date(2025, 11, 3)
START = int(datetime(2026, 11, 27, tzinfo=UTC).timestamp())
A, B, C = 12, 12, 6


def token(person: str) -> PersonToken | None:
    return None if person == "unknown" else PersonToken(sha256(person.encode()).digest())


class House:
    """One lender with a cohort; the log is a list of moves."""

    def __init__(self, made: CampaignDesk, path: PathDesk, plan: CampaignPlan) -> None:
        self.desk, self.path, self.plan = made, path, plan
        self.running: dict[str, Running] = {
            plan.name: Running(plan=plan, orders=(), now=start(plan))
        }

    def move(self, *moves: Move) -> None:
        for move in moves:
            known = self.running[PLAN.name]
            orders = (*known.orders, order(known.now, move))
            now = standing(known.plan, orders)
            self.running[PLAN.name] = Running(plan=known.plan, orders=orders, now=now)

    def cohort(self) -> list[Enrolled]:
        found = []
        for number in range(A + B + C):
            line = f"line-{number}"
            plain: dict[str, Any] = closed(line=line) if number < A else tier_b(line=line)
            plain |= {"income": None} if number >= A + B else {}
            self.path.restart(restart_asked(plain))
            found.append(Enrolled(line=line, person=f"person-{number}", closed_on=CLOSED))
        return found

    def members(self) -> dict[str, storage_campaign.Member]:
        with self.desk._store.reading() as connection:
            return {one.line: one for one in storage_campaign.members(connection, PLAN.name)}


@contextmanager
def house(home: Path, partner: str = "bank_a") -> Iterator[House]:
    with desk(write_terms(home), now=lambda: START) as service:
        made: list[House] = []
        campaigns = CampaignDesk(
            CampaignPorts(
                service=service,
                partner=PartnerId(partner),
                campaigns=lambda: made[0].running,
                token=token,
            )
        )
        made.append(House(campaigns, PathDesk(service), PLAN))
        yield made[0]


def test_waves_and_holdout_are_those_that_the_auditor_draws(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        counted = here.desk.enrol(PLAN.name, here.cohort())
        assert (counted["tier_A"], counted["tier_B"], counted["tier_C"]) == (A, B, C)
        for line, member in here.members().items():
            drawn = token(f"person-{line.removeprefix('line-')}")
            assert drawn is not None
            assert member.wave == wave_of(PLAN.name, drawn, PLAN.percents)
            assert member.held == in_holdout(PLAN.name, drawn, PLAN.holdout_percent)


def test_members_are_listed_for_the_lender_and_for_no_other(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort())
        assert [one.line for one in here.desk.listed(PLAN.name)] == sorted(here.members())
    other = tmp_path / "other"
    other.mkdir()
    refused = pytest.raises(DomainError, match="no lender")
    with house(other, partner="telco_z") as stranger, refused:
        stranger.desk.listed(PLAN.name)


def test_cohort_is_closed_once_its_first_wave_has_opened(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        cohort = here.cohort()
        here.desk.enrol(PLAN.name, cohort[:-1])
        here.move(Move.OPEN)
        with pytest.raises(OutOfOrderError, match="closed"):
            here.desk.enrol(PLAN.name, cohort[-1:])


def test_who_cannot_be_drawn_or_was_closed_at_another_time_is_told_apart(
    tmp_path: Path,
) -> None:
    with house(tmp_path) as here:
        for line in ("line-1", "line-2"):
            here.path.restart(restart_asked(closed(line=line)))
        here.path.restart(restart_asked(closed(line="line-3", old_limit=9_000_000)))
        odd = [
            Enrolled(line="line-1", person="unknown", closed_on=CLOSED),
            Enrolled(line="line-9", person="p9", closed_on=CLOSED),
            Enrolled(line="line-2", person="p", closed_on=date(2026, 1, 1)),
            Enrolled(line="line-2", person="p", closed_on=CLOSED),
            Enrolled(line="line-3", person="p", closed_on=CLOSED),
        ]
        counted = here.desk.enrol(PLAN.name, odd)
        assert counted == {
            "without_token": 1,
            "not_placed": 1,
            "closed_at_another_time": 1,
            "known_already": 1,
            "tier_A": 1,
        }
        assert list(here.members()) == ["line-3"]  # of a person the line with the larger limit


def test_partner_that_is_no_lender_and_unknown_campaign_are_refused(tmp_path: Path) -> None:
    with house(tmp_path, "shop") as here:
        with pytest.raises(DomainError, match="no lender"):
            here.desk.enrol(PLAN.name, [])
        with pytest.raises(NotFoundError):
            here.desk.offer("autumn-26")


def run_all(here: House) -> None:
    """Open and pass waves until the last one runs."""
    for _ in PLAN.percents[:-1]:
        here.move(Move.OPEN)
        here.desk.offer(PLAN.name)
        here.move(Move.PASS)
    here.move(Move.OPEN)
    here.desk.offer(PLAN.name)


def test_each_tier_gets_what_is_its_own_and_who_is_held_out_nothing(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort())
        run_all(here)
        for line, member in here.members().items():
            offered = member.fate is Fate.OFFERED
            assert offered == (not member.held and member.tier is not Tier.C), line
            assert member.turn == member.wave + 1
            if member.tier is Tier.B and offered:
                assert here.path.ladder(line).ladder.state is State.OFFERED
            if member.tier is Tier.B and member.held:
                with pytest.raises(NotFoundError):
                    here.path.ladder(line)
        assert any(one.held for one in here.members().values())


def test_halt_stops_offers_at_once_and_planned_waves_offer_nothing(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort())
        with pytest.raises(OutOfOrderError, match="planned"):
            here.desk.offer(PLAN.name)
        here.move(Move.OPEN, Move.BAD)
        with pytest.raises(OutOfOrderError, match="halted"):
            here.desk.offer(PLAN.name)
        assert not any(one.turn for one in here.members().values())


def test_without_consent_nobody_is_offered_or_held_against_those_who_are(
    tmp_path: Path,
) -> None:
    with house(tmp_path) as here:
        cohort = here.cohort()
        for number in range(A + B):
            plain = closed if number < A else tier_b
            here.path.restart(restart_asked(plain(line=f"line-{number}", consents=[])))
        here.desk.enrol(PLAN.name, cohort)
        run_all(here)
        assert all(not one.turn for one in here.members().values() if one.tier is not Tier.C)


def test_outcomes_go_forward_only_and_all_or_nothing(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort())
        run_all(here)
        found = here.members()
        lent = [line for line, one in found.items() if one.fate is Fate.OFFERED]
        held = next(line for line, one in found.items() if one.held)
        assert here.desk.record(PLAN.name, {lent[0]: Fate.DRAWN, lent[1]: Fate.FPD30}) == 2
        assert here.desk.record(PLAN.name, {lent[1]: Fate.FPD30}) == 0
        with pytest.raises(OutOfOrderError):
            here.desk.record(PLAN.name, {lent[2]: Fate.PAID, lent[1]: Fate.PAID})
        assert here.members()[lent[2]].fate is Fate.OFFERED
        with pytest.raises(OutOfOrderError):
            here.desk.record(PLAN.name, {held: Fate.FPD30})
        here.desk.record(PLAN.name, {held: Fate.PAID, lent[0]: Fate.PAID})
        here.desk.record(PLAN.name, {held: Fate.LATER30, lent[0]: Fate.LATER30})
        with pytest.raises(NotFoundError):
            here.desk.record(PLAN.name, {"line-999": Fate.PAID})


def test_table_counts_each_person_once_and_after_a_halt_the_new_turn_alone(
    tmp_path: Path,
) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort())
        run_all(here)
        running = here.running[PLAN.name]
        spec = look_of(PLAN, running.now, on=date(2026, 12, 1))
        total = contribution(spec, here.desk.entries(PLAN.name)) >> 20
        found = [one for one in here.members().values() if one.fate]
        assert total.sum() == len(found) > 15
        cells = total.reshape(spec.shape)
        wave, arm = 3, list(Arm).index(Arm.A)
        assert cells[wave, arm, 0] == sum(
            one.wave == wave and arm_of(one) is Arm.A for one in found
        )
        here.move(Move.BAD, Move.RESUME)
        again = contribution(spec, here.desk.entries(PLAN.name)) >> 20
        assert again.reshape(spec.shape)[wave].sum() == 0
        assert again.sum() == sum(one.wave < wave for one in found)


def test_table_beside_the_look_that_is_due_is_not_counted(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.move(Move.OPEN)
        now = here.running[PLAN.name].now
        due = look_of(PLAN, now, on=BEGINS)
        assert is_look(due, PLAN, now)
        assert is_look(look_of(PLAN, now, on=date(2026, 8, 1)), PLAN, now)
        here.move(Move.CONTINUE)
        assert not is_look(due, PLAN, here.running[PLAN.name].now)
        here.move(Move.BAD)
        halted = here.running[PLAN.name].now
        assert not is_look(due, PLAN, halted)
        with pytest.raises(OutOfOrderError):
            look_of(PLAN, halted, on=BEGINS)


def test_person_who_is_deleted_or_withdraws_leaves_the_campaign(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort())
        run_all(here)
        lent = [line for line, one in here.members().items() if one.fate is Fate.OFFERED][:2]
        here.desk.record(PLAN.name, {lent[1]: Fate.DRAWN})
        with here.desk._store.transaction() as connection:
            for line in lent:
                subject = SUBJECT(f"person-{line.removeprefix('line-')}").encode()[:16]
                people._ended(connection, subject, ConsentPurpose.RESTART_CONTACT, {line})
        assert lent[0] not in here.members()
        assert lent[1] in here.members()  # a contract runs: it is counted to its end
        with here.desk._store.transaction() as connection:
            subject = SUBJECT(f"person-{lent[1].removeprefix('line-')}").encode()[:16]
            gone = people._erased(connection, subject, (), 0)
        assert gone["campaign_members"] == 1
        assert lent[1] not in here.members()


def test_files_of_another_form_are_refused_by_field() -> None:
    lines = [{"line": "a", "person": "p", "closed_on": "2025-11-03"}]
    assert enrolled_of(lines)[0].closed_on == CLOSED
    assert fates_of({"a": "fpd30"}) == {"a": Fate.FPD30}
    for odd in ([{"line": "a"}], {}, [{**lines[0], "age": 3}]):
        with pytest.raises(DecodeError):
            enrolled_of(odd)
    for wrong in ([], {"a": "fine"}):
        with pytest.raises(DecodeError):
            fates_of(wrong)


def test_no_row_or_repr_of_a_member_names_the_person(tmp_path: Path) -> None:
    with house(tmp_path) as here:
        here.desk.enrol(PLAN.name, here.cohort()[:3])
        shown = repr(here.members())
    raw = (tmp_path / "credit.db").read_bytes()
    assert b"person-1" not in raw
    assert "person-1" not in shown
    assert "subject" not in shown
