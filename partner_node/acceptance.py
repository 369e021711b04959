"""This partner's own test of a release candidate, and its vote.

The figures rest on the partner's own hold-out rows, exact and without noise: they are for
its own eyes. What leaves is one signed word, accept or refuse, with a reason class; a vote
is a business act outside the epsilon statement, and the statement says so (credit 4.5).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from consortium.canonical import Label
from consortium.crypto.keys import IdentityKey
from consortium.crypto.statements import vote_statement
from consortium.errors import DataError
from consortium.ids import Digest, PartnerId
from consortium.ledger.gate_audit import GATE, UNSTABLE
from consortium.messages import Vote
from consortium.scoring.combine import joint_eta
from consortium.scoring.layout import JointSums
from consortium.scoring.scorecard import UNIT_BITS
from models.calibration import calibrated
from models.document import HeadDocument, ModelDocument
from models.evaluation import LocalFigures, evaluate
from models.hazard import closure_logits
from models.head import STRATUM_NAMES
from models.inference import block_logits
from partner_node.hazard_sums import HazardSums
from partner_node.ingest import EncodedTable
from partner_node.study import JointRows

VALIDATED, QUALITY = "validated", "quality"
REASONS = (VALIDATED, QUALITY, "calibration", "policy", "other", GATE, UNSTABLE)
"""Classes of reasons that may travel with a vote; a figure may not."""

ALL = "all strata"
_UNIT = 2.0**-UNIT_BITS


@dataclass(frozen=True, slots=True)
class BlockResult:
    """One block of the candidate on this partner's own hold-out. Private."""

    block: str
    figures: LocalFigures


def validate(
    document: ModelDocument, table: EncodedTable, member: PartnerId
) -> tuple[BlockResult, ...]:
    """The candidate's quality on this partner's hold-out rows, block by block. Private.

    Args:
        document: The candidate.
        table: Encoded with the candidate's bins and its hold-out rule. Private.
        member: Whose table it is.

    Raises:
        DataError: no row is held out, or this partner holds no block of the model.
    """
    rows = table.holdout
    if not bool(rows.any()):
        raise DataError("no row of the table is held out by the plan's rule")
    names = [feature.name for feature in table.features]
    results = []
    blocks = zip(document.plan.blocks, document.model.spec.blocks, strict=True)
    for index, (block, spec) in enumerate(blocks):
        if member not in block.holders:
            continue
        columns = [names.index(name) for name in spec.features]
        codes = np.ascontiguousarray(table.codes[rows][:, columns])
        raw = block_logits(document.model, spec.name, codes)
        eta = calibrated(raw, document.model.calibration[index])
        results.append(BlockResult(spec.name, evaluate(eta, table.labels[rows])))
    if not results:
        raise DataError(f"{member} holds no block of this model")
    return tuple(results)


def validate_hazard(document: ModelDocument, sums: HazardSums) -> tuple[BlockResult, ...]:
    """How well closures are foreseen on this partner's hold-out; none if it holds no lines.

    Raises:
        DataError: no line is held out by the plan's rule.
    """
    if not sums.holds:
        return ()
    lines = sums.heldout
    if not lines.closed.size:
        raise DataError("no line of the table is held out by the plan's rule")
    model = document.model
    raw = closure_logits(lines.incidences(model.weights[0]))
    eta = calibrated(raw, model.calibration[0])
    return (BlockResult(model.spec.blocks[0].name, evaluate(eta, lines.closed)),)


def validate_head(document: HeadDocument, rows: JointRows) -> tuple[BlockResult, ...]:
    """A head's quality on this partner's own hold-out: all of it, then by stratum. Private.

    Args:
        document: The candidate.
        rows: Of its base model's study at this partner. Private.

    Raises:
        DataError: the rows are of another model, or none of them is held out.
    """
    if rows.base != document.base or rows.families != document.head.families:
        raise DataError("joint rows are of another model than the head's")
    out = rows.holdout
    if not bool(out.any()):
        raise DataError("no joint row is held out by the plan's rule")
    sums = JointSums(
        columns=rows.families,
        logits=rows.logits[out],
        counts=rows.counts[out],
        partners=rows.partners[out],
    )
    units, strata = joint_eta(document.head, sums)
    eta, labels = units.astype(np.float64) * _UNIT, rows.labels[out]
    found = [BlockResult(ALL, evaluate(eta, labels))]
    for number, name in enumerate(STRATUM_NAMES, start=1):
        chosen = strata == number
        if bool(chosen.any()):
            found.append(BlockResult(name, evaluate(eta[chosen], labels[chosen])))
    return tuple(found)


def shortcomings(results: Iterable[BlockResult], *, min_auc: str) -> list[str]:
    """Why an accepting vote would break this partner's own rule; empty if it would not."""
    least = float(Decimal(min_auc))
    return [
        f"block {one.block}: AUC {_shown(one.figures.auc)} is below min_auc = {min_auc}"
        for one in results
        # A stratum of a head may have few rows, or one class only: the whole is what counts.
        if one.block not in STRATUM_NAMES
        and (one.figures.auc is None or one.figures.auc < least)
    ]


def lines(results: Iterable[BlockResult]) -> list[str]:
    """The results for the operator's screen."""
    found = [
        f"block {one.block}: AUC {_shown(one.figures.auc)}, KS {_shown(one.figures.ks)}, "
        f"E/O {_shown(one.figures.in_the_large)}, slope {_shown(one.figures.slope)}, "
        f"Brier {_shown(one.figures.brier)}"
        for one in results
    ]
    return found or ["nothing to test: this partner holds no part of it"]


def signed_vote(bare: Vote, manifest: Digest, key: IdentityKey) -> Vote:
    """The partner's word, signed for the manifest that it works under (protocol 12.5)."""
    return replace(bare, signature=key.sign(Label.VOTE, vote_statement(bare, manifest)))


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
