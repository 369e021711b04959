"""Files of a regulator's directory: private, durable, replaced whole or not at all."""

import os
from pathlib import Path

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, StorageError

_OTHERS = 0o077


def write_file(path: Path, data: bytes) -> None:
    """Write or replace a file of mode 0600; it is on the disk when this returns.

    Raises:
        StorageError: the disk is full, or the directory may not be written.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(data)
            file.flush()
            os.fsync(handle)
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: Path) -> bytes:
    """The whole file, or ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def read_secret(path: Path) -> Secret:
    """A file that nobody else may read; raise ConfigurationError naming the repair."""
    for place, mode in ((path.parent, "700"), (path, "600")):
        try:
            seen = place.stat().st_mode
        except OSError as error:
            raise ConfigurationError(f"{place}: {error.strerror}") from error
        if seen & _OTHERS:
            raise ConfigurationError(f"{place} is open to others; run: chmod {mode} {place}")
    return Secret(read_file(path))
