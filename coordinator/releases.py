"""From a finished run to a release candidate: figures, statement, document, version.

Every figure here comes from a noised sum; nothing is known of one partner.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.credit import tables
from consortium.errors import DomainError
from consortium.features.bins import private_features
from consortium.ids import Digest
from consortium.manifest import Manifest
from consortium.plan import ReleaseKind
from consortium.privacy.statement import statement
from consortium.scoring.head import STRATA
from models import head
from models.document import HeadDocument, ModelDocument, version_of
from models.gate import evaluated_of, rosters_of
from models.inference import Model
from models.partials import Joint, joint_of
from models.released import head_of, model_of
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
    if session.is_head:
        return _head_candidate(session, manifest)
    model = model_of(session)
    document = ModelDocument(
        manifest=manifest.digest,
        plan=session.plan,
        bins=session.bins,
        model=model,
        joint=_joint(session, model),
        metrics=_metrics(session),
        statement=_statement(session),
    ).to_bytes()
    return Candidate(version_of(document), document)


def _statement(session: RunSession) -> dict[str, object]:
    return statement(
        session.plan,
        session.state.attempts,
        width=session.spec.size,
        grid=len(private_features(session.schema)),
    )


def _joint(session: RunSession, model: Model) -> Joint:
    blocks = session.plan.blocks
    cells = np.frombuffer(session.state.recalibration).reshape(len(blocks), tables.CELLS, 2)
    roster = rosters_of(session)[ReleaseKind.RECALIBRATION]
    deviations = [
        session.deviation(ReleaseKind.RECALIBRATION, block, roster) for block in blocks
    ]
    try:
        return joint_of(model, cells, deviations)
    except DomainError as error:
        raise RunFailedError(str(error)) from error


# --- heads ------------------------------------------------------------------------------------


def _head_candidate(session: RunSession, manifest: Manifest) -> Candidate:
    plan, state = session.plan, session.state
    served = head_of(session)
    deviation = session.deviation(
        ReleaseKind.OVERLAP, plan.blocks[0], rosters_of(session)[ReleaseKind.OVERLAP]
    )
    counts = np.frombuffer(state.overlap).reshape(STRATA, head.PARTNER_BANDS)
    document = HeadDocument(
        manifest=manifest.digest,
        plan=plan,
        head=served,
        pooled=state.pooled,
        overlap={
            "rows": "families covered: 1, 2, 3+",
            "columns": "partners with anything of the person: 1, 2, 3+",
            "table": [[_decimal(float(cell)) for cell in row] for row in counts],
            "partners": [_decimal(float(cell)) for cell in counts.sum(axis=0)],
            "count_deviation": _decimal(deviation),
        },
        metrics=_metrics(session),
        statement=_statement(session),
    ).to_bytes()
    return Candidate(version_of(document), document)


def _metrics(session: RunSession) -> dict[str, object]:
    """Figures of each block, or stratum, from the noisy tables of the hold-out."""
    return {
        one.subject: _figures(one.table, one.eta, one.deviation)
        for one in evaluated_of(session)
    }


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
