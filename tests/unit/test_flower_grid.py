"""The grid over streams that do what a test says: late, absent, lying, silent."""

from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity

from consortium.errors import RiskWeaveError, TransportError
from consortium.ids import PartnerId, RunId, node_id_of
from coordinator.flower_grid import BidiGrid, RunHandle, flower_run_id

RUN = RunId("ab" * 16)
ANN, BOB, CY = PartnerId("ann"), PartnerId("bob"), PartnerId("cy")


class Hub:
    """Keeps what was sent; a test answers when and as it likes."""

    def __init__(self) -> None:
        self.here = [CY, ANN]
        self.sent: list[tuple[PartnerId, Message, Future[bytes]]] = []
        self.timeouts: list[float] = []
        self.at_once = True

    def connected(self) -> tuple[PartnerId, ...]:
        return tuple(self.here)

    def send(self, partner: PartnerId, payload: bytes, *, timeout_s: float) -> Future[bytes]:
        message = message_from_proto(ProtoMessage.FromString(payload))
        future: Future[bytes] = Future()
        self.sent.append((partner, message, future))
        self.timeouts.append(timeout_s)
        if self.at_once:
            future.set_result(answer_of(partner, message))
        return future


def answer_of(partner: PartnerId, message: Message, **changed: int) -> bytes:
    """What an honest partner sends back, with metadata changed."""
    body = ConfigRecord({"from": str(partner)})
    proto = message_to_proto(Message(RecordDict({"body": body}), reply_to=message))
    for name, value in changed.items():
        setattr(proto.metadata, name, value)
    return proto.SerializeToString()


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def grid(hub: Hub) -> Iterator[BidiGrid]:
    with BidiGrid(hub, RUN) as grid:
        yield grid


def question(partner: PartnerId) -> Message:
    return Message(RecordDict(), node_id_of(partner), "query.offer")


def sender(reply: Message) -> str:
    return str(reply.content["body"]["from"])


def test_nodes_are_the_partners_that_are_connected_now(grid: BidiGrid, hub: Hub) -> None:
    assert grid.get_node_ids() == sorted([node_id_of(ANN), node_id_of(CY)])
    hub.here = [BOB]
    assert grid.get_node_ids() == [node_id_of(BOB)]


def test_each_partner_is_asked_on_its_own_stream_and_answers_its_own_question(
    grid: BidiGrid, hub: Hub
) -> None:
    replies = list(grid.send_and_receive([question(ANN), question(CY)], timeout=5))
    assert [partner for partner, _, _ in hub.sent] == [ANN, CY]
    assert {r.metadata.src_node_id: sender(r) for r in replies} == {
        node_id_of(ANN): "ann",
        node_id_of(CY): "cy",
    }
    ids = [message.metadata.message_id for _, message, _ in hub.sent]
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids
    assert "" not in ids


def test_answer_that_claims_another_source_is_refused(grid: BidiGrid, hub: Hub) -> None:
    hub.at_once = False
    grid_ids = grid.push_messages([question(ANN)])
    _, message, future = hub.sent[0]
    future.set_result(answer_of(ANN, message, src_node_id=node_id_of(CY)))
    (reply,) = grid.pull_messages(grid_ids)
    assert reply.has_error()
    assert (reply.error.code, reply.error.reason) == (5, "wrong source")
    assert reply.metadata.src_node_id == node_id_of(ANN)


def test_absent_node_is_answered_for_with_code_5(grid: BidiGrid, hub: Hub) -> None:
    replies = list(grid.send_and_receive([question(BOB), question(ANN)], timeout=5))
    errors = [reply for reply in replies if reply.has_error()]
    assert [(e.error.code, e.metadata.src_node_id) for e in errors] == [(5, node_id_of(BOB))]
    assert [partner for partner, _, _ in hub.sent] == [ANN]


def test_stream_that_ends_with_a_question_under_way_is_code_5_at_once(
    grid: BidiGrid, hub: Hub
) -> None:
    hub.at_once = False
    ids = grid.push_messages([question(ANN)])
    hub.sent[0][2].set_exception(TransportError("stream ended"))
    (reply,) = grid.pull_messages(ids)
    assert (reply.error.code, reply.error.reason) == (5, "unavailable")


def test_bytes_that_are_no_message_are_code_5(grid: BidiGrid, hub: Hub) -> None:
    hub.at_once = False
    ids = grid.push_messages([question(ANN)])
    hub.sent[0][2].set_result(b"\xff\x00garbage")
    (reply,) = grid.pull_messages(ids)
    assert (reply.has_error(), reply.error.code) == (True, 5)


def test_round_without_a_time_out_is_refused_before_anything_is_sent(
    grid: BidiGrid, hub: Hub
) -> None:
    with pytest.raises(RiskWeaveError, match="time-out"):
        grid.send_and_receive([question(ANN)])
    assert hub.sent == []


def test_time_out_of_the_strategy_reaches_the_stream(grid: BidiGrid, hub: Hub) -> None:
    grid.send_and_receive([question(ANN)], timeout=7.5)
    assert hub.timeouts == [7.5]


def test_each_id_is_pulled_once_and_only_when_its_answer_is_there(
    grid: BidiGrid, hub: Hub
) -> None:
    hub.at_once = False
    ids = list(grid.push_messages([question(ANN), question(CY)]))
    assert list(grid.pull_messages(ids)) == []
    partner, message, future = hub.sent[1]
    future.set_result(answer_of(partner, message))
    assert [sender(reply) for reply in grid.pull_messages(ids)] == ["cy"]
    assert list(grid.pull_messages(ids)) == []
    assert list(grid.pull_messages(["of nobody"])) == []


def test_id_asked_for_twice_in_one_pull_is_given_once(grid: BidiGrid) -> None:
    (name,) = grid.push_messages([question(ANN)])
    assert len(list(grid.pull_messages([name, name]))) == 1


def test_answer_after_the_time_out_is_forgotten(grid: BidiGrid, hub: Hub) -> None:
    hub.at_once = False
    (reply,) = grid.send_and_receive([question(ANN)], timeout=-1.0)
    assert reply.error.code == 5
    _, message, future = hub.sent[0]
    assert future.cancelled()  # the stream sees that nobody waits any more
    assert list(grid.pull_messages([message.metadata.message_id])) == []
    hub.at_once = True
    (later,) = grid.send_and_receive([question(ANN)], timeout=5)
    assert sender(later) == "ann"


def test_time_out_of_the_stream_is_code_5(grid: BidiGrid, hub: Hub) -> None:
    hub.at_once = False
    ids = grid.push_messages([question(ANN)])
    hub.sent[0][2].set_exception(FutureTimeoutError())
    (reply,) = grid.pull_messages(ids)
    assert reply.error.code == 5


def test_second_run_in_the_process_is_refused_until_the_first_ends(hub: Hub) -> None:
    with BidiGrid(hub, RUN) as first:
        with pytest.raises(RiskWeaveError, match="another training run"):
            BidiGrid(hub, RunId("cd" * 16))
        assert first.create_message(RecordDict(), "query.offer", 2, "").metadata.run_id == (
            flower_run_id(RUN)
        )
    with BidiGrid(hub, RunId("cd" * 16)) as second:
        assert second.run == RunHandle(flower_run_id(RunId("cd" * 16)))


def test_identity_is_set_for_the_run_and_cleared_at_its_end(hub: Hub) -> None:
    with BidiGrid(hub, RUN):
        assert TaskIdentity.run_id == TaskIdentity.task_id == flower_run_id(RUN)
    for name in ("run_id", "task_id", "node_id"):
        with pytest.raises(RuntimeError, match="not set"):
            getattr(TaskIdentity, name)
    with pytest.raises(RuntimeError):
        question(ANN)


def test_identity_is_cleared_when_the_run_fails(hub: Hub) -> None:
    with pytest.raises(ZeroDivisionError), BidiGrid(hub, RUN):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError):
        question(ANN)
    BidiGrid(hub, RUN).close()


def test_questions_under_way_are_cancelled_at_the_end_of_the_run(hub: Hub) -> None:
    hub.at_once = False
    with BidiGrid(hub, RUN) as grid:
        grid.push_messages([question(ANN)])
    assert hub.sent[0][2].cancelled()


def test_run_id_fits_a_signed_64_bit_column() -> None:
    assert flower_run_id(RunId("f" * 32)) == 2**63 - 1
    assert node_id_of(ANN) < 2**63
