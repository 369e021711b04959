"""A scenario run as one document: each grade in every world against the base."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import cast

from consortium.credit.contagion import Estimate
from consortium.credit.figures import FigureKind, NoisyTable, n_band
from consortium.credit.scenario import Scenario, counted
from consortium.credit.scenario_table import GradeLine, World, worlds_of
from consortium.credit.shock_tables import scenarios_of, worlds_table
from consortium.errors import NotFoundError
from coordinator.credit.stress import TABLE_PRICE, Stored, table_behind
from coordinator.credit.stress_report import ALL, Document

KIND = "scenario stress"
FIGURES = (
    *("persons", "pd", "loss", "approval_rate"),
    *("pd_change", "loss_change", "approval_change"),
)


def report_of(stored: Stored, scenarios: Sequence[Scenario], *, month: str = "") -> Document:
    """Figures by grade of the base and of every scenario.

    Raises:
        NotFoundError: no such table was released; names what to run and its price.
    """
    table = _table(stored, scenarios, month)
    worlds = worlds_of(worlds_table(table, scenarios), scenarios)
    zh, en = "情景压力测试", "Scenario stress"
    if table.synthetic:
        zh, en = f"合成数据 · {zh}", f"SYNTHETIC · {en}"
    return {
        "kind": KIND,
        "title": {"zh": zh, "en": en},
        "synthetic": table.synthetic,
        "period": table.spec.last,
        "epsilon": table.epsilon,
        "interval": "95 %, of the release's noise; the figures speak of the persons counted",
        "scenarios": [{"name": one.name, "drivers": one.drivers} for one in scenarios],
        "worlds": [_world(one) for one in worlds],
        "releases": [asdict(table_behind(table))],
    }


def _table(stored: Stored, scenarios: Sequence[Scenario], month: str) -> NoisyTable:
    wanted = counted(scenarios)
    found = [
        one
        for one in stored.tables
        if one.spec.kind is FigureKind.SCENARIO
        and month in ("", one.spec.last)
        and scenarios_of(one.spec) == wanted
    ]
    if not found:
        names = ", ".join(one.name for one in wanted) or "one that shocks something"
        raise NotFoundError(
            f"no SCENARIO release{f' of {month}' if month else ''} of these drivers "
            f"({names}): run the figure scenario; `riskweave stress plan DIR scenario "
            f"--scenario FILE` prints its plan ({TABLE_PRICE})"
        )
    return max(found, key=lambda one: (one.spec.last, one.release))


def _world(world: World) -> Document:
    return {"name": world.name, "lines": [_line(one) for one in world.lines]}


def _line(line: GradeLine) -> Document:
    return {
        "grade": ALL if line.grade is None else line.grade,
        "n_band": n_band(line.persons.value),
        **{name: _estimate(getattr(line, name)) for name in FIGURES},
    }


def _estimate(one: Estimate | None) -> Mapping[str, float] | None:
    if one is None:
        return None
    values = {"value": one.value, "low": one.low, "high": one.high}
    return {name: float(f"{value:.6g}") + 0.0 for name, value in values.items()}


def lines_of(document: Document) -> Iterable[tuple[str, Document]]:
    """World and line, in order."""
    for world in cast("list[Document]", document["worlds"]):
        for line in cast("list[Document]", world["lines"]):
            yield str(world["name"]), line


def triple(line: Document, name: str) -> tuple[float, float, float] | None:
    """A figure with its interval; None where it is suppressed."""
    found = cast("Mapping[str, float] | None", line[name])
    return None if found is None else (found["value"], found["low"], found["high"])


def as_csv(document: Document) -> str:
    """One figure a line; a suppressed one is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("label", "world", "grade", "n_band", "figure", "value", "low", "high")
    writer.writerow((*head, "epsilon", "period"))
    label = "SYNTHETIC" if document["synthetic"] else ""
    for world, line in lines_of(document):
        for name in FIGURES:
            values = triple(line, name) or ("", "", "")
            place = (label, world, line["grade"], line["n_band"], name)
            writer.writerow((*place, *values, document["epsilon"], document["period"]))
    return out.getvalue()


def summary(document: Document) -> Iterable[str]:
    """A few lines for a terminal: all grades together."""
    titles = cast("Mapping[str, str]", document["title"])
    yield f"{titles['en']}, {document['period']}, epsilon {document['epsilon']} for a person"
    for world, line in lines_of(document):
        if line["grade"] == ALL:
            pd, loss, rate = (triple(line, name) for name in FIGURES[1:4])
            told = [
                f"{name} {scale * one[0]:,.{digits}f} "
                f"[{scale * one[1]:,.{digits}f}, {scale * one[2]:,.{digits}f}]"
                for name, one, scale, digits in (
                    ("PD %", pd, 100, 3),
                    ("EL", loss, 0.01, 0),
                    ("approved %", rate, 100, 2),
                )
                if one is not None
            ]
            yield f"{world:>14} (n {line['n_band']}): {', '.join(told) or 'suppressed'}"
