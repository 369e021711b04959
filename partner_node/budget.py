"""What this node may still spend, for its owner's screen (protocol 4.6).

The owner's caps come from ``node.toml``, the consortium's from the manifest; the smaller
one counts, and nothing that a coordinator sends can raise either. What was charged is the
claimed figure of each attempt; beside it stand those for all honest, as many colluding as
assumed, and everyone else colluding (protocol 4.3).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from consortium.crypto.keys import Secret
from consortium.features.grids import CELLS
from consortium.ids import RunId
from consortium.manifest import Policy
from consortium.plan import Algorithm, ReleaseKind, TrainingPlan, decimal
from consortium.privacy.accountant import (
    Epsilons,
    epsilon_of_units,
    three_epsilons,
    units_of,
)
from consortium.privacy.budget import Account, Figures
from consortium.privacy.mechanism import ACCOUNTS, local_steps_units, mechanism_for
from consortium.release import Mechanism
from partner_node.records import ChargedSums


class Accounts(Protocol):
    """What the report needs of the node's database."""

    def account(self, scope: str, *, cap_units: int, delta: str) -> Account:
        """One scope of the present epoch under the cap given."""

    def commitment(self, run: RunId) -> tuple[TrainingPlan, Secret | None] | None:
        """The accepted plan of a run."""

    def charged_sums(self, run: RunId, scope: str) -> tuple[ChargedSums, ...]:
        """What the run was charged for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHonest:
    """Epsilons by who colludes, of one row and of a person."""

    record: Epsilons
    person: Epsilons


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """An account in units of 2**-40 mu squared: these add up, epsilons do not."""

    cap: int
    spent: int
    reserved: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCharge:
    """What one run was charged in one scope, as an epsilon of its own."""

    run: str
    uploads: int
    epsilon: float
    """As charged: the claimed figure of a person."""
    reserved: float
    """What it may still charge."""
    units: int
    reserved_units: int
    by_honest: ByHonest
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """One account: its figures at person level, and its runs."""

    scope: str
    figures: Figures
    units: Units
    by_honest: ByHonest
    """Of all that was spent."""
    runs: tuple[RunCharge, ...]


@dataclass(frozen=True, slots=True)
class _Cost:
    """Releases of one node, and what local steps charged beside them."""

    releases: tuple[Mechanism, ...] = ()
    record_units: int = 0
    person_units: int = 0

    def by_honest(self, delta: float) -> ByHonest:
        found = three_epsilons(
            self.releases,
            delta,
            record_units=self.record_units,
            person_units=self.person_units,
        )
        return ByHonest(record=found.record, person=found.person)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCaps:
    """What the node's owner allows for all runs of an epoch, epsilons as decimals."""

    lifetime_epsilon: str
    tables_epsilon: str


def caps(policy: Policy, own: OwnCaps) -> Mapping[str, int]:
    """Units by account that all runs of an epoch may charge together."""
    training = _least(policy.max_epsilon_lifetime, own.lifetime_epsilon, policy.delta)
    tables = _least(policy.figures.lifetime_epsilon, own.tables_epsilon, policy.delta)
    return {name: tables if name == "tables" else training for name in ACCOUNTS}


def _least(one: str, other: str, delta: str) -> int:
    """The smaller cap, in units."""
    least = min(decimal(text, "lifetime_epsilon", low="0", high="100") for text in (one, other))
    return units_of(float(least), float(delta))


def report(store: Accounts, policy: Policy, own: OwnCaps) -> tuple[ScopeReport, ...]:
    """All accounts of the present epoch."""
    reports = []
    for scope, cap in caps(policy, own).items():
        account = store.account(scope, cap_units=cap, delta=policy.delta)
        costs = {one.run: _cost(store, one.run, scope) for one in account.reserves}
        runs = tuple(_run(account, run, cost) for run, cost in costs.items())
        reports.append(
            ScopeReport(
                scope=scope,
                figures=account.figures(),
                units=Units(
                    cap=account.cap_units,
                    spent=account.spent,
                    reserved=account.reserved,
                    left=account.left,
                ),
                by_honest=_together(costs.values()).by_honest(account.delta),
                runs=runs,
            )
        )
    return tuple(reports)


def _run(account: Account, run: RunId, cost: _Cost) -> RunCharge:
    reserve = next(one for one in account.reserves if one.run == run)
    units = account.charged_by(run)
    held = max(0, reserve.units - units) if reserve.is_open else 0
    return RunCharge(
        run=run,
        uploads=sum(debit.run == run for debit in account.debits),
        epsilon=epsilon_of_units(units, account.delta),
        reserved=epsilon_of_units(held, account.delta),
        units=units,
        reserved_units=held,
        by_honest=cost.by_honest(account.delta),
        open=reserve.is_open,
    )


def _cost(store: Accounts, run: RunId, scope: str) -> _Cost:
    """What the run's charged attempts released, from the plan that was accepted for it."""
    stored = store.commitment(run)
    if stored is None:
        return _Cost()
    plan, _ = stored
    listed: list[Mechanism] = []
    steps = False
    for one in store.charged_sums(run, scope):
        if plan.algorithm is Algorithm.LOCAL_STEPS and one.kind is ReleaseKind.GRADIENT:
            steps = True
            continue
        # A histogram of bins has the counts of every cell of each feature, by label (5.3).
        width = one.dimension // (2 * CELLS) if one.kind is ReleaseKind.BINS else one.dimension
        found = mechanism_for(plan, one.kind, width=width, partners=one.partners)
        listed += [found] * one.attempts
    return _Cost(
        releases=tuple(listed),
        record_units=local_steps_units(plan, person=False) if steps else 0,
        person_units=local_steps_units(plan, person=True) if steps else 0,
    )


def _together(costs: Iterable[_Cost]) -> _Cost:
    listed = tuple(costs)
    return _Cost(
        releases=tuple(release for one in listed for release in one.releases),
        record_units=sum(one.record_units for one in listed),
        person_units=sum(one.person_units for one in listed),
    )


def lines(reports: tuple[ScopeReport, ...], delta: str) -> list[str]:
    """The report as text; every epsilon is a person's, at the delta named."""
    found = [
        f"epsilon of one person at delta {delta}; epsilons do not add up, mu squared does",
        "charged is the worst from as many colluding as assumed to all honest",
    ]
    for one in reports:
        figures = one.figures
        found.append(
            f"{one.scope}: spent {figures.spent}, reserved {figures.reserved}, "
            f"left {figures.left} of {figures.cap}"
        )
        if one.runs:
            found.append(f"  spent if {_text(one.by_honest)}")
        for run in one.runs:
            state = f", still open with {run.reserved} reserved" if run.open else ""
            found.append(
                f"  run {run.run}: {run.uploads} uploads, charged {run.epsilon}{state}"
            )
            found.append(f"    if {_text(run.by_honest)}")
    spent = {one.scope: one.units.spent for one in reports}
    whole = max(spent["training"], spent["holdout"]) + spent["tables"]
    found.append(f"one person, tables included: {epsilon_of_units(whole, float(delta))}")
    return found


def _text(by_honest: ByHonest) -> str:
    person, record = by_honest.person, by_honest.record
    return (
        f"all are honest {person.all_honest}, half collude {person.half_collude}, "
        f"everyone else colludes {person.others_collude}, largest {person.largest} "
        f"(one record: {record.all_honest}, {record.half_collude}, {record.others_collude}, "
        f"{record.largest})"
    )
