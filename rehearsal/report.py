"""report.json and report.html from a result: figures in full, and a page for people.

The page takes every figure from the same values as the JSON file; ``rehearsal.page`` rounds
and explains them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rehearsal.budgets import all_runs
from rehearsal.page import html_of
from rehearsal.published import ByHonest, Privacy
from rehearsal.results import (
    BlockFigures,
    Evidence,
    FeaturePoints,
    JointEvidence,
    Quality,
    Result,
    TamperRecord,
    round_milliseconds,
)

NOTE = (
    "auc.local_only, auc.pooled_*, every by_block figure, ks and calibration were computed by "
    "the rehearsal alone, which sees all files; in life nobody does. Figures under noisy are "
    "the federation's own and are paid for in epsilon."
)


def write_report(result: Result, directory: Path) -> Path:
    """Write both files into ``directory`` and return the page's path."""
    document = json.dumps(json_of(result), indent=2, ensure_ascii=False) + "\n"
    (directory / "report.json").write_text(document, encoding="utf-8")
    page = directory / "report.html"
    page.write_text(html_of(result), encoding="utf-8")
    return page


def json_of(result: Result) -> dict[str, object]:
    """The whole report as plain values."""
    record, evidence = result.record, result.evidence
    privacy = record.published.privacy
    milliseconds = round_milliseconds(record.events)
    joint = _joint(result)
    return {
        "title": result.title,
        "note": NOTE,
        "machine": result.machine,
        "seconds": dict(record.seconds),
        "rounds": len(milliseconds),
        "round_ms": _percentiles(milliseconds),
        "auc": {**_auc(evidence), **_joint_auc(evidence.joint)},
        "ks": {one.name: _rounded(one.federated.ks) for one in evidence.partners},
        "calibration": {
            "in_the_large": _rounded(evidence.overall.in_the_large),
            "slope": _rounded(evidence.overall.slope),
            "brier": _rounded(evidence.overall.brier),
            "by_block": {one.name: _calibration(one.federated) for one in evidence.blocks},
            **_by_coverage(evidence.joint),
        },
        **joint,
        **_desk(result),
        "noisy": {
            block: {name: _rounded(value) for name, value in found.items()}
            for block, found in record.published.noisy.items()
        },
        "epsilon": _epsilon(privacy),
        "budget": {one.partner: dict(one.report) for one in record.budgets},
        "model": {
            "version": record.version,
            "status": record.status,
            "votes": dict(record.votes),
            "digests": dict(record.published.digests),
            "family_points": _family_points(evidence.features),
        },
        "rows": {
            one.name: {"training": one.training_rows, "holdout": one.holdout_rows}
            for one in evidence.partners
        },
        "attempts": {
            "made": privacy.attempts,
            "aborted": [asdict(one) for one in privacy.lost],
        },
        "processes": len(record.processes),
        "peak_rss_mb": dict(record.peak_rss_mb),
        "statement": dict(record.published.statement),
        **_tampered(record.tampered),
    }


def _epsilon(privacy: Privacy) -> dict[str, object]:
    return {
        "record": float(privacy.record),
        "person": float(privacy.person),
        "by_honest": {
            "record": _by_honest(privacy.record_by_honest),
            "person": _by_honest(privacy.person_by_honest),
        },
        "noise_mode": privacy.noise_mode,
        "target": float(privacy.target),
        "delta": float(privacy.delta),
        "unit": privacy.unit,
        "max_partners_per_person": privacy.max_partners_per_person,
        "accountant": privacy.accountant,
        "witnesses": dict(privacy.witnesses),
    }


def _tampered(record: TamperRecord | None) -> dict[str, object]:
    if record is None:
        return {}
    alterations = [
        {
            "entry": one.entry,
            "changed": one.changed,
            "findings": list(one.findings),
            "named": one.named,
        }
        for one in record.alterations
    ]
    found = {
        "found": record.found,
        "alterations": alterations,
        "refused": dict(record.refused),
        "further_run": record.further_run,
    }
    return {"tampered": found}


def _by_honest(found: ByHonest) -> dict[str, float]:
    return {name: float(text) for name, text in asdict(found).items() if name != "claimed"}


def _auc(evidence: Evidence) -> dict[str, object]:
    def by_partner(name: str) -> dict[str, float | None]:
        return {one.name: _rounded(getattr(one, name).auc) for one in evidence.partners}

    return {
        "federated": by_partner("federated"),
        "local_only": by_partner("local_only"),
        "pooled_same_model": by_partner("pooled"),
        "pooled_all_columns": _rounded(evidence.pooled_all_columns),
        "by_block": {one.name: _block_auc(one) for one in evidence.blocks},
    }


def _joint_auc(joint: JointEvidence | None) -> dict[str, object]:
    """On persons whom every block knows; ``joint_all`` on all who were asked for."""
    if joint is None:
        return {}
    return {
        "joint": _rounded(joint.joint.auc),
        "best_source": _rounded(joint.best_source.auc),
        "best_source_name": joint.best_source.name,
        "own_block": _rounded(joint.own_block.auc),
        "pooled_all_columns_same_persons": _rounded(joint.pooled.auc),
        "joint_all": _rounded(joint.joint_all.auc),
        "own_block_all": _rounded(joint.own_block_all.auc),
    }


def _by_coverage(joint: JointEvidence | None) -> dict[str, object]:
    if joint is None:
        return {}
    found = {
        one.band: {"persons": one.persons, **_calibration(one.quality)}
        for one in joint.coverage
    }
    return {"by_coverage": found}


def _joint(result: Result) -> dict[str, object]:
    """What was asked through the protocol, how long it took, and one reply."""
    record, evidence = result.record.joint, result.evidence.joint
    if record is None or evidence is None:
        return {}
    return {
        "latency_ms": {
            **percentiles(record.milliseconds),
            "first": percentiles(record.first_milliseconds),
        },
        "joint": {
            "persons": evidence.persons,
            "persons_both": evidence.persons_both,
            "askers": list(record.askers),
            "batch_per_second": round(record.batch_per_second, 1),
            "head": record.head,
            "epsilon": {
                "allowed": dict(record.spent),
                "all_runs": dict(all_runs(result.record.budgets)),
            },
            "example": dict(record.example),
        },
    }


def _desk(result: Result) -> dict[str, object]:
    """What the askers' credit desks decided, and how they stood the strain."""
    record, evidence = result.record.desk, result.evidence.desk
    if record is None or evidence is None:
        return {}
    return {
        "desk": {
            "decisions": evidence.persons,
            "joint": sum(one.joint for one in record.answers),
            "per_second": round(record.per_second, 1),
            "assumed": record.assumed,
            "tiers": [
                {
                    "grades": list(tier.grades),
                    "persons": tier.persons,
                    "bad_rate": _rounded(tier.bad_rate),
                    "outcomes": dict(tier.outcomes),
                }
                for tier in evidence.tiers
            ],
            "bad_rate_falls": evidence.falls,
            "by_outcome": {
                name: {"persons": persons, "bads": bads}
                for name, (persons, bads) in evidence.by_outcome.items()
            },
            "declines": evidence.declines,
            "declines_with_reasons": evidence.declines_with_reasons,
            "replayed": record.replayed,
            "promises": {"searched": record.promises[0], "kept": record.promises[1]},
            "changes": asdict(record.changes),
            "growth": None if record.growth is None else asdict(record.growth),
            "wave": None if record.wave is None else asdict(record.wave),
            "declined": None if record.declined is None else asdict(record.declined),
        }
    }


def percentiles(milliseconds: Sequence[float]) -> dict[str, float | None]:
    """Median and 99th percentile; None without a measurement."""
    if not milliseconds:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def _block_auc(block: BlockFigures) -> dict[str, float | None]:
    return {
        "federated": _rounded(block.federated.auc),
        "pooled_same_model": _rounded(block.pooled.auc),
        "pooled_same_model_ceiling": _rounded(block.ceiling),
    }


def _calibration(found: Quality) -> dict[str, float | None]:
    return {
        "in_the_large": _rounded(found.in_the_large),
        "slope": _rounded(found.slope),
        "brier": _rounded(found.brier),
    }


def _family_points(features: Sequence[FeaturePoints]) -> Mapping[str, object]:
    families: dict[str, dict[str, object]] = {}
    for one in features:
        bins = [
            {"bin": label, "points": round(points, 2)}
            for label, points in zip(one.labels, one.points, strict=True)
        ]
        families.setdefault(one.family, {})[one.feature] = bins
    return families


def _percentiles(milliseconds: Sequence[float]) -> dict[str, float | None]:
    if not milliseconds:
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
