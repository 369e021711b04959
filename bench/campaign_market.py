"""SYNTHETIC: a restart campaign on the generator, with the product's rules, noise and stop.

Partner 2 withdraws its product; its borrowers are placed in tiers by a score that the lender
learns from earlier months, waves and hold-out are drawn by the product's hash of made-up
tokens, and each look is a release with the product's own integer noise. Assumed, and no claim
about anybody: who accepts, that first payments of a wave as planned fail as often as those of
the debt that is left, and what a missed month leads to.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from consortium.credit import ladder as rungs
from consortium.credit.campaign_table import cells_of, deviation_of, look_of
from consortium.credit.closures import Cause
from consortium.credit.figures import NoisyTable, Terms, simulated_release
from consortium.credit.ladder import State, Step
from consortium.credit.outcomes import Lateness
from consortium.credit.policy import RestartRules, StopRule
from consortium.credit.restart import ClosedLine, in_holdout, tier_of, wave_of
from consortium.credit.terms import Ppm, add_months
from consortium.credit.waves import (
    HELD,
    Arm,
    CampaignOrder,
    CampaignPlan,
    Fate,
    Move,
    judge,
    standing,
)
from consortium.crypto.keys import Secret
from consortium.errors import OutOfOrderError
from consortium.ids import Digest, PartnerId, PersonToken
from coordinator.credit.restart_waves import ATTEMPTS, epsilon_of_look
from examples.ecosystem import PROFILES, Ecosystem, Profile, generate
from examples.ecosystem.law import STAGE_DPD
from examples.ecosystem.months import WITHDRAWN
from examples.ecosystem.restart import first_payments
from examples.ecosystem.streams import stream
from examples.ecosystem.world import ATTRIBUTES, WITHDRAWER

Floats = NDArray[np.float64]

LEARNED = 5
"""Month whose twelve months after are known before the withdrawal."""
ACCEPTS = 0.7
PLANNED = Ppm(30_000)
RIPE = (0.5, 0.8, 1.0)
"""Share of a wave whose first due date is over, at each look."""
BEGINS = date(2026, 3, 2)
RULES = RestartRules(
    a_pd="0.02", b_pd="0.10", a_dsr=Ppm(500_000), b_dsr=Ppm(600_000), holdout_percent=10
)
STOP = StopRule(
    fpd30_plan=PLANNED,
    ratio=Ppm(2_000_000),
    alpha=Ppm(50_000),
    beta=Ppm(100_000),
    least_accounts=50,
    most_accounts=1_000_000,
    looks=len(RIPE),
    holdout_margin=Ppm(20_000),
)
BY = ("LO", "simulated")


def plan_of(name: str, *, epsilon: str, percents: tuple[int, ...]) -> CampaignPlan:
    """A campaign of the withdrawing lender, with two others in the sum."""
    return CampaignPlan(
        name=name,
        lenders=(PartnerId("p0001"),),
        closed_from=date(2025, 12, 1),
        closed_to=date(2025, 12, 31),
        begins=BEGINS,
        percents=percents,
        holdout_percent=RULES.holdout_percent,
        stop=STOP,
        look_days=30,
        epsilon=epsilon,
        delta="0.000001",
        synthetic=True,
    )


# --- the cohort -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """The borrowers of the withdrawn product, shape (lines,) each."""

    tier: NDArray[np.str_]
    pd: Floats
    """True PD12 in the month of the withdrawal."""
    bad: NDArray[np.bool_]
    """M3+ or charged off within twelve months after it."""
    late: NDArray[np.bool_]
    """Past due at some month end of the next six."""


def cohort_of(seed: int, profile: Profile = PROFILES["standard"]) -> Cohort:
    """Place everybody whose line was withdrawn, by what the lender knows."""
    observed, truth = generate(profile, seed)
    partner, month = observed.partners[WITHDRAWER], profile.withdrawn_in
    rows = np.flatnonzero(partner.panel.cause[month] == WITHDRAWN)
    eta = _scores(observed, month)[rows]
    worst = partner.panel.stage[: month + 1].max(axis=0)[rows]
    recent = partner.panel.stage[month - 11 : month + 1].max(axis=0)[rows]
    now = partner.panel.stage[month][rows]
    clean = _clean_months(partner.panel.stage[: month + 1])[rows]
    tiers = [
        _tier(float(eta[n]), (int(recent[n]), int(worst[n]), int(now[n]), int(clean[n])), money)
        for n, money in enumerate(zip(partner.dsr[rows], partner.income[rows], strict=True))
    ]
    return Cohort(
        tier=np.array(tiers),
        pd=truth.hidden[WITHDRAWER].pd12[month][rows].astype(np.float64),
        bad=partner.labels(month)[rows] == 1,
        late=(partner.panel.stage[month + 1 : month + 7][:, rows] > 0).any(axis=0),
    )


def _tier(eta: float, stages: tuple[int, int, int, int], money: tuple[float, float]) -> str:
    recent, worst, now, clean = stages
    dsr, income = money
    known = not np.isnan(income)
    line = ClosedLine(
        cause=Cause.PRODUCT_WITHDRAWN,
        fraud_confirmed=False,
        anomaly_cleared=True,
        dpd=int(STAGE_DPD[now]),
        charged_off=False,
        lateness=Lateness(
            worst_12=int(STAGE_DPD[recent]),
            worst_24=int(STAGE_DPD[worst]),
            cured_months=clean - 3 if worst and clean >= 3 else None,  # noqa: PLR2004 - 2.1
        ),
        eta=round(eta * 2**32),
        dues=round(100 * dsr * income) if known else 0,
        income=round(100 * income) if known else None,
    )
    return tier_of(line, RULES).tier.value


def _clean_months(stages: NDArray[np.int8]) -> NDArray[np.int64]:
    """Month ends without arrears since the last one with."""
    late = stages[::-1] > 0
    return np.where(late.any(axis=0), late.argmax(axis=0), stages.shape[0])


def _scores(observed: Ecosystem, month: int) -> Floats:
    """Log-odds of each line in ``month``, by a logistic fit on an earlier month's outcome."""
    partner = observed.partners[WITHDRAWER]
    before = partner.snapshot(LEARNED)
    known = before.label >= 0
    design = np.column_stack([before.attributes[name] for name in ATTRIBUTES])[known]
    middle, spread = design.mean(axis=0), design.std(axis=0)
    weights = _fit((design - middle) / spread, before.label[known].astype(np.float64))
    now = partner.snapshot(month)
    found = np.full(partner.lines.person.size, 0.0)
    rows = np.column_stack([now.attributes[name] for name in ATTRIBUTES])
    found[now.line] = weights[0] + ((rows - middle) / spread) @ weights[1:]
    return found


def _fit(rows: Floats, labels: Floats) -> Floats:
    """Newton's method for a logistic model with an intercept."""
    design = np.column_stack([np.ones(len(rows)), rows])
    weights = np.zeros(design.shape[1])
    for _ in range(12):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (design * (chance * (1 - chance))[:, None])
        weights += np.linalg.solve(slope, design.T @ (labels - chance))
    return weights


# --- a campaign -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one simulated campaign."""

    moves: tuple[tuple[int, str], ...]
    """Wave and move, in order."""
    deviation: float
    """Of the noise of one cell, in persons."""
    last: NoisyTable

    def halted(self, wave: int) -> bool:
        """Whether that wave was."""
        return (wave, Move.BAD.value) in self.moves


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """The members of a campaign, drawn by the product's hash."""

    wave: NDArray[np.int64]
    held: NDArray[np.bool_]


@lru_cache(maxsize=8)
def drawn(plan: CampaignPlan, size: int) -> Drawn:
    """Waves and hold-out of made-up tokens."""
    tokens = [
        PersonToken(sha256(f"SYNTHETIC {number}".encode()).digest()) for number in range(size)
    ]
    return Drawn(
        wave=np.array([wave_of(plan.name, one, plan.percents) for one in tokens]),
        held=np.array([in_holdout(plan.name, one, plan.holdout_percent) for one in tokens]),
    )


def run(cohort: Cohort, plan: CampaignPlan, seed: int, factors: Mapping[int, float]) -> Told:
    """Carry a campaign through, until it is over or a wave is halted.

    Args:
        cohort: Who is taken back.
        plan: Its plan.
        seed: Of first payments and of the noise.
        factors: Wave to how many times as often its first payments fail; 1 if missing.
    """
    members = drawn(plan, cohort.pd.size)
    table = np.zeros((len(plan.percents), len(Arm), len(Fate)), dtype=np.int64)
    orders: list[CampaignOrder] = []
    moves: list[tuple[int, str]] = []
    released: NoisyTable | None = None
    for wave in range(len(plan.percents)):
        _order(plan, orders, Move.OPEN)
        fates = _fates(cohort, members, wave, (seed, factors.get(wave, 1.0)))
        for number, ripe in enumerate(RIPE):
            table[wave] = _counted(cohort, members, wave, fates, ripe=ripe)
            now = standing(plan, orders)
            spec = look_of(plan, now, on=BEGINS)
            released = simulated_release(
                spec,
                [table.reshape(-1) << 20, *(np.zeros(table.size, dtype=np.int64),) * 2],
                [
                    Secret(sha256(f"{seed}|{wave}|{number}|{k}".encode()).digest())
                    for k in range(3)
                ],
                terms=Terms(epsilon=epsilon_of_look(plan), attempts=ATTEMPTS),
            )
            move = judge(plan, now, cells_of(released, wave), deviation_of(released))
            _order(plan, orders, move, release=released.release)
            moves.append((wave, move.value))
            if move is not Move.CONTINUE:
                break
        if move is Move.BAD:
            break
        if move is Move.UNDECIDED:
            _order(plan, orders, Move.REVIEWED)
    assert released is not None  # noqa: S101 - a plan has a wave
    return Told(moves=tuple(moves), deviation=deviation_of(released), last=released)


def _fates(
    cohort: Cohort, members: Drawn, wave: int, drawing: tuple[int, float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Floats]:
    """Who accepts, whose first payment fails, and when each falls due (0 to 1).

    The plan's rate is that of the mean person who is lent to; of others by their PD.
    """
    seed, factor = drawing
    size = cohort.pd.size
    lent = (members.wave == wave) & ~members.held & np.isin(cohort.tier, ["A", "B"])
    accepts = stream(seed, f"accepts|{wave}").random(size) < ACCEPTS
    fails = np.zeros(size, dtype=bool)
    plan = PLANNED / 1_000_000
    middle = cohort.pd[lent].mean() if lent.any() else 1.0
    for name, who, rate in (
        ("lent", lent & accepts, factor),
        ("left", (members.wave == wave) & ~lent, 1.0),
    ):
        rows = np.flatnonzero(who)
        level = cohort.pd[rows].mean() / middle if rows.size else 1.0
        fails[rows] = first_payments(
            seed, f"{name}|{wave}", cohort.pd[rows], plan=plan * level, factor=rate
        )
    return accepts, fails, stream(seed, f"due|{wave}").random(size)


def _counted(
    cohort: Cohort,
    members: Drawn,
    wave: int,
    fates: tuple[NDArray[np.bool_], NDArray[np.bool_], Floats],
    *,
    ripe: float,
) -> NDArray[np.int64]:
    """The wave's exact cells at one look."""
    accepts, fails, due = fates
    found = np.zeros((len(Arm), len(Fate)), dtype=np.int64)
    arms, names = list(Arm), list(Fate)
    for tier in ("A", "B", "C"):
        here = (members.wave == wave) & (cohort.tier == tier)
        lent = here & ~members.held if tier != "C" else np.zeros_like(here)
        row = found[arms.index(Arm(tier))]
        row[names.index(Fate.OFFERED)] = (lent & ~accepts).sum()
        row[names.index(Fate.DRAWN)] = (lent & accepts & (due >= ripe)).sum()
        row[names.index(Fate.PAID)] = (lent & accepts & (due < ripe) & ~fails).sum()
        row[names.index(Fate.FPD30)] = (lent & accepts & (due < ripe) & fails).sum()
        watched = {HELD[tier]: here & members.held}
        if tier == "C":
            watched[Arm.C] = here & ~members.held
        for arm, who in watched.items():
            row = found[arms.index(arm)]
            row[names.index(Fate.PAID)] = (who & (due < ripe) & ~fails).sum()
            row[names.index(Fate.LATER30)] = (who & (due < ripe) & fails).sum()
    return found


def _order(
    plan: CampaignPlan,
    orders: list[CampaignOrder],
    move: Move,
    *,
    release: Digest | None = None,
) -> None:
    """Put an order that the product's machine takes."""
    now = standing(plan, orders)
    role, reason = ("", "") if release is not None else BY
    orders.append(
        CampaignOrder(
            campaign=plan.name,
            plan=plan.digest,
            move=move,
            wave=now.at,
            before=now.digest,
            release=release,
            role=role,
            reason=reason,
            on=BEGINS + timedelta(days=31 * len(orders)),
        )
    )
    standing(plan, orders)


# --- what becomes of the tiers ----------------------------------------------------------------


def bad_rates(cohort: Cohort) -> dict[str, float]:
    """Share that is bad within twelve months, by tier."""
    return {
        tier: float(cohort.bad[cohort.tier == tier].mean())
        for tier in ("A", "B", "C")
        if (cohort.tier == tier).any()
    }


def cure_curve(
    cohort: Cohort, seed: int, *, months: int = 18, most: int = 2_000
) -> list[dict[str, float]]:
    """Where a tier B cohort stands on the ladder, month by month, by the product's ladder.

    A month is missed with the monthly hazard of the person's PD and the generator's small
    arrears; three in four are cured in the month after, the rest are thirty days late.
    """
    rows = np.flatnonzero(cohort.tier == "B")[:most]
    draw = stream(seed, "ladder")
    missing = 0.006 + 1 - (1 - np.minimum(cohort.pd[rows], 0.5)) ** (1 / 7)
    ladders = [rungs.step(rungs.offered(BEGINS), Step.ACCEPT, on=BEGINS) for _ in rows]
    curve = []
    for month in range(1, months + 1):
        day, chance = add_months(BEGINS, month), draw.random((2, rows.size))
        for place, ladder in enumerate(ladders):
            ladders[place] = _month(ladder, day, missing[place], chance[:, place])
        found = Counter(one.state for one in ladders)
        climbed = [rungs.RUNG_PERCENT[one.rung] for one in ladders if one.may_draw]
        curve.append(
            {
                "month": month,
                **{state.value.lower(): found[state] / rows.size for state in State},
                "mean_percent": float(np.mean(climbed)) if climbed else 0.0,
            }
        )
    return curve


def _month(ladder: rungs.Ladder, day: date, missing: float, chance: Floats) -> rungs.Ladder:
    try:
        if ladder.state is State.ACTIVE:
            event = Step.MISSED if chance[0] < missing else Step.PAID_ON_TIME
            return rungs.step(ladder, event, on=day)
        if ladder.state is State.FROZEN:
            event = Step.CURED if chance[1] < 0.75 else Step.DPD30  # noqa: PLR2004 - 7.2
            return rungs.step(ladder, event, on=day)
    except OutOfOrderError:
        return ladder
    return ladder


def halts(
    cohort: Cohort, plan: CampaignPlan, factor: float, *, seeds: range, wave: int
) -> tuple[float, float]:
    """Share of campaigns that halt at the injected wave, and the noise's deviation."""
    found, deviation = 0, 0.0
    for seed in seeds:
        told = run(cohort, plan, seed, {wave: factor})
        found += told.halted(wave)
        deviation = told.deviation
    return found / len(seeds), deviation
