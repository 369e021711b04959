"""The audit of replays: every partner that a challenge concerns has answered it (8.7 (18)).

A challenge draws closed sums of a run; each partner in their rosters replays its uploads on
its premises and signs what came of it. Silence, and an answer that does not fit, are found.
"""

from collections.abc import Iterator

from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.entries import AuditAnswer, AuditChallenge, AuditResult
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.merkle import leaf_hash
from consortium.ledger.run_bodies import RoundSum

ANSWER_DAYS = 14
"""How long a partner may take."""
_DAY_S = 86_400
VERDICTS = frozenset({"passed", "failed", "incomplete"})

Asked = dict[Digest, tuple[int, int, AuditChallenge]]
"""By leaf hash: index, time and body of each challenge."""
Given = dict[tuple[Digest, PartnerId], tuple[int, AuditAnswer]]
"""By challenge and member: index and body of its last answer."""


def audit_answers(
    timeline: Timeline, runs: tuple[RunFacts, ...], findings: Findings, *, now: int
) -> None:
    """Compare challenges, answers and results.

    Args:
        timeline: The log.
        runs: As they were audited.
        findings: What is found goes here.
        now: Seconds since 1970: an answer may still be on its way.
    """
    asked: Asked = {}
    given: Given = {}
    results: dict[RunId, tuple[int, AuditResult]] = {}
    for index, entry in sorted(timeline.entries.items()):
        match entry.body:
            case AuditChallenge() as challenge:
                leaf = Digest(leaf_hash(timeline.evidence.entries[index]).hex())
                asked[leaf] = (index, entry.at, challenge)
            case AuditAnswer() as answer:
                _take(asked, given, (index, entry.actor, answer), findings)
            case AuditResult() as result:
                results[result.run] = (index, result)
            case _:
                pass
    known = {run.run: run for run in runs}
    for leaf, (index, at, challenge) in asked.items():
        run = known.get(challenge.run)
        for name in sorted(_concerned(run, challenge)) if run else ():
            if (leaf, name) not in given:
                _silent(name, index, late=now - at > ANSWER_DAYS * _DAY_S, findings=findings)
    _contradictions(given, results, findings)


def _take(
    asked: Asked, given: Given, said: tuple[int, PartnerId, AuditAnswer], findings: Findings
) -> None:
    index, name, answer = said
    challenge = asked.get(answer.challenge)
    if challenge is None or challenge[2].run != answer.run:
        text = f"{name} answers a challenge that does not stand before it"
        findings.error(Check.AUDITS, "answer.stray", text, index)
        return
    if answer.verdict not in VERDICTS:
        text = f"the verdict of {name} is none of {', '.join(sorted(VERDICTS))}"
        findings.error(Check.AUDITS, "answer.verdict", text, index)
        return
    given[answer.challenge, name] = (index, answer)
    if answer.verdict == "failed":
        text = f"the replay at {name} found uploads that are not what its rows and seed make"
        findings.error(Check.AUDITS, "answer.failed", text, index, challenge[0])
    elif answer.verdict == "incomplete":
        text = f"the replay at {name} could not make everything again"
        findings.warn(Check.AUDITS, "answer.incomplete", text, index, challenge[0])


def _concerned(run: RunFacts, challenge: AuditChallenge) -> Iterator[PartnerId]:
    """Partners with an upload in a sum that was drawn, each once."""
    sums = [one for one in run.closings if isinstance(one.body, RoundSum)]
    yield from {
        name
        for number in challenge.sums
        if 1 <= number <= len(sums)
        for name in sums[number - 1].request.roster
    }


def _silent(name: PartnerId, index: int, *, late: bool, findings: Findings) -> None:
    if late:
        text = f"{name} has not answered for {ANSWER_DAYS} days"
        findings.warn(Check.AUDITS, "answer.missing", text, index)
    else:
        findings.note(Check.AUDITS, "answer.due", f"{name} has not answered yet", index)


def _contradictions(
    given: Given, results: dict[RunId, tuple[int, AuditResult]], findings: Findings
) -> None:
    """A result that says passed over an answer that says failed."""
    for (_, name), (index, answer) in given.items():
        found = results.get(answer.run)
        if found is not None and found[1].verdict == "passed" and answer.verdict == "failed":
            text = f"the result says passed, the replay at {name} failed"
            findings.error(Check.AUDITS, "audit.against_answer", text, found[0], index)
