"""SYNTHETIC: how often a bad wave of a restart is halted, and a good one by mistake (T12).

The campaign of ``bench.campaign_market`` on the multi-lender generator: rules, machine, table,
noise and stop are the product's. Anchors are what credit 4.17 asks for; without noise the test
halts .898 at twice the plan, so what is missing to that is the price of privacy.
"""

from pathlib import Path

import matplotlib as mpl

from bench.campaign_market import RULES, bad_rates, cohort_of, cure_curve, halts, plan_of
from bench.result import Result

mpl.use("Agg")
from matplotlib import pyplot as plt

NAME = "campaign_SYNTHETIC"
PERCENTS = (10, 55, 100)
INJECTED = 1
"""The wave that is bad, counted from 0: 45 % of the cohort."""
FACTORS = (1.0, 2.0, 3.0)
EPSILON = "2"
OTHERS = ("1", "4")
SEEDS, FEWER = 200, 60
LEAST_HALTED, MOST_FALSE = 0.85, 0.08


def run(out: Path) -> Result:
    """Halts by epsilon and factor, bad rates of the tiers, the ladder's curve."""
    cohort = cohort_of(1)
    shares: dict[str, list[float]] = {}
    deviations: dict[str, float] = {}
    for epsilon in (EPSILON, *OTHERS):
        plan = plan_of("bench", epsilon=epsilon, percents=PERCENTS)
        seeds = range(SEEDS if epsilon == EPSILON else FEWER)
        shares[epsilon] = []
        for factor in FACTORS:
            share, deviation = halts(cohort, plan, factor, seeds=seeds, wave=INJECTED)
            shares[epsilon].append(round(share, 4))
            deviations[epsilon] = round(deviation, 2)
    rates = {tier: round(rate, 4) for tier, rate in bad_rates(cohort).items()}
    curve = cure_curve(cohort, 1)
    _plot(out / f"{NAME}.svg", shares, curve)
    figures = {
        "synthetic": True,
        "cohort": int(cohort.pd.size),
        "waves_reach_percent": list(PERCENTS),
        "halted_by_epsilon_and_factor": shares,
        "deviation_of_a_cell": deviations,
        "seeds": {EPSILON: SEEDS, **dict.fromkeys(OTHERS, FEWER)},
        "bad_rate_12_months": rates,
        "ladder": curve,
    }
    anchors = {
        "least_halted_at_2x": LEAST_HALTED,
        "most_halted_at_plan": MOST_FALSE,
        "without_noise_at_2x": 0.898,
        "most_bad_of_A": RULES.a_pd,
    }
    ratios = {
        "halted_at_2x_over_least": round(shares[EPSILON][1] / LEAST_HALTED, 3),
        "false_halts_over_most": round(shares[EPSILON][0] / MOST_FALSE, 3),
        "bad_of_A_over_bound": round(rates["A"] / float(RULES.a_pd), 3),
    }
    return Result(name=NAME, figures=figures, anchors=anchors, ratios=ratios)


def _plot(path: Path, shares: dict[str, list[float]], curve: list[dict[str, float]]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
    figure.suptitle("SYNTHETIC: restart campaign on the generator")
    for epsilon, values in sorted(shares.items()):
        left.plot(FACTORS, values, "o-", label=f"campaign epsilon {epsilon}")
    left.axhline(LEAST_HALTED, color="#2f7d5b", linewidth=0.8)
    left.axhline(MOST_FALSE, color="#b4483c", linewidth=0.8)
    left.set_xticks(FACTORS)
    left.set_xlabel("first-payment defaults of the wave, times the plan")
    left.set_ylabel("share of campaigns halted")
    left.legend()
    months = [one["month"] for one in curve]
    for state in ("active", "frozen", "graduated", "exited"):
        right.plot(months, [one[state] for one in curve], label=state)
    right.set_xlabel("months on the ladder, tier B")
    right.set_ylabel("share of the cohort")
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
