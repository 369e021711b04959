"""Plans of tables: what a file may say, what a node refuses, which account pays."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consortium.credit.figure_specs import Wanted, figure
from consortium.credit.figures import Entry
from consortium.credit.table_document import parse_table_document, table_bytes, table_digest
from consortium.crypto.keys import Secret
from consortium.errors import (
    BudgetExceededError,
    ConfigurationError,
    DecodeError,
    DomainError,
    OutOfOrderError,
    RefusalCode,
    RefusalError,
)
from consortium.figure import FigureKind
from consortium.figure_policy import FigurePolicy, figures_of
from consortium.ids import Digest, PartnerId, RunId
from consortium.manifest import manifest_bytes, parse_manifest
from consortium.messages import SumRequest
from consortium.plan import ModelKind, ReleaseKind, TrainingPlan
from consortium.privacy.accountant import units_of
from consortium.privacy.mechanism import accounts_of, mechanism_for, reserve_units
from consortium.privacy.noise import noise_share
from consortium.secagg.context import SumInputs
from coordinator.figure_plans import FigureTerms, table_plan_text
from coordinator.plans import PlanContext, parse_plan
from coordinator.storage import Store
from coordinator.table_storage import TableRow, TableStore
from models.run import ClosedSum, RunSession
from partner_node.budget import OwnCaps, caps
from partner_node.plan_checks import SessionFacts, check_plan
from partner_node.storage import NodeStore
from partner_node.table_sums import TableSums
from tests.simulator import Consortium

MONTHS = ("2026-01", "2026-02")
SPEC = figure(FigureKind.ROLL_RATES, *MONTHS, Wanted())
POLICY = FigurePolicy(kinds=(FigureKind.ROLL_RATES,), run_epsilon="1", lifetime_epsilon="2")


@pytest.fixture(scope="module")
def house() -> Consortium:
    house = Consortium()
    policy = replace(house.manifest.policy, figures=POLICY)
    house.manifest = replace(house.manifest, policy=policy)
    return house


@pytest.fixture(scope="module")
def plan(house: Consortium) -> TrainingPlan:
    return parse_plan(table_plan_text(SPEC, FigureTerms()), context(house))


def context(house: Consortium) -> PlanContext:
    return PlanContext(
        run=RunId("ab" * 16),
        manifest=house.manifest,
        schema=house.schema,
        code=Digest("c0" * 32),
    )


def facts(house: Consortium) -> SessionFacts:
    return SessionFacts(
        member=PartnerId("bank_a"),
        manifest=house.manifest,
        schema=house.schema,
        code=Digest("c0" * 32),
        caps={"training": 1, "holdout": 1, "tables": 1},
        run_epsilon="8",
    )


@pytest.mark.parametrize("kind", [FigureKind.VINTAGES, FigureKind.ROLL_RATES])
def test_a_plan_file_holds_the_whole_figure(house: Consortium, kind: FigureKind) -> None:
    spec = figure(kind, "2026-01", "2026-02", Wanted(synthetic=True))
    made = parse_plan(table_plan_text(spec, FigureTerms(epsilon="0.5")), context(house))
    assert (made.figure, made.model, made.epsilon) == (spec, ModelKind.TABLE, "0.5")
    assert made.blocks[0].holders == tuple(sorted(house.nodes))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[figure]", "[other]", "unknown table|unknown key|needs a"),
        ('kind = "roll_rates"', 'kind = "common"', "no node counts"),
        ('kind = "roll_rates"', 'kind = "rolls"', "figure.kind"),
        ('cells = ["M0", ', "cells = [", "not the public ones"),
        ("bound = 1", "bound = 2", "a count has the bound 1"),
        ("attempts = 2", "attempts = 9", "attempts = 9"),
        ('epsilon = "1"', 'epsilon = "9"', "plan.epsilon"),
        ("persons = ", 'holders = ["nobody"]\npersons = ', "no active partner"),
        ("synthetic = false", "synthetic = 1", "figure.synthetic"),
        ("[figure]", "rounds = 3\n[figure]", "unknown key 'rounds'"),
    ],
)
def test_a_plan_file_of_a_table_is_read_strictly(
    house: Consortium, old: str, new: str, told: str
) -> None:
    text = table_plan_text(SPEC, FigureTerms())
    assert old in text
    with pytest.raises(ConfigurationError, match=told):
        parse_plan(text.replace(old, new, 1), context(house))


def _block(plan: TrainingPlan, **changes: object) -> TrainingPlan:
    return replace(plan, blocks=(replace(plan.blocks[0], **changes),))  # type: ignore[arg-type]


BREACHES: dict[str, tuple[Callable[[TrainingPlan], TrainingPlan], RefusalCode]] = {
    "another kind": (
        lambda plan: replace(plan, figure=figure(FigureKind.CLOSURES, *MONTHS, Wanted())),
        RefusalCode.PLAN,
    ),
    "no figure": (lambda plan: replace(plan, figure=None), RefusalCode.PLAN),
    "a cell cut out": (
        lambda plan: replace(
            plan,
            figure=replace(SPEC, axes=(SPEC.axes[0], replace(SPEC.axes[1], cells=("M0",)))),
        ),
        RefusalCode.PLAN,
    ),
    "more cells a person": (
        lambda plan: replace(plan, figure=replace(SPEC, cells_per_person=2)),
        RefusalCode.PLAN,
    ),
    "a stranger": (
        lambda plan: _block(plan, holders=(PartnerId("nobody"),)),
        RefusalCode.MEMBER,
    ),
    "a holder twice": (
        lambda plan: _block(plan, holders=(plan.blocks[0].holders[0],) * 2),
        RefusalCode.PLAN,
    ),
    "families": (lambda plan: _block(plan, families=("repayment",)), RefusalCode.PLAN),
    "fewer a person": (lambda plan: _block(plan, holders_per_person=1), RefusalCode.NOISE),
    "a base": (lambda plan: replace(plan, base=Digest("1" * 64)), RefusalCode.PLAN),
    "two blocks": (
        lambda plan: replace(plan, blocks=plan.blocks * 2),
        RefusalCode.PLAN,
    ),
    "another m": (
        lambda plan: replace(plan, max_partners_per_person=1),
        RefusalCode.NOISE,
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_node_refuses_a_table_that_is_not_as_everybody_signed(
    house: Consortium, plan: TrainingPlan, name: str
) -> None:
    check_plan(facts(house), plan)
    break_it, code = BREACHES[name]
    with pytest.raises(RefusalError) as caught:
        check_plan(facts(house), break_it(plan))
    assert caught.value.reason is code


def test_a_figure_in_a_plan_that_trains_is_refused(house: Consortium) -> None:
    with pytest.raises(RefusalError, match="a figure goes with a table"):
        check_plan(
            facts(house), replace(house.plan, manifest=house.manifest.digest, figure=SPEC)
        )


def test_a_table_above_the_manifests_own_cap_for_tables_is_refused(
    house: Consortium, plan: TrainingPlan
) -> None:
    check_plan(facts(house), replace(plan, epsilon="1"))
    with pytest.raises(BudgetExceededError, match="the cap is 1"):
        check_plan(facts(house), replace(plan, epsilon="1.01"))


def test_a_table_is_paid_by_an_account_of_its_own(
    house: Consortium, plan: TrainingPlan, tmp_path: Path
) -> None:
    store = NodeStore(tmp_path / "node.db", now=lambda: 1)
    own = OwnCaps(lifetime_epsilon="3", tables_epsilon="1.5")
    allowed = caps(house.manifest.policy, own)
    assert allowed["tables"] == units_of(1.5, 1e-6)
    assert allowed["training"] == units_of(3.0, 1e-6)
    held = reserve_units(plan)
    assert (held["training"], held["holdout"]) == (0, 0)
    assert accounts_of(plan) == ("tables",)
    assert held["tables"] <= units_of(1.0, 1e-6)
    units = {"tables": held["tables"]}
    # The third would be above 1.5: mu squared adds up, and the account of training is empty.
    for number in range(2):
        run = RunId(f"{number:032x}")
        store.commit(replace(plan, run=run), Secret(b"s" * 32), units, allowed)
    with pytest.raises(BudgetExceededError):
        store.commit(replace(plan, run=RunId("f" * 32)), Secret(b"s" * 32), units, allowed)
    training = store.account("training", cap_units=1, delta="1e-6")
    assert (training.spent, training.reserved) == (0, 0)
    store.close()


def test_noise_and_sensitivity_follow_from_measures_and_cells_a_person(
    plan: TrainingPlan,
) -> None:
    def variance(cells: int, bound: int = 0) -> int:
        wanted = Wanted(bound=bound, cells_per_person=cells)
        spec = figure(FigureKind.DEMAND, "2026-W01", "2026-W08", wanted)
        changed = replace(plan, figure=spec)
        return mechanism_for(changed, ReleaseKind.TABLE, width=1, partners=4).variance

    one = variance(1)
    assert variance(4) == pytest.approx(4 * one, rel=1e-9)
    assert variance(1, bound=100) == pytest.approx(2 * one, rel=1e-9)


def test_the_machine_of_a_table_asks_for_one_sum_and_is_finished(
    house: Consortium, plan: TrainingPlan
) -> None:
    session = RunSession(plan, house.schema)
    request, inputs = session.request(tuple(house.nodes))
    assert (request.kind, request.dimension, request.scale_bits) == (
        ReleaseKind.TABLE,
        SPEC.size,
        20,
    )
    assert inputs == SumInputs(arrays=())
    closed = closed_sum(request)
    session.on_sum(closed)
    assert session.finished
    with pytest.raises(OutOfOrderError):
        session.on_sum(closed)
    document = table_bytes(plan, closed.total, session.state.attempts)
    assert table_digest(document) != table_digest(document + b" ")
    table = parse_table_document(document).table
    assert table.totals == tuple(closed.total.tolist())
    # A lost attempt that was charged is in the epsilon: the noise was made for two.
    assert float(table.epsilon) < 1.0


def closed_sum(request: SumRequest) -> ClosedSum:
    total = noise_share(
        Secret(b"n" * 32), Digest("0" * 64), variance=10**12, count=request.dimension
    )
    return ClosedSum(request=request, joined=Digest("7" * 64), total=total)


def test_a_table_of_which_no_attempt_was_summed_has_no_document(plan: TrainingPlan) -> None:
    with pytest.raises(DomainError, match="0 attempts were summed"):
        table_bytes(plan, np.zeros(SPEC.size, dtype=np.int64), ())
    with pytest.raises(DecodeError):
        parse_table_document(b'{"type":"riskweave/table/v1"}')


def test_a_partner_that_the_plan_does_not_name_adds_nothing_but_noise(
    plan: TrainingPlan,
) -> None:
    entry = Entry(person="p", cell=(0, 0))
    own = TableSums(plan, PartnerId("bank_a"), load=lambda _: [entry])
    others = replace(plan.blocks[0], holders=(PartnerId("bank_b"),))

    def unread(_: object) -> list[Entry]:
        raise AssertionError("rows were read")

    other = TableSums(replace(plan, blocks=(others,)), PartnerId("bank_a"), load=unread)
    session = RunSession(plan, Consortium().schema)
    request, inputs = session.request(plan.blocks[0].holders)
    secret, context_ = Secret(b"s" * 32), Digest("0" * 64)
    mine = own.compute(request, inputs, seed=secret, context=context_)
    assert (int(mine.values.sum()), bool(mine.held.all())) == (1 << 20, True)
    theirs = other.compute(request, inputs, seed=secret, context=context_)
    assert not theirs.values.any()
    assert not theirs.held.any()
    assert theirs.needs_noise
    assert own.fingerprint(secret) != other.fingerprint(secret)
    with pytest.raises(RefusalError, match="counted from nothing but rows"):
        own.prepare(request, SumInputs(arrays=(np.zeros(1),)))
    with pytest.raises(RefusalError, match="words of a table"):
        own.compute(replace(request, dimension=3), inputs, seed=secret, context=context_)


def test_the_manifest_carries_which_figures_are_allowed(house: Consortium) -> None:
    body = manifest_bytes(house.manifest)
    assert parse_manifest(body).policy.figures == POLICY
    assert figures_of({}) == FigurePolicy()
    assert figures_of({}).kinds == ()
    for broken, told in (
        ({"kinds": ["rolls"]}, "known"),
        ({"kind": []}, "no such setting"),
        ({"run_epsilon": 1}, "in quotes"),
        ({"lifetime_epsilon": "0"}, "outside"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            figures_of(broken)


def test_a_stored_table_is_the_same_bytes_as_often_as_it_is_asked_for(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'c.db'}")
    tables = TableStore(store)
    row = TableRow(
        release=Digest("a1" * 32),
        digest=Digest("b1" * 32),
        figure=Digest("c1" * 32),
        kind="roll_rates",
        first="2026-01",
        last="2026-02",
        run=RunId("ab" * 16),
        document=b"{}",
        at=5,
    )
    tables.add(row)
    tables.add(replace(row, document=b"[]", at=6))
    assert tables.tables() == (row,)
    assert {tables.of_figure(row.figure) for _ in range(1_000)} == {row}
    assert tables.find("a1a1") == (row,)
    assert tables.find("%") == ()
    assert store.log.entries() == ()
    store.close()
