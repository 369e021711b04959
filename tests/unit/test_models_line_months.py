"""Line-months: causes as the rules of closures have them, twelve of a person, nothing later."""

from calendar import monthrange
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consortium.credit.closures import Anomaly, Cause, Standing, first_event
from consortium.credit.outcomes import LineStatus
from models.closure_bins import CAUSES, MOST_ROWS, STEPS
from models.line_months import (
    STATUSES,
    UNKNOWN,
    LineTable,
    at,
    causes_of,
    follow,
    last_month,
    rows_where,
    training_rows,
)

FIRST = 12 * 2024


def table_of(*lines: list[dict[str, int | str]]) -> LineTable:
    """Month ends one after the other; what a month does not say, is as of a calm line."""
    calm = {
        "status": "OPEN",
        "dpd": 0,
        "limit": 1000,
        "balance": 100,
        "debits": 50,
        "cash": 0,
        "inactive": UNKNOWN,
        "device": 0,
        "anomaly": 0,
        "withdrawn": UNKNOWN,
        "opened": FIRST - 30,
        "person": None,
    }
    rows = [
        {**calm, "line": place, "month": FIRST + number, **month}
        for place, months in enumerate(lines)
        for number, month in enumerate(months)
    ]
    columns: dict[str, list[int]] = {name: [] for name in LineTable.__slots__}
    for row in rows:
        row["status"] = STATUSES.index(LineStatus(str(row["status"])))
        row["person"] = row["line"] if row["person"] is None else row["person"]
        for name, column in columns.items():
            column.append(int(row[name]))
    return LineTable(**{name: np.asarray(column) for name, column in columns.items()})


IDLE: dict[str, int | str] = {"balance": 0, "debits": 0}


@pytest.mark.parametrize(
    ("months", "cause"),
    [
        ([{}, {"status": "CLOSED_LENDER", "dpd": 20}], "ARREARS"),
        ([{"dpd": 20}, {"status": "CLOSED_LENDER"}], "ARREARS"),
        ([{}, {"status": "CLOSED_LENDER", "anomaly": 1, "dpd": 20}], "ANOMALY"),
        ([IDLE] * 6 + [{**IDLE, "status": "CLOSED_LENDER"}], "INACTIVITY"),
        ([IDLE] * 3 + [{**IDLE, "status": "CLOSED_LENDER"}], "ANOMALY"),
        ([{**IDLE, "inactive": 9}, {**IDLE, "status": "CLOSED_LENDER"}], "INACTIVITY"),
        ([{}, {"limit": 500}], "ANOMALY"),
        ([{"dpd": 20}, {"limit": 500, "dpd": 20}], "ARREARS"),
        ([{}, {"limit": 501}], ""),
        ([{}, {"limit": 700}, {"limit": 500}], "ANOMALY"),
        ([{}, {"status": "CLOSED_BORROWER"}], "COMPETING"),
        ([{}, {"status": "PAID_OUT"}], "COMPETING"),
        ([{"dpd": 80}, {"dpd": 110}], "COMPETING"),
        ([{}, {"status": "CHARGED_OFF"}], "COMPETING"),
        ([{}, {}], ""),
    ],
)
def test_each_end_of_a_line_has_its_cause(
    months: list[dict[str, int | str]], cause: str
) -> None:
    found = causes_of(table_of([{}] * 2, months, [{}] * 2))[2 : 2 + len(months)]
    expected = CAUSES.index(cause) + 1 if cause else 0
    assert found[:-1].tolist() == [0] * (len(months) - 1)
    assert found[-1] == expected


def test_a_freeze_counts_once_it_has_lasted_a_month() -> None:
    frozen: dict[str, int | str] = {"status": "FROZEN"}
    assert causes_of(table_of([{}, frozen, frozen, frozen])).tolist() == [0, 2, 0, 0]
    assert not causes_of(table_of([{}, frozen, {}])).any()
    assert not causes_of(table_of([{}, frozen])).any()


def _end(month: int) -> date:
    year, rest = month // 12, month % 12 + 1
    return date(year, rest, monthrange(year, rest)[1])


month_ends = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["OPEN"] * 8 + ["CLOSED_LENDER", "CLOSED_BORROWER"]),
        "dpd": st.sampled_from([0, 0, 0, 20, 50, 110]),
        "limit": st.sampled_from([1000, 1000, 1000, 700, 400]),
        "balance": st.sampled_from([0, 100]),
        "anomaly": st.sampled_from([0, 0, 1]),
    }
)


@settings(max_examples=200)
@given(st.lists(month_ends, min_size=5, max_size=14))
def test_the_first_cause_is_that_of_the_consortium_s_rules(
    months: list[dict[str, int | str]],
) -> None:
    """Month ends against ``closures.first_event``: the same event, in the same month."""
    for row in months:
        row["debits"] = row["balance"]
    months = [{"balance": 100, "debits": 100}, *months]
    for place, row in enumerate(months):  # an ended line does not come back
        if place and months[place - 1].get("status", "OPEN") != "OPEN":
            row["status"] = months[place - 1]["status"]
            row["limit"] = months[place - 1].get("limit", 1000)
    table = table_of(months)
    history = [
        Standing(
            on=_end(FIRST + place),
            status=LineStatus(str(row.get("status", "OPEN"))),
            limit=int(row.get("limit", 1000)),
            dpd=int(row.get("dpd", 0)),
            active=any(months[back]["balance"] for back in range(max(0, place - 5), place + 1)),
            anomaly=Anomaly.DEVICE if row.get("anomaly") else None,
        )
        for place, row in enumerate(months)
    ]
    last = _end(FIRST + len(months) - 1)
    event = first_event(history, since=history[0].on, until=last, withdrawn_on=None)
    found = causes_of(table)[1:]
    if event is None:
        assert not found.any()
        return
    first = int(np.flatnonzero(found)[0]) + 1
    assert history[first].on == event.on
    late = history[first].dpd > 0 or history[first - 1].dpd > 0
    idle = not history[first - 1].active
    other = "ARREARS" if late else "INACTIVITY" if idle else "ANOMALY"
    expected = {
        Cause.ARREARS: "ARREARS",
        Cause.ANOMALY: "ANOMALY",
        Cause.INACTIVITY_CLOSE: "INACTIVITY",
        Cause.UNSTATED: "ANOMALY",
        Cause.CLOSED_BORROWER: "COMPETING",
        Cause.DEFAULT: "COMPETING",
        Cause.LIMIT_CUT: "ANOMALY" if history[first].anomaly else other,
    }
    assert CAUSES[found[first - 1] - 1] == expected[event.cause]


def test_what_is_known_ahead_moves_along() -> None:
    table = table_of([{**IDLE, "inactive": 10, "opened": FIRST - 22}, IDLE, IDLE, IDLE])
    codes = at(table, FIRST).codes[0]
    assert codes[:, 1].tolist() == [4, 5, 5]  # 11, 12 and 13 months without use
    assert codes[:, 6].tolist() == [1, 2, 2]  # 23, 24 and 25 months on book
    assert codes[:, 0].tolist() == [0, 1, 2]
    assert codes[0, 2:6].tolist() == [1, 0, 1, 0]


def test_a_line_in_default_or_not_open_is_not_asked_about() -> None:
    lines = ([{"dpd": 91}], [{"status": "FROZEN"}], [{"dpd": 90}], [{}])
    assert at(table_of(*lines), FIRST).row.tolist() == [2, 3]


def test_of_several_lines_the_largest_counts_then_the_oldest() -> None:
    mine = {"person": 7}
    table = table_of(
        [{**mine, "balance": 5}],
        [{**mine, "balance": 9, "opened": FIRST - 9}],
        [{**mine, "balance": 9, "opened": FIRST - 90}],
        [{}],
    )
    assert at(table, FIRST).row.tolist() == [2, 3]
    assert at(table, FIRST, one_each=False).row.tolist() == [0, 1, 2, 3]


def test_a_person_has_twelve_line_months_at_most_and_none_after_an_end() -> None:
    quiet: list[dict[str, int | str]] = [{}] * 20
    closed = [*quiet[:16], {"status": "CLOSED_LENDER", "dpd": 5}, *quiet[:3]]
    closed[17:] = [{"status": "CLOSED_LENDER"}] * 3
    two = [[{**row, "person": 1} for row in quiet] for _ in range(2)]
    rows, persons = training_rows(table_of(quiet, *two, closed), FIRST + 19)
    assert persons.tolist() == [0, 1, 3]
    assert np.diff(rows.starts).tolist() == [MOST_ROWS, MOST_ROWS, 9]
    assert rows.causes[rows.starts[2] :].tolist() == [0] * 8 + [1]
    kept = rows_where(rows, np.asarray([False, True, True]))
    assert np.diff(kept.starts).tolist() == [MOST_ROWS, 9]


def test_months_from_a_withdrawal_on_teach_nothing() -> None:
    months: list[dict[str, int | str]] = [
        {"withdrawn": FIRST + 5 if place >= 3 else UNKNOWN} for place in range(13)
    ]
    for row in months[5:]:
        row["status"] = "CLOSED_LENDER"
    table = table_of(months)
    rows, _ = training_rows(table, FIRST + 12)
    assert not rows.causes.any()
    assert rows.causes.size == 4  # three after the first landmark, one before the day
    ahead = at(table, FIRST + 3)
    assert ahead.withdrawn.tolist() == [2]
    assert ahead.codes[0, :, 5].tolist() == [1, 1, 1]
    assert follow(table, ahead).seen.tolist() == [[True, False, False]]


def test_nothing_after_the_landmark_is_in_its_bins() -> None:
    rng = np.random.default_rng(1)  # noqa: TID251 - seeded
    months: list[dict[str, int | str]] = [
        {"balance": int(rng.integers(0, 900)), "dpd": int(rng.integers(0, 60))}
        for _ in range(9)
    ]
    before = at(table_of(months), FIRST + 5).codes
    for row in months[6:]:
        row.update({"balance": 1, "dpd": 88, "status": "CLOSED_LENDER"})
    assert np.array_equal(before, at(table_of(months), FIRST + 5).codes)


def test_an_empty_table_has_no_last_month() -> None:
    empty = table_of()
    assert last_month(empty) == -1
    assert training_rows(empty, 10)[0].persons == 0
    assert STEPS == 3
