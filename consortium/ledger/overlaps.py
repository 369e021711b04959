"""The audit of counts of common persons: planned, charged by both, said once (8.7 (13))."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from consortium.identity.overlap import (
    ACCOUNT,
    MOST_ATTEMPTS,
    OverlapCount,
    OverlapPlan,
    charge_of,
    check_form,
    counts_of,
    mechanism_of,
)
from consortium.ids import Digest, PartnerId
from consortium.ledger.bodies import OverlapDebit, OverlapPlanned, OverlapReleased
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.run_bodies import BudgetDebit
from consortium.plan import ReleaseKind

_Key = tuple[Digest, int]


@dataclass(slots=True)
class _Seen:
    """What the log has said so far."""

    plans: dict[Digest, OverlapPlan] = field(default_factory=dict)
    planned: set[_Key] = field(default_factory=set)
    paid: dict[_Key, dict[PartnerId, int]] = field(default_factory=dict)
    """Who has charged an attempt, and the entry's index."""
    said: dict[Digest, int] = field(default_factory=dict)
    """By question: the index of its counts."""


def audit_overlaps(timeline: Timeline, findings: Findings) -> tuple[OverlapCount, ...]:
    """Every count, if what it rests on is in the log before it; the rest are findings."""
    seen, counts = _Seen(), list[OverlapCount]()
    for index, entry in sorted(timeline.entries.items()):
        match entry.body:
            case OverlapPlanned() as planned:
                _plan(seen, index, planned, findings)
            case OverlapDebit() as debit:
                _debit(seen, index, (entry.actor, debit), findings)
            case OverlapReleased() as released:
                with findings.catch(Check.BUDGET, "overlap.counts", index):
                    counts += _released(seen, index, (entry.actor, released), findings)
            case _:
                pass
    return tuple(counts)


def booked_as(debit: OverlapDebit) -> BudgetDebit:
    """The debit as a node's database has it (4.6 (1))."""
    return BudgetDebit(
        account=ACCOUNT,
        epoch=debit.epoch,
        run=debit.run,
        kind=ReleaseKind.OVERLAP,
        round=1,
        attempt=debit.attempt,
        units=debit.units,
        variance=debit.variance,
        partners=2,
    )


def overlap_debits(timeline: Timeline) -> Iterator[tuple[PartnerId, str, str, int, int]]:
    """Member, account, epoch, index and units of each charge."""
    for index, entry in sorted(timeline.entries.items()):
        if isinstance(entry.body, OverlapDebit):
            yield entry.actor, ACCOUNT, entry.body.epoch, index, entry.body.units


def _plan(seen: _Seen, index: int, planned: OverlapPlanned, findings: Findings) -> None:
    plan = planned.plan
    with findings.catch(Check.BUDGET, "overlap.plan", index):
        check_form(plan)
        mechanism_of(plan)
        seen.plans[plan.release] = plan
        key = (plan.release, planned.attempt)
        if key in seen.planned or not 1 <= planned.attempt <= MOST_ATTEMPTS:
            text = f"attempt {planned.attempt} a second time, or beyond {MOST_ATTEMPTS}"
            findings.error(Check.BUDGET, "overlap.attempt", text, index)
        seen.planned.add(key)
        if plan.question in seen.said:
            text = "a question that was answered is asked again"
            findings.error(Check.BUDGET, "overlap.again", text, index, seen.said[plan.question])


def _debit(
    seen: _Seen, index: int, said: tuple[PartnerId, OverlapDebit], findings: Findings
) -> None:
    actor, debit = said
    key = (debit.release, debit.attempt)
    plan = seen.plans.get(debit.release)
    if plan is None or key not in seen.planned or actor not in (plan.counter, plan.peer):
        text = f"{actor} is charged for a count that was not asked of it"
        findings.error(Check.BUDGET, "overlap.stray", text, index)
        return
    price = (plan.run, charge_of(plan), str(mechanism_of(plan).variance))
    if (debit.run, debit.units, debit.variance) != price:
        text = f"{actor} charged {debit.units}, the plan says {price[1]}"
        findings.error(Check.BUDGET, "overlap.units", text, index)
    paid = seen.paid.setdefault(key, {})
    if actor in paid:
        text = f"{actor} is charged twice for one attempt"
        findings.warn(Check.BUDGET, "overlap.twice", text, index, paid[actor])
    paid.setdefault(actor, index)


def _released(
    seen: _Seen, index: int, said: tuple[PartnerId, OverlapReleased], findings: Findings
) -> tuple[OverlapCount, ...]:
    actor, released = said
    key = (released.release, released.attempt)
    plan = seen.plans.get(released.release)
    if plan is None or actor != plan.counter:
        text = f"{actor} says counts that were not asked of it"
        findings.error(Check.BUDGET, "overlap.stray", text, index)
        return ()
    lacking = {plan.counter, plan.peer} - set(seen.paid.get(key, {}))
    if lacking:
        text = f"counts that {', '.join(sorted(lacking))} had not paid for"
        findings.error(Check.BUDGET, "overlap.unpaid", text, index)
    if plan.question in seen.said:
        text = "one question has two answers: their difference is about persons"
        findings.error(Check.BUDGET, "overlap.twice", text, index, seen.said[plan.question])
        return ()
    seen.said[plan.question] = index
    return counts_of(plan, released.counts)
