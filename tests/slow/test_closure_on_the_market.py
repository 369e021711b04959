"""Closure risk at the size that is claimed, person-level epsilon 1. SYNTHETIC persons.

The run's own machine, sums and integer noise; only the network is left out. What is learned
from the months up to 29 is held against the months after them.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from consortium.crypto.keys import Secret
from consortium.features.schema import parse_schema
from consortium.ids import RunId, digest_of
from consortium.plan import TrainingPlan
from consortium.privacy.noise import noise_share
from coordinator.plans import PlanContext, parse_plan
from examples.ecosystem import PROFILES, Ecosystem, Truth, generate
from models.calibration import probabilities
from models.closure_bins import BIN_COUNTS, CAUSES, CLOSURES, STEPS
from models.evaluation import auc
from models.hazard import UNIT, Incidences, calibrated, closure_logits, incidences
from models.inference import Model
from models.line_months import Followed, at, follow
from models.released import model_of
from models.run import ClosedSum, RunSession
from partner_node.credit.line_months import LinesRead
from partner_node.hazard_sums import HazardSums
from tests.hazard_house import line_table
from tests.simulator import SCHEMA, Consortium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LAST, LATER = 29, 32
PLAN = """
[plan]
model = "hazard"
clip = "3"
rounds = 40
spare_attempts = 3
epsilon = "1"
holdout_fraction = "0.1"

[optimizer]
learning_rate = "0.2"
tail = "0.5"

[[block]]
name = "lines"
normaliser = 130000
"""
PROFILE = PROFILES["standard"]
NOISE = 1


def plan_of() -> TrainingPlan:
    house = Consortium()
    policy = replace(
        house.manifest.policy,
        model_kinds=("hazard",),
        max_partners_per_person=4,
        max_epsilon_per_run="1",
    )
    manifest = replace(house.manifest, policy=policy)
    context = PlanContext(RunId("5a" * 16), manifest, house.schema, digest_of(b"code"))
    return parse_plan(PLAN, context)


def read_of(observed: Ecosystem, number: int) -> LinesRead:
    table = line_table(observed.partners[number], PROFILE, last=LAST)
    persons, person = np.unique(table.person, return_inverse=True)
    heads = [int(digest_of(f"{one}".encode())[:16], 16) for one in persons]
    return LinesRead(
        table=replace(table, person=person),
        heads=np.asarray(heads, dtype=np.uint64),
        names=(),
    )


def trained(observed: Ecosystem, *, noise: int | None) -> RunSession:
    """The finished run; ``noise`` chooses the seeds of the nodes, None leaves it out."""
    plan = plan_of()
    session = RunSession(plan, parse_schema(SCHEMA, source="tiny"))
    nodes = {
        name: HazardSums(plan, name, load=lambda number=number: read_of(observed, number))
        for number, name in enumerate(plan.blocks[0].holders)
    }
    seeds = {name: Secret(bytes([noise or 0, i]) * 16) for i, name in enumerate(nodes)}
    while not session.finished:
        request, inputs = session.request(tuple(nodes))
        joined = digest_of(f"{request.kind}{request.round}".encode())
        total = np.zeros(request.dimension, dtype=np.int64)
        for name, sums in nodes.items():
            total += sums.compute(request, inputs, seed=seeds[name], context=joined).values
            if noise is not None:
                total += noise_share(
                    seeds[name],
                    joined,
                    variance=int(request.variance),
                    count=request.dimension,
                )
        session.on_sum(ClosedSum(request=request, joined=joined, total=total))
    return session


@pytest.fixture(scope="module")
def market() -> tuple[Ecosystem, Truth]:
    return generate(PROFILE, 1)


@pytest.fixture(scope="module")
def released(market: tuple[Ecosystem, Truth]) -> Model:
    return model_of(trained(market[0], noise=NOISE))


def foreseen(
    model: Model, observed: Ecosystem, month: int
) -> list[tuple[Followed, Incidences]]:
    """Lines of every partner at a landmark, what came of them, and what was expected."""
    found = []
    for partner in observed.partners:
        table = line_table(partner, PROFILE, last=PROFILE.months - 1)
        came = follow(table, at(table, month))
        raw = incidences(model.weights[0], came.ahead.codes, BIN_COUNTS)
        found.append((came, calibrated(raw, _chance(model, raw))))
    return found


def _chance(model: Model, raw: Incidences) -> NDArray[np.float64]:
    return probabilities(closure_logits(raw), model.calibration[0])


def by_cause(
    model: Model, observed: Ecosystem, months: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected and counted ends by cause over some landmarks."""
    expected, counted = np.zeros(len(CAUSES)), np.zeros(len(CAUSES))
    for month in months:
        for came, found in foreseen(model, observed, month):
            kept = came.known & (came.ahead.withdrawn == 0)
            expected += found.by_cause[kept, : len(CAUSES)].sum(axis=0) / UNIT
            for cause in range(len(CAUSES)):
                counted[cause] += (came.cause[kept] == cause + 1).any(axis=1).sum()
    return expected, counted


def test_closures_of_later_months_are_foreseen(
    market: tuple[Ecosystem, Truth], released: Model
) -> None:
    rows = foreseen(released, market[0], LATER)
    closed = np.concatenate([came.closed for came, _ in rows])
    logits = np.concatenate([closure_logits(found) for _, found in rows])
    area = auc(logits, closed)
    assert area is not None
    assert area >= 0.70
    for _, found in rows:
        assert (found.by_cause.sum(axis=1) + found.open == UNIT).all()


def test_dormant_good_payers_are_closed_and_do_not_default(
    market: tuple[Ecosystem, Truth], released: Model
) -> None:
    observed, truth = market
    closure, pd, good = [], [], []
    for number, (came, found) in enumerate(foreseen(released, observed, LATER)):
        shot = observed.partners[number].snapshot(LATER)
        place = np.searchsorted(shot.line, _lines_of(observed, number, came))
        good.append((shot.dormant & (shot.attributes["late"] == 0))[place])
        pd.append(truth.hidden[number].pd12[LATER][shot.line[place]])
        closure.append(found.closure / UNIT)
    whole, chance, dormant = (np.concatenate(one) for one in (closure, pd, good))
    assert np.median(whole[dormant]) >= 5 * np.median(whole)
    assert np.median(chance[dormant]) <= np.median(chance)


def _lines_of(observed: Ecosystem, number: int, came: Followed) -> NDArray[np.int64]:
    """Places of the followed lines among the partner's: a person has one line there."""
    return np.searchsorted(observed.partners[number].lines.person, came.ahead.person)


def test_incidences_by_cause_are_the_counted_ones(
    market: tuple[Ecosystem, Truth], released: Model
) -> None:
    """T6, over the twelve months that were learned from, and over three later ones."""
    window = tuple(LAST - STEPS * number for number in range(4, 0, -1))
    for months in (window, (LATER,)):
        expected, counted = by_cause(released, market[0], months)
        for cause, name in enumerate(CAUSES):
            if counted[cause] >= 500:
                assert expected[cause] == pytest.approx(counted[cause], rel=0.1), name
    assert min(by_cause(released, market[0], window)[1][:CLOSURES]) >= 500


def test_without_noise_every_cause_is_met_and_more_is_foreseen(
    market: tuple[Ecosystem, Truth], released: Model
) -> None:
    """What privacy costs: little."""
    plain = model_of(trained(market[0], noise=None))
    window = tuple(LAST - STEPS * number for number in range(4, 0, -1))
    expected, counted = by_cause(plain, market[0], window)
    assert expected == pytest.approx(counted, rel=0.1)
    areas = []
    for model in (plain, released):
        rows = foreseen(model, market[0], LATER)
        closed = np.concatenate([came.closed for came, _ in rows])
        areas.append(auc(np.concatenate([closure_logits(found) for _, found in rows]), closed))
    assert areas[0] is not None
    assert areas[1] is not None
    assert areas[1] > areas[0] - 0.02
