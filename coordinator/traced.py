"""What the coordinator tells its traces: runs, attempts of sums, relayed scores; no names."""

from collections.abc import Callable

from coordinator.events import RunEvent
from coordinator.inquiry_log import Ended
from upkeep.traces import Facts, Traces, Work

_NS, _MS = 10**9, 10**6


class Traced:
    """``on_event`` and ``on_ended`` come from any thread and never block."""

    def __init__(self, traces: Traces, now_ns: Callable[[], int]) -> None:
        self._traces = traces
        self._now_ns = now_ns

    def on_event(self, event: RunEvent) -> None:
        """A step of a run has ended."""
        now = self._now_ns()
        if event.final:
            self._traces.end(event.run, now, Facts(result=event.stage))
            return
        self._traces.begin(event.run, now - int(event.seconds * _NS))
        if event.attempt:
            facts = Facts(
                kind=event.stage,
                result="aborted" if event.text.startswith("aborted") else "closed",
                round=event.round,
                attempt=event.attempt,
            )
            self._traces.tell(Work.ROUND, now - int(event.seconds * _NS), now, facts)

    def on_ended(self, ended: Ended) -> None:
        """A score request is over."""
        facts = Facts(result=ended.outcome)
        self._traces.tell(Work.RELAY, ended.began_ms * _MS, ended.ended_ms * _MS, facts)
