"""What Prometheus reads of a serving node: for its owner alone, and no person in it.

Counters and histograms are told as things happen; the rest is read from the databases at
each scrape. Names and alerts: docs/operations.md.
"""

import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consortium.codec import Body, StreamKind
from consortium.inquiries import ScoreAnswer, ScoreRefused
from partner_node.answers import JointAnswer
from partner_node.left_journal import Left
from partner_node.link_ports import ScoringPort, Send
from partner_node.storage import NodeStore
from partner_node.vitals import Vitals
from upkeep.health_door import Page

_SCORE_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Figures that only the surroundings know; each may block."""

    caps: Callable[[], tuple[Mapping[str, int], str]]
    """Units by account, and the policy's delta; empty before a manifest is pinned."""
    certificate_days: Callable[[], int]
    decisions: Callable[[], int]
    kill_switch: Callable[[], bool]
    joint: Callable[[], bool]
    """Whether a score asked for now would be joint."""
    left: Callable[[], Sequence[Left]]
    now: Callable[[], int]


class Metrics(Collector):
    """One registry; ``page`` from any thread, what is told never blocks."""

    def __init__(self, directory: Path, store: NodeStore, vitals: Vitals, sizes: Sizes) -> None:
        self._directory = directory
        self._store = store
        self._vitals = vitals
        self._sizes = sizes
        self._registry = CollectorRegistry()
        self._asked = Counter(
            "riskweave_scores",
            "Scores that were asked for here since the start: joint, or a local fallback",
            ("result",),
            registry=self._registry,
        )
        self._asked_seconds = Histogram(
            "riskweave_score_seconds",
            "From a question to its answers; a batch counts once",
            buckets=_SCORE_S,
            registry=self._registry,
        )
        self._answered = Counter(
            "riskweave_answers",
            "Answers to other partners' score requests since the start, by result",
            ("result",),
            registry=self._registry,
        )
        for result in ("joint", "fallback"):
            self._asked.labels(result)
        for result in ("answered", "refused"):
            self._answered.labels(result)
        self._registry.register(self)

    def on_scores(self, answers: Sequence[JointAnswer], seconds: float) -> None:
        """Questions of the own systems were answered."""
        for one in answers:
            self._asked.labels("fallback" if one.fallback else "joint").inc()
        self._asked_seconds.observe(seconds)

    def on_sent(self, body: Body) -> None:
        """A scoring frame goes out."""
        if isinstance(body, ScoreAnswer | ScoreRefused):
            refused = isinstance(body, ScoreRefused)
            self._answered.labels("refused" if refused else "answered").inc()

    def page(self) -> Page:
        """The text that Prometheus reads; raises StorageError as the databases do."""
        return Page(generate_latest(self._registry), kind=CONTENT_TYPE_PLAIN_0_0_4)

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not read the databases to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The figures that are read at each scrape."""
        sizes = self._sizes
        up = GaugeMetricFamily("riskweave_stream_up", "Streams that are up", labels=("kind",))
        for kind in StreamKind:
            up.add_metric((kind.value,), float(kind in self._vitals.up))
        yield up
        left = GaugeMetricFamily(
            "riskweave_budget_left_ratio",
            "Share of the privacy budget that is neither spent nor reserved",
            labels=("account",),
        )
        caps, delta = sizes.caps()
        for name, cap in caps.items():
            account = self._store.account(name, cap_units=cap, delta=delta)
            left.add_metric((name,), account.left / cap if cap else 0.0)
        yield left
        yield from self._log()
        decisions = CounterMetricFamily("riskweave_decisions", "Decisions of the credit desk")
        decisions.add_metric((), sizes.decisions())
        yield decisions
        frames = CounterMetricFamily(
            "riskweave_left_frames", "Frames that ever left, by class", labels=("class",)
        )
        size = CounterMetricFamily(
            "riskweave_left_bytes", "Bytes that ever left, by class", labels=("class",)
        )
        for one in sizes.left():
            frames.add_metric((one.kind,), one.count)
            size.add_metric((one.kind,), one.size)
        yield from (frames, size)
        free = shutil.disk_usage(self._directory).free
        for name, text, value in (
            ("scores_are_joint", "Whether a score asked for now is joint", sizes.joint()),
            ("kill_switch_on", "Whether the kill switch is on", sizes.kill_switch()),
            ("certificate_days", "Days that the certificate counts", sizes.certificate_days()),
            ("disk_free_bytes", "Free space at the directory", free),
        ):
            yield GaugeMetricFamily(f"riskweave_{name}", text, value=value)

    def _log(self) -> Iterator[Metric]:
        log = self._store.log
        _, _, at = log.seen()
        age = max(0, self._sizes.now() - at) if at else 0
        for name, text, value in (
            ("log_entries", "Entries of the mirror of the log", log.size()),
            ("log_head_age_seconds", "Since the newest cosigned head was made", age),
            ("log_incident_open", "Whether an incident waits", log.incident() is not None),
        ):
            yield GaugeMetricFamily(f"riskweave_{name}", text, value=value)


class Counted:
    """A scoring port whose frames are counted on their way out."""

    def __init__(self, port: ScoringPort, on_sent: Callable[[Body], None]) -> None:
        self._port = port
        self._on_sent = on_sent

    def attach(self, send: Send) -> None:
        """The stream is welcomed."""

        def counted(body: Body, number: int) -> None:
            send(body, number)
            self._on_sent(body)

        self._port.attach(counted)

    def on_frame(self, body: Body, number: int) -> Awaitable[None] | None:
        """A frame of the coordinator."""
        return self._port.on_frame(body, number)

    def on_down(self) -> None:
        """The stream has ended."""
        self._port.on_down()
