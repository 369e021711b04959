"""Plans of table releases: from the text of a plan file, and back (protocol 13.11).

Like every plan it goes through one door, and members, schema, floors and delta are the
manifest's. A figure stands in it with all its cells, so that people can read what is counted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consortium.errors import ConfigurationError
from consortium.figure import Axis, FigureKind, FigureSpec, Filter, Measure
from consortium.ids import PartnerId, parse_partner_id
from consortium.plan import TrainingPlan, decimal

if TYPE_CHECKING:
    from coordinator.plans import PlanContext

_PLAN = {
    "model",
    "noise",
    "honest_fraction",
    "epsilon",
    "attempts",
    "persons",
    "holders",
    "again",
}
_FIGURE = {"kind", "first", "last", "cells_per_person", "synthetic"}
_TABLES = {"plan", "figure", "axis", "measure", "filter"}
_NOISE_MODES = ("shared", "own")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureTerms:
    """What an operator decides of a table's run."""

    epsilon: str = "1"
    attempts: int = 2
    """Attempts that the noise is made for."""
    persons: int = 1_000_000
    """A public number above all persons, beside which delta is printed."""
    holders: tuple[PartnerId, ...] = ()
    """Who counts; empty: all active partners."""
    again: bool = False
    """Whether a table that is there already is to be counted, and charged, once more."""


def table_plan_text(spec: FigureSpec, terms: FigureTerms) -> str:
    """The plan file of one table release."""
    plan: dict[str, object] = {
        "model": "table",
        "epsilon": terms.epsilon,
        "attempts": terms.attempts,
        "persons": terms.persons,
    }
    if terms.holders:
        plan["holders"] = list(terms.holders)
    if terms.again:
        plan["again"] = True
    figure = {
        "kind": spec.kind.value,
        "first": spec.first,
        "last": spec.last,
        "cells_per_person": spec.cells_per_person,
        "synthetic": spec.synthetic,
    }
    lines = [*_lines("[plan]", plan), *_lines("[figure]", figure)]
    for axis in spec.axes:
        lines += _lines("[[axis]]", {"name": axis.name, "cells": list(axis.cells)})
    for one in spec.measures:
        values = {"name": one.name, "bound": one.bound, "signed": one.signed}
        lines += _lines("[[measure]]", values)
    if spec.filters:
        lines += _lines("[filter]", {one.name: one.value for one in spec.filters})
    return "\n".join(lines) + "\n"


def _lines(head: str, values: Mapping[str, object]) -> list[str]:
    # JSON's texts, whole numbers, truth values and lists of texts are TOML's too.
    return [head, *(f"{name} = {json.dumps(value)}" for name, value in values.items()), ""]


def parse_table_plan(document: Mapping[str, object], context: "PlanContext") -> TrainingPlan:
    """The plan of a file of the kind ``table``, as it was read.

    Raises:
        ConfigurationError: an unknown key, or a value outside its range.
    """
    # These load numpy; the operator's other commands need neither.
    from consortium.credit.figure_forms import check_cells  # noqa: PLC0415
    from consortium.credit.figures import Terms, figure_plan  # noqa: PLC0415

    if unknown := set(document) - _TABLES:
        raise ConfigurationError(f"plan: unknown table {min(unknown)!r}")
    plan = _table(document.get("plan"), "[plan]", _PLAN)
    spec = _spec(document)
    check_cells(spec)
    policy, partners = context.manifest.policy, context.manifest.partners
    noise = str(plan.get("noise", "shared"))
    if noise not in _NOISE_MODES:
        raise ConfigurationError(f"plan.noise: {noise!r} is none of {', '.join(_NOISE_MODES)}")
    active = [member.id for member in partners]
    holders = [parse_partner_id(str(one)) for one in _list(plan.get("holders", active))]
    if strangers := set(holders) - set(active):
        raise ConfigurationError(f"plan.holders: {min(strangers)} is no active partner")
    epsilon = str(plan.get("epsilon", "1"))
    decimal(epsilon, "plan.epsilon", low="0.01", high="8")
    honest = str(plan.get("honest_fraction") or policy.honest_fraction)
    decimal(honest, "plan.honest_fraction", low="0.01", high=policy.honest_fraction)
    return figure_plan(
        spec,
        Terms(
            epsilon=epsilon,
            delta=policy.delta,
            max_partners_per_person=policy.max_partners_per_person,
            honest_fraction=honest,
            attempts=_whole(plan, "attempts", 2, most=3),
            min_partners=policy.partners_floor(len(partners), noise),
            noise_mode=noise,
            persons=_whole(plan, "persons", 1_000_000, most=10**12),
        ),
        run=context.run,
        holders=holders,
        under=(context.manifest.digest, context.schema.digest, context.code),
    )


def _spec(document: Mapping[str, object]) -> FigureSpec:
    figure = _table(document.get("figure"), "[figure]", _FIGURE)
    filters = document.get("filter", {})
    if not isinstance(filters, dict):
        raise ConfigurationError("plan: [filter] is no table")
    try:
        kind = FigureKind(str(figure.get("kind", "")))
    except ValueError as error:
        known = ", ".join(FigureKind)
        raise ConfigurationError(f"figure.kind: {error}; known: {known}") from error
    synthetic = figure.get("synthetic", False)
    if not isinstance(synthetic, bool):
        raise ConfigurationError("figure.synthetic: not true or false")
    return FigureSpec(
        kind=kind,
        first=str(figure.get("first", "")),
        last=str(figure.get("last", "")),
        axes=tuple(_axis(one) for one in _list(document.get("axis", []))),
        measures=tuple(_measure(one) for one in _list(document.get("measure", []))),
        filters=tuple(
            Filter(name=str(name), value=str(filters[name])) for name in sorted(filters)
        ),
        cells_per_person=_whole(figure, "cells_per_person", 1, most=64),
        synthetic=synthetic,
    )


def _axis(value: object) -> Axis:
    table = _table(value, "[[axis]]", {"name", "cells"})
    cells = tuple(str(cell) for cell in _list(table.get("cells", [])))
    return Axis(name=str(table.get("name", "")), cells=cells)


def _measure(value: object) -> Measure:
    table = _table(value, "[[measure]]", {"name", "bound", "signed"})
    return Measure(
        name=str(table.get("name", "")),
        bound=_whole(table, "bound", 1, most=10**12),
        signed=table.get("signed") is True,
    )


def _table(value: object, name: str, allowed: set[str]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"plan: {name} is missing, or no table")
    if unknown := set(value) - allowed:
        raise ConfigurationError(f"plan: unknown key {min(unknown)!r} in {name}")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ConfigurationError(f"plan: {value!r:.60} is no list")
    return value


def _whole(table: Mapping[str, object], key: str, default: int, *, most: int) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigurationError(f"plan: {key} = {value!r} is no whole number of 1 to {most}")
    return value
