"""The printable page of a closure stress, drawn from its document alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from coordinator.credit import paper
from coordinator.credit.paper import Bar, Markup
from coordinator.credit.stress_report import ALL, Document, lines_of, together_of, triple

_MOST_SHOWN = 12
"""Partners in charts and in the table by tier; the files hold all of them."""

HEADS = {
    "hit": "受影响人次 persons hit",
    "pd": "违约率变化(百分点) ΔPD, points",
    "loss": "预期损失变化 ΔEL",
    "moves": "迁入第二阶段 stage moves",
    "approvals": "获批变化 Δ approvals",
}


def stress_page(document: Document) -> str:
    """One self-contained HTML file."""
    titles = cast("Mapping[str, str]", document["title"])
    note = "SYNTHETIC 合成数据" if document["synthetic"] else ""
    return paper.page((titles["zh"], titles["en"]), _parts(document), note=note)


def _parts(document: Document) -> Iterable[Markup]:
    yield paper.text(*_question(document))
    yield _tiles(document)
    shown = _shown(document)
    yield from _charts(document, shown)
    yield paper.heading("各轮各机构", "by round and partner")
    yield _by_partner(document)
    yield paper.heading("按冲击层级, 各轮合计", "by shock tier, all rounds together")
    yield _by_tier(document, shown)
    yield paper.heading("依据", "what it rests on")
    yield _elasticities(document)
    yield releases_table(document)
    yield paper.text(_NOTES_ZH, _NOTES_EN)


def _question(document: Document) -> tuple[str, str]:
    asked = cast("Mapping[str, object]", document["question"])
    closing = cast("Mapping[str, list[str]]", asked["closing"])
    whom = "; ".join(f"{partner} {', '.join(tiers)}" for partner, tiers in closing.items())
    share = f"{100 * cast('float', asked['share']):g} %"
    period, epsilon = document["period"], document["epsilon"]
    zh = (
        f"问题: {whom} 的 {share} 授信今日关闭, 其他机构会怎样? 月份 {period}; "
        f"每个数字附 95 % 区间、人数区间与 ε = {epsilon} (每人, 全部发布合计)。"
    )
    en = (
        f"Question: {share} of the lines of {whom} close today; what happens elsewhere? Month "
        f"{period}; every figure has its 95 % interval and n band, at epsilon {epsilon} for a "
        "person over all releases together."
    )
    return zh, en


def _tiles(document: Document) -> Markup:
    line = together_of(document)[-1]
    before = _before(document)[ALL]
    change = triple(line, "loss")
    band, heads = str(line["n_band"]), dict(zip(HEADS, _heads(document), strict=True))
    figures = []
    for name, head in heads.items():
        value, ends = _told(line, name)
        figures.append((f"合计 {head}", value, f"{ends} · n {band}"))
    share = tuple(100 * one / before[0] if before[0] > 0 else 0.0 for one in change)
    relative = ("占原预期损失 of EL before", f"{share[0]:+.2f} %", span(share, "+.2f"))
    return paper.tiles([*figures[:3], relative, *figures[3:]])


def _charts(document: Document, shown: Sequence[str]) -> Iterable[Markup]:
    together, unit = together_of(document), _unit(document)
    partners = [line for line in together if line["tier"] == ALL and line["partner"] in shown]
    yield paper.chart(
        (
            f"预期损失变化 ({unit}), 各轮合计",
            f"change of expected loss, {unit}, all rounds together",
        ),
        [_money_bar(line, f"{line['partner']} (n {line['n_band']})") for line in partners],
    )
    tiers = [line for line in together if line["tier"] != ALL and line["partner"] in shown]
    yield paper.chart(
        ("违约率变化(百分点), 按层级", "change of PD in points, by tier"),
        [_points_bar(line) for line in tiers if not (line["undefined"] or line["closes"])],
    )
    rounds = [line for line in lines_of(document) if line["partner"] == ALL]
    if len(rounds) > 2:  # noqa: PLR2004 - one round is all of them
        yield paper.chart(
            (f"预期损失变化 ({unit}), 按轮次", f"change of expected loss, {unit}, by round"),
            [_money_bar(one, f"轮 round {one['round']}") for one in rounds],
        )


def _money_bar(line: Document, label: str) -> Bar:
    value, low, high = (one / 100 for one in triple(line, "loss"))
    told, span = _told(line, "loss")
    return Bar(label, value, low, high, f"{told} ({span})")


def _points_bar(line: Document) -> Bar:
    value, low, high = (100 * one for one in triple(line, "pd"))
    told, span = _told(line, "pd")
    label = f"{line['partner']} {line['tier']} (n {line['n_band']})"
    return Bar(label, value, low, high, f"{told} ({span})")


def _by_partner(document: Document) -> Markup:
    before = _before(document)
    lines = [line for line in lines_of(document) if line["tier"] == ALL]
    rows = [
        [
            f"{_round(line)} {_name(line)}",
            str(line["n_band"]),
            *_cells(line),
            _money_cell(before[str(line["partner"])]),
        ]
        for line in lines
    ]
    head = ("轮次, 机构 round, partner", "n", *_heads(document), "原预期损失 EL before")
    together = sum(line["round"] == "all" for line in lines)
    return paper.table(head, rows, strong=together)


def _by_tier(document: Document, shown: Sequence[str]) -> Markup:
    rows = [
        [
            f"{line['partner']} {line['tier']}{_mark(line)}",
            str(line["n_band"]),
            *_cells(line),
        ]
        for line in together_of(document)
        if line["tier"] != ALL and line["partner"] in shown
    ]
    return paper.table(("机构, 层级 partner, tier", "n", *_heads(document)), rows)


def _heads(document: Document) -> list[str]:
    unit = _unit(document)
    return [f"{text}, {unit}" if name == "loss" else text for name, text in HEADS.items()]


def _unit(document: Document) -> str:
    """Currency of every amount."""
    return cast("Mapping[str, str]", document["policy"])["currency"]


def _cells(line: Document) -> list[Markup]:
    return [paper.cell(*_told(line, name)) for name in HEADS]


def _told(line: Document, name: str) -> tuple[str, str]:
    """A figure and its interval as they are printed."""
    scale, form = {
        "pd": (100.0, "+.3f"),
        "loss": (0.01, "+,.0f"),
        "hit": (1.0, ",.0f"),
    }.get(name, (1.0, "+,.0f"))
    values = tuple(scale * one for one in triple(line, name))
    return plain(values[0], form), span(values, form)


def span(values: Sequence[float], form: str) -> str:
    """The ends of an interval."""
    return f"{plain(values[1], form)} … {plain(values[2], form)}"


def plain(value: float, form: str) -> str:
    """Without a sign before zero."""
    text = f"{value:{form}}"
    return text.lstrip("+-") if not any(digit in text for digit in "123456789") else text


def _money_cell(values: Sequence[float]) -> Markup:
    major = [one / 100 for one in values]
    return paper.cell(plain(major[0], ",.0f"), span(major, ",.0f"))


def _round(line: Document) -> str:
    return "合计 all" if line["round"] == "all" else f"{line['round']}."


def _mark(line: Document) -> str:
    if line["closes"]:
        return " (关闭 closes)"
    return " *" if line["undefined"] else ""


def _name(line: Document) -> str:
    return "全部 all partners" if line["partner"] == ALL else str(line["partner"])


def _before(document: Document) -> Mapping[str, tuple[float, float, float]]:
    lines = cast("list[Mapping[str, object]]", document["before"])
    keys = ("value", "low", "high")
    found = {}
    for line in lines:
        value, low, high = (cast("float", line[key]) for key in keys)
        found[str(line["partner"])] = (value, low, high)
    return found


def _shown(document: Document) -> list[str]:
    """The partners whose expected loss moves most, in the order of the report."""
    lines = [line for line in together_of(document) if line["tier"] == ALL]
    lines = [line for line in lines if line["partner"] != ALL]
    far = sorted(lines, key=lambda line: -abs(triple(line, "loss")[0]))[:_MOST_SHOWN]
    kept = {str(line["partner"]) for line in far}
    return [str(line["partner"]) for line in lines if line["partner"] in kept]


def _elasticities(document: Document) -> Markup:
    found = cast("Mapping[str, Mapping[str, object]]", document["elasticities"])
    rows = []
    for tier, one in found.items():
        values = tuple(100 * cast("float", one[key]) for key in ("value", "low", "high"))
        told = paper.cell(plain(values[0], "+.2f"), span(values, "+.2f"))
        rows.append([tier, told, _PROVENANCE[str(one["provenance"])], str(one["source"])])
    head = ("层级 tier", "弹性(百分点) elasticity, points", "来源 provenance", "出处 source")
    return paper.table(head, rows)


def releases_table(document: Document) -> Markup:
    """The releases behind a report."""
    rows = []
    for one in cast("list[Mapping[str, object]]", document["releases"]):
        levels = cast("Mapping[str, str]", one["epsilon"])
        epsilon = ", ".join(f"{name} {value}" for name, value in levels.items())
        release = str(one["release"])
        told = [str(one[key]) for key in ("figure", "about", "period")]
        rows.append([*told, epsilon, str(one["delta"]), release[:16]])
    head = ("统计 figure", "对象 about", "期间 period", "ε(每人 a person)", "δ", "release")
    return paper.table(head, rows)


_PROVENANCE = {"measured": "实测 measured", "assumed": "假设 assumed"}
_NOTES_ZH = (
    "人次按关闭的授信计, 同一人可计多次。弹性带符号: 关闭可以降低他处违约。"
    "* 人数不为正, 该项记为 0。获批变化假设受影响者各申请一次。"
    "图表只列变动最大的十二家机构, 文件含全部。"
)
_NOTES_EN = (
    "A person counts once for each line closed. An elasticity has a sign: a closure may lower "
    "default elsewhere. * no positive number of persons: the effect is set to 0. Approvals "
    "assume that everybody hit applies once. Charts show the twelve partners that move most; "
    "the files hold all of them."
)
