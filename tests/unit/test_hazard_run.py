"""A closure model through the real run: plan, checks, nodes, ledger, document.

Persons are SYNTHETIC (``examples.ecosystem``).
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, RefusalCode, RefusalError
from consortium.ids import PartnerId, RunId, digest_of
from consortium.ledger.findings import Grade
from consortium.ledger.verify import verify_log
from consortium.manifest import Manifest
from consortium.plan import CLOSURE, Algorithm, ModelKind, ReleaseKind, TrainingPlan
from coordinator.plans import PlanContext, parse_plan
from coordinator.releases import candidate_of
from coordinator.storage import Store
from examples.ecosystem import PROFILES, Ecosystem, generate
from models.closure_bins import BIN_COUNTS, CAUSES
from models.document import ModelDocument, parse_any
from models.hazard import clipped_gradient_sum
from models.inference import block_logits
from models.run import ClosedSum, RunSession
from models.spec import initial_weights
from partner_node import acceptance, stability
from partner_node.credit.line_months import LinesRead
from partner_node.hazard_sums import WIDTH, HazardSums
from partner_node.local_sums import Sums
from partner_node.plan_checks import SessionFacts, check_plan
from regulator.replay import ReplayedRun
from tests.hazard_house import line_table
from tests.ledger_house import START, House
from tests.simulator import Consortium, Node

PLAN = """
[plan]
model = "hazard"
clip = "3"
rounds = {rounds}
epsilon = "8"
holdout_salt = "test"

[optimizer]
learning_rate = "0.3"

[[block]]
name = "lines"
normaliser = 12000
"""
SEED, CONTEXT, RUN = Secret(bytes(32)), digest_of(b"context"), RunId("5a" * 16)
MARKET = replace(PROFILES["standard"], persons=8_000, months=14, withdrawn_in=99)


@cache
def market_lines(number: int) -> LinesRead:
    """What the node of one partner reads."""
    table = line_table(market().partners[number], MARKET, last=MARKET.months - 1)
    persons, person = np.unique(table.person, return_inverse=True)
    heads = [int(digest_of(f"test|{one}".encode())[:16], 16) for one in persons]
    return LinesRead(
        table=replace(table, person=person),
        heads=np.asarray(heads, dtype=np.uint64),
        names=(),
    )


@cache
def market() -> Ecosystem:
    return generate(MARKET, 1)[0]


class ClosureHouse(Consortium):
    """The simulator, over the lines of a market."""

    def __init__(self, *, rounds: int = 6) -> None:
        self.closed: list[ClosedSum] = []
        super().__init__(plan=PLAN.format(rounds=rounds))
        self.on_closed = lambda _request, _seconds, closed: self.closed.append(closed)

    def _manifest(self) -> Manifest:
        found = super()._manifest()
        kinds = ("scorecard", "hazard")
        return replace(found, policy=replace(found.policy, model_kinds=kinds))

    def start(self, node: Node, number: int) -> None:
        super().start(node, number)
        assert node.session is not None
        node.session._open_sums = lambda plan: self.sums_of(plan, node.member, number)

    def sums_of(self, plan: TrainingPlan, member: PartnerId, number: int) -> Sums:
        return HazardSums(plan, member, load=lambda: market_lines(number))


@pytest.fixture(scope="module")
def trained() -> tuple[ClosureHouse, RunSession, bytes]:
    house = ClosureHouse()
    session = house.train()
    return house, session, candidate_of(session, house.manifest).document


def test_closures_are_foreseen_by_a_model_that_saw_only_noised_sums(
    trained: tuple[ClosureHouse, RunSession, bytes],
) -> None:
    house, session, data = trained
    document = parse_any(data, house.schema)
    assert isinstance(document, ModelDocument)
    assert document.plan.model is ModelKind.HAZARD
    assert document.model.weights[0].size == WIDTH == len(CAUSES) * sum(BIN_COUNTS)
    metrics = document.metrics["lines"]
    assert isinstance(metrics, dict)
    assert float(metrics["auc"]) > 0.7
    assert [one.kind for one in session.state.attempts[-2:]] == [
        ReleaseKind.RECALIBRATION,
        ReleaseKind.EVALUATION,
    ]
    sums = house.sums_of(house.plan, PartnerId("bank_a"), 0)
    assert isinstance(sums, HazardSums)
    (own,) = acceptance.validate_hazard(document, sums)
    assert own.figures.auc is not None
    assert own.figures.auc > 0.7


def test_what_a_node_uploads_is_its_clipped_sum_with_its_noise(
    trained: tuple[ClosureHouse, RunSession, bytes],
) -> None:
    """The noise of the sums is that of the plan: measured on the first gradient."""
    house, _, _ = trained
    session = RunSession(house.plan, house.schema)
    weights = initial_weights(session.spec, b"")
    exact = np.zeros(WIDTH, dtype=np.int64)
    for number, name in enumerate(sorted(house.nodes)):
        sums = house.sums_of(house.plan, name, number)
        rows = sums._rows  # type: ignore[attr-defined]
        exact += clipped_gradient_sum(rows, weights, BIN_COUNTS, clip=3.0)
    off = (house.closed[0].total - exact).astype(float)
    mechanism = session.mechanism(ReleaseKind.GRADIENT, partners=4)
    deviation = float(4 * mechanism.variance) ** 0.5
    # 5 deviations of the estimate from WIDTH values: below one false alarm in a million.
    assert off.std() == pytest.approx(deviation, rel=5 / (2 * WIDTH) ** 0.5)


def test_a_partner_that_is_no_holder_reads_nothing_and_sends_noise_alone() -> None:
    house = ClosureHouse(rounds=1)
    block = replace(house.plan.blocks[0], holders=(PartnerId("bank_a"),))
    plan = replace(house.plan, blocks=(block,))

    def untouched() -> LinesRead:
        raise AssertionError("a table was read")

    sums = HazardSums(plan, PartnerId("bank_b"), load=untouched)
    session = RunSession(plan, house.schema)
    request, inputs = session.request(tuple(house.nodes))
    found = sums.compute(request, inputs, seed=SEED, context=CONTEXT)
    assert not found.values.any()
    assert not found.held.any()
    assert found.needs_noise
    assert len(sums.fingerprint(SEED)) == 16


def test_requests_of_another_shape_are_refused() -> None:
    house = ClosureHouse(rounds=1)
    sums = house.sums_of(house.plan, PartnerId("bank_a"), 0)
    request, inputs = RunSession(house.plan, house.schema).request(tuple(house.nodes))
    with pytest.raises(RefusalError, match="numbers"):
        sums.compute(
            request, replace(inputs, arrays=(np.zeros(5),)), seed=SEED, context=CONTEXT
        )
    with pytest.raises(RefusalError, match="NaN"):
        sums.compute(
            request,
            replace(inputs, arrays=(np.full(WIDTH, np.nan),)),
            seed=SEED,
            context=CONTEXT,
        )
    with pytest.raises(RefusalError, match="bins"):
        sums.prepare(request, replace(inputs, bins=b"{}"))
    other = replace(request, kind=ReleaseKind.OVERLAP)
    with pytest.raises(RefusalError, match="overlap"):
        sums.compute(other, inputs, seed=SEED, context=CONTEXT)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"algorithm": Algorithm.LOCAL_STEPS}, RefusalCode.PLAN),
        ({"start": "1.0"}, RefusalCode.PLAN),
        ({"blocks": "families"}, RefusalCode.PLAN),
        ({"blocks": "stranger"}, RefusalCode.MEMBER),
        ({"blocks": "twice"}, RefusalCode.PLAN),
        ({"blocks": "fewer"}, RefusalCode.NOISE),
    ],
)
def test_a_node_refuses_a_plan_that_is_no_hazard_s(
    change: dict[str, object], code: RefusalCode
) -> None:
    house = ClosureHouse(rounds=1)
    block = house.plan.blocks[0]
    blocks = {
        "families": replace(block, families=(CLOSURE, "repayment")),
        "stranger": replace(block, holders=(PartnerId("nobody"),)),
        "twice": replace(block, holders=(block.holders[0],) * 2),
        "fewer": replace(block, holders_per_person=1),
    }
    if "blocks" in change:
        change = {"blocks": (blocks[str(change["blocks"])],)}
    facts = SessionFacts(
        member=PartnerId("bank_a"),
        manifest=house.manifest,
        schema=house.schema,
        code=digest_of(b"code"),
        caps={},
        run_epsilon="8",
    )
    check_plan(facts, house.plan)
    with pytest.raises(RefusalError) as refused:
        check_plan(facts, replace(house.plan, **change))
    assert refused.value.reason is code


def test_a_plan_file_of_a_hazard_names_no_families_and_everybody_may_hold() -> None:
    house = ClosureHouse(rounds=1)
    context = PlanContext(house.run, house.manifest, house.schema, digest_of(b"code"))
    assert house.plan.blocks[0].families == (CLOSURE,)
    assert house.plan.blocks[0].holders == tuple(sorted(house.nodes))
    for text, match in (
        (PLAN.format(rounds=2) + 'families = ["repayment"]\n', "names no families"),
        (PLAN.format(rounds=2).replace("rounds", "hidden = [3]\nrounds"), "hidden"),
        (PLAN.format(rounds=2) + "\n[[block]]\nnormaliser = 5\n", "two blocks|one block"),
    ):
        with pytest.raises(ConfigurationError, match=match):
            parse_plan(text, context)


class HazardLog(House):
    """A log whose run trains a closure model."""

    def _plan(self) -> TrainingPlan:
        policy = replace(self.manifest.policy, model_kinds=("scorecard", "hazard"))
        self.manifest = replace(self.manifest, policy=policy)
        context = PlanContext(RUN, self.manifest, self.schema, digest_of(b"code"))
        return parse_plan(PLAN.format(rounds=self.rounds).replace('"8"', '"1"'), context)


def codes_of(house: House) -> set[str]:
    audit = verify_log(
        house.bundle(), house.manifest.digest, now=START + 10_000, machines=ReplayedRun
    )
    return {one.name for one in audit.findings if one.grade is Grade.ERROR}


def test_the_ledger_proves_a_closure_model_and_finds_one_that_was_altered() -> None:
    """The log's house serves what it released: for this kind that is a finding of its own.

    Its invented portfolio is not calibrated to a rare outcome, so the gate says no, and serving
    against the gate is the other finding. Of the run, its sums and its model there is none.
    """
    assert codes_of(HazardLog(rounds=1).run()) == {"release.kind", "gate.refused"}
    house = HazardLog(rounds=1).run(until_end=False)
    learned = house.session._optimizer
    moved = learned.tail_sum + 0.5 * (np.arange(WIDTH) == 0)
    house.session._optimizer = replace(learned, tail_sum=moved)  # the coordinator lies
    house.close()
    assert "model.wrong" in codes_of(house)


def test_a_closure_model_gives_no_log_odds_of_bad(
    trained: tuple[ClosureHouse, RunSession, bytes],
) -> None:
    house, _, data = trained
    document = parse_any(data, house.schema)
    assert isinstance(document, ModelDocument)
    codes = np.zeros((1, len(BIN_COUNTS)), dtype=np.uint8)
    with pytest.raises(ConfigurationError, match="closure model"):
        block_logits(document.model, "lines", codes)
    assert not stability.assessable(document.plan)


def test_an_accepted_closure_model_takes_no_score_s_place(tmp_path, trained) -> None:  # noqa: ANN001
    _, _, data = trained
    store = Store(f"sqlite:///{tmp_path}/c.db")
    first, second, scores = (digest_of(name) for name in (b"1", b"2", b"3"))
    run = RUN
    store.models.add(scores, run, b"{}", 1)
    store.models.set_status(scores, "active", 1)
    for version in (first, second):
        store.models.add(version, run, data, 2, beside="hazard")
        store.models.put_beside(version, 3)
        active = store.models.active()
        assert active is not None
        assert active.version == scores
    rows = {row.version: row.status for row in store.models.all()}
    assert rows == {scores: "active", first: "retired", second: "active"}
    assert store.models.activations() == (scores,)
    other = digest_of(b"4")
    store.models.add(other, run, b"{}", 4)
    store.models.set_status(other, "active", 4)
    assert store.models.get(second).status == "active"  # type: ignore[union-attr]
    store.close()
