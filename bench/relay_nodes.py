"""A serving coordinator in a process of its own, and scoring streams that answer at once.

The echo half of the relay's measurement: everything but the coordinator costs next to
nothing, so what is measured is the coordinator and its wire.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from consortium import codec
from consortium.codec import Frame, StreamKind
from consortium.inquiries import ScoreAnswers, ScoreFailed, ScoreRequest
from tests.coordinator_house import House
from tests.scoring_lines import JOINT, Line, line

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def coordinator(
    directory: Path, names: tuple[str, ...]
) -> Iterator[tuple[House, psutil.Process]]:
    """A new federation of these partners, served by ``riskweave coordinator serve``."""
    house = House.build(directory, names, JOINT)
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "riskweave", "coordinator", "serve", str(directory)],
        cwd=ROOT,
        env=os.environ | {"RISKWEAVE_LOG": "ERROR"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        assert process.stdout.readline().startswith("serving")  # noqa: S101 - it serves
        yield house, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@dataclass
class Asker:
    """Asks and notes how long each answer took."""

    line: Line
    words: int
    waiting: "dict[int, asyncio.Future[None]]" = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """grpc.aio allows one write at a time."""

    async def listen(self) -> None:
        """Match answers to what was asked, for ever."""
        while isinstance(data := await self.line.stream.call.read(), bytes):
            frame = codec.decode_down(StreamKind.SCORING, data)
            if isinstance(frame.body, ScoreFailed):
                raise RuntimeError(f"not all answered: {frame.body}")  # noqa: TRY004 - no type
            if isinstance(frame.body, ScoreAnswers) and frame.body.last:
                self.waiting.pop(frame.id).set_result(None)

    async def ask(self, request: ScoreRequest, number: int) -> None:
        """One request and its answers."""
        done = asyncio.get_running_loop().create_future()
        self.waiting[number] = done
        data = codec.encode_up(StreamKind.SCORING, Frame(request, number))
        began = time.perf_counter()
        async with self.turn:
            await self.line.stream.call.write(data)
        await done
        self.seconds.append(time.perf_counter() - began)


async def echo(node: Line, words: bytes) -> None:
    """Answer every request at once, for ever."""
    while isinstance(data := await node.stream.call.read(), bytes):
        frame = codec.decode_down(StreamKind.SCORING, data)
        if isinstance(frame.body, ScoreRequest):
            answer = node.answer(frame.body, words)
            await node.stream.call.write(
                codec.encode_up(StreamKind.SCORING, Frame(answer, frame.id))
            )


@asynccontextmanager
async def echoing(house: House, words: int) -> AsyncIterator[tuple[Asker, object]]:
    """All partners connected; the first asks, the others answer ``words`` words at once."""
    names = tuple(house.nodes)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(line(house, name)) for name in names]
        roster = await nodes[0].roster(*sorted(names))
        asker = Asker(nodes[0], words)
        tasks = [asyncio.create_task(echo(node, bytes(8 * words))) for node in nodes[1:]]
        tasks.append(asyncio.create_task(asker.listen()))
        try:
            yield asker, roster
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
