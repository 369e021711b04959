"""The regulator's own copy of the log, and what it has said of it; all of it on its own disk.

Entries are appended to one file, each after its length; ``state.json`` says how many of them
are under the last head that was cosigned here, and what its root is. The file is written
first, the state second, the cosignature leaves last: after a crash the file may be longer than
the state, never shorter, and nothing that was said is forgotten (protocol 8.5, 8.8).
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import TypeAlias

from consortium.errors import ConfigurationError, StorageError
from consortium.ids import digest_of
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.tiles import encode_bundle
from consortium.ledger.witness import Head
from consortium.versions import History
from regulator.files import read_file, sync_directory, write_file

_LENGTH = 2

Document: TypeAlias = dict[str, object]
HISTORY: History[Callable[[Document], Document]] = History()
"""Of ``state.json``: its forms. It is written whole or not at all, in the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is kept beside the entries."""

    head: Head = field(default_factory=Head)
    """The last one that was cosigned here."""
    note: bytes = b""
    """Its checkpoint, as the log signed it."""
    cosigned: bytes = b""
    """The newest head with the quorum's cosignatures that was seen."""
    alarm: str = ""
    """Name of the incident that is not settled; empty if there is none."""
    evidence: str = ""
    """Digest of its text, a file in ``incidents``."""


class Mirror:
    """The directory ``log`` of a regulator. One process at a time."""

    def __init__(self, directory: Path) -> None:
        """Open it and compute the tree of all entries again.

        Raises:
            ConfigurationError: another process has it, or entries are not those of the state.
            StorageError: a newer program wrote it.
        """
        self._directory = directory / "log"
        self._state_file = self._directory / "state.json"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # "a+b": every write goes to the end, wherever was read before.
            # Not buffered: what could not be written must not be written later.
            self._file: FileIO = (self._directory / "entries.bin").open("a+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"{self._directory}: in use by another process") from error
        except OSError as error:
            raise ConfigurationError(f"{self._directory}: {error.strerror}") from error
        self.state = self._read_state()
        self.tree = self._read_tree()

    def close(self) -> None:
        """Let another process have it."""
        self._file.close()

    @property
    def head(self) -> Head:
        """The last head that was cosigned here."""
        return self.state.head

    def entries(self) -> Iterator[bytes]:
        """All entries under the head, oldest first."""
        return _entries(self._directory, self.head.size)

    def advance(self, head: Head, note: bytes, entries: Sequence[bytes]) -> None:
        """Keep what leads to a head that was checked; durable when this returns.

        The tree must have been grown by these entries already.

        Raises:
            StorageError: the disk is full; state, file and tree are as before.
        """
        try:
            if entries:
                self._append(encode_bundle_of(entries))
            self._keep(replace(self.state, head=head, note=note))
        except StorageError:
            self.reload()
            raise

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"{self._directory}: {error.strerror}") from error

    def keep_counted(self, note: bytes) -> None:
        """The newest head that the quorum cosigned."""
        if note != self.state.cosigned:
            self._keep(replace(self.state, cosigned=note))

    def keep_alarm(self, name: str, evidence: str) -> None:
        """From now on this log is not cosigned until somebody settles it; empty: settled."""
        self._keep(replace(self.state, alarm=name, evidence=evidence))

    def reload(self) -> None:
        """Forget a tree that was grown by entries which then were not kept."""
        self.tree = self._read_tree()

    def _keep(self, state: State) -> None:
        document = {
            "version": HISTORY.current,
            "size": state.head.size,
            "root": state.head.root.hex(),
            "note": state.note.decode("utf-8"),
            "cosigned": state.cosigned.decode("utf-8"),
            "alarm": state.alarm,
            "evidence": state.evidence,
        }
        write_file(self._state_file, json.dumps(document, indent=1).encode() + b"\n")
        self.state = state

    def _read_state(self) -> State:
        return _state(self._state_file)

    def _read_tree(self) -> Tree:
        """The tree of the entries under the head; what a crash left behind it is cut off."""
        head, tree, end = self.state.head, Tree(), 0
        for data in self.entries():
            tree.append(leaf_hash(data))
            end += _LENGTH + len(data)
        if tree.size != head.size or tree.root() != head.root:
            raise ConfigurationError(
                f"{self._directory}: entries.bin is not what was cosigned at {head.size} "
                "entries: this disk lost or changed it. Restore the directory from a copy"
            )
        if end != os.fstat(self._file.fileno()).st_size:
            self._file.truncate(end)
            sync_directory(self._directory)
        return tree


def read_mirror(directory: Path) -> tuple[State, list[bytes]]:
    """State and entries of a mirror that another process may be writing; nothing is changed.

    Raises:
        ConfigurationError: there is none, or its entries are not those of the state.
        StorageError: a newer program wrote it.
    """
    state = _state(directory / "log" / "state.json")
    # The state is older than the entries, so that all of them are there.
    found = list(_entries(directory / "log", state.head.size)) if state.head.size else []
    if Tree(leaf_hash(data) for data in found).root() != state.head.root:
        raise ConfigurationError(f"{directory}: the mirror is not what was cosigned")
    return state, found


def _entries(directory: Path, count: int) -> Iterator[bytes]:
    data = read_file(directory / "entries.bin")
    start = 0
    for _ in range(count):
        size = int.from_bytes(data[start : start + _LENGTH], "big")
        start += _LENGTH
        yield data[start : start + size]
        start += size


def _state(path: Path) -> State:
    if not path.exists():
        return State()
    try:
        stored = json.loads(read_file(path))
        # The first form had no number.
        for _, change in HISTORY.due(int(stored.get("version", 1)), str(path)):
            stored = change(stored)
        return State(
            head=Head(size=int(stored["size"]), root=bytes.fromhex(stored["root"])),
            note=stored["note"].encode("utf-8"),
            cosigned=stored["cosigned"].encode("utf-8"),
            alarm=str(stored["alarm"]),
            evidence=str(stored["evidence"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path} is damaged") from error


def encode_bundle_of(entries: Sequence[bytes]) -> bytes:
    """Entries as they stand in the file: each after its length in two bytes."""
    width = 256
    parts = [entries[start : start + width] for start in range(0, len(entries), width)]
    return b"".join(encode_bundle(part) for part in parts)


class Outbox:
    """Signed entries that the log does not have yet, in the order in which they were made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "outbox"

    def add(self, *entries: bytes) -> None:
        """Keep entries until the log shows them."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        last = max((int(path.stem.partition("-")[0]) for path in self._paths()), default=0)
        for number, data in enumerate(entries, start=last + 1):
            # The digest keeps two processes from writing one file.
            name = f"{number:08d}-{digest_of(data)[:16]}.entry"
            write_file(self._directory / name, data)

    def waiting(self) -> tuple[bytes, ...]:
        """All that wait, the oldest first."""
        return tuple(read_file(path) for path in self._paths())

    def seen(self, entries: Sequence[bytes]) -> int:
        """Forget those that are among ``entries``; returns how many."""
        leaves = set(entries)
        found = [path for path in self._paths() if read_file(path) in leaves]
        for path in found:
            path.unlink()
        return len(found)

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("*.entry")) if self._directory.exists() else []
