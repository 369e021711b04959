"""Commitments to decisions, and what is found when a stored decision is not what it was."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.canonical import Label, hash_with
from consortium.crypto.keys import IdentityKey, Secret
from consortium.ids import Digest, PartnerId, digest_of
from consortium.ledger.bodies import DecisionBatch, DecisionChallenge, band_of
from consortium.ledger.draws import drawn_decisions
from consortium.ledger.entries import from_jcs
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.sealed import (
    DecisionReport,
    Sameness,
    batch_commitment,
    faults_of,
    sealed_leaf,
)
from partner_node.credit.application import DeskService
from partner_node.credit.sealing import Answered, Drawn, Sealer, SealPorts, answer_of
from partner_node.credit.storage import DECISIONS, decisions
from partner_node.credit.storage_people import drop_decisions
from partner_node.credit.storage_sealed import BATCHES, LEAVES
from partner_node.entry_book import EntryBook
from partner_node.storage import NodeStore
from tests.credit_desk_house import application, decided, desk, write_rules
from tests.credit_house import NOW

BANK, CODE = PartnerId("bank_a"), digest_of(b"code")
DAY = 86_400


@dataclass
class Home:
    """A desk that has decided three times, and its commitments."""

    path: Path
    service: DeskService
    now: int = NOW + 60
    salts: Iterator[Secret] = field(
        default_factory=lambda: (
            Secret(hashlib.sha256(number.to_bytes(4, "big")).digest()) for number in range(1000)
        )
    )

    def __post_init__(self) -> None:
        self.node = NodeStore(self.path / "node.db", now=lambda: self.now)
        identity = IdentityKey.from_secret(Secret(bytes(range(32))))
        self.sealer = Sealer(
            SealPorts(
                store=self.service.ports.store,
                log=self.node.log,
                book=EntryBook(BANK, identity, now=lambda: self.now),
                entropy=lambda: next(self.salts),
                now=lambda: self.now,
            )
        )
        with self.service.ports.store.reading() as connection:
            self.names = [str(one.id) for one in reversed(decisions(connection))]

    def said(self) -> list[DecisionBatch]:
        bodies = [from_jcs(data).body for data in self.node.log.said("decision.batch")]
        return [one for one in bodies if isinstance(one, DecisionBatch)]

    def drawn(self, places: int = 8, number: int = 0) -> Drawn:
        data = self.node.log.said("decision.batch")[number]
        batch = self.said()[number]
        leaf = Digest(leaf_hash(data).hex())
        body = DecisionChallenge(batch=leaf, places=places, choice=digest_of(b"choice"))
        return Drawn(leaf=digest_of(b"challenge"), body=body, batch=batch)

    def answered(self, places: int = 8, number: int = 0) -> Answered:
        return answer_of(self.service, BANK, CODE, self.drawn(places, number))

    def execute(self, statement: object) -> None:
        with self.service.ports.store.transaction() as connection:
            connection.execute(statement)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a desk after three decisions."""
    directory = tmp_path_factory.mktemp("begun")
    write_rules(directory)
    with desk(directory) as service:
        for number in range(3):
            decided(service, application(f"application-{number}"))
    return directory


@pytest.fixture
def home(begun: Path, tmp_path: Path) -> Iterator[Home]:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    with desk(tmp_path) as service:
        made = Home(tmp_path, service)
        yield made
        made.node.close()


def outcomes(answered: Answered) -> list[Sameness]:
    return [one.outcome for one in answered.report.drawn]


def faults(home: Home, report: DecisionReport, places: int = 8) -> tuple[str, ...]:
    drawn = home.drawn(places)
    return faults_of(report, drawn.batch, drawn.body)


def test_sealed_decisions_are_made_again_to_the_byte_and_nothing_tells_what_they_are(
    home: Home,
) -> None:
    home.sealer.seal()
    (batch,) = home.said()
    assert (batch.number, batch.decisions) == (0, "1-9")
    answered = home.answered()
    assert (outcomes(answered), answered.names) == ([Sameness.EQUAL] * 3, ())
    assert answered.report.verdict == "passed"
    assert faults(home, DecisionReport.from_bytes(answered.report.to_bytes())) == ()
    shown = answered.report.to_bytes() + b"".join(home.node.log.said("decision.batch"))
    for name in (*home.names, "application-1", "11010519"):
        assert name.encode() not in shown


def test_each_day_is_sealed_once_from_the_first_decision_on(home: Home) -> None:
    assert home.sealer.seal_when_due() == 1
    assert home.sealer.seal_when_due() == 0
    home.now += DAY
    assert home.sealer.seal_when_due() == 1
    assert [(one.number, one.decisions) for one in home.said()] == [(0, "1-9"), (1, "0")]


def test_desk_that_never_decided_says_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as service:
        quiet = Home(tmp_path, service)
        assert quiet.sealer.seal_when_due() == 0
        quiet.node.close()


def test_batch_that_a_crash_kept_from_the_log_is_said_afterwards_and_once(home: Home) -> None:
    home.sealer._seal()
    assert home.said() == []
    assert home.sealer.say() == 1
    assert home.sealer.say() == 0


def test_numbers_go_on_where_the_log_is_when_the_database_was_restored(home: Home) -> None:
    home.sealer.seal()
    home.execute(BATCHES.delete())
    home.execute(LEAVES.delete())
    home.sealer.seal()
    assert [one.number for one in home.said()] == [0, 1]


def test_flipped_decision_is_found_and_named(home: Home) -> None:
    home.sealer.seal()
    whole = home.service.decision(home.names[1]).decision
    flipped = whole.replace(b'"outcome":"APPROVE"', b'"outcome":"DECLINE"')
    assert flipped != whole
    home.execute(
        DECISIONS.update().where(DECISIONS.c.id == home.names[1]).values(decision=flipped)
    )
    answered = home.answered()
    assert outcomes(answered) == [Sameness.EQUAL, Sameness.ALTERED, Sameness.EQUAL]
    assert (answered.names, answered.report.verdict) == (
        (f"{home.names[1]} altered",),
        "failed",
    )
    assert faults(home, answered.report) == ()


def test_decision_that_was_flipped_before_it_was_sealed_differs_from_its_rules(
    home: Home,
) -> None:
    data = home.service.decision(home.names[0]).decision.replace(b'"limit":6', b'"limit":7')
    home.execute(
        DECISIONS.update()
        .where(DECISIONS.c.id == home.names[0])
        .values(decision=data, id=hash_with(Label.DECISION, data))
    )
    home.sealer.seal()
    answered = home.answered()
    assert outcomes(answered) == [Sameness.DIFFERS, Sameness.EQUAL, Sameness.EQUAL]
    assert answered.report.verdict == "failed"


def test_dropped_decision_is_found_and_one_that_was_erased_by_policy_is_told_apart(
    home: Home,
) -> None:
    home.sealer.seal()
    home.execute(DECISIONS.delete().where(DECISIONS.c.id == home.names[2]))
    answered = home.answered()
    assert outcomes(answered)[2] is Sameness.DROPPED
    assert answered.report.verdict == "failed"
    with home.service.ports.store.transaction() as connection:
        drop_decisions(connection, NOW + DAY)
    answered = home.answered()
    assert outcomes(answered)[:2] == [Sameness.ERASED] * 2


def test_all_erased_by_policy_is_incomplete_and_no_failure(home: Home) -> None:
    home.sealer.seal()
    with home.service.ports.store.transaction() as connection:
        drop_decisions(connection, NOW + DAY)
    assert home.answered().report.verdict == "incomplete"


def test_decision_that_was_added_among_those_committed_to_is_found(home: Home) -> None:
    home.sealer.seal()
    added = decided(home.service, application("application-added"))["id"]
    home.execute(DECISIONS.update().where(DECISIONS.c.id == added).values(number=0))
    answered = home.answered()
    assert (answered.report.added, answered.report.verdict) == (1, "failed")
    assert answered.names == (f"{added} is in no batch",)


def test_leaf_that_was_dropped_with_its_decision_breaks_the_commitment(home: Home) -> None:
    home.sealer.seal()
    home.execute(DECISIONS.delete().where(DECISIONS.c.id == home.names[1]))
    home.execute(LEAVES.delete().where(LEAVES.c.place == 1))
    assert "count and root are not those that were committed to" in faults(
        home, home.answered().report
    )


def test_backdated_decision_is_found_in_the_batch_that_it_came_to(home: Home) -> None:
    home.now = NOW + DAY
    home.sealer.seal()
    decided(home.service, application("application-late"))  # at NOW, a day before the batch
    home.sealer.seal()
    assert outcomes(home.answered(number=1)) == [Sameness.BACKDATED]


def test_altered_decision_that_was_not_drawn_is_found_too(home: Home) -> None:
    home.sealer.seal()
    (place,) = drawn_decisions(digest_of(b"choice"), 3, 1)
    other = (place + 1) % 3
    home.execute(
        DECISIONS.update().where(DECISIONS.c.id == home.names[other]).values(input=b"{}")
    )
    answered = home.answered(places=1)
    assert (outcomes(answered), answered.report.elsewhere) == ([Sameness.EQUAL], (other,))
    assert answered.report.verdict == "failed"


def test_tree_that_was_made_again_over_altered_decisions_is_not_the_one_committed_to(
    home: Home,
) -> None:
    home.sealer.seal()
    flipped = home.service.decision(home.names[1]).decision.replace(b'"limit":6', b'"limit":7')
    inputs = home.service.decision(home.names[1]).input
    home.execute(
        DECISIONS.update().where(DECISIONS.c.id == home.names[1]).values(decision=flipped)
    )
    leaf = sealed_leaf(bytes(32), flipped, inputs)
    home.execute(LEAVES.update().where(LEAVES.c.place == 1).values(leaf=leaf, salt=bytes(32)))
    assert faults(home, home.answered().report) == (
        "count and root are not those that were committed to",
    )


def test_reports_that_say_other_than_their_digests_are_not_believed(home: Home) -> None:
    home.sealer.seal()
    report = home.answered().report
    first, *rest = report.drawn
    lied = replace(first, made=digest_of(b"other"))
    assert faults(home, replace(report, drawn=(lied, *rest)))
    unmade = replace(first, made=None, outcome=Sameness.EQUAL)
    assert faults(home, replace(report, drawn=(unmade, *rest)))
    strange = replace(first, committed=digest_of(b"other"), made=digest_of(b"other"))
    assert faults(home, replace(report, drawn=(strange, *rest)))
    assert faults(home, replace(report, drawn=tuple(rest)))
    assert faults(home, replace(report, count=2))
    assert faults(home, replace(report, salt=bytes(32)))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 500), st.integers(1, 40))
@settings(max_examples=60)
def test_drawn_places_are_different_and_in_the_batch_and_all_of_a_small_one(
    seed: bytes, total: int, number: int
) -> None:
    places = drawn_decisions(digest_of(seed), total, number)
    assert list(places) == sorted(set(places))
    assert len(places) == min(total, number)
    assert all(0 <= place < total for place in places)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
@settings(max_examples=60)
def test_commitment_binds_the_count(one: int, other: int) -> None:
    root, salt = bytes(32), bytes(range(32))
    same = batch_commitment(salt, one, root) == batch_commitment(salt, other, root)
    assert same == (one == other)
    assert band_of(one)
