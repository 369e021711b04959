"""Where the group's library is loaded from: a directory of the node, not the shared /tmp.

``rbcl`` writes libsodium to ``tempfile.tempdir`` when it is imported, never removes it, and
fails where that is mounted ``noexec`` (protocol 6.7). Wiring calls this once, before anything
of ``consortium.identity`` is used.
"""

import importlib
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock

from consortium.errors import ConfigurationError

_LOCK = Lock()
_PRIVATE = 0o700


def load_ristretto(private_dir: Path) -> None:
    """Load the library through a new directory in ``private_dir``, and leave no file there.

    A second call does nothing: the library is in memory.

    Args:
        private_dir: The node's own; made if it is missing. Its file system must let files be
            executed, the temporary directory need not.

    Raises:
        ConfigurationError: the library cannot be written there, or not be executed.
    """
    with _LOCK:
        if "rbcl" in sys.modules:
            return
        before = tempfile.tempdir
        try:
            private_dir.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            # Made 0700: nobody else can put another library in its place before it is read.
            with tempfile.TemporaryDirectory(prefix="lib-", dir=private_dir) as directory:
                tempfile.tempdir = directory
                importlib.import_module("rbcl")
        except OSError as error:
            for name in [name for name in sys.modules if name.split(".")[0] == "rbcl"]:
                with suppress(KeyError):
                    del sys.modules[name]
            raise ConfigurationError(
                f"{private_dir}: libsodium cannot be loaded from here ({error}); the node's "
                "directory must be writable and on a file system without noexec"
            ) from error
        finally:
            tempfile.tempdir = before
