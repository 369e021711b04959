"""The one table of a restart campaign: wave by arm by fate, and what it may be asked for.

A look has one table, and its specification follows from the plan and the state: turn and number
of the look are filters of it. So a node can tell whether a table is due, no look can be taken
twice under another name, and asking again for the same look costs nothing.
"""

from dataclasses import replace
from datetime import date

from consortium.credit.figure_forms import month_of
from consortium.credit.figures import NoisyTable
from consortium.credit.waves import Arm, Campaign, CampaignPlan, Cells, Fate, wave_label
from consortium.errors import DomainError, OutOfOrderError
from consortium.figure import Axis, FigureKind, FigureSpec, Filter

_NAMED = 40
"""Hex digits of a digest that a label holds."""


def look_of(plan: CampaignPlan, now: Campaign, *, on: date) -> FigureSpec:
    """The table of the next look at a wave.

    Args:
        plan: The campaign's.
        now: Where it stands.
        on: Day of the look: its month ends the period.

    Raises:
        OutOfOrderError: no wave runs, or all planned looks are taken.
    """
    if not now.may_offer or now.looks >= plan.stop.looks:
        raise OutOfOrderError("no wave runs, or its planned looks are over")
    filters = {
        "campaign": plan.name,
        "look": str(now.looks + 1),
        "plan": plan.digest[:_NAMED],
        "turn": str(now.turn),
    }
    return FigureSpec(
        kind=FigureKind.CAMPAIGN,
        first=month_of(plan.begins),
        last=month_of(on),
        axes=(
            Axis(name="wave", cells=tuple(map(wave_label, range(len(plan.percents))))),
            Axis(name="wave_arm", cells=tuple(Arm)),
            Axis(name="fate", cells=tuple(Fate)),
        ),
        filters=tuple(Filter(name=name, value=value) for name, value in filters.items()),
        synthetic=plan.synthetic,
    )


def is_look(spec: FigureSpec, plan: CampaignPlan, now: Campaign) -> bool:
    """Whether a table is that of the look that is due, in whichever month it is taken."""
    try:
        due = look_of(plan, now, on=plan.begins)
    except OutOfOrderError:
        return False
    return spec == replace(due, last=spec.last)


def cells_of(table: NoisyTable, wave: int) -> Cells:
    """The cells of one wave as released.

    Raises:
        DomainError: a table of another kind, or without such a wave.
    """
    if table.spec.kind is not FigureKind.CAMPAIGN or not 0 <= wave < table.spec.shape[0]:
        raise DomainError("not a campaign's table, or it has no such wave")
    found = table.measure("persons")[wave]
    return {
        (arm, fate): float(found[row, column])
        for row, arm in enumerate(Arm)
        for column, fate in enumerate(Fate)
    }


def deviation_of(table: NoisyTable) -> float:
    """Of the noise of one cell, in persons."""
    return table.deviation("persons")
