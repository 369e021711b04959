"""The audit of training runs: order, contexts, chains, sums, replay (8.7 (9) to (12)).

A run in the log is its plan, the commitments, and a series of *closings*: sums and aborted
attempts, each with the request that was made. Everything else about an attempt (who joined,
who was charged, who sent) must fit to its closing, and the closing to the run's machine.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from consortium.documents import plan_digest
from consortium.errors import RiskWeaveError
from consortium.ids import Digest, PartnerId, RunId
from consortium.ledger.charges import check_budget, check_caps, check_charge, reserved_of
from consortium.ledger.entries import Entry
from consortium.ledger.facts import (
    Closing,
    Machine,
    Machines,
    RunAudit,
    RunFacts,
    Timeline,
)
from consortium.ledger.findings import Check, Findings
from consortium.ledger.run_bodies import (
    BudgetDebit,
    PlanProposed,
    PlanRefused,
    RoundAbort,
    RoundJoin,
    RoundSum,
    RoundUpload,
    RunClosed,
    RunCommit,
)
from consortium.messages import Join, SumRequest
from consortium.privacy.mechanism import ACCOUNTS, by_account, reserve_units
from consortium.secagg.chain import Link, chain_length, verify_link
from consortium.secagg.context import context_of, joined_context
from consortium.secagg.ring import ring_sum, to_signed
from consortium.secagg.uploads import words_digest


def audit_runs(
    timeline: Timeline, findings: Findings, machines: Machines
) -> tuple[RunFacts, ...]:
    """Audit every run that the log proposes; entries of no run are findings."""
    runs, uploads = _collect(timeline, findings)
    used: set[Digest] = set()
    for run in runs.values():
        audit = RunAudit(run=run, timeline=timeline, findings=findings, uploads=uploads)
        _check_commits(audit)
        _check_joins(audit)
        for number, closing in enumerate(run.closings):
            used |= _check_closing(audit, number, closing)
        _check_open(audit)
        _check_hidden(audit)
        _check_gates(audit)
        _replay(audit, machines)
        check_budget(audit)
    for joined in set(uploads) - used:
        findings.error(
            Check.CONTEXTS,
            "upload.stray",
            "words for an attempt that no entry closed",
            *(index for index, _, _ in uploads[joined]),
        )
    check_caps(timeline, runs, findings)
    return tuple(runs.values())


def _collect(
    timeline: Timeline, findings: Findings
) -> tuple[dict[RunId, RunFacts], dict[Digest, list[tuple[int, PartnerId, RoundUpload]]]]:
    runs: dict[RunId, RunFacts] = {}
    uploads: dict[Digest, list[tuple[int, PartnerId, RoundUpload]]] = defaultdict(list)
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if isinstance(body, RoundUpload):
            uploads[body.joined].append((index, entry.actor, body))
        elif isinstance(body, PlanProposed):
            if body.plan.run in runs:
                findings.error(Check.ORDER, "plan.twice", "a run is proposed twice", index)
            else:
                runs[body.plan.run] = RunFacts(
                    run=body.plan.run, proposed=index, plan=body.plan
                )
        elif (name := _run_of(body)) is not None:
            if name not in runs:
                text = f"{entry.type} of run {name}, which was not proposed before"
                findings.error(Check.ORDER, "run.unknown", text, index)
            else:
                _sort_in(runs[name], index, entry, findings)
    return runs, uploads


def _run_of(body: object) -> RunId | None:
    match body:
        case RunCommit() | PlanRefused() | RoundJoin() | BudgetDebit() | RunClosed():
            return body.run
        case RoundSum() | RoundAbort():
            return body.request.run
        case _:
            return None


def _sort_in(run: RunFacts, index: int, entry: Entry, findings: Findings) -> None:
    # A refusal goes with no answer and may come late; it says nothing of what was computed.
    if run.closed is not None and not isinstance(entry.body, PlanRefused):
        text = f"{entry.type} after the run was closed at entry {run.closed[0]}"
        findings.error(Check.ORDER, "run.over", text, index, run.closed[0])
    match entry.body:
        case RunCommit() as commit:
            _commit(run, index, entry.actor, commit, findings)
        case PlanRefused():
            run.refusals.append(index)
        case RoundJoin() as join:
            run.joins.append((index, entry.actor, join))
        case BudgetDebit() as debit:
            run.debits.append((index, entry.actor, debit))
        case RoundSum() | RoundAbort() as closing:
            run.closings.append(Closing(index=index, at=entry.at, body=closing))
        case RunClosed() as closed:
            run.closed = (index, closed)
        case _:
            pass


def _commit(  # noqa: PLR0917 - one entry, taken apart
    run: RunFacts, index: int, actor: PartnerId, commit: RunCommit, findings: Findings
) -> None:
    earlier = run.commits.setdefault(actor, (index, commit))
    if earlier[1] != commit:
        text = f"{actor} commits to two seeds, or reserves twice"
        findings.error(Check.ORDER, "commit.twice", text, index, earlier[0])


def _check_commits(audit: RunAudit) -> None:
    """Plan, manifest, commitments and reserves of the run."""
    run, plan = audit.run, audit.run.plan
    if plan.manifest != audit.timeline.force[run.proposed].digest:
        audit.findings.error(
            Check.CONTEXTS, "plan.manifest", "proposed under another manifest", run.proposed
        )
    digest = plan_digest(plan)
    reserve = dict.fromkeys(ACCOUNTS, 0)
    with audit.findings.catch(Check.BUDGET, "plan.reserve", run.proposed):
        reserve = by_account(reserve_units(plan))
    for name, (index, commit) in run.commits.items():
        audit.links[name] = Link(0, commit.chain_head)
        if commit.plan != digest:
            audit.findings.error(Check.ORDER, "commit.plan", "to another plan", index)
        held = reserved_of(commit)
        if held != reserve:
            text = f"{name} reserved {held}, the plan costs {reserve}"
            audit.findings.error(Check.BUDGET, "commit.reserve", text, index)


def _check_joins(audit: RunAudit) -> None:
    """One JOIN for each attempt and member, after its commitment, along its chain (9, 10)."""
    run, seen = audit.run, dict[object, int]()
    length = chain_length(run.plan)
    for index, name, join in run.joins:
        key = (name, join.kind, join.round, join.attempt)
        if key in seen:
            text = f"a second JOIN of {name} in {join.kind.value} {join.round}.{join.attempt}"
            audit.findings.error(Check.ORDER, "join.twice", text, seen[key], index)
        seen.setdefault(key, index)
        audit.by_context[join.context].append((index, name, join))
        known = audit.links.get(name)
        if known is None or audit.run.commits[name][0] > index:
            text = f"{name} joins before it committed to the run"
            audit.findings.error(Check.ORDER, "join.before_commit", text, index)
            continue
        with audit.findings.catch(Check.CONTEXTS, "join.chain", index):
            verify_link(join.link, join.count, known.digest, known.count, length=length)
            audit.links[name] = Link(join.count, join.link)


def _check_closing(audit: RunAudit, number: int, closing: Closing) -> set[Digest]:
    """One attempt against the entries of its members; the rctx that it accounts for."""
    request = closing.request
    context = context_of(request, audit.run.plan.manifest)
    joins = audit.by_context.pop(context, [])
    _check_attempt(audit, closing, joins)
    _check_witnessed(audit, number, closing, joins)
    everyone = sorted(name for _, name, _ in joins) == list(request.roster)
    if isinstance(closing.body, RoundSum):
        if not everyone:
            text = "not summed from one JOIN of each member of its roster"
            audit.findings.error(Check.CONTEXTS, "sum.joins", text, closing.index)
        elif _joined(context, joins) != closing.body.joined:
            text = "rctx is not that of its JOINs"
            audit.findings.error(Check.CONTEXTS, "sum.rctx", text, closing.index)
        _check_uploads(audit, closing, closing.body)
        _check_total(audit, closing, closing.body)
        return {closing.body.joined}
    check_charge(audit, closing, closing.body, everyone=everyone)
    return {_joined(context, joins)} if everyone else set()


def _joined(context: Digest, joins: Sequence[tuple[int, PartnerId, RoundJoin]]) -> Digest:
    return joined_context(
        context,
        [
            Join(
                context=context,
                member=name,
                ephemeral=join.ephemeral,
                count=join.count,
                link=join.link,
                signature=b"",
            )
            for _, name, join in joins
        ],
    )


def _check_attempt(
    audit: RunAudit,
    closing: Closing,
    joins: Sequence[tuple[int, PartnerId, RoundJoin]],
) -> None:
    """Each JOIN is of this attempt and before its closing (9)."""
    request = closing.request
    for index, name, join in joins:
        if (join.kind, join.round, join.attempt) != (
            request.kind,
            request.round,
            request.attempt,
        ) or name not in request.roster:
            text = f"the JOIN of {name} names another attempt than its context is of"
            audit.findings.error(Check.CONTEXTS, "join.attempt", text, index, closing.index)
        if index > closing.index:
            text = f"the JOIN of {name} stands behind the end of its attempt"
            audit.findings.error(Check.ORDER, "join.late", text, index, closing.index)


def _check_witnessed(
    audit: RunAudit,
    number: int,
    closing: Closing,
    joins: Sequence[tuple[int, PartnerId, RoundJoin]],
) -> None:
    """What was charged and sent rests on a cosigned head of all that it had to wait for (9).

    That is the plan, the commitments of the roster, the last sum, and the closing of every
    attempt that the member had joined before.
    """
    request, run = closing.request, audit.run
    sums = [one.index for one in run.closings[:number] if isinstance(one.body, RoundSum)]
    commits = [run.commits[name][0] for name in request.roster if name in run.commits]
    rests = max((run.proposed, *commits, *sums[-1:]))
    key = (request.kind, request.round, request.attempt)
    charged = [one for one in audit.charged.get(key, ()) if one[0] > rests]
    joined = closing.body.joined if isinstance(closing.body, RoundSum) else None
    sent = [(index, name) for index, name, _ in audit.uploads.get(joined or Digest(""), [])]
    for index, name in (*charged, *sent):
        before = max(rests, audit.joined_until.get(name, 0))
        hint = audit.timeline.entries[index].seq_hint
        if hint <= before and audit.timeline.counted:
            text = (
                f"{name} gave {request.kind.value} {request.round}.{request.attempt} before "
                f"entry {before}, on which it rests, was under a cosigned head"
            )
            audit.findings.error(Check.ORDER, "round.unwitnessed", text, index, before)
        elif hint <= before:
            audit.ungated.append(index)
    for _, name, _ in joins:
        audit.joined_until[name] = closing.index


def _check_uploads(audit: RunAudit, closing: Closing, body: RoundSum) -> None:
    """The words that were summed are those that each member signed, once (9, 11)."""
    seen = audit.uploads.get(body.joined, [])
    named = [(one.member, one.words) for one in body.uploads]
    if sorted((name, one.words) for _, name, one in seen) != named or [
        name for name, _ in named
    ] != list(body.request.roster):
        text = "not the sum of one signed upload of each member of its roster"
        audit.findings.error(
            Check.SUMS, "sum.uploads", text, closing.index, *(index for index, _, _ in seen)
        )
    request = body.request
    key = (request.kind, request.round, request.attempt)
    debits = {name: index for index, name in audit.charged.get(key, ())}
    for index, name, _ in seen:
        debit = debits.get(name)
        if debit is not None and not debit < index:
            text = f"the words of {name} left before they were charged"
            audit.findings.error(Check.ORDER, "upload.uncharged", text, index, debit)
        if index > closing.index:
            text = f"the upload of {name} stands behind its sum"
            audit.findings.error(Check.ORDER, "upload.late", text, index, closing.index)


def _check_total(audit: RunAudit, closing: Closing, body: RoundSum) -> None:
    """Σ y = S, where the words are in the bundle (11)."""
    total = audit.timeline.evidence.sums.get(body.total)
    if total is None:
        audit.findings.error(
            Check.SUMS, "sum.missing", "the published sum is not in the bundle", closing.index
        )
        return
    words = audit.timeline.evidence.uploads.get(body.joined)
    if words is None:
        audit.findings.note(
            Check.SUMS,
            "sum.unopened",
            "the words are not in the bundle: that the sum is theirs is not proven",
            closing.index,
        )
        return
    count, size = len(body.uploads), total.size
    place = f"uploads/{body.joined}.bin"
    if words.size != count * size or size != body.request.dimension:
        audit.findings.error(
            Check.SUMS, "sum.shape", "not d words of each member", closing.index, place=place
        )
        return
    parts = words.reshape(count, size)
    for part, one in zip(parts, body.uploads, strict=True):
        if words_digest(part) != one.words:
            text = f"not the words that {one.member} signed"
            found = [
                index
                for index, name, _ in audit.uploads.get(body.joined, [])
                if name == one.member
            ]
            audit.findings.error(
                Check.SUMS, "upload.words", text, closing.index, *found, place=place
            )
    if not np.array_equal(ring_sum(parts), total):
        audit.findings.error(
            Check.SUMS, "sum.wrong", "the published sum is not that of the words", closing.index
        )


def _check_open(audit: RunAudit) -> None:
    """JOINs whose attempt nobody closed."""
    left = [index for joins in audit.by_context.values() for index, _, _ in joins]
    if not left:
        return
    if audit.run.closed is not None or min(left) < max(
        (one.index for one in audit.run.closings), default=0
    ):
        text = "JOINs of an attempt that was neither summed nor given up"
        audit.findings.error(Check.CONTEXTS, "join.stray", text, *sorted(left))
    else:
        audit.findings.note(
            Check.ORDER, "run.under_way", "an attempt is under way", *sorted(left)
        )


def _check_hidden(audit: RunAudit) -> None:
    """A member's JOINs are counted: one that the log lacks was made in some attempt (10).

    It may be lost in one that was charged, or in which the member did not answer.
    """
    run, made = audit.run, defaultdict[PartnerId, list[tuple[int, int]]](list)
    for index, name, join in run.joins:
        made[name].append((index, join.count))
    aborted = [
        (one.index, one.body) for one in run.closings if isinstance(one.body, RoundAbort)
    ]
    for name, joins in made.items():
        before, known = run.proposed, 0
        for index, count in joins:
            lost = sum(
                before < end < index and (body.charged or name in body.missing)
                for end, body in aborted
            )
            if count - known - 1 > lost:
                text = (
                    f"{name} joined {count - known - 1} attempts that the log does not show, "
                    f"of which {lost} can have been lost"
                )
                audit.findings.warn(Check.CONTEXTS, "join.hidden", text, index)
            before, known = index, count


def _check_gates(audit: RunAudit) -> None:
    """Debits and words of a log without witnesses: only the chain of sums orders them (8.6)."""
    if audit.ungated:
        text = (
            f"{len(audit.ungated)} debits and uploads name no cosigned head: that members "
            "waited for the witnesses is not proven"
        )
        audit.findings.note(Check.ORDER, "round.ungated", text, *audit.ungated[:20])


def _replay(audit: RunAudit, machines: Machines) -> None:
    """Take the run's machine through the closings; every request must be its own (10, 12)."""
    run = audit.run
    schema = audit.timeline.evidence.schemas.get(run.plan.schema)
    if schema is None:
        audit.findings.error(
            Check.REPLAY,
            "schema.missing",
            "the plan's schema is not in the bundle",
            run.proposed,
        )
        return
    try:
        machine = machines(run.plan, schema)
    except RiskWeaveError as error:
        audit.findings.error(Check.REPLAY, "plan.impossible", str(error), run.proposed)
        return
    for closing in run.closings:
        try:
            if not _replay_one(audit, machine, closing):
                return
        except RiskWeaveError as error:
            audit.findings.error(Check.REPLAY, "replay.refused", str(error), closing.index)
            return
        run.replayed += 1
    with audit.findings.catch(Check.REPLAY, "replay.model", run.proposed):
        if machine.finished and run.plan.figure is None:
            run.model, run.gate = machine.model(), machine.gate()
            run.published = machine.published()
    _check_end(audit, machine)


def _replay_one(audit: RunAudit, machine: Machine, closing: Closing) -> bool:
    request, body = closing.request, closing.body
    due = machine.request(request.roster)
    wrong = [
        one.name
        for one in fields(SumRequest)
        if getattr(due, one.name) != getattr(request, one.name)
    ]
    if wrong:
        text = f"not the request that is due: {', '.join(wrong)}"
        audit.findings.error(Check.REPLAY, "replay.request", text, closing.index)
        return False
    if isinstance(body, RoundAbort):
        missing = dict(zip(body.missing, body.reasons, strict=False))
        machine.on_missing(request, missing, charged=body.charged)
        return True
    total = audit.timeline.evidence.sums.get(body.total)
    if total is None:
        return False
    machine.on_sum(request, body.joined, to_signed(total))
    return True


def _check_end(audit: RunAudit, machine: Machine) -> None:
    if audit.run.closed is None:
        text = "the run is not closed"
        audit.findings.note(Check.ORDER, "run.open", text, audit.run.proposed)
        return
    index, closed = audit.run.closed
    if closed.attempts != len(audit.run.closings):
        text = f"closed with {closed.attempts} attempts, {len(audit.run.closings)} are logged"
        audit.findings.error(Check.ORDER, "run.attempts", text, index)
    if (closed.outcome == "finished") != machine.finished or (
        closed.outcome not in {"finished", "failed"}
    ):
        text = f"closed as {closed.outcome}, which the sums do not lead to"
        audit.findings.error(Check.REPLAY, "run.outcome", text, index)
    if (closed.version is not None) != (closed.outcome == "finished"):
        text = "a finished run has a version, and no other"
        audit.findings.error(Check.ORDER, "run.version", text, index)
