"""Health and metrics over HTTP: a unix socket always, an address if one is configured.

``GET /healthz`` is answered by the event loop alone: whoever gets 200 knows that it turns.
Other pages may ask the database, so they are made in one thread, one after the other: slow
scrapes wait for each other and for nobody else.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from consortium.errors import ConfigurationError, RiskWeaveError

SOCKET = "health.sock"
_LONGEST = 4_096
"""Bytes of a request's head."""
_HEAD_S, _PAGE_S = 5.0, 20.0
_AT_A_TIME = 16
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    status: int = 200
    kind: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]
"""Path -> what makes its page; may block, and may raise an error of ours: then 503."""

_HEALTHY = Page(b"ok\n")


class _Door:
    """Reads one request of a connection and answers it."""

    def __init__(self, pages: Pages, pool: ThreadPoolExecutor) -> None:
        self._pages = pages
        self._pool = pool
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _AT_A_TIME:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_S)
                writer.write(_rendered(await self._page(head)))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return  # who asked is gone, or asks for too much
        finally:
            self._open -= 1
            writer.close()

    async def _page(self, head: bytes) -> Page:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("ascii", "replace")
        if method != b"GET":
            return Page(b"only GET\n", 405)
        if path == "/healthz":
            return _HEALTHY
        make = self._pages.get(path)
        if make is None:
            return Page(b"no such page\n", 404)
        making = asyncio.get_running_loop().run_in_executor(self._pool, make)
        try:
            return await asyncio.wait_for(making, _PAGE_S)
        except RiskWeaveError as error:
            return Page(error.public.encode() + b"\n", 503)
        except TimeoutError:
            return Page(b"busy\n", 503)


def _rendered(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.kind}\r\n"
        f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + page.body


@asynccontextmanager
async def open_health(directory: Path, pages: Pages, listen: str | None) -> AsyncIterator[None]:
    """Answer inside the block, on ``DIR/health.sock`` (mode 0600) and on ``listen``.

    Args:
        directory: Of the role.
        pages: All but ``/healthz``.
        listen: host:port without TLS, for the inside; None: no port.

    Raises:
        ConfigurationError: the socket or the address cannot be bound.
    """
    pool = ThreadPoolExecutor(1, "health")
    door = _Door(pages, pool)
    servers = [await _on_socket(directory, door)]
    try:
        if listen is not None:
            servers.append(await _on_port(listen, door))
        yield
    finally:
        for server in servers:
            server.close()
        (directory / SOCKET).unlink(missing_ok=True)
        pool.shutdown(wait=False, cancel_futures=True)


async def _on_socket(directory: Path, door: _Door) -> asyncio.Server:
    with _near(directory) as path:
        (directory / SOCKET).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(door.serve, path, limit=_LONGEST)
        except OSError as error:
            raise ConfigurationError(f"{directory / SOCKET}: {error.strerror}") from error
        finally:
            os.umask(before)


async def _on_port(listen: str, door: _Door) -> asyncio.Server:
    host, _, port = listen.rpartition(":")
    try:
        return await asyncio.start_server(
            door.serve, host.strip("[]"), int(port), limit=_LONGEST
        )
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {listen}: {error.strerror}") from error


@contextmanager
def _near(directory: Path) -> Iterator[str]:
    """The socket's path through a descriptor: a unix socket's own may have 107 bytes only."""
    try:
        handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from error
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
