"""The ecosystem report as one page that a committee prints, in Chinese and English."""

from collections.abc import Iterator

from consortium.credit.shown import Section, Shown
from coordinator.credit import trend_words as words
from coordinator.credit.curves import Curve, Point, curves
from coordinator.credit.paper import Bar, Markup, chart, heading, page, table, text
from coordinator.credit.trends import Report, steps_of, verdict_text

_INDICES = frozenset({"demand", "appetite"})
_MOST_ROWS = 120
"""Rows of a printed table; what is more stands in the CSV."""
_MOST_CURVES = 12
_DASH = "–"


def trend_page(report: Report) -> str:
    """The whole page: one file, no script, nothing fetched."""
    mark = f" · {words.SYNTHETIC}" if report.synthetic else ""
    titles = (words.TITLE[0] + mark, words.TITLE[1] + mark)
    parts = [text(*words.LEAD)]
    for section in report.sections:
        parts += _section(section)
    note = f"{words.SYNTHETIC} 合成数据" if report.synthetic else ""
    return page(titles, parts, note=note)


def _section(section: Section) -> Iterator[Markup]:
    mark = f" · {words.SYNTHETIC}" if section.table.synthetic else ""
    zh, en = words.SECTIONS[section.name]
    yield heading(zh + mark, en + mark)
    yield text(*words.ABOUT[section.name])
    yield _cost(section)
    if weeks := steps_of(section):
        shown = ", ".join(weeks)
        yield text(*(one.format(weeks=shown) for one in words.STEPS))
    yield _picture(section, mark)
    yield _table(section)


def _cost(section: Section) -> Markup:
    made = section.table
    facts = {
        "release": made.release[:16],
        "first": made.spec.first,
        "last": made.spec.last,
        "partners": made.partners,
        "epsilon": made.epsilon,
        "honest": made.epsilon_all_honest,
        "others": made.epsilon_others_collude,
        "delta": made.delta,
        "band": made.band,
    }
    zh, en = (one.format(**facts) for one in words.COST)
    return text(zh, en)


def _picture(section: Section, mark: str) -> Markup:
    title = words.both(words.SECTIONS[section.name]) + mark
    if section.name in _INDICES:
        points = tuple(_point(one, one.labels[0]) for one in section.figures)
        return curves(title, [Curve(words.SECTIONS[section.name][1], points)])
    if section.name in ("vintages", "approvals"):
        return curves(title, _series(section), percent=True)
    scale = 1.0 if section.name in _PLAIN else 100.0
    bars = [
        _bar(one, one.value, scale)
        for one in section.figures
        if one.value is not None and one.name in _BARS and _told(one)
    ]
    unit = _PLAIN.get(section.name, _PERCENT)
    return chart((words.SECTIONS[section.name][0] + mark, unit), bars) if bars else Markup("")


def _bar(one: Shown, value: float, scale: float) -> Bar:
    low, high = _ends(one) or (0.0, 0.0)
    label = f"{' · '.join(one.labels)} (n {one.band})"
    told = f"{_number(one)} ({_interval(one)})"
    return Bar(label, scale * value, scale * low, scale * high, told)


_BARS = frozenset(
    {
        *("closure_rate", "transition", "balance_share", "group_approval", "grade_lost"),
        *("auc_gain", "loss_gain"),
    }
)
_PLAIN = {"dependence": "AUC", "contribution": "log-loss"}
"""Units of bars that are no percentages."""
_PERCENT = "%"


def _told(one: Shown) -> bool:
    """Whether a bar tells anything: of transitions only those that leave the state."""
    return one.name != "transition" or (
        one.labels[-1] != one.labels[-2] and (one.value or 0.0) > 0.0
    )


def _series(section: Section) -> list[Curve]:
    """One curve for each vintage, or grade; the newest where they are many."""
    along = 0 if section.name == "approvals" else -1
    named: dict[str, list[Point]] = {}
    for one in section.figures:
        rest = [
            label for place, label in enumerate(one.labels) if place != along % len(one.labels)
        ]
        named.setdefault(" ".join(rest), []).append(_point(one, one.labels[along]))
    listed = [Curve(name, tuple(points)) for name, points in named.items()]
    return listed[-_MOST_CURVES:]


def _point(one: Shown, label: str) -> Point:
    return Point(label, one.value, one.low or 0.0, one.high or 0.0)


def _table(section: Section) -> Markup:
    axes = [words.both(words.AXES[name]) for name in section.axes]
    head = [
        words.both(words.COLUMNS["figure"]),
        *axes,
        *(words.both(words.COLUMNS[name]) for name in ("value", "interval", "band", "note")),
    ]
    rows = []
    for one in section.figures[:_MOST_ROWS]:
        labels = [*one.labels, *[""] * (len(axes) - len(one.labels))]
        notes = [] if one.why is None else [words.both(words.WHY[one.why])]
        if verdict := verdict_text(one):
            notes.append(words.both(words.VERDICTS[verdict]))
        rows.append(
            [
                words.both(words.FIGURES[one.name]),
                *labels[: len(axes)],
                _number(one),
                _interval(one),
                one.band,
                "; ".join(notes),
            ]
        )
    return table(head, rows)


def _number(one: Shown) -> str:
    return _DASH if one.value is None else _text(one, one.value)


def _interval(one: Shown) -> str:
    ends = _ends(one)
    return _DASH if ends is None else f"{_text(one, ends[0])} – {_text(one, ends[1])}"


def _ends(one: Shown) -> tuple[float, float] | None:
    """The band as it is printed: of a share what lies within 0 and 1, as the share does.

    JSON and CSV have the raw band. A raw value outside keeps the nearer end of its band.
    """
    if one.low is None or one.high is None:
        return None
    if one.name not in _SHARES:
        return one.low, one.high
    return min(max(one.low, 0.0), 1.0), max(min(one.high, 1.0), 0.0)


_RATES = frozenset(
    {
        *("approval_rate", "ever_late", "transition", "closure_rate", "balance_share"),
        *("group_approval", "opportunity_gap", "grade_lost"),
        *("mean_pd", "pd_change", "price_change"),
    }
)
_SHARES = _RATES - {"opportunity_gap", "pd_change", "price_change"}
"""Rates that cannot be below 0 or above 1, whatever the noise says."""


def _text(one: Shown, value: float) -> str:
    if one.name in _RATES:
        return f"{100 * value:.2f} %"
    return f"{value:.{_DIGITS.get(one.name, 1)}f}"


_DIGITS = {
    **dict.fromkeys(("hhi", "impact_ratio", "calibration", "expected_observed"), 3),
    **dict.fromkeys(("auc", "auc_change"), 3),
    **dict.fromkeys(("auc_with", "auc_without", "auc_gain"), 4),
    "loss_gain": 5,
}
"""Decimals of figures that are neither rates nor of one decimal."""
