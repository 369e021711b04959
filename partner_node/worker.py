"""The node's training process: started once, fed with bytes, replaced when it dies.

Training runs in one persistent process, started before any channel exists (gRPC does not
survive a fork), at lower priority, so that a long round never delays the other streams.
Only that process imports flwr and torch (``partner_node.flower_node``).
"""

import asyncio
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from consortium.errors import DecodeError, TransportError
from partner_node.study import SOCKET, ImpactStudy, Study, StudyAsker, StudyServer

log = logging.getLogger(__name__)

STOP, CALL, LOST = b"s", b"c", b"l"


class Worker:
    """One message at a time goes to the process; a process that dies is replaced."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turn = asyncio.Lock()
        self._studies: StudyServer | None = None
        self._process, self._pipe, self._rows = _spawn(directory)

    def attach(self, study: Study, impact: ImpactStudy) -> None:
        """Let the process ask for joint sums; call once, in the loop, before any message."""
        self._studies = StudyServer(study, impact, asyncio.get_running_loop())
        self._studies.serve(self._rows)
        self._studies.listen(self._directory / SOCKET)

    @property
    def pid(self) -> int | None:
        """Process id of the training process."""
        return self._process.pid

    async def handle(self, payload: bytes) -> bytes:
        """The answer to one Flower message.

        A process that dies in the middle is replaced, and the answer is Flower's error 8:
        the attempt it had is lost and stays charged. A caller that gives up does not end
        the exchange, so that the next one cannot get its answer.

        Raises:
            DecodeError: the bytes are no Flower message. Fault: the coordinator.
            TransportError: the second process died as well.
        """
        return await asyncio.shield(asyncio.create_task(self._in_turn(payload)))

    async def _in_turn(self, payload: bytes) -> bytes:
        async with self._turn:
            try:
                return await asyncio.to_thread(self._exchange, CALL + payload)
            except (EOFError, OSError):
                log.exception("training process died; starting another")
            self._process.join(timeout=1)
            self._process, self._pipe, self._rows = _spawn(self._directory)
            if self._studies is not None:
                self._studies.serve(self._rows)
            try:
                return await asyncio.to_thread(self._exchange, LOST + payload)
            except (EOFError, OSError) as error:
                raise TransportError("training process died twice") from error

    def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        try:
            self._pipe.send_bytes(STOP)
        except OSError:
            log.info("training process was gone already")
        self._process.join(timeout=3)
        if self._process.is_alive():
            self._process.kill()

    def _exchange(self, request: bytes) -> bytes:
        self._pipe.send_bytes(request)
        answer = self._pipe.recv_bytes()
        if not answer:
            raise DecodeError("frame holds no Flower message")
        return answer


def _spawn(directory: Path) -> tuple[BaseProcess, Connection, Connection]:
    """The process, the pipe for messages to it and the one for its questions."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    asked, asking = context.Pipe()
    arguments = (theirs, asking, str(directory))
    process = context.Process(target=_main, args=arguments, daemon=True)
    process.start()
    theirs.close()
    asking.close()
    return process, ours, asked


def _main(pipe: Connection, asking: Connection, directory: str) -> None:
    """The process's whole life. Flower's switches are read when it is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from partner_node.training_parts import worker_sessions  # noqa: PLC0415 - sets the switches

    sessions = worker_sessions(Path(directory), StudyAsker(asking))
    from partner_node.flower_node import answer_until_stopped  # noqa: PLC0415 - after them

    answer_until_stopped(pipe, sessions)
