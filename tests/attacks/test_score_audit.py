"""Batches of inquiries that lie: roots, counts, records, and retries beyond 7.9 (8.7 (17))."""

from dataclasses import replace

import pytest

from consortium.ids import Digest, PartnerId, RequestId
from consortium.inquiries import Purpose
from consortium.ledger.bodies import (
    AuditNonce,
    DecisionBatch,
    DecisionChallenge,
    ScoreRetry,
)
from consortium.ledger.draws import (
    RECORDS,
    choice_of,
    drawn_records,
    drawn_sums,
    nonce_commitment,
)
from consortium.ledger.entries import AuditChallenge, ReleaseServed, ScoreBatch, from_jcs
from consortium.ledger.findings import Finding, Grade
from consortium.ledger.inquiries import (
    Asked,
    InquiryRecord,
    Leaf,
    batch_root,
    encode_batch,
    record_bytes,
)
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.run_bodies import RunClosed
from consortium.ledger.verify import verify_log
from regulator.replay import ReplayedRun
from tests.ledger_house import COORDINATOR, REGULATOR, START, House

NAMES = tuple(PartnerId(f"silo-{number:02d}") for number in range(4))
SECOND = START + 500
NONCE = b"\x07" * 32


@pytest.fixture(scope="module")
def base() -> House:
    """A released run; each test gives it inquiries of its own."""
    house = House(silos=4, rounds=2)
    house.adopt()
    house.append(REGULATOR, AuditNonce(commitment=nonce_commitment(NONCE), opened=None))
    house.commit()
    while not house.session.finished:
        house.attempt()
    house.close()
    return house


@pytest.fixture
def house(base: House) -> House:
    made = base.branch()
    made.session = base.session
    return made


def model_of(house: House) -> Digest:
    return next(
        body.version
        for data in house.entries
        if isinstance(body := from_jcs(data).body, ReleaseServed)
    )


def record(house: House, number: int, **changes: object) -> InquiryRecord:
    made = InquiryRecord(
        request=RequestId(f"{number:032x}"),
        requester=NAMES[0],
        roster_version=SECOND * 1000,
        purpose=Purpose.JOINT_SCORE,
        model=model_of(house),
        consents="0a" * 16 + ":" + "0b" * 32,
        context=Digest(f"{number:064x}"),
        persons=1,
        began_ms=SECOND * 1000 + number,
        ended_ms=SECOND * 1000 + number + 5,
        outcome="answered",
        responders=tuple(Asked(member=name, status="answered") for name in NAMES[1:]),
        retry_of=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def failed(house: House, number: int, by: PartnerId = NAMES[3]) -> InquiryRecord:
    asked = tuple(
        Asked(member=name, status="silent" if name == by else "answered") for name in NAMES[1:]
    )
    return record(house, number, outcome="incomplete", responders=asked)


def retry(house: House, number: int, of: int, **changes: object) -> InquiryRecord:
    asked = tuple(Asked(member=name, status="answered") for name in NAMES[1:3])
    given = {"responders": asked, "retry_of": RequestId(f"{of:032x}")} | changes
    return record(house, number, **given)


def logged(made: InquiryRecord, **changes: object) -> ScoreRetry:
    assert made.retry_of is not None
    entry = ScoreRetry(
        request=made.request,
        retry_of=made.retry_of,
        roster_version=made.roster_version,
        earlier_version=SECOND * 1000,
        missing=(NAMES[3],),
    )
    return replace(entry, **changes)  # type: ignore[arg-type]


def batch(
    house: House, *records: InquiryRecord, second: int = SECOND + 1, count: int | None = None
) -> None:
    """A batch in the log, and all of it in the bundle."""
    data = [record_bytes(one) for one in records]
    said = ScoreBatch(second=second, root=batch_root(data), count=count or len(data))
    house.append(COORDINATOR, said)
    leaves = [Leaf(leaf_hash(one), one) for one in data]
    house.files[f"inquiries/{second}.bin"] = encode_batch(leaves)


def findings(house: House) -> dict[str, Finding]:
    house.checkpoint()
    found = verify_log(
        house.bundle(), house.manifest.digest, now=START + 5000, machines=ReplayedRun
    )
    return {one.name: one for one in reversed(found.findings)}


def test_honest_inquiries_and_a_true_retry_have_no_finding_but_the_rate(house: House) -> None:
    again = retry(house, 3, of=2)
    batch(house, record(house, 1), failed(house, 2), again)
    house.append(COORDINATOR, logged(again))
    found = findings(house)
    assert set(found) == {"retry.rate"}
    assert found["retry.rate"].grade is Grade.NOTE
    assert found["retry.rate"].text.endswith(": silo-00")


def test_leaves_that_are_not_opened_still_prove_root_and_count(house: House) -> None:
    batch(house, record(house, 1), record(house, 2))
    place = f"inquiries/{SECOND + 1}.bin"
    data = [record_bytes(record(house, number)) for number in (1, 2)]
    house.files[place] = encode_batch(
        [Leaf(leaf_hash(data[0])), Leaf(leaf_hash(data[1]), data[1])]
    )
    assert findings(house) == {}


def test_record_that_was_changed_or_dropped_is_found(house: House) -> None:
    batch(house, record(house, 1), record(house, 2))
    changed = [record_bytes(record(house, 1, persons=2)), record_bytes(record(house, 2))]
    for data in (changed, changed[1:]):
        house.files[f"inquiries/{SECOND + 1}.bin"] = encode_batch(
            [Leaf(leaf_hash(one), one) for one in data]
        )
        assert findings(house)["score.root"].grade is Grade.ERROR


def test_count_that_is_not_that_of_the_records_is_found(house: House) -> None:
    batch(house, record(house, 1), count=2)
    assert "score.root" in findings(house)


def test_records_that_are_not_in_the_bundle_are_noted(house: House) -> None:
    batch(house, record(house, 1))
    del house.files[f"inquiries/{SECOND + 1}.bin"]
    assert findings(house)["score.records"].grade is Grade.NOTE


def test_records_of_a_second_that_the_log_does_not_know_are_found(house: House) -> None:
    batch(house, record(house, 1))
    place = f"inquiries/{SECOND + 1}.bin"
    house.files[f"inquiries/{SECOND + 2}.bin"] = house.files[place]
    assert findings(house)["score.stray"].place == f"inquiries/{SECOND + 2}.bin"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": Digest("0d" * 32)}, "score.model"),
        ({"outcome": "forgotten"}, "score.record"),
        ({"ended_ms": (SECOND + 2) * 1000}, "score.record"),
        ({"persons": 0}, "score.record"),
        ({"consents": "0c" * 32}, "score.record"),
        ({"began_ms": 1, "ended_ms": 2}, "score.late"),
    ],
)
def test_record_that_cannot_be_is_found(
    house: House, changes: dict[str, object], name: str
) -> None:
    batch(house, record(house, 1, **changes))
    assert name in findings(house)


# --- retries (protocol 7.9) -------------------------------------------------------------------


def test_retry_that_is_not_logged_is_found(house: House) -> None:
    batch(house, failed(house, 2), retry(house, 3, of=2))
    assert "retry.unlogged" in findings(house)


def test_logged_retry_without_a_record_is_found(house: House) -> None:
    batch(house, failed(house, 2))
    house.append(COORDINATOR, logged(retry(house, 3, of=2)))
    assert "retry.unrecorded" in findings(house)


def test_logged_retry_that_hides_whom_it_leaves_out_is_found(house: House) -> None:
    again = retry(house, 3, of=2)
    batch(house, failed(house, 2), again)
    house.append(COORDINATOR, logged(again, missing=()))
    assert "retry.facts" in findings(house)


def test_retry_of_what_was_answered_is_found(house: House) -> None:
    again = retry(house, 3, of=2)
    batch(house, record(house, 2), again)
    house.append(COORDINATOR, logged(again))
    assert "retry.answered" in findings(house)


def test_retry_without_one_who_had_answered_is_shown(house: House) -> None:
    asked = (Asked(member=NAMES[1], status="answered"),)
    again = retry(house, 3, of=2, responders=asked)
    batch(house, failed(house, 2), again)
    house.append(COORDINATOR, logged(again, missing=NAMES[2:]))
    found = findings(house)["retry.left_out"]
    assert found.grade is Grade.WARNING
    assert NAMES[2] in found.text


def test_second_retry_of_other_partners_is_found(house: House) -> None:
    fewer = (Asked(member=NAMES[1], status="answered"),)
    one, two = retry(house, 3, of=2), retry(house, 4, of=2, responders=fewer)
    batch(house, failed(house, 2), one, two)
    house.append(COORDINATOR, logged(one))
    house.append(COORDINATOR, logged(two, missing=NAMES[2:]))
    assert "retry.again" in findings(house)


def test_retry_minutes_later_is_found(house: House) -> None:
    late = SECOND * 1000 + 121_000
    again = retry(house, 3, of=2, began_ms=late, ended_ms=late)
    batch(house, failed(house, 2), second=SECOND + 1)
    batch(house, again, second=SECOND + 122)
    house.append(COORDINATOR, logged(again))
    assert "retry.late" in findings(house)


def test_retry_that_asks_others_anew_is_found(house: House) -> None:
    first = replace(failed(house, 2), responders=failed(house, 2).responders[1:])
    again = retry(house, 3, of=2)
    batch(house, first, again)
    house.append(COORDINATOR, logged(again, missing=(NAMES[3],)))
    assert "retry.roster" in findings(house)


# --- what is drawn (protocol 9.4) -------------------------------------------------------------


def challenge(
    house: House, nonce: bytes = NONCE, *, size: int = 0, **changes: object
) -> AuditChallenge:
    """Two of the run's sums, drawn by the coin and the regulator's bytes."""
    root = house.tree.root(size or coin(house))
    choice = choice_of(house.plan.run, root, nonce)
    closed = len(house.session.state.attempts)
    made = AuditChallenge(run=house.plan.run, sums=drawn_sums(choice, closed, 2), choice=choice)
    return replace(made, **changes)  # type: ignore[arg-type]


def coin(house: House) -> int:
    """Size of the head that is the coin of the run."""
    return house.coin(house.index_of(RunClosed)).size


def opened(nonce: bytes = NONCE) -> AuditNonce:
    return AuditNonce(commitment=nonce_commitment(b"next" * 8), opened=Digest(nonce.hex()))


def test_sums_drawn_by_committed_bytes_and_the_coin_have_no_error(house: House) -> None:
    house.draw(challenge(house), coin(house))
    house.append(REGULATOR, opened())
    assert set(findings(house)) == {"audit.unanswered", "answer.due"}


def test_sums_chosen_by_hand_are_found(house: House) -> None:
    drawn = challenge(house)
    closed = range(1, len(house.session.state.attempts) + 1)
    other = tuple(one for one in closed if one not in drawn.sums)[:2]
    house.draw(replace(drawn, sums=other), coin(house))
    house.append(REGULATOR, opened())
    assert "audit.choice" in findings(house)


def test_choice_that_is_not_of_the_coin_is_found_though_all_sums_are_drawn(
    house: House,
) -> None:
    everything = tuple(range(1, 1 + len(house.session.state.attempts)))
    drawn = challenge(house, sums=everything, choice=Digest("0f" * 32))
    house.draw(drawn, coin(house))
    house.append(REGULATOR, opened())
    assert "audit.choice" in findings(house)


def test_coin_that_the_regulator_waited_for_is_found(house: House) -> None:
    """It knows its bytes, so it could try one head after another."""
    house.checkpoint()
    later = house.hint
    assert later > coin(house)
    house.draw(challenge(house, size=later), later)
    house.append(REGULATOR, opened())
    assert "audit.coin" in findings(house)


def test_bytes_that_are_not_opened_are_shown(house: House) -> None:
    house.draw(challenge(house), coin(house))
    assert findings(house)["audit.unopened"].grade is Grade.WARNING


def test_bytes_that_were_committed_to_after_the_run_are_found(house: House) -> None:
    late = b"late" * 8
    house.append(REGULATOR, opened())
    house.draw(challenge(house, late), coin(house))
    body = AuditNonce(
        commitment=nonce_commitment(b"last" * 8), opened=Digest((b"next" * 8).hex())
    )
    house.append(REGULATOR, body)
    assert "audit.choice" in findings(house)


def test_bytes_that_were_not_committed_to_are_found(house: House) -> None:
    house.draw(challenge(house), coin(house))
    house.append(REGULATOR, opened(b"other123" * 4))
    assert "audit.nonce" in findings(house)


def test_coin_from_before_the_end_of_the_run_is_found(house: House) -> None:
    sizes = sorted(
        int(name.rpartition("/")[2]) for name in house.files if name.startswith("checkpoints/")
    )
    early = max(size for size in sizes if size <= house.index_of(RunClosed))
    house.draw(challenge(house, size=early), early)
    house.append(REGULATOR, opened())
    assert "audit.coin" in findings(house)


def test_drawn_record_that_is_not_opened_is_found(house: House) -> None:
    """Inquiries come all day: those under the coin of a batch of decisions are drawn."""
    records = [record(house, number) for number in range(RECORDS + 8)]
    batch(house, *records)
    index = house.append(NAMES[0], sealed_batch(0))
    house.checkpoint()
    house.append(NAMES[1], sealed_batch(0))
    size, leaf = house.hint, Digest(leaf_hash(house.entries[index]).hex())
    choice = choice_of(leaf, house.tree.root(size), NONCE)
    house.draw(DecisionChallenge(batch=leaf, places=1, choice=choice), size)
    house.append(REGULATOR, opened())
    assert not {one for one in findings(house) if one.startswith(("score.", "audit.c"))}
    _, place = drawn_records(choice, [(SECOND + 1, len(records))])[0]
    data = [record_bytes(one) for one in records]
    house.files[f"inquiries/{SECOND + 1}.bin"] = encode_batch(
        Leaf(leaf_hash(one), None if number == place else one)
        for number, one in enumerate(data)
    )
    assert findings(house)["score.drawn"].grade is Grade.ERROR


def sealed_batch(number: int) -> DecisionBatch:
    return DecisionBatch(number=number, commitment=Digest("cd" * 32), decisions="10-99")
