"""One column of the schema: a feature that a model may use, or a group that it may not.

A column that may never be used is refused while it is read (credit 5.3).
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from consortium.features.concepts import (
    CONSENT_NEEDED,
    FORBIDDEN,
    Concept,
    GroupConcept,
    why_not_a_feature,
)
from consortium.features.fields import Fields
from consortium.features.grids import Scale, grid_edges

MAX_BINS = 255
"""Bins of one feature, the missing bin included: a code is one byte."""

COLUMN = r"[A-Za-z][A-Za-z0-9_]{0,63}"
_FAMILY = r"[a-z][a-z0-9_]{0,31}"
_REASON = r"R(0[1-9]|1[0-9]|[4-9][0-9])"
"""Codes of attributes; R20 to R39 are those of rules and of other partners (credit 3.3)."""


class Kind(StrEnum):
    """What a column's values are."""

    NUMBER = "number"
    INTEGER = "integer"
    CATEGORY = "category"


class Direction(StrEnum):
    """How risk must move with the value, where bins are made from noisy counts."""

    UP = "up"
    """A larger value is never less risky."""
    DOWN = "down"
    NONE = "none"


class Disclosure(StrEnum):
    """What the holder may say about the feature when a score is explained."""

    OWN = "own"
    """Its own reason."""
    FAMILY_TOTAL = "family_total"
    """Only as part of its family's total."""
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column that a model may use.

    ``range`` bounds number and integer features: a value outside is counted and put into the
    end bin. ``edges`` are inner cut points: bins are ``(-inf, e0)``, ``[e0, e1)``, ...,
    ``[ek, inf)``. Without edges the bins come from one noisy histogram over 64 cells of the
    range (protocol 5.3). A missing value always has a bin of its own, and so has a category
    that is not listed.
    """

    name: str
    family: str
    kind: Kind
    unit: str
    concept: Concept
    range: tuple[str, str] | None
    scale: Scale
    edges: tuple[str, ...]
    categories: tuple[str, ...]
    direction: Direction
    disclosure: Disclosure
    reason: str
    reason_zh: str
    reason_en: str

    def to_canonical(self) -> dict[str, object]:
        """All keys, defaults written out."""
        return {
            "name": self.name,
            "family": self.family,
            "kind": self.kind.value,
            "unit": self.unit,
            "concept": self.concept.value,
            "range": list(self.range or ()),
            "scale": self.scale.value,
            "edges": list(self.edges),
            "categories": list(self.categories),
            "direction": self.direction.value,
            "disclosure": self.disclosure.value,
            "reason": self.reason,
            "reason_zh": self.reason_zh,
            "reason_en": self.reason_en,
        }

    @property
    def consent_needed(self) -> str | None:
        """Purpose code of the consent that each row must rest on, if any (credit 2.4)."""
        return CONSENT_NEEDED.get(self.concept)

    @property
    def needs_private_bins(self) -> bool:
        """Whether its edges are to be found by a noisy histogram (protocol 5.3)."""
        return self.kind is not Kind.CATEGORY and not self.edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An attribute kept at the node for the fairness report, by codes or by bands."""

    name: str
    concept: GroupConcept
    values: tuple[tuple[str, str], ...]
    """Code and what it stands for; empty if ``edges`` cut a number into bands."""
    edges: tuple[str, ...]

    def to_canonical(self) -> dict[str, object]:
        """All keys."""
        return {
            "name": self.name,
            "concept": self.concept.value,
            "values": dict(self.values),
            "edges": list(self.edges),
        }


def read_feature(item: object, source: str) -> Feature:
    """Check one ``[[feature]]``; SchemaError names the key that breaks a rule."""
    fields = Fields(item, f"{source}: feature")
    name = fields.name("name", COLUMN)
    fields.rename(f"{source}: feature {name!r}")
    kind = fields.choice("kind", Kind)
    bounds = fields.decimals("range")
    feature = Feature(
        name=name,
        family=fields.name("family", _FAMILY),
        kind=kind,
        unit=fields.text("unit"),
        concept=_feature_concept(fields),
        range=(bounds[0], bounds[1]) if len(bounds) == len(("low", "high")) else None,
        scale=fields.choice("scale", Scale, Scale.LINEAR),
        edges=fields.decimals("edges"),
        categories=fields.texts("categories"),
        direction=fields.choice("direction", Direction, Direction.NONE),
        disclosure=fields.choice("disclosure", Disclosure, Disclosure.OWN),
        reason=fields.name("reason", _REASON),
        reason_zh=fields.text("reason_zh"),
        reason_en=fields.text("reason_en"),
    )
    fields.done()
    if why := why_not_a_feature(name.lower()):
        raise fields.refuse("name", why)
    _check_values(feature, fields)
    return feature


def _feature_concept(fields: Fields) -> Concept:
    word = fields.text("concept")
    if why := why_not_a_feature(word):
        raise fields.refuse("concept", f"{word!r} is {why}")
    if word not in set(Concept):
        raise fields.refuse("concept", f"{word[:64]!r} is none of {', '.join(Concept)}")
    return Concept(word)


def _check_values(feature: Feature, fields: Fields) -> None:
    if feature.kind is Kind.CATEGORY:
        _check_category(feature, fields)
        return
    if feature.categories:
        raise fields.refuse("categories", f"not for kind {feature.kind}")
    if feature.range is None:
        raise fields.refuse("range", "expected two decimals, [low, high]")
    low, high = map(Decimal, feature.range)
    if not low < high or (feature.scale is Scale.LOG and low <= 0):
        raise fields.refuse("range", "expected low < high, and low > 0 on a log scale")
    _check_edges(feature, fields, feature.range)


def _check_category(feature: Feature, fields: Fields) -> None:
    if feature.range or feature.edges or feature.direction is not Direction.NONE:
        raise fields.refuse("kind", "a category has no range, edges or direction")
    if not 1 <= len(feature.categories) <= MAX_BINS - 2:
        raise fields.refuse("categories", f"expected 1 to {MAX_BINS - 2} texts")


def _check_edges(feature: Feature, fields: Fields, bounds: tuple[str, str]) -> None:
    if len(feature.edges) > MAX_BINS - 2:
        raise fields.refuse("edges", f"expected at most {MAX_BINS - 2} of them")
    if feature.kind is Kind.INTEGER and any("." in text for text in (*bounds, *feature.edges)):
        raise fields.refuse("edges", "whole numbers only for kind integer")
    # A range too narrow for 64 cells of six digits fails here as well.
    edges = feature.edges or grid_edges(*bounds, feature.scale)
    low, high = map(Decimal, bounds)
    cuts = [low, *map(Decimal, edges)]
    if any(right <= left for left, right in pairwise(cuts)) or cuts[-1] > high:
        raise fields.refuse("edges", "expected rising cut points, above low and up to high")


def read_group(item: object, source: str) -> Group:
    """Check one ``[[group]]``; SchemaError names the key that breaks a rule."""
    fields = Fields(item, f"{source}: group")
    name = fields.name("name", COLUMN)
    fields.rename(f"{source}: group {name!r}")
    word = fields.text("concept")
    if word in FORBIDDEN:
        raise fields.refuse("concept", f"{word!r} is {FORBIDDEN[word]}")
    if word not in set(GroupConcept):
        raise fields.refuse("concept", f"{word[:64]!r} is none of {', '.join(GroupConcept)}")
    group = Group(
        name=name,
        concept=GroupConcept(word),
        values=fields.pairs("values"),
        edges=fields.decimals("edges"),
    )
    fields.done()
    if bool(group.values) == bool(group.edges):
        raise fields.refuse("values", "expected either values or edges")
    if any(Decimal(right) <= Decimal(left) for left, right in pairwise(group.edges)):
        raise fields.refuse("edges", "expected rising cut points")
    return group
