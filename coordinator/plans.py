"""Reads the operator's plan file and turns it into a TrainingPlan.

The file says what a person decides; members, schema, floors and delta come from the
manifest, so that a plan cannot contradict what the partners signed.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from consortium.errors import ConfigurationError
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId, RunId, parse_digest, parse_partner_id
from consortium.manifest import Manifest
from consortium.optimizer import check_settings
from consortium.plan import (
    CLOSURE,
    Algorithm,
    BinSource,
    Block,
    BudgetShares,
    LocalSteps,
    ModelKind,
    OptimizerSettings,
    TrainingPlan,
    decimal,
)
from coordinator.figure_plans import parse_table_plan

NOISE_MODES = ("shared", "own")

E = TypeVar("E", ModelKind, Algorithm, BinSource)

_PLAN_KEYS: Mapping[str, object] = {
    "model": "scorecard",
    "algorithm": "sum",
    "bins": "auto",
    "hidden": (),
    "noise": "shared",
    "honest_fraction": "",
    "clip": "1",
    "rounds": 60,
    "spare_attempts": 0,
    "epsilon": "1",
    "holdout_fraction": "0.2",
    "holdout_salt": "riskweave",
    "base": "",
    "start": "",
}
_HEAD_SHARES = BudgetShares(training="0.95", recalibration="0", overlap="0.05")
_BLOCK_KEYS = {"name", "families", "holders", "normaliser", "holders_per_person"}


@dataclass(frozen=True, slots=True)
class PlanContext:
    """What a plan is made under."""

    run: RunId
    manifest: Manifest
    schema: Schema
    code: Digest
    """Digest of the node software that the operator proposes to train with."""


def parse_plan(text: str, context: PlanContext) -> TrainingPlan:
    """Return the plan of a plan file's text.

    Raises:
        ConfigurationError: an unknown key, a value outside its range, a family that nobody
            holds, shares that do not add up to 1.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"plan: not TOML: {error}") from error
    if "figure" in document:
        return parse_table_plan(document, context)
    unknown = set(document) - {"plan", "block", "optimizer", "shares", "local"}
    if unknown:
        raise ConfigurationError(f"plan: unknown table {min(unknown)!r}")
    settings = _settings(_table(document.get("plan", {}), "[plan]"))
    model = _choice(ModelKind, settings["model"], "plan.model")
    blocks = _blocks(document.get("block", []), context, model)
    if model in (ModelKind.HEAD, ModelKind.HAZARD):
        settings["bins"] = BinSource.PUBLIC.value  # none are used
    elif settings["bins"] == "auto":
        settings["bins"] = _bins_for(blocks, context.schema)
    local = document.get("local")
    rounds = _whole(settings["rounds"], "plan.rounds", 1, 10_000)
    spare = _whole(settings["spare_attempts"], "plan.spare_attempts", 0, 10_000)
    policy = context.manifest.policy
    noise = str(settings["noise"])
    if noise not in NOISE_MODES:
        raise ConfigurationError(f"plan.noise: {noise!r} is none of {', '.join(NOISE_MODES)}")
    plan = TrainingPlan(
        run=context.run,
        manifest=context.manifest.digest,
        schema=context.schema.digest,
        code=context.code,
        model=model,
        hidden=tuple(
            _whole(width, "plan.hidden", 1, 512) for width in _list(settings["hidden"])
        ),
        algorithm=_choice(Algorithm, settings["algorithm"], "plan.algorithm"),
        bin_source=_choice(BinSource, settings["bins"], "plan.bins"),
        blocks=blocks,
        clip=_number(settings["clip"], "plan.clip", "0.001", "1000"),
        rounds=rounds,
        spare_attempts=spare or max(3, -(-rounds // 10)),
        epsilon=_number(settings["epsilon"], "plan.epsilon", "0.01", "8"),
        delta=policy.delta,
        max_partners_per_person=policy.max_partners_per_person,
        noise_mode=noise,
        honest_fraction=_number(
            settings["honest_fraction"] or policy.honest_fraction,
            "plan.honest_fraction",
            "0.01",
            policy.honest_fraction,
        ),
        min_partners=policy.partners_floor(len(context.manifest.partners), noise),
        shares=_shares(document.get("shares"), settings["bins"], model),
        optimizer=_optimizer(_table(document.get("optimizer", {}), "[optimizer]")),
        local=_local(_table(local, "[local]")) if local is not None else None,
        holdout_fraction=_number(
            settings["holdout_fraction"], "plan.holdout_fraction", "0", "0.9"
        ),
        holdout_salt=str(settings["holdout_salt"]),
        base=parse_digest(str(settings["base"])) if settings["base"] else None,
        start=str(settings["start"]),
    )
    _check(plan)
    return plan


def wants_again(text: str) -> bool:
    """Whether a plan file asks for a table that is there already to be counted once more."""
    plan = tomllib.loads(text).get("plan")
    return isinstance(plan, dict) and plan.get("again") is True


def _settings(table: Mapping[str, object]) -> dict[str, object]:
    unknown = set(table) - set(_PLAN_KEYS)
    if unknown:
        raise ConfigurationError(f"plan: unknown key {min(unknown)!r} in [plan]")
    return {**_PLAN_KEYS, **table}


def _check(plan: TrainingPlan) -> None:
    if plan.model is ModelKind.TABLE:
        raise ConfigurationError("plan: a table needs a [figure]")
    if (plan.model is ModelKind.MLP) != bool(plan.hidden):
        raise ConfigurationError("plan.hidden: an mlp needs widths, a scorecard has none")
    head = plan.model is ModelKind.HEAD
    if head != (plan.base is not None) or head != bool(plan.start):
        raise ConfigurationError("plan: base and start go with model = head, and only so")
    if head and (plan.algorithm is not Algorithm.SUM or len(plan.blocks) != 1):
        raise ConfigurationError("plan: a head has one block and is trained by sums")
    hazard = plan.model is ModelKind.HAZARD
    if hazard and (plan.algorithm is not Algorithm.SUM or len(plan.blocks) != 1):
        raise ConfigurationError("plan: a hazard has one block and is trained by sums")
    if (plan.algorithm is Algorithm.LOCAL_STEPS) != (plan.local is not None):
        raise ConfigurationError("plan: [local] goes with algorithm = local_steps, and only so")
    _check_blocks(plan)


def _check_blocks(plan: TrainingPlan) -> None:
    named = [family for block in plan.blocks for family in block.families]
    if len(set(named)) != len(named):
        raise ConfigurationError("plan: a family stands in two blocks")
    names = [block.name for block in plan.blocks]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"plan: blocks need names of their own: {', '.join(names)}")


def _bins_for(blocks: tuple[Block, ...], schema: Schema) -> str:
    """Private bins are paid for only where a feature has no public edges."""
    families = tuple(family for block in blocks for family in block.families)
    private = any(feature.needs_private_bins for feature in schema.of_families(families))
    return BinSource.PRIVATE.value if private else BinSource.PUBLIC.value


def _blocks(tables: object, context: PlanContext, model: ModelKind) -> tuple[Block, ...]:
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError("plan: at least one [[block]] is needed")
    return tuple(_block(_table(one, "[[block]]"), context, model) for one in tables)


def _table(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"plan: {name} is no table")
    return value


def _block(table: Mapping[str, object], context: PlanContext, model: ModelKind) -> Block:
    if unknown := set(table) - _BLOCK_KEYS:
        raise ConfigurationError(f"plan: unknown key {min(unknown)!r} in [[block]]")
    name = str(table.get("name", "all"))
    head = model is ModelKind.HEAD
    families = _families(table, context, model)
    able = _able(families, context, model)
    named = [parse_partner_id(str(one)) for one in _list(table.get("holders", able))]
    holders: tuple[PartnerId, ...] = tuple(sorted(named))
    for holder in holders:
        if holder not in able:
            lacking = "may not ask" if head else f"does not hold {families}"
            raise ConfigurationError(f"plan: block {name}: {holder} {lacking}")
    if not holders or not families:
        raise ConfigurationError(f"plan: block {name}: nobody holds {families or 'nothing'}")
    normaliser = _whole(table.get("normaliser"), f"block {name}: normaliser", 1, 10**12)
    floor = context.manifest.policy.holders_floor(families)
    if head:
        floor = context.manifest.askers_floor(holders)
    return Block(
        name=name,
        families=families,
        holders=holders,
        normaliser=normaliser,
        holders_per_person=_whole(
            table.get("holders_per_person", floor),
            f"block {name}: holders_per_person",
            floor,
            64,
        ),
    )


def _families(
    table: Mapping[str, object], context: PlanContext, model: ModelKind
) -> tuple[str, ...]:
    """Families of a block; a hazard has its own, a head's are columns of joint sums (7.1)."""
    if model is ModelKind.HAZARD:
        if "families" in table:
            raise ConfigurationError("plan: [[block]] of a hazard names no families")
        return (CLOSURE,)
    families = tuple(str(family) for family in _list(table.get("families", ())))
    missing = set(families) - set(context.schema.families)
    if missing and model is not ModelKind.HEAD:
        name = str(table.get("name", "all"))
        raise ConfigurationError(f"plan: block {name}: schema has no family {missing.pop()!r}")
    return families


def _able(families: tuple[str, ...], context: PlanContext, model: ModelKind) -> list[PartnerId]:
    """Who may hold a block: who has its families; of a head, who may ask for joint scores.

    Of a hazard everybody: whether a partner has lines is in no manifest.
    """
    partners, scoring = context.manifest.partners, context.manifest.policy.scoring
    if model is ModelKind.HAZARD:
        return [member.id for member in partners]
    if model is ModelKind.HEAD:
        return [member.id for member in partners if scoring.may_ask(member.id)]
    return [member.id for member in partners if set(families) <= set(member.families)]


def _optimizer(table: Mapping[str, object]) -> OptimizerSettings:
    """Checked before a run begins: its first step comes when bins are paid for."""
    settings = OptimizerSettings(**_strings(table, "optimizer"))
    try:
        check_settings(settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"plan: [optimizer] {error}") from error
    return settings


def _shares(given: object, bins: object, model: ModelKind) -> BudgetShares:
    if given is None and model is ModelKind.HEAD:
        return _HEAD_SHARES
    if given is None:
        private = BudgetShares(bins="0.08", training="0.82", recalibration="0.1")
        return private if bins == BinSource.PRIVATE.value else BudgetShares()
    shares = BudgetShares(**_strings(_table(given, "[shares]"), "shares"))
    parts = (shares.bins, shares.training, shares.recalibration, shares.overlap)
    if sum(decimal(part, "shares", low="0", high="1") for part in parts) != 1:
        raise ConfigurationError(f"plan: shares {parts} do not add up to 1")
    return shares


def _local(table: Mapping[str, object]) -> LocalSteps:
    try:
        return LocalSteps(
            sample_rate=_number(table["sample_rate"], "local.sample_rate", "0.0001", "1"),
            steps=_whole(table["steps"], "local.steps", 1, 10_000),
            noise_multiplier=_number(
                table["noise_multiplier"], "local.noise_multiplier", "0.3", "1000"
            ),
            expected_batch=_whole(table["expected_batch"], "local.expected_batch", 1, 10**9),
            learning_rate=_number(table["learning_rate"], "local.learning_rate", "0", "100"),
        )
    except KeyError as error:
        raise ConfigurationError(f"plan: [local] lacks {error}") from error


def _choice(kind: type[E], value: object, field: str) -> E:
    try:
        return kind(str(value))
    except ValueError as error:
        options = ", ".join(kind)
        raise ConfigurationError(f"{field}: {value!r} is none of {options}") from error


def _whole(value: object, field: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(f"{field}: {value!r} is no whole number in {low} to {high}")
    return value


def _number(value: object, field: str, low: str, high: str) -> str:
    text = str(value)
    decimal(text, field, low=low, high=high)
    return text


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _strings(table: Mapping[str, object], name: str) -> dict[str, str]:
    allowed = {
        "optimizer": {"kind", "learning_rate", "beta1", "beta2", "tail"},
        "shares": {"bins", "training", "recalibration", "overlap"},
    }[name]
    if unknown := set(table) - allowed:
        raise ConfigurationError(f"plan: unknown key {min(unknown)!r} in [{name}]")
    return {key: str(value) for key, value in table.items()}
