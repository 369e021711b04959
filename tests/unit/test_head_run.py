"""A head's run in the simulator: who gives rows, who gives noise, what is released."""

from dataclasses import replace

import numpy as np
import pytest

from consortium.crypto.keys import Secret
from consortium.errors import (
    BudgetExceededError,
    DataError,
    DecodeError,
    RefusalCode,
    RefusalError,
    TransportError,
)
from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import Delivery, ScoringPolicy
from consortium.messages import PlanOffer
from consortium.plan import Algorithm, BinSource, ReleaseKind, TrainingPlan
from consortium.privacy.accountant import epsilon_of_units
from consortium.privacy.mechanism import mechanism_for, reserve_units
from consortium.privacy.recomputed import epsilons_of
from consortium.secagg.context import SumInputs
from consortium.secagg.ring import ring_sum, to_signed
from coordinator.releases import candidate_of
from coordinator.server_app import remaining_sums
from models.document import base_of, parse_any, parse_head_document
from models.run import RunFailedError, RunSession
from partner_node.head_sums import HeadSums
from tests.head_house import BASE, PLAN, StudyHouse
from tests.simulator import Consortium

BANK, SHOP = PartnerId("bank_a"), PartnerId("shop_d")
KINDS = (ReleaseKind.GRADIENT,) * 8 + (ReleaseKind.OVERLAP, ReleaseKind.EVALUATION)


@pytest.fixture(scope="module")
def finished() -> tuple[StudyHouse, RunSession]:
    house = StudyHouse(rows=4000)
    return house, house.train()


def test_run_asks_for_gradients_then_counts_the_study_then_evaluates(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, session = finished
    assert tuple(one.kind for one in session.state.attempts) == KINDS
    assert sorted(house.studied) == [BANK, PartnerId("bank_b")]


def test_sums_left_to_do_are_counted(finished: tuple[StudyHouse, RunSession]) -> None:
    house, session = finished
    assert remaining_sums(RunSession(house.plan, house.schema)) == len(KINDS)
    assert remaining_sums(session) == 0


def test_head_names_its_base_and_its_slopes_leave_the_start_towards_the_planted_ones(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, session = finished
    candidate = candidate_of(session, house.manifest)
    document = parse_head_document(candidate.document, house.schema)
    assert base_of(candidate.document) == document.base == BASE
    one = 1 << 32
    repayment, billing = document.head.beta[1]
    assert billing < 0.8 * one < repayment
    assert document.head.alpha[0] > document.head.alpha[1]


def test_stratum_without_persons_has_the_mean_of_the_others(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, session = finished
    document = parse_head_document(candidate_of(session, house.manifest).document, house.schema)
    assert document.pooled == (2,)
    first, second, third = document.head.alpha
    assert min(first, second) < third < max(first, second)


def test_overlap_is_counted_up_to_its_noise(finished: tuple[StudyHouse, RunSession]) -> None:
    house, session = finished
    document = parse_head_document(candidate_of(session, house.manifest).document, house.schema)
    training = [~rows.holdout for rows in house.joint.values()]
    true = [
        sum(
            int((rows.partners[t] == n).sum())
            for rows, t in zip(house.joint.values(), training, strict=True)
        )
        for n in (1, 2, 3)
    ]
    seen = [float(text) for text in document.overlap["partners"]]  # type: ignore[union-attr]
    deviation = float(str(document.overlap["count_deviation"]))
    # Sums of three cells; six deviations of them: alarm below one in 10 ** 8.
    assert np.abs(np.array(seen) - true).max() < 6 * deviation * np.sqrt(3)


def test_metrics_have_every_stratum_and_the_deviation_of_a_count(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, session = finished
    document = parse_any(candidate_of(session, house.manifest).document, house.schema)
    assert list(document.metrics) == ["1", "2", "3+", "all"]
    whole = document.metrics["all"]
    assert float(whole["auc"]) > 0.65  # type: ignore[index]
    assert float(whole["count_deviation"]) > 0  # type: ignore[index]


def test_document_with_another_head_is_not_of_its_plan(
    finished: tuple[StudyHouse, RunSession],
) -> None:
    house, session = finished
    data = candidate_of(session, house.manifest).document
    document = parse_head_document(data, house.schema)
    turned = replace(document.head, families=("billing", "repayment"))
    with pytest.raises(DecodeError, match="belong together"):
        parse_head_document(replace(document, head=turned).to_bytes(), house.schema)
    with pytest.raises(DecodeError, match="belong together"):
        parse_head_document(data.replace(BASE.encode(), b"0d" * 32, 1), house.schema)


def test_base_model_with_a_base_is_refused() -> None:
    house = Consortium(rows=50)
    session = house.nodes[BANK].session
    assert session is not None
    for plan in (replace(house.plan, base=BASE), replace(house.plan, start="-1.0")):
        with pytest.raises(RefusalError, match="only a head"):
            session.on_offer(PlanOffer(plan=plan))


def test_partner_that_is_no_asker_adds_noise_and_no_row() -> None:
    house = StudyHouse()
    session = RunSession(house.plan, house.schema)
    request, inputs = session.request(house.connected())
    uploads = house.attempt(request, inputs)
    shop = house.bare(SHOP, uploads[SHOP][0])
    variance = int(request.variance)
    assert shop.all()
    assert np.abs(shop).max() < 8 * variance**0.5
    assert SHOP not in house.studied
    total = to_signed(ring_sum(words for words, _ in uploads.values()))
    bare = [house.bare(name, words) for name, (words, _) in uploads.items()]
    assert total.tolist() == np.sum(bare, axis=0).tolist()


def test_nodes_that_come_back_get_the_same_run() -> None:
    usual, broken = StudyHouse(), StudyHouse()
    send = broken.send

    def fresh(partner: PartnerId, payload: bytes, *, timeout_s: float) -> object:
        broken.start(broken.nodes[partner], list(broken.nodes).index(partner))
        return send(partner, payload, timeout_s=timeout_s)

    broken.send = fresh  # type: ignore[method-assign,assignment]
    assert broken.train().state == usual.train().state


def test_study_that_cannot_be_made_now_leaves_the_node_to_be_asked_again() -> None:
    house = StudyHouse()
    node = house.nodes[BANK]
    assert node.session is not None

    def gone(_plan: TrainingPlan) -> None:
        raise TransportError("no roster")

    node.session._open_sums = gone  # type: ignore[assignment]
    with pytest.raises(TransportError):
        node.session.on_offer(PlanOffer(plan=house.plan))
    assert house.plan.run not in node.store.plans


def test_study_that_is_too_small_for_its_noise_releases_nothing() -> None:
    house = StudyHouse(plan=PLAN.replace('epsilon = "3"', 'epsilon = "0.3"'), rows=200)
    with pytest.raises(RunFailedError, match="too few"):
        house.train()


OFFERS = {
    "without a base": (lambda p: replace(p, base=None), RefusalCode.PLAN),
    "of two blocks": (lambda p: replace(p, blocks=p.blocks * 2), RefusalCode.PLAN),
    "by local steps": (
        lambda p: replace(p, algorithm=Algorithm.LOCAL_STEPS),
        RefusalCode.PLAN,
    ),
    "with bins": (lambda p: replace(p, bin_source=BinSource.PRIVATE), RefusalCode.PLAN),
    "with a stranger asking": (
        lambda p: replace(p, blocks=(replace(p.blocks[0], holders=(PartnerId("x"),)),)),
        RefusalCode.MEMBER,
    ),
    "with an asker twice": (
        lambda p: replace(p, blocks=(replace(p.blocks[0], holders=(BANK, BANK)),)),
        RefusalCode.PLAN,
    ),
    "with fewer askers a person than the manifest has": (
        lambda p: replace(
            p, blocks=(replace(p.blocks[0], holders=(BANK, SHOP), holders_per_person=1),)
        ),
        RefusalCode.NOISE,
    ),
}


@pytest.mark.parametrize("name", OFFERS)
def test_head_plan_is_refused_before_anything_is_reserved(name: str) -> None:
    change, code = OFFERS[name]
    house = StudyHouse(rows=50)
    node = house.nodes[BANK]
    assert node.session is not None
    with pytest.raises(RefusalError) as refused:
        node.session.on_offer(PlanOffer(plan=change(house.plan)))
    assert refused.value.reason is code
    assert node.store.reserved == {}
    assert house.studied == []


def test_head_plan_is_refused_where_the_manifest_lets_nobody_ask() -> None:
    house = StudyHouse(rows=50)
    scoring = ScoringPolicy(delivery=Delivery.PARTNER_LOCAL)
    policy = replace(house.manifest.policy, scoring=scoring)
    house.manifest = replace(house.manifest, policy=policy)
    house.start(house.nodes[BANK], 0)
    node = house.nodes[BANK]
    assert node.session is not None
    plan = replace(house.plan, manifest=house.manifest.digest)
    with pytest.raises(RefusalError, match="may not ask"):
        node.session.on_offer(PlanOffer(plan=plan))


def test_run_never_charges_more_than_its_plan_says() -> None:
    house = StudyHouse(rows=500)
    held = reserve_units(house.plan)
    house.train()
    for scope, kinds in (
        ("training", {ReleaseKind.GRADIENT, ReleaseKind.OVERLAP}),
        ("holdout", {ReleaseKind.EVALUATION}),
    ):
        charged = [
            (request.kind, units)
            for request, where, units in house.nodes[SHOP].store.debits
            if where == scope
        ]
        assert {kind for kind, _ in charged} == kinds
        assert sum(units for _, units in charged) <= held[scope]  # type: ignore[literal-required]
        assert epsilon_of_units(held[scope], 1e-6) <= float(house.plan.epsilon)  # type: ignore[literal-required]


def test_statement_can_be_recomputed_and_names_the_counts_of_the_study() -> None:
    house = StudyHouse(rows=2000)
    session = house.train()
    document = parse_head_document(candidate_of(session, house.manifest).document, house.schema)
    statement = document.statement
    charges = statement["charges"]
    assert [one["purpose"] for one in charges] == [  # type: ignore[union-attr,index]
        "gradient",
        "overlap",
        "evaluation",
    ]
    found = epsilons_of(house.plan, charges)  # type: ignore[arg-type]
    epsilon = statement["epsilon"]
    for scope in ("training", "holdout"):
        assert epsilon[scope]["by_honest"] == found[scope]  # type: ignore[index]
    assert any("joint score" in text for text in statement["not_protected"])  # type: ignore[union-attr]


def test_record_elsewhere_counts_as_a_row_that_changes() -> None:
    house = StudyHouse(rows=50)
    mechanism = mechanism_for(house.plan, ReleaseKind.GRADIENT, width=9, partners=4)
    assert mechanism.echoes == 1
    row = mechanism.sensitivity**2
    for level_person, level_record in ((True, row), (False, 4 * row)):
        units = mechanism.units(person=level_person)
        # h = 2 honest of four is the worst: fewer share the noise.
        assert units == -(-(level_record << 40) // (2 * mechanism.variance))


def test_plan_over_the_cap_is_refused() -> None:
    house = StudyHouse(rows=50)
    house.caps = 1000
    house.start(house.nodes[BANK], 0)
    node = house.nodes[BANK]
    assert node.session is not None
    with pytest.raises(BudgetExceededError):
        node.session.on_offer(PlanOffer(plan=replace(house.plan, run=RunId("9" * 32))))


def test_rows_of_another_model_are_refused() -> None:
    house = StudyHouse(rows=50)
    rows = house.joint[BANK]
    for other in (
        replace(rows, base=Digest("0d" * 32)),
        replace(rows, families=("billing", "repayment")),
    ):
        with pytest.raises(DataError, match="another model"):
            HeadSums(house.plan, BANK, joint_rows=lambda _base, other=other: other)  # type: ignore[misc]


def test_head_sums_are_of_a_heads_plan_and_of_its_kinds_alone() -> None:
    house = StudyHouse(rows=50)
    with pytest.raises(RefusalError, match="R05"):
        HeadSums(replace(house.plan, base=None), SHOP, joint_rows=lambda _base: None)  # type: ignore[arg-type,return-value]
    sums = HeadSums(house.plan, BANK, joint_rows=lambda _base: house.joint[BANK])
    request, inputs = RunSession(house.plan, house.schema).request(house.connected())
    seed = Secret(b"s" * 32)
    for asked, given in (
        (replace(request, kind=ReleaseKind.RECALIBRATION), inputs),
        (request, SumInputs(arrays=())),
        (request, SumInputs(arrays=(np.full(9, np.nan),))),
    ):
        with pytest.raises(RefusalError):
            sums.compute(asked, given, seed=seed, context=BASE)
    with pytest.raises(RefusalError, match="no bins"):
        sums.prepare(request, SumInputs(arrays=inputs.arrays, bins=b"{}"))
