"""What the release gate of a finished run is computed from: its published sums alone (13.9).

Coordinator, nodes and auditor take the same machine through the same sums, and have the same
figures to the bit. Nothing here reads a row.
"""

import numpy as np
from numpy.typing import NDArray

from consortium.credit import tables
from consortium.credit.gate import OVERALL, Evaluated, GateInputs, Moments
from consortium.plan import ReleaseKind
from consortium.scoring.head import STRATA
from models import head
from models.moments import UNIT, decoded
from models.run import Roster, RunSession

Float = NDArray[np.float64]


def gate_inputs(session: RunSession) -> GateInputs:
    """Tables and sums of a finished run.

    Raises:
        RunFailedError: it has no bins yet.
    """
    plan = session.plan
    partners = sorted({name for block in plan.blocks for name in block.holders})
    families = dict.fromkeys(name for block in plan.blocks for name in block.families)
    return GateInputs(
        evaluated=evaluated_of(session),
        moments=_moments(session),
        partners=tuple(partners),
        families=tuple(families),
        code=plan.code,
        delta=plan.delta,
        noise_mode=plan.noise_mode,
    )


def rosters_of(session: RunSession) -> dict[ReleaseKind, Roster]:
    """Who made the last sum of each kind that was closed."""
    return {one.kind: one.roster for one in session.state.attempts if not one.missing}


def evaluated_of(session: RunSession) -> tuple[Evaluated, ...]:
    """The noisy tables of the hold-out: by block, of a head by stratum and of all."""
    if not session.state.evaluation:
        return ()
    if session.is_head:
        return _of_a_head(session)
    state, blocks = session.state, len(session.plan.blocks)
    counts = np.frombuffer(state.evaluation).reshape(blocks, tables.BANDS, 2)
    cells = np.frombuffer(state.recalibration).reshape(blocks, tables.CELLS, 2)
    edges = np.frombuffer(state.edges, dtype="<f8").reshape(blocks, tables.BANDS - 1)
    lines = np.array([float(x) for x in state.calibration]).reshape(blocks, 2)
    rosters = rosters_of(session)
    found = []
    for index, block in enumerate(session.plan.blocks):
        evaluation, recalibration = (
            session.deviation(kind, block, rosters[kind])
            for kind in (ReleaseKind.EVALUATION, ReleaseKind.RECALIBRATION)
        )
        kept = tables.without_noise_cells(cells[index], deviation=recalibration)
        means = tables.band_means(kept, edges[index])
        found.append(
            Evaluated(
                subject=block.name,
                table=counts[index],
                eta=lines[index, 0] + lines[index, 1] * means,
                deviation=evaluation,
            )
        )
    return tuple(found)


def _of_a_head(session: RunSession) -> tuple[Evaluated, ...]:
    counts = np.frombuffer(session.state.evaluation).reshape(STRATA, tables.BANDS, 2)
    deviation, eta = _deviation(session), head.band_centres()
    strata = (
        Evaluated(subject=name, table=counts[stratum], eta=eta, deviation=deviation)
        for stratum, name in enumerate(head.STRATUM_NAMES)
    )
    whole = deviation * float(np.sqrt(STRATA))
    return (
        *strata,
        Evaluated(subject=OVERALL, table=counts.sum(axis=0), eta=eta, deviation=whole),
    )


def _deviation(session: RunSession) -> float:
    """Of the noise of one word of a head's evaluation, in persons."""
    roster = rosters_of(session)[ReleaseKind.EVALUATION]
    return session.deviation(ReleaseKind.EVALUATION, session.plan.blocks[0], roster)


def _moments(session: RunSession) -> Moments | None:
    if not session.state.moments:
        return None
    block = session.plan.blocks[0]
    total = np.frombuffer(session.state.moments, dtype="<i8").astype(np.int64)
    own, parts = decoded(total, len(block.holders))
    return Moments(
        askers=tuple(block.holders),
        families=block.families,
        own=own,
        parts=parts,
        deviation=_deviation(session) / UNIT,
    )
