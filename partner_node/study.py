"""Joint rows of a study: what a head is trained on, held in memory and never on a disk.

The serving process has the scoring stream, the training process has the sums. So the
training process asks through a pipe of its own for the rows of a base model, and the serving
process answers with one flat block of bytes in the form below: no object is ever unpickled.
Both ends are this node's own; the form is strict all the same, for a row that is read wrongly
would be a wrong sum with a right signature.
"""

import asyncio
import logging
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consortium.errors import (
    DataError,
    DecodeError,
    RiskWeaveError,
    ScoreRefusalError,
    ShapeError,
    TransportError,
)
from consortium.ids import Digest
from consortium.scoring.premium import Impact
from partner_node.premium_bytes import pack_impact, unpack_impact

log = logging.getLogger(__name__)

Integers = NDArray[np.int64]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MOST_ROWS = 1 << 24
MOST_FAMILIES = 256
_PATIENCE_S = 30.0
_LONGEST_NAME = 255

_MAGIC = b"RWJR0002"
_HEAD = struct.Struct("<8s32sII")
_ROWS, _LATER, _BROKEN = b"r", b"l", b"b"
_QUESTION = struct.Struct("<c32s7s")
"""What is asked for, of which version, and in which month; of joint rows no month."""
_JOINT, _IMPACT = b"j", b"p"
_LENGTH = struct.Struct("<Q")
_MOST_BYTES = MOST_ROWS * 64
"""No answer is longer; a client of the socket allocates no more."""

SOCKET = "study.sock"
"""In the node's directory: where its own commands ask for rows to test a head on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointRows:
    """Joint sums of this node's own customers who consented and have a label. Private."""

    base: Digest
    """The released model that the sums are of."""
    families: tuple[str, ...]
    """As the score protocol orders them (7.1)."""
    logits: Integers
    """Sum of the holders' partial logits, units of 2**-32, shape (rows, families)."""
    counts: Integers
    """Holders by family, shape (rows, families)."""
    own: Integers
    """This node's own part of ``logits``, shape (rows, families); 0 where it holds none."""
    partners: Integers
    """Holders of anything, this node included, shape (rows,)."""
    labels: Labels
    """1 = bad, shape (rows,)."""
    holdout: Mask
    """Held out by the base model's rule (protocol 5.8), shape (rows,)."""

    def __post_init__(self) -> None:
        """Raise ShapeError or DataError unless the parts belong together."""
        rows, width = self.labels.size, len(self.families)
        table = (rows, width)
        if {self.logits.shape, self.counts.shape, self.own.shape} != {table}:
            raise ShapeError(f"joint rows of shape {self.logits.shape}, expected {table}")
        if self.partners.shape != (rows,) or self.holdout.shape != (rows,):
            raise ShapeError("joint rows: columns of unequal length")
        kinds = (self.logits.dtype, self.counts.dtype, self.own.dtype, self.partners.dtype)
        if set(kinds) != {np.dtype(np.int64)} or self.labels.dtype != np.uint8:
            raise ShapeError(f"joint rows of dtypes {kinds}, {self.labels.dtype}")
        if rows > MOST_ROWS or not 1 <= width <= MOST_FAMILIES:
            raise DataError("joint rows: too many rows, or no family")
        if rows and (int(self.labels.max()) > 1 or int(self.counts.min()) < 0):
            raise DataError("joint rows: a label or a count outside its range")
        if rows and int(self.partners.min()) < 0:
            raise DataError("joint rows: a number of partners below 0")


def pack(rows: JointRows) -> bytes:
    """``magic ‖ base ‖ u32 rows ‖ u32 families ‖ names ‖ columns``, all little-endian."""
    names = [name.encode("utf-8") for name in rows.families]
    if max(map(len, names)) > _LONGEST_NAME:
        raise DataError("joint rows: the name of a family is too long")
    return b"".join(
        (
            _HEAD.pack(_MAGIC, bytes.fromhex(rows.base), rows.labels.size, len(names)),
            *(bytes((len(name),)) + name for name in names),
            rows.logits.astype("<i8").tobytes(),
            rows.counts.astype("<i8").tobytes(),
            rows.own.astype("<i8").tobytes(),
            rows.partners.astype("<i8").tobytes(),
            rows.labels.tobytes(),
            rows.holdout.astype(np.uint8).tobytes(),
        )
    )


def unpack(data: bytes) -> JointRows:
    """The rows of ``pack``; DecodeError for any other bytes."""
    try:
        return _unpacked(memoryview(data))
    except (struct.error, UnicodeDecodeError, ValueError, ShapeError, DataError) as error:
        raise DecodeError(f"joint rows: {type(error).__name__}") from error


def _unpacked(data: memoryview) -> JointRows:
    magic, base, rows, width = _HEAD.unpack_from(data)
    if magic != _MAGIC or rows > MOST_ROWS or not 1 <= width <= MOST_FAMILIES:
        raise DecodeError("joint rows: not of this form")
    at, names = _HEAD.size, []
    for _ in range(width):
        end = at + 1 + (data[at] if at < len(data) else 0)
        names.append(bytes(data[at + 1 : end]).decode("utf-8"))
        at = end
    cells = rows * width
    if len(data) - at != 8 * (3 * cells + rows) + 2 * rows:
        raise DecodeError(f"joint rows: {len(data)} bytes for {rows} rows")
    numbers = np.frombuffer(data, "<i8", 3 * cells + rows, at).astype(np.int64)
    flags = np.frombuffer(data, np.uint8, 2 * rows, at + 8 * numbers.size)
    if rows and int(flags[rows:].max()) > 1:
        raise DecodeError("joint rows: a flag that is neither 0 nor 1")
    return JointRows(
        base=Digest(base.hex()),
        families=tuple(names),
        logits=numbers[:cells].reshape(rows, width),
        counts=numbers[cells : 2 * cells].reshape(rows, width),
        own=numbers[2 * cells : 3 * cells].reshape(rows, width),
        partners=numbers[3 * cells :],
        labels=flags[:rows].copy(),
        holdout=flags[rows:].astype(np.bool_),
    )


Study = Callable[[Digest], Awaitable[JointRows]]
"""Asks the other partners for the joint sums of a base model's study (protocol 7.11)."""

ImpactStudy = Callable[[Digest], Awaitable[Impact]]
"""Asks them for those of an impact study, and says what a head makes of them (7.18)."""


class Studies(Protocol):
    """Where a process of this node has joint sums from. All of them are private."""

    def rows(self, base: Digest) -> JointRows:
        """The rows of that base model's study.

        Raises:
            TransportError: the study cannot be made now; ask again later.
            DataError: it cannot be made from this node's table.
            DecodeError: the bytes are not of the form.
        """
        ...

    def impact(self, head: Digest, month: str) -> Impact:
        """What the loss of the own part costs the own customers under that head (7.18).

        Args:
            head: In force, and accepted by this node.
            month: As 2026-11. Within it the same answer comes again, and nobody is asked twice.

        Raises:
            TransportError, DataError, DecodeError: as ``rows``.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoStudies:
    """Of a process that can ask nobody."""

    why: str

    def rows(self, base: Digest) -> JointRows:
        """Raise TransportError."""
        raise TransportError(f"{self.why}: no joint rows of {base[:12]}")

    def impact(self, head: Digest, month: str) -> Impact:
        """Raise TransportError."""
        raise TransportError(f"{self.why}: no premium under {head[:12]} in {month}")


@dataclass(frozen=True, slots=True)
class SocketStudies:
    """Of the operator's commands: through the serving process's socket."""

    path: Path

    def rows(self, base: Digest) -> JointRows:
        """As ``Studies.rows``; TransportError if nobody serves the node."""
        return _rows_in(_asked(self.path, _QUESTION.pack(*_of_rows(base))), base)

    def impact(self, head: Digest, month: str) -> Impact:
        """As ``Studies.impact``; TransportError if nobody serves the node."""
        question = _QUESTION.pack(*_of_impact(head, month))
        return unpack_impact(_body(_asked(self.path, question)), head)


def _of_rows(base: Digest) -> tuple[bytes, bytes, bytes]:
    return _JOINT, bytes.fromhex(base), b""


def _of_impact(head: Digest, month: str) -> tuple[bytes, bytes, bytes]:
    return _IMPACT, bytes.fromhex(head), month.encode("ascii")


class StudyAsker:
    """The training process's end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def rows(self, base: Digest) -> JointRows:
        """As ``Studies.rows``; waits until the partners have answered."""
        return _rows_in(self._ask(_QUESTION.pack(*_of_rows(base))), base)

    def impact(self, head: Digest, month: str) -> Impact:
        """As ``Studies.impact``; waits likewise."""
        return unpack_impact(_body(self._ask(_QUESTION.pack(*_of_impact(head, month)))), head)

    def _ask(self, question: bytes) -> bytes:
        try:
            self._pipe.send_bytes(question)
            return self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise TransportError("the serving process is gone") from error


def rows_of_socket(path: Path, base: Digest) -> JointRows:
    """The rows as the serving process of this node has them; for the operator's commands.

    Raises:
        TransportError: nobody serves the node, or the study cannot be made now.
        DataError, DecodeError: as ``StudyAsker.rows``.
    """
    return SocketStudies(path).rows(base)


def _asked(path: Path, question: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            client.sendall(question)
            (size,) = _LENGTH.unpack(_received(client, _LENGTH.size))
            if size > _MOST_BYTES:
                raise DecodeError(f"joint rows of {size} bytes")
            return _received(client, size)
    except (EOFError, OSError) as error:
        raise TransportError("the node is not served: joint rows are in its memory") from error


def _received(peer: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, or EOFError."""
    parts: list[bytes] = []
    while size:
        part = peer.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _body(answer: bytes) -> bytes:
    kind, body = answer[:1], answer[1:]
    if kind == _LATER:
        raise TransportError("the study cannot be made now; the serving process's log says why")
    if kind != _ROWS:
        raise DataError("the study failed; the serving process's log says why")
    return body


def _rows_in(answer: bytes, base: Digest) -> JointRows:
    rows = unpack(_body(answer))
    if rows.base != base:
        raise DecodeError("joint rows of another model")
    return rows


class StudyServer:
    """The serving process's end: answers in a thread, by the loop that has the streams.

    The newest study of each kind is kept in memory, so that a training process that is
    started again gets the same rows and no partner is asked twice.
    """

    def __init__(
        self, study: Study, impact: ImpactStudy, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._study, self._impact = study, impact
        self._loop = loop
        self._turn = threading.Lock()
        self._kept: dict[bytes, tuple[bytes, bytes]] = {}
        """By kind: the question that was answered last, and its answer."""

    def serve(self, pipe: Connection) -> threading.Thread:
        """Answer what comes through ``pipe`` until it closes; returns the thread."""
        thread = threading.Thread(target=self._answer, args=(pipe,), name="study", daemon=True)
        thread.start()
        return thread

    def listen(self, path: Path) -> bool:
        """Answer this node's own commands on a socket of mode 0600, in a thread.

        Returns False if the path cannot be bound: it may be too long for a socket. Nothing
        but the test of a head on the own hold-out depends on it.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)  # not a later chmod: there is no moment at which others connect
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen(4)
        except OSError as error:
            log.warning("%s: %s; heads cannot be tested here", path, error)
            listener.close()
            return False
        finally:
            os.umask(mask)
        threading.Thread(
            target=self._accept, args=(listener,), name="study door", daemon=True
        ).start()
        return True

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(_PATIENCE_S)
                    answer = self.answer(_received(peer, _QUESTION.size))
                    peer.sendall(_LENGTH.pack(len(answer)) + answer)
            except (EOFError, TimeoutError, ConnectionError):
                log.info("a command left in the middle of its question")
            except OSError:
                return  # the listener is closed

    def _answer(self, pipe: Connection) -> None:
        while True:
            try:
                pipe.send_bytes(self.answer(pipe.recv_bytes(_QUESTION.size)))
            except (EOFError, OSError):
                return  # the training process is gone

    def answer(self, question: bytes) -> bytes:
        """The bytes that answer a question."""
        with self._turn:
            return self._made_once(question)

    def _made_once(self, question: bytes) -> bytes:
        try:
            kind, asked, _ = _QUESTION.unpack(question)
        except struct.error:
            return _BROKEN
        known = self._kept.get(kind)
        if known is not None and known[0] == question:
            return _ROWS + known[1]
        version = Digest(asked.hex())
        made = asyncio.run_coroutine_threadsafe(self._made(kind, version), self._loop)
        try:
            found = made.result()
        except (TransportError, ScoreRefusalError) as error:
            log.warning("study of %s: %s", version[:12], error)
            return _LATER
        except RiskWeaveError as error:
            log.warning("study of %s: %s", version[:12], error)
            return _BROKEN
        self._kept[kind] = question, found
        return _ROWS + found

    async def _made(self, kind: bytes, version: Digest) -> bytes:
        if kind == _JOINT:
            return pack(await self._study(version))
        if kind == _IMPACT:
            return pack_impact(version, await self._impact(version))
        raise DecodeError("a question of no known kind")
