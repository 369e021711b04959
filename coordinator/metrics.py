"""What Prometheus reads of a serving coordinator. Names no partner, no person and no model.

Counters and histograms are told as things happen; the rest is read from the database at each
scrape. Names and alerts: docs/operations.md.
"""

import shutil
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consortium.codec import StreamKind
from coordinator.audit_log import AuditLog
from coordinator.control import Links
from coordinator.events import RunEvent
from coordinator.inquiry_log import Ended
from coordinator.membership import Membership
from coordinator.storage import Store
from upkeep.health_door import Page

_ATTEMPT_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SCORE_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPorts:
    """Where the figures come from; all but ``links`` may block."""

    directory: Path
    store: Store
    log: AuditLog
    membership: Membership
    links: Links
    in_flight: Callable[[], int]
    certificate_days: Callable[[], int]


class Metrics(Collector):
    """One registry; ``page`` from any thread, ``on_event`` and ``on_ended`` never block."""

    def __init__(self, ports: MetricsPorts) -> None:
        self._ports = ports
        self._registry = CollectorRegistry()
        self._attempts = Counter(
            "riskweave_attempts",
            "Attempts of secure sums since the start, by stage and result",
            ("stage", "result"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "riskweave_attempt_seconds",
            "Wall time of an attempt of a secure sum",
            ("stage",),
            buckets=_ATTEMPT_S,
            registry=self._registry,
        )
        self._runs = Counter(
            "riskweave_runs",
            "Runs that ended since the start, by result",
            ("result",),
            registry=self._registry,
        )
        self._scores = Counter(
            "riskweave_relayed_scores",
            "Score requests that were relayed since the start, by result",
            ("result",),
            registry=self._registry,
        )
        self._score_seconds = Histogram(
            "riskweave_relayed_score_seconds",
            "From a score request to its answers at the relay",
            buckets=_SCORE_S,
            registry=self._registry,
        )
        for result in ("finished", "failed"):
            self._runs.labels(result)
        for result in ("answered", "incomplete", "left", "absent"):
            self._scores.labels(result)
        self._registry.register(self)

    def on_event(self, event: RunEvent) -> None:
        """A step of a run has ended."""
        if event.final:
            self._runs.labels(event.stage).inc()
        elif event.attempt:
            result = "aborted" if event.text.startswith("aborted") else "closed"
            self._attempts.labels(event.stage, result).inc()
            self._seconds.labels(event.stage).observe(event.seconds)

    def on_ended(self, ended: Ended) -> None:
        """A score request is over."""
        self._scores.labels(ended.outcome).inc()
        self._score_seconds.observe((ended.ended_ms - ended.began_ms) / 1000)

    def page(self) -> Page:
        """The text that Prometheus reads; raises StorageError as the database does."""
        return Page(generate_latest(self._registry), kind=CONTENT_TYPE_PLAIN_0_0_4)

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not read the database to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures that are read at each scrape."""
        ports = self._ports
        yield _leads(leads=True)
        members = {one.id for one in ports.store.members.all()}
        yield _gauge("riskweave_members", "Members that have enrolled", len(members))
        yield _gauge(
            "riskweave_revoked", "Revoked identities", len(ports.store.members.revoked())
        )
        up = GaugeMetricFamily("riskweave_streams_up", "Streams that are up", labels=("kind",))
        for kind, there in (
            (StreamKind.TRAINING, ports.links.connected()),
            (StreamKind.SCORING, ports.links.scoring_connected()),
        ):
            up.add_metric((kind.value,), len(there))
        yield up
        yield _gauge(
            "riskweave_runs_unfinished",
            "Runs that are under way or wait",
            len(ports.store.runs.unfinished()),
        )
        models = GaugeMetricFamily("riskweave_models", "Versions by status", labels=("status",))
        tally = Tally(row.status for row in ports.store.models.all())
        for status in ("candidate", "active", "retired"):
            models.add_metric((status,), tally[status])
        yield models
        yield _gauge(
            "riskweave_relayed_scores_waiting",
            "Score requests that wait for answers",
            ports.in_flight(),
        )
        yield from self._log()
        yield from _machine(ports.directory, ports.certificate_days())

    def _log(self) -> Iterator[Metric]:
        ports = self._ports
        size = max((size for size, _ in ports.store.log.heads(last=1)), default=0)
        yield _gauge("riskweave_log_entries", "Entries under the newest signed head", size)
        manifest = ports.membership.current()
        counted = ports.log.witnesses.counted(manifest)
        yield _gauge(
            "riskweave_log_unwitnessed_entries",
            "Entries after the newest head that a quorum cosigned",
            size - (0 if counted is None else counted.size),
        )
        partners = 0 if manifest is None else len(manifest.partners)
        yield _gauge("riskweave_partners", "Partners of the manifest in force", partners)
        behind = partners
        if manifest is not None and counted is not None:
            behind = len(ports.log.witnesses.silent(counted.note, manifest))
        yield _gauge(
            "riskweave_witnesses_behind",
            "Partners that have not cosigned the newest head that counts",
            behind,
        )


class Standby(Collector):
    """What is read of a replica that does not lead: nothing of the database."""

    def __init__(self, directory: Path, certificate_days: Callable[[], int]) -> None:
        self._directory = directory
        self._certificate_days = certificate_days
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def page(self) -> Page:
        """The text that Prometheus reads."""
        return Page(generate_latest(self._registry), kind=CONTENT_TYPE_PLAIN_0_0_4)

    def collect(self) -> Iterator[Metric]:
        """The figures that are read at each scrape."""
        yield _leads(leads=False)
        yield from _machine(self._directory, self._certificate_days())


def _leads(*, leads: bool) -> Metric:
    return _gauge("riskweave_leader", "1: this replica leads; 0: it is a standby", int(leads))


def _machine(directory: Path, certificate_days: int) -> Iterator[Metric]:
    free = shutil.disk_usage(directory).free
    yield _gauge("riskweave_disk_free_bytes", "Free space at the directory", free)
    yield _gauge(
        "riskweave_certificate_days",
        "Days that the server's certificate still counts",
        certificate_days,
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
