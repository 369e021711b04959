"""A coordinator that asks in order to learn: neither a refusal nor a sum says what rows hold.

A node computes before it charges, so whether it fails must not depend on a row: a failure is
an answer without noise and without a charge.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consortium.canonical import canonical_json
from consortium.crypto.keys import Secret
from consortium.errors import ConfigurationError, RefusalCode, RefusalError, RiskWeaveError
from consortium.features.bins import bins_of, public_bins
from consortium.ids import PartnerId, RunId, digest_of
from consortium.messages import PlanOffer, SumRequest
from consortium.plan import ReleaseKind, TrainingPlan, decimal
from consortium.privacy.mechanism import attempts_of
from consortium.secagg.context import SumInputs
from consortium.secagg.ring import check_no_overflow
from models.gradients import integer_factors
from models.run import RunFailedError, RunSession
from partner_node import training_session
from partner_node.local_sums import LocalSums
from partner_node.storage import NodeStore
from partner_node.training_session import TrainingSession
from tests.simulator import PLAN, SCHEMA, Consortium

BANK = PartnerId("bank_a")
SHOP = PartnerId("shop_d")

_HEAD, _LATE, _USED = SCHEMA.split("[[feature]]")
TWICE = "[[feature]]".join([_HEAD, _LATE, _LATE.replace('"late"', '"later"'), _USED])
"""Two features in the bank's block: their weights add up."""
WITHOUT_EDGES = SCHEMA.replace('edges = ["0.25", "0.5", "0.75"]', "")

MLP = PLAN.replace("[plan]", '[plan]\nmodel = "mlp"\nhidden = [2, 2]')
PRIVATE = PLAN.replace("[plan]", '[plan]\nbins = "private"')
STEPS = PLAN.replace("[plan]", '[plan]\nalgorithm = "local_steps"').replace(
    "rounds = 8", "rounds = 2\nspare_attempts = 1"
) + (
    '[local]\nsample_rate = "0.05"\nsteps = 1\nnoise_multiplier = "4.0"\n'
    'expected_batch = 80\nlearning_rate = "0.5"\n'
)


def node_of(consortium: Consortium, member: PartnerId) -> TrainingSession:
    session = consortium.nodes[member].session
    assert session is not None
    session.on_offer(PlanOffer(plan=consortium.plan))
    return session


def sums_of(consortium: Consortium, member: PartnerId) -> LocalSums:
    return node_of(consortium, member)._open_sums(consortium.plan)


def asked(consortium: Consortium, kind: ReleaseKind, inputs: SumInputs) -> SumRequest:
    request, _ = RunSession(consortium.plan, consortium.schema).request(consortium.connected())
    return replace(request, kind=kind, inputs=inputs.digest)


def computed(sums: LocalSums, request: SumRequest, inputs: SumInputs) -> list[int]:
    sums.prepare(request, inputs)
    seed, context = Secret(b"s" * 32), digest_of(b"context")
    return sums.compute(request, inputs, seed=seed, context=context).values.tolist()


@pytest.mark.parametrize("kind", [ReleaseKind.RECALIBRATION, ReleaseKind.EVALUATION])
@pytest.mark.parametrize("plan", [PLAN, MLP])
def test_logits_that_overflow_for_some_rows_are_counted_like_any_others(
    kind: ReleaseKind, plan: str
) -> None:
    consortium = Consortium(plan=plan, schema=TWICE)
    sums = sums_of(consortium, BANK)
    edges = np.tile(np.linspace(-3.0, 3.0, 15), 2)
    weights = np.full(sums.spec.size, 1.7e308)
    inputs = SumInputs(arrays=(weights, edges)[: 1 + (kind is ReleaseKind.EVALUATION)])
    table = consortium.table(BANK, 0, public_bins(consortium.schema))
    rows = table.holdout if kind is ReleaseKind.EVALUATION else ~table.holdout
    counts = computed(sums, asked(consortium, kind, inputs), inputs)
    assert sum(counts) == int(rows.sum()) << 10


def test_histogram_of_the_grid_is_counted_on_the_grid_whatever_bins_came_before() -> None:
    consortium = Consortium(plan=PRIVATE, schema=WITHOUT_EDGES)
    sums = sums_of(consortium, SHOP)
    cuts = tuple(str(number / 60) for number in range(1, 60))
    bins = canonical_json(bins_of(consortium.schema, {"used": cuts}).to_canonical())
    probe = SumInputs(arrays=(np.zeros(1),), bins=bins)
    with pytest.raises(RefusalError, match="R11"):  # its bins were taken up
        computed(sums, asked(consortium, ReleaseKind.GRADIENT, probe), probe)
    nothing = SumInputs(arrays=())
    request = asked(consortium, ReleaseKind.BINS, nothing)
    untouched = sums_of(Consortium(plan=PRIVATE, schema=WITHOUT_EDGES), SHOP)
    assert computed(sums, request, nothing) == computed(untouched, request, nothing)


def test_bins_finer_than_the_grid_are_refused() -> None:
    consortium = Consortium(plan=PRIVATE, schema=WITHOUT_EDGES)
    cuts = tuple(str(number / 300) for number in range(1, 300))
    bins = canonical_json(bins_of(consortium.schema, {"used": cuts}).to_canonical())
    inputs = SumInputs(arrays=(np.zeros(1),), bins=bins)
    with pytest.raises(RiskWeaveError, match="64"):
        computed(
            sums_of(consortium, SHOP),
            asked(consortium, ReleaseKind.GRADIENT, inputs),
            inputs,
        )


def test_overflow_bound_does_not_depend_on_the_number_of_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def spy(rows: int, sensitivity: int, variance: int, partners: int) -> None:
        seen.append(rows)
        check_no_overflow(rows, sensitivity, variance, partners)

    monkeypatch.setattr(training_session, "check_no_overflow", spy)
    for rows in (100, 700):
        Consortium(rows=rows).train()
    assert len(set(seen)) == 1


def test_local_steps_beyond_those_that_were_paid_for_are_refused() -> None:
    consortium = Consortium(plan=STEPS)
    session = RunSession(consortium.plan, consortium.schema)
    assert attempts_of(consortium.plan, ReleaseKind.GRADIENT) == 3
    consortium.close(session, attempts=2)
    request, inputs = session.request(consortium.connected())
    consortium.attempt(request, inputs)
    with pytest.raises(RefusalError) as refused:
        consortium.attempt(replace(request, attempt=2), inputs)
    assert refused.value.reason is RefusalCode.ATTEMPTS
    assert len(consortium.nodes[BANK].store.debits) == 3


@pytest.mark.parametrize("clip", ["1e-310", "1e300", "0", "-1", "nan", "one"])
def test_clip_that_no_float_code_can_carry_is_refused(clip: str) -> None:
    consortium = Consortium()
    consortium.plan = replace(consortium.plan, clip=clip)
    with pytest.raises(ConfigurationError):
        node_of(consortium, BANK)
    assert consortium.nodes[BANK].store.reserved == {}


@pytest.mark.parametrize("fraction", ["1", "-0.1", "half", "1e-100000000"])
def test_holdout_fraction_outside_its_range_is_refused(fraction: str) -> None:
    consortium = Consortium()
    consortium.plan = replace(consortium.plan, holdout_fraction=fraction)
    with pytest.raises(ConfigurationError):
        node_of(consortium, BANK)
    assert consortium.nodes[BANK].store.reserved == {}


def test_decimal_too_long_to_be_a_setting_is_refused_at_once() -> None:
    for text in ("1e-100000000", "0." + "0" * 10_000 + "1"):
        with pytest.raises(ConfigurationError):
            decimal(text, "epsilon", low="0", high="1")


def test_row_that_is_no_number_adds_nothing_to_a_dense_sum() -> None:
    errors = [torch.tensor([[0.0, 1.0], [0.5, 0.5]])]
    factors, _ = integer_factors(errors, [], 1, clip=1e-310, bound=1 << 24)
    assert all(bool(torch.isfinite(factor).all()) for factor in factors)


def test_error_of_a_library_is_answered_without_its_text_and_logged_without_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    canary = "NINO-QQ123456C"

    def broken(_plan: TrainingPlan) -> LocalSums:
        raise ValueError(f"could not convert string to float: {canary}")

    consortium = Consortium()
    for node in consortium.nodes.values():
        assert node.session is not None
        node.session._open_sums = broken
    with pytest.raises(RunFailedError, match="internal error"):
        consortium.train()
    assert all(canary.encode() not in payload for _, payload in consortium.wire)
    assert canary not in caplog.text
    assert "ValueError in query.offer" in caplog.text


def test_closed_run_is_not_accepted_again() -> None:
    consortium = Consortium()
    session = node_of(consortium, BANK)
    session.on_close(consortium.plan.run)
    with pytest.raises(RefusalError) as refused:
        session.on_offer(PlanOffer(plan=consortium.plan))
    assert refused.value.reason is RefusalCode.PLAN


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NodeStore]:
    opened = NodeStore(tmp_path / "node.db", now=lambda: 7)
    yield opened
    opened.close()


@pytest.mark.parametrize(("salt", "fraction"), [("other", "0.2"), ("test", "0.5")])
def test_persons_charged_in_one_scope_never_move_to_the_other_within_an_epoch(
    store: NodeStore, salt: str, fraction: str
) -> None:
    plan = Consortium().plan
    later = replace(plan, run=RunId("cd" * 16), holdout_salt=salt, holdout_fraction=fraction)
    units, caps = {"training": 10, "holdout": 10}, {"training": 100, "holdout": 100}
    store.commit(plan, Secret(b"s" * 32), units, caps)
    store.debit(_gradient(plan), scope="training", units=5)
    store.close_run(plan.run)
    with pytest.raises(RefusalError) as refused:
        store.commit(later, Secret(b"t" * 32), units, caps)
    assert refused.value.reason is RefusalCode.PLAN
    assert store.commitment(later.run) is None
    same = replace(plan, run=RunId("ef" * 16))
    store.commit(same, Secret(b"t" * 32), units, caps)


def _gradient(plan: TrainingPlan) -> SumRequest:
    return SumRequest(
        run=plan.run,
        plan=digest_of(b"plan"),
        kind=ReleaseKind.GRADIENT,
        round=1,
        attempt=1,
        roster=(),
        inputs=digest_of(b"inputs"),
        dimension=8,
        scale_bits=24,
        variance="1",
        head=digest_of(b"head"),
    )
