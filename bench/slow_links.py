"""A TCP proxy that holds every byte for a while, in both directions: links between towns."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

_CHUNK = 1 << 16


@contextmanager
def slow_links(host: str, port: int, seconds: float) -> Iterator[int]:
    """Listen on the loopback, hand on to ``host:port``; yields the own port."""
    ready: Future[tuple[int, Callable[[], object]]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_run(host, port, seconds, ready)))
    thread.start()
    own, stop = ready.result()
    try:
        yield own
    finally:
        stop()
        thread.join()


async def _run(
    host: str,
    port: int,
    seconds: float,
    ready: "Future[tuple[int, Callable[[], object]]]",
) -> None:
    """Until it is told to stop; connections that are still open are then dropped."""
    server, stop = await _listen(host, port, seconds), asyncio.Event()
    loop = asyncio.get_running_loop()
    own = int(server.sockets[0].getsockname()[1])
    ready.set_result((own, lambda: loop.call_soon_threadsafe(stop.set)))
    await stop.wait()
    server.close()


async def _listen(host: str, port: int, seconds: float) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        with suppress(asyncio.CancelledError):  # of 3.11: a server's task may not be cancelled
            await asyncio.gather(_carry(reader, back, seconds), _carry(there, writer, seconds))

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Bytes in order, each so late; the delay of one does not add to the next one's."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)
