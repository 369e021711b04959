"""What each partner's taking part was worth, from released tables to a logged statement.

Nothing is measured here: that is done by runs, which are charged like all others. The models
without one partner are trained by plans that ``retraining_plan`` writes, the others count by a
table of the kind ``contribution``, and what follows from tables is computed.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from consortium.credit.contribution import ContributionStatement
from consortium.credit.contribution_table import stated
from consortium.credit.figures import NoisyTable
from consortium.credit.table_document import parse_table_document
from consortium.documents import parse_document, plain_of
from consortium.errors import ConfigurationError, DomainError
from consortium.figure import FigureKind
from consortium.ids import Digest, PartnerId
from consortium.ledger.contributions import look_of
from consortium.ledger.governing import ContributionStated
from consortium.manifest import Manifest
from consortium.plan import Block, ModelKind, TrainingPlan
from coordinator.credit import paper
from coordinator.credit.governing import Governing
from coordinator.storage import Store
from coordinator.table_storage import TableRow, TableStore

_KINDS = (ModelKind.SCORECARD, ModelKind.MLP)


def statement_of_releases(
    store: Store, manifest: Manifest, tables: Sequence[str], hanging: str
) -> ContributionStatement:
    """The statement that released tables lead to.

    Args:
        store: The coordinator's.
        manifest: In force.
        tables: Of the kind ``contribution``, beginnings of release ids, in their order.
        hanging: One of the kind ``dependence``; empty: none.

    Raises:
        ConfigurationError: no such table, a made-up one, or what does not follow.
    """
    rows = [_table(store, one, FigureKind.CONTRIBUTION) for one in tables]
    beside = [] if not hanging else [_table(store, hanging, FigureKind.DEPENDENCE)]
    plans = _plans(store)
    looks = []
    try:
        for row in rows:
            document = parse_table_document(row.document)
            looks.append(look_of(document.table, document.plan, plans))
        made = stated(
            looks,
            next((_noisy(row) for row in beside), None),
            federation=manifest.federation,
            measured_on=_day(max((row.at for row in [*rows, *beside]), default=0)),
        )
    except DomainError as error:
        raise ConfigurationError(str(error)) from error
    if made.synthetic:
        raise ConfigurationError("contribution: the rows are made up; nothing is stated")
    return made


def _noisy(row: TableRow) -> NoisyTable:
    return parse_table_document(row.document).table


def state(governing: Governing, made: ContributionStatement) -> None:
    """Say it in the log, unless it stands there.

    Raises:
        ConfigurationError: measured more than a year ago.
    """
    if not made.is_fresh(governing.today()):
        raise ConfigurationError("contribution: measured more than a year ago")
    entry = entry_of(made)
    if entry not in governing.state().statements:
        governing.say(entry)


def entry_of(made: ContributionStatement) -> ContributionStated:
    """What the log is told of a statement."""
    return ContributionStated(
        version=made.version,
        statement=made.digest,
        tables=made.tables,
        hanging=made.hanging,
        on=made.measured_on,
    )


def _table(store: Store, beginning: str, kind: FigureKind) -> TableRow:
    found = [one for one in TableStore(store).find(beginning) if one.kind == kind]
    if len(found) != 1:
        raise ConfigurationError(f"{len(found)} tables of {kind} begin with {beginning!r}")
    return found[0]


def _plans(store: Store) -> Mapping[Digest, TrainingPlan]:
    """Plan of every model version."""
    plans = {}
    for model in store.models.all():
        run = store.runs.get(model.run)
        if run is not None:
            plans[model.version] = parse_document(TrainingPlan, run.plan)
    return plans


def _day(at: int) -> date:
    return datetime.fromtimestamp(at, tz=UTC).date()


# --- the same training, less one partner ------------------------------------------------------


def retraining_plan(store: Store, version: str, without: PartnerId) -> str:
    """The plan file that trains a model as that version was trained, less one partner.

    For its contribution, and after its exit alike. Normalisers are scaled by the number of
    holders, for nobody counts rows; a block of nobody else's is left out.

    Raises:
        ConfigurationError: no one such version, one of another kind, or one without rows of
            that partner.
    """
    found = {name: plan for name, plan in _plans(store).items() if name.startswith(version)}
    if len(found) != 1:
        raise ConfigurationError(f"{len(found)} versions begin with {version!r}")
    (plan,) = found.values()
    if plan.model not in _KINDS:
        raise ConfigurationError(f"a {plan.model.value} is not trained without a partner")
    if all(without not in block.holders for block in plan.blocks):
        raise ConfigurationError(f"{version[:12]} was not trained with rows of {without}")
    lines = ["[plan]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in _settings(plan).items()]
    for block in plan.blocks:
        lines += _block(block, without)
    for name in ("optimizer", "shares", "local"):
        part = plain_of(getattr(plan, name))
        if isinstance(part, dict):
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in part.items()]
    return "\n".join(lines) + "\n"


def _settings(plan: TrainingPlan) -> dict[str, object]:
    return {
        "model": plan.model.value,
        "algorithm": plan.algorithm.value,
        "bins": plan.bin_source.value,
        "hidden": list(plan.hidden),
        "noise": plan.noise_mode,
        "honest_fraction": plan.honest_fraction,
        "clip": plan.clip,
        "rounds": plan.rounds,
        "spare_attempts": plan.spare_attempts,
        "epsilon": plan.epsilon,
        "holdout_fraction": plan.holdout_fraction,
        "holdout_salt": plan.holdout_salt,
    }


def _block(block: Block, without: PartnerId) -> list[str]:
    left = [name for name in block.holders if name != without]
    if not left:
        return []
    rows = -(-block.normaliser * len(left) // len(block.holders))
    lines = [
        "",
        "[[block]]",
        f"name = {json.dumps(block.name)}",
        f"families = {json.dumps(list(block.families))}",
        f"holders = {json.dumps(left)}",
        f"normaliser = {rows}",
    ]
    if block.holders_per_person is not None:
        lines.append(f"holders_per_person = {block.holders_per_person}")
    return lines


# --- three forms of a statement ---------------------------------------------------------------

_COLUMNS = (
    *("partner", "gain", "at_least", "at_most", "worth", "settlement"),
    *("hanging", "hanging_at_least", "hanging_at_most"),
)


def as_json(made: ContributionStatement) -> str:
    """The statement itself, with its digest."""
    plain = {"type": "riskweave/contribution/v1", "digest": made.digest}
    return json.dumps(plain | {"statement": plain_of(made)}, indent=1, sort_keys=True)


def as_csv(made: ContributionStatement) -> str:
    """Every partner as one row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["statement", "measured_on", "epsilon", *_COLUMNS])
    for line in made.lines:
        values = [getattr(line, name) for name in _COLUMNS]
        writer.writerow([made.digest, made.measured_on, made.epsilon, *values])
    return out.getvalue()


def contribution_page(made: ContributionStatement) -> str:
    """The statement as one self-contained page."""
    mark = "SYNTHETIC " if made.synthetic else ""
    rows = [
        (
            one.partner,
            paper.cell(one.gain or "n/a", f"[{one.at_least}, {one.at_most}]"),
            paper.cell(
                one.hanging or "n/a", f"[{one.hanging_at_least}, {one.hanging_at_most}]"
            ),
            f"{one.settlement / 10_000:.2f} %",
            one.worth,
        )
        for one in made.lines
    ]
    bars = [
        paper.Bar(
            label=one.partner,
            value=float(one.gain),
            low=float(one.at_least),
            high=float(one.at_most),
            text=f"{one.gain} [{one.at_least}, {one.at_most}]",
        )
        for one in made.lines
        if one.gain
    ]
    heads = ("partner", "gain, log-loss", "AUC that hangs on it", "settlement", "worth")
    released = (*made.tables, *([] if made.hanging is None else [made.hanging]))
    cost = ", ".join(one[:12] for one in released)
    parts = [
        paper.text(
            f"模型 {made.version[:16]}, 测于 {made.measured_on}。"
            "增益为其他机构留出人员的对数损失差 (无该机构减有该机构), 区间为成对 95 %。"
            "依赖为该机构自己客户的 AUC 差, 由其自己计数, 不作为结算依据。",
            f"Model {made.version[:16]}, measured on {made.measured_on}. The gain is the "
            "others' held-out persons' log-loss without the partner less with it; paired 95 % "
            "interval. What hangs on a partner is AUC of its own customers, by its own count: "
            "nothing is settled by it.",
        ),
        paper.text(
            f"每人 ε = {made.epsilon or 'n/a'} (全部重训与表); 发布号 {cost or 'n/a'}",
            f"Epsilon of a person {made.epsilon or 'n/a'}, of all trainings and tables; "
            f"releases {cost or 'n/a'}.",
        ),
        paper.table(heads, rows),
    ]
    if bars:
        parts.append(paper.chart(("对数损失增益", "gain in log-loss"), bars, worse=-1))
    note = "SYNTHETIC" if made.synthetic else ""
    titles = (f"{mark}各机构贡献说明", f"{mark}Contribution statement")
    return paper.page(titles, parts, note=note)
