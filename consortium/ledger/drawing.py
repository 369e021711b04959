"""The audit of what was drawn: sums and records were chosen by nobody (8.7 (18), 9.4.1)."""

from collections.abc import Mapping, Sequence

from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.bodies import AuditNonce, DecisionChallenge
from consortium.ledger.coins import Coin, Coins
from consortium.ledger.draws import choice_of, drawn_records, drawn_sums, nonce_commitment
from consortium.ledger.entries import AuditChallenge
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.inquiries import Leaf
from consortium.ledger.run_bodies import RoundSum
from consortium.ledger.scores import batches_of


def audit_drawing(timeline: Timeline, runs: Sequence[RunFacts], findings: Findings) -> None:
    """Check every challenge against the coin that it must come from."""
    known = {run.run: run for run in runs}
    _check_nonces(timeline, findings)
    coins = Coins(timeline.entries)
    for index, entry in sorted(timeline.entries.items()):
        if isinstance(entry.body, AuditChallenge):
            _check_challenge(timeline, known, (index, entry.body), findings, coins)
        if isinstance(entry.body, AuditChallenge | DecisionChallenge):
            _check_records(timeline, index, entry.body.choice, findings)


def _check_nonces(timeline: Timeline, findings: Findings) -> None:
    """Commitments of each regulator are a chain; each opens the one before it."""
    last: dict[PartnerId, Digest] = {}
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if not isinstance(body, AuditNonce):
            continue
        before = last.get(entry.actor)
        if body.opened is None:
            if before is not None:
                text = "commits anew and does not open what it had committed to"
                findings.warn(Check.AUDITS, "audit.nonce", text, index)
        elif nonce_commitment(bytes.fromhex(body.opened)) != before:
            text = "opens bytes that were not committed to"
            findings.error(Check.AUDITS, "audit.nonce", text, index)
        last[entry.actor] = body.commitment


def _check_challenge(  # noqa: PLR0917 - one challenge and all it rests on
    timeline: Timeline,
    runs: Mapping[RunId, RunFacts],
    challenge: tuple[int, AuditChallenge],
    findings: Findings,
    coins: Coins,
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
        return
    over = run.closed[0]
    coin = coins.of(over, timeline.entries[index].actor)
    check_coin(timeline, coin, (index, over, body.run, body.choice), findings)
    if body.sums != drawn_sums(body.choice, closed, len(body.sums)):
        text = "not the sums that its choice draws"
        findings.error(Check.AUDITS, "audit.choice", text, index)


def check_coin(
    timeline: Timeline,
    coin: Coin | None,
    drawn: tuple[int, int, RunId | Digest, Digest],
    findings: Findings,
) -> None:
    """Whether a choice is that of the one coin that it may come from.

    Args:
        timeline: The log.
        coin: Of what is audited, as the log fixes it.
        drawn: Index of the challenge and of what it audits, the latter's name, the choice.
        findings: What is found goes here.
    """
    index, event, audited, choice = drawn
    hint = timeline.entries[index].seq_hint
    if coin is None or coin.size > index:
        text = "drawn before the log had fixed the coin"
        findings.error(Check.AUDITS, "audit.coin", text, index, event)
        return
    if hint != coin.size:
        text = f"drawn with the head of {hint} entries: the coin is that of {coin.size}"
        findings.error(Check.AUDITS, "audit.coin", text, index, event)
    if coin.nonce is None:
        text = "that nobody chose what is drawn is not proven: its bytes are not opened"
        findings.warn(Check.AUDITS, "audit.unopened", text, index)
        return
    root = timeline.tree.root(coin.size)
    if choice != choice_of(audited, root, coin.nonce):
        text = "its choice is not that of the coin and of the bytes that were committed to"
        findings.error(Check.AUDITS, "audit.choice", text, index)


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
