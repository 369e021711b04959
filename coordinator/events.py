"""What a run tells its watchers, and the log in memory that they wait on.

An event carries nothing of one partner but its name where it failed: the figures in it are
the coordinator's own or come from a noised sum.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.ids import RunId

FINAL_STAGES = frozenset({"finished", "failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One step of a run that has ended."""

    run: RunId
    stage: str
    """preparing, bins, training, recalibration, evaluation, finished, failed; or waiting,
    while the database takes nothing."""
    round: int = 0
    rounds: int = 0
    attempt: int = 0
    seconds: float = 0.0
    """Wall time of the step."""
    text: str = ""
    version: str = ""
    """Digest of the candidate, with stage finished."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.stage in FINAL_STAGES


class EventLog:
    """Events by run, in order of arrival; safe to use from any thread."""

    def __init__(self, earlier: Mapping[RunId, tuple[RunEvent, ...]] | None = None) -> None:
        self._events = {run: list(events) for run, events in (earlier or {}).items()}
        self._changed = threading.Condition()
        self.on_append: Callable[[RunEvent], None] = lambda _event: None
        """Told of each event; must not block."""

    def append(self, event: RunEvent) -> None:
        """Add the event and wake who waits for it."""
        with self._changed:
            self._events.setdefault(event.run, []).append(event)
            self._changed.notify_all()
        self.on_append(event)

    def events(self, run: RunId, after: int, timeout_s: float) -> tuple[RunEvent, ...]:
        """The events of the run from number ``after`` on.

        Waits at most ``timeout_s`` seconds for the first of them; empty if none came.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._events.get(run, ())) > after, timeout_s)
            return tuple(self._events.get(run, ())[after:])
