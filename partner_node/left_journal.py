"""Everything that ever left this node, by class: count, bytes and a running hash (``left.db``).

The two places where bytes go out, ``partner_node.link_stream`` and ``partner_node.door``, note
a frame here before they send it: a process that is killed has noted at least what it sent, and
what cannot be noted is not sent. The note is written but not flushed, so that no score waits
for a disk; ``flush`` does that some seconds behind, in a thread. A power cut may lose those
seconds.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from consortium.errors import StorageError
from consortium.versions import History
from partner_node.database import touch
from upkeep.migrations import Statements, bring_up, copied, on

FILE = "left.db"
HISTORY: History[Statements] = History()
_BUSY_MS = 2_000
_START = bytes(32)
_TABLE = """
CREATE TABLE left_bytes (
    class TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
    chain BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID
"""
_READ = "SELECT class, count, bytes, chain, first, last FROM left_bytes ORDER BY class"
_KNOWN = "SELECT count, bytes, chain, first FROM left_bytes WHERE class = ?"
_WRITE = "INSERT OR REPLACE INTO left_bytes VALUES (?, ?, ?, ?, ?, ?)"

MEANINGS = {
    "training.Hello": "greeting: name, version, manifest",
    "training.Heartbeat": "sign of life",
    "training.Goodbye": "why the stream ends, as a class",
    "training.query.offer": "a run accepted or refused, signed",
    "training.query.join": "keys of one attempt, signed; a cosignature",
    "training.train.upload": "a sum of clipped rows: noised and masked",
    "training.query.close": "a run's end confirmed",
    "training.answer": "an answer without a result: a refusal by its code",
    "scoring.Hello": "greeting: name, version, manifest",
    "scoring.Heartbeat": "sign of life",
    "scoring.Goodbye": "why the stream ends, as a class",
    "scoring.ScoreRequest": "questions about persons: sealed tokens, hashes of consents",
    "scoring.ScoreAnswer": "masked words of an answer",
    "scoring.ScoreRefused": "a refusal by its code",
    "scoring.OprfRequest": "blinded identifiers of own customers",
    "scoring.OprfReply": "evaluations of others' blinded identifiers",
    "scoring.EpochTell": "a step of key generation",
    "scoring.OverlapTell": "a step of counting common persons: blinded points, sealed pieces",
    "ask.GetManifest": "which manifest",
    "ask.SignManifest": "a signature over the manifest",
    "ask.ListModels": "nothing but the question",
    "ask.GetModel": "which model",
    "ask.GetGate": "which model's gate",
    "ask.CastVote": "a vote: yes, or a class of reason",
    "ask.Witness": "cosignatures, and own entries for the log",
    "ask.Renew": "a certificate request",
    "ask.Health": "nothing",
    "telemetry.traces": "spans to the own collector, if asked for: words of a list, times",
    "enrol.Enrol": "public keys, a certificate request, the join token",
}
"""What a class carries, in few words."""

Note = Callable[[Sequence[tuple[str, bytes]]], None]
"""(class, bytes) of each frame that is about to leave; raises StorageError: then none may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """All frames of one class."""

    kind: str
    count: int
    size: int
    """Bytes."""
    chain: bytes
    """SHA-256(the chain before | SHA-256(frame)) over the frames in order, from 32 zeros."""
    first: int
    last: int
    """Seconds since 1970."""


def chained(chain: bytes, frame: bytes) -> bytes:
    """The running hash after one more frame."""
    return hashlib.sha256(chain + hashlib.sha256(frame).digest()).digest()


class LeftJournal:
    """One file; safe to use from any thread and from several processes."""

    def __init__(self, path: Path, *, now: Callable[[], int]) -> None:
        """Open the file, or create it so that only its owner may read it.

        Raises:
            StorageError: not a database, open to others, or of another version.
        """
        touch(path)
        self._now = now
        self._turn = threading.Lock()
        with _wrapped(), copied(path, HISTORY):
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False
            )
            for pragma in (
                f"busy_timeout={_BUSY_MS}",
                "journal_mode=WAL",
                "synchronous=NORMAL",
                "wal_autocheckpoint=0",  # a checkpoint flushes: that is for ``flush`` alone
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            run = on(self._connection)
            with self._writing():
                bring_up(run, HISTORY, str(path), lambda: run(_TABLE))

    def note(self, frames: Sequence[tuple[str, bytes]]) -> None:
        """Count frames, in order, before they are sent: one transaction.

        Raises:
            StorageError: the disk is full, or the file damaged; nothing is counted.
        """
        at = self._now()
        with self._turn, _wrapped(), self._writing():
            for kind, frame in frames:
                seen = self._connection.execute(_KNOWN, (kind,)).fetchone()
                count, size, chain, first = seen or (0, 0, _START, at)
                row = (kind, count + 1, size + len(frame), chained(chain, frame), first, at)
                self._connection.execute(_WRITE, row)

    def rows(self) -> tuple[Left, ...]:
        """All classes by name."""
        with self._turn, _wrapped():
            found = self._connection.execute(_READ).fetchall()
        return tuple(
            Left(kind=kind, count=count, size=size, chain=chain, first=first, last=last)
            for kind, count, size, chain, first, last in found
        )

    def flush(self) -> None:
        """Bring to the disk what was noted; blocks. A power cut costs what came after it."""
        with self._turn, _wrapped():
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{FILE}: {error}") from error
