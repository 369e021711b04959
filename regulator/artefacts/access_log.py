"""The access log: who asked, when, for what, as far as the bundle says (credit 6)."""

from collections.abc import Iterator

from consortium.errors import RiskWeaveError
from consortium.ledger.entries import ScoreBatch
from consortium.ledger.facts import Timeline
from consortium.ledger.inquiries import InquiryRecord, parse_record, root_of_leaves
from consortium.ledger.verify import Audit
from regulator.artefacts.fields import Artefact, Field, Known, NotRecorded
from regulator.checklist_words import Text
from regulator.figures import moment

_NO_RECORDS = Text(
    "the records of inquiries are not in the bundle: the log has their number and their root",
    "审计包不含查询明细: 日志仅有其数量与根哈希",
)
_NO_INQUIRIES = Text("no inquiry is on record", "没有查询记录")
_OF_THE_ASKER = Text(
    "in the asker's own record only: no log names a person or a result",
    "仅存于询问方自身记录: 日志不含个人或结果",
)

_Batch = tuple[int, ScoreBatch]


def access_log(audit: Audit, timeline: Timeline) -> Artefact:
    """The access log of the whole bundle."""
    batches = [
        (index, entry.body)
        for index, entry in sorted(timeline.entries.items())
        if isinstance(entry.body, ScoreBatch)
    ]
    fields: list[tuple[str, Field]] = [
        ("batches", Known(_rows(batches), tuple(index for index, _ in batches))),
        ("inquiries", Known(sum(body.count for _, body in batches))),
        ("records", _records(timeline, batches)),
        *((name, NotRecorded(_OF_THE_ASKER)) for name in ("subject", "coverage", "result")),
    ]
    return Artefact("access_log", audit.pinned, tuple(fields))


def _rows(batches: list[_Batch]) -> list[dict[str, object]]:
    return [
        {
            "entry": index,
            "second": body.second,
            "time": moment(body.second),
            "inquiries": body.count,
            "root": body.root,
        }
        for index, body in batches
    ]


def _records(timeline: Timeline, batches: list[_Batch]) -> Field:
    """Opened records, each with the entry that it is proven by; none of another root."""
    if not batches:
        return NotRecorded(_NO_INQUIRIES)
    found = [
        (index, body.second, record)
        for index, body in batches
        for record in _opened(timeline, body)
    ]
    if not found:
        return NotRecorded(_NO_RECORDS)
    return Known(
        [_record(index, record) for index, _, record in found],
        tuple(sorted({index for index, _, _ in found})),
        tuple(sorted({f"inquiries/{second}.bin" for _, second, _ in found})),
    )


def _opened(timeline: Timeline, batch: ScoreBatch) -> Iterator[InquiryRecord]:
    leaves = timeline.evidence.inquiries.get(batch.second, ())
    if not leaves or len(leaves) != batch.count or root_of_leaves(leaves) != batch.root:
        return
    for leaf in leaves:
        if leaf.data is not None:
            try:
                yield parse_record(leaf.data)
            except RiskWeaveError:
                continue  # a finding of the audit (8.7 (17)); here it is no inquiry


def _record(index: int, record: InquiryRecord) -> dict[str, object]:
    return {
        "entry": index,
        "inquirer": record.requester,
        "role": "partner",
        "time": moment(record.began_ms // 1000),
        "purpose": record.purpose.value,
        "roster_version": record.roster_version,
        "model": record.model,
        "consents_hash": record.consents,
        "persons": record.persons,
        "outcome": record.outcome,
        "responders": [{"partner": o.member, "status": o.status} for o in record.responders],
        "retry_of": record.retry_of or "–",
    }
