"""Challenges of the regulator, and what partners answer or do not (protocol 8.7 (18), 9.4)."""

import pytest

from consortium.ids import Digest, PartnerId
from consortium.ledger.answers import ANSWER_DAYS
from consortium.ledger.bodies import AuditNonce
from consortium.ledger.draws import choice_of, nonce_commitment
from consortium.ledger.entries import AuditAnswer, AuditChallenge, AuditResult, Body, from_jcs
from consortium.ledger.findings import Finding, Grade
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.run_bodies import RoundSum, RunClosed
from consortium.ledger.verify import verify_log
from regulator.replay import ReplayedRun
from tests.ledger_house import REGULATOR, House

DAY = 86_400
REPORT = Digest("ab" * 32)
NONCE = b"\x05" * 32


class Answered:
    """A run of which all sums are drawn; ``say`` adds what comes afterwards."""

    def __init__(self) -> None:
        self.house = house = House(silos=3, rounds=1)
        house.append(REGULATOR, AuditNonce(commitment=nonce_commitment(NONCE), opened=None))
        house.run()
        bodies = [from_jcs(data).body for data in house.entries]
        drawn = tuple(range(1, 1 + sum(isinstance(one, RoundSum) for one in bodies)))
        size, run = house.coin(house.index_of(RunClosed)).size, house.plan.run
        choice = choice_of(run, house.tree.root(size), NONCE)
        index = house.draw(AuditChallenge(run=run, sums=drawn, choice=choice), size)
        self.asked = Digest(leaf_hash(house.entries[index]).hex())
        opened = Digest(NONCE.hex())
        self.say(REGULATOR, AuditNonce(commitment=nonce_commitment(b"n" * 32), opened=opened))

    def say(self, actor: PartnerId, body: Body) -> Digest:
        index = self.house.append(actor, body)
        return Digest(leaf_hash(self.house.entries[index]).hex())

    def answer(self, name: PartnerId, verdict: str = "passed") -> None:
        self.say(name, self.body(verdict))

    def body(self, verdict: str = "passed") -> AuditAnswer:
        return AuditAnswer(
            challenge=self.asked, run=self.house.plan.run, verdict=verdict, report=REPORT
        )

    def result(self, verdict: str) -> None:
        run = self.house.plan.run
        self.say(REGULATOR, AuditResult(run=run, verdict=verdict, report=REPORT))

    def findings(self, *, days: int = 1) -> list[Finding]:
        self.house.checkpoint()
        now = self.house.now + days * DAY
        found = verify_log(
            self.house.bundle(), self.house.manifest.digest, now=now, machines=ReplayedRun
        ).findings
        return [one for one in found if one.name.startswith(("answer.", "audit."))]


@pytest.fixture
def log() -> Answered:
    return Answered()


def of(findings: list[Finding]) -> list[tuple[str, Grade]]:
    return [(one.name, one.grade) for one in findings]


def test_challenge_that_all_concerned_answered_has_no_finding(log: Answered) -> None:
    for name in log.house.names:
        log.answer(name)
    log.result("passed")
    assert of(log.findings(days=ANSWER_DAYS + 1)) == []


@pytest.mark.parametrize(
    ("days", "expected"),
    [(1, ("answer.due", Grade.NOTE)), (ANSWER_DAYS + 1, ("answer.missing", Grade.WARNING))],
)
def test_silence_of_one_partner_is_named(
    log: Answered, days: int, expected: tuple[str, Grade]
) -> None:
    for name in log.house.names[1:]:
        log.answer(name)
    log.result("passed")
    (found,) = log.findings(days=days)
    assert (found.name, found.grade) == expected
    assert log.house.names[0] in found.text


def test_answer_that_found_a_difference_is_an_error(log: Answered) -> None:
    first, *others = log.house.names
    log.answer(first, "failed")
    for name in others:
        log.answer(name)
    log.result("failed")
    assert ("answer.failed", Grade.ERROR) in of(log.findings())


def test_result_against_an_answer_is_an_error(log: Answered) -> None:
    for name in log.house.names:
        log.answer(name, "failed")
    log.result("passed")
    assert ("audit.against_answer", Grade.ERROR) in of(log.findings())


def test_result_that_failed_is_not_made_good_by_one_that_passed_elsewhere(
    log: Answered,
) -> None:
    for name in log.house.names:
        log.answer(name)
    log.result("failed")
    log.result("passed")
    assert ("audit.contradicted", Grade.ERROR) in of(log.findings())
    log.result("waived")
    assert of(log.findings()) == []


def test_answer_that_could_not_make_everything_again_is_a_warning(log: Answered) -> None:
    for name in log.house.names:
        log.answer(name, "incomplete")
    log.result("waived")
    assert set(of(log.findings())) == {("answer.incomplete", Grade.WARNING)}


def test_answer_to_no_challenge_is_an_error(log: Answered) -> None:
    for name in log.house.names:
        log.answer(name)
    log.asked = Digest("99" * 32)
    log.answer(log.house.names[0])
    log.result("passed")
    assert of(log.findings()) == [("answer.stray", Grade.ERROR)]


def test_verdict_of_another_word_answers_nothing(log: Answered) -> None:
    for name in log.house.names[1:]:
        log.answer(name)
    log.answer(log.house.names[0], "fine")
    log.result("passed")
    assert set(of(log.findings())) == {
        ("answer.verdict", Grade.ERROR),
        ("answer.due", Grade.NOTE),
    }


@pytest.mark.parametrize("sums", [(), (99,)])
def test_challenge_of_sums_that_do_not_exist_is_an_error(
    log: Answered, sums: tuple[int, ...]
) -> None:
    for name in log.house.names:
        log.answer(name)
    run = log.house.plan.run
    log.say(REGULATOR, AuditChallenge(run=run, sums=sums, choice=REPORT))
    log.result("passed")
    assert of(log.findings()) == [("audit.sums", Grade.ERROR)]


def test_answer_in_the_regulators_name_is_refused(log: Answered) -> None:
    log.house.append(REGULATOR, log.body())
    log.house.checkpoint()
    found = verify_log(
        log.house.bundle(),
        log.house.manifest.digest,
        now=log.house.now,
        machines=ReplayedRun,
    ).findings
    assert "entry.signature" in {one.name for one in found if one.grade is Grade.ERROR}
