"""Decisions at a node: one transaction, one answer for a key, replay, officers."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest

from consortium.credit.decision import Outcome
from consortium.credit.facts import DecisionInput
from consortium.credit.terms import ConsentPurpose
from consortium.errors import (
    ConsentMissingError,
    DataError,
    DigestMismatchError,
    DomainError,
    RepeatedKeyError,
    ScoreRefusal,
    ScoreRefusalError,
    TransportError,
)
from consortium.features.schema import parse_schema
from consortium.scoring.scorecard import cut_units
from partner_node.credit.application import DeskService
from partner_node.credit.forms import override_of
from partner_node.credit.storage import DECISIONS, GRANTS, KEYS
from tests.credit_desk_house import Scores, application, consent, decided, desk, write_rules
from tests.credit_house import NOW, ROOT, SCORE

KEY = str(UUID(int=7))
BAD = {"bad": replace(SCORE, eta=cut_units("0.6"))}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_rules(tmp_path)
    return tmp_path


def test_decision_is_on_disk_when_it_is_told_and_replays_to_the_byte(home: Path) -> None:
    with desk(home) as service:
        answer = decided(service, application())
        assert answer["decision"]["outcome"] == "APPROVE"
        name = answer["id"]
    (home / "credit" / "policy.toml").unlink()
    with desk(home) as service:
        assert json.loads(service.decision(name).answer) == answer
        assert service.replay(name).outcome is Outcome.APPROVE


def test_decision_that_was_touched_on_disk_does_not_replay(home: Path) -> None:
    with desk(home) as service:
        name = decided(service, application())["id"]
        with service.ports.store.transaction() as connection:
            data = service.decision(name).decision.replace(b'"limit":6', b'"limit":7')
            connection.execute(DECISIONS.update().values(decision=data))
        with pytest.raises(DigestMismatchError):
            service.replay(name)


def test_decline_tells_what_was_scored_in_both_languages(home: Path) -> None:
    with desk(home, Scores(BAD)) as service:
        answer = decided(service, application(person="bad"))
    assert answer["decision"]["outcome"] == "DECLINE"
    assert answer["reasons"][0] == {
        "code": "R01",
        "zh": "R01 说明",
        "en": "about R01",
        "points": 41,
    }


def test_same_key_brings_the_same_bytes_and_reserves_once(home: Path) -> None:
    with desk(home) as service:
        first = decided(service, application(), key=KEY)
        again = decided(service, application(), key=KEY.upper())
        with service.ports.store.reading() as connection:
            grants = connection.execute(GRANTS.select()).all()
    assert first == again
    assert len(grants) == 1


def test_same_key_at_the_same_moment_is_one_decision(home: Path) -> None:
    async def both() -> tuple[bytes, bytes]:
        gate = asyncio.Event()
        with desk(home, Scores(gate=gate)) as service:
            calls = [
                asyncio.ensure_future(service.decide(application(), key=KEY, caller="loans"))
                for _ in range(2)
            ]
            gate.set()
            one, other = await asyncio.gather(*calls)
        return one, other

    one, other = asyncio.run(both())
    assert one == other


def test_same_key_in_two_processes_is_one_decision(home: Path) -> None:
    async def both() -> tuple[bytes, bytes]:
        with desk(home) as one, desk(home) as other:
            first, second = await asyncio.gather(
                one.decide(application(), key=KEY, caller="loans"),
                other.decide(application(), key=KEY, caller="loans"),
            )
        return first, second

    first, second = asyncio.run(both())
    assert first == second


def test_same_key_with_another_application_is_refused(home: Path) -> None:
    with desk(home) as service:
        decided(service, application(), key=KEY)
        with pytest.raises(RepeatedKeyError):
            decided(service, application(wish={"amount": 5_000_000}), key=KEY)


def test_key_of_another_caller_or_after_its_time_is_a_new_key(home: Path) -> None:
    clock = [NOW]
    with desk(home, now=lambda: clock[0]) as service:
        decided(service, application(), key=KEY)
        other = asyncio.run(
            service.decide(application("application-2"), key=KEY, caller="branch")
        )
        assert json.loads(other)["decision"]["application"] == "application-2"
        clock[0] += 86_400
        later = decided(service, application("application-3"), key=KEY)
        assert later["decision"]["application"] == "application-3"
        with service.ports.store.reading() as connection:
            assert len(connection.execute(KEYS.select()).all()) == 1


def test_without_consent_to_a_joint_score_nobody_is_asked_and_the_own_answer_counts(
    home: Path,
) -> None:
    scores = Scores()
    given = [consent("CREDIT_DECISION"), consent("INCOME_DATA")]
    with desk(home, scores) as service:
        answer = decided(service, application(consents=given))
    assert scores.asked == []
    assert scores.alone == ["no_consent"]
    assert answer["score"]["band"] == "0"


def test_consent_withdrawn_today_stops_the_joint_score_today(home: Path) -> None:
    scores = Scores()
    given = [
        consent("CREDIT_DECISION"),
        consent("INCOME_DATA"),
        consent("JOINT_SCORE", withdrawn_on="2026-11-26"),
    ]
    with desk(home, scores) as service:
        decided(service, application(consents=given))
    assert scores.asked == []


def test_decision_does_not_wait_longer_than_its_deadline_for_the_others(home: Path) -> None:
    async def patient() -> bytes:
        scores = Scores(gate=asyncio.Event())
        with desk(home, scores) as service:
            made = service.decide(application(), caller="loans", deadline_ms=40)
            return await asyncio.wait_for(made, 20)

    assert json.loads(asyncio.run(patient()))["score"]["fallback"] == "unreachable"


def test_others_that_are_not_there_do_not_stop_a_decision(home: Path) -> None:
    scores = Scores(fails=TransportError("gone"))
    with desk(home, scores) as service:
        assert decided(service, application())["score"]["band"] == "0"


def test_consent_withdrawn_at_this_node_is_recorded_as_withdrawn(home: Path) -> None:
    scores = Scores(fails=ScoreRefusalError(ScoreRefusal.PURPOSE, "withdrawn"))
    with desk(home, scores) as service:
        name = decided(service, application())["id"]
        inputs = DecisionInput.from_bytes(service.decision(name).input)
    assert scores.alone == ["no_consent"]
    assert not inputs.consented(ConsentPurpose.JOINT_SCORE)


def test_thousand_stored_decisions_replay_to_the_byte(home: Path) -> None:
    people = {
        f"p{place}": replace(SCORE, eta=cut_units(f"0.{place:02}")) for place in range(1, 60)
    }

    async def many() -> None:
        calls = [
            service.decide(
                application(
                    f"a{place}",
                    person=f"p{place % 60}",
                    wish={"amount": 500_000 + 13_577 * place},
                    standing={"dpd_now": 91 if place % 37 == 0 else 0},
                ),
                caller="loans",
            )
            for place in range(1_000)
        ]
        await asyncio.gather(*calls)

    with desk(home, Scores(people)) as service:
        asyncio.run(many())
        outcomes = [one.outcome for one in service.replay_last(2_000)]
    assert len(outcomes) == 1_000
    assert set(outcomes) == set(Outcome)


def test_without_consent_to_a_decision_nobody_is_asked_and_nothing_is_kept(home: Path) -> None:
    scores = Scores()
    others = [consent("JOINT_SCORE"), consent("INCOME_DATA")]
    with desk(home, scores) as service:
        for consents in ([], others):
            with pytest.raises(ConsentMissingError):
                decided(service, application(consents=consents))
        assert (scores.asked, scores.alone) == ([], [])
        with service.ports.store.reading() as connection:
            assert connection.execute(DECISIONS.select()).all() == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"application": "no name"}, "application: not of the form"),
        ({"wish": {"currency": "EUR"}}, "wish.currency: not TWD"),
        ({"wish": {"currency": "dollars"}}, "wish.currency: not of the form"),
        ({"consents": [consent("CREDIT_DECISION", given_on="2026-11-27")]}, "in the future"),
        ({"standing": {"income": {"credits": [1] * 3, "latest_on": "2027-01-01"}}}, "future"),
    ],
)
def test_application_that_is_refused_is_refused_before_anybody_is_asked(
    home: Path, changes: dict[str, object], match: str
) -> None:
    scores = Scores()
    with desk(home, scores) as service:
        with pytest.raises(DomainError, match=match):
            decided(service, application(**changes))  # type: ignore[arg-type]
        assert (scores.asked, scores.alone) == ([], [])


def test_day_and_second_of_a_decision_are_of_one_look_at_the_clock(home: Path) -> None:
    """At midnight two looks would come to a day that the second is not of."""
    midnight = NOW - NOW % 86_400 + 86_400
    clock = [count(midnight)]
    with desk(home, now=lambda: next(clock[0])) as service:
        for before in range(1, 9):  # some pair of looks has midnight between them
            clock[0] = count(midnight - before)
            name = decided(service, application(f"a-{before}"))["id"]
            inputs = DecisionInput.from_bytes(service.decision(name).input)
            assert inputs.decided_on == datetime.fromtimestamp(inputs.decided_at, UTC).date()


def test_officers_reason_is_one_that_has_words(home: Path) -> None:
    """A code of the right form that nobody knows would stand bare in a notice."""
    source = ROOT / "examples" / "taiwan" / "schema.toml"
    schema = parse_schema(source.read_text(encoding="utf-8"), source=source.name)

    def declined(service: DeskService, name: str, code: str) -> None:
        plain = {"code": "NEW_FACTS", "role": "officer", "outcome": "DECLINE"}
        service.override(name, override_of({**plain, "reasons": ["R22", code]}), by="loans")

    with desk(home, Scores(BAD), schema=schema) as service:
        name = decided(service, application(person="bad"))["id"]
        with pytest.raises(DomainError, match="neither the schema nor a rule"):
            declined(service, name, "R77")
        assert service.overrides(name) == ()
        declined(service, name, "R11")  # of the schema, not of the score
    with desk(home, Scores(BAD)) as service:
        declined(service, name, "R01")  # told with the decision; no schema is in force
        assert len(service.overrides(name)) == 2


def test_application_without_an_income_is_for_a_person(home: Path) -> None:
    with desk(home) as service:
        answer = decided(service, application(standing={"income": None}))
    assert (answer["decision"]["outcome"], answer["decision"]["code"]) == ("REFER", "R20")


def test_unknown_purpose_is_for_a_person(home: Path) -> None:
    with desk(home) as service:
        answer = decided(service, application(wish={"purpose": "GAMBLING"}))
    assert (answer["decision"]["outcome"], answer["decision"]["code"]) == ("REFER", "R24")


def test_decision_of_no_id_is_an_error(home: Path) -> None:
    with desk(home) as service, pytest.raises(DataError, match="no decision"):
        service.decision("0" * 64)
