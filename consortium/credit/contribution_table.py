"""Contributions from noisy tables: what others count, and the statement that follows (4.18).

For each model that was trained without a partner the others add up, over their held-out
persons, by how much the loss is larger than by the model of all. One table of the kind
``contribution`` has the sums for all who were left out. A statement is computed from such
tables, their plans and a day, and from nothing else: operator and auditor come to the same
bytes, so whoever logs its digest can be checked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consortium.credit.contribution import (
    Basis,
    ContributionStatement,
    Measured,
    Moments,
    gain_of,
    statement_of,
    worst_of,
)
from consortium.credit.dependence import dependences_of
from consortium.credit.figure_forms import PPM, VERSION_DIGITS
from consortium.credit.figures import MIN_CELL, Entry, NoisyTable
from consortium.credit.intervals import Figure
from consortium.credit.shown import Section, shown
from consortium.errors import DomainError, ShapeError
from consortium.figure import FigureKind, FigureSpec
from consortium.ids import Digest, PartnerId
from consortium.plan import TrainingPlan
from consortium.privacy.accountant import epsilon_of_units, units_of

Float = NDArray[np.float64]

_FEWEST = 2
"""Partners of whom none can be set aside: one alone has nobody who judges it."""


def left_out(whole: TrainingPlan, less: TrainingPlan) -> PartnerId:
    """Who holds rows in the first training and in the second one does not.

    Both must have been asked to do the same with the same held-out persons: a model that was
    trained on what it is judged by looks better than it is.

    Raises:
        DomainError: more than one partner, none, or another training altogether.
    """
    for name in ("model", "schema", "hidden", "algorithm", "holdout_fraction", "holdout_salt"):
        if getattr(whole, name) != getattr(less, name):
            raise DomainError(f"contribution: trainings of another {name}")
    before, after = _holders(whole), _holders(less)
    gone = {name for held in before.values() for name in held}
    gone -= {name for held in after.values() for name in held}
    if len(gone) != 1:
        raise DomainError(f"contribution: {len(gone)} partners are left out, not one")
    (name,) = gone
    kept = {families: held - gone for families, held in before.items() if held - gone}
    if after != kept:
        raise DomainError("contribution: trainings of other families or holders")
    return name


def _holders(plan: TrainingPlan) -> dict[tuple[str, ...], frozenset[PartnerId]]:
    return {block.families: frozenset(block.holders) for block in plan.blocks}


def gain_entries(
    spec: FigureSpec, persons: Sequence[str], differences: Mapping[int, Float]
) -> list[Entry]:
    """Entries of held-out persons, for ``figures.contribution``. Private.

    Args:
        spec: Of the kind ``contribution``.
        persons: Names that are this partner's own.
        differences: By cell, loss without less loss with, clipped, of the same persons.

    Raises:
        ShapeError: ragged.
    """
    if any(found.shape != (len(persons),) for found in differences.values()):
        raise ShapeError(f"differences of other than {len(persons)} persons")
    return [
        Entry(person=name, cell=(cell,), values=(1, round(PPM * d), round(PPM * d * d)))
        for cell, found in differences.items()
        if 0 <= cell < spec.cells
        for name, d in zip(persons, found.tolist(), strict=True)
    ]


def moments_of(table: NoisyTable) -> tuple[Moments, ...]:
    """Released sums by cell; DomainError for a table of another kind."""
    if table.spec.kind is not FigureKind.CONTRIBUTION:
        raise DomainError(f"a table of {table.spec.kind} says nothing of contributions")
    names = [one.name for one in table.spec.measures]
    units = np.array([1.0, PPM, PPM])
    of_count, of_total, of_squared = (
        table.deviation(name) / unit for name, unit in zip(names, units.tolist(), strict=True)
    )
    return tuple(
        Moments(
            count=count,
            total=total,
            squared=squared,
            deviations=(of_count, of_total, of_squared),
        )
        for count, total, squared in (table.values / units).tolist()
    )


def section(table: NoisyTable) -> Section:
    """The table as it is printed: the gain of each model's missing partner."""
    found = zip(table.spec.axes[0].cells, moments_of(table), strict=True)
    figures = tuple(
        shown(("loss_gain", (version,)), gain_of(one), one.count) for version, one in found
    )
    return Section(name="contribution", table=table, axes=("without",), figures=figures)


# --- the statement ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One table of contributions, and whose absence each of its cells is. Public."""

    table: NoisyTable
    judges: frozenset[PartnerId]
    """Who counted."""
    whole: tuple[Digest, TrainingPlan]
    """The model of all that were left, and its plan."""
    without: tuple[tuple[Digest, TrainingPlan], ...]
    """Of each cell, the model that was trained without a partner, and its plan."""

    def __post_init__(self) -> None:
        """Raise DomainError unless the models are those that the table names."""
        named = [self.table.spec.filter("model"), *self.table.spec.axes[0].cells]
        given = [one[:VERSION_DIGITS] for one, _ in (self.whole, *self.without)]
        if named != given:
            raise DomainError("contribution: models that the table does not name")

    def measured(self) -> Iterator[Measured]:
        """What each who was left out is worth to the others."""
        for (version, plan), found in zip(self.without, moments_of(self.table), strict=True):
            yield Measured(
                partner=left_out(self.whole[1], plan), moments=found, without=version
            )


def stated(
    looks: Sequence[Look],
    hanging: NoisyTable | None,
    *,
    federation: str,
    measured_on: date,
) -> ContributionStatement:
    """The statement that follows from released tables.

    The first look is of all partners. Who harms most is set aside, and the next look is of the
    model without it, judged without it; so on until nobody harms, or two are left.

    Args:
        looks: In their order.
        hanging: Of the kind ``dependence``; None: nothing is said of it.
        federation: Whose.
        measured_on: The day.

    Raises:
        DomainError: no look; a look that does not follow from the one before; a partner that
            is left out twice or not at all; or one that harms and was not set aside.
    """
    if not looks:
        raise DomainError("contribution: no table")
    aside: list[Measured] = []
    for look, after in pairwise(looks):
        bad = _worst(_measured(look, aside))
        if bad is None or bad.without != after.whole[0]:
            raise DomainError("contribution: a table that does not follow from the one before")
        aside.append(replace(bad, aside=True))
    measured = _measured(looks[-1], aside)
    if len(measured) > _FEWEST and (bad := _worst(measured)) is not None:
        raise DomainError(f"contribution: {bad.partner} harms; measure the others without it")
    tables = [look.table for look in looks] + ([] if hanging is None else [hanging])
    return statement_of(
        list(_with_hanging([*measured, *aside], hanging)),
        federation=federation,
        version=looks[0].whole[0],
        measured_on=measured_on,
        basis=Basis(
            epsilon=_epsilon(looks, tables),
            tables=tuple(look.table.release for look in looks),
            hanging=None if hanging is None else hanging.release,
            synthetic=any(table.synthetic for table in tables),
        ),
    )


def _worst(measured: Sequence[Measured]) -> Measured | None:
    name = worst_of({one.partner: gain_of(one.moments) for one in measured})
    return next((one for one in measured if one.partner == name), None)


def _measured(look: Look, aside: Sequence[Measured]) -> list[Measured]:
    """Everybody who has rows in the model is left out once, and no one set aside judges."""
    measured = list(look.measured())
    names = [one.partner for one in measured]
    holders = {name for block in look.whole[1].blocks for name in block.holders}
    if set(names) != holders or len(names) != len(holders):
        raise DomainError("contribution: not each partner of the model is left out once")
    if look.judges & {one.partner for one in aside}:
        raise DomainError("contribution: who was set aside judges the others")
    return measured


def _with_hanging(
    measured: Sequence[Measured], hanging: NoisyTable | None
) -> Iterator[Measured]:
    found: dict[str, Figure | None] = {}
    if hanging is not None:
        found = {
            one.partner: one.gain if one.persons >= MIN_CELL else None
            for one in dependences_of(hanging)
        }
    for one in measured:
        yield replace(one, hanging=found.get(one.partner))


def _epsilon(looks: Sequence[Look], tables: Sequence[NoisyTable]) -> str:
    """Of a person: all trainings without a partner and all tables, added in units."""
    delta = float(tables[0].delta)
    trained = {version: plan.epsilon for look in looks for version, plan in look.without}
    spent = [*trained.values(), *(table.epsilon for table in tables)]
    units = sum(units_of(float(one), delta) for one in spent)
    return f"{epsilon_of_units(units, delta):.4f}"
