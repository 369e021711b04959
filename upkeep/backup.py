"""One file with all that a role's directory holds, and a directory made from it again.

Databases are copied by SQLite's online backup, each as of one moment, while a process serves;
all else is copied as it stands. Keys are in it: the file is its owner's alone (0600) and
belongs where the keys may be. It is a plain tar whose last member, ``backup.json``, names every
other with its SHA-256. Not in it: sockets, SQLite's side files and tables of rows.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from consortium.errors import ConfigurationError, DigestMismatchError, StorageError

FORM = "riskweave backup 1"
INDEX = "backup.json"
_SIDE = ("-wal", "-shm", "-journal")
_LEFT_OUT = {".sock", ".lock", ".tmp", ".parquet", ".csv"}
_PIECE = 1 << 20
_LARGEST_INDEX = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a backup is of."""

    role: str
    name: str
    """Partner, or federation."""
    software: str
    made_at: int
    """Seconds since 1970."""
    files: Mapping[str, str]
    """Path -> SHA-256 of its bytes, in hex."""


# --- out --------------------------------------------------------------------------------------


def write_backup(directory: Path, out: Path, facts: Facts) -> Facts:
    """Write a new file, flushed to the disk; returns the facts with its files.

    Args:
        directory: Of the role; a process may serve it.
        out: Must not exist; nothing is left of it if it cannot be finished.
        facts: Without files.

    Raises:
        ConfigurationError: ``out`` exists, or lies within ``directory``.
        StorageError: a file cannot be read or written, or a database is damaged.
    """
    if out.absolute().is_relative_to(directory.absolute()):
        raise ConfigurationError(f"{out} is within {directory}: a backup belongs elsewhere")
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{out}: {error.strerror}") from error
    try:
        with _wrapped(), os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                found = replace(facts, files=_add_files(directory, out, tar))
                _add_index(tar, found)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return found


def _add_files(directory: Path, out: Path, tar: tarfile.TarFile) -> dict[str, str]:
    files = {}
    with TemporaryDirectory(dir=out.parent) as place:
        for path in _kept(directory):
            name, source = path.relative_to(directory).as_posix(), path
            if path.suffix == ".db":
                source = Path(place) / "snapshot"
                _snapshot(path, source)
            files[name] = _digest(source)
            member = tarfile.TarInfo(name)
            member.size, member.mode = source.stat().st_size, 0o600
            with source.open("rb") as content:
                tar.addfile(member, content)
            if source is not path:
                source.unlink()
    return files


def _kept(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        side = path.name.endswith(_SIDE) or path.suffix in _LEFT_OUT
        if path.is_file() and not path.is_symlink() and not side:
            yield path


def _snapshot(path: Path, to: Path) -> None:
    os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(path)) as source,
        closing(sqlite3.connect(to)) as target,
    ):
        source.backup(target)
        # Whoever opens the copy read-only must need no side file.
        target.execute("PRAGMA journal_mode=DELETE")


def _add_index(tar: tarfile.TarFile, facts: Facts) -> None:
    text = json.dumps({"form": FORM} | asdict(facts), indent=1).encode()
    member = tarfile.TarInfo(INDEX)
    member.size, member.mode = len(text), 0o600
    tar.addfile(member, BytesIO(text))


# --- back -------------------------------------------------------------------------------------


def restore_backup(source: Path, directory: Path, role: str) -> Facts:
    """Make the directory again, 0700 with files 0600; all of it or nothing.

    Args:
        source: What ``write_backup`` wrote.
        directory: Must not exist, or be empty.
        role: Whose backup it must be.

    Raises:
        ConfigurationError: the directory holds something; no backup, or of another role.
        DigestMismatchError: a file is not what the index says.
        StorageError: a file cannot be read or written, or a database is damaged.
    """
    if directory.exists() and any(directory.iterdir()):
        raise ConfigurationError(f"{directory} is not empty: move it away first")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.parent, prefix=".restoring-") as place, _wrapped():
        made = Path(place) / "made"
        made.mkdir(mode=0o700)
        facts = _extract(source, made, role)
        for path in made.rglob("*.db"):
            _check_database(path)
        for path in (*made.rglob("*"), made):
            _flush(path)
        if directory.exists():
            directory.rmdir()
        made.rename(directory)
        _flush(directory.parent)
    return facts


def _extract(source: Path, made: Path, role: str) -> Facts:
    with tarfile.open(source, "r:") as tar:
        members = tar.getmembers()
        facts = _index(tar, members)
        if facts.role != role:
            raise ConfigurationError(f"{source} is a backup of a {facts.role}, not of a {role}")
        names = [member.name for member in members[:-1]]
        if sorted(names) != sorted(facts.files):
            raise ConfigurationError(f"{source}: files and index differ")
        for member in members[:-1]:
            path = made / _safe(member)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None  # noqa: S101 - _safe has seen that it is a file
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(content, file, _PIECE)
            seen, said = _digest(path), facts.files[member.name]
            if seen != said:
                raise DigestMismatchError(member.name, seen, said)
    return facts


def _index(tar: tarfile.TarFile, members: list[tarfile.TarInfo]) -> Facts:
    last = members[-1] if members else None
    if last is None or last.name != INDEX or last.size > _LARGEST_INDEX:
        raise ConfigurationError("no backup, or one that was broken off")
    content = tar.extractfile(last)
    try:
        found = json.loads(content.read() if content is not None else b"")
        if found.pop("form") != FORM:
            raise ConfigurationError("a backup of another form")
        return Facts(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError("no backup: its index cannot be read") from error


def _safe(member: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if not member.isreg() or path.is_absolute() or ".." in path.parts:
        raise ConfigurationError(f"{member.name!r} does not belong into a backup")
    return path


def _check_database(path: Path) -> None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        said = database.execute("PRAGMA quick_check(1)").fetchone()
    if said != ("ok",):
        raise StorageError(f"{path.name}: {said[0]}")


# --- small things -----------------------------------------------------------------------------


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _wrapped() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise StorageError(f"backup: {error}") from error
