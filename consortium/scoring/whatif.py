"""What would change a score: for each own attribute each better bin (protocol 13.6).

Each line is a recomputation in the integers that decide: the attribute's weight is
exchanged, the own partial logit is clamped again, and η follows. So it says what the score
would have been, on today's other data; which bins a person can reach is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from consortium.features.bins import MISSING, Bins, bin_label, reaching_label
from consortium.features.columns import Direction, Disclosure, Kind
from consortium.features.schema import Schema
from consortium.scoring.layout import LOGIT_LIMIT
from consortium.scoring.reasons import (
    Attribute,
    Case,
    OwnBins,
    Part,
    Tables,
    own_bins,
    table_of,
)
from consortium.scoring.scorecard import UNIT_BITS, from_units, points


class Change(NamedTuple):
    """One attribute in a better bin, all else as it is."""

    feature: str
    now: str
    """Label of the bin that was scored."""
    then: str
    """Label of the better one, or of it and all beyond it."""
    gain: int
    points: int
    """The score that results: ``gain`` more than the one given."""


class Labels:
    """Texts of a model's bins, each made once."""

    def __init__(self, schema: Schema, bins: Bins) -> None:
        self._features = {feature.name: feature for feature in schema.features}
        self._bins = bins
        self._texts: dict[tuple[str, int, bool | None], str] = {}

    def of(self, feature: str, code: int, *, up: bool | None = None) -> str:
        """The text of a bin, or of it and all beyond it upwards (or downwards)."""
        key = (feature, code, up)
        text = self._texts.get(key)
        if text is None:
            edges = self._bins.of(feature)
            known = self._features[feature]
            if up is None:
                text = bin_label(known, edges, code)
            else:
                text = reaching_label(known, edges, code, up=up)
            self._texts[key] = text
        return text


@dataclass(frozen=True, slots=True)
class _Scored:
    """What of a score one family's attributes may change. Private."""

    points: int
    rest: int
    """eta without the family's term, units."""
    part: Part
    own: int
    """The own partial logit that was sent, by the tables."""
    raw: int
    """This family's share of it before it was clamped."""
    others: int
    """The other own families in the same total, each clamped; 0 where totals are apart."""

    def points_after(self, change: int) -> int:
        """The score with the own weight moved by ``change`` (protocol 13.1)."""
        part = self.part
        own = _clamped(self.others + _clamped(self.raw + change))
        logit = (part.total - self.own + own) // part.holders
        return points(from_units(self.rest + (part.slope * logit >> UNIT_BITS)))


def changes(
    case: Case, tables: Tables, labels: Labels, *, least: int = 1
) -> tuple[Change, ...]:
    """Each better bin of each own attribute that may be told, and what it would gain.

    Args:
        case: Private.
        tables: Of the model that scored it. Public.
        labels: Of the same model. Public.
        least: Points below which a change is not worth a line.

    Returns:
        In schema order, in each attribute by falling gain. A missing value is never a
        target. Empty for a person unknown here. Private.

    Raises:
        DomainError: a family without a table, or a code that is no bin.
    """
    found: list[Change] = []
    for part in case.parts:
        if part.holders > 0:
            table = table_of(tables, part.name)
            own = own_bins(table, case.codes)
            scored = _scored(case, part, _raw(own, table.centres))
            for attribute, code in own:
                if attribute.feature.disclosure is Disclosure.OWN:
                    family = scored[attribute.feature.family]
                    gains = _gains(family, attribute, code, least)
                    found += _lines(family, attribute, code, gains, labels=labels)
    return tuple(found)


def _raw(own: OwnBins, centres: Mapping[str, int]) -> dict[str, int]:
    logits: dict[str, int] = {}
    for attribute, code in own:
        family = attribute.feature.family
        logits.setdefault(family, -centres.get(family, 0))
        logits[family] += attribute.weights[code]
    return logits


def _scored(case: Case, part: Part, raw: Mapping[str, int]) -> dict[str, _Scored]:
    """By schema family; what was sent is each family clamped, and their sum again (7.1)."""
    rest = case.eta - (part.slope * (part.total // part.holders) >> UNIT_BITS)
    clamped = {family: _clamped(logit) for family, logit in raw.items()}
    together = sum(clamped.values())
    before, own = points(from_units(case.eta)), _clamped(together)
    return {
        family: _Scored(before, rest, part, own, logit, together - clamped[family])
        for family, logit in raw.items()
    }


def _clamped(logit: int) -> int:
    return max(-LOGIT_LIMIT, min(LOGIT_LIMIT, logit))


def _gains(scored: _Scored, attribute: Attribute, code: int, least: int) -> dict[int, int]:
    """Points gained by each better bin."""
    now, slope = attribute.weights[code], scored.part.slope
    gains: dict[int, int] = {}
    for other, weight in enumerate(attribute.weights):
        if slope * (weight - now) < 0 and other != MISSING:
            gain = scored.points_after(weight - now) - scored.points
            if gain >= least:
                gains[other] = gain
    return gains


def _lines(
    scored: _Scored,
    attribute: Attribute,
    code: int,
    gains: Mapping[int, int],
    *,
    labels: Labels,
) -> list[Change]:
    if not gains:
        return []
    name, now = attribute.name, labels.of(attribute.name, code)
    lines = [
        Change(
            name,
            now,
            labels.of(name, to, up=_beyond(attribute, to, gains)),
            gain,
            scored.points + gain,
        )
        for to, gain in gains.items()
    ]
    return sorted(lines, key=lambda line: -line.gain)


def _beyond(attribute: Attribute, to: int, gains: Mapping[int, int]) -> bool | None:
    """Which way all bins beyond ``to`` are no worse; None if that holds of neither.

    A direction promises which way is better, but weights carry noise: the words "or more"
    and "below" are used only where they are true of every bin that they cover.
    """
    feature = attribute.feature
    if feature.kind is Kind.CATEGORY or feature.direction is Direction.NONE:
        return None
    up = feature.direction is Direction.DOWN
    beyond = range(to + 1, len(attribute.weights)) if up else range(1, to)
    return None if any(gains.get(one, 0) < gains[to] for one in beyond) else up
