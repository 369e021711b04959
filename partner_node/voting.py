"""A release candidate from the coordinator's registry to this node's vote.

The document is fetched once, checked against its digest, and kept; the test of it reads this
partner's own table. What leaves is the signed word alone, noted before it is sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consortium.canonical import canonical_json
from consortium.errors import ConfigurationError
from consortium.gates import GatePolicy, gate_document
from consortium.ids import Digest, PartnerId, digest_of
from consortium.ledger.gate_audit import GATE, UNSTABLE
from consortium.messages import Vote
from consortium.plan import ModelKind, TrainingPlan
from models.document import Document, HeadDocument, ModelDocument, parse_any, verify_version
from models.run import RunSession
from partner_node import acceptance, gatekeeping, ingest, log_commands, stability
from partner_node.acceptance import BlockResult
from partner_node.desk_tables import reason_tables
from partner_node.gatekeeping import CheckedGate
from partner_node.head_sums import HeadSums
from partner_node.keystore import Pin
from partner_node.local_sums import LocalSums
from partner_node.records import Disclosure, KeptStability, OwnEntry
from partner_node.stability import NodeSums, Outcome, Stability
from partner_node.study import SOCKET, rows_of_socket
from partner_node.training_parts import hazard_sums
from partner_node.wiring import Desk, code_digest


@dataclass(frozen=True, slots=True)
class Verdict:
    """A test's results, and why they break this partner's own rule. Private."""

    results: tuple[BlockResult, ...]
    shortcomings: list[str]
    stability: Stability = stability.NOT_ASSESSED
    reason: str = acceptance.VALIDATED
    """The reason class of a vote that follows from this."""


def candidate(desk: Desk, pin: Pin, version: Digest) -> Document:
    """The model or head of that version; fetched if this node does not have it yet.

    Raises:
        DigestMismatchError: the document is another one. Fault: the coordinator.
        DecodeError: its parts do not belong together, or it is for another schema.
        TransportError: the coordinator is not reachable.
    """
    store = desk.store()
    data = store.versions.model(version)
    if data is None:
        with desk.door() as coordinator:
            data = coordinator.fetch_model(version).document
        store.versions.keep_model(version, data)
    verify_version(data, version)
    return parse_any(data, pin.schema)


def witnesses(desk: Desk, version: Digest) -> Mapping[str, str]:
    """What all accountants say of the version's privacy statement, Opacus among them (4.7).

    Raises:
        TrustError: they disagree.
        ConfigurationError: Opacus is not installed here.
    """
    try:
        from models.opacus_witness import witnesses_of  # noqa: PLC0415 - loads torch
    except ImportError as error:
        text = f"Opacus is not installed here ({error.name}): pip install riskweave[networks]"
        raise ConfigurationError(text) from error

    return witnesses_of(candidate(desk, desk.completed_pin(), version).statement)


def validate(desk: Desk, version: Digest) -> Verdict:
    """Test a version on this partner's own hold-out rows.

    A head is tested by its askers, on the joint rows that the serving process has, and a model
    by those who hold blocks of it; any other partner has nothing to test, and no result. The
    document is kept in any case: a contribution is counted with it (governance 3).

    Raises:
        DataError: the table does not fit, or none of its rows is held out.
        TransportError: a head, and nobody serves this node.
    """
    pin = desk.completed_pin()
    document = candidate(desk, pin, version)
    gate = checked_gate(desk, pin, version)
    least = desk.config.votes.min_auc
    if isinstance(document, HeadDocument):
        results = _head_results(desk, document)
    else:
        results = _model_results(desk, pin, document)
    alike = stability_of(desk, pin, gate, version)
    found = {
        GATE: gate.refusals,
        UNSTABLE: alike.shortcomings(pin.manifest.policy.gate),
        acceptance.QUALITY: acceptance.shortcomings(results, min_auc=least),
    }
    reason = next((name for name, why in found.items() if why), acceptance.VALIDATED)
    return Verdict(results, [line for why in found.values() for line in why], alike, reason)


def checked_gate(desk: Desk, pin: Pin, version: Digest) -> CheckedGate:
    """The release gate of a version, computed again (protocol 13.9).

    Raises:
        TrustError: it is not what the published sums lead to. Fault: the coordinator.
        OutOfOrderError: there is none.
        TransportError: the coordinator is not reachable.
    """
    document = candidate(desk, pin, version)
    with desk.door() as coordinator:
        given = coordinator.fetch_gate(version)
    joins = desk.store().own_entries(document.plan.run, "round.join")
    facts = gatekeeping.NodeFacts(
        member=desk.config.partner,
        manifest=pin.manifest,
        schema=pin.schema,
        joined=gatekeeping.joined_contexts(joins),
    )
    return gatekeeping.checked(facts, version, document, given)


def stability_of(desk: Desk, pin: Pin, gate: CheckedGate, version: Digest) -> Stability:
    """How alike other trainings are on this partner's persons; raises as ``validate``."""
    document, policy = candidate(desk, pin, version), pin.manifest.policy.gate
    member, plan = desk.config.partner, document.plan
    if not stability.assessable(plan):
        return stability.NOT_ASSESSED
    if isinstance(document, HeadDocument):
        if member not in plan.blocks[0].holders:
            return stability.NOT_ASSESSED
        rows = rows_of_socket(desk.config.directory / SOCKET, document.base)
        base = candidate(desk, pin, document.base)
        if not isinstance(base, ModelDocument):
            raise ConfigurationError(f"{document.base[:12]} is no base model")
        by_family, total = reason_tables(base, pin.schema)
        outcome = stability.joint_outcome(rows, {**by_family, **total}, policy.decline_pd)
        joint = HeadSums(plan, member, joint_rows=lambda _: rows)
        own = NodeSums(joint, member, int((~rows.holdout).sum()))
        return _assessed(desk, (version, policy, gate), own, outcome)
    if member not in _holders(plan):
        return stability.NOT_ASSESSED
    table = ingest.load(
        desk.data_source(),
        pin.schema,
        document.bins,
        desk.families(pin),
        holdout=(plan.holdout_salt, plan.holdout_fraction),
    )
    sums = LocalSums(plan, pin.schema, member, load=lambda _: table)
    own = NodeSums(sums, member, int((~table.holdout).sum()))
    outcome = stability.table_outcome(table, member, policy.decline_pd)
    return _assessed(desk, (version, policy, gate), own, outcome)


def _assessed(
    desk: Desk,
    of: tuple[Digest, GatePolicy, CheckedGate],
    own: NodeSums,
    outcome: Callable[[RunSession], Outcome],
) -> Stability:
    """The assessment; that of a test before if version, policy, code and rows are the same.

    The gate was checked by the caller: the sums are those that lead to the version. Without
    the run's seed rows cannot be compared, and nothing is kept.
    """
    version, policy, gate = of
    store, run = desk.store(), gate.run.plan.run
    commitment = store.commitment(run)
    seed = None if commitment is None else commitment[1]
    if seed is None:
        return stability.assess(gate.run, own, outcome, version=version, policy=policy)
    rows = own.sums.fingerprint(seed)
    gate_policy = canonical_json(gate_document(policy)).decode()
    premises = digest_of(f"{gate_policy} {code_digest()} {rows}".encode())
    kept = store.versions.stability(version, premises)
    if kept is not None:
        return Stability(agreement=kept.agreement, changes=kept.changes)
    found = stability.assess(gate.run, own, outcome, version=version, policy=policy)
    store.versions.keep_stability(
        KeptStability(
            version=version,
            run=run,
            premises=premises,
            agreement=found.agreement,
            changes=found.changes,
        )
    )
    return found


def _require_gate(desk: Desk, pin: Pin, version: Digest) -> None:
    """Raise ConfigurationError if gate or reasons stop the release: no yes is signed then."""
    gate = checked_gate(desk, pin, version)
    why = gate.refusals or stability_of(desk, pin, gate, version).shortcomings(
        pin.manifest.policy.gate
    )
    if why:
        raise ConfigurationError(f"model {version[:12]} cannot be accepted: {'; '.join(why)}")


def _head_results(desk: Desk, document: HeadDocument) -> tuple[BlockResult, ...]:
    if desk.config.partner not in document.plan.blocks[0].holders:
        return ()
    rows = rows_of_socket(desk.config.directory / SOCKET, document.base)
    return acceptance.validate_head(document, rows)


def _holders(plan: TrainingPlan) -> frozenset[PartnerId]:
    return frozenset(name for block in plan.blocks for name in block.holders)


def _model_results(desk: Desk, pin: Pin, document: ModelDocument) -> tuple[BlockResult, ...]:
    plan = document.plan
    if plan.model is ModelKind.HAZARD:
        return acceptance.validate_hazard(document, hazard_sums(desk, plan))
    if desk.config.partner not in _holders(plan):
        return ()
    table = ingest.load(
        desk.data_source(),
        pin.schema,
        document.bins,
        desk.families(pin),
        holdout=(plan.holdout_salt, plan.holdout_fraction),
    )
    return acceptance.validate(document, table, desk.config.partner)


def cast(desk: Desk, version: Digest, *, accept: bool, reason: str) -> str:
    """Vote; returns the version's status after it.

    Raises:
        DigestMismatchError, DecodeError: as ``candidate``; an unsound version gets no vote.
        OutOfOrderError: the version is unknown, or past voting.
        ConfigurationError: a yes, though gate or reasons stop the release (13.9).
        TrustError: a yes, and the gate is not what the published sums lead to.
        RefusalError: an accepting vote, and no quorum has cosigned the candidate and its
            statement in the log (R08).
    """
    pin = desk.completed_pin()
    candidate(desk, pin, version)
    if accept:
        log_commands.wait_for_release(desk, version)
        _require_gate(desk, pin, version)
    store = desk.store()
    bare = Vote(
        version=version,
        member=desk.config.partner,
        accept=accept,
        reason=reason,
        number=store.versions.next_vote(version),
        signature=b"",
    )
    vote = acceptance.signed_vote(bare, pin.digest, desk.keys.identity())
    journal = Disclosure(
        kind="vote", size=len(vote.signature), sha256=digest_of(vote.signature)
    )
    entry = desk.book().voted(vote, pin.digest)
    store.add_disclosure(journal, [OwnEntry(type="release.vote", data=entry)])
    with desk.door() as coordinator:
        status = coordinator.cast_vote(vote, entry)
    store.versions.add_vote(vote)
    return status
