"""A federation that is watched by all means at once: whoever watches learns of no person.

Real processes that train, make pseudonyms and score, with logs at their loudest, traces to a
collector, a tap on one node's connections. Persons have names that cannot be mistaken.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from partner_node import cli as node_cli
from partner_node.left_journal import Left
from rehearsal import federation as steps
from rehearsal.federation import COORDINATOR
from rehearsal.joint import token_loads
from riskweave_client import Client, Consent
from tests.health_house import page_of
from tests.integration import federation as house
from tests.integration.federation import Federation, write_rehearsal
from tests.integration.joint_federation import desk_of, wait_for_joint_scores, with_joint_scores
from tests.integration.left_on_the_wire import journal_against, left_at
from tests.integration.wiretap import Tap, found, tapped
from upkeep.traces import CLASS, WORDS

NODE, OTHER = "bank_a", "bank_b"
"""Who is tapped, and asks; who asks it."""
NAMES = (NODE, OTHER, "shop_c")
ASKED = 40
PATIENCE_S = 240.0
"""All that is watched costs time, on a machine that may be busy."""
CUSTOMERS = {"bank_a": 700, "bank_b": 700, "shop_c": 900}
CONSENT_REFERENCE = "CONSENT-of-Zwanziger"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def person(number: int) -> str:
    return f"Adelheid-Zwanziger-{number:04d}"


def rows_of(name: str) -> str:
    known = {"bank_a": "i % 2 = 0", "bank_b": "i % 2 = 1", "shop_c": "i % 3 < 2"}[name]
    return f"""
        SELECT format('Adelheid-Zwanziger-{{:04d}}', i) AS person,
               (hash(i, 1) % 5)::INT AS late, (hash(i, 2) % 1000) / 1000.0 AS used,
               (hash(i, 3) % 100 < 6 + 10 * late + 30 * used)::INT AS bad
        FROM range(1200) AS numbers(i) WHERE {known}"""  # noqa: S608 - constants


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """OTLP over gRPC, as any collector speaks it."""

    raw: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    """Connection -> requests."""
    spans: dict[str, list[tuple[str, Span]]] = field(default_factory=lambda: defaultdict(list))
    """Connection -> (service, span)."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def Export(  # noqa: N802 - named in the .proto
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        with self.lock:
            self.raw[context.peer()].append(request.SerializeToString())
            for part in request.resource_spans:
                names = [
                    one.value.string_value
                    for one in part.resource.attributes
                    if one.key == "service.name"
                ]
                spans = [span for scope in part.scope_spans for span in scope.spans]
                self.spans[context.peer()] += [(names[0], span) for span in spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@dataclass
class Watched:
    federation: Federation
    collector: Collector
    tap: Tap
    before: dict[str, Left]
    pages: list[bytes]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    near = tmp_path_factory.mktemp("w")
    file = write_rehearsal(near / "files", {name: rows_of(name) for name in NAMES}, rounds=5)
    text = with_joint_scores(file.read_text(encoding="utf-8"), CUSTOMERS)
    file.write_text(text, encoding="utf-8")
    with collecting() as (collector, endpoint), pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("RISKWEAVE_LOG", "debug"),
            ("RISKWEAVE_LOG_FORMAT", "json"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ):
            patch.setenv(name, value)
        patch.setattr(steps, "_UP_S", PATIENCE_S)
        patch.setattr(house, "PATIENCE_S", PATIENCE_S)
        with Federation.running(near, file) as federation:
            yield _work(federation, collector)


def _work(federation: Federation, collector: Collector) -> Watched:
    """Train, vote, score; one node by way of the tap. Its processes have ended after it."""
    node = federation.directory(NODE)
    with tapped(federation.places.coordinator, node, federation.address) as tap:
        federation.kill(NODE, 15)
        before = left_at(node)
        settings = node / "node.toml"
        host, port = federation.address
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace(f"{host}:{port}", tap.address), encoding="utf-8")
        federation.start(NODE)
        federation.wait(lambda: tap.flows != [], what="the tap is used", blame=NODE)
        federation.wait_for(*NAMES)
        with token_loads({name: federation.directory(name) for name in NAMES}) as loads:
            version = federation.start_run().wait_for_end().version
            federation.steps.vote_all(version)
            loads.wait(federation.processes.check)
        for name in (NODE, OTHER):
            wait_for_joint_scores(federation, name)
            with Client(f"unix:{desk_of(federation, name)}") as client:
                for number in range(ASKED):
                    client.score(person(number), Consent(CONSENT_REFERENCE), timeout=60.0)
        homes = map(federation.directory, (COORDINATOR, *NAMES))
        pages = [page_of(home, "/metrics") for home in homes]
        for name in (*NAMES, COORDINATOR):
            federation.kill(name, 15)
    return Watched(federation, collector, tap, before, pages)


def test_no_log_trace_metric_or_frame_holds_a_person_or_a_consent(watched: Watched) -> None:
    logs = [path.read_bytes() for path in watched.federation.places.logs.iterdir()]
    traces = [one for sent in watched.collector.raw.values() for one in sent]
    kept = [
        path.read_bytes()
        for path in watched.federation.places.coordinator.rglob("*")
        if path.is_file()
    ]
    seen = [*logs, *traces, *watched.pages, *kept, *watched.tap.captured()]
    assert sum(map(len, traces)) > 1000
    assert b"Zwanziger" not in b"".join(seen)
    assert found(seen, [person(0), person(7), CONSENT_REFERENCE]) == set()


def test_every_line_of_every_serving_process_is_json(watched: Watched) -> None:
    for name in (COORDINATOR, *NAMES):
        for line in watched.federation.log_of(name).splitlines():
            assert line.startswith("serving ") or json.loads(line)["level"]


def test_spans_are_there_for_rounds_uploads_and_scores(watched: Watched) -> None:
    names = {
        (service, span.name)
        for sent in watched.collector.spans.values()
        for service, span in sent
    }
    assert names == {
        ("riskweave-coordinator", "riskweave.run"),
        ("riskweave-coordinator", "riskweave.round"),
        ("riskweave-coordinator", "riskweave.score.relay"),
        ("riskweave-node", "riskweave.training.answer"),
        ("riskweave-node", "riskweave.score"),
        ("riskweave-node", "riskweave.score.reply"),
    }
    uploads = [
        span
        for sent in watched.collector.spans.values()
        for _, span in sent
        if any(one.value.string_value == "upload" for one in span.attributes)
    ]
    assert len(uploads) >= 5 * len(NAMES)


def test_no_trace_crosses_a_role_and_no_time_matches_two_scores(watched: Watched) -> None:
    """One id on spans of several partners would say that they were asked about one person."""
    owners: dict[bytes, set[str]] = defaultdict(set)
    for peer, sent in watched.collector.spans.items():
        for _, span in sent:
            owners[span.trace_id].add(peer)
            if ".score" in span.name:
                assert span.parent_span_id == b""
                assert span.start_time_unix_nano % (60 * 10**9) == 0
    assert len(owners) > ASKED
    assert all(len(seen) == 1 for seen in owners.values())
    wire = b"".join(watched.tap.captured())
    for header in (b"traceparent", b"tracestate", b"baggage"):
        assert header not in wire
    assert not [one for one in owners if one in wire or one.hex().encode() in wire]


def test_attributes_are_of_the_closed_list(watched: Watched) -> None:
    for sent in watched.collector.spans.values():
        for _, span in sent:
            assert not span.events
            assert not span.links
            for one in span.attributes:
                if one.key in {"riskweave.round", "riskweave.attempt"}:
                    assert one.value.int_value >= 1
                else:
                    assert one.key in {"riskweave.kind", "riskweave.result"}
                    assert one.value.string_value in WORDS, "a word that the list lacks"


def test_journal_of_what_left_holds_every_class_that_the_wire_and_the_collector_saw(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    node = watched.federation.directory(NODE)
    new = journal_against(watched.tap, watched.before, left_at(node))
    sent = {name for name, (count, _) in new.items() if count}
    assert sent >= {
        "training.query.offer",
        "training.query.join",
        "training.train.upload",
        "training.query.close",
        "scoring.ScoreRequest",
        "scoring.ScoreAnswer",
        "scoring.OprfRequest",
        "scoring.OprfReply",
        "scoring.EpochTell",
        "ask.CastVote",
        "ask.GetModel",
        "ask.Witness",
        CLASS,
    }
    got = [(len(one), sum(map(len, one))) for one in watched.collector.raw.values()]
    assert new[CLASS] in got, "the collector saw what was counted"
    assert node_cli.main(["what-left", str(node), "--json"]) == 0
    shown = {row["class"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(shown[name]["meaning"] for name in sent)
