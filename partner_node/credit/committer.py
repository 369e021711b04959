"""Group commit: works of many callers in one flushed transaction, each whole or not at all.

One thread writes. What waits when it is free goes into the next transaction together, so
that a flush is shared by all who came meanwhile; an idle desk waits for nobody. A work that
fails is undone alone. Nobody learns of a result before it is on disk.

Works of one kind that wait together are one call (``share``): what they read of the database
is read once for all of them, what they write is written in one statement, and their loop is
woken once. Each statement and each waking gives the interpreter away, which a busy loop
hands back a millisecond later.
"""

import asyncio
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from consortium.errors import OutOfOrderError
from partner_node.credit.storage import Connection, CreditStore, check_open, savepoint

T = TypeVar("T")
D = TypeVar("D")

Together = Callable[[Connection, Sequence[D]], Sequence[T | Exception]]
"""Does works of one kind: a result for each, in order, or why there is none for this one."""

MOST_WORKS = 64
"""Of one transaction: so long may the first of them wait for the last."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One caller's own work."""

    work: Callable[[Connection], Any]
    future: "Future[Any]"

    def wanted(self) -> bool:
        """Whether who asked for it still waits; it cannot be called off any more."""
        return self.future.set_running_or_notify_cancel()


@dataclass(frozen=True, slots=True)
class _Share:
    """One caller's part of works that are done together."""

    together: Together[Any, Any]
    part: Any
    future: "asyncio.Future[Any]"

    def wanted(self) -> bool:
        """Whether who asked for it still waits."""
        return not self.future.done()


_Job = _Work | _Share
_Results = list[tuple[_Job, Any]]


class Committer:
    """Runs works one after the other; ``close`` ends it when all are done."""

    def __init__(self, store: CreditStore) -> None:
        self._store = store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="credit-commit", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> "Future[T]":
        """Have ``work`` done in a transaction; its result is on disk when it is told.

        Raises:
            OutOfOrderError: closed.
        """
        future: Future[T] = Future()
        self._put(_Work(work, future))
        return future

    def share(self, together: Together[D, T], part: D) -> "asyncio.Future[T]":
        """Have ``together`` done with all parts that wait for it, in their order.

        Returns:
            The result for this part, in the running loop.

        Raises:
            OutOfOrderError: closed.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Share(together, part, future))
        return future

    def close(self) -> None:
        """Do what waits, then end."""
        with self._turn:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _put(self, job: _Job) -> None:
        with self._turn:
            if self._closed:
                raise OutOfOrderError("the desk is closing")
            self._jobs.put(job)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, more = [first], True
            while more and len(batch) < MOST_WORKS:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    self._jobs.put(None)
                    more = False
                else:
                    batch.append(job)
            self._commit([job for job in batch if job.wanted()])

    def _commit(self, batch: list[_Job]) -> None:
        if not batch:
            return
        results: _Results = []
        try:
            with self._store.transaction() as connection:
                for jobs in _calls(batch):
                    results += zip(jobs, _made(connection, jobs), strict=True)
                    check_open(connection)
        except BaseException as error:  # noqa: BLE001 - nothing is kept: all learn why
            results = [(job, error) for job in batch]
        _tell(results)


def _calls(batch: Sequence[_Job]) -> list[list[_Job]]:
    """The works of a batch; shares of one kind are one call, where the first of them stands."""
    calls: list[list[_Job]] = []
    known: dict[Together[Any, Any], list[_Job]] = {}
    for job in batch:
        if isinstance(job, _Share) and job.together in known:
            known[job.together].append(job)
            continue
        calls.append([job])
        if isinstance(job, _Share):
            known[job.together] = calls[-1]
    return calls


def _made(connection: Connection, jobs: Sequence[_Job]) -> Sequence[Any]:
    first = jobs[0]
    try:
        with savepoint(connection):
            if isinstance(first, _Work):
                return [first.work(connection)]
            return first.together(connection, [cast("_Share", job).part for job in jobs])
    except Exception as error:  # noqa: BLE001 - told to who asked for it
        return [error] * len(jobs)


def _tell(results: _Results) -> None:
    """Results to who waits for them: works in this thread, shares by one call of their loop."""
    loops = defaultdict[asyncio.AbstractEventLoop, list[tuple["asyncio.Future[Any]", Any]]](
        list
    )
    for job, made in results:
        if isinstance(job, _Share):
            loops[job.future.get_loop()].append((job.future, made))
        elif isinstance(made, BaseException):
            job.future.set_exception(made)
        else:
            job.future.set_result(made)
    for loop, pairs in loops.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, made in pairs:
        if future.done():
            continue
        if isinstance(made, BaseException):
            future.set_exception(made)
        else:
            future.set_result(made)
