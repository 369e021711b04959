"""The page's words and rounded figures; the template only places them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from rehearsal import figures
from rehearsal.page_desk import desk_part
from rehearsal.page_joint import joint_part
from rehearsal.page_privacy import numeral, privacy_part
from rehearsal.page_tamper import tamper_part
from rehearsal.published import Privacy, Published
from rehearsal.results import (
    BlockFigures,
    FeaturePoints,
    PartnerFigures,
    Quality,
    Result,
    figure_of,
    lost_rounds,
    round_milliseconds,
)

Row = Mapping[str, object]

TEMPLATES = Path(__file__).parent / "templates"


def html_of(result: Result) -> str:
    """The whole page as text; nothing in it is fetched from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    parts = (_front, _quality, joint_part, desk_part, privacy_part, _points, _run, tamper_part)
    values = {name: value for part in parts for name, value in part(result).items()}
    return environment.get_template("report.html").render(values)


def _front(result: Result) -> Row:
    record, evidence = result.record, result.evidence
    privacy, overall = record.published.privacy, evidence.overall
    milliseconds = round_milliseconds(record.events)
    median = float(np.median(milliseconds)) if milliseconds else None
    tiles = [
        ("ε " + privacy.person, _claim(privacy)),
        *(_tile(block) for block in evidence.blocks),
        (figure_of(overall.in_the_large, 2), "calibration: expected bads over observed"),
        (f"{figure_of(median, 0)} ms", f"median round, {len(milliseconds)} rounds"),
    ]
    return {
        "title": result.title,
        "story": _story(result),
        "tiles": [{"value": value, "label": label} for value, label in tiles],
        "machine": result.machine,
    }


def _tile(block: BlockFigures) -> tuple[str, str]:
    pooled = figure_of(block.pooled.auc, 3)
    return figure_of(block.federated.auc, 3), f"AUC of {block.name}; pooled, no noise: {pooled}"


def _claim(privacy: Privacy) -> str:
    """Who may collude for the headline to hold."""
    if privacy.noise_mode == "own":
        return f"for a person, δ = {privacy.delta}, whoever colludes"
    worst = privacy.person_by_honest.others_collude
    return f"for a person, δ = {privacy.delta}, if half collude; {worst} if everyone else does"


def _story(result: Result) -> str:
    partners, record = result.evidence.partners, result.record
    rows = sum(one.training_rows + one.holdout_rows for one in partners)
    accepted = sum(vote is True for vote in record.votes.values())
    ending = "now the active version" if record.status == "active" else f"a {record.status}"
    return (
        f"{numeral(len(partners)).capitalize()} partners with {rows:,} rows between them "
        f"trained one shared model in {len(record.processes)} separate processes on this "
        f"machine, and no row left its process. What left were sums with noise in them, enough "
        f"to hold ε = {record.published.privacy.person} for every person. "
        f"{accepted} of {len(record.votes)} partners accepted the model "
        f"after testing it on their own hold-out rows; it is {ending}."
    )


def _quality(result: Result) -> Row:
    evidence = result.evidence
    return {
        "quality_text": (
            "Every model is tested on persons who never took part in training. Against the "
            "same model trained on pooled rows without noise, privacy moved AUC by "
            f"{_moves(result)}."
        ),
        "partners": [_partner(one, result.record.votes) for one in evidence.partners],
        "blocks": [_block(one, result.record.published) for one in evidence.blocks],
        "pooled_all": figure_of(evidence.pooled_all_columns, 4),
        "pooled_persons": f"{evidence.pooled_persons:,}",
    }


def _moves(result: Result) -> str:
    moves = [
        (block.name, block.federated.auc - block.pooled.auc)
        for block in result.evidence.blocks
        if block.pooled.auc is not None and block.federated.auc is not None
    ]
    return ", ".join(f"{move:+.4f} for {name}" for name, move in moves) or "n/a"


def _partner(one: PartnerFigures, votes: Mapping[str, bool | None]) -> Row:
    vote = {True: "accepted", False: "refused", None: "not needed"}[votes.get(one.name)]
    return {
        "name": one.name,
        "families": ", ".join(one.families),
        "training": f"{one.training_rows:,}",
        "holdout": f"{one.holdout_rows:,}",
        "local": figure_of(one.local_only.auc, 4),
        "federated": figure_of(one.federated.auc, 4),
        "pooled": figure_of(one.pooled.auc, 4),
        "ks": figure_of(one.federated.ks, 3),
        "ks_local": figure_of(one.local_only.ks, 3),
        "vote": vote,
    }


def _block(block: BlockFigures, published: Published) -> Row:
    noisy = published.noisy.get(block.name, {})
    names = ("auc", "ks", "in_the_large", "slope", "brier")
    rows = [
        _row("federated, exact", _cells(block.federated), "fed"),
        _row("federated, noisy (published)", [noisy.get(name) for name in names]),
        _row("pooled, no noise", _cells(block.pooled)),
        _row("pooled ceiling", [block.ceiling, None, None, None, None]),
    ]
    return {
        "name": block.name,
        "rows": rows,
        "roc": Markup(figures.roc(block)) if block.rocs else "",  # noqa: S704 - our own SVG
        "calibration": Markup(figures.calibration(block)) if block.groups else "",  # noqa: S704
    }


def _cells(found: Quality) -> list[float | None]:
    return [found.auc, found.ks, found.in_the_large, found.slope, found.brier]


def _row(label: str, cells: Sequence[float | None], css: str = "") -> Row:
    digits = (4, 3, 3, 2, 4)
    shown = [figure_of(cell, places) for cell, places in zip(cells, digits, strict=True)]
    return {"label": label, "cells": shown, "css": css}


def _points(result: Result) -> Row:
    families: dict[tuple[str, str], list[FeaturePoints]] = {}
    for one in result.evidence.features:
        families.setdefault((one.block, one.family), []).append(one)
    return {
        "points": [
            {"block": block, "family": family, "features": _charts(found)}
            for (block, family), found in families.items()
        ]
    }


def _charts(found: Sequence[FeaturePoints]) -> list[Row]:
    """The charts of one family, on one scale."""
    reach = max(1.0, *(abs(value) for one in found for value in one.points))
    return [
        {
            "name": one.feature,
            "unit": one.unit,
            "direction": _DIRECTIONS[one.direction],
            "svg": Markup(figures.points(one, reach)),  # noqa: S704 - our own, escaped
        }
        for one in found
    ]


_DIRECTIONS = {
    "up": "risk declared to rise with the value",
    "down": "risk declared to fall with the value",
    "none": "",
}


def _run(result: Result) -> Row:
    record, privacy = result.record, result.record.published.privacy
    milliseconds = round_milliseconds(record.events)
    lost = lost_rounds(record.events)
    svg = {
        "comparison": figures.comparison(result.evidence.partners),
        "timeline": figures.timeline(milliseconds, lost) if milliseconds else "",
    }
    return {
        "svg": {name: Markup(text) for name, text in svg.items()},  # noqa: S704 - our own
        "run_text": (
            f"{privacy.attempts} sums were asked for; {numeral(len(privacy.lost))} of them "
            "had to be asked for again. A sum has the whole roster in it or is not made."
        ),
        "processes": [
            {"name": name, "peak": figure_of(record.peak_rss_mb.get(name), 0)}
            for name in record.processes
        ],
        "seconds": [
            {"name": _SECONDS.get(name, name), "value": f"{value:.1f}"}
            for name, value in record.seconds.items()
        ],
        "digests": [{"name": name, "value": value} for name, value in record.published.digests],
    }


_SECONDS = {
    "start": "start: keys, certificates, manifest, processes",
    "train": "train: bins, rounds, recalibration, evaluation",
    "total": "total, with votes and the baselines above",
}
