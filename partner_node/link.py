"""This node dials its coordinator; nothing ever dials the node (protocol 12).

``Link`` keeps the two streams up: each has a channel of its own, greets, checks the
coordinator's proof, then carries frames until one side leaves, and dials again with back-off.
Single questions are asked in ``partner_node.door``.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

from consortium import bounds, errors
from consortium.codec import StreamKind
from consortium.messages import PROTOCOL_VERSION, Hello
from partner_node.coordinator_channel import channel_of
from partner_node.link_ports import Pace, Ports
from partner_node.link_stream import Stream, returns
from partner_node.targets import Targets

log = logging.getLogger(__name__)


class Link:
    """Both streams of this node, for as long as ``run`` runs."""

    def __init__(self, ports: Ports, pace: Pace | None = None) -> None:
        self._ports = ports
        self._pace = pace or Pace()
        self._targets = {kind: Targets() for kind in StreamKind}
        self._current: dict[StreamKind, Stream] = {}
        """The stream of each kind that is in use; an earlier one may still be answered on."""

    async def run(self, stop: asyncio.Event) -> None:
        """Keep both streams up until ``stop``; then say goodbye.

        No error of the network or the peer ends it: each is logged, and the stream is
        dialled again at the next address of the coordinator, and after all have failed after
        a wait of 0.2 s, doubled up to 3 s, with jitter.
        """
        async with asyncio.TaskGroup() as group:
            for kind in StreamKind:
                group.create_task(self._keep(kind, stop))

    async def _keep(self, kind: StreamKind, stop: asyncio.Event) -> None:
        loop, pace = asyncio.get_running_loop(), self._pace
        wait, told = pace.first_wait, ""
        while not stop.is_set():
            if self._ports.stopped():
                await _pause(stop, pace.look)
                continue
            began, again = loop.time(), True
            try:
                await self._connect(kind, stop)
            except errors.RiskWeaveError as error:
                told = _tell(kind, error, told)
                again = self._targets[kind].failed(error)
            if loop.time() - began > pace.stable:
                wait = pace.first_wait
            await _pause(stop, (wait if again else pace.first_wait) * self._jitter())
            if again:
                wait = min(2 * wait, pace.longest_wait)

    def _jitter(self) -> float:
        """Between a half and one, so that nodes do not dial in step."""
        return 0.5 + self._ports.entropy(1)[0] / 512

    async def _connect(
        self, kind: StreamKind, stop: asyncio.Event, *, up: asyncio.Event | None = None
    ) -> None:
        """One stream, from its dial to its end, and those that come after it in its place.

        ``up`` is set when it is welcomed; it is then the successor of one that lives.

        Raises:
            TrustError: the other side is not the manifest's coordinator, or works under
                another manifest. Fault: the coordinator.
            TransportError: it is not reachable, left, or fell silent.
            ProtocolError: it sent what may not be sent.
        """
        pin = await self._ports.pin()
        certificate = self._ports.renewed()
        dial = self._ports.dial()
        target = await self._targets[kind].current(dial.address)
        async with channel_of(replace(dial, address=target), kind) as channel:
            stream = Stream(kind, channel, self._ports, self._pace)
            hello = Hello(
                protocol_version=PROTOCOL_VERSION,
                software=dial.software,
                partner=dial.partner,
                manifest=pin.digest,
                nonce=self._ports.entropy(bounds.KEY_BYTES),
                successor=up is not None,
            )
            await stream.greet(hello, pin)
            log.info("%s stream is up", kind.value)
            self._current[kind] = stream
            if up is not None:
                up.set()
            self._ports.on_change(kind, True)  # noqa: FBT003 - a port
            try:
                if kind is StreamKind.SCORING:
                    self._ports.scoring.attach(stream.send)
                await self._carry(stream, certificate, stop)
            finally:
                stream.down = True
                if self._current.get(kind) is stream:
                    del self._current[kind]
                    if kind is StreamKind.SCORING:
                        self._ports.scoring.on_down()
                    self._ports.on_change(kind, False)  # noqa: FBT003 - a port

    async def _carry(self, stream: Stream, certificate: object, stop: asyncio.Event) -> None:
        """Carry it; once there is another certificate, dial a successor and go on with that.

        The old stream is read until the coordinator has all its answers and ends it: neither
        a round nor a score is lost by a renewal (protocol 12.3).
        """
        loop = asyncio.get_running_loop()
        carrying = asyncio.create_task(stream.carry(stop))
        after: asyncio.Task[None] | None = None
        up, due = asyncio.Event(), 0.0
        try:
            while not carrying.done():
                await asyncio.wait([carrying], timeout=self._pace.look)
                if after is not None and after.done():
                    _tell(stream.kind, _failure_of(after), "")
                    after, due = None, loop.time() + self._pace.longest_wait
                elif (
                    after is None
                    and loop.time() >= due
                    and self._ports.renewed() != certificate
                ):
                    up = asyncio.Event()
                    again = self._connect(stream.kind, stop, up=up)
                    after = asyncio.create_task(again)
            if after is not None and await self._comes_up(after, up, stream):
                log.info("%s stream goes on with another certificate", stream.kind.value)
                await after
            else:
                await carrying
        finally:
            for task in (carrying, after):
                if task is not None:
                    task.cancel()
            waiting = [task for task in (carrying, after) if task is not None]
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _comes_up(
        self, after: "asyncio.Task[None]", up: asyncio.Event, stream: Stream
    ) -> bool:
        """Whether a stream that has ended has its successor.

        The coordinator ends it when it welcomes the other, and that word may come first.
        """
        stream.down = True
        waiting = asyncio.create_task(returns(up.wait()))
        try:
            await asyncio.wait(
                [after, waiting],
                timeout=self._pace.welcome,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        return up.is_set()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _failure_of(task: "asyncio.Task[None]") -> errors.RiskWeaveError:
    """Why a successor did not come up; the stream that is there goes on."""
    error = task.exception()
    if isinstance(error, errors.RiskWeaveError):
        return error
    return errors.TransportError("the successor of a stream ended")


def _tell(kind: StreamKind, error: errors.RiskWeaveError, told: str) -> str:
    """Log an error unless it is the same as at the last dial."""
    text = f"{kind.value} stream: {error}"
    if text != told:
        level = logging.ERROR if isinstance(error, errors.TrustError) else logging.WARNING
        log.log(level, "%s; dialling again", text)
    return text
