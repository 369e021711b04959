"""The audit of decisions: commitments, draws, answers, results (protocol 8.7 (22), 9.4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consortium.ids import Digest, PartnerId
from consortium.ledger.answers import ANSWER_DAYS, VERDICTS
from consortium.ledger.bodies import (
    BANDS,
    DecisionAnswer,
    DecisionBatch,
    DecisionChallenge,
    DecisionResult,
)
from consortium.ledger.coins import Coins
from consortium.ledger.drawing import check_coin
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.merkle import leaf_hash

_DAY_S = 86_400
RESULTS = frozenset({"passed", "failed", "waived"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One commitment in the log."""

    index: int
    leaf: Digest
    member: PartnerId
    body: DecisionBatch


@dataclass(slots=True, kw_only=True)
class Draw:
    """One challenge in the log, with what was said to it."""

    index: int
    leaf: Digest
    at: int
    regulator: PartnerId
    body: DecisionChallenge
    batch: Batch | None
    """None: no such batch stands before it."""
    answers: list[tuple[int, DecisionAnswer]] = field(default_factory=list)
    """Of the batch's partner, the oldest first."""
    results: list[tuple[int, DecisionResult]] = field(default_factory=list)


@dataclass(slots=True)
class DecisionFacts:
    """What a log says of decisions."""

    batches: dict[Digest, Batch] = field(default_factory=dict)
    draws: dict[Digest, Draw] = field(default_factory=dict)
    stray: list[tuple[int, PartnerId]] = field(default_factory=list)
    """Answers and results to nothing that stands before them, or in the wrong name."""


def decisions_of(timeline: Timeline) -> DecisionFacts:
    """Gather all of it, in order of the log; leaf hashes are keys."""
    facts = DecisionFacts()
    for index, entry in sorted(timeline.entries.items()):
        match entry.body:
            case DecisionBatch() as body:
                leaf = _leaf(timeline, index)
                facts.batches[leaf] = Batch(
                    index=index, leaf=leaf, member=entry.actor, body=body
                )
            case DecisionChallenge() as body:
                leaf = _leaf(timeline, index)
                facts.draws[leaf] = Draw(
                    index=index,
                    leaf=leaf,
                    at=entry.at,
                    regulator=entry.actor,
                    body=body,
                    batch=facts.batches.get(body.batch),
                )
            case DecisionAnswer() | DecisionResult() as body:
                _take(facts, (index, entry.actor), body)
            case _:
                pass
    return facts


def _leaf(timeline: Timeline, index: int) -> Digest:
    return Digest(leaf_hash(timeline.evidence.entries[index]).hex())


def _take(
    facts: DecisionFacts, said: tuple[int, PartnerId], body: DecisionAnswer | DecisionResult
) -> None:
    index, actor = said
    draw = facts.draws.get(body.challenge)
    owner = None if draw is None or draw.batch is None else draw.batch.member
    if draw is not None and isinstance(body, DecisionResult):
        draw.results.append((index, body))
    elif draw is not None and isinstance(body, DecisionAnswer) and actor == owner:
        draw.answers.append((index, body))
    else:
        facts.stray.append(said)


def audit_decisions(timeline: Timeline, findings: Findings, *, now: int) -> None:
    """Compare commitments, draws, answers and results.

    Args:
        timeline: The log.
        findings: What is found goes here.
        now: Seconds since 1970: an answer may still be on its way.
    """
    facts = decisions_of(timeline)
    _check_batches(list(facts.batches.values()), findings)
    for index, actor in facts.stray:
        text = f"{actor} speaks of a draw of decisions that does not stand before it"
        findings.error(Check.DECISIONS, "decision.stray", text, index)
    coins = Coins(timeline.entries)
    for draw in facts.draws.values():
        if draw.batch is None or draw.body.places < 1:
            text = "draws decisions of a batch that does not stand before it, or none"
            findings.error(Check.DECISIONS, "decision.unknown", text, draw.index)
            continue
        coin = coins.of(draw.batch.index, draw.regulator)
        drawn = (draw.index, draw.batch.index, draw.body.batch, draw.body.choice)
        check_coin(timeline, coin, drawn, findings)
        _check_answer(draw, draw.batch, findings, now=now)
        _check_results(draw, draw.batch, findings)


def _check_batches(batches: Sequence[Batch], findings: Findings) -> None:
    """Numbers have no gap and none comes twice: no history of decisions replaces another."""
    last: dict[PartnerId, Batch] = {}
    for one in batches:
        before = last.get(one.member)
        due = 0 if before is None else before.body.number + 1
        if one.body.number != due:
            text = f"{one.member}: batch {one.body.number} of decisions where {due} is due"
            rest = () if before is None else (before.index,)
            findings.error(Check.DECISIONS, "decision.order", text, one.index, *rest)
        if one.body.decisions not in BANDS:
            text = f"{one.body.decisions!r:.40} is no band"
            findings.error(Check.DECISIONS, "decision.band", text, one.index)
        last[one.member] = one


def _check_answer(draw: Draw, batch: Batch, findings: Findings, *, now: int) -> None:
    name = batch.member
    if not draw.answers:
        if now - draw.at > ANSWER_DAYS * _DAY_S:
            text = f"{name} has not made decisions again for {ANSWER_DAYS} days"
            findings.warn(Check.DECISIONS, "decision.missing", text, draw.index)
        else:
            text = f"{name} has not made the drawn decisions again yet"
            findings.note(Check.DECISIONS, "decision.due", text, draw.index)
        return
    index, answer = draw.answers[-1]
    places = (index, draw.index, batch.index)
    if any(one.verdict not in VERDICTS for _, one in draw.answers):
        text = f"the verdict of {name} is none of {', '.join(sorted(VERDICTS))}"
        findings.error(Check.DECISIONS, "decision.verdict", text, *places)
    if any(one.verdict == "failed" for _, one in draw.answers):
        text = f"batch {batch.body.number} of {name}: decisions are not those committed to"
        findings.error(Check.DECISIONS, "decision.failed", text, *places)
    elif answer.verdict == "incomplete":
        text = f"batch {batch.body.number} of {name}: not every decision could be made again"
        findings.warn(Check.DECISIONS, "decision.incomplete", text, *places)


def _check_results(draw: Draw, batch: Batch, findings: Findings) -> None:
    name = f"batch {batch.body.number} of {batch.member}"
    reports = {one.report for _, one in draw.answers}
    for index, result in draw.results:
        places = (index, draw.index, batch.index)
        if result.verdict not in RESULTS:
            text = f"a result that is none of {', '.join(sorted(RESULTS))}"
            findings.error(Check.DECISIONS, "decision.verdict", text, *places)
        if result.verdict == "failed":
            text = f"{name}: the regulator could not verify what the replay came to"
            findings.error(Check.DECISIONS, "decision.failed", text, *places)
        if draw.answers and result.report not in reports:
            text = f"{name}: the report that was checked is not the one that was answered with"
            findings.error(Check.DECISIONS, "decision.report", text, *places)
        failed = any(one.verdict == "failed" for _, one in draw.answers)
        if failed and result.verdict != "failed":
            text = f"{name}: the result says {result.verdict}, the partner's own replay failed"
            findings.error(Check.DECISIONS, "decision.against_answer", text, *places)
    if draw.answers and not draw.results:
        text = f"{name}: the report on the decisions was not checked yet"
        findings.note(Check.DECISIONS, "decision.unchecked", text, draw.index)
