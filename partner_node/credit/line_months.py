"""ADAPTER DuckDB: the partner's table of lines as columns, for closure risk (credit 4.14).

The same table that ``partner_node.credit.lines`` follows line by line, read for a model: as
arrays, with the head of each person's hash in place of the person. Errors name columns and row
numbers, never values.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consortium.errors import ConfigurationError, DataError
from models.line_months import STATUSES, UNKNOWN, LineTable
from partner_node.credit.lines import COLUMNS, Column
from partner_node.table import DataSource, Table, literal, open_table, quoted

Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

OWN_COLUMNS: Mapping[str, Column] = {
    "inactive_months": Column("BIGINT", "months without use so far", required=False),
    "device_flag": Column("BOOLEAN", "a device or profile flag is set", required=False),
    "withdrawn_on": Column("DATE", "day on which the product ends", required=False),
}
"""Beside those of the table of lines; where one is missing, nothing is known of it."""
_NEEDED = (
    "line",
    "person",
    "month_end",
    "opened_on",
    "status",
    "credit_limit",
    "balance",
    "debits",
    "dpd",
)
_BAD_STATUS = 255
_TEXTS = 1
"""Columns before the numbers: the line's name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinesRead:
    """A partner's lines and whose they are. Private."""

    table: LineTable
    heads: Words
    """Of each person of the table: first 8 bytes of the salted hash (protocol 5.8)."""
    names: tuple[str, ...]
    """The partner's own name of each line."""

    def held_out(self, fraction: str) -> Flags:
        """Which persons never train, shape (persons,)."""
        share = Fraction(fraction)
        if not 0 <= share < 1:
            raise ConfigurationError(f"hold-out fraction {fraction} is outside 0 to below 1")
        held: Flags = self.heads < np.uint64(-(-(share.numerator << 64) // share.denominator))
        return held


def read_lines(source: DataSource, *, salt: str) -> LinesRead:
    """All month ends of all lines; memory holds about a hundred bytes a row.

    Args:
        source: This node's table of lines. Private.
        salt: Of the plan's hold-out. Public.

    Raises:
        ConfigurationError: a required column is missing.
        DataError: rows are out of order, or a row cannot be; its number is named.
    """
    with open_table(source) as table:
        columns = _expressions(table, salt)
        with closing(table.batches(columns)) as batches:
            parts = list(batches)
    if not parts or not sum(len(part) for part in parts):
        raise DataError(f"{source.origin}: the table is empty")
    whole = pa.Table.from_batches(parts)
    names = whole.column("line").combine_chunks()
    numbers = {name: _numbers(whole, name) for name in columns if name != "line"}
    first = _line_starts(source, names, numbers["month"])
    _check(source, numbers)
    heads, person = np.unique(numbers.pop("person"), return_inverse=True)
    values = {name: column.astype(np.int64) for name, column in numbers.items()}
    lines = LineTable(line=np.cumsum(first) - 1, person=person.astype(np.int64), **values)
    return LinesRead(
        table=lines,
        heads=heads.astype(np.uint64),
        names=tuple(names.filter(pa.array(first)).to_pylist()),
    )


def _expressions(table: Table, salt: str) -> dict[str, str]:
    """SQL by name of what ``LineTable`` holds."""
    missing = [name for name in _NEEDED if name not in table.types]
    if missing:
        raise ConfigurationError(f"{table.source.origin}: no column {missing[0]!r}")
    typed = {
        name: f"CAST({quoted(name)} AS {(COLUMNS.get(name) or OWN_COLUMNS[name]).sql})"
        for name in (*_NEEDED, "cash", "anomaly", *OWN_COLUMNS)
        if name in table.types
    }
    statuses = " ".join(
        f"WHEN {literal(one.value)} THEN {place}" for place, one in enumerate(STATUSES)
    )
    return {
        "line": f"coalesce({typed['line']}, '')",
        "person": f"('0x' || substr(sha256({literal(f'{salt}|')} || "
        f"nullif({typed['person']}, '')), 1, 16))::UBIGINT",
        "month": _month(typed["month_end"]),
        "status": f"(CASE {typed['status']} {statuses} ELSE {_BAD_STATUS} END)::BIGINT",
        "dpd": typed["dpd"],
        "limit": f"coalesce({typed['credit_limit']}, {UNKNOWN})",
        "balance": typed["balance"],
        "debits": typed["debits"],
        "cash": _or_unknown(typed, "cash"),
        "inactive": _or_unknown(typed, "inactive_months"),
        "device": _or_unknown(typed, "device_flag"),
        "anomaly": f"(coalesce({typed['anomaly']}, '') <> '')::BIGINT"
        if "anomaly" in typed
        else "0",
        "withdrawn": f"coalesce({_month(typed['withdrawn_on'])}, {UNKNOWN})"
        if "withdrawn_on" in typed
        else f"{UNKNOWN}",
        "opened": _month(typed["opened_on"]),
    }


def _month(day: str) -> str:
    return f"(12 * year({day}) + month({day}) - 1)::BIGINT"


def _or_unknown(typed: Mapping[str, str], name: str) -> str:
    return f"coalesce({typed[name]}::BIGINT, {UNKNOWN})" if name in typed else f"{UNKNOWN}"


def _numbers(whole: pa.Table, name: str) -> NDArray[Any]:
    column = whole.column(name)
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise DataError(f"table of lines: row {row}: {name}: missing")
    values: NDArray[Any] = column.to_numpy()
    return values


def _line_starts(source: DataSource, names: Any, month: NDArray[Any]) -> Flags:  # noqa: ANN401 - arrow
    """First row of each line; DataError unless lines and their months are in order."""
    first = np.ones(len(names), dtype=np.bool_)
    later, earlier = names.slice(1), names.slice(0, len(names) - 1)
    first[1:] = pc.not_equal(later, earlier).to_numpy(zero_copy_only=False)
    falls = pc.less(later, earlier).to_numpy(zero_copy_only=False)
    stays = ~first[1:] & (month[1:] <= month[:-1])
    wrong = np.flatnonzero(falls | stays)
    if wrong.size:
        raise DataError(
            f"{source.origin}: row {int(wrong[0]) + 2}: rows are not ordered by line and "
            "month_end"
        )
    return first


def _check(source: DataSource, numbers: Mapping[str, NDArray[Any]]) -> None:
    wrong = {
        "status: not one that there is": numbers["status"] == _BAD_STATUS,
        "dpd: below 0": numbers["dpd"] < 0,
        "debits: below 0": numbers["debits"] < 0,
        "inactive_months: below 0": numbers["inactive"] < UNKNOWN,
        "opened_on: after the month": numbers["opened"] > numbers["month"],
    }
    for text, rows in wrong.items():
        if bool(rows.any()):
            row = int(np.flatnonzero(rows)[0]) + 1
            raise DataError(f"{source.origin}: row {row}: {text}")
