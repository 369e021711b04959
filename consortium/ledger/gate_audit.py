"""The audit of release gates: every line computed again, and none served without (8.7 (15)).

The figures come from the sums that the run was replayed with, the ranges from the manifest in
force where the gate stands, the votes from the log. So neither a line that is nicer than the
sums nor a range that was loosened for one model passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from consortium.credit.gate import GateCheck, GateInputs, gate_checks, refused
from consortium.ids import PartnerId
from consortium.ledger.entries import ReleaseGate, ReleaseVote
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.manifest import Manifest
from consortium.messages import Vote

UNSTABLE = "unstable_reasons"
"""Reason class of a vote by which a member says that reasons hang on the noise (13.9.2)."""

GATE = "gate"
"""Reason class of a vote against a version whose gate is not what it should be."""


@dataclass(slots=True)
class Gates:
    """The gates of one version, oldest first, by their index in the log."""

    seen: list[tuple[int, ReleaseGate]] = field(default_factory=list)

    def newest(self) -> tuple[int, ReleaseGate] | None:
        """The one that counts."""
        return self.seen[-1] if self.seen else None


def unstable(manifest: Manifest, votes: Mapping[PartnerId, ReleaseVote | Vote]) -> bool:
    """Whether as many active members as the policy says refuse for unstable reasons."""
    active = {member.id for member in manifest.partners}
    against = [
        name
        for name, vote in votes.items()
        if name in active and not vote.accept and vote.reason == UNSTABLE
    ]
    return len(against) >= manifest.policy.gate.unstable_votes


def check_served(
    findings: Findings,
    gates: Gates,
    served: int,
    *,
    unstable_votes: bool,
) -> None:
    """A version is served with a gate that it passed, and without votes against its reasons."""
    newest = gates.newest()
    if newest is None:
        text = "served without a release gate"
        findings.error(Check.RELEASE, "gate.missing", text, served)
    elif not newest[1].passed:
        text = "served although its release gate refuses it"
        findings.error(Check.RELEASE, "gate.refused", text, served, newest[0])
    if unstable_votes:
        text = "served although members refuse it for unstable reasons"
        findings.error(Check.RELEASE, "gate.unstable", text, served)


def check_gates(
    timeline: Timeline, gates: Gates, inputs: GateInputs | None, findings: Findings
) -> None:
    """Every line of every gate is the one that sums, policy and audit lead to."""
    for index, gate in gates.seen:
        if inputs is None:
            text = "the sums do not lead to the figures of its gate: they are not proven"
            findings.error(Check.RELEASE, "gate.unproven", text, index)
            continue
        if gate.audit is not None and gate.audit not in timeline.evidence.audits:
            text = f"the empirical audit {gate.audit} is not in the bundle"
            findings.error(Check.RELEASE, "gate.audit", text, index)
            continue
        policy = timeline.force[index].policy
        made = gate_checks(
            inputs,
            policy.gate,
            code_is_named=bool(policy.code),
            audit=None if gate.audit is None else timeline.evidence.audits[gate.audit],
        )
        for text in differences(gate, made):
            findings.error(Check.RELEASE, "gate.altered", text, index)


def differences(gate: ReleaseGate, made: tuple[GateCheck, ...]) -> list[str]:
    """What a gate says otherwise than the facts lead to."""
    found = [
        f"{seen.name} of {seen.subject}: the gate says {seen.verdict} at {seen.value or 'n/a'}"
        for seen in gate.checks
        if seen not in made
    ]
    if len(gate.checks) != len(made):
        found.append(f"{len(gate.checks)} lines, the facts lead to {len(made)}")
    elif not found and gate.checks != made:
        found.append("its lines are in another order")
    if gate.passed == refused(gate.checks):
        found.append("its verdict is not that of its lines")
    return found
