"""From a finished run to a release candidate: figures, statement, document, version.

Every figure here comes from a noised sum; nothing is known of one partner.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit import tables
from consortium.features.bins import private_features
from consortium.ids import Digest
from consortium.manifest import Manifest
from consortium.plan import ReleaseKind
from consortium.privacy.statement import statement
from models.document import ModelDocument, version_of
from models.inference import Model
from models.run import RunFailedError, RunSession

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model document and the version that its bytes make it."""

    version: Digest
    document: bytes


def candidate_of(session: RunSession, manifest: Manifest) -> Candidate:
    """The release candidate of a finished run.

    Raises:
        RunFailedError: the run is not finished, or its recalibration is not usable.
    """
    if not session.finished:
        raise RunFailedError("the run is not finished")
    document = ModelDocument(
        manifest=manifest.digest,
        plan=session.plan,
        bins=session.bins,
        model=model_of(session),
        metrics=_metrics(session),
        statement=statement(
            session.plan,
            session.state.attempts,
            width=session.spec.size,
            grid=len(private_features(session.schema)),
        ),
    ).to_bytes()
    return Candidate(version_of(document), document)


def model_of(session: RunSession) -> Model:
    """The released weights with each block's recalibration."""
    weights, numbers = session.released_weights, session.state.calibration
    lines = zip(numbers[::2], numbers[1::2], strict=True)
    return Model(
        spec=session.spec,
        bins=session.bins.digest,
        weights=tuple(weights[block.window] for block in session.spec.blocks),
        calibration=tuple(
            tables.Calibration(alpha=float(alpha), beta=float(beta)) for alpha, beta in lines
        ),
    )


def _metrics(session: RunSession) -> dict[str, object]:
    """Figures of each block from the noisy table of the hold-out; none without one."""
    if not session.state.evaluation:
        return {}
    blocks = len(session.plan.blocks)
    counts = np.frombuffer(session.state.evaluation).reshape(blocks, tables.BANDS, 2)
    cells = np.frombuffer(session.state.recalibration).reshape(blocks, tables.CELLS, 2)
    edges = np.frombuffer(session.state.edges, dtype="<f8").reshape(blocks, tables.BANDS - 1)
    lines = np.array([float(x) for x in session.state.calibration]).reshape(blocks, 2)
    rosters = {one.kind: one.roster for one in session.state.attempts if not one.missing}
    metrics: dict[str, object] = {}
    for index, block in enumerate(session.plan.blocks):
        evaluation, recalibration = (
            session.deviation(kind, block, rosters[kind])
            for kind in (ReleaseKind.EVALUATION, ReleaseKind.RECALIBRATION)
        )
        kept = tables.without_noise_cells(cells[index], deviation=recalibration)
        means = tables.band_means(kept, edges[index])
        eta = lines[index, 0] + lines[index, 1] * means
        metrics[block.name] = _figures(counts[index], eta, evaluation)
    return metrics


def _figures(table: Float, eta: Float, deviation: float) -> dict[str, object]:
    """Bands rise in log-odds of bad in ``table``; discrimination wants the weakest first."""
    weak_first = tables.weak_to_strong(table)
    figures = {
        "auc": tables.auc(weak_first),
        "ks": tables.ks(weak_first),
        "in_the_large": tables.in_the_large(table, eta),
        "slope": tables.slope(table, eta, deviation=deviation),
        "brier_banded": tables.brier(table, eta),
    }
    return {
        **{name: _decimal(value) for name, value in figures.items()},
        "count_deviation": _decimal(deviation),
        "eta": [_decimal(float(value)) for value in eta],
        "table": [[_decimal(float(cell)) for cell in row] for row in table],
    }


def _decimal(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.6f}"
