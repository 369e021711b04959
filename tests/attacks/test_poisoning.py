"""What one poisoning partner can still do, and the only bounds that hold (threat model)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator  # noqa: TID251 - the type of the tests' generator

from consortium import optimizer
from consortium.plan import OptimizerSettings
from consortium.privacy.mechanism import mechanism_for
from tests.attacks.hostile import ALL, BANK, SHORT, Hostile, closed_sum
from tests.simulator import Consortium

ADAM = OptimizerSettings()
PER_STEP = 2.3453
"""sqrt(sum w_i**2 / u_i) of Adam's weights of the past at 0.9 and 0.99: Cauchy, Schwarz."""


def test_rows_of_an_honest_installation_move_the_sum_by_no_more_than_their_number() -> None:
    """N_i·Q: whatever the rows say, as long as the software is ours."""
    house = Consortium(plan=SHORT)
    request, inputs = Hostile(house, None).due()
    sums = house.session(BANK)._open_sums(house.plan)
    sums._table = replace(
        sums._table,
        codes=np.full_like(sums._table.codes, 1),
        labels=np.ones_like(sums._table.labels),
    )
    sums.prepare(request, inputs)
    exact = sums.compute(
        request, inputs, seed=house.nodes[BANK].store.plans[house.run][1], context=request.head
    )
    rows = int((~sums._table.holdout).sum())
    mechanism = mechanism_for(
        house.plan, request.kind, width=request.dimension, partners=len(ALL)
    )
    assert 0 < float(np.linalg.norm(exact.values.astype(float))) <= rows * mechanism.sensitivity


def test_software_that_is_not_ours_moves_the_sum_by_whatever_it_likes(tmp_path: Path) -> None:
    """Masks hide the vector, so nobody can bound it: said in the threat model, shown here."""
    hostile = Hostile(Consortium(plan=SHORT), tmp_path)
    asked = hostile.due()
    answers = hostile.carry(asked)
    honest = closed_sum(asked[0], answers).total
    words, upload = answers[BANK]
    poison = np.full(words.shape, 1 << 60, dtype=np.uint64)
    poisoned = closed_sum(asked[0], answers | {BANK: (words + poison, upload)}).total
    assert np.array_equal(poisoned - honest, poison.view(np.int64))


@pytest.mark.parametrize("shape", ["random", "growing", "one spike", "alternating"])
def test_one_round_moves_no_weight_further_than_adam_lets_it(
    rng: Generator, shape: str
) -> None:
    """The bound that every node and the coordinator enforce, for they compute the step."""
    state = optimizer.initial_state(np.zeros(4))
    rate = float(ADAM.learning_rate)
    for number in range(60):
        gradient = {
            "random": rng.normal(size=4) * 10.0 ** rng.integers(-6, 12, 4),
            "growing": np.full(4, 1.1**number),
            "one spike": np.full(4, 1e12 if number == 30 else 1e-3),
            "alternating": np.full(4, (-1.0) ** number * 1e6),
        }[shape]
        later = optimizer.step(state, gradient, ADAM, 60)
        assert np.abs(later.weights - state.weights).max() <= PER_STEP * rate
        state = later
