"""What the joint score adds: exact figures on the hold-out persons that were asked for.

The answers came out of the real protocol, one by one or in batches, at each asker's own
door. Labels, single sources and pooled models are known to the rehearsal alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.errors import DataError
from models.calibration import calibrated
from models.encoding import Labels
from models.inference import Model, block_logits
from models.spec import BlockSpec
from rehearsal.baselines import AllColumns, Released, Tables, rows_of
from rehearsal.quality import groups, quality, roc_of
from rehearsal.results import (
    Coverage,
    JointEvidence,
    JointRecord,
    NamedAuc,
)

Float = NDArray[np.float64]
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Scores:
    """Scores of some persons, sorted by person."""

    persons: Words
    eta: Float

    def of(self, persons: Words) -> Float:
        """The scores of persons who are all in it."""
        return self.eta[np.searchsorted(self.persons, persons)]

    def knows(self, persons: Words) -> NDArray[np.bool_]:
        """Which of these persons are in it."""
        return np.isin(persons, self.persons)


def joint_evidence(
    released: Released,
    tables: Tables,
    record: JointRecord,
    *,
    pooled: Mapping[str, Model],
    columns: AllColumns,
) -> JointEvidence:
    """Exact figures of the joint score and of all that it is compared with.

    Args:
        released: The base model that the federation made.
        tables: By partner, loaded with ``persons``.
        record: What the askers were answered.
        pooled: By block, the same model trained on pooled rows without privacy.
        columns: The regression over all columns of all partners.
    """
    asked = _asked(record)
    labels = labels_of(tables, asked.persons)
    own = _first(
        [
            _block_scores(released, {name: tables[name]}, spec, released.model)
            for name in record.askers
            for spec in released.held_by(name)
        ]
    )
    sources = {
        spec.name: _block_scores(released, tables, spec, pooled[spec.name])
        for spec in released.model.spec.blocks
    }
    both = np.logical_and.reduce([one.knows(asked.persons) for one in sources.values()])
    known = asked.persons[both]
    single = tuple(
        NamedAuc(name=name, auc=quality(one.of(known), labels[both]).auc)
        for name, one in sources.items()
    )
    everything = _Scores(columns.persons, columns.eta)
    return JointEvidence(
        persons=int(asked.persons.size),
        persons_both=int(both.sum()),
        joint_all=quality(asked.eta, labels),
        own_block_all=quality(own.of(asked.persons), labels),
        pooled_all=quality(everything.of(asked.persons), labels),
        joint=quality(asked.eta[both], labels[both]),
        own_block=quality(own.of(known), labels[both]),
        pooled=quality(everything.of(known), labels[both]),
        sources=single,
        coverage=_coverage(record, asked, labels),
        groups=groups(asked.eta, labels),
        rocs=tuple(
            curve
            for curve in (
                roc_of("joint, private", "federated", asked.eta[both], labels[both]),
                roc_of("own block, private", "local", own.of(known), labels[both]),
                roc_of("pooled, no noise", "pooled", everything.of(known), labels[both]),
            )
            if curve is not None
        ),
    )


def _asked(record: JointRecord) -> _Scores:
    """All answers; where two askers asked for one person, the first one's counts."""
    return _first([_Scores(one.persons, one.eta) for one in record.answers])


def _first(parts: list[_Scores]) -> _Scores:
    persons = np.concatenate([part.persons for part in parts])
    eta = np.concatenate([part.eta for part in parts])
    distinct, places = np.unique(persons, return_index=True)
    return _Scores(distinct, eta[places])


def labels_of(tables: Tables, persons: Words) -> Labels:
    """What became of persons who are all in some partner's table; DataError otherwise."""
    heads = np.concatenate([_heads(tables, name) for name in tables])
    labels = np.concatenate([table.labels for table in tables.values()])
    distinct, places = np.unique(heads, return_index=True)
    if not bool(np.isin(persons, distinct).all()):
        raise DataError("a person was asked for who is in no partner's table")
    found: Labels = labels[places][np.searchsorted(distinct, persons)]
    return found


def _heads(tables: Tables, name: str) -> Words:
    heads = tables[name].persons
    if heads is None:
        raise DataError("the table was loaded without persons and cannot be joined")
    return heads


def _block_scores(released: Released, tables: Tables, spec: BlockSpec, model: Model) -> _Scores:
    """A block's recalibrated log-odds of the held-out persons of its holders."""
    parts = []
    line = model.calibration[model.spec.blocks.index(spec)]
    for name, table in tables.items():
        if spec in released.held_by(name):
            codes = rows_of(table, spec, table.holdout).codes
            eta = calibrated(block_logits(model, spec.name, codes), line)
            parts.append(_Scores(_heads(tables, name)[table.holdout], eta))
    return _first(parts)


def _coverage(record: JointRecord, asked: _Scores, labels: Labels) -> tuple[Coverage, ...]:
    bands = np.concatenate([one.bands for one in record.answers])
    persons = np.concatenate([one.persons for one in record.answers])
    _, places = np.unique(persons, return_index=True)
    band = bands[places]
    return tuple(
        Coverage(
            band=str(name),
            persons=int((band == name).sum()),
            quality=quality(asked.eta[band == name], labels[band == name]),
        )
        for name in sorted(set(band.tolist()))
    )
