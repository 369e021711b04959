"""Other trainings, as a node tells them from published sums and its own rows."""

from dataclasses import replace

import numpy as np
import pytest

from consortium.gates import GatePolicy
from consortium.ids import Digest
from consortium.messages import SumRequest
from consortium.plan import Block
from consortium.secagg.context import SumInputs
from models import scorecard
from models.calibration import histogram
from models.retraining import Trained, retrainings
from models.run import ClosedSum, RunSession
from partner_node.stability import NOT_ASSESSED, Outcome, Stability, assess
from tests.ledger_house import House

VERSION = Digest("5a" * 32)
POLICY = GatePolicy(decline_pd="0.3", retrainings=3)


class Bank:
    """Rows of one feature of four bins, all of the block; exact sums as the node makes them."""

    def __init__(self, house: House, rows: int) -> None:
        rng = np.random.default_rng(11)  # noqa: TID251 - planted persons
        self.codes = rng.integers(0, 5, (rows, 1)).astype(np.uint8)
        chance = 1 / (1 + np.exp(2.5 - 0.9 * self.codes[:, 0]))
        self.labels = (rng.random(rows) < chance).astype(np.uint8)
        self.session = RunSession(house.plan, house.schema)

    def exact(self, request: SumRequest, inputs: SumInputs) -> np.ndarray:
        spec = self.session.spec.blocks[0]
        weights = inputs.arrays[0][spec.window]
        values = np.zeros(request.dimension, dtype=np.int64)
        if request.kind.value == "gradient":
            values[spec.window] = scorecard.clipped_gradient_sum(
                self.codes, self.labels, weights, spec.bin_counts, clip=1.0
            )
        elif request.kind.value == "recalibration":
            logits = scorecard.logits(weights, self.codes, spec.bin_counts)
            values[:48] = histogram(logits, self.labels) * 1024
        return values

    def rows(self, block: Block) -> int:
        return len(self.labels) if block.name == "banks" else 0

    def outcome(self, session: RunSession) -> Outcome:
        spec = session.spec.blocks[0]
        weights = session.released_weights[spec.window]
        logits = scorecard.logits(weights, self.codes, spec.bin_counts)
        eta = float(session.state.calibration[0]) + float(session.state.calibration[1]) * logits
        return Outcome(eta >= np.log(0.3 / 0.7), np.where(eta > 0, 1, 0))


def trained(rows: int, *, factor: float) -> tuple[Trained, Bank]:
    """A run whose published sums are the bank's own, scaled to the block, with noise."""
    house = House(silos=3, rounds=8)
    plan = replace(
        house.plan,
        blocks=tuple(replace(block, normaliser=rows) for block in house.plan.blocks),
    )
    house.plan = plan
    bank = Bank(house, rows)
    session = RunSession(plan, house.schema)
    rng = np.random.default_rng(5)  # noqa: TID251 - the noise of the published sums
    sums = []
    while not session.finished:
        request, inputs = session.request(house.names)
        total = bank.exact(request, inputs)
        if request.kind.value != "gradient":
            other = total.size // 2
            total[other:] = np.tile([200, 50], other // 2) * 1024
            if request.kind.value == "evaluation":
                total[:other] = np.tile([200, 50], other // 2) * 1024
        small = replace(request, variance=str(max(1, int(int(request.variance) * factor))))
        deviation = (len(house.names) * int(small.variance)) ** 0.5
        total = total + np.rint(rng.normal(0, deviation, total.shape)).astype(np.int64)
        closed = ClosedSum(request=small, joined=Digest("ab" * 32), total=total)
        session.on_sum(closed)
        sums.append(closed)
    return Trained(plan, house.schema, sums), bank


def figures(rows: int, *, factor: float) -> Stability:
    run, bank = trained(rows, factor=factor)
    return assess(run, bank, bank.outcome, version=VERSION, policy=POLICY)


def test_model_of_noise_alone_is_unstable_and_one_of_many_rows_is_not() -> None:
    sure, noisy = figures(20_000, factor=1e-6), figures(300, factor=1.0)
    assert sure.changes == pytest.approx(0.0, abs=0.01)
    assert sure.shortcomings(POLICY) == []
    assert noisy.changes is not None
    assert noisy.changes > 0.03
    assert "unstable reasons" in noisy.shortcomings(POLICY)[0]


def test_other_trainings_are_the_same_for_everybody_and_differ_from_each_other() -> None:
    run, bank = trained(5_000, factor=0.1)
    one, two = (
        [s.released_weights for s in retrainings(run, bank, version=VERSION, count=2) if s]
        for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1])
    (other,) = retrainings(run, bank, version=Digest("6b" * 32), count=1)
    assert other is not None
    assert not np.array_equal(other.released_weights, one[0])


def test_own_rows_hold_the_other_training_where_noise_alone_would_drift() -> None:
    class Deaf(Bank):
        def rows(self, block: Block) -> int:
            del block
            return 0

    run, bank = trained(5_000, factor=0.3)
    deaf = Deaf.__new__(Deaf)
    deaf.__dict__.update(bank.__dict__)
    session = RunSession(run.plan, run.schema)
    for closed in run.sums:
        session.on_sum(closed)
    window = session.spec.blocks[0].window

    def distance(own: Bank) -> float:
        found = [s for s in retrainings(run, own, version=VERSION, count=3) if s]
        moved = [s.released_weights[window] - session.released_weights[window] for s in found]
        return float(np.mean([np.linalg.norm(one) for one in moved]))

    assert distance(bank) < distance(deaf)


def test_few_declined_persons_compare_no_reasons() -> None:
    run, bank = trained(5_000, factor=1e-6)

    def nobody(session: RunSession) -> Outcome:
        found = bank.outcome(session)
        return Outcome(np.zeros_like(found.declined), found.first)

    found = assess(run, bank, nobody, version=VERSION, policy=POLICY)
    assert (found.agreement, found.changes) == (None, 0.0)
    assert NOT_ASSESSED.shortcomings(POLICY) == []
    assert NOT_ASSESSED.line().endswith("not assessed")


@pytest.mark.parametrize(
    ("agreement", "changes", "stable"),
    [(0.8, 0.03, True), (0.79, 0.0, False), (1.0, 0.031, False), (None, None, True)],
)
def test_bounds_of_the_manifest_decide(
    agreement: float | None, changes: float | None, *, stable: bool
) -> None:
    found = Stability(agreement=agreement, changes=changes)
    assert (found.shortcomings(POLICY) == []) == stable
