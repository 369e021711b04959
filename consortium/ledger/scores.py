"""The audit of inquiries: batches, their records, and retries within bounds (8.7 (17)).

A batch is a root and a count in the log. Where its leaves are in the bundle both are computed
again, whatever of them is opened; opened records are held against the log and each other.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from consortium.errors import DecodeError
from consortium.ids import Digest, RequestId
from consortium.inquiries import Purpose
from consortium.ledger.bodies import ScoreRetry
from consortium.ledger.entries import ReleaseServed, ScoreBatch
from consortium.ledger.facts import Timeline
from consortium.ledger.findings import Check, Findings
from consortium.ledger.inquiries import (
    ANSWERED,
    InquiryRecord,
    Leaf,
    parse_record,
    root_of_leaves,
)
from consortium.scoring.closures import VERSION as CLOSURES
from consortium.scoring.guard import RETRY_MS

LATE_S = 120
"""A record that was written so much later waited for a disk, or was kept back."""
RETRIES_IN = 200
"""Whoever retries more than one request in so many is listed (protocol 7.9)."""

Found = tuple[int, InquiryRecord]
"""Index of the batch's entry, and an opened record of it."""


@dataclass(slots=True)
class _Scores:
    """What the log and the bundle say of inquiries."""

    timeline: Timeline
    findings: Findings
    batches: dict[int, tuple[int, ScoreBatch]] = field(default_factory=dict)
    """By second."""
    retries: dict[RequestId, tuple[int, ScoreRetry]] = field(default_factory=dict)
    served: dict[Digest, int] = field(default_factory=dict)
    """Versions, with the entry by which each came to be served first."""
    records: list[Found] = field(default_factory=list)
    whole: bool = True
    """Whether every record of every batch is opened."""

    def error(self, name: str, text: str, *entries: int) -> None:
        """A finding of this check."""
        self.findings.error(Check.SCORES, name, text, *entries)


def batches_of(timeline: Timeline, until: int) -> list[tuple[int, int]]:
    """Second and count of the batches among the first ``until`` entries, in order."""
    return [
        (entry.body.second, entry.body.count)
        for index, entry in sorted(timeline.entries.items())
        if index < until and isinstance(entry.body, ScoreBatch)
    ]


def audit_scores(timeline: Timeline, findings: Findings) -> None:
    """Check every batch and every record that the bundle has."""
    scores = _Scores(timeline, findings)
    _collect(scores)
    unknown = set(timeline.evidence.inquiries) - set(scores.batches)
    for second in sorted(unknown):
        text = f"records of second {second}, of which the log has no batch"
        findings.error(Check.SCORES, "score.stray", text, place=_place(second))
    missing = []
    for second, (index, batch) in sorted(scores.batches.items()):
        leaves = timeline.evidence.inquiries.get(second)
        if leaves is None:
            missing.append(index)
        else:
            _check_batch(scores, index, batch, leaves)
    if missing:
        scores.whole = False
        text = f"the records of {len(missing)} batches of inquiries are not in the bundle"
        findings.note(Check.SCORES, "score.records", text, *missing[:20])
    _check_records(scores)
    _check_retries(scores)
    _check_rates(scores)


def _place(second: int) -> str:
    return f"inquiries/{second}.bin"


def _collect(scores: _Scores) -> None:
    last = -1
    for index, entry in sorted(scores.timeline.entries.items()):
        body = entry.body
        if isinstance(body, ScoreBatch):
            if body.second <= last or body.count < 1:
                text = "an empty batch of inquiries, or one out of time"
                scores.error("score.order", text, index)
            last = max(last, body.second)
            scores.batches.setdefault(body.second, (index, body))
        elif isinstance(body, ScoreRetry):
            earlier = scores.retries.setdefault(body.request, (index, body))
            if earlier[0] != index:
                scores.error("retry.twice", "one retry is logged twice", index, earlier[0])
        elif isinstance(body, ReleaseServed):
            scores.served.setdefault(body.version, index)


def _check_batch(
    scores: _Scores, index: int, batch: ScoreBatch, leaves: Sequence[Leaf]
) -> None:
    place = _place(batch.second)
    if len(leaves) != batch.count or root_of_leaves(leaves) != batch.root:
        text = f"{len(leaves)} records that are not the {batch.count} of the batch"
        scores.findings.error(Check.SCORES, "score.root", text, index, place=place)
        return
    for leaf in leaves:
        if leaf.data is None:
            scores.whole = False
            continue
        with scores.findings.catch(Check.SCORES, "score.record", index, place=place):
            record = parse_record(leaf.data)
            scores.records.append((index, record))
            if record.ended_ms // 1000 > batch.second:
                raise DecodeError(f"inquiry {record.request} ended after its batch")
            if batch.second - record.ended_ms // 1000 > LATE_S:
                text = "records that were written minutes after their inquiries"
                scores.findings.warn(Check.SCORES, "score.late", text, index, place=place)


def _check_records(scores: _Scores) -> None:
    seen: dict[Digest, int] = {}
    for index, record in scores.records:
        if record.context in seen:
            text = f"inquiry {record.request} was asked twice in the same bytes"
            both = (index, seen[record.context])
            scores.findings.warn(Check.SCORES, "score.twice", text, *both)
        seen.setdefault(record.context, index)
        served = scores.served.get(record.model)
        closures = record.purpose is Purpose.CLOSURE_SIGNAL
        if closures:
            # The layout of these inquiries is served for ever, and nothing else by it (7.17).
            served = index if record.model == CLOSURES else None
        if record.outcome == ANSWERED and (served is None or served > index):
            text = f"inquiry {record.request} was answered by a version that was not served"
            scores.error("score.model", text, index)


def _check_retries(scores: _Scores) -> None:
    """Each retry is logged, and every log entry is of one; all within the bounds of 7.9."""
    known: dict[RequestId, Found] = {}
    for index, record in scores.records:
        known.setdefault(record.request, (index, record))
    for index, record in scores.records:
        if record.retry_of is None:
            continue
        logged = scores.retries.get(record.request)
        if logged is None:
            text = f"inquiry {record.request} is a retry that the log does not know"
            scores.error("retry.unlogged", text, index)
        else:
            _check_retry(scores, (index, record), logged, known.get(record.retry_of))
    for request, (index, _) in scores.retries.items():
        if request not in known and scores.whole:
            scores.error("retry.unrecorded", "a retry of which there is no record", index)
    _check_repeats(scores)


def _check_repeats(scores: _Scores) -> None:
    """All answered retries of one request were asked of the same partners."""
    answered: dict[RequestId, Found] = {}
    for index, record in scores.records:
        if record.retry_of is None or record.outcome != ANSWERED:
            continue
        earlier = answered.setdefault(record.retry_of, (index, record))
        if earlier[1].roster != record.roster:
            text = f"inquiry {record.retry_of} was answered again for other partners"
            scores.error("retry.again", text, index, earlier[0])


def _check_retry(
    scores: _Scores,
    found: Found,
    logged: tuple[int, ScoreRetry],
    first: Found | None,
) -> None:
    index, record = found
    entry, retry = logged
    if first is None:
        if retry.earlier_version and scores.whole:
            text = f"inquiry {record.request} retries one of which there is no record"
            scores.error("retry.unknown", text, index, entry)
        return
    earlier = first[1]
    left_out = tuple(sorted(earlier.roster - record.roster))
    facts = (record.retry_of, record.roster_version, earlier.roster_version, left_out)
    said = (retry.retry_of, retry.roster_version, retry.earlier_version, retry.missing)
    if retry.earlier_version and facts != said:
        text = f"the log says {said} of retry {record.request}, the records {facts}"
        scores.error("retry.facts", text, entry, index, first[0])
    if earlier.requester != record.requester:
        text = "named as a retry of another partner's request"
        scores.findings.warn(Check.SCORES, "retry.other", text, index, first[0])
    elif record.outcome == ANSWERED and record.roster != earlier.roster:
        _check_smaller(scores, found, first)


def _check_smaller(scores: _Scores, found: Found, first: Found) -> None:
    """A retry that was answered by others than were asked first: at most this is allowed."""
    index, record = found
    earlier = first[1]
    if not record.roster < earlier.roster:
        scores.error("retry.roster", "a retry asks partners anew", index, first[0])
    if earlier.outcome == ANSWERED:
        text = f"{record.requester} has a complete answer and one without some partners"
        scores.error("retry.answered", text, index, first[0])
    if record.began_ms - earlier.began_ms > 2 * RETRY_MS:
        scores.error("retry.late", "a retry after more than two minutes", index, first[0])
    statuses = {one.member: one.status for one in earlier.responders}
    had = sorted(m for m in earlier.roster - record.roster if statuses.get(m) == ANSWERED)
    if had:
        names = ", ".join(had)
        text = f"a retry leaves out {names}, who had answered: that they left is not proven"
        scores.findings.warn(Check.SCORES, "retry.left_out", text, index, first[0])


def _check_rates(scores: _Scores) -> None:
    """Who retries more often than machines fail; without a figure (protocol 10.9)."""
    asked = Counter(record.requester for _, record in scores.records)
    again = Counter(r.requester for _, r in scores.records if r.retry_of is not None)
    many = sorted(name for name in asked if again[name] * RETRIES_IN > asked[name])
    if many:
        text = f"more than one retry in {RETRIES_IN} requests: {', '.join(many)}"
        scores.findings.note(Check.SCORES, "retry.rate", text)
