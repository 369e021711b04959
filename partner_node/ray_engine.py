"""ADAPTER Ray: the engine's own process, and what runs on the workers of its cluster.

This process is started by ``engine_process`` and has no key, seed or noise in its memory:
bytes of jobs come in by one pipe, bytes of answers go out, and it is the only place where what
a cluster sends is unpickled. Ray restarts a worker that dies and does its job again, which
comes to the same integers. Texts of Ray's errors hold traces, so only their names go out.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Protocol

import ray

from consortium.documents import parse_document
from consortium.errors import TransportError
from partner_node.config import LOCAL_RAY
from partner_node.engine_process import ANSWERED, FAILED, Cluster
from partner_node.part_bytes import pack_failure
from partner_node.part_worker import PartWorker

_STORE_BYTES = 80 << 20
"""Ray's least: jobs and answers are small, and rows are never in its store."""
_TRIES = 3
"""How often a job is done again when its worker dies."""


class _Worker(Protocol):
    answer: Any


class Holder:
    """On a worker: keeps its parts of the rows in its own memory, not in Ray's store."""

    def __init__(self) -> None:
        from partner_node.wiring import code_digest  # noqa: PLC0415 - not in this process

        self._worker = PartWorker(code_digest())

    def answer(self, job: bytes) -> bytes:
        """As ``PartWorker.answer``; of any other error the name, its text may hold values."""
        try:
            return self._worker.answer(job)
        except Exception as error:  # noqa: BLE001 - a library's
            return pack_failure(TransportError(f"a worker stopped with {type(error).__name__}"))


def main(handle: int) -> None:
    """The process's whole life: until the pipe closes or the cluster fails."""
    os.dup2(2, 1)  # Ray prints; nothing here speaks by standard output
    pipe = Connection(handle)
    cluster = parse_document(Cluster, pipe.recv_bytes())
    try:
        with _joined(cluster) as ask:
            pipe.send_bytes(ANSWERED)
            _answer_until_closed(pipe, ask)
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # noqa: BLE001 - Ray's, of many kinds
        pipe.send_bytes(FAILED + _said(error).encode())


def _answer_until_closed(
    pipe: Connection, ask: Callable[[Sequence[bytes]], Sequence[bytes]]
) -> None:
    while True:
        jobs = [pipe.recv_bytes() for _ in range(int.from_bytes(pipe.recv_bytes(), "little"))]
        for answer in ask(jobs):
            pipe.send_bytes(ANSWERED + answer)


@contextmanager
def _joined(cluster: Cluster) -> Iterator[Callable[[Sequence[bytes]], Sequence[bytes]]]:
    """Workers of the cluster, each with a processor of its own; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="rwray-") as directory:
        _connect(cluster, directory)
        try:
            processors = int(ray.cluster_resources().get("CPU", 0))
            if processors < cluster.workers:
                raise TransportError(f"{processors} processors, not {cluster.workers}")
            holder = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_TRIES)(Holder)
            workers: list[_Worker] = [holder.remote() for _ in range(cluster.workers)]

            def ask(jobs: Sequence[bytes]) -> Sequence[bytes]:
                asked = [
                    workers[at % len(workers)].answer.remote(job) for at, job in enumerate(jobs)
                ]
                answers: Sequence[bytes] = ray.get(asked, timeout=cluster.deadline_s)
                return answers

            yield ask
        finally:
            ray.shutdown()


def _connect(cluster: Cluster, directory: str) -> None:
    """Raise TransportError with the first line of what Ray says: no row was read yet."""
    quiet = {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}
    try:
        if cluster.address == LOCAL_RAY:
            ray.init(
                address=LOCAL_RAY,
                num_cpus=cluster.workers,
                num_gpus=0,
                object_store_memory=_STORE_BYTES,
                _temp_dir=directory,
                _system_config={"automatic_object_spilling_enabled": False},
                **quiet,
            )
        else:
            ray.init(address=cluster.address, **quiet)
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        raise TransportError(f"Ray does not start: {line or type(error).__name__}") from error


def _said(error: Exception) -> str:
    if isinstance(error, TransportError):
        return str(error)
    return type(error).__name__
