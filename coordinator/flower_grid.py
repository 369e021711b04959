"""ADAPTER Flower: a Grid whose messages travel over the partners' own streams (protocol 12.4).

Flower decides what is sent, ``coordinator.streams`` carries it. Answers are matched by the
stream's frame, never by a field inside the payload, and a message whose source is not the
node that the certificate names is dropped.
"""

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Protocol, Self

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.task_identity import TaskIdentity

from consortium.errors import RiskWeaveError, TransportError
from consortium.ids import PartnerId, RunId, node_id_of

log = logging.getLogger(__name__)

NODE_UNAVAILABLE = 5
"""Flower's error code for a node that is not there (flwr 1.41 ``ErrorCode``)."""

_one_run = threading.Lock()


class Hub(Protocol):
    """What the grid needs of the streams."""

    def connected(self) -> tuple[PartnerId, ...]:
        """Partners with a welcomed training stream."""

    def send(self, partner: PartnerId, payload: bytes, *, timeout_s: float) -> "Future[bytes]":
        """A future of the answer; failed with TransportError when there will be none."""


@dataclass(frozen=True, slots=True)
class RunHandle:
    """The one field of Flower's ``Run`` that this project reads."""

    run_id: int


def flower_run_id(run: RunId) -> int:
    """Flower's 64-bit run id: the first 8 bytes of ours, top bit cleared."""
    return int(run[:16], 16) & (2**63 - 1)


class BidiGrid(Grid):
    """Flower's Grid over the streams of the partners that are connected now.

    One training run at a time per process: Flower keeps the task's identity on a class.
    Close it, or use it as a context manager.
    """

    def __init__(self, hub: Hub, run: RunId) -> None:
        if not _one_run.acquire(blocking=False):
            raise RiskWeaveError("another training run holds this process")
        self._hub = hub
        self._run = RunHandle(flower_run_id(run))
        self._sent = 0
        self._waiting: dict[str, tuple[Message, PartnerId | None, Future[bytes]]] = {}
        TaskIdentity.run_id = self._run.run_id
        TaskIdentity.task_id = self._run.run_id
        TaskIdentity.node_id = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what is under way and let the next run have the process."""
        for _, _, future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        for name in ("_run_id", "_task_id", "_node_id"):
            setattr(TaskIdentity, name, None)  # its setters take no None
        _one_run.release()

    def set_run(self, run: RunHandle) -> None:  # type: ignore[override]
        """Keep the run's handle."""
        self._run = run

    @property
    def run(self) -> RunHandle:  # type: ignore[override]
        """The run's handle."""
        return self._run

    def create_message(  # noqa: PLR0917 - Flower's signature
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A new message of this run."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Nodes connected now, sorted."""
        return sorted(node_id_of(partner) for partner in self._hub.connected())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to the streams; never blocks. An absent node's answer is an error."""
        return [self._push(message, timeout_s=3600.0) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """What has arrived, without waiting; each id is given out once."""
        arrived = [
            name
            for name in dict.fromkeys(message_ids)
            if name in self._waiting and self._waiting[name][2].done()
        ]
        return [self._answer(name) for name in arrived]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push, wait for all or the time-out, return what came; the rest is forgotten."""
        if timeout is None:
            raise RiskWeaveError("a round without a time-out would never end")
        names = [self._push(message, timeout_s=timeout) for message in messages]
        wait([self._waiting[name][2] for name in names], timeout=timeout + 1.0)
        return [self._answer(name) for name in names]

    def _push(self, message: Message, *, timeout_s: float) -> str:
        # Flower's own id is a hash of the whole content; ours is as unique and costs nothing.
        self._sent += 1
        name = f"{self._run.run_id:x}-{self._sent}"
        message.metadata.__dict__["_message_id"] = name
        here = {node_id_of(partner): partner for partner in self._hub.connected()}
        partner = here.get(message.metadata.dst_node_id)
        if partner is None:
            future: Future[bytes] = Future()
            future.set_exception(TransportError("node not connected"))
        else:
            payload = message_to_proto(message).SerializeToString()
            future = self._hub.send(partner, payload, timeout_s=timeout_s)
        self._waiting[name] = (message, partner, future)
        return name

    def _answer(self, name: str) -> Message:
        message, partner, future = self._waiting.pop(name)
        try:
            reply = message_from_proto(ProtoMessage.FromString(future.result(timeout=0)))
        except (RiskWeaveError, TimeoutError) as error:
            future.cancel()
            log.info("no answer from %s: %s", partner or "an absent node", error)
            return Message(Error(NODE_UNAVAILABLE, "unavailable"), reply_to=message)
        except Exception as error:  # noqa: BLE001 - a library's, on bytes that anybody made
            log.warning("frame of %s dropped: not readable, %s", partner, type(error).__name__)
            return Message(Error(NODE_UNAVAILABLE, "unreadable"), reply_to=message)
        if reply.metadata.src_node_id != message.metadata.dst_node_id:
            log.warning("frame of %s dropped: it claims another source", partner)
            return Message(Error(NODE_UNAVAILABLE, "wrong source"), reply_to=message)
        return reply


def run_app(app: ServerApp, grid: BidiGrid) -> None:
    """Run a ServerApp to its end over ``grid``, as Flower's own runner would."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    context = Context(
        run_id=grid.run.run_id, node_id=1, node_config={}, state=RecordDict(), run_config={}
    )
    app(grid, context)
