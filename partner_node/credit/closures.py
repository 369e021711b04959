"""Closure risk of a partner's own lines, by cause, and that it is not default (credit 4.14).

Figures are exact and of single lines: they stay at the partner. Nothing here changes a line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from consortium.credit.terms import MILLION
from consortium.errors import DataError, DecodeError
from consortium.plan import ModelKind
from models.calibration import probabilities
from models.closure_bins import BIN_COUNTS, CAUSES, CLOSURES, FEATURES, WITHDRAWN
from models.document import ModelDocument
from models.hazard import (
    UNIT,
    Incidences,
    calibrated,
    carried_by,
    closure_logits,
    incidences,
)
from models.line_months import LineTable, at, idle_months, last_month
from partner_node.credit.line_months import LinesRead

Flags = NDArray[np.bool_]

DORMANT_MONTHS = 12
CALM_MONTHS = 6
MOST_CARRIERS = 3
_LEAST_CARRIED = 0.05
"""Of a log-hazard; below that an attribute carries nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRisk:
    """One line at its latest month end; chances within 90 days in millionths. Private."""

    line: str
    by_cause: Mapping[str, int]
    """``CAUSES`` and the withdrawal of the product; they add up to at most a million."""
    cause: str
    """The closure that is most likely."""
    carried_by: tuple[str, ...]
    """Attributes that carry it, largest first."""
    dormant_good: bool
    """Not used for twelve months and nothing past due in six."""
    pd: int | None
    """Chance of default where the partner knows one, millionths."""

    @property
    def closure(self) -> int:
        """Any closure by the lender, the withdrawal of the product included."""
        return sum(n for name, n in self.by_cause.items() if name != CAUSES[CLOSURES])


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRisk:
    """Medians over some lines; None where nothing is known. Private."""

    name: str
    lines: int
    closure: int | None
    pd: int | None


def foresee(
    document: ModelDocument, read: LinesRead, pds: Mapping[str, int]
) -> tuple[LineRisk, ...]:
    """Closure risk of every line that is open at the latest month end, in the table's order.

    Args:
        document: A released closure model. Public.
        read: The partner's lines. Private.
        pds: Chance of default by line, millionths, where one is known. Private.

    Raises:
        DecodeError: the document is of another kind of model.
        DataError: no line is open.
    """
    if document.plan.model is not ModelKind.HAZARD:
        raise DecodeError("not a closure model")
    table, weights = read.table, document.model.weights[0]
    ahead = at(table, last_month(table), one_each=False)
    if not ahead.row.size:
        raise DataError("no line is open at the latest month end")
    raw = incidences(weights, ahead.codes, BIN_COUNTS)
    chance = probabilities(closure_logits(raw), document.model.calibration[0])
    certain = incidences(weights, ahead.codes, BIN_COUNTS, withdrawn=ahead.withdrawn)
    found = _together(raw, certain, chance)
    good = dormant_good(table)[ahead.row]
    risks = []
    carried = [
        carried_by(weights, ahead.codes[:, 0], BIN_COUNTS, cause) for cause in range(CLOSURES)
    ]
    for place, row in enumerate(ahead.row.tolist()):
        name = read.names[int(table.line[row])]
        own = found.by_cause[place]
        leading = int(np.argmax(own[:CLOSURES]))
        certainly = bool(ahead.withdrawn[place])
        risks.append(
            LineRisk(
                line=name,
                by_cause=_millionths(own),
                cause=WITHDRAWN if certainly else CAUSES[leading],
                carried_by=() if certainly else _carriers(carried[leading][place]),
                dormant_good=bool(good[place]),
                pd=pds.get(name),
            )
        )
    return tuple(risks)


def _together(raw: Incidences, certain: Incidences, chance: NDArray[np.float64]) -> Incidences:
    """Recalibrated chances; where the product ends, its end takes what was still open."""
    whole = calibrated(raw, chance)
    share = np.where(raw.closure > 0, whole.closure / np.maximum(raw.closure, 1), 1.0)
    ends = certain.by_cause[:, len(CAUSES)] > 0
    before = calibrated(certain, np.minimum(certain.closure * share / UNIT, 1.0))
    return Incidences(
        np.where(ends[:, None], before.by_cause, whole.by_cause),
        np.where(ends, before.open, whole.open),
    )


def dormant_good(table: LineTable) -> Flags:
    """At each month end: unused for twelve months, and nothing past due in the last six."""
    late = table.dpd > 0
    lately = late.copy()
    for back in range(1, CALM_MONTHS):
        same = np.zeros(len(table), dtype=np.bool_)
        same[back:] = table.line[back:] == table.line[:-back]
        lately |= same & np.roll(late, back)
    return (idle_months(table) >= DORMANT_MONTHS) & ~lately


def groups_of(risks: tuple[LineRisk, ...]) -> tuple[GroupRisk, ...]:
    """That closure is not default: all lines, dormant good payers, the tenth worst by PD."""
    known = sorted((one.pd for one in risks if one.pd is not None), reverse=True)
    cut = known[len(known) // 10] if known else None
    parts = {
        "all open lines": risks,
        "dormant good payers": tuple(one for one in risks if one.dormant_good),
        "the tenth with the highest PD": tuple(
            one for one in risks if cut is not None and one.pd is not None and one.pd >= cut
        ),
    }
    return tuple(
        GroupRisk(
            name=name,
            lines=len(lines),
            closure=_median([one.closure for one in lines]),
            pd=_median([one.pd for one in lines if one.pd is not None]),
        )
        for name, lines in parts.items()
    )


def _millionths(units: NDArray[np.int64]) -> dict[str, int]:
    """Rounded down, so that they add up to at most a million."""
    names = (*CAUSES, WITHDRAWN)
    return {
        name: int(n) * MILLION // UNIT for name, n in zip(names, units.tolist(), strict=True)
    }


def _carriers(parts: NDArray[np.float64]) -> tuple[str, ...]:
    order = np.argsort(-parts, kind="stable")[:MOST_CARRIERS]
    return tuple(FEATURES[place].name for place in order if parts[place] >= _LEAST_CARRIED)


def _median(values: list[int]) -> int | None:
    return int(median(values)) if values else None
