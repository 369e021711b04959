"""Where a training run stands between two sums: what is stored, and what it begins with."""

from dataclasses import dataclass

from consortium.documents import plan_digest
from consortium.ids import Digest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.mechanism import kinds_of
from consortium.release import Attempt
from consortium.secagg.context import first_head


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What survives a crash of the coordinator: all of it is public or noised."""

    stage: ReleaseKind | None
    """The sum that is due; None when the run is finished."""
    round: int
    """Number of the due sum within its kind, from 1."""
    attempt: int
    optimizer: bytes
    bins: bytes
    calibration: tuple[str, ...]
    """alpha and beta of each block, as decimal strings; empty before recalibration."""
    edges: bytes
    """Score-band edges, float64, shape (blocks, 15)."""
    recalibration: bytes
    """Noisy counts, float64, shape (blocks, 24, 2)."""
    overlap: bytes
    """Noisy counts of a head's study, float64, shape (3, 3)."""
    pooled: tuple[int, ...]
    """Strata of a head with too few persons; they get the mean of the others."""
    evaluation: bytes
    """Noisy counts, float64, shape (blocks, 16, 2); of a head (strata, 16, 2)."""
    moments: bytes
    """Noisy sums of a head's parts, int64, as ``models.moments`` lays them out."""
    table: bytes
    """The sum of a table release, int64, by axes, measures last (protocol 13.11)."""
    attempts: tuple[Attempt, ...]
    closed: int
    """Sums that are closed."""
    head: Digest
    """Head of the hash chain of closed sums; every request names it (protocol 3.2)."""


def initial_state(plan: TrainingPlan) -> RunState:
    """Nothing is closed yet."""
    return RunState(
        stage=kinds_of(plan)[0],
        round=1,
        attempt=1,
        optimizer=b"",
        bins=b"",
        calibration=(),
        edges=b"",
        recalibration=b"",
        overlap=b"",
        pooled=(),
        evaluation=b"",
        moments=b"",
        table=b"",
        attempts=(),
        closed=0,
        head=first_head(plan.run, plan_digest(plan)),
    )
