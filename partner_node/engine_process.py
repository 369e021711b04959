"""The engine's process, as the training process sees it: bytes through a pipe, and a deadline.

The process that has keys, seeds and noise never talks to a cluster: what comes from there is
unpickled in a process of its own (``ray_engine``), whose memory has nothing to steal, and whose
end, by a fault of the cluster's library or by the deadline, ends no training process.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from consortium.documents import document_of
from consortium.errors import TransportError

ANSWERED, FAILED = b"a", b"f"

_START = "import sys; from partner_node.ray_engine import main; main(int(sys.argv[1]))"
_START_S, _SLACK_S, _GRACE_S = 180.0, 10.0, 10.0
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Ray tells its makers how it is used, unless it is told not to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the process is told first."""

    address: str
    workers: int
    deadline_s: int
    """For the answers to one request."""


def private_environment(token: str) -> Mapping[str, str]:
    """Ray's switches for workers on this machine alone.

    Args:
        token: Who starts or asks anything must show it; known to these processes alone.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        # Named for other systems: without clusters all ports are of the loopback device.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


class EngineProcess:
    """A ``parted_sums.Engine`` on Ray; started when it is asked, and again if it ended."""

    def __init__(self, cluster: Cluster, environment: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._environment = {**environment, **_ALWAYS}
        self._pipe: Connection | None = None
        self._end: weakref.finalize[..., EngineProcess] | None = None

    @property
    def name(self) -> str:
        """For the texts of errors."""
        return f"engine ray at {self._cluster.address!r}"

    def start(self) -> None:
        """Join the cluster and start the workers, unless that is done.

        Raises:
            TransportError: the cluster is not there or too small.
        """
        if self._pipe is not None:
            return
        ours, theirs = multiprocessing.Pipe()
        command = [sys.executable, "-c", _START, str(theirs.fileno())]
        process = subprocess.Popen(  # noqa: S603 - this program
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._pipe, self._end = ours, weakref.finalize(self, _ended, process, ours)
        self._exchange([document_of(self._cluster)], answers=1, patience_s=_START_S)

    def run(self, jobs: Sequence[bytes]) -> Sequence[bytes]:
        """What the workers answer, in order; see ``parted_sums.Engine``.

        Raises:
            TransportError: the cluster is gone, too small, or not done by the deadline.
        """
        self.start()
        frames = [len(jobs).to_bytes(4, "little"), *jobs]
        patience_s = self._cluster.deadline_s + _SLACK_S
        return self._exchange(frames, answers=len(jobs), patience_s=patience_s)

    def close(self) -> None:
        """End the process and its workers; they keep no row after that."""
        if self._end is not None:
            self._end()
        self._pipe, self._end = None, None

    def _exchange(
        self, frames: Sequence[bytes], *, answers: int, patience_s: float
    ) -> list[bytes]:
        try:
            return self._exchanged(frames, answers, patience_s)
        except TransportError:
            self.close()
            raise
        except (EOFError, OSError) as error:
            self.close()
            raise TransportError(f"{self.name}: its process ended") from error

    def _exchanged(
        self, frames: Sequence[bytes], answers: int, patience_s: float
    ) -> list[bytes]:
        pipe = self._pipe
        if pipe is None:
            raise EOFError
        for frame in frames:
            pipe.send_bytes(frame)
        found = []
        for _ in range(answers):
            if not pipe.poll(patience_s):
                raise TransportError(f"{self.name}: no answer within {patience_s:.0f} s")
            answer = pipe.recv_bytes()
            if answer[:1] != ANSWERED:
                text = answer[1:].decode("utf-8", "replace")
                raise TransportError(f"{self.name}: {text}")
            found.append(answer[1:])
        return found


def _ended(process: "subprocess.Popen[bytes]", pipe: Connection) -> None:
    """Close the pipe, at which the process ends; end it with all of its own if it does not."""
    pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_GRACE_S)
