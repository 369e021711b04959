"""Every epsilon of a privacy statement once more, from what it says was done (protocol 4.9).

Whoever holds the plan and the charges of a statement needs nothing else to compute its
figures: mechanisms follow from the plan, and epsilons from the mechanisms.
"""

from collections.abc import Mapping, Sequence

from consortium.errors import TrustError
from consortium.plan import Algorithm, ReleaseKind, TrainingPlan
from consortium.privacy.accountant import Epsilons, three_epsilons
from consortium.privacy.mechanism import (
    account_of,
    accounts_of,
    local_steps_units,
    mechanism_for,
)
from consortium.release import Level, Mechanism


def epsilons_of(
    plan: TrainingPlan, charges: Sequence[Mapping[str, object]]
) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """The figures of ``epsilon.*.by_honest``, by persons, relation and who colludes.

    Args:
        plan: The run's.
        charges: Of the statement: each with its purpose, width, partners and attempts.

    Raises:
        TrustError: Q, V or the units of a charge are not those of the plan.
        ConfigurationError, RefusalError, DomainError: as ``mechanism_for``.
        ValueError: a charge has no such purpose, or no whole number.
    """
    listed: dict[str, list[Mechanism]] = {scope: [] for scope in accounts_of(plan)}
    steps = False
    for one in charges:
        kind = ReleaseKind(str(one["purpose"]))
        if plan.algorithm is Algorithm.LOCAL_STEPS and kind is ReleaseKind.GRADIENT:
            steps = True  # one figure for the run, whatever the attempts (protocol 4.8)
            continue
        width, partners = int(str(one["width"])), int(str(one["partners"]))
        attempts = int(str(one["attempts"]))
        made = mechanism_for(plan, kind, width=width, partners=partners)
        charged = attempts * made.units(person=True)
        if (str(made.sensitivity), str(made.variance), charged) != (
            one["sensitivity"],
            one["variance"],
            one["person_units"],
        ):
            raise TrustError(f"charge for {kind.value}: not the plan's Q, V or units")
        listed[account_of(kind)] += [made] * attempts
    figures = {}
    for scope, releases in listed.items():
        local = steps and scope == "training"
        found = three_epsilons(
            releases,
            float(plan.delta),
            record_units=local_steps_units(plan, person=False) if local else 0,
            person_units=local_steps_units(plan, person=True) if local else 0,
        )
        figures[scope] = {
            "person": _texts(found.person),
            "person_replace_one": _texts(found.person_replaced),
            "record": _texts(found.record),
            "record_replace_one": _texts(found.record_replaced),
        }
    return figures


def worst_of(
    figures: Mapping[str, Mapping[str, Mapping[str, str]]], name: str
) -> str | Mapping[str, str]:
    """What the headline must say under ``name``: "person", "record", "person_by_honest", ...

    The larger over both sets of persons, for nobody is in both (protocol 5.8).
    """
    relation = name.removesuffix("_by_honest")
    worst = {
        level.value: max(
            (found[relation][level.value] for found in figures.values()), key=float
        )
        for level in Level
    }
    return worst if name.endswith("_by_honest") else worst[Level.CLAIMED.value]


def _texts(found: Epsilons) -> Mapping[str, str]:
    return {level.value: f"{getattr(found, level.value):.4f}" for level in Level}
