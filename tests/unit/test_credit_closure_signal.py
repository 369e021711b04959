"""Three bits of a person's lines on a day, each boundary on both sides (protocol 7.17)."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from consortium.credit.closure_signal import Bits, LineHistory, bits_of
from consortium.credit.closures import Anomaly
from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.outcomes import LineStatus, MonthEnd
from consortium.figure import FigureKind
from partner_node.credit.figure_elasticity import elasticity_entries
from partner_node.credit.lines import History, LineMonth
from partner_node.credit.standing import standings
from partner_node.credit.storage_elsewhere import KeptBit
from tests.line_house import months
from tests.watch_house import MONTH

CLOSED = LineStatus.CLOSED_LENDER
TODAY = date(2026, 11, 30)


def line(ends: list[MonthEnd], **changes: object) -> LineHistory:
    plain = LineHistory(
        months=ends,
        limits=[5_000] * len(ends),
        anomalies=[None] * len(ends),
        product_withdrawn=None,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def year(**last: object) -> list[MonthEnd]:
    """Twelve month ends up to TODAY; the last one with changes."""
    ends = months(12, start=(2025, 12))
    return [*ends[:-1], replace(ends[-1], **last)]


def bits(history: LineHistory, today: date = TODAY) -> Bits:
    return bits_of(history, today=today)


def test_open_line_that_is_used_is_active_and_nothing_else() -> None:
    assert bits(line(year())) == Bits(active=True)
    idle = [replace(one, debits=0, balance=0) for one in year()]
    assert bits(line(idle)) == Bits()


def test_active_line_that_its_lender_ended_without_arrears_is_withdrawn() -> None:
    assert bits(line(year(status=CLOSED))) == Bits(closed=True, withdrawn=True)


def test_closure_for_arrears_an_anomaly_or_no_use_is_closed_and_not_withdrawn() -> None:
    late = bits(line(year(status=CLOSED, dpd=5, worst_dpd=5)))
    named = bits(line(year(status=CLOSED), anomalies=[None] * 11 + [Anomaly.DEVICE]))
    idle = bits(line([replace(one, debits=0, balance=0) for one in year(status=CLOSED)]))
    assert late == named == idle == Bits(closed=True)


def test_end_by_the_borrower_is_no_closure() -> None:
    assert bits(line(year(status=LineStatus.CLOSED_BORROWER))) == Bits()
    assert bits(line(year(status=LineStatus.PAID_OUT))) == Bits()


def test_bit_lasts_ninety_days_and_is_gone_after() -> None:
    ends = year(status=CLOSED)
    assert bits(line(ends), TODAY + timedelta(days=89)).closed
    assert not bits(line(ends), TODAY + timedelta(days=90)).closed


def test_withdrawn_product_counts_from_its_day_and_never_before() -> None:
    history = line(year(), product_withdrawn=TODAY - timedelta(days=1))
    assert bits(history) == Bits(closed=True, withdrawn=True, active=True)
    assert bits(history, TODAY - timedelta(days=2)).closed is False


def test_line_that_vanished_from_the_table_is_active_no_more() -> None:
    assert bits(line(year()), TODAY + timedelta(days=61)).active
    assert not bits(line(year()), TODAY + timedelta(days=62)).active


def test_person_has_the_bits_of_any_line_and_later_months_are_not_looked_at() -> None:
    def both(today: date) -> Bits:
        return bits(line(year()), today) | bits(line(year(status=CLOSED)), today)

    assert both(TODAY) == Bits(closed=True, withdrawn=True, active=True)
    assert both(date(2026, 10, 31)) == Bits(active=True)
    assert both(date(2025, 1, 1)) == Bits()


def history(name: str, person: str, **last: object) -> History:
    found = [replace(MONTH, end=end) for end in year()]
    found[-1] = replace(found[-1], **last)  # type: ignore[arg-type]
    return History(
        line=name,
        person=person,
        opened_on=date(2025, 1, 1),
        pd_origination=40_000,  # type: ignore[arg-type]
        months=tuple[LineMonth, ...](found),
    )


def test_pd_is_that_of_the_largest_active_line_and_consents_those_of_the_newest_month() -> None:
    small = replace(year()[-1], balance=10)
    lines = [
        history("a", "P1", pd12=20_000, study_consent="S", signal_consent="C"),
        history("b", "P1", pd12=900_000, end=small),
        history("c", "P2"),
        history("d", "P3", end=replace(year()[-1], status=CLOSED)),
    ]
    found = standings(lines, str.encode, today=TODAY)
    assert found[b"P1"].pd == 20_000
    assert (found[b"P1"].study, found[b"P1"].signal) == ("S", "C")
    assert found[b"P2"].pd == 40_000, "as it was granted, without a newer rating"
    assert found[b"P3"].pd is None, "no active line"
    assert (found[b"P2"].study, found[b"P2"].signal) == ("", "")


def test_nothing_of_a_person_is_printed() -> None:
    (one,) = standings(
        [history("a", "P1", study_consent="S-77")], str.encode, today=TODAY
    ).values()
    assert "S-77" not in repr(one)
    with pytest.raises(AttributeError):
        one.bits = Bits()  # type: ignore[misc]


def watched(name: str, person: str, place: int = 0, **change: int) -> History:
    """Fourteen months from December 2025: to before an inquiry in February, and a year on."""
    ends = months(14, start=(2025, 12))
    ends[place] = replace(ends[place], **change)  # type: ignore[arg-type]
    told = tuple(replace(MONTH, end=end) for end in ends)
    return replace(history(name, person), months=told)


def test_table_of_elasticities_counts_who_has_an_arm_and_an_active_line_on_time() -> None:
    inquiry = date(2026, 2, 10)
    spec = figure(FigureKind.ELASTICITY, "2026-02", "2026-02", Wanted())

    def entries(*lines: History, arm: int | None = 1, on: date = inquiry) -> list[list[str]]:
        kept = KeptBit(subject=b"P1", closed=None, on=on, arm=arm, arm_on=on)
        found = elasticity_entries(
            spec, [kept], lines, subject=str.encode, span=(date(2026, 2, 1), date(2026, 3, 1))
        )
        return [
            [axis.cells[place] for axis, place in zip(spec.axes, one.cell, strict=True)]
            for one in found
        ]

    assert entries(watched("a", "P1")) == [["G2", "1", "GOOD"]]
    assert entries(watched("a", "P1"), arm=0) == [["G2", "0", "GOOD"]]
    bad = watched("a", "P1", 8, dpd=95, worst_dpd=95)
    assert entries(bad) == [["G2", "1", "BAD"]]
    assert entries(watched("a", "P1", 8, dpd=45, worst_dpd=45)) == [["G2", "1", "none"]]
    assert entries(watched("a", "P2")) == []
    assert entries(watched("a", "P1"), arm=None) == []
    assert entries(watched("a", "P1"), on=date(2026, 3, 1)) == []
    assert entries(watched("a", "P1", 1, dpd=3, worst_dpd=3)) == []
    early = replace(bad, months=bad.months[:-1])
    assert entries(early) == [["G2", "1", "none"]], "the year is over for nobody yet"
    assert entries(early, watched("b", "P2")) == [["G2", "1", "BAD"]]
    gone = replace(watched("a", "P1"), months=watched("a", "P1").months[:-1])
    assert entries(gone, watched("b", "P2")) == [["G2", "1", "none"]], "not watched to the end"
