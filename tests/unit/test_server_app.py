"""The strategy over a grid that behaves as Flower's own: ids by chance, errors by the link."""

from collections.abc import Iterable

import pytest
from flwr.app import Error, Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from consortium.errors import TransportError
from consortium.ids import PartnerId, node_id_of
from consortium.release import Outcome
from coordinator.flower_grid import BidiGrid, run_app
from coordinator.releases import candidate_of
from coordinator.server_app import Deadlines, RunPorts, build_server_app
from models.run import RunFailedError, RunSession
from tests.simulator import Consortium, reply_words

SHOP = PartnerId("shop_d")
LINK = 1
"""Flower's id of the SuperLink itself."""


class StockLikeGrid(BidiGrid):
    """As a SuperLink: an id says nothing of the partner; for the gone it answers itself."""

    def __init__(self, consortium: Consortium) -> None:
        super().__init__(consortium, consortium.run)
        self._consortium = consortium
        self._names = dict(enumerate(sorted(consortium.nodes, reverse=True), start=1001))

    def get_node_ids(self) -> Iterable[int]:
        here = self._consortium.connected()
        return [number for number, name in self._names.items() if name in here]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        assert timeout is not None
        return [self._exchange(message, timeout) for message in messages]

    def _exchange(self, message: Message, timeout: float) -> Message:
        message.metadata.__dict__["_message_id"] = message.object_id
        partner = self._names[message.metadata.dst_node_id]
        payload = message_to_proto(message).SerializeToString()
        answer = self._consortium.send(partner, payload, timeout_s=timeout)
        try:
            return message_from_proto(ProtoMessage.FromString(answer.result(timeout=0)))
        except TransportError:
            error = Message(Error(4, "Error: Reply Message Unavailable"), reply_to=message)
            proto = message_to_proto(error)
            proto.metadata.src_node_id = LINK
            return message_from_proto(proto)


def train(consortium: Consortium) -> RunSession:
    session = RunSession(consortium.plan, consortium.schema)
    ports = RunPorts(
        manifest=consortium.manifest,
        wait_for_change=lambda _seconds: False,
        on_closed=lambda _request, _seconds, _closed: None,
    )
    app = build_server_app(session, ports, Deadlines(attempt=5, offer=5, quorum=0))
    with StockLikeGrid(consortium) as grid:
        run_app(app, grid)
    return session


def test_partners_are_known_by_their_signed_acceptance_not_by_their_node_id() -> None:
    derived, chance = Consortium(), Consortium()
    expected = candidate_of(derived.train(), derived.manifest)
    assert candidate_of(train(chance), chance.manifest) == expected
    assert not {1001, 1002, 1003, 1004} & {node_id_of(name) for name in chance.nodes}


def test_plan_that_too_many_refuse_ends_at_once_and_says_who_refused_and_why() -> None:
    consortium = Consortium(caps=1)  # no account has room for the run
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    ports = RunPorts(
        manifest=consortium.manifest,
        wait_for_change=wait,
        on_closed=lambda _request, _seconds, _closed: None,
    )
    session = RunSession(consortium.plan, consortium.schema)
    app = build_server_app(session, ports, Deadlines(attempt=5, offer=5, quorum=5))
    with (
        BidiGrid(consortium, consortium.run) as grid,
        pytest.raises(RunFailedError, match=r"refused by bank_a \(R12\), bank_b \(R12\)"),
    ):
        run_app(app, grid)
    assert not waits


def test_answer_that_a_link_gives_for_a_gone_node_aborts_the_attempt_and_no_more() -> None:
    consortium = Consortium()
    uploads = []

    def once(sender: PartnerId, payload: bytes) -> bytes | None:
        if sender != SHOP or reply_words(payload) is None:
            return payload
        uploads.append(payload)
        return None if len(uploads) == 3 else payload

    consortium.fault = once
    attempts = train(consortium).state.attempts
    (aborted,) = [one for one in attempts if one.outcome is Outcome.ABORTED]
    assert (aborted.round, aborted.missing, aborted.reasons) == (3, (SHOP,), ("no answer",))
    again = attempts[attempts.index(aborted) + 1]
    assert (again.round, again.attempt, again.outcome) == (3, 2, Outcome.SUMMED)
    assert SHOP in again.roster
