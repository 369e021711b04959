"""All that a rehearsal needs to know, as values.

A rehearsal plays all parties on one machine, so it knows what in life stands in many places:
the policy of the manifest, the plan of the run, every partner's data source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consortium.features.schema import Schema
from consortium.ids import PartnerId
from consortium.manifest import Policy
from consortium.plan import TrainingPlan
from coordinator.calibration import HeadSettings
from coordinator.config import DATABASE
from partner_node.table import DataSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One partner: what it holds and where its rows are."""

    id: PartnerId
    families: tuple[str, ...]
    query: str
    """One SELECT; relative paths in it start at the rehearsal file."""
    person: str
    label: str
    memory_limit: str
    threads: int
    run_epsilon: str
    lifetime_epsilon: str
    tables_epsilon: str | None
    """The owner's cap on all table releases; None is the node's default."""
    study_consent: str | None
    """Column with the reference of a person's consent to CALIBRATION."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditTest:
    """``[credit]``: what the askers' hold-out persons apply for, and by which rules."""

    rules: Path
    """Directory with the policy and the catalogue of each asker."""
    product: str
    purpose: str
    amount: int
    currency: str
    tenor_months: int
    income: str
    """Column of the askers' tables with the net income of a month, in whole currency units;
    without a value nobody knows it. It is in no model."""
    features: Mapping[str, tuple[str, ...]]
    """By partner, the features that it holds."""

    @property
    def assumed(self) -> str:
        """What is supposed of everybody."""
        return (
            f"Everybody applies for {self.amount / 100:,.0f} {self.currency} over "
            f"{self.tenor_months} months ({self.product}, {self.purpose}), has no other dues "
            f"and has consented; incomes are those of the column {self.income}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """All that a rehearsal needs to know; nothing is read from elsewhere."""

    title: str
    epsilon: str
    """For a person, over all runs of the rehearsal together."""
    path: Path
    schema_path: Path
    schema: Schema
    policy: Policy
    parties: tuple[Party, ...]
    plan_text: str
    """The plan file that the operator of this federation would write."""
    plan: TrainingPlan
    """The plan as it will be parsed, but for the run id and digests not known yet."""
    head: HeadSettings | None
    """The run after it, which calibrates joint scores; None: there is none."""
    credit: CreditTest | None
    """Decisions after the joint scores; None: there are none."""
    storage: str = DATABASE
    """URL of the coordinator's database."""
    regulator: PartnerId | None = None
    """Id of a live witness in a process of its own; None: the regulator reads the file only."""

    @property
    def askers(self) -> tuple[PartnerId, ...]:
        """Who asks for joint scores: nobody, unless the manifest lets partners ask."""
        first = self.plan.blocks[0].holders
        named = self.head.askers if self.head and self.head.askers else first
        return tuple(name for name in named if self.policy.scoring.may_ask(name))

    @property
    def directory(self) -> Path:
        """Where the rehearsal file is; relative paths start here."""
        return self.path.parent

    def party(self, name: str) -> Party:
        """The partner of that id."""
        return next(party for party in self.parties if party.id == name)


def source_of(rehearsal: Rehearsal, party: Party) -> DataSource:
    """Where a partner's rows are."""
    return DataSource(
        query=party.query,
        person=party.person,
        label=party.label,
        directory=rehearsal.directory,
        memory_limit=party.memory_limit,
        threads=party.threads,
        origin=f"{rehearsal.path.name}: query of {party.id}",
    )
