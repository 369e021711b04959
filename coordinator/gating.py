"""The release gate at the coordinator: made with a candidate, made again with an audit (13.9).

The figures are those that every node and the auditor compute from the same published sums;
here they are only written down, good and bad alike, as an entry of the log.
"""

from collections.abc import Mapping

from consortium.audit.result import EmpiricalAudit
from consortium.canonical import parse_canonical
from consortium.credit.gate import GateCheck, GateInputs, Verdict, fits, gate_checks, refused
from consortium.errors import ConfigurationError, ManifestError
from consortium.features.schema import Schema
from consortium.ids import Digest
from consortium.ledger.entries import ReleaseGate, from_jcs
from consortium.manifest import Manifest
from coordinator.audit_log import AuditLog
from coordinator.storage import GateRow, Store

Audits = Mapping[Digest, bytes]


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
    row = store.gate(version)
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


def make_again(
    store: Store,
    schema: Schema,
    manifest: Manifest | None,
    log: AuditLog,
    *,
    version: Digest,
    at: int,
) -> ReleaseGate:
    """Compute the gate of a version from its stored sums, and log it.

    Raises:
        ManifestError: no manifest is in force.
        ConfigurationError: no such version, or its run is not there any more.
    """
    # The operator's other commands need neither numpy nor the models.
    from coordinator.trainer import replayed  # noqa: PLC0415
    from models.gate import gate_inputs  # noqa: PLC0415

    if manifest is None:
        raise ManifestError("no manifest is in force")
    model = store.model(version)
    if model is None:
        raise ConfigurationError(f"no model {version[:12]}")
    session = replayed(store, schema, model.run)
    gate = gate_of(version, gate_inputs(session), manifest, store.audits())
    store.add_gate(row_of(gate, log), at)
    return gate
