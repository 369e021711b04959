"""ADAPTER gRPC: a replica that does not lead, and how it waits until it does (adr/0044).

Its doors are open, so that whoever dials it learns at once to ask the next address; nobody is
authenticated and nothing is read or written. ``/readyz`` says 503, so that a balancer sends
nobody here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from consortium.errors import DeposedError, StandbyError, StorageError
from coordinator.doors import OPTIONS, Doors, bind, credentials
from coordinator.leadership import BEAT_S, LEASE_S, Seat, Transactions
from upkeep.health_door import Page

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Between two attempts to take the seat."""
GRACE_S = LEASE_S + 5.0
"""How long a leader goes on without word from its seat: then another may long have it."""
_AGAIN_S = 0.2

_Result = TypeVar("_Result")
Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def not_ready() -> Page:
    """The page of ``/readyz``."""
    return Page(b"standby: another replica leads\n", 503)


class _Refusing(grpc.GenericRpcHandler):
    """Every method of every service; on the wire a single question is a stream, too."""

    def service(self, _call: grpc.HandlerCallDetails) -> Method:
        return grpc.stream_stream_rpc_method_handler(cast("Any", _refuse))


async def _refuse(_frames: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, StandbyError.public)


@asynccontextmanager
async def standby_doors(doors: Doors, root: bytes) -> AsyncIterator[None]:
    """Refuse on both addresses inside the block; they are free again after it.

    Args:
        doors: As of a leader.
        root: Certificate of the authority, PEM.

    Raises:
        ConfigurationError: an address is in use or cannot be bound.
    """
    servers = []
    try:
        for address, asked in ((doors.federation, root), (doors.enrolment, None)):
            server = grpc.aio.server(options=OPTIONS)
            servicer = health.aio.HealthServicer()
            await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
            server.add_generic_rpc_handlers((_Refusing(),))
            bind(server, address, credentials(doors, asked))
            servers.append(server)
            await server.start()
        yield
    finally:
        for server in servers:
            await server.stop(0)


def metrics_page(directory: Path, certificate_days: Callable[[], int]) -> Callable[[], Page]:
    """The page of ``/metrics``."""
    from coordinator.metrics import Standby  # noqa: PLC0415 - serving only

    return Standby(directory, certificate_days).page


async def breathing(seat: Seat, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do the work while the seat gives its signs of life; raises StorageError if it is lost."""
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.wait((task,), timeout=BEAT_S)
        await asyncio.to_thread(seat.confirm)
    return await task


async def take_seat(seat: Seat, stopped: asyncio.Event) -> bool:
    """Wait until the seat is ours; False: stopped before that. No error ends the waiting."""
    told = ""
    while not stopped.is_set():
        try:
            if await asyncio.to_thread(seat.attempt):
                return True
            text = "another replica leads"
        except StorageError as error:
            text = str(error)
        if text != told:
            log.info("standby: %s", text)
            told = text
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), LOOK_S)
    return False


async def keep_seat(seat: Seat, store: Transactions) -> None:
    """Keep it for as long as this process leads; never returns.

    A connection that was cut, or a server that was started again, is dialled again: who has
    the seat then and finds its own epoch in the database goes on as if nothing had been.

    Raises:
        DeposedError: another leads.
        StorageError: no word from the database for ``GRACE_S``.
    """
    loop = asyncio.get_running_loop()
    # A thread of its own: the seat must not wait behind a database that is slow.
    thread = ThreadPoolExecutor(1, "seat")
    held, wait = loop.time(), BEAT_S
    try:
        while True:
            await asyncio.sleep(wait)
            began = loop.time()
            asking = loop.run_in_executor(thread, _still, seat, store)
            try:
                await asyncio.wait_for(asking, max(0.1, held + GRACE_S - began))
                held, wait = began, BEAT_S
            except DeposedError:
                raise
            except (StorageError, TimeoutError) as error:
                if loop.time() - held >= GRACE_S:
                    raise StorageError(
                        f"no word from the database for {GRACE_S:g} s: another may lead"
                    ) from error
                wait = _AGAIN_S
    finally:
        thread.shutdown(wait=False)


def _still(seat: Seat, store: Transactions) -> None:
    """Raise unless the seat is still ours, or ours again before anybody else led."""
    try:
        seat.confirm()
    except StorageError as error:
        taken = seat.attempt()
        with store.transaction():
            pass  # the fence says whether another has led meanwhile
        if not taken:
            raise StorageError("the seat is not free again yet") from error
        log.warning("the seat was lost and taken again: %s", error)
