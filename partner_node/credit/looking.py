"""Look-ups in the desk's database beside the event loop, shared by those who come meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SharedLook(Generic[K, V]):
    """Looks names up: those that come while it looks share the next look. One event loop."""

    def __init__(self, look: Callable[[Sequence[K]], Sequence[V]]) -> None:
        """``look``: what is found, one for each name; called in a thread, one at a time."""
        self._look = look
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def find(self, name: K) -> V:
        """What was found of a name; raises what the look raises."""
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, future))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                found = await asyncio.to_thread(self._look, [name for name, _ in waiting])
            except Exception as error:  # noqa: BLE001 - told to who asked for it
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), one in zip(waiting, found, strict=True):
                    if not future.done():
                        future.set_result(one)
