"""OpenTelemetry traces, for an owner who asks for them: what this process did, and how long.

Off unless ``OTEL_TRACES_EXPORTER=otlp``; where they go is said by OpenTelemetry's own
variables. What a span may hold is a closed list of words and small numbers, checked here. No
context goes into a message or comes out of one: a trace ends at the walls of its role, for one
id on the spans of several partners would say that they knew the same person (ADR 0047).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from consortium.errors import ConfigurationError, RiskWeaveError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger(__name__)

EXPORTER, DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"
CLASS = "telemetry.traces"
"""Of the bytes, in a node's journal of what left."""
_S, _MINUTE = 10**9, 60 * 10**9

Note = Callable[[Sequence[tuple[str, bytes]]], None]


class Work(StrEnum):
    """What a span is about."""

    RUN = "run"
    ROUND = "round"
    """One attempt of a secure sum, at the coordinator."""
    ANSWER = "training.answer"
    """A node's answer to one question of a run; its upload, if ``kind`` says so."""
    SCORE = "score"
    """A question of the own systems, at its node."""
    RELAY = "score.relay"
    """The same, at the coordinator."""
    REPLY = "score.reply"
    """A frame of the scoring stream, at a node that is asked."""


_PERSONAL = {Work.SCORE, Work.RELAY, Work.REPLY}
"""About one person: such a span begins at a whole minute, so that collectors of several members
cannot match them by time; its length is kept."""

_STEPS = ("preparing", "bins", "training", "recalibration", "evaluation", "sum", "waiting")
_ENDS = ("finished", "failed", "closed", "aborted", "refused")
_ANSWERS = ("upload", "join", "offer", "close")
_SCORES = ("answered", "incomplete", "left", "absent", "joint", "fallback")
WORDS = frozenset((*_STEPS, *_ENDS, *_ANSWERS, *_SCORES))
"""All that an attribute may say; another word is told as ``other``."""
OTHER = "other"
_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a span may hold beside its times; there is no other way in."""

    kind: str = ""
    result: str = ""
    round: int = 0
    attempt: int = 0

    def attributes(self) -> dict[str, str | int]:
        """By name; what is empty is left out."""
        words = {"kind": self.kind, "result": self.result}
        numbers = {"round": self.round, "attempt": self.attempt}
        found: dict[str, str | int] = {
            f"riskweave.{name}": value if value in WORDS else OTHER
            for name, value in words.items()
            if value
        }
        found |= {f"riskweave.{name}": n for name, n in numbers.items() if 0 < n <= _MOST}
        return found


class Traces(Protocol):
    """Where finished work is told; never blocks, never fails."""

    def tell(self, work: Work, began_ns: int, ended_ns: int, facts: Facts) -> None:
        """Work from one time to another, nanoseconds since 1970."""

    def begin(self, name: str, at_ns: int) -> None:
        """A run of that name begins; what is told until its end lies within it."""

    def end(self, name: str, at_ns: int, facts: Facts) -> None:
        """It ends; nothing if it never began."""


class NoTraces:
    """Nobody asked for traces."""

    def tell(self, work: Work, began_ns: int, ended_ns: int, facts: Facts) -> None:
        """Nothing."""

    def begin(self, name: str, at_ns: int) -> None:
        """Nothing."""

    def end(self, name: str, at_ns: int, facts: Facts) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """What stands before the way out."""

    note: Note = lambda _frames: None
    """Counts bytes before they leave; raises if it cannot."""
    stopped: Callable[[], bool] = lambda: False
    """Whether nothing may leave."""


@contextmanager
def open_traces(
    environment: Mapping[str, str], service: str, outlet: Outlet | None = None
) -> Iterator[Traces]:
    """Traces as the environment asks for them; what is not sent yet is sent at the end.

    Args:
        environment: Of the process.
        service: Its name, unless OTEL_SERVICE_NAME gives another.
        outlet: What a node has before its way out.

    Raises:
        ConfigurationError: another exporter than ``otlp``, or it is not installed.
    """
    wanted = environment.get(EXPORTER, "none").strip().lower() or "none"
    if wanted == "none" or environment.get(DISABLED, "").strip().lower() == "true":
        yield NoTraces()
        return
    if wanted != "otlp":
        raise ConfigurationError(f"{EXPORTER} = {wanted!r}: there are otlp and none")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{EXPORTER}=otlp takes pip install 'riskweave[otel]'"
        ) from error
    made = SpanTraces(OTLPSpanExporter(), service, outlet or Outlet())
    try:
        yield made
    finally:
        made.close()


class SpanTraces:
    """Spans of this process, by OpenTelemetry's own SDK, in batches and a thread of its own."""

    def __init__(self, exporter: "SpanExporter", service: str, outlet: Outlet) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_guarded(exporter, outlet)))
        self._tracer = self._provider.get_tracer("riskweave")
        self._runs: dict[str, Any] = {}

    def tell(self, work: Work, began_ns: int, ended_ns: int, facts: Facts) -> None:
        """Work from one time to another; its words and numbers are of the closed list."""
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra

        length = max(0, ended_ns - began_ns)
        start = began_ns - began_ns % _MINUTE if work in _PERSONAL else began_ns
        within = Context()  # empty: never that of a caller
        if work is Work.ROUND and self._runs:
            within = self._within(next(reversed(self._runs.values())))
        span = self._tracer.start_span(
            f"riskweave.{work.value}",
            context=within,
            start_time=start,
            attributes=facts.attributes(),
            record_exception=False,
        )
        span.end(start + length)

    def begin(self, name: str, at_ns: int) -> None:
        """A run begins; its name stays here."""
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra

        if name not in self._runs:
            self._runs[name] = self._tracer.start_span(
                f"riskweave.{Work.RUN.value}",
                context=Context(),
                start_time=at_ns,
                record_exception=False,
            )

    def end(self, name: str, at_ns: int, facts: Facts) -> None:
        """It ends; nothing if it never began."""
        span = self._runs.pop(name, None)
        if span is not None:
            span.set_attributes(facts.attributes())
            span.end(at_ns)

    def close(self) -> None:
        """Send what waits, and stop."""
        self._provider.shutdown()

    @staticmethod
    def _within(span: Any) -> Any:  # noqa: ANN401 - of an extra
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415

        return set_span_in_context(span, Context())


def _guarded(inner: "SpanExporter", outlet: Outlet) -> "SpanExporter":
    """An exporter that counts what it lets out, and lets nothing out while it must not."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import (  # noqa: PLC0415
        encode_spans,
    )
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - an extra
        SpanExporter,
        SpanExportResult,
    )

    class Guarded(SpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
            if outlet.stopped():
                return SpanExportResult.FAILURE
            try:
                outlet.note([(CLASS, encode_spans(spans).SerializeToString())])
            except RiskWeaveError as error:
                log.warning("traces are not sent: %s", error)
                return SpanExportResult.FAILURE
            return inner.export(spans)

        def shutdown(self) -> None:
            inner.shutdown()

    return Guarded()
