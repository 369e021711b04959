"""A campaign at a desk: a plan, orders that fit, and tables of any counts."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

from consortium.credit.policy import StopRule
from consortium.credit.terms import Ppm
from consortium.credit.waves import (
    BY_COUNTS,
    WAVES,
    Arm,
    Campaign,
    CampaignOrder,
    CampaignPlan,
    Fate,
    Move,
    next_look,
    standing,
)
from consortium.ids import Digest, PartnerId

RELEASE = Digest("ab" * 32)
BEGINS = date(2026, 3, 2)
STOP = StopRule(
    fpd30_plan=Ppm(30_000),
    ratio=Ppm(2_000_000),
    alpha=Ppm(50_000),
    beta=Ppm(100_000),
    least_accounts=50,
    most_accounts=20_000,
    looks=3,
    holdout_margin=Ppm(10_000),
)
PLAN = CampaignPlan(
    name="spring-26",
    lenders=(PartnerId("bank_a"), PartnerId("bank_b")),
    closed_from=date(2025, 10, 1),
    closed_to=date(2025, 12, 31),
    begins=BEGINS,
    percents=WAVES,
    holdout_percent=10,
    stop=STOP,
    look_days=30,
    epsilon="1",
    delta="0.000001",
)


def order(now: Campaign, move: Move, *, on: date | None = None) -> CampaignOrder:
    """An order that is about a state."""
    by_counts = move in BY_COUNTS
    day = on or (next_look(PLAN, now) if by_counts else now.looked_on or BEGINS)
    return CampaignOrder(
        campaign=PLAN.name,
        plan=PLAN.digest,
        move=move,
        wave=now.at,
        before=now.digest,
        release=RELEASE if by_counts else None,
        role="" if by_counts else "LO",
        reason="" if by_counts else "committee",
        on=day,
    )


def after(*moves: Move) -> tuple[Campaign, tuple[CampaignOrder, ...]]:
    """A campaign after these moves, and its orders."""
    orders: list[CampaignOrder] = []
    for move in moves:
        orders.append(order(standing(PLAN, orders), move))
    return standing(PLAN, orders), tuple(orders)


def cells(counts: Mapping[tuple[Arm, Fate], float]) -> dict[tuple[Arm, Fate], float]:
    """A wave's cells; what is not named is 0."""
    return {(arm, fate): counts.get((arm, fate), 0.0) for arm in Arm for fate in Fate}


def later(one: CampaignOrder, days: int) -> CampaignOrder:
    """The same order on another day."""
    return replace(one, on=one.on + timedelta(days=days))
