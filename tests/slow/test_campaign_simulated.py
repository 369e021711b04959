"""SYNTHETIC: a restart campaign on the generator ends as its rules promise (credit T12)."""

import json
import sys
from functools import lru_cache
from itertools import pairwise

import pytest

from bench.bench_campaign import EPSILON, INJECTED, PERCENTS, SEEDS
from bench.campaign_market import (
    RULES,
    Cohort,
    bad_rates,
    cohort_of,
    cure_curve,
    halts,
    plan_of,
    run,
)
from consortium.credit.figures import rate_interval
from consortium.credit.waves import Arm, Fate

pytestmark = pytest.mark.slow


@lru_cache(maxsize=1)
def cohort() -> Cohort:
    return cohort_of(1)


def test_bad_rates_of_the_tiers_are_ordered_and_tier_a_is_within_policy() -> None:
    rates = bad_rates(cohort())
    assert rates["A"] < rates["B"] < rates["C"]
    assert rates["A"] <= float(RULES.a_pd)


@pytest.mark.parametrize(
    ("factor", "least", "most"), [(1.0, 0.0, 0.08), (2.0, 0.85, 1.0), (3.0, 0.97, 1.0)]
)
def test_injected_wave_is_halted_within_the_rules_error(
    factor: float, least: float, most: float
) -> None:
    plan = plan_of("proof", epsilon=EPSILON, percents=PERCENTS)
    share, _ = halts(cohort(), plan, factor, seeds=range(SEEDS), wave=INJECTED)
    assert least <= share <= most


def test_released_rates_of_a_finished_campaign_are_ordered_at_four_times_the_epsilon() -> None:
    """At epsilon 2 tier A's rate is known to 1.4 points only, which is as much as it is."""
    plan = plan_of("proof", epsilon="8", percents=PERCENTS)
    told = run(cohort(), plan, 3, {})
    assert told.moves[-1] == (len(PERCENTS) - 1, "pass")
    table, rates = told.last, []
    cells = table.measure("persons").sum(axis=0)
    deviation = table.deviation("persons") * len(PERCENTS) ** 0.5
    fates = list(Fate)
    for arm in (Arm.A, Arm.B, Arm.C):
        row = cells[list(Arm).index(arm)]
        bad = row[fates.index(Fate.FPD30)] + row[fates.index(Fate.LATER30)]
        found = rate_interval(bad, bad + row[fates.index(Fate.PAID)], deviation)
        assert found is not None
        rates.append(found.value)
    assert rates == sorted(rates)
    assert table.synthetic


def test_ladder_of_a_simulated_cohort_cures_and_skips_no_rung() -> None:
    curve = cure_curve(cohort(), 1)
    sys.stdout.write(json.dumps({"SYNTHETIC ladder of tier B": curve}) + "\n")
    percents = [one["mean_percent"] for one in curve]
    assert all(after - before <= 20 for before, after in pairwise(percents))
    assert percents[0] == 20
    assert curve[-1]["graduated"] > 0.7
    assert curve[13]["graduated"] == 0.0  # five rungs of three payments take fifteen months
    exited = [one["exited"] for one in curve]
    assert exited == sorted(exited)
