"""Traces are off unless asked for, hold a closed list of words, and cross no role's walls."""

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from consortium.errors import ConfigurationError, StorageError
from consortium.ids import RunId
from coordinator.events import RunEvent
from coordinator.traced import Traced as Operators
from partner_node.left_journal import MEANINGS
from partner_node.traced import Traced
from upkeep.traces import CLASS, Facts, NoTraces, Outlet, SpanTraces, Work, open_traces

PLANTED = "Adelheid Zwanziger"
S = 10**9
RUN = RunId("ab" * 16)


def sent(traces: SpanTraces, exporter: InMemorySpanExporter) -> tuple[ReadableSpan, ...]:
    traces.close()
    return exporter.get_finished_spans()


def made(outlet: Outlet | None = None) -> tuple[SpanTraces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return SpanTraces(exporter, "tests", outlet or Outlet()), exporter


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_traced_unless_somebody_asks(environment: dict[str, str]) -> None:
    with open_traces(environment, "tests") as traces:
        assert isinstance(traces, NoTraces)


def test_exporter_that_is_not_known_is_refused() -> None:
    with (
        pytest.raises(ConfigurationError, match="zipkin"),
        open_traces({"OTEL_TRACES_EXPORTER": "zipkin"}, "tests"),
    ):
        pass


def test_words_outside_the_list_and_numbers_out_of_range_are_not_told() -> None:
    traces, exporter = made()
    traces.tell(Work.SCORE, 0, S, Facts(kind=PLANTED, result="P-4711", round=-1, attempt=10**9))
    traces.tell(Work.ROUND, 0, S, Facts(kind="training", result="closed", round=3, attempt=1))
    first, second = sent(traces, exporter)
    assert dict(first.attributes or {}) == {
        "riskweave.kind": "other",
        "riskweave.result": "other",
    }
    assert dict(second.attributes or {}) == {
        "riskweave.kind": "training",
        "riskweave.result": "closed",
        "riskweave.round": 3,
        "riskweave.attempt": 1,
    }
    assert PLANTED not in first.to_json() + second.to_json()


def test_run_holds_its_rounds_and_nothing_of_the_run_is_in_it() -> None:
    traces, exporter = made()
    clock = iter(range(10 * S, 100 * S, S))
    operators = Operators(traces, lambda: next(clock))
    events = (
        RunEvent(run=RUN, stage="preparing", text=PLANTED),
        RunEvent(run=RUN, stage="training", round=1, attempt=1, seconds=0.5),
        RunEvent(run=RUN, stage="training", round=1, attempt=2, text=f"aborted: {PLANTED}"),
        RunEvent(run=RUN, stage="finished", version="cd" * 32),
    )
    for event in events:
        operators.on_event(event)
    *rounds, run = sent(traces, exporter)
    assert [one.name for one in rounds] == ["riskweave.round"] * 2
    assert {one.parent.span_id for one in rounds if one.parent} == {run.context.span_id}
    assert [(one.attributes or {})["riskweave.result"] for one in rounds] == [
        "closed",
        "aborted",
    ]
    assert (run.start_time, run.end_time) == (10 * S, 13 * S)
    text = "".join(one.to_json() for one in (*rounds, run))
    for hidden in (PLANTED, RUN, "cd" * 32):
        assert hidden not in text


@pytest.mark.parametrize("work", [Work.SCORE, Work.RELAY, Work.REPLY])
def test_span_about_a_person_is_alone_and_begins_at_a_whole_minute(work: Work) -> None:
    """So neither an id nor a time matches spans of several members; its length is kept."""
    traces, exporter = made()
    for _ in range(2):
        traces.tell(work, 1_700_000_000 * S + 123_456, 1_700_000_000 * S + 987_654, Facts())
    first, second = sent(traces, exporter)
    assert first.parent is second.parent is None
    assert first.context.trace_id != second.context.trace_id
    assert first.start_time is not None
    assert first.end_time is not None
    assert first.start_time % (60 * S) == 0
    assert first.end_time - first.start_time == 987_654 - 123_456


def test_context_of_a_caller_is_not_taken_up() -> None:
    traces, exporter = made()
    with traces._tracer.start_as_current_span("of somebody else"):
        traces.tell(Work.SCORE, 0, S, Facts())
    score = next(one for one in sent(traces, exporter) if one.name == "riskweave.score")
    assert score.parent is None


def test_what_leaves_by_traces_is_counted_first_and_stays_if_it_cannot_be() -> None:
    noted: list[tuple[str, bytes]] = []
    traces, exporter = made(Outlet(note=noted.extend))
    traces.tell(Work.SCORE, 0, S, Facts())
    assert len(sent(traces, exporter)) == 1
    assert [kind for kind, _ in noted] == [CLASS]
    assert CLASS in MEANINGS
    assert b"riskweave.score" in noted[0][1]

    def full(_frames: Sequence[tuple[str, bytes]]) -> None:
        raise StorageError("left.db: disk is full")

    for outlet in (Outlet(note=full), Outlet(stopped=lambda: True)):
        traces, exporter = made(outlet)
        traces.tell(Work.SCORE, 0, S, Facts())
        assert sent(traces, exporter) == ()


def test_answers_of_a_node_are_told_by_their_class_and_not_changed() -> None:
    traces, exporter = made()
    clock = iter(range(0, 100 * S, S))

    async def handle(question: bytes) -> bytes:
        return question + b"\x0a\x0ctrain.upload" + PLANTED.encode()

    traced = Traced(traces, lambda: next(clock)).handle(handle)
    answer = asyncio.run(traced(b"q"))
    assert answer.startswith(b"q\x0a\x0ctrain.upload")
    (span,) = sent(traces, exporter)
    assert dict(span.attributes or {}) == {"riskweave.kind": "upload"}
    assert PLANTED not in span.to_json()
