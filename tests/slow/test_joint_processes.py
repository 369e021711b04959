"""Joint scores between real processes: a node killed, the coordinator killed, and back.

Five processes as an operator starts them; a loan desk's system asks at a bank's own door.
"""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rehearsal.federation import COORDINATOR
from rehearsal.joint import serves
from riskweave_client import Client, Consent, Score
from tests.integration.federation import PATIENCE_S, Federation, write_rehearsal
from tests.integration.joint_federation import (
    desk_of,
    train_and_serve,
    trained,
    with_joint_scores,
)

PERSONS = 1_200
ASKED = 1_000
CONSENT = Consent("test")
BANK, KILLED = "bank_a", "shop_d"
KNOWN: Mapping[str, str] = {
    "bank_a": "i % 2 = 0",
    "bank_b": "i % 2 = 1",
    "shop_c": "i % 3 = 0",
    "shop_d": "i % 3 = 1",
}
"""Which persons a partner knows, in SQL."""
CUSTOMERS = dict.fromkeys(KNOWN, 700)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def rows_of(name: str) -> str:
    """Persons of one partner; badness rises with both features of the tiny schema."""
    return f"""
        SELECT 'P' || i AS person, (hash(i, 1) % 5)::INT AS late,
               (hash(i, 2) % 1000) / 1000.0 AS used,
               (hash(i, 3) % 100 < 6 + 10 * late + 30 * used)::INT AS bad
        FROM range({PERSONS}) AS numbers(i) WHERE {KNOWN[name]}"""  # noqa: S608 - constants


def partners_of(number: int, without: str = "") -> int:
    """How many partners know a person."""
    tests = {
        "bank_a": number % 2 == 0,
        "bank_b": number % 2 == 1,
        "shop_c": number % 3 == 0,
        "shop_d": number % 3 == 1,
    }
    return sum(found for name, found in tests.items() if name != without)


@pytest.fixture
def joint(near: Path) -> Iterator[Federation]:
    """Trained, voted, every customer with a pseudonym; bank_a's desk answers jointly."""
    file = write_rehearsal(near / "files", {name: rows_of(name) for name in KNOWN}, rounds=5)
    text = with_joint_scores(file.read_text(encoding="utf-8"), CUSTOMERS)
    file.write_text(text, encoding="utf-8")
    with Federation.running(near, file) as federation:
        train_and_serve(federation, KNOWN, trained)
        yield federation


class Asking:
    """Four clients that ask for all persons, in a bank's own threads."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._changed = threading.Condition()
        self.scores: dict[int, Score] = {}
        self.failed: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(part,), daemon=True) for part in range(4)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, part: int) -> None:
        try:
            with Client(f"unix:{self._socket}") as desk:
                for number in range(part, ASKED, 4):
                    score = desk.score(f"P{number}", CONSENT, timeout=20.0)
                    with self._changed:
                        self.scores[number] = score
                        self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            with self._changed:
                self.failed.append(error)
                self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            ready = self._changed.wait_for(
                lambda: bool(self.failed) or len(self.scores) >= count, 4 * PATIENCE_S
            )
        assert not self.failed, self.failed
        assert ready, f"{len(self.scores)} of {count} answers"


def test_partner_killed_with_9_in_the_middle_of_1000_requests_leaves_no_request_unanswered(
    joint: Federation,
) -> None:
    asking = Asking(desk_of(joint, BANK))
    asking.wait_for(300)
    joint.kill(KILLED)
    asking.wait_for(ASKED)
    assert sorted(asking.scores) == list(range(ASKED))
    told = 0
    for number, score in asking.scores.items():
        if score.fallback:
            # Local is allowed while the loss is noticed, and says so.
            assert score.band == "0"
            continue
        told += 1
        bands = {str(partners_of(number)), str(partners_of(number, without=KILLED))}
        assert score.band in bands, (number, score.band)
    assert told > 0.95 * ASKED
    # Who was killed is in no later answer.
    with Client(f"unix:{desk_of(joint, BANK)}") as desk:
        fresh = desk.score("P1180", CONSENT)
    assert not fresh.fallback
    assert fresh.band == str(partners_of(1180, without=KILLED))


def test_coordinator_killed_with_9_leaves_local_scores_and_joint_ones_come_back(
    joint: Federation,
) -> None:
    with Client(f"unix:{desk_of(joint, BANK)}") as desk:
        before = desk.score("P6", CONSENT)
        assert (before.band, before.fallback) == (str(partners_of(6)), "")
        joint.kill(COORDINATOR)
        alone = desk.score("P12", CONSENT)
        assert alone.band == "0"
        assert alone.fallback
        joint.start(COORDINATOR)
        joint.wait_for(*KNOWN)
        joint.wait(
            lambda: serves(desk_of(joint, BANK), ""), what="joint again", blame=COORDINATOR
        )
        after = desk.score("P18", CONSENT)
    assert (after.band, after.fallback) == (str(partners_of(18)), "")
