"""Exact figures of a rehearsed model: what only who sees all files can say.

Every comparison uses the same rows: a partner's hold-out, or the hold-out rows of all
holders of a block.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.features.bins import bin_label
from consortium.plan import ModelKind
from consortium.scoring.scorecard import bin_points
from models.calibration import calibrated
from models.encoding import Codes, column_starts
from models.inference import Model, block_logits
from models.spec import BlockSpec
from partner_node.ingest import EncodedTable
from rehearsal.baselines import (
    Released,
    Tables,
    all_columns,
    pooled_rows,
    regression,
    rows_of,
    trained,
)
from rehearsal.desk_evidence import desk_evidence
from rehearsal.joint_evidence import joint_evidence
from rehearsal.quality import groups, quality, roc_of
from rehearsal.results import (
    BlockFigures,
    Evidence,
    FeaturePoints,
    JointRecord,
    PartnerFigures,
    Quality,
)
from rehearsal.results_desk import DeskRecord

Float = NDArray[np.float64]


def evidence_of(
    released: Released,
    tables: Tables,
    joint: JointRecord | None = None,
    desk: DeskRecord | None = None,
) -> Evidence:
    """Everything exact, from the partners' tables encoded with the released bins.

    Args:
        released: The model that the federation made.
        tables: By partner, loaded with ``persons``. All of them: nobody has that in life.
        joint: What the askers of joint scores were answered.
        desk: What their credit desks decided.
    """
    pooled = {
        spec.name: trained(released, spec, pooled_rows(released, spec, tables, held_out=False))
        for spec in released.model.spec.blocks
    }
    alone = {
        (name, spec.name): trained(released, spec, rows_of(table, spec, ~table.holdout))
        for name, table in tables.items()
        for spec in released.held_by(name)
    }
    models = _Models(released.model, pooled, alone)
    columns = all_columns(released, tables)
    return Evidence(
        partners=tuple(_partner(released, models, name, tables[name]) for name in tables),
        blocks=tuple(
            _block(released, models, spec, tables) for spec in released.model.spec.blocks
        ),
        overall=_overall(released, tables),
        pooled_all_columns=columns.auc,
        pooled_persons=columns.persons.size,
        features=feature_points(released),
        joint=None
        if joint is None
        else joint_evidence(released, tables, joint, pooled=pooled, columns=columns),
        desk=None if desk is None else desk_evidence(tables, desk),
    )


@dataclass(frozen=True, slots=True)
class _Models:
    """The released model and those it is compared with, one for each block."""

    federated: Model
    pooled: dict[str, Model]
    alone: dict[tuple[str, str], Model]


def _eta(model: Model, spec: BlockSpec, codes: Codes) -> Float:
    line = model.calibration[model.spec.blocks.index(spec)]
    return calibrated(block_logits(model, spec.name, codes), line)


def _partner(
    released: Released, models: _Models, name: str, table: EncodedTable
) -> PartnerFigures:
    held = released.held_by(name)

    labels = table.labels[table.holdout]
    codes = {spec.name: rows_of(table, spec, table.holdout).codes for spec in held}

    def score(pick: Callable[[BlockSpec], Model]) -> Quality:
        # Several blocks at one partner: their log-odds are added (credit 4.2).
        parts = [_eta(pick(spec), spec, codes[spec.name]) for spec in held]
        return quality(np.sum(parts, axis=0) if parts else np.zeros(labels.size), labels)

    return PartnerFigures(
        name=name,
        families=tuple(dict.fromkeys(feature.family for feature in table.features)),
        training_rows=int((~table.holdout).sum()),
        holdout_rows=labels.size,
        federated=score(lambda _: models.federated),
        local_only=score(lambda spec: models.alone[name, spec.name]),
        pooled=score(lambda spec: models.pooled[spec.name]),
    )


def _block(
    released: Released, models: _Models, spec: BlockSpec, tables: Tables
) -> BlockFigures:
    rows = pooled_rows(released, spec, tables, held_out=True)
    training = pooled_rows(released, spec, tables, held_out=False)
    holders = tuple(name for name in tables if spec in released.held_by(name))
    federated = _eta(models.federated, spec, rows.codes)
    pooled = _eta(models.pooled[spec.name], spec, rows.codes)
    scores = {
        ("federated, private", "federated"): federated,
        ("pooled, no noise", "pooled"): pooled,
    }
    for name in holders:
        scores[f"{name} alone", "local"] = _eta(models.alone[name, spec.name], spec, rows.codes)
    curves = [roc_of(name, role, eta, rows.labels) for (name, role), eta in scores.items()]
    return BlockFigures(
        name=spec.name,
        families=tuple(dict.fromkeys(spec.families)),
        holders=holders,
        training_rows=training.labels.size,
        holdout_rows=rows.labels.size,
        bad_rate=float(rows.labels.mean()) if rows.labels.size else 0.0,
        federated=quality(federated, rows.labels),
        pooled=quality(pooled, rows.labels),
        ceiling=regression(spec.bin_counts, training, rows),
        rocs=tuple(curve for curve in curves if curve is not None),
        groups=groups(federated, rows.labels),
    )


def _overall(released: Released, tables: Tables) -> Quality:
    """All blocks' hold-out rows together, each scored by its own block."""
    etas, labels = [], []
    for spec in released.model.spec.blocks:
        rows = pooled_rows(released, spec, tables, held_out=True)
        etas.append(_eta(released.model, spec, rows.codes))
        labels.append(rows.labels)
    return quality(np.concatenate(etas), np.concatenate(labels))


def feature_points(released: Released) -> tuple[FeaturePoints, ...]:
    """Points of every bin, ``-F·beta·w``; () for a model that has none (credit 4.4)."""
    model = released.model
    if model.spec.kind is not ModelKind.SCORECARD:
        return ()
    found = []
    for spec, weights, line in zip(
        model.spec.blocks, model.weights, model.calibration, strict=True
    ):
        tables = np.split(weights, column_starts(spec.bin_counts)[1:])
        for name, table in zip(spec.features, tables, strict=True):
            feature = released.schema.feature(name)
            edges = released.bins.of(name)
            found.append(
                FeaturePoints(
                    feature=name,
                    family=feature.family,
                    block=spec.name,
                    unit=feature.unit,
                    direction=feature.direction.value,
                    labels=tuple(bin_label(feature, edges, i) for i in range(table.size)),
                    points=tuple(bin_points(float(w), line.beta) for w in table),
                )
            )
    return tuple(found)
