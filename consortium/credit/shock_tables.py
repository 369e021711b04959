"""The tables that stress runs read: how each is laid out, and what its cells mean (4.8, 4.15).

Nodes fill them from their lines (``partner_node.credit.figures``). An operator, and an auditor
after it, reads them back here and gets the same figures.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from consortium.credit.elasticity import OUTCOMES, TierStudy, elasticities_of
from consortium.credit.figure_forms import check_cells
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import NoisyTable
from consortium.credit.scenario import BASE, MEASURES, Scenario, counted, scenario_of
from consortium.credit.shock import TIERS, Market, Noisy, Tier
from consortium.credit.terms import GRADES, MILLION
from consortium.errors import ConfigurationError, DomainError
from consortium.figure import Axis, FigureKind, FigureSpec, Filter, Measure
from consortium.identity.overlap import OverlapCount
from consortium.ids import PartnerId

Pair = tuple[PartnerId, PartnerId]
"""Who closes or counts, and who is hit."""


def tiers_spec(
    month: str, partners: Sequence[PartnerId], *, bound: int, synthetic: bool = False
) -> FigureSpec:
    """Persons, exposure and PD by partner and tier; a partner fills its own slots only.

    Args:
        month: At whose end lines are looked at, "2026-03".
        partners: All that may take part, sorted.
        bound: Most exposure that a person adds, minor units.
        synthetic: Whether the rows are made up.

    Raises:
        ConfigurationError: as ``figure_specs.figure``.
    """
    wanted = Wanted(partners=tuple(partners), bound=bound, synthetic=synthetic)
    return figure(FigureKind.TIERS, month, month, wanted)


def elasticity_spec(month: str, *, synthetic: bool = False) -> FigureSpec:
    """Grade by arm by outcome, of persons whose arm was learnt in a month.

    A node asks all others together whether somebody withdrew, so it could not count those of
    one partner: who withdrew then is for the operator to know.

    Args:
        month: Of the closure inquiries: that of a withdrawal.
        synthetic: Whether the rows are made up.

    Raises:
        ConfigurationError: as ``figure_specs.figure``.
    """
    return figure(FigureKind.ELASTICITY, month, month, Wanted(synthetic=synthetic))


def scenario_spec(
    month: str, scenarios: Sequence[Scenario], *, bound: int, synthetic: bool = False
) -> FigureSpec:
    """Worlds by grade; a person fills one cell in each, so Q grows by their root (4.8).

    Args:
        month: At whose end rows are scored anew.
        scenarios: As asked for; empty ones have no cells.
        bound: Most expected loss that a person adds, minor units.
        synthetic: Whether the rows are made up.

    Raises:
        ConfigurationError: no scenario shocks anything; or as ``FigureSpec``.
    """
    worlds = (BASE, *(one.name for one in counted(scenarios)))
    if len(worlds) == 1:
        raise ConfigurationError("no scenario shocks anything: all of them are the base")
    bounds = {"pd": MILLION, "loss": bound}
    spec = FigureSpec(
        kind=FigureKind.SCENARIO,
        first=month,
        last=month,
        axes=(
            Axis(name="world", cells=worlds),
            Axis(name="grade", cells=tuple(GRADES)),
        ),
        measures=tuple(Measure(name=name, bound=bounds.get(name, 1)) for name in MEASURES),
        filters=tuple(
            Filter(name=one.name, value=one.drivers)
            for one in sorted(counted(scenarios), key=lambda one: one.name)
        ),
        cells_per_person=len(worlds),
        synthetic=synthetic,
    )
    check_cells(spec)
    return spec


def scenarios_of(spec: FigureSpec) -> tuple[Scenario, ...]:
    """The scenarios that a node is asked to count, all of them in the plan itself.

    Raises:
        DomainError: worlds without drivers, or drivers that are none.
    """
    worlds = spec.axes[0].cells
    if spec.kind is not FigureKind.SCENARIO or worlds[0] != BASE:
        raise DomainError("not a figure of scenarios")
    return tuple(scenario_of(name, spec.filter(name)) for name in worlds[1:])


def study_of(table: NoisyTable) -> Mapping[Tier, TierStudy]:
    """Elasticities that a table measures; a tier with too few persons is left out.

    Persons whose outcome is not known, or indeterminate, are in a cell apart and not read.
    """
    _of_kind(table, FigureKind.ELASTICITY)
    cells = [table.spec.axes[2].cells.index(outcome) for outcome in OUTCOMES]
    told = table.measure("persons")[:, :, cells]
    return elasticities_of(told, table.deviation("persons"), source=table.release)


def worlds_table(table: NoisyTable, scenarios: Sequence[Scenario]) -> Noisy:
    """Sums and deviations for ``scenario_table.worlds_of``, PD as probabilities.

    Raises:
        DomainError: the table is of other scenarios.
    """
    _of_kind(table, FigureKind.SCENARIO)
    if scenarios_of(table.spec) != counted(scenarios):
        raise DomainError("the table is of other scenarios")
    scale = {"pd": MILLION}
    layers = [(table.measure(name) / scale.get(name, 1)) for name in MEASURES]
    noise = [
        np.full(table.spec.shape, table.deviation(name) / scale.get(name, 1))
        for name in MEASURES
    ]
    return Noisy(np.stack(layers, axis=2), np.stack(noise, axis=2))


def partners_of(table: NoisyTable) -> tuple[PartnerId, ...]:
    """Partners of a table of tiers."""
    _of_kind(table, FigureKind.TIERS)
    return tuple(PartnerId(name) for name in table.spec.axes[0].cells)


def needed_pairs(
    partners: Sequence[PartnerId], closing: Iterable[PartnerId], *, rounds: int
) -> tuple[Pair, ...]:
    """Overlaps that a question reads: of who closes; in later rounds, of everybody."""
    first = set(closing)
    return tuple(
        (one, other)
        for one in partners
        for other in partners
        if one != other and (rounds > 1 or one in first)
    )


def market_of(table: NoisyTable, overlaps: Iterable[OverlapCount]) -> Market:
    """Noisy totals of all partners; a pair that is not given has no common persons.

    Raises:
        DomainError: the table has other tiers, or a pair's tier is given twice.
    """
    partners = partners_of(table)
    if table.spec.axes[1].cells != tuple(TIERS):
        raise DomainError(f"the table has the tiers {', '.join(table.spec.axes[1].cells)}")
    shape = (len(partners), len(partners), len(TIERS))
    values, noise = np.zeros(shape), np.zeros(shape)
    few, seen = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    places = {name: place for place, name in enumerate(partners)}
    for one in overlaps:
        if one.counter not in places or one.peer not in places or one.tier not in TIERS:
            continue
        place = places[one.counter], places[one.peer], TIERS.index(Tier(one.tier))
        if seen[place]:
            raise DomainError(f"overlap of {one.counter} and {one.peer} is given twice")
        seen[place] = True
        values[place], few[place] = one.persons, one.below
        noise[place] = one.deviation
    return Market(
        partners=partners,
        persons=_measure(table, "persons", 1),
        exposure=_measure(table, "exposure", 1),
        bads=_measure(table, "pd", MILLION),
        overlap=Noisy(values, noise),
        few=few,
    )


def _measure(table: NoisyTable, name: str, scale: int) -> Noisy:
    values = table.measure(name) / scale
    return Noisy(values, np.full(values.shape, table.deviation(name) / scale))


def _of_kind(table: NoisyTable, kind: FigureKind) -> None:
    if table.spec.kind is not kind:
        raise DomainError(f"a table of {table.spec.kind}, expected one of {kind}")
