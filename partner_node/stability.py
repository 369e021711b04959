"""Whether decisions and reasons hang on the noise, on this partner's own persons (13.9.2).

Figures are exact and private. What leaves is the reason class of a vote, and only if its
operator casts it: a vote is a business act outside the epsilon statement (credit 4.5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.features.schema import Disclosure
from consortium.gates import GatePolicy
from consortium.ids import Digest, PartnerId
from consortium.messages import SumRequest
from consortium.plan import Algorithm, Block, ModelKind, TrainingPlan
from consortium.scoring.combine import family_logits, joint_eta
from consortium.scoring.layout import JointSums
from consortium.scoring.reasons import Tables
from consortium.scoring.scorecard import FACTOR, UNIT_BITS, cut_units
from consortium.secagg.context import SumInputs
from models import released
from models.encoding import column_starts
from models.inference import block_logits
from models.retraining import OwnSums, Trained, retrainings
from models.run import RunSession
from partner_node.ingest import EncodedTable
from partner_node.local_sums import Sums
from partner_node.study import JointRows

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

_UNIT = 2.0**-UNIT_BITS
_LEAST_POINTS = 1.0
NO_REASON = -1
"""First reason of a person who lost not one point by any."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Decision and first reason of each own person under one model. Private."""

    declined: NDArray[np.bool_]
    first: Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How alike trainings are on the own persons. Private; None: not assessed."""

    agreement: float | None
    """Declined persons whose first reason stays, on average over retrainings."""
    changes: float | None
    """Persons whose decision changes, likewise."""

    def shortcomings(self, policy: GatePolicy) -> list[str]:
        """Why reasons are unstable by the manifest; empty if they are not."""
        found = []
        if self.agreement is not None and self.agreement < policy.number("least_agreement"):
            found.append(
                f"unstable reasons: first reasons agree in {self.agreement:.2f}, "
                f"least_agreement = {policy.least_agreement}"
            )
        if self.changes is not None and self.changes > policy.number("most_changes"):
            found.append(
                f"unstable reasons: {self.changes:.3f} of decisions change, "
                f"most_changes = {policy.most_changes}"
            )
        return found

    def line(self) -> str:
        """For the operator's screen."""
        if self.changes is None:
            return "reasons after another training: not assessed"
        agree = "n/a" if self.agreement is None else f"{self.agreement:.2f}"
        return (
            f"reasons after another training: {agree} of first reasons agree, "
            f"{self.changes:.3f} of decisions change"
        )


NOT_ASSESSED = Stability(agreement=None, changes=None)


def assessable(plan: TrainingPlan) -> bool:
    """Whether other trainings of such a run can be told from its sums.

    An MLP names no attributes; local steps carry their noise inside; nobody is declined by a
    closure model.
    """
    unexplained = (ModelKind.MLP, ModelKind.HAZARD)
    return plan.model not in unexplained and plan.algorithm is Algorithm.SUM


def assess(
    run: Trained,
    own: OwnSums,
    outcome: Callable[[RunSession], Outcome],
    *,
    version: Digest,
    policy: GatePolicy,
) -> Stability:
    """Compare the candidate with so many other trainings as the manifest says.

    Args:
        run: The candidate's. Public.
        own: This node's exact sums. Private.
        outcome: Decisions and reasons of the own persons under a run's result. Private.
        version: The candidate's.
        policy: The manifest's.
    """
    session = RunSession(run.plan, run.schema)
    for closed in run.sums:
        session.on_sum(closed)
    first = outcome(session)
    persons, declined = first.declined.size, int(first.declined.sum())
    if not persons:
        return NOT_ASSESSED
    changes, agreements = [], []
    for other in retrainings(run, own, version=version, count=policy.retrainings):
        if other is None:  # such a training would have released nothing
            changes.append(1.0)
            agreements.append(0.0)
            continue
        seen = outcome(other)
        changes.append(float(np.mean(seen.declined != first.declined)))
        same = (seen.first == first.first)[first.declined]
        agreements.append(float(np.mean(same)) if declined else 1.0)
    enough = declined >= policy.least_declined
    return Stability(
        agreement=float(np.mean(agreements)) if enough else None,
        changes=float(np.mean(changes)) if persons >= policy.least_declined else None,
    )


# --- base models ------------------------------------------------------------------------------


def table_outcome(
    table: EncodedTable, member: PartnerId, cut: str
) -> Callable[[RunSession], Outcome]:
    """Decisions by the own blocks alone, and reasons by own attributes (13.5 (1), (5))."""
    limit = cut_units(cut) * _UNIT
    names = [feature.name for feature in table.features]

    def outcome(session: RunSession) -> Outcome:
        model = released.model_of(session)
        declined, first = [], []
        blocks = zip(session.plan.blocks, model.spec.blocks, strict=True)
        for index, (block, spec) in enumerate(blocks):
            if member not in block.holders:
                continue
            columns = [names.index(name) for name in spec.features]
            codes = np.ascontiguousarray(table.codes[:, columns])
            line = model.calibration[index]
            eta = line.alpha + line.beta * block_logits(model, spec.name, codes)
            tables = np.split(model.weights[index], column_starts(spec.bin_counts)[1:])
            features = [table.features[column] for column in columns]
            reasons = [
                one.reason if one.disclosure is Disclosure.OWN else "" for one in features
            ]
            declined.append(eta >= limit)
            first.append(_first_reason([line.beta * one for one in tables], codes, reasons))
        return Outcome(np.concatenate(declined), np.concatenate(first))

    return outcome


def _first_reason(
    tables: Sequence[Float], codes: NDArray[np.uint8], reasons: Sequence[str]
) -> Integers:
    """The reason that cost each row most points, by its place; losses of a code together."""
    known = sorted(set(reasons) - {""})
    lost = np.zeros((len(codes), len(known)))
    for column, (weights, reason) in enumerate(zip(tables, reasons, strict=True)):
        if reason:
            lost[:, known.index(reason)] += (weights - weights.min())[codes[:, column]]
    return _largest(lost * FACTOR)


def _largest(points: Float) -> Integers:
    if not points.shape[1]:
        return np.full(len(points), NO_REASON, dtype=np.int64)
    first = points.argmax(axis=1).astype(np.int64)
    return np.where(points.max(axis=1) >= _LEAST_POINTS, first, NO_REASON)


# --- heads ------------------------------------------------------------------------------------


def joint_outcome(rows: JointRows, tables: Tables, cut: str) -> Callable[[RunSession], Outcome]:
    """Decisions by joint scores, and the family that cost most points as the reason."""
    sums = JointSums(
        columns=rows.families, logits=rows.logits, counts=rows.counts, partners=rows.partners
    )
    limit, logits = cut_units(cut), family_logits(sums)

    def outcome(session: RunSession) -> Outcome:
        served = released.head_of(session)
        eta, strata = joint_eta(served, sums)
        betas = np.array(((0,) * len(served.families), *served.beta), dtype=np.float64)
        points = np.zeros(logits.shape)
        for place, name in enumerate(served.families):
            beta = betas[strata, place]
            best = np.where(
                beta >= 0, tables[name].remote_reference(1), tables[name].remote_reference(-1)
            )
            lost = beta * _UNIT * (logits[:, place] - best) * _UNIT
            points[:, place] = np.where(rows.counts[:, place] > 0, lost, 0.0)
        return Outcome(eta >= limit, _largest(points * FACTOR))

    return outcome


# --- own sums ---------------------------------------------------------------------------------

_NO_SEED, _NO_CONTEXT = Secret(bytes(32)), Digest("00" * 32)


@dataclass(frozen=True, slots=True)
class NodeSums:
    """``models.retraining.OwnSums`` over what the node trains with. Private."""

    sums: Sums
    member: PartnerId
    training: int
    """Rows that train."""

    def exact(self, request: SumRequest, inputs: SumInputs) -> Integers:
        """The sum that the request asks for; no randomness is in it."""
        self.sums.prepare(request, inputs)
        found = self.sums.compute(request, inputs, seed=_NO_SEED, context=_NO_CONTEXT)
        return found.values

    def rows(self, block: Block) -> int:
        """All training rows where the block is held."""
        return self.training if self.member in block.holders else 0
