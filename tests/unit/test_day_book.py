"""What a node says of each day that is over, for the log, and what it does not say."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from consortium.crypto.keys import IdentityKey, Secret
from consortium.ids import PartnerId, RequestId, digest_of
from consortium.inquiries import Purpose
from consortium.ledger.bodies import ConsentBatch, OprfFault, OprfUsage
from consortium.ledger.entries import Body, from_jcs
from consortium.ledger.merkle import EMPTY_ROOT, Tree, leaf_hash
from partner_node.day_book import DayBook, DayPorts
from partner_node.entry_book import EntryBook
from partner_node.people import People
from partner_node.scoring_database import DAY
from partner_node.scoring_store import Access, ScoringStore
from partner_node.storage import NodeStore

BANK, SHOP = PartnerId("bank_a"), PartnerId("shop_c")
FIRST = 20_000
"""Day of the first event."""


@dataclass
class Node:
    """One node's databases, at a time that a test sets."""

    path: Path
    now: int = FIRST * DAY + 600

    def __post_init__(self) -> None:
        self.nodes = NodeStore(self.path / "node.db", now=lambda: self.now)
        self.store = ScoringStore(self.path / "scoring.db", now=lambda: self.now)
        self.people = People(str.encode, Secret(bytes(32)))
        identity = IdentityKey.from_secret(Secret(bytes(range(32))))
        self.days = DayBook(
            DayPorts(
                store=self.store,
                log=self.nodes.log,
                book=EntryBook(BANK, identity, now=lambda: self.now),
                people=lambda: self.people,
                now=lambda: self.now,
            )
        )

    def evaluate(self, points: int, *, epoch: int = 1) -> None:
        with self.store.request() as rows:
            rows.count_evaluated(epoch, points)

    def ask(self, *consents: bytes, result: str = "joint") -> None:
        self.store.log_access(
            [
                Access(
                    inquirer="operator",
                    subject=bytes(32),
                    purpose=Purpose.JOINT_SCORE,
                    consent=consent,
                    context="c",
                    roster=1,
                    model="m",
                    head="",
                    band="1",
                    result=result,
                )
                for consent in consents
            ]
        )

    def brought(self) -> list[Body]:
        """Bodies of what the witness would bring."""
        return [from_jcs(data).body for data in self.nodes.log.to_bring(100)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.store.close()
    node.nodes.close()


def root(*hashes: bytes) -> str:
    return Tree(leaf_hash(one) for one in sorted(hashes)).root().hex()


def test_day_is_told_of_once_when_it_is_over_and_in_bands(node: Node) -> None:
    node.evaluate(7)
    node.evaluate(5)
    receipts = (b"b" * 32, b"a" * 32)
    node.ask(*receipts, receipts[0])
    node.ask(b"c" * 32, result="S06")  # nobody was asked under it
    assert node.days.write_up() == 0  # the day is not over
    node.now = (FIRST + 1) * DAY
    assert node.days.write_up() == 2
    assert node.days.write_up() == 0
    consents, usage = node.brought()
    assert consents == ConsentBatch(
        day=FIRST,
        root=root(*receipts),  # type: ignore[arg-type]
        receipts="1-9",
        withdrawals=EMPTY_ROOT.hex(),  # type: ignore[arg-type]
    )
    assert usage == OprfUsage(epoch=1, day=FIRST, points="10-99")


def test_days_without_a_consent_are_told_of_too_but_none_before_the_first(node: Node) -> None:
    node.now = (FIRST + 3) * DAY
    assert node.days.write_up() == 0
    node.ask(b"a" * 32)
    node.now += 2 * DAY
    node.days.write_up()
    days = [(one.day, one.receipts) for one in node.brought() if isinstance(one, ConsentBatch)]
    assert days == [(FIRST + 3, "1-9"), (FIRST + 4, "0")]


def test_withdrawal_is_hashed_under_a_salt_of_this_node_alone(node: Node) -> None:
    subject = node.people.subject(b"somebody")
    node.store.withdraw(subject, [Purpose.JOINT_SCORE])
    node.now += DAY
    node.days.write_up()
    (told,) = node.brought()
    assert isinstance(told, ConsentBatch)
    shown = node.people.withdrawal(subject, Purpose.JOINT_SCORE.value, FIRST)
    assert told.withdrawals == root(bytes.fromhex(shown))
    other = People(str.encode, Secret(bytes(31) + b"1"))
    assert other.withdrawal(subject, Purpose.JOINT_SCORE.value, FIRST) != shown
    assert node.people.withdrawal(subject, Purpose.JOINT_SCORE.value, FIRST + 1) != shown


def test_points_that_were_refused_are_not_counted(node: Node) -> None:
    def refused() -> None:
        with node.store.request() as rows:
            rows.count_evaluated(1, 10)
            raise LookupError

    with pytest.raises(LookupError):
        refused()
    assert node.store.evaluated(FIRST) is None


def test_fault_of_a_key_holder_is_told_of_at_once_and_once_a_day(node: Node) -> None:
    requests = [RequestId(digest_of(bytes([n]))[:32]) for n in range(3)]
    for request in requests[:2]:
        node.store.note_fault(1, SHOP, request)
    assert node.days.write_up() == 1
    assert node.days.write_up() == 0
    node.now += DAY
    node.store.note_fault(1, SHOP, requests[2])
    node.days.write_up()
    faults = [one for one in node.brought() if isinstance(one, OprfFault)]
    assert [one.request for one in faults] == [requests[0], requests[2]]


def test_node_that_was_down_for_long_tells_of_the_last_month_alone(node: Node) -> None:
    node.ask(b"a" * 32)
    node.now += 400 * DAY
    assert node.days.write_up() == 31
