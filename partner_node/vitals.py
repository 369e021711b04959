"""How the serving node is, for its health door: told by the link, read from any thread."""

import threading

from consortium.codec import StreamKind
from consortium.errors import OutOfOrderError


class Vitals:
    """Which streams are up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._up: set[StreamKind] = set()

    def on_change(self, kind: StreamKind, up: bool) -> None:  # noqa: FBT001 - a port
        """A stream is welcomed, or has ended."""
        with self._lock:
            (self._up.add if up else self._up.discard)(kind)

    @property
    def up(self) -> frozenset[StreamKind]:
        """The streams that are up."""
        with self._lock:
            return frozenset(self._up)

    def check(self) -> None:
        """Raise OutOfOrderError unless both streams are up."""
        if len(self.up) < len(StreamKind):
            raise OutOfOrderError("not both streams are up")
