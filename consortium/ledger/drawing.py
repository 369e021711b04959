"""The audit of what was drawn: sums and records were chosen by nobody (8.7 (18), 9.4.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.bodies import AuditNonce
from consortium.ledger.draws import choice_of, drawn_records, drawn_sums, nonce_commitment
from consortium.ledger.entries import AuditChallenge, RoundSum
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.inquiries import Leaf
from consortium.ledger.merkle import Tree, leaf_hash
from consortium.ledger.scores import batches_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Committed:
    """One commitment of the regulator, and what opened it."""

    index: int
    body: AuditNonce
    nonce: bytes | None


def audit_drawing(timeline: Timeline, runs: Sequence[RunFacts], findings: Findings) -> None:
    """Check every challenge against the coin that it must come from."""
    known = {run.run: run for run in runs}
    nonces = _nonces(timeline, findings)
    for index, entry in sorted(timeline.entries.items()):
        if isinstance(entry.body, AuditChallenge):
            made = nonces.get(entry.actor, ())
            _check_challenge(timeline, known, (index, entry.body), findings, made)
            _check_records(timeline, index, entry.body.choice, findings)


def _nonces(
    timeline: Timeline, findings: Findings
) -> Mapping[PartnerId, tuple[_Committed, ...]]:
    """The chain of commitments of each regulator; each opens the one before it."""
    chains: dict[PartnerId, tuple[_Committed, ...]] = {}
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if not isinstance(body, AuditNonce):
            continue
        chain = chains.get(entry.actor, ())
        if body.opened is not None:
            nonce = bytes.fromhex(body.opened)
            if not chain or nonce_commitment(nonce) != chain[-1].body.commitment:
                text = "opens bytes that were not committed to"
                findings.error(Check.AUDITS, "audit.nonce", text, index)
            else:
                last = chain[-1]
                opened = _Committed(index=last.index, body=last.body, nonce=nonce)
                chain = (*chain[:-1], opened)
        made = _Committed(index=index, body=body, nonce=None)
        chains[entry.actor] = (*chain, made)
    return chains


def _check_challenge(  # noqa: PLR0917 - one challenge and all it rests on
    timeline: Timeline,
    runs: Mapping[RunId, RunFacts],
    challenge: tuple[int, AuditChallenge],
    findings: Findings,
    nonces: Sequence[_Committed],
) -> None:
    index, body = challenge
    run = runs.get(body.run)
    if run is None or run.closed is None:
        text = f"sums of run {body.run} are drawn, which is not closed"
        findings.error(Check.AUDITS, "audit.run", text, index)
        return
    closed = sum(isinstance(one.body, RoundSum) for one in run.closings)
    drawn = set(body.sums)
    if not drawn or list(body.sums) != sorted(drawn) or not drawn <= set(range(1, closed + 1)):
        text = f"draws sums that the run of {closed} does not have"
        findings.error(Check.AUDITS, "audit.sums", text, index)
    elif len(body.sums) < closed:
        _check_choice(timeline, (index, body), run, findings, nonces)


def _check_choice(  # noqa: PLR0917 - as above
    timeline: Timeline,
    challenge: tuple[int, AuditChallenge],
    run: RunFacts,
    findings: Findings,
    nonces: Sequence[_Committed],
) -> None:
    """A part of the sums was drawn: by the coin, and not by hand."""
    index, body = challenge
    hint = timeline.entries[index].seq_hint
    over = run.closed[0] if run.closed is not None else index
    if hint <= over:
        text = "the coin is a head from before the end of the run"
        findings.error(Check.AUDITS, "audit.coin", text, index, over)
        return
    root = Tree(leaf_hash(one) for one in timeline.evidence.entries[:hint]).root()
    for one in nonces:
        if one.nonce is not None and choice_of(body.run, root, one.nonce) == body.choice:
            closed = sum(isinstance(c.body, RoundSum) for c in run.closings)
            if body.sums != drawn_sums(body.choice, closed, len(body.sums)):
                text = "not the sums that its choice draws"
                findings.error(Check.AUDITS, "audit.choice", text, index)
            if one.index >= over:
                text = "drawn with bytes that were committed to after the end of the run"
                findings.error(Check.AUDITS, "audit.late", text, index, one.index, over)
            return
    text = "that nobody chose these sums is not proven: its bytes are not opened"
    findings.warn(Check.AUDITS, "audit.unopened", text, index)


def _check_records(timeline: Timeline, index: int, choice: Digest, findings: Findings) -> None:
    """Records of inquiries that the choice draws are opened in the bundle (17)."""
    counts = batches_of(timeline, timeline.entries[index].seq_hint)
    kept = timeline.evidence.inquiries
    closed = [
        (second, place)
        for second, place in drawn_records(choice, counts)
        if not _opened(kept.get(second, ()), place)
    ]
    if closed:
        shown = ", ".join(f"{second}.{place}" for second, place in closed[:5])
        text = f"{len(closed)} records that were drawn are not in the bundle: {shown}"
        findings.error(Check.SCORES, "score.drawn", text, index)


def _opened(leaves: Sequence[Leaf], place: int) -> bool:
    return place < len(leaves) and leaves[place].data is not None
