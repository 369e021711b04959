"""What a rehearsal found out, as plain values: made once, written as JSON and as a page.

Figures marked "exact" were computed by the rehearsal, which sees all files; in life nobody
could. Figures marked "noisy" came out of the federation and are all that it ever publishes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consortium.ids import Digest
from coordinator.events import RunEvent
from rehearsal.budgets import NodeBudget
from rehearsal.published import Published
from rehearsal.results_desk import DeskEvidence, DeskRecord

Float = NDArray[np.float64]
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Figures of one set of scores on hold-out rows; None where undefined."""

    auc: float | None
    ks: float | None
    in_the_large: float | None
    """Expected over observed bads."""
    slope: float | None
    brier: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roc:
    """One curve: false and true alarm rates, shape (points,), rising."""

    name: str
    role: str
    """federated, pooled or local."""
    auc: float | None
    false: Float
    true: Float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Hold-out rows of similar score: what was predicted and what happened."""

    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFigures:
    """One block on the hold-out rows of all its holders."""

    name: str
    families: tuple[str, ...]
    holders: tuple[str, ...]
    training_rows: int
    holdout_rows: int
    bad_rate: float
    federated: Quality
    pooled: Quality
    """Same model trained on pooled rows without noise."""
    ceiling: float | None
    """AUC of a converged logistic regression on the same bins of the pooled rows."""
    rocs: tuple[Roc, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerFigures:
    """One partner on its own hold-out rows, by all blocks that it holds."""

    name: str
    families: tuple[str, ...]
    training_rows: int
    holdout_rows: int
    federated: Quality
    local_only: Quality
    pooled: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePoints:
    """Points of the bins of one feature, in the order of the bins."""

    feature: str
    family: str
    block: str
    unit: str
    direction: str
    """up, down or none: how risk is declared to move with the value."""
    labels: tuple[str, ...]
    points: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedAuc:
    """AUC of one source alone."""

    name: str
    auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Hold-out persons of one coverage band, by their joint scores."""

    band: str
    persons: int
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class JointEvidence:
    """What the joint score is worth, exact.

    Without a suffix: on the persons whom every block knows; ``_all``: on all asked for.
    """

    persons: int
    persons_both: int
    joint_all: Quality
    own_block_all: Quality
    """The askers' own blocks, private, on the same persons."""
    pooled_all: Quality
    """One regression over all columns of all partners, without privacy."""
    joint: Quality
    own_block: Quality
    pooled: Quality
    sources: tuple[NamedAuc, ...]
    """Each block alone on these persons, trained on pooled rows without privacy."""
    coverage: tuple[Coverage, ...]
    groups: tuple[Group, ...]
    rocs: tuple[Roc, ...]

    @property
    def best_source(self) -> NamedAuc:
        """The best single source even without privacy."""
        return max(self.sources, key=lambda one: -1.0 if one.auc is None else one.auc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The exact part: what only who sees all files can say."""

    partners: tuple[PartnerFigures, ...]
    blocks: tuple[BlockFigures, ...]
    overall: Quality
    """All blocks' hold-out rows together, each scored by its own block."""
    pooled_all_columns: float | None
    pooled_persons: int
    """Hold-out persons that figure was computed on."""
    features: tuple[FeaturePoints, ...]
    joint: JointEvidence | None
    """None where nobody asked for joint scores."""
    desk: DeskEvidence | None = None
    """None where nobody decided."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointAnswers:
    """What one asker was answered for its hold-out persons."""

    asker: str
    persons: Words
    """Heads of the persons' hashes, shape (persons,)."""
    eta: Float
    bands: NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointRecord:
    """Joint scores through the real protocol, at the askers' own doors."""

    answers: tuple[JointAnswers, ...]
    milliseconds: tuple[float, ...]
    """Single scores, one after the other, with the pseudonym already known."""
    first_milliseconds: tuple[float, ...]
    """The same for persons whose pseudonym had to be derived first."""
    batch_per_second: float
    example: Mapping[str, object]
    """One reply as the asker's system gets it."""
    head: str
    """Version of the head that was active; empty: not recalibrated."""
    spent: Mapping[str, str]
    """Most that the head's run, and both runs together, were allowed to cost a person."""

    @property
    def askers(self) -> tuple[str, ...]:
        """Who asked."""
        return tuple(one.asker for one in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What the regulator's program says of the federation's log."""

    verdict: str
    """verified, warnings or failed."""
    bundle: Path
    manifest: Digest
    """What the bundle is checked under."""
    page: Path
    """The regulator's report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alteration:
    """One change of the coordinator's database, and what an audit said of it."""

    entry: int
    """Index in the log."""
    changed: str
    """What was changed, for people."""
    bundle: Path
    """Made from the altered database."""
    findings: tuple[str, ...]
    """Errors and warnings of the audit, one line each, that were not there before."""
    named: bool
    """An error of the audit names the entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperRecord:
    """What came of altering the coordinator's database while the federation was live."""

    alterations: tuple[Alteration, ...]
    refused: Mapping[str, str]
    """Witness -> kind of the incident that it signed; empty if it signed none."""
    further_run: str
    """What the partners answered to another run over the rewritten log."""
    page: Path
    """The regulator's report on the rewritten log."""

    @property
    def found(self) -> bool:
        """Whether every witness refused, no run went on, and the audits name every entry."""
        named = all(one.named for one in self.alterations)
        return named and all(self.refused.values()) and "R08" in self.further_run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The federation's part: what its processes did."""

    version: str
    published: Published
    events: tuple[RunEvent, ...]
    status: str
    """candidate, active: where the votes brought the model."""
    votes: Mapping[str, bool | None]
    """By partner; None where it was not needed any more."""
    budgets: tuple[NodeBudget, ...]
    """Each partner's own report after the run."""
    seconds: Mapping[str, float]
    """start, train, total."""
    processes: tuple[str, ...]
    peak_rss_mb: Mapping[str, float]
    joint: JointRecord | None = None
    desk: DeskRecord | None = None
    audit: AuditVerdict | None = None
    tampered: TamperRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Everything that the report is made of."""

    title: str
    machine: str
    record: RunRecord
    evidence: Evidence


def round_milliseconds(events: Sequence[RunEvent]) -> list[float]:
    """Wall time of each training round that was summed."""
    return [1000 * one.seconds for one in events if _training(one) and not one.text]


def lost_rounds(events: Sequence[RunEvent]) -> list[int]:
    """Numbers of training rounds of which an attempt was lost."""
    return sorted({one.round for one in events if _training(one) and one.text})


def _training(event: RunEvent) -> bool:
    return event.stage == "training"


def figure_of(value: float | None, digits: int) -> str:
    """The figure with so many digits, or "n/a" where it is not defined."""
    return "n/a" if value is None else f"{value:.{digits}f}"
