"""The model card, which is the technical file of a version too (credit 6)."""

from collections.abc import Mapping
from datetime import UTC, date, datetime

import numpy as np

from consortium.canonical import canonical_json
from consortium.credit.governance import Members, Trained, exits
from consortium.documents import plain_of, plan_digest
from consortium.errors import RiskWeaveError
from consortium.features.bins import bin_label
from consortium.features.schema import Schema
from consortium.ids import digest_of
from consortium.ledger.claims import statement_digest
from consortium.ledger.entries import IdentityRevoked, ReleaseVote
from consortium.ledger.revocations import Revocations
from consortium.ledger.run_bodies import RoundSum
from consortium.plan import ModelKind
from consortium.scoring.scorecard import bin_points
from models.document import ModelDocument, parse_any
from models.encoding import column_starts
from regulator.artefacts.fields import (
    NO_DOCUMENT,
    NO_GATE,
    Artefact,
    Field,
    Known,
    NotRecorded,
    Subject,
    entries_of,
    texts,
)
from regulator.artefacts.intervals import Interval, band_of, intervals_of
from regulator.checklist_words import Text

_NO_MONITORING = Text(
    "monitoring is planned by each lender and is not in the log",
    "监测计划由各贷款方制定, 不在日志中",
)
_NO_PURPOSE_LIMIT = Text(
    "the manifest signs no list of purposes that are ruled out",
    "成员清单未签署排除用途的清单",
)
_NO_PSI = Text(
    "the distribution of scores in use is not in the log, so drift cannot be computed from it",
    "日志不含使用中的评分分布, 无法据此计算漂移",
)
_NO_FAIRNESS = Text(
    "group attributes stay at the nodes and no table of them is in the log",
    "群体属性留存于节点, 日志中没有相应的表",
)
_NO_RETIREMENT = Text("no date is in the log", "日志中没有日期")
_NO_POINTS = Text("only scorecards have points for each bin", "仅评分卡有各分箱分值")
_NO_EVALUATION = Text(
    "no evaluation on persons held out is in the document", "文档中没有对留出人员的评估"
)
_NO_WINDOW = Text(
    "observation and outcome windows are part of the label's definition, and their dates are "
    "known to each partner alone",
    "观察期与表现期见标签定义, 具体日期仅各参与方知悉",
)


def model_card(subject: Subject) -> Artefact:
    """The card of one version."""
    release, run, schema = subject.release, subject.run, subject.schema
    votes = _votes(subject)
    fields: list[tuple[str, Field]] = [
        ("name", _name(subject)),
        ("version", Known(release.version, (release.candidate,), subject.place)),
        ("weights_digest", _weights(subject)),
        ("purpose", _purpose(schema)),
        ("not_for", NotRecorded(_NO_PURPOSE_LIMIT)),
        ("owner", _owner(subject)),
        ("votes", Known([vote for _, vote in votes], tuple(index for index, _ in votes))),
        *_digests(subject),
        ("windows", NotRecorded(_NO_WINDOW)),
        ("label_definition", _label(schema)),
        (
            "partners",
            Known(len(run.commits), tuple(sorted(index for index, _ in run.commits.values())))
            if run
            else NotRecorded(NO_DOCUMENT),
        ),
        ("left_since", _left(subject)),
        ("method", _method(subject)),
        ("figures", _figures(subject)),
        ("psi", NotRecorded(_NO_PSI)),
        ("fairness", NotRecorded(_NO_FAIRNESS)),
        *((name, gate_of(subject)) for name in ("reason_stability", "dependence")),
        ("points", _points(subject)),
        ("reasons", Known(reasons_of(schema), (), _file_of(schema))),
        ("limits", _limits(subject)),
        ("statement_digest", _statement(subject)),
        ("monitoring", NotRecorded(_NO_MONITORING)),
        ("change_log", _changes(subject)),
        ("exits", _exits(subject)),
        ("retire_date", NotRecorded(_NO_RETIREMENT)),
    ]
    return Artefact("model_card", release.version, tuple(fields))


def _left(subject: Subject) -> Field:
    """Members whose sums are in this version and whose identities were revoked afterwards.

    What they gave stays in the weights (protocol 2.7); whoever reads the card is to know.
    """
    if subject.run is None:
        return NotRecorded(NO_DOCUMENT)
    members = {
        name
        for closing in subject.run.closings
        if isinstance(closing.body, RoundSum)
        for name in closing.request.roster
    }
    machine, timeline, rows = Revocations(), subject.timeline, []
    for index, entry in sorted(timeline.entries.items()):
        body = entry.body
        if isinstance(body, IdentityRevoked) and machine.take(
            index, entry, timeline.force[index]
        ):
            rows.append((index, {"partner": body.member, "reason": body.reason}))
    kept = [(index, row) for index, row in rows if row["partner"] in members]
    return Known([row for _, row in kept], tuple(index for index, _ in kept))


def reasons_of(schema: Schema | None) -> list[dict[str, str]]:
    """Every reason code of the signed schema with its texts, once."""
    found: dict[str, dict[str, str]] = {}
    for feature in schema.features if schema else ():
        found.setdefault(
            feature.reason,
            {
                "code": feature.reason,
                "zh": feature.reason_zh,
                "en": feature.reason_en,
                "family": feature.family,
            },
        )
    return list(found.values())


def _file_of(schema: Schema | None) -> tuple[str, ...]:
    return (f"schemas/{schema.digest}.json",) if schema else ()


def _name(subject: Subject) -> Field:
    if subject.schema is None or subject.run is None:
        return NotRecorded(NO_DOCUMENT)
    plan = subject.run.plan
    name = f"{subject.audit.federation}: {plan.model.value} {subject.schema.label.name}"
    return Known(name, (subject.run.proposed,), _file_of(subject.schema))


def _weights(subject: Subject) -> Field:
    part = subject.part("model") or subject.part("head")
    if not part:
        return NotRecorded(NO_DOCUMENT)
    return subject.known(digest_of(canonical_json(dict(part))))


def _purpose(schema: Schema | None) -> Field:
    if schema is None:
        return NotRecorded(NO_DOCUMENT)
    return Known(f"P({schema.label.name} = 1)", (), _file_of(schema))


def _label(schema: Schema | None) -> Field:
    if schema is None:
        return NotRecorded(NO_DOCUMENT)
    value = {"name": schema.label.name, "definition": schema.label.definition}
    return Known(value, (), _file_of(schema))


def _owner(subject: Subject) -> Field:
    manifest = subject.timeline.force[subject.release.candidate]
    value = {"role": "coordinator", "member": manifest.coordinator.id}
    return Known(value, (subject.release.candidate,), (f"manifests/{manifest.digest}.json",))


def _votes(subject: Subject) -> list[tuple[int, dict[str, object]]]:
    """The votes that count: the last one of each partner."""
    last: dict[str, tuple[int, dict[str, object]]] = {}
    for index, entry in sorted(subject.timeline.entries.items()):
        body = entry.body
        if isinstance(body, ReleaseVote) and body.version == subject.release.version:
            vote = {"partner": entry.actor, "accept": body.accept, "reason": body.reason}
            last[entry.actor] = (index, vote)
    return sorted(last.values(), key=lambda one: one[0])


def _digests(subject: Subject) -> list[tuple[str, Field]]:
    run, bins = subject.run, subject.part("model").get("bins")
    if run is None:
        return [(name, NotRecorded(NO_DOCUMENT)) for name in ("schema", "bins", "plan", "code")]
    return [
        ("schema", Known(run.plan.schema, (run.proposed,), _file_of(subject.schema))),
        ("bins", subject.known(bins) if bins else NotRecorded(NO_DOCUMENT)),
        ("plan", Known(plan_digest(run.plan), (run.proposed,))),
        ("code", Known(run.plan.code, (run.proposed,))),
    ]


def _method(subject: Subject) -> Field:
    if subject.run is None:
        return NotRecorded(NO_DOCUMENT)
    return Known(plain_of(subject.run.plan), (subject.run.proposed,))


# --- figures ----------------------------------------------------------------------------------


def _figures(subject: Subject) -> Field:
    """Every figure with its interval, from the published noisy table, computed again."""
    metrics = subject.part("metrics")
    if not metrics:
        return NotRecorded(_NO_EVALUATION)
    rows: list[dict[str, object]] = []
    for segment, found in metrics.items():
        if isinstance(found, dict):
            rows += _segment(segment, found)
    return subject.known(rows)


def _segment(name: str, found: Mapping[str, object]) -> list[dict[str, object]]:
    table = np.array(found["table"], dtype=np.float64)
    eta = np.array(found["eta"], dtype=np.float64)
    deviation = float(str(found["count_deviation"]))
    try:
        made = intervals_of(table, eta, deviation)
    except RiskWeaveError:
        made = {}
    total = band_of(float(table.sum()))
    return [
        {
            "segment": name,
            "figure": figure,
            **_shown(interval),
            "published": str(found.get(figure, "–")),
            "persons": total,
            "test": "hold-out",
        }
        for figure, interval in made.items()
    ]


def _shown(interval: Interval) -> dict[str, str]:
    def text(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.4f}"

    return {
        "value": text(interval.value),
        "low": text(interval.low),
        "high": text(interval.high),
    }


def gate_of(subject: Subject) -> Field:
    """What the release gate found, in its own words, where the log has one."""
    for index, body in reversed(entries_of(subject.timeline, "release.gate")):
        plain = plain_of(body)
        if isinstance(plain, dict) and plain.get("version") == subject.release.version:
            return Known(plain, (index,))
    return NotRecorded(NO_GATE)


def _points(subject: Subject) -> Field:
    data = subject.timeline.evidence.models.get(subject.release.version)
    if data is None or subject.schema is None:
        return NotRecorded(NO_DOCUMENT)
    try:
        document = parse_any(data, subject.schema)
    except RiskWeaveError:
        return NotRecorded(NO_DOCUMENT)
    if (
        not isinstance(document, ModelDocument)
        or document.plan.model is not ModelKind.SCORECARD
    ):
        return NotRecorded(_NO_POINTS)
    return subject.known(_rows_of_points(document, subject.schema))


def _rows_of_points(document: ModelDocument, schema: Schema) -> list[dict[str, object]]:
    """Points of every bin, ``-F·beta·w`` (credit 4.4)."""
    model = document.model
    rows: list[dict[str, object]] = []
    for spec, weights, line in zip(
        model.spec.blocks, model.weights, model.calibration, strict=True
    ):
        cut = np.split(weights, column_starts(spec.bin_counts)[1:])
        for name, table in zip(spec.features, cut, strict=True):
            feature, edges = schema.feature(name), document.bins.of(name)
            rows += [
                {
                    "block": spec.name,
                    "feature": name,
                    "bin": bin_label(feature, edges, number),
                    "points": f"{bin_points(float(weight), line.beta):.2f}",
                }
                for number, weight in enumerate(table)
            ]
    return rows


def _limits(subject: Subject) -> Field:
    made = subject.release.statement or subject.part("statement")
    found = made.get("not_protected")
    if not isinstance(found, list):
        return NotRecorded(NO_DOCUMENT)
    return subject.known(texts(found), subject.release.candidate)


def _statement(subject: Subject) -> Field:
    made = subject.release.statement
    if made is None:
        return NotRecorded(NO_DOCUMENT)
    return subject.known(statement_digest(made), subject.release.candidate)


def _exits(subject: Subject) -> Field:
    """Partners that have left, and whether this version was trained without them (row 24)."""
    if subject.run is None:
        return NotRecorded(NO_DOCUMENT)
    chain = sorted(subject.timeline.manifests.values(), key=lambda one: one.version)
    members = [
        Members(since=_day(one.not_before), partners=tuple(m.id for m in one.partners))
        for one in chain
    ]
    holders = {name for block in subject.run.plan.blocks for name in block.holders}
    candidate = subject.timeline.entries[subject.release.candidate]
    trained = Trained(
        version=subject.release.version,
        on=_day(candidate.at),
        partners=tuple(sorted(holders)),
        active=True,
    )
    notes = [f"{one.partner}: {one.text}" for one in exits(members, [trained])]
    places = tuple(f"manifests/{one.digest}.json" for one in chain)
    return Known(notes, (subject.release.candidate,), places)


def _day(at: int) -> date:
    return datetime.fromtimestamp(at, tz=UTC).date()


def _changes(subject: Subject) -> Field:
    """Versions that were served before this one, and when each was."""
    found = [
        (one.served, one.version)
        for one in subject.audit.releases
        if one.served is not None and one.candidate <= subject.release.candidate
    ]
    rows = [{"version": version, "served_at_entry": index} for index, version in sorted(found)]
    return Known(rows, tuple(index for index, _ in sorted(found)))
