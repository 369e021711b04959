"""Asking for tokens and answering: what is refused, by which side and why (6.4, 6.5)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from consortium.canonical import Label
from consortium.crypto.keys import Secret
from consortium.crypto.ristretto import (
    IDENTITY,
    ORDER,
    Point,
    base_mult,
    hash_to_group,
    mult,
    scalar_add,
    scalar_mul,
    scalar_of,
    split_points,
)
from consortium.errors import DomainError, ScoreRefusal
from consortium.identity import dleq
from consortium.identity.evaluation import (
    OprfServer,
    OprfTask,
    reply_statement,
    request_statement,
)
from consortium.identity.oprf import blind_many, combine_many, finalise, sum_of, token
from consortium.identity.shares import lagrange
from consortium.ids import PartnerId
from consortium.inquiries import OprfReply, OprfRequest
from tests.identity_house import REQUEST, KeyHolders, names_of, reason_of
from tests.secagg_house import Party, secret_of

INPUTS = [b"one person", b"another", b"a third"]
NAMES = names_of(4)
ASKER, SECOND, THIRD, FOURTH = NAMES
S = (ASKER, SECOND, THIRD)
BAD_POINT = bytes.fromhex("01" + "00" * 31)


@pytest.fixture(scope="module")
def house() -> KeyHolders:
    return KeyHolders.of(4)


def _signed(reply: OprfReply, house: KeyHolders, request: OprfRequest) -> OprfReply:
    """As a dishonest holder would sign it: only the check behind the signature can refuse."""
    statement = reply_statement(reply, request, house.manifest.digest)
    signature = Party(reply.member).identity.sign(Label.OPRF_REPLY, statement)
    return replace(reply, signature=signature)


def _resigned(request: OprfRequest, house: KeyHolders) -> OprfRequest:
    statement = request_statement(request, house.manifest.digest)
    signature = Party(request.requester).identity.sign(Label.OPRF_REQUEST, statement)
    return replace(request, signature=signature)


def _finish(house: KeyHolders, task: OprfTask, second: OprfReply) -> Callable[[], object]:
    _, third = house.replies(task)
    return lambda: house.client(ASKER).finish(task, [second, third])


def test_token_is_that_of_the_whole_key_which_nobody_has(house: KeyHolders) -> None:
    indices = (1, 3, 4)
    key = scalar_of(0)
    for index in indices:
        share = house.holdings[NAMES[index - 1]].share.scalar
        key = scalar_add(key, scalar_mul(lagrange(indices, index), share))
    assert base_mult(key) == house.holdings[ASKER].key.group_key
    expected = [token(x, mult(key, hash_to_group(x))) for x in INPUTS]
    assert house.tokens(ASKER, INPUTS, S) == expected
    assert expected[0] == finalise(INPUTS[0], mult(key, hash_to_group(INPUTS[0])))[:16]


def test_asker_outside_the_set_gets_the_same_tokens(house: KeyHolders) -> None:
    assert house.tokens(FOURTH, INPUTS, S) == house.tokens(ASKER, INPUTS, S)


def test_pool_of_threads_changes_nothing(house: KeyHolders) -> None:
    inputs = [f"person {number}".encode() for number in range(300)]
    alone = house.tokens(ASKER, inputs, S)
    with ThreadPoolExecutor(3) as pool:
        client = house.client(ASKER)
        task = client.ask(
            inputs,
            servers=S,
            purpose="score",
            request=REQUEST,
            entropy=secret_of("threads"),
            each=pool.map,
        )
        replies = [
            house.server(name).answer(task.request, secret_of(name), each=pool.map)
            for name in S[1:]
        ]
        assert client.finish(task, replies, each=pool.map) == alone


def test_blinded_points_of_one_person_never_repeat(house: KeyHolders) -> None:
    asked = [
        house.client(ASKER).ask(
            [b"x", b"x"], servers=S, purpose="load", request=REQUEST, entropy=secret_of(name)
        )
        for name in ("first", "second")
    ]
    points = [point for task in asked for point in task.blinded.points]
    assert len(set(points)) == 4
    assert not any("unblinding" in repr(task) or "person" in repr(task) for task in asked)


# What a dishonest holder answers: name, change of the honest reply, code.
def _flipped(reply: OprfReply, place: int) -> OprfReply:
    proof = bytearray(reply.proof)
    proof[place] ^= 1
    return replace(reply, proof=bytes(proof))


def _points(reply: OprfReply, first: bytes) -> OprfReply:
    return replace(reply, points=first + reply.points[32:])


FORGED: dict[str, tuple[Callable[[OprfReply], OprfReply], ScoreRefusal]] = {
    "challenge_changed": (lambda r: _flipped(r, 0), ScoreRefusal.PROOF),
    "response_changed": (lambda r: _flipped(r, 40), ScoreRefusal.PROOF),
    "proof_cut": (lambda r: replace(r, proof=r.proof[:-1]), ScoreRefusal.PROOF),
    "proof_missing": (lambda r: replace(r, proof=b""), ScoreRefusal.PROOF),
    "proof_of_zeros": (lambda r: replace(r, proof=bytes(64)), ScoreRefusal.PROOF),
    "response_not_reduced": (
        lambda r: replace(r, proof=r.proof[:32] + ORDER.to_bytes(32, "little")),
        ScoreRefusal.PROOF,
    ),
    "share_of_another_point": (
        lambda r: _points(r, hash_to_group(b"elsewhere")),
        ScoreRefusal.PROOF,
    ),
    "shares_in_another_order": (
        lambda r: replace(r, points=r.points[32:64] + r.points[:32] + r.points[64:]),
        ScoreRefusal.PROOF,
    ),
    "no_point": (lambda r: _points(r, BAD_POINT), ScoreRefusal.POINT),
    "identity": (lambda r: _points(r, IDENTITY), ScoreRefusal.POINT),
    "one_share_short": (lambda r: replace(r, points=r.points[32:]), ScoreRefusal.MALFORMED),
    "no_shares": (lambda r: replace(r, points=b""), ScoreRefusal.MALFORMED),
    "half_a_share": (lambda r: replace(r, points=r.points[:-5]), ScoreRefusal.MALFORMED),
    "unknown_code": (lambda r: replace(r, code="maybe"), ScoreRefusal.MALFORMED),
    "quota": (lambda r: replace(r, code="S07"), ScoreRefusal.QUOTA),
    "other_request": (lambda r: replace(r, request="00" * 16), ScoreRefusal.MALFORMED),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_reply_is_refused_and_names_the_holder(house: KeyHolders, name: str) -> None:
    change, code = FORGED[name]
    task = house.ask(ASKER, INPUTS, S)
    forged = _signed(change(house.replies(task)[0]), house, task.request)
    with pytest.raises(Exception, match=SECOND) as caught:
        _finish(house, task, forged)()
    assert reason_of(_finish(house, task, forged)) is code
    assert str(INPUTS[0]) not in str(caught.value)


def test_share_weighted_for_another_set_is_refused(house: KeyHolders) -> None:
    task = house.ask(ASKER, INPUTS, S)
    other = _resigned(replace(task.request, servers=(ASKER, SECOND, FOURTH)), house)
    answer = house.server(SECOND).answer(other, secret_of("proof"))
    forged = _signed(answer, house, task.request)
    assert reason_of(_finish(house, task, forged)) is ScoreRefusal.PROOF


@pytest.mark.parametrize("factor", [1, 2, -1])
def test_share_under_a_key_that_is_not_the_published_one_is_refused(
    house: KeyHolders, factor: int
) -> None:
    """Factor 1: the plain share without its weight, with a proof that holds for it."""
    task = house.ask(ASKER, INPUTS, S)
    key = scalar_mul(house.holdings[SECOND].share.scalar, scalar_of(factor))
    points = task.blinded.points
    shares = [mult(key, point) for point in points]
    proof = dleq.prove(key, base_mult(key), points, shares, entropy=secret_of("forger"))
    dleq.verify(base_mult(key), points, shares, proof)
    reply = replace(house.replies(task)[0], points=b"".join(shares), proof=proof)
    forged = _signed(reply, house, task.request)
    assert reason_of(_finish(house, task, forged)) is ScoreRefusal.PROOF


def test_reply_that_the_holder_did_not_sign_is_refused(house: KeyHolders) -> None:
    task = house.ask(ASKER, INPUTS, S)
    second, third = house.replies(task)
    for swapped in (
        replace(second, signature=third.signature),
        replace(second, code="S07"),
        replace(second, proof=third.proof),
        replace(second, points=third.points),
    ):
        assert reason_of(_finish(house, task, swapped)) is ScoreRefusal.SIGNATURE


def test_reply_to_another_batch_under_the_same_request_id_is_refused(house: KeyHolders) -> None:
    task = house.ask(ASKER, INPUTS, S)
    earlier = house.ask(ASKER, [b"x", b"y", b"z"], S)
    replayed = house.server(SECOND).answer(earlier.request, secret_of("proof"))
    assert reason_of(_finish(house, task, replayed)) is ScoreRefusal.SIGNATURE
    signed = _signed(replayed, house, task.request)
    assert reason_of(_finish(house, task, signed)) is ScoreRefusal.PROOF


def test_fewer_than_t_shares_give_no_token(house: KeyHolders) -> None:
    task = house.ask(ASKER, INPUTS, S)
    client = house.client(ASKER)
    _, third = house.replies(task)
    assert reason_of(lambda: client.finish(task, [third])) is ScoreRefusal.INCOMPLETE
    assert reason_of(lambda: client.finish(task, [])) is ScoreRefusal.INCOMPLETE
    # Whoever combines them all the same gets another token.
    assert task.own is not None
    short = combine_many(INPUTS, task.blinded, [task.own, split_points(third.points)])
    assert not set(short) & set(house.tokens(ASKER, INPUTS, S))


def test_replies_of_others_or_two_of_one_are_refused(house: KeyHolders) -> None:
    task = house.ask(ASKER, INPUTS, S)
    second, third = house.replies(task)
    client = house.client(ASKER)
    stranger = replace(third, member=FOURTH)
    for replies in ([second, third, stranger], [second, second, third]):
        assert reason_of(lambda r=replies: client.finish(task, r)) is ScoreRefusal.MALFORMED


def _of(*servers: PartnerId) -> Callable[[OprfRequest], OprfRequest]:
    return lambda request: replace(request, servers=servers)


# What a dishonest asker sends to SECOND: name, change of the honest request, code.
ASKED: dict[str, tuple[Callable[[OprfRequest], OprfRequest], ScoreRefusal]] = {
    "one_server_short": (_of(ASKER, SECOND), ScoreRefusal.SERVERS),
    "one_server_more": (_of(*NAMES), ScoreRefusal.SERVERS),
    "server_twice": (_of(ASKER, SECOND, SECOND), ScoreRefusal.SERVERS),
    "not_sorted": (_of(SECOND, ASKER, THIRD), ScoreRefusal.SERVERS),
    "not_this_server": (_of(ASKER, THIRD, FOURTH), ScoreRefusal.SERVERS),
    "server_that_holds_nothing": (_of(ASKER, SECOND, PartnerId("zed")), ScoreRefusal.SERVERS),
    "other_epoch": (lambda r: replace(r, epoch=2), ScoreRefusal.EPOCH),
    "epoch_out_of_range": (lambda r: replace(r, epoch=-1), ScoreRefusal.MALFORMED),
    "unknown_purpose": (lambda r: replace(r, purpose="curiosity"), ScoreRefusal.PURPOSE),
    "no_points": (lambda r: replace(r, points=b""), ScoreRefusal.MALFORMED),
    "half_a_point": (lambda r: replace(r, points=r.points[:-1]), ScoreRefusal.MALFORMED),
    "too_many_points": (
        lambda r: replace(r, points=r.points[:32] * 4097),
        ScoreRefusal.MALFORMED,
    ),
    "no_point": (lambda r: replace(r, points=r.points + BAD_POINT), ScoreRefusal.POINT),
    "identity": (lambda r: replace(r, points=IDENTITY + r.points), ScoreRefusal.POINT),
}


@pytest.mark.parametrize("name", ASKED)
def test_request_that_breaks_a_rule_is_refused_by_the_holder(
    house: KeyHolders, name: str
) -> None:
    change, code = ASKED[name]
    changed = change(house.ask(ASKER, INPUTS, S).request)
    if name == "epoch_out_of_range":
        assert reason_of(lambda: house.server(SECOND).check(changed)) is code
        return
    request = _resigned(changed, house)
    server = house.server(SECOND)
    assert reason_of(lambda: server.answer(request, secret_of("proof"))) is code


def test_request_without_the_askers_signature_is_refused(house: KeyHolders) -> None:
    request = house.ask(ASKER, INPUTS, S).request
    server = house.server(SECOND)
    assert server.check(request) == 3
    for changed in (
        replace(request, purpose="score"),
        replace(request, points=request.points[32:]),
        replace(request, requester=THIRD),
        replace(request, servers=(ASKER, SECOND, FOURTH)),
        replace(request, request="00" * 16),  # type: ignore[arg-type]
    ):
        refused = reason_of(lambda changed=changed: server.check(changed))
        assert refused is ScoreRefusal.SIGNATURE


def test_asker_that_is_no_active_partner_is_refused(house: KeyHolders) -> None:
    request = replace(house.ask(ASKER, INPUTS, S).request, requester=PartnerId("mallory"))
    server = house.server(SECOND)
    assert reason_of(lambda: server.check(request)) is ScoreRefusal.REQUESTER
    gone = replace(
        house.manifest,
        members=tuple(
            replace(member, active=member.id != ASKER) for member in house.manifest.members
        ),
    )
    party = replace(house.party(SECOND), manifest=gone)
    honest = house.ask(ASKER, INPUTS, S).request
    refused = reason_of(lambda: OprfServer(party).check(honest))
    assert refused is ScoreRefusal.REQUESTER


def test_refusal_is_signed_and_says_its_code_alone(house: KeyHolders) -> None:
    task = house.ask(ASKER, INPUTS, S)
    reply = house.server(SECOND).refuse(task.request, ScoreRefusal.QUOTA)
    assert (reply.points, reply.proof, reply.code) == (b"", b"", "S07")
    assert reason_of(_finish(house, task, reply)) is ScoreRefusal.QUOTA


def test_asker_asks_for_no_more_than_a_holder_answers(house: KeyHolders) -> None:
    client = house.client(ASKER)

    def ask(
        inputs: list[bytes], purpose: str = "load", servers: tuple[PartnerId, ...] = S
    ) -> object:
        return client.ask(
            inputs, servers=servers, purpose=purpose, request=REQUEST, entropy=secret_of("a")
        )

    assert reason_of(lambda: ask([])) is ScoreRefusal.MALFORMED
    assert reason_of(lambda: ask([b"x"] * 4097)) is ScoreRefusal.MALFORMED
    assert reason_of(lambda: ask([b"x"], "curiosity")) is ScoreRefusal.PURPOSE
    assert reason_of(lambda: ask([b"x"], "load", S[:2])) is ScoreRefusal.SERVERS


def test_view_of_a_holder_can_be_made_without_any_person(house: KeyHolders) -> None:
    """Uniform points in place of blinded persons: the holder answers, all proofs hold."""
    request = house.ask(ASKER, INPUTS, S).request
    made = b"".join(base_mult(scalar_of(number)) for number in (7, 8, 9))
    simulated = _resigned(replace(request, points=made), house)
    reply = house.server(SECOND).answer(simulated, secret_of("proof"))
    assert len(reply.points) == len(request.points)


def test_two_proofs_from_the_same_entropy_share_no_nonce(house: KeyHolders) -> None:
    """Equal nonces under two challenges would open the key: z - z' = (c - c')·k."""
    key, entropy = house.holdings[SECOND].share.scalar, secret_of("worn out")
    nonces = set()
    for name in (b"a", b"b"):
        points = [hash_to_group(name)]
        shares = [mult(key, points[0])]
        proof = dleq.prove(key, base_mult(key), points, shares, entropy=entropy)
        challenge, response = Point(proof[:32]), Point(proof[32:])
        nonces.add(scalar_add(response, scalar_mul(challenge, key)))  # type: ignore[arg-type]
    assert len(nonces) == 2


def test_request_whose_name_is_no_request_id_is_refused(house: KeyHolders) -> None:
    request = house.ask(ASKER, INPUTS, S).request
    for changed in (
        replace(request, request="no id"),  # type: ignore[arg-type]
        replace(request, requester="\ud800"),  # type: ignore[arg-type]
    ):
        refused = reason_of(lambda changed=changed: house.server(SECOND).check(changed))
        assert refused is ScoreRefusal.MALFORMED


def test_holders_that_return_another_number_of_points_are_not_combined(
    house: KeyHolders,
) -> None:
    task = house.ask(ASKER, INPUTS, S)
    shares = split_points(house.replies(task)[0].points)
    for wrong in ([], [shares, shares[1:]]):
        refused = reason_of(lambda w=wrong: combine_many(INPUTS, task.blinded, w))
        assert refused is ScoreRefusal.MALFORMED


def test_wrong_use_of_the_arithmetic_is_an_error_of_ours() -> None:
    assert reason_of(lambda: sum_of([])) is ScoreRefusal.MALFORMED
    with pytest.raises(DomainError):
        dleq.prove(
            scalar_of(3), base_mult(scalar_of(3)), [b""], [], entropy=secret_of("entropy")
        )
    point = base_mult(scalar_of(3))
    with pytest.raises(DomainError):
        dleq.prove(scalar_of(3), point, [point], [point], entropy=Secret(bytes(31)))
    with pytest.raises(DomainError):
        blind_many([b"x"], Secret(bytes(31)))
