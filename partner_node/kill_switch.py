"""The owner's kill switch: while it is on, nothing leaves this node (R20).

A file in the node's directory, so that it outlives every process, and one look at it before
anything is sent or dialled. What cannot be looked at counts as on.
"""

import json
from pathlib import Path

from consortium.errors import ConfigurationError, RefusalCode, RefusalError, StorageError
from partner_node.keystore import flush_directory, read_file, write_file

FILE = "kill-switch"


class KillSwitch:
    """Of one node directory; any process of the node may look, at any time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / FILE

    @property
    def on(self) -> bool:
        """Whether nothing may leave now."""
        try:
            self._path.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def check(self) -> None:
        """Raise RefusalError (R20) while it is on."""
        if self.on:
            raise RefusalError(
                RefusalCode.REVOKED,
                "the kill switch of this node is on: nothing leaves; "
                f"riskweave node kill-switch {self._directory} off",
            )

    def why(self) -> str:
        """Since when it is on, and the owner's reason; empty while it is off."""
        if not self.on:
            return ""
        try:
            found = json.loads(read_file(self._path))
            return f"since {found['since']}: {found['reason'] or 'no reason given'}"
        except (ConfigurationError, ValueError, KeyError, TypeError):
            return "its file cannot be read"

    def turn_on(self, since: str, reason: str) -> None:
        """From now on nothing leaves, also after a restart; StorageError if that fails."""
        if not self.on:
            text = json.dumps({"since": since, "reason": reason})
            write_file(self._path, text.encode() + b"\n")
            flush_directory(self._directory)

    def turn_off(self) -> None:
        """What was refused is asked for again by whoever wants it."""
        try:
            self._path.unlink(missing_ok=True)
            flush_directory(self._directory)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from error
