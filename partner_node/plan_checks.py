"""What a node checks of a plan before anything is reserved (protocol 3.3).

Pure: the manifest that its operator pinned, the owner's caps and the plan go in, a refusal
comes out. A plan may be stricter than the manifest, never looser.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from consortium.errors import (
    BudgetExceededError,
    RefusalCode,
    RefusalError,
)
from consortium.features.schema import Schema
from consortium.ids import Digest, PartnerId
from consortium.manifest import Manifest
from consortium.plan import (
    CLOSURE,
    Algorithm,
    BinSource,
    Block,
    LocalSteps,
    ModelKind,
    TrainingPlan,
    decimal,
)
from consortium.privacy.witnesses import rdp_epsilon
from partner_node.figure_checks import check_figure

NOISE_MODES = ("shared", "own")

_ROUGHLY = 100.0
"""No run of local steps is near this epsilon; the exact accountant would take hours there."""


def _local(plan: TrainingPlan) -> tuple[LocalSteps, ...]:
    return () if plan.local is None else (plan.local,)


def _compositions(plan: TrainingPlan) -> tuple[int, ...]:
    attempts = plan.rounds + plan.spare_attempts
    return tuple(attempts * s.steps * plan.max_partners_per_person for s in _local(plan))


Measure = Callable[[TrainingPlan], Iterable[int]]

BOUNDS: tuple[tuple[str, Measure, int, int], ...] = (
    ("rounds", lambda plan: (plan.rounds,), 1, 10_000),
    ("spare_attempts", lambda plan: (plan.spare_attempts,), 0, 10_000),
    ("histogram_attempts", lambda plan: (plan.histogram_attempts,), 1, 64),
    ("max_partners_per_person", lambda plan: (plan.max_partners_per_person,), 1, 1024),
    ("hidden, layers", lambda plan: (len(plan.hidden),), 0, 8),
    ("hidden, widths", lambda plan: plan.hidden, 1, 512),
    ("holdout_salt, characters", lambda plan: (len(plan.holdout_salt),), 1, 128),
    ("blocks", lambda plan: (len(plan.blocks),), 1, 64),
    ("block.name, characters", lambda plan: (len(b.name) for b in plan.blocks), 1, 64),
    ("start, characters", lambda plan: (len(plan.start),), 0, 40),
    ("block.families", lambda plan: (len(b.families) for b in plan.blocks), 0, 256),
    ("block.holders", lambda plan: (len(b.holders) for b in plan.blocks), 1, 1024),
    ("block.normaliser", lambda plan: (b.normaliser for b in plan.blocks), 1, 10**12),
    ("local.steps", lambda plan: (s.steps for s in _local(plan)), 1, 10_000),
    ("local.expected_batch", lambda plan: (s.expected_batch for s in _local(plan)), 1, 10**9),
    ("local.steps of the run", _compositions, 1, 10**6),
)
"""(field, its values in a plan, low, high): whatever costs this node memory or time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What a node's operator decided; read once from its own files."""

    member: PartnerId
    manifest: Manifest
    schema: Schema
    code: Digest
    caps: Mapping[str, int]
    """Lifetime caps by scope, units of 2**-40 mu squared."""
    run_epsilon: str
    """The owner's cap for one run."""
    networks: bool = True
    """Whether the libraries are installed that a model other than a scorecard needs."""
    one_process: bool = True
    """Whether all rows are in the training process, which local steps need."""


def check_plan(facts: SessionFacts, plan: TrainingPlan) -> None:
    """Raise RefusalError with the first rule that the plan breaks (protocol 3.3).

    Raises:
        BudgetExceededError: it asks for more than the owner or the manifest allows.
    """
    _check_bounds(plan)
    policy = facts.manifest.policy
    if plan.manifest != facts.manifest.digest:
        raise RefusalError(RefusalCode.MANIFEST, "plan is under another manifest")
    if plan.schema != facts.schema.digest or plan.schema != facts.manifest.schema:
        raise RefusalError(RefusalCode.PLAN, "plan is for another feature schema")
    if policy.code and facts.code not in policy.code:
        raise RefusalError(RefusalCode.PLAN, "this software is not among the allowed code")
    if policy.code and plan.code not in policy.code:
        raise RefusalError(RefusalCode.PLAN, "the plan's software is not allowed code")
    floor = policy.partners_floor(len(facts.manifest.partners), plan.noise_mode)
    if plan.min_partners < floor:
        raise RefusalError(RefusalCode.QUORUM, "floor is lower than the manifest's")
    _check_privacy(facts, plan)
    _check_kind(facts, plan)


def _check_kind(facts: SessionFacts, plan: TrainingPlan) -> None:
    if plan.model is ModelKind.TABLE:
        check_figure(facts.manifest, plan)
        return
    if plan.model.value not in facts.manifest.policy.model_kinds:
        raise RefusalError(RefusalCode.PLAN, f"model kind {plan.model} is not allowed")
    if plan.figure is not None:
        raise RefusalError(RefusalCode.PLAN, "a figure goes with a table, and only so")
    if any(not block.families for block in plan.blocks):
        raise RefusalError(RefusalCode.PLAN, "a block without a family")
    if len({block.name for block in plan.blocks}) != len(plan.blocks):
        raise RefusalError(RefusalCode.PLAN, "two blocks have one name")
    _SHAPES.get(plan.model, _check_blocks)(facts, plan)
    _check_local(facts, plan)


def _check_bounds(plan: TrainingPlan) -> None:
    for field, measure, low, high in BOUNDS:
        for value in measure(plan):
            if not low <= value <= high:
                text = f"plan.{field}: {value} is outside {low} to {high}"
                raise RefusalError(RefusalCode.PLAN, text)


def _check_local(facts: SessionFacts, plan: TrainingPlan) -> None:
    """Refuse what is not installed, or what the exact accountant could not count in time."""
    if not facts.networks and (plan.model is ModelKind.MLP or plan.local is not None):
        raise RefusalError(RefusalCode.PLAN, "networks are not installed: riskweave[networks]")
    if not facts.one_process and plan.local is not None:
        raise RefusalError(RefusalCode.PLAN, "local steps need all rows in one process")
    for local in _local(plan):
        sigma = decimal(
            local.noise_multiplier, "local.noise_multiplier", low="0.3", high="1000"
        )
        rate = decimal(local.sample_rate, "local.sample_rate", low="0.000001", high="1")
        (steps,) = _compositions(plan)
        found = rdp_epsilon(float(sigma), steps, float(plan.delta), sample_rate=float(rate))
        if found > _ROUGHLY:
            raise BudgetExceededError(f"local steps cost about epsilon {found:.0f}")


def _check_privacy(facts: SessionFacts, plan: TrainingPlan) -> None:
    policy = facts.manifest.policy
    # Floats must carry the clip in both directions; the fraction splits the table.
    decimal(plan.clip, "plan.clip", low="0.000001", high="1000000")
    decimal(plan.holdout_fraction, "plan.holdout_fraction", low="0", high="0.9")
    if plan.noise_mode not in NOISE_MODES:
        raise RefusalError(RefusalCode.NOISE, f"noise mode {plan.noise_mode!r}")
    honest = decimal(plan.honest_fraction, "plan.honest_fraction", low="0", high="1")
    if honest > decimal(policy.honest_fraction, "honest_fraction", low="0", high="1"):
        raise RefusalError(RefusalCode.NOISE, "plan relies on more honest partners")
    if plan.delta != policy.delta:
        raise RefusalError(RefusalCode.NOISE, "delta differs from the manifest's")
    if plan.max_partners_per_person < policy.max_partners_per_person:
        raise RefusalError(RefusalCode.NOISE, "m is lower than the manifest's")
    asked = decimal(plan.epsilon, "plan.epsilon", low="0", high="100")
    for cap in (policy.max_epsilon_per_run, facts.run_epsilon):
        if asked > decimal(cap, "epsilon cap", low="0", high="100"):
            raise BudgetExceededError(f"run asks epsilon {plan.epsilon}, the cap is {cap}")


def _check_head(facts: SessionFacts, plan: TrainingPlan) -> None:
    """A head's block: its holders are askers and need not hold the families (7.11)."""
    if plan.base is None or len(plan.blocks) != 1:
        raise RefusalError(RefusalCode.PLAN, "a head has a base model and one block")
    if (plan.algorithm, plan.bin_source) != (Algorithm.SUM, BinSource.PUBLIC) or plan.hidden:
        raise RefusalError(RefusalCode.PLAN, "a head is trained by sums, without bins")
    decimal(plan.start, "plan.start", low="-16", high="16")
    _check_askers(facts, plan, plan.blocks[0])


def _check_askers(facts: SessionFacts, plan: TrainingPlan, block: Block) -> None:
    scoring = facts.manifest.policy.scoring
    active = {member.id for member in facts.manifest.partners}
    for asker in block.holders:
        if asker not in active:
            raise RefusalError(RefusalCode.MEMBER, f"{asker} is no active partner")
        if not scoring.may_ask(asker):
            raise RefusalError(RefusalCode.PLAN, f"{asker} may not ask for joint scores")
    if len(set(block.holders)) != len(block.holders):
        raise RefusalError(RefusalCode.PLAN, f"block {block.name}: an asker stands twice")
    stated = block.holders_per_person or plan.max_partners_per_person
    if stated < facts.manifest.askers_floor(block.holders):
        raise RefusalError(RefusalCode.NOISE, f"block {block.name}: fewer askers a person")


def _check_hazard(facts: SessionFacts, plan: TrainingPlan) -> None:
    """A hazard's block: any partner may hold lines, and no schema is asked (3.4.10)."""
    if plan.base is not None or plan.start or plan.hidden:
        raise RefusalError(RefusalCode.PLAN, "a hazard has no base model and no layers")
    if (plan.algorithm, plan.bin_source) != (Algorithm.SUM, BinSource.PUBLIC):
        raise RefusalError(RefusalCode.PLAN, "a hazard is trained by sums, on its own bins")
    if [block.families for block in plan.blocks] != [(CLOSURE,)]:
        raise RefusalError(RefusalCode.PLAN, "a hazard has one block, of its own family")
    block, active = plan.blocks[0], {member.id for member in facts.manifest.partners}
    for holder in block.holders:
        if holder not in active:
            raise RefusalError(RefusalCode.MEMBER, f"{holder} is no active partner")
    if len(set(block.holders)) != len(block.holders):
        raise RefusalError(RefusalCode.PLAN, f"block {block.name}: a holder stands twice")
    stated = block.holders_per_person or plan.max_partners_per_person
    if stated < facts.manifest.policy.holders_floor(block.families):
        raise RefusalError(RefusalCode.NOISE, f"block {block.name}: fewer holders a person")


def _check_blocks(facts: SessionFacts, plan: TrainingPlan) -> None:
    if plan.base is not None or plan.start:
        raise RefusalError(RefusalCode.PLAN, "only a head has a base model")
    policy = facts.manifest.policy
    members = {member.id: member for member in facts.manifest.partners}
    for block in plan.blocks:
        for holder in block.holders:
            if holder not in members:
                raise RefusalError(RefusalCode.MEMBER, f"{holder} is no active partner")
            if not set(block.families) <= set(members[holder].families):
                raise RefusalError(RefusalCode.PLAN, f"{holder} lacks a family")
        if not set(block.families) <= set(facts.schema.families):
            raise RefusalError(RefusalCode.PLAN, f"block {block.name}: unknown family")
        stated = block.holders_per_person or plan.max_partners_per_person
        if stated < policy.holders_floor(block.families):
            raise RefusalError(RefusalCode.NOISE, f"block {block.name}: fewer holders a person")


_SHAPES: Mapping[ModelKind, Callable[[SessionFacts, TrainingPlan], None]] = {
    ModelKind.HEAD: _check_head,
    ModelKind.HAZARD: _check_hazard,
}
"""Kinds whose blocks are not families of the schema on the rows of their holders."""
