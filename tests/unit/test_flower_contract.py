"""What we use of Flower behaves as it did when it was written down (protocol 12.4).

Runs first on any change of the pin: a Flower that moved breaks here, in milliseconds, and
not in a training run.
"""

import inspect
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import pytest
from flwr.app import (
    DEFAULT_TTL,
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore.task_identity import TaskIdentity
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from coordinator import flower_grid
from partner_node import client_app, flower_node

RUN, SENDER, RECEIVER = 7, 1, 2**63 - 1


@pytest.fixture
def identity() -> Iterator[None]:
    """The state of the process without which Flower makes no message."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, RUN, SENDER
    yield
    _forget_identity()


def _forget_identity() -> None:
    for name in ("_run_id", "_task_id", "_node_id"):
        setattr(TaskIdentity, name, None)


def test_version_is_the_pinned_one() -> None:
    assert version("flwr").split(".")[:2] == ["1", "41"]


# --- names and signatures ---------------------------------------------------------------------

SIGNATURES = {
    Message.__init__: (
        *("self", "args", "dst_node_id", "message_type", "content", "error", "ttl"),
        *("group_id", "dst_task_id", "reply_to", "metadata"),
    ),
    Context.__init__: (
        *("self", "run_id", "node_id", "node_config", "state", "run_config", "series_id"),
    ),
    Error.__init__: ("self", "code", "reason"),
    ServerApp.__call__: ("self", "grid", "context"),
    ClientApp.__call__: ("self", "message", "context"),
    ClientApp.__init__: ("self", "client_fn", "mods"),
    message_to_proto: ("message",),
    message_from_proto: ("message_proto",),
    Strategy.start: (
        *("self", "grid", "initial_arrays", "num_rounds", "timeout"),
        *("train_config", "evaluate_config", "evaluate_fn"),
    ),
}

GRID = {
    "set_run": ("self", "run"),
    "run": None,  # a property
    "create_message": (*("self", "content", "message_type", "dst_node_id", "group_id", "ttl"),),
    "get_node_ids": ("self",),
    "push_messages": ("self", "messages"),
    "pull_messages": ("self", "message_ids"),
    "send_and_receive": ("self", "messages", "timeout"),
}

STRATEGY = {
    "configure_train": ("self", "server_round", "arrays", "config", "grid"),
    "aggregate_train": ("self", "server_round", "replies"),
    "configure_evaluate": ("self", "server_round", "arrays", "config", "grid"),
    "aggregate_evaluate": ("self", "server_round", "replies"),
    "summary": ("self",),
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda one: one.__qualname__)
def test_signature_is_the_one_that_was_written_down(function: object) -> None:
    assert tuple(inspect.signature(function).parameters) == SIGNATURES[function]  # type: ignore[arg-type,index]


@pytest.mark.parametrize(("kind", "members"), [(Grid, GRID), (Strategy, STRATEGY)])
def test_abstract_set_is_the_one_that_was_written_down(
    kind: type, members: dict[str, tuple[str, ...] | None]
) -> None:
    assert kind.__abstractmethods__ == set(members)  # type: ignore[attr-defined]
    for name, parameters in members.items():
        member = getattr(kind, name)
        if parameters is None:
            assert isinstance(member, property)
        else:
            assert tuple(inspect.signature(member).parameters) == parameters


def test_time_out_of_send_and_receive_is_given_by_name_and_may_be_none() -> None:
    timeout = inspect.signature(Grid.send_and_receive).parameters["timeout"]
    assert (timeout.kind, timeout.default) == (inspect.Parameter.KEYWORD_ONLY, None)


def test_error_codes_are_those_of_our_own_table() -> None:
    assert client_app.APP_ERROR == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert flower_grid.NODE_UNAVAILABLE == ErrorCode.NODE_UNAVAILABLE
    assert flower_node.WORKER_LOST == ErrorCode.CLIENT_APP_CRASHED


def test_actions_are_registered_by_type_and_name() -> None:
    assert {MessageType.TRAIN, MessageType.EVALUATE, MessageType.QUERY} == {
        *("train", "evaluate", "query")
    }
    app = ClientApp()
    for register in (app.train, app.evaluate, app.query):
        assert callable(register("name"))


@pytest.mark.usefixtures("identity")
def test_strategy_runs_its_rounds_in_order_and_asks_for_a_checkpoint_after_each() -> None:
    calls: list[str] = []

    class Recorder(Strategy):
        def summary(self) -> None:
            calls.append("summary")

        def configure_train(self, server_round: int, *_: object) -> list[Message]:  # type: ignore[override]
            calls.append(f"configure {server_round}")
            return []

        def aggregate_train(self, server_round: int, replies: object) -> tuple[None, None]:
            assert list(replies) == []  # type: ignore[call-overload]
            calls.append(f"aggregate {server_round}")
            return None, None

        def configure_evaluate(self, *_: object) -> list[Message]:  # type: ignore[override]
            return []

        def aggregate_evaluate(self, *_: object) -> None:  # type: ignore[override]
            return None

    with_grid = Recorder().start(
        grid=_NobodyThere(),
        initial_arrays=ArrayRecord(),
        num_rounds=2,
        timeout=5,
        evaluate_fn=lambda number, _arrays: calls.append(f"checkpoint {number}"),  # type: ignore[func-returns-value]
    )
    assert isinstance(with_grid, Result)
    assert calls == [
        *("summary", "checkpoint 0", "configure 1", "aggregate 1", "checkpoint 1"),
        *("configure 2", "aggregate 2", "checkpoint 2"),
    ]


class _NobodyThere(Grid):
    """The least that a Grid has to be."""

    run = None  # type: ignore[assignment]

    def set_run(self, run: object) -> None: ...

    def create_message(self, *_: object) -> Message:  # type: ignore[override]
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return []

    def push_messages(self, messages: object) -> list[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: object) -> list[Message]:
        raise NotImplementedError

    def send_and_receive(
        self, messages: object, *, timeout: float | None = None
    ) -> list[Message]:
        assert (list(messages), timeout) == ([], 5)  # type: ignore[call-overload]
        return []


# --- messages ---------------------------------------------------------------------------------


def travelled(message: Message) -> Message:
    """The message as it arrives at the other end."""
    return message_from_proto(
        ProtoMessage.FromString(message_to_proto(message).SerializeToString())
    )


def named(message: Message) -> Message:
    """The message with its id set, by the one reach inside that this project makes."""
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def test_message_without_an_identity_of_the_process_raises() -> None:
    _forget_identity()
    with pytest.raises(RuntimeError, match="not set"):
        Message(RecordDict(), RECEIVER, "query.offer")


@pytest.mark.usefixtures("identity")
def test_identity_is_state_of_the_whole_process() -> None:
    metadata = Message(RecordDict(), RECEIVER, "query.offer").metadata
    assert (metadata.run_id, metadata.src_node_id) == (RUN, SENDER)
    assert metadata.ttl == DEFAULT_TTL


@pytest.mark.usefixtures("identity")
def test_every_record_type_survives_the_wire() -> None:
    content = RecordDict(
        {
            "arrays": ArrayRecord({"x": Array(np.arange(6.0).reshape(2, 3))}),
            "config": ConfigRecord(
                {"i": -3, "f": 0.1, "s": "文", "b": b"\x00\xff", "t": True, "l": [1, 2]}
            ),
            "metrics": MetricRecord({"m": 1.5, "n": [1, 2]}),
        }
    )
    arrived = travelled(named(Message(content, RECEIVER, "train.upload", group_id="g")))
    assert arrived.content["config"] == content["config"]
    assert arrived.content["metrics"] == content["metrics"]
    np.testing.assert_array_equal(
        arrived.content["arrays"]["x"].numpy(), np.arange(6.0).reshape(2, 3)
    )
    metadata = arrived.metadata
    assert (metadata.dst_node_id, metadata.message_type) == (RECEIVER, "train.upload")
    assert (metadata.group_id, metadata.run_id) == ("g", RUN)


@pytest.mark.usefixtures("identity")
def test_uint64_words_come_back_bit_for_bit(rng: Generator) -> None:
    edges = np.array([0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1], dtype=np.uint64)
    words = np.concatenate([edges, rng.integers(0, 2**64, 1000, dtype=np.uint64)])
    sent = Message(
        RecordDict({"words": ArrayRecord({"words": Array(words)})}), RECEIVER, "train.upload"
    )
    back = travelled(sent).content["words"]["words"].numpy()
    assert (back.dtype, back.tobytes()) == (np.uint64, words.tobytes())


@pytest.mark.usefixtures("identity")
def test_float64_weights_come_back_bit_for_bit() -> None:
    weights = np.array([-0.0, 5e-324, 0.1, np.pi, np.finfo(np.float64).max])
    sent = Message(RecordDict({"w": ArrayRecord([weights])}), RECEIVER, "train.upload")
    (back,) = travelled(sent).content["w"].to_numpy_ndarrays()
    assert (back.dtype, back.tobytes()) == (np.float64, weights.tobytes())


def test_array_of_objects_is_refused() -> None:
    with pytest.raises((TypeError, ValueError)):
        Array(np.array([{"a": 1}], dtype=object))


@pytest.mark.parametrize("value", [None, {"nested": 1}, [1, "mixed"]], ids=str)
def test_config_takes_no_none_and_no_nesting(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        ConfigRecord({"x": value})  # type: ignore[dict-item]


@pytest.mark.usefixtures("identity")
def test_new_message_has_no_id_and_the_private_field_sets_it() -> None:
    message = Message(RecordDict(), RECEIVER, "query.offer")
    assert message.metadata.message_id == ""
    with pytest.raises(AttributeError):
        message.metadata.message_id = "x"  # type: ignore[misc]
    name = message.object_id
    assert named(message).metadata.message_id == name
    assert travelled(message).metadata.message_id == name


@pytest.mark.usefixtures("identity")
def test_messages_to_two_nodes_have_two_ids() -> None:
    one, two = (Message(RecordDict(), node, "query.offer") for node in (2, 3))
    assert one.object_id != two.object_id


@pytest.mark.usefixtures("identity")
def test_reply_swaps_the_ends_and_names_its_request() -> None:
    request = travelled(named(Message(RecordDict(), RECEIVER, "train.upload", group_id="g")))
    reply = travelled(named(Message(RecordDict(), reply_to=request)))
    metadata = reply.metadata
    assert (metadata.src_node_id, metadata.dst_node_id) == (RECEIVER, SENDER)
    assert metadata.reply_to_message_id == request.metadata.message_id != ""
    assert (metadata.run_id, metadata.group_id) == (RUN, "g")
    assert metadata.message_type == "train.upload"


@pytest.mark.usefixtures("identity")
def test_reply_to_a_message_without_an_id_names_nothing() -> None:
    """The reason for the reach inside: without it no answer finds its request."""
    request = travelled(Message(RecordDict(), RECEIVER, "train.upload"))
    assert Message(RecordDict(), reply_to=request).metadata.reply_to_message_id == ""


@pytest.mark.usefixtures("identity")
def test_source_of_a_message_has_no_setter() -> None:
    message = Message(RecordDict(), RECEIVER, "query.offer")
    with pytest.raises(AttributeError):
        message.metadata.src_node_id = 99  # type: ignore[misc]


@pytest.mark.usefixtures("identity")
def test_error_reply_survives_the_wire() -> None:
    request = travelled(named(Message(RecordDict(), RECEIVER, "train.upload")))
    reply = travelled(named(Message(Error(2, "R05"), reply_to=request)))
    assert (reply.has_error(), reply.has_content()) == (True, False)
    assert (reply.error.code, reply.error.reason) == (2, "R05")


@pytest.mark.parametrize("kind", ["sum", "score", "train.a.b", "query.9x"])
@pytest.mark.usefixtures("identity")
def test_message_type_outside_the_three_raises(kind: str) -> None:
    with pytest.raises(ValueError, match=r"[Mm]essage"):
        Message(RecordDict(), RECEIVER, kind)


@pytest.mark.usefixtures("identity")
def test_action_that_is_not_registered_raises_in_the_app() -> None:
    context = Context(
        run_id=RUN, node_id=RECEIVER, node_config={}, state=RecordDict(), run_config={}
    )
    message = named(Message(RecordDict(), RECEIVER, "train.other"))
    with pytest.raises(ValueError, match="No train function registered"):
        ClientApp()(message, context)
