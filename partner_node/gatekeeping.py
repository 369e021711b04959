"""A release gate as this node sees it: every line computed again, nothing believed (13.9).

The coordinator hands over the entry and the run's published sums. The node takes the run's
machine through them, and compares the document, every line of the gate and, by the contexts
that it joined itself, the history. Only the last sum is in no JOIN; that it is the one in the
log is for the witnesses and the audit to see.
"""

from dataclasses import dataclass

import numpy as np

from consortium.audit.result import EmpiricalAudit
from consortium.canonical import canonical_json, parse_canonical
from consortium.credit.gate import gate_checks
from consortium.documents import parse_document
from consortium.errors import DecodeError, TrustError
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import ReleaseGate, from_jcs, verify_entry
from consortium.ledger.gate_audit import differences
from consortium.ledger.run_bodies import RoundJoin
from consortium.manifest import Manifest
from consortium.messages import GateDocument, PublishedSum, SumRequest
from consortium.secagg.context import context_of
from models.document import Document, HeadDocument
from models.gate import gate_inputs
from models.released import released_bytes
from models.retraining import Trained
from models.run import ClosedSum, RunSession


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What this node knows by itself."""

    member: PartnerId
    manifest: Manifest
    schema: Schema
    joined: frozenset[Digest]
    """Contexts of the run's attempts that it has joined."""


@dataclass(frozen=True, slots=True)
class CheckedGate:
    """A gate that follows from the sums, and the run that they are of."""

    gate: ReleaseGate
    run: Trained

    @property
    def refusals(self) -> list[str]:
        """The lines that stop the release, for the operator's screen."""
        return [
            f"release gate: {one.name} of {one.subject}: {one.value or 'n/a'}"
            f"{', allowed ' + one.low + ' to ' + one.high if one.low or one.high else ''}"
            f"{', ' + one.why if one.why else ''}"
            for one in self.gate.checks
            if one.failed
        ]


def checked(
    facts: NodeFacts, version: Digest, document: Document, given: GateDocument
) -> CheckedGate:
    """The gate of a version, if it is what the published sums lead to.

    Raises:
        TrustError: it says otherwise than the sums, the policy and the audit, or the sums are
            not those that this node joined. Fault: the coordinator.
        SignatureError, DecodeError: it is not the coordinator's, or not of its form.
    """
    gate = _entry(facts.manifest, version, given.entry)
    audit = _audit(gate, given.audit)
    sums = [_closed(one) for one in given.sums]
    run = Trained(document.plan, facts.schema, sums)
    session = RunSession(document.plan, facts.schema)
    for closed in sums:
        session.on_sum(closed)
    if not session.finished or _released(document) != released_bytes(session):
        raise TrustError(f"model {version[:12]} is not what its published sums lead to")
    _check_history(facts, sums)
    policy = facts.manifest.policy
    made = gate_checks(
        gate_inputs(session), policy.gate, code_is_named=bool(policy.code), audit=audit
    )
    for text in differences(gate, made):
        raise TrustError(f"release gate of {version[:12]}: {text}")
    return CheckedGate(gate, run)


def joined_contexts(entries: tuple[bytes, ...]) -> frozenset[Digest]:
    """Contexts of this node's own ``round.join`` entries."""
    bodies = (from_jcs(data).body for data in entries)
    return frozenset(body.context for body in bodies if isinstance(body, RoundJoin))


def _entry(manifest: Manifest, version: Digest, data: bytes) -> ReleaseGate:
    entry = from_jcs(data)
    verify_entry(entry, data, manifest.coordinator)
    if not isinstance(entry.body, ReleaseGate) or entry.body.version != version:
        raise DecodeError(f"not the release gate of {version[:12]}")
    return entry.body


def _audit(gate: ReleaseGate, data: bytes) -> EmpiricalAudit | None:
    if gate.audit is None:
        return None
    audit = EmpiricalAudit.from_canonical(parse_canonical(data))
    if audit.digest != gate.audit:
        raise TrustError("release gate: it rests on another empirical audit")
    return audit


def _closed(one: PublishedSum) -> ClosedSum:
    total = np.frombuffer(one.total, dtype="<i8").astype(np.int64)
    return ClosedSum(
        request=parse_document(SumRequest, one.request), joined=one.joined, total=total
    )


def _released(document: Document) -> bytes:
    body = parse_canonical(document.to_bytes())
    part = "head" if isinstance(document, HeadDocument) else "model"
    return canonical_json(body[part]) if isinstance(body, dict) else b""


def _check_history(facts: NodeFacts, sums: list[ClosedSum]) -> None:
    """The requests that name this node are among those that it joined, heads included."""
    for closed in sums:
        mine = facts.member in closed.request.roster
        if mine and context_of(closed.request, facts.manifest.digest) not in facts.joined:
            raise TrustError(
                f"release gate: {closed.request.kind.value} {closed.request.round} is none "
                "that this node joined"
            )
