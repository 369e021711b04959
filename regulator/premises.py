"""Replay on a partner's premises by the regulator's own program (protocol 9.4).

The partner's installation, under the auditor's eyes, makes the exact sums of the rows and opens
the seed and the mask keys. What was asked, joined and signed is taken from the audited log and
from nowhere else; JOINs, noise, masks and digests are made here. No learning code.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.errors import DecodeError, OutOfOrderError, TrustError
from consortium.features.bins import private_features
from consortium.features.grids import CELLS
from consortium.features.schema import Schema
from consortium.ids import PartnerId, RunId
from consortium.ledger.entries import AuditChallenge
from consortium.ledger.evidence import Evidence
from consortium.ledger.facts import RunFacts
from consortium.ledger.findings import Check, Grade
from consortium.ledger.run_bodies import RoundSum
from consortium.ledger.verify import Audit
from consortium.messages import Join, SumRequest
from consortium.plan import ModelKind, ReleaseKind
from consortium.secagg.context import context_of
from consortium.secagg.opened import OpenedAttempt, read_opened
from consortium.secagg.replay import (
    Committed,
    Exact,
    OnRecord,
    Opened,
    Verdict,
    replay,
    seed_faults,
)
from consortium.secagg.replay_report import report_of
from consortium.secagg.ring import to_signed
from models.run import ClosedSum, RunSession

Flags = NDArray[np.bool_]
Key = tuple[ReleaseKind, int, int]


@dataclass(slots=True, kw_only=True)
class _Closed:
    """One sum of the log."""

    number: int
    body: RoundSum
    held: Flags
    """Where the member's rows can be, by the plan."""


@dataclass(slots=True, kw_only=True)
class _OnPremises:
    evidence: Evidence
    run: RunFacts
    opened: Opened
    sums: Mapping[Key, _Closed] = field(default_factory=dict)


def replay_opened(
    audit: Audit,
    evidence: Evidence,
    lines: Iterable[bytes],
    *,
    drawn: tuple[int, ...] = (),
    challenged: bool = False,
) -> dict[str, object]:
    """The report on what a partner opened.

    Args:
        audit: Of the bundle; but for what it says of decisions it must have no errors, for the
            log is what is compared with.
        evidence: Its files.
        lines: As ``riskweave node replay --opened`` wrote them. Secret.
        drawn: Numbers of closed sums that must be among them.
        challenged: Those that the regulator's challenges drew, too; there must be one.

    Raises:
        TrustError: the audit found errors.
        DecodeError: the lines are not what they must be. Fault: the partner.
        OutOfOrderError: of a run, a member or a sum that the log does not have.
    """
    wrong = [one for one in audit.findings if one.grade is Grade.ERROR]
    if any(one.check is not Check.DECISIONS for one in wrong):
        raise TrustError("the bundle has errors: there is nothing to compare with")
    first, attempts = read_opened(lines)
    run = next((one for one in audit.runs if one.run == first.run), None)
    if run is None or first.member not in run.commits or first.manifest != run.plan.manifest:
        raise OutOfOrderError(f"the log has no run {first.run} of {first.member}")
    if challenged:
        drawn = (*drawn, *_challenged(audit, run.run))
    opened = Opened(
        plan=run.plan, manifest=first.manifest, member=first.member, seed=Secret(first.seed)
    )
    here = _OnPremises(evidence=evidence, run=run, opened=opened)
    here.sums = {_key(one.body.request): one for one in _closed_sums(here)}
    commit = run.commits[first.member][1]
    committed = Committed(seed=commit.seed_commitment, chain_head=commit.chain_head)
    verdicts: list[Verdict] = []
    shown: set[int] = set()
    for one in attempts:
        closed = here.sums.get((one.kind, one.round, one.attempt))
        if closed is None:
            continue  # an attempt that came to no sum: the log has nothing to compare with
        verdicts.append(_judged(here, closed, one))
        shown.add(closed.number)
    return report_of(
        opened,
        verdicts,
        seed=seed_faults(opened, committed),
        not_kept=sorted(set(drawn) - shown - _others(here)),
        code=first.code,
    )


def _challenged(audit: Audit, run: RunId) -> tuple[int, ...]:
    entries = () if audit.timeline is None else audit.timeline.entries.values()
    asked = [
        one.body
        for one in entries
        if isinstance(one.body, AuditChallenge) and one.body.run == run
    ]
    if not asked:
        raise OutOfOrderError(f"nothing of run {run} was drawn: no challenge is in the log")
    return tuple(number for one in asked for number in one.sums)


def _key(request: SumRequest) -> Key:
    return request.kind, request.round, request.attempt


def _others(here: _OnPremises) -> set[int]:
    """Numbers of sums that the member had no part in."""
    member = here.opened.member
    return {one.number for one in here.sums.values() if member not in one.body.request.roster}


def _judged(here: _OnPremises, closed: _Closed, one: OpenedAttempt) -> Verdict:
    exact, member = one.exact(), here.opened.member
    body = closed.body
    if exact is not None:
        if exact.values.shape != (body.request.dimension,):
            raise DecodeError("opened sum: not as many numbers as were asked for")
        if bool(exact.values[~closed.held].any()):
            raise DecodeError("opened sum: numbers where the plan gives this member no rows")
        # Where noise belongs is the plan's to say, not the file's.
        exact = Exact(values=exact.values, held=closed.held, same_rows=exact.same_rows)
    keys = one.mask_keys()
    peers = set(body.request.roster) - {member}
    if keys is not None and set(keys) != peers:
        raise DecodeError("opened keys: not one of each other member of the roster")
    if not peers:
        keys = {}
    record = OnRecord(
        request=body.request,
        joins=_joins(here, body.request),
        joined=body.joined,
        words=next(up.words for up in body.uploads if up.member == member),
        kept=_words(here.evidence, body, member),
    )
    return replay(here.opened, record, exact, keys)


def _joins(here: _OnPremises, request: SumRequest) -> tuple[Join, ...]:
    context = context_of(request, here.opened.manifest)
    return tuple(
        Join(
            context=context,
            member=name,
            ephemeral=join.ephemeral,
            count=join.count,
            link=join.link,
            signature=b"",
        )
        for _, name, join in here.run.joins
        if join.context == context
    )


def _words(evidence: Evidence, body: RoundSum, member: PartnerId) -> NDArray[np.uint64] | None:
    """The member's words, if the bundle has those of the sum."""
    words = evidence.uploads.get(body.joined)
    if words is None:
        return None
    size, place = body.request.dimension, body.request.roster.index(member)
    return words[place * size : (place + 1) * size]


def _closed_sums(here: _OnPremises) -> Iterator[_Closed]:
    """The run's sums in order; its machine is taken along, for it knows the layout."""
    schema = here.evidence.schemas[here.run.plan.schema]
    machine, number = RunSession(here.run.plan, schema), 0
    for closing in here.run.closings:
        body = closing.body
        if not isinstance(body, RoundSum):
            continue
        number += 1
        yield _Closed(
            number=number,
            body=body,
            held=_held(machine, schema, body.request, here.opened.member),
        )
        total = to_signed(here.evidence.sums[body.total])
        machine.on_sum(ClosedSum(request=body.request, joined=body.joined, total=total))


def _held(machine: RunSession, schema: Schema, request: SumRequest, member: PartnerId) -> Flags:
    """Coordinates that a member's rows can move, by the plan alone."""
    plan = machine.plan
    mine = [member in block.holders for block in plan.blocks]
    if plan.model is ModelKind.HEAD:
        return np.full(request.dimension, mine[0])
    if request.kind is ReleaseKind.GRADIENT:
        return np.repeat(mine, [block.size for block in machine.spec.blocks])
    if request.kind is ReleaseKind.BINS:
        families = {
            family
            for block, own in zip(plan.blocks, mine, strict=True)
            if own
            for family in block.families
        }
        held = [one.family in families for one in private_features(schema)]
        return np.repeat(held, 2 * CELLS)
    return np.repeat(mine, request.dimension // len(mine))
