"""Group commit: works of many callers in one flushed transaction, each whole or not at all.

One thread writes. What waits when it is free goes into the next transaction together, so
that a flush is shared by all who came meanwhile; an idle desk waits for nobody. A work that
fails is undone alone. Nobody learns of a result before it is on disk.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from consortium.errors import OutOfOrderError
from partner_node.credit.storage import Connection, CreditStore, check_open, savepoint

T = TypeVar("T")

MOST_WORKS = 64
"""Of one transaction: so long may the first of them wait for the last."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    future: "Future[Any]"


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
        with self._turn:
            if self._closed:
                raise OutOfOrderError("the desk is closing")
            self._jobs.put(_Job(work, future))
        return future

    def close(self) -> None:
        """Do what waits, then end."""
        with self._turn:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

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
            self._commit([job for job in batch if job.future.set_running_or_notify_cancel()])

    def _commit(self, batch: list[_Job]) -> None:
        done: list[tuple[_Job, Any]] = []
        failed: list[tuple[_Job, BaseException]] = []
        try:
            with self._store.transaction() as connection:
                for job in batch:
                    try:
                        with savepoint(connection):
                            result = job.work(connection)
                    except Exception as error:  # noqa: BLE001 - told to who asked for it
                        failed.append((job, error))
                    else:
                        done.append((job, result))
                    check_open(connection)
        except BaseException as error:  # noqa: BLE001 - nothing is kept: all learn why
            failed = [(job, error) for job in batch]
            done = []
        for job, why in failed:
            job.future.set_exception(why)
        for job, result in done:
            job.future.set_result(result)
