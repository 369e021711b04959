"""Growth caps under real processes on one real database, and the ramp that a bad wave halts."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consortium.credit.admission import Event, Phase
from consortium.credit.cost import sheet_digest
from consortium.crypto.keys import IdentityKey
from consortium.errors import DomainError, OutOfOrderError, SignatureError
from partner_node.credit import admission, storage
from partner_node.credit.application import DeskService
from partner_node.credit.forms import override_of
from partner_node.credit.papers import PaperDesk
from partner_node.credit.ramp import Ramp
from tests.credit_desk_house import application, decided, desk, write_rules
from tests.credit_house import NOW
from tests.joint_house import secret
from tests.paper_house import write_terms

WEEK = 7 * 86_400
CAP = 62_000_000
"""1 % of the G1 cap below: ten wishes of 6,000,000, and a third of the eleventh."""
SMALL = {"G1 = 50000000000": "G1 = 6200000000"}
PROCESSES, CLIENTS = 4, 16
KEY = IdentityKey.from_secret(secret("identity of the desk"))
OFFICER = {"code": "NEW_FACTS", "role": "officer", "outcome": "APPROVE", "limit": 60_000_000}

BACK = {"code": "DOCUMENT_ERROR", "role": "officer", "outcome": "DECLINE", "reasons": ["R22"]}


@pytest.mark.slow
def test_clients_of_several_processes_cannot_break_a_cap(tmp_path: Path) -> None:
    write_rules(tmp_path, **SMALL)
    processes = [
        subprocess.Popen(  # noqa: S603 - this interpreter and a file of ours
            [sys.executable, "-m", "tests.credit_clients", tmp_path, f"p{place}", str(CLIENTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    limits = [limit for one in found for limit in one["limits"]]
    assert sum(limits) == CAP
    assert sorted(limits) == [2_000_000] + [6_000_000] * 10
    assert sum(one["referred"] for one in found) == PROCESSES * CLIENTS - len(limits)
    with desk(tmp_path) as service:
        assert Ramp(service).status().used["G1"] == CAP
        assert sum(1 for _ in service.replay_last(1_000)) == PROCESSES * CLIENTS


def test_new_week_makes_the_cap_whole_again(tmp_path: Path) -> None:
    write_rules(tmp_path, **SMALL)
    clock = [NOW]
    with desk(tmp_path, now=lambda: clock[0]) as service:
        granted(service, 11)
        assert decided(service, application("late"))["decision"]["code"] == "R27"
        clock[0] += WEEK
        assert decided(service, application("later"))["decision"]["outcome"] == "APPROVE"


def test_bad_wave_halts_the_ramp_and_only_a_signed_order_runs_it_again(tmp_path: Path) -> None:
    write_rules(tmp_path)
    with desk(tmp_path) as service:
        ramp = Ramp(service)
        names = granted(service, 60)
        kept = ramp.first_payments({name: place % 5 == 0 for place, name in enumerate(names)})
        assert kept.state.phase is Phase.HALTED
        assert decided(service, application("halted"))["decision"]["code"] == "R27"
        with pytest.raises(OutOfOrderError):
            ramp.order(Event.REVIEWED, role="risk", reason="LOOKED", key=KEY)
        ramp.order(Event.RESUME, role="risk", reason="CUT_OFF_RAISED", key=KEY)
        assert ramp.status().phase == Phase.RUNNING
        assert decided(service, application("again"))["decision"]["outcome"] == "APPROVE"
        with service.ports.store.reading() as connection:
            assert len(storage.orders(connection)) == 1


def test_good_wave_opens_the_next_stage_and_a_payment_counts_once(tmp_path: Path) -> None:
    write_rules(tmp_path)
    with desk(tmp_path) as service:
        ramp = Ramp(service)
        names = granted(service, 80)
        ramp.first_payments(dict.fromkeys(names[:40], False))
        ramp.first_payments(dict.fromkeys(names[:40], False))
        assert ramp.status().good == 40
        ramp.first_payments(dict.fromkeys(names[40:], False))
        found = ramp.status()
        assert (found.phase, found.stage_percent) == (Phase.RUNNING, 5)
        assert (found.good, found.bad) == (0, 0)


def test_payments_of_an_earlier_turn_say_nothing_about_this_one(tmp_path: Path) -> None:
    write_rules(tmp_path)
    with desk(tmp_path) as service:
        ramp = Ramp(service)
        names = granted(service, 70)
        ramp.first_payments({name: place % 5 == 0 for place, name in enumerate(names[:60])})
        ramp.order(Event.RESUME, role="risk", reason="CUT_OFF_RAISED", key=KEY)
        ramp.first_payments(dict.fromkeys(names[60:], True))
        assert (ramp.status().good, ramp.status().bad) == (0, 0)


def test_order_of_another_key_or_about_another_state_is_not_obeyed(tmp_path: Path) -> None:
    write_rules(tmp_path)
    other = IdentityKey.from_secret(secret("somebody else"))
    with desk(tmp_path) as service:
        policy = service.ports.rules.at(service.today()).rules.policy
        with service.ports.store.transaction() as connection:
            kept = admission.load(connection, service.today())
            order = admission.Order(
                event=Event.END,
                role="risk",
                reason="OVER",
                on=service.today(),
                before=admission.digest_of(kept.state),
            )
            by = admission.Signer(public=KEY.public, at=NOW)
            forged = admission.sign(order, other)
            with pytest.raises(SignatureError):
                admission.obey(connection, kept, policy, forged, by=by)
            stale = admission.sign(replace(order, before="0" * 64), KEY)
            with pytest.raises(OutOfOrderError):
                admission.obey(connection, kept, policy, stale, by=by)
            counted = admission.sign(replace(order, event=Event.PASSED), KEY)
            with pytest.raises(DomainError):
                admission.obey(connection, kept, policy, counted, by=by)


def test_officer_is_not_refused_and_what_was_granted_leaves_less(tmp_path: Path) -> None:
    write_rules(tmp_path, **SMALL)
    with desk(tmp_path) as service:
        first = decided(service, application("first"))["id"]
        service.override(first, override_of(OFFICER), by="loans")
        assert Ramp(service).status().used["G1"] == 60_000_000
        less = decided(service, application("second"))["decision"]
        assert (less["limit"], less["bounds"]) == (2_000_000, ["growth"])
        service.override(first, override_of(BACK), by="loans")
        assert Ramp(service).status().used["G1"] == 2_000_000


def test_payment_that_was_counted_is_not_counted_again_after_an_override(
    tmp_path: Path,
) -> None:
    write_rules(tmp_path)
    with desk(tmp_path) as service:
        ramp = Ramp(service)
        name = granted(service, 1)[0]
        for _ in range(3):
            ramp.first_payments({name: False})
            service.override(name, override_of(OFFICER), by="loans")
        assert (ramp.status().good, ramp.status().bad) == (1, 0)


def test_what_is_lent_under_a_contract_is_given_back_by_no_officer(tmp_path: Path) -> None:
    """Approve, sign, decline: else a cap is lent out again and again."""
    write_terms(tmp_path)
    write_rules(tmp_path, **SMALL)
    with desk(tmp_path) as service:
        papers = PaperDesk(service, tmp_path)
        name = granted(service, 1)[0]
        digest = sheet_digest(papers.make_sheet(name))
        papers.show_sheet(digest, "paper")
        papers.confirm_sheet(digest)
        papers.sign(digest)
        used = Ramp(service).status().used["G1"]
        service.override(name, override_of(BACK), by="loans")
        assert Ramp(service).status().used["G1"] == used == 6_000_000
        service.override(name, override_of(OFFICER), by="loans")
        assert Ramp(service).status().used["G1"] == used


def test_payment_of_a_decision_that_granted_nothing_is_refused(tmp_path: Path) -> None:
    write_rules(tmp_path)
    with desk(tmp_path) as service, pytest.raises(DomainError):
        Ramp(service).first_payments({"0" * 64: True})


def granted(service: DeskService, count: int) -> list[str]:
    """Ids of so many approvals."""
    return [decided(service, application(f"granted-{place}"))["id"] for place in range(count)]
