"""Draws of decisions in a log: commitments, coins, answers and results (8.7 (22), 9.4.2)."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, OutOfOrderError
from consortium.ids import Digest, PartnerId
from consortium.ledger.answers import ANSWER_DAYS
from consortium.ledger.bodies import (
    AuditNonce,
    DecisionAnswer,
    DecisionBatch,
    DecisionChallenge,
    DecisionResult,
)
from consortium.ledger.coins import Coins
from consortium.ledger.draws import choice_of, nonce_commitment
from consortium.ledger.entries import Body, Entry, Incident
from consortium.ledger.findings import Finding, Grade
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.verify import verify_log
from regulator.replay import ReplayedRun
from regulator.sampling import LogToDraw, Nonces, Wish, drawn_batches
from tests.ledger_house import REGULATOR, House

BANK, SHOP = PartnerId("silo-00"), PartnerId("silo-01")
NONCE, NEXT = b"\x07" * 32, b"\x08" * 32
REPORT = Digest("ab" * 32)
DAY = 86_400


def commitment(nonce: bytes, opened: bytes | None = None) -> AuditNonce:
    shown = None if opened is None else Digest(opened.hex())
    return AuditNonce(commitment=nonce_commitment(nonce), opened=shown)


def sealed(number: int = 0, band: str = "10-99") -> DecisionBatch:
    return DecisionBatch(number=number, commitment=Digest("cd" * 32), decisions=band)


class Drawn:
    """A log without a run: one batch of a bank, and another's entry that fixes the coin."""

    def __init__(self, first: AuditNonce | None = None) -> None:
        self.house = house = House(silos=3, rounds=1)
        house.adopt()
        house.append(REGULATOR, first or commitment(NONCE))
        house.checkpoint()
        self.index = house.append(BANK, sealed())
        self.batch = self.leaf(self.index)
        house.checkpoint()
        house.append(SHOP, sealed())
        self.size = house.hint

    def leaf(self, index: int) -> Digest:
        return Digest(leaf_hash(self.house.entries[index]).hex())

    def challenge(self, *, nonce: bytes = NONCE, size: int = 0) -> DecisionChallenge:
        choice = choice_of(self.batch, self.house.tree.root(size or self.size), nonce)
        return DecisionChallenge(batch=self.batch, places=8, choice=choice)

    def draw(self, body: DecisionChallenge | None = None, *, size: int = 0) -> None:
        index = self.house.draw(body or self.challenge(), size or self.size)
        self.asked = self.leaf(index)
        self.house.append(REGULATOR, commitment(NEXT, NONCE))

    def answer(self, verdict: str = "passed", name: PartnerId = BANK) -> None:
        body = DecisionAnswer(challenge=self.asked, verdict=verdict, report=REPORT)
        self.house.append(name, body)

    def result(self, verdict: str = "passed", report: Digest = REPORT) -> None:
        body = DecisionResult(challenge=self.asked, verdict=verdict, report=report)
        self.house.append(REGULATOR, body)

    def found(self, *, days: int = 0) -> dict[str, Finding]:
        self.house.checkpoint()
        now = self.house.now + days * DAY
        audit = verify_log(
            self.house.bundle(), self.house.manifest.digest, now=now, machines=ReplayedRun
        )
        return {
            one.name: one
            for one in audit.findings
            if one.name.partition(".")[0] in {"decision", "audit", "entry", "score"}
        }


@pytest.fixture
def log() -> Drawn:
    return Drawn()


def test_fair_draw_that_was_answered_and_checked_has_no_finding(log: Drawn) -> None:
    log.draw()
    log.answer()
    log.result()
    assert log.found(days=ANSWER_DAYS + 1) == {}


def test_commitment_that_is_never_opened_is_shown(log: Drawn) -> None:
    log.house.append(REGULATOR, commitment(NEXT))
    assert log.found()["audit.nonce"].grade is Grade.WARNING


def test_program_draws_what_the_audit_expects_and_no_batch_twice(tmp_path: Path) -> None:
    nonces = Nonces(tmp_path, Secret(b"\x03" * 32))
    log = Drawn(nonces.commit(0))
    before = list(log.house.entries)
    # Each batch needs somebody else's later entry: the shop's own has none yet.
    (made,) = LogToDraw(before, REGULATOR).draw(Wish(decisions=8), nonces)
    assert isinstance(made.challenge, DecisionChallenge)
    assert (made.challenge.batch, made.coin.size) == (log.batch, log.size)
    log.house.draw(made.challenge, made.coin.size)
    log.house.append(REGULATOR, nonces.commit(1))
    assert set(log.found()) == {"decision.due"}
    drawn = drawn_batches(log.house.entries, REGULATOR)
    assert drawn == {log.batch}
    for entries, known in ((log.house.entries, frozenset()), (before, drawn)):
        with pytest.raises(OutOfOrderError, match="not fixed"):
            LogToDraw(entries, REGULATOR, known).draw(Wish(decisions=8), nonces)


def test_bytes_of_another_directory_draw_nothing(tmp_path: Path) -> None:
    log = Drawn()
    nonces = Nonces(tmp_path, Secret(b"\x04" * 32))
    with pytest.raises(ConfigurationError, match="not of this directory"):
        LogToDraw(log.house.entries, REGULATOR).draw(Wish(decisions=8), nonces)


def test_coin_that_the_regulator_waited_for_is_found(log: Drawn) -> None:
    log.house.checkpoint()
    later = log.house.hint
    log.draw(log.challenge(size=later), size=later)
    assert log.found()["audit.coin"].grade is Grade.ERROR


def test_choice_of_other_bytes_than_were_committed_to_is_found(log: Drawn) -> None:
    log.draw(log.challenge(nonce=NEXT))
    assert log.found()["audit.choice"].grade is Grade.ERROR


def test_draw_before_anybody_else_named_the_coin_is_found() -> None:
    log = Drawn()
    del log.house.entries[-1]  # the shop has said nothing yet
    tree = type(log.house.tree)(leaf_hash(one) for one in log.house.entries)
    log.house.tree = tree
    log.draw()
    assert log.found()["audit.coin"].grade is Grade.ERROR


def test_batch_that_is_left_out_or_comes_twice_is_found(log: Drawn) -> None:
    log.house.append(BANK, sealed(2))
    found = log.found()["decision.order"]
    assert log.index in found.entries
    log.house.append(BANK, sealed(2))
    assert log.found()["decision.order"].grade is Grade.ERROR


def test_count_in_place_of_a_band_is_found(log: Drawn) -> None:
    log.house.append(BANK, sealed(1, "17"))
    assert log.found()["decision.band"].grade is Grade.ERROR


def test_draw_of_a_batch_that_is_not_there_is_found(log: Drawn) -> None:
    log.draw(replace(log.challenge(), batch=Digest("99" * 32)))
    assert log.found()["decision.unknown"].grade is Grade.ERROR


@pytest.mark.parametrize(
    ("days", "name", "grade"),
    [(1, "decision.due", Grade.NOTE), (ANSWER_DAYS + 1, "decision.missing", Grade.WARNING)],
)
def test_silence_is_named(log: Drawn, days: int, name: str, grade: Grade) -> None:
    log.draw()
    found = log.found(days=days)[name]
    assert (found.grade, BANK in found.text) == (grade, True)


def test_replay_that_failed_is_an_error_that_names_batch_draw_and_answer(log: Drawn) -> None:
    log.draw()
    log.answer("failed")
    found = log.found()["decision.failed"]
    assert found.grade is Grade.ERROR
    assert log.index in found.entries
    assert len(found.entries) == 3
    log.answer()  # a second answer does not make it good
    assert "decision.failed" in log.found()
    log.result("waived")
    assert {"decision.failed", "decision.against_answer"} <= set(log.found())


def test_report_that_the_regulator_could_not_verify_is_an_error(log: Drawn) -> None:
    log.draw()
    log.answer()
    log.result("failed")
    assert log.found()["decision.failed"].grade is Grade.ERROR


def test_report_other_than_was_answered_with_is_an_error(log: Drawn) -> None:
    log.draw()
    log.answer()
    log.result(report=Digest("cc" * 32))
    assert log.found()["decision.report"].grade is Grade.ERROR


def test_answer_of_another_partner_is_an_error(log: Drawn) -> None:
    log.draw()
    log.answer(name=SHOP)
    assert {"decision.stray", "decision.due"} <= set(log.found())


# --- coins ------------------------------------------------------------------------------------


def said(entries: dict[int, Entry], actor: PartnerId, body: Body, hint: int = 0) -> None:
    entries[len(entries)] = Entry(seq_hint=hint, at=1, actor=actor, body=body)


NOISE = Incident(kind="any", text=REPORT)


def test_bytes_that_were_opened_before_their_coin_are_passed_over() -> None:
    """Whoever makes heads knew them: the next commitment counts, with a head over it."""
    log: dict[int, Entry] = {}
    said(log, REGULATOR, commitment(NONCE))  # 0
    said(log, BANK, sealed())  # 1
    said(log, REGULATOR, commitment(NEXT, NONCE))  # 2: opened, and no coin yet
    said(log, SHOP, NOISE, hint=2)  # 3: rests on a head over 1, but not over 2
    assert Coins(log).of(1, REGULATOR) is None
    said(log, SHOP, NOISE, hint=3)  # 4
    coin = Coins(log).of(1, REGULATOR)
    assert coin is not None
    assert (coin.number, coin.size, coin.nonce) == (1, 3, None)


def test_regulator_names_no_coin_of_its_own() -> None:
    log: dict[int, Entry] = {}
    said(log, REGULATOR, commitment(NONCE))
    said(log, BANK, sealed())
    said(log, REGULATOR, NOISE, hint=2)
    assert Coins(log).of(1, REGULATOR) is None


@given(
    st.lists(
        st.tuples(st.sampled_from([REGULATOR, BANK, SHOP]), st.booleans(), st.integers(0, 30)),
        max_size=30,
    ),
    st.integers(0, 5),
)
@settings(max_examples=150)
def test_coin_once_fixed_is_the_same_however_the_log_grows(
    steps: list[tuple[PartnerId, bool, int]], event: int
) -> None:
    log: dict[int, Entry] = {}
    number, found = 0, None
    for actor, opens, hint in [(REGULATOR, True, 0), *steps]:
        if actor == REGULATOR and opens:
            nonce, before = bytes([number + 1]) * 32, bytes([number]) * 32
            body: Body = commitment(nonce, before if number else None)
            number += 1
        else:
            body = NOISE
        said(log, actor, body, hint=min(hint, len(log)))
        coin = Coins(log).of(event, REGULATOR)
        if found is not None:
            assert coin is not None
            assert (coin.number, coin.size) == found
        if coin is not None:
            found = (coin.number, coin.size)
