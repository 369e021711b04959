"""The report: what must be in it, and what a title or a label may not do to it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from consortium.canonical import canonical_json
from consortium.errors import DecodeError, DigestMismatchError
from consortium.ids import RunId
from coordinator.events import RunEvent
from models.document import version_of
from rehearsal.budgets import NodeBudget, parse_budget
from rehearsal.cli import _summary
from rehearsal.published import Published, parse_published
from rehearsal.report import json_of, write_report
from rehearsal.results import (
    BlockFigures,
    Coverage,
    Evidence,
    FeaturePoints,
    Group,
    JointAnswers,
    JointEvidence,
    JointRecord,
    NamedAuc,
    PartnerFigures,
    Quality,
    Result,
    Roc,
    RunRecord,
)

RUN = RunId("0" * 32)
NOTHING = Quality(auc=None, ks=None, in_the_large=None, slope=None, brier=None)
GOOD = Quality(auc=0.75, ks=0.4, in_the_large=1.02, slope=0.97, brier=0.13)


def document() -> bytes:
    levels = {
        "all_honest": "0.6100",
        "half_collude": "0.9149",
        "others_collude": "1.3100",
        "largest": "1.3200",
        "claimed": "0.9149",
    }
    figures = {"record": levels, "person": levels, "person_replace_one": levels}
    epsilon = {"by_honest": figures}
    lost = {
        "purpose": "gradient",
        "round": 2,
        "attempt": 1,
        "missing": ["south"],
        "reasons": ["unavailable"],
    }
    charge = {
        "purpose": "gradient",
        "persons": "training",
        "attempts": 4,
        "sigma": "52.6",
        "person_units": 700,
    }
    statement = {
        "unit": "person",
        "relation": "add or remove",
        "trust": "none",
        "delta": "1e-6",
        "target_epsilon": "1",
        "max_partners_per_person": 2,
        "accountant": "closed form",
        "accountants": {"closed_form": "0.9003", "pld": "0.9003", "rdp": "0.9715"},
        "noise_mode": "shared",
        "honest_fraction": "0.5",
        "rosters": [{"partners": 4, "honest": 2, "attempts": 4}],
        "blocks": [{"name": "lenders", "holders": ["north", "south"], "holders_per_person": 1}],
        "headline": {
            "record": "0.6306",
            "person": "0.9149",
            "record_by_honest": levels,
            "person_by_honest": levels,
        },
        "epsilon": {"training": epsilon, "holdout": epsilon},
        "charges": [charge],
        "attempts": {"made": 4, "aborted": [lost]},
        "not_protected": ["message sizes"],
    }
    noisy = {"auc": "0.74", "ks": "0.4", "in_the_large": "1.1", "slope": "n/a"}
    return canonical_json(
        {
            "manifest": "a" * 64,
            "schema": "b" * 64,
            "plan_digest": "c" * 64,
            "metrics": {"lenders": {**noisy, "brier_banded": "0.13"}},
            "statement": statement,
        }
    )


def published() -> Published:
    return parse_published(document(), version_of(document()))


def event(number: int, seconds: float, text: str = "") -> RunEvent:
    return RunEvent(
        run=RUN, stage="training", round=number, rounds=3, seconds=seconds, text=text
    )


def budget(partner: str) -> NodeBudget:
    run = {"run": RUN, "epsilon": 0.9149, "units": 700, "reserved_units": 0}
    old = {"run": "1" * 32, "epsilon": 0.7001, "units": 500, "reserved_units": 100}
    scope = {
        "scope": "training",
        "figures": {"cap": 3.0, "spent": 1.1, "reserved": 0.1, "left": 2.7321},
        "units": {"cap": 9000, "spent": 1200, "reserved": 100, "left": 7700},
        "runs": [old, run],
        "by_honest": {
            "person": {
                "all_honest": 0.7,
                "half_collude": 0.99,
                "others_collude": 1.4,
                "largest": 1.4,
                "claimed": 0.99,
            }
        },
    }
    return parse_budget(partner, json.dumps({"delta": "1e-6", "scopes": [scope]}))


def result(quality: Quality = GOOD) -> Result:
    ramp = np.linspace(0.0, 1.0, 5)
    partners = [
        PartnerFigures(
            name=name,
            families=("repayment",),
            training_rows=800,
            holdout_rows=200,
            federated=quality,
            local_only=quality,
            pooled=quality,
        )
        for name in ("north", "south")
    ]
    defined = quality.auc is not None
    block = BlockFigures(
        name="lenders",
        families=("repayment",),
        holders=("north", "south"),
        training_rows=1600,
        holdout_rows=400,
        bad_rate=0.2,
        federated=quality,
        pooled=quality,
        ceiling=quality.auc,
        rocs=(Roc(name="pooled", role="pooled", auc=0.7, false=ramp, true=ramp),)
        if defined
        else (),
        groups=(Group(rows=200, predicted=0.1, observed=0.12),) if defined else (),
    )
    points = FeaturePoints(
        feature="late",
        family="repayment",
        block="lenders",
        unit="times",
        direction="up",
        labels=("missing", "<script>alert(1)</script>"),
        points=(0.0, -12.4),
    )
    return Result(
        title="Two <b>lenders</b> & co",
        machine="a machine",
        record=RunRecord(
            version=version_of(document()),
            published=published(),
            events=(event(1, 0.03), event(2, 9.0, "aborted: south"), event(2, 0.05)),
            status="active",
            votes={"north": True, "south": None},
            budgets=(budget("north"), budget("south")),
            seconds={"start": 1.0, "train": 2.0, "total": 4.0},
            processes=("coordinator", "north", "south"),
            peak_rss_mb={"coordinator": 90.0, "north": 200.0, "south": 201.0},
            joint=joint_record(),
        ),
        evidence=Evidence(
            partners=tuple(partners),
            blocks=(block,),
            overall=quality,
            pooled_all_columns=quality.auc,
            pooled_persons=390,
            features=(points,),
            joint=joint_evidence(quality),
        ),
    )


def joint_record() -> JointRecord:
    return JointRecord(
        answers=(
            JointAnswers(
                asker="north",
                persons=np.array([1, 2], dtype=np.uint64),
                eta=np.array([0.5, -0.5]),
                bands=np.array(["1", "2"]),
            ),
        ),
        milliseconds=(3.0, 4.0, 5.0),
        first_milliseconds=(7.0,),
        batch_per_second=5123.4,
        example={"points": 612, "reason": "<b>近期有未按时还款记录</b>"},
        head="4" * 64,
        spent={"head": "0.31", "both": "1.0000"},
    )


def joint_evidence(quality: Quality) -> JointEvidence:
    return JointEvidence(
        persons=400,
        persons_both=280,
        joint_all=quality,
        own_block_all=quality,
        pooled_all=quality,
        joint=quality,
        own_block=quality,
        pooled=quality,
        sources=(NamedAuc(name="banks", auc=0.74), NamedAuc(name="platforms", auc=0.71)),
        coverage=(
            Coverage(band="1", persons=120, quality=quality),
            Coverage(band="2", persons=280, quality=quality),
        ),
        groups=(Group(rows=200, predicted=0.1, observed=0.12),),
        rocs=(),
    )


def test_json_carries_every_figure_that_the_issue_names() -> None:
    found = json_of(result())
    for path in (
        "seconds.start",
        "seconds.train",
        "seconds.total",
        "rounds",
        "round_ms.p50",
        "round_ms.p95",
        "auc.federated.north",
        "auc.local_only.north",
        "auc.pooled_same_model.north",
        "auc.pooled_all_columns",
        "auc.by_block.lenders.federated",
        "auc.by_block.lenders.pooled_same_model",
        "auc.by_block.lenders.pooled_same_model_ceiling",
        "ks.north",
        "calibration.in_the_large",
        "calibration.slope",
        "calibration.by_block.lenders.slope",
        "epsilon.record",
        "epsilon.person",
        *(
            f"epsilon.by_honest.{unit}.{level}"
            for unit in ("record", "person")
            for level in ("all_honest", "half_collude", "others_collude", "largest")
        ),
        "epsilon.noise_mode",
        "budget.north.scopes",
        "budget.south.scopes",
        "epsilon.delta",
        "epsilon.unit",
        "epsilon.max_partners_per_person",
        "epsilon.accountant",
        "model.version",
        "model.family_points.repayment.late",
        "processes",
        "peak_rss_mb.north",
        "noisy.lenders.auc",
        "attempts.made",
        "attempts.aborted",
        "statement.trust",
        "auc.joint",
        "auc.best_source",
        "auc.joint_all",
        "calibration.by_coverage.1.in_the_large",
        "calibration.by_coverage.2.slope",
        "latency_ms.p50",
        "latency_ms.p99",
        "joint.batch_per_second",
        "joint.example.points",
        "joint.epsilon.allowed.both",
        "joint.epsilon.all_runs.others_collude",
    ):
        value: object = found
        for key in path.split("."):
            assert isinstance(value, dict)
            assert key in value, path
            value = value[key]
        assert value is not None, path
    assert "sees all files" in str(found["note"])


def test_lost_attempt_is_no_round_and_does_not_enter_its_percentiles() -> None:
    found = json_of(result())
    assert found["rounds"] == 2
    assert found["round_ms"] == {"p50": 40.0, "p95": 49.0}


class Page(HTMLParser):
    """Collects tags with attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(tmp_path: Path) -> Page:
    parsed = Page()
    parsed.feed(write_report(result(), tmp_path).read_text(encoding="utf-8"))
    return parsed


def test_page_is_one_file_that_fetches_nothing(page: Page, tmp_path: Path) -> None:
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in {"href", "src", "xlink:href"}:
                assert (value or "").startswith("#"), (tag, name, value)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import", text)


def test_titles_and_bin_labels_are_text_and_never_markup(page: Page) -> None:
    assert "Two <b>lenders</b> & co" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "script" not in {tag for tag, _ in page.tags}


def test_page_says_who_computed_what_and_what_was_lost(page: Page) -> None:
    for words in (
        "which plays all parties on one machine and so sees all files",
        "0.9149",
        "south (unavailable)",
        "A lost attempt is charged in full",
        "message sizes",
        "not needed",
        "everyone else colludes",
        "1.3200",
        "00000000: 0.9149",
        "2.7321",
        "shared: each partner adds a part of the noise",
        "AUC is 0.7500: +0.0100 against the best single source, banks",
        "By how many partners knew the person",
        "Model and head together cost a person ε = 0.9900",
        "<b>近期有未按时还款记录</b>",
    ):
        assert words in " ".join(page.text.split()), words


def test_undefined_figures_are_printed_as_not_available(tmp_path: Path) -> None:
    text = write_report(result(NOTHING), tmp_path).read_text(encoding="utf-8")
    assert "n/a" in text
    assert "None" not in text
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["auc"]["federated"]["north"] is None


def test_report_without_joint_scores_has_no_empty_part(tmp_path: Path) -> None:
    bare = result()
    bare = replace(
        bare,
        record=replace(bare.record, joint=None),
        evidence=replace(bare.evidence, joint=None),
    )
    text = write_report(bare, tmp_path).read_text(encoding="utf-8")
    assert "What several partners know" not in text
    assert "latency_ms" not in json_of(bare)
    assert "joint score" not in "\n".join(_summary(bare))


def test_model_document_under_another_version_is_refused() -> None:
    with pytest.raises(DigestMismatchError):
        parse_published(document(), "0" * 64)


def test_model_document_without_a_statement_is_refused() -> None:
    data = canonical_json({"metrics": {}})
    with pytest.raises(DecodeError):
        parse_published(data, version_of(data))


def test_budget_report_without_its_units_is_refused() -> None:
    with pytest.raises(DecodeError, match="budget of north"):
        parse_budget("north", '{"scopes": [{"scope": "training", "figures": {}, "runs": []}]}')


def test_summary_on_the_console_has_the_three_epsilons() -> None:
    text = "\n".join(_summary(result()))
    assert "person: 0.6100 if all are honest, 0.9149 if half collude, 1.3100 if" in text
    assert "record: 0.6100 if all are honest" in text
    assert "1.3200 at the most" in text
    assert "shared noise" in text
