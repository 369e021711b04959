"""What Prometheus reads: every name that is watched exists, and nobody is named."""

import json
import re
from dataclasses import replace
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from consortium.codec import StreamKind
from consortium.ids import Digest, PartnerId, RunId
from consortium.inquiries import Purpose, ScoreAnswer, ScoreRefused
from coordinator.events import EventLog, RunEvent
from coordinator.metrics import Metrics, MetricsPorts
from partner_node import metrics as node
from partner_node.answers import Applicant, ConsentReference
from partner_node.left_journal import Left
from partner_node.storage import NodeStore
from partner_node.vitals import Vitals
from tests.coordinator_house import House
from tests.desk_house import Session
from tests.unit.test_inquiry_log import ended

ROOT = Path(__file__).resolve().parents[2]
RUN = RunId("ab" * 16)
NOW = 1_700_000_000
ABORTED = "aborted: bank_a (silent); bank_a is left out"
CONTEXT = Digest("0e" * 32)
LEFT = Left(kind="ask.Witness", count=2, size=70, chain=bytes(32), first=NOW, last=NOW)
CONSENT = ConsentReference(
    reference="paper", purposes=(Purpose.JOINT_SCORE,), expires=NOW, notice=1, method="app"
)


class Nobody:
    """No streams but one."""

    def connected(self) -> tuple[PartnerId, ...]:
        return (PartnerId("bank_a"),)

    def scoring_connected(self) -> tuple[PartnerId, ...]:
        return ()


def coordinator_metrics(tmp_path: Path) -> Metrics:
    house = House.build(tmp_path / "c")
    return Metrics(
        MetricsPorts(
            directory=tmp_path,
            store=house.desk.store,
            log=house.desk.log,
            membership=house.desk.membership,
            links=Nobody(),
            in_flight=lambda: 3,
            certificate_days=lambda: 89,
        )
    )


def node_metrics(tmp_path: Path, vitals: Vitals) -> node.Metrics:
    return node.Metrics(
        tmp_path,
        NodeStore(tmp_path / "node.db", now=lambda: NOW),
        vitals,
        node.Sizes(
            caps=lambda: ({"repayment": 1000, "tables": 0}, "1e-6"),
            certificate_days=lambda: 12,
            decisions=lambda: 7,
            kill_switch=lambda: False,
            joint=lambda: True,
            left=lambda: [LEFT],
            now=lambda: NOW,
        ),
    )


def values(page: bytes) -> dict[tuple[str, str], float]:
    """(name, values of the labels by name) -> value."""
    return {
        (
            sample.name,
            ",".join(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_coordinator_counts_attempts_runs_scores_and_names_nobody(tmp_path: Path) -> None:
    metrics, events = coordinator_metrics(tmp_path), EventLog()
    events.on_append = metrics.on_event
    closed = RunEvent(run=RUN, stage="training", round=1, rounds=2, attempt=1, seconds=0.4)
    for event in (
        RunEvent(run=RUN, stage="preparing", rounds=2),
        closed,
        replace(closed, attempt=2, text=ABORTED),
        RunEvent(run=RUN, stage="waiting", text="the run waits: disk full"),
        RunEvent(run=RUN, stage="finished", version="01" * 32),
    ):
        events.append(event)
    metrics.on_ended(replace(ended(1), ended_ms=121))
    page = metrics.page().body
    seen = values(page)
    assert seen["riskweave_attempts_total", "closed,training"] == 1
    assert seen["riskweave_attempts_total", "aborted,training"] == 1
    assert seen["riskweave_attempt_seconds_bucket", "0.5,training"] == 2
    assert seen["riskweave_runs_total", "finished"] == 1
    assert seen["riskweave_relayed_scores_total", "answered"] == 1
    assert seen["riskweave_relayed_score_seconds_sum", ""] == 0.12
    assert seen["riskweave_partners", ""] == seen["riskweave_witnesses_behind", ""] == 2
    assert seen["riskweave_streams_up", "training"] == 1
    assert seen["riskweave_log_entries", ""] == seen["riskweave_log_unwitnessed_entries", ""]
    for private in (b"bank_", RUN.encode(), b"01" * 32, b"0d" * 32):
        assert private not in page


def test_node_counts_scores_answers_budget_and_names_nobody(tmp_path: Path) -> None:
    vitals = Vitals()
    metrics = node_metrics(tmp_path, vitals)
    vitals.on_change(StreamKind.SCORING, True)  # noqa: FBT003 - a port
    joint = Session().answer(Applicant(person="P-1", consent=CONSENT, attributes=None))
    local = replace(joint, fallback="no_roster")
    metrics.on_scores([joint, joint, local], 0.2)

    class Port:
        def attach(self, send: object) -> None:
            self.send = send

        def on_frame(self, _body: object, _number: int) -> None:
            return None

        def on_down(self) -> None:
            pass

    port, sent = Port(), list[object]()
    node.Counted(port, metrics.on_sent).attach(lambda body, _number: sent.append(body))
    member = PartnerId("bank_a")
    for body in (
        ScoreAnswer(context=CONTEXT, member=member, words=b"", signature=b""),
        ScoreRefused(context=CONTEXT, member=member, code="S08", signature=b""),
    ):
        port.send(body, 1)  # type: ignore[operator]
    assert len(sent) == 2
    page = metrics.page().body
    seen = values(page)
    assert seen["riskweave_scores_total", "joint"] == 2
    assert seen["riskweave_scores_total", "fallback"] == 1
    assert seen["riskweave_score_seconds_count", ""] == 1
    assert seen["riskweave_answers_total", "refused"] == 1
    assert seen["riskweave_answers_total", "answered"] == 1
    assert seen["riskweave_budget_left_ratio", "repayment"] == 1
    assert seen["riskweave_stream_up", "scoring"] == 1
    assert seen["riskweave_stream_up", "training"] == 0
    assert seen["riskweave_decisions_total", ""] == 7
    assert seen["riskweave_left_bytes_total", "ask.Witness"] == 70
    assert seen["riskweave_left_frames_total", "ask.Witness"] == 2
    assert b"bank_" not in page


def test_every_metric_of_dashboard_and_alerts_exists(tmp_path: Path) -> None:
    metrics = coordinator_metrics(tmp_path)
    closed = RunEvent(run=RUN, stage="training", round=1, rounds=2, attempt=1, seconds=0.4)
    metrics.on_event(closed)
    own = node_metrics(tmp_path, Vitals())
    known = {name for page in (metrics.page(), own.page()) for name, _ in values(page.body)}
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "riskweave.json").read_text())
    rules = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    watched = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    assert len(watched) > 20
    for expression in (*watched, *(rule["expr"] for rule in alerts)):
        assert set(re.findall(r"riskweave_\w+", expression)) <= known, expression
    headings = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in alerts:
        assert f"### {rule['alert']}\n" in headings
        assert rule["annotations"]["runbook"].endswith(f"#{rule['alert'].lower()}")
    for name in sorted({re.sub("_(bucket|sum|count|created)$", "", one) for one in known}):
        assert f"`{name}" in headings, name
