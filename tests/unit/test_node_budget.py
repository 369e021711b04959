"""``riskweave node budget``: what is printed of each run follows from what was debited."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from consortium.crypto.keys import Secret
from consortium.ids import digest_of
from consortium.manifest import Policy
from consortium.messages import SumRequest
from consortium.plan import ReleaseKind, TrainingPlan
from consortium.privacy.accountant import epsilon_of_units, three_epsilons
from consortium.privacy.mechanism import local_steps_units, mechanism_for, reserve_units
from partner_node import budget
from partner_node.storage import NodeStore
from tests.unit.test_mechanism import LOCAL, PRIVATE
from tests.unit.test_statement import FOUR, SHARED

OWN = budget.OwnCaps(lifetime_epsilon="3", tables_epsilon="3")
POLICY = Policy(
    min_partners=3,
    max_partners_per_person=2,
    delta="0.000001",
    max_epsilon_per_run="3",
    max_epsilon_lifetime="8",
    model_kinds=("scorecard",),
    code=(),
    vote_quorum=3,
)
SIZES = {
    ReleaseKind.BINS: 10 * 64 * 2,
    ReleaseKind.GRADIENT: 195,
    ReleaseKind.RECALIBRATION: 96,
    ReleaseKind.EVALUATION: 64,
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NodeStore]:
    opened = NodeStore(tmp_path / "node.db", now=lambda: 7)
    yield opened
    opened.close()


def commit(store: NodeStore, plan: TrainingPlan) -> None:
    held = reserve_units(plan)
    units = {"training": held["training"], "holdout": held["holdout"]}
    store.commit(plan, Secret(b"s" * 32), units, budget.caps(POLICY, OWN))


def charge(
    store: NodeStore,
    plan: TrainingPlan,
    kind: ReleaseKind,
    number: int,
    *,
    partners: int = 4,
    units: int | None = None,
) -> None:
    width = 10 if kind is ReleaseKind.BINS else SIZES[kind]
    made = mechanism_for(plan, kind, width=width, partners=partners)
    request = SumRequest(
        run=plan.run,
        plan=digest_of(b"plan"),
        kind=kind,
        round=number,
        attempt=1,
        roster=FOUR[:partners],
        inputs=digest_of(b"inputs"),
        dimension=SIZES[kind],
        scale_bits=24,
        variance=str(made.variance),
        head=digest_of(b"head"),
    )
    scope = "holdout" if kind is ReleaseKind.EVALUATION else "training"
    store.debit(request, scope=scope, units=units or made.units(person=True))


@pytest.mark.parametrize("mode", ["shared", "own"])
def test_three_epsilons_of_a_run_follow_from_its_rosters(store: NodeStore, mode: str) -> None:
    plan = replace(PRIVATE, noise_mode=mode)
    commit(store, plan)
    charge(store, plan, ReleaseKind.BINS, 1)
    charge(store, plan, ReleaseKind.GRADIENT, 1)
    charge(store, plan, ReleaseKind.GRADIENT, 2, partners=3)
    charge(store, plan, ReleaseKind.EVALUATION, 1, partners=3)
    training, holdout, _ = budget.report(store, POLICY, OWN)
    released = [
        mechanism_for(plan, ReleaseKind.BINS, width=10, partners=4),
        mechanism_for(plan, ReleaseKind.GRADIENT, width=195, partners=4),
        mechanism_for(plan, ReleaseKind.GRADIENT, width=195, partners=3),
    ]
    expected = three_epsilons(released, 1e-6)
    run = training.runs[0]
    assert run.by_honest == budget.ByHonest(record=expected.record, person=expected.person)
    assert run.epsilon == run.by_honest.person.claimed == training.figures.spent
    assert run.uploads == 3
    assert holdout.runs[0].uploads == 1
    alike = len({*asdict(run.by_honest.person).values()}) == 1
    assert alike == (mode == "own")


def test_figures_of_an_account_are_those_of_its_units(store: NodeStore) -> None:
    commit(store, SHARED)
    charge(store, SHARED, ReleaseKind.GRADIENT, 1)
    training, *_ = budget.report(store, POLICY, OWN)
    units, figures = training.units, training.figures
    assert units.spent + units.reserved + units.left == units.cap
    for name, shown in asdict(figures).items():
        assert shown == epsilon_of_units(getattr(units, name), 1e-6)
    assert training.runs[0].reserved_units == units.reserved
    store.close_run(SHARED.run)
    closed, *_ = budget.report(store, POLICY, OWN)
    assert (closed.units.reserved, closed.runs[0].reserved_units) == (0, 0)
    assert closed.units.left == units.left + units.reserved


def test_local_steps_are_one_figure_for_the_run(store: NodeStore) -> None:
    plan = replace(LOCAL, noise_mode="shared")
    commit(store, plan)
    charge(store, plan, ReleaseKind.GRADIENT, 1, units=5)
    charge(store, plan, ReleaseKind.GRADIENT, 2, units=1)
    person = budget.report(store, POLICY, OWN)[0].runs[0].by_honest.person
    steps = epsilon_of_units(local_steps_units(plan, person=True), 1e-6)
    assert set(asdict(person).values()) == {steps}


def test_owner_reads_spent_reserved_left_and_the_three_of_each_run(store: NodeStore) -> None:
    commit(store, SHARED)
    charge(store, SHARED, ReleaseKind.GRADIENT, 1)
    found = budget.report(store, POLICY, OWN)
    text = "\n".join(budget.lines(found, POLICY.delta))
    run = found[0].runs[0]
    assert f"spent {found[0].figures.spent}, reserved {found[0].figures.reserved}" in text
    assert f"charged {run.epsilon}, still open with {run.reserved} reserved" in text
    person = run.by_honest.person
    assert f"all are honest {person.all_honest}, half collude {person.half_collude}" in text
    assert f"everyone else colludes {person.others_collude}, largest {person.largest}" in text
    assert json.loads(json.dumps([asdict(one) for one in found]))[0]["units"]["cap"] > 0


def test_account_without_a_run_is_printed(store: NodeStore) -> None:
    text = "\n".join(budget.lines(budget.report(store, POLICY, OWN), POLICY.delta))
    assert "training: spent 0.0, reserved 0.0, left 3.0 of 3.0" in text
