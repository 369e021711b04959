"""The figures of a finished run: what a document says beside the model itself.

The coordinator publishes them, and an audit makes them again from the same sums. Every figure
comes from a noised sum; nothing is known of one partner.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from consortium.credit import tables
from consortium.errors import DomainError
from consortium.plan import ReleaseKind
from consortium.scoring.head import STRATA
from models import head
from models.gate import evaluated_of, rosters_of
from models.inference import Model
from models.partials import Joint, joint_of
from models.released import model_of
from models.run import RunFailedError, RunSession

Float = NDArray[np.float64]


def published_parts(session: RunSession) -> Mapping[str, object]:
    """Those parts of the run's document that the model itself does not settle.

    Raises:
        RunFailedError: the run is not finished, or its recalibration is not usable.
    """
    if session.is_head:
        return {
            "pooled": list(session.state.pooled),
            "overlap": overlap_part(session),
            "metrics": metrics_part(session),
        }
    joint = joint_part(session, model_of(session))
    return {
        "bins": session.bins.to_canonical(),
        "joint": {"base": joint.base, "centres": dict(joint.centres)},
        "metrics": metrics_part(session),
    }


def joint_part(session: RunSession, model: Model) -> Joint:
    """What joint scores of the model need beside its weights."""
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


def overlap_part(session: RunSession) -> dict[str, object]:
    """Noisy counts of a study's training persons by families and partners."""
    plan, state = session.plan, session.state
    deviation = session.deviation(
        ReleaseKind.OVERLAP, plan.blocks[0], rosters_of(session)[ReleaseKind.OVERLAP]
    )
    counts = np.frombuffer(state.overlap).reshape(STRATA, head.PARTNER_BANDS)
    return {
        "rows": "families covered: 1, 2, 3+",
        "columns": "partners with anything of the person: 1, 2, 3+",
        "table": [[_decimal(float(cell)) for cell in row] for row in counts],
        "partners": [_decimal(float(cell)) for cell in counts.sum(axis=0)],
        "count_deviation": _decimal(deviation),
    }


def metrics_part(session: RunSession) -> dict[str, object]:
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
