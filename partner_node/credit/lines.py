"""ADAPTER DuckDB: the partner's table of lines, one row a line and month end, read in order.

The columns are those of ``COLUMNS``: small, and about how a line is used, never about who
uses it. Rows of one line stand together, oldest first, so a table of any size is followed
with the months of one line in memory. Errors name columns and row numbers, never values.
"""

import tomllib
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from consortium.credit.closures import Anomaly
from consortium.credit.outcomes import LineStatus, MonthEnd
from consortium.credit.terms import LARGEST_MINOR, MILLION, Ppm, Segment
from consortium.errors import ConfigurationError, DataError, DomainError
from partner_node.table import DataSource, Table, open_table, quoted

FILE = "lines.toml"
"""In the directory of a node's rules; ``query`` is one SELECT."""
MOST_MONTHS = 600


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of lines."""

    sql: str
    """DuckDB's type that values are cast to."""
    meaning: str
    required: bool = True


def _optional(sql: str, meaning: str) -> Column:
    return Column(sql, meaning, required=False)


COLUMNS: Mapping[str, Column] = {
    "line": Column("VARCHAR", "the partner's own reference of the line"),
    "person": Column("VARCHAR", "whose line it is, in the form of the manifest"),
    "month_end": Column("DATE", "last day of the month"),
    "opened_on": Column("DATE", "day on which the line was opened"),
    "status": Column("VARCHAR", "OPEN, FROZEN, CLOSED_LENDER, ... (credit 2.1)"),
    "credit_limit": Column("BIGINT", "minor units; NULL: a line without a limit"),
    "balance": Column("BIGINT", "at the month end, minor units"),
    "statement": Column("BIGINT", "balance of the statement that fell due"),
    "due": Column("BIGINT", "least payment that fell due"),
    "paid": Column("BIGINT", "paid within the month"),
    "debits": Column("BIGINT", "drawn within the month"),
    "dpd": Column("BIGINT", "days past due at the month end"),
    "worst_dpd": _optional("BIGINT", "most of the month; else dpd"),
    "cash": _optional("BIGINT", "of the debits, drawn as cash"),
    "applications": _optional("BIGINT", "for new credit, within the month"),
    "restructured": _optional("BOOLEAN", "by force, within the month"),
    "loss_forbearance": _optional("BOOLEAN", "forbearance with a loss is in force"),
    "watch": _optional("BOOLEAN", "a listed watch flag is set"),
    "salary": _optional("BOOLEAN", "a salary came; NULL: none is expected"),
    "closed_elsewhere": _optional("BOOLEAN", "the bit of CLOSURE_SIGNAL; NULL: none"),
    "pd_origination": _optional("DECIMAL(9,6)", "PD12 when it was granted"),
    "months_left": _optional("BIGINT", "to the last due of a term loan"),
    "income": _optional("BIGINT", "verified net credit of the month, minor units"),
    "income_consent": _optional("BOOLEAN", "INCOME_DATA was in force"),
    "dues_elsewhere": _optional("BIGINT", "upper edge of the band; NULL: unknown"),
    "barred_debits": _optional("BIGINT", "of the debits, in categories that are barred"),
    "segment": _optional("VARCHAR", "CONSUMER_REVOLVING, ... (credit 2.1); else that"),
    "anomaly": _optional("VARCHAR", "named in the closing record: DEVICE, ..., FRAUD"),
    "outcome": _optional("BOOLEAN", "bad afterwards, where no later months tell"),
    "pd12": _optional("DECIMAL(9,6)", "PD12 at the month end, by the partner's own rating"),
    "product_withdrawn": _optional("DATE", "day on which the whole product is withdrawn"),
    "study_consent": _optional("VARCHAR", "reference of the consent to IMPACT_STUDY"),
    "signal_consent": _optional("VARCHAR", "reference of the consent to CLOSURE_SIGNAL"),
}
_SHARES = frozenset({"pd_origination", "pd12"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LineMonth:
    """One month end of one line, beyond what a label needs. Private."""

    end: MonthEnd
    limit: int | None
    due: int
    cash: int
    applications: int
    loss_forbearance: bool
    watch: bool
    salary: bool | None
    closed_elsewhere: bool | None
    months_left: int | None
    income: int | None
    income_consent: bool
    dues_elsewhere: int | None
    barred_debits: int
    outcome: bool | None
    pd12: Ppm | None = None
    anomaly: Anomaly | None = None
    product_withdrawn: date | None = None
    study_consent: str = field(default="", repr=False)
    signal_consent: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All months of one line, oldest first. Private."""

    line: str
    person: str = field(repr=False)
    opened_on: date
    pd_origination: Ppm | None
    months: tuple[LineMonth, ...]
    segment: Segment = Segment.CONSUMER_REVOLVING

    @property
    def ends(self) -> tuple[MonthEnd, ...]:
        """Its month ends as the rules of outcomes read them."""
        return tuple(month.end for month in self.months)

    def pd_at(self, month: LineMonth) -> Ppm | None:
        """PD of twelve months then: the partner's own rating, else as it was granted."""
        return self.pd_origination if month.pd12 is None else month.pd12


def lines_source(directory: Path) -> DataSource:
    """Where a node's lines are, by ``lines.toml`` in the directory of its rules.

    Raises:
        ConfigurationError: no such file, unknown keys, values of another form, or no query.
    """
    path = directory / FILE
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path}: no such file; it names the table of lines"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: not readable as TOML") from error
    known = {"query", "memory_limit", "threads", "postgres"}
    unknown = sorted(set(found) - known)
    if unknown or not isinstance(found.get("query"), str):
        seen = unknown[0] if unknown else "no query"
        raise ConfigurationError(f"{path}: seen {seen}, expected query and {sorted(known)}")
    threads, memory = found.get("threads", 2), found.get("memory_limit", "1GB")
    if type(threads) is not int or threads < 1:
        raise ConfigurationError(f"{path}: threads: expected a whole number of at least 1")
    if not isinstance(memory, str):
        raise ConfigurationError(f'{path}: memory_limit: expected a text such as "1GB"')
    postgres = found.get("postgres")
    if not isinstance(postgres, str | None):
        raise ConfigurationError(f"{path}: postgres: expected a connection text")
    return DataSource(
        query=found["query"],
        person="person",
        label="line",
        directory=directory,
        memory_limit=memory,
        threads=threads,
        postgres=postgres,
        origin=str(path),
    )


def histories(source: DataSource) -> Iterator[History]:
    """Each line with all its months, in the order of the table.

    Raises:
        ConfigurationError: a required column is missing.
        DataError: rows are out of order, or a row cannot be; its number is named.
    """
    before = ""
    for line, group in groupby(_rows(source), key=lambda row: row[1]["line"]):
        rows = list(group)
        if line <= before:
            number = rows[0][0]
            raise DataError(
                f"{source.origin}: row {number}: rows are not ordered by line and month_end"
            )
        before = line
        yield _history(source, rows)


def _rows(source: DataSource) -> Generator[tuple[int, Mapping[str, Any]]]:
    number = 0
    with open_table(source) as table, closing(table.batches(_expressions(table))) as batches:
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _expressions(table: Table) -> dict[str, str]:
    missing = [
        name for name, one in COLUMNS.items() if one.required and name not in table.types
    ]
    if missing:
        raise ConfigurationError(f"{table.source.origin}: no column {missing[0]!r}")
    listed = {}
    for name, one in COLUMNS.items():
        cast = f"CAST({quoted(name)} AS {one.sql})" if name in table.types else "NULL"
        if name in _SHARES and name in table.types:
            cast = f"CAST({cast} * {MILLION} AS BIGINT)"
        listed[name] = f"coalesce({cast}, '')" if one.sql == "VARCHAR" else cast
    return listed


def _history(source: DataSource, rows: list[tuple[int, Mapping[str, Any]]]) -> History:
    number, first = rows[0]
    if len(rows) > MOST_MONTHS:
        raise DataError(f"{source.origin}: row {number}: more than {MOST_MONTHS} months")
    months: list[LineMonth] = []
    for number, row in rows:
        try:
            months.append(_month(row))
        except (DomainError, ValueError, TypeError) as error:
            # Of a missing or impossible value only the column is told.
            text = str(error) if isinstance(error, DomainError) else "a value is missing"
            raise DataError(f"{source.origin}: row {number}: {text}") from None
        if len(months) > 1 and months[-2].end.on >= months[-1].end.on:
            raise DataError(f"{source.origin}: row {number}: months are not in order")
    origination = first["pd_origination"]
    return History(
        line=first["line"],
        person=first["person"],
        opened_on=first["opened_on"],
        pd_origination=None if origination is None else Ppm(origination),
        months=tuple(months),
        segment=_segment(source, number, first["segment"]),
    )


def _segment(source: DataSource, number: int, text: str) -> Segment:
    try:
        return Segment(text or Segment.CONSUMER_REVOLVING)
    except ValueError:
        raise DataError(f"{source.origin}: row {number}: segment: none that there is") from None


def _month(row: Mapping[str, Any]) -> LineMonth:
    for name in ("month_end", "opened_on", "balance", "statement", "due", "paid", "debits"):
        if row[name] is None:
            raise DomainError(f"{name}: missing")
    if row["dpd"] is None:
        raise DomainError("dpd: missing, and this is not M0")
    for name, column in COLUMNS.items():
        if column.sql == "BIGINT" and abs(row[name] or 0) > LARGEST_MINOR:
            raise DomainError(f"{name}: too large")
    try:
        status = LineStatus(row["status"])
    except ValueError:
        raise DomainError("status: not one that there is") from None
    try:
        anomaly = Anomaly(row["anomaly"]) if row["anomaly"] else None
    except ValueError:
        raise DomainError("anomaly: not one that there is") from None
    end = MonthEnd(
        on=row["month_end"],
        dpd=row["dpd"],
        worst_dpd=row["dpd"] if row["worst_dpd"] is None else row["worst_dpd"],
        status=status,
        restructured=bool(row["restructured"]),
        balance=row["balance"],
        statement=row["statement"],
        paid=row["paid"],
        debits=row["debits"],
    )
    return LineMonth(
        end=end,
        limit=row["credit_limit"],
        due=row["due"],
        cash=row["cash"] or 0,
        applications=row["applications"] or 0,
        loss_forbearance=bool(row["loss_forbearance"]),
        watch=bool(row["watch"]),
        salary=row["salary"],
        closed_elsewhere=row["closed_elsewhere"],
        months_left=row["months_left"],
        income=row["income"],
        income_consent=bool(row["income_consent"]),
        dues_elsewhere=row["dues_elsewhere"],
        barred_debits=row["barred_debits"] or 0,
        outcome=row["outcome"],
        pd12=None if row["pd12"] is None else Ppm(row["pd12"]),
        anomaly=anomaly,
        product_withdrawn=row["product_withdrawn"],
        study_consent=row["study_consent"] or "",
        signal_consent=row["signal_consent"] or "",
    )
