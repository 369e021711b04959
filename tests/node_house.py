"""A federation of real node directories and a coordinator, in one process, over real TLS.

Keys, tokens, certificates, manifest, gRPC: all are what operators use. The coordinator and
the nodes' links run in one event loop in a thread of its own, so that a test is plain
blocking code; what stands in for the training process is a function of the test.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import coordinator.wiring as operator
from consortium.codec import StreamKind
from consortium.ids import PartnerId
from consortium.manifest import Manifest
from coordinator import commands
from coordinator.audit_log import AuditLog
from coordinator.config import parse_policy
from coordinator.doors import Doors
from coordinator.server import Questions, Server
from coordinator.streams import Greet, Settings, StreamHub
from partner_node import joining, serving, wiring
from partner_node.keystore import Pin
from partner_node.link import Link
from partner_node.link_ports import Pace, Ports
from tests.coordinator_house import SCHEMA, free_address

DEADLINE_S = 10.0
POLICY = parse_policy("[policy]\nmin_partners = 2\nvote_quorum = 2\n", "test")
PACE = Pace(first_wait=0.02, longest_wait=0.1, farewell=0.5)
"""An impatient node, so that tests are short."""

T = TypeVar("T")
Handle = Callable[[bytes], Awaitable[bytes]]


async def echo(payload: bytes) -> bytes:
    """Stands in for the training process."""
    return b"echo " + payload


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], seconds: float = DEADLINE_S) -> T:
        """Run it there and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class Seen:
    """What a node's link told of its streams."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._up: set[StreamKind] = set()
        self.ups = dict.fromkeys(StreamKind, 0)
        self.downs = dict.fromkeys(StreamKind, 0)

    def tell(self, kind: StreamKind, up: bool) -> None:  # noqa: FBT001 - a port
        with self._changed:
            (self._up.add if up else self._up.discard)(kind)
            (self.ups if up else self.downs)[kind] += 1
            self._changed.notify_all()

    def wait(self, holds: Callable[["Seen"], bool], seconds: float = DEADLINE_S) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), seconds), "deadline passed"

    def both_up(self) -> bool:
        return self._up == set(StreamKind)


@dataclass
class Running:
    """One node's link at work."""

    task: "asyncio.Task[None]"
    stop: asyncio.Event
    seen: Seen


class Federation:
    """One coordinator, two nodes that have joined; a manifest once ``found`` was called."""

    def __init__(self, root: Path, loop: Loop) -> None:
        self.root, self.loop = root, loop
        self.desk = self._coordinator()
        self.nodes: dict[str, wiring.Desk] = {}

    def _coordinator(self) -> operator.Desk:
        birth = operator.Birth(
            name="test", schema=SCHEMA, address=free_address(), enrolment=free_address()
        )
        operator.initialise(self.root / "c", birth)
        return operator.open_desk(self.root / "c")

    def token(self, name: str, *, hours: int = 1, suffix: str = "") -> Path:
        """The file that the operator hands to that partner."""
        families = self.desk.schema.families[:1]
        token = commands.issue_token(self.desk, PartnerId(name), families, hours=hours)
        path = self.root / f"{name}{suffix}.token"
        path.write_text(token.encode() + "\n")
        return path

    def node(self, name: str) -> wiring.Desk:
        """A new node directory that has not joined."""
        joining.initialise(self.root / name, PartnerId(name), None)
        return wiring.open_desk(self.root / name)

    def join(self, name: str) -> wiring.Desk:
        """A node that has joined; the coordinator must serve."""
        joining.join(self.node(name), self.token(name))
        self.nodes[name] = wiring.open_desk(self.root / name)
        return self.nodes[name]

    def found(self, *names: str) -> Manifest:
        """Join, propose, sign: the first manifest is in force."""
        for name in names:
            self.join(name)
        manifest = self.propose()
        for node in self.nodes.values():
            joining.trust(node, joining.proposed(node, manifest.digest))
        return manifest

    def propose(self) -> Manifest:
        """Draft the next manifest over all enrolled members."""
        return self.desk.membership.propose("test", self.desk.schema, POLICY)

    @contextmanager
    def serving(
        self,
        *,
        settings: Settings | None = None,
        greet: Greet | None = None,
        logged: bool = False,
    ) -> Iterator[StreamHub]:
        """Both doors open; ``greet`` in place of the honest answer to a greeting.

        ``logged``: with a log, which every signature then comes with an entry for.
        """
        log = self.desk.log if logged else None
        greet = greet or self.desk.membership.greet
        hub, server = self.loop.call(self._start(settings, greet, log))
        try:
            yield hub
        finally:
            self.loop.call(server.stop())

    async def _start(
        self, settings: Settings | None, greet: Greet, log: AuditLog | None
    ) -> tuple[StreamHub, Server]:
        desk, config = self.desk, self.desk.config
        hub = StreamHub(greet, settings)
        server = Server(
            Doors(
                federation=config.federation_address,
                enrolment=config.enrolment_address,
                federation_public=config.federation_public,
                tls=desk.tls,
            ),
            questions=Questions(desk.store, desk.membership, hub, now=operator.now, log=log),
            membership=desk.membership,
            hub=hub,
            authority=desk.authority,
        )
        await server.start()
        return hub, server

    @contextmanager
    def linked(
        self, node: wiring.Desk, handle: Handle = echo, *, pace: Pace = PACE, **ports: object
    ) -> Iterator[Seen]:
        """The node's link at work; ``ports`` replace what its directory says."""
        running = self.loop.call(self._link(node, handle, pace, ports))
        try:
            yield running.seen
        finally:
            self.loop.call(_stop(running))

    async def _link(
        self, node: wiring.Desk, handle: Handle, pace: Pace, ports: dict[str, Any]
    ) -> Running:
        seen, stop = Seen(), asyncio.Event()
        honest = Ports(
            dial=node.dial,
            pin=serving.SignedPin(node).get,
            handle=handle,
            entropy=lambda size: wiring.entropy().expose()[:size],
            on_change=seen.tell,
        )
        link = Link(replace(honest, **ports), pace)
        return Running(asyncio.create_task(link.run(stop)), stop, seen)

    def pin_of(self, node: wiring.Desk) -> Callable[[], Awaitable[Pin]]:
        """A port that always gives the manifest which this node has pinned now."""
        pin = node.completed_pin()

        async def get() -> Pin:
            return pin

        return get


async def _stop(running: Running) -> None:
    running.stop.set()
    await asyncio.wait_for(running.task, DEADLINE_S)
