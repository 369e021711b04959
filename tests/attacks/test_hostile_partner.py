"""A partner that is not ours, at an honest coordinator and beside honest partners.

It is named, costs an attempt, and is left out when it does it again; no sum takes it up.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium.crypto.keys import IdentityKey, Secret
from consortium.documents import document_of, parse_document
from consortium.ids import Digest, PartnerId
from consortium.messages import Join, Upload
from consortium.plan import ReleaseKind
from consortium.release import Attempt, Outcome
from consortium.secagg.joins import sign_join
from consortium.secagg.uploads import sign_upload
from coordinator.exclusions import failures, left_out
from models.run import RunFailedError, RunSession
from tests.attacks.hostile import ALL, BANK, SHOP, SHOP_D, SHORT
from tests.simulator import Consortium, Fault, reply_words

Bend = Callable[[Consortium, bytes], bytes]

STRANGER = IdentityKey.from_secret(Secret(b"h" * 32))


def changed(payload: bytes, change: Callable[[Any], None]) -> bytes:
    """The serialised message after ``change`` had its content."""
    message = message_from_proto(ProtoMessage.FromString(payload))
    change(message.content)
    return message_to_proto(message).SerializeToString()


def _words(payload: bytes, words: np.ndarray) -> bytes:
    return changed(payload, lambda content: content.update(words=_record(words)))


def _record(words: np.ndarray) -> ArrayRecord:
    return ArrayRecord({"words": Array(words)})


def _body(payload: bytes, name: str, kind: type[Any], **changes: object) -> bytes:
    def change(content: Any) -> None:  # noqa: ANN401 - Flower's record
        old = parse_document(kind, content["body"][name])
        new = replace(old, **changes)
        content["body"] = ConfigRecord({name: document_of(new)})

    return changed(payload, change)


def _resigned(house: Consortium, payload: bytes, words: np.ndarray) -> bytes:
    """Other words, signed by the member itself: of another shape."""

    def change(content: Any) -> None:  # noqa: ANN401 - Flower's record
        old = parse_document(Upload, content["body"]["upload"])
        key = house.nodes[SHOP_D].key
        new = sign_upload(words, context=old.context, member=SHOP_D, key=key)
        content["body"] = ConfigRecord({"upload": document_of(new)})
        content["words"] = _record(words)

    return changed(payload, change)


def _bit(payload: bytes) -> bytes:
    words = reply_words(payload).copy()  # type: ignore[union-attr]
    words[3] ^= np.uint64(1 << 40)
    return _words(payload, words)


UPLOADS: dict[str, tuple[Bend, str]] = {
    "one bit of the words": (lambda _, p: _bit(p), "digest"),
    "words cut short": (lambda _, p: _words(p, reply_words(p)[:-1]), "shape"),  # type: ignore[index]
    "words cut short and signed": (
        lambda house, p: _resigned(house, p, reply_words(p)[:-1]),  # type: ignore[index]
        "shape",
    ),
    "a million words": (lambda _, p: _words(p, np.zeros(1 << 20, np.uint64)), "shape"),
    "no words": (lambda _, p: _words(p, np.zeros(0, np.uint64)), "shape"),
    "floats": (lambda _, p: _words(p, np.zeros(10)), "decode"),
    "a matrix": (lambda _, p: _words(p, reply_words(p).reshape(2, -1)), "decode"),  # type: ignore[union-attr]
    "two arrays": (
        lambda _, p: changed(p, lambda c: c["words"].update(more=Array(np.zeros(1)))),
        "decode",
    ),
    "no array record": (
        lambda _, p: changed(p, lambda c: c.update(words=ConfigRecord({"x": b""}))),
        "decode",
    ),
    "no envelope": (
        lambda _, p: changed(p, lambda c: c.update(body=ConfigRecord({"x": b""}))),
        "decode",
    ),
    "an envelope cut short": (
        lambda _, p: changed(
            p,
            lambda c: c.update(body=ConfigRecord({"upload": c["body"]["upload"][:-1]})),
        ),
        "decode",
    ),
    "another context": (
        lambda _, p: _body(p, "upload", Upload, context=Digest("0" * 64)),
        "out_of_order",
    ),
    "another member's name": (
        lambda _, p: _body(p, "upload", Upload, member=SHOP),
        "out_of_order",
    ),
    "another signature": (
        lambda _, p: _body(p, "upload", Upload, signature=bytes(64)),
        "signature",
    ),
    "a frame cut short": (lambda _, p: p[: len(p) // 2], "unreadable"),
    "a frame of zeros": (lambda _, p: bytes(len(p)), "unreadable"),
}

JOINS: dict[str, tuple[dict[str, object], IdentityKey | None, str]] = {
    "of small order": ({"ephemeral": bytes(32)}, None, "JOIN R17"),
    "with a made-up link": ({"link": Digest("0" * 64)}, None, "JOIN R16"),
    "with a link used before": ({"count": 0}, None, "JOIN R16"),
    "for another attempt": ({"context": Digest("0" * 64)}, None, "JOIN R15"),
    "signed by another": ({}, STRANGER, "JOIN R14"),
    "with half a key": ({"ephemeral": bytes(16)}, None, "decode"),
}


def _always(house: Consortium, bend: Bend, *, times: int = 99) -> Fault:
    """The shop bends so many of its uploads."""
    bent: list[int] = []

    def fault(sender: PartnerId, payload: bytes) -> bytes:
        if sender != SHOP_D or reply_words(payload) is None or len(bent) >= times:
            return payload
        bent.append(1)
        return bend(house, payload)

    return fault


def _joining(house: Consortium, name: str) -> Fault:
    changes, key, _ = JOINS[name]

    def change(content: Any) -> None:  # noqa: ANN401 - Flower's record
        old = parse_document(Join, content["body"]["join"])
        new = replace(old, **changes)
        signed = sign_join(new, key or house.nodes[SHOP_D].key)
        content["body"] = ConfigRecord({"join": document_of(signed)})

    def fault(sender: PartnerId, payload: bytes) -> bytes:
        message = message_from_proto(ProtoMessage.FromString(payload))
        joins = not message.has_error() and "join" in dict(message.content.get("body", {}))
        return changed(payload, change) if sender == SHOP_D and joins else payload

    return fault


def _named_then_left_out(attempts: tuple[Attempt, ...], reason: str, *, charged: bool) -> None:
    for one in attempts[:2]:
        assert (one.outcome, one.missing, one.reasons) == (
            Outcome.ABORTED,
            (SHOP_D,),
            (reason,),
        )
        assert one.charged is charged
    assert SHOP_D in attempts[1].roster
    for one in attempts[2:]:
        assert one.outcome is Outcome.SUMMED
        assert one.roster == ALL[:3]


@pytest.mark.parametrize("name", UPLOADS)
def test_garbage_names_its_sender_who_is_left_out_after_the_second(name: str) -> None:
    bend, reason = UPLOADS[name]
    house = Consortium(plan=SHORT)
    house.fault = _always(house, bend)
    session = house.train()
    assert session.finished
    _named_then_left_out(session.state.attempts, reason, charged=True)


@pytest.mark.parametrize("name", JOINS)
def test_bad_join_costs_nobody_anything_and_its_sender_is_left_out(name: str) -> None:
    house = Consortium(plan=SHORT)
    house.fault = _joining(house, name)
    session = house.train()
    assert session.finished
    _named_then_left_out(session.state.attempts, JOINS[name][2], charged=False)
    sums = len(session.state.attempts) - 2
    assert [len(node.store.debits) for node in house.nodes.values()] == [sums, sums, sums, 0]


def test_one_bad_upload_is_forgiven() -> None:
    house = Consortium(plan=SHORT)
    house.fault = _always(house, UPLOADS["one bit of the words"][0], times=1)
    attempts = house.train().state.attempts
    assert [one.outcome for one in attempts].count(Outcome.ABORTED) == 1
    assert all(one.roster == ALL for one in attempts)


def test_garbage_in_a_histogram_leaves_its_sender_out_before_the_run_is_lost() -> None:
    """A histogram has one spare attempt: a second failure there would end the run."""
    house = Consortium(plan=SHORT)
    bend = UPLOADS["one bit of the words"][0]

    def late(house: Consortium, payload: bytes) -> bytes:
        kinds = [request.kind for request, _, _ in house.nodes[SHOP_D].store.debits]
        return bend(house, payload) if kinds[-1] is ReleaseKind.RECALIBRATION else payload

    house.fault = _always(house, late)
    session = house.train()
    assert session.finished
    again = [one for one in session.state.attempts if one.kind is ReleaseKind.RECALIBRATION]
    assert [one.roster for one in again] == [ALL, ALL[:3]]
    assert session.state.attempts[-1].roster == ALL


def test_partner_without_whom_the_sum_cannot_be_is_kept_and_the_run_says_who() -> None:
    house = Consortium(plan=SHORT)
    house.plan = replace(house.plan, min_partners=4)
    house.fault = _always(house, UPLOADS["one bit of the words"][0])
    with pytest.raises(RunFailedError, match=r"shop_d \(digest\); no attempt is left"):
        house.train()


def test_who_was_left_out_stays_out_after_the_coordinator_was_restarted() -> None:
    house = Consortium(plan=SHORT)
    house.fault = _always(house, UPLOADS["one bit of the words"][0])
    state = house.train().state
    assert failures(state.attempts) == {SHOP_D: 2}
    again = RunSession(house.plan, house.schema, state=state)
    assert left_out(again, ALL) == {SHOP_D}


def test_silence_and_refusals_are_no_garbage() -> None:
    house = Consortium(plan=SHORT)
    request, _ = (session := RunSession(house.plan, house.schema)).request(ALL)
    for reason in ("no answer", "R15"):
        session.on_missing(request, {SHOP_D: reason}, charged=True)
    assert failures(session.state.attempts) == {}
    assert left_out(session, ALL) == frozenset()


def test_reason_that_a_node_made_up_is_not_shown_to_anybody() -> None:
    """A terminal would obey it, and the record is for good."""
    house = Consortium(plan=SHORT)

    def fault(sender: PartnerId, payload: bytes) -> bytes:
        if sender != SHOP_D or reply_words(payload) is None:
            return payload
        message = message_from_proto(ProtoMessage.FromString(payload))
        message._content = None  # type: ignore[attr-defined]
        proto = message_to_proto(message)
        proto.ClearField("content")
        error = Error(2, "\x1b[2Jall is well")
        proto.error.code, proto.error.reason = error.code, error.reason or ""
        return proto.SerializeToString()

    house.fault = fault
    with pytest.raises(RunFailedError, match=r"shop_d \(error\)") as failed:
        house.train()
    assert "\x1b" not in str(failed.value)


def test_sum_of_the_honest_is_theirs_alone_when_the_partner_is_left_out() -> None:
    house, alone = Consortium(plan=SHORT), Consortium(plan=SHORT)
    house.fault = _always(house, UPLOADS["one bit of the words"][0])
    alone.absent = {SHOP_D}
    mixed, plain = house.train(), alone.train()
    rounds = [one.roster for one in mixed.state.attempts if one.outcome is Outcome.SUMMED]
    assert rounds == [one.roster for one in plain.state.attempts]
    assert BANK in rounds[0]


@pytest.mark.parametrize("seed", range(12))
def test_answers_with_bits_bent_end_in_a_sum_or_name_their_sender(
    rng: Generator, seed: int
) -> None:
    """Any answer of one partner may be any bytes: the run ends well, or says who it was."""
    house = Consortium(plan=SHORT)
    places = rng.integers(0, 1 << 40, (seed + 1, 64))[seed]

    def fault(sender: PartnerId, payload: bytes) -> bytes:
        if sender != SHOP_D or len(house.wire) % 3:
            return payload
        bent = bytearray(payload)
        place = int(places[len(house.wire) % 64]) % (8 * len(bent))
        bent[place // 8] ^= 1 << (place % 8)
        return bytes(bent)

    house.fault = fault
    try:
        session = house.train()
    except RunFailedError as failed:
        assert "shop_d" in str(failed)  # noqa: PT017 - both ends are right
    else:
        assert session.finished
        blamed = {name for one in session.state.attempts for name in one.missing}
        assert blamed <= {SHOP_D}


def test_frame_that_flowers_own_reader_falls_over_is_unreadable() -> None:
    """A value without a kind: flwr 1.41 raises AttributeError there, not ValueError."""
    house = Consortium(plan=SHORT)

    def bend(_: Consortium, payload: bytes) -> bytes:
        proto = ProtoMessage.FromString(payload)
        for item in proto.content.items:
            for value in item.config_record.items:
                value.value.Clear()
        return proto.SerializeToString()

    house.fault = _always(house, bend)
    _named_then_left_out(house.train().state.attempts, "unreadable", charged=True)
