"""The ecosystem view as one report: from stored tables to sections, JSON and CSV (credit 4.7).

Tables go in, figures come out: nothing here asks a node, and the same tables make the same
bytes. Made-up rows make a report that says so in its title and in the names of its files.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from consortium.credit import (
    contribution_table,
    dependence,
    indices,
    market,
    premium_figure,
    premium_fit,
    trends,
)
from consortium.credit.figures import NoisyTable
from consortium.credit.shown import Section, Shown
from consortium.errors import ConfigurationError
from consortium.figure import FigureKind
from coordinator.credit.trend_words import SYNTHETIC

_STEP_POINTS = 5.0
_PLACES = 6

Maker = Callable[[NoisyTable], Section]


def _demand(table: NoisyTable) -> Section:
    if indices.not_weekly(table) or len(table.spec.measures) == 1:
        return indices.no_index(table, "demand")
    return indices.demand(table)


def _appetite(table: NoisyTable) -> Section:
    weekly = not indices.not_weekly(table) and table.spec.axes[1].name == "grade"
    return indices.appetite(table) if weekly else indices.no_index(table, "appetite")


MAKERS: Mapping[FigureKind, tuple[Maker, ...]] = {
    FigureKind.DEMAND: (_demand,),
    FigureKind.APPROVALS: (_appetite, trends.approvals),
    FigureKind.VINTAGES: (trends.vintages,),
    FigureKind.ROLL_RATES: (trends.roll_rates,),
    FigureKind.CLOSURES: (trends.closures,),
    FigureKind.CONCENTRATION: (market.concentration,),
    FigureKind.FAIRNESS: (market.fairness,),
    FigureKind.PREMIUM: (premium_figure.section,),
    FigureKind.DEPENDENCE: (dependence.section,),
    FigureKind.CONTRIBUTION: (contribution_table.section,),
    FigureKind.PREMIUM_FIT: (premium_fit.section,),
}
"""What is made of a table of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The ecosystem view over some tables."""

    sections: tuple[Section, ...]

    @property
    def synthetic(self) -> bool:
        """Whether any of its rows are made up."""
        return any(one.table.synthetic for one in self.sections)

    @property
    def stem(self) -> str:
        """What its files are called: by their releases, and SYNTHETIC where they are so."""
        first = min((one.table.release for one in self.sections), default="empty")
        return f"{'SYNTHETIC-' if self.synthetic else ''}trends-{first[:12]}"


def report_of(tables: Iterable[NoisyTable]) -> Report:
    """The report over these tables, in the order of the kinds.

    Raises:
        ConfigurationError: no table of a kind that this view is of.
    """
    order = list(MAKERS)
    listed = sorted(
        (one for one in tables if one.spec.kind in MAKERS),
        key=lambda one: (order.index(one.spec.kind), one.spec.first, one.release),
    )
    sections = tuple(
        section
        for table in listed
        for make in MAKERS[table.spec.kind]
        if (section := make(table)).figures
    )
    if not sections:
        raise ConfigurationError("no table that the report is made of")
    return Report(sections=sections)


def steps_of(section: Section) -> tuple[str, ...]:
    """Weeks in which an index changed its level; of other sections none."""
    if section.name not in ("demand", "appetite"):
        return ()
    return indices.steps(section, least=_STEP_POINTS)


def verdict_text(one: Shown) -> str:
    """The verdict of a fairness figure; empty for every other."""
    return market.verdict_of(one).value if one.name in market.TESTS else ""


def as_json(report: Report) -> str:
    """The report as JSON, sorted, with every figure's band and every table's cost."""
    return json.dumps(
        {
            "type": "riskweave/trends/v1",
            "synthetic": report.synthetic,
            "title": "Credit ecosystem" + (f" ({SYNTHETIC})" if report.synthetic else ""),
            "sections": [_section(one) for one in report.sections],
        },
        indent=1,
        sort_keys=True,
    )


def _section(section: Section) -> dict[str, object]:
    table = section.table
    return {
        "name": section.name,
        "release": table.release,
        "run": table.run,
        "kind": table.spec.kind.value,
        "first": table.spec.first,
        "last": table.spec.last,
        "filters": {one.name: one.value for one in table.spec.filters},
        "partners": table.partners,
        "epsilon": table.epsilon,
        "epsilon_all_honest": table.epsilon_all_honest,
        "epsilon_others_collude": table.epsilon_others_collude,
        "delta": table.delta,
        "n_band": table.band,
        "synthetic": table.synthetic,
        "axes": list(section.axes),
        "steps": list(steps_of(section)),
        "figures": [
            {
                "name": one.name,
                "labels": list(one.labels),
                "value": _rounded(one.value),
                "low": _rounded(one.low),
                "high": _rounded(one.high),
                "n_band": one.band,
                "note": "" if one.why is None else one.why.value,
                "verdict": verdict_text(one),
            }
            for one in section.figures
        ],
    }


def as_csv(report: Report) -> str:
    """Every figure as one row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            *("section", "release", "first", "last", "epsilon", "delta", "synthetic", "figure"),
            *("labels", "value", "low", "high", "n_band", "note", "verdict"),
        ]
    )
    for section in report.sections:
        table = section.table
        for one in section.figures:
            writer.writerow(
                [
                    *(section.name, table.release, table.spec.first, table.spec.last),
                    *(table.epsilon, table.delta, SYNTHETIC if table.synthetic else ""),
                    *(one.name, " ".join(one.labels)),
                    *(_rounded(part) for part in (one.value, one.low, one.high)),
                    *(one.band, "" if one.why is None else one.why.value, verdict_text(one)),
                ]
            )
    return out.getvalue()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _PLACES)
