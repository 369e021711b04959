"""The privacy statement of a run: what was claimed, what was done, what it cost.

A pure function of the plan and the attempts on record, so that anybody who holds both can
recompute every figure (protocol 4.9). Real numbers are decimal strings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from consortium.plan import Algorithm, ReleaseKind, TrainingPlan
from consortium.privacy.accountant import epsilon_of_units
from consortium.privacy.mechanism import (
    local_steps_units,
    mechanism_for,
    most_blocks_held,
)
from consortium.release import Attempt, Mechanism, Outcome

NOT_PROTECTED = (
    "a partner's own staff and machines, and a borrower's data at the partner that lends",
    "properties of whole populations: a model that learns that a bin is risky does its work",
    "one partner's upload hides its rows behind that partner's noise only: no masks here",
    "which partner took part in which round, message sizes and times",
    "correlations between relatives",
    "the correctness of the model against a partner that poisons its own sums",
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Charges of one run, units of 2**-40 mu squared (protocol 4.6)."""

    training_record: int
    training_person: int
    holdout_record: int
    holdout_person: int


def spent(plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int) -> Spent:
    """What the attempts cost the partner that took part in most of them.

    Args:
        plan: The run's plan.
        attempts: All attempts on record; aborted ones count in full.
        width: d, length of the gradient.
        grid: Features with private bins.
    """
    totals = {(scope, person): 0 for scope in (False, True) for person in (False, True)}
    local = plan.algorithm is Algorithm.LOCAL_STEPS
    for person in (False, True):
        if local and any(one.kind is ReleaseKind.GRADIENT for one in attempts):
            totals[False, person] += local_steps_units(plan, person=person)
        for one in attempts:
            if local and one.kind is ReleaseKind.GRADIENT:
                continue
            mechanism = mechanism_for(plan, one.kind, width=_width(one.kind, width, grid))
            holdout = one.kind is ReleaseKind.EVALUATION
            totals[holdout, person] += mechanism.units(person=person)
    return Spent(
        training_record=totals[False, False],
        training_person=totals[False, True],
        holdout_record=totals[True, False],
        holdout_person=totals[True, True],
    )


def _width(kind: ReleaseKind, width: int, grid: int) -> int:
    return grid if kind is ReleaseKind.BINS else width


def statement(
    plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int
) -> dict[str, object]:
    """The statement as plain strings, whole numbers, lists and objects."""
    delta = float(plan.delta)
    cost = spent(plan, attempts, width=width, grid=grid)
    return {
        "type": "riskweave/statement/v1",
        "unit": "person: all rows of one person at all partners",
        "relation": "add or remove one person; replace-one beside it",
        "trust": (
            "none: every partner adds noise that suffices alone, so the figures hold "
            "against the coordinator and all other partners together"
        ),
        "noise_mode": plan.noise_mode,
        "delta": plan.delta,
        "target_epsilon": plan.epsilon,
        "max_partners_per_person": plan.max_partners_per_person,
        "most_blocks_at_one_partner": most_blocks_held(plan),
        "batch": _batch(plan),
        "clip": plan.clip,
        "rounds": plan.rounds,
        "attempts": _attempts(attempts),
        "epsilon": {
            "training": _figures(cost.training_record, cost.training_person, delta),
            "holdout": _figures(cost.holdout_record, cost.holdout_person, delta),
        },
        "headline": {
            "record": _text(max(cost.training_record, cost.holdout_record), delta),
            "person": _text(max(cost.training_person, cost.holdout_person), delta),
            "why": (
                "a person is either in training or in the hold-out, by a public rule on the "
                "person alone, so the larger of the two figures bounds both"
            ),
        },
        "charges": _charges(plan, attempts, width=width, grid=grid),
        "accountant": _accountant(plan),
        "sampler": "discrete Gaussian on integers, AES-256-CTR, protocol 3.5.4",
        "code": plan.code,
        "not_protected": list(NOT_PROTECTED),
    }


def _batch(plan: TrainingPlan) -> str:
    return "full batch" if plan.local is None else f"Poisson q = {plan.local.sample_rate}"


def _accountant(plan: TrainingPlan) -> str:
    if plan.algorithm is Algorithm.LOCAL_STEPS:
        return "Gaussian that dominates PLD (dp-accounting 0.6) of the Poisson steps"
    return "closed-form Gaussian (Balle and Wang 2018)"


def _figures(record: int, person: int, delta: float) -> dict[str, object]:
    return {
        "record": _text(record, delta),
        "person": _text(person, delta),
        "record_replace_one": _replace_one(record, delta),
        "person_replace_one": _replace_one(person, delta),
        "person_units": person,
    }


def _text(units: int, delta: float) -> str:
    return f"{epsilon_of_units(units, delta):.4f}"


def _replace_one(units: int, delta: float) -> str:
    return _text(4 * units, delta)


def _attempts(attempts: Sequence[Attempt]) -> dict[str, object]:
    aborted = [one for one in attempts if one.outcome is Outcome.ABORTED]
    return {
        "made": len(attempts),
        "aborted": [
            {
                "purpose": one.kind.value,
                "round": one.round,
                "attempt": one.attempt,
                "roster": list(one.roster),
                "missing": list(one.missing),
                "reasons": list(one.reasons),
            }
            for one in aborted
        ],
        "rosters": sorted({", ".join(one.roster) for one in attempts}),
    }


def _person_units(plan: TrainingPlan, mechanism: Mechanism, count: int) -> int:
    steps = plan.algorithm is Algorithm.LOCAL_STEPS
    if steps and mechanism.kind is ReleaseKind.GRADIENT:
        return local_steps_units(plan, person=True)
    return count * mechanism.units(person=True)


def _charges(
    plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int
) -> list[dict[str, object]]:
    charges: list[dict[str, object]] = []
    for kind in ReleaseKind:
        count = sum(one.kind is kind for one in attempts)
        if not count:
            continue
        mechanism = mechanism_for(plan, kind, width=_width(kind, width, grid))
        charges.append(
            {
                "purpose": kind.value,
                "persons": "holdout" if kind is ReleaseKind.EVALUATION else "training",
                "attempts": count,
                "sensitivity": str(mechanism.sensitivity),
                "variance": str(mechanism.variance),
                "sigma": f"{sqrt(mechanism.variance) / mechanism.sensitivity:.4f}",
                "person_units": _person_units(plan, mechanism, count),
            }
        )
    return charges
