"""What the owner's commands ask of the serving process: a unix socket in the node's directory.

One JSON object a line, both ways; only the owner may open the socket. Counts of this node's
own customers go over it, no person and no token.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path

from consortium.errors import ConfigurationError, RiskWeaveError, TransportError
from partner_node.scoring_session import ScoringSession
from partner_node.token_load import Progress

SOCKET = "node.sock"
_LONGEST = 4_096
Tell = Callable[[dict[str, object]], None]


class Control:
    """Answers the owner's commands in the link's loop."""

    def __init__(self, session: ScoringSession) -> None:
        self._session = session
        self._verbs: dict[str, Callable[[Tell], Awaitable[None]]] = {
            "tokenize": self._tokenize,
            "scoring": self._scoring,
            "refresh": self._refresh,
            "elsewhere": self._elsewhere,
        }

    async def _tokenize(self, tell: Tell) -> None:
        await self._session.tokenize(lambda progress: tell(_lines_of(progress)))

    async def _scoring(self, tell: Tell) -> None:
        tell(asdict(self._session.status()))

    async def _refresh(self, tell: Tell) -> None:
        await self._session.rebuild()
        tell(asdict(self._session.status()))

    async def _elsewhere(self, tell: Tell) -> None:
        tell({"persons": await self._session.ask_elsewhere()})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One command: lines while it runs, then ``{"end": ""}`` or ``{"end": error}``."""

        def tell(found: dict[str, object]) -> None:
            writer.write(json.dumps(found).encode() + b"\n")

        try:
            asked = (await reader.readline()).decode("ascii").strip()
            work = self._verbs.get(asked)
            if work is None:
                tell({"end": "unknown command"})
            else:
                tell({"end": await _ended(work(tell))})
            await writer.drain()
        except (OSError, ValueError):
            return  # the command was killed; what it began goes on
        finally:
            writer.close()


async def _ended(work: Awaitable[None]) -> str:
    try:
        await work
    except RiskWeaveError as error:
        return str(error) or error.public
    return ""


def _lines_of(progress: Progress) -> dict[str, object]:
    return {
        "persons": progress.persons,
        "known": progress.known,
        "waiting": progress.waiting,
        "faults": dict(progress.faults),
        "done": progress.done,
    }


@asynccontextmanager
async def listening(directory: Path, session: ScoringSession) -> AsyncIterator[None]:
    """Answer the owner's commands inside the block.

    Raises:
        ConfigurationError: the socket cannot be made.
    """
    control = Control(session)
    with _near(directory) as path:
        (directory / SOCKET).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(control.serve, path, limit=_LONGEST)
        except OSError as error:
            raise ConfigurationError(f"{directory / SOCKET}: {error.strerror}") from error
        finally:
            os.umask(before)
    try:
        yield
    finally:
        server.close()
        (directory / SOCKET).unlink(missing_ok=True)


def ask(directory: Path, command: str) -> Iterator[dict[str, object]]:
    """What the serving process tells of a command, line by line.

    Raises:
        ConfigurationError: no process serves this node, or the command failed there.
        TransportError: the process ended in the middle.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _near(directory) as path:
                connection.connect(path)
        except OSError as error:
            raise ConfigurationError(
                f"{directory} is not served; run: riskweave node serve {directory}"
            ) from error
        connection.sendall(command.encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                found: dict[str, object] = json.loads(line)
                if "end" in found:
                    if found["end"]:
                        raise ConfigurationError(str(found["end"]))
                    return
                yield found
    raise TransportError("the serving process ended")


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
