"""Frames and arrays that are garbage, cut, too large or bent by a bit, at the node.

Whatever arrives is refused by a fixed code, or is the honest message but for a field that
nothing rests on, and then the answer is the honest one, bit for bit.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium.errors import (
    DataError,
    ProtocolError,
    RefusalCode,
    RiskWeaveError,
    TrustError,
)
from consortium.secagg.context import SumInputs
from tests.attacks.hostile import ALL, BANK, SHORT, Hostile, demand, proposal
from tests.simulator import Consortium, MemoryCommitments, reply_words

Payload = Callable[[Hostile], bytes]


def _texts(kind: type[RiskWeaveError]) -> set[str]:
    return {kind.public}.union(*(_texts(sub) for sub in kind.__subclasses__()))


CODES = (
    {code.value for code in RefusalCode}
    | _texts(ProtocolError)
    | _texts(TrustError)
    | _texts(DataError)
    | {"misconfigured", "bad identifier", "internal error"}
)


def _proposal(hostile: Hostile) -> bytes:
    return hostile.payload(
        BANK, "query.join", proposal(hostile.due()[0], (), hostile.acceptances)
    )


def _demand(hostile: Hostile) -> bytes:
    """The honest question for the words; everybody joins for it."""
    asked = hostile.due()
    content = demand(asked, hostile.joins(asked[0]), hostile.acceptances)
    return hostile.payload(BANK, "train.upload", content)


@pytest.fixture(params=[_proposal, _demand], ids=["join", "upload"])
def wire(request: pytest.FixtureRequest) -> tuple[Hostile, bytes, MemoryCommitments]:
    """An attacker, an honest message to a bank, and the bank's database before it."""
    hostile = Hostile(Consortium(plan=SHORT, rows=50), None)
    payload = request.param(hostile)
    return hostile, payload, hostile.house.nodes[BANK].store


def _answer(
    wire: tuple[Hostile, bytes, MemoryCommitments], payload: bytes
) -> tuple[bytes, MemoryCommitments]:
    """What the bank answers when this is the next message, on a copy of its database."""
    hostile, _, store = wire
    node = hostile.house.nodes[BANK]
    node.store = copy.copy(store)
    node.store.debits, node.store.joins = list(store.debits), dict(store.joins)
    node.store.disclosed = list(store.disclosed)
    hostile.restart(BANK)
    return hostile.raw(BANK, payload), node.store


def _content(answer: bytes) -> tuple[str, object]:
    """The code of an error; the words and bodies of an answer, without its envelope."""
    from flwr.common.serde import message_from_proto  # noqa: PLC0415
    from flwr.proto.message_pb2 import Message as ProtoMessage  # noqa: PLC0415

    if not answer:
        return "nothing", None
    message = message_from_proto(ProtoMessage.FromString(answer))
    if message.has_error():
        return message.error.reason, None
    body: Any = message.content["body"]
    words = reply_words(answer)
    return "", (dict(body), None if words is None else words.tobytes())


def _check(wire: tuple[Hostile, bytes, MemoryCommitments], bent: bytes, honest: object) -> bool:
    """Whether it was refused; else the answer is the honest one."""
    answer, store = _answer(wire, bent)
    code, content = _content(answer)
    if content is not None:
        assert content == honest
        return False
    assert code in CODES | {"nothing"}, code
    assert store.debits == wire[2].debits
    assert store.disclosed == []
    return True


def test_message_with_one_bit_bent_is_refused_or_changes_nothing(
    wire: tuple[Hostile, bytes, MemoryCommitments], rng: Generator
) -> None:
    _, payload, _ = wire
    honest = _content(_answer(wire, payload)[0])[1]
    refused = 0
    for place in rng.integers(0, 8 * len(payload), 400):
        bent = bytearray(payload)
        bent[place // 8] ^= 1 << (place % 8)
        refused += _check(wire, bytes(bent), honest)
    assert refused > 200


def test_message_that_is_cut_is_refused(
    wire: tuple[Hostile, bytes, MemoryCommitments], rng: Generator
) -> None:
    _, payload, _ = wire
    for length in (0, 1, len(payload) - 1, *rng.integers(2, len(payload) - 1, 60)):
        assert _check(wire, payload[:length], None), length


def test_message_of_random_bytes_is_refused(
    wire: tuple[Hostile, bytes, MemoryCommitments], rng: Generator
) -> None:
    for length in (1, 7, 64, 1000, 1 << 20):
        assert _check(wire, rng.bytes(length), None)


def _arrays(name: str) -> Array:
    weights = np.zeros(10)
    return {
        "arrays of words": Array(weights.view(np.uint64)),
        "single floats": Array(weights.astype(np.float32)),
        "a matrix": Array(weights.reshape(2, -1)),
        "a pickle": Array("object", (1,), "numpy.ndarray", b"\x80\x04]\x94K\x01a."),
    }[name]


ARRAYS = ("arrays of words", "single floats", "a matrix", "a pickle")
BODIES: dict[str, Callable[[Any], None]] = {
    "a text for bytes": lambda body: body.update(request="request"),
    "a number in the JOINs": lambda body: body.update(joins=[1, 2, 3]),
    "a JOIN cut short": lambda body: body.update(joins=[body["joins"][0][:-1]]),
    "no JOINs": lambda body: body.pop("joins"),
}
OTHERS: dict[str, Callable[[RecordDict], None]] = {
    "a record too many": lambda content: content.update(more=ConfigRecord({"x": b""})),
    "no arrays": lambda content: content.update(inputs=ConfigRecord({"x": b""})),
}


@pytest.mark.parametrize("change", [*ARRAYS, *BODIES, *OTHERS])
def test_record_of_another_form_is_not_understood(change: str) -> None:
    hostile = Hostile(Consortium(plan=SHORT, rows=50), None)
    request, inputs = hostile.due()
    content = demand((request, inputs), hostile.joins(request), hostile.acceptances)
    if change in ARRAYS:
        content["inputs"] = ArrayRecord({"0": _arrays(change)})
    elif change in BODIES:
        BODIES[change](content["body"])
    else:
        OTHERS[change](content)
    payload = hostile.payload(BANK, "train.upload", content)
    assert _content(hostile.raw(BANK, payload)) == ("message not understood", None)
    assert hostile.house.nodes[BANK].store.debits == []


def test_action_that_there_is_not_is_answered_with_nothing() -> None:
    """Flower's own application raises there, which would end the training process."""
    hostile = Hostile(Consortium(plan=SHORT, rows=50), None)
    for kind in ("query.jgin", "train", "evaluate.upload", "query"):
        assert hostile.raw(BANK, hostile.payload(BANK, kind, RecordDict())) == b""


def test_model_of_another_size_is_refused() -> None:
    hostile = Hostile(Consortium(plan=SHORT, rows=50), None)
    request, inputs = hostile.due()
    joins = hostile.joins(request)
    for size in (0, 1, 1 << 18):
        lure = SumInputs(arrays=(np.zeros(size),))
        content = demand((request, lure), joins, hostile.acceptances)
        answer = hostile.raw(BANK, hostile.payload(BANK, "train.upload", content))
        assert _content(answer) == ("R07", None)
    assert len(joins) == len(ALL)
    assert inputs.arrays[0].size not in {0, 1, 1 << 18}
    assert hostile.house.nodes[BANK].store.debits == []
