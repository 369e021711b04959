"""The template of a decision notice: its reasons are the signed schema's, its blanks are named.

What stands in it is fixed by the version and its schema. What only a decision knows is a
blank, so that no notice can say more than its decision, nor name a partner or a weight.
"""

from consortium.features.columns import Disclosure
from regulator.artefacts.fields import (
    NO_DOCUMENT,
    NO_PACK,
    Artefact,
    Field,
    Known,
    Later,
    NotRecorded,
    Subject,
)
from regulator.artefacts.model_card import reasons_of
from regulator.checklist_words import Text

MOST_REASONS = 4

_BLANKS = {
    "outcome": Text("approved, referred or declined", "批准、转人工或拒绝"),
    "date": Text("day of the decision", "决定日期"),
    "score": Text("points, 300 to 900", "分值, 300 至 900"),
    "pd": Text("probability of default", "违约概率"),
    "coverage": Text("coverage band", "覆盖档"),
    "sources": Text("class of sources, never their names", "信息来源类别, 不列名称"),
    "what_would_change_it": Text(
        "bins that would have led to another outcome", "会改变结果的分箱"
    ),
    "offer_or_counselling": Text("offer or counselling, if any", "可提供的方案或咨询"),
    "consents": Text("references of the consents used", "所用授权的编号"),
    "cost_sheet": Text("digest of the cost sheet", "费用表摘要"),
}


def notice(subject: Subject) -> Artefact:
    """The template for decisions by one version."""
    schema = subject.schema
    if schema is None:
        reasons: Field = NotRecorded(NO_DOCUMENT)
    else:
        hidden = {one.reason for one in schema.features if one.disclosure is Disclosure.HIDDEN}
        rows = [one for one in reasons_of(schema) if one["code"] not in hidden]
        reasons = Known(rows, (), (f"schemas/{schema.digest}.json",))
    blanks: dict[str, Field] = {name: Later(what) for name, what in _BLANKS.items()}
    fields: list[tuple[str, Field]] = [
        *((name, blanks.pop(name)) for name in ("outcome", "date")),
        ("most_reasons", Known(MOST_REASONS)),
        ("reasons", reasons),
        ("range", Known("300-900")),
        *blanks.items(),
        *((name, NotRecorded(NO_PACK)) for name in ("review_route", "dispute_route")),
        ("model", Known(subject.release.version, (subject.release.candidate,), subject.place)),
        *((name, NotRecorded(NO_PACK)) for name in ("policy", "pack")),
    ]
    return Artefact("decision_notice", subject.release.version, tuple(fields))
