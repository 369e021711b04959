"""The access log: who asked, when, for what, as far as the bundle says (credit 6)."""

from consortium.ledger.entries import ScoreBatch
from consortium.ledger.facts import Timeline
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


def access_log(audit: Audit, timeline: Timeline) -> Artefact:
    """The access log of the whole bundle."""
    batches = [
        (index, entry.body)
        for index, entry in sorted(timeline.entries.items())
        if isinstance(entry.body, ScoreBatch)
    ]
    rows = [
        {
            "entry": index,
            "second": body.second,
            "time": moment(body.second),
            "inquiries": body.count,
            "root": body.root,
        }
        for index, body in batches
    ]
    why = _NO_RECORDS if batches else _NO_INQUIRIES
    fields: list[tuple[str, Field]] = [
        ("batches", Known(rows, tuple(index for index, _ in batches))),
        ("inquiries", Known(sum(body.count for _, body in batches))),
        ("records", NotRecorded(why)),
        *((name, NotRecorded(_OF_THE_ASKER)) for name in ("subject", "coverage", "result")),
    ]
    return Artefact("access_log", audit.pinned, tuple(fields))
