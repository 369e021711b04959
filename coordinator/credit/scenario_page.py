"""The printable page of a scenario run, drawn from its document alone."""

from collections.abc import Iterable, Mapping
from typing import cast

from consortium.credit.scenario import BASE
from coordinator.credit import paper
from coordinator.credit.paper import Bar, Markup
from coordinator.credit.scenario_report import lines_of, triple
from coordinator.credit.stress_page import plain, releases_table, span
from coordinator.credit.stress_report import ALL, Document

_HEADS = {
    "pd": ("违约率 PD, %", 100.0, ".3f"),
    "pd_change": ("变化(百分点) Δ, points", 100.0, "+.3f"),
    "loss": ("预期损失 EL", 0.01, ",.0f"),
    "loss_change": ("变化 ΔEL", 0.01, "+,.0f"),
    "approval_rate": ("批准率 approved, %", 100.0, ".2f"),
    "approval_change": ("变化(百分点) Δ, points", 100.0, "+.2f"),
}
_CHARTS = {
    "pd_change": ("违约率变化(百分点)", "change of PD, points"),
    "loss_change": ("预期损失变化", "change of expected loss"),
    "approval_change": ("批准率变化(百分点)", "change of the approval rate, points"),
}


def scenario_page(document: Document) -> str:
    """One self-contained HTML file."""
    titles = cast("Mapping[str, str]", document["title"])
    note = "SYNTHETIC 合成数据" if document["synthetic"] else ""
    return paper.page((titles["zh"], titles["en"]), _parts(document), note=note)


def _parts(document: Document) -> Iterable[Markup]:
    period, epsilon = document["period"], document["epsilon"]
    yield paper.text(
        f"每家机构以自己的数据重新评分, 只发布加噪合计。月份 {period}; "
        f"每个数字附 95 % 区间与人数区间, ε = {epsilon}。",
        f"Every partner scored its own rows anew; only noisy totals left. Month {period}; "
        f"every figure has its 95 % interval and n band, at epsilon {epsilon} for a person.",
    )
    drivers = cast("list[Mapping[str, str]]", document["scenarios"])
    yield paper.table(
        ("情景 scenario", "冲击 drivers"),
        [[one["name"], one["drivers"] or "无 none"] for one in drivers],
    )
    for name, title in _CHARTS.items():
        worse = -1 if name == "approval_change" else 1
        yield paper.chart(title, list(_bars(document, name)), worse=worse)
    yield paper.heading("各等级", "by grade")
    head = ("情景, 等级 scenario, grade", "n", *(text for text, _, _ in _HEADS.values()))
    yield paper.table(head, list(_rows(document)))
    yield paper.heading("依据", "what it rests on")
    yield releases_table(document)
    yield paper.text(
        "冲击: u 失业率百分点, i 收入损失, p 价格上限, t 期限上限(月), f 资金削减。"
        "少于 50 人的等级不公布。",
        "Drivers: u points of unemployment, i share of income lost, p price cap, t tenor cap "
        "in months, f share of funding cut. Grades of fewer than 50 persons have no figures.",
    )


def _bars(document: Document, name: str) -> Iterable[Bar]:
    _, scale, form = _HEADS[name]
    for world, line in lines_of(document):
        found = triple(line, name)
        if world == BASE or found is None:
            continue
        value, low, high = (scale * one for one in found)
        text = f"{plain(value, form)} ({span((value, low, high), form)})"
        yield Bar(f"{world} {_grade(line)}", value, low, high, text)


def _rows(document: Document) -> Iterable[list[str]]:
    for world, line in lines_of(document):
        row: list[str] = [f"{world} {_grade(line)}", str(line["n_band"])]
        for name, (_, scale, form) in _HEADS.items():
            found = triple(line, name)
            if found is None:
                row.append("n/a")
                continue
            values = tuple(scale * one for one in found)
            row.append(paper.cell(plain(values[0], form), span(values, form)))
        yield row


def _grade(line: Document) -> str:
    return "全部 all" if line["grade"] == ALL else str(line["grade"])
