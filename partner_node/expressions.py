"""What is asked of the partner's table: names and types checked, then SQL for each column.

The columns are a person's hash, the label and one number for each feature; nothing else of
a row is ever read. The person id itself stays inside DuckDB.
"""

from collections.abc import Collection, Sequence

from consortium.errors import ConfigurationError, DataError
from consortium.features.schema import Feature, Kind
from partner_node.table import Table, literal, quoted

NO_LABEL_CODE = 255
OTHER_LABEL = 254

_INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_NUMBERS = _INTEGERS | _FLOATS | {"DECIMAL"}
_TEXTS = frozenset({"VARCHAR", "ENUM", "UUID"})
_EXPECTED = {
    Kind.NUMBER: (_NUMBERS, "a number"),
    Kind.INTEGER: (_NUMBERS, "a whole number"),
    Kind.CATEGORY: (_TEXTS | _INTEGERS | {"BOOLEAN"}, "a text or a whole number"),
}
_SHOWN = 40
"""Columns that the text of an error lists at most."""


def expressions(table: Table, features: Sequence[Feature], *, salt: str) -> dict[str, str]:
    """SQL by name: ``person`` (UBIGINT), ``label`` (UTINYINT), then each feature (DOUBLE).

    ``person`` is the first 8 bytes of ``SHA-256(salt "|" p)``, which says whether p is held
    out (protocol 5.8); p is an integer in decimal digits, or a text as it stands.

    Raises:
        DataError: A column is missing or of a type that does not fit the schema.
        ConfigurationError: Person or label is also a feature.
    """
    source = table.source
    names = [feature.name.lower() for feature in features]
    for role, column in (("person", source.person), ("label", source.label)):
        if column.lower() in names:
            raise ConfigurationError(f"{source.origin}: {role} {column!r} is also a feature")
    salted = literal(f"{salt}|")
    person = quoted(source.person)
    _check(table, source.person, _INTEGERS | _TEXTS, "person id, a text or a whole number")
    return {
        "person": f"('0x' || substr(sha256({salted} || nullif({person}::VARCHAR, '')), 1, 16))"
        "::UBIGINT",
        "label": _label(table),
        # Numbered, so that a feature called "label" hides nothing.
        **{f"x{i}": _feature(table, feature) for i, feature in enumerate(features)},
    }


def _label(table: Table) -> str:
    column = table.source.label
    kind = _check(table, column, _NUMBERS | {"BOOLEAN"}, "label, the number 0 or 1")
    value = quoted(column) + ("::UTINYINT" if kind == "BOOLEAN" else "")
    absent = f"{value} IS NULL" + (f" OR isnan({value})" if kind in _FLOATS else "")
    return (
        f"(CASE WHEN {absent} THEN {NO_LABEL_CODE} WHEN {value} = 0 THEN 0 "
        f"WHEN {value} = 1 THEN 1 ELSE {OTHER_LABEL} END)::UTINYINT"
    )


def _feature(table: Table, feature: Feature) -> str:
    types, what = _EXPECTED[feature.kind]
    _check(table, feature.name, types, f"feature of family {feature.family!r}, {what}")
    column = quoted(feature.name)
    if feature.kind is not Kind.CATEGORY:
        return f"{column}::DOUBLE"
    cases = " ".join(
        f"WHEN {literal(category)} THEN {position}"
        for position, category in enumerate(feature.categories)
    )
    others = f"WHEN {column} IS NOT NULL THEN {len(feature.categories)}"
    return f"(CASE {column}::VARCHAR {cases} ELSE CASE {others} END END)::DOUBLE"


def _check(table: Table, column: str, types: Collection[str], what: str) -> str:
    """The column's type, or DataError."""
    found = {name.lower(): kind for name, kind in table.types.items()}
    kind = found.get(column.lower())
    origin = table.source.origin
    if kind is None:
        listed = ", ".join(list(table.types)[:_SHOWN])
        raise DataError(f"{origin}: no column {column!r} ({what}); the query gives: {listed}")
    if kind not in types:
        hint = "; CAST it in the query" if kind in _TEXTS else ""
        raise DataError(f"{origin}: column {column!r}: seen {kind}, expected {what}{hint}")
    return kind
