"""The feature schema: what each column means, and the only bounds data is held against.

All members train and score by one schema. It is signed through its digest, which stands in
the manifest that every partner signs (protocol 2.2). Everything in it is public knowledge:
a range or an edge that was read off somebody's rows is a leak (protocol 5.1).

A column that may never be used is refused here, so that no plan, model or node has to
remember to (credit 5.3). The TOML form is documented by ``examples/own_data/schema.toml``.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import rfc8785

from consortium.errors import SchemaError
from consortium.features.columns import (
    COLUMN,
    Direction,
    Disclosure,
    Feature,
    Group,
    Kind,
    read_feature,
    read_group,
)
from consortium.features.fields import Fields
from consortium.features.toml_text import tables_of
from consortium.ids import Digest, digest_of

__all__ = [
    "Direction",
    "Disclosure",
    "Feature",
    "Group",
    "Kind",
    "LabelDefinition",
    "Schema",
    "canonical_bytes",
    "parse_schema",
]

_DOMAIN = b"riskweave/schema/v1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDefinition:
    """What 1 means; models with different definitions are never compared (credit 2.1)."""

    name: str
    definition: str


@lru_cache(maxsize=8)
def _digest_of(schema: "Schema") -> Digest:
    return digest_of(_DOMAIN + canonical_bytes(schema.to_canonical()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All features of a federation, in the order in which reasons and vectors list them."""

    name: str
    version: int
    label: LabelDefinition
    features: tuple[Feature, ...]
    groups: tuple[Group, ...]

    @property
    def digest(self) -> Digest:
        r"""``H("riskweave/schema/v1\n" ‖ JCS(schema))`` (protocol 0.3, 0.5)."""
        return _digest_of(self)

    @property
    def families(self) -> tuple[str, ...]:
        """Family names in the order in which they first appear."""
        return tuple(dict.fromkeys(feature.family for feature in self.features))

    def of_families(self, names: Collection[str]) -> tuple[Feature, ...]:
        """The features of these families, in schema order; SchemaError for an unknown one."""
        unknown = sorted(set(names) - set(self.families))
        if unknown:
            known = ", ".join(self.families)
            raise SchemaError(f"schema {self.name}: no family {unknown[0]!r}; it has {known}")
        return tuple(feature for feature in self.features if feature.family in names)

    def feature(self, name: str) -> Feature:
        """The feature of this name, or SchemaError."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise SchemaError(f"schema {self.name}: no feature {name!r}")

    @classmethod
    def from_canonical(cls, value: object, *, source: str = "schema") -> "Schema":
        """Check every rule again and return the schema; SchemaError names what breaks one."""
        fields = Fields(value, source)
        label = Fields(fields.take("label") or {}, f"{source}: label")
        schema = cls(
            name=fields.name("name", r"[a-z0-9][a-z0-9_-]{0,63}"),
            version=fields.integer("version"),
            label=LabelDefinition(
                name=label.name("name", COLUMN), definition=label.text("definition")
            ),
            features=tuple(read_feature(item, source) for item in fields.tables("feature")),
            groups=tuple(read_group(item, source) for item in fields.tables("group")),
        )
        label.done()
        fields.done()
        _check_whole(schema, source)
        return schema

    def to_canonical(self) -> dict[str, object]:
        """Strings, integers, lists and objects only: the form that is hashed and sent."""
        return {
            "name": self.name,
            "version": self.version,
            "label": {"name": self.label.name, "definition": self.label.definition},
            "feature": [feature.to_canonical() for feature in self.features],
            "group": [group.to_canonical() for group in self.groups],
        }


def parse_schema(text: str, *, source: str) -> Schema:
    """Read a schema file.

    A feature may name a shared ``[grid.NAME]`` instead of its own range, scale and edges;
    its reason's texts stand once in ``[reason.CODE]``. Both are written out before the rules
    are checked, so the digest does not depend on how the file shares them. Decimals keep
    the digits that were written.

    Args:
        text: TOML. Public.
        source: The file's name, for the texts of errors.

    Raises:
        SchemaError: naming file, feature, key, what was seen and what is expected.
    """
    try:
        data = tables_of(text)
    except ValueError as error:
        raise SchemaError(f"{source}: not TOML: {error}") from error
    grids = Fields(data.pop("grid", {}), f"{source}: grid")
    reasons = Fields(data.pop("reason", {}), f"{source}: reason")
    features = data.get("feature")
    if isinstance(features, list):
        shared = {"grid": _tables(grids), "reason": _tables(reasons)}
        data["feature"] = [_written_out(item, shared, source) for item in features]
    return Schema.from_canonical(data, source=source)


def _tables(fields: Fields) -> dict[str, Mapping[str, object]]:
    return {name: fields.table(name) for name in fields.names()}


def _written_out(
    item: object, shared: Mapping[str, Mapping[str, Mapping[str, object]]], source: str
) -> object:
    if not isinstance(item, dict):
        return item
    where = f"{source}: feature {item.get('name')!r}"
    grid = item.pop("grid", None)
    if grid is not None:
        if grid not in shared["grid"]:
            raise SchemaError(f"{where}: grid: no [grid.{grid}] in this file")
        _merge(item, shared["grid"][grid], ("range", "scale", "edges"), where)
    texts = shared["reason"].get(str(item.get("reason")))
    if texts is not None:
        renamed = {f"reason_{language}": text for language, text in texts.items()}
        _merge(item, renamed, ("reason_zh", "reason_en"), where)
    return item


def _merge(
    item: dict[str, object], extra: Mapping[str, object], allowed: Collection[str], where: str
) -> None:
    for key, value in extra.items():
        if key not in allowed or key in item:
            raise SchemaError(f"{where}: {key}: unknown in a shared table, or given twice")
        item[key] = value


def _check_whole(schema: Schema, source: str) -> None:
    if not schema.features:
        raise SchemaError(f"{source}: no [[feature]]")
    names = [
        schema.label.name.lower(),
        *(feature.name.lower() for feature in schema.features),
        *(group.name.lower() for group in schema.groups),
    ]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        # A group attribute or the outcome under a feature's name would be an input.
        raise SchemaError(f"{source}: {name!r} is named {times} times among its columns")
    texts: dict[str, tuple[str, str]] = {}
    for feature in schema.features:
        seen = texts.setdefault(feature.reason, (feature.reason_zh, feature.reason_en))
        if seen != (feature.reason_zh, feature.reason_en):
            raise SchemaError(f"{source}: reason {feature.reason} has two different texts")


def canonical_bytes(value: Mapping[str, object]) -> bytes:
    """RFC 8785 bytes of what ``to_canonical`` gave (protocol 0.5): no floats in it."""
    return rfc8785.dumps(cast("dict[str, str]", value))
