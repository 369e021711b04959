"""The privacy statement of a run: what was claimed, what was done, what it cost.

A pure function of the plan and the attempts on record, so that anybody who holds both can
recompute every figure (protocol 4.9). Real numbers are decimal strings. An epsilon never
stands alone: beside each there are those for all honest, as many colluding as assumed,
everyone else colluding, and the worst of all (protocol 4.3).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import sqrt

from consortium.manifest import NO_CODE
from consortium.plan import Algorithm, ModelKind, ReleaseKind, TrainingPlan
from consortium.privacy.accountant import (
    UNITS,
    Epsilons,
    ThreeEpsilons,
    epsilon_of_units,
    three_epsilons,
    units_at,
)
from consortium.privacy.mechanism import (
    OWN,
    account_of,
    accounts_of,
    honest_of,
    local_steps_units,
    mechanism_for,
    most_blocks_held,
)
from consortium.privacy.witnesses import cross_check
from consortium.release import Attempt, Level, Mechanism, Outcome

NOT_PROTECTED = (
    "a partner's own staff and machines, and a borrower's data at the partner that lends",
    "properties of whole populations: a model that learns that a bin is risky does its work",
    "a borrower's rows beyond the figure for everyone else colluding, if more collude",
    "a person at more partners than stated",
    "a partner whose seed of the run is stolen: its noise and its masks fall away",
    "which partner took part in which round, message sizes and times",
    "correlations between relatives",
    "the correctness of the model against a partner that poisons its own sums",
)

OF_A_HEAD = (
    "joint scores themselves: they carry no noise, and these figures are of the head alone",
    "who answered whom in the study, and that a person was asked about, towards every partner",
)

_MECHANISM = (
    "every row's part is clipped to C and rounded to integers of norm Q at most, rows are "
    "added exactly, each partner adds a discrete Gaussian of variance V, and masks that cancel "
    "in the sum of all hide every single upload; only sums are seen"
)
_WHY = (
    "a person is either in training or in the hold-out, by a public rule on the "
    "person alone, so the larger of the two figures bounds both"
)
_WHY_OF_A_TABLE = (
    "a table counts everybody; its cost is beside that of training, and whoever wants one "
    "figure for a person adds mu squared of both"
)
_PAIR = 2
_TRUST_OWN = (
    "none: every partner adds noise that suffices alone, so the figures hold "
    "against the coordinator and all other partners together"
)
_TRUST_PAIR = (
    "nothing is assumed: in a roster of two each partner adds the whole noise; secure "
    "aggregation protects from the coordinator only, for each sees the other's upload by "
    "subtracting its own"
)

_EVERY_FILE = "every file of the installed package"
_NO_FILE = "no file: the software was installed from a source tree that nobody recorded"


@dataclass(frozen=True, slots=True)
class Spent:
    """Charges of one run at the claimed level, units of 2**-40 mu squared (protocol 4.6)."""

    training_record: int
    training_person: int
    holdout_record: int
    holdout_person: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """The releases that concern the persons in training, or those held out."""

    releases: tuple[Mechanism, ...]
    record_units: int = 0
    """Charges of local steps, which hold whoever colludes."""
    person_units: int = 0

    def units(self, *, person: bool, level: Level = Level.CLAIMED) -> int:
        steps = self.person_units if person else self.record_units
        return steps + units_at(self.releases, level, person=person)

    def epsilons(self, delta: float) -> ThreeEpsilons:
        return three_epsilons(
            self.releases,
            delta,
            record_units=self.record_units,
            person_units=self.person_units,
        )


def spent(plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int) -> Spent:
    """What the attempts cost the partner that took part in most of them.

    Args:
        plan: The run's plan.
        attempts: All attempts on record; those that words may have left in count in full.
        width: d, length of the gradient.
        grid: Features with private bins.
    """
    charged = [one for one in attempts if one.charged]
    scopes = _scopes(plan, charged, width=width, grid=grid)
    training, holdout = scopes["training"], scopes["holdout"]
    return Spent(
        training_record=training.units(person=False),
        training_person=training.units(person=True),
        holdout_record=holdout.units(person=False),
        holdout_person=holdout.units(person=True),
    )


def _scopes(
    plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int
) -> dict[str, _Scope]:
    """What was released, by account."""
    found = _mechanisms(plan, attempts, width=width, grid=grid)
    listed: dict[str, list[Mechanism]] = {name: [] for name in accounts_of(plan)}
    steps = False
    for one in attempts:
        if _by_steps(plan, one.kind):
            steps = True
        else:
            mechanism = found[one.kind, len(one.roster)]
            listed[account_of(one.kind)].append(mechanism)
    scopes = {name: _Scope(releases=tuple(found)) for name, found in listed.items()}
    if steps:
        scopes["training"] = replace(
            scopes["training"],
            record_units=local_steps_units(plan, person=False),
            person_units=local_steps_units(plan, person=True),
        )
    return scopes


def _by_steps(plan: TrainingPlan, kind: ReleaseKind) -> bool:
    return plan.algorithm is Algorithm.LOCAL_STEPS and kind is ReleaseKind.GRADIENT


def _mechanisms(
    plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int
) -> Mapping[tuple[ReleaseKind, int], Mechanism]:
    """The mechanism of each kind and size of roster on record."""
    return {
        (kind, partners): mechanism_for(
            plan,
            kind,
            width=grid if kind is ReleaseKind.BINS else width,
            partners=partners,
        )
        for kind, partners in {(one.kind, len(one.roster)) for one in attempts}
    }


def statement(
    plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int
) -> dict[str, object]:
    """The statement as plain strings, whole numbers, lists and objects.

    Raises:
        TrustError: the accountants disagree; the release is blocked (protocol 4.7).
    """
    charged = [one for one in attempts if one.charged]
    scopes = _scopes(plan, charged, width=width, grid=grid)
    return {
        "type": "riskweave/statement/v1",
        "unit": "person: all rows of one person at all partners",
        "relation": "add or remove one person; replace-one beside it",
        "trust": _trust(plan, charged),
        "mechanism": _MECHANISM,
        "noise_mode": plan.noise_mode,
        "honest_fraction": plan.honest_fraction,
        "delta": plan.delta,
        "delta_times_rows": _delta_times_rows(plan),
        "target_epsilon": plan.epsilon,
        "max_partners_per_person": plan.max_partners_per_person,
        "most_blocks_at_one_partner": most_blocks_held(plan),
        "blocks": _blocks(plan),
        "batch": _batch(plan),
        "clip": plan.clip,
        "rounds": plan.rounds,
        "attempts": _attempts(attempts),
        "rosters": _rosters(plan, charged),
        "epsilon": {name: _figures(plan, scope) for name, scope in scopes.items()},
        "headline": _headline(plan, scopes),
        "charges": _charges(plan, charged, width=width, grid=grid),
        "accountant": _accountant(plan),
        "accountants": _accountants(plan, scopes),
        "sampler": "discrete Gaussian on integers, AES-256-CTR, protocol 3.5.4",
        "code": plan.code,
        "code_covers": _NO_FILE if plan.code == NO_CODE else _EVERY_FILE,
        "not_protected": list(NOT_PROTECTED + _more(plan)),
    }


def _more(plan: TrainingPlan) -> tuple[str, ...]:
    return OF_A_HEAD if plan.model is ModelKind.HEAD else ()


def _trust(plan: TrainingPlan, attempts: Sequence[Attempt]) -> str:
    """The trust model in one sentence (protocol 4.9)."""
    if plan.noise_mode == OWN:
        return _TRUST_OWN
    sizes = sorted({len(one.roster) for one in attempts})
    if sizes == [_PAIR]:
        return _TRUST_PAIR
    parts = ", ".join(f"{honest_of(plan, size)} of {size}" for size in sizes)
    pair = f"; where they are two, {_TRUST_PAIR}" if _PAIR in sizes else ""
    return (
        "partners add noise that suffices together: the figures hold against the coordinator "
        "and all partners in collusion with it as long as at least "
        f"{parts or plan.honest_fraction} in a roster do not collude{pair}"
    )


def _headline(plan: TrainingPlan, scopes: Mapping[str, _Scope]) -> dict[str, object]:
    delta = float(plan.delta)
    both = [scope.epsilons(delta) for scope in scopes.values()]
    return {
        "record": _worst([one.record for one in both])[Level.CLAIMED.value],
        "person": _worst([one.person for one in both])[Level.CLAIMED.value],
        "record_by_honest": _worst([one.record for one in both]),
        "person_by_honest": _worst([one.person for one in both]),
        "why": _WHY_OF_A_TABLE if plan.figure is not None else _WHY,
    }


def _worst(figures: Sequence[Epsilons]) -> dict[str, str]:
    return {
        one.name: f"{max(getattr(figure, one.name) for figure in figures):.4f}"
        for one in fields(Epsilons)
    }


def _figures(plan: TrainingPlan, scope: _Scope) -> dict[str, object]:
    found = scope.epsilons(float(plan.delta))
    return {
        "record": _text(found.record.claimed),
        "person": _text(found.person.claimed),
        "record_replace_one": _text(found.record_replaced.claimed),
        "person_replace_one": _text(found.person_replaced.claimed),
        "person_units": scope.units(person=True),
        "by_honest": {
            "record": _worst([found.record]),
            "person": _worst([found.person]),
            "record_replace_one": _worst([found.record_replaced]),
            "person_replace_one": _worst([found.person_replaced]),
        },
    }


def _text(epsilon: float) -> str:
    return f"{epsilon:.4f}"


def _delta_times_rows(plan: TrainingPlan) -> str:
    """Delta against the number of persons, which is public only as the blocks' N0."""
    rows = sum(block.normaliser for block in plan.blocks)
    return f"{float(plan.delta) * rows:.4g}"


def _blocks(plan: TrainingPlan) -> list[dict[str, object]]:
    m = plan.max_partners_per_person
    return [
        {
            "name": block.name,
            "holders": list(block.holders),
            "normaliser": block.normaliser,
            "holders_per_person": m
            if block.holders_per_person is None
            else block.holders_per_person,
        }
        for block in plan.blocks
    ]


def _rosters(plan: TrainingPlan, attempts: Sequence[Attempt]) -> list[dict[str, object]]:
    """K of the attempts, each with the fewest honest members that the claim is made for."""
    counted = sorted(Counter(len(one.roster) for one in attempts).items())
    return [
        {
            "partners": size,
            "honest": 1 if plan.noise_mode == OWN else honest_of(plan, size),
            "attempts": times,
        }
        for size, times in counted
    ]


def _batch(plan: TrainingPlan) -> str:
    return "full batch" if plan.local is None else f"Poisson q = {plan.local.sample_rate}"


def _accountant(plan: TrainingPlan) -> str:
    if plan.algorithm is Algorithm.LOCAL_STEPS:
        return "PLD of dp-accounting 0.6 over the Poisson steps, as an equal Gaussian"
    return "closed-form Gaussian (Balle and Wang 2018)"


def _accountants(plan: TrainingPlan, scopes: Mapping[str, _Scope]) -> dict[str, object]:
    """The larger person-level claim by three accountants (protocol 4.7)."""
    units = max(scope.units(person=True) for scope in scopes.values())
    if not epsilon_of_units(units, float(plan.delta)):
        return {}
    found = cross_check(sqrt(units / UNITS), float(plan.delta))
    return {
        "closed_form": _text(found.exact),
        "pld": _text(found.pld),
        "rdp": _text(found.rdp),
        "library": "dp-accounting 0.6",
    }


def _attempts(attempts: Sequence[Attempt]) -> dict[str, object]:
    aborted = [one for one in attempts if one.outcome is Outcome.ABORTED]
    return {
        "made": len(attempts),
        "charged": sum(one.charged for one in attempts),
        "aborted": [
            {
                "purpose": one.kind.value,
                "round": one.round,
                "attempt": one.attempt,
                "roster": list(one.roster),
                "missing": list(one.missing),
                "reasons": list(one.reasons),
                "charged": one.charged,
            }
            for one in aborted
        ],
        "rosters": sorted({", ".join(one.roster) for one in attempts}),
    }


def _charges(
    plan: TrainingPlan, attempts: Sequence[Attempt], *, width: int, grid: int
) -> list[dict[str, object]]:
    """One line for each purpose and size of roster."""
    found = _mechanisms(plan, attempts, width=width, grid=grid)
    counted = Counter((one.kind, len(one.roster)) for one in attempts)
    order = list(ReleaseKind)
    charges: list[dict[str, object]] = []
    for kind, partners in sorted(counted, key=lambda key: (order.index(key[0]), -key[1])):
        mechanism, count = found[kind, partners], counted[kind, partners]
        units = count * mechanism.units(person=True)
        if _by_steps(plan, kind):
            # One figure for the whole run; it stands on the first line (protocol 4.8).
            seen = any(one["purpose"] == kind.value for one in charges)
            units = 0 if seen else local_steps_units(plan, person=True)
        charges.append(
            {
                "purpose": kind.value,
                "persons": account_of(kind),
                "partners": partners,
                "attempts": count,
                "width": grid if kind is ReleaseKind.BINS else width,
                "sensitivity": str(mechanism.sensitivity),
                "variance": str(mechanism.variance),
                "sigma": f"{sqrt(mechanism.variance) / mechanism.sensitivity:.4f}",
                "person_units": units,
            }
        )
    return charges
