"""Runs as the audit sees them, between the log's own checks and those of runs and claims."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consortium.credit.gate import GateInputs
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.entries import Entry
from consortium.ledger.evidence import Evidence
from consortium.ledger.findings import Findings
from consortium.ledger.merkle import Tree
from consortium.ledger.run_bodies import (
    BudgetDebit,
    RoundAbort,
    RoundJoin,
    RoundSum,
    RoundUpload,
    RunClosed,
    RunCommit,
)
from consortium.manifest import Manifest
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.release import Attempt, Outcome
from consortium.secagg.chain import Link

Integers = NDArray[np.int64]


class Machine(Protocol):
    """The machine of one run, as the auditor drives it. Every method may raise our errors."""

    @property
    def finished(self) -> bool:
        """Whether every sum of the plan is closed."""

    def request(self, roster: tuple[PartnerId, ...]) -> SumRequest:
        """The request that is due, for this roster."""

    def on_sum(self, request: SumRequest, joined: Digest, total: Integers) -> None:
        """Take up a closed sum."""

    def on_missing(
        self, request: SumRequest, missing: Mapping[PartnerId, str], *, charged: bool
    ) -> None:
        """Take up an aborted attempt; returns also when it was the last one."""

    def model(self) -> bytes:
        """Canonical bytes of the released model, or head, of a finished run."""

    def published(self) -> Mapping[str, object]:
        """Parts of the document of a finished run that the model does not settle."""

    def gate(self) -> GateInputs:
        """What the release gate of a finished run is computed from."""


Machines = Callable[[TrainingPlan, Schema], Machine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What the log's own checks left standing."""

    entries: Mapping[int, Entry]
    force: Sequence[Manifest]
    """The manifest in force at each index."""
    counted: tuple[int, ...]
    """Sizes of the heads that a quorum cosigned."""
    evidence: Evidence
    manifests: Mapping[Digest, Manifest]
    tree: Tree
    """Over all entries, those that are none among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """One attempt as the log closed it."""

    index: int
    at: int
    body: RoundSum | RoundAbort

    @property
    def request(self) -> SumRequest:
        """What was asked."""
        return self.body.request

    @property
    def attempt(self) -> Attempt:
        """As the privacy statement counts it."""
        body, request = self.body, self.body.request
        aborted = body if isinstance(body, RoundAbort) else None
        return Attempt(
            kind=request.kind,
            round=request.round,
            attempt=request.attempt,
            roster=request.roster,
            outcome=Outcome.SUMMED if aborted is None else Outcome.ABORTED,
            missing=aborted.missing if aborted else (),
            reasons=aborted.reasons if aborted else (),
            charged=aborted.charged if aborted else True,
        )


@dataclass(slots=True, kw_only=True)
class RunFacts:
    """One run in the log, and the bytes of its model if the replay reached the end."""

    run: RunId
    proposed: int
    plan: TrainingPlan
    commits: dict[PartnerId, tuple[int, RunCommit]] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    joins: list[tuple[int, PartnerId, RoundJoin]] = field(default_factory=list)
    debits: list[tuple[int, PartnerId, BudgetDebit]] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    closed: tuple[int, RunClosed] | None = None
    model: bytes | None = None
    gate: GateInputs | None = None
    """What its release gate is computed from, likewise."""
    published: Mapping[str, object] | None = None
    """Figures and other parts that its document must have, likewise."""
    replayed: int = 0
    """Closings that the machine was taken through."""


AttemptKey = tuple[ReleaseKind, int, int]
"""Kind, round and attempt."""


@dataclass(slots=True, kw_only=True)
class RunAudit:
    """One run under audit."""

    run: RunFacts
    timeline: Timeline
    findings: Findings
    uploads: Mapping[Digest, list[tuple[int, PartnerId, RoundUpload]]]
    links: dict[PartnerId, Link] = field(default_factory=dict)
    ungated: list[int] = field(default_factory=list)
    """Debits and uploads that rest on no cosigned head, of a log that has none."""
    joined_until: dict[PartnerId, int] = field(default_factory=dict)
    """Index of the closing of the last attempt that each member had joined."""
    prices: dict[tuple[ReleaseKind, int, int], tuple[str, int]] = field(default_factory=dict)
    """Variance and units of one attempt, by purpose, width and size of roster."""
    by_context: dict[Digest, list[tuple[int, PartnerId, RoundJoin]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    charged: Mapping[AttemptKey, Sequence[tuple[int, PartnerId]]] = field(init=False)
    """Debits of each attempt, in the order of the log."""

    def __post_init__(self) -> None:
        self.charged = found = defaultdict[AttemptKey, list[tuple[int, PartnerId]]](list)
        for index, name, one in self.run.debits:
            found[one.kind, one.round, one.attempt].append((index, name))
