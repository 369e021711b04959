"""The desk's core: consent, keys, what a score says (protocol 13.5 to 13.7)."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from consortium.canonical import canonical_json, parse_canonical
from consortium.errors import (
    DataError,
    DecodeError,
    MessageTooLargeError,
    PersonError,
    RepeatedKeyError,
    RiskWeaveError,
    ScoreRefusalError,
)
from partner_node import desk_wire
from partner_node.answers import FALLBACKS
from partner_node.desk import Score, assemble
from partner_node.loan_desk import Consent, Failure, Question, _key_of, applicant_of
from tests.desk_house import CODES, NOW, POLICY, SERVED, Kept, Session, loan_desk

T = TypeVar("T")
CONSENT = Consent(reference="consent-1")
QUESTION = Question(person="12345678", consent=CONSENT)
KEYED = replace(QUESTION, key="0d0a8c8e-4f3b")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def score(session: Session | None = None, question: Question = QUESTION) -> Score:
    return run(loan_desk(session or Session()).score(question, caller="local"))


# --- what a score says ------------------------------------------------------------------------


def test_score_adds_up_and_names_versions_and_request() -> None:
    told = score()
    lost = sum(one.points for one in told.losses)
    assert told.points == told.best - lost - told.unattributed
    # Log-odds: -2, half of 1.75 own and 1 of another, .5 of billing: -.125.
    assert (told.points, told.pd) == (517, "0.4688")
    assert (told.band, told.fallback, told.calibration) == ("3+", "", "none")
    assert (told.model, told.head, told.policy) == ("a" * 64, "", POLICY)
    assert told.request.endswith("1")
    assert told.no_data == ("payments",)
    assert told.answered_at == NOW


def test_score_tells_own_attributes_in_full_and_others_in_steps() -> None:
    told = score()
    own = {(one.feature, one.bin) for one in told.losses if one.source == "own"}
    assert own == {("late", "30 or more"), ("worst", "10 to 19"), ("months", "below 10")}
    others = [(one.family, one.points) for one in told.losses if one.source == "others"]
    assert [family for family, _ in others] == ["repayment", "billing"]
    assert all(points % 5 == 0 for _, points in others)
    assert [one.code for one in told.reasons] == ["R31", "R01", "R06", "R32"]
    assert all(one.zh and one.en for one in told.reasons)


def test_score_says_what_would_change_it() -> None:
    told = score()
    best = next(one for one in told.what_if if one.feature == "late")
    assert (best.now, best.then) == ("30 or more", "below 10")
    assert best.points == told.points + best.gain


def test_score_never_tells_how_many_hold_a_family() -> None:
    body = parse_canonical(score().to_bytes())
    assert isinstance(body, dict)
    assert not {"holders", "stratum", "partners", "families"} & body.keys()


@pytest.mark.parametrize("fallback", FALLBACKS)
def test_local_answer_says_so_and_why(fallback: str) -> None:
    told = score(Session(fallback=fallback))
    assert (told.band, told.fallback, told.calibration) == ("0", fallback, "local")
    assert told.request == ""
    assert told.points == told.best - sum(x.points for x in told.losses) - told.unattributed
    assert told.unattributed == 0
    assert all(one.source == "own" for one in told.losses)


def test_brief_score_has_its_reasons_only() -> None:
    told = score(question=replace(QUESTION, brief=True))
    assert (told.losses, told.what_if) == ((), ())
    assert told.reasons == score().reasons


def test_applicants_attributes_count_in_place_of_the_row() -> None:
    told = score(question=replace(QUESTION, attributes={"late": 5.0, "months": 40.0}))
    assert {(one.feature, one.bin) for one in told.losses if one.feature} == {
        ("late", "below 10"),
        ("months", "30 or more"),
    }


def test_bytes_of_a_score_are_canonical_and_read_back() -> None:
    told = score()
    assert told.to_bytes() == canonical_json(parse_canonical(told.to_bytes()))
    assert Score.from_bytes(told.to_bytes()) == told
    assert desk_wire.decode_score(desk_wire.encode_score(told)) == told
    with pytest.raises(DecodeError):
        Score.from_bytes(b'{"points": 1}')


def test_answer_of_another_model_is_not_explained_wrongly() -> None:
    answer = Session().answer(applicant_of(QUESTION, NOW))
    with pytest.raises(RiskWeaveError):
        assemble(replace(answer, codes={"late": 9}), SERVED, answered_at=NOW)


# --- consent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "why"),
    [
        (Consent(), "required"),
        (Consent(reference="  "), "required"),
        (Consent(reference="r", purposes=("CALIBRATION",)), "does not allow"),
        (Consent(reference="r", purposes=("ANYTHING",)), "not one of"),
        (Consent(reference="r", expires=NOW), "expired"),
    ],
)
def test_question_without_a_consent_that_allows_it_is_refused_before_anybody_is_asked(
    consent: Consent, why: str
) -> None:
    session = Session()
    with pytest.raises(ScoreRefusalError, match=why) as refused:
        score(session, replace(QUESTION, consent=consent))
    assert refused.value.reason.value == "S08"
    assert session.asked == []


def test_consent_without_an_end_is_for_this_inquiry_only() -> None:
    applicant = applicant_of(QUESTION, NOW)
    assert applicant.consent.expires == NOW + 86_400
    assert (applicant.consent.notice, applicant.consent.method) == (1, "signed")


@pytest.mark.parametrize(
    "question",
    [
        replace(QUESTION, person=""),
        replace(QUESTION, person="1" * 300),
        replace(QUESTION, key="short"),
        replace(QUESTION, key="k" * 129),
        replace(QUESTION, key="line\nbreak"),
        replace(QUESTION, consent=Consent(reference="r" * 300)),
        replace(QUESTION, consent=Consent(reference="r", method="guessed")),
        replace(QUESTION, consent=Consent(reference="r", expires=1 << 64)),
        replace(QUESTION, consent=Consent(reference="r", notice=1 << 16)),
        replace(QUESTION, attributes={"late": "x" * 300}),
        replace(QUESTION, attributes={f"f{n}": 1.0 for n in range(600)}),
    ],
)
def test_question_that_is_not_of_its_form_is_refused(question: Question) -> None:
    with pytest.raises(DecodeError):
        score(question=question)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (replace(QUESTION, person="somebody"), PersonError),
        (replace(QUESTION, attributes={"salary": 1.0}), DataError),
        (replace(QUESTION, attributes={"late": "a lot"}), DataError),
    ],
)
def test_identifier_or_attribute_of_another_form_is_refused_without_its_value(
    question: Question, kind: type[RiskWeaveError]
) -> None:
    with pytest.raises(kind) as refused:
        score(question=question)
    assert "somebody" not in str(refused.value)
    assert "a lot" not in str(refused.value)


def test_questions_show_no_person_when_they_are_printed() -> None:
    shown = repr(replace(KEYED, attributes={"late": 5.0}))
    assert "12345678" not in shown
    assert "consent-1" not in shown
    assert "late" not in shown
    assert KEYED.key not in shown


def test_question_without_time_left_asks_nobody() -> None:
    session = Session()
    with pytest.raises(ScoreRefusalError, match="S06"):
        run(loan_desk(session).score(QUESTION, caller="local", deadline_ms=5))
    assert session.asked == []


# --- the same key -----------------------------------------------------------------------------


def test_same_key_brings_the_same_bytes_and_asks_once() -> None:
    session, kept = Session(), Kept()

    async def twice() -> tuple[Score, Score]:
        first = await loan_desk(session, kept).score(KEYED, caller="local")
        later = loan_desk(session, kept, now=lambda: NOW + 3_600)  # after a restart
        return first, await later.score(KEYED, caller="local")

    first, second = run(twice())
    assert first.to_bytes() == second.to_bytes()
    assert desk_wire.encode_score(first) == desk_wire.encode_score(second)
    assert len(session.asked) == 1


def test_same_key_at_the_same_moment_asks_once() -> None:
    session = Session()

    async def together() -> list[Score]:
        session.gate = asyncio.Event()
        desk = loan_desk(session)
        asking = [asyncio.create_task(desk.score(KEYED, caller="local")) for _ in range(5)]
        await session.begun.wait()
        session.gate.set()
        return await asyncio.gather(*asking)

    assert len({one.to_bytes() for one in run(together())}) == 1
    assert len(session.asked) == 1


def test_caller_who_hangs_up_does_not_spoil_the_answer_of_its_key() -> None:
    session = Session()

    async def hang_up() -> Score:
        session.gate = asyncio.Event()
        desk = loan_desk(session)
        first = asyncio.create_task(desk.score(KEYED, caller="local"))
        await session.begun.wait()
        first.cancel()
        again = asyncio.create_task(desk.score(KEYED, caller="local"))
        await asyncio.sleep(0)
        session.gate.set()
        return await again

    assert run(hang_up()).points == 517
    assert len(session.asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(KEYED, person="87654321"),
        replace(KEYED, consent=Consent(reference="consent-2")),
        replace(KEYED, attributes={}),
        replace(KEYED, brief=True),
    ],
)
def test_same_key_with_another_question_is_refused(other: Question) -> None:
    desk = loan_desk(Session())

    async def ask() -> None:
        await desk.score(KEYED, caller="local")
        await desk.score(other, caller="local")

    with pytest.raises(RepeatedKeyError):
        run(ask())


def test_another_callers_key_brings_nothing_of_its_answer() -> None:
    session, kept = Session(), Kept()
    desk = loan_desk(session, kept)

    async def ask() -> None:
        await desk.score(KEYED, caller="loans")
        await desk.score(KEYED, caller="cards")

    run(ask())
    assert len(session.asked) == len(kept.rows) == 2


def test_kept_rows_hold_neither_person_nor_key() -> None:
    kept = Kept()
    run(loan_desk(Session(), kept).score(KEYED, caller="local"))
    shown = repr(kept.rows)
    assert KEYED.person not in shown
    assert KEYED.key not in shown
    # Keys are guessed easily, and persons tried: neither hash is a plain one.
    assert KEYED.digest() not in shown
    assert _key_of("local", KEYED.key) not in shown
    assert replace(KEYED, key="another-key-1").digest() != KEYED.digest()


# --- several at once --------------------------------------------------------------------------


def test_one_bad_question_of_a_batch_fails_alone() -> None:
    session = Session()
    questions = [
        QUESTION,
        replace(QUESTION, person="somebody"),
        replace(QUESTION, consent=Consent()),
        replace(KEYED, person="22222222"),
        replace(QUESTION, person="33333333"),
    ]
    found = run(loan_desk(session).score_many(questions, caller="local"))
    assert [isinstance(one, Score) for one in found] == [True, False, False, True, True]
    assert [one.code for one in found if isinstance(one, Failure)] == ["person", "S08"]
    # Those without a key leave in one request; the session packs the rest.
    assert [len(applicants) for applicants in session.asked] == [2, 1]


def test_repeated_key_inside_one_batch_is_one_answer_or_a_failure() -> None:
    session = Session()
    questions = [KEYED, KEYED, replace(KEYED, person="22222222")]
    found = run(loan_desk(session).score_many(questions, caller="local"))
    assert found[0] == found[1]
    assert isinstance(found[2], Failure)
    assert found[2].code == "repeated_key"
    assert len(session.asked) == 1


def test_batch_of_more_than_256_is_refused() -> None:
    with pytest.raises(MessageTooLargeError):
        run(loan_desk(Session()).score_many([QUESTION] * 257, caller="local"))


def test_own_codes_of_the_house_are_those_of_its_family() -> None:
    assert set(CODES) == {"late", "worst", "months"}
