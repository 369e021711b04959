"""The release gate at the coordinator: made with a candidate, made again with an audit (13.9).

The figures are those that every node and the auditor compute from the same published sums;
here they are only written down, good and bad alike, as an entry of the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from consortium.audit.result import EmpiricalAudit
from consortium.canonical import parse_canonical
from consortium.credit.gate import GateCheck, GateInputs, Verdict, fits, gate_checks, refused
from consortium.errors import ConfigurationError, ManifestError, OutOfOrderError
from consortium.features.schema import Schema
from consortium.ids import Digest
from consortium.ledger.entries import ReleaseGate, from_jcs
from consortium.manifest import Manifest
from consortium.messages import GateDocument, PublishedSum
from coordinator.audit_log import AuditLog
from coordinator.model_storage import GateRow
from coordinator.storage import Store

Audits = Mapping[Digest, bytes]

_MOST_BYTES = 1 << 20
"""Sums of one answer; a larger one goes alone."""


def gate_of(
    version: Digest, inputs: GateInputs, manifest: Manifest, audits: Audits
) -> ReleaseGate:
    """What the gate says of a version, resting on the newest audit that fits its plan."""
    audit = newest_fitting(audits, inputs)
    policy = manifest.policy
    checks = gate_checks(inputs, policy.gate, code_is_named=bool(policy.code), audit=audit)
    return ReleaseGate(
        version=version,
        passed=not refused(checks),
        audit=None if audit is None else audit.digest,
        checks=checks,
    )


def newest_fitting(audits: Audits, inputs: GateInputs) -> EmpiricalAudit | None:
    """The audit of this software under this claim that came last."""
    parsed = (audit_of(document) for document in reversed(list(audits.values())))
    return next((one for one in parsed if fits(one, inputs)), None)


def audit_of(document: bytes) -> EmpiricalAudit:
    """The audit of canonical bytes; raises DecodeError."""
    return EmpiricalAudit.from_canonical(parse_canonical(document))


def row_of(gate: ReleaseGate, log: AuditLog) -> GateRow:
    """The gate as it is kept and logged."""
    return GateRow(
        version=gate.version, passed=gate.passed, audit=gate.audit, entry=log.entry(gate)
    )


def body_of(row: GateRow) -> ReleaseGate:
    """The gate that a row's entry says."""
    body = from_jcs(row.entry).body
    if not isinstance(body, ReleaseGate):
        raise ConfigurationError(f"the gate of {row.version[:12]} is no release.gate")
    return body


def refusal_of(store: Store, version: Digest) -> str:
    """Why a version may not be served by its gate; empty if it may."""
    row = store.models.gate(version)
    if row is None:
        return "no release gate"
    if row.passed:
        return ""
    failed = [one for one in body_of(row).checks if one.failed]
    return "its release gate refuses it: " + "; ".join(map(shown, failed))


def shown(check: GateCheck) -> str:
    """One line for people."""
    value = check.value or "n/a"
    interval = f" ({check.at_least} to {check.at_most})" if check.at_least else ""
    allowed = _allowed(check)
    mark = {Verdict.PASSED.value: "passed", Verdict.FAILED.value: "FAILED"}.get(
        check.verdict, "not assessed"
    )
    why = f", {check.why}" if check.why else ""
    return f"{check.name} of {check.subject}: {value}{interval}{allowed} {mark}{why}"


def _allowed(check: GateCheck) -> str:
    if check.low and check.high:
        return f", allowed {check.low} to {check.high}:"
    if check.high:
        return f", at most {check.high}:"
    return f", at least {check.low}:" if check.low else ":"


def evidence_of(store: Store, version: Digest, after: int) -> GateDocument:
    """The newest gate with sums of its run from number ``after`` on, as many as fit.

    Raises:
        OutOfOrderError: no such version, or it has no gate. Fault: who asks.
    """
    row, model = store.models.gate(version), store.models.get(version)
    if row is None or model is None:
        raise OutOfOrderError(f"no release gate of {version[:12]}")
    audit = b"" if row.audit is None else store.models.audits()[row.audit]
    rows, sums, size = store.runs.sums(model.run), list[PublishedSum](), 0
    for one in rows[after:]:
        size += len(one.total) + len(one.request)
        if sums and size > _MOST_BYTES:
            break
        sums.append(
            PublishedSum(request=one.request, joined=Digest(one.joined), total=one.total)
        )
    return GateDocument(entry=row.entry, audit=audit, sums=tuple(sums), count=len(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Which gate is made again, under what, when."""

    manifest: Manifest | None
    version: Digest
    at: int


def make_again(store: Store, schema: Schema, log: AuditLog, again: Again) -> ReleaseGate:
    """Compute the gate of a version from its stored sums, and log it.

    Raises:
        ManifestError: no manifest is in force.
        ConfigurationError: no such version, or its run is not there any more.
    """
    # The operator's other commands need neither numpy nor the models.
    from coordinator.trainer import replayed  # noqa: PLC0415
    from models.gate import gate_inputs  # noqa: PLC0415

    if again.manifest is None:
        raise ManifestError("no manifest is in force")
    model = store.models.get(again.version)
    if model is None:
        raise ConfigurationError(f"no model {again.version[:12]}")
    inputs = gate_inputs(replayed(store, schema, model.run))
    gate = gate_of(again.version, inputs, again.manifest, store.models.audits())
    store.models.add_gate(row_of(gate, log), again.at)
    return gate
