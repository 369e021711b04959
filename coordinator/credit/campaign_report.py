"""The daily report of a campaign: a document first, then CSV and a page drawn from it alone.

Every figure is of a released table and has the interval of its noise and its persons, cut to
what is possible; what rests on fewer than fifty persons is suppressed. The same log and tables
give the same bytes.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from consortium.canonical import canonical_json
from consortium.credit.campaign_table import cells_of, deviation_of
from consortium.credit.figures import MIN_CELL, NoisyTable, interval, n_band, rate_interval
from consortium.credit.noisy_stop import NoisyCounts
from consortium.credit.stopping import bounds_of
from consortium.credit.waves import (
    HELD,
    LENT,
    Arm,
    Cells,
    Fate,
    ever_late,
    first_payments,
    wave_label,
)
from consortium.ids import Digest, digest_of
from consortium.ledger.governing import Running
from consortium.scoring.scorecard import UNIT_BITS
from coordinator.credit import paper
from coordinator.credit.readings import halt_share

Document = Mapping[str, Any]

_UNIT = float(1 << UNIT_BITS)
_NA = "n/a"
_DAY, _WAVE, _MOVE = "日期 day", "波次 wave", "动作 move"
_FATES = {
    Fate.OFFERED: "已获邀 offered",
    Fate.ACCEPTED: "已接受 accepted",
    Fate.DRAWN: "已用款 drawn",
    Fate.PAID: "按期 paid",
    Fate.FPD30: "首期逾期 30 天 FPD30",
    Fate.LATER30: "其后逾期 30 天 later 30",
}
_RATES = ("fpd30", "late30", "late30_held_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A look that was taken, with its table."""

    on: date
    table: NoisyTable


def document_of(running: Running, looks: Sequence[Looked], *, on: date) -> Document:
    """The report of a day."""
    plan, now = running.plan, running.now
    newest = looks[-1].table if looks else None
    return {
        "kind": "restart campaign",
        "title": _title(plan.name, synthetic=plan.synthetic),
        "synthetic": plan.synthetic,
        "on": on.isoformat(),
        "campaign": plan.name,
        "plan": plan.digest,
        "lenders": list(plan.lenders),
        "planned_rate": _text(plan.stop.fpd30_plan / 1_000_000),
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "state": {
            "waves": [
                {"wave": wave_label(at), "reaches_percent": percent, "state": state.value}
                for at, (percent, state) in enumerate(
                    zip(plan.percents, now.waves, strict=True)
                )
            ],
            "turn": now.turn,
            "looks": now.looks,
            "ended": now.ended,
        },
        "orders": [
            {
                "on": one.on.isoformat(),
                "wave": wave_label(min(one.wave, len(plan.percents) - 1)),
                "move": one.move.value,
                "role": one.role,
                "reason": one.reason,
                "release": one.release or "",
            }
            for one in running.orders
        ],
        "looks": [_look(running, one) for one in looks],
        "rates": [] if newest is None else list(_rates(newest, len(plan.percents))),
        "totals": [] if newest is None else list(_totals(newest)),
    }


def _title(name: str, *, synthetic: bool) -> dict[str, str]:
    mark = "SYNTHETIC " if synthetic else ""
    return {"zh": f"{mark}重启活动日报 {name}", "en": f"{mark}Restart campaign {name}"}


def _look(running: Running, one: Looked) -> Document:
    order = next(
        (found for found in running.orders if found.release == one.table.release), None
    )
    wave = 0 if order is None else order.wave
    counts = first_payments(cells_of(one.table, wave), deviation_of(one.table))
    bounds = bounds_of(running.plan.stop)
    return {
        "on": one.on.isoformat(),
        "wave": wave_label(wave),
        "move": "" if order is None else order.move.value,
        "release": one.table.release,
        "epsilon": one.table.epsilon,
        "partners": one.table.partners,
        "n_band": n_band(counts.accounts),
        "fpd30": _rate(counts),
        "share_of_halt_bound": _text(halt_share(running.plan, one.table, wave)),
        "halts_at": _text(bounds.halt / _UNIT),
        "passes_at": _text(bounds.passed / _UNIT),
    }


def _rates(table: NoisyTable, waves: int) -> Iterable[Document]:
    """First payments and lateness by tier, all waves together, beside the hold-out's."""
    deviation = deviation_of(table) * waves**0.5
    every = [cells_of(table, wave) for wave in range(waves)]
    cells: Cells = {key: sum(one[key] for one in every) for key in every[0]}
    for tier in (*LENT, Arm.C):
        late = ever_late(cells, deviation, (tier,))
        held = ever_late(cells, deviation, (HELD[tier.value],))
        paid = NoisyCounts(
            good=cells[tier, Fate.PAID] + cells[tier, Fate.LATER30],
            bad=cells[tier, Fate.FPD30],
            good_deviation=deviation * 2**0.5,
            bad_deviation=deviation,
        )
        yield {
            "tier": tier.value,
            "n_band": n_band(late.accounts),
            "fpd30": _rate(paid) if tier in LENT else _none(),
            "late30": _rate(late),
            "late30_held_out": _rate(held),
        }


def _rate(counts: NoisyCounts) -> dict[str, str]:
    whole = counts.accounts
    spread = (counts.good_deviation**2 + counts.bad_deviation**2) ** 0.5
    if counts.bad_deviation:
        spread /= counts.bad_deviation
    found = rate_interval(counts.bad, whole, counts.bad_deviation, spread=spread)
    if found is None:
        return _none()
    told = (found.value, found.value - found.half, found.value + found.half)
    value, low, high = (_text(min(max(one, 0.0), 1.0)) for one in told)
    return {"value": value, "low": low, "high": high}


def _none() -> dict[str, str]:
    return {"value": _NA, "low": _NA, "high": _NA}


def _totals(table: NoisyTable) -> Iterable[Document]:
    """How many have come how far, by wave and arm."""
    deviation = deviation_of(table)
    for wave in range(table.spec.shape[0]):
        cells = cells_of(table, wave)
        for arm in Arm:
            if sum(cells[arm, fate] for fate in Fate) >= MIN_CELL:
                figures = {fate.value: _count(cells[arm, fate], deviation) for fate in Fate}
                yield {"wave": wave_label(wave), "arm": arm.value, **figures}


def _count(value: float, deviation: float) -> dict[str, str]:
    found = interval(value, deviation)
    told = (value, found.value - found.half, found.value + found.half)
    number, low, high = (f"{max(one, 0.0):.0f}" for one in told)
    return {"value": number, "low": low, "high": high}


def _text(value: float) -> str:
    return f"{value:.4f}"


# --- written ----------------------------------------------------------------------------------


def stem_of(document: Document) -> str:
    """Of the files' names."""
    mark = "SYNTHETIC-" if document["synthetic"] else ""
    return f"{mark}restart-{document['campaign']}-{document['on']}"


def as_json(document: Document) -> bytes:
    """Canonical bytes."""
    return canonical_json(document)


def digest(document: Document) -> Digest:
    """Of those bytes."""
    return digest_of(as_json(document))


def as_csv(document: Document) -> str:
    """One figure a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("label", "on", "what", "of", "n_band", "value", "low", "high", "epsilon"))
    label = "SYNTHETIC" if document["synthetic"] else ""
    for look in document["looks"]:
        row = (label, look["on"], "fpd30", look["wave"], look["n_band"])
        writer.writerow((*row, *look["fpd30"].values(), look["epsilon"]))
    for line in document["rates"]:
        for name in _RATES:
            row = (label, document["on"], name, line["tier"], line["n_band"])
            writer.writerow((*row, *line[name].values(), document["epsilon"]))
    for line in document["totals"]:
        for fate in Fate:
            of = f"{line['wave']}/{line['arm']}"
            row = (label, document["on"], fate.value, of, "")
            writer.writerow((*row, *line[fate.value].values(), document["epsilon"]))
    return out.getvalue()


def lines_of(document: Document) -> Iterable[str]:
    """A few lines for a terminal."""
    yield f"{document['title']['en']}, {document['on']}, epsilon {document['epsilon']} a person"
    for wave in document["state"]["waves"]:
        yield f"  {wave['wave']} up to {wave['reaches_percent']} %: {wave['state']}"
    for look in document["looks"]:
        yield (
            f"  {look['on']} {look['wave']} {look['move'] or 'not judged'}: FPD30 "
            f"{_shown(look['fpd30'])} (n {look['n_band']}), "
            f"{look['share_of_halt_bound']} of the halt bound"
        )
    for line in document["rates"]:
        late, held = _shown(line["late30"]), _shown(line["late30_held_out"])
        yield f"  tier {line['tier']}: 30 days late {late}, held out {held}"


def _shown(found: Mapping[str, str]) -> str:
    if found["value"] == _NA:
        return _NA
    value, low, high = (100 * float(found[name]) for name in ("value", "low", "high"))
    return f"{value:.2f} % [{low:.2f}, {high:.2f}]"


def page_of(document: Document) -> str:
    """One self-contained page in Chinese and English."""
    title, rate = document["title"], 100 * float(document["planned_rate"])
    tiles = [
        ("计划坏账率 planned FPD30", f"{rate:.2f} %", ""),
        ("隐私预算 epsilon", document["epsilon"], f"delta {document['delta']}"),
        ("机构 lenders", ", ".join(document["lenders"]), ""),
    ]
    parts = [
        paper.tiles(tiles),
        *_waves_part(document),
        *_chart(document),
        *_orders_part(document),
        paper.text(
            "所有数字均来自带噪声的安全求和表, 区间为 95 %; 少于 50 人的数字不显示。",
            "Every figure is of a table that was summed under masks and noise; intervals are "
            "95 %, and what rests on fewer than 50 persons is not shown.",
        ),
    ]
    note = "SYNTHETIC" if document["synthetic"] else ""
    return paper.page((title["zh"], title["en"]), parts, note=note)


def _waves_part(document: Document) -> list[paper.Markup]:
    waves = [
        (one["wave"], str(one["reaches_percent"]), one["state"])
        for one in document["state"]["waves"]
    ]
    names = ("on", "wave", "n_band", "fpd30", "share_of_halt_bound", "move", "epsilon")
    looks = [
        [_shown(one[name]) if name == "fpd30" else one[name] for name in names]
        for one in document["looks"]
    ]
    return [
        paper.heading("各波次", "Waves"),
        paper.table((_WAVE, "覆盖 reaches, %", "状态 state"), waves),
        paper.heading("观察", "Looks"),
        paper.table(
            (_DAY, _WAVE, "n", "首期逾期 FPD30", "占停止界 of halt bound", _MOVE, "ε epsilon"),
            looks,
        ),
    ]


def _orders_part(document: Document) -> list[paper.Markup]:
    names = ("on", "wave", "move", "role", "reason")
    orders = [[one[name] for name in names] for one in document["orders"]]
    totals = [
        (line["wave"], line["arm"], *(_cell(line[fate.value]) for fate in Fate))
        for line in document["totals"]
    ]
    return [
        paper.heading("决定", "Orders"),
        paper.table((_DAY, _WAVE, _MOVE, "角色 role", "理由 reason"), orders),
        paper.heading("人数", "Persons"),
        paper.text(
            "每人只计一次, 计入其到达的最远一步; 留置组与 C 档只看其后的还款。",
            "Everybody is counted once, at the furthest step reached; of those held out and of "
            "tier C only what became of their debt is told.",
        ),
        paper.table((_WAVE, "组 arm", *(_FATES[fate] for fate in Fate)), totals),
    ]


def _cell(found: Mapping[str, str]) -> paper.Markup:
    return paper.cell(found["value"], f"[{found['low']}, {found['high']}]")


def _chart(document: Document) -> list[paper.Markup]:
    bars = [
        paper.Bar(
            label=f"{line['tier']}{' held out' if name.endswith('out') else ''} "
            f"(n {line['n_band']})",
            value=100 * float(line[name]["value"]),
            low=max(0.0, 100 * float(line[name]["low"])),
            high=min(100.0, 100 * float(line[name]["high"])),
            text=_shown(line[name]),
        )
        for line in document["rates"]
        for name in ("late30", "late30_held_out")
        if line[name]["value"] != _NA
    ]
    if not bars:
        return []
    return [
        paper.heading("逾期率", "30 days late, by tier"),
        paper.chart(("逾期 30 天, %", "30 days late, %"), bars),
    ]
