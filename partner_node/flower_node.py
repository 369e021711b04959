"""ADAPTER Flower: bytes of a Flower message in, bytes of the answer out (protocol 12.4).

Runs in the training process only; ``partner_node.worker`` owns that process.
"""

import logging
from collections import OrderedDict
from multiprocessing.connection import Connection

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity

from partner_node.client_app import RECORDS, Sessions, build_app
from partner_node.worker import LOST, STOP

log = logging.getLogger(__name__)

WORKER_LOST = 8
"""Flower's code for an application that crashed (flwr 1.41 ``ErrorCode``)."""

_CONTEXTS_KEPT = 2  # the current run and the one before


def answer_until_stopped(pipe: Connection, sessions: Sessions) -> None:
    """Answer messages from ``pipe`` until it closes or says stop; no bytes = not a message."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    answering = Answering(sessions)
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            return  # the node is gone
        if request[:1] == STOP:
            return
        pipe.send_bytes(answering.answer(request[1:], lost=request[:1] == LOST))


class Answering:
    """The ClientApp behind the serialised form of Flower's messages."""

    def __init__(self, sessions: Sessions) -> None:
        self._app = build_app(sessions)
        self._contexts: OrderedDict[int, Context] = OrderedDict()

    def answer(self, payload: bytes, *, lost: bool = False) -> bytes:
        """The serialised answer; empty if ``payload`` is no Flower message to this app."""
        try:
            message = message_from_proto(ProtoMessage.FromString(payload))
        except Exception as error:  # noqa: BLE001 - a library's, on bytes that anybody made
            name = type(error).__name__
            log.warning("a frame of %d bytes holds no Flower message: %s", len(payload), name)
            return b""
        if message.metadata.message_type not in RECORDS:
            # Flower looks for the action before any mod runs, and raises.
            log.warning("a frame of %d bytes asks for no action of ours", len(payload))
            return b""
        TaskIdentity.run_id = TaskIdentity.task_id = message.metadata.run_id
        TaskIdentity.node_id = message.metadata.dst_node_id
        if lost:
            reply = Message(Error(WORKER_LOST, "worker lost"), reply_to=message)
        else:
            reply = self._app(message, self._context(message))
        reply.metadata.__dict__["_message_id"] = f"re-{message.metadata.message_id}"
        return message_to_proto(reply).SerializeToString()

    def _context(self, message: Message) -> Context:
        run = message.metadata.run_id
        if run not in self._contexts:
            self._contexts[run] = Context(
                run_id=run,
                node_id=message.metadata.dst_node_id,
                node_config={},
                state=RecordDict(),
                run_config={},
            )
            while len(self._contexts) > _CONTEXTS_KEPT:
                self._contexts.popitem(last=False)
        return self._contexts[run]
