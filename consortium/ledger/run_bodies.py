"""What a run says in the log, from its plan to its end: part of ``entries`` (protocol 8.3)."""

from collections.abc import Mapping
from dataclasses import dataclass

from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import Role
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProposed:
    """The coordinator proposes a run."""

    plan: TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRefused:
    """A partner will not take part; the reason is a refusal code (protocol 3.8)."""

    run: RunId
    plan: Digest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommit:
    """A partner accepts a plan, commits to its seed and chain, and has reserved (3.1, 4.6)."""

    run: RunId
    plan: Digest
    seed_commitment: Digest
    chain_head: Digest
    training_units: int
    holdout_units: int
    tables_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundJoin:
    """A partner's JOIN of one attempt (protocol 3.3), in its own name."""

    run: RunId
    kind: ReleaseKind
    round: int
    attempt: int
    context: Digest
    ephemeral: bytes
    count: int
    link: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDebit:
    """A partner has charged one attempt on disk, before a row was read for it (4.6 (3))."""

    account: str
    """training or holdout."""
    epoch: str
    run: RunId
    kind: ReleaseKind
    round: int
    attempt: int
    units: int
    variance: str
    """V of this partner's noise in the attempt."""
    partners: int
    """K, size of the attempt's roster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundUpload:
    """A partner's words have left it: their digest, under the attempt's rctx (3.4.8)."""

    joined: Digest
    words: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedUpload:
    """One upload of a sum."""

    member: PartnerId
    words: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSum:
    """A closed sum: what was asked, of whom, and what it came to (protocol 3.4.9)."""

    request: SumRequest
    joined: Digest
    total: Digest
    """Digest of S as little-endian words."""
    uploads: tuple[SummedUpload, ...]
    """Of every member of the roster, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAbort:
    """An attempt was given up (protocol 3.6)."""

    request: SumRequest
    missing: tuple[PartnerId, ...]
    reasons: tuple[str, ...]
    charged: bool
    """Whether words may have left a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClosed:
    """The run is over: ``finished`` with a version, or ``failed``."""

    run: RunId
    outcome: str
    attempts: int
    version: Digest | None


RunBody = (
    PlanProposed
    | PlanRefused
    | RunCommit
    | RoundJoin
    | BudgetDebit
    | RoundUpload
    | RoundSum
    | RoundAbort
    | RunClosed
)

_OPERATOR, _PARTNER = frozenset({Role.COORDINATOR}), frozenset({Role.PARTNER})

RUN_TYPES: Mapping[str, type[RunBody]] = {
    "plan.proposed": PlanProposed,
    "plan.refused": PlanRefused,
    "run.commit": RunCommit,
    "round.join": RoundJoin,
    "budget.debit": BudgetDebit,
    "round.upload": RoundUpload,
    "round.sum": RoundSum,
    "round.abort": RoundAbort,
    "run.closed": RunClosed,
}

RUN_ACTORS: Mapping[type[object], frozenset[Role]] = {
    PlanProposed: _OPERATOR,
    PlanRefused: _PARTNER,
    RunCommit: _PARTNER,
    RoundJoin: _PARTNER,
    BudgetDebit: _PARTNER,
    RoundUpload: _PARTNER,
    RoundSum: _OPERATOR,
    RoundAbort: _OPERATOR,
    RunClosed: _OPERATOR,
}
