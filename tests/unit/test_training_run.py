"""Runs in the simulator: what a coordinator gets, what a node refuses, what is on record."""

import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from consortium.documents import document_of, parse_document
from consortium.errors import (
    BudgetExceededError,
    DataError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
    StorageError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.messages import PlanOffer, SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import by_account, local_steps_units, reserve_units
from consortium.release import Outcome
from consortium.secagg.context import SumInputs
from consortium.secagg.ring import ring_sum, to_signed
from coordinator.releases import candidate_of
from coordinator.trainer import resume_at
from models.document import parse_model_document, verify_version
from models.run import ClosedSum, RunFailedError, RunSession
from models.run_state import RunState
from tests.simulator import PLAN, SCHEMA, Consortium, Fault, reply_words, rewritten

BANK = PartnerId("bank_a")
SHOP = PartnerId("shop_d")
EDGES = 'edges = ["0.25", "0.5", "0.75"]'


@pytest.fixture
def consortium() -> Consortium:
    return Consortium()


def test_finished_run_ranks_every_block_by_its_planted_risk() -> None:
    consortium = Consortium(rows=2000)
    session = consortium.train()
    document = candidate_of(session, consortium.manifest)
    model = parse_model_document(document.document, consortium.schema).model
    for weights in model.weights:
        assert np.all(np.diff(weights[1:]) > 0)  # code 0 is the missing bin: no rows
    for line in model.calibration:
        assert line.beta > 0


def test_coordinator_gets_exactly_the_ring_sum_of_what_was_sent(
    consortium: Consortium,
) -> None:
    session = RunSession(consortium.plan, consortium.schema)
    totals = []
    real = session.on_sum

    def spy(closed: ClosedSum) -> None:
        totals.append(closed.total)
        real(closed)

    session.on_sum = spy  # type: ignore[method-assign]
    consortium.train(session)
    words = [w for _, payload in consortium.wire if (w := reply_words(payload)) is not None]
    assert len(words) == 4 * len(totals)
    for number, total in enumerate(totals):
        sent = words[4 * number : 4 * number + 4]
        plain = [sum(int(w[k]) for w in sent) % 2**64 for k in range(total.size)]
        assert plain == [int(one) % 2**64 for one in total]


def test_total_is_what_the_nodes_had_under_their_masks(consortium: Consortium) -> None:
    request, inputs = RunSession(consortium.plan, consortium.schema).request(
        consortium.connected()
    )
    uploads = consortium.attempt(request, inputs)
    bare = [consortium.bare(name, words) for name, (words, _) in uploads.items()]
    total = to_signed(ring_sum(words for words, _ in uploads.values()))
    assert total.tolist() == np.sum(bare, axis=0).tolist()
    assert all(np.abs(one).max() < 1 << 50 for one in bare)


@pytest.mark.parametrize("mode", ["own", "shared"])
def test_noise_is_where_rows_are_in_own_mode_and_everywhere_in_shared_mode(mode: str) -> None:
    consortium = Consortium(plan=PLAN.replace("[plan]", f'[plan]\nnoise = "{mode}"'))
    request, inputs = RunSession(consortium.plan, consortium.schema).request(
        consortium.connected()
    )
    uploads = consortium.attempt(request, inputs)
    bank, shop = (consortium.bare(name, uploads[name][0]) for name in (BANK, SHOP))
    half = bank.size // 2
    assert bank[:half].all()
    assert shop[half:].all()
    for away in (bank[half:], shop[:half]):
        assert away.all() if mode == "shared" else not away.any()


def test_answers_carry_signature_and_words_and_nothing_else(consortium: Consortium) -> None:
    consortium.train()
    for _, payload in consortium.wire:
        names = set(re.findall(rb"num.examples|loss|accuracy|rows|counts|label", payload))
        assert names == set()


def test_lost_partner_aborts_the_attempt_and_the_survivors_are_asked_again(
    consortium: Consortium,
) -> None:
    consortium.fault = _losing(consortium, SHOP, at_answer=4)
    session = consortium.train()
    aborted = [one for one in session.state.attempts if one.outcome is Outcome.ABORTED]
    assert [(one.missing, one.attempt) for one in aborted] == [((SHOP,), 1)]
    again = session.state.attempts[session.state.attempts.index(aborted[0]) + 1]
    assert (again.round, again.attempt) == (aborted[0].round, 2)
    assert SHOP not in again.roster
    statement = parse_model_document(
        candidate_of(session, consortium.manifest).document, consortium.schema
    ).statement
    assert statement["attempts"]["aborted"][0]["missing"] == [SHOP]
    assert statement["attempts"]["made"] == 11


def test_aborted_attempt_stays_charged_at_every_node_that_uploaded(
    consortium: Consortium,
) -> None:
    consortium.fault = _losing(consortium, SHOP, at_answer=4)
    session = consortium.train()
    gradients = [one for one in session.state.attempts if one.kind is ReleaseKind.GRADIENT]
    debits = [
        request
        for request, _, _ in consortium.nodes[BANK].store.debits
        if request.kind is ReleaseKind.GRADIENT
    ]
    assert len(debits) == len(gradients) == consortium.plan.rounds + 1


def test_run_fails_when_no_attempt_is_left_that_the_claim_pays_for(
    consortium: Consortium,
) -> None:
    def fault(member: PartnerId, payload: bytes) -> bytes | None:
        return None if member == BANK and reply_words(payload) is not None else payload

    consortium.fault = fault
    with pytest.raises(RunFailedError, match=r"bank_a.*no attempt is left"):
        consortium.train()


def test_run_waits_for_the_floor_and_says_who_refused(consortium: Consortium) -> None:
    consortium.absent = {BANK, SHOP}
    with pytest.raises(RunFailedError, match="2 of at least 3 partners"):
        consortium.train()


def test_block_without_any_holder_is_not_trained_on_noise(consortium: Consortium) -> None:
    consortium.plan = replace(consortium.plan, min_partners=2)
    consortium.absent = {PartnerId("shop_c"), SHOP}
    session = RunSession(consortium.plan, consortium.schema)
    assert "no holder of block platforms" in session.lacks(consortium.connected())


@pytest.mark.parametrize("flipped", [0, 7, 23])
def test_upload_changed_on_its_way_is_refused_and_its_sender_named(
    consortium: Consortium, flipped: int
) -> None:
    done = []

    def fault(member: PartnerId, payload: bytes) -> bytes:
        words = reply_words(payload)
        if member != BANK or words is None or done:
            return payload
        done.append(1)
        changed = words.copy()
        changed[flipped % changed.size] ^= np.uint64(1)
        return rewritten(payload, lambda message: _replace_words(message, changed))

    consortium.fault = fault
    session = consortium.train()
    first = session.state.attempts[0]
    assert (first.outcome, first.missing, first.reasons) == (
        Outcome.ABORTED,
        (BANK,),
        ("digest",),
    )


def test_upload_of_another_partner_is_not_taken_for_this_one(consortium: Consortium) -> None:
    kept: dict[str, bytes] = {}

    def fault(member: PartnerId, payload: bytes) -> bytes:
        if reply_words(payload) is None:
            return payload
        if member == PartnerId("bank_b"):
            return kept.get("bank_a", payload)
        kept[member] = payload
        return payload

    consortium.fault = fault
    attempts = consortium.train().state.attempts
    lost = [one for one in attempts if one.outcome is Outcome.ABORTED]
    assert lost
    assert {one.missing for one in lost} == {("bank_b",)}
    assert "bank_b" not in attempts[-1].roster, "left out after the second time"


def test_answer_that_is_no_message_aborts_the_attempt_and_not_the_run(
    consortium: Consortium,
) -> None:
    done = []

    def fault(member: PartnerId, payload: bytes) -> bytes:
        if member != BANK or reply_words(payload) is None or done:
            return payload
        done.append(1)
        return b"\xff\xff\xff garbage"

    consortium.fault = fault
    session = consortium.train()
    assert session.state.attempts[0].missing == (BANK,)


def test_bytes_that_are_no_message_are_answered_with_nothing(consortium: Consortium) -> None:
    answering = consortium.nodes[BANK].answering
    assert answering is not None
    assert answering.answer(b"\xff\x00garbage") == b""


def test_run_resumed_from_its_stored_state_ends_with_the_same_model() -> None:
    whole = candidate_of((one := Consortium()).train(), one.manifest)
    two = Consortium()
    session = RunSession(two.plan, two.schema)
    real = session.on_sum

    class Crash(Exception):  # noqa: N818 - not an error of ours
        pass

    def crash(closed: ClosedSum) -> None:
        real(closed)
        two.sums.append(closed)
        if closed.request.round == 4:
            raise Crash

    session.on_sum = crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        two.train(session)
    stored = document_of(session.state)
    for number, node in enumerate(two.nodes.values()):
        two.start(node, number)
    later = RunSession(two.plan, two.schema, state=parse_document(RunState, stored))
    assert candidate_of(two.train(later), two.manifest).version == whole.version


def test_attempt_lost_with_the_coordinator_after_the_uploads_is_on_the_record_as_charged(
    consortium: Consortium,
) -> None:
    session = RunSession(consortium.plan, consortium.schema)
    real = session.on_sum

    class Crash(Exception):  # noqa: N818 - not an error of ours
        pass

    def crash(closed: ClosedSum) -> None:
        if closed.request.round == 4:
            raise Crash
        real(closed)

    session.on_sum = crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        consortium.train(session)
    later = RunSession(consortium.plan, consortium.schema, state=session.state)
    state = consortium.train(later).state
    charged = sum(one.charged for one in state.attempts)
    assert charged == len(consortium.nodes[BANK].store.debits) == consortium.plan.rounds + 3


def test_document_with_one_byte_changed_is_not_its_version(consortium: Consortium) -> None:
    candidate = candidate_of(consortium.train(), consortium.manifest)
    changed = bytearray(candidate.document)
    changed[len(changed) // 2] ^= 1
    verify_version(candidate.document, candidate.version)
    with pytest.raises(Exception, match="digest"):
        verify_version(bytes(changed), candidate.version)


# What an honest node refuses, each with its code.

OFFERS: dict[str, tuple[Callable[[TrainingPlan], TrainingPlan], RefusalCode]] = {
    "another manifest": (lambda p: replace(p, manifest=Digest("0" * 64)), RefusalCode.MANIFEST),
    "another schema": (lambda p: replace(p, schema=Digest("0" * 64)), RefusalCode.PLAN),
    "another noise mode": (lambda p: replace(p, noise_mode="none"), RefusalCode.NOISE),
    "larger delta": (lambda p: replace(p, delta="1e-2"), RefusalCode.NOISE),
    "smaller m": (lambda p: replace(p, max_partners_per_person=1), RefusalCode.NOISE),
    "lower floor": (lambda p: replace(p, min_partners=1), RefusalCode.QUORUM),
    "epsilon over the cap": (lambda p: replace(p, epsilon="9"), RefusalCode.BUDGET),
    "a stranger as holder": (
        lambda p: replace(p, blocks=(replace(p.blocks[0], holders=(PartnerId("x"),)),)),
        RefusalCode.MEMBER,
    ),
    "a holder without the family": (
        lambda p: replace(p, blocks=(replace(p.blocks[0], holders=(SHOP,)),)),
        RefusalCode.PLAN,
    ),
}


@pytest.mark.parametrize("name", OFFERS)
def test_plan_is_refused_before_anything_is_reserved(consortium: Consortium, name: str) -> None:
    change, code = OFFERS[name]
    node = consortium.nodes[BANK]
    assert node.session is not None
    with pytest.raises(RefusalError) as refused:
        node.session.on_offer(PlanOffer(plan=change(consortium.plan)))
    assert refused.value.reason is code
    assert node.store.reserved == {}


def test_second_plan_under_one_run_id_is_refused(consortium: Consortium) -> None:
    session = consortium.nodes[BANK].session
    assert session is not None
    session.on_offer(PlanOffer(plan=consortium.plan))
    with pytest.raises(RefusalError, match="R06"):
        session.on_offer(PlanOffer(plan=replace(consortium.plan, rounds=9)))


def test_accepted_plan_is_accepted_again_without_a_second_reserve(
    consortium: Consortium,
) -> None:
    node = consortium.nodes[BANK]
    assert node.session is not None
    first = node.session.on_offer(PlanOffer(plan=consortium.plan))
    reserved = dict(node.store.reserved)
    assert node.session.on_offer(PlanOffer(plan=consortium.plan)) == first
    assert (
        node.store.reserved
        == reserved
        == {
            name: units
            for name, units in by_account(reserve_units(consortium.plan)).items()
            if units
        }
    )


def test_plan_over_the_lifetime_cap_is_refused() -> None:
    poor = Consortium(caps=1000)
    session = poor.nodes[BANK].session
    assert session is not None
    with pytest.raises(BudgetExceededError):
        session.on_offer(PlanOffer(plan=poor.plan))


REQUESTS: dict[str, tuple[Callable[[SumRequest], SumRequest], RefusalCode]] = {
    "of a run not accepted": (lambda r: replace(r, run=RunId("0" * 32)), RefusalCode.PLAN),
    "under another plan": (lambda r: replace(r, plan=Digest("0" * 64)), RefusalCode.PLAN),
    "under another scale": (lambda r: replace(r, scale_bits=10), RefusalCode.SHAPE),
    "of another dimension": (lambda r: replace(r, dimension=1), RefusalCode.SHAPE),
    "with less noise": (lambda r: replace(r, variance="1"), RefusalCode.NOISE),
    "after other sums": (
        lambda r: replace(r, head=Digest("0" * 64)),
        RefusalCode.PREVIOUS_ROUND,
    ),
    "of another kind": (
        lambda r: replace(r, kind=ReleaseKind.EVALUATION),
        RefusalCode.PREVIOUS_ROUND,
    ),
    "with a roster below the floor": (
        lambda r: replace(r, roster=r.roster[:2]),
        RefusalCode.QUORUM,
    ),
    "with a stranger": (
        lambda r: replace(r, roster=tuple(sorted((*r.roster, PartnerId("zz"))))),
        RefusalCode.MEMBER,
    ),
    "without the node": (
        lambda r: replace(r, roster=tuple(x for x in r.roster if x != BANK)),
        RefusalCode.SELF_ABSENT,
    ),
    "with a member twice": (
        lambda r: replace(r, roster=(r.roster[0], *r.roster)),
        RefusalCode.SPLIT_VIEW,
    ),
    "for another model": (lambda r: replace(r, inputs=Digest("0" * 64)), RefusalCode.MODEL),
    "for a round after the last": (lambda r: replace(r, round=99), RefusalCode.PREVIOUS_ROUND),
    "for a fourth attempt": (lambda r: replace(r, attempt=4), RefusalCode.ATTEMPTS),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_request_is_refused_and_nothing_is_joined(consortium: Consortium, name: str) -> None:
    change, code = REQUESTS[name]
    node = consortium.nodes[BANK]
    accepted = consortium.accept()
    request, _ = RunSession(consortium.plan, consortium.schema).request(consortium.connected())
    with pytest.raises(RefusalError) as refused:
        consortium.session(BANK).on_proposal(change(request), (), accepted)
    assert refused.value.reason is code
    assert node.store.joins == {}
    assert node.store.debits == []


def test_nobody_shows_its_coin_before_all_have_committed_to_their_seeds(
    consortium: Consortium,
) -> None:
    """Who could choose its seed after the others' links could choose its noise (3.5.2)."""
    accepted = consortium.accept()
    request, _ = RunSession(consortium.plan, consortium.schema).request(consortium.connected())
    for late in range(len(accepted)):
        others = [one for number, one in enumerate(accepted) if number != late]
        name = next(one for one in request.roster if one != request.roster[late])
        with pytest.raises(RefusalError, match="R16"):
            consortium.session(name).on_proposal(request, (), others)
        assert consortium.nodes[name].store.joins == {}
        consortium.start(consortium.nodes[name], list(consortium.nodes).index(name))


def test_attempt_is_joined_once_and_answered_once(consortium: Consortium) -> None:
    request, inputs = RunSession(consortium.plan, consortium.schema).request(
        consortium.connected()
    )
    accepted = consortium.accept()
    joins = [
        consortium.session(name).on_proposal(request, (), accepted) for name in request.roster
    ]
    session = consortium.session(BANK)
    with pytest.raises(RefusalError, match="R06"):
        session.on_proposal(request, (), accepted)
    session.on_joins(request, inputs, joins=joins, acceptances=accepted)
    with pytest.raises(OutOfOrderError):
        session.on_joins(request, inputs, joins=joins, acceptances=accepted)
    consortium.start(consortium.nodes[BANK], 0)
    with pytest.raises(RefusalError, match="R06"):
        consortium.session(BANK).on_joins(request, inputs, joins=joins, acceptances=accepted)
    assert len(consortium.nodes[BANK].store.debits) == 1


def test_node_restarted_between_join_and_upload_answers_as_if_it_had_not_been(
    consortium: Consortium,
) -> None:
    request, inputs = RunSession(consortium.plan, consortium.schema).request(
        consortium.connected()
    )
    other = Consortium()
    expected = other.attempt(request, inputs)
    accepted = consortium.accept()
    joins = [
        consortium.session(name).on_proposal(request, (), accepted) for name in request.roster
    ]
    consortium.start(consortium.nodes[BANK], 0)
    words, upload = consortium.session(BANK).on_joins(
        request, inputs, joins=joins, acceptances=accepted
    )
    assert upload == expected[BANK][1]
    assert words.tolist() == expected[BANK][0].tolist()


@pytest.mark.parametrize("bins", ["public", "private"])
def test_nodes_that_are_a_new_process_for_every_message_lose_no_attempt(bins: str) -> None:
    """As Flower's own SuperNodes are: what a node knows is in its database."""
    plan = PLAN.replace("rounds = 8", f'rounds = 2\nbins = "{bins}"')
    schema = SCHEMA.replace(EDGES, "") if bins == "private" else SCHEMA
    house, usual = (Consortium(plan=plan, schema=schema, rows=4000) for _ in range(2))
    send = house.send

    def fresh(partner: PartnerId, payload: bytes, *, timeout_s: float) -> Future[bytes]:
        house.start(house.nodes[partner], list(house.nodes).index(partner))
        return send(partner, payload, timeout_s=timeout_s)

    house.send = fresh  # type: ignore[method-assign]
    assert house.train().state == usual.train().state


@pytest.mark.parametrize("weights", [np.zeros(3), np.full(10, np.nan), np.zeros(10)])
def test_weights_that_the_request_does_not_name_are_refused(
    consortium: Consortium, weights: np.ndarray
) -> None:
    request, _ = RunSession(consortium.plan, consortium.schema).request(consortium.connected())
    accepted = consortium.accept()
    joins = [
        consortium.session(name).on_proposal(request, (), accepted) for name in request.roster
    ]
    inputs = SumInputs(arrays=(weights + 1.0,))
    with pytest.raises(RefusalError, match="R07"):
        consortium.session(BANK).on_joins(request, inputs, joins=joins, acceptances=accepted)
    assert consortium.nodes[BANK].store.debits == []


def test_row_value_in_an_exception_is_in_no_frame(consortium: Consortium) -> None:
    canary = "NINO-QQ123456C"

    def broken(*_: object) -> None:
        raise DataError(f"column id_number: cannot cast {canary} to DOUBLE")

    for node in consortium.nodes.values():
        assert node.session is not None
        node.session._open_sums = broken  # type: ignore[assignment]
    with pytest.raises(RunFailedError, match="R22"):
        consortium.train()
    assert consortium.wire
    assert all(canary.encode() not in payload for _, payload in consortium.wire)
    assert all(not node.store.plans for node in consortium.nodes.values())


def test_noise_of_two_requests_that_differ_only_in_the_attempt_is_fresh(
    consortium: Consortium,
) -> None:
    (one, masked), (two, later) = _attempts(consortium, 2)
    assert not np.any(one == two)
    assert not np.any(masked == later)


def test_deviation_of_a_nodes_upload_is_the_plans() -> None:
    """Attempts share the exact sum, so their differences are noise alone (alarm 1e-7)."""
    fine = ", ".join(f'"{number / 200:.3f}"' for number in range(1, 200))
    schema = SCHEMA.replace(EDGES, f"edges = [{fine}]")
    differences = []
    for salt in ("a", "b", "c", "d"):
        plan = PLAN.replace('salt = "test"', f'salt = "{salt}"')
        consortium = Consortium(plan=plan, schema=schema, rows=50)
        (one, _), (two, _), (three, _) = _attempts(consortium, 3)
        differences += [(one - two) / np.sqrt(2.0), (one + two - 2 * three) / np.sqrt(6.0)]
        variance = (
            RunSession(consortium.plan, consortium.schema)
            .mechanism(ReleaseKind.GRADIENT, partners=4)
            .variance
        )
        differences[-2:] = [one / np.sqrt(variance) for one in differences[-2:]]
    sample = np.concatenate(differences)
    spread = float(np.mean(sample**2))
    assert sample.size > 1600
    assert abs(spread - 1) < 5.4 * np.sqrt(2 / sample.size)


def _attempts(consortium: Consortium, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """A bank's noised integers, and its words, of so many attempts at the first sum."""
    request, inputs = RunSession(consortium.plan, consortium.schema).request(
        consortium.connected()
    )
    found = []
    for attempt in range(1, count + 1):
        words, _ = consortium.attempt(replace(request, attempt=attempt), inputs)[BANK]
        found.append((consortium.bare(BANK, words), words))
    return found


def _losing(consortium: Consortium, member: PartnerId, *, at_answer: int) -> Fault:
    """The member is gone for good when it should send upload number ``at_answer``."""
    count = []

    def fault(sender: PartnerId, payload: bytes) -> bytes | None:
        if sender != member or reply_words(payload) is None:
            return payload
        count.append(1)
        if len(count) < at_answer:
            return payload
        consortium.absent = {member}
        return None

    return fault


def _replace_words(message: object, words: np.ndarray) -> None:
    from flwr.app import Array  # noqa: PLC0415

    message.content["words"]["words"] = Array(words)  # type: ignore[attr-defined]


STEPS = """
[plan]
model = "mlp"
hidden = [4]
algorithm = "local_steps"
bins = "private"
rounds = 2
spare_attempts = 3
epsilon = "8"
holdout_salt = "test"

[shares]
bins = "0.1"
training = "0.75"
recalibration = "0.15"

[local]
sample_rate = "0.05"
steps = 2
noise_multiplier = "2.0"
expected_batch = 80
learning_rate = "1"

[[block]]
name = "banks"
families = ["repayment"]
normaliser = 2000

[[block]]
name = "platforms"
families = ["billing"]
normaliser = 2000
"""


def test_local_steps_are_charged_as_a_whole_with_the_first_upload_and_only_then() -> None:
    consortium = Consortium(plan=STEPS, schema=SCHEMA.replace(EDGES, ""))
    consortium.train()
    charges = [
        units
        for request, _, units in consortium.nodes[BANK].store.debits
        if request.kind is ReleaseKind.GRADIENT
    ]
    attempts = consortium.plan.rounds + consortium.plan.spare_attempts
    assert charges == [local_steps_units(consortium.plan, person=True) - attempts + 1, 1]


def test_privately_made_bins_come_from_the_noisy_histogram_and_are_used() -> None:
    plan = PLAN.replace("rounds = 8", 'rounds = 8\nbins = "private"')
    consortium = Consortium(plan=plan, rows=4000, schema=SCHEMA.replace(EDGES, ""))
    session = consortium.train()
    assert session.state.attempts[0].kind is ReleaseKind.BINS
    assert len(session.bins.of("used")) > 1
    document = candidate_of(session, consortium.manifest).document
    assert parse_model_document(document, consortium.schema).bins == session.bins


def test_run_resumes_from_its_sums_where_the_checkpoint_says_and_nowhere_else() -> None:
    consortium = Consortium()
    session = RunSession(consortium.plan, consortium.schema)
    consortium.close(session, attempts=2)
    consortium.close(session)
    kept = replace(session.state, optimizer=b"")
    later = RunSession(consortium.plan, consortium.schema)
    resume_at(later, kept, consortium.sums)
    assert later.state == session.state
    with pytest.raises(StorageError, match="1 sums are stored, the run has 2"):
        resume_at(RunSession(consortium.plan, consortium.schema), kept, consortium.sums[:1])
