"""Lineage and fairness of a version: what of them a log can know, and what it cannot."""

from consortium.features.schema import Schema
from consortium.ids import Digest
from consortium.ledger.run_bodies import RoundSum
from consortium.plan import ReleaseKind
from regulator.artefacts.fields import (
    AT_THE_NODE,
    NO_DOCUMENT,
    Artefact,
    Field,
    Known,
    NotRecorded,
    Subject,
)
from regulator.checklist_words import Text

_NO_GROUPS = Text(
    "the schema names no group attribute, so nothing was ever tabulated by one",
    "特征方案未列明群体属性, 因此从未按群体统计",
)
_NO_TABLE = Text(
    "no noisy table of group, decision and outcome is in the log",
    "日志中没有按群体、决定与结果编制的加噪表",
)
_NO_TOTALS = Text(
    "counts of rows, of rejects and of those in use never leave a partner, so totals cannot be "
    "reconciled from outside",
    "行数、拒收数与使用数从不离开参与方, 因此无法从外部核对总数",
)


def lineage(subject: Subject) -> Artefact:
    """Where the figures of a version come from."""
    run = subject.run
    fields: list[tuple[str, Field]] = [
        *((name, NotRecorded(AT_THE_NODE)) for name in ("source_system", "extract_date")),
        ("rows_band", NotRecorded(AT_THE_NODE)),
        ("transforms", _transforms(subject)),
        ("schema_fields", _fields(subject.schema)),
        ("consent_basis", _consents(subject.schema)),
        *((name, NotRecorded(AT_THE_NODE)) for name in ("rejects", "quality_checks")),
        ("published_sums", _sums(subject) if run else NotRecorded(NO_DOCUMENT)),
        ("totals", NotRecorded(_NO_TOTALS)),
    ]
    return Artefact("lineage", subject.release.version, tuple(fields))


def _transforms(subject: Subject) -> Field:
    run = subject.run
    if run is None:
        return NotRecorded(NO_DOCUMENT)
    value = [
        {"step": "bins", "digest": str(subject.part("model").get("bins", "–"))},
        {"step": "schema", "digest": run.plan.schema},
        {"step": "code", "digest": run.plan.code},
    ]
    return subject.known(value, run.proposed)


def _fields(schema: Schema | None) -> Field:
    if schema is None:
        return NotRecorded(NO_DOCUMENT)
    rows = [
        {
            "field": feature.name,
            "family": feature.family,
            "concept": feature.concept.value,
            "unit": feature.unit,
            "disclosure": feature.disclosure.value,
        }
        for feature in schema.features
    ]
    return Known(rows, (), (f"schemas/{schema.digest}.json",))


def _consents(schema: Schema | None) -> Field:
    """Purposes of consent that the schema's features need; rows without are left out (5.1)."""
    if schema is None:
        return NotRecorded(NO_DOCUMENT)
    needed = {feature.name: feature.consent_needed for feature in schema.features}
    rows = [{"field": name, "purpose": code} for name, code in needed.items() if code]
    return Known(rows, (), (f"schemas/{schema.digest}.json",))


def _sums(subject: Subject) -> Field:
    run = subject.run
    sums = [
        (closing.index, closing.body)
        for closing in (run.closings if run else ())
        if isinstance(closing.body, RoundSum)
    ]
    rows = [
        {
            "entry": index,
            "purpose": body.request.kind.value,
            "round": body.request.round,
            "attempt": body.request.attempt,
            "partners": len(body.request.roster),
            "sum": body.total,
        }
        for index, body in sums
    ]
    known: dict[Digest, object] = dict(subject.timeline.evidence.sums)
    files = tuple(
        f"sums/{body.total}.bin"
        for _, body in sums
        if body.total in known and body.request.kind is not ReleaseKind.GRADIENT
    )
    return Known(rows, tuple(index for index, _ in sums), files)


# --- fairness ---------------------------------------------------------------------------------

_MEASURES = (
    ("adverse_impact_ratio", "approval rate(g) / approval rate(ref)", "< .90", "< .80"),
    ("standardised_mean_difference", "(mean S(g) - mean S(ref)) / sd", "> .20", "> .50"),
    ("equal_opportunity_gap", "approval among goods(ref) - among goods(g)", "> .03", "> .05"),
    ("calibration_gap", "E/O(g)", "outside .9-1.1", "outside .8-1.25"),
)
"""Credit 4.13: measure, formula, when to watch, when it fails."""


def fairness(subject: Subject) -> Artefact:
    """The fairness table of a version; its measures are "not assessed" without a table."""
    schema = subject.schema
    groups = schema.groups if schema else ()
    why = _NO_TABLE if groups else _NO_GROUPS
    place = (f"schemas/{schema.digest}.json",) if schema else ()
    attributes = [
        {
            "attribute": group.name,
            "concept": group.concept.value,
            "groups": [text for _, text in group.values] or list(group.edges),
        }
        for group in groups
    ]
    measures = [
        {"measure": name, "formula": formula, "watch": watch, "fail": fail}
        for name, formula, watch, fail in _MEASURES
    ]
    fields: list[tuple[str, Field]] = [
        ("attributes", Known(attributes, (), place) if schema else NotRecorded(NO_DOCUMENT)),
        ("source", NotRecorded(AT_THE_NODE)),
        ("rows_band", NotRecorded(why)),
        ("measures", Known(measures)),
        ("values", NotRecorded(why)),
        ("verdict", Known("not assessed")),
        *((name, NotRecorded(why)) for name in ("alternatives", "decision")),
    ]
    return Artefact("fairness", subject.release.version, tuple(fields))
