"""A table of lines, small and worked by hand, that the tests of following up share.

Twelve accounts of eight months, April to November 2026, each with the segment it must get,
and what it shows of trouble. Amounts are minor units; the due is 2 % of the statement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from consortium.credit.outcomes import MonthEnd
from consortium.credit.terms import Ppm
from partner_node.credit.lines import History, LineMonth
from partner_node.table import DataSource
from tests.line_house import months as month_ends

COUNT = 8
MONTH = LineMonth(
    end=month_ends(1)[0],
    limit=100_000,
    due=200,
    cash=0,
    applications=0,
    loss_forbearance=False,
    watch=False,
    salary=None,
    closed_elsewhere=None,
    months_left=None,
    income=None,
    income_consent=False,
    dues_elsewhere=None,
    barred_debits=0,
    outcome=None,
)
END = {"balance": 10_000, "statement": 10_000, "paid": 10_000, "debits": 10_000}

SEGMENTS: Mapping[str, tuple[dict[str, list[int]], str]] = {
    "pays all": ({"paid": [10_000] * COUNT}, "TRANSACTOR"),
    "pays 95 %": ({"paid": [9_500] * COUNT}, "TRANSACTOR"),
    "pays 94 %": ({"paid": [9_400] * COUNT}, "REVOLVER"),
    "missed one of six": ({"paid": [10_000] * 5 + [200] + [10_000] * 2}, "REVOLVER"),
    "missed one of eight": ({"paid": [200] + [10_000] * 7}, "TRANSACTOR"),
    "pays the least": ({"paid": [200] * COUNT}, "REVOLVER"),
    "not drawn for six": ({"debits": [500, 500] + [0] * 6}, "DORMANT"),
    "not drawn for five": ({"debits": [500] * 3 + [0] * 5, "paid": [200] * COUNT}, "REVOLVER"),
    "not drawn, paid off": ({"debits": [0] * COUNT, "balance": [0] * COUNT}, "DORMANT"),
    "not drawn, owes": ({"debits": [0] * COUNT, "paid": [0] * COUNT}, "DORMANT"),
    "drawn again": ({"debits": [0] * 7 + [1], "paid": [200] * COUNT}, "REVOLVER"),
    "no statement": ({"statement": [0] * COUNT, "paid": [0] * COUNT}, "TRANSACTOR"),
}


def ends(count: int = COUNT, **columns: list[int]) -> list[MonthEnd]:
    """Month ends whose fields follow the given lists."""
    found = month_ends(count, start=(2026, 4), **END)
    for place, end in enumerate(found):
        own = {name: values[place] for name, values in columns.items()}
        worst = max(own.get("worst_dpd", 0), own.get("dpd", 0))
        found[place] = replace(end, **{**own, "worst_dpd": worst})
    return found


def history(
    line: str = "l-1",
    *,
    opened: date = date(2026, 4, 1),
    origination: int | None = 20_000,
    each: Iterable[Mapping[str, object]] = (),
    **columns: list[int],
) -> History:
    """A line: ``columns`` are of its month ends, ``each`` of the months around them."""
    count = len(next(iter(columns.values()))) if columns else COUNT
    around = [*each, *[{}] * count][:count]
    return History(
        line=line,
        person=f"person of {line}",
        opened_on=opened,
        pd_origination=None if origination is None else Ppm(origination),
        months=tuple(
            replace(MONTH, end=end, **own)
            for end, own in zip(ends(count, **columns), around, strict=True)
        ),
    )


def write_table(directory: Path, lines: Iterable[History], *, order: str = "") -> DataSource:
    """The lines as a file, and the source that reads it."""
    path = directory / "lines.csv"
    head = (
        "line,person,month_end,opened_on,status,credit_limit,balance,statement,due,paid,"
        "debits,dpd,closed_elsewhere,pd_origination"
    )
    rows = [head]
    for one in lines:
        for month in one.months:
            end = month.end
            bit = "" if month.closed_elsewhere is None else str(month.closed_elsewhere).lower()
            pd = "" if one.pd_origination is None else f"{one.pd_origination / 1e6:.6f}"
            rows.append(
                f"{one.line},{one.person},{end.on},{one.opened_on},{end.status},{month.limit},"
                f"{end.balance},{end.statement},{month.due},{end.paid},{end.debits},{end.dpd},"
                f"{bit},{pd}"
            )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    ordered = order or "ORDER BY line, month_end"
    return DataSource(
        query=f"SELECT * FROM read_csv('{path.name}') {ordered}",  # noqa: S608 - our own
        person="person",
        label="line",
        directory=directory,
        origin="lines.toml",
    )
