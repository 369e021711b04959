"""The page's part on joint scores: what they are worth, how long they take, one example."""

import json
from collections.abc import Mapping

from markupsafe import Markup

from rehearsal import figures
from rehearsal.budgets import all_runs
from rehearsal.results import Coverage, JointEvidence, JointRecord, Quality, Result, figure_of

Row = Mapping[str, object]


def joint_part(result: Result) -> Row:
    """Values of the section; ``joint`` is None where nobody asked."""
    record, evidence = result.record.joint, result.evidence.joint
    if record is None or evidence is None:
        return {"joint": None}
    return {
        "joint": {
            "text": _text(evidence),
            "cost": _cost(all_runs(result.record.budgets)),
            "rows": [
                _row("joint score, private", evidence.joint, evidence.joint_all, "fed"),
                _row("asker's own block, private", evidence.own_block, evidence.own_block_all),
                *(_source(one.name, one.auc) for one in evidence.sources),
                _row("all columns pooled, no noise", evidence.pooled, evidence.pooled_all),
            ],
            "both": f"{evidence.persons_both:,}",
            "all": f"{evidence.persons:,}",
            "coverage": [_coverage(one) for one in evidence.coverage],
            "roc": Markup(figures.joint_roc(evidence)),  # noqa: S704 - our own SVG
            "calibration": Markup(figures.joint_calibration(evidence)),  # noqa: S704
            "latency": Markup(figures.latency(record)),  # noqa: S704
            "speed": _speed(record),
            "example": _example(record),
        }
    }


def _text(evidence: JointEvidence) -> str:
    best, joint = evidence.best_source, evidence.joint.auc
    gain = "n/a" if joint is None or best.auc is None else f"{joint - best.auc:+.4f}"
    return (
        f"Each asker's node asked for the joint score of {evidence.persons:,} hold-out persons "
        "through the real protocol. Partners answered with masked words; only the asker could "
        f"add them up. On the {evidence.persons_both:,} persons whom every block knows the "
        f"joint score's AUC is {figure_of(joint, 4)}: {gain} against the best single source, "
        f"{best.name}, trained on pooled rows without privacy."
    )


def _cost(person: Mapping[str, float]) -> str:
    return (
        "Model and head together cost a person ε = "
        f"{person['claimed']:.4f} if half of the partners collude: "
        f"{person['all_honest']:.4f} if all are honest, "
        f"{person['others_collude']:.4f} if everyone else colludes, "
        f"{person['largest']:.4f} at the most. Joint scores themselves carry no noise: what "
        "protects a person here is consent, quotas, masks and the retry rule, not ε."
    )


def _row(name: str, both: Quality, everybody: Quality, css: str = "") -> Row:
    return {
        "name": name,
        "css": css,
        "both": figure_of(both.auc, 4),
        "all": figure_of(everybody.auc, 4),
        "large": figure_of(everybody.in_the_large, 3),
        "slope": figure_of(everybody.slope, 2),
    }


def _source(name: str, auc: float | None) -> Row:
    shown = {"all": "", "large": "", "slope": "", "css": ""}
    return {"name": f"{name} alone, pooled, no noise", "both": figure_of(auc, 4), **shown}


def _coverage(one: Coverage) -> Row:
    return {
        "band": one.band,
        "persons": f"{one.persons:,}",
        "auc": figure_of(one.quality.auc, 4),
        "large": figure_of(one.quality.in_the_large, 3),
        "slope": figure_of(one.quality.slope, 2),
        "brier": figure_of(one.quality.brier, 4),
    }


def _speed(record: JointRecord) -> str:
    return (
        f"{len(record.milliseconds)} single scores one after the other at the asker's gRPC "
        f"door; {record.batch_per_second:,.0f} persons a second in a batch, pseudonyms "
        "included where they were not known yet. All processes share this machine."
    )


def _example(record: JointRecord) -> str:
    return json.dumps(record.example, indent=2, ensure_ascii=False)
