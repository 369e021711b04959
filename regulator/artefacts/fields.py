"""What an artefact is made of: fields that say where they come from, or why they are empty."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consortium.canonical import canonical_json, parse_canonical
from consortium.features.schema import Schema
from consortium.ledger.claims import ReleaseFacts
from consortium.ledger.facts import RunFacts, Timeline
from consortium.ledger.verify import Audit
from regulator.checklist_words import Text
from regulator.report import verdict

FORM = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A value of the bundle, or computed from it."""

    value: object
    entries: tuple[int, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotRecorded:
    """The bundle cannot know it; nothing is put in its place."""

    why: Text


@dataclass(frozen=True, slots=True)
class Later:
    """A template's blank: who fills it in, from what."""

    what: Text


Field = Known | NotRecorded | Later


@dataclass(frozen=True, slots=True)
class Artefact:
    """One document; its fields in the order of credit 6."""

    kind: str
    subject: str
    """Digest of what it is about: a version, or the pinned manifest."""
    fields: tuple[tuple[str, Field], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A release with everything of the bundle that is about it."""

    audit: Audit
    timeline: Timeline
    release: ReleaseFacts
    run: RunFacts | None
    schema: Schema | None
    document: Mapping[str, object]
    """The model document; empty if it is not in the bundle."""

    @property
    def place(self) -> tuple[str, ...]:
        """The document's file, if it is there."""
        return (f"models/{self.release.version}.json",) if self.document else ()

    def part(self, name: str) -> Mapping[str, object]:
        """An object of the document; empty if there is none."""
        found = self.document.get(name)
        return found if isinstance(found, dict) else {}

    def known(self, value: object, *entries: int) -> Known:
        """A value of the document, and of these entries."""
        return Known(value, entries, self.place)


def subject_of(audit: Audit, timeline: Timeline, release: ReleaseFacts) -> Subject:
    """Everything about one release. The audit has read the document; here it is only used."""
    run = next((one for one in audit.runs if one.run == release.run), None)
    data = timeline.evidence.models.get(release.version)
    parsed = parse_canonical(data) if data else None
    return Subject(
        audit=audit,
        timeline=timeline,
        release=release,
        run=run,
        schema=timeline.evidence.schemas.get(run.plan.schema) if run else None,
        document=parsed if isinstance(parsed, dict) else {},
    )


def entries_of(timeline: Timeline, name: str) -> list[tuple[int, object]]:
    """Index and body of all entries of a type, also of one that this program learns later."""
    return [
        (index, entry.body)
        for index, entry in sorted(timeline.entries.items())
        if entry.type == name
    ]


def document_of_artefact(artefact: Artefact, audit: Audit) -> bytes:
    """The canonical bytes: the same bundle makes the same ones, wherever it is read."""
    return canonical_json(
        {
            "type": f"riskweave/artefact/{artefact.kind}/v{FORM}",
            "header": header_of(artefact, audit),
            "fields": {name: _plain(field) for name, field in artefact.fields},
        }
    )


def header_of(artefact: Artefact, audit: Audit) -> dict[str, object]:
    """What credit 6 asks of every artefact. Its time is the log's, not the reader's."""
    return {
        "artefact": artefact.kind,
        "version": FORM,
        "subject": artefact.subject,
        "log": {"first": 0, "entries": audit.entries, "manifest": audit.pinned},
        "generated_at": audit.head_time,
        "pack": _plain(NotRecorded(NO_PACK)),
        "audit": verdict(audit),
    }


def _plain(field: Field) -> dict[str, object]:
    match field:
        case Known():
            return {
                "value": field.value,
                "entries": list(field.entries),
                "files": list(field.files),
            }
        case NotRecorded():
            return {"not_recorded": {"en": field.why.en, "zh": field.why.zh}}
        case Later():
            return {"to_fill": {"en": field.what.en, "zh": field.what.zh}}


def texts(values: Iterable[object]) -> list[str]:
    """A list of texts."""
    return [str(one) for one in values]


NO_PACK = Text(
    "no policy pack is named in the log: packs are signed and applied by each lender",
    "日志中未列明政策包: 政策包由各贷款方签署和使用",
)
NO_DOCUMENT = Text("the model document is not in the bundle", "审计包中没有模型文档")
NO_GATE = Text(
    "no release gate is on record for this version", "日志中没有该版本的发布闸门记录"
)
AT_THE_NODE = Text(
    "known to the partner alone and never sent: see its own record",
    "仅参与方自身知悉, 从不发送: 见其自身记录",
)
