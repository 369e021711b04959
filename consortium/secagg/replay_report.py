"""What may be shown of a replay: digests, verdicts and words, and the one word on all (9.4)."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from consortium.canonical import Label, canonical_json, hash_with
from consortium.ids import Digest
from consortium.secagg.replay import Opened, Outcome, Verdict


class Judgement(StrEnum):
    """The word on a whole replay."""

    PASSED = "passed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


def judgement(verdicts: Sequence[Verdict]) -> Judgement:
    """The word on all of them: nothing that was replayed is no pass."""
    outcomes = {one.outcome for one in verdicts}
    if Outcome.DIFFERS in outcomes:
        return Judgement.FAILED
    if not outcomes or Outcome.INCOMPLETE in outcomes:
        return Judgement.INCOMPLETE
    return Judgement.PASSED


def report_of(
    opened: Opened,
    verdicts: Sequence[Verdict],
    *,
    seed: str,
    not_kept: Sequence[int],
    code: Digest,
) -> dict[str, object]:
    """What may be shown of a replay, canonical (protocol 9.4).

    Args:
        opened: Of it plan, manifest and member are shown.
        verdicts: Of all attempts.
        seed: What is wrong with the seed; empty: nothing.
        not_kept: Numbers of drawn sums for which no upload can be shown.
        code: Digest of the software that made the sums again.
    """
    word = Judgement.FAILED if seed else judgement(verdicts)
    if not_kept and word is Judgement.PASSED:
        word = Judgement.INCOMPLETE
    return {
        "type": "riskweave/replay/v1",
        "member": opened.member,
        "run": opened.plan.run,
        "manifest": opened.manifest,
        "code": code,
        "code_of_the_plan": opened.plan.code,
        "seed": seed or "as committed",
        "judgement": word.value,
        "not_kept": list(not_kept),
        "attempts": [_plain(one) for one in verdicts],
    }


def report_digest(report: Mapping[str, object]) -> Digest:
    """What entries call a report by."""
    return hash_with(Label.REPLAY, canonical_json(dict(report)))


def _plain(one: Verdict) -> dict[str, object]:
    return {
        "kind": one.request.kind.value,
        "round": one.request.round,
        "attempt": one.request.attempt,
        "context": one.joined,
        "logged": one.logged,
        "made": one.made or "",
        "outcome": one.outcome.value,
        "parts": [part.value for part in one.parts],
        "text": one.text,
    }


def replay_lines(report: Mapping[str, object]) -> list[str]:
    """A report as text."""
    same = report["code"] == report["code_of_the_plan"]
    found = [
        f"run {report['run']} at {report['member']}: {report['judgement']}",
        f"seed: {report['seed']}",
        "software: that of the plan" if same else "software: not the plan's",
    ]
    attempts = report["attempts"]
    for one in attempts if isinstance(attempts, list) else []:
        parts = f" ({', '.join(one['parts'])})" if one["parts"] else ""
        text = f": {one['text']}" if one["text"] else ""
        place = f"{one['kind']} {one['round']}.{one['attempt']}"
        found.append(f"  {place:<20} {one['outcome']}{parts}{text}")
    if report["not_kept"]:
        found.append(f"nothing was kept of sums {report['not_kept']}")
    return [*found, f"report {report_digest(report)}"]
