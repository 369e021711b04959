"""Where the risk register reads: gates, tables, campaigns, the witnesses' heads, the budget.

Every reading is of something that was released or logged already: none costs a privacy budget,
and none is of one borrower. What has no source here has no reading, and the register says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

from consortium.credit.campaign_table import cells_of, deviation_of
from consortium.credit.drift import excess_psi
from consortium.credit.figures import NoisyTable
from consortium.credit.gate import Verdict as GateVerdict
from consortium.credit.market import Verdict, fairness, verdict_of
from consortium.credit.noisy_stop import llr
from consortium.credit.stopping import bounds_of
from consortium.credit.triggers import Reading, Trigger
from consortium.credit.waves import (
    BY_COUNTS,
    CampaignOrder,
    CampaignPlan,
    Move,
    first_payments,
    wave_label,
)
from consortium.figure import FigureKind
from consortium.ids import Digest, PartnerId
from consortium.ledger.entries import ReleaseGate
from consortium.ledger.governing import Running
from consortium.privacy.accountant import units_of
from consortium.scoring.scorecard import UNIT_BITS
from coordinator.governing_storage import Spent

_HOUR_S, _DAY_S = 3_600, 86_400
_SILENT_H = (0, 6, 24)
_UNIT = float(1 << UNIT_BITS)
_CHECKS = {
    "calibration.in_the_large": Trigger.CALIBRATION,
    "dominance.partner": Trigger.PARTNER_SHARE,
}
_VERDICTS = {Verdict.FINE: 0.0, Verdict.WATCH: 1.0, Verdict.FAIL: 2.0}


def day_of(at: int) -> date:
    """The calendar date of a second, UTC."""
    return datetime.fromtimestamp(at, tz=UTC).date()


def gate_readings(gates: Sequence[tuple[int, ReleaseGate]]) -> Iterator[Reading]:
    """Calibration and partners' shares of each version's gate; ``gates`` with their seconds.

    A line that the gate did not assess is no reading: its interval is too wide to act on.
    """
    for at, gate in gates:
        for line in gate.checks:
            trigger = _CHECKS.get(line.name)
            if trigger is not None:
                known = line.value and line.verdict != GateVerdict.NOT_ASSESSED.value
                yield Reading(
                    trigger=trigger,
                    subject=line.subject,
                    on=day_of(at),
                    value=float(line.value) if known else None,
                    evidence=gate.version,
                )


def table_readings(tables: Sequence[NoisyTable]) -> Iterator[Reading]:
    """Drift of the tiers against their first table, and fairness by group."""
    first: dict[str, NoisyTable] = {}
    for table in tables:
        if table.spec.kind is FigureKind.TIERS:
            yield _drift(first.setdefault(_subject(table), table), table)
        elif table.spec.kind is FigureKind.FAIRNESS:
            yield from _fairness(table)


def _drift(before: NoisyTable, now: NoisyTable) -> Reading:
    value = 0.0
    if before.release != now.release:
        tables = [one.measure("persons").reshape(-1) for one in (before, now)]
        deviations = before.deviation("persons"), now.deviation("persons")
        found = excess_psi(tables[0], tables[1], deviations=deviations)
        value = float("nan") if found is None else found
    return Reading(
        trigger=Trigger.DRIFT,
        subject=_subject(now),
        on=_end_of(now.spec.last),
        value=value,
        evidence=now.release,
    )


def _fairness(table: NoisyTable) -> Iterator[Reading]:
    worst: dict[str, float] = {}
    for one in fairness(table).figures:
        found = _VERDICTS.get(verdict_of(one))
        if found is not None:
            group = one.labels[0]
            worst[group] = max(found, worst.get(group, 0.0))
    for group in table.spec.axes[0].cells:
        yield Reading(
            trigger=Trigger.FAIRNESS,
            subject=group,
            on=_end_of(table.spec.last),
            value=worst.get(group),
            evidence=table.release,
        )


def _subject(table: NoisyTable) -> str:
    named = [f"{one.name}:{one.value}" for one in table.spec.filters]
    return "/".join(named) or "all"


def _end_of(period: str) -> date:
    from consortium.credit.figure_forms import day_after  # noqa: PLC0415 - with its forms

    return date.fromordinal(day_after(period).toordinal() - 1)


# --- campaigns --------------------------------------------------------------------------------


def campaign_readings(
    campaigns: Mapping[str, Running], tables: Mapping[Digest, NoisyTable]
) -> Iterator[Reading]:
    """How near each look was to a halt; a halt is 1 and stays until the wave is resumed."""
    for running in campaigns.values():
        for order in running.orders:
            yield _wave(running.plan, order, tables)


def _wave(
    plan: CampaignPlan, order: CampaignOrder, tables: Mapping[Digest, NoisyTable]
) -> Reading:
    value: float | None = 0.0
    if order.move is Move.BAD:
        value = 1.0
    elif order.move in BY_COUNTS and order.release is not None:
        table = tables.get(order.release)
        value = None if table is None else halt_share(plan, table, order.wave)
    return Reading(
        trigger=Trigger.WAVE,
        subject=f"{plan.name}:{wave_label(min(order.wave, len(plan.percents) - 1))}",
        on=order.on,
        value=value,
        evidence=order.release,
    )


def halt_share(plan: CampaignPlan, table: NoisyTable, wave: int) -> float:
    """The ratio of a look as a share of the bound at which it halts."""
    counts = first_payments(cells_of(table, wave), deviation_of(table))
    return llr(counts, plan.stop) * _UNIT / bounds_of(plan.stop).halt


# --- witnesses and budget ---------------------------------------------------------------------


def witness_readings(
    last: Mapping[PartnerId, int], members: Sequence[PartnerId], *, now: int, since: int
) -> Iterator[Reading]:
    """Hours since each witness cosigned, on the days on which a bound was passed and today.

    Args:
        last: Newest second of each witness's cosignature.
        members: Who is a witness.
        now: Seconds.
        since: From when on they were to speak: of those that never did.
    """
    for member in members:
        spoke = last.get(member, since)
        hours = (now - spoke) / _HOUR_S
        for passed in (*(one for one in _SILENT_H if one < hours), hours):
            at = spoke + int(passed * _HOUR_S)
            more = 0.01 if passed in _SILENT_H[1:] else 0.0
            yield Reading(
                trigger=Trigger.WITNESS,
                subject=member,
                on=day_of(at),
                value=passed + more,
            )


def budget_readings(
    spent: Sequence[Spent], caps: Mapping[str, str], delta: str
) -> Iterator[Reading]:
    """What each account of each partner has left of the manifest's cap, day by day.

    Args:
        spent: By day, oldest first.
        caps: Lifetime epsilon by account.
        delta: The manifest's.
    """
    sums: dict[tuple[str, str, str], int] = {}
    for one in spent:
        cap = units_of(float(caps[one.account]), float(delta)) if one.account in caps else 0
        key = (one.partner, one.account, one.epoch)
        sums[key] = sums.get(key, 0) + one.units
        yield Reading(
            trigger=Trigger.BUDGET,
            subject=f"{one.partner}:{one.account}",
            on=date.fromisoformat(one.day),
            value=1 - sums[key] / cap if cap else None,
        )


# --- stress -----------------------------------------------------------------------------------


def shock_readings(document: Mapping[str, object], on: date, evidence: Digest) -> list[Reading]:
    """Change of each partner's expected loss by a stored report of ``riskweave stress``."""
    before = {one["partner"]: _value(one) for one in _lines(document, "before")}
    return [
        Reading(
            trigger=Trigger.CLOSURE_SHOCK,
            subject=str(one["partner"]),
            on=on,
            value=_value(one) / before[one["partner"]] if before.get(one["partner"]) else None,
            evidence=evidence,
        )
        for one in _lines(document, "together")
        if one.get("tier") == "*" and one.get("partner") not in (None, "*")
    ]


def _lines(document: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    found = document.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _value(line: Mapping[str, object]) -> float:
    found = line.get("loss", line)
    value = found.get("value") if isinstance(found, dict) else None
    return float(value) if isinstance(value, (int, float)) else 0.0
