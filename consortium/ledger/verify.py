"""The whole audit as one function over the files of a bundle (protocol 8.7).

It trusts one digest, that of the newest manifest, and its own arithmetic. Here stand the
checks of the log itself: heads, root, entries. Those of manifests are in ``manifests``, of runs
in ``runs``, of releases in ``claims``. The run's machine is a port, for it belongs to a higher
floor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from consortium.canonical import Label
from consortium.credit.figures import NoisyTable
from consortium.crypto.keys import verify_signature
from consortium.errors import ManifestError, RiskWeaveError, TrustError
from consortium.identity.overlap import OverlapCount
from consortium.ids import Digest, PartnerId
from consortium.ledger.answers import audit_answers
from consortium.ledger.attestations import audit_attestations
from consortium.ledger.checkpoint import Cosigned, open_checkpoint
from consortium.ledger.claims import ReleaseFacts, audit_claims
from consortium.ledger.consents import audit_consents
from consortium.ledger.contributions import audit_contributions
from consortium.ledger.decisions import audit_decisions
from consortium.ledger.drawing import audit_drawing
from consortium.ledger.entries import (
    Entry,
    IdentityRevoked,
    Incident,
    ManifestAdopted,
    from_jcs,
    verify_entry,
)
from consortium.ledger.epochs import audit_epochs
from consortium.ledger.evidence import Evidence, read_evidence
from consortium.ledger.facts import Machines, RunFacts, Timeline
from consortium.ledger.findings import Check, Finding, Findings, Grade
from consortium.ledger.governing_audit import audit_governing
from consortium.ledger.manifests import manifest_chain
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.overlaps import audit_overlaps
from consortium.ledger.proof import parse_proof, verify_proof
from consortium.ledger.revocations import Revocations, check_voice
from consortium.ledger.run_bodies import (
    BudgetDebit,
    RoundAbort,
    RoundJoin,
    RoundSum,
    RoundUpload,
)
from consortium.ledger.runs import audit_runs
from consortium.ledger.scores import audit_scores
from consortium.ledger.tables import audit_tables
from consortium.ledger.witness import MAX_AGE_S, MAX_SKEW_S, quorum_held
from consortium.manifest import Manifest, Member

_LAST = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The verdict and what it is about."""

    findings: tuple[Finding, ...]
    pinned: Digest
    federation: str
    entries: int
    cosigned_by: tuple[PartnerId, ...]
    """Partners by whose word the newest head counts."""
    head_time: int
    """Seconds of the newest of their cosignatures; 0 if the head does not count."""
    counts: Mapping[str, int]
    """Entries of each type."""
    runs: tuple[RunFacts, ...] = ()
    releases: tuple[ReleaseFacts, ...] = ()
    tables: tuple[NoisyTable, ...] = ()
    """Published tables that the log's sums lead to."""
    overlaps: tuple[OverlapCount, ...] = ()
    """Counts of common persons that the log holds (protocol 6.10)."""
    timeline: Timeline | None = None
    """What the log's own checks left standing; None if the manifest was not there."""
    heads: tuple[Cosigned, ...] = ()
    """Every head that counts, the oldest first."""

    @property
    def worst(self) -> Grade | None:
        """The worst grade; None if there is no finding at all."""
        grades = [one.grade for one in self.findings]
        return next((grade for grade in Grade if grade in grades), None)


@dataclass(slots=True, kw_only=True)
class _Audited:
    """What the checks of the log hand on."""

    evidence: Evidence
    chain: list[Manifest]
    """Manifests, the oldest first; the last one is pinned."""
    findings: Findings
    now: int
    tree: Tree = field(default_factory=Tree)
    entries: dict[int, Entry] = field(default_factory=dict)
    """Those that are what they claim to be."""
    force: list[Manifest] = field(default_factory=list)
    """The manifest in force at each entry."""
    revocations: Revocations = field(default_factory=Revocations)
    """What the log says of identities that were revoked (protocol 2.7)."""
    closings: list[int] = field(default_factory=list)
    """Where attempts are closed, rising."""
    counted: list[int] = field(default_factory=list)
    """Sizes of the heads that a quorum cosigned."""
    heads: list[Cosigned] = field(default_factory=list)
    """Those heads."""
    head: Cosigned | None = None
    cosigned_by: tuple[PartnerId, ...] = ()


_Portion = list[tuple[Entry, bytes, Member]]
_PORTION = 256
"""Entries whose signatures are verified by one call."""


class Mapped(Protocol):
    """``map``, or one that has several portions looked at at a time."""

    def __call__(
        self, look: Callable[[_Portion], list[str | None]], portions: Iterable[_Portion], /
    ) -> Iterable[list[str | None]]:
        """What was found of each portion, in their order."""


def verify_log(
    files: Mapping[str, bytes],
    pinned: Digest,
    *,
    now: int,
    machines: Machines,
    mapped: Mapped = map,
) -> Audit:
    """Run every check of protocol 8.7 that the bundle has facts for.

    Args:
        files: The bundle: path to bytes.
        pinned: Digest of the manifest that the auditor trusts, from elsewhere.
        now: Seconds since 1970.
        machines: Makes the machine of a run from its plan and schema.
        mapped: Has the entries' signatures verified; what is handed to it shares no state.
    """
    findings = Findings()
    evidence = read_evidence(files, findings)
    chain = manifest_chain(evidence, pinned, findings, now=now)
    if not chain:
        return _audit(findings, pinned, None, (), ())
    state = _Audited(evidence=evidence, chain=chain, findings=findings, now=now)
    _read_log(state)
    _read_revocations(state)
    _check_heads(state)
    _check_entries(state, mapped)
    _check_proofs(state)
    timeline = Timeline(
        entries=state.entries,
        force=state.force,
        counted=tuple(state.counted),
        evidence=evidence,
        manifests={one.digest: one for one in chain},
        tree=state.tree,
    )
    runs = audit_runs(timeline, findings, machines)
    releases = audit_claims(timeline, runs, findings)
    tables = audit_tables(timeline, runs, findings)
    audit_scores(timeline, findings)
    overlaps = audit_overlaps(timeline, findings)
    audit_drawing(timeline, runs, findings)
    audit_epochs(timeline, findings)
    audit_consents(timeline, findings)
    audit_governing(timeline, findings)
    audit_contributions(timeline, runs, tables, findings)
    audit_answers(timeline, runs, findings, now=now)
    audit_decisions(timeline, findings, now=now)
    audit_attestations(timeline, findings, now=now)
    audit = _audit(findings, pinned, state, runs, releases)
    heads = tuple(state.heads)
    return replace(audit, timeline=timeline, heads=heads, tables=tables, overlaps=overlaps)


def _audit(  # noqa: PLR0917 - puts the parts together
    findings: Findings,
    pinned: Digest,
    state: _Audited | None,
    runs: tuple[RunFacts, ...],
    releases: tuple[ReleaseFacts, ...],
) -> Audit:
    counts: dict[str, int] = {}
    for entry in state.entries.values() if state else ():
        counts[entry.type] = counts.get(entry.type, 0) + 1
    times = state.head.times if state and state.head else {}
    cosigned = state.cosigned_by if state else ()
    return Audit(
        findings=findings.sorted(),
        pinned=pinned,
        federation=state.chain[-1].federation if state else "",
        entries=state.tree.size if state else 0,
        cosigned_by=cosigned,
        head_time=max((times[name] for name in cosigned), default=0),
        counts=dict(sorted(counts.items())),
        runs=runs,
        releases=releases,
    )


def _read_log(state: _Audited) -> None:
    """Read every entry that is one; find out which manifest is in force where."""
    adopted: dict[Digest, set[PartnerId]] = {}
    position = 0
    for index, data in enumerate(state.evidence.entries):
        state.tree.append(leaf_hash(data))
        while position + 1 < len(state.chain) and _adopted_by_all(
            state.chain[position + 1], adopted
        ):
            position += 1
        state.force.append(state.chain[position])
        with state.findings.catch(Check.ENTRIES, "entry.form", index):
            entry = from_jcs(data)
            state.entries[index] = entry
            if isinstance(entry.body, ManifestAdopted):
                adopted.setdefault(entry.body.manifest, set()).add(entry.actor)


def _adopted_by_all(manifest: Manifest, adopted: Mapping[Digest, set[PartnerId]]) -> bool:
    signers = {member.id for member in manifest.signers()}
    return signers <= adopted.get(manifest.digest, set())


def _check_heads(state: _Audited) -> None:
    """Signatures, quorum and root of the newest head and of all earlier ones (4, 5, 6)."""
    if not state.evidence.head:
        state.findings.error(Check.LOG_SIGNATURE, "head.missing", "the bundle has no head")
    for size, data in sorted(state.evidence.earlier.items()):
        place = f"checkpoints/{size}"
        with state.findings.catch(Check.LOG_SIGNATURE, "head.signature", place=place):
            opened = _opened(state, size, data)
            if opened.checkpoint.size != size:
                text = f"a head of {opened.checkpoint.size} entries under another name"
                state.findings.error(Check.LOG_SIGNATURE, "head.name", text, place=place)
            elif _rooted(state, opened, place) and _counts(state, opened, place):
                state.counted.append(size)
                state.heads.append(opened)
    if state.evidence.head:
        with state.findings.catch(Check.LOG_SIGNATURE, "head.signature", place="checkpoint"):
            state.head = _opened(state, len(state.evidence.entries), state.evidence.head)
            _check_newest(state, state.head)


def _check_newest(state: _Audited, head: Cosigned) -> None:
    size, known = head.checkpoint.size, state.tree.size
    if size != known:
        state.findings.error(
            Check.ROOT,
            "log.length",
            f"the head is of {size} entries, the bundle holds {known}",
            *range(min(size, known), min(max(size, known), min(size, known) + 20)),
            place="checkpoint",
        )
    if size <= known and _rooted(state, head, "checkpoint"):
        state.cosigned_by = _counts(state, head, "checkpoint")
        if state.cosigned_by:
            state.counted.append(size)
            state.heads.append(head)
    counted = max((head.times[name] for name in state.cosigned_by), default=0)
    if counted and state.now - counted > MAX_AGE_S:
        hours = (state.now - counted) // 3600
        state.findings.note(
            Check.COSIGNATURES, "head.age", f"the newest head is {hours} hours old"
        )


def _opened(state: _Audited, size: int, data: bytes) -> Cosigned:
    place = min(size, len(state.force)) - 1
    manifest = state.force[place] if place >= 0 else state.chain[0]
    opened = open_checkpoint(data, manifest)
    _no_strangers(opened)
    return opened


def _no_strangers(opened: Cosigned) -> None:
    """A note may carry lines of keys that nobody knows; in evidence every byte counts."""
    lines = opened.note.signatures
    names = {one.name for one in lines}
    if len(names) != len(lines) or len(names) != len(opened.times) + 1:
        raise TrustError("signature lines of strangers, or twice of one key")


def _rooted(state: _Audited, opened: Cosigned, place: str) -> bool:
    """Whether the head's root is that of the entries; the range of a change if not."""
    size = opened.checkpoint.size
    if size <= state.tree.size and state.tree.root(size) == opened.checkpoint.root:
        return True
    since = max((one for one in state.counted if one < size), default=0)
    state.findings.error(
        Check.ROOT,
        "log.root",
        f"the root of {size} entries is not the signed one: entries from {since} on were "
        "changed, dropped, added or moved",
        since,
        place=place,
    )
    return False


def _counts(state: _Audited, opened: Cosigned, place: str) -> tuple[PartnerId, ...]:
    """The partners by whose word the head counts, when its quorum was there last."""
    manifest = state.force[opened.checkpoint.size - 1] if state.force else state.chain[0]
    last = max(opened.times.values(), default=0)
    if last > state.now + MAX_SKEW_S:
        state.findings.error(
            Check.COSIGNATURES, "head.future", "cosigned in the future", place=place
        )
    if not opened.times and not _witnessed(state):
        text = "no witness cosigned any head: that there is no other history is not proven"
        state.findings.warn(Check.COSIGNATURES, "head.unwitnessed", text, place=place)
        return ()
    try:
        return quorum_held(opened, manifest, without=_revoked_in(state, opened, manifest))[1]
    except RiskWeaveError as error:
        state.findings.error(Check.COSIGNATURES, "head.quorum", str(error), place=place)
        return ()


def _revoked_in(state: _Audited, opened: Cosigned, manifest: Manifest) -> frozenset[PartnerId]:
    """Whose line under a head counts for nothing: it has the entry that revoked them."""
    found = ((one.id, state.revocations.index_of(one)) for one in manifest.members)
    return frozenset(
        name for name, index in found if index is not None and index < opened.checkpoint.size
    )


def _witnessed(state: _Audited) -> bool:
    """Whether the log ever had witnesses: members sign which cosigned head they know."""
    return bool(state.evidence.earlier) or any(
        entry.seq_hint for entry in state.entries.values()
    )


def _read_revocations(state: _Audited) -> None:
    """Whose word counts no more, and from which entry on (protocol 2.7)."""
    for index, entry in state.entries.items():
        if isinstance(entry.body, RoundSum | RoundAbort):
            state.closings.append(index)
        if not isinstance(entry.body, IdentityRevoked):
            continue
        with state.findings.catch(Check.REVOKED, "entry.revocation", index):
            member, data = _actor(state, index, entry), state.evidence.entries[index]
            check_voice(entry.body)
            if member is not None:
                verify_entry(entry, data, member)
                state.revocations.take(index, entry, state.force[index])


def _check_entries(state: _Audited, mapped: Mapped) -> None:
    """Signature, actor, role and hint of each entry (8.7 (8), (19))."""
    counted = {0, *state.counted}
    members = {index: _actor(state, index, entry) for index, entry in state.entries.items()}
    signed = [
        (state.entries[index], state.evidence.entries[index], member)
        for index, member in members.items()
        if member is not None
    ]
    portions = [signed[first : first + _PORTION] for first in range(0, len(signed), _PORTION)]
    faults = (fault for found in mapped(_faults, portions) for fault in found)
    for index, member in members.items():
        entry = state.entries[index]
        if member is None:
            state.findings.error(
                Check.ENTRIES, "entry.actor", f"{entry.actor} is no active member", index
            )
            del state.entries[index]
            continue
        fault = next(faults)
        if fault is not None:
            state.findings.error(Check.ENTRIES, "entry.signature", fault, index)
            del state.entries[index]
            continue
        _check_standing(state, index, entry, member)
        _check_hint(state, index, entry, counted)
        if isinstance(entry.body, ManifestAdopted):
            _check_adoption(state, index, entry.body, member)


def _faults(portion: _Portion) -> list[str | None]:
    """What is wrong with who signed each of them, if anything is."""
    found: list[str | None] = []
    for entry, data, member in portion:
        try:
            verify_entry(entry, data, member)
        except RiskWeaveError as error:
            found.append(str(error))
        else:
            found.append(None)
    return found


def _check_standing(state: _Audited, index: int, entry: Entry, member: Member) -> None:
    """Nothing comes of a revoked identity but its part of the attempt that was under way.

    What an attempt gathered is appended when it is closed, and somebody else may be revoked
    between the two.
    """
    revoked = state.revocations.index_of(member)
    if revoked is None or index <= revoked:
        return
    if isinstance(entry.body, RoundJoin | BudgetDebit | RoundUpload):
        first = next((one for one in state.closings if one > revoked), None)
        if first is not None and index < first:
            return
    text = f"{entry.actor} was revoked at entry {revoked}"
    state.findings.error(Check.REVOKED, "entry.revoked", text, index, revoked)


def _check_hint(state: _Audited, index: int, entry: Entry, counted: set[int]) -> None:
    """What an entry rests on stands before it, under a head that counts.

    An incident may say that another history was shown. That is one member's word, and no
    error of the log by itself: else one member could spoil the log for all.
    """
    says_so = isinstance(entry.body, Incident)
    find = state.findings.warn if says_so else state.findings.error
    if entry.seq_hint > index:
        text = f"signed after a log of {entry.seq_hint} entries, but stands before"
        find(Check.ORDER, "entry.hint", text, index)
    elif entry.seq_hint not in counted:
        text = f"rests on a head of {entry.seq_hint} entries that the bundle does not prove"
        find(Check.ORDER, "entry.head", text, index)


def _actor(state: _Audited, index: int, entry: Entry) -> Member | None:
    """The actor's entry in the manifest in force, or in the one that it adopts."""
    manifest = state.force[index]
    if isinstance(entry.body, ManifestAdopted):
        named = [one for one in state.chain if one.digest == entry.body.manifest]
        manifest = named[0] if named else manifest
    try:
        return manifest.member(entry.actor)
    except ManifestError:
        return None


def _check_adoption(state: _Audited, index: int, body: ManifestAdopted, member: Member) -> None:
    digests = {one.digest: one.version for one in state.chain}
    if digests.get(body.manifest) != body.version:
        text = f"manifest {body.manifest} is not version {body.version} of this federation"
        state.findings.error(Check.MANIFESTS, "manifest.unknown", text, index)
    with state.findings.catch(Check.MANIFESTS, "manifest.adoption", index):
        verify_signature(
            bytes.fromhex(member.identity),
            Label.MANIFEST_SIGNATURE,
            bytes.fromhex(body.manifest),
            body.signature,
        )


def _check_proofs(state: _Audited) -> None:
    """Proofs of single entries that the bundle carries (8.7 (7))."""
    for index, data in _sorted(state.evidence.proofs):
        place = f"proofs/{index}.tlog-proof"
        with state.findings.catch(Check.INCLUSION, "proof.broken", index, place=place):
            proof = parse_proof(data)
            if proof.index != index or index >= len(state.evidence.entries):
                raise TrustError(f"a proof of entry {proof.index}")
            if proof.extra is not None:
                state.findings.note(
                    Check.INCLUSION, "proof.extra", "carries data that nobody signed", index
                )
            size = _size_of(proof.checkpoint)
            place_of = min(max(size, 1), len(state.force)) - 1
            opened = verify_proof(proof, state.evidence.entries[index], state.force[place_of])
            _no_strangers(opened)
            manifest = state.force[place_of]
            quorum_held(opened, manifest, without=_revoked_in(state, opened, manifest))


def _size_of(checkpoint: bytes) -> int:
    lines = checkpoint.split(b"\n")
    digits = lines[1] if len(lines) > 1 else b""
    return min(int(digits), _LAST) if digits.isdigit() and len(digits) < 20 else 0  # noqa: PLR2004 - bounded before it is read


def _sorted(proofs: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
    yield from sorted(proofs.items())
